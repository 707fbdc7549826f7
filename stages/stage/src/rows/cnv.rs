//! Tables of `infercnv` and `cluster`.

use crate::tables::Family;

crate::table! {
    /// Copy-number clusters of the cells of a patient.
    pub struct CnvClusterRow = "cnv_clusters.tsv" {
        /// Number of the cluster; 0 is the largest.
        cluster: String,
        /// Number of cells.
        n_cells: i64,
        /// Share of cells with `cancer_vs_normal` = `Cancer` among those with a value.
        share_cancer: Option<f64>,
        /// Mean of |X_cnv| over all cells and windows, zeros included (infercnvpy).
        cnv_score: f64,
        /// Mean of the cells' `cnv_burden`.
        mean_burden: Option<f64>,
        /// Arms that are called.
        n_arms_called: Option<i64>,
        /// Whether a region is surely altered, so that the cluster can hold malignant cells.
        altered: bool,
        /// Estimated share of false calls: share of the reference cells above the malignancy threshold in this
        /// cluster, over that of other cells.
        false_share: Option<f64>,
        /// Share of cells called malignant.
        share_malignant: Option<f64>,
        /// Interquartile range of the correlations of all pairs of profiles (infercnvpy).
        ithcna: f64,
    }
}

crate::table! {
    /// Copy-number scores and call of each cell.
    pub struct CnvCellRow = "cnv_cells.tsv" {
        /// Name of the cell.
        cell: String,
        /// Cluster.
        cnv_leiden: String,
        /// Mean |X_cnv|.
        cnv_burden: Option<f64>,
        /// Root mean square of X_cnv.
        #[unit = "natural log"]
        cnv_signal: f64,
        /// Correlation with the mean profile of the other cells of the cluster.
        cnv_correlation: f64,
        /// Share of the altered clusters' profile that the cell has; signal times correlation where no cluster is
        /// altered.
        cnv_malignancy: f64,
        /// `Malignant`, `Normal`, or nothing where no call is made.
        cnv_malignant: String,
    }
}

crate::table! {
    /// The two components of the malignancy scores.
    pub struct MalignancyRow = "cnv_malignancy.tsv" {
        /// `normal` or `malignant`.
        component: String,
        /// Share of the altered clusters' cells; without a reference, of all cells.
        weight: f64,
        /// Mean score.
        mean: f64,
        /// Standard deviation of the score.
        sd: f64,
        /// Score above which a cell of an altered cluster that is no reference is malignant.
        threshold: f64,
        /// Estimated share of false calls; above .5 no call is made.
        false_share: f64,
    }
}

crate::table! {
    /// Histogram of the malignancy scores.
    pub struct MalignancyBinRow = "cnv_malignancy_histogram.tsv" {
        /// Number of the bin.
        bin: String,
        /// Least score.
        from: f64,
        /// Largest score.
        to: f64,
        /// Cells.
        n_cells: i64,
        /// Reference cells among them.
        n_reference: i64,
        /// Cells of altered clusters among them that are no reference.
        n_candidates: i64,
        /// Candidates that the normal component expects.
        expected_normal: Option<f64>,
        /// Candidates that the malignant component expects.
        expected_malignant: Option<f64>,
    }
}

crate::table! {
    /// Level pieces of each cluster's mean profile.
    pub struct CnvSegmentRow = "cnv_segments.tsv" {
        /// Number of the segment.
        segment: String,
        /// Cluster.
        cluster: String,
        /// Chromosome.
        chromosome: String,
        /// First base.
        start: i64,
        /// Last base.
        end: i64,
        /// Number of windows.
        n_windows: i64,
        /// Mean X_cnv.
        #[unit = "natural log"]
        mean: f64,
        /// Standard error of the mean.
        #[unit = "natural log"]
        standard_error: f64,
        /// Genes with enough counts.
        n_genes: Option<i64>,
        /// Log ratio of the typical gene to the reference, by raw counts.
        #[unit = "natural log"]
        gene_ratio: Option<f64>,
        /// Standard error of `gene_ratio`.
        #[unit = "natural log"]
        gene_ratio_error: Option<f64>,
        /// 1 minus the two-sided p of `gene_ratio`, or of `mean` where counts are not read; missing with fewer than
        /// 20 genes.
        confidence: f64,
        /// `gain`, `loss` or `neutral`.
        call: String,
    }
}

