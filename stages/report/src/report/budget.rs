//! Giving way: a page that would be larger than asked for leaves out what lies beside it anyway, in a fixed order.

use super::payload::LeftOut;
use super::views::Extent;

/// How much the page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    /// What the views hold.
    pub(crate) extent: Extent,
    /// Whether figures of single patients are on the page.
    pub(crate) single_figures: bool,
}

/// A step that makes the page smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Genes(usize),
    Rows(usize),
    Coarse,
    SingleFigures,
}

/// In this order, until the page fits.
const STEPS: [Step; 6] = [
    Step::Genes(200),
    Step::Genes(100),
    Step::Rows(200),
    Step::Rows(100),
    Step::Coarse,
    Step::SingleFigures,
];

impl Budget {
    /// All that the page is designed to hold.
    pub(crate) fn full(rows: usize) -> Self {
        Self {
            extent: Extent::full(rows),
            single_figures: true,
        }
    }

    /// This budget and the smaller ones, each with what was left out.
    pub(crate) fn descending(self) -> Vec<(Self, Vec<LeftOut>)> {
        let mut out = vec![(self, Vec::new())];
        let mut budget = self;
        let mut left_out: Vec<(std::mem::Discriminant<Step>, LeftOut)> = Vec::new();
        for step in STEPS {
            let Some(part) = budget.take(step) else {
                continue;
            };
            let kind = std::mem::discriminant(&step);
            left_out.retain(|(k, _)| *k != kind);
            left_out.push((kind, part));
            out.push((budget, left_out.iter().map(|l| l.1.clone()).collect()));
        }
        out
    }

    /// Takes a step; `None` where it changes nothing.
    fn take(&mut self, step: Step) -> Option<LeftOut> {
        let (what, file) = match step {
            Step::Genes(n) if self.extent.genes > n => {
                self.extent.genes = n;
                (
                    format!("counts in single cells of more than {n} genes"),
                    "the AnnData of export",
                )
            }
            Step::Rows(n) if self.extent.rows > n => {
                self.extent.rows = n;
                (
                    format!("more than {n} cells of a patient in the heatmap"),
                    "the AnnData of export",
                )
            }
            Step::Coarse if !self.extent.coarse => {
                self.extent.coarse = true;
                (
                    "numbers of cells to more than 254 steps".to_string(),
                    "the AnnData of export",
                )
            }
            Step::SingleFigures if self.single_figures => {
                self.single_figures = false;
                ("figures of single patients".to_string(), "figures/")
            }
            _ => return None,
        };
        Some(LeftOut {
            what,
            why: "the page would be too large".into(),
            file: file.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_gives_way_in_order() {
        let steps = Budget::full(400).descending();
        let seen: Vec<_> = steps
            .iter()
            .map(|(b, l)| {
                (
                    b.extent.genes,
                    b.extent.rows,
                    b.extent.coarse,
                    b.single_figures,
                    l.len(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                (400, 400, false, true, 0),
                (200, 400, false, true, 1),
                (100, 400, false, true, 1),
                (100, 200, false, true, 2),
                (100, 100, false, true, 2),
                (100, 100, true, true, 3),
                (100, 100, true, false, 4),
            ]
        );
        assert_eq!(
            steps[2].1[0].what,
            "counts in single cells of more than 100 genes"
        );
        // Rows that are fewer already are no step.
        assert_eq!(Budget::full(150).descending().len(), 6);
        assert_eq!(Budget::full(80).descending().len(), 5);
    }
}
