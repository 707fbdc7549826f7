"""Reference values for stages/dosage/src/dosage.

    python make.py > values.json

The line: weighted least squares with a dummy per stratum (statsmodels WLS). The response of a gene: negative
binomial regression with a dummy per stratum, and a level of the malignant clones (statsmodels GLM).
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
strata = np.repeat([0, 1, 2], 4)
tumour = np.tile([0.0, 1.0, 1.0, 1.0], 3)
copy = np.round(tumour * rng.normal(0, 0.3, 12), 3)
offset = np.round(rng.normal(5, 0.6, 12), 3)
mean = np.exp(offset + np.array([-4.0, -3.0, -4.5])[strata] + 0.6 * copy + 0.2 * tumour)
counts = rng.negative_binomial(10, 10 / (10 + mean))
dummies = [strata == k for k in range(3)]
dispersion = 0.07


def response(columns):
    family = sm.families.NegativeBinomial(alpha=dispersion)
    fit = sm.GLM(counts, np.column_stack(columns).astype(float), family=family, offset=offset).fit(tol=1e-13, maxiter=200)
    return {
        "slope": float(fit.params[0]), "se": float(fit.bse[0]), "df": float(fit.df_resid),
        "pearson": float(fit.pearson_chi2), "fitted": fit.mu.tolist(),
        "level": [float(fit.params[-1]), float(fit.bse[-1])],
    }


print(json.dumps({
    "versions": {"numpy": np.__version__, "statsmodels": statsmodels.__version__},
    "x": x.tolist(), "y": y.tolist(), "weights": w.tolist(), "groups": g.tolist(), "n_groups": groups,
    "slope": float(fit.params[0]), "se": float(fit.bse[0]), "df": float(fit.df_resid), "p_zero": float(fit.pvalues[0]),
    "p_one": float(fit.t_test(([1] + [0] * groups, 1)).pvalue), "interval": [float(low), float(high)],
    "response": {
        "strata": strata.tolist(), "tumour": tumour.tolist(), "copy": copy.tolist(), "offset": offset.tolist(),
        "counts": counts.tolist(), "dispersion": dispersion,
        "plain": response([copy, *dummies]), "level": response([copy, *dummies, tumour]),
    },
}))
