//! Parameters of `benchmark`, with their defaults.

clcc_stage::params! {
    /// Parameters of `benchmark`.
    pub struct BenchmarkParams {
        /// Share of the malignant cells in which a gene must be expressed to be ranked; in [0, 1), default
        /// 0.05.
        #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
        pub min_expressed: f64 = 0.05,
        /// Number of malignant cells of a patient whose copy-number calls are compared with the truth,
        /// evenly spaced where there are more; 10 or more, default 300.
        #[schemars(range(min = 10))]
        pub max_cells: usize = 300,
    }
}
