//! Tables of `benchmark`.

crate::table! {
    /// A metric of one method on one target of the planted truth.
    pub struct ScoreRow = "benchmark.tsv" {
        /// Planted truth to find.
        target: String,
        /// Method that is scored.
        method: String,
        /// Metric.
        metric: String,
        /// Value of the metric.
        value: f64,
        /// Expected value under chance.
        chance: f64,
        /// Standard deviation under chance, where it is known.
        se: f64,
        /// Ranked items.
        n: i64,
        /// Positives among them.
        n_positive: i64,
        /// Share of the items with a score.
        coverage: f64,
    }
}
