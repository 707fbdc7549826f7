//! Parameters of the stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::params::{Checks, ParamProblem};
use crate::stats::RankSumOptions;

/// Parameters of `de`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeParams {
    /// False discovery rate (Benjamini-Hochberg) below which a gene counts; in (0, 1), default
    /// 0.05 (the paper).
    pub fdr: f64,
    /// Sizes of log2 fold change that a gene must exceed; 0 or more, rising. Default
    /// `[0.3, 0.5]`: the paper uses both.
    pub log2fc: Vec<f64>,
    /// Shrink the variance of the rank sum by its ties, as scipy does. Default `false`, as
    /// scanpy's `tie_correct`: with mostly zeros this makes the test conservative.
    pub tie_correct: bool,
    /// Move the rank sum half a rank towards its mean, as scipy's `use_continuity`. Default
    /// `false`, as scanpy.
    pub continuity: bool,
    /// Share of each patient's classed cells in the lowest and in the highest group of
    /// copy-number burden; in (0, 0.5], default 0.25 (quartiles).
    pub burden_quantile: f64,
    /// Patients in which a gene must be found to be recurrent; 2 or more, default 2.
    pub min_patients: usize,
    /// Mean `X_cnv` beyond which a locus counts as gained or lost (natural-log expression ratio
    /// of the windows over the gene, which smoothing and denoising shrink); above 0, default 0.01:
    /// about one tenth of the windows of the paper's cluster profiles of P0006 lie beyond it.
    pub locus_threshold: f64,
}

impl Default for DeParams {
    fn default() -> Self {
        Self {
            fdr: 0.05,
            log2fc: vec![0.3, 0.5],
            tie_correct: false,
            continuity: false,
            burden_quantile: 0.25,
            min_patients: 2,
            locus_threshold: 0.01,
        }
    }
}

impl DeParams {
    pub(super) fn rank_sum(&self) -> RankSumOptions {
        RankSumOptions {
            tie_correct: self.tie_correct,
            continuity: self.continuity,
        }
    }

    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut c = Checks::default();
        c.require(self.fdr > 0.0 && self.fdr < 1.0, "fdr", || {
            format!("expected a value in (0, 1), found `{}`", self.fdr)
        });
        let rising = self.log2fc.windows(2).all(|w| w[0] < w[1])
            && self.log2fc.iter().all(|v| *v >= 0.0 && v.is_finite());
        c.require(rising && !self.log2fc.is_empty(), "log2fc", || {
            format!(
                "expected one or more rising values of at least 0, found `{:?}`",
                self.log2fc
            )
        });
        c.require(
            self.burden_quantile > 0.0 && self.burden_quantile <= 0.5,
            "burden_quantile",
            || {
                format!(
                    "expected a value in (0, 0.5], found `{}`",
                    self.burden_quantile
                )
            },
        );
        c.at_least("min_patients", self.min_patients, 2);
        c.require(self.locus_threshold > 0.0, "locus_threshold", || {
            format!("expected a value above 0, found `{}`", self.locus_threshold)
        });
        c.finish()
    }

    /// The words of the test, for the head of each table.
    pub(super) fn test_note(&self) -> String {
        format!(
            "test: Wilcoxon rank-sum, normal approximation, {} tie correction, {} continuity correction, two-sided; pvals_adj: Benjamini-Hochberg over all genes of the table; log10_pvals holds where pvals underflows",
            if self.tie_correct { "with" } else { "without" },
            if self.continuity { "with" } else { "without" }
        )
    }
}
