"""Opens the example store of stages/data/src/anndata/tests.rs with anndata and compares every value.

Run by the test `anndata_opens_what_is_written` with CLCC_PYTHON set, as
`python -W error check.py STORE`; checked with anndata 0.12.19, zarr 3.1.6, numpy 2, scipy 1.
"""

import sys

import anndata
import numpy as np

read = anndata.read_h5ad if sys.argv[1].endswith('.h5ad') else anndata.read_zarr
a = read(sys.argv[1])
assert a.shape == (3, 2), a.shape
assert list(a.obs_names) == ["c1", "c2", "ç3"]
assert list(a.obs.columns) == ["z_text", "a_number", "count", "flag", "all_false", "cell_type"]
assert list(a.obs["z_text"]) == ["x", "", "naïve"]
assert list(a.obs["a_number"]) == [1.5, np.inf, 0.0]
assert list(a.obs["count"]) == [1, -(2**63), 2**63 - 1]
assert list(a.obs["flag"]) == [True, False, True]
assert not a.obs["all_false"].any() and a.obs["all_false"].dtype == bool
kind = a.obs["cell_type"].cat
assert kind.ordered and list(kind.categories) == ["b", "a", "unused"] and list(kind.codes) == [1, -1, 0]
assert list(a.var["chromosome"]) == ["chr1", "chrX"]
counts = np.array([[1, 0], [0, 0], [3, 4]], dtype=np.float32)
assert a.layers["counts"].format == "csr" and (a.layers["counts"].toarray() == counts).all()
assert np.allclose(a.X.toarray(), np.log1p(counts), rtol=1e-6)
assert (a.obsm["X_pca"] == [[1, 2], [3, 4], [5, -6.5]]).all()
assert (a.obsm["X_cnv"].toarray() == [[0.5, 0, 0], [0, 0, 0], [0, -1, 0]]).all()
assert a.obsm["none_wide"].shape == (3, 0)
assert (a.varm["PCs"] == [[1], [2]]).all()
assert a.obsp["cnv_connectivities"][0, 2] == 0.25 and a.obsp["cnv_connectivities"].nnz == 1
assert list(a.varp) == []
u = a.uns
assert u["cnv"]["chr_pos"] == {"chr1": 0, "chr2": 5} and u["cnv"]["nothing"] == {}
assert u["cnv"]["windows"].loc["chr1:0", "start"] == 7
assert u["name"] == "tumour" and u["ratio"] == 0.1 and u["seed"] == -3 and u["yes"]
assert list(u["texts"]) == ["p", "q"] and list(u["numbers"]) == [1.5, 2.5] and list(u["whole"]) == [1, 2]
assert (u["profiles"] == [[1, 2, 3], [4, 5, 6]]).all()
