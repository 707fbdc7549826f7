//! Tables of `baselines`.

crate::table! {
    /// Score of one cell by one method.
    pub struct BaselineCellRow = "baselines_cells.tsv" {
        /// Cell id.
        cell: String,
        /// Patient.
        patient: String,
        /// Method.
        method: String,
        /// How far the cell's expression departs from its copy number, on the method's own scale.
        score: f64,
    }
}

crate::table! {
    /// Score of one gene by one method, in genome order.
    pub struct BaselineGeneRow = "baselines_genes.tsv" {
        /// Gene.
        names: String,
        /// Method.
        method: String,
        /// How far the gene departs from its copy number, on the method's own scale.
        score: f64,
        /// Size and direction of the departure.
        effect: f64,
        /// Rank by falling score, from 1; genes without a score come last.
        rank: i64,
    }
}

crate::table! {
    /// Retrieval of test cells with the embeddings of one method.
    pub struct BaselineRetrievalRow = "baselines_retrieval.tsv" {
        /// `cca` or `linear`.
        method: String,
        /// Metric.
        metric: String,
        /// Value of the metric.
        value: f64,
        /// Expected value under chance.
        chance: f64,
        /// Standard deviation under chance.
        se: f64,
        /// Test cells.
        n: i64,
    }
}
