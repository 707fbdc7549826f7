"""Makes hmm.json: what cnvturbo, a Python port of R inferCNV, computes on a small count matrix.

    python make_hmm.py > hmm.json

Needs cnvturbo 0.3.0 (scanpy 1.11, numpy 2). 36 cells x 260 genes: chr1 120, chr2 90, chr10 30, chr21 1 and
chrX 8 of them on known places, the rest without. The states are called on given subclusters with given
levels, so that neither Leiden nor simulated cells stand between the two programs. cnvturbo takes the mean
of all reference cells, so one reference group is used.
"""
import json
import sys
import warnings

warnings.filterwarnings("ignore")
import anndata as ad
import numpy as np
import pandas as pd
from importlib.metadata import version
from cnvturbo.tl._hmm import _build_r_log_transition, _viterbi_r_single
from cnvturbo.tl._infercnv_r import denoise_r_compat, infercnv_r_compat

rng = np.random.default_rng(11)
chromosome = sum(([c] * n for c, n in [("chr1", 120), ("chr2", 90), ("chr10", 30), ("chr21", 1), ("chrX", 8), (None, 11)]), [])
n, g = 36, len(chromosome)
start = np.concatenate([1000 * np.arange(1, k + 1) for k in (120, 90, 30, 1, 8, 11)])
var = pd.DataFrame({"chromosome": chromosome, "start": start, "end": start + 500}, index=[f"g{i:03d}" for i in range(g)])
mean = rng.gamma(0.7, 3.0, g)
depth = rng.gamma(12, 1 / 12, (n, 1))
copies = np.ones((n, g))
copies[:10, 20:100] = 2.0
copies[5:18, 130:190] = 0.4
counts = rng.poisson(mean * depth * copies).astype(np.float32)
counts[:, 3] = 0
order = rng.permutation(g)
counts, var = counts[:, order], var.iloc[order]
group = np.array(["Cancer"] * 18 + ["Normal"] * 18)
subcluster = np.array(["a"] * 5 + ["b"] * 5 + ["c"] * 8 + ["n"] * 18)
a = ad.AnnData(counts, obs=pd.DataFrame({"group": group}, index=[f"c{i}" for i in range(n)]), var=var)
a.layers["counts"] = counts
infercnv_r_compat(a, reference_key="group", reference_cat="Normal", window_size=31, min_mean_expr_cutoff=0.5, exclude_chromosomes=("chrX", "chrY", "chrM"), n_jobs=1)
x = a.obsm["X_cnv"].toarray()
reference = group == "Normal"
denoised = denoise_r_compat(x, reference)
neutral = float(np.mean(x[reference].astype(np.float64)))
assert (denoised == neutral).any()
starts = a.uns["cnv"]["chr_pos"]
bounds = sorted(int(v) for v in starts.values()) + [x.shape[1]]
t = 1e-6
means6, sds6 = np.array([0.55, 0.75, 1.0, 1.25, 1.5, 1.9]), np.array([0.10, 0.11, 0.12, 0.14, 0.15, 0.17])
delta = 0.2
means3, sd3 = np.array([neutral - delta, neutral, neutral + delta]), 0.11


def states(mean_profile, means, sds):
    k = len(means)
    prior = np.full(k, t)
    prior[2 if k == 6 else 1] = 1 - 5 * t
    out = []
    for s, e in zip(bounds, bounds[1:]):
        out += _viterbi_r_single(mean_profile[s:e].astype(float), _build_r_log_transition(k, t), np.log(prior), means, sds).tolist()
    return out


subclusters = {}
for name in ["a", "b", "c", "n"]:
    cells = subcluster == name
    mean_profile = x[cells].astype(np.float64).mean(axis=0)
    subclusters[name] = {
        "cells": np.flatnonzero(cells).tolist(),
        "i6": states(mean_profile, means6, sds6 / np.sqrt(cells.sum())),
        "i3": states(mean_profile, means3, np.full(3, sd3)),
    }
json.dump({
    "cnvturbo": version("cnvturbo") if "--installed" in sys.argv else "0.3.0",
    "names": list(var.index), "chromosome": [c or "" for c in var.chromosome], "start": var.start.tolist(), "end": var.end.tolist(),
    "group": group.tolist(), "counts": counts.astype(int).tolist(),
    "genes": a.uns["cnv"]["kept_var_names"],
    "ratios": np.round(x.astype(float), 6).tolist(),
    "neutral": neutral, "kept": (denoised != neutral).astype(int).tolist(),
    "means6": means6.tolist(), "sds6": sds6.tolist(), "means3": means3.tolist(), "sd3": sd3,
    "subclusters": subclusters,
}, sys.stdout, separators=(",", ":"))
