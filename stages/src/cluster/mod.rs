//! cluster
#![allow(dead_code)]

mod connectivities;
mod leiden;
mod neighbors;
mod params;
mod umap;

pub use connectivities::connectivities;
pub use leiden::{LeidenOptions, Partition, leiden};
pub use neighbors::{Neighbors, nearest_neighbors, neighborhood_size};
pub use params::{ClusterParams, Metric};
pub use umap::{UmapOptions, umap};
