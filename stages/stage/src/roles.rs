//! Every role of the program: its name in actions and the cache, and what an artifact of it is on disk.
//!
//! A role is a constant that ties a name to a type. A stage lists the constants in [`crate::stage::Stage::reads`]
//! and [`crate::stage::Stage::outputs`], and gets typed inputs back from its context:
//!
//! ```
//! use clcc_stage::{roles, stage::StageContext};
//!
//! fn cells(ctx: &StageContext<'_>) -> clcc_data::StageResult<usize> {
//!     Ok(ctx.one(roles::EXPR)?.open()?.obs()?.len()) // a `Reader`, since EXPR is a `Role<Store>`
//! }
//! ```

use std::marker::PhantomData;
use std::ops::Deref;

use clcc_data::StageResult;
use clcc_data::anndata::Reader;
use clcc_data::table::TextTable;

use crate::stage::InputArtifact;
use crate::tables::Row;

/// A role: a name, and the type of content that its artifacts have.
pub struct Role<T> {
    name: &'static str,
    content: PhantomData<fn() -> T>,
}

impl<T> Clone for Role<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Role<T> {}

impl<T> PartialEq for Role<T> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<T> std::fmt::Debug for Role<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl<T> Role<T> {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            content: PhantomData,
        }
    }

    /// The same role without its type, for lists of roles.
    pub const fn any(self) -> Role<Any> {
        Role::new(self.name)
    }

    /// The name in actions, in the cache and in messages.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

/// Content that nobody has asked about: a role in a list of roles.
#[derive(Debug, Clone, Copy)]
pub enum Any {}
/// An AnnData store in zarr.
#[derive(Debug, Clone, Copy)]
pub enum Store {}
/// One tab-separated table.
#[derive(Debug, Clone, Copy)]
pub enum TableFile {}
/// A directory of tab-separated tables.
#[derive(Debug, Clone, Copy)]
pub enum Tables {}
/// A file with a reader of its own.
#[derive(Debug, Clone, Copy)]
pub enum File {}
/// A directory of drawings.
#[derive(Debug, Clone, Copy)]
pub enum Figures {}

/// An input artifact of a role, with the type of its content.
pub struct Input<'a, T> {
    artifact: &'a InputArtifact,
    content: PhantomData<fn() -> T>,
}

impl<T> Clone for Input<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Input<'_, T> {}

impl<T> std::fmt::Debug for Input<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.artifact.fmt(f)
    }
}

impl<T> Deref for Input<'_, T> {
    type Target = InputArtifact;

    fn deref(&self) -> &InputArtifact {
        self.artifact
    }
}

impl<'a, T> Input<'a, T> {
    pub(crate) const fn new(artifact: &'a InputArtifact) -> Self {
        Self {
            artifact,
            content: PhantomData,
        }
    }
}

impl Input<'_, Store> {
    /// Opens the store; nothing but its metadata is read.
    ///
    /// # Errors
    /// Where it is no AnnData store.
    pub fn open(&self) -> StageResult<Reader> {
        Reader::open(&self.artifact.path)
    }
}

impl Input<'_, TableFile> {
    /// Reads the table.
    ///
    /// # Errors
    /// What [`TextTable::read`] reports.
    pub fn read(&self) -> StageResult<TextTable> {
        TextTable::read(&self.artifact.path)
    }

    /// Reads the rows of the table.
    ///
    /// # Errors
    /// What [`Row::read`] reports.
    pub fn rows<R: Row>(&self) -> StageResult<Vec<R>> {
        R::read(&self.artifact.path)
    }
}

impl Input<'_, Tables> {
    /// Reads the table `file` of the directory.
    ///
    /// # Errors
    /// What [`TextTable::read`] reports.
    pub fn read(&self, file: &str) -> StageResult<TextTable> {
        TextTable::read(&self.artifact.path.join(file))
    }

    /// Reads the rows of the table of this type.
    ///
    /// # Errors
    /// What [`Row::read`] reports.
    pub fn rows<R: Row>(&self) -> StageResult<Vec<R>> {
        R::read(&self.artifact.path.join(R::FILE))
    }
}

