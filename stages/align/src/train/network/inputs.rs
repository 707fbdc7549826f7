//! The encoders' inputs: z-scored rows of expression or copy number.

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

use super::input_layer::{SparseBatch, SparseInput, common_features};
use crate::mine::{FeatureMoments, Part, Split};
use clcc_data::matrix::Csr;

/// Rows laid out and copied to an accelerator together.
const COPY_ROWS: usize = 1024;

/// One modality of all cells.
#[derive(Debug)]
pub(in crate::train) struct Modality {
    input: Arc<SparseInput>,
    /// Row of `input` of each cell; `None` where each cell has its own.
    row_of: Option<Vec<u32>>,
    /// All rows dense and z-scored in an accelerator's memory.
    resident: Option<Tensor>,
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
    /// Each cell's own row of `x`, z-scored.
    pub(in crate::train) fn cells(x: &Csr, moments: &FeatureMoments) -> Self {
        let rows: Vec<usize> = (0..x.n_rows()).collect();
        Self {
            input: Arc::new(scaled(x, &rows, moments)),
            row_of: None,
            resident: None,
        }
    }

    /// The mean row of each cell's cluster, z-scored with the moments of single cells.
    ///
    /// The mean is over the cluster's training cells, so that no validation or test cell's copy
    /// number reaches its own anchor; a cluster without training cells takes the mean of all its
    /// cells.
    pub(in crate::train) fn cluster_means(
        x: &Csr,
        cluster_of: &[u32],
        split: &Split,
        moments: &FeatureMoments,
    ) -> Self {
        let n_clusters = cluster_of.iter().max().map_or(0, |&c| c as usize + 1);
        let mut members = vec![(Vec::new(), Vec::new()); n_clusters];
        for (cell, &cluster) in cluster_of.iter().enumerate() {
            let (train, all) = &mut members[cluster as usize];
            all.push(cell);
            if split.part[cell] == Part::Train {
                train.push(cell);
            }
        }
        let means = Csr::from_rows(
            x.n_cols(),
            members
                .into_iter()
                .map(|(train, all)| mean_row(x, if train.is_empty() { &all } else { &train })),
        );
        let rows: Vec<usize> = (0..n_clusters).collect();
        Self {
            input: Arc::new(scaled(&means, &rows, moments)),
            row_of: Some(cluster_of.to_vec()),
            resident: None,
        }
    }

    /// Copies all rows, dense and z-scored, into the device's memory, where batches are then made:
    /// `rows x features x` 4 bytes (2 under `bf16`).
    ///
    /// # Errors
    /// candle's, where the device has no room for them.
    pub(in crate::train) fn place_on(&mut self, device: &Device, dtype: DType) -> Result<()> {
        let (n, g) = (self.input.n_cells(), self.n_features());
        let all = Tensor::zeros((n, g), dtype, device)?;
        for first in (0..n).step_by(COPY_ROWS) {
            let rows = first..n.min(first + COPY_ROWS);
            let mut dense = Vec::with_capacity(rows.len() * g);
            for r in rows.clone() {
                let start = dense.len();
                dense.extend(self.input.shift().iter().map(|m| -m));
                self.input.add_cell(r, &mut dense[start..]);
            }
            let part = Tensor::from_vec(dense, (rows.len(), g), device)?.to_dtype(dtype)?;
            all.slice_set(&part, 0, first)?;
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
        self.input.n_features()
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
            None => Ok(Batch::Sparse(SparseBatch::new(self.input.clone(), &rows))),
            Some(all) => {
                let rows = Tensor::new(rows.as_slice(), all.device())?;
                Ok(Batch::Dense(all.index_select(&rows, 0)?))
            }
        }
    }

    #[cfg(test)]
    pub(in crate::train) fn of(input: Arc<SparseInput>) -> Self {
        Self {
            input,
            row_of: None,
            resident: None,
        }
    }
}

fn scaled(x: &Csr, rows: &[usize], moments: &FeatureMoments) -> SparseInput {
    let inverse = moments.inverse_sd();
    let entries = |&row: &usize| {
        let (cols, vals) = x.row(row);
        let inverse = &inverse;
        let entries = cols.iter().zip(vals);
        let entries = entries.map(move |(&c, &v)| (c, f64::from(v) * inverse[c as usize]));
        // Those of constant features are 0.
        entries.filter(|e| e.1 != 0.0).map(|(c, v)| (c, v as f32))
    };
    let mut found = vec![0u32; x.n_cols()];
    for (c, _) in rows.iter().flat_map(entries) {
        found[c as usize] += 1;
    }
    let common = common_features(&found, rows.len());
    let shift = moments.shift().into_iter().map(|m| m as f32).collect();
    SparseInput::new(rows.len(), shift, common, |i| entries(&rows[i]).collect())
}

fn mean_row(x: &Csr, cells: &[usize]) -> Vec<(u32, f32)> {
    let sums = x.sum_rows(cells.iter().copied());
    let n = cells.len().max(1) as f64;
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
        let m = Modality::cluster_means(&x, &[0, 0, 0, 1], &split, &moments);
        let rows: Vec<u32> = [2, 3].map(|c| m.row_of.as_ref().unwrap()[c]).to_vec();
        let row = |i: usize| {
            let mut row = vec![0.0; 2];
            m.input.add_cell(rows[i] as usize, &mut row);
            row
        };
        assert_eq!((row(0), row(1)), (vec![1.0, 1.0], vec![2.0, 0.0]));
        assert_eq!(m.input.shift(), [0.5, 0.0]);
    }

    #[test]
    fn a_resident_modality_gives_the_z_scores() {
        let x = Csr::from_dense(&array![[1., 0.], [3., 2.], [0., 5.]]);
        let moments = FeatureMoments {
            mean: vec![1.0, 2.0],
            sd: vec![2.0, 0.5],
        };
        let mut m = Modality::cells(&x, &moments);
        m.place_on(&Device::Cpu, DType::F32).unwrap();
        let Batch::Dense(z) = m.batch(&[2, 0]).unwrap() else {
            panic!("a resident modality gives dense rows")
        };
        assert_eq!(z.to_vec2::<f32>().unwrap(), [[-0.5, 6.0], [0.0, -4.0]]);
    }
}
