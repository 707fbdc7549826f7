"""Canonical correlations and ridge predictions of two small matrices given by a formula.

numpy 2, scipy 1.16: python make.py > values.json
The matrices are those of `stages/dosage/src/baselines/tests.rs::formula`.
"""

import json

import numpy as np
import scipy
from scipy.linalg import subspace_angles


def formula(n, p, a, b):
    i, g = np.meshgrid(np.arange(n), np.arange(p), indexing="ij")
    value = 10.0 * np.sin(a * i + b * g * g)
    return np.where(value > 0, np.round(value), 0.0)


n = 24
x, y = formula(n, 5, 1.3, 0.5), formula(n, 4, 1.1, 0.4)
zx, zy = (x - x.mean(0)) / x.std(0), (y - y.mean(0)) / y.std(0)
correlations = np.sort(np.cos(subspace_angles(zx, zy)))[::-1]
penalty = 0.5 * np.mean(np.linalg.svd(zx, compute_uv=False) ** 2)
predicted = zx @ np.linalg.solve(zx.T @ zx + penalty * np.eye(5), zx.T @ zy)


def unit(m):
    return m / np.linalg.norm(m, axis=1, keepdims=True)


distances = np.linalg.norm(unit(predicted) - unit(zy), axis=1)
print(
    json.dumps(
        {
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "canonical_correlations": correlations.tolist(),
            "ridge_distances": distances.tolist(),
        },
        indent=1,
    )
)
