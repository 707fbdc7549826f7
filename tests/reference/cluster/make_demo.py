"""Connectivities of a demo patient by scanpy, on the components that the program exports.

clcc-flow run workflows/demo.yaml     (with export: {params: {h5ad: true}})
python make_demo.py results/demo/P1.h5ad
Writes demo_components.tsv (the first 150 cells and 20 components, as f32) and demo_connectivities.tsv (upper
half). Made with scanpy 1.11.5, umap-learn 0.5.12, scikit-learn 1.9, numpy 2; umap-learn 0.5.3, 0.5.7 and
0.5.9 give the same. Also says how far whole patients are apart, and what rounding of the components does.
"""

import sys

import anndata as ad
import numpy as np
import scanpy as sc

adata = ad.read_h5ad(sys.argv[1])


def weights(x, key="s"):
    a = ad.AnnData(np.zeros((len(x), 1), np.float32), obsm={"x": x})
    sc.pp.neighbors(a, use_rep="x", n_neighbors=15)
    return a.obsp["connectivities"].toarray()


pca = adata.obsm["X_cnv_pca"]
ours = adata.obsp["cnv_neighbors_connectivities"].toarray()
print("exported graph against scanpy on the exported components:", abs(ours - weights(pca)).max())
for decimals in (6, 5, 4):
    print(f"rounded to {decimals} decimals:", abs(ours - weights(np.round(pca, decimals))).max())

x = pca[:150, :20]
np.savetxt("demo_components.tsv", x, fmt="%.9g", delimiter="\t")
w = np.triu(weights(x))
i, j = np.nonzero(w)
np.savetxt("demo_connectivities.tsv", np.c_[i, j, w[i, j]], fmt=["%d", "%d", "%.9g"], delimiter="\t")
