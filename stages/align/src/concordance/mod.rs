//! `concordance`: the distance between a cell's two embeddings, and the cells where it is largest.
//!
//! The distance is Euclidean, between the two unit vectors that the encoders give a cell. Cancer
//! cells are classed by quantile within their patient: the nearest are concordant, the farthest
//! discordant. Every cell gets a distance; only the cancer cells that `restrict` keeps get a class.
//!
//! A class is an ordering by a learnt distance, not a finding. On simulated tumours with planted
//! escape it ranks escape genes at chance, and in an atlas it mostly follows cell type and depth.
//! So the stage compares the classes in every known variable and warns of strong associations; labels
//! permuted within patient and cell type ([`null`]) show what cell type alone would give.
//!
//! With `objective: anchors` the second vector is that of the cell's own anchor, as method B embeds no
//! copy number of single cells; cells without an anchor have no distance and no class.
//!
//! With `score: discordance` cells are classed by the log odds that `discordance` gives them in place of the distance,
//! and the stage needs no embeddings; a cell that it says nothing of has no class.
//!
//! A model gives smaller distances to the cells that it was trained on. With `cross_fit: K` each
//! cell's distance comes from the one of K models that held it out ([`cross_fit`]).

mod classes;
mod composition;
mod cross_fit;
mod load;
mod null;
mod params;
mod write;

pub use classes::{Class, PatientClasses, classify, row_distances};
use clcc_stage::cells::Restrict;
use clcc_stage::roles;
pub use composition::{Composition, Limits, Null, compose};
pub use cross_fit::{CrossFit, Fold, FoldSummary, cross_fit};
pub use null::permuted;
pub use params::{ClassWithin, ConcordanceParams, NamedShare, ScoreBy, Share};

use std::collections::BTreeMap;

use serde_json::json;

use clcc_data::error::StageResult;
use clcc_stage::params::OnlyWith;
use clcc_stage::rows::{CompositionRow, ConcordanceFoldRow, ConcordancePatientRow, ConcordanceRow};
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, TableSpec};

use load::Cells;

/// The kind `concordance`: measures and classes every cell.
#[derive(Debug, Clone, Copy)]
pub struct Concordance;

impl Stage for Concordance {
    type Params = ConcordanceParams;
    const KIND: &'static str = "concordance";
    // 4: elementary functions, products and decompositions of `math`.
    const CODE_VERSION: u32 = 4;
    const ABOUT: &'static str =
        "distance between a cell's two embeddings, and classes by quantile within each patient";
    const USES_SEED: bool = true;
    const ONLY_WITH: &'static [OnlyWith] = ConcordanceParams::ONLY_WITH;
    const TABLES: &'static [TableSpec] = &[
        ConcordanceRow::SPEC,
        ConcordancePatientRow::SPEC,
        CompositionRow::SPEC,
        ConcordanceFoldRow::SPEC,
    ];

    fn reads(p: &ConcordanceParams) -> Vec<Read> {
        let mut out = vec![Read::required(roles::EXPR)];
        match p.score {
            ScoreBy::Distance => out.extend([
                Read::required(roles::EMBEDDINGS),
                Read::required(roles::SPLIT),
                Read::optional(roles::ANCHORS),
            ]),
            ScoreBy::Discordance => out.push(Read::one(roles::DISCORDANCE)),
        }
        out.push(if p.restrict == Restrict::Malignant {
            Read::required(roles::CLUSTERS)
        } else {
            Read::optional(roles::CLUSTERS)
        });
        out
    }

    fn outputs(p: &ConcordanceParams) -> Vec<OutputDecl> {
        let mut out = vec![
            OutputDecl::new(roles::CONCORDANCE, "distance and class of every cell")
                .publish(Publish::At("tables/concordance.tsv")),
            OutputDecl::new(
                roles::CONCORDANCE_SUMMARY,
                "classes per patient, and what they are made of",
            )
            .publish(Publish::Into("tables")),
        ];
        if p.n_null > 0 {
            out.push(OutputDecl::new(
                roles::CONCORDANCE_NULL,
                "class labels permuted within patient and cell type",
            ));
        }
        out
    }

    fn run(ctx: &StageContext<'_>, params: &ConcordanceParams) -> StageResult<Metrics> {
        let cells = Cells::load(ctx, params)?;
        let n = cells.obs.len();
        let (classes, by_patient) = class_patients(&cells, params);
        let cell_type = cells
            .obs
            .texts("cell_type")
            .unwrap_or_else(|_| vec![String::new(); n]);
        let groups: Vec<(u32, &str)> = (0..n)
            .map(|i| (cells.patient_of[i], cell_type[i].as_str()))
            .collect();
        let null = permuted(&classes, &groups, params.n_null, ctx.seed);
        ctx.check_cancelled()?;
        let limits = Limits {
            cramers_v: params.warn_cramers_v,
            cohens_d: params.warn_cohens_d,
        };
        let composition = compose(
            &cells.obs,
            &cells.patients,
            &cells.patient_of,
            &classes,
            &null,
            limits,
        );
        warn(ctx, &cells, &composition, &by_patient);
        write::cells(ctx, &cells, &classes, params)?;
        let summary = ctx.output(roles::CONCORDANCE_SUMMARY);
        write::patients(&summary, &cells.patients, &by_patient, params)?;
        write::composition(&summary, &composition, params)?;
        if let Some(fit) = &cells.fit {
            write::folds(&summary, &fit.folds)?;
        }
        if params.n_null > 0 {
            null::write(
                &ctx.output(roles::CONCORDANCE_NULL),
                &cells.obs.index,
                &null,
            )?;
        }
        Ok(metrics(&cells, &by_patient, &composition))
    }
}

