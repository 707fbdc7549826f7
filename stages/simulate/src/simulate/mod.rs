//! Simulated patients with known truth: tumour and normal samples, cell types, clones with arm-level
//! copy-number events, and genes that escape their dosage.
//!
//! The stage writes one `counts` per patient, which `preprocess` reads with its defaults; `truth`, tables
//! of the planted truth; and `segments`, the planted copy number in the format that `infercnv` reads as
//! measured. [`geo::write_file_set`] writes the same kind of patients in the exact file formats of
//! GSE131907, at any scale.
//!
//! A count is drawn in these steps (`counts`):
//! 1. each gene has a base expression (log-normal over genes, `world`), or with the file input `marginals`
//!    the mean and dispersion that it has in real counts (`marginals`);
//! 2. each cell type, tumour, patient and tumour sample shifts some genes, and markers are placed
//!    (`profiles`, `shifts`);
//! 3. a malignant cell's gene is multiplied by ratio^slope, where ratio is the relative copy number of
//!    the gene in the cell's clone (`events`, `focal`) and slope the gene's dosage sensitivity, normal
//!    (.85, .2); slope is 0 in every malignant cell for genes of **constitutive** escape, and
//!    `state_slope` for genes of **cell-state** escape in the discordant cells of each clone;
//! 4. the cell's profile is mixed with its sample's ambient profile and scaled to its depth;
//! 5. the count is gamma-Poisson (negative binomial) around that; a doublet has the counts of two cells.
//!
//! The defaults are the easy case: events of whole arms, the same genes escaping in all patients, cells that
//! are discordant or not, and no doublet, no normal cell with a tumour's expression or label, no batch. Each
//! of these is a parameter; each draws from its own stream, so setting one leaves every other draw as it was.
//!
//! A patient depends only on the seed, the parameters and its own name, so adding a patient does not
//! change the others, but for `escape_patients`. Not simulated: allelic imbalance, and correlation between
//! neighbouring genes apart from copy number.

pub mod geo;

mod atlas;
mod cell_types;
mod cells;
mod clonotypes;
mod counts;
mod events;
mod focal;
mod marginals;
mod mixing;
mod params;
mod plan;
mod profiles;
mod shifts;
pub(crate) mod truth;
mod world;

pub use cell_types::CellType;
use counts::simulate_until;
pub use counts::{Patient, simulate_patient};
pub use events::{Event, EventKind, TumourClone, plant_events};
pub use marginals::Marginals;
pub use params::{Immunoglobulin, SimulateParams};
pub use plan::{CellGroup, PatientPlan, SamplePlan};
pub use truth::Truth;
pub use world::{SimulatedGene, World};

use std::collections::BTreeMap;

use clcc_data::error::{StageError, StageResult};
use clcc_data::matrix::Matrix;
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::roles;
use clcc_stage::stage::{
    InputArtifact, Metrics, ObsColumn, OutputDecl, Publish, Read, Stage, StageContext, Survey,
};
use clcc_stage::tables::{Row as _, TableSpec};

/// The stage kind `simulate`.
#[derive(Debug)]
pub struct Simulate;

impl Stage for Simulate {
    type Params = SimulateParams;

