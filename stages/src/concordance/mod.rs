//! How far a cell's copy-number embedding lies from its expression embedding, and which cells
//! disagree most.
//!
//! The distance is Euclidean, between the two unit vectors that the encoders give a cell. Cancer
//! cells are classed by quantile within their patient: the nearest are concordant, the farthest
//! discordant. Every cell gets a distance; only the cancer cells that `restrict` keeps get a class.
//!
//! A class is an ordering by a learnt distance, not a finding. On simulated tumours with planted
//! escape it ranks escape genes at chance, and in an atlas it mostly follows cell type and depth.
//! So the stage checks what the classes are made of and says so in plain words.

mod classes;
mod composition;
mod params;
mod restrict;

pub use classes::{Class, PatientClasses, classify, row_distances};
pub use composition::{Composition, Limits, compose};
pub use params::ConcordanceParams;
pub use restrict::Restrict;
pub(crate) use restrict::{is_cancer, is_epithelial};

use ndarray::Array2;
use serde_json::json;

use crate::anndata::Reader;
use crate::cohort::{patient_name, stack_frames};
use crate::error::{StageError, StageResult};
use crate::frame::{Column, Frame};
use crate::params::{Checks, ParamProblem};
use crate::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use crate::table::{TextTable, write_tsv};

/// The stage.
pub struct Concordance;

impl Stage for Concordance {
    type Params = ConcordanceParams;
    const KIND: &'static str = "concordance";
    const CODE_VERSION: u32 = 1;
    const ABOUT: &'static str =
        "distance between a cell's two embeddings, and classes by quantile within each patient";

    fn check(p: &ConcordanceParams) -> Vec<ParamProblem> {
        let mut c = Checks::default();
        c.require(p.quantile > 0.0 && p.quantile <= 0.5, "quantile", || {
            format!("expected a value in (0, 0.5], found `{}`", p.quantile)
        });
        c.range("warn_cramers_v", p.warn_cramers_v, 0.0, 1.0);
        c.at_least("warn_cohens_d", p.warn_cohens_d, 0.0);
        c.finish()
    }

    fn reads(_: &ConcordanceParams) -> Vec<Read> {
        vec![
            Read::required("expr"),
            Read::required("embeddings"),
            Read::required("split"),
            Read::optional("clusters"),
        ]
    }

