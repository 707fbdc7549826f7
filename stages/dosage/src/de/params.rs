//! Parameters of `de`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contrasts::Kind;
use super::set_aside::GeneFamily;
use clcc_numerics::stats::RankSumOptions;
use clcc_stage::params::{Checks, OnlyWith, ParamProblem, When};

/// Conventions of the rank-sum test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Convention {
    /// `scanpy.tl.rank_genes_groups(method="wilcoxon")`: neither tie nor continuity correction.
    #[default]
    Scanpy,
    /// `scipy.stats.mannwhitneyu(method="asymptotic")`: both.
    Scipy,
}

impl Convention {
    /// Name in the workflow file and the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scanpy => "scanpy",
            Self::Scipy => "scipy",
        }
    }
}

/// Cells over which cancer is compared with normal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancerNormal {
    /// All cells labelled `Cancer` (by sample, as a rule) against all normal cells, every gene.
    AllCells,
    /// The epithelial cells among them, without the genes of `set_aside`.
    Epithelial,
}

/// Cells over which cis effects are correlated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CisCells {
    /// The cancer cells that `concordance` classed.
    #[default]
    Classed,
    /// Every cell, cancer and normal together.
    All,
}

impl CisCells {
    /// Description of the cells in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Classed => "classed cancer cells",
            Self::All => "all cells, cancer and normal together",
        }
    }
}

clcc_stage::params! {
    /// Parameters of `de`.
    pub struct DeParams {
        /// False discovery rate (Benjamini-Hochberg) below which a gene counts; in (0, 1), default
        /// 0.05 (the paper).
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        pub fdr: f64 = 0.05,
        /// Absolute log2 fold changes that a gene must exceed; 0 or more, ascending. Default `[0.3, 0.5]`:
        /// the paper uses both.
        #[schemars(length(min = 1), inner(range(min = 0)))]
        pub log2fc: Vec<f64> = vec![0.3, 0.5],
        /// Conventions of the rank-sum test: `scanpy` (default, the paper; neither correction) or `scipy`
        /// (both corrections).
        pub convention: Convention = Convention::Scanpy,
        /// Correct the variance of the rank sum for ties, as scipy does and scanpy with `tie_correct=True`.
        /// `null` (default): as the convention. Without it the test is conservative where most values are
        /// zero.
        pub tie_correct: Option<bool> = None,
        /// Move the rank sum half a rank towards its mean, as scipy's `use_continuity`. `null`
        /// (default): as the convention.
        pub continuity: Option<bool> = None,
        /// Share of each patient's classed cells in the lowest and in the highest group of
        /// copy-number burden; in (0, 0.5], default 0.25 (quartiles).
        #[schemars(range(max = 0.5), extend("exclusiveMinimum" = 0))]
        pub burden_quantile: f64 = 0.25,
        /// Comparisons of cancer with normal cells, one or both of: `epithelial` (default; the paper of the
        /// copy-number anchors), epithelium with epithelium, without the genes of `set_aside`; `all_cells`
        /// (CLCC, section 7.2.1), all cells of tumour samples against all normal cells and every gene,
        /// which mostly reflects the cell types in the samples.
        pub cancer_vs_normal: Vec<CancerNormal> = vec![CancerNormal::Epithelial],
        /// Cells over which cis effects are correlated, per patient and pooled: `classed` (default), the
        /// cancer cells that have a class, so that a difference between tumour and normal sample does not
        /// count as a cis effect; `all` (CLCC, section 7.2.3), every cell of tumour and normal samples
        /// together.
        pub cis_cells: CisCells = CisCells::Classed,
        /// Gene families excluded from cancer against normal epithelium and listed separately
        /// (`set_aside.tsv`): any of `ribosomal`, `mitochondrial`, `immunoglobulin`. Default: all three.
        /// They reflect depth, damage and ambient RNA of plasma cells rather than tumour cells.
        pub set_aside: Vec<GeneFamily> = GeneFamily::ALL.to_vec(),
        /// Counts over all patients and both groups that a gene needs for the pseudobulk test; 1 or more,
        /// default 10 (edgeR's `filterByExpr` has `min.total.count` 15 and `min.count` 10).
        #[schemars(range(min = 1))]
        pub pseudobulk_min_count: f64 = 10.0,
        /// Patients in which a gene must be found to be recurrent; 2 or more, default 2.
        #[schemars(range(min = 2))]
        pub min_patients: usize = 2,
        /// Mean `X_cnv` beyond which a locus counts as gained or lost (natural-log expression ratio of the
        /// windows that contain the gene, which smoothing and denoising shrink); above 0, default 0.01:
        /// about one tenth of the windows of the paper's cluster profiles of P0006 are beyond it.
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub locus_threshold: f64 = 0.01,
    }
}

