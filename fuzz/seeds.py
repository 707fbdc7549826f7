"""Writes inputs as other programs write them, for CLCC_FUZZ_SEEDS: `python seeds.py DIR`.

Written for anndata 0.12, zarr 3.1, numcodecs 0.16, h5py 3.
"""

import sys
from pathlib import Path

import anndata
import h5py
import numcodecs
import numpy as np
import pandas as pd
import zarr
from scipy import sparse

out = Path(sys.argv[1])
for name in ("h5ad", "tenx_h5", "zarr"):
    (out / name).mkdir(parents=True, exist_ok=True)

rng = np.random.default_rng(1)
x = rng.poisson(0.7, (12, 9)).astype(np.float32)
x[:, 0] = 1


def data(matrix):
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(["a", "b", "a", None] * 3),
            "n": np.arange(12),
            "flag": [True, False] * 6,
            "maybe": pd.array([1, None, 3] * 4, dtype="Int64"),
            "text": [f"t{i % 5}" for i in range(12)],
        },
        index=[f"c{i}" for i in range(12)],
    )
    a = anndata.AnnData(matrix, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(9)]))
    a.obsm["X_pca"] = x[:, :2].copy()
    a.uns = {"d": {"x": 1.5, "s": "text"}, "v": np.arange(3)}
    return a


for name, matrix in (("csr", sparse.csr_matrix(x)), ("csc", sparse.csc_matrix(x)), ("dense", x)):
    data(matrix).write_h5ad(out / "h5ad" / f"{name}.h5ad")
    data(matrix).write_h5ad(out / "h5ad" / f"{name}-gzip.h5ad", compression="gzip")
data(sparse.csr_matrix(x)).write_h5ad(out / "h5ad" / "lzf.h5ad", compression="lzf")

for version in (2, 3):
    anndata.settings.zarr_write_format = version
    for name, matrix in (("csr", sparse.csr_matrix(x)), ("csc", sparse.csc_matrix(x)), ("dense", x)):
        data(matrix).write_zarr(out / "zarr" / f"v{version}-{name}.zarr")


def with_x(path, version, **how):
    """A store whose dense X has these codecs."""
    anndata.settings.zarr_write_format = version
    data(x).write_zarr(path)
    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    attributes = dict(root["X"].attrs)
    del root["X"]
    made = root.create_array("X", shape=x.shape, dtype=x.dtype, **({"chunks": (5, 9)} | how))
    made[:] = x
    made.attrs.update(attributes)


for cname in ("lz4", "lz4hc", "zstd", "zlib", "blosclz"):
    for shuffle in (0, 1, 2):
        codec = numcodecs.Blosc(cname=cname, clevel=5, shuffle=shuffle)
        with_x(out / "zarr" / f"v2-{cname}-{shuffle}.zarr", 2, compressors=codec)
    codec = zarr.codecs.BloscCodec(cname=cname, shuffle="bitshuffle")
    with_x(out / "zarr" / f"v3-{cname}.zarr", 3, compressors=codec)
with_x(out / "zarr" / "v2-gzip.zarr", 2, compressors=numcodecs.GZip(5))
with_x(out / "zarr" / "v2-zlib.zarr", 2, compressors=numcodecs.Zlib(5))
with_x(out / "zarr" / "v2-zstd.zarr", 2, compressors=numcodecs.Zstd(5))
with_x(out / "zarr" / "v3-gzip.zarr", 3, compressors=zarr.codecs.GzipCodec())
with_x(out / "zarr" / "v3-sharded.zarr", 3, chunks=(3, 9), shards=(6, 9), compressors=zarr.codecs.ZstdCodec())
with_x(out / "zarr" / "v3-plain.zarr", 3, compressors=None)


def tenx(path, old=False, **how):
    m = sparse.csc_matrix(x.T)
    with h5py.File(path, "w", libver=("earliest" if old else ("v110", "v110"))) as f:
        g = f.create_group("GRCh38" if old else "matrix")
        names = lambda p, n: np.array([f"{p}{i}" for i in range(n)], dtype="S8")
        g.create_dataset("barcodes", data=names("BC", 12), **how)
        g.create_dataset("data", data=m.data.astype(np.int32), chunks=(16,), **how)
        g.create_dataset("indices", data=m.indices.astype(np.int64), chunks=(16,), **how)
        g.create_dataset("indptr", data=m.indptr.astype(np.int64), **how)
        g.create_dataset("shape", data=np.array(m.shape, dtype=np.int32))
        if old:
            g.create_dataset("genes", data=names("ENSG", 9), **how)
            g.create_dataset("gene_names", data=names("G", 9), **how)
        else:
            features = g.create_group("features")
            features.create_dataset("id", data=names("ENSG", 9), **how)
            features.create_dataset("name", data=names("G", 9), **how)
            features.create_dataset("feature_type", data=np.array(["Gene Expression"] * 9, dtype="S15"), **how)
            features.create_dataset("genome", data=np.array(["GRCh38"] * 9, dtype="S6"), **how)


tenx(out / "tenx_h5" / "v3.h5", compression="gzip", shuffle=True)
tenx(out / "tenx_h5" / "v3-checked.h5", compression="gzip", fletcher32=True)
tenx(out / "tenx_h5" / "v2.h5", old=True, compression="gzip")
