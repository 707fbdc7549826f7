//! Differential expression: between discordant and concordant cells, cancer and normal cells (all of
//! them, or epithelium alone), cells of high and low copy-number burden; and cis effects, whether a
//! region's expression follows its copy number.
//!
//! Reads `expr`, `cnv` and `concordance` of all patients; permuted labels, `clusters` and the slopes of
//! `dosage` where needed stages write them. Where `preprocess.count_split` thinned the counts, all
//! tests use the part that nothing was learnt on.
//!
//! Each comparison is tested in several ways (docs/findings.md): Wilcoxon rank-sum per patient and
//! pooled, each in one pass over the genes (`family`), van Elteren within cell types (`by_type`),
//! and two tests whose sample is a patient (`paired`). A comparison with an empty group, or a group
//! of one cell, is recorded as not applicable in `contrasts.tsv`.
//!
//! Without `concordance` (method B) only cancer against normal epithelium is compared; where a needed
//! stage writes `h_clusters`, each cluster is compared with the rest (`h_clusters`).
//!
//! `escape` and `compensation` are the paper's words for genes that discordant cells express more or
//! less. They rest on the classes of `concordance` and inherit their limits;
//! `dosage_vs_discordance.tsv` compares them with the results of `dosage`.

mod by_type;
mod cis;
mod cis_left_out;
mod compare;
mod contrasts;
mod contrasts_table;
mod count_split;
mod family;
mod findings;
mod h_clusters;
mod load;
mod locus;
mod null;
mod paired;
mod params;
mod per_patient;
mod scores;
mod set_aside;
mod write;

pub use by_type::{ByType, by_type};
pub use cis::{CisEffect, Region, cis_effects, region_means, regions};
pub use cis_left_out::{LeftOut, left_out};
pub use contrasts::{Comparison, Kind, Sides, sides};
pub use family::{Tested, test_all};
pub use locus::{Loci, State};
pub use paired::{Pair, Paired, PairedGene, Sample, pseudobulk, stratified, sums};
pub use params::{CancerNormal, CisCells, Convention, DeParams};
pub use set_aside::GeneFamily;

use std::path::Path;

use serde_json::json;

use clcc_data::error::{StageError, StageResult};
use clcc_data::genome::symbols;
use clcc_data::matrix::Parts as _;
use clcc_numerics::stats::{TTest, mean, paired_t};
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::roles;
use clcc_stage::rows::{self, POOLED};
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, TableSpec};

use load::Data;
use scores::Question;

/// The stage kind `de`.
#[derive(Debug)]
pub struct De;

