//! Parameters of `preprocess`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::qc::QcMetrics;
use clcc_data::genome::{Assembly, Duplicates};
use clcc_stage::params::{Checks, ParamProblem};

/// What the values of the matrix may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// Whole numbers: UMI or read counts.
    #[default]
    Integer,
    /// Any number from 0, for example expected counts of a read aligner.
    Any,
}

/// Which cells are Cancer and which are Normal: the others of `normal`, or the others of `cancer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancerVsNormal {
    /// The column of `obs` that decides.
    pub column: String,
    /// Cells with one of these values are Normal, all others Cancer. Exactly one of `normal` and
    /// `cancer` is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = []))]
    pub normal: Vec<String>,
    /// Cells with one of these values are Cancer, all others Normal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("default" = []))]
    pub cancer: Vec<String>,
}

impl Default for CancerVsNormal {
    fn default() -> Self {
        Self {
            column: "sample_origin".into(),
            normal: vec!["nLung".into(), "nLN".into()],
            cancer: Vec::new(),
        }
    }
}

clcc_stage::params! {
    /// Parameters of the stage `preprocess`.
    pub struct PreprocessParams {
        /// `integer` (default): any other value in the matrix is an error; `any`: numbers from 0.
        pub counts: Counts = Counts::default(),
        /// Which cells are Cancer and which Normal. Default `{column: sample_origin, normal: [nLung, nLN]}`
        /// (GSE131907); `{column: cell_type, cancer: [Epithelial]}` suits data without normal samples.
        /// Cells without a value are neither. null: there are no labels, and the clusters of cells whose expression
        /// varies least along the genome are Normal, the others Cancer (`normal_clusters.tsv` says which; as copyKAT).
        pub cancer_vs_normal: Option<CancerVsNormal> = Some(CancerVsNormal::default()),
        /// The genome of the gene positions, by name: `GRCh37` (`hg19`), `GRCh38` (`hg38`), `T2T-CHM13v2` (`hs1`),
        /// `GRCm38` (`mm10`), `GRCm39` (`mm39`); `other`: none of these. It gives chromosomes their arms. null
        /// (default): what the gene table declares, as the built-in one and the GTF and GFF3 of Ensembl do;
        /// where it declares none there are no arms, and a warning says so.
        pub genome: Option<Assembly> = None,
        /// Which place counts for a gene name that the gene table has several times: `first` (default) or
        /// `longest`.
        pub duplicates: Duplicates = Duplicates::default(),
        /// Genes without a position leave (default true). With false they stay behind all others, with no
        /// chromosome and start and end -1.
        pub require_position: bool = true,
        /// Chromosomes with fewer genes of this data set leave with their genes; 0 (default) keeps all
        /// (250 in the LUAD method).
        pub min_genes_per_chromosome: usize = 0,
        /// Cells with fewer counts leave; at least 0, default 0.
        #[schemars(range(min = 0))]
        pub min_counts: f64 = 0.0,
        /// Cells with fewer genes seen leave; default 0.
        pub min_genes: usize = 0,
        /// Cells with a higher percentage of mitochondrial counts leave; 0 to 100, null (default): none.
        #[schemars(range(min = 0, max = 100))]
        pub max_pct_mt: Option<f64> = None,
        /// Genes seen in fewer cells leave; default 0. It works per patient, so joined patients keep the
        /// genes that all of them have, and their copy-number windows differ: leave it at 0 for a cohort.
        pub min_cells: usize = 0,
        /// Each cell's counts are scaled to this sum; above 0, default 10000.
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub target_sum: f64 = 1e4,
        /// Thin the counts into two halves at random (default false): copy number, clusters, embeddings
        /// and classes are learnt on one, and `dosage` and `de` test on the other, so that no count is
        /// used twice. `de` then reports how many genes are found with and without. Needs
        /// `counts: integer`. Quality metrics are those of all counts.
        pub count_split: bool = false,
        /// Seed of the control genes of the cell-cycle scores, as scanpy's, and of `count_split`;
        /// default 0. It stands apart from the workflow's seed, so that a new seed does not recompute
        /// the data.
        pub random_state: u64 = 0,
    }
}

impl PreprocessParams {
    pub(super) fn check(&self) -> Vec<ParamProblem> {
        let mut checks = Checks::default();
        if let Some(rule) = &self.cancer_vs_normal {
            checks.require(
                rule.normal.is_empty() != rule.cancer.is_empty(),
                "cancer_vs_normal",
                || {
                    let found = if rule.normal.is_empty() {
                        "neither"
                    } else {
                        "both"
                    };
                    format!("expected exactly one of `normal` and `cancer`, found {found}")
                },
            );
        }
        checks.require(
            !self.count_split || self.counts == Counts::Integer,
            "count_split",
            || {
                "expected `counts: integer`, since only whole counts can be thinned, found `any`"
                    .into()
            },
        );
        checks.finish()
    }

    /// Whether the filters keep a cell. A cell without counts has no percentage and fails
    /// `max_pct_mt`.
    pub(super) fn keeps_cell(&self, metrics: &QcMetrics, cell: usize) -> bool {
        metrics.total_counts[cell] >= self.min_counts
            && metrics.n_genes_by_counts[cell] >= self.min_genes as i64
            && self
                .max_pct_mt
                .is_none_or(|max| metrics.pct_counts_mt[cell] <= max)
    }
}
