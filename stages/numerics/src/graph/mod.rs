//! Graphs of cells: exact nearest neighbours, UMAP's connectivities and layout, Leiden.
//!
//! ```
//! use clcc_numerics::graph::{
//!     LeidenOptions, Objective, UmapOptions, connectivities, leiden, nearest_neighbors, umap,
//! };
//! use ndarray::Array2;
//!
//! // Two groups of ten cells, far from each other.
//! let coords = Array2::from_shape_fn((20, 2), |(cell, axis)| {
//!     if axis == 0 { (cell / 10 * 100) as f64 } else { (cell * 7 % 10) as f64 }
//! });
//! let graph = connectivities(&nearest_neighbors(&coords, 5));
//! let options = LeidenOptions {
//!     resolution: 0.3,
//!     n_iterations: None,
//!     theta: 0.01,
//!     seed: 0,
//!     objective: Objective::RbConfiguration,
//! };
//! let clusters = leiden(&graph, &options);
//! assert_eq!(clusters.n_clusters, 2);
//! assert!(clusters.membership[..10].iter().all(|&c| c == clusters.membership[0]));
//!
//! let options = UmapOptions {
//!     min_dist: 0.5,
//!     spread: 1.0,
//!     n_epochs: Some(50),
//!     negative_sample_rate: 5,
//!     seed: 0,
//! };
//! let layout = umap(&graph, &coords, &options).expect("finite coordinates");
//! assert_eq!(layout.dim(), (20, 2));
//! ```

mod connectivities;
mod leiden;
mod neighbors;
mod umap;

pub use connectivities::connectivities;
pub use leiden::{LeidenOptions, Objective, Partition, leiden};
pub use neighbors::{Neighbors, nearest_neighbors, neighborhood_size};
pub use umap::{Curve, UmapOptions, connected_parts, fit_curve, umap, umap_3d};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{PcaOptions, pca};
    use clcc_testing::random_csr;

    /// Components, neighbours, weights, clusters and layout of one small data set, as a digest that holds on every
    /// processor (`scripts/portable-bits.sh` asks emulated ones).
    #[test]
    fn a_graph_has_these_bits_everywhere() {
        let x = random_csr(90, 40, 0.4, 11);
        let options = PcaOptions {
            n_comps: 8,
            zero_center: true,
            exact_up_to: 512,
            seed: 1,
        };
        let scores = pca(&x, &options).unwrap().scores;
        let neighbors = nearest_neighbors(&scores, 12);
        let weights = connectivities(&neighbors);
        let clusters = leiden(
            &weights,
            &LeidenOptions {
                resolution: 1.0,
                n_iterations: None,
                theta: 0.01,
                seed: 2,
                objective: Objective::RbConfiguration,
            },
        );
        let layout = umap(
            &weights,
            &scores,
            &UmapOptions {
                min_dist: 0.5,
                spread: 1.0,
                n_epochs: Some(50),
                negative_sample_rate: 5,
                seed: 3,
            },
        )
        .unwrap();
        let mut hash = blake3::Hasher::new();
        for v in scores.iter().chain(&neighbors.distances) {
            hash.update(&v.to_bits().to_le_bytes());
        }
        for v in weights.data().iter().chain(&layout) {
            hash.update(&v.to_bits().to_le_bytes());
        }
        for v in neighbors.indices.iter().chain(&clusters.membership) {
            hash.update(&v.to_le_bytes());
        }
        assert_eq!(
            hash.finalize().to_hex().as_str(),
            "a5deabe27cb66c31ea6664eb1fb14d7861da2d1bf123963e59a24b86ebd07c8f"
        );
    }
}
