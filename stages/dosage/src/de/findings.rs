//! Tables of findings: escape, compensation, recurrence.

use std::path::Path;
use std::sync::Arc;

use clcc_data::error::StageResult;
use clcc_stage::rows::{COMPENSATION_GENES, ESCAPE_GENES, FindingGeneRow, RecurrentGeneRow};
use clcc_stage::tables::{Family, Table};

use super::family::Tested;
use super::locus::{Loci, State};
use super::paired::Paired;
use super::params::DeParams;
use super::write::{GeneNotes, who};

/// Numbers of rows of a table of findings, by the state of the locus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) rows: usize,
    pub(super) gain: usize,
    pub(super) loss: usize,
    pub(super) neutral: usize,
    pub(super) unknown: usize,
    /// Rows at a gain or a loss whose direction is opposite to it.
    pub(super) escaped: usize,
}

/// Write the genes expressed more (`sign` 1: escape) or less (-1: compensation) in discordant cells.
pub(super) fn findings(
    dir: &Path,
    sign: i8,
    tested: &[(&Tested, Option<&Loci>)],
    recurrence: &[usize],
    patients: &[String],
    genes: &GeneNotes<'_>,
    params: &DeParams,
) -> StageResult<Counts> {
    let rows = Rows::new(sign, tested, params);
    let states = rows.states();
    let (file, word, more, where_copies) = if sign > 0 {
        (
            ESCAPE_GENES,
            "escape",
            "more",
            "expressed more where copies are lost",
        )
    } else {
        (
            COMPENSATION_GENES,
            "compensation",
            "less",
            "expressed less where copies are gained",
        )
    };
    let counts = Counts::of(&states, sign);
    let title = format!(
        "{word}: genes that discordant cells express {more} than concordant ones at an FDR below {} and a log2 fold change beyond {}; passes_T says which thresholds a row meets",
        params.fdr, params.log2fc[0]
    );
    let loci = format!(
        "cnv_*: mean X_cnv of the windows over the gene; locus_state from the mean of both groups (gain above {0}, loss below -{0}): {1} rows at a gain, {2} at a loss, {3} at a neutral locus, where there is no copy-number change to escape from, {4} without windows; share_*: of the cells of both groups, by their own local X_cnv",
        params.locus_threshold, counts.gain, counts.loss, counts.neutral, counts.unknown
    );
    let escapes = format!(
        "escapes_from: {} of the {} rows at a change go against it ({where_copies}); those that go with the change, and those at a neutral locus, escape from nothing",
        counts.escaped,
        counts.gain + counts.loss,
    );
    Table::new(rows.table(&states, recurrence, patients, genes, params))
        .keep(passes_columns(params).iter())
        .keep(other_columns(genes))
        .note(title)
        .note(params.test_note())
        .notes([loci, escapes])
        .note("n_patients: patients in which the gene is found in the same direction at the lowest threshold")
        .note("a class of cells by embedding distance follows cell type and depth (concordance_composition.tsv); on simulated tumours these tables find planted escape genes at chance, dosage_genes.tsv does not")
        .write_as(&dir.join(file))?;
    Ok(counts)
}

/// Names of the columns that say which fold changes a row passes.
fn passes_columns(params: &DeParams) -> Arc<[String]> {
    Family::names(params.log2fc.iter().map(|limit| format!("passes_{limit}")))
}

/// The columns of the other tests that there are.
fn other_columns(genes: &GeneNotes<'_>) -> Vec<&'static str> {
    let made = |paired: Option<&Paired>| paired.is_some_and(|p| p.genes.is_some());
    let dosage = genes.dosage.is_some();
    let known = [
        ("stratified_pvals_adj", made(genes.stratified)),
        ("pseudobulk_pvals_adj", made(genes.pseudobulk)),
        ("dosage_slope", dosage),
        ("dosage_class", dosage),
    ];
    known.into_iter().filter(|k| k.1).map(|k| k.0).collect()
}

impl Counts {
    /// Count the rows of genes found in the direction `sign`.
    fn of(states: &[State], sign: i8) -> Self {
        let count = |f: &dyn Fn(State) -> bool| states.iter().filter(|s| f(**s)).count();
        Self {
            rows: states.len(),
            gain: count(&|s| s == State::Gain),
            loss: count(&|s| s == State::Loss),
            neutral: count(&|s| s == State::Neutral),
            unknown: count(&|s| s == State::Unknown),
            escaped: count(&|s| matches!(s.escaped(sign), "gain" | "loss")),
        }
    }
}

/// Genes found in one direction, comparison by comparison.
struct Rows<'a> {
    sign: i8,
    tested: &'a [(&'a Tested, Option<&'a Loci>)],
    /// Comparison and gene of each row, by falling |z| within a comparison.
    rows: Vec<(usize, usize)>,
}

impl<'a> Rows<'a> {
    fn new(sign: i8, tested: &'a [(&'a Tested, Option<&'a Loci>)], params: &DeParams) -> Self {
        let mut rows: Vec<(usize, usize)> = Vec::new();
        for (at, (t, _)) in tested.iter().enumerate() {
            let mut found: Vec<usize> = (0..t.genes.len())
                .filter(|&g| t.direction(g, params.fdr, params.log2fc[0]) == sign)
                .collect();
            found.sort_by(|&a, &b| t.genes[b].z.abs().total_cmp(&t.genes[a].z.abs()));
            rows.extend(found.into_iter().map(|g| (at, g)));
        }
        Self { sign, tested, rows }
    }

