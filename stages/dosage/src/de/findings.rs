//! Tables of findings: escape, compensation, recurrence.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::table::write_tsv;

use super::compare::DosageGenes;
use super::family::Tested;
use super::locus::{Loci, State};
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
    tested: &[(&Tested, Option<Loci>)],
    recurrence: &[usize],
    patients: &[String],
    genes: &GeneNotes<'_>,
    params: &DeParams,
) -> StageResult<Counts> {
    let rows = Rows::new(sign, tested, params);
    let states = rows.states();
    let mut frame = rows.tests(patients, genes.names, params);
    rows.add_loci(&mut frame, &states);
    let counted = rows.rows.iter().map(|r| recurrence[r.1] as i64);
    frame.set("n_patients", Column::I64(counted.collect()));
    rows.add_other_tests(&mut frame, genes);
    let (file, word, more, where_copies) = if sign > 0 {
        (
            "escape_genes.tsv",
            "escape",
            "more",
            "expressed more where copies are lost",
        )
    } else {
        (
            "compensation_genes.tsv",
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
    let notes = [
        title.as_str(),
        &params.test_note(),
        &loci,
        &escapes,
        "n_patients: patients in which the gene is found in the same direction at the lowest threshold",
        "a class of cells by embedding distance follows cell type and depth (concordance_composition.tsv); on simulated tumours these tables find planted escape genes at chance, dosage_genes.tsv does not",
    ];
    write_tsv(&dir.join(file), "names", &frame, &notes)?;
    Ok(counts)
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
    tested: &'a [(&'a Tested, Option<Loci>)],
    /// Comparison and gene of each row, by falling |z| within a comparison.
    rows: Vec<(usize, usize)>,
}

impl<'a> Rows<'a> {
    fn new(sign: i8, tested: &'a [(&'a Tested, Option<Loci>)], params: &DeParams) -> Self {
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
            let loci = self.tested[at].1.as_ref();
            loci.map_or(State::Unknown, |l| l.state[g])
        };
        self.rows.iter().map(state).collect()
    }

    /// Patients, test results and thresholds passed.
    fn tests(&self, patients: &[String], names: &[String], params: &DeParams) -> Frame {
        let Self { sign, tested, rows } = self;
        let mut frame = Frame::new(rows.iter().map(|r| names[r.1].clone()).collect());
        let num = |f: &dyn Fn(&Tested, usize) -> f64| {
            Column::F64(rows.iter().map(|&(at, g)| f(tested[at].0, g)).collect())
        };
        let patient = |r: &(usize, usize)| who(patients, tested[r.0].0.patient);
        frame.set("patient", Column::Str(rows.iter().map(patient).collect()));
        frame.set("scores", num(&|t, g| t.genes[g].z));
        frame.set("logfoldchanges", num(&|t, g| t.log2fc[g]));
        frame.set("pvals", num(&|t, g| t.genes[g].p.p));
        frame.set("pvals_adj", num(&|t, g| t.adjusted[g]));
        frame.set("log10_pvals", num(&|t, g| t.genes[g].p.log10));
        frame.set("pct_nz_group", num(&|t, g| t.genes[g].pct_group));
        frame.set("pct_nz_reference", num(&|t, g| t.genes[g].pct_reference));
        for &limit in &params.log2fc {
            let passes =
                |&(at, g): &(usize, usize)| tested[at].0.direction(g, params.fdr, limit) == *sign;
            let passes = rows.iter().map(passes).collect();
            frame.set(&format!("passes_{limit}"), Column::Bool(passes));
        }
        frame
    }

    /// Copy number at the loci of the genes.
    fn add_loci(&self, frame: &mut Frame, states: &[State]) {
        let locus = |f: &dyn Fn(&Loci, usize) -> f64| {
            let value = |&(at, g): &(usize, usize)| {
                let loci = self.tested[at].1.as_ref();
                loci.map_or(f64::NAN, |l| f(l, g))
            };
            Column::F64(self.rows.iter().map(value).collect())
        };
        frame.set("cnv_discordant", locus(&|l, g| l.discordant[g]));
        frame.set("cnv_concordant", locus(&|l, g| l.concordant[g]));
        for (name, part) in [("share_gained", 0), ("share_neutral", 1), ("share_lost", 2)] {
            let share = |l: &Loci, g: usize| {
                let (gained, lost) = l.shares[g];
                [gained, 1.0 - gained - lost, lost][part]
            };
            frame.set(name, locus(&share));
        }
        let names: Vec<&str> = states.iter().map(|s| s.name()).collect();
        frame.set_category("locus_state", &names);
        let escaped: Vec<&str> = states.iter().map(|s| s.escaped(self.sign)).collect();
        frame.set_category("escapes_from", &escaped);
    }

    /// Results of the tests over patients and of `dosage`, where there are.
    fn add_other_tests(&self, frame: &mut Frame, genes: &GeneNotes<'_>) {
        let num =
            |f: &dyn Fn(usize) -> f64| Column::F64(self.rows.iter().map(|r| f(r.1)).collect());
        for (name, paired) in [
            ("stratified_pvals_adj", genes.stratified),
            ("pseudobulk_pvals_adj", genes.pseudobulk),
        ] {
            if let Some(found) = paired.and_then(|p| p.genes.as_ref()) {
                frame.set(name, num(&|g| found[g].adjusted));
            }
        }
        if let Some(DosageGenes { slope, class, .. }) = genes.dosage {
            frame.set("dosage_slope", num(&|g| slope[g]));
            let classes = self.rows.iter().map(|r| class[r.1].clone()).collect();
            frame.set("dosage_class", Column::Str(classes));
        }
    }
}

