//! Tables of `de`.

use crate::tables::Family;

/// File of the genes that discordant cells express more than concordant ones.
pub const ESCAPE_GENES: &str = "escape_genes.tsv";
/// File of the genes that discordant cells express less than concordant ones.
pub const COMPENSATION_GENES: &str = "compensation_genes.tsv";
/// Name of all patients together, in the column `patient` and in file names.
pub const POOLED: &str = "pooled";

crate::table! {
    /// A gene in one comparison of cells: of one patient, of all together (`pooled`), or within cell types. By falling
    /// score.
    pub struct ComparedGeneRow = "<group>_vs_<reference>.<patient>.tsv" {
        /// Gene.
        names: String,
        /// z of the test.
        scores: f64,
        /// Fold change as scanpy has it: of the means of expm1 of log1p expression.
        #[unit = "log2"]
        logfoldchanges: f64,
        /// P-value.
        pvals: f64,
        /// The same adjusted over the genes of the table (Benjamini-Hochberg).
        pvals_adj: f64,
        /// Decimal logarithm of the p-value.
        log10_pvals: f64,
        /// Decimal logarithm of the adjusted p-value.
        log10_pvals_adj: Option<f64>,
        /// Share of the group's cells above 0.
        pct_nz_group: f64,
        /// Share of the reference's cells above 0.
        pct_nz_reference: f64,
        /// Mean log1p expression of the group; not within cell types.
        mean_group: Option<f64>,
        /// Mean log1p expression of the reference; not within cell types.
        mean_reference: Option<f64>,
    }
}

crate::table! {
    /// A gene in one comparison over patients, by falling evidence: `stratified` (paired t test of mean expression) or
    /// `pseudobulk` (moderated paired t test of summed counts).
    pub struct PairedGeneRow = "<group>_vs_<reference>.<test>.tsv" {
        /// Gene.
        names: String,
        /// t statistic.
        t: f64,
        /// Its degrees of freedom.
        df: f64,
        /// Mean over patients of the difference that is tested.
        mean_difference: f64,
        /// Its standard error.
        se: f64,
        /// Fold change.
        #[unit = "log2"]
        logfoldchanges: f64,
        /// P-value.
        pvals: f64,
        /// The same adjusted (Benjamini-Hochberg).
        pvals_adj: f64,
        /// Decimal logarithm of the p-value.
        log10_pvals: f64,
        /// Decimal logarithm of the adjusted p-value.
        log10_pvals_adj: f64,
    }
}

crate::table! {
    /// A gene of one Leiden cluster of `h` that differs from all other cells, by cluster and falling score.
    pub struct ClusterGeneRow = "h_leiden_genes.tsv" {
        /// Gene.
        names: String,
        /// z of the test.
        scores: f64,
        /// Fold change as scanpy has it.
        #[unit = "log2"]
        logfoldchanges: f64,
        /// P-value.
        pvals: f64,
        /// The same adjusted over all tested genes (Benjamini-Hochberg).
        pvals_adj: f64,
        /// Decimal logarithm of the p-value.
        log10_pvals: f64,
        /// Share of the cluster's cells above 0.
        pct_nz_group: f64,
        /// Share of the other cells above 0.
        pct_nz_reference: f64,
        /// Mean log1p expression in the cluster.
        mean_group: f64,
        /// Mean log1p expression elsewhere.
        mean_reference: f64,
        /// Cluster.
        h_leiden: String,
    }
}

crate::table! {
    /// A gene set aside from cancer against normal epithelium, with the result it would have had.
    pub struct SetAsideRow = "set_aside.tsv" {
        /// Gene.
        names: String,
        /// Family for which it is set aside.
        family: String,
        /// Patient, or `pooled`.
        patient: String,
        /// z of the test.
        scores: f64,
        /// Fold change as scanpy has it.
        #[unit = "log2"]
        logfoldchanges: f64,
        /// P-value.
        pvals: f64,
        /// Decimal logarithm of the p-value.
        log10_pvals: f64,
    }
}

crate::table! {
    /// One comparison by one test, and why it could not be made.
    pub struct ContrastRow = "contrasts.tsv" {
        /// Comparison.
        contrast: String,
        /// Patient, `pooled`, or the test over patients.
        patient: String,
        /// Test.
        test: String,
        /// `tested` or `not applicable`.
        status: String,
        /// Why it was not tested.
        reason: String,
        /// Cells of the group, or patients where the test is over patients.
        n_group: i64,
        /// Cells of the reference, or patients.
        n_reference: i64,
        /// Genes found up or down beyond a fold change, which is in the name.
        n_found as "n_<direction>_<log2fc>": Family<i64>,
    }
}

