//! Count matrices in 10x Genomics' HDF5 layouts: Cell Ranger 3 and later keep one group `matrix`
//! with `features`, Cell Ranger 2 one group a genome with `genes` and `gene_names`.
//!
//! Both store cells one after another, so a range of cells is read without the rest.

use std::path::Path;

use super::hdf5::Hdf5Store;
use super::reader::RowReader;
use super::store::{Store, list};
use crate::error::StageResult;

/// An open 10x file.
#[derive(Debug)]
pub struct TenxFile {
    store: Hdf5Store,
}

/// What is measured, in the order of the matrix. `ids` and `names` have one entry a feature, `types` and `genomes`
/// may be empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TenxFeatures {
    /// Stable ids.
    pub ids: Vec<String>,
    /// Symbols.
    pub names: Vec<String>,
    /// `Gene Expression`, `Antibody Capture`, ...; empty where the layout does not tell.
    pub types: Vec<String>,
    /// Genome of each feature; empty where the layout does not tell.
    pub genomes: Vec<String>,
}

impl TenxFile {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`crate::StageError::Format`] where this is no HDF5 file, or one without a 10x matrix.
    pub fn open(path: &Path) -> StageResult<Self> {
        let file = Self {
            store: Hdf5Store::open(path)?,
        };
        if !file.groups()?.is_empty() {
            return Ok(file);
        }
        let children = file.store.children("")?;
        let message = if children.iter().any(|c| c == "obs") {
            "expected a 10x count matrix, found an AnnData file: state `format: h5ad`".to_string()
        } else {
            format!(
                "expected a 10x count matrix (a group `matrix`, or one group a genome), found {}",
                list(&children)
            )
        };
        Err(file.store.bad("", message))
    }

    /// `matrix`, or the genomes of the older layout.
    ///
    /// # Errors
    /// [`crate::StageError::Format`] where the file is broken.
    pub fn groups(&self) -> StageResult<Vec<String>> {
        let mut groups = Vec::new();
        for name in self.store.children("")? {
            let part = |p: &str| -> StageResult<bool> {
                Ok(self.store.node(&format!("{name}/{p}"))?.is_some())
            };
            if part("barcodes")? && part("indptr")? {
                groups.push(name);
            }
        }
        Ok(groups)
    }

    /// Barcodes of a group.
    ///
    /// # Errors
    /// [`crate::StageError::Format`] where they are missing.
    pub fn barcodes(&self, group: &str) -> StageResult<Vec<String>> {
        self.texts(&format!("{group}/barcodes"))
    }

    /// Features of a group.
    ///
    /// # Errors
    /// [`crate::StageError::Format`] where they are missing, of unequal number, or probes and not
    /// genes.
    pub fn features(&self, group: &str) -> StageResult<TenxFeatures> {
        let at = |name: &str| format!("{group}/{name}");
        let found = if self.store.node(&at("features"))?.is_some() {
            if self.store.node(&at("features/filtered_probes"))?.is_some() {
                return Err(self.store.bad(
                    &at("features"),
                    "expected counts of genes, found counts of probes; give the file \
                     `filtered_feature_bc_matrix.h5` of the same run"
                        .into(),
                ));
            }
            let optional = |name: &str| match self.store.node(&at(name))? {
                Some(_) => self.texts(&at(name)),
                None => Ok(Vec::new()),
            };
            TenxFeatures {
                ids: self.texts(&at("features/id"))?,
                names: self.texts(&at("features/name"))?,
                types: optional("features/feature_type")?,
                genomes: optional("features/genome")?,
            }
        } else {
            TenxFeatures {
                ids: self.texts(&at("genes"))?,
                names: self.texts(&at("gene_names"))?,
                ..TenxFeatures::default()
            }
        };
        let n = found.ids.len();
        for (what, values, may_be_absent) in [
            ("names", &found.names, false),
            ("types", &found.types, true),
            ("genomes", &found.genomes, true),
        ] {
            if values.len() != n && !(may_be_absent && values.is_empty()) {
                return Err(self.store.bad(
                    group,
                    format!("{n} feature ids, but {} {what}", values.len()),
                ));
            }
        }
        Ok(found)
    }

    /// The counts of a group, cells in rows.
    ///
    /// # Errors
    /// [`crate::StageError::Format`] where its parts do not fit.
    pub fn rows(&self, group: &str) -> StageResult<RowReader<'_>> {
        let place = format!("{group}/shape");
        let shape = self
            .store
            .read(&place)?
            .into_i64()
            .map_err(|e| self.store.bad(&place, e))?;
        match shape[..] {
            [features, cells] if features >= 0 && cells >= 0 => {
                RowReader::compressed(&self.store, group, cells as usize, features as usize)
            }
            _ => Err(self
                .store
                .bad(&place, "expected the numbers of features and cells".into())),
        }
    }

    fn texts(&self, at: &str) -> StageResult<Vec<String>> {
        self.store.require(at)?;
        Ok(self.store.read(at)?.into_text())
    }
}
