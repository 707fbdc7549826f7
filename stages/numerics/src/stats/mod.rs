//! Statistics that several stages share: ranks and the sparse Wilcoxon rank-sum test, normal and
//! Student tails that hold below 1e-300, multiple testing, quantiles, correlation, t tests,
//! effect sizes and the straight line.
//!
//! Everything is a pure function of its arguments. Sums run in the order of the input, so the
//! result is the same at any number of threads. The committed values of scipy, statsmodels and
//! scanpy that the tests compare with, and the script that made them, are in
//! `tests/reference/stats/`.

mod correlation;
mod describe;
mod effect;
mod hvg;
mod line;
mod moderate;
mod multiple;
mod normal;
mod rank;
mod student;
mod van_elteren;
mod wilcoxon;

#[cfg(test)]
mod reference_tests;

use crate::math;
pub use correlation::{Correlation, pearson, spearman};
pub use describe::{
    interquartile_mean, mean, median, median_deviation, quantile, quantile_sorted, variance,
};
pub use effect::{Association, auc, cohens_d, cramers_v, log2_fold_change};
pub use hvg::{highly_variable, most_variable};
pub use line::{Line, weighted_line};
pub use moderate::VariancePrior;
pub use multiple::{benjamini_hochberg, benjamini_hochberg_log10};
pub use normal::{normal_ln_sf, normal_sf, two_sided_normal};
pub use rank::average_ranks;
pub use student::{TTest, paired_t, t_quantile, two_sided_t, welch_t};
pub use van_elteren::{Strata, StratifiedRank, Used, van_elteren};
pub use wilcoxon::{Contrast, GeneTest, RankSumOptions, rank_sum, rank_sum_dense, sparse_wilcoxon};

/// A probability and its decimal logarithm, which holds where the probability itself underflows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PValue {
    /// The probability in [0, 1]; 0 where it is below the smallest f64, NaN where undefined.
    pub p: f64,
    /// Its decimal logarithm, 0 or less; NaN where undefined.
    pub log10: f64,
}

impl PValue {
    /// From the natural logarithm of a probability.
    pub fn from_ln(ln_p: f64) -> Self {
        let ln_p = ln_p.min(0.0);
        Self {
            p: math::exp(ln_p),
            log10: ln_p * std::f64::consts::LOG10_E,
        }
    }

    /// No test was possible.
    pub const UNDEFINED: Self = Self {
        p: f64::NAN,
        log10: f64::NAN,
    };
}
