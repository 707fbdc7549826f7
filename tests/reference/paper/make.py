"""Figures of the authors' published tables of P0006 and P0018, which stages/dosage/src/de/published_tests.rs asks for again.

    python make.py FOLDER > values.json

FOLDER holds P0006/ and P0018/ with the tables as the authors publish them (cell_subclusters, cnv_profiles,
de_cancer_vs_normal, chromosome_cis_effects, each .csv.gz). The tables themselves are no part of this repository.
Besides reading figures off, scipy says which test and which number of cells give the published p-values.
"""
import csv
import gzip
import json
import statistics
import sys
from pathlib import Path

import numpy as np
import scipy
from scipy import stats


def read(folder, name):
    with gzip.open(folder / f"{name}.csv.gz", "rt") as file:
        return list(csv.DictReader(file))


def column(rows, name):
    return np.array([float(r[name]) for r in rows])


def largest_relative(a, b):
    """Over the entries where b is above 0: below 1e-308 a p-value is printed as 0."""
    some = b > 0
    return float(np.max(np.abs(a[some] - b[some]) / b[some]))


def figures(folder):
    cells = read(folder, "cell_subclusters")
    label = [c["cancer_vs_normal"] for c in cells]
    out = {"cells": len(cells), "cancer": label.count("Cancer"), "normal": label.count("Normal")}

    # Section 7.2.1.
    de = read(folder, "de_cancer_vs_normal")
    z, p, q = column(de, "scores"), column(de, "pvals"), column(de, "pvals_adj")
    change, share = column(de, "logfoldchanges"), column(de, "pct_nz_group")
    found = (q < 0.05) & (np.abs(change) > 0.5)
    junb = [r["names"] for r in de].index("JUNB")
    farthest = int(np.argmax(np.abs(z)))
    out["cancer_vs_normal"] = {
        "genes": len(de),
        "found": int(found.sum()),
        "higher": int((found & (change > 0)).sum()),
        "lower": int((found & (change < 0)).sum()),
        "largest_z": {"gene": de[farthest]["names"], "z": float(z[farthest])},
        "junb": {"z": float(z[junb]), "log2fc": float(change[junb])},
        # Shares of the group are whole numbers of its cells where the group is all tumour-sample cells.
        "share_off_whole_cells": float(np.max(np.abs(share * out["cancer"] - np.round(share * out["cancer"])))),
        # z is printed as float32.
        "p_from_z": largest_relative(2 * stats.norm.sf(np.abs(z)), p),
        "bh": largest_relative(stats.false_discovery_control(p), q),
    }

    # Section 7.2.2: what the mean profiles of the clusters bound. The score of a cluster is the mean of
    # |X_cnv| over its cells, which the size of their mean cannot exceed.
    profiles = {}
    with gzip.open(folder / "cnv_profiles.csv.gz", "rt") as file:
        rows = csv.reader(file)
        windows = len(next(rows)) - 1
        for row in rows:
            profiles[row[0].removeprefix("subcluster_")] = np.abs(np.array(row[1:], float)).mean()
    score = {name: [profiles[c["cnv_leiden"]] for c in cells if c["cancer_vs_normal"] == name] for name in ("Cancer", "Normal")}
    test = stats.mannwhitneyu(score["Cancer"], score["Normal"], method="asymptotic")
    out["cnv_score"] = {
        "windows": windows,
        "clusters": len(profiles),
        "mean_cancer": statistics.fmean(score["Cancer"]),
        "mean_normal": statistics.fmean(score["Normal"]),
        "auc": float(test.statistic) / out["cancer"] / out["normal"],
        "p": float(test.pvalue),
    }

    # Section 7.2.3.
    cis = read(folder, "chromosome_cis_effects")
    r, p, q = column(cis, "cis_correlation"), column(cis, "cis_pval"), column(cis, "cis_pval_adj")

    def p_of(n):
        t = r * np.sqrt((n - 2) / ((1 - r) * (1 + r)))
        return largest_relative(2 * stats.t.sf(np.abs(t), n - 2), p)

    out["cis"] = {
        "chromosomes": len(cis),
        "positive": int((r > 0).sum()),
        "found": int((q < 0.05).sum()),
        "p_of_all_cells": p_of(out["cells"]),
        "p_of_cancer_cells": p_of(out["cancer"]),
        "bh": largest_relative(stats.false_discovery_control(p), q),
    }
    return out


folder = Path(sys.argv[1])
values = {patient: figures(folder / patient) for patient in ("P0006", "P0018")}
values["versions"] = {"numpy": np.__version__, "scipy": scipy.__version__}
# What the text states of P0006.
values["stated"] = {"cnv_score_cancer": 0.0071, "cnv_score_normal": 0.0053}
json.dump(values, sys.stdout, indent=1)
print()