impl Stage for De {
    type Params = DeParams;
    const KIND: &'static str = "de";
    const TABLES: &'static [TableSpec] = &[
        rows::ContrastRow::SPEC,
        rows::ComparedGeneRow::SPEC,
        rows::PairedGeneRow::SPEC,
        rows::SetAsideRow::SPEC,
        rows::FindingGeneRow::SPEC,
        rows::RecurrentGeneRow::SPEC,
        rows::DiscordancePatientRow::SPEC,
        rows::DiscordanceNullRow::SPEC,
        rows::CountSplitRow::SPEC,
        rows::DosageDiscordanceGeneRow::SPEC,
        rows::DosageDiscordanceCellsRow::SPEC,
        rows::CellScoreRow::SPEC,
        rows::CisRow::SPEC,
        rows::CisLeftOutRow::SPEC,
        rows::ClusterContrastRow::SPEC,
        rows::ClusterGeneRow::SPEC,
    ];
    // 4: contrasts and cis effects as the CLCC paper reads them, scores and genes by patient;
    //    elementary functions, products and decompositions of `math`.
    // 5: families of genes are found by symbol where genes are named by Ensembl id.
    const CODE_VERSION: u32 = 5;
    const ABOUT: &'static str =
        "differential expression between classes of cells, and cis effects of copy number";
    const MULTI_THREADED: bool = true;
    const ONLY_WITH: &'static [OnlyWith] = DeParams::ONLY_WITH;

    fn check(params: &DeParams) -> Vec<ParamProblem> {
        params.problems()
    }

    fn reads(_: &DeParams) -> Vec<Read> {
        vec![
            Read::required(roles::EXPR),
            Read::required(roles::CNV),
            Read::optional_one(roles::CONCORDANCE),
            Read::optional_one(roles::CONCORDANCE_NULL),
            Read::optional(roles::CLUSTERS),
            Read::optional_one(roles::DOSAGE),
            Read::optional_one(roles::H_CLUSTERS),
        ]
    }

    fn outputs(_: &DeParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::DE,
                "one table per comparison and test, escape and compensation genes, cis effects, dosage compared with discordance",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &DeParams) -> StageResult<Metrics> {
        let classed = ctx.optional(roles::CONCORDANCE).is_some();
        if !classed || ctx.optional(roles::H_CLUSTERS).is_some() {
            let metrics = h_clusters::run(ctx, params)?;
            if !classed {
                return Ok(metrics);
            }
        }
        let data = Data::load(ctx, params)?;
        let cohort = &data.cohort;
        let dir = ctx.output(roles::DE);
        std::fs::create_dir_all(&dir).map_err(StageError::creating(&dir))?;
        let total = cohort.patients.len() as u64 + 5;
        let step = |done: u64, what: &str| {
            ctx.progress.step(done, total, what);
            ctx.check_cancelled()
        };
        let tested = test_all(
            cohort,
            &data.x,
            &params.kinds(),
            &data.sides,
            &data.aside,
            params,
            |done| step(done as u64, "Wilcoxon"),
        )?;
        warn_of_obstacles(ctx, &tested, &cohort.patients);
        step(total - 4, "van Elteren")?;
        let side = &data.sides[Kind::Discordance.place()];
        let within = by_type(cohort, &data.x, side, &data.cell_type)?;
        let found = Found {
            tested: &tested,
            within: &within,
            paired: &over_patients_tests(&data, &tested, params),
        };
        let mut metrics = tables(&dir, &data, &found, params)?;
        step(total - 3, "permuted labels")?;
        let explained = null::table(&dir, cohort, &data.x, &tested, &data.null, params)?;
        metrics.insert("null_share_explained".into(), json!(explained));
        if let Some(share) = explained.filter(|s| *s >= 0.5) {
            ctx.progress.warn(&format!(
                "{:.0} % of the genes found between discordant and concordant cells are found as well when the labels are permuted within cell types: they tell cell types apart",
                100.0 * share
            ));
        }
        if let Some((with, without)) = split(&dir, &data, &tested, params)? {
            metrics.insert("n_genes_with_count_split".into(), json!(with));
            metrics.insert("n_genes_without_count_split".into(), json!(without));
        }
        step(total - 2, "cis effects")?;
        let cis_of_all = cis_tables(&dir, &data, params.cis_cells)?;
        metrics.insert("median_cis_spearman".into(), json!(cis_of_all));
        Ok(metrics)
    }
}

/// Warn of the discordance comparisons that could not be made.
fn warn_of_obstacles(ctx: &StageContext<'_>, tested: &[Tested], patients: &[String]) {
    for t in tested {
        if let (Kind::Discordance, Some(why)) = (t.comparison.kind, &t.comparison.obstacle) {
            ctx.progress.warn(&format!(
                "{}, {}: {why}",
                t.comparison.kind.name(),
                write::who(patients, t.patient)
            ));
        }
    }
}

/// Both tests over patients of each kind of comparison.
fn over_patients_tests(data: &Data, tested: &[Tested], params: &DeParams) -> Vec<Paired> {
    let least = params.pseudobulk_min_count;
    let both = |kind: Kind| {
        let sums = &data.sums[kind.place()];
        [
            stratified(tested, kind, &data.aside),
            pseudobulk(kind, sums, least, &data.aside),
        ]
    };
    params.kinds().into_iter().flat_map(both).collect()
}

/// Results of all tests.
struct Found<'a> {
    tested: &'a [Tested],
    within: &'a [ByType],
    paired: &'a [Paired],
}

impl Found<'_> {
    /// Each patient's comparison of this kind, then the pooled one, including those that could not be
    /// made.
    fn of(&self, kind: Kind) -> Vec<&Tested> {
        let of_kind = |t: &&Tested| t.comparison.kind == kind;
        self.tested.iter().filter(of_kind).collect()
    }

    fn paired(&self, sample: Sample) -> &Paired {
        self.paired
            .iter()
            .find(|p| p.kind == Kind::Discordance && p.sample == sample)
            .expect("every comparison is tested over patients")
    }
}

