//! Gene positions as their sources write them, the genome that they are of, and patients with hardly a
//! reference cell.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::messages::{compare, problems};
use crate::project::{Project, Ran};

const GENES: usize = 240;
const CELLS: usize = 60;

/// Patient `A`: 60 cells, of which `normal` are no tumour cells.
const WORKFLOW: &str = "\
version: 1
name: genomes
axes:
  patient: [A]
inputs:
  counts: {path: counts.txt, format: geo_umi}
  annotations: {path: cells.tsv}
  genes: {path: genes.tsv}
stages:
  ingest:
    inputs: [counts, annotations]
    params: {group_by: Sample}
  preprocess:
    per: patient
    needs: [ingest]
    inputs: [genes]
    params: {cancer_vs_normal: {column: cell_type, cancer: [Tumour]}}
  infercnv:
    per: patient
    needs: [preprocess]
    params: {window_size: 10, step: 2}
  cluster:
    per: patient
    needs: [preprocess, infercnv]
  dosage:
    needs: [preprocess, infercnv, cluster]
  de:
    needs: [preprocess, infercnv, cluster, dosage]
  export:
    per: patient
    needs: [preprocess, infercnv, cluster]
  report:
    needs: [ingest, preprocess, infercnv, cluster, dosage, de]
";

struct Gene {
    name: String,
    id: String,
    chromosome: String,
    start: usize,
}

/// Genes on chromosomes 1, 2 and 3 (as `chromosomes` writes them), a megabase apart.
fn genes(name: impl Fn(usize) -> String, chromosomes: [&str; 3]) -> Vec<Gene> {
    (0..GENES)
        .map(|g| Gene {
            name: name(g),
            id: format!("ENSG{g:011}"),
            chromosome: chromosomes[g * 3 / GENES].to_string(),
            start: 1_000_000 * (g % 80) + 50_000_000 * (g % 2) + 1,
        })
        .collect()
}

fn symbols(g: usize) -> String {
    format!("GENE{g}")
}

fn project(workflow: &str, genes: &[Gene], normal: usize) -> Project {
    let p = Project::new(workflow);
    let mut counts = String::from("Index");
    let mut cells = String::from("Index\tSample\tCell_type\n");
    for c in 0..CELLS {
        write!(counts, "\tc{c}").expect("text");
        let kind = if c < normal { "T cell" } else { "Tumour" };
        writeln!(cells, "c{c}\tA\t{kind}").expect("text");
    }
    for (g, gene) in genes.iter().enumerate() {
        write!(counts, "\n{}", gene.name).expect("text");
        for c in 0..CELLS {
            let gained = usize::from(c >= normal && g * 3 / GENES == 1);
            let n = (g * 31 + c * 17 + g * c) % 23 % 5 + 2 * gained;
            write!(counts, "\t{n}").expect("text");
        }
    }
    p.write("counts.txt", &(counts + "\n"));
    p.write("cells.tsv", &cells);
    let mut table = String::from("gene\tchr\tstart\tend\n");
    for g in genes {
        writeln!(
            table,
            "{}\t{}\t{}\t{}",
            g.name,
            g.chromosome,
            g.start,
            g.start + 500
        )
        .expect("text");
    }
    p.write("genes.tsv", &table);
    p
}

fn run(p: &Project, more: &[&str]) -> Ran {
    p.run(&[&["run", "w.yaml", "-j", "1"][..], more].concat())
}

/// Value and verdict of each check of patient `A`.
fn checks(p: &Project) -> BTreeMap<String, (f64, String)> {
    let path = p.path().join("results/genomes/tables/qc_checks.A.tsv");
    let text = std::fs::read_to_string(path).expect("the checks");
    let rows = text.lines().filter(|l| !l.starts_with('#')).skip(1);
    rows.map(|l| {
        let f: Vec<&str> = l.split('\t').collect();
        let value = f[2].parse().unwrap_or(f64::NAN);
        (f[0].to_string(), (value, f[1].to_string()))
    })
    .collect()
}

/// The arms that `cluster` and `dosage` name.
fn arms(p: &Project) -> Vec<String> {
    let table = |name: &str, column: &str| -> Vec<String> {
        let path = p.path().join("results/genomes/tables").join(name);
        let text = std::fs::read_to_string(path).expect("the arms");
        let mut rows = text.lines().filter(|l| !l.starts_with('#'));
        let header: Vec<&str> = rows.next().expect("a header").split('\t').collect();
        let at = header.iter().position(|h| *h == column).expect(column);
        rows.map(|l| l.split('\t').nth(at).expect("a field").to_string())
            .collect()
    };
    let mut all = [
        table("cnv_arms.A.tsv", "arm"),
        table("dosage_arms.tsv", "arm"),
    ]
    .concat();
    all.sort();
    all.dedup();
    all
}

