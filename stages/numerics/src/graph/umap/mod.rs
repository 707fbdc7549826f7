//! UMAP layout of the neighbour graph (McInnes, Healy and Melville 2018), in the plane or in space.
//!
//! Same objective, schedule and defaults as umap-learn under scanpy: attraction along edges drawn
//! in proportion to their weight, `negative_sample_rate` random cells pushed away per draw, step
//! from 1 linearly to 0, gradients clipped at 4, edges below `max / n_epochs` dropped, spectral
//! start.
//!
//! Deviation, for the same bits at any number of threads: umap-learn moves both ends of an edge as it
//! walks the list of edges. Here each cell gathers all its moves of an epoch (as head and as tail of
//! its edges, which the symmetric graph lists both ways) while the cells of other batches do not move;
//! cells of one batch move at once, and the batches (a fixed random division of the cells) take turns.
//! The forces of one drawn edge (attraction and its random cells) act together. Coordinates differ from
//! umap-learn's as they do between two of its seeds; the tests compare trustworthiness.

mod curve;
mod layout;
mod spectral;

pub use curve::{Curve, fit_curve};
pub use spectral::connected_parts;

use ndarray::Array2;

use clcc_data::error::StageResult;
use clcc_data::matrix::Csr;

/// Options of [`umap`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UmapOptions {
    /// Distance below which neighbours are not pulled closer.
    pub min_dist: f64,
    /// Scale of distances.
    pub spread: f64,
    /// Epochs; `None`: 500 up to 10,000 cells, 200 above.
    pub n_epochs: Option<usize>,
    /// Random cells pushed away per draw of an edge.
    pub negative_sample_rate: usize,
    /// Seed of the start and of the draws.
    pub seed: u64,
}

/// Coordinates in the plane, `n x 2`, finite.
///
/// `w`: connectivities (`n x n`, symmetric). `coords`: any coordinates of the cells (`n x d`); they
/// place the connected parts of `w` relative to one another where there are several.
///
/// # Errors
/// [`clcc_data::StageError::Data`] where `w` or `coords` hold values that are not finite.
pub fn umap(w: &Csr, coords: &Array2<f64>, options: &UmapOptions) -> StageResult<Array2<f32>> {
    layout_in::<2>(w, coords, options)
}

/// Coordinates in space, `n x 3`, otherwise as [`umap`].
///
/// # Errors
/// As [`umap`].
pub fn umap_3d(w: &Csr, coords: &Array2<f64>, options: &UmapOptions) -> StageResult<Array2<f32>> {
    layout_in::<3>(w, coords, options)
}

fn layout_in<const D: usize>(
    w: &Csr,
    coords: &Array2<f64>,
    options: &UmapOptions,
) -> StageResult<Array2<f32>> {
    let n = w.n_rows();
    let n_epochs = options
        .n_epochs
        .unwrap_or(if n <= 10_000 { 500 } else { 200 });
    let start = spectral::start::<D>(w, coords, options.seed)?;
    let curve = fit_curve(options.spread, options.min_dist);
    let plan = layout::Plan {
        curve,
        n_epochs,
        negative_sample_rate: options.negative_sample_rate,
        seed: options.seed,
    };
    let points = layout::optimize(w, start, &plan);
    Ok(Array2::from_shape_fn((n, D), |(i, axis)| points[i][axis]))
}

#[cfg(test)]
mod tests;
