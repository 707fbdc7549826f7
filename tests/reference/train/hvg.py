"""Highly variable genes by scanpy (flavor seurat) on a matrix that a formula makes.

    python hvg.py > hvg.json

The formula is repeated in stages/numerics/src/stats/hvg.rs; rows 0, 3, 6, ... stand for the training cells.
"""
import json, sys, warnings
import anndata as ad, numpy as np, scanpy as sc

warnings.filterwarnings("ignore")
N = 12
i, j = np.meshgrid(np.arange(50.0), np.arange(120.0), indexing="ij")
wave = np.sin(1.3 * i + 0.7 * j + 0.05 * (i * j))
level = 0.2 + 0.02 * j
X = (np.maximum(0, wave * level * 2 + level * 0.5) * (1 + j % 7)).astype(np.float32)
X[:, 5] = 0
a = ad.AnnData(X[::3].astype(np.float64))
sc.pp.highly_variable_genes(a, flavor="seurat", n_top_genes=N)
d = a.var["dispersions_norm"]
# scanpy takes every gene at the cut; with so many there is no tie.
assert a.var["highly_variable"].sum() == N
json.dump({"scanpy": sc.__version__, "top": np.flatnonzero(a.var["highly_variable"]).tolist(), "dispersions_norm": [None if np.isnan(v) else v for v in d]}, sys.stdout)
print()
