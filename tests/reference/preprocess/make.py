"""Makes small.json: what scanpy computes on a small count matrix.

    python make.py > small.json

Needs scanpy 1.11.5. 24 cells x 150 genes, some of them mitochondrial and of the cell cycle. With 150
genes the 25 expression bins hold 6 genes each, fewer than the 43 control genes, so scanpy draws
nothing at random and the scores are exact.
"""
import json
import sys
import warnings

warnings.filterwarnings("ignore")
import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp

assert sc.__version__ == "1.11.5", sc.__version__
s_genes = ["MCM5", "PCNA", "TYMS", "MCM2", "RRM2", "MLF1IP"]
g2m_genes = ["HMGB2", "CDK1", "TOP2A", "MKI67", "HN1", "CENPA", "AURKA"]
names = s_genes + g2m_genes + ["MT-CO1", "MT-ND1", "MT-ATP6"]
names += [f"GENE{i}" for i in range(150 - len(names))]
rng = np.random.default_rng(3)
names = [names[i] for i in rng.permutation(150)]
counts = rng.poisson(rng.gamma(0.5, 1.5, 150) * rng.gamma(3, 0.3, (24, 1)))
counts[5] = 0
cycling = np.isin(names, s_genes), np.isin(names, g2m_genes)
counts[8:13, cycling[0]] += rng.poisson(2, (5, cycling[0].sum()))
counts[13:17, cycling[1]] += rng.poisson(2, (4, cycling[1].sum()))
a = ad.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=pd.DataFrame(index=[f"c{i}" for i in range(24)]), var=pd.DataFrame(index=names))
a.var["mt"] = a.var_names.str.startswith("MT-")
sc.pp.calculate_qc_metrics(a, qc_vars=["mt"], percent_top=None, inplace=True)
sc.pp.normalize_total(a, target_sum=1e4)
sc.pp.log1p(a)
# scanpy takes the control size from the lists it is given: the full lists of Tirosh et al. have 43 and
# 54 genes, of which the data has these. Other names fill the lists up.
fill = lambda genes, n: genes + [f"ABSENT{i}" for i in range(n - len(genes))]
sc.tl.score_genes_cell_cycle(a, s_genes=fill(s_genes, 43), g2m_genes=fill(g2m_genes, 54))
clean = lambda v: [None if np.isnan(x) else round(float(x), 6) for x in v]
json.dump({
    "scanpy": sc.__version__,
    "genes": names,
    "counts": [[[int(c), int(row[c])] for c in np.flatnonzero(row)] for row in counts],
    "total_counts": clean(a.obs.total_counts),
    "n_genes_by_counts": a.obs.n_genes_by_counts.astype(int).tolist(),
    "pct_counts_mt": clean(a.obs.pct_counts_mt),
    "n_cells": a.var.n_cells_by_counts.astype(int).tolist(),
    "x": [clean(row.toarray().ravel()[np.flatnonzero(c)]) for row, c in zip(a.X, counts)],
    "S_score": clean(a.obs.S_score),
    "G2M_score": clean(a.obs.G2M_score),
    "phase": a.obs.phase.tolist(),
}, sys.stdout, separators=(",", ":"))