#[test]
fn gene_tables_of_pandas_biomart_bed_and_gff3_are_read_and_gaps_counted() {
    let genes = genes(symbols, ["1", "2", "X"]);
    let p = project(WORKFLOW, &genes, 30);
    // Every eighth gene has no position.
    let gap = |g: usize| g % 8 == 3;
    let n_gaps = (0..GENES).filter(|&g| gap(g)).count() as f64;
    let rows = |head: &str, line: &dyn Fn(usize, &Gene) -> String| {
        let mut text = head.to_string();
        (0..GENES).for_each(|g| text.push_str(&line(g, &genes[g])));
        text
    };
    let end = |g: &Gene| g.start + 500;
    let pandas = rows(",gene_ids,chromosome,start,end\n", &|i, g| {
        if gap(i) {
            format!("{},{},,,\n", g.name, g.id)
        } else {
            format!(
                "{},{},chr{},{}.0,{}.0\n",
                g.name,
                g.id,
                g.chromosome,
                g.start,
                end(g)
            )
        }
    });
    let biomart = rows(
        "Gene stable ID\tGene name\tChromosome/scaffold name\tGene start (bp)\tGene end (bp)\n",
        &|i, g| match gap(i) {
            true => String::new(),
            false => format!(
                "{}\t{}\t{}\t{}\t{}\n",
                g.id,
                g.name,
                g.chromosome,
                g.start,
                end(g)
            ),
        },
    );
    let bed = rows("track name=genes\n", &|i, g| match gap(i) {
        true => String::new(),
        false => format!(
            "chr{}\t{}\t{}\t{}\t0\t+\n",
            g.chromosome,
            g.start - 1,
            end(g),
            g.name
        ),
    });
    let gff3 = rows(
        "##gff-version 3\n#!genome-build GRCh38.p14\n",
        &|i, g| match gap(i) {
            true => String::new(),
            false => format!(
                "{}\tx\tgene\t{}\t{}\t.\t+\t.\tID=gene:{};Name={};biotype=protein_coding\n",
                g.chromosome,
                g.start,
                end(g),
                g.id,
                g.name
            ),
        },
    );
    let mut placed = Vec::new();
    for (name, text) in [
        ("pandas.csv", pandas),
        ("biomart.tsv", biomart),
        ("genes.bed", bed),
        ("genes.gff3", gff3),
    ] {
        p.write(name, &text);
        let input = format!("genes={name}");
        run(&p, &["--until", "preprocess", "--input", &input]).expect(0);
        let checks = checks(&p);
        let share = 1.0 - n_gaps / GENES as f64;
        assert!(
            (checks["gene_positions"].0 - share).abs() < 1e-9,
            "{name}: {checks:?}"
        );
        // Only the GFF3 declares its genome.
        let declared = if name == "genes.gff3" { "pass" } else { "warn" };
        assert_eq!(checks["genome"].1, declared, "{name}");
        let rows = checks["gene_table_rows_without_position"].0;
        assert_eq!(
            rows,
            if name == "pandas.csv" { n_gaps } else { 0.0 },
            "{name}"
        );
        let metrics = p.json("results/genomes/metrics.json");
        let of_stage = &metrics["preprocess[A]"]["n_genes_without_position"];
        assert_eq!(of_stage.as_f64(), Some(n_gaps), "{name}");
        placed.push(
            std::fs::read(p.path().join("results/genomes/tables/qc_summary.A.tsv")).expect("read"),
        );
    }
    assert!(
        placed.windows(2).all(|w| w[0] == w[1]),
        "all four give the same genes"
    );
    p.write("odd.tsv", "Gen\tChromosom\tAnfang\tEnde\nGENE1\t1\t5\t9\n");
    let said = run(&p, &["--until", "preprocess", "--input", "genes=odd.tsv"]);
    assert_ne!(said.code, 0);
    compare(&p, "genomes_unknown_columns", &problems(&said.stderr));
}

#[test]
fn arms_are_those_of_the_declared_genome_or_none() {
    let genes = genes(|g| format!("Gm{g}"), ["1", "2", "3"]);
    let p = project(WORKFLOW, &genes, 30);
    let ran = run(&p, &["--until", "preprocess"]).expect(0);
    compare(&p, "genomes_not_declared", &problems(&ran.stderr));
    run(&p, &[]).expect(0);
    assert_eq!(arms(&p), ["chr1", "chr2", "chr3"]);
    // No stage stumbles over it, and what is called is called by chromosome.
    assert!(p.path().join("results/genomes/report.html").exists());
    for (genome, expected) in [
        ("mm10", &["chr1q", "chr2q", "chr3q"][..]),
        ("GRCm39", &["chr1q", "chr2q", "chr3q"]),
        (
            "hg38",
            &["chr1p", "chr1q", "chr2p", "chr2q", "chr3p", "chr3q"],
        ),
        ("other", &["chr1", "chr2", "chr3"]),
    ] {
        let set = format!("preprocess.genome={genome}");
        let ran = run(&p, &["--set", &set, "--until", "dosage"]).expect(0);
        let warned = ran.stderr.matches("is not declared").count();
        assert_eq!(warned, 0, "{genome}: {}", ran.stderr);
        assert_eq!(arms(&p), expected, "{genome}");
    }
    let said = run(&p, &["--set", "preprocess.genome=hg17"]);
    compare(&p, "genomes_unknown", &said.expect(3).stderr);
}

