//! Tables of `preprocess` and `doublets`.

crate::table! {
    /// One integrity check of a patient's raw counts.
    pub struct QcCheckRow = "qc_checks.tsv" {
        /// Name of the check.
        check: String,
        /// `pass` or `warn`.
        verdict: String,
        /// Number that was looked at.
        value: f64,
        /// What the number is.
        detail: String,
    }
}

crate::table! {
    /// One summary number of a patient after preprocessing.
    pub struct QcMetricRow = "qc_summary.tsv" {
        /// Name of the number. Medians are over the cells that stayed and over all genes of the input; `share_zero`
        /// is over the cells and genes that stayed.
        metric: String,
        /// Its value.
        value: f64,
    }
}

crate::table! {
    /// One cell of a patient that stayed, measured over all genes of the input.
    pub struct QcCellRow = "qc_cells.tsv" {
        /// Cell id.
        cell: String,
        /// Patient.
        patient: Option<String>,
        /// Sample.
        sample: Option<String>,
        /// `Cancer`, `Normal`, or nothing.
        cancer_vs_normal: Option<String>,
        /// Sum of the counts.
        #[unit = "UMI"]
        total_counts: f64,
        /// Genes with a count.
        n_genes_by_counts: i64,
        /// Share of the counts in mitochondrial genes.
        #[unit = "%"]
        pct_counts_mt: f64,
    }
}

crate::table! {
    /// One cluster of cells of a patient without labels: whether its cells are taken as normal.
    pub struct NormalClusterRow = "normal_clusters.tsv" {
        /// Cluster by expression, 0 the largest; clusters of fewer than 20 cells are left out.
        cluster: i64,
        /// Cells.
        n_cells: i64,
        /// Variance along the autosomes of the cluster's mean log1p expression, in windows of 100 genes.
        variance: f64,
        /// Whether its cells are taken as normal.
        normal: bool,
        /// The tissue whose genes most of its cells express most: `immune`, `stromal`, `endothelial`, `epithelial`
        /// or `unknown`.
        kind: String,
        /// Share of the cells that are of this kind.
        share: f64,
    }
}

crate::table! {
    /// Doublet score of one cell of a patient.
    pub struct DoubletRow = "doublets.tsv" {
        /// Cell id.
        cell: String,
        /// Likelihood of being a doublet, from 0 to 1; missing for a patient with too few cells.
        doublet_score: f64,
        /// Whether the score is above the threshold; no column where there is no threshold.
        predicted_doublet: Option<bool>,
    }
}
