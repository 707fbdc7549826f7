//! Tables of genes: `dosage_genes.tsv`, and `dosage_patients.tsv` with the slopes of the patients.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::table::number;
use clcc_stage::cohort::Cohort;
use clcc_stage::rows::{DosageGeneRow, DosagePatientRow};
use clcc_stage::tables::Table;

use super::Analysis;
use super::params::{DosageParams, Strata};
use super::patients::PatientSlope;
use super::posterior::{ESCAPE_SD, LEAST_GENES};
use super::slope::{GeneDosage, Slopes};

/// Write both tables.
pub(super) fn write(
    dir: &Path,
    cohort: &Cohort,
    found: &Analysis,
    params: &DosageParams,
) -> StageResult<()> {
    let names = patient_names(cohort, &found.slopes);
    Table::new(gene_rows(cohort, &found.slopes, &names, params)?)
        .notes(gene_notes(found, params))
        .write(dir)?;
    Table::new(patient_rows(cohort, &found.slopes, &names, params))
        .notes(patient_notes(params))
        .write(dir)
}

/// Names of the patients of the slopes.
fn patient_names<'a>(cohort: &'a Cohort, slopes: &Slopes) -> Vec<&'a str> {
    let name = |p: &u32| cohort.patients[*p as usize].as_str();
    slopes.patients.iter().map(name).collect()
}

/// Whether a patient's slope is called insensitive.
fn is_called(patient: &PatientSlope, params: &DosageParams) -> bool {
    patient.q < params.fdr
}