    /// State of each row's locus.
    fn states(&self) -> Vec<State> {
        let state = |&(at, g): &(usize, usize)| {
            let loci = self.tested[at].1;
            loci.map_or(State::Unknown, |l| l.state[g])
        };
        self.rows.iter().map(state).collect()
    }

    /// The rows of the table; `states` are those of [`Self::states`].
    fn table(
        &self,
        states: &[State],
        recurrence: &[usize],
        patients: &[String],
        genes: &GeneNotes<'_>,
        params: &DeParams,
    ) -> Vec<FindingGeneRow> {
        let passes = passes_columns(params);
        let row = |(&(at, g), &state): (&(usize, usize), &State)| {
            let t = self.tested[at].0;
            let test = &t.genes[g];
            let passed = params.log2fc.iter();
            let passed = passed.map(|&limit| t.direction(g, params.fdr, limit) == self.sign);
            let locus = Locus::of(self.tested[at].1, g);
            FindingGeneRow {
                names: genes.names[g].clone(),
                patient: who(patients, t.patient),
                scores: test.z,
                logfoldchanges: t.log2fc[g],
                pvals: test.p.p,
                pvals_adj: t.adjusted[g],
                log10_pvals: test.p.log10,
                pct_nz_group: test.pct_group,
                pct_nz_reference: test.pct_reference,
                passes: Family::new(&passes, passed.collect()),
                cnv_discordant: locus.copies[0],
                cnv_concordant: locus.copies[1],
                share_gained: locus.shares[0],
                share_neutral: locus.shares[1],
                share_lost: locus.shares[2],
                locus_state: state.name().to_string(),
                escapes_from: state.escaped(self.sign).to_string(),
                n_patients: recurrence[g] as i64,
                stratified_pvals_adj: adjusted_over_patients(genes.stratified, g),
                pseudobulk_pvals_adj: adjusted_over_patients(genes.pseudobulk, g),
                dosage_slope: genes.dosage.map(|d| d.slope[g]),
                dosage_class: genes.dosage.map(|d| d.class[g].clone()),
            }
        };
        self.rows.iter().zip(states).map(row).collect()
    }
}

/// Copy number at the locus of a gene; NaN where no window tells it.
struct Locus {
    /// Mean X_cnv of discordant and of concordant cells.
    copies: [f64; 2],
    /// Shares of both groups' cells that are gained, neutral and lost.
    shares: [f64; 3],
}

impl Locus {
    fn of(loci: Option<&Loci>, g: usize) -> Self {
        let Some(loci) = loci else {
            return Self {
                copies: [f64::NAN; 2],
                shares: [f64::NAN; 3],
            };
        };
        let (gained, lost) = loci.shares[g];
        Self {
            copies: [loci.discordant[g], loci.concordant[g]],
            shares: [gained, 1.0 - gained - lost, lost],
        }
    }
}

/// Adjusted p-value of gene `g` in a test over patients, where it was made.
fn adjusted_over_patients(paired: Option<&Paired>, g: usize) -> Option<f64> {
    Some(paired?.genes.as_ref()?[g].adjusted)
}

/// Gene, sign, fold-change threshold and patients of a recurrent finding.
type Recurrent = (usize, i8, f64, Vec<usize>);

/// Findings in at least `min_patients` patients.
fn recurrent(tested: &[&Tested], n_genes: usize, params: &DeParams) -> Vec<Recurrent> {
    let mut rows: Vec<Recurrent> = Vec::new();
    for sign in [1, -1] {
        for &limit in &params.log2fc {
            for g in 0..n_genes {
                let found: Vec<usize> = tested
                    .iter()
                    .filter(|t| t.direction(g, params.fdr, limit) == sign)
                    .filter_map(|t| t.patient)
                    .collect();
                if found.len() >= params.min_patients {
                    rows.push((g, sign, limit, found));
                }
            }
        }
    }
    // Escape first, then the lowest threshold, then the most patients; genes in genome order.
    rows.sort_by(|a, b| {
        b.1.cmp(&a.1)
            .then(a.2.total_cmp(&b.2))
            .then(b.3.len().cmp(&a.3.len()))
            .then(a.0.cmp(&b.0))
    });
    rows
}

/// Write the genes found in the same direction in several patients.
pub(super) fn recurrence(
    dir: &Path,
    tested: &[&Tested],
    patients: &[String],
    names: &[String],
    params: &DeParams,
) -> StageResult<usize> {
    let found = recurrent(tested, names.len(), params);
    let row = |(g, sign, limit, found): &Recurrent| {
        let of: Vec<&str> = found.iter().map(|&p| patients[p].as_str()).collect();
        RecurrentGeneRow {
            names: names[*g].clone(),
            direction: if *sign > 0 { "escape" } else { "compensation" }.to_string(),
            log2fc_threshold: *limit,
            n_patients: of.len() as i64,
            patients: of.join(","),
        }
    };
    let title = format!(
        "genes found in the same direction in at least {} of {} patients: discordant against concordant cells within each patient, FDR below {}, log2 fold change beyond log2fc_threshold",
        params.min_patients,
        tested.len(),
        params.fdr
    );
    Table::new(found.iter().map(row).collect())
        .note(title)
        .note(params.test_note())
        .write(dir)?;
    Ok(found.iter().filter(|r| r.2 == params.log2fc[0]).count())
}
