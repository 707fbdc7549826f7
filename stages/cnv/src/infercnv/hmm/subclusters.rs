//! Subclusters of the cells of each group, over whose means the states are called.

use ndarray::Array2;
use rayon::prelude::*;

use super::params::{AnalysisMode, HmmParams, LeidenMethod};
use clcc_data::error::StageResult;
use clcc_data::matrix::Csr;
use clcc_numerics::graph::{LeidenOptions, Objective, leiden, nearest_neighbors};
use clcc_numerics::linalg::{PcaOptions, pca};
use clcc_numerics::math;

/// Number of principal components for the shared-neighbour graph.
const COMPONENTS: usize = 10;
/// Shared-neighbour weight below which an edge is dropped.
const PRUNE: f64 = 1.0 / 15.0;

/// A subcluster and its cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Subcluster {
    /// Name: `<group>_s1`, `_s2`, ... by descending size.
    pub name: String,
    /// Rows of its cells.
    pub cells: Vec<usize>,
    /// Whether its group is a reference group.
    pub reference: bool,
}

/// Resolution of Leiden for `n` cells, as R inferCNV sets it.
pub fn auto_resolution(n: usize) -> f64 {
    math::pow(11.98 / n as f64, 1.0 / 1.165)
}

/// Split one group into subclusters. `features` gives the values of a cell on the genes that define
/// subclusters.
///
/// **Source**: R inferCNV 1.23 `define_signif_tumor_subclusters` with Leiden. **Deviations** of `pca`:
/// R chooses 2,000 genes by variance with Seurat, scales them and uses approximate neighbours; here
/// every `step`-th smoothed gene is used unscaled (neighbouring genes share nine tenths of their
/// windows), and neighbours are exact. R's own labels vary from seed to seed, so they are not
/// reproduced; `simple` is the graph that R builds without Seurat.
///
/// # Errors
/// Where the principal components cannot be found.
pub fn split(
    group: &str,
    reference: bool,
    cells: &[usize],
    params: &HmmParams,
    features: &(dyn Fn(&[usize]) -> Array2<f32> + Sync),
) -> StageResult<Vec<Subcluster>> {
    let n = cells.len();
    let whole = || Subcluster {
        name: format!("{group}_s1"),
        cells: cells.to_vec(),
        reference,
    };
    if n == 0 {
        return Ok(Vec::new());
    }
    if params.analysis_mode == AnalysisMode::Samples || n < 3 || params.k_nn >= n {
        return Ok(vec![whole()]);
    }
    let x = features(cells);
    if x.ncols() < 2 {
        return Ok(vec![whole()]);
    }
    let graph = match params.leiden_method {
        LeidenMethod::Pca => {
            let options = PcaOptions {
                n_comps: COMPONENTS,
                zero_center: true,
                exact_up_to: 512,
                seed: params.random_state,
            };
            let scores = pca(&Csr::from_dense(&x), &options)?.scores;
            shared_neighbors(&nearest_neighbors(&scores, params.k_nn).indices)
        }
        LeidenMethod::Simple => {
            either_way(&nearest_neighbors(&x.mapv(f64::from), params.k_nn).indices)
        }
    };
    let options = LeidenOptions {
        resolution: params
            .leiden_resolution
            .unwrap_or_else(|| auto_resolution(n)),
        n_iterations: Some(2),
        theta: 0.01,
        seed: params.random_state,
        objective: Objective::Cpm,
    };
    let found = leiden(&graph, &options);
    Ok((0..found.n_clusters)
        .map(|c| Subcluster {
            name: format!("{group}_s{}", c + 1),
            cells: (0..n)
                .filter(|&i| found.membership[i] as usize == c)
                .map(|i| cells[i])
                .collect(),
            reference,
        })
        .collect())
}

