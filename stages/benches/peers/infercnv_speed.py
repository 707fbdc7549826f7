"""Seconds of infercnvpy's tl.infercnv: python infercnv_speed.py EXPR.zarr OUT.txt WINDOW STEP JOBS

Data in memory, reading and writing apart; the least of two runs.
"""
import resource
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
times, cpus = [], []


def cpu():
    return sum(r.ru_utime + r.ru_stime for r in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)))


for _ in range(2):
    t, c = time.time(), cpu()
    cnv.tl.infercnv(a, reference_key="cancer_vs_normal", reference_cat="Normal", window_size=int(window), step=int(step), n_jobs=int(jobs))
    times.append(time.time() - t)
    cpus.append(cpu() - c)
with open(out, "w") as h:
    h.write(f"seconds {min(times)}\ncpu {min(cpus)}\nwindows {a.obsm['X_cnv'].shape[1]}\n")
