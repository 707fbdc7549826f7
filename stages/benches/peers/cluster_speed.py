"""Seconds of PCA, neighbours, Leiden and UMAP by infercnvpy (scanpy), warm, and how ours compare:
python cluster_speed.py CLUSTERS.zarr OUT.txt RESOLUTION

CLUSTERS has obsm X_cnv and our X_cnv_pca, X_cnv_umap, obsp connectivities, obs cnv_leiden. numba is compiled
on 600 cells before the clock starts.
"""
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import anndata as ad
import igraph as ig
import infercnvpy as cnv
import leidenalg as la
import numpy as np
import scanpy as sc
import scipy.sparse as sp
from sklearn.manifold import trustworthiness

path, out, resolution = sys.argv[1], sys.argv[2], float(sys.argv[3])
a = ad.read_zarr(path)
ours = {k: np.asarray(a.obsm[k]) for k in ("X_cnv_pca", "X_cnv_umap")}
w = sp.csr_matrix(a.obsp["cnv_neighbors_connectivities"])
labels = a.obs["cnv_leiden"].astype(str).to_numpy()
a.obsm["X_cnv"] = sp.csr_matrix(a.obsm["X_cnv"])
b = a[:600].copy()
cnv.tl.pca(b)
cnv.pp.neighbors(b)
cnv.tl.umap(b)
result = {}


def clock(name, f):
    t, c = time.time(), time.process_time()
    f()
    result[name], result["cpu_" + name] = time.time() - t, time.process_time() - c


clock("pca", lambda: cnv.tl.pca(a))
clock("neighbors", lambda: cnv.pp.neighbors(a))
clock("leiden", lambda: cnv.tl.leiden(a, resolution=resolution, flavor="igraph", n_iterations=2, directed=False))
clock("umap", lambda: cnv.tl.umap(a))
clock("leidenalg", lambda: cnv.tl.leiden(a, resolution=resolution, key_added="la"))

# Their neighbours on our components.
c = ad.AnnData(np.zeros((a.n_obs, 1), np.float32), obsm={"X": ours["X_cnv_pca"]})
sc.pp.neighbors(c, use_rep="X")
result["connectivities_max_difference"] = abs(c.obsp["connectivities"] - w).max()
result["components_angle"] = np.linalg.norm(
    np.linalg.qr(a.obsm["X_cnv_pca"])[0] - np.linalg.qr(ours["X_cnv_pca"])[0] @ (np.linalg.qr(ours["X_cnv_pca"])[0].T @ np.linalg.qr(a.obsm["X_cnv_pca"])[0]), 2
)
coo = w.tocoo()
keep = coo.row < coo.col
graph = ig.Graph(n=a.n_obs, edges=list(zip(coo.row[keep].tolist(), coo.col[keep].tolist())))
weights = coo.data[keep].astype(float).tolist()
total = sum(weights)


def quality(membership):
    codes = np.unique(membership, return_inverse=True)[1].tolist()
    return la.RBConfigurationVertexPartition(graph, initial_membership=codes, weights=weights, resolution_parameter=resolution).quality() / (2 * total)


found = [la.find_partition(graph, la.RBConfigurationVertexPartition, weights=weights, n_iterations=2, seed=s, resolution_parameter=resolution) for s in range(10)]
result["quality_leidenalg_mean"] = np.mean([p.quality() / (2 * total) for p in found])
result["quality_ours"] = quality(labels)
from sklearn.metrics import adjusted_rand_score as ari

own = [ari(found[i].membership, found[j].membership) for i in range(10) for j in range(i)]
result["ari_leidenalg_least"], result["ari_leidenalg_mean"] = min(own), np.mean(own)
result["ari_ours_mean"] = np.mean([ari(labels, p.membership) for p in found])
pick = np.random.default_rng(0).choice(a.n_obs, min(a.n_obs, 3000), replace=False)
for name, high, low in (("umap_learn", a.obsm["X_cnv_pca"], a.obsm["X_cnv_umap"]), ("ours", ours["X_cnv_pca"], ours["X_cnv_umap"])):
    result[f"trustworthiness_{name}"] = trustworthiness(np.asarray(high)[pick], np.asarray(low)[pick], n_neighbors=15)
with open(out, "w") as h:
    h.writelines(f"{k} {float(v)}\n" for k, v in result.items())
