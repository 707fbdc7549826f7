//! Which genes differ: between discordant and concordant cells, between cancer and normal
//! epithelium, between cells of high and low copy-number burden; and whether a region's expression
//! follows its copy number.
//!
//! Reads `expr`, `cnv` and `concordance` of all patients, and the slopes of `dosage` where a needed
//! stage writes them. Tests are Wilcoxon rank-sum tests per patient and pooled, in one pass over
//! the genes each, and a paired t test over patients. A comparison with an empty group, or a group
//! of one cell, is recorded as not applicable in `contrasts.tsv`.
//!
//! Without `concordance` (method B) cancer against normal epithelium is compared alone; where a needed stage
//! writes `h_clusters`, each cluster is compared with the rest (`h_clusters`).
//!
//! `escape` and `compensation` are the paper's words for genes that discordant cells have more or
//! less of. They rest on the classes of `concordance` and inherit their limits.

mod cis;
mod contrasts;
mod family;
mod findings;
mod h_clusters;
mod locus;
mod params;
mod write;

pub use cis::{CisEffect, Region, cis_effects, region_means, regions};
pub use contrasts::{Comparison, Kind, sides};
pub use family::{Stratified, Tested, stratified, test_all};
pub use locus::{Loci, State, mean_profile};
pub use params::DeParams;

use std::collections::HashMap;

use serde_json::json;

use crate::cohort::{Cohort, CohortCnv};
use crate::dosage::GeneWindows;
use crate::error::{StageError, StageResult};
use crate::params::ParamProblem;
use crate::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use crate::table::TextTable;

/// The stage.
#[derive(Debug)]
pub struct De;

impl Stage for De {
    type Params = DeParams;
    const KIND: &'static str = "de";
    const CODE_VERSION: u32 = 1;
    const ABOUT: &'static str =
        "differential expression between classes of cells, and cis effects of copy number";
    const MULTI_THREADED: bool = true;

    fn check(params: &DeParams) -> Vec<ParamProblem> {
        params.problems()
    }

    fn reads(_: &DeParams) -> Vec<Read> {
        vec![
            Read::required("expr"),
            Read::required("cnv"),
            Read::optional("concordance"),
            Read::optional("dosage"),
            Read::optional("h_clusters"),
        ]
    }

    fn outputs(_: &DeParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                "de",
                "one table per comparison, escape and compensation genes, cis effects",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &DeParams) -> StageResult<Metrics> {
        let classed = ctx.optional("concordance").is_some();
        if !classed || ctx.optional("h_clusters").is_some() {
            let metrics = h_clusters::run(ctx, params)?;
            if !classed {
                return Ok(metrics);
            }
        }
        let cohort = Cohort::load(ctx)?;
        let cnv = CohortCnv::load(ctx)?;
        if cnv.x.n_rows() != cohort.n_cells() {
            return Err(StageError::data(format!(
                "`cnv` has {} cells, `expr` has {}",
                cnv.x.n_rows(),
                cohort.n_cells()
            )));
        }
        let table = TextTable::read(&ctx.one("concordance")?.path)?;
        let class = classes(&cohort, &table)?;
        ctx.check_cancelled()?;
        let n_patients = cohort.patients.len();
        let burden: Vec<f64> = (0..cnv.x.n_rows())
            .map(|r| {
                cnv.x
                    .row(r)
                    .1
                    .iter()
                    .map(|v| f64::from(v.abs()))
                    .sum::<f64>()
                    / cnv.x.n_cols() as f64
            })
            .collect();
        let sides = sides(
            &cohort.obs,
            &cohort.patient_of,
            n_patients,
            &class,
            &burden,
            params.burden_quantile,
        )?;
        let tested = test_all(&cohort, &sides, params, |done| {
            ctx.progress
                .step(done as u64, n_patients as u64 + 1, "Wilcoxon");
            ctx.check_cancelled()
        })?;
        for t in tested
            .iter()
            .filter(|t| t.comparison.kind == Kind::Discordance)
        {
            if let Some(why) = &t.comparison.obstacle {
                ctx.progress.warn(&format!(
                    "{}, {}: {why}",
                    t.comparison.kind.name(),
                    write::who(&cohort.patients, t.patient)
                ));
            }
        }
        report(ctx, params, &cohort, &cnv, &class, &tested)
    }
}

