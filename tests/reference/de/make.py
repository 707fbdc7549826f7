"""Reference values for stages/dosage/src/de: van Elteren's test, limma's moderated paired t, left-out cis effects.

    python make.py > values.json

van Elteren from scipy's ranks (permutation variance of the rank sum in each stratum, as in R's
coin::wilcox_test(y ~ g | stratum)); eBayes after Smyth 2004 from scipy's digamma and polygamma, as limma's
squeezeVar(var, df, covariate) with one df: the prior variance follows mean expression along a natural cubic spline.
"""
import json
import numpy as np, scipy, scipy.stats as st
from scipy.interpolate import BSpline
from scipy.linalg import null_space
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from statsmodels.stats.multitest import multipletests
import statsmodels

rng = np.random.default_rng(3)
out = {"versions": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__}}

n, genes = 90, 8
side = rng.integers(0, 3, n)
strata = rng.integers(0, 4, n)
side[strata == 3] = np.where(side[strata == 3] == 2, 1, side[strata == 3])  # one stratum without the reference
x = rng.poisson(0.3 + 0.5 * strata[:, None] + 0.4 * (side == 1)[:, None] * rng.random(genes), (n, genes))
z = []
for g in range(genes):
    num = den = 0.0
    for k in range(4):
        a, b = x[(strata == k) & (side == 1), g], x[(strata == k) & (side == 2), g]
        if len(a) == 0 or len(b) == 0:
            continue
        r = st.rankdata(np.r_[a, b])
        N = len(r)
        num += (r[: len(a)].sum() - len(a) * (N + 1) / 2) / (N + 1)
        den += len(a) * len(b) / N * r.var(ddof=1) / (N + 1) ** 2
    z.append(num / np.sqrt(den))
p = 2 * st.norm.sf(np.abs(z))
out["van_elteren"] = {"side": side.tolist(), "strata": strata.tolist(), "x": x.tolist(), "z": list(map(float, z)), "p": p.tolist()}

patients, genes = 5, 60
mean = rng.gamma(0.7, 60, genes)
group = rng.poisson(mean * np.exp(0.4 * rng.standard_normal((patients, genes))))
reference = rng.poisson(mean * np.exp(0.4 * rng.standard_normal((patients, genes))))
group[:, 0] = reference[:, 0] = 0
cpm = lambda c: np.log2((c + 0.5) / (c.sum(1, keepdims=True) + 1) * 1e6)
d = cpm(group) - cpm(reference)
kept = (group + reference).sum(0) >= 10
s2, df = d[:, kept].var(0, ddof=1), patients - 1
e = np.log(s2) - digamma(df / 2) + np.log(df / 2)
# limma's fitFDist with a covariate: natural cubic spline, df 4 with intercept, knots at the thirds. The
# space is that of cubic splines with second derivative 0 at the ends, here in the B-spline basis.
x = ((cpm(group) + cpm(reference)).mean(0) / 2)[kept]
knots = [x.min(), *np.quantile(x, [1 / 3, 2 / 3]), x.max()]
full_knots = np.r_[[knots[0]] * 4, knots[1:3], [knots[3]] * 4]
basis = [BSpline(full_knots, np.eye(6)[k], 3) for k in range(6)]
ends = np.array([[b.derivative(2)(k) for b in basis] for k in (knots[0], knots[3])])
design = np.array([b(x) for b in basis]).T @ null_space(ends)
fitted = design @ np.linalg.lstsq(design, e, rcond=None)[0]
excess = ((e - fitted) ** 2).sum() / (len(e) - 4) - polygamma(1, df / 2)
if excess > 0:
    half = brentq(lambda h: polygamma(1, h) - excess, 1e-6, 1e8)
    d0, s0 = 2 * half, np.exp(fitted + digamma(half) - np.log(half))
    v, dof = (d0 * s0 + df * s2) / (d0 + df), d0 + df
else:
    d0, s0 = np.inf, np.exp(fitted)
    v, dof = s0, np.inf
t = d[:, kept].mean(0) / np.sqrt(v / patients)
p = 2 * st.t.sf(np.abs(t), dof) if np.isfinite(dof) else 2 * st.norm.sf(np.abs(t))
full = lambda values: [float(values[list(np.flatnonzero(kept)).index(g)]) if kept[g] else None for g in range(genes)]
out["pseudobulk"] = {"group": group.tolist(), "reference": reference.tolist(), "prior_df": None if np.isinf(d0) else float(d0),
                     "prior_variance": s0.tolist(), "t": full(t), "p": full(p), "q": full(multipletests(p, method="fdr_bh")[1])}
print(json.dumps(out))
