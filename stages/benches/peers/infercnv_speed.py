"""Seconds of infercnvpy's tl.infercnv: python infercnv_speed.py EXPR.zarr OUT.txt WINDOW STEP JOBS

Data in memory, reading and writing apart; the least of two runs.
"""
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import anndata as ad
import infercnvpy as cnv
import scipy.sparse as sp

path, out, window, step, jobs = sys.argv[1:6]
a = ad.read_zarr(path)
a.X = sp.csr_matrix(a.X)
a.var["chromosome"] = a.var["chromosome"].astype(str)
times = []
for _ in range(2):
    t = time.time()
    cnv.tl.infercnv(a, reference_key="cancer_vs_normal", reference_cat="Normal", window_size=int(window), step=int(step), n_jobs=int(jobs))
    times.append(time.time() - t)
with open(out, "w") as h:
    h.write(f"seconds {min(times)}\nwindows {a.obsm['X_cnv'].shape[1]}\n")
