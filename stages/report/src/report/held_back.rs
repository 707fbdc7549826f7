//! What `discordance` found: cells that hold back a set of genes, that set, and whether there is one.

use super::html::{count, signed};
use super::load::{TableFile, tables};
use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::rows::{
    DiscordanceCellRow, DiscordanceFitRow, DiscordanceGeneRow, DiscordanceRateRow,
};
use clcc_stage::stage::StageContext;

/// Probability from which a cell or gene is counted as told.
pub(crate) const SURE: f64 = 0.9;
/// Profile of the clones' own copy number.
const OWN: &str = "own";
/// Tries with copy number laid elsewhere that give a p-value of .05: the rank of the own profile among them.
const TRIES: usize = 19;
/// Evidence that a set needs (`docs/model.md`).
pub(crate) const ENOUGH: f64 = 5.0;

/// What one node of `discordance` found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeldBack {
    /// The node where there are several: its axis values.
    pub(crate) node: Option<String>,
    /// Cancer cells of groups with an altered gene, in the order of the cohort.
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

    /// Evidence of the profiles that hold no set.
    fn relaid(&self) -> Vec<f64> {
        let others = self.fits.iter().filter(|f| f.profile != OWN);
        others.map(|f| f.evidence).collect()
    }

    /// Whether the same evidence that is asked for is reached where there is no set to be found: then expression has patterns
    /// that the model takes for one, and being above a few such tries says little. The stage tries often enough unless
    /// `n_null` is lowered.
    pub(crate) fn is_doubtful(&self) -> bool {
        let relaid = self.relaid();
        let few = relaid.len() < TRIES;
        self.is_established() && few && relaid.iter().any(|e| *e > ENOUGH)
    }

    /// Whether cells and genes may be called.
    pub(crate) fn is_sure(&self) -> bool {
        self.is_established() && !self.is_doubtful()
    }

    /// What to make of a doubtful verdict; `None` where it is not.
    pub(crate) fn doubt(&self) -> Option<String> {
        let relaid = self.relaid();
        self.is_doubtful().then(|| {
            format!(
                "Where there is nothing to be found, with the copy number laid elsewhere on the genome, the same model finds evidence as well: expression \
                 has patterns that it takes for a set. That the clones' own profile has more than {} such tries happens in 1 of {} without any set. Do not \
                 call cells or genes by it; more tries (`n_null` of discordance) would tell.",
                relaid.len(),
                relaid.len() + 1
            )
        })
    }

    /// The verdict in one line, and the evidence for it in one sentence.
    pub(crate) fn verdict(&self) -> (&'static str, String) {
        let Some(fit) = self.chosen() else {
            return (
                "No cell could be compared with its dosage",
                "No clone has an altered gene.".into(),
            );
        };
        let relaid = self.relaid();
        let most = relaid.iter().copied().reduce(f64::max);
        let beside = most.map_or(String::new(), |most| {
            format!(
                "; with the copy number laid elsewhere on the genome at most {} in {} tries, which has to be less than half",
                signed(most, 1),
                relaid.len()
            )
        });
        let said = match (self.is_established(), self.is_doubtful()) {
            (true, false) => {
                "Some cells hold back a set of genes while their clone follows its copy number"
            }
            (true, true) => "That some cells hold back a set of genes is in doubt",
            (false, _) => "No set of genes that some cells hold back is established",
        };
        let evidence = format!(
            "Evidence of the reported fit {} ({ENOUGH} is asked for of all fits together){beside}.",
            signed(fit.evidence, 1)
        );
        (said, evidence)
    }

    /// How many cells and genes are told, each of how many.
    pub(crate) fn told(&self) -> String {
        format!(
            "{} of {} cells and {} of {} altered genes are told with a probability of {SURE} or more.",
            count(sure(self.cells.iter().map(|c| c.prob_discordant))),
            count(self.cells.len()),
            count(sure(self.genes.iter().map(|g| g.prob_held_back))),
            count(self.genes.len()),
        )
    }

    /// How many cells and genes are expected, each of how many.
    pub(crate) fn extent(&self) -> String {
        let informing = self.cells.iter().filter(|c| c.informs).count();
        format!(
            "Of {} cancer cells with an altered gene ({} of them in malignant clones, which tell the genes), {} are expected to be discordant; of {} \
             altered genes, {} are expected in the set. {}",
            count(self.cells.len()),
            count(informing),
            count(expected(self.cells.iter().map(|c| c.prob_discordant))),
            count(self.genes.len()),
            count(expected(self.genes.iter().map(|g| g.prob_held_back))),
            self.told(),
        )
    }
}

/// Number that the probabilities add up to.
fn expected(of: impl Iterator<Item = f64>) -> usize {
    of.sum::<f64>().round().max(0.0) as usize
}

fn sure(of: impl Iterator<Item = f64>) -> usize {
    of.filter(|p| *p >= SURE).count()
}
