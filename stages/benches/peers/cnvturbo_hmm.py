"""cnvturbo, a Python port of R inferCNV, on one patient: python cnvturbo_hmm.py EXPR.zarr OUT.zarr CUTOFF

EXPR has layers.counts, obs.cancer_vs_normal and gene positions. OUT gets obsm ratios (cells x genes kept),
obs subcluster, uns genes, means, sds (one row per subcluster), states (0 to 5), seconds. Needs cnvturbo 0.3.0.
"""
import math
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import anndata as ad
import numpy as np
import scipy.sparse as sp
from cnvturbo.tl._hmm import _R_LOG_PRIOR, _build_r_log_transition, _viterbi_r_single, hmm_call_subclusters
from cnvturbo.tl._infercnv_r import compute_hspike_emission_params, infercnv_r_compat

path, out, cutoff = sys.argv[1], sys.argv[2], float(sys.argv[3])
a = ad.read_zarr(path)
a.layers["counts"] = sp.csr_matrix(a.layers["counts"])
a.var["chromosome"] = a.var["chromosome"].astype(str)
a.obs["cancer_vs_normal"] = a.obs["cancer_vs_normal"].astype(str)
common = dict(reference_key="cancer_vs_normal", reference_cat="Normal")
excluded = ("chrX", "chrY", "chrM", "nan", "")
t = time.time()
infercnv_r_compat(a, **common, exclude_chromosomes=excluded, min_mean_expr_cutoff=cutoff, n_jobs=2)
means, sds, intercepts, slopes = compute_hspike_emission_params(a, **common, exclude_chromosomes=excluded, min_mean_expr_cutoff=cutoff, return_sd_trend=True)
hmm_call_subclusters(
    a, use_rep="cnv", **common, precomputed_emit_means=means, precomputed_emit_stds=sds,
    precomputed_emit_sd_intercepts=intercepts, precomputed_emit_sd_slopes=slopes, n_jobs=2,
)
seconds = time.time() - t
x = a.obsm["X_cnv"].toarray()
labels = a.obs["cnv_tumor_call_subcluster"].astype(str).to_numpy()
bounds = sorted(int(v) for v in a.uns["cnv"]["chr_pos"].values()) + [x.shape[1]]
names = sorted(set(labels))
states, spreads = [], []
for name in names:
    cells = labels == name
    mean, sd = x[cells].mean(axis=0).astype(float), np.exp(intercepts + slopes * math.log(cells.sum()))
    row = np.concatenate([_viterbi_r_single(mean[s:e], _build_r_log_transition(6), _R_LOG_PRIOR, means, sd) for s, e in zip(bounds, bounds[1:])])
    states.append(row)
    spreads.append(sd)
b = ad.AnnData(obs=a.obs[[]].copy())
b.obs["subcluster"] = labels
b.obsm["ratios"] = x.astype(np.float32)
b.uns["genes"] = np.array(a.uns["cnv"]["kept_var_names"], dtype=object).astype(str)
b.uns["subclusters"] = np.array(names).astype(str)
b.uns["means"], b.uns["sds"], b.uns["states"] = means, np.array(spreads), np.array(states, float)
b.uns["seconds"] = seconds
b.write_zarr(out)
