"""Retrieval both ways in numpy, pooled and per patient: ranks of the matching cells, ties against the model.

    python eval.py CELLS WIDTH PATIENTS       # prints seconds
"""
import sys, time
import numpy as np

n, width, patients = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
unit = lambda a: a / np.linalg.norm(a, axis=1, keepdims=True)
E = unit(rng.standard_normal((n, width)).astype(np.float32))
C = unit(E + 4 * unit(rng.standard_normal((n, width)).astype(np.float32)))


def figures(e, c):
    s = e @ c.T
    own = s.diagonal()
    out = []
    for rank in ((s >= own[:, None]).sum(1), (s >= own[None, :]).sum(0)):
        out.append([(rank <= k).mean() for k in (1, 5, 10)] + [(1 / rank).mean(), np.median(rank), rank.mean()])
    out.append(own.mean() - (s.sum() - own.sum()) / (len(s) * (len(s) - 1)))
    return out


E[:500] @ C[:500].T
started = time.perf_counter()
figures(E, C)
for patient in range(patients):
    rows = np.arange(n) * patients // n == patient
    figures(E[rows], C[rows])
print(time.perf_counter() - started)