impl DeParams {
    /// Parameters that are read only under certain values of others.
    pub(super) const ONLY_WITH: &'static [OnlyWith] = &[OnlyWith {
        params: &["convention"],
        any: &[When::Null("tie_correct"), When::Null("continuity")],
    }];

    pub(super) fn rank_sum(&self) -> RankSumOptions {
        let named = match self.convention {
            Convention::Scanpy => RankSumOptions::SCANPY,
            Convention::Scipy => RankSumOptions::SCIPY,
        };
        RankSumOptions {
            tie_correct: self.tie_correct.unwrap_or(named.tie_correct),
            continuity: self.continuity.unwrap_or(named.continuity),
        }
    }

    /// Whether each gene, given by its symbol, is of a family of `set_aside`.
    pub(super) fn aside(&self, genes: &[String]) -> Vec<bool> {
        let is_aside = |g: &String| GeneFamily::of(g).is_some_and(|f| self.set_aside.contains(&f));
        genes.iter().map(is_aside).collect()
    }

    /// Comparisons to make, in the order of [`Kind::ALL`].
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| match kind {
            Kind::CancerNormal => self.cancer_vs_normal.contains(&CancerNormal::AllCells),
            Kind::Epithelium => self.cancer_vs_normal.contains(&CancerNormal::Epithelial),
            Kind::Discordance | Kind::Burden => true,
        };
        Kind::ALL.into_iter().filter(wanted).collect()
    }

    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut c = Checks::default();
        let rising = self.log2fc.windows(2).all(|w| w[0] < w[1]);
        c.require(rising, "log2fc", || {
            format!("expected rising values, found `{:?}`", self.log2fc)
        });
        let twice = (1..self.cancer_vs_normal.len())
            .any(|i| self.cancer_vs_normal[..i].contains(&self.cancer_vs_normal[i]));
        c.require(!twice, "cancer_vs_normal", || {
            "expected each of `all_cells` and `epithelial` once at most".into()
        });
        c.finish()
    }

    /// Name of the rank-sum test with its conventions: `wilcoxon (scanpy)`.
    pub(super) fn test_name(&self) -> String {
        let (is, named) = (self.rank_sum(), |o: RankSumOptions| {
            (o.tie_correct, o.continuity)
        });
        if named(is) == named(RankSumOptions::SCANPY) {
            "wilcoxon (scanpy)".into()
        } else if named(is) == named(RankSumOptions::SCIPY) {
            "wilcoxon (scipy)".into()
        } else if is.tie_correct {
            "wilcoxon (scanpy, tie_correct)".into()
        } else {
            "wilcoxon (continuity only)".into()
        }
    }

    /// Description of the rank-sum test, for the head of each table.
    pub(super) fn test_note(&self) -> String {
        let is = self.rank_sum();
        let word = |on: bool| if on { "with" } else { "without" };
        format!(
            "test: {}: Wilcoxon rank-sum, normal approximation, {} tie correction, {} continuity correction, two-sided; pvals_adj: Benjamini-Hochberg over all genes of the table; log10_pvals and log10_pvals_adj hold where pvals underflows",
            self.test_name(),
            word(is.tie_correct),
            word(is.continuity)
        )
    }
}