#[test]
fn a_genome_that_the_positions_cannot_be_of_is_refused_or_said() {
    let refused = |p: &Project, more: &[&str]| {
        let ran = run(p, &[&["--until", "preprocess"][..], more].concat());
        assert_ne!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
    };
    let p = project(WORKFLOW, &genes(symbols, ["1", "2", "21"]), 30);
    let mut said = refused(&p, &["--set", "preprocess.genome=mm39"]);
    // 80 megabases and 50 more are beyond the end of chromosome 21.
    let beyond = ["--until", "preprocess", "--set", "preprocess.genome=GRCh38"];
    said += &run(&p, &beyond).expect(0).stderr;
    // 23 is X where the genome is a human's, and nothing where nobody says.
    let p = project(WORKFLOW, &genes(symbols, ["1", "2", "23"]), 30);
    said += &refused(&p, &[]);
    run(
        &p,
        &["--until", "infercnv", "--set", "preprocess.genome=GRCh37"],
    )
    .expect(0);
    let windows = |p: &Project| {
        p.json("results/genomes/metrics.json")
            .to_string()
            .matches("\"n_chromosomes\":2")
            .count()
    };
    // X is left out of the windows, as `exclude_chromosomes` asks.
    assert_eq!(windows(&p), 1);
    run(
        &p,
        &["--until", "infercnv", "--set", "preprocess.genome=other"],
    )
    .expect(0);
    assert_eq!(windows(&p), 0);
    let builtin = WORKFLOW.replace("{path: genes.tsv}", "{builtin: grch38}");
    let p = project(&builtin, &genes(symbols, ["1", "2", "3"]), 30);
    said += &refused(&p, &["--set", "preprocess.genome=hg19"]);
    compare(&p, "genomes_that_positions_cannot_be_of", &problems(&said));
}

#[test]
fn genes_of_another_species_or_with_a_prefix_are_refused_with_the_cause() {
    let builtin = WORKFLOW.replace("{path: genes.tsv}", "{builtin: grch38}");
    let refused = |name: &dyn Fn(usize) -> String| {
        let ran = run(&project(&builtin, &genes(name, ["1", "2", "3"]), 30), &[]);
        assert_ne!(ran.code, 0, "{}", ran.stderr);
        ran.stderr
    };
    let known = [
        "TP53", "MYC", "EGFR", "KRAS", "MET", "ERBB2", "CDK4", "MDM2",
    ];
    let mouse = |g: usize| match g {
        0 => "PTEN".to_string(),
        g => format!("Rik{g}"),
    };
    let mut said = refused(&mouse);
    said += &refused(&|g| match known.get(g) {
        Some(name) => format!("hg19_{name}"),
        None => format!(
            "hg19_{}",
            ["A1BG", "A2M"]
                .get(g % 2)
                .map_or(String::new(), |n| format!("{n}.{g}"))
        ),
    });
    said += &refused(&|g| format!("ENSMUSG{g:011}"));
    compare(
        &Project::new(&builtin),
        "genomes_of_another_species",
        &problems(&said),
    );
}

#[test]
fn few_reference_cells_are_said_and_hardly_any_refused() {
    let with = |normal: usize, more: &[&str]| {
        let p = project(WORKFLOW, &genes(symbols, ["1", "2", "3"]), normal);
        run(&p, &[&["--until", "infercnv"][..], more].concat())
    };
    let hmm = [
        "--set",
        "infercnv.method=hmm",
        "--set",
        "infercnv.hmm.cutoff=0",
    ];
    let mut said = String::new();
    for more in [&[][..], &hmm] {
        for normal in [1, 2, 3, 19, 20] {
            let ran = with(normal, more);
            assert_eq!(ran.code == 0, normal >= 3, "{}", ran.stderr);
            said += &ran.stderr;
        }
    }
    // Each of several groups counts.
    let groups = [
        "--set",
        "infercnv.reference_key=cell_type",
        "--set",
        "infercnv.reference_cat=[T cell, Tumour]",
    ];
    let ran = with(2, &groups);
    assert_ne!(ran.code, 0, "{}", ran.stderr);
    said += &ran.stderr;
    compare(
        &Project::new(WORKFLOW),
        "genomes_few_reference_cells",
        &problems(&said),
    );
}

#[test]
fn a_label_that_differs_by_capitals_is_asked_after() {
    let workflow = WORKFLOW.replace("cancer: [Tumour]", "cancer: [Tumour, t-cell]");
    let p = project(&workflow, &genes(symbols, ["1", "2", "3"]), 30);
    let said = run(&p, &["--until", "preprocess"]).expect(3).stderr;
    compare(&p, "genomes_capitals", &said);
}
