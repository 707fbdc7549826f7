//! h5ad and zarr: cells in rows already; blocks of rows, so memory is what is kept.

use std::path::Path;

use super::cells::{Cells, Patient, drop_unwritable};
use super::count_problem;
use super::features::{self, Genes};
use super::kept::{self, Kept};
use super::params::{CountKind, IngestParams};
use super::source::{Arrays, Holds, Matrices, Sections};
use clcc_data::anndata::{NO_MATRIX, Reader, RowReader, list, name_problem};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Frame, LeftOut};
use clcc_stage::stage::{Progress, StageContext};

/// Stored values read at a time.
const BLOCK_ENTRIES: usize = 4 << 20;

/// Where the counts of a matrix go.
pub(super) struct Place<'a> {
    /// Patient of each cell of the matrix.
    pub(super) owner: &'a [Option<usize>],
    /// Cell ids, for messages.
    pub(super) cells: &'a [String],
    /// Genes that are kept.
    pub(super) genes: &'a Genes,
}

/// An AnnData store whose cells and genes are read.
pub(super) struct Store {
    reader: Reader,
    /// Cells; missing values are such.
    pub(super) obs: Frame,
    /// Genes of `X` and of the layers.
    pub(super) var: Frame,
    /// Columns of cells that cannot be read.
    pub(super) left_out: Vec<LeftOut>,
    left_out_of_var: Vec<LeftOut>,
}

impl Store {
    /// Reads `obs` and `var`.
    ///
    /// # Errors
    /// [`StageError::Format`] where the store breaks its format or a cell id comes twice.
    pub(super) fn open(path: &Path) -> StageResult<Self> {
        let reader = Reader::open(path)?;
        let (mut obs, left_out) = reader.obs_known()?;
        let (var, left_out_of_var) = reader.var_known()?;
        obs.blank_missing();
        unique(&reader, "cell id", "obs", &obs)?;
        Ok(Self {
            reader,
            obs,
            var,
            left_out,
            left_out_of_var,
        })
    }

    /// Arrays of the cells (`obsm`), such as `spatial`; the names of those that are none are told.
    ///
    /// # Errors
    /// [`StageError::Io`] where the file cannot be read.
    pub(super) fn arrays(&self, progress: &dyn Progress) -> StageResult<Arrays> {
        let mut found = Arrays::new();
        for name in self.reader.names("obsm")? {
            match self.reader.obsm(&name) {
                Ok(array) if array.shape().0 == self.obs.len() && name_problem(&name).is_none() => {
                    found.insert(name, array);
                }
                other => {
                    let why = match other {
                        Ok(array) => format!(
                            "has {} rows for {} cells, or a name that cannot be written",
                            array.shape().0,
                            self.obs.len()
                        ),
                        Err(error) => format!("cannot be read ({error})"),
                    };
                    progress.warn(&format!("the array `obsm/{name}` {why}: it is left out"));
                }
            }
        }
        Ok(found)
    }

    /// What `uns["spatial"]` holds of each library; what cannot be read is told.
    ///
    /// # Errors
    /// [`StageError::Io`] where the file cannot be read.
    pub(super) fn sections(&self, progress: &dyn Progress) -> StageResult<Sections> {
        match self.reader.uns_of("spatial") {
            Err(error @ StageError::Io { .. }) => Err(error),
            Err(error) => {
                progress.warn(&format!(
                    "`uns/spatial` cannot be read ({error}): it is left out"
                ));
                Ok(Sections::new())
            }
            Ok(sections) => Ok(sections),
        }
    }

    pub(super) fn holds(&self) -> StageResult<Holds> {
        Ok(Holds {
            layers: self.reader.names("layers")?,
            raw: self.reader.has("raw/X")?,
            genomes: features::genomes_of_store(&self.var),
            gene_columns: self.var.columns.keys().cloned().collect(),
            features: Some(self.var.len()),
        })
    }