fn report(
    ctx: &StageContext<'_>,
    params: &DeParams,
    cohort: &Cohort,
    cnv: &CohortCnv,
    class: &[&str],
    tested: &[Tested],
) -> StageResult<Metrics> {
    let dir = ctx.output("de");
    std::fs::create_dir_all(&dir).map_err(StageError::io("create", &dir))?;
    let found = stratified(tested);
    let dosage = ctx
        .optional("dosage")
        .map(|d| dosage_of(&d.path.join("dosage_genes.tsv"), &cohort.var.index))
        .transpose()?;
    let genes = write::GeneNotes {
        names: &cohort.var.index,
        dosage,
        stratified: found.as_deref(),
    };
    for t in tested.iter().filter(|t| t.comparison.obstacle.is_none()) {
        write::comparison(&dir, t, &cohort.patients, &genes, params)?;
    }
    let is_pair = |t: &&Tested| t.comparison.kind == Kind::Discordance && !t.genes.is_empty();
    let patients: Vec<&Tested> = tested
        .iter()
        .filter(is_pair)
        .filter(|t| t.patient.is_some())
        .collect();
    write::contrasts(
        &dir,
        tested,
        &cohort.patients,
        (patients.len(), found.as_deref()),
        params,
    )?;
    write::stratified(&dir, &genes, patients.len())?;
    ctx.check_cancelled()?;

    let map = GeneWindows::new(&cohort.var.index, &cnv.windows, &cnv.genes)?;
    let with_loci: Vec<(&Tested, Option<Loci>)> = tested
        .iter()
        .filter(is_pair)
        .map(|t| {
            let rows = |name: &str| -> Vec<usize> {
                (0..class.len())
                    .filter(|&i| {
                        class[i] == name
                            && t.patient.is_none_or(|p| p == cohort.patient_of[i] as usize)
                    })
                    .collect()
            };
            (
                t,
                Loci::new(
                    &map,
                    &cnv.x,
                    &rows("discordant"),
                    &rows("concordant"),
                    params.locus_threshold,
                ),
            )
        })
        .collect();
    let mut metrics = Metrics::new();
    for (sign, word) in [(1, "escape"), (-1, "compensation")] {
        let in_patients: Vec<usize> = (0..cohort.var.len())
            .map(|g| {
                patients
                    .iter()
                    .filter(|t| t.direction(g, params.fdr, params.log2fc[0]) == sign)
                    .count()
            })
            .collect();
        let counts = findings::findings(
            &dir,
            sign,
            &with_loci,
            &in_patients,
            &cohort.patients,
            &genes,
            params,
        )?;
        metrics.insert(
            format!("n_{word}_rows"),
            json!(counts.iter().sum::<usize>()),
        );
        metrics.insert(format!("n_{word}_rows_at_neutral_loci"), json!(counts[2]));
    }
    let recurrent =
        findings::recurrence(&dir, &patients, &cohort.patients, &cohort.var.index, params)?;
    metrics.insert("n_recurrent".into(), json!(recurrent));
    metrics.insert(
        "n_contrasts".into(),
        json!(
            tested
                .iter()
                .filter(|t| t.comparison.obstacle.is_none())
                .count()
        ),
    );
    metrics.insert(
        "n_not_applicable".into(),
        json!(
            tested
                .iter()
                .filter(|t| t.comparison.obstacle.is_some())
                .count()
        ),
    );
    let cis_of_all = cis_tables(&dir, cohort, cnv, class)?;
    metrics.insert(
        "median_cis_spearman".into(),
        cis_of_all.map_or(serde_json::Value::Null, |v| json!(v)),
    );
    Ok(metrics)
}

/// Writes the cis effects; the median over chromosomes in the last set of cells.
fn cis_tables(
    dir: &std::path::Path,
    cohort: &Cohort,
    cnv: &CohortCnv,
    class: &[&str],
) -> StageResult<Option<f64>> {
    let regions = regions(&cohort.var, cnv)?;
    let genes: Vec<&[usize]> = regions.iter().map(|r| r.genes.as_slice()).collect();
    let windows: Vec<&[usize]> = regions.iter().map(|r| r.windows.as_slice()).collect();
    let mut sets: Vec<(String, Vec<usize>)> = Vec::new();
    for (p, name) in cohort.patients.iter().enumerate() {
        sets.push((
            name.clone(),
            cohort
                .cells_of(p)
                .filter(|&i| !class[i].is_empty())
                .collect(),
        ));
    }
    if cohort.patients.len() > 1 {
        sets.push((
            "pooled".into(),
            (0..class.len()).filter(|&i| !class[i].is_empty()).collect(),
        ));
    }
    let found: Vec<(String, usize, Vec<CisEffect>)> = sets
        .into_iter()
        .filter(|(_, rows)| rows.len() >= 3)
        .map(|(name, rows)| {
            let effects = cis_effects(
                &regions,
                &region_means(&cohort.x, &rows, &genes),
                &region_means(&cnv.x, &rows, &windows),
            );
            (name, rows.len(), effects)
        })
        .collect();
    write::cis(dir, &regions, &found)?;
    let last: Vec<f64> = found.last().map_or_else(Vec::new, |(_, _, effects)| {
        effects
            .iter()
            .filter(|e| regions[e.region].level == "chromosome" && e.cis.r.is_finite())
            .map(|e| e.cis.r)
            .collect()
    });
    Ok((!last.is_empty()).then(|| crate::stats::median(&last)))
}

/// The class of each cell, checked to be in cohort order.
fn classes<'a>(cohort: &Cohort, table: &'a TextTable) -> StageResult<Vec<&'a str>> {
    let cells = table.texts("cell")?;
    if cells.len() != cohort.n_cells() {
        return Err(StageError::data(format!(
            "`concordance` has {} cells, `expr` has {}",
            cells.len(),
            cohort.n_cells()
        )));
    }
    if let Some(i) = (0..cells.len()).find(|&i| cells[i] != cohort.obs.index[i]) {
        return Err(StageError::data(format!(
            "row {i} of `concordance`: expected cell `{}` as in `expr`, found `{}`",
            cohort.obs.index[i], cells[i]
        )));
    }
    table.texts("concordance_class")
}

/// Slope and class of each gene from the table that `dosage` writes; NaN and empty where absent.
fn dosage_of(path: &std::path::Path, genes: &[String]) -> StageResult<(Vec<f64>, Vec<String>)> {
    let table = TextTable::read(path)?;
    let (names, slope, class) = (
        table.texts("names")?,
        table.numbers("slope")?,
        table.texts("class")?,
    );
    let at: HashMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let row = |g: &String| at.get(g.as_str()).copied();
    Ok((
        genes
            .iter()
            .map(|g| row(g).map_or(f64::NAN, |r| slope[r]))
            .collect(),
        genes
            .iter()
            .map(|g| row(g).map_or_else(String::new, |r| class[r].to_string()))
            .collect(),
    ))
}

#[cfg(test)]
mod tests;
