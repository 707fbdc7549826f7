//! Parameters of `infercnv`, under infercnvpy's names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hmm::HmmParams;
use clcc_data::genome::{names_gene, normalise_chromosome};
use clcc_stage::params::{Checks, OnlyWith, ParamProblem, When};

/// Method of inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Weighted mean over windows of neighbouring genes, as infercnvpy does.
    #[default]
    Window,
    /// Hidden Markov model on subclusters of cells, as R inferCNV does, from raw counts. Writes the
    /// states too; see `hmm`.
    Hmm,
    /// Copy number that was measured, for example by single-cell DNA sequencing, read from a table of
    /// segments; see `measured`.
    Measured,
}

/// Negative control: the structure to destroy by permutation, to see what remains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// No permutation.
    #[default]
    None,
    /// Permute the positions of genes before inference: windows contain genes from anywhere, so no copy
    /// number is left, but values still come from the cell's own counts.
    GeneOrder,
    /// Permute the profiles among the cells of the patient after inference: expression and copy number
    /// of a cell become unrelated.
    Cells,
}

clcc_stage::params! {
    /// Parameters of `method: measured`.
    pub struct MeasuredParams {
        /// Column of `obs` that names a cell's clone, for a table with a column `clone`. Default
        /// `truth_clone`, which simulated cells have.
        pub clone_key: String = "truth_clone".into(),
        /// Copy number that counts as unchanged; above 0, default 2.
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub ploidy: f64 = 2.0,
    }
}

/// Cells over which the standard deviation of the noise filter is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoiseScope {
    /// Each run of `chunksize` cells in file order, as infercnvpy does: the result then depends on the
    /// order of the cells.
    #[default]
    Chunk,
    /// All cells: independent of their order.
    Global,
}

/// Treatment of windows that would extend beyond the end of a chromosome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Edges {
    /// Only whole windows (infercnvpy 0.5.0 and later).
    #[default]
    Valid,
    /// One window centred at every `step`-th gene, genes beyond the end counting as 0, so the ends
    /// are shrunk (infercnvpy up to 0.4.5).
    Same,
}

/// Treatment of chromosomes with fewer genes than `window_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShortChromosomes {
    /// One window over all its genes, as infercnvpy does: their plain mean with `edges: valid`, the
    /// pyramid of their number with `edges: same`.
    #[default]
    Single,
    /// The chromosome is left out.
    Drop,
}

clcc_stage::params! {
    /// Parameters of the stage `infercnv`. Defaults are infercnvpy 0.6.1's.
    pub struct InfercnvParams {
        /// Method of inference: `window` (default), infercnvpy's running mean; `hmm`, R inferCNV's method,
        /// with its own parameters in `hmm`; `measured`, a table, with its own parameters in `measured`.
        /// Parameters that only some methods read say so.
        pub method: Method = Method::default(),
        /// Column of `obs` that names the reference cells; null: all cells are the reference. Default
        /// `cancer_vs_normal`, which `preprocess` writes (infercnvpy: none).
        pub reference_key: Option<String> = Some("cancer_vs_normal".into()),
        /// Values of `reference_key` that are reference. With several, a gene counts as changed only above
        /// the highest or below the lowest of the groups' means. At least one; default `[Normal]`.
        #[schemars(length(min = 1))]
        pub reference_cat: Vec<String> = vec!["Normal".into()],
        /// Log ratios are clipped to +- this, natural log; above 0, default 3.
        #[schemars(extend("exclusiveMinimum" = 0))]
        pub lfc_clip: f64 = 3.0,
        /// Genes in a window, at least 1, default 100 (250 in the LUAD method).
        #[schemars(range(min = 1))]
        pub window_size: usize = 100,
        /// Every `step`-th window is kept, at least 1, default 10.
        #[schemars(range(min = 1))]
        pub step: usize = 10,
        /// Values below this many standard deviations are set to 0; null: no filter. At least 0,
        /// default 1.5 (infercnvpy), which erases losses: null finds more.
        #[schemars(range(min = 0))]
        pub dynamic_threshold: Option<f64> = Some(1.5),
        /// Chromosomes left out, with or without `chr`. Default `[chrX, chrY]`. chrM and scaffolds
        /// without `chr` are always left out.
        pub exclude_chromosomes: Vec<String> = vec!["chrX".into(), "chrY".into()],
        /// Genes left out, by name or symbol; a `*` at the end matches any further characters.
        /// Default none (infercnvpy). The HLA genes (`HLA-*`) are neighbours and vary by cell type, so that
        /// macrophages seem to gain what fibroblasts seem to lose there; CopyKAT leaves them out too.
        #[schemars(inner(length(min = 1)))]
        pub exclude_genes: Vec<String> = Vec::new(),
        /// Cells per run of `noise_scope: chunk`, at least 1, default 5000.
        #[schemars(range(min = 1))]
        pub chunksize: usize = 5000,
        /// Cells over which the noise filter's standard deviation is taken: `chunk` (default) or `global`.
        pub noise_scope: NoiseScope = NoiseScope::default(),
        /// Windows at chromosome ends: `valid` (default) or `same`.
        pub edges: Edges = Edges::default(),
        /// Chromosomes with fewer genes than a window: `single` (default) or `drop`.
        pub short_chromosomes: ShortChromosomes = ShortChromosomes::default(),
        /// Also write `layers["gene_values_cnv"]`: per gene the mean of the windows that contain it (a
        /// dense matrix of cells x genes). Default false.
        pub calculate_gene_values: bool = false,
        /// Parameters of `method: hmm`.
        pub hmm: HmmParams = HmmParams::default(),
        /// Parameters of `method: measured`.
        pub measured: MeasuredParams = MeasuredParams::default(),
        /// A negative control: `none` (default), `gene_order` or `cells`.
        pub control: Control = Control::default(),
        /// Seed of the control's permutation, separate from the workflow's so that real runs do not depend
        /// on a seed. Default 0.
        pub control_seed: u64 = 0,
    }
}

