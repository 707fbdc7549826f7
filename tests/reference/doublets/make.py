"""Reference values for stages/counts/src/doublets: scores of Scrublet, thresholds of scikit-image.

    pip install scrublet==0.2.3 scikit-image==0.26.0
    python make.py > values.json

The coordinates follow a formula that stages/counts/src/doublets/score.rs repeats.
"""

import json
from importlib.metadata import version
from statistics import NormalDist

import numpy as np
import scrublet
from skimage.filters import threshold_minimum


def coords(n):
    i, j = np.arange(n)[:, None], np.arange(3)[None, :]
    return np.sin(1.7 * i + 0.9 * j) + 0.01 * ((i * (j + 2)) % 17)


def scores(n_cells, n_sim, k, rate):
    s = scrublet.Scrublet(np.ones((n_cells, 2)), expected_doublet_rate=rate)
    points = coords(n_cells + n_sim)
    s.set_manifold(points[:n_cells], points[n_cells:])
    s._nearest_neighbor_classifier(k=k, exp_doub_rate=rate, use_approx_nn=False)
    return {
        "n_cells": n_cells, "n_sim": n_sim, "k": k, "rate": rate,
        "observed": s.doublet_scores_obs_.tolist(), "simulated": s.doublet_scores_sim_.tolist(),
    }


def threshold(values):
    try:
        found = float(threshold_minimum(np.array(values)))
    except RuntimeError:
        found = None
    return {"scores": values, "threshold": found}


def mixture(n, share, low, high, width):
    i = np.arange(n)
    wave = np.sin(12.9898 * i) * 43758.5453 % 1 - 0.5
    return np.where(i % 100 < 100 * share, high, low).astype(float) + width * wave


print(json.dumps({
    "versions": {p: version(p) for p in ("scrublet", "scikit-image", "numpy")},
    "scores": [scores(60, 120, 4, 0.05), scores(83, 83, 7, 0.1), scores(50, 20, 3, 0.3)],
    "thresholds": [
        threshold([float(f"{v:.6f}") for v in mixture(400, 0.4, 0.05, 0.5, 0.2)]),
        threshold([float(f"{v:.6f}") for v in mixture(300, 0.2, 0.1, 0.3, 0.05)]),
        threshold([round(NormalDist(0.3, 0.05).inv_cdf((i + 0.5) / 300), 6) for i in range(300)]),
    ],
}))
