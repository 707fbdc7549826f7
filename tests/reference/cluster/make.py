"""Reference values for the `cluster` stage, from scanpy, leidenalg and umap-learn.

Run in this directory: python make.py
Writes points.tsv, connectivities.tsv, graph_*.tsv, memberships.tsv, values.tsv (which names the versions).
"""

from importlib.metadata import version

import anndata as ad
import igraph as ig
import leidenalg as la
import numpy as np
import scanpy as sc
from sklearn.manifold import trustworthiness

rng = np.random.default_rng(20240)
rows = [("version", name, version(name)) for name in ("scanpy", "leidenalg", "igraph", "umap-learn", "scikit-learn")]

# Points: five Gaussian clouds and a curve in ten dimensions, 300 cells.
centres = rng.normal(0, 3, (5, 10))
clouds = np.concatenate([c + rng.normal(0, 1, (45, 10)) for c in centres])
t = np.linspace(0, 3 * np.pi, 75)
curve = np.zeros((75, 10))
curve[:, 0], curve[:, 1], curve[:, 2] = 6 * np.cos(t), 6 * np.sin(t), t
curve += rng.normal(0, 0.3, curve.shape)
points = np.round(np.concatenate([clouds, curve]), 3)
np.savetxt("points.tsv", points, fmt="%.3f", delimiter="\t")

# Connectivities of the first 60 points, 10 neighbours.
small = ad.AnnData(points[:60].astype(np.float32))
sc.pp.neighbors(small, n_neighbors=10, use_rep="X", method="umap")
w = small.obsp["connectivities"].tocoo()
order = np.lexsort((w.col, w.row))
np.savetxt("connectivities.tsv", np.c_[w.row, w.col, w.data][order], fmt=["%d", "%d", "%.9g"], delimiter="\t")

# Graphs (each undirected edge once): karate club, planted partition with weights, neighbour graph.
graphs = {}
karate = ig.Graph.Famous("Zachary")
graphs["karate"] = [(a, b, 1.0) for a, b in karate.get_edgelist()]
group = np.arange(120) // 20
graphs["planted"] = [
    (i, j, round(float(rng.uniform(0.5, 1.5)), 3))
    for i in range(120)
    for j in range(i + 1, 120)
    if rng.uniform() < (0.30 if group[i] == group[j] else 0.04)
]
cells = ad.AnnData(points[75:].astype(np.float32))
sc.pp.neighbors(cells, n_neighbors=10, use_rep="X", method="umap")
w = cells.obsp["connectivities"].tocoo()
graphs["neighbors"] = sorted((int(i), int(j), float(f"{v:.6g}")) for i, j, v in zip(w.row, w.col, w.data) if i < j)

memberships = {}
for name, edges in graphs.items():
    np.savetxt(f"graph_{name}.tsv", np.array(edges), fmt=["%d", "%d", "%.6g"], delimiter="\t")
    graph = ig.Graph(edges=[e[:2] for e in edges])
    weights = [e[2] for e in edges]
    total = sum(weights)
    for resolution in (0.5, 1.0, 2.0):
        found = [
            la.find_partition(
                graph, la.RBConfigurationVertexPartition, weights=weights, n_iterations=-1, seed=seed,
                resolution_parameter=resolution,
            )
            for seed in range(10)
        ]
        # Share of the total weight: sum over clusters of w_in / m - resolution (K / 2m)^2.
        quality = [p.quality() / (2 * total) for p in found]
        rows.append(("quality_mean", f"{name} {resolution}", f"{np.mean(quality):.9f}"))
        rows.append(("quality_best", f"{name} {resolution}", f"{np.max(quality):.9f}"))
        membership = found[0].membership
        if resolution == 1.0:
            memberships[name] = [p.membership for p in found]
        rows.append(("quality_scale", f"{name} {resolution}", f"{graph.modularity(membership, weights=weights, resolution=resolution) - quality[0]:.3g}"))

    for resolution in (0.02, 0.1, 0.3):
        found = [
            la.find_partition(graph, la.CPMVertexPartition, weights=weights, n_iterations=-1, seed=seed, resolution_parameter=resolution)
            for seed in range(10)
        ]
        # Over the weight of all edges: sum over clusters of w_in - resolution n (n - 1) / 2.
        rows.append(("cpm_mean", f"{name} {resolution}", f"{np.mean([p.quality() / (2 * total) for p in found]):.9f}"))

# UMAP with scanpy's defaults.
whole = ad.AnnData(points.astype(np.float32))
sc.pp.neighbors(whole, n_neighbors=15, use_rep="X")
scores = []
for seed in range(3):
    sc.tl.umap(whole, random_state=seed)
    scores.append(trustworthiness(points, whole.obsm["X_umap"], n_neighbors=15))
rows.append(("trustworthiness", "mean of 3 seeds", f"{np.mean(scores):.6f}"))
from umap.umap_ import find_ab_params

for spread, min_dist in ((1.0, 0.5), (1.0, 0.1), (2.0, 0.3)):
    a, b = find_ab_params(spread, min_dist)
    rows.append(("curve", f"{spread} {min_dist}", f"{a:.6f} {b:.6f}"))

# leidenalg's clusters at resolution 1: graph, seed, cluster of each node.
with open("memberships.tsv", "w") as out:
    for name, found in memberships.items():
        for seed, membership in enumerate(found):
            out.write(f"{name}\t{seed}\t{' '.join(map(str, membership))}\n")

with open("values.tsv", "w") as out:
    out.writelines("\t".join(r) + "\n" for r in rows)