    fn outputs(_: &ConcordanceParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new("concordance", "distance and class of every cell")
                .publish(Publish::At("tables/concordance.tsv")),
            OutputDecl::new(
                "concordance_summary",
                "classes per patient, and what they are made of",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &ConcordanceParams) -> StageResult<Metrics> {
        let cells = load(ctx)?;
        let distances = row_distances(&cells.expr, &cells.cnv);
        let chosen = params.restrict.cancer_cells(&cells.obs)?;
        let (classes, by_patient) = class_patients(&cells, &distances, &chosen, params.quantile);
        let limits = Limits {
            cramers_v: params.warn_cramers_v,
            cohens_d: params.warn_cohens_d,
        };
        let composition = compose(
            &cells.obs,
            &cells.patients,
            &cells.patient_of,
            &classes,
            limits,
        );
        // One patient is warned of by name; with several, the cohort and then a count.
        let broad = |c: &&Composition| cells.patients.len() == 1 || c.patient == "all";
        for c in composition
            .iter()
            .filter(broad)
            .filter(|c| !c.warning.is_empty())
        {
            ctx.progress.warn(&c.warning);
        }
        let single = composition
            .iter()
            .filter(|c| !broad(c) && !c.warning.is_empty())
            .count();
        if single > 0 {
            ctx.progress.warn(&format!(
                "within single patients the class goes together with another variable {single} times: see `concordance_composition.tsv`"
            ));
        }
        if by_patient.iter().all(|p| p.n_cells == 0) {
            ctx.progress.warn(
                "no cell was classed: there is no cancer cell, or none that `restrict` keeps",
            );
        }
        save_cells(ctx, &cells, &distances, &classes, params)?;
        let summary = ctx.output("concordance_summary");
        save_patients(&summary, &cells.patients, &by_patient, params)?;
        save_composition(&summary, &composition, params)?;
        let count = |k: usize| by_patient.iter().map(|p| p.counts[k]).sum::<usize>();
        let mut metrics = Metrics::new();
        metrics.insert("n_cells".into(), json!(distances.len()));
        metrics.insert(
            "n_classed".into(),
            json!(by_patient.iter().map(|p| p.n_cells).sum::<usize>()),
        );
        metrics.insert("n_concordant".into(), json!(count(0)));
        metrics.insert("n_discordant".into(), json!(count(2)));
        let classed: Vec<f64> = distances
            .iter()
            .zip(&chosen)
            .filter(|(_, c)| **c)
            .map(|(d, _)| *d)
            .collect();
        if !classed.is_empty() {
            metrics.insert("mean_distance".into(), json!(crate::stats::mean(&classed)));
        }
        metrics.insert(
            "n_composition_warnings".into(),
            json!(composition.iter().filter(|c| !c.warning.is_empty()).count()),
        );
        Ok(metrics)
    }
}

/// Everything the stage reads, rows in cohort order.
struct Cells {
    patients: Vec<String>,
    patient_of: Vec<u32>,
    obs: Frame,
    expr: Array2<f32>,
    cnv: Array2<f32>,
}

fn load(ctx: &StageContext<'_>) -> StageResult<Cells> {
    let inputs = ctx.all("expr");
    let mut frames = inputs
        .iter()
        .map(|i| Reader::open(&i.path)?.obs())
        .collect::<StageResult<Vec<_>>>()?;
    let clusters = ctx.all("clusters");
    for (frame, input) in frames.iter_mut().zip(&clusters) {
        let cluster = Reader::open(&input.path)?.obs()?;
        same_cells(&input.path, &frame.index, &cluster.index)?;
        frame.set("cnv_leiden", cluster.column("cnv_leiden")?.clone());
    }
    let patients: Vec<String> = inputs.iter().map(|i| patient_name(i)).collect();
    let patient_of: Vec<u32> = frames
        .iter()
        .enumerate()
        .flat_map(|(p, f)| vec![p as u32; f.len()])
        .collect();
    let mut obs = stack_frames(&frames);
    let names: Vec<&str> = patient_of
        .iter()
        .map(|&p| patients[p as usize].as_str())
        .collect();
    obs.set_category("patient", &names);

    let split_path = &ctx.one("split")?.path;
    let split = TextTable::read(split_path)?;
    same_cells(split_path, &obs.index, &split.texts("cell")?)?;
    obs.set_category("split", &split.texts("split")?);

    let path = &ctx.one("embeddings")?.path;
    let reader = Reader::open(path)?;
    let embedded = reader.obs()?;
    same_cells(path, &obs.index, &embedded.index)?;
    same_cells(path, &obs.texts("patient")?, &embedded.texts("patient")?)?;
    let expr = reader.obsm("X_clcc_expr")?.into_dense();
    let cnv = reader.obsm("X_clcc_cnv")?.into_dense();
    if expr.dim() != cnv.dim() {
        return Err(StageError::format(
            path,
            "obsm",
            format!(
                "expected two embeddings of one shape, found {:?} and {:?}",
                expr.dim(),
                cnv.dim()
            ),
        ));
    }
    if expr.iter().chain(&cnv).any(|v| !v.is_finite()) {
        return Err(StageError::format(
            path,
            "obsm",
            "expected finite embeddings, found NaN or infinity",
        ));
    }
    Ok(Cells {
        patients,
        patient_of,
        obs,
        expr,
        cnv,
    })
}

fn same_cells<S: AsRef<str>>(
    path: &std::path::Path,
    expected: &[String],
    found: &[S],
) -> StageResult<()> {
    if expected.len() != found.len() {
        return Err(StageError::format(
            path,
            "",
            format!("expected {} cells, found {}", expected.len(), found.len()),
        ));
    }
    match expected
        .iter()
        .zip(found)
        .position(|(a, b)| a != b.as_ref())
    {
        None => Ok(()),
        Some(i) => Err(StageError::format(
            path,
            format!("row {i}"),
            format!(
                "expected `{}` as in `expr`, found `{}`",
                expected[i],
                found[i].as_ref()
            ),
        )),
    }
}

fn class_patients(
    cells: &Cells,
    distances: &[f64],
    chosen: &[bool],
    q: f64,
) -> (Vec<Option<Class>>, Vec<PatientClasses>) {
    let mut classes = vec![None; distances.len()];
    let mut by_patient = Vec::new();
    for p in 0..cells.patients.len() {
        let rows: Vec<usize> = (0..distances.len())
            .filter(|&i| cells.patient_of[i] as usize == p && chosen[i])
            .collect();
        let here: Vec<f64> = rows.iter().map(|&i| distances[i]).collect();
        let (found, summary) = classify(&here, q);
        for (&i, class) in rows.iter().zip(found) {
            classes[i] = Some(class);
        }
        by_patient.push(summary);
    }
    (classes, by_patient)
}

/// What the classes are, for the head of each table.
fn rule(p: &ConcordanceParams) -> String {
    let who = match p.restrict {
        Restrict::All => "cancer cells (every cell of a tumour sample)",
        Restrict::Epithelial => "epithelial cancer cells (cell_type contains `pithelial`)",
    };
    format!(
        "classes within each patient over its {who}: concordant d <= quantile {0}, discordant d >= quantile 1 - {0}, linear interpolation, cuts inclusive; all other cells have no class",
        p.quantile
    )
}

fn save_cells(
    ctx: &StageContext<'_>,
    cells: &Cells,
    distances: &[f64],
    classes: &[Option<Class>],
    p: &ConcordanceParams,
) -> StageResult<()> {
    let mut frame = Frame::new(cells.obs.index.clone());
    for name in [
        "patient",
        "sample",
        "cell_type",
        "cancer_vs_normal",
        "split",
    ] {
        // An annotation that the data does not have is an empty column: readers find every name.
        let column = cells
            .obs
            .columns
            .get(name)
            .cloned()
            .unwrap_or_else(|| Column::Str(vec![String::new(); distances.len()]));
        frame.set(name, column);
    }
    frame.set("distance", Column::F64(distances.to_vec()));
    let names: Vec<&str> = classes.iter().map(|c| c.map_or("", Class::name)).collect();
    frame.set_category("concordance_class", &names);
    let notes = [
        "Euclidean distance between a cell's expression and copy-number embeddings (unit vectors: 0 to 2), all cells in cohort order",
        &rule(p),
    ];
    write_tsv(&ctx.output("concordance"), "cell", &frame, &notes)
}

fn save_patients(
    dir: &std::path::Path,
    patients: &[String],
    found: &[PatientClasses],
    p: &ConcordanceParams,
) -> StageResult<()> {
    let mut frame = Frame::new(patients.to_vec());
    let int = |f: &dyn Fn(&PatientClasses) -> usize| {
        Column::I64(found.iter().map(|c| f(c) as i64).collect())
    };
    let num = |f: &dyn Fn(&PatientClasses) -> f64| Column::F64(found.iter().map(f).collect());
    frame.set("n_cancer", int(&|c| c.n_cells));
    frame.set("n_discordant", int(&|c| c.counts[2]));
    frame.set("n_intermediate", int(&|c| c.counts[1]));
    frame.set("n_concordant", int(&|c| c.counts[0]));
    frame.set("lower_cut", num(&|c| c.lower));
    frame.set("upper_cut", num(&|c| c.upper));
    frame.set("mean_distance", num(&|c| c.mean_distance[0]));
    frame.set("mean_distance_concordant", num(&|c| c.mean_distance[1]));
    frame.set("mean_distance_intermediate", num(&|c| c.mean_distance[2]));
    frame.set("mean_distance_discordant", num(&|c| c.mean_distance[3]));
    let notes = [
        "cells in each concordance class, per patient; n_cancer counts the cells that were classed",
        &rule(p),
    ];
    write_tsv(
        &dir.join("concordance_by_patient.tsv"),
        "patient",
        &frame,
        &notes,
    )
}

fn save_composition(
    dir: &std::path::Path,
    found: &[Composition],
    p: &ConcordanceParams,
) -> StageResult<()> {
    let mut frame = Frame::new(found.iter().map(|c| c.patient.clone()).collect());
    let text = |f: &dyn Fn(&Composition) -> &str| {
        Column::Str(found.iter().map(|c| f(c).to_string()).collect())
    };
    let num = |f: &dyn Fn(&Composition) -> f64| Column::F64(found.iter().map(f).collect());
    frame.set("variable", text(&|c| &c.variable));
    frame.set("kind", text(&|c| c.kind));
    frame.set(
        "n_cells",
        Column::I64(found.iter().map(|c| c.n_cells as i64).collect()),
    );
    frame.set("cramers_v", num(&|c| c.cramers_v));
    frame.set("cramers_v_corrected", num(&|c| c.cramers_v_corrected));
    frame.set("cohens_d", num(&|c| c.cohens_d));
    frame.set("auc", num(&|c| c.auc));
    frame.set("pvals", num(&|c| c.pval));
    frame.set("top_value", text(&|c| &c.top_value));
    frame.set("discordant", num(&|c| c.discordant));
    frame.set("concordant", num(&|c| c.concordant));
    frame.set("warning", text(&|c| &c.warning));
    let limits = format!(
        "warned of at a corrected Cramer's V of {} or more, or a Cohen's d of {} or more in size",
        p.warn_cramers_v, p.warn_cohens_d
    );
    let notes = [
        "what the discordant class is made of, against the concordant one",
        "categories: Cramer's V of the 2 x k table, corrected for chance after Bergsma 2013, chi-squared test; top_value is the value with the largest excess among discordant cells, then its share of each class",
        "numbers: Cohen's d (discordant minus concordant), AUC, Wilcoxon rank-sum test with tie correction; then the two means",
        "cells are not independent samples: the p-values are descriptive",
        &limits,
        &rule(p),
    ];
    write_tsv(
        &dir.join("concordance_composition.tsv"),
        "patient",
        &frame,
        &notes,
    )
}

#[cfg(test)]
mod tests;
