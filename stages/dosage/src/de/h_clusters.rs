//! Comparisons that need no concordance: cancer against normal cells, and each Leiden cluster of a
//! model's `h` against all other cells (role `h_clusters`).
//!
//! Independent of the comparisons of classes: same test and columns, separate tables.

use std::path::Path;

use serde_json::json;

use super::contrasts::{Comparison, Kind, sides};
use super::contrasts_table::status;
use super::family::{adjust, direction, rank_sums};
use super::params::DeParams;
use super::set_aside::GeneFamily;
use super::write::{COLUMN_NOTE, found_columns, gene_row};
use crate::by_gene::ByGene;
use clcc_data::anndata::Reader;
use clcc_data::error::{StageError, StageResult};
use clcc_data::genome::symbols;
use clcc_numerics::stats::{Contrast, GeneTest, log2_fold_change};
use clcc_stage::cohort::Cohort;
use clcc_stage::roles;
use clcc_stage::rows::{ClusterContrastRow, ClusterGeneRow, POOLED};
use clcc_stage::stage::{Metrics, StageContext};
use clcc_stage::tables::{Family, Table};

const CELL_NOTE: &str =
    "cells of one tumour are not independent samples: these p-values are too small";

/// One comparison and its result.
struct Compared {
    name: String,
    /// The group and the reference, in words.
    groups: (&'static str, &'static str),
    /// Why it was not tested; `None` where it was.
    obstacle: Option<String>,
    contrast: Contrast,
    genes: Vec<GeneTest>,
    adjusted: Vec<f64>,
    log2fc: Vec<f64>,
}

impl Compared {
    fn new(name: String, contrast: Contrast, obstacle: Option<String>) -> Self {
        Self {
            name,
            groups: ("cells of the cluster", "all other cells"),
            obstacle,
            contrast,
            genes: Vec::new(),
            adjusted: Vec::new(),
            log2fc: Vec::new(),
        }
    }

    fn size(&self, side: u8) -> usize {
        self.contrast.side.iter().filter(|s| **s == side).count()
    }

    /// Direction in which gene `g` is found: 1 higher in the group, -1 lower, 0 not found.
    fn direction(&self, g: usize, fdr: f64, least: f64) -> i8 {
        direction(self.adjusted[g], self.log2fc[g], fdr, least)
    }

    /// Genes by descending score.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.genes.len()).collect();
        order.sort_by(|&a, &b| self.genes[b].z.total_cmp(&self.genes[a].z));
        order
    }
}

/// Make these comparisons and write their tables. Cancer is compared with normal here only where no
/// classes are compared; otherwise that comparison is among the others.
///
/// # Errors
/// [`StageError::Data`] where the cells of the roles differ, and where a table cannot be written.
pub(super) fn run(ctx: &StageContext<'_>, params: &DeParams) -> StageResult<Metrics> {
    let cohort = Cohort::load(ctx)?;
    let n = cohort.n_cells();
    let mut compared = Vec::new();
    if ctx.optional(roles::CONCORDANCE).is_none() {
        compared.extend(origin(&cohort, params)?);
    }
    if let Some(input) = ctx.optional(roles::H_CLUSTERS) {
        let obs = Reader::open(&input.path)?.obs()?;
        if obs.index != cohort.obs.index {
            return Err(StageError::data(format!(
                "`h_clusters` has {} cells, `expr` {n}, or they are in another order",
                obs.len()
            )));
        }
        compared.extend(clusters(&obs.texts("h_leiden")?));
    }
    let obstacle = |c: &Compared| c.obstacle.is_none();
    let contrasts: Vec<Contrast> = compared
        .iter()
        .filter(|c| obstacle(c))
        .map(|c| c.contrast.clone())
        .collect();
    ctx.progress.step(0, 1, "Wilcoxon");
    let names = symbols(&cohort.var);
    let x = ByGene::new(&cohort.test_expression(ctx)?, &ctx.out_dir)?;
    let all: Vec<usize> = (0..n).collect();
    let mut results = rank_sums(&x, &all, &contrasts, params)?.into_iter();
    for c in compared.iter_mut().filter(|c| c.obstacle.is_none()) {
        c.genes = results.next().expect("one result per contrast");
        (c.adjusted, _) = adjust(&c.genes, |g| {
            c.name == Kind::Epithelium.name()
                && GeneFamily::of(&names[g]).is_some_and(|f| params.set_aside.contains(&f))
        });
        let change = |g: &GeneTest| log2_fold_change(g.mean_group, g.mean_reference);
        c.log2fc = c.genes.iter().map(change).collect();
    }
    ctx.check_cancelled()?;
    let dir = ctx.output(roles::DE);
    std::fs::create_dir_all(&dir).map_err(StageError::creating(&dir))?;
    write(&dir, &compared, &cohort.var.index, params)?;
    let mut metrics = Metrics::new();
    let tested = compared.iter().filter(|c| c.obstacle.is_none()).count();
    metrics.insert("n_contrasts".into(), json!(tested));
    metrics.insert("n_not_applicable".into(), json!(compared.len() - tested));
    Ok(metrics)
}

