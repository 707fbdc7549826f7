//! Tables of `discordance`.

crate::table! {
    /// One malignant cell of a clone with an altered gene.
    pub struct DiscordanceCellRow = "discordance_cells.tsv" {
        /// Cell id.
        cell: String,
        /// Patient.
        patient: String,
        /// Clone, or copy-number cluster.
        clone: String,
        /// Whether the cell told which genes are held back; not where it is in no clone.
        informs: bool,
        /// Probability that it is discordant.
        prob_discordant: f64,
        /// Its log odds.
        log_odds: f64,
        /// Probability that it does not have its clone's copy number and so is neither discordant nor concordant: a
        /// normal cell, a doublet, or a cell of another clone.
        prob_misplaced: f64,
        /// What it is most probably then, where that probability is .5 or more: `normal`, `doublet`, or the other clone.
        misplaced_as: Option<String>,
    }
}

crate::table! {
    /// One gene that a clone has altered.
    pub struct DiscordanceGeneRow = "discordance_genes.tsv" {
        /// Gene.
        names: String,
        /// Probability that discordant cells hold the gene back.
        prob_held_back: f64,
        /// Its log odds.
        log_odds: f64,
        /// Clones that have the gene altered.
        n_clones: i64,
        /// Their cells.
        n_cells: i64,
        /// Mean log copy ratio of these cells.
        #[unit = "ln"]
        log_copy_ratio: f64,
    }
}

crate::table! {
    /// Rate of discordant cells in one patient.
    pub struct DiscordanceRateRow = "discordance_patients.tsv" {
        /// Patient.
        patient: String,
        /// Malignant cells in clones with an altered gene.
        n_cells: i64,
        /// Mean probability of them to be discordant.
        rate: f64,
        /// Share of discordant cells that was expected: that of the parameters, or the patient's own, learnt where a
        /// set is established.
        expected_share: f64,
    }
}

crate::table! {
    /// One hypothesis and its evidence.
    pub struct DiscordanceFitRow = "discordance_fits.tsv" {
        /// `own`, or `relaid_<n>`: the clones' copy number laid elsewhere on the genome, chromosome by chromosome.
        profile: String,
        /// Share of the dosage response that discordant cells lose in the genes of the set.
        loss: f64,
        /// Share of the altered genes that the set may be.
        gene_share: f64,
        /// Logarithm of the evidence against there being no set (Bethe's free energy). A set is established where that
        /// of all fits to the own profile together (the mean of exponentials) is above 5, and that of the reported fit
        /// more than twice that of every relaid profile.
        evidence: f64,
        /// Rounds of messages.
        rounds: i64,
        /// Whether the messages settled.
        settled: bool,
        /// Whether this fit is the one that is reported.
        chosen: bool,
        /// `yes` or `no` for the fit that is reported; missing for the others.
        established: Option<String>,
    }
}