crate::table! {
    /// One comparison that needs no classes, and why it could not be made.
    pub struct ClusterContrastRow = "h_contrasts.tsv" {
        /// Comparison; `h_leiden 0` is cluster 0 against all other cells.
        contrast: String,
        /// `tested` or `not applicable`.
        status: String,
        /// Why it was not tested.
        reason: String,
        /// Cells of the group.
        n_group: i64,
        /// Cells of the reference.
        n_reference: i64,
        /// Genes found up or down beyond a fold change, which is in the name.
        n_found as "n_<direction>_<log2fc>": Family<i64>,
    }
}

crate::table! {
    /// A gene that discordant cells express more (`escape_genes.tsv`) or less (`compensation_genes.tsv`) than
    /// concordant ones.
    pub struct FindingGeneRow = "<finding>_genes.tsv" {
        /// Gene.
        names: String,
        /// Patient, or `pooled`.
        patient: String,
        /// z of the test.
        scores: f64,
        /// Fold change as scanpy has it.
        #[unit = "log2"]
        logfoldchanges: f64,
        /// P-value.
        pvals: f64,
        /// The same adjusted over the genes of the comparison (Benjamini-Hochberg).
        pvals_adj: f64,
        /// Decimal logarithm of the p-value.
        log10_pvals: f64,
        /// Share of the discordant cells above 0.
        pct_nz_group: f64,
        /// Share of the concordant cells above 0.
        pct_nz_reference: f64,
        /// Whether the fold change is beyond the one in the name.
        passes as "passes_<log2fc>": Family<bool>,
        /// Mean X_cnv over the gene in discordant cells.
        #[unit = "ln"]
        cnv_discordant: f64,
        /// Mean X_cnv over the gene in concordant cells.
        #[unit = "ln"]
        cnv_concordant: f64,
        /// Share of both groups' cells that are gained there.
        share_gained: f64,
        /// Share that are neither.
        share_neutral: f64,
        /// Share that are lost there.
        share_lost: f64,
        /// `gain`, `loss`, `neutral` or `unknown`, by the mean of both groups.
        locus_state: String,
        /// The change that the gene goes against, or why there is none.
        escapes_from: String,
        /// Patients in which it is found in this direction, at the lowest fold change.
        n_patients: i64,
        /// Adjusted p-value of the paired test over patients.
        stratified_pvals_adj: Option<f64>,
        /// Adjusted p-value of the pseudobulk test over patients.
        pseudobulk_pvals_adj: Option<f64>,
        /// Dosage slope of `dosage`.
        dosage_slope: Option<f64>,
        /// Class of `dosage`.
        dosage_class: Option<String>,
    }
}

crate::table! {
    /// A gene found in the same direction in several patients.
    pub struct RecurrentGeneRow = "recurrence.tsv" {
        /// Gene.
        names: String,
        /// `escape` or `compensation`.
        direction: String,
        /// Fold-change threshold.
        #[unit = "log2"]
        log2fc_threshold: f64,
        /// Patients in which it is found.
        n_patients: i64,
        /// These patients, separated by commas.
        patients: String,
    }
}

crate::table! {
    /// Cells of each class of a patient, and genes that differ between the classes.
    pub struct DiscordancePatientRow = "discordance_by_patient.tsv" {
        /// Patient, or `pooled`.
        patient: String,
        /// Cells with a class.
        n_cancer: i64,
        /// Concordant cells.
        n_concordant: i64,
        /// Cells of neither outer class.
        n_intermediate: i64,
        /// Discordant cells.
        n_discordant: i64,
        /// Genes found beyond the fold change in the name: higher in discordant cells (`n_escape_..`), lower
        /// (`n_compensation_..`), or both (`n_genes_..`); missing where the classes could not be compared.
        n_found as "n_<what>_<log2fc>": Family<f64>,
    }
}

crate::table! {
    /// A score of cells compared between two groups of them: of high and low burden (`burden_scores.tsv`), or cancer
    /// and normal cells (`cancer_vs_normal_scores.tsv`).
    pub struct CellScoreRow = "<groups>_scores.tsv" {
        /// Score.
        score: String,
        /// Patient, or `pooled`.
        patient: String,
        /// Cells of a group.
        n as "n_<group>": Family<i64>,
        /// Mean of a group.
        mean as "mean_<group>": Family<f64>,
        /// Median of a group.
        median as "median_<group>": Family<f64>,
        /// Probability that a cell of the first group scores more than one of the second.
        auc: f64,
        /// z of the Mann-Whitney test.
        z: f64,
        /// P-value.
        pvals: f64,
        /// The same adjusted over the scores of one patient (Benjamini-Hochberg).
        pvals_adj: f64,
        /// Decimal logarithm of the p-value.
        log10_pvals: f64,
    }
}

