//! Tables of `mine`, `train`, `eval` and `concordance`.

use crate::tables::Family;

/// Direction of retrieval: a cell's copy number is looked for by its expression.
pub const EXPR_TO_CNV: &str = "expr_to_cnv";
/// Direction of retrieval: a cell's expression is looked for by its copy number.
pub const CNV_TO_EXPR: &str = "cnv_to_expr";

crate::table! {
    /// Part of one cell in the split, in cohort order.
    pub struct SplitRow = "split.tsv" {
        /// Cell id.
        cell: String,
        /// Patient.
        patient: String,
        /// `train`, `val` or `test`.
        split: String,
    }
}

crate::table! {
    /// Hard negatives of the training cells of one patient, or of all.
    pub struct MiningRow = "mining.tsv" {
        /// Patient, or `all`.
        patient: String,
        /// Cells in training.
        train_cells: i64,
        /// Cells in validation.
        val_cells: i64,
        /// Cells in the test part.
        test_cells: i64,
        /// Training cells whose copy-number vector is zero, so that it has no cosine.
        without_cnv_cosine: i64,
        /// Training cells with a hard negative.
        anchors_with_negative: i64,
        /// Hard negatives that were kept.
        negatives: i64,
        /// Ordered pairs of training cells with a copy-number cosine above the bound; the first is of this patient.
        cnv_pairs: i64,
        /// Those of them with an expression cosine below the bound.
        hard_pairs: i64,
        /// Share of the training cells with a hard negative.
        share_with_negative: f64,
        /// Hard negatives per training cell.
        mean_negatives: f64,
        /// Share of the hard negatives that are cells of another patient.
        share_other_patient: f64,
        /// Share of `cnv_pairs` among all pairs that were looked at.
        share_cnv_pairs: f64,
    }
}

crate::table! {
    /// One epoch of training with `objective: clcc`.
    pub struct HistoryRow = "history.tsv" {
        /// Epoch, from 1.
        epoch: i64,
        /// Learning rate.
        lr: f64,
        /// Mean loss over the anchors: `nce` + lambda x `margin`.
        train_loss: f64,
        /// Mean contrastive loss.
        nce: f64,
        /// Mean margin loss of the hard negatives.
        margin: f64,
        /// Contrastive loss of fixed validation batches in eval mode.
        val_loss: f64,
        /// Temperature at the end of the epoch.
        temperature: f64,
        /// Whether the weights of this epoch are kept.
        best: bool,
    }
}

crate::table! {
    /// One epoch of training with `objective: anchors`.
    pub struct AnchorHistoryRow = "history.tsv" {
        /// Epoch, from 1.
        epoch: i64,
        /// Mean loss: `nce` + centroid_weight x `centroid` + h_weight x `h`.
        train_loss: f64,
        /// Mean InfoNCE against the `top_k` hardest anchors.
        nce: f64,
        /// Mean squared distance to the centroid of the cell's anchor; from the second epoch on.
        centroid: f64,
        /// Mean squared distance of h to the anchor's h.
        h: f64,
        /// Mean length of the gradient over the steps, before clipping.
        gradient: f64,
        /// InfoNCE of the validation cells in eval mode, which decides nothing.
        val_loss: f64,
    }
}

crate::table! {
    /// Retrieval of test cells in one direction, for one group of cells.
    pub struct RetrievalRow = "retrieval.tsv" {
        /// `pooled`, `patient` or `cell_type`.
        scope: String,
        /// Patient or cell type; `all` where pooled.
        group: String,
        /// `expr_to_cnv`, `cnv_to_expr`, or `chance`: the expectation of a random order.
        direction: String,
        /// Cells that are looked for.
        queries: i64,
        /// Cells among which they are looked for: all test cells, or those of the patient.
        gallery: i64,
        /// Share of the queries whose own cell comes first.
        top1: f64,
        /// Share of the queries whose own cell is among the first 5.
        top5: f64,
        /// Share of the queries whose own cell is among the first 10.
        top10: f64,
        /// Mean of one over the rank.
        mrr: f64,
        /// Mean rank; ties count against the query.
        mean_rank: f64,
        /// Median rank.
        median_rank: f64,
        /// Mean cosine with the own cell.
        mean_positive: f64,
        /// Mean cosine with the other cells of the gallery.
        mean_negative: f64,
        /// Mean of the cosine with the own cell less that with the most similar other cell.
        alignment_gap: f64,
        /// Share of the queries in which that difference is above 0.
        positive_gap_fraction: f64,
        /// `mean_positive` less `mean_negative`.
        mean_negative_gap: f64,
        /// Share of the queries whose cosine with the own cell is above the mean of those with the others.
        mean_negative_gap_fraction: f64,
    }
}