/// Gene, direction, fold-change threshold and patients of a recurrent finding.
type Recurrent = (usize, &'static str, f64, Vec<usize>);

/// Findings in at least `min_patients` patients.
fn recurrent(tested: &[&Tested], n_genes: usize, params: &DeParams) -> Vec<Recurrent> {
    let mut rows: Vec<Recurrent> = Vec::new();
    for (sign, word) in [(1, "escape"), (-1, "compensation")] {
        for &limit in &params.log2fc {
            for g in 0..n_genes {
                let found: Vec<usize> = tested
                    .iter()
                    .filter(|t| t.direction(g, params.fdr, limit) == sign)
                    .filter_map(|t| t.patient)
                    .collect();
                if found.len() >= params.min_patients {
                    rows.push((g, word, limit, found));
                }
            }
        }
    }
    // Escape first, then the lowest threshold, then the most patients; genes in genome order.
    rows.sort_by(|a, b| {
        b.1.cmp(a.1)
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
    let rows = recurrent(tested, names.len(), params);
    let mut frame = Frame::new(rows.iter().map(|r| names[r.0].clone()).collect());
    frame.set(
        "direction",
        Column::Str(rows.iter().map(|r| r.1.to_string()).collect()),
    );
    frame.set(
        "log2fc_threshold",
        Column::F64(rows.iter().map(|r| r.2).collect()),
    );
    frame.set(
        "n_patients",
        Column::I64(rows.iter().map(|r| r.3.len() as i64).collect()),
    );
    let list = |r: &Recurrent| {
        r.3.iter()
            .map(|&p| patients[p].as_str())
            .collect::<Vec<_>>()
            .join(",")
    };
    frame.set("patients", Column::Str(rows.iter().map(list).collect()));
    let title = format!(
        "genes found in the same direction in at least {} of {} patients: discordant against concordant cells within each patient, FDR below {}, log2 fold change beyond log2fc_threshold",
        params.min_patients,
        tested.len(),
        params.fdr
    );
    write_tsv(
        &dir.join("recurrence.tsv"),
        "names",
        &frame,
        &[&title, &params.test_note()],
    )?;
    Ok(rows.iter().filter(|r| r.2 == params.log2fc[0]).count())
}
