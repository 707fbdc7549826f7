//! Figures: data in, drawing out. Nothing here opens a file.

pub(crate) mod bars;
pub(crate) mod chart;
pub(crate) mod distribution;
pub(crate) mod grid;
pub(crate) mod heatmap;
pub(crate) mod lines;
pub(crate) mod palette;
pub(crate) mod raster;
pub(crate) mod svg;
pub(crate) mod umap;
pub(crate) mod volcano;
