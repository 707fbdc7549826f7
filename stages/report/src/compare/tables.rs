//! Tables of `compare`.

use std::path::Path;
use std::sync::Arc;

use super::params::CompareParams;
use super::summary::{Interval, Row};
use super::words::Finding;
use clcc_data::error::StageResult;
use clcc_data::table::number;
use clcc_stage::tables::{Family, Table};

clcc_stage::table! {
    /// A metric of one method on one target, over the replicates of a branch.
    pub struct ComparisonRow = "comparison.tsv" {
        /// Planted truth to find, as in `benchmark.tsv`.
        target: String,
        /// Metric.
        metric: String,
        /// Method.
        method: String,
        /// Value of an axis other than that of the replicates, for example of an ablation.
        axes as "<axis>": Family<String>,
        /// Mean over the replicates.
        mean: f64,
        /// Lower end of its interval.
        ci_low: f64,
        /// Upper end of its interval.
        ci_high: f64,
        /// Standard deviation over the replicates.
        sd: f64,
        /// Expected value under chance.
        chance: f64,
        /// Standard deviation of one replicate under chance, where it is known.
        chance_se: f64,
        /// Mean difference from the branch named by `against`, replicate by replicate.
        difference: Option<f64>,
        /// Lower end of its interval.
        difference_low: Option<f64>,
        /// Upper end of its interval.
        difference_high: Option<f64>,
        /// Replicates.
        n: i64,
        /// Each replicate and its value.
        values: String,
    }
}

clcc_stage::table! {
    /// A sentence that a row of `comparison.tsv` allows.
    pub struct FindingRow = "comparison_findings.tsv" {
        /// Planted truth to find.
        target: String,
        /// `above chance`, `at chance`, `below chance`, `survives the control`, ...
        verdict: String,
        /// Method.
        method: String,
        /// Value of an axis other than that of the replicates.
        axes as "<axis>": Family<String>,
        /// The sentence.
        finding: String,
    }
}

/// Axes of the groups, in order of their names.
fn axes(rows: &[Row]) -> Arc<[String]> {
    let mut out: Vec<String> = rows.iter().flat_map(|r| r.group.keys().cloned()).collect();
    out.sort();
    out.dedup();
    out.into()
}

/// The row's value on each axis; empty where its branch has none.
fn group(row: &Row, axes: &Arc<[String]>) -> Family<String> {
    let value = |axis: &String| row.group.get(axis).cloned().unwrap_or_default();
    Family::new(axes, axes.iter().map(value).collect())
}

/// Writes `comparison.tsv`.
pub(super) fn write_rows(dir: &Path, rows: &[Row], params: &CompareParams) -> StageResult<()> {
    let axes = axes(rows);
    let row = |r: &Row| {
        let difference = |f: fn(&Interval) -> f64| r.difference.as_ref().map(f);
        let values = r.values.iter().map(|(s, v)| format!("{s}={}", number(*v)));
        ComparisonRow {
            target: r.target.clone(),
            metric: r.metric.clone(),
            method: r.method.clone(),
            axes: group(r, &axes),
            mean: r.value.mean,
            ci_low: r.value.low,
            ci_high: r.value.high,
            sd: r.sd,
            chance: r.chance,
            chance_se: r.se,
            difference: difference(|d| d.mean),
            difference_low: difference(|d| d.low),
            difference_high: difference(|d| d.high),
            n: r.values.len() as i64,
            values: values.collect::<Vec<_>>().join(" "),
        }
    };
    let mut table = Table::new(rows.iter().map(row).collect());
    if !params.against.is_empty() {
        table = table.keep(["difference", "difference_low", "difference_high"]);
    }
    table
        .note("methods, ablations and controls against the planted truth; what each target and metric is: benchmark.tsv")
        .note(format!(
            "mean and {} % interval (Student's t) over the values of axis `{}`; chance: what a random order gives, chance_se: its standard deviation in one replicate, where it is known",
            100.0 * params.confidence,
            params.over
        ))
        .note(against(params))
        .write(dir)
}

fn against(params: &CompareParams) -> String {
    if params.against.is_empty() {
        return "no reference was named".to_string();
    }
    let against = params.against.iter().map(|(a, v)| format!("{a} {v}"));
    format!(
        "difference: from {} on the same replicate",
        against.collect::<Vec<_>>().join(", ")
    )
}

/// Writes `comparison_findings.tsv`.
pub(super) fn write_findings(dir: &Path, rows: &[Row], found: &[Finding]) -> StageResult<()> {
    let axes = axes(rows);
    let row = |f: &Finding| {
        let row = &rows[f.row];
        FindingRow {
            target: row.target.clone(),
            verdict: f.verdict.to_string(),
            method: row.method.clone(),
            axes: group(row, &axes),
            finding: f.text.clone(),
        }
    };
    Table::new(found.iter().map(row).collect())
        .note("what the figures of comparison.tsv say; above or below chance: by the interval over replicates, or by two standard errors of chance where those are known")
        .write(dir)
}
