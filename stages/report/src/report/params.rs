//! Parameters of the report.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_stage::params::{Checks, ParamProblem};

/// What the page shows, and how much of it. Nothing here changes a result: the full tables lie
/// beside the page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Params {
    /// Headline of the page. Default `From copy number to dosage escape`.
    #[schemars(length(min = 1))]
    pub title: String,
    /// Rows of a table that are embedded in the page, 10 to 100,000; a longer table is cut (by
    /// p-value where it has one) and says so. Default 400: ten patients stay well under 15 MB.
    #[schemars(range(min = 10, max = 100_000))]
    pub table_rows: usize,
    /// Cells of a patient in its copy-number heatmap, 20 to 5,000, taken evenly from every
    /// cluster in proportion to its size. Default 400, about one row of pixels each.
    #[schemars(range(min = 20, max = 5000))]
    pub heatmap_cells: usize,
    /// Genes named in a volcano plot, 0 to 100, those with the smallest p-values. Default 12.
    #[schemars(range(min = 0, max = 100))]
    pub label_genes: usize,
    /// False discovery rate of the guide line and of the counts in the text, in (0, 1].
    /// Default 0.05, as the paper.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub fdr: f64,
    /// Absolute log2 fold change of the guide lines and of the counts in the text, 0 to 10.
    /// Default 0.5, the stricter of the paper's two.
    #[schemars(range(min = 0, max = 10))]
    pub log2fc: f64,
    /// Size of the page in millions of bytes, 1 to 500, beyond which it leaves out what lies beside it: counts of
    /// genes in single cells, rows of the heatmap, digits of the cells' numbers, figures of single patients. Default 15.
    #[schemars(range(min = 1, max = 500))]
    pub max_megabytes: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            title: "From copy number to dosage escape".to_string(),
            table_rows: 400,
            heatmap_cells: 400,
            label_genes: 12,
            fdr: 0.05,
            log2fc: 0.5,
            max_megabytes: 15.0,
        }
    }
}

impl Params {
    /// Values out of range.
    pub(super) fn check(&self) -> Vec<ParamProblem> {
        let mut checks = Checks::default();
        checks.require(!self.title.trim().is_empty(), "title", || {
            "expected a text, found an empty one".to_string()
        });
        checks.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use clcc_stage::params::problems;

    #[test]
    fn values_out_of_range_are_named() {
        assert!(problems::<Report>(&Params::default()).is_empty());
        let bad = Params {
            title: " ".into(),
            table_rows: 1,
            heatmap_cells: 0,
            label_genes: 101,
            fdr: f64::NAN,
            log2fc: -1.0,
            max_megabytes: 0.5,
        };
        let paths: Vec<String> = problems::<Report>(&bad)
            .into_iter()
            .map(|p| p.path)
            .collect();
        assert_eq!(
            paths,
            [
                "table_rows",
                "heatmap_cells",
                "label_genes",
                "fdr",
                "log2fc",
                "max_megabytes",
                "title"
            ]
        );
    }
}
