//! Scores how much of the planted truth each method finds.
//!
//! Reads `truth` of a simulation and the available results of the workflow on its counts: `cnv`,
//! `clusters`, `embeddings`, `concordance`, `dosage`, `discordance`, `de`, `baselines`. Every figure is given with its
//! expectation under chance. One row per target, method and metric, so that `compare` can join seeds
//! and ablations:
//!
//! - `constitutive_genes`, `state_genes`: planted escape genes among genes without planted escape, in
//!   arms that a clone has altered and expressed in enough malignant cells;
//! - `patient_escape`: where patients differ, the genes that escape in a patient among those altered in it;
//! - `discordant_cells`: planted discordant cells among the malignant cells of each patient, and, where
//!   discordance is graded, Spearman's correlation with it;
//! - `gains`, `losses`, `copy_number`: inferred copy number of malignant cells in each window;
//! - `arm_events`, `sub_arm_events`, `focal_events`: share of the planted events that are called;
//! - `malignant_calls`, `clone_members`: share of each class of cells that is called malignant, or is in a
//!   clone: malignant, normal, with a tumour's expression or label only, doublets;
//! - `malignant_cells`, `clones`: malignancy scores, and clusters or clones, from copy number;
//! - `retrieval`: test cells with the trained embeddings and with those of the baselines;
//! - `escape_calls`: number of genes that a method calls escape at its own thresholds, and the share of
//!   them that were planted.
//!
//! Items without a score are ranked last, and `coverage` is the share that has one.

mod calls;
mod cells;
mod events;
mod false_calls;
mod genes;
mod metrics;
mod params;
mod patients;
mod truth;
mod write;

pub use metrics::{Ranking, adjusted_rand, average_precision, ranking};
pub use params::BenchmarkParams;

use serde_json::json;

use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, TableSpec};

use truth::Truth;

/// The stage kind `benchmark`.
#[derive(Debug)]
pub struct Benchmark;

impl Stage for Benchmark {
    type Params = BenchmarkParams;
    const KIND: &'static str = "benchmark";
    const TABLES: &'static [TableSpec] = &[clcc_stage::rows::ScoreRow::SPEC];
    // 4: calls of malignant cells and members of clones by what the cells are; recall of events; graded
    //    discordance and escape by patient, where they are planted; genes ranked by
    //    the posterior of `dosage`.
    const CODE_VERSION: u32 = 4;
    const ABOUT: &'static str = "scores every method against the planted truth of a simulation";
    const MULTI_THREADED: bool = true;

    fn reads(_: &BenchmarkParams) -> Vec<Read> {
        vec![
            Read::one(roles::TRUTH),
            Read::required(roles::EXPR),
            Read::optional(roles::CNV),
            Read::optional(roles::CLUSTERS),
            Read::optional(roles::CLUSTER_TABLES),
            Read::optional(roles::SPLIT),
            Read::optional(roles::EMBEDDINGS),
            Read::optional(roles::ANCHORS),
            Read::optional_one(roles::CONCORDANCE),
            Read::optional_one(roles::DOSAGE),
            Read::optional_one(roles::DISCORDANCE),
            Read::optional_one(roles::DE),
            Read::optional_one(roles::BASELINES),
        ]
    }

    fn outputs(_: &BenchmarkParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(roles::BENCHMARK, "target, method, metric, value, chance")
                .publish(Publish::Into("tables")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &BenchmarkParams) -> StageResult<Metrics> {
        let truth = Truth::load(ctx, params.min_expressed)?;
        ctx.check_cancelled()?;
        let mut scores = genes::scores(ctx, &truth)?;
        scores.extend(cells::scores(ctx, &truth)?);
        ctx.check_cancelled()?;
        scores.extend(calls::scores(ctx, &truth, params.max_cells)?);
        ctx.check_cancelled()?;
        scores.extend(cells::retrieval(ctx, &truth)?);
        write::table(&ctx.output(roles::BENCHMARK), &scores, params)?;
        let mut metrics = Metrics::new();
        metrics.insert("n_rows".into(), json!(scores.len()));
        for s in scores
            .iter()
            .filter(|s| s.metric == "auroc" && s.value.is_finite())
        {
            metrics.insert(format!("{}_{}_auroc", s.target, s.method), json!(s.value));
        }
        Ok(metrics)
    }
}

/// One row of the benchmark: a metric of one method on one target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Score {
    /// Target: the planted truth to find.
    pub(crate) target: &'static str,
    /// Method that is scored.
    pub(crate) method: String,
    /// Metric: `ap`, `auroc`, `top1`, ...
    pub(crate) metric: String,
    /// Value of the metric.
    pub(crate) value: f64,
    /// Expected value under chance; NaN where that has no meaning.
    pub(crate) chance: f64,
    /// Standard deviation at chance, where it is known.
    pub(crate) se: f64,
    /// Numbers of ranked items, and of positives among them.
    pub(crate) n: usize,
    pub(crate) n_positive: usize,
    /// Share of the items with a score.
    pub(crate) coverage: f64,
}

impl Score {
    /// Average precision and AUROC of a ranking; empty without positives or negatives.
    fn of_ranking(target: &'static str, method: &str, r: Ranking) -> Vec<Self> {
        if r.n_positive == 0 || r.n_positive == r.n {
            return Vec::new();
        }
        [("ap", r.ap, r.base_rate), ("auroc", r.auroc, 0.5)]
            .into_iter()
            .map(|(metric, value, chance)| Self {
                target,
                method: method.to_string(),
                metric: metric.to_string(),
                value,
                chance,
                se: f64::NAN,
                n: r.n,
                n_positive: r.n_positive,
                coverage: r.coverage,
            })
            .collect()
    }

    /// A metric that is not of a ranking.
    fn single(target: &'static str, method: &str, metric: &str, value: f64, n: usize) -> Self {
        Self {
            target,
            method: method.to_string(),
            metric: metric.to_string(),
            value,
            chance: f64::NAN,
            se: f64::NAN,
            n,
            n_positive: 0,
            coverage: 1.0,
        }
    }
}

/// Mean of several rankings (one per patient), without those that lack positives or negatives.
fn mean_ranking(rankings: &[Ranking]) -> Option<Ranking> {
    let kept: Vec<&Ranking> = rankings
        .iter()
        .filter(|r| r.n_positive > 0 && r.n_positive < r.n)
        .collect();
    if kept.is_empty() {
        return None;
    }
    let mean = |f: fn(&Ranking) -> f64| kept.iter().map(|r| f(r)).sum::<f64>() / kept.len() as f64;
    Some(Ranking {
        ap: mean(|r| r.ap),
        auroc: mean(|r| r.auroc),
        base_rate: mean(|r| r.base_rate),
        n: kept.iter().map(|r| r.n).sum(),
        n_positive: kept.iter().map(|r| r.n_positive).sum(),
        coverage: mean(|r| r.coverage),
    })
}

#[cfg(test)]
mod tests;