/// Jaccard index of the neighbourhoods (the cell itself included) of each pair of cells that share one.
fn shared_neighbors(neighbors: &Array2<u32>) -> Csr {
    let (n, k) = neighbors.dim();
    let own: Vec<Vec<u32>> = neighbors
        .rows()
        .into_iter()
        .map(|r| {
            let mut row = r.to_vec();
            row.sort_unstable();
            row
        })
        .collect();
    let mut holders: Vec<Vec<u32>> = vec![Vec::new(); n];
    for (i, row) in own.iter().enumerate() {
        row.iter().for_each(|&j| holders[j as usize].push(i as u32));
    }
    let rows: Vec<Vec<(u32, f32)>> = (0..n)
        .into_par_iter()
        .map(|i| {
            let mut seen: Vec<u32> = own[i]
                .iter()
                .flat_map(|&j| holders[j as usize].iter().copied())
                .collect();
            seen.sort_unstable();
            let pairs = seen
                .chunk_by(|a, b| a == b)
                .filter(|run| run[0] as usize != i);
            pairs
                .map(|run| (run[0], run.len() as f64 / (2 * k - run.len()) as f64))
                .filter(|(_, w)| *w >= PRUNE)
                .map(|(j, w)| (j, w as f32))
                .collect()
        })
        .collect();
    Csr::from_rows(n, rows)
}

/// Edges of weight 1 between cells of which one is among the other's neighbours.
fn either_way(neighbors: &Array2<u32>) -> Csr {
    let n = neighbors.nrows();
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); n];
    for (i, row) in neighbors.rows().into_iter().enumerate() {
        for &j in row.iter().filter(|&&j| j as usize != i) {
            rows[i].push(j);
            rows[j as usize].push(i as u32);
        }
    }
    Csr::from_rows(
        n,
        rows.into_iter().map(|mut r| {
            r.sort_unstable();
            r.dedup();
            r.into_iter().map(|j| (j, 1.0)).collect::<Vec<_>>()
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn shared_neighbourhoods_by_hand() {
        // 0 and 1 hold {0, 1, 2} both: 3 of 3. 2 holds {2, 1, 3}: shares 1 and 2 with 0: 2 / (6 - 2).
        let w = shared_neighbors(&array![[0, 1, 2], [1, 0, 2], [2, 1, 3], [3, 2, 1]]);
        assert_eq!((w.get(0, 1), w.get(0, 2)), (1.0, 0.5));
        assert_eq!(w, w.transpose());
        assert_eq!(w.get(0, 0), 0.0);
        let e = either_way(&array![[0, 1], [1, 0], [2, 1]]);
        assert_eq!((e.get(1, 2), e.get(2, 1), e.get(0, 2)), (1.0, 1.0, 0.0));
    }

    #[test]
    fn the_resolution_is_that_of_r() {
        // (11.98 / 1000)^(1 / 1.165), by hand with logs: exp(ln(0.01198) / 1.165) = exp(-3.79834).
        assert!(
            (auto_resolution(1000) - 0.02241).abs() < 2e-4,
            "{}",
            auto_resolution(1000)
        );
    }

    #[test]
    fn two_separate_groups_of_cells_are_two_subclusters() {
        let value = |c: usize, g: usize| {
            ((c * 7 + g * 13) % 17) as f32 * 0.01 + if c < 30 { 0.0 } else { 1.0 }
        };
        let x = Array2::from_shape_fn((60, 12), |(c, g)| value(c, g));
        let cells: Vec<usize> = (0..60).collect();
        for leiden_method in [LeidenMethod::Pca, LeidenMethod::Simple] {
            let params = HmmParams {
                leiden_method,
                k_nn: 10,
                leiden_resolution: Some(0.05),
                ..HmmParams::default()
            };
            let found = split("g", false, &cells, &params, &|_| x.clone()).unwrap();
            assert!(
                found
                    .iter()
                    .all(|s| s.cells.iter().all(|c| (*c < 30) == (s.cells[0] < 30))),
                "{found:?}"
            );
            assert!(found.len() >= 2 && found[0].name == "g_s1");
        }
        let params = HmmParams {
            analysis_mode: AnalysisMode::Samples,
            ..HmmParams::default()
        };
        assert_eq!(
            split("g", true, &cells, &params, &|_| x.clone())
                .unwrap()
                .len(),
            1
        );
    }
}
