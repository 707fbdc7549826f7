//! Graphs of cells: exact nearest neighbours, UMAP's connectivities and layout, Leiden.

mod connectivities;
mod leiden;
mod neighbors;
mod umap;

pub use connectivities::connectivities;
pub use leiden::{LeidenOptions, Objective, Partition, leiden};
pub use neighbors::{Neighbors, nearest_neighbors, neighborhood_size};
pub use umap::{Curve, UmapOptions, connected_parts, fit_curve, umap, umap_3d};