/// Write the tables of tests and findings.
fn tables(dir: &Path, data: &Data, found: &Found<'_>, params: &DeParams) -> StageResult<Metrics> {
    let cohort = &data.cohort;
    let names = &cohort.var.index;
    let genes = write::GeneNotes {
        names,
        dosage: data.dosage.as_ref(),
        stratified: Some(found.paired(Sample::MeanOfCells)),
        pseudobulk: Some(found.paired(Sample::Pseudobulk)),
        aside: &data.aside,
    };
    for t in found.tested.iter().filter(|t| t.made()) {
        write::comparison(dir, t, &cohort.patients, &genes, params)?;
    }
    for t in found.within {
        write::by_type(dir, t, &cohort.patients, names)?;
    }
    for p in found.paired {
        write::paired(dir, p, names, &data.aside, params)?;
    }
    write::set_aside(
        dir,
        found.tested,
        &cohort.patients,
        (names, &symbols(&cohort.var)),
        &data.aside,
        params,
    )?;
    let made = contrasts_table::write(
        dir,
        &cohort.patients,
        found.tested,
        found.within,
        found.paired,
        params,
    )?;
    let side = |kind: Kind| data.sides[kind.place()].as_slice();
    for question in [
        Question::burden(side(Kind::Burden), &data.scores, params.burden_quantile),
        Question::origin(side(Kind::CancerNormal), &data.cnv_scores),
    ] {
        scores::table(dir, &cohort.patients, &cohort.patient_of, &question)?;
    }
    let of_classes = found.of(Kind::Discordance);
    per_patient::table(
        dir,
        &of_classes,
        &cohort.patients,
        &cohort.patient_of,
        &data.class,
        params,
    )?;
    let mut metrics = findings_tables(dir, data, found, &genes, params)?;
    metrics.insert("n_contrasts".into(), json!(made.tested));
    metrics.insert("n_not_applicable".into(), json!(made.not_applicable));
    Ok(metrics)
}

/// Write the tables of escape, compensation and recurrence, and their comparison with dosage.
fn findings_tables(
    dir: &Path,
    data: &Data,
    found: &Found<'_>,
    genes: &write::GeneNotes<'_>,
    params: &DeParams,
) -> StageResult<Metrics> {
    let cohort = &data.cohort;
    let mut made = found.of(Kind::Discordance);
    made.retain(|t| t.made());
    let with_loci: Vec<(&Tested, Option<&Loci>)> =
        made.iter().map(|&t| (t, data.loci(t.patient))).collect();
    let patients: Vec<&Tested> = made
        .iter()
        .copied()
        .filter(|t| t.patient.is_some())
        .collect();
    let mut metrics = Metrics::new();
    let mut in_patients = Vec::new();
    for (sign, word) in [(1, "escape"), (-1, "compensation")] {
        let n_patients = |g: usize| {
            let found = |t: &&&Tested| t.direction(g, params.fdr, params.log2fc[0]) == sign;
            patients.iter().filter(found).count()
        };
        let here: Vec<usize> = (0..cohort.var.len()).map(n_patients).collect();
        let names = &cohort.patients;
        let counts = findings::findings(dir, sign, &with_loci, &here, names, genes, params)?;
        in_patients.push(here);
        for (what, n) in [
            ("rows", counts.rows),
            ("rows_at_neutral_loci", counts.neutral),
            ("rows_against_a_change", counts.escaped),
        ] {
            metrics.insert(format!("n_{word}_{what}"), json!(n));
        }
    }
    let recurrent =
        findings::recurrence(dir, &patients, &cohort.patients, &cohort.var.index, params)?;
    metrics.insert("n_recurrent".into(), json!(recurrent));
    let discordance = compare::Discordance {
        // The pooled test is last; with one patient, it is that patient's own.
        pooled: made.last().copied(),
        by_type: found.within.last().filter(|t| t.used.is_ok()),
        paired: found.paired(Sample::MeanOfCells),
        pseudobulk: found.paired(Sample::Pseudobulk),
        n_patients: [&in_patients[0], &in_patients[1]],
    };
    metrics.extend(dosage_tables(dir, data, &discordance, params)?);
    Ok(metrics)
}

/// Write the comparison of genes and cells with `dosage`, where that role was read.
fn dosage_tables(
    dir: &Path,
    data: &Data,
    discordance: &compare::Discordance<'_>,
    params: &DeParams,
) -> StageResult<Metrics> {
    let cohort = &data.cohort;
    let mut metrics = Metrics::new();
    if let Some(dosage) = &data.dosage {
        let [both_test, by_dosage, by_discordance, both] =
            compare::genes(dir, &cohort.var.index, dosage, discordance, params)?;
        metrics.insert("n_genes_both_test".into(), json!(both_test));
        metrics.insert("n_genes_by_dosage".into(), json!(by_dosage));
        metrics.insert("n_genes_by_discordance".into(), json!(by_discordance));
        metrics.insert("n_genes_by_both".into(), json!(both));
    }
    if let Some(shortfall) = &data.shortfall {
        compare::cells(
            dir,
            &cohort.patients,
            &cohort.patient_of,
            &data.class,
            &data.distance,
            shortfall,
        )?;
    }
    Ok(metrics)
}

