"""Reference values for the line of stages/src/dosage: weighted least squares with one level per stratum.

    python make.py > values.json      # statsmodels WLS with a dummy per stratum
"""
import json
import numpy as np, statsmodels, statsmodels.api as sm

rng = np.random.default_rng(5)
n, groups = 25, 4
g = rng.integers(0, groups, n)
x = np.round(rng.normal(0, 0.3, n), 3)
w = np.round(rng.gamma(2, 5, n), 2)
y = np.round(0.8 * x + rng.normal(0, 1, groups)[g] + rng.normal(0, 1, n) / np.sqrt(w), 4)
fit = sm.WLS(y, np.column_stack([x] + [g == k for k in range(groups)]).astype(float), weights=w).fit()
low, high = fit.conf_int(0.05)[0]
print(json.dumps({
    "versions": {"numpy": np.__version__, "statsmodels": statsmodels.__version__},
    "x": x.tolist(), "y": y.tolist(), "weights": w.tolist(), "groups": g.tolist(), "n_groups": groups,
    "slope": float(fit.params[0]), "se": float(fit.bse[0]), "df": float(fit.df_resid), "p_zero": float(fit.pvalues[0]),
    "p_one": float(fit.t_test(([1] + [0] * groups, 1)).pvalue), "interval": [float(low), float(high)],
}))
