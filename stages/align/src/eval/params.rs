//! Parameters of `eval`.

clcc_stage::params! {
    /// Parameters of `eval`.
    pub struct EvalParams {
        /// Number of test cells in the similarity matrix, spread evenly over all of them; 1 to 4,096, default 64.
        #[schemars(range(min = 1, max = 4096))]
        pub matrix_cells: usize = 64,
        /// Column of `obs` that names cell types; where it is absent there are no rows per type. Default `cell_type`.
        pub cell_type_column: String = "cell_type".into(),
    }
}