/// Cancer against normal cells, as the parameter `cancer_vs_normal` says, over all patients.
fn origin(cohort: &Cohort, params: &DeParams) -> StageResult<Vec<Compared>> {
    let n = cohort.n_cells();
    let sides = sides(
        &cohort.obs,
        &cohort.patient_of,
        cohort.patients.len(),
        &vec![""; n],
        &vec![0.0; n],
        params.burden_quantile,
    )?;
    let kinds = params.kinds().into_iter();
    Ok(kinds
        .filter(|k| matches!(k, Kind::CancerNormal | Kind::Epithelium))
        .map(|kind| {
            let comparison = Comparison::new(kind, sides[kind.place()].clone());
            Compared {
                groups: kind.groups(),
                ..Compared::new(kind.name().into(), comparison.contrast, comparison.obstacle)
            }
        })
        .collect())
}

/// Each cluster against all others; clusters in the order of their numbers.
fn clusters(labels: &[String]) -> Vec<Compared> {
    let mut names: Vec<&String> = labels.iter().filter(|l| !l.is_empty()).collect();
    names.sort_by_key(|l| (l.parse::<usize>().unwrap_or(usize::MAX), l.as_str()));
    names.dedup();
    let compare = |name: &&String| {
        let side = |l: &String| match l {
            l if l == *name => 1,
            l if l.is_empty() => 0,
            _ => 2,
        };
        let contrast = Contrast {
            side: labels.iter().map(side).collect(),
        };
        let mut compared = Compared::new(format!("h_leiden {name}"), contrast, None);
        let least = compared.size(1).min(compared.size(2));
        if least < 2 {
            compared.obstacle = Some(format!(
                "expected at least 2 cells in the cluster and outside, found {least}"
            ));
        }
        compared
    };
    names.iter().map(compare).collect()
}

fn write(
    dir: &Path,
    compared: &[Compared],
    names: &[String],
    params: &DeParams,
) -> StageResult<()> {
    overview(dir, compared, params)?;
    let (clusters, others): (Vec<&Compared>, Vec<&Compared>) = compared
        .iter()
        .partition(|c| c.name.starts_with("h_leiden"));
    for c in others.into_iter().filter(|c| c.obstacle.is_none()) {
        let (group, reference) = c.groups;
        let title = format!(
            "{}: {group} (group, n = {}) against {reference} (reference, n = {}), all patients together",
            c.name,
            c.size(1),
            c.size(2)
        );
        let row = |g: usize| gene_row(&names[g], &c.genes[g], c.log2fc[g], c.adjusted[g]);
        Table::new(c.order().into_iter().map(row).collect())
            .note(title)
            .note(params.test_note())
            .notes([COLUMN_NOTE, CELL_NOTE])
            .write_as(&dir.join(format!("{}.{POOLED}.tsv", c.name)))?;
    }
    if clusters.is_empty() {
        return Ok(());
    }
    let tested = clusters.into_iter().filter(|c| c.obstacle.is_none());
    cluster_genes(dir, tested, names, params)
}

/// Write `h_leiden_genes.tsv`: the genes of each cluster that are found.
fn cluster_genes<'a>(
    dir: &Path,
    clusters: impl Iterator<Item = &'a Compared>,
    names: &[String],
    params: &DeParams,
) -> StageResult<()> {
    let least = params.log2fc[0];
    let mut rows = Vec::new();
    for c in clusters {
        let found = |g: &usize| c.direction(*g, params.fdr, least) != 0;
        rows.extend(c.order().into_iter().filter(found).map(|g| {
            let test = &c.genes[g];
            ClusterGeneRow {
                names: names[g].clone(),
                scores: test.z,
                logfoldchanges: c.log2fc[g],
                pvals: test.p.p,
                pvals_adj: c.adjusted[g],
                log10_pvals: test.p.log10,
                pct_nz_group: test.pct_group,
                pct_nz_reference: test.pct_reference,
                mean_group: test.mean_group,
                mean_reference: test.mean_reference,
                h_leiden: c.name.trim_start_matches("h_leiden ").to_string(),
            }
        }));
    }
    let title = format!(
        "genes of each Leiden cluster of h against all other cells: those at an FDR below {} and a log2 fold change beyond {least}, by cluster and falling score; tested were all {} genes",
        params.fdr,
        names.len()
    );
    Table::new(rows)
        .note(title)
        .note("the clusters were made of the same expression that is tested: a gene that differs is a description, not a finding")
        .note(params.test_note())
        .notes([COLUMN_NOTE, CELL_NOTE])
        .write(dir)
}

