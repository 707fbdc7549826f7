//! Tables of `dosage`.

use crate::tables::Family;

crate::table! {
    /// Dosage sensitivity of each gene.
    pub struct DosageGeneRow = "dosage_genes.tsv" {
        /// Gene.
        names: String,
        /// Chromosome.
        chromosome: Option<String>,
        /// First base, 1-based.
        #[unit = "bp"]
        start: Option<i64>,
        /// Last base, inclusive.
        #[unit = "bp"]
        end: Option<i64>,
        /// Change of log expression per change of log copy ratio: 1 is the typical gene's, 0 is escape.
        slope: f64,
        /// The slope drawn to 1 by a normal prior.
        slope_shrunken: f64,
        /// Mean of the slope's posterior.
        slope_posterior: Option<f64>,
        /// Standard error of the slope.
        se: f64,
        /// Lower end of the 95 % confidence interval.
        ci_low: f64,
        /// Upper end of the 95 % confidence interval.
        ci_high: f64,
        /// Degrees of freedom of the standard error.
        df: f64,
        /// Posterior probability that the slope is below `insensitive_below`: the ranking of genes.
        prob_insensitive: Option<f64>,
        /// Posterior probability of the escape component around 0.
        prob_escape: Option<f64>,
        /// Local false sign rate: the probability that the slope has not the sign it seems to have.
        lfsr: Option<f64>,
        /// Cumulative posterior error of calling this gene and all that rank above it insensitive.
        qval: Option<f64>,
        /// P-value of slope = 0.
        pvals_zero: f64,
        /// The same adjusted over tested genes (Benjamini-Hochberg).
        pvals_zero_adj: f64,
        /// P-value of slope = 1.
        pvals_one: f64,
        /// The same adjusted over tested genes (Benjamini-Hochberg).
        pvals_one_adj: f64,
        /// `sensitive`, `insensitive`, `over-compensated`, `unresolved` or `untested`.
        class: String,
        /// Why the gene is untested.
        reason: String,
        /// Patients with a slope of their own.
        n_patients: i64,
        /// Those of them whose slope is on the same side of `insensitive_below` as the gene's.
        n_patients_agree: i64,
        /// Patients in which the gene is called insensitive by its posterior there, separated by commas.
        patients_insensitive: String,
        /// Cochran's Q of the patients' slopes.
        heterogeneity: Option<f64>,
        /// P-value of equal slopes.
        pvals_heterogeneity: Option<f64>,
        /// The same adjusted over tested genes (Benjamini-Hochberg).
        pvals_heterogeneity_adj: Option<f64>,
        /// Clones with enough counts.
        n_clones: i64,
        /// Largest difference of log copy ratio between clones of one stratum.
        #[unit = "ln"]
        copy_spread: f64,
        /// Source of the local copy number: `neighbours` or `windows`.
        copy_source: String,
    }
}

crate::table! {
    /// Slope of each tested gene in each patient.
    pub struct DosagePatientRow = "dosage_patients.tsv" {
        /// Gene.
        names: String,
        /// Patient.
        patient: String,
        /// Slope over the patient's clones.
        slope: f64,
        /// Its standard error.
        se: f64,
        /// Posterior probability that it is below `insensitive_below`, given the gene's other patients and all genes.
        prob_insensitive: Option<f64>,
        /// Cumulative posterior error of calling it so; only where `se` is at most `max_se`.
        qval: Option<f64>,
        /// Whether that is at most the FDR.
        insensitive: bool,
    }
}

crate::table! {
    /// How far a scored cell falls short of its clone's dosage.
    pub struct DosageCellRow = "dosage_cells.tsv" {
        /// Cell id.
        cell: String,
        /// Patient.
        patient: String,
        /// Cell type of the clone; empty where it is not known.
        cell_type: String,
        /// The clone, or the copy-number cluster of a cell without one.
        group: String,
        /// Genes of the clone with a log copy ratio beyond `altered` in size.
        n_altered_genes: i64,
        /// Minus the sum of the signed residuals over altered genes, over the length of the copy ratios.
        shortfall: Option<f64>,
        /// The same in standard deviations of the cell's values under permuted profiles.
        shortfall_z: Option<f64>,
        /// Score on a factor; positive cells fall short.
        factors as "factor_<n>": Family<f64>,
    }
}

