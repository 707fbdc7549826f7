//! What `discordance` found: cells that hold back a set of genes, that set, and whether there is one.

use super::html::{count, short};
use super::load::{TableFile, tables};
use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::rows::{
    DiscordanceCellRow, DiscordanceFitRow, DiscordanceGeneRow, DiscordanceRateRow,
};
use clcc_stage::stage::StageContext;

/// Probability from which a cell or gene is counted as told.
pub(crate) const SURE: f64 = 0.9;
/// Evidence that a set needs (`docs/model.md`).
pub(crate) const ENOUGH: f64 = 5.0;

/// What one node of `discordance` found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeldBack {
    /// The node where there are several: its axis values.
    pub(crate) node: Option<String>,
    /// Malignant cells of clones with an altered gene, in the order of the cohort.
    pub(crate) cells: Vec<DiscordanceCellRow>,
    /// Altered genes in genome order.
    pub(crate) genes: Vec<DiscordanceGeneRow>,
    /// Patients.
    pub(crate) rates: Vec<DiscordanceRateRow>,
    /// Hypotheses and their evidence.
    pub(crate) fits: Vec<DiscordanceFitRow>,
}

impl HeldBack {
    /// One for each node of `discordance`.
    ///
    /// # Errors
    /// What reading the tables reports.
    pub(crate) fn load(ctx: &StageContext<'_>) -> StageResult<Vec<Self>> {
        let files = tables(ctx, roles::DISCORDANCE)?;
        let of_cells = files.iter().filter(|f| f.is::<DiscordanceCellRow>());
        of_cells.map(|file| Self::beside(file, &files)).collect()
    }

    /// The node whose table of cells is `file`.
    fn beside(file: &TableFile, files: &[TableFile]) -> StageResult<Self> {
        let own = files.iter().filter(|f| f.patient == file.patient);
        let mut out = Self {
            node: file.patient.clone(),
            cells: file.rows()?,
            genes: Vec::new(),
            rates: Vec::new(),
            fits: Vec::new(),
        };
        for other in own {
            if other.is::<DiscordanceGeneRow>() {
                out.genes = other.rows()?;
            } else if other.is::<DiscordanceRateRow>() {
                out.rates = other.rows()?;
            } else if other.is::<DiscordanceFitRow>() {
                out.fits = other.rows()?;
            }
        }
        Ok(out)
    }

    /// The fit that is reported; `None` where nothing could be compared.
    pub(crate) fn chosen(&self) -> Option<&DiscordanceFitRow> {
        self.fits.iter().find(|fit| fit.chosen)
    }

    /// Whether there is a set at all, as the stage judges it.
    pub(crate) fn is_established(&self) -> bool {
        let verdict = self.chosen().and_then(|fit| fit.established.as_deref());
        verdict == Some("yes")
    }

    /// The verdict in one line, and the evidence for it in one sentence.
    pub(crate) fn verdict(&self) -> (&'static str, String) {
        let Some(fit) = self.chosen() else {
            return (
                "No cell could be compared with its dosage",
                "No clone has an altered gene.".into(),
            );
        };
        let relaid = self.fits.iter().filter(|f| f.profile != fit.profile);
        let relaid: Vec<f64> = relaid.map(|f| f.evidence).collect();
        let most = relaid.iter().copied().reduce(f64::max);
        let beside = most.map_or(String::new(), |most| {
            format!(
                "; with the copy number laid elsewhere on the genome it is at most {} in {} tries, and has to be less",
                short(most),
                relaid.len()
            )
        });
        let said = match self.is_established() {
            true => "Some cells hold back a set of genes while their clone follows its copy number",
            false => "No set of genes that some cells hold back is established",
        };
        let evidence = format!(
            "Evidence of the reported fit {} ({ENOUGH} is asked for of all fits together){beside}.",
            short(fit.evidence)
        );
        (said, evidence)
    }

    /// How many cells and genes, each of how many.
    pub(crate) fn extent(&self) -> String {
        let sum = |of: &mut dyn Iterator<Item = f64>| of.sum::<f64>().round().max(0.0) as usize;
        let sure = |of: &mut dyn Iterator<Item = f64>| of.filter(|p| *p >= SURE).count();
        let cells = || self.cells.iter().map(|c| c.prob_discordant);
        let genes = || self.genes.iter().map(|g| g.prob_held_back);
        format!(
            "Of {} malignant cells in clones with an altered gene, {} are expected to be discordant ({} with a probability of {SURE} or more); of {} \
             altered genes, {} are expected in the set ({} with {SURE} or more).",
            count(self.cells.len()),
            count(sum(&mut cells())),
            count(sure(&mut cells())),
            count(self.genes.len()),
            count(sum(&mut genes())),
            count(sure(&mut genes())),
        )
    }
}
