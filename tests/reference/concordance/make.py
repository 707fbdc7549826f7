"""Reference values for stages/align/src/concordance: classes by numpy's quantile, Cramer's V with Bergsma's correction, Cohen's d.

    python make.py > values.json
"""
import json
import numpy as np, scipy, scipy.stats as st

rng = np.random.default_rng(9)
out = {"versions": {"numpy": np.__version__, "scipy": scipy.__version__}}
d = np.round(rng.gamma(5, 0.1, 61), 3)  # with ties
out["classes"] = {"distance": d.tolist(), "by": []}
for q in (0.25, 1 / 3, 0.1):
    low, high = np.quantile(d, q), np.quantile(d, 1 - q)
    label = np.where((d <= low) & ~(d >= high), "concordant", np.where((d >= high) & ~(d <= low), "discordant", "intermediate"))
    out["classes"]["by"].append({"quantile": q, "lower": float(low), "upper": float(high), "label": label.tolist()})
table = rng.integers(1, 30, (2, 5))
n = table.sum()
chi2 = st.chi2_contingency(table, correction=False)[0]
r, c = table.shape
phi = max(0, chi2 / n - (r - 1) * (c - 1) / (n - 1))
rc, cc = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
out["composition"] = {"table": table.tolist(), "v": float(st.contingency.association(table, method="cramer")),
                      "v_corrected": float(np.sqrt(phi / (min(rc, cc) - 1)))}
a, b = np.round(rng.normal(0, 1, 20), 2), np.round(rng.normal(0.5, 2, 31), 2)
pooled = np.sqrt((19 * a.var(ddof=1) + 30 * b.var(ddof=1)) / 49)
out["number"] = {"discordant": a.tolist(), "concordant": b.tolist(), "cohens_d": float((a.mean() - b.mean()) / pooled),
                 "auc": float(st.mannwhitneyu(a, b).statistic / (20 * 31)),
                 "p": float(st.mannwhitneyu(a, b, method="asymptotic", use_continuity=False).pvalue)}
print(json.dumps(out))
