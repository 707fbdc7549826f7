"""What PyTorch is given for the paired comparison on the ovarian set: one .npz with our expression, X_cnv, split and negatives.

    clcc-flow run seedN.yaml --set mine.space=log1p --until mine --cache CACHE     # ovarian4.yaml with `name: seedN`, `seed: N`
    python ovarian_export.py CACHE seedN OUT.npz                                   # anndata 0.12.19

So both programs train on the same cells, features and parts, and only the training differs.
"""
import json, os, sys
import anndata as ad, numpy as np, scipy.sparse as sp, zarr

cache, name, out = sys.argv[1:]
keys = dict(json.loads(line)[:2] for line in open(f"{cache}/last/{name}.jsonl") if line.strip())


def place(node, role):
    record = json.loads(open(f"{cache}/ac/{keys[node][:2]}/{keys[node]}.json").readline())
    digest = next(o["digest"] for o in record["outputs"] if o["role"] == role)
    return f"{cache}/cas/{digest[:2]}/{digest}"


def tensors(path):
    """safetensors, by hand: length of the header, header, arrays."""
    raw = open(path, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    kinds = {"I64": "<i8", "U32": "<u4", "F32": "<f4", "F64": "<f8"}
    header = {k: v for k, v in json.loads(raw[8 : 8 + n]).items() if k != "__metadata__"}
    return {k: np.frombuffer(raw[8 + n + v["data_offsets"][0] : 8 + n + v["data_offsets"][1]], kinds[v["dtype"]]) for k, v in header.items()}


patients = [node.split("[")[1][:-1] for node in keys if node.startswith("infercnv[")]
def read(path):
    """An AnnData of the cache: an archive, or a folder as versions before wrote it."""
    return ad.read_zarr(path if os.path.isdir(path) else zarr.storage.ZipStore(path, mode="r"))


expr = [read(place(f"preprocess[{p}]", "expr")) for p in patients]
cnv = [read(place(f"infercnv[{p}]", "cnv")) for p in patients]
assert all((e.obs_names == c.obs_names).all() and (e.var_names == expr[0].var_names).all() for e, c in zip(expr, cnv))
X, C = sp.vstack([a.X for a in expr]).tocsr(), sp.vstack([a.obsm["X_cnv"] for a in cnv]).tocsr()
table = [line.split("\t") for line in open(place("mine", "split")).read().splitlines() if not line.startswith("#")][1:]
assert [row[:2] for row in table] == [[c, p] for p, a in zip(patients, expr) for c in a.obs_names]
part = np.array([row[2] for row in table])
n = tensors(place("mine", "negatives"))
np.savez(out, data=X.data, indices=X.indices, indptr=X.indptr, genes=X.shape[1], cnv=C.toarray().astype("f4"), part=part, offsets=n["offsets"], negatives=n["indices"])
print(out, X.shape, C.shape, {p: int((part == p).sum()) for p in ("train", "val", "test")})
