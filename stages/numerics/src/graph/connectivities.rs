//! UMAP's fuzzy neighbour graph.

use rayon::prelude::*;

use super::neighbors::Neighbors;
use crate::math;
use clcc_data::matrix::Csr;

const BISECTIONS: usize = 64;
const TOLERANCE: f64 = 1e-5;
const MIN_SCALE: f64 = 1e-3;

/// Connectivities of the neighbour graph as `scanpy.pp.neighbors(method="umap")` makes them:
/// `n x n`, symmetric, values in (0, 1], no diagonal.
///
/// For each cell, rho is the distance to its nearest cell that is not a copy of it, and sigma
/// solves `sum_j exp(-max(0, d_j - rho) / sigma) = log2(k)` over its `k - 1` neighbours, by at most
/// 64 bisections to 1e-5, with a floor of 1e-3 of the mean distance. With `P_ij` that summand,
/// `W = P + Pᵀ - P ∘ Pᵀ` (McInnes et al. 2018; umap-learn's `smooth_knn_dist`,
/// `compute_membership_strengths` and `fuzzy_simplicial_set`, whose f32 steps are followed).
///
/// Copies of a cell are connected to it with weight 1. One cell alone has no edges.
pub fn connectivities(neighbors: &Neighbors) -> Csr {
    let (n, k) = neighbors.indices.dim();
    let distances: Vec<Vec<f32>> = neighbors
        .distances
        .rows()
        .into_iter()
        .map(|r| r.iter().map(|&d| d as f32).collect())
        .collect();
    let mean_of =
        |row: &[f32]| row.iter().map(|&d| f64::from(d)).sum::<f64>() / row.len().max(1) as f64;
    let mean = distances.iter().map(|r| mean_of(r)).sum::<f64>() / n.max(1) as f64;
    let rows: Vec<Vec<(u32, f32)>> = (0..n)
        .into_par_iter()
        .map(|i| {
            let row = &distances[i];
            let rho = row.iter().copied().find(|&d| d > 0.0).unwrap_or(0.0);
            let floor = MIN_SCALE * if rho > 0.0 { mean_of(row) } else { mean };
            let sigma = bandwidth(&row[1..], rho, math::log2(k as f64)).max(floor as f32);
            let mut strengths: Vec<(u32, f32)> = (1..k)
                .map(|s| {
                    let beyond = row[s] - rho;
                    let strength = if beyond <= 0.0 || sigma == 0.0 {
                        1.0
                    } else {
                        math::exp(-(beyond / sigma))
                    };
                    (neighbors.indices[[i, s]], strength)
                })
                .filter(|e| e.1 > 0.0)
                .collect();
            strengths.sort_unstable_by_key(|e| e.0);
            strengths
        })
        .collect();
    fuzzy_union(&Csr::from_rows(n, rows))
}

/// sigma of one cell from the distances to its other neighbours.
fn bandwidth(distances: &[f32], rho: f32, target: f64) -> f32 {
    let (mut low, mut high, mut middle) = (0.0f64, f64::from(f32::MAX), 1.0f64);
    for _ in 0..BISECTIONS {
        let sum: f64 = distances
            .iter()
            .map(|&d| {
                let beyond = f64::from(d - rho);
                if beyond > 0.0 {
                    math::exp(-(beyond / middle))
                } else {
                    1.0
                }
            })
            .sum();
        if (sum - target).abs() < TOLERANCE {
            break;
        }
        if sum > target {
            high = middle;
            middle = f64::midpoint(low, high);
        } else {
            low = middle;
            middle = if high >= f64::from(f32::MAX) {
                middle * 2.0
            } else {
                f64::midpoint(low, high)
            };
        }
    }
    middle as f32
}

/// `P + Pᵀ - P ∘ Pᵀ`.
fn fuzzy_union(p: &Csr) -> Csr {
    let t = p.transpose();
    let rows: Vec<Vec<(u32, f32)>> = (0..p.n_rows())
        .into_par_iter()
        .map(|r| {
            let ((pc, pv), (tc, tv)) = (p.row(r), t.row(r));
            let mut out = Vec::with_capacity(pc.len() + tc.len());
            let (mut a, mut b) = (0, 0);
            while a < pc.len() || b < tc.len() {
                let column = pc
                    .get(a)
                    .copied()
                    .unwrap_or(u32::MAX)
                    .min(tc.get(b).copied().unwrap_or(u32::MAX));
                let take = |columns: &[u32], values: &[f32], at: &mut usize| {
                    if columns.get(*at) == Some(&column) {
                        *at += 1;
                        values[*at - 1]
                    } else {
                        0.0
                    }
                };
                let (x, y) = (take(pc, pv, &mut a), take(tc, tv, &mut b));
                out.push((column, x + y - x * y));
            }
            out
        })
        .collect();
    Csr::from_rows(p.n_cols(), rows)
}