crate::table! {
    /// Cosines of the expression embedding of one test cell with copy-number embeddings.
    pub struct SimilarityRow = "similarity_matrix.tsv" {
        /// Test cell, `patient:cell`.
        cell: String,
        /// Cosine with the copy-number embedding of that test cell.
        cosine as "<patient:cell>": Family<f64>,
    }
}

crate::table! {
    /// How often anchors are found by one kind of query in one space.
    pub struct AnchorRetrievalRow = "anchor_retrieval.tsv" {
        /// `centroid` of an anchor's cells, or `cell`.
        level: String,
        /// `z` or `h`.
        space: String,
        /// Cells of which part: `train`, `heldout` (`val` and `test` together), `val` or `test`.
        cells: String,
        /// Queries.
        queries: i64,
        /// Anchors among which they look.
        anchors: i64,
        /// Share of the queries whose own anchor comes first.
        top1: f64,
        /// Expected share under chance.
        chance_top1: f64,
        /// Share if the anchor with most training cells were always answered.
        largest_top1: f64,
        /// Share of the queries whose own anchor is among the first 5.
        top5: f64,
        /// Expected share under chance.
        chance_top5: f64,
        /// Share if the 5 anchors with most training cells were always answered.
        largest_top5: f64,
        /// Mean of one over the rank; ties count against the query.
        mrr: f64,
        /// Median rank.
        median_rank: f64,
        /// Mean cosine with the own anchor.
        mean_own: f64,
        /// Mean cosine with the other anchors.
        mean_other: f64,
    }
}

crate::table! {
    /// One anchor, the copy-number states of one or more subclusters, and how its cells find it.
    pub struct AnchorRow = "anchors.tsv" {
        /// Name of the anchor.
        anchor: String,
        /// Subclusters with its states, separated by spaces.
        subclusters: String,
        /// Cells.
        n_cells: i64,
        /// Cells in training.
        n_train_cells: i64,
        /// Share of the genes that are not in the normal state.
        share_altered: f64,
        /// Rank in z of the anchor for the centroid of its training cells.
        rank_z_train: f64,
        /// The same for held-out cells (validation and test).
        rank_z_heldout: f64,
        /// Rank in h for the centroid of its training cells.
        rank_h_train: f64,
        /// The same for held-out cells.
        rank_h_heldout: f64,
        /// Share of its training cells that have it among the nearest 5 in z.
        cell_top5_z_train: f64,
        /// The same for held-out cells.
        cell_top5_z_heldout: f64,
        /// Share of its training cells that have it among the nearest 5 in h.
        cell_top5_h_train: f64,
        /// The same for held-out cells.
        cell_top5_h_heldout: f64,
        /// The other anchor that is nearest in z.
        nearest_anchor: String,
        /// Cosine with that one.
        nearest_cosine: f64,
    }
}

crate::table! {
    /// Cosines in z of one anchor with the anchors.
    pub struct AnchorSimilarityRow = "anchor_similarity.tsv" {
        /// Anchor.
        anchor: String,
        /// Cosine with that anchor.
        cosine as "<anchor>": Family<f64>,
    }
}

crate::table! {
    /// Cosines in z of the centroid of an anchor's training cells with the anchors.
    pub struct CentroidSimilarityRow = "centroid_similarity.tsv" {
        /// Anchor of the training cells.
        anchor: String,
        /// Cosine with that anchor.
        cosine as "<anchor>": Family<f64>,
    }
}