/// Write `h_contrasts.tsv`: which comparisons were made, and why the others were not.
fn overview(dir: &Path, compared: &[Compared], params: &DeParams) -> StageResult<()> {
    let columns = found_columns(&["up", "down"], params);
    let row = |c: &Compared| {
        let found = |&least: &f64| {
            [1, -1].map(|sign| {
                let genes = 0..c.genes.len();
                let found = genes.filter(|&g| c.direction(g, params.fdr, least) == sign);
                found.count() as i64
            })
        };
        ClusterContrastRow {
            contrast: c.name.clone(),
            status: status(c.obstacle.as_ref()),
            reason: c.obstacle.clone().unwrap_or_default(),
            n_group: c.size(1) as i64,
            n_reference: c.size(2) as i64,
            n_found: Family::new(&columns, params.log2fc.iter().flat_map(found).collect()),
        }
    };
    let counts = format!(
        "n_up_T and n_down_T: genes at an FDR below {} and a log2 fold change beyond T",
        params.fdr
    );
    Table::new(compared.iter().map(row).collect())
        .keep(columns.iter())
        .note("comparisons that need no concordance, and why one could not be made")
        .note(counts)
        .note(params.test_note())
        .write(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_data::anndata::AnnData;
    use clcc_data::frame::Frame;
    use clcc_data::matrix::{Csr, Matrix};
    use clcc_data::table::TextTable;
    use clcc_numerics::rng::Rng;
    use clcc_numerics::stats::{RankSumOptions, rank_sum_dense};
    use clcc_stage::stage::{DeviceChoice, InputArtifact, Quiet};
    use ndarray::Array2;
    use std::collections::BTreeMap;

    /// 90 cells x 5 genes, clusters 0, 1, 10 of 40, 30 and 20 cells: gene `up` is higher in cluster 1.
    #[test]
    fn each_cluster_is_tested_against_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(1, "test.de", &[]);
        let label = |i: usize| ["0", "1", "10"][usize::from(i >= 40) + usize::from(i >= 70)];
        let x = Array2::from_shape_fn((90, 5), |(i, g)| {
            let base = (rng.normal() + 0.5).max(0.0) as f32;
            if g == 2 && label(i) == "1" {
                base + 2.0
            } else {
                base
            }
        });
        let cells: Vec<String> = (0..90).map(|i| format!("c{i}")).collect();
        let mut obs = Frame::new(cells.clone());
        obs.set_category(
            "cancer_vs_normal",
            &(0..90)
                .map(|i| if i % 2 == 0 { "Cancer" } else { "Normal" })
                .collect::<Vec<_>>(),
        );
        obs.set_category("cell_type", &["Epithelial cells"; 90]);
        let genes = ["a", "b", "up", "c", "d"].map(String::from).to_vec();
        let expr = AnnData {
            obs,
            var: Frame::new(genes),
            x: Some(Matrix::Csr(Csr::from_dense(&x))),
            ..AnnData::default()
        };
        expr.write_zarr(&dir.path().join("expr")).unwrap();
        let mut obs = Frame::new(cells);
        let labels: Vec<&str> = (0..90).map(label).collect();
        obs.set_category("h_leiden", &labels);
        let clusters = AnnData {
            obs,
            ..AnnData::default()
        };
        clusters.write_zarr(&dir.path().join("h_clusters")).unwrap();
        let input = |role: &str| InputArtifact {
            role: role.into(),
            branch: BTreeMap::new(),
            path: dir.path().join(role),
            format: None,
            builtin: None,
        };
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let ctx = StageContext {
            inputs: vec![input("expr"), input("h_clusters")],
            out_dir: dir.path().join("out"),
            keys: Vec::new(),
            seed: 1,
            threads: 1,
            device: DeviceChoice::Cpu,
            checkpoint_dir: None,
            progress: &Quiet,
            cancel: &cancel,
        };
        let metrics = run(&ctx, &DeParams::default()).unwrap();
        assert_eq!(metrics["n_contrasts"], json!(4));
        let read = |name: &str| TextTable::read(&ctx.output(roles::DE).join(name)).unwrap();
        let all = read("h_contrasts.tsv");
        let expected = [
            "cancer_vs_normal_epithelial",
            "h_leiden 0",
            "h_leiden 1",
            "h_leiden 10",
        ];
        assert_eq!(all.texts("contrast").unwrap(), expected);
        assert_eq!(all.numbers("n_group").unwrap(), [45.0, 40.0, 30.0, 20.0]);
        let found = read("h_leiden_genes.tsv");
        assert_eq!(
            (
                found.texts("names").unwrap()[0],
                found.texts("h_leiden").unwrap()[0]
            ),
            ("up", "0")
        );
        let at = found
            .texts("h_leiden")
            .unwrap()
            .iter()
            .position(|l| *l == "1")
            .unwrap();
        assert_eq!(found.texts("names").unwrap()[at], "up");
        // The dense test of the same two groups.
        let of = |inside: bool| -> Vec<f64> {
            let cells = (0..90).filter(|&i| (label(i) == "1") == inside);
            cells.map(|i| f64::from(x[[i, 2]])).collect()
        };
        let (z, _) = rank_sum_dense(&of(true), &of(false), RankSumOptions::default());
        assert!((found.numbers("scores").unwrap()[at] - z).abs() < 1e-9);
        assert_eq!(read("cancer_vs_normal_epithelial.pooled.tsv").rows.len(), 5);
    }
}