    const KIND: &'static str = "simulate";
    const TABLES: &'static [TableSpec] = &[
        truth::GeneRow::SPEC,
        truth::CellRow::SPEC,
        truth::EventRow::SPEC,
        truth::EscapeRow::SPEC,
        truth::ClonotypeRow::SPEC,
    ];
    // 3: arms end where the assembly says; elementary functions, products and decompositions of
    //    `math`.
    // 4: `marginals` whose genes are Ensembl ids.
    const CODE_VERSION: u32 = 4;
    const ABOUT: &'static str =
        "simulated tumours with known clones, copy number and dosage escape";
    const USES_SEED: bool = true;
    const MULTI_THREADED: bool = true;
    const ONLY_WITH: &'static [OnlyWith] = SimulateParams::ONLY_WITH;

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.check()
    }

    fn reads(_: &Self::Params) -> Vec<Read> {
        Vec::new()
    }

    fn file_inputs(_: &Self::Params) -> Vec<Read> {
        vec![Read::optional(roles::MARGINALS)]
    }

    fn outputs(_: &Self::Params) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::COUNTS,
                "raw counts of one simulated patient (AnnData)",
            )
            .keyed(),
            OutputDecl::new(roles::TRUTH, "planted genes, cells and events")
                .publish(Publish::Into("tables")),
            OutputDecl::new(
                roles::SEGMENTS,
                "planted copy number of each clone, as a measured table",
            ),
        ]
    }

    fn survey(
        params: &Self::Params,
        _: &[InputArtifact],
        keys: &[String],
    ) -> StageResult<Option<Survey>> {
        let plans = keys.iter().map(|name| PatientPlan::standard(name, params));
        Ok(Some(Survey {
            obs: planned_obs(&plans.collect::<Vec<_>>(), params),
            problems: Vec::new(),
        }))
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        if ctx.keys.is_empty() {
            return Err(StageError::data_hint(
                "there is no patient to simulate",
                "name patients under the workflow's `axes`, for example `patient: [A, B, C]`",
            ));
        }
        let world = world_of(ctx, params)?;
        let mut truth = Truth::new(&world, params);
        let (mut n_cells, mut nnz, mut totals) = (0, 0, Vec::new());
        for (i, name) in ctx.keys.iter().enumerate() {
            ctx.check_cancelled()?;
            let plan = PatientPlan::standard(name, params);
            let patient = simulate_until(&world, &plan, params, ctx.seed, ctx.cancel)?;
            truth.add(&patient);
            if let Some(Matrix::Csr(x)) = &patient.counts.x {
                n_cells += x.n_rows();
                nnz += x.nnz();
                totals.extend(
                    (0..x.n_rows()).map(|r| x.row(r).1.iter().map(|v| f64::from(*v)).sum::<f64>()),
                );
            }
            patient
                .counts
                .write_zarr(&ctx.keyed_output(roles::COUNTS, name)?)?;
            ctx.progress.step(i as u64 + 1, ctx.keys.len() as u64, name);
        }
        let n_genes = world.genes.len();
        truth.write_segments(&ctx.output(roles::SEGMENTS))?;
        let mut metrics = truth.write(&ctx.output(roles::TRUTH))?;
        metrics.insert("n_patients".into(), ctx.keys.len().into());
        metrics.insert("n_cells".into(), n_cells.into());
        metrics.insert("n_genes".into(), n_genes.into());
        metrics.insert(
            "share_zero".into(),
            (1.0 - nnz as f64 / (n_cells * n_genes) as f64).into(),
        );
        metrics.insert("median_total_counts".into(), counts::median(&totals).into());
        Ok(metrics)
    }
}

/// The genes, with the marginals of the file input if there is one, and with escape in these patients.
fn world_of(ctx: &StageContext<'_>, params: &SimulateParams) -> StageResult<World> {
    let n = ctx.keys.len();
    if let Some(k) = params.escape_patients.filter(|k| *k > n) {
        let message = format!("expected at most the number of patients, {n}, found `{k}`");
        return Err(StageError::param("escape_patients", message));
    }
    let world = match ctx.optional(roles::MARGINALS) {
        None => World::new(params, ctx.seed),
        Some(file) => World::fitted(params, ctx.seed, &Marginals::fit(&file.path)?),
    };
    Ok(world?.for_patients(&ctx.keys, params, ctx.seed))
}

/// Columns of `obs` that the cells of these patients will have.
fn planned_obs(plans: &[PatientPlan], params: &SimulateParams) -> Vec<ObsColumn> {
    let mut columns = ["patient", "sample", "sample_origin", "cell_type"].map(|name| ObsColumn {
        name: name.to_string(),
        values: Some(BTreeMap::new()),
    });
    for plan in plans {
        for sample in &plan.samples {
            for (label, n_cells) in sample.labels(params) {
                let values = [
                    plan.name.as_str(),
                    &sample.name,
                    &sample.origin,
                    label.name(),
                ];
                for (column, value) in columns.iter_mut().zip(values) {
                    let values = column.values.get_or_insert_default();
                    *values.entry(value.to_string()).or_default() += n_cells;
                }
            }
        }
    }
    let truth = truth_columns(params);
    let truth = truth.iter().map(|name| ObsColumn::unknown(name));
    columns.into_iter().chain(truth).collect()
}

/// Columns of planted truth in `obs`.
fn truth_columns(params: &SimulateParams) -> Vec<&'static str> {
    let mut names = vec!["truth_malignant", "truth_clone", "truth_discordant"];
    for (is_planted, name) in [
        (
            params.discordance_concentration.is_some(),
            "truth_discordance",
        ),
        (params.tumour_like_share > 0.0, "truth_tumour_like"),
        (params.mislabelled_share > 0.0, "truth_cell_type"),
        (params.doublet_share > 0.0, "truth_doublet"),
    ] {
        if is_planted {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod fitted_tests;
#[cfg(test)]
mod hard_tests;
#[cfg(test)]
mod tests;
