//! The stage on published data; each test returns early where the data is absent.

use std::collections::BTreeMap;

use super::*;
use clcc_stage::stage::Quiet;

/// The published gene table of GSE131907 gives the paper's counts; skipped where it is absent.
#[test]
fn paper_gene_table_gives_the_paper_windows() {
    let Some(path) = clcc_testing::shared_data("genes/gse131907_paper_gene_positions_hg38.tsv.gz")
    else {
        return;
    };
    let table = clcc_data::genome::GeneTable::read(&path).unwrap();
    assert_eq!(table.genes.len(), 19_251);
    assert_eq!(table.n_duplicated_names(), 33);
    let names: Vec<&str> = table.genes.iter().map(|g| g.name.as_str()).collect();
    let mut first: Vec<usize> = table
        .resolve(&names, clcc_data::genome::Duplicates::First)
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
    let of = |f: fn(&clcc_data::genome::Gene) -> String| {
        kept.iter().map(|&g| f(&table.genes[g])).collect::<Vec<_>>()
    };
    let number = |f: fn(&clcc_data::genome::Gene) -> i64| {
        kept.iter().map(|&g| f(&table.genes[g]) as f64).collect()
    };
    let positions = GenePositions {
        names: of(|g| g.name.clone()),
        symbols: of(|g| g.name.clone()),
        chromosome: of(|g| g.chromosome.clone()),
        start: number(|g| g.start.get()),
        end: number(|g| g.end.get()),
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
/// arms in each of the four, with the two non-malignant types pooled as one reference.
#[test]
fn oligodendroglioma_shows_its_codeletion() {
    let Some(path) = clcc_testing::shared_data("oligodendroglioma/oligodendroglioma.h5ad") else {
        return;
    };
    use clcc_counts::preprocess::{CancerVsNormal, Counts, PreprocessParams, preprocess};
    use clcc_data::genome::{Arm, Assembly};
    let normal = vec![
        "Microglia/Macrophage".to_string(),
        "Oligodendrocytes (non-malignant)".to_string(),
    ];
    let rule = CancerVsNormal {
        column: "cell_type".into(),
        normal,
        cancer: vec![],
    };
    let params = PreprocessParams {
        counts: Counts::Any,
        cancer_vs_normal: Some(rule),
        ..Default::default()
    };
    let expr = preprocess(
        clcc_data::anndata::Reader::open(&path)
            .unwrap()
            .read()
            .unwrap(),
        None,
        &params,
        &Quiet,
    )
    .unwrap()
    .expr;
    // `preprocess` pools the two types as `Normal`, the default reference.
    let params = InfercnvParams::default();
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
                Assembly::GRCh38
                    .arm_of(&chromosomes[w], start[w] as i64, end[w] as i64)
                    .unwrap(),
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
    for tumour in tumours {
        let cells: Vec<usize> = (0..types.len()).filter(|&c| types[c] == *tumour).collect();
        let mut sums: BTreeMap<(String, Arm), (f64, f64)> = BTreeMap::new();
        for (w, arm) in arms.iter().enumerate() {
            let mean =
                cells.iter().map(|&c| f64::from(x_cnv[[c, w]])).sum::<f64>() / cells.len() as f64;
            let entry = sums.entry(arm.clone()).or_default();
            *entry = (entry.0 + mean, entry.1 + 1.0);
        }
        let mut order: Vec<(f64, (String, Arm))> = sums
            .into_iter()
            .map(|(arm, (sum, n))| (sum / n, arm))
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut lowest = [order[0].1.clone(), order[1].1.clone()];
        lowest.sort();
        assert_eq!(
            lowest,
            [("chr1".to_string(), Arm::P), ("chr19".to_string(), Arm::Q)],
            "{tumour}: {:?}",
            &order[..4]
        );
        assert!(order[1].0 < -0.1, "{tumour}: {:?}", &order[..4]);
    }
}