fn warn(
    ctx: &StageContext<'_>,
    cells: &Cells,
    composition: &[Composition],
    by_patient: &[PatientClasses],
) {
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
        ctx.progress
            .warn("no cell was classed: there is no cancer cell, or none that `restrict` keeps");
    }
    for fold in cells.fit.iter().flat_map(|f| &f.folds) {
        if fold.agreement < 0.3 {
            ctx.progress.warn(&format!(
                "fold `{}`: a cell's distance depends on whether the model trained on it (Spearman correlation {:.2} with the other folds)",
                fold.name, fold.agreement
            ));
        }
    }
}

fn metrics(cells: &Cells, by_patient: &[PatientClasses], composition: &[Composition]) -> Metrics {
    let count = |k: usize| by_patient.iter().map(|p| p.counts[k]).sum::<usize>();
    let mut metrics = Metrics::new();
    metrics.insert("n_cells".into(), json!(cells.distance.len()));
    metrics.insert(
        "n_classed".into(),
        json!(by_patient.iter().map(|p| p.n_cells).sum::<usize>()),
    );
    metrics.insert("n_concordant".into(), json!(count(0)));
    metrics.insert("n_discordant".into(), json!(count(2)));
    let classed: Vec<f64> = cells
        .distance
        .iter()
        .zip(&cells.chosen)
        .filter(|(_, c)| **c)
        .map(|(d, _)| *d)
        .collect();
    if !classed.is_empty() {
        metrics.insert(
            "mean_distance".into(),
            json!(clcc_numerics::stats::mean(&classed)),
        );
    }
    if let Some(fit) = &cells.fit {
        let least = fit
            .folds
            .iter()
            .map(|f| f.agreement)
            .fold(f64::NAN, f64::min);
        metrics.insert("n_folds".into(), json!(fit.folds.len()));
        metrics.insert(
            "least_fold_agreement".into(),
            json!(Some(least).filter(|v| v.is_finite())),
        );
    }
    metrics.insert(
        "n_composition_warnings".into(),
        json!(composition.iter().filter(|c| !c.warning.is_empty()).count()),
    );
    metrics
}

/// Fewest cells of one type in a patient that get classes of their own.
const LEAST_OF_TYPE: usize = 4;

/// Classes the chosen cells within their stratum, and summarises each patient. With
/// `strata: patient_cell_type` a patient has several cuts, and none is reported.
fn class_patients(
    cells: &Cells,
    params: &ConcordanceParams,
) -> (Vec<Option<Class>>, Vec<PatientClasses>) {
    let n = cells.distance.len();
    let q = params.quantile.value();
    let types = match params.strata {
        ClassWithin::Patient => None,
        ClassWithin::PatientCellType => cells.obs.texts("cell_type").ok(),
    };
    let mut classes = vec![None; n];
    let mut by_patient = Vec::new();
    for p in 0..cells.patients.len() {
        let mut strata: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for i in (0..n).filter(|&i| cells.patient_of[i] as usize == p && cells.chosen[i]) {
            let stratum = types.as_ref().map_or("", |t| t[i].as_str());
            strata.entry(stratum).or_default().push(i);
        }
        if types.is_some() {
            strata.retain(|_, rows| rows.len() >= LEAST_OF_TYPE);
        }
        let mut cuts = (f64::NAN, f64::NAN);
        for rows in strata.values() {
            let here: Vec<f64> = rows.iter().map(|&i| cells.distance[i]).collect();
            let (found, summary) = classify(&here, q);
            if types.is_none() {
                cuts = (summary.lower, summary.upper);
            }
            for (&i, class) in rows.iter().zip(found) {
                classes[i] = Some(class);
            }
        }
        let rows = strata.into_values().flatten();
        let of: Vec<(f64, Class)> = rows
            .filter_map(|i| Some((cells.distance[i], classes[i]?)))
            .collect();
        by_patient.push(PatientClasses::of(&of, cuts));
    }
    (classes, by_patient)
}

#[cfg(test)]
mod numpy_tests;
#[cfg(test)]
mod tests;