/// Repeat the discordance comparison on the part of the counts that the classes were learnt on, and
/// write it next to `tested`. Returns the numbers of genes found (with, without) the split; `None`
/// where the counts were not split.
fn split(
    dir: &Path,
    data: &Data,
    tested: &[Tested],
    params: &DeParams,
) -> StageResult<Option<(usize, usize)>> {
    let Some(learnt) = &data.learnt else {
        return Ok(None);
    };
    let without = test_all(
        &data.cohort,
        learnt,
        &[Kind::Discordance],
        &data.sides,
        &data.aside,
        params,
        |_| Ok(()),
    )?;
    let with: Vec<&Tested> = tested
        .iter()
        .filter(|t| t.comparison.kind == Kind::Discordance)
        .collect();
    count_split::table(
        dir,
        &with,
        &without.iter().collect::<Vec<_>>(),
        &data.cohort.patients,
        params,
    )
}

/// Write the cis effects. Returns the median over chromosomes in the last set of cells.
fn cis_tables(dir: &Path, data: &Data, of: CisCells) -> StageResult<Option<f64>> {
    let patients = &data.cohort.patients;
    let regions = regions(&data.cohort.var, &data.cnv.windows)?;
    let genes: Vec<&[usize]> = regions.iter().map(|r| r.genes.as_slice()).collect();
    let windows: Vec<&[usize]> = regions.iter().map(|r| r.windows.as_slice()).collect();
    let mut found: Vec<(String, usize, Vec<CisEffect>)> = Vec::new();
    let mut without: Vec<(String, usize, Vec<LeftOut>)> = Vec::new();
    // Means of all patients, `[region][cell]`: expression and copy number.
    let mut all = [
        vec![Vec::new(); regions.len()],
        vec![Vec::new(); regions.len()],
    ];
    let mut names = patients.iter();
    data.cnv.x.each(&mut |first, part| {
        let name = names.next().expect("a part is a patient");
        let is = |i: &usize| of == CisCells::All || !data.class[*i].is_empty();
        let rows: Vec<usize> = (first..first + part.n_rows()).filter(is).collect();
        let expression = data.x.of(&rows)?;
        let cnv = part.take_rows(&rows.iter().map(|i| i - first).collect::<Vec<_>>());
        let means = [
            region_means(&expression, &genes),
            region_means(&cnv.transpose(), &windows),
        ];
        for (all, means) in all.iter_mut().zip(&means) {
            all.iter_mut().zip(means).for_each(|(to, m)| to.extend(m));
        }
        if rows.len() >= 3 {
            let [means, of_windows] = means;
            let effects = cis_effects(&regions, means, of_windows);
            found.push((name.clone(), rows.len(), effects));
            let effects = left_out(&regions, &data.map, &expression, &cnv);
            without.push((name.clone(), rows.len(), effects));
        }
        Ok(())
    })?;
    let n_cells = all[0].first().map_or(0, Vec::len);
    if patients.len() > 1 && n_cells >= 3 {
        let [expression, cnv] = all;
        let effects = cis_effects(&regions, expression, cnv);
        found.push((POOLED.into(), n_cells, effects));
    }
    write::cis(dir, &regions, &found, of)?;
    if without.len() > 1 {
        let over = over_patients(&without, regions.len());
        let n_cells = without.iter().map(|w| w.1).sum();
        without.push((POOLED.into(), n_cells, over));
    }
    write::cis_left_out(dir, &regions, &without, of)?;
    let last: Vec<f64> = found.last().map_or_else(Vec::new, |(_, _, effects)| {
        effects
            .iter()
            .filter(|e| regions[e.region].level == "chromosome" && e.cis.r.is_finite())
            .map(|e| e.cis.r)
            .collect()
    });
    Ok((!last.is_empty()).then(|| clcc_numerics::stats::median(&last)))
}

/// Left-out effects over patients, with each patient as one observation: means, and the paired t test.
fn over_patients(found: &[(String, usize, Vec<LeftOut>)], n_regions: usize) -> Vec<LeftOut> {
    (0..n_regions)
        .map(|region| {
            let here: Vec<&LeftOut> = found
                .iter()
                .map(|f| &f.2[region])
                .filter(|e| e.adjacent.is_finite() && e.trans.is_finite())
                .collect();
            let of = |f: &dyn Fn(&LeftOut) -> f64| here.iter().map(|e| f(e)).collect::<Vec<f64>>();
            let (adjacent, trans) = (of(&|e| e.adjacent), of(&|e| e.trans));
            let test: TTest = paired_t(&adjacent, &trans);
            LeftOut {
                region,
                n_genes: here.iter().map(|e| e.n_genes).max().unwrap_or(0),
                own: mean(&of(&|e| e.own)),
                adjacent: mean(&adjacent),
                trans: mean(&trans),
                test,
            }
        })
        .collect()
}

#[cfg(test)]
mod calibration_tests;
#[cfg(test)]
mod published_tests;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;
