"""Writes AnnData stores with encodings that the program reads but never writes.

Run by the test `the_encodings_of_anndata_are_read` with CLCC_PYTHON set, as `python write.py DIR`;
checked with anndata 0.12.19, zarr 3.1.6, h5py 3, pandas 2.
"""

import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

x = np.array([[0, 1], [2, 0], [0, 3]], dtype=np.float64)
obs = pd.DataFrame(
    {
        "nullable_int": pd.array([1, None, 3], dtype="Int64"),
        "whole_int": pd.array([1, 2, 3], dtype="Int64"),
        "nullable_bool": pd.array([True, None, False], dtype="boolean"),
        "number_category": pd.Categorical([11, 12, 11]),
        "byte": np.array([0, 128, 255], dtype=np.uint8),
        "half": np.array([0.5, 1.5, 2.5], dtype=np.float32),
        "date": [1, 2, 3],
    },
    index=["c0", "c1", "c2"],
)
a = anndata.AnnData(sparse.csc_matrix(x), obs=obs, var=pd.DataFrame(index=["g0", "g1"]))
a.layers["int64"] = sparse.csr_matrix(x.astype(np.int64))
a.uns = {"d": {"x": 1}, "none": None}
out = Path(sys.argv[1])
a.write_h5ad(out / "a.h5ad", compression="gzip")
for version in (2, 3):
    anndata.settings.zarr_write_format = version
    a.write_zarr(out / f"v{version}.zarr")

# anndata itself refuses to write dates; other tools do not. A column in an encoding of the future.
import h5py
import zarr

with h5py.File(out / "a.h5ad", "r+") as f:
    del f["obs/date"]
    group = f["obs"].create_group("date")
    group.attrs["encoding-type"] = "date"
for version in (2, 3):
    root = zarr.open_group(out / f"v{version}.zarr", mode="r+", use_consolidated=False)
    del root["obs/date"]
    root["obs"].create_group("date").attrs["encoding-type"] = "date"