crate::table! {
    /// Distance and class of one cell, in cohort order.
    pub struct ConcordanceRow = "concordance.tsv" {
        /// Cell id.
        cell: String,
        /// Patient.
        patient: String,
        /// Sample; empty where it is not known.
        sample: String,
        /// Cell type; empty where it is not known.
        cell_type: String,
        /// `Cancer`, `Normal`, or nothing.
        cancer_vs_normal: String,
        /// Part in the split of the model that measured the cell.
        split: String,
        /// Fold that held the cell out, with `cross_fit`.
        fold: Option<String>,
        /// Euclidean distance between the two embeddings, from 0 to 2; on a common scale of the folds with
        /// `cross_fit`. With `score: discordance` the log odds that the cell is discordant.
        distance: f64,
        /// `concordant`, `intermediate`, `discordant`, or nothing for a cell that is not classed.
        concordance_class: String,
    }
}

crate::table! {
    /// Concordance classes of one patient.
    pub struct ConcordancePatientRow = "concordance_by_patient.tsv" {
        /// Patient.
        patient: String,
        /// Cells that were classed.
        n_cancer: i64,
        /// Discordant cells.
        n_discordant: i64,
        /// Cells between the cuts.
        n_intermediate: i64,
        /// Concordant cells.
        n_concordant: i64,
        /// Largest distance of a concordant cell; missing where classes are within cell types.
        lower_cut: f64,
        /// Smallest distance of a discordant cell; missing where classes are within cell types.
        upper_cut: f64,
        /// Mean distance of the classed cells.
        mean_distance: f64,
        /// Mean distance of the concordant cells.
        mean_distance_concordant: f64,
        /// Mean distance of the cells between.
        mean_distance_intermediate: f64,
        /// Mean distance of the discordant cells.
        mean_distance_discordant: f64,
    }
}

crate::table! {
    /// Discordant against concordant cells in one variable.
    pub struct CompositionRow = "concordance_composition.tsv" {
        /// Patient, or `all`.
        patient: String,
        /// The variable: an annotation of the cells, `split` or `cnv_leiden`.
        variable: String,
        /// `categorical` or `number`.
        kind: String,
        /// Concordant and discordant cells with a value.
        n_cells: i64,
        /// Cramer's V of a category.
        cramers_v: f64,
        /// Cramer's V corrected for chance (Bergsma 2013).
        cramers_v_corrected: f64,
        /// Cohen's d of a number, discordant minus concordant.
        cohens_d: f64,
        /// Probability that a discordant cell has the larger number.
        auc: f64,
        /// p-value of the chi-squared or the rank-sum test; descriptive, as cells are not independent.
        pvals: f64,
        /// Median size of the association with labels permuted within patient and cell type.
        null_median: Option<f64>,
        /// 95 % quantile of the same.
        null_95: Option<f64>,
        /// Share of the permutations with as large an association.
        null_pvals: Option<f64>,
        /// Value with the largest excess among discordant cells.
        top_value: String,
        /// Its share of the discordant cells, or their mean of a number.
        discordant: f64,
        /// Its share of the concordant cells, or their mean of a number.
        concordant: f64,
        /// A sentence where the association is strong.
        warning: String,
    }
}

crate::table! {
    /// One model of a cross-fit.
    pub struct ConcordanceFoldRow = "concordance_folds.tsv" {
        /// Value of the axis of folds.
        fold: String,
        /// Cells that it held out.
        n_held_out: i64,
        /// Those of them that are classed.
        n_classed: i64,
        /// Median distance of these, before scaling.
        median_held_out: f64,
        /// Their interquartile range.
        iqr_held_out: f64,
        /// Median distance of the classed cells that the model trained on.
        median_train: f64,
        /// Spearman correlation of the held-out distances with the mean of the other folds' distances of these cells.
        spearman_other_folds: f64,
    }
}

crate::table! {
    /// Classes of one cell with labels permuted within patient and cell type.
    pub struct ConcordanceNullRow = "concordance_null.tsv" {
        /// Cell id.
        cell: String,
        /// One letter per permutation: `c` concordant, `i` intermediate, `d` discordant, `-` none.
        labels: String,
    }
}
