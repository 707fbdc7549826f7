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
pub mod words;

pub use params::{CompareParams, Panel};

use std::path::Path;

use serde_json::json;

use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::table::{number, write_tsv};
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::roles;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};

use summary::{Figure, Row, summarise};
use words::{Finding, findings};

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
        write_rows(&dir.join("comparison.tsv"), &rows, params)?;
        write_findings(&dir.join("comparison_findings.tsv"), &rows, &found)?;
        let figures = ctx.output(roles::COMPARISON_FIGURE);
        std::fs::create_dir_all(&figures).map_err(StageError::io("create", &figures))?;
        if let Some(svg) = figure::draw(&rows, &params.panels) {
            let path = figures.join("comparison.svg");
            std::fs::write(&path, svg.standalone("comparison", "comparison"))
                .map_err(StageError::io("write", &path))?;
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
        let table = input.read("benchmark.tsv")?;
        let text = |name: &str| table.texts(name);
        let (target, method, metric) = (text("target")?, text("method")?, text("metric")?);
        let (value, chance, se) = (
            table.numbers("value")?,
            table.numbers("chance")?,
            table.numbers("se")?,
        );
        for i in 0..value.len() {
            out.push(Figure {
                branch: input.branch.clone(),
                target: target[i].to_string(),
                method: method[i].to_string(),
                metric: metric[i].to_string(),
                value: value[i],
                chance: chance[i],
                se: se[i],
            });
        }
    }
    Ok(out)
}

/// Axes of the groups, in order of their names.
fn axes(rows: &[Row]) -> Vec<String> {
    let mut out: Vec<String> = rows.iter().flat_map(|r| r.group.keys().cloned()).collect();
    out.sort();
    out.dedup();
    out
}

fn set_groups(frame: &mut Frame, rows: &[&Row], axes: &[String]) {
    for axis in axes {
        let of = |r: &&Row| r.group.get(axis).cloned().unwrap_or_default();
        frame.set(axis, Column::Str(rows.iter().map(of).collect()));
    }
}

fn write_rows(path: &Path, rows: &[Row], params: &CompareParams) -> StageResult<()> {
    let mut frame = Frame::new(rows.iter().map(|r| r.target.clone()).collect());
    let text = |f: &dyn Fn(&Row) -> String| Column::Str(rows.iter().map(f).collect());
    let num = |f: &dyn Fn(&Row) -> f64| Column::F64(rows.iter().map(f).collect());
    frame.set("metric", text(&|r| r.metric.clone()));
    frame.set("method", text(&|r| r.method.clone()));
    set_groups(&mut frame, &rows.iter().collect::<Vec<_>>(), &axes(rows));
    frame.set("mean", num(&|r| r.value.mean));
    frame.set("ci_low", num(&|r| r.value.low));
    frame.set("ci_high", num(&|r| r.value.high));
    frame.set("sd", num(&|r| r.sd));
    frame.set("chance", num(&|r| r.chance));
    frame.set("chance_se", num(&|r| r.se));
    let difference = |f: fn(&summary::Interval) -> f64| {
        num(&move |r: &Row| r.difference.as_ref().map_or(f64::NAN, f))
    };
    if !params.against.is_empty() {
        frame.set("difference", difference(|d| d.mean));
        frame.set("difference_low", difference(|d| d.low));
        frame.set("difference_high", difference(|d| d.high));
    }
    frame.set(
        "n",
        Column::I64(rows.iter().map(|r| r.values.len() as i64).collect()),
    );
    let values = |r: &Row| {
        let list: Vec<String> = r
            .values
            .iter()
            .map(|(s, v)| format!("{s}={}", number(*v)))
            .collect();
        list.join(" ")
    };
    frame.set("values", text(&values));
    let interval = format!(
        "mean and {} % interval (Student's t) over the values of axis `{}`; chance: what a random order gives, chance_se: its standard deviation in one replicate, where it is known",
        100.0 * params.confidence,
        params.over
    );
    let against: Vec<String> = params
        .against
        .iter()
        .map(|(a, v)| format!("{a} {v}"))
        .collect();
    let difference = if against.is_empty() {
        "no reference was named".to_string()
    } else {
        format!(
            "difference: from {} on the same replicate",
            against.join(", ")
        )
    };
    write_tsv(
        path,
        "target",
        &frame,
        &[
            "methods, ablations and controls against the planted truth; what each target and metric is: benchmark.tsv",
            &interval,
            &difference,
        ],
    )
}

fn write_findings(path: &Path, rows: &[Row], found: &[Finding]) -> StageResult<()> {
    let mut frame = Frame::new(found.iter().map(|f| rows[f.row].target.clone()).collect());
    frame.set(
        "verdict",
        Column::Str(found.iter().map(|f| f.verdict.to_string()).collect()),
    );
    let own: Vec<&Row> = found.iter().map(|f| &rows[f.row]).collect();
    frame.set(
        "method",
        Column::Str(own.iter().map(|r| r.method.clone()).collect()),
    );
    set_groups(&mut frame, &own, &axes(rows));
    frame.set(
        "finding",
        Column::Str(found.iter().map(|f| f.text.clone()).collect()),
    );
    let notes = [
        "what the figures of comparison.tsv say; above or below chance: by the interval over replicates, or by two standard errors of chance where those are known",
    ];
    write_tsv(path, "target", &frame, &notes)
}
