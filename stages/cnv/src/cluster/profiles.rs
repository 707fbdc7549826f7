//! Mean profile and infercnvpy's score of each cluster.

use ndarray::{Array2, Axis};

use clcc_data::matrix::Csr;

/// Mean profiles and scores of the clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Profiles {
    /// `n_clusters x n_windows`: mean of `X_cnv`, zeros included.
    pub mean: Array2<f64>,
    /// `cnv_score` of each cluster: mean of |X_cnv| over all entries of its cells, zeros included
    /// (`infercnvpy.tl.cnv_score`).
    pub score: Vec<f64>,
    /// Number of cells of each cluster.
    pub n_cells: Vec<usize>,
}

/// Compute the mean profile and score of each cluster; `membership` has a number below `n_clusters` for
/// each row of `x`. Sums run in cell order. A cluster without cells, or a matrix without windows, gives
/// 0.
pub fn profiles(x: &Csr, membership: &[u32], n_clusters: usize) -> Profiles {
    let mut mean = Array2::<f64>::zeros((n_clusters, x.n_cols()));
    let mut score = vec![0.0f64; n_clusters];
    let mut n_cells = vec![0usize; n_clusters];
    for (cell, &cluster) in membership.iter().enumerate() {
        let c = cluster as usize;
        n_cells[c] += 1;
        let (cols, vals) = x.row(cell);
        let mut row = mean.row_mut(c);
        for (&w, &v) in cols.iter().zip(vals) {
            row[w as usize] += f64::from(v);
            score[c] += f64::from(v).abs();
        }
    }
    for (c, mut row) in mean.axis_iter_mut(Axis(0)).enumerate() {
        let n = n_cells[c].max(1) as f64;
        row /= n;
        score[c] /= n * x.n_cols().max(1) as f64;
    }
    Profiles {
        mean,
        score,
        n_cells,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn means_by_hand() {
        // Cluster 0: cells 0 and 2; |entries| 1 + 3 + 1 over 2 x 3 = 5/6. Cluster 1: 2 over 3.
        let x = Csr::from_dense(&array![[1., -3., 0.], [0., 0., 2.], [0., 1., 0.]]);
        let p = profiles(&x, &[0, 1, 0], 2);
        assert_eq!(p.mean, array![[0.5, -1., 0.], [0., 0., 2.]]);
        assert_eq!(p.n_cells, [2, 1]);
        assert!((p.score[0] - 5.0 / 6.0).abs() < 1e-15 && (p.score[1] - 2.0 / 3.0).abs() < 1e-15);
    }
}
