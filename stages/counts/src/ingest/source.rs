//! Counts in any of the layouts: first the names, then, for the cells that are chosen, the matrix.
//!
//! `run` and [`super::survey()`] open a file through this and nothing else, so that what one refuses the
//! other refuses.

use std::collections::BTreeMap;
use std::path::Path;

use super::cells::{Cells, Patient};
use super::features::Genes;
use super::params::IngestParams;
use super::{geo, store, tenx};
use clcc_data::anndata::{Uns, is_zarr};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Frame, LeftOut};
use clcc_data::matrix::{Csr, Matrix};
use clcc_stage::stage::{Progress, StageContext};

/// Each patient's counts, unpacked one at a time.
pub(super) type Matrices = Box<dyn Iterator<Item = StageResult<Csr>>>;

/// Arrays of the cells by name, each with a row per cell.
pub(super) type Arrays = BTreeMap<String, Matrix>;

/// Pictures and scales of sections of tissue by library, as scanpy has them in `uns["spatial"]`.
pub(super) type Sections = BTreeMap<String, Uns>;

/// Counts whose names are read and whose matrix is not.
pub(super) enum Source {
    /// A text, genes in rows.
    Text(geo::Text),
    /// h5ad or zarr.
    Store(store::Store),
    /// One 10x library or several.
    Tenx(tenx::Libraries),
}

/// What a file has besides the cells.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// Layers of an AnnData store, sorted.
    pub(super) layers: Vec<String>,
    /// Whether an AnnData store has `raw`.
    pub(super) raw: bool,
    /// Genomes of the genes, sorted; none where nothing tells.
    pub(super) genomes: Vec<String>,
    /// Columns of the genes.
    pub(super) gene_columns: Vec<String>,
    /// Features, where they are known before the matrix is read.
    pub(super) features: Option<usize>,
}

impl Source {
    /// Opens the counts at `path`, whose layout `format` states, or else the file's name. Of a text the
    /// first two lines are read; of the others the names of cells and genes.
    ///
    /// # Errors
    /// [`StageError::Data`] where the format is unknown, else what the layout's reader says.
    pub(super) fn open(
        path: &Path,
        format: Option<&str>,
        params: &IngestParams,
        progress: &dyn Progress,
    ) -> StageResult<Self> {
        Ok(match format_of(path, format)? {
            Format::GeoUmi => Self::Text(geo::Text::open(path, progress)?),
            Format::Store => Self::Store(store::Store::open(path)?),
            Format::Tenx => Self::Tenx(tenx::Libraries::open(path, params)?),
        })
    }

    /// The cells, and what the file says of them.
    pub(super) fn cells(&self) -> &Frame {
        match self {
            Self::Text(text) => &text.cells,
            Self::Store(store) => &store.obs,
            Self::Tenx(libraries) => &libraries.cells,
        }
    }

    /// Arrays of the cells, of which only an AnnData store has any.
    ///
    /// # Errors
    /// [`StageError::Io`] where the file cannot be read.
    pub(super) fn arrays(&self, progress: &dyn Progress) -> StageResult<Arrays> {
        match self {
            Self::Store(store) => store.arrays(progress),
            Self::Text(_) | Self::Tenx(_) => Ok(Arrays::new()),
        }
    }

    /// Pictures of sections (`uns["spatial"]`) by library, of which only an AnnData store has any.
    ///
    /// # Errors
    /// [`StageError::Io`] where the file cannot be read.
    pub(super) fn sections(&self, progress: &dyn Progress) -> StageResult<Sections> {
        match self {
            Self::Store(store) => store.sections(progress),
            Self::Text(_) | Self::Tenx(_) => Ok(Sections::new()),
        }
    }

    /// Columns of cells and genes that cannot be read.
    pub(super) fn left_out(&self) -> &[LeftOut] {
        match self {
            Self::Store(store) => &store.left_out,
            Self::Text(_) | Self::Tenx(_) => &[],
        }
    }

    /// Names of genes, of a text the first one.
    pub(super) fn gene_names(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => text.first_gene().into_iter().collect(),
            Self::Store(store) => store.var.index.iter().map(String::as_str).collect(),
            Self::Tenx(libraries) => libraries.feature_names(),
        }
    }

    /// What else is there.
    ///
    /// # Errors
    /// [`StageError::Io`] where the file cannot be read.
    pub(super) fn holds(&self) -> StageResult<Holds> {
        match self {
            Self::Text(_) => Ok(Holds::default()),
            Self::Store(store) => store.holds(),
            Self::Tenx(libraries) => libraries.holds(),
        }
    }

    /// The genes that `params` ask for; nothing of a text, whose genes come with their counts.
    ///
    /// # Errors
    /// [`StageError::Param`] where there is no such layer or genome; [`StageError::Format`] where names come
    /// twice, nothing is a gene, or the matrix has another shape than the names.
    pub(super) fn genes(
        &self,
        params: &IngestParams,
        progress: &dyn Progress,
    ) -> StageResult<Option<Genes>> {
        match self {
            Self::Text(_) => Ok(None),
            Self::Store(store) => store.genes(params, progress).map(Some),
            Self::Tenx(libraries) => libraries.genes(params, progress).map(Some),
        }
    }

    /// The patients' counts and the genes.
    ///
    /// # Errors
    /// [`StageError::Format`] where the file breaks its format or a count is none.
    pub(super) fn read(
        self,
        ctx: &StageContext<'_>,
        params: &IngestParams,
        cells: &Cells,
        patients: &[Patient],
    ) -> StageResult<(Frame, Matrices)> {
        let genes = self.genes(params, ctx.progress)?;
        match (self, genes) {
            (Self::Text(text), _) => text.read(ctx, params, cells, patients),
            (Self::Store(store), Some(genes)) => store.read(ctx, params, genes, cells, patients),
            (Self::Tenx(libraries), Some(genes)) => {
                libraries.read(ctx, params, genes, cells, patients)
            }
            (Self::Store(_) | Self::Tenx(_), None) => unreachable!("only a text has no genes yet"),
        }
    }
}

enum Format {
    GeoUmi,
    Store,
    Tenx,
}

/// The layout of the counts: as the workflow says, or else by the file's name.
fn format_of(path: &Path, format: Option<&str>) -> StageResult<Format> {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let ends = |endings: &[&str]| endings.iter().any(|e| plain.ends_with(e));
    let unknown = |what: String| {
        Err(StageError::data_hint(
            format!(
                "counts of {what} cannot be read; the formats are `geo_umi` (also `text`, `tsv`, `csv`), \
                 `10x_mtx`, `10x_h5`, `h5ad` and `zarr`"
            ),
            "state `format` next to the input's path",
        ))
    };
    match format {
        Some("geo_umi" | "text" | "tsv" | "csv") => Ok(Format::GeoUmi),
        Some("h5ad" | "zarr") => Ok(Format::Store),
        Some("10x_mtx" | "10x_h5") => Ok(Format::Tenx),
        Some(other) => unknown(format!("format `{other}`")),
        None if ends(&[".h5ad", ".zarr"]) => Ok(Format::Store),
        None if path.is_dir() => {
            if is_zarr(path) {
                Ok(Format::Store)
            } else if tenx::is_tenx(path) {
                Ok(Format::Tenx)
            } else {
                unknown(format!("the folder `{}`", path.display()))
            }
        }
        None if ends(&[".h5", ".mtx"]) => Ok(Format::Tenx),
        None if ends(&[".txt", ".tsv", ".tab", ".csv", ".matrix"]) => Ok(Format::GeoUmi),
        None => unknown(format!("`{}`", path.display())),
    }
}
