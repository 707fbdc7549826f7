//! One table and one figure over seeds and ablations.
//!
//! Joins what `benchmark` wrote on every branch. One axis (`over`, the seeds) holds replicates: each
//! figure becomes a mean with an interval over them. The other axes (ablations, controls) stay apart;
//! with `against`, each is also set against one of their values, replicate by replicate, since the same
//! seed is the same data. `comparison_findings.tsv` says in plain words what lies above chance and
//! which calls survive a control.

mod figure;
mod params;
pub mod summary;
mod tables;
pub mod words;

pub use params::{CompareParams, Panel};

use serde_json::json;

use clcc_data::error::{StageError, StageResult};
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::roles;
use clcc_stage::rows::ScoreRow;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, TableSpec};

use summary::{Figure, summarise};
use tables::{ComparisonRow, FindingRow, write_findings, write_rows};
use words::findings;

/// The stage.
#[derive(Debug)]
pub struct Compare;

impl Stage for Compare {
    type Params = CompareParams;
    const KIND: &'static str = "compare";
    // 3: elementary functions, products and decompositions of `math`.
    const CODE_VERSION: u32 = 3;
    const ABOUT: &'static str = "means and intervals over seeds of every method, ablation and control: one table, one figure";
    const ONLY_WITH: &'static [OnlyWith] = CompareParams::ONLY_WITH;
    const TABLES: &'static [TableSpec] = &[ComparisonRow::SPEC, FindingRow::SPEC];

    fn check(params: &CompareParams) -> Vec<ParamProblem> {
        params.problems()
    }

    fn reads(_: &CompareParams) -> Vec<Read> {
        vec![Read::required(roles::BENCHMARK)]
    }

    fn outputs(_: &CompareParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::COMPARISON,
                "means, intervals and differences; findings in words",
            )
            .publish(Publish::Into("tables")),
            OutputDecl::new(roles::COMPARISON_FIGURE, "the same as one drawing")
                .publish(Publish::Into("figures")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &CompareParams) -> StageResult<Metrics> {
        let figures = load(ctx)?;
        let rows = summarise(&figures, &params.over, &params.against, params.confidence);
        if rows.is_empty() {
            return Err(StageError::data("`benchmark` has no figure to compare"));
        }
        let missing = params
            .against
            .iter()
            .find(|(axis, value)| !rows.iter().any(|r| r.group.get(*axis) == Some(*value)));
        if let Some((axis, value)) = missing {
            return Err(StageError::param(
                "against",
                format!("no branch has `{value}` on axis `{axis}`"),
            ));
        }
        if rows.iter().all(|r| r.values.len() < 2) {
            ctx.progress.warn(&format!(
                "no figure has two values on axis `{}`: there are no intervals",
                params.over
            ));
        }
        let found = findings(&rows, &params.against, params.controls);
        let dir = ctx.output(roles::COMPARISON);
        write_rows(&dir, &rows, params)?;
        write_findings(&dir, &rows, &found)?;
        let figures = ctx.output(roles::COMPARISON_FIGURE);
        std::fs::create_dir_all(&figures).map_err(StageError::creating(&figures))?;
        if let Some(svg) = figure::draw(&rows, &params.panels) {
            let path = figures.join("comparison.svg");
            std::fs::write(&path, svg.standalone("comparison", "comparison"))
                .map_err(StageError::writing(&path))?;
        }
        let mut metrics = Metrics::new();
        metrics.insert("n_rows".into(), json!(rows.len()));
        let count = |v: &str| found.iter().filter(|f| f.verdict == v).count();
        for verdict in [
            "above chance",
            "at chance",
            "below chance",
            "survives the control",
        ] {
            metrics.insert(
                format!("n_{}", verdict.replace(' ', "_")),
                json!(count(verdict)),
            );
        }
        Ok(metrics)
    }
}

fn load(ctx: &StageContext<'_>) -> StageResult<Vec<Figure>> {
    let mut out = Vec::new();
    for input in ctx.all(roles::BENCHMARK) {
        let figure = |row: ScoreRow| Figure {
            branch: input.branch.clone(),
            target: row.target,
            method: row.method,
            metric: row.metric,
            value: row.value,
            chance: row.chance,
            se: row.se,
        };
        out.extend(input.rows()?.into_iter().map(figure));
    }
    Ok(out)
}