impl InfercnvParams {
    /// Parameters that are read only under certain values of others.
    pub(super) const ONLY_WITH: &'static [OnlyWith] = &[
        OnlyWith {
            params: &["lfc_clip", "window_size", "edges", "short_chromosomes"],
            any: &[When::Is("method", &["window", "measured"])],
        },
        OnlyWith {
            params: &["dynamic_threshold", "noise_scope", "chunksize"],
            any: &[When::Is("method", &["window"])],
        },
        OnlyWith {
            params: &["calculate_gene_values"],
            any: &[When::Is("method", &["window", "hmm"])],
        },
        OnlyWith {
            params: &["hmm"],
            any: &[When::Is("method", &["hmm"])],
        },
        OnlyWith {
            params: &["measured"],
            any: &[When::Is("method", &["measured"])],
        },
        OnlyWith {
            params: &["reference_cat"],
            any: &[When::Given("reference_key")],
        },
        OnlyWith {
            params: &["noise_scope", "chunksize"],
            any: &[When::Given("dynamic_threshold")],
        },
        OnlyWith {
            params: &["chunksize"],
            any: &[When::Is("noise_scope", &["chunk"])],
        },
        OnlyWith {
            params: &["control_seed"],
            any: &[When::Is("control", &["gene_order", "cells"])],
        },
        OnlyWith {
            params: &["hmm.sd_trend"],
            any: &[When::Is("hmm.hmm_type", &["i6"])],
        },
        OnlyWith {
            params: &["hmm.i3_p_val"],
            any: &[When::Is("hmm.hmm_type", &["i3"])],
        },
        OnlyWith {
            params: &[
                "hmm.leiden_method",
                "hmm.leiden_resolution",
                "hmm.k_nn",
                "hmm.z_score_filter",
            ],
            any: &[When::Is("hmm.analysis_mode", &["subclusters"])],
        },
        OnlyWith {
            params: &["hmm.random_state"],
            any: &[
                When::Is("hmm.hmm_type", &["i6"]),
                When::Is("hmm.analysis_mode", &["subclusters"]),
            ],
        },
    ];

    pub(super) fn check(&self) -> Vec<ParamProblem> {
        let mut checks = Checks::default();
        self.hmm.check(&mut checks);
        checks.finish()
    }

    /// Seed of the permutation of cells under `control: cells`; `None` otherwise.
    pub(super) fn cell_shuffle(&self) -> Option<u64> {
        (self.control == Control::Cells).then_some(self.control_seed)
    }

    /// Whether all cells are the reference.
    pub(super) fn reference_is_all(&self) -> bool {
        self.reference_key.is_none()
    }

    /// Whether a gene of that name and symbol on that chromosome is included.
    pub(super) fn includes(&self, chromosome: &str, gene: [&str; 2]) -> bool {
        chromosome.starts_with("chr")
            && chromosome != "chrM"
            && !self
                .exclude_chromosomes
                .iter()
                .any(|e| normalise_chromosome(e) == chromosome)
            && !self
                .exclude_genes
                .iter()
                .any(|e| gene.iter().any(|name| names_gene(e, name)))
    }

    /// Entries of `exclude_chromosomes` that match none of these chromosomes, except X, Y and M, which
    /// data may lack.
    pub(super) fn chromosomes_excluded_in_vain(&self, chromosomes: &[String]) -> Vec<&str> {
        let all = self.exclude_chromosomes.iter().map(String::as_str);
        all.filter(|e| {
            let name = normalise_chromosome(e);
            !["chrX", "chrY", "chrM"].contains(&name.as_str()) && !chromosomes.contains(&name)
        })
        .collect()
    }

    /// Entries of `exclude_genes` that match none of these genes, by name or by symbol.
    pub(super) fn excluded_in_vain(&self, names: &[String], symbols: &[String]) -> Vec<&str> {
        let all = self.exclude_genes.iter().map(String::as_str);
        all.filter(|e| !names.iter().chain(symbols).any(|gene| names_gene(e, gene)))
            .collect()
    }
}
