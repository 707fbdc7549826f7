# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From counts to genes that escape their dosage
#
# clcc-flow from Python: run a workflow, read the tables, go on in scanpy. The data are three simulated tumours, so
# that we know which genes escape. With counts of your own, only the first step differs (see the end).
#
# `pip install "clcc-flow[anndata]" scanpy`

# %%
import clcc_flow
import matplotlib.pyplot as plt
import scanpy as sc

sc.set_figure_params(dpi=60, figsize=(4, 4))

# %% [markdown]
# ## Run
#
# A workflow is a file that you can read and change; `init` writes one. `run` shows its progress here, and what is
# known already is not computed again: run the cell twice to see it.

# %%
workflow = clcc_flow.init(template="demo", workflow="demo.yaml")

# %%
run = clcc_flow.run(workflow)
run

# %% [markdown]
# Warnings belong to the answer. Here the paper's contrast of discordant and concordant cells finds cell types:

# %%
for warning in run.warnings:
    print(f"{warning.node}: {warning.message}\n")

# %% [markdown]
# ## The answer: genes
#
# `dosage_genes` has one row per gene: how much its expression follows its copy number (1: in proportion, 0: not at
# all), with the probability that it does not.

# %%
results = run.read()
genes = results.tables["dosage_genes"].set_index("names")
genes[["chromosome", "slope_shrunken", "prob_insensitive", "class", "reason"]].sort_values(
    "prob_insensitive", ascending=False
).head(8)

# %% [markdown]
# Every column says what it is, and every table how it was made.

# %%
for column in ["slope_shrunken", "prob_insensitive", "class"]:
    print(f"{column}: {genes.attrs['columns'][column]['about']}")

# %% [markdown]
# Do genes that were planted to escape have lower slopes?

# %%
truth = results.tables["truth_genes"].set_index("gene")
tested = genes[genes["slope_shrunken"].notna() & (genes["class"] != "untested")].join(truth["escape_constitutive"])
fig, ax = plt.subplots(figsize=(6, 4))
bins = [i / 20 for i in range(34)]
for escapes, rows in tested.groupby("escape_constitutive"):
    label = f"{'escape' if escapes else 'follow'} (n = {len(rows)})"
    ax.hist(rows["slope_shrunken"].astype(float), bins=bins, density=True, alpha=0.6, label=label)
ax.set(xlabel="slope of expression on copy number", ylabel="density of genes")
ax.legend();

# %% [markdown]
# ## Cells, in scanpy
#
# One AnnData per patient, with raw counts, the copy-number profile of each cell (`obsm["X_cnv"]`), its clone and what
# the stages found; and one of all patients. Clusters, clones and both UMAPs are of each patient's cells alone, so
# draw them per patient.

# %%
patient = results.patients["P1"]
sc.pl.embedding(patient, "X_cnv_umap", color=["cell_type", "cnv_clone", "cnv_malignant"], wspace=0.6, frameon=False)

# %%
adata = results.cohort
adata.obs.groupby(["patient", "cnv_malignant"], observed=True)["cnv_score"].agg(["size", "median"])

# %% [markdown]
# ## Your own data
#
# Give `init` an AnnData with raw counts, or the path of an h5ad, a zarr or a 10x folder. It proposes columns and
# writes what it took into the file, as comments; then `run` as above.

# %%
own = clcc_flow.init(
    adata, "own.yaml", patient="patient", cell_type="cell_type", by="cancer_vs_normal", cancer="Cancer", layer="counts"
)
print("".join(open(own).readlines()[:12]))
