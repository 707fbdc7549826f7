//! Parameters of `doublets`; names and defaults are those of `scanpy.pp.scrublet`.

clcc_stage::params! {
    /// Parameters of the stage `doublets`.
    pub struct DoubletsParams {
        /// Share of doublets that the library is expected to hold; about .008 per thousand cells loaded on 10x. From 0
        /// to .5, both excluded; default .05. It scales the scores and moves no cell past another.
        #[schemars(range(min = 0.001, max = 0.499))]
        pub expected_doublet_rate: f64 = 0.05,
        /// Simulated doublets per cell; from .1 to 20, default 2.
        #[schemars(range(min = 0.1, max = 20.0))]
        pub sim_doublet_ratio: f64 = 2.0,
        /// Neighbours, simulated doublets not counted, whose share of doublets scores a cell; null (default): half the
        /// square root of the number of cells.
        #[schemars(range(min = 1, max = 10_000))]
        pub n_neighbors: Option<usize> = None,
        /// Principal components; fewer where cells or genes are fewer. From 1 to 500, default 30.
        #[schemars(range(min = 1, max = 500))]
        pub n_prin_comps: usize = 30,
        /// Highly variable genes that the components are made of. From 2 to 100,000, default 2,000.
        #[schemars(range(min = 2, max = 100_000))]
        pub n_top_genes: usize = 2000,
        /// Score above which a cell is called a doublet, from 0 to 1; null (default): the minimum between the two
        /// peaks of the simulated doublets' scores. Where these have no two peaks no cell is called.
        #[schemars(range(min = 0.0, max = 1.0))]
        pub threshold: Option<f64> = None,
    }
}
