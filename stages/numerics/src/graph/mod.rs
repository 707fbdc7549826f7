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