fn known(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn gene_rows(
    cohort: &Cohort,
    slopes: &Slopes,
    patients: &[&str],
    params: &DosageParams,
) -> StageResult<Vec<DosageGeneRow>> {
    let var = &cohort.var;
    let chromosome = var.texts("chromosome")?;
    let position = |column: &str| -> Vec<Option<i64>> {
        match var.numbers(column) {
            Ok(values) => values
                .into_iter()
                .map(|v| v.is_finite().then_some(v as i64))
                .collect(),
            Err(_) => vec![None; var.len()],
        }
    };
    let (start, end) = (position("start"), position("end"));
    let rows = slopes.genes.iter().enumerate().map(|(i, g)| DosageGeneRow {
        chromosome: Some(chromosome[i].clone()).filter(|c| !c.is_empty()),
        start: start[i],
        end: end[i],
        ..gene_row(var.index[i].clone(), g, patients, params)
    });
    Ok(rows.collect())
}

/// A row without its place.
fn gene_row(
    names: String,
    g: &GeneDosage,
    patients: &[&str],
    params: &DosageParams,
) -> DosageGeneRow {
    let own: Vec<&PatientSlope> = g.patients.iter().filter(|p| p.slope.is_finite()).collect();
    let side = |slope: f64| slope < params.insensitive_below;
    let called: Vec<&str> = g
        .patients
        .iter()
        .zip(patients)
        .filter(|(p, _)| is_called(p, params))
        .map(|(_, name)| *name)
        .collect();
    DosageGeneRow {
        names,
        chromosome: None,
        start: None,
        end: None,
        slope: g.slope,
        slope_shrunken: g.shrunken,
        slope_posterior: g.posterior.map(|p| p.mean),
        se: g.se,
        ci_low: g.interval.0,
        ci_high: g.interval.1,
        df: g.df,
        prob_insensitive: g.posterior.map(|p| p.below),
        prob_escape: g.posterior.map(|p| p.escape),
        lfsr: g.posterior.map(|p| p.false_sign),
        qval: known(g.q),
        pvals_zero: g.zero.0.p,
        pvals_zero_adj: g.zero.1,
        pvals_one: g.one.0.p,
        pvals_one_adj: g.one.1,
        class: g.class.name().to_string(),
        reason: g.reason.clone(),
        n_patients: own.len() as i64,
        n_patients_agree: own
            .iter()
            .filter(|p| side(p.slope) == side(g.slope))
            .count() as i64,
        patients_insensitive: called.join(","),
        heterogeneity: known(g.heterogeneity.q),
        pvals_heterogeneity: known(g.heterogeneity.p),
        pvals_heterogeneity_adj: known(g.heterogeneity.p_adj),
        n_clones: g.n_clones as i64,
        copy_spread: g.spread,
        copy_source: g.source.name().to_string(),
    }
}

/// Notes at the head of `dosage_genes.tsv`.
fn gene_notes(found: &Analysis, params: &DosageParams) -> Vec<String> {
    let slopes = &found.slopes;
    let stratum = match params.strata {
        Strata::Patient => "patient",
        Strata::PatientCellType => "cell type within patient",
    };
    let test = format!(
        "test: negative binomial regression of clone counts (pseudobulk of raw counts, log link, offset library and size factor) on the local log copy ratio over the {} clones of strata with a malignant one, one level per {stratum}, common dispersion {}; the quadratic form of the contrasts between clones over their number as the variance, moderated over genes (Smyth 2004); t tests of slope = 0 and slope = 1, two-sided; *_adj: Benjamini-Hochberg over tested genes; ci: 95 %",
        slopes.n_clones,
        number(slopes.dispersion)
    );
    let scale = format!(
        "scale: log copy ratio = {} x X_cnv (and a factor of their own for neighbours), the one at which all tested genes together have slope 1; so slope 1 is the response of the typical gene, taken as full dosage, and not the true copy ratio, which X_cnv (smoothed, denoised log1p expression) does not hold",
        number(found.scale)
    );
    let shrunken = format!(
        "slope_shrunken: the slope drawn to 1 by a normal prior with the standard deviation of true slopes, {} (maximum a posteriori): for ranking where there is no posterior",
        number(slopes.slope_sd)
    );
    let level = slopes.tumour_level_sd.map_or_else(
        || "tumour level: none; a gene that the tumour expresses more or less for other reasons than copies cannot be told from dosage here".to_string(),
        |sd| format!(
            "tumour level: one difference between malignant and other clones of a cell type, shared by the patients, and each patient's own difference from it: random effects with standard deviations of {} and {} over genes",
            number(sd),
            number(slopes.patient_level_sd.unwrap_or(0.0))
        ),
    );
    vec![
        "dosage sensitivity of each gene".to_string(),
        test,
        level,
        "local copy number: the clones' expression of the 100 nearest genes of the segment without the gene itself (copy_source neighbours), or the nearest windows left and right that do not contain it (windows)".to_string(),
        shrunken,
        scale,
        posterior_note(slopes, params),
        class_note(params),
        "patients: dosage_patients.tsv has each patient's slope; heterogeneity: Cochran's Q of them in units of the gene's variance (an F test)".to_string(),
    ]
}

fn posterior_note(slopes: &Slopes, params: &DosageParams) -> String {
    slopes.prior.map_or_else(
        || format!("posterior: none; fewer than {LEAST_GENES} genes could be tested, from which the distribution of slopes cannot be told, so no gene is called insensitive or over-compensated"),
        |prior| format!(
            "posterior: the slopes of the tested genes are taken as draws from a normal distribution with mean {} and standard deviation {}, or (share {}) around 0 with {ESCAPE_SD} (escape), fitted to all of them (Stephens 2017); prob_insensitive = P(slope < {}); qval: mean of 1 - prob_insensitive over the gene and all tested ones that rank above it, the share of false calls to be expected among them; lfsr: local false sign rate",
            number(prior.mean),
            number(prior.sd),
            number(prior.escape),
            params.insensitive_below
        ),
    )
}

fn class_note(params: &DosageParams) -> String {
    format!(
        "class: over-compensated = the slope is below 0 with a cumulative posterior error below {0}; insensitive = it is below {1} with such an error (qval); sensitive = above 0 by the t test at an FDR of {0}; unresolved = none of these can be told; untested = see reason; a slope with a standard error above {2} is reported, not tested",
        params.fdr, params.insensitive_below, params.max_se
    )
}

fn patient_rows(
    cohort: &Cohort,
    slopes: &Slopes,
    patients: &[&str],
    params: &DosageParams,
) -> Vec<DosagePatientRow> {
    let tested = slopes
        .genes
        .iter()
        .zip(&cohort.var.index)
        .filter(|(g, _)| g.reason.is_empty());
    tested
        .flat_map(|(g, name)| {
            g.patients
                .iter()
                .zip(patients)
                .map(move |(p, patient)| DosagePatientRow {
                    names: name.clone(),
                    patient: (*patient).to_string(),
                    slope: p.slope,
                    se: p.se,
                    prob_insensitive: known(p.below),
                    qval: known(p.q),
                    insensitive: is_called(p, params),
                })
        })
        .filter(|row| row.slope.is_finite())
        .collect()
}

fn patient_notes(params: &DosageParams) -> [String; 3] {
    [
        "slope of each tested gene in each patient whose clones differ in copy number there; all patients together: dosage_genes.tsv".to_string(),
        format!(
            "prob_insensitive = P(slope < {}): a gene follows its copy number in all patients, escapes in all, or (mixed) in each with probability {}; the shares of the three kinds are fitted to all tested genes (as in mashr, Urbut et al. 2019), so a patient borrows from the gene's others",
            params.insensitive_below,
            super::patients::MIXED_SHARE
        ),
        format!(
            "qval: mean of 1 - prob_insensitive over this row and all that rank above it, among those with a standard error of {} or less; insensitive: qval below {}",
            params.max_se, params.fdr
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dosage::slope::Source;

    #[test]
    fn a_row_counts_the_patients_that_agree_and_names_those_that_escape() {
        let mut gene = GeneDosage::untested(Source::Neighbours, String::new());
        gene.slope = 0.8;
        let patient = |slope: f64, q: f64| PatientSlope {
            slope,
            se: 0.1,
            below: 0.5,
            q,
        };
        gene.patients = vec![
            patient(1.1, 0.9),
            patient(f64::NAN, f64::NAN),
            patient(0.1, 0.01),
            patient(0.6, f64::NAN),
            patient(0.2, 0.04),
        ];
        let names = ["A", "B", "C", "D", "E"];
        let row = gene_row("G".into(), &gene, &names, &DosageParams::default());
        assert_eq!((row.n_patients, row.n_patients_agree), (4, 2));
        assert_eq!(row.patients_insensitive, "C,E");
        assert_eq!(row.qval, None);
    }
}