crate::table! {
    /// Leading factor of the copy-number-signed residuals.
    pub struct DosageFactorRow = "dosage_factors.tsv" {
        /// `factor_1` and so on.
        factor: String,
        /// Singular value.
        singular_value: f64,
        /// Share of the sum of squares.
        share: f64,
        /// How much of the sum over genes the factor carries.
        coherence: f64,
        /// 95 % quantile of the largest coherence under permuted profiles.
        null_95: f64,
        /// Share of the permuted profiles whose best factor has as much coherence.
        pvals: f64,
        /// Whether the p-value says that the factor is above the null.
        above_null: bool,
        /// Chromosome with the largest share of the squared loadings.
        main_chromosome: String,
        /// That share.
        main_chromosome_share: f64,
        /// Spearman correlation of the cells' scores with their counts.
        spearman_total_counts: Option<f64>,
        /// The same with the score of the S phase.
        spearman_s_score as "spearman_S_score": Option<f64>,
        /// The same with the score of the G2M phase.
        spearman_g2m_score as "spearman_G2M_score": Option<f64>,
        /// Ten genes with the largest positive loadings, separated by commas.
        top_genes: String,
    }
}

crate::table! {
    /// Loadings of a gene that is altered in at least one malignant clone.
    pub struct DosageLoadingRow = "dosage_loadings.tsv" {
        /// Gene.
        names: String,
        /// Chromosome.
        chromosome: Option<String>,
        /// First base, 1-based.
        #[unit = "bp"]
        start: Option<i64>,
        /// Last base, inclusive.
        #[unit = "bp"]
        end: Option<i64>,
        /// Clones in which it is gained.
        n_clones_gained: i64,
        /// Clones in which it is lost.
        n_clones_lost: i64,
        /// Loading on a factor; of unit length over all genes.
        loadings as "factor_<n>": Family<f64>,
    }
}

/// Declares the table of the dosage slopes and copy number of regions.
macro_rules! regions {
    ($(#[doc = $about:literal])+ $row:ident = $file:literal, $(#[doc = $doc:literal])+ $region:ident) => {
        crate::table! {
            $(#[doc = $about])+
            pub struct $row = $file {
                $(#[doc = $doc])+
                $region: String,
                /// Genes.
                n_genes: i64,
                /// Tested genes.
                n_tested: i64,
                /// Median slope of the tested genes.
                median_slope: f64,
                /// First quartile of their slopes.
                slope_q25: f64,
                /// Third quartile.
                slope_q75: f64,
                /// Sensitive genes.
                n_sensitive: i64,
                /// Insensitive genes.
                n_insensitive: i64,
                /// Over-compensated genes.
                n_over_compensated: i64,
                /// Unresolved genes.
                n_unresolved: i64,
                /// Smallest mean log copy ratio over the malignant clones.
                #[unit = "ln"]
                copy_lowest: f64,
                /// Largest of the same.
                #[unit = "ln"]
                copy_highest: f64,
                /// Malignant clones in which at least half of the genes are gained.
                n_clones_gained: i64,
                /// Malignant clones in which at least half of the genes are lost.
                n_clones_lost: i64,
            }
        }
    };
}

regions! {
    /// Slopes and copy number of a chromosome arm.
    DosageArmRow = "dosage_arms.tsv",
    /// Arm, such as `chr7p`; the chromosome where the genome is not known.
    arm
}

regions! {
    /// Slopes and copy number of a chromosome.
    DosageChromosomeRow = "dosage_chromosomes.tsv",
    /// Chromosome.
    chromosome
}
