//! The map of the cells' expression, `X_umap`: what a reader compares the map of the copy number with.
//!
//! The genes whose log1p expression varies most -> PCA -> exact nearest neighbours -> UMAP, as for the copy number, with the
//! stage's own parameters. Expression is read in blocks of rows, twice: for the variances, and for the chosen genes.
//!
//! Deviation from scanpy's usual recipe: genes are chosen by their variance alone, without a trend over the mean, and
//! are not scaled to unit variance.

use ndarray::Array2;

use super::{ClusterParams, umap_options};
use clcc_data::anndata::Reader;
use clcc_data::error::StageResult;
use clcc_data::matrix::Csr;
use clcc_numerics::graph::{connectivities, nearest_neighbors, neighborhood_size, umap};
use clcc_numerics::linalg::{PcaOptions, pca};

/// Genes of the map (scanpy's default of highly variable ones).
const GENES: usize = 2_000;
/// Stored values that are read at once.
const BLOCK: usize = 8_000_000;
/// Number of genes (or cells, where they are fewer) up to which all eigenvectors are computed.
const EXACT_PCA_UP_TO: usize = 512;

/// Map of the `shape.0` cells of a store by `X`, log1p expression (`n_cells x n_genes`): `n_cells x 2`.
///
/// # Errors
/// What the reader reports, and [`clcc_data::StageError::Data`] where a value is not finite.
pub(super) fn expression_map(
    reader: &Reader,
    shape: (usize, usize),
    params: &ClusterParams,
    seed: u64,
) -> StageResult<Array2<f32>> {
    let rows = reader.rows("X", shape)?;
    let blocks = rows.blocks(BLOCK);
    let mut sums = vec![(0.0f64, 0.0f64); shape.1];
    for block in &blocks {
        let x = rows.read(block.clone())?;
        for (&gene, &v) in x.indices().iter().zip(x.data()) {
            let (sum, squares) = &mut sums[gene as usize];
            *sum += f64::from(v);
            *squares += f64::from(v) * f64::from(v);
        }
    }
    let chosen = most_variable(&sums, shape.0);
    let mut parts = Vec::with_capacity(blocks.len());
    for block in blocks {
        parts.push(rows.read(block)?.take_cols(&chosen));
    }
    let x = Csr::vstack(&parts.iter().collect::<Vec<_>>());
    map(&x, params, seed)
}

/// The genes with the largest variances, in their order; the first of equal ones.
fn most_variable(sums: &[(f64, f64)], n_cells: usize) -> Vec<usize> {
    let n = n_cells as f64;
    let variance = |&(sum, squares): &(f64, f64)| squares / n - (sum / n) * (sum / n);
    let variances: Vec<f64> = sums.iter().map(variance).collect();
    let mut order: Vec<usize> = (0..sums.len()).collect();
    order.sort_by(|&a, &b| variances[b].total_cmp(&variances[a]).then(a.cmp(&b)));
    order.truncate(GENES);
    order.sort_unstable();
    order
}

/// Map of the rows of `x` by their principal components.
fn map(x: &Csr, params: &ClusterParams, seed: u64) -> StageResult<Array2<f32>> {
    let options = PcaOptions {
        n_comps: params.n_comps,
        zero_center: true,
        exact_up_to: EXACT_PCA_UP_TO,
        seed,
    };
    let scores = pca(x, &options)?.scores;
    let k = neighborhood_size(x.n_rows(), params.n_neighbors);
    let graph = connectivities(&nearest_neighbors(&scores, k));
    umap(&graph, &scores, &umap_options(params, seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_data::anndata::AnnData;
    use clcc_data::frame::Frame;
    use clcc_data::matrix::Matrix;
    use clcc_numerics::rng::Rng;

    #[test]
    fn genes_are_chosen_by_variance() {
        // Of four cells: no variance; 3/16 (0, 0, 0, 1); 1/4 (0, 0, 1, 1).
        let sums = [(4.0, 4.0), (1.0, 1.0), (2.0, 2.0)];
        assert_eq!(most_variable(&sums, 4), [0, 1, 2]);
        let mut many = vec![(4.0, 4.0); GENES + 5];
        many[GENES + 2] = (1.0, 1.0);
        let chosen = most_variable(&many, 4);
        assert_eq!(chosen.len(), GENES);
        assert_eq!(chosen.last(), Some(&(GENES + 2)));
    }

    /// Two kinds of cells with programmes of their own lie apart, and the block size does not matter.
    #[test]
    fn kinds_of_cells_lie_apart() {
        const N: usize = 80;
        const GENES: usize = 60;
        let mut rng = Rng::new(3, "expression map", &[]);
        let dense = Array2::from_shape_fn((N, GENES), |(cell, gene)| {
            let programme = f64::from(u8::from((cell % 2 == 0) == (gene < 30)));
            (0.1 * rng.uniform() + programme) as f32
        });
        let name = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect();
        let data = AnnData {
            obs: Frame::new(name("cell", N)),
            var: Frame::new(name("gene", GENES)),
            x: Some(Matrix::Csr(Csr::from_dense(&dense))),
            ..AnnData::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("expr.zarr");
        data.write_zarr(&path).unwrap();
        let reader = Reader::open(&path).unwrap();
        let params = ClusterParams::default();
        let found = expression_map(&reader, (N, GENES), &params, 1).unwrap();
        assert_eq!(found, map(&Csr::from_dense(&dense), &params, 1).unwrap());
        let nearest_is_of_its_kind = |cell: usize| {
            let far = |other: &usize| {
                let d = &found.row(cell) - &found.row(*other);
                d.dot(&d)
            };
            let others = (0..N).filter(|o| *o != cell);
            let nearest = others.min_by(|a, b| far(a).total_cmp(&far(b))).unwrap();
            nearest % 2 == cell % 2
        };
        assert!((0..N).all(nearest_is_of_its_kind));
    }
}
