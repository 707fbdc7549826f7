//! The encoders' inputs: z-scored rows of expression or copy number.
//!
//! Those of a cohort that is too large to be held in memory lie in a file, and a batch reads its own.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Error, Result, Tensor};

use super::input_layer::{SparseBatch, SparseInput};
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
    /// `x / sd`, and `mean / sd`.
    Spooled(SpooledRows, Vec<f32>),
}

impl Rows {
    fn new(scaled: SpooledRows, moments: &FeatureMoments) -> Self {
        let shift = moments.shift().into_iter().map(|m| m as f32).collect();
        match scaled.into_held() {
            Ok(held) => Self::Held(Arc::new(SparseInput::new(held, shift))),
            Err(spooled) => Self::Spooled(spooled, shift),
        }
    }

    /// `x / sd` and `mean / sd`.
    fn parts(&self) -> (&dyn Parts, &[f32]) {
        match self {
            Self::Held(input) => (input.scaled(), input.shift()),
            Self::Spooled(scaled, shift) => (scaled, shift),
        }
    }

    fn batch(&self, rows: &[u32]) -> StageResult<SparseBatch> {
        match self {
            Self::Held(input) => Ok(SparseBatch::new(input.clone(), rows)),
            Self::Spooled(scaled, shift) => {
                let rows: Vec<usize> = rows.iter().map(|&r| r as usize).collect();
                let own = SparseInput::new(scaled.take(&rows)?, shift.clone());
                let all: Vec<u32> = (0..rows.len() as u32).collect();
                Ok(SparseBatch::new(Arc::new(own), &all))
            }
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
        x.each(&mut |_, part| scaled.append(&moments.scale(part)))?;
        Ok(Self {
            rows: Rows::new(scaled, moments),
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
        let (scaled, shift) = self.rows.parts();
        let (n, g) = (scaled.n_rows(), scaled.n_cols());
        let all = Tensor::zeros((n, g), dtype, device)?;
        for at in 0..scaled.n_parts() {
            let (start, part) = scaled.part(at).map_err(Error::wrap)?;
            for first in (0..part.n_rows()).step_by(COPY_ROWS) {
                let rows = first..part.n_rows().min(first + COPY_ROWS);
                let mut dense = Vec::with_capacity(rows.len() * g);
                for r in rows.clone() {
                    let from = dense.len();
                    dense.extend(shift.iter().map(|m| -m));
                    let (cols, vals) = part.row(r);
                    for (&c, &v) in cols.iter().zip(vals) {
                        dense[from + c as usize] += v;
                    }
                }
                let dense = Tensor::from_vec(dense, (rows.len(), g), device)?;
                all.slice_set(&dense.to_dtype(dtype)?, 0, start + first)?;
            }
        }
        self.resident = Some(all);
        Ok(())
    }

    /// Whether batches are dense, made in an accelerator's memory.
    pub(in crate::train) fn is_resident(&self) -> bool {
        self.resident.is_some()
    }

    /// Number of features.
    pub(in crate::train) fn n_features(&self) -> usize {
        self.rows.parts().0.n_cols()
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
        let (scaled, shift) = m.rows.parts();
        let scaled = scaled.part(0).unwrap().1.to_dense();
        let row = |i: usize| scaled.row(rows[i] as usize).to_vec();
        assert_eq!((row(0), row(1)), (vec![1.0, 1.0], vec![2.0, 0.0]));
        assert_eq!(shift, [0.5, 0.0]);
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