    /// The genes of the matrix that `params.layer` names.
    ///
    /// # Errors
    /// [`StageError::Param`] where there is no such layer; [`StageError::Format`] where the matrix is
    /// missing or of another shape than the names, a gene comes twice, or none is one.
    pub(super) fn genes(
        &self,
        params: &IngestParams,
        progress: &dyn Progress,
    ) -> StageResult<Genes> {
        let (element, var_element) = self.elements(params)?;
        let (raw, left_out_of_raw) = match var_element {
            "var" => (None, None),
            other => {
                let (frame, left_out) = self.reader.frame_known(other)?;
                (Some(frame), Some(left_out))
            }
        };
        let var = raw.as_ref().unwrap_or(&self.var);
        let left_out = left_out_of_raw.as_ref().unwrap_or(&self.left_out_of_var);
        for column in left_out {
            progress.warn(&format!(
                "column `{var_element}/{}` {}: it is left out",
                column.name, column.why
            ));
        }
        self.reader
            .check_shape(&element, (self.obs.len(), var.len()))
            .map_err(|e| self.or_others(e, &element))?;
        let kept = features::of_store(var, &self.var, &self.reader.path(), progress)?;
        let kept = features::of_genome(kept, var, &self.var, params)?;
        let mut place = vec![None; var.len()];
        for (row, &f) in kept.iter().enumerate() {
            place[f] = Some(row as u32);
        }
        let mut var = var.take(&kept);
        unique(&self.reader, "gene", var_element, &var)?;
        drop_unwritable(&mut var, |name, why| {
            progress.warn(&format!(
                "column `{var_element}/{name}` {why}: it is left out"
            ));
        });
        Ok(Genes { var, place })
    }

    /// Reads the patients' counts.
    ///
    /// # Errors
    /// [`StageError::Format`] where the store breaks its format or a count is none.
    pub(super) fn read(
        self,
        ctx: &StageContext<'_>,
        params: &IngestParams,
        genes: Genes,
        cells: &Cells,
        patients: &[Patient],
    ) -> StageResult<(Frame, Matrices)> {
        let (element, _) = self.elements(params)?;
        let rows = self
            .reader
            .rows(&element, (self.obs.len(), genes.place.len()))?;
        let place = Place {
            owner: &owners(cells, patients, self.obs.len()),
            cells: &self.obs.index,
            genes: &genes,
        };
        let mut kept: Vec<Kept> = patients.iter().map(|_| Kept::default()).collect();
        let path = self.reader.path();
        collect(ctx, &path, &element, &rows, &place, params, &mut kept)
            .map_err(|e| self.or_others(e, &element))?;
        Ok(kept::matrices(kept, genes.var))
    }

    /// The elements that hold the counts and their genes.
    fn elements(&self, params: &IngestParams) -> StageResult<(String, &'static str)> {
        let Holds { layers, raw, .. } = self.holds()?;
        match params.layer.as_str() {
            "" => Ok(("X".into(), "var")),
            "X" if !layers.iter().any(|l| l == "X") => Ok(("X".into(), "var")),
            // `raw` has genes of its own; a layer of that name goes first.
            "raw" if raw && !layers.iter().any(|l| l == "raw") => Ok(("raw/X".into(), "raw/var")),
            layer if layers.iter().any(|l| l == layer) => Ok((format!("layers/{layer}"), "var")),
            layer => Err(StageError::param(
                "layer",
                format!(
                    "there is no `{layer}` in `{}`; {}",
                    self.reader.path().display(),
                    match self.matrices(layer).as_slice() {
                        [] => "its one matrix is `X`, which is read without `layer`".to_string(),
                        others => format!("there is {}", list(others)),
                    }
                ),
            )),
        }
    }

    /// Names for `layer` other than `element`.
    fn matrices(&self, element: &str) -> Vec<String> {
        let Holds {
            mut layers, raw, ..
        } = self.holds().unwrap_or_default();
        if raw && !layers.iter().any(|l| l == "raw") {
            layers.push("raw".into());
        }
        layers.retain(|name| element != format!("layers/{name}") && element != format!("{name}/X"));
        layers
    }