#[cfg(test)]
mod tests {
    use super::super::neighbors::nearest_neighbors;
    use super::*;
    use clcc_testing::{at_threads, random};
    use ndarray::Array2;

    /// Values and script: tests/reference/cluster.
    #[test]
    fn weights_are_those_of_scanpy() {
        let points = include_str!("../../../../tests/reference/cluster/points.tsv");
        let rows: Vec<Vec<f64>> = points
            .lines()
            .take(60)
            .map(|l| l.split('\t').map(|v| v.parse().unwrap()).collect())
            .collect();
        let x = Array2::from_shape_fn((60, 10), |(i, j)| rows[i][j]);
        let w = connectivities(&nearest_neighbors(&x, 10));
        let reference = include_str!("../../../../tests/reference/cluster/connectivities.tsv");
        for line in reference.lines() {
            let f: Vec<f64> = line.split('\t').map(|v| v.parse().unwrap()).collect();
            let ours = f64::from(w.get(f[0] as usize, f[1] as usize));
            assert!((ours - f[2]).abs() < 1e-5, "{line}: {ours}");
        }
        assert_eq!(w.nnz(), reference.lines().count());
    }

    /// Components of a demo patient as they are exported: distances of .5 with bandwidths of .005 ask more of
    /// both programs than clouds of points do. Values and script: tests/reference/cluster/make_demo.py.
    #[test]
    fn weights_of_a_demo_patient_are_those_of_scanpy_on_the_exported_components() {
        let text = include_str!("../../../../tests/reference/cluster/demo_components.tsv");
        let rows: Vec<Vec<f64>> = text
            .lines()
            .map(|l| l.split('\t').map(|v| v.parse().unwrap()).collect())
            .collect();
        let exact = Array2::from_shape_fn((150, 20), |(i, j)| rows[i][j]);
        let w = connectivities(&nearest_neighbors(&exact, 15));
        let reference = include_str!("../../../../tests/reference/cluster/demo_connectivities.tsv");
        let furthest = |w: &Csr| {
            let lines = reference.lines();
            lines.fold(0.0f64, |most, line| {
                let f: Vec<f64> = line.split('\t').map(|v| v.parse().unwrap()).collect();
                let ours = f64::from(w.get(f[0] as usize, f[1] as usize));
                most.max((ours - f[2]).abs())
            })
        };
        assert!(furthest(&w) < 1.1e-5, "{}", furthest(&w));
        assert_eq!(w.nnz(), 2 * reference.lines().count());
        // Components of five decimals are another graph: what differs by 1e-3 is the components.
        let rounded = exact.mapv(|v| (v * 1e5).round() / 1e5);
        let w = connectivities(&nearest_neighbors(&rounded, 15));
        assert!(furthest(&w) > 1e-4, "{}", furthest(&w));
    }

    #[test]
    fn graph_is_symmetric_with_weights_up_to_one_and_no_diagonal() {
        let w = connectivities(&nearest_neighbors(&random(200, 5, 1), 15));
        assert_eq!(w, w.transpose());
        assert!(w.data().iter().all(|&v| v > 0.0 && v <= 1.0));
        assert!((0..200).all(|i| w.get(i, i) == 0.0));
    }

    /// Before the union, each cell's memberships sum to log2(k) within the tolerance.
    #[test]
    fn bandwidth_solves_its_equation() {
        let d = [1.0f32, 1.5, 2.0, 3.5, 7.0];
        let sigma = f64::from(bandwidth(&d, 1.0, 6f64.log2()));
        let sum: f64 = d
            .iter()
            .map(|&d| (-(f64::from(d) - 1.0) / sigma).exp())
            .sum();
        assert!((sum - 6f64.log2()).abs() < 2e-5, "{sum}");
    }

    #[test]
    fn copies_and_tiny_data_have_weight_one_and_no_nan() {
        let same = connectivities(&nearest_neighbors(&Array2::zeros((6, 2)), 4));
        assert!(same.nnz() > 0 && same.data().iter().all(|&v| v == 1.0));
        let pair = connectivities(&nearest_neighbors(&random(2, 2, 1), 2));
        assert_eq!((pair.get(0, 1), pair.get(1, 0)), (1.0, 1.0));
        assert_eq!(
            connectivities(&nearest_neighbors(&random(1, 2, 1), 1)).nnz(),
            0
        );
    }

    #[test]
    fn bits_do_not_depend_on_the_number_of_threads() {
        let knn = nearest_neighbors(&random(300, 6, 2), 15);
        let one = at_threads(1, || connectivities(&knn));
        assert!(at_threads(2, || connectivities(&knn)) == one);
    }
}
