"""Draws the chromosome heatmap and the UMAPs, and runs Leiden on the graph of an exported store.

Run by the test `infercnvpy_draws_from_the_store` with CLCC_PYTHON set, as `python check.py STORE`;
checked with infercnvpy 0.6.1, scanpy 1.11.5, anndata 0.12.19.
"""

import sys
import warnings

import matplotlib

matplotlib.use("Agg")

import anndata
import infercnvpy as cnv
import scanpy as sc

with warnings.catch_warnings():
    warnings.simplefilter("error")
    read = anndata.read_h5ad if sys.argv[1].endswith(".h5ad") else anndata.read_zarr
    a = read(sys.argv[1])
axes = cnv.pl.chromosome_heatmap(a, groupby="cnv_leiden", vmin=-1, vmax=3, show=False)
assert "heatmap_ax" in axes
sc.pl.umap(a, color=["cnv_leiden", "cell_type"], show=False)
cnv.pl.umap(a, color="cnv_score", show=False)
assert list(a.uns["cnv"]["chr_pos"]) == ["chr1", "chr2"]
cnv.tl.cnv_score(a, key_added="again")
assert a.obs["again"].notna().all()
sc.tl.leiden(a, neighbors_key="cnv_neighbors", key_added="l", flavor="igraph", n_iterations=2, directed=False)
assert "l" in a.obs
# Genes and cells with what was found, and the note that differential expression looks for.
assert a.uns["log1p"] == {}
assert a.var["dosage_class"].isin(["insensitive", "untested"]).sum() == 2
assert a.obs["dosage_shortfall"].notna().sum() == 2
sc.tl.rank_genes_groups(a, "cell_type", method="t-test")
