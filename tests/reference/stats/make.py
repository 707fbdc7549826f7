"""Reference values for stages/numerics/src/stats, from the field's own libraries.

    python make.py > values.json

Run with the versions that the output names.
"""
import json
import numpy as np, scipy, scipy.stats as st, statsmodels, scanpy as sc, anndata as ad
from scipy.sparse import csr_matrix
from statsmodels.stats.multitest import multipletests

rng = np.random.default_rng(7)
out = {"versions": {"numpy": np.__version__, "scipy": scipy.__version__,
                    "statsmodels": statsmodels.__version__, "scanpy": sc.__version__}}

z = [0.0, 0.3, 1.0, 1.96, 4.9, 5.0, 5.1, 8.0, 20.0, 37.0, 38.5, 60.0, 500.0]
out["normal"] = {"z": z, "sf": st.norm.sf(z).tolist(), "logsf": st.norm.logsf(z).tolist()}
t = [(0.1, 3), (1.0, 9), (2.5, 1), (5.0, 9), (30.0, 9), (4.0, 1000), (10.0, 80000), (-36.0, 80000), (1e-3, 5)]
out["t"] = [{"t": a, "df": b, "p": float(2 * st.t.sf(abs(a), b))} for a, b in t]
out["t_ppf"] = [{"alpha": a, "df": b, "t": float(st.t.ppf(1 - a / 2, b))} for a, b in [(.05, 2), (.05, 8), (.01, 30.5), (.1, 5000)]]

p = [.01, .5, float("nan"), .03, 1e-8, .2, .03, 1.0, .049]
q = multipletests([1.0 if np.isnan(x) else x for x in p], method="fdr_bh")[1]
out["bh"] = {"p": [None if np.isnan(x) else x for x in p], "q": q.tolist()}

a = np.round(rng.normal(0, 1, 23), 2); b = np.round(rng.normal(.4, 2, 31), 2)
x = np.round(rng.normal(0, 1, 40), 1); y = np.round(.5 * x + rng.normal(0, 1, 40), 1)
u = st.mannwhitneyu(a, b, method="asymptotic"); u0 = st.mannwhitneyu(a, b, method="asymptotic", use_continuity=False)
w = st.ttest_ind(a, b, equal_var=False); pr = st.ttest_rel(x, y); lr = st.linregress(x, y)
pe, sp = st.pearsonr(x, y), st.spearmanr(x, y)
table = [[10, 4, 0, 7], [3, 9, 5, 7]]
out["samples"] = {
    "a": a.tolist(), "b": b.tolist(), "x": x.tolist(), "y": y.tolist(),
    "mwu_p": float(u.pvalue), "mwu_p_no_continuity": float(u0.pvalue),
    "welch": [float(w.statistic), float(w.df), float(w.pvalue)],
    "paired": [float(pr.statistic), float(pr.pvalue)],
    "line": [float(lr.slope), float(lr.stderr), float(lr.pvalue)],
    "pearson": [float(pe.statistic), float(pe.pvalue)], "spearman": [float(sp.statistic), float(sp.pvalue)],
    "ranks_x": st.rankdata(x).tolist(),
    "quantiles": [[k, float(np.quantile(a, k))] for k in (0, .1, .25, 1 / 3, .5, .75, .9, 1)],
    "table": table, "cramer": float(st.contingency.association(np.array(table), method="cramer")),
    "chi2": list(map(float, st.chi2_contingency(np.array(table), correction=False)[:2])),
}

# 60 cells x 12 genes of log1p counts, three groups; group "a" against reference "b".
counts = rng.poisson(rng.gamma(.6, 1.5, 12), (60, 12)).astype(np.float32)
counts[:20, :4] += rng.poisson(2, (20, 4))
counts[:, 11] = 0
X = np.log1p(counts).astype(np.float32)
A = ad.AnnData(csr_matrix(X)); A.obs["g"] = ["a"] * 20 + ["b"] * 25 + ["c"] * 15; A.obs["g"] = A.obs["g"].astype("category")
A.uns["log1p"] = {"base": None}
res = {}
for name, tie in (("plain", False), ("tie", True)):
    sc.tl.rank_genes_groups(A, "g", groups=["a"], reference="b", method="wilcoxon", tie_correct=tie, pts=True)
    df = sc.get.rank_genes_groups_df(A, "a").set_index("names").loc[[str(i) for i in range(12)]]
    res[name] = {k: df[k].astype(float).tolist() for k in ("scores", "pvals", "pvals_adj", "logfoldchanges")}
    pts = A.uns["rank_genes_groups"]["pts"].loc[[str(i) for i in range(12)]]
    res[name].update(pct_nz_group=pts["a"].tolist(), pct_nz_reference=pts["b"].tolist())
out["scanpy"] = {"counts": counts.astype(int).tolist(), **res}
print(json.dumps(out))
