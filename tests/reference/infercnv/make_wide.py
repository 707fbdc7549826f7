"""Makes wide.json: what infercnvpy computes at windows of 100 and 250 genes.

    python make_wide.py > wide.json

Needs infercnvpy 0.6.1 (anndata 0.12, numpy 2, scipy 1). 16 cells x 880 genes: chr1 550, chr2 200, chr3 100 (as
long as the smaller window), chr21 30. Every case is written twice, with the noise filter and without.
"""
import json
import sys
import warnings

warnings.filterwarnings("ignore")
import anndata as ad
import infercnvpy as cnv
import infercnvpy.tl._infercnv as mod
import numpy as np
import pandas as pd
import scipy.sparse as sp

assert cnv.__version__ == "0.6.1", cnv.__version__
mod.process_map = lambda f, *args, tqdm_class, max_workers: list(map(f, *args))
rng = np.random.default_rng(19)
sizes = {"chr1": 550, "chr2": 200, "chr3": 100, "chr21": 30}
chromosome = sum(([c] * n for c, n in sizes.items()), [])
n, g = 16, len(chromosome)
start = np.concatenate([1000 * np.arange(1, k + 1) for k in sizes.values()])
var = pd.DataFrame({"chromosome": chromosome, "start": start, "end": start + 500}, index=[f"g{i:03d}" for i in range(g)])
copies = np.ones((n, g))
copies[:4, 100:420] = 1.8
copies[2:8, 560:740] = 0.5
counts = rng.poisson(rng.gamma(0.6, 0.7, g) * rng.gamma(6, 1 / 6, (n, 1)) * copies)
x = np.round(np.log1p(counts), 3).astype(np.float32)
group = np.array(["tumour"] * 8 + ["T cell"] * 5 + ["B cell"] * 3)
obs = pd.DataFrame({"group": group}, index=[f"c{i}" for i in range(n)])
one, two = ["T cell"], ["T cell", "B cell"]
cases = {}
for name, reference, ours, kw in [
    ("w100_one", one, {}, {"window_size": 100}),
    ("w100_two", two, {}, {"window_size": 100}),
    ("w250_one", one, {}, {"window_size": 250}),
    ("w250_two", two, {}, {"window_size": 250}),
    ("w100_drop", one, {"short_chromosomes": "drop", "exclude_chromosomes": []}, {"window_size": 100, "exclude_chromosomes": ["chr21"]}),
    ("w250_drop", two, {"short_chromosomes": "drop", "exclude_chromosomes": []}, {"window_size": 250, "exclude_chromosomes": ["chr2", "chr3", "chr21"]}),
    ("w100_chunks", two, {}, {"window_size": 100, "chunksize": 5}),
    # All cells in one of infercnvpy's chunks is our `noise_scope: global`, whatever our `chunksize`.
    ("w100_global", two, {"noise_scope": "global", "chunksize": 5}, {"window_size": 100, "chunksize": 16}),
    ("w250_genes", two, {"calculate_gene_values": True}, {"window_size": 250, "calculate_gene_values": True}),
]:
    case = {"reference": reference, "params": {**kw, **ours}}
    for key, threshold in (("x_cnv", 1.5), ("unfiltered", None)):
        a = ad.AnnData(sp.csr_matrix(x), obs=obs.copy(), var=var)
        cnv.tl.infercnv(a, reference_key="group", reference_cat=reference, step=10, dynamic_threshold=threshold, **kw)
        case[key] = np.round(a.obsm["X_cnv"].toarray(), 7).tolist()
        if kw.get("calculate_gene_values") and threshold:
            case["gene_values"] = [[None if np.isnan(v) else round(float(v), 7) for v in row] for row in a.layers["gene_values_cnv"][:4]]
        if threshold and name == "w100_two":
            case["cnv_score"] = cnv.tl.cnv_score(a, groupby="group", inplace=False)
            case["cnv_score"] = {k: float(v) for k, v in case["cnv_score"].items()}
            case["ithcna"] = {k: None if np.isnan(v) else float(v) for k, v in cnv.tl.ithcna(a, groupby="group", inplace=False).items()}
    cases[name] = case
json.dump({
    "infercnvpy": cnv.__version__, "sizes": sizes, "group": group.tolist(),
    "x": [[[int(c), round(float(row[c]), 3)] for c in np.flatnonzero(row)] for row in x],
    "cases": cases,
}, sys.stdout, separators=(",", ":"))
