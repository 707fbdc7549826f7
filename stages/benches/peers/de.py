"""rank_genes_groups of scanpy, illico's test where it is installed, and mannwhitneyu of scipy, on the matrix that
`benches/de.rs` wrote.

    python de.py DIR CELLS GENES      # writes seconds (scanpy: wall, processor; illico: wall, processor), scanpy_z, scanpy_p, scanpy_tie_*, scipy_z, scipy_p (f64)
"""
import sys, time, warnings
import numpy as np, scanpy as sc, anndata as ad, scipy.stats as st
from scipy.sparse import csr_matrix

warnings.filterwarnings("ignore")
where, cells, genes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
load = lambda name, kind: np.fromfile(f"{where}/{name}", dtype=kind)
save = lambda name, values: np.asarray(values, dtype="<f8").tofile(f"{where}/{name}")
X = csr_matrix((load("data", "<f4"), load("indices", "<u4").astype(np.int32), load("indptr", "<u8").astype(np.int64)), shape=(2 * cells, genes))
A = ad.AnnData(X)
A.var_names = [str(g) for g in range(genes)]
A.obs["g"] = ["a"] * cells + ["b"] * cells
A.obs["g"] = A.obs["g"].astype("category")
A.uns["log1p"] = {"base": None}
run = lambda tie: sc.tl.rank_genes_groups(A, "g", groups=["a"], reference="b", method="wilcoxon", tie_correct=tie, pts=True)


def clock(f):
    """Medians of wall and processor seconds; the first call compiles."""
    wall, cpu = [], []
    for _ in range(4):
        started, spent = time.perf_counter(), time.process_time()
        f()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - spent)
    return [np.median(wall[1:]), np.median(cpu[1:])]


try:
    from illico import asymptotic_wilcoxon
    from loguru import logger

    logger.remove()
    test = lambda: asymptotic_wilcoxon(
        A, is_log1p=True, group_keys="g", reference="b", n_threads=2, use_continuity=False, tie_correct=False
    )
    illico = clock(test)
except ImportError:
    illico = [np.nan, np.nan]
save("seconds", clock(lambda: run(False)) + illico)
for name, tie in (("scanpy", False), ("scanpy_tie", True)):
    run(tie)
    r = A.uns["rank_genes_groups"]
    order = np.array(r["names"]["a"], dtype=int)
    z, p = np.empty(genes), np.empty(genes)
    z[order], p[order] = r["scores"]["a"], r["pvals"]["a"]
    save(f"{name}_z", z)
    save(f"{name}_p", p)
C = X.tocsc()
z, p = np.empty(genes), np.empty(genes)
n = cells
for first in range(0, genes, 500):
    last = min(first + 500, genes)
    D = C[:, first:last].toarray().astype(np.float64)
    u = st.mannwhitneyu(D[:n], D[n:], method="asymptotic", axis=0)
    p[first:last] = u.pvalue
    # scipy's z from its U: ties and continuity as in scipy.stats._mannwhitneyu._get_mwu_z.
    for j in range(last - first):
        t = np.unique(D[:, j], return_counts=True)[1].astype(float)
        s = np.sqrt(n * n / 12 * ((2 * n + 1) - (t**3 - t).sum() / (2 * n * (2 * n - 1))))
        d = u.statistic[j] - n * n / 2
        z[first + j] = 0 if s == 0 else np.sign(d) * max(abs(d) - 0.5, 0) / s
p[np.isnan(p)] = 1
save("scipy_z", z)
save("scipy_p", p)