crate::table! {
    /// Chromosome arms of each cluster (chromosomes, where the genome is not known).
    pub struct CnvArmRow = "cnv_arms.tsv" {
        /// Cluster and arm.
        cluster_arm: String,
        /// Cluster.
        cluster: String,
        /// Arm, such as `chr7p`.
        arm: String,
        /// Number of windows whose middle is on the arm.
        n_windows: i64,
        /// Mean X_cnv.
        #[unit = "natural log"]
        mean: f64,
        /// Standard error of the mean.
        #[unit = "natural log"]
        standard_error: f64,
        /// Genes with enough counts.
        n_genes: Option<i64>,
        /// Log ratio of the typical gene to the reference, by raw counts.
        #[unit = "natural log"]
        gene_ratio: Option<f64>,
        /// Standard error of `gene_ratio`.
        #[unit = "natural log"]
        gene_ratio_error: Option<f64>,
        /// As in `cnv_segments.tsv`.
        confidence: f64,
        /// Share of the windows in gains of `cnv_segments.tsv`.
        share_gain: f64,
        /// Share of the windows in losses.
        share_loss: f64,
        /// `gain`, `loss` or `neutral`.
        call: String,
    }
}

crate::table! {
    /// Clones of the malignant cells.
    pub struct CnvCloneRow = "cnv_clones.tsv" {
        /// Number of the clone; 1 is the largest.
        clone: String,
        /// Number of cells.
        n_cells: i64,
        /// Share of the malignant cells.
        share: f64,
        /// Mean probability of the clone over its cells.
        confidence: f64,
        /// Median counts of its cells.
        #[unit = "counts"]
        median_counts: f64,
        /// The other clone that it differs from least.
        nearest: Option<String>,
        /// Region that most surely tells it from that one.
        region: Option<String>,
        /// Genes of the region with enough counts.
        n_genes: Option<i64>,
        /// Log ratio of the region's median gene to that clone, less that of the median piece of the genome.
        #[unit = "natural log"]
        log_ratio: Option<f64>,
        /// Standard error of `log_ratio`.
        #[unit = "natural log"]
        log_ratio_error: Option<f64>,
    }
}

crate::table! {
    /// Mean profile of the clusters in one window.
    pub struct ClusterProfileRow = "cnv_cluster_profiles.tsv" {
        /// Window.
        window: String,
        /// Chromosome.
        chromosome: Option<String>,
        /// First base, 1-based.
        #[unit = "bp"]
        start: Option<i64>,
        /// Last base, inclusive.
        #[unit = "bp"]
        end: Option<i64>,
        /// Mean X_cnv of a cluster.
        #[unit = "natural log"]
        mean as "cluster_<n>": Family<f64>,
    }
}

crate::table! {
    /// A piece of a chromosome arm in each clone.
    pub struct ClonePieceRow = "cnv_clone_pieces.tsv" {
        /// Number of the piece.
        piece: String,
        /// Chromosome.
        chromosome: String,
        /// `p` or `q`; empty where it is not known.
        arm: String,
        /// First base, 1-based.
        #[unit = "bp"]
        start: i64,
        /// Last base, inclusive.
        #[unit = "bp"]
        end: i64,
        /// Genes with enough counts.
        n_genes: i64,
        /// Log ratio of a clone's median gene to the patient's other malignant cells, less that of the median piece.
        #[unit = "natural log"]
        log_ratio as "clone_<n>": Family<f64>,
    }
}

crate::table! {
    /// A Leiden cluster of the cells by `X_h`.
    pub struct HClusterRow = "h_clusters.tsv" {
        /// Number of the cluster; 0 is the largest.
        h_leiden: String,
        /// Copy-number subclusters among its cells.
        subclusters: i64,
        /// The subcluster that most of its cells are of.
        top_subcluster: String,
        /// Share of its cells that are of that one.
        top_share: f64,
        /// Cells.
        n_cells: i64,
    }
}

crate::table! {
    /// A region of a subcluster with one state of the hidden Markov model.
    pub struct HmmRegionRow = "hmm_regions.tsv" {
        /// Name of the region.
        region: String,
        /// Subcluster.
        subcluster: String,
        /// Chromosome.
        chromosome: String,
        /// First base, 1-based.
        #[unit = "bp"]
        start: i64,
        /// Last base, inclusive.
        #[unit = "bp"]
        end: i64,
        /// Genes.
        n_genes: i64,
        /// Copy number over the normal one, as called.
        called: f64,
        /// The same after the Bayesian filter; the region is kept where it is not 1.
        state: f64,
        /// Posterior mean share of the subcluster's cells that are normal there; missing without the filter.
        p_normal: f64,
        /// The same of the state with the largest share.
        p_state: f64,
    }
}

crate::table! {
    /// A subcluster of cells whose states were called together.
    pub struct HmmSubclusterRow = "hmm_subclusters.tsv" {
        /// Name of the subcluster.
        subcluster: String,
        /// Cells.
        n_cells: i64,
        /// Whether its cells are reference cells.
        reference: bool,
        /// Share of the genes in a kept gain.
        share_gained: f64,
        /// Share of the genes in a kept loss.
        share_lost: f64,
    }
}
