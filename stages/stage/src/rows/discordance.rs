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
