"""Times anndata and scanpy on an h5ad, or writes the files that are timed.

    h5ad.py FILE                seconds to read, seconds to normalise and log1p: best of five, warm
    h5ad.py OWN PLAIN GZIP      writes OWN again as anndata does, without and with compression
"""

import sys
import time
import warnings

import anndata
import scanpy as sc

warnings.simplefilter("ignore")

if len(sys.argv) == 4:
    data = anndata.read_h5ad(sys.argv[1])
    data.write_h5ad(sys.argv[2])
    data.write_h5ad(sys.argv[3], compression="gzip")
    sys.exit()

read, normalise = [], []
for _ in range(6):
    start = time.perf_counter()
    data = anndata.read_h5ad(sys.argv[1])
    read.append(time.perf_counter() - start)
    start = time.perf_counter()
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)
    normalise.append(time.perf_counter() - start)
print(min(read[1:]), min(normalise[1:]))
