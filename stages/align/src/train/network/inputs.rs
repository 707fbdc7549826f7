//! The encoders' inputs: z-scored rows of expression or copy number.
//!
//! Those of a cohort that is too large to be held in memory lie in a file, and a batch reads its own.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Error, Result, Tensor};

use super::input_layer::{SparseBatch, SparseInput, common_features};
use crate::mine::{FeatureMoments, Part, Split};
use clcc_data::error::StageResult;
use clcc_data::matrix::{Csr, Parts, SpooledRows};

/// Rows laid out and copied to an accelerator together.
const COPY_ROWS: usize = 1024;

/// One modality of all cells.
#[derive(Debug)]
pub(in crate::train) struct Modality {
    rows: Rows,
    /// Row of each cell; `None` where each cell has its own.
    row_of: Option<Vec<u32>>,
    /// All rows dense and z-scored in an accelerator's memory.
    resident: Option<Tensor>,
}

/// Z-scored rows in two parts.
#[derive(Debug)]
enum Rows {
    Held(Arc<SparseInput>),
    /// `x / sd`, `mean / sd`, and the common features of all rows.
    Spooled(Box<SpooledRows>, Vec<f32>, Arc<[u32]>),
}

/// The input of rows of `x / sd` that are held.
fn held(scaled: &Csr, shift: Vec<f32>, common: Arc<[u32]>) -> Arc<SparseInput> {
    Arc::new(SparseInput::new(scaled.n_rows(), shift, common, |row| {
        let (cols, vals) = scaled.row(row);
        cols.iter().copied().zip(vals.iter().copied()).collect()
    }))
}

impl Rows {
    /// `found` is each feature's number of entries.
    fn new(scaled: SpooledRows, moments: &FeatureMoments, found: &[u32]) -> Self {
        let shift = moments.shift().into_iter().map(|m| m as f32).collect();
        let common = common_features(found, scaled.n_rows());
        match scaled.into_held() {
            Ok(scaled) => Self::Held(held(&scaled, shift, common)),
            Err(spooled) => Self::Spooled(spooled, shift, common),
        }
    }

    fn n_rows(&self) -> usize {
        match self {
            Self::Held(input) => input.n_cells(),
            Self::Spooled(scaled, ..) => scaled.n_rows(),
        }
    }

    /// `mean / sd`.
    fn shift(&self) -> &[f32] {
        match self {
            Self::Held(input) => input.shift(),
            Self::Spooled(_, shift, _) => shift,
        }
    }

    fn batch(&self, rows: &[u32]) -> StageResult<SparseBatch> {
        match self {
            Self::Held(input) => Ok(SparseBatch::new(input.clone(), rows)),
            Self::Spooled(scaled, shift, common) => {
                let rows: Vec<usize> = rows.iter().map(|&r| r as usize).collect();
                let own = held(&scaled.take(&rows)?, shift.clone(), common.clone());
                let all: Vec<u32> = (0..rows.len() as u32).collect();
                Ok(SparseBatch::new(own, &all))
            }
        }
    }

    /// Calls `f` with the number of the first of some rows and these, z-scored, in order.
    fn each_dense(&self, mut f: impl FnMut(usize, Vec<f32>) -> Result<()>) -> Result<()> {
        let shift = self.shift();
        let mut dense = |first: usize, n: usize, add: &dyn Fn(usize, &mut [f32])| {
            let mut all = Vec::with_capacity(n * shift.len());
            for row in 0..n {
                let from = all.len();
                all.extend(shift.iter().map(|m| -m));
                add(row, &mut all[from..]);
            }
            f(first, all)
        };
        let mut blocks = |first: usize, n: usize, add: &dyn Fn(usize, &mut [f32])| {
            (0..n).step_by(COPY_ROWS).try_for_each(|at| {
                dense(first + at, COPY_ROWS.min(n - at), &|row, to| {
                    add(at + row, to)
                })
            })
        };
        match self {
            Self::Held(input) => blocks(0, input.n_cells(), &|row, to| input.add_cell(row, to)),
            Self::Spooled(scaled, ..) => (0..scaled.n_parts()).try_for_each(|at| {
                let (first, part) = scaled.part(at).map_err(Error::wrap)?;
                blocks(first, part.n_rows(), &|row, to| {
                    let (cols, vals) = part.row(row);
                    cols.iter()
                        .zip(vals)
                        .for_each(|(&c, &v)| to[c as usize] += v);
                })
            }),
        }
    }
}

/// Some cells of one modality, as the first layer takes them.
#[derive(Debug)]
pub(in crate::train) enum Batch {
    /// On the CPU.
    Sparse(SparseBatch),
    /// `cells x features`, z-scored, on an accelerator.
    Dense(Tensor),
}

impl Modality {
    /// Each cell's own row of `x`, z-scored. Files, where they are needed, lie in `dir`.
    ///
    /// # Errors
    /// Where a part of `x` cannot be read or kept.
    pub(in crate::train) fn cells(
        x: &dyn Parts,
        moments: &FeatureMoments,
        dir: &Path,
    ) -> StageResult<Self> {
        let mut scaled = SpooledRows::new(x.n_cols(), dir);
        let mut found = vec![0u32; x.n_cols()];
        x.each(&mut |_, part| {
            let part = moments.scale(part);
            part.indices().iter().for_each(|&c| found[c as usize] += 1);
            scaled.append(&part)
        })?;
        Ok(Self {
            rows: Rows::new(scaled, moments, &found),
            row_of: None,
            resident: None,
        })
    }

