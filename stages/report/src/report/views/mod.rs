//! What the page's views are drawn from: each view fills one chunk of packed data.

pub(crate) mod cells;
pub(crate) mod contrasts;
pub(crate) mod enrichment;
pub(crate) mod genes;
pub(crate) mod genome;
pub(crate) mod maps;

/// How much the chunks hold; a page that grows too large gives way in the order of [`super::budget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Genes whose counts are packed for every cell.
    pub(crate) genes: usize,
    /// Rows of the heatmap for each patient.
    pub(crate) rows: usize,
    /// Whether numbers of cells have 254 steps instead of 65,534.
    pub(crate) coarse: bool,
}

impl Extent {
    /// All that the page is designed to hold; `rows`: rows of the heatmap for each patient.
    pub(crate) fn full(rows: usize) -> Self {
        Self {
            genes: 400,
            rows,
            coarse: false,
        }
    }
}
