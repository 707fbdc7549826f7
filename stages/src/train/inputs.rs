//! What the encoders see of each cell.

use std::sync::Arc;

use super::input_layer::{SparseBatch, SparseInput};
use crate::matrix::Csr;
use crate::mine::{FeatureMoments, Part, Split};

/// One modality of all cells.
#[derive(Debug)]
pub(super) struct Modality {
    input: Arc<SparseInput>,
    /// Row of `input` of each cell; `None` where each cell has its own.
    row_of: Option<Vec<u32>>,
}

impl Modality {
    /// Each cell's own row of `x`, z-scored.
    pub(super) fn cells(x: &Csr, moments: &FeatureMoments) -> Self {
        let rows: Vec<usize> = (0..x.n_rows()).collect();
        Self {
            input: Arc::new(scaled(x, &rows, moments)),
            row_of: None,
        }
    }

    /// The mean row of each cell's cluster, z-scored with the moments of single cells.
    ///
    /// The mean is over the cluster's training cells, so that no validation or test cell's copy
    /// number reaches its own anchor; a cluster without training cells takes the mean of all its
    /// cells.
    pub(super) fn cluster_means(
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
        }
    }

    /// Number of features.
    pub(super) fn n_features(&self) -> usize {
        self.input.scaled.n_cols()
    }

    /// The rows of these cells.
    pub(super) fn batch(&self, cells: &[u32]) -> SparseBatch {
        let rows = match &self.row_of {
            Some(row_of) => cells.iter().map(|&c| row_of[c as usize]).collect(),
            None => cells.to_vec(),
        };
        SparseBatch {
            input: self.input.clone(),
            rows: Arc::new(rows),
        }
    }

    #[cfg(test)]
    pub(super) fn of(input: Arc<SparseInput>) -> Self {
        Self {
            input,
            row_of: None,
        }
    }
}

fn scaled(x: &Csr, rows: &[usize], moments: &FeatureMoments) -> SparseInput {
    let shift = moments.shift().into_iter().map(|m| m as f32).collect();
    SparseInput {
        scaled: moments.scale(x, rows),
        shift,
    }
}

fn mean_row(x: &Csr, cells: &[usize]) -> Vec<(u32, f32)> {
    let mut sums = vec![0f64; x.n_cols()];
    for &cell in cells {
        let (cols, vals) = x.row(cell);
        for (&c, &v) in cols.iter().zip(vals) {
            sums[c as usize] += f64::from(v);
        }
    }
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
        let batch = m.batch(&[2, 3]);
        let row = |i: usize| {
            m.input
                .scaled
                .to_dense()
                .row(batch.rows[i] as usize)
                .to_vec()
        };
        assert_eq!((row(0), row(1)), (vec![1.0, 1.0], vec![2.0, 0.0]));
        assert_eq!(m.input.shift, [0.5, 0.0]);
    }
}