    /// The mean row of each cell's cluster, z-scored with the moments of single cells.
    ///
    /// The mean is over the cluster's training cells, so that no validation or test cell's copy
    /// number reaches its own anchor; a cluster without training cells takes the mean of all its
    /// cells.
    ///
    /// # Errors
    /// Where a part of `x` cannot be read.
    pub(in crate::train) fn cluster_means(
        x: &dyn Parts,
        cluster_of: &[u32],
        split: &Split,
        moments: &FeatureMoments,
        dir: &Path,
    ) -> StageResult<Self> {
        let n_clusters = cluster_of.iter().max().map_or(0, |&c| c as usize + 1);
        let is_train = |cell: usize| split.part[cell] == Part::Train;
        let mut has_train = vec![false; n_clusters];
        for (cell, &cluster) in cluster_of.iter().enumerate() {
            has_train[cluster as usize] |= is_train(cell);
        }
        let mut sums = vec![(0_usize, vec![0.0; x.n_cols()]); n_clusters];
        x.each(&mut |first, part| {
            for row in 0..part.n_rows() {
                let cluster = cluster_of[first + row] as usize;
                if is_train(first + row) || !has_train[cluster] {
                    let (n, sum) = &mut sums[cluster];
                    *n += 1;
                    let (cols, vals) = part.row(row);
                    for (&c, &v) in cols.iter().zip(vals) {
                        sum[c as usize] += f64::from(v);
                    }
                }
            }
            Ok(())
        })?;
        let means = Csr::from_rows(x.n_cols(), sums.iter().map(|(n, sum)| mean_row(*n, sum)));
        Ok(Self {
            row_of: Some(cluster_of.to_vec()),
            ..Self::cells(&means, moments, dir)?
        })
    }

    /// Copies all rows, dense and z-scored, into the device's memory, where batches are then made:
    /// `rows x features x` 4 bytes (2 under `bf16`).
    ///
    /// # Errors
    /// candle's, where the device has no room for them.
    pub(in crate::train) fn place_on(&mut self, device: &Device, dtype: DType) -> Result<()> {
        let (n, g) = (self.rows.n_rows(), self.n_features());
        let all = Tensor::zeros((n, g), dtype, device)?;
        self.rows.each_dense(|first, dense| {
            let rows = dense.len() / g;
            let dense = Tensor::from_vec(dense, (rows, g), device)?;
            all.slice_set(&dense.to_dtype(dtype)?, 0, first)
        })?;
        self.resident = Some(all);
        Ok(())
    }

    /// Whether batches are dense, made in an accelerator's memory.
    pub(in crate::train) fn is_resident(&self) -> bool {
        self.resident.is_some()
    }

    /// Number of features.
    pub(in crate::train) fn n_features(&self) -> usize {
        self.rows.shift().len()
    }

    /// The rows of these cells.
    ///
    /// # Errors
    /// candle's.
    pub(in crate::train) fn batch(&self, cells: &[u32]) -> Result<Batch> {
        let rows: Vec<u32> = match &self.row_of {
            Some(row_of) => cells.iter().map(|&c| row_of[c as usize]).collect(),
            None => cells.to_vec(),
        };
        match &self.resident {
            None => Ok(Batch::Sparse(self.rows.batch(&rows).map_err(Error::wrap)?)),
            Some(all) => {
                let rows = Tensor::new(rows.as_slice(), all.device())?;
                Ok(Batch::Dense(all.index_select(&rows, 0)?))
            }
        }
    }

    #[cfg(test)]
    pub(in crate::train) fn of(input: Arc<SparseInput>) -> Self {
        Self {
            rows: Rows::Held(input),
            row_of: None,
            resident: None,
        }
    }
}

fn mean_row(n: usize, sums: &[f64]) -> Vec<(u32, f32)> {
    let n = n.max(1) as f64;
    sums.iter()
        .enumerate()
        .filter(|(_, s)| **s != 0.0)
        .map(|(c, s)| (c as u32, (s / n) as f32))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Cluster 0: cells 0, 1 (train), 2 (test). Cluster 1: cell 3 (test) alone.
    #[test]
    fn a_cluster_s_mean_is_that_of_its_training_cells() {
        let x = Csr::from_dense(&array![[1., 0.], [3., 2.], [9., 9.], [4., 0.]]);
        let split = Split {
            part: vec![Part::Train, Part::Train, Part::Test, Part::Test],
        };
        let moments = FeatureMoments {
            mean: vec![1.0, 0.0],
            sd: vec![2.0, 1.0],
        };
        let dir = Path::new(".");
        let m = Modality::cluster_means(&x, &[0, 0, 0, 1], &split, &moments, dir).unwrap();
        let rows: Vec<u32> = [2, 3].map(|c| m.row_of.as_ref().unwrap()[c]).to_vec();
        let mut z = Vec::new();
        m.rows
            .each_dense(|_, dense| {
                z.extend(dense);
                Ok(())
            })
            .unwrap();
        let row = |i: usize| z[rows[i] as usize * 2..][..2].to_vec();
        assert_eq!((row(0), row(1)), (vec![0.5, 1.0], vec![1.5, 0.0]));
        assert_eq!(m.rows.shift(), [0.5, 0.0]);
    }

    #[test]
    fn a_resident_modality_gives_the_z_scores() {
        let x = Csr::from_dense(&array![[1., 0.], [3., 2.], [0., 5.]]);
        let moments = FeatureMoments {
            mean: vec![1.0, 2.0],
            sd: vec![2.0, 0.5],
        };
        let mut m = Modality::cells(&x, &moments, Path::new(".")).unwrap();
        m.place_on(&Device::Cpu, DType::F32).unwrap();
        let Batch::Dense(z) = m.batch(&[2, 0]).unwrap() else {
            panic!("a resident modality gives dense rows")
        };
        assert_eq!(z.to_vec2::<f32>().unwrap(), [[-0.5, 6.0], [0.0, -4.0]]);
    }
}
