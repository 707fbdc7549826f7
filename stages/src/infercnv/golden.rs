//! The stage on published data; each test returns early where the data is absent.

use std::collections::BTreeMap;

use super::*;
use crate::stage::Quiet;

/// The published gene table of GSE131907 gives the paper's counts; skipped where it is absent.
#[test]
fn paper_gene_table_gives_the_paper_windows() {
    let Some(path) = crate::genome::shared("genes/gse131907_paper_gene_positions_hg38.tsv.gz")
    else {
        return;
    };
    let table = crate::genome::GeneTable::read(&path).unwrap();
    assert_eq!(table.genes.len(), 19_251);
    assert_eq!(table.n_duplicated_names(), 33);
    let names: Vec<&str> = table.genes.iter().map(|g| g.name.as_str()).collect();
    let mut first: Vec<usize> = table
        .resolve(&names, crate::genome::Duplicates::First)
        .into_iter()
        .flatten()
        .collect();
    first.sort_unstable();
    first.dedup();
    let count = |chromosome: &str| {
        first
            .iter()
            .filter(|&&g| table.genes[g].chromosome == chromosome)
            .count()
    };
    let kept: Vec<usize> = first
        .iter()
        .copied()
        .filter(|&g| count(&table.genes[g].chromosome) >= 250)
        .collect();
    assert_eq!(kept.len(), 18_965);
    let of = |f: fn(&crate::genome::Gene) -> String| {
        kept.iter().map(|&g| f(&table.genes[g])).collect::<Vec<_>>()
    };
    let number = |f: fn(&crate::genome::Gene) -> i64| {
        kept.iter().map(|&g| f(&table.genes[g]) as f64).collect()
    };
    let positions = GenePositions {
        names: of(|g| g.name.clone()),
        chromosome: of(|g| g.chromosome.clone()),
        start: number(|g| g.start),
        end: number(|g| g.end),
    };
    let layout = |edges| {
        let params = InfercnvParams {
            window_size: 250,
            step: 10,
            edges,
            ..Default::default()
        };
        Layout::new(&positions, &params).unwrap()
    };
    let valid = layout(Edges::Valid);
    assert_eq!((valid.genes.len(), valid.windows.len()), (18_193, 1_305));
    // infercnvpy 0.4.3's own count on these genes: the sum of ceil(genes / 10).
    assert_eq!(layout(Edges::Same).windows.len(), 1_829);
}

/// Oligodendroglioma (Tirosh et al. 2016): 1p and 19q are lost in every tumour, and are the two lowest
/// arms over the four of them; single tumours have losses of their own (12 in MGH36, 13q in MGH53).
#[test]
fn oligodendroglioma_shows_its_codeletion() {
    let Some(path) = crate::genome::shared("oligodendroglioma/oligodendroglioma.h5ad") else {
        return;
    };
    use crate::genome::{Arm, arm_of};
    use crate::preprocess::{CancerVsNormal, Counts, PreprocessParams, preprocess};
    let normal = vec![
        "Microglia/Macrophage".to_string(),
        "Oligodendrocytes (non-malignant)".to_string(),
    ];
    let rule = CancerVsNormal {
        column: "cell_type".into(),
        normal: normal.clone(),
        cancer: vec![],
    };
    let params = PreprocessParams {
        counts: Counts::Any,
        cancer_vs_normal: rule,
        ..Default::default()
    };
    let expr = preprocess(
        Reader::open(&path).unwrap().read().unwrap(),
        None,
        &params,
        &Quiet,
    )
    .unwrap()
    .expr;
    let params = InfercnvParams {
        reference_key: Some("cell_type".into()),
        reference_cat: normal,
        ..Default::default()
    };
    let x = expr.x.clone().unwrap().into_csr();
    let (cnv, _) = annotate(&expr.obs, &expr.var, &x, &params, &Quiet).unwrap();
    let Some(Uns::Frame(windows)) = cnv.uns["cnv"].at(&["windows"]) else {
        panic!("a frame")
    };
    let chromosomes = windows.texts("chromosome").unwrap();
    let (start, end) = (
        windows.numbers("start").unwrap(),
        windows.numbers("end").unwrap(),
    );
    let arms: Vec<(String, Arm)> = (0..windows.len())
        .map(|w| {
            (
                chromosomes[w].clone(),
                arm_of(&chromosomes[w], start[w] as i64, end[w] as i64).unwrap(),
            )
        })
        .collect();
    let types = expr.obs.texts("cell_type").unwrap();
    let mut tumours: Vec<&String> = types
        .iter()
        .filter(|t| t.starts_with("malignant_"))
        .collect();
    tumours.sort();
    tumours.dedup();
    assert_eq!(tumours.len(), 4, "{tumours:?}");
    let x_cnv = cnv.obsm["X_cnv"].clone().into_dense();
    let mut total: BTreeMap<(String, Arm), f64> = BTreeMap::new();
    for tumour in tumours {
        let cells: Vec<usize> = (0..types.len()).filter(|&c| types[c] == *tumour).collect();
        let mut sums: BTreeMap<(String, Arm), (f64, f64)> = BTreeMap::new();
        for (w, arm) in arms.iter().enumerate() {
            let mean =
                cells.iter().map(|&c| f64::from(x_cnv[[c, w]])).sum::<f64>() / cells.len() as f64;
            let entry = sums.entry(arm.clone()).or_default();
            *entry = (entry.0 + mean, entry.1 + 1.0);
        }
        for arm in [("chr1".to_string(), Arm::P), ("chr19".to_string(), Arm::Q)] {
            let (sum, n) = sums[&arm];
            assert!(sum / n < -0.04, "{tumour} {arm:?}: {}", sum / n);
        }
        sums.into_iter()
            .for_each(|(arm, (sum, n))| *total.entry(arm).or_default() += sum / n);
    }
    let mut order: Vec<(f64, (String, Arm))> = total.into_iter().map(|(a, s)| (s, a)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let lowest = [order[0].1.clone(), order[1].1.clone()];
    assert_eq!(
        lowest,
        [("chr1".to_string(), Arm::P), ("chr19".to_string(), Arm::Q)],
        "{order:?}"
    );
}
