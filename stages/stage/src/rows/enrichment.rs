//! Tables of `enrichment`.

crate::table! {
    /// One gene set and the genes of it that escape.
    pub struct GeneSetRow = "enrichment.tsv" {
        /// Collection: the file of the set without its ending, `chromosome arms` or `complexes`.
        collection: String,
        /// Name of the set.
        names: String,
        /// Genes of the set that were tested by `dosage`.
        n_tested: i64,
        /// Those of them that escape (class `insensitive` or `over-compensated`).
        n_escape: i64,
        /// Number of them that a random draw of as many tested genes would hold.
        expected: f64,
        /// `n_escape` over `expected`.
        fold: f64,
        /// P-value of as many or more (hypergeometric, one-sided).
        pvals: f64,
        /// The same adjusted over all sets (Benjamini-Hochberg).
        pvals_adj: f64,
        /// The genes that escape, separated by commas.
        genes: String,
    }
}
