//! Per-gene copy-number values: the mean of the windows that contain a gene.

use super::layout::Layout;
use super::window::median_of;

/// Windows that contain each gene of the layout.
#[derive(Debug, Clone)]
pub(super) struct GeneValues {
    windows_of: Vec<std::ops::Range<usize>>,
}

impl GeneValues {
    pub(super) fn new(layout: &Layout) -> Self {
        let mut windows_of = vec![0..0; layout.genes.len()];
        for (w, window) in layout.windows.iter().enumerate() {
            for range in &mut windows_of[window.first_gene..=window.last_gene] {
                // Windows that contain a gene are consecutive.
                *range = if range.start == range.end {
                    w..w + 1
                } else {
                    range.start..w + 1
                };
            }
        }
        Self { windows_of }
    }

    /// Write a cell's values: the mean of its smoothed windows over each gene, minus the median of that
    /// over the genes in a window, set to 0 below `threshold`; NaN for a gene in no window.
    ///
    /// **Source**: infercnvpy 0.6.1 `calculate_gene_values`.
    pub(super) fn fill(&self, smoothed: &[f64], threshold: f64, out: &mut [f32]) {
        let mut sums = Vec::with_capacity(smoothed.len() + 1);
        sums.push(0.0);
        let mut total = 0.0;
        sums.extend(smoothed.iter().map(|v| {
            total += v;
            total
        }));
        let mean = |range: &std::ops::Range<usize>| {
            (sums[range.end] - sums[range.start]) / range.len() as f64
        };
        let covered: Vec<f64> = self
            .windows_of
            .iter()
            .filter(|r| !r.is_empty())
            .map(mean)
            .collect();
        let median = median_of(&covered, &mut Vec::new());
        let mut values = covered.iter().map(|v| v - median);
        for (range, out) in self.windows_of.iter().zip(out) {
            *out = if range.is_empty() {
                f32::NAN
            } else {
                let v = values.next().expect("a value for each covered gene");
                if v.abs() < threshold { 0.0 } else { v as f32 }
            };
        }
    }
}
