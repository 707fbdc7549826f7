"""Makes stages/data/src/genome/data/grch38.txt.gz, the gene table that is part of the program.

    python make_grch38.py GENES.tsv[.gz] ../../../stages/data/src/genome/data/grch38.txt.gz

GENES is a tab-separated table of the Ensembl genes of GRCh38.p12 (gene build of November 2018) with
the columns gene, chr, start, end, biotype, gene_id, in the order of the Ensembl GTF; 1-based,
inclusive. Gene positions, names and ids are facts; nothing else of the file is kept.

Left out: models without a symbol (`RF00001`: Rfam families, hundreds of places under one name) and
plain pseudogenes, which the references that aligners ship for single-cell counts do not have either
(that loses 1 of the 19,251 genes of a published GSE131907 table).

The layout is by column, because columns compress better than rows. Sections follow each other
without a separator; each value is one line:
  `# ...`            notes
  `chromosomes K`    K lines `name<TAB>genes`, natural order
  `names`            one symbol a line
  `starts`           start minus the start of the gene before it on the chromosome (file order is by
                     start, so a difference is never negative)
  `lengths`          end - start
  `ids`              digits of the Ensembl id without leading zeros
  `classes`          run lengths: `letter count` with p protein coding, l long non-coding, i immune
                     receptor segment, s small RNA, g pseudogene, o other
Same table, same bytes: gzip's time stamp is 0.
"""
import gzip
import itertools
import re
import sys

import pandas as pd

DROP = {"processed_pseudogene", "unprocessed_pseudogene", "rRNA_pseudogene", "unitary_pseudogene", "pseudogene"}
LONG = {"lincRNA", "antisense", "sense_intronic", "sense_overlapping", "processed_transcript", "macro_lncRNA",
        "bidirectional_promoter_lncRNA", "3prime_overlapping_ncRNA", "non_coding"}
SMALL = {"misc_RNA", "snRNA", "miRNA", "snoRNA", "rRNA", "scaRNA", "sRNA", "scRNA", "ribozyme", "vaultRNA", "Mt_tRNA", "Mt_rRNA"}


def letter(biotype):
    if biotype == "protein_coding":
        return "p"
    if biotype in LONG:
        return "l"
    if re.fullmatch(r"(IG|TR)_[VDJC]_gene", biotype):
        return "i"
    if biotype in SMALL:
        return "s"
    if biotype.endswith("pseudogene"):
        return "g"
    return "o"


def natural(name):
    return [int(t) if t.isdigit() else t.lower() for t in re.split("([0-9]+)", name)]


source, target = sys.argv[1:]
t = pd.read_csv(source, sep="\t", keep_default_na=False)
t = t[~t.gene.str.fullmatch(r"RF\d{5}") & ~t.biotype.isin(DROP)]
assert t.gene_id.str.fullmatch(r"ENSG\d{11}").all()
t["rank"] = t.chr.map({c: i for i, c in enumerate(sorted(t.chr.unique(), key=natural))})
t = t.sort_values(["rank", "start"], kind="stable")  # ties keep the order of the source, so `first` means its first

lines = ["# Ensembl genes of GRCh38.p12, gene build of November 2018; 1-based, inclusive"]
per = t.groupby("rank", sort=True).agg(chr=("chr", "first"), n=("gene", "size"))
lines += [f"chromosomes {len(per)}"] + [f"{c}\t{n}" for c, n in zip(per.chr, per.n)]
lines += ["names"] + list(t.gene)
lines += ["starts"] + [str(d) for _, g in t.groupby("rank", sort=True) for d in (g.start - g.start.shift(fill_value=0))]
lines += ["lengths"] + [str(n) for n in t.end - t.start]
lines += ["ids"] + [str(int(i[4:])) for i in t.gene_id]
lines += ["classes"] + [f"{k} {sum(1 for _ in g)}" for k, g in itertools.groupby(t.biotype.map(letter))]
with open(target, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=9, mtime=0, filename="") as f:
    f.write(("\n".join(lines) + "\n").encode())
print(f"{len(t)} genes")
