//! The science of clcc-flow: from raw counts to the genes that escape copy-number dosage.
//!
//! One stage kind is one folder: its typed parameters, its numerics as pure functions over
//! typed data, and the thin shell that loads inputs and saves outputs ([`stage::Stage`]).
//! Nothing here knows YAML, the cache, tokio or the command line; nothing prints, reads the wall
//! clock or draws an unseeded random number; only a stage's shell opens files.
//!
//! Cells are rows everywhere. Bytes written are a function of inputs, parameters and seed alone,
//! at any number of threads, on any processor ([`math`]).
//!
//! This crate is the facade of the crates below, in the order in which they may use each other:
//!
//! ```text
//! clcc-data      AnnData, sparse matrices, frames, genome
//! clcc-numerics  math, random streams, linear algebra, statistics, graphs
//! clcc-stage     the Stage trait, parameters, cohort
//! clcc-counts    ingest, preprocess
//! clcc-cnv       pool_normals, infercnv, cluster
//! clcc-align     mine, train, eval, concordance
//! clcc-dosage    dosage, discordance, enrichment, de, baselines
//! clcc-simulate  simulate, benchmark
//! clcc-report    report, export, export_cohort, compare
//! ```
//!
//! Features, all on by default: `hdf5` (h5ad and 10x h5 files), `train` (the stage `train`, which brings candle),
//! `report` (`report`, `export`, `export_cohort` and `compare`, which bring kuva). Without them `ingest`, `preprocess`, `infercnv`,
//! `cluster`, `mine` and `dosage` remain, for zarr, text and matrix-market.

pub use clcc_data::{StageError, StageResult, anndata, error, frame, genome, matrix, table};
pub use clcc_numerics::{graph, linalg, math, rng, stats};
pub use clcc_stage::{cells, cohort, params, roles, rows, stage, table, tables};

#[cfg(feature = "train")]
pub use clcc_align::train;
pub use clcc_align::{concordance, eval, mine};
pub use clcc_cnv::{cluster, infercnv, pool_normals};
pub use clcc_counts::{doublets, ingest, preprocess};
pub use clcc_dosage::{baselines, de, discordance, dosage, enrichment};
#[cfg(feature = "report")]
pub use clcc_report::{compare, export, export_cohort, report};
pub use clcc_simulate::{benchmark, simulate};

/// Every stage kind, in the order of the pipeline (with all features): `kinds!(f)` is an array of `f::<Kind>()`.
///
/// ```
/// use clcc_stages::stage::Stage;
///
/// const fn name<S: Stage>() -> &'static str {
///     S::KIND
/// }
/// assert_eq!(clcc_stages::kinds!(name)[..2], ["simulate", "ingest"]);
/// ```
#[cfg(all(feature = "train", feature = "report"))]
#[macro_export]
macro_rules! kinds {
    ($make:ident) => {
        [
            $make::<$crate::simulate::Simulate>(),
            $make::<$crate::ingest::Ingest>(),
            $make::<$crate::preprocess::Preprocess>(),
            $make::<$crate::doublets::Doublets>(),
            $make::<$crate::pool_normals::PoolNormals>(),
            $make::<$crate::infercnv::Infercnv>(),
            $make::<$crate::cluster::Cluster>(),
            $make::<$crate::mine::Mine>(),
            $make::<$crate::train::Train>(),
            $make::<$crate::eval::Eval>(),
            $make::<$crate::concordance::Concordance>(),
            $make::<$crate::dosage::Dosage>(),
            $make::<$crate::discordance::Discordance>(),
            $make::<$crate::enrichment::Enrichment>(),
            $make::<$crate::de::De>(),
            $make::<$crate::baselines::Baselines>(),
            $make::<$crate::benchmark::Benchmark>(),
            $make::<$crate::compare::Compare>(),
            $make::<$crate::export::Export>(),
            $make::<$crate::export_cohort::ExportCohort>(),
            $make::<$crate::report::Report>(),
        ]
    };
}