/// Declares the roles, and lists them.
macro_rules! roles {
    ($($(#[doc = $about:literal])+ $constant:ident: $content:ident = $name:literal;)+) => {
        $($(#[doc = $about])+ pub const $constant: Role<$content> = Role::new($name);)+

        /// Name and description of every role.
        pub const ALL: &[(&str, &str)] = &[$(($name, concat!($($about),+))),+];
    };
}

roles! {
    /// Raw counts of one patient: `X` is cells x genes, CSR.
    COUNTS: Store = "counts";
    /// File input of `simulate`: real counts whose means, dispersions and library sizes it takes on.
    MARGINALS: File = "marginals";
    /// File input of `ingest`: annotations of the cells.
    ANNOTATIONS: File = "annotations";
    /// File input of `preprocess`: positions of the genes.
    GENES: File = "genes";
    /// Cells, genes and counts of each patient, as read.
    INGEST_SUMMARY: Tables = "ingest_summary";
    /// Log-normalised expression of one patient, with gene positions and the counts as a layer.
    EXPR: Store = "expr";
    /// Integrity checks and quality summary.
    QC: Tables = "qc";
    /// Doublet score and call of each cell of one patient.
    DOUBLETS: TableFile = "doublets";
    /// Mean expression of the normal cells of all patients.
    NORMALS: Store = "normals";
    /// The cells that each patient gives to these.
    NORMALS_SUMMARY: Tables = "normals_summary";
    /// Copy number along the genome: `obsm["X_cnv"]`, cells x windows.
    CNV: Store = "cnv";
    /// States of subclusters and their regions, of the hidden Markov model.
    CNV_TABLES: Tables = "cnv_tables";
    /// Measured or true copy-number segments.
    SEGMENTS: File = "segments";
    /// Copy-number clusters, clones and malignant cells.
    CLUSTERS: Store = "clusters";
    /// Scores, gains, losses and clones of the copy-number clusters.
    CLUSTER_TABLES: Tables = "cluster_tables";
    /// Clusters of the embedding `h` of anchors.
    H_CLUSTERS: Store = "h_clusters";
    /// Sizes and subclusters of these.
    H_CLUSTER_TABLES: Tables = "h_cluster_tables";
    /// Part of each cell: `train`, `val` or `test`.
    SPLIT: File = "split";
    /// Mean and standard deviation of each feature over the training cells.
    MOMENTS: File = "moments";
    /// Hard negatives of each training cell.
    NEGATIVES: File = "negatives";
    /// How many hard negatives were found, and how close they are.
    MINING: Tables = "mining";
    /// Trained weights.
    MODEL: File = "model";
    /// Losses of each epoch.
    HISTORY: TableFile = "history";
    /// Embeddings of all cells.
    EMBEDDINGS: Store = "embeddings";
    /// States and embeddings of every anchor.
    ANCHORS: Store = "anchors";
    /// Retrieval on the test cells.
    RETRIEVAL: Tables = "retrieval";
    /// Distance and class of every cell.
    CONCORDANCE: TableFile = "concordance";
    /// Classes per patient, and what they are made of.
    CONCORDANCE_SUMMARY: Tables = "concordance_summary";
    /// Classes after labels are permuted within patient and cell type.
    CONCORDANCE_NULL: TableFile = "concordance_null";
    /// Dosage slopes of genes, and cells that hold genes back.
    DOSAGE: Tables = "dosage";
    /// Cells that hold back a set of genes, and that set.
    DISCORDANCE: Tables = "discordance";
    /// File input of `enrichment`: gene sets.
    GENE_SETS: File = "gene_sets";
    /// Gene sets by how many of their genes escape.
    ENRICHMENT: Tables = "enrichment";
    /// Differential expression and cis effects.
    DE: Tables = "de";
    /// Scores of cells and genes by the baselines.
    BASELINES: Tables = "baselines";
    /// Genes, cells and events that were planted.
    TRUTH: Tables = "truth";
    /// How well each method finds the planted truth.
    BENCHMARK: Tables = "benchmark";
    /// The benchmark of several runs, next to each other.
    COMPARISON: Tables = "comparison";
    /// The same as a drawing.
    COMPARISON_FIGURE: Figures = "comparison_figure";
    /// AnnData of one patient for scanpy, in zarr.
    ANNDATA: Store = "anndata";
    /// The AnnData of all patients in one.
    COHORT_ANNDATA: Store = "cohort_anndata";
    /// AnnData of one patient in HDF5.
    H5AD: File = "h5ad";
    /// The page.
    REPORT: File = "report";
    /// Every figure of the page.
    FIGURES: Figures = "figures";
}