    /// Says where counts may be, where `element` holds none.
    fn or_others(&self, error: StageError, element: &str) -> StageError {
        let StageError::Format {
            path,
            place,
            message,
            hint,
        } = error
        else {
            return error;
        };
        let others = self.matrices(element);
        let (because, without) = if message.contains(super::NOT_WHOLE) {
            ("if it is normalised, ", "")
        } else if message.contains(NO_MATRIX) {
            (
                "",
                "; it has neither layers nor `raw`, so there are no counts to read",
            )
        } else {
            return StageError::Format {
                path,
                place,
                message,
                hint,
            };
        };
        let more = match others.as_slice() {
            [] => without.to_string(),
            others => format!(
                "; {because}name the counts with `layer`: there is {}",
                list(others)
            ),
        };
        StageError::Format {
            path,
            place,
            message: format!("{message}{more}"),
            hint,
        }
    }
}

fn unique(reader: &Reader, what: &str, place: &str, frame: &Frame) -> StageResult<()> {
    match frame.first_duplicate() {
        Some(name) => {
            let message = format!("{what} `{name}` comes twice");
            Err(StageError::format(&reader.path(), place, message))
        }
        None => Ok(()),
    }
}

/// The patient of each cell of the matrix.
pub(super) fn owners(cells: &Cells, patients: &[Patient], n: usize) -> Vec<Option<usize>> {
    let mut owner = vec![None; n];
    for (p, patient) in patients.iter().enumerate() {
        patient
            .rows
            .iter()
            .for_each(|&r| owner[cells.at[r]] = Some(p));
    }
    owner
}

/// Reads `rows` in blocks and hands each cell to its patient.
///
/// # Errors
/// [`StageError::Format`] where the file breaks its format or a count is none.
pub(super) fn collect(
    ctx: &StageContext<'_>,
    path: &Path,
    element: &str,
    rows: &RowReader<'_>,
    place: &Place<'_>,
    params: &IngestParams,
    kept: &mut [Kept],
) -> StageResult<()> {
    let n = place.owner.len();
    if rows.shape() != (n, place.genes.place.len()) {
        let message = format!(
            "expected {n} cells x {} features, found {:?}",
            place.genes.place.len(),
            rows.shape()
        );
        return Err(StageError::format(path, element, message));
    }
    for block in rows.blocks(BLOCK_ENTRIES) {
        ctx.check_cancelled()?;
        ctx.progress.step(block.start as u64, n as u64, "cells");
        if !block.clone().any(|cell| place.owner[cell].is_some()) {
            continue;
        }
        let part = rows.read(block.clone())?;
        for (r, cell) in block.enumerate() {
            let Some(p) = place.owner[cell] else { continue };
            let (genes, values) = part.row(r);
            if let Some((gene, problem)) = bad_count(genes, values, place, params.counts) {
                let place = format!("{element}, cell `{}`, gene `{gene}`", place.cells[cell]);
                return Err(StageError::format(path, place, problem));
            }
            kept[p].push_placed(genes, values, &place.genes.place);
        }
    }
    summed_warning(ctx.progress, path, element, rows.n_summed());
    Ok(())
}

/// Says that counts of one gene and cell stood in several entries.
pub(super) fn summed_warning(progress: &dyn Progress, path: &Path, element: &str, n: u64) {
    if n > 0 {
        let of = match element {
            "" => String::new(),
            element => format!("`{element}` of "),
        };
        progress.warn(&format!(
            "{n} entries of {of}`{}` stand for a cell and a gene that have one before: they are added up",
            path.display()
        ));
    }
}

/// The first gene whose count is none. What features hold that are left out does not matter.
fn bad_count<'a>(
    features: &[u32],
    values: &[f32],
    place: &Place<'a>,
    kind: CountKind,
) -> Option<(&'a str, String)> {
    features.iter().zip(values).find_map(|(&f, &v)| {
        let gene = place.genes.place[f as usize]?;
        let problem = count_problem(f64::from(v), kind)?;
        Some((place.genes.var.index[gene as usize].as_str(), problem))
    })
}
