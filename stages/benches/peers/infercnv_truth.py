"""infercnvpy and scanpy on one patient: python infercnv_truth.py EXPR.zarr OUT.zarr WINDOW STEP RESOLUTION

EXPR has log1p expression, obs.cancer_vs_normal and gene positions. OUT gets obsm X_cnv and obs cnv_leiden,
cnv_score. Needs infercnvpy 0.6.1, scanpy 1.11, leidenalg, umap-learn.
"""
import sys
import warnings

warnings.filterwarnings("ignore")
import anndata as ad
import infercnvpy as cnv
import numpy as np
import scipy.sparse as sp

path, out, window, step, resolution = sys.argv[1:6]
a = ad.read_zarr(path)
a.X = sp.csr_matrix(a.X)
a.var["chromosome"] = a.var["chromosome"].astype(str)
cnv.tl.infercnv(a, reference_key="cancer_vs_normal", reference_cat="Normal", window_size=int(window), step=int(step), n_jobs=1)
cnv.tl.pca(a)
cnv.pp.neighbors(a)
cnv.tl.leiden(a, resolution=float(resolution))
cnv.tl.cnv_score(a)
b = ad.AnnData(obs=a.obs[["cnv_leiden", "cnv_score"]])
b.obsm["X_cnv"] = sp.csr_matrix(a.obsm["X_cnv"], dtype=np.float32)
b.write_zarr(out)
