"""Makes small.json: what infercnvpy computes on a small sparse matrix.

    python make.py OLD > small.json

Needs infercnvpy 0.6.1 (anndata 0.12, numpy 2, scipy 1) and, for `edges: same`, a directory OLD with
the unpacked wheel of infercnvpy 0.4.3, of which only `_running_mean` is run (taken from its source,
since the package no longer imports beside current libraries).

30 cells x 110 genes: chr1 60, chr2 25, chr10 9, chrX 8, chrM 4, scaffold 4; genes in shuffled order.
"""
import json
import re
import sys
import warnings
from pathlib import Path
from typing import Union

warnings.filterwarnings("ignore")
import anndata as ad
import infercnvpy as cnv
import infercnvpy.tl._infercnv as mod
import numpy as np
import pandas as pd
import scipy.sparse as sp

assert cnv.__version__ == "0.6.1", cnv.__version__
rng = np.random.default_rng(7)
chromosome = sum(([c] * n for c, n in [("chr1", 60), ("chr2", 25), ("chr10", 9), ("chrX", 8), ("chrM", 4), ("KI270711.1", 4)]), [])
n, g = 30, len(chromosome)
start = np.concatenate([1000 * np.arange(1, k + 1) for k in (60, 25, 9, 8, 4, 4)])
var = pd.DataFrame({"chromosome": chromosome, "start": start, "end": start + 500}, index=[f"g{i:03d}" for i in range(g)])
mean = rng.gamma(1.0, 0.6, g)
counts = rng.poisson(mean * rng.gamma(4, 0.25, (n, 1)))
counts[:12, 5:40] += rng.poisson(0.7, (12, 35))  # a gain in some cells
x = np.round(np.log1p(counts), 3).astype(np.float32)
x[3, 7] = 4.5  # beyond the clip
order = rng.permutation(g)
x, var = x[:, order], var.iloc[order]
groups = np.array(["tumour"] * 14 + ["T cell"] * 9 + ["B cell"] * 7)
adata = ad.AnnData(sp.csr_matrix(x), obs=pd.DataFrame({"group": groups}, index=[f"c{i}" for i in range(n)]), var=var)

source = Path(sys.argv[1], "infercnvpy/tl/_infercnv.py").read_text()
old = {"np": np, "scipy": __import__("scipy"), "Union": Union}
exec(re.search(r"def _running_mean\(.*?(?=\ndef )", source, re.S).group(0), old)


def run(edges="valid", **kw):
    new = mod._running_mean
    if edges == "same":
        mod._running_mean = lambda x, n, step, gene_list, calculate_gene_values: (old["_running_mean"](x, n, step), None)
    # Chunks run in this process, so that the replaced function is the one that runs.
    mod.process_map = lambda f, *args, tqdm_class, max_workers: list(map(f, *args))
    try:
        chr_pos, res, genes = cnv.tl.infercnv(adata, reference_key="group", inplace=False, **kw)
    finally:
        mod._running_mean = new
    out = {"edges": edges, "params": kw, "chr_pos": {k: int(v) for k, v in chr_pos.items()}, "x_cnv": np.round(res.toarray(), 7).tolist()}
    if genes is not None:
        out["gene_values"] = [[None if np.isnan(v) else round(float(v), 7) for v in row] for row in genes[:5]]
    return out


base = {"window_size": 12, "step": 4}
cases = {
    "one_reference": run(reference_cat="T cell", **base),
    "two_references": run(reference_cat=["T cell", "B cell"], **base),
    "no_filter": run(reference_cat="T cell", dynamic_threshold=None, **base),
    "small_clip": run(reference_cat="T cell", lfc_clip=0.5, exclude_chromosomes=["chr2"], **base),
    "chunks": run(reference_cat="T cell", chunksize=8, **base),
    "odd_window_equal_to_a_chromosome": run(reference_cat="T cell", window_size=25, step=3),
    "gene_values": run(reference_cat=["T cell", "B cell"], calculate_gene_values=True, **base),
    "same": run(edges="same", reference_cat="T cell", **base),
    "same_odd": run(edges="same", reference_cat="T cell", window_size=11, step=5),
}
json.dump({
    "infercnvpy": cnv.__version__,
    "var": {"names": list(var.index), "chromosome": list(var.chromosome), "start": var.start.tolist(), "end": var.end.tolist()},
    "group": groups.tolist(),
    "x": [[[int(c), round(float(row[c]), 3)] for c in np.flatnonzero(row)] for row in x],
    "cases": cases,
}, sys.stdout, separators=(",", ":"))