crate::table! {
    /// How far the expression of a region follows its copy number in one set of cells.
    pub struct CisRow = "cis_effects.tsv" {
        /// Chromosome or arm.
        region: String,
        /// `chromosome` or `arm`.
        level: String,
        /// Patient, or `pooled`.
        patient: String,
        /// Cells.
        n_cells: i64,
        /// Genes of the region.
        n_genes: i64,
        /// Windows of the region.
        n_windows: i64,
        /// Mean X_cnv of the region.
        #[unit = "ln"]
        mean_cnv: f64,
        /// Spearman correlation over cells of the region's mean log1p expression with its mean X_cnv.
        spearman: f64,
        /// Its p-value.
        pvals: f64,
        /// The same adjusted over the regions of one level within one patient (Benjamini-Hochberg).
        pvals_adj: f64,
        /// Decimal logarithm of the p-value.
        log10_pvals: f64,
        /// Mean correlation of the same expression with the regions of other chromosomes.
        trans_mean: f64,
        /// The largest of these in size.
        trans_max: f64,
    }
}

crate::table! {
    /// Left-out cis effect of a region in one set of cells.
    pub struct CisLeftOutRow = "cis_effects_left_out.tsv" {
        /// Chromosome or arm.
        region: String,
        /// `chromosome` or `arm`.
        level: String,
        /// Patient, or `pooled`.
        patient: String,
        /// Cells; for `pooled`, patients' cells together.
        n_cells: i64,
        /// Genes of the region that were correlated.
        n_genes: i64,
        /// Mean Spearman correlation of genes with the nearest windows without them.
        spearman: f64,
        /// Mean Spearman correlation of genes with the windows that contain them.
        spearman_own_windows: f64,
        /// Mean Spearman correlation of the same genes with other chromosomes.
        trans_mean: f64,
        /// t statistic of `spearman` against the trans correlation.
        t: f64,
        /// Its p-value.
        pvals: f64,
        /// Adjusted p-value, over the regions of one level in one set of cells.
        pvals_adj: f64,
        /// Decimal logarithm of the p-value.
        log10_pvals: f64,
    }
}

crate::table! {
    /// Genes found in one set of cells, and under permuted labels.
    pub struct DiscordanceNullRow = "discordance_null.tsv" {
        /// Patient, or `pooled`.
        patient: String,
        /// Fold-change threshold.
        #[unit = "log2"]
        log2fc_threshold: f64,
        /// Genes found.
        n_genes: f64,
        /// Median number of genes found under permuted labels.
        null_median: f64,
        /// 95th percentile of that number.
        null_95: f64,
        /// Maximum of that number.
        null_max: f64,
        /// Share of permutations with at least as many genes, the observed labels among them.
        pvals: f64,
        /// Share of the genes that the null explains; missing without genes.
        share_explained: f64,
    }
}

crate::table! {
    /// Genes found in one set of cells with and without splitting the counts.
    pub struct CountSplitRow = "count_split.tsv" {
        /// Patient, or `pooled`.
        patient: String,
        /// Fold-change threshold.
        #[unit = "log2"]
        log2fc_threshold: f64,
        /// Genes found on the counts that the classes were learnt on.
        n_genes_without_split: i64,
        /// Genes found on the held-out counts.
        n_genes_with_split: i64,
        /// Genes found on both, in the same direction.
        n_genes_both: i64,
        /// Spearman correlation of the z scores on both parts.
        spearman_scores: f64,
    }
}

crate::table! {
    /// A gene by discordance and by dosage.
    pub struct DosageDiscordanceGeneRow = "dosage_vs_discordance.tsv" {
        /// Gene.
        names: String,
        /// Dosage slope.
        dosage_slope: f64,
        /// Class of `dosage`.
        dosage_class: String,
        /// Adjusted p-value of slope = 1.
        dosage_pvals_one_adj: f64,
        /// z of discordant against concordant cells, all patients together.
        discordance_scores: f64,
        /// Fold change of the same.
        #[unit = "log2"]
        discordance_logfoldchanges: f64,
        /// Adjusted p-value of the same.
        discordance_pvals_adj: f64,
        /// Adjusted p-value within cell types.
        within_cell_types_pvals_adj: f64,
        /// Adjusted p-value of the paired test over patients.
        stratified_pvals_adj: f64,
        /// Adjusted p-value of the pseudobulk test over patients.
        pseudobulk_pvals_adj: f64,
        /// Patients in which it is found higher in discordant cells.
        n_patients_higher: i64,
        /// Patients in which it is found lower.
        n_patients_lower: i64,
        /// `dosage`, `discordance`, `both` or `neither`.
        found_by: String,
    }
}

crate::table! {
    /// Agreement of discordance and dosage over the classed cells of a patient, or of all.
    pub struct DosageDiscordanceCellsRow = "dosage_vs_discordance_cells.tsv" {
        /// Patient, or `pooled`.
        patient: String,
        /// Classed cells with a shortfall.
        n_cells: i64,
        /// Spearman correlation of distance and shortfall.
        spearman: f64,
        /// Its p-value.
        pvals: f64,
        /// Decimal logarithm of the p-value.
        log10_pvals: f64,
        /// Mean shortfall of discordant cells.
        shortfall_z_discordant: f64,
        /// Mean shortfall of concordant cells.
        shortfall_z_concordant: f64,
        /// Probability that a discordant cell falls short more than a concordant one.
        auc: f64,
    }
}
