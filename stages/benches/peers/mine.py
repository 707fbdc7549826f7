"""Hard negatives as the paper describes them, in numpy: each batch of anchors against 5,000 random candidates.

    python mine.py CELLS GENES WINDOWS ANCHORS       # prints seconds, without making the data
"""
import sys, time
import numpy as np

cells, genes, windows, anchors = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
X = np.zeros((cells, genes), np.float32)
for row in X:
    at = rng.choice(genes, int(0.06 * genes), replace=False)
    row[at] = rng.random(len(at), np.float32) * 3
C = rng.standard_normal((cells, windows)).astype(np.float32)
X /= np.linalg.norm(X, axis=1, keepdims=True) + 1e-9
C /= np.linalg.norm(C, axis=1, keepdims=True) + 1e-9
X[:256] @ X[:256].T
started = time.perf_counter()
for first in range(0, anchors, 256):
    block = slice(first, min(first + 256, anchors))
    candidates = rng.choice(cells, 5000, replace=False)
    copy_number, expression = C[block] @ C[candidates].T, X[block] @ X[candidates].T
    for c, e in zip(copy_number, expression):
        hard = np.flatnonzero((c > 0.5) & (e < 0.3))
        hard[np.argsort(e[hard])[:10]]
print(time.perf_counter() - started)
