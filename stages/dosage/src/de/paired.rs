//! Paired tests over patients: the t test of means, and of pseudobulk counts.

use rayon::prelude::*;

use clcc_data::error::StageResult;
use clcc_data::matrix::Parts;
use clcc_numerics::math;
use clcc_numerics::stats::{
    GeneTest, TTest, VariancePrior, benjamini_hochberg, benjamini_hochberg_log10, mean, paired_t,
    variance,
};

use super::contrasts::{Kind, Sides};
use super::family::{Tested, direction};

/// Value per patient and group that a paired test compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Mean log1p expression of each group's cells.
    MeanOfCells,
    /// log2 counts per million of each group's summed raw counts.
    Pseudobulk,
}

impl Sample {
    /// Name in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanOfCells => "stratified",
            Self::Pseudobulk => "pseudobulk",
        }
    }

    /// Name in the column `test`.
    pub fn test(self) -> &'static str {
        match self {
            Self::MeanOfCells => "paired t over patients",
            Self::Pseudobulk => "pseudobulk, moderated paired t",
        }
    }
}

/// Paired test of one gene.
#[derive(Debug, Clone, Copy)]
pub struct PairedGene {
    /// Paired t test over the patients' differences.
    pub test: TTest,
    /// Benjamini-Hochberg adjusted p-value over the genes that are not set aside; NaN for those, and
    /// for genes that were not tested.
    pub adjusted: f64,
    /// Decimal logarithm of `adjusted`.
    pub adjusted_log10: f64,
    /// Mean over patients of the log2 fold change.
    pub log2fc: f64,
}

/// Paired test of one comparison, over patients.
#[derive(Debug, Clone)]
pub struct Paired {
    /// Kind of comparison.
    pub kind: Kind,
    /// Value that is compared.
    pub sample: Sample,
    /// Number of patients with both groups.
    pub n_pairs: usize,
    /// Test of each gene; `None` with fewer than two such patients.
    pub genes: Option<Vec<PairedGene>>,
    /// Prior that each gene's variance is shrunk towards (pseudobulk); empty for means.
    pub prior: Vec<VariancePrior>,
}

impl Paired {
    /// Direction in which gene `g` is found, as [`Tested::direction`].
    pub fn direction(&self, g: usize, fdr: f64, log2fc: f64) -> i8 {
        self.genes.as_ref().map_or(0, |genes| {
            direction(genes[g].adjusted, genes[g].log2fc, fdr, log2fc)
        })
    }

    /// Number of genes found in the direction `sign`.
    pub fn n_found(&self, sign: i8, fdr: f64, log2fc: f64) -> usize {
        (0..self.genes.as_ref().map_or(0, Vec::len))
            .filter(|&g| self.direction(g, fdr, log2fc) == sign)
            .count()
    }
}

fn adjust(tests: &[TTest], log2fc: &[f64], in_family: impl Fn(usize) -> bool) -> Vec<PairedGene> {
    let family: Vec<usize> = (0..tests.len()).filter(|&g| in_family(g)).collect();
    let q = benjamini_hochberg(&family.iter().map(|&g| tests[g].p.p).collect::<Vec<_>>());
    let log =
        benjamini_hochberg_log10(&family.iter().map(|&g| tests[g].p.log10).collect::<Vec<_>>());
    let mut out: Vec<PairedGene> = tests
        .iter()
        .zip(log2fc)
        .map(|(&test, &log2fc)| PairedGene {
            test,
            adjusted: f64::NAN,
            adjusted_log10: f64::NAN,
            log2fc,
        })
        .collect();
    for (at, &g) in family.iter().enumerate() {
        out[g].adjusted = q[at];
        out[g].adjusted_log10 = log[at];
    }
    out
}

/// Paired t test per gene over the patients in which the comparison `kind` was made: one pair of means
/// per patient, degrees of freedom = patients - 1.
pub fn stratified(tested: &[Tested], kind: Kind, aside: &[bool]) -> Paired {
    let patients: Vec<&Tested> = tested
        .iter()
        .filter(|t| t.patient.is_some() && t.comparison.kind == kind && t.made())
        .collect();
    let genes = (patients.len() >= 2).then(|| {
        let n_genes = patients[0].genes.len();
        let tests: Vec<TTest> = (0..n_genes)
            .map(|g| {
                let of = |f: fn(&GeneTest) -> f64| {
                    patients
                        .iter()
                        .map(|t| f(&t.genes[g]))
                        .collect::<Vec<f64>>()
                };
                paired_t(&of(|t| t.mean_group), &of(|t| t.mean_reference))
            })
            .collect();
        let log2fc: Vec<f64> = (0..n_genes)
            .map(|g| mean(&patients.iter().map(|t| t.log2fc[g]).collect::<Vec<_>>()))
            .collect();
        adjust(&tests, &log2fc, |g| kind != Kind::Epithelium || !aside[g])
    });
    Paired {
        kind,
        sample: Sample::MeanOfCells,
        n_pairs: patients.len(),
        genes,
        prior: Vec::new(),
    }
}

/// Summed raw counts of the group and of the reference in one patient.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Summed counts of each gene.
    pub group: Vec<f64>,
    /// Summed counts of each gene.
    pub reference: Vec<f64>,
}

/// Sum raw counts over the cells of each side, one pair per part of the cohort, a patient, and comparison
/// (`[kind][patient]`); `None` where a side has fewer than two cells.
///
/// # Errors
/// Where a part cannot be read.
pub fn sums(counts: &dyn Parts, sides: &Sides) -> StageResult<Vec<Vec<Option<Pair>>>> {
    let mut out = vec![Vec::new(); sides.len()];
    counts.each(&mut |first, part| {
        let of_side = |side: &Vec<u8>| {
            let side = &side[first..first + part.n_rows()];
            let cells = |s: u8| (0..side.len()).filter(move |&r| side[r] == s);
            if cells(1).count() < 2 || cells(2).count() < 2 {
                return None;
            }
            Some(Pair {
                group: part.sum_rows(cells(1)),
                reference: part.sum_rows(cells(2)),
            })
        };
        let pairs: Vec<Option<Pair>> = sides.par_iter().map(of_side).collect();
        out.iter_mut()
            .zip(pairs)
            .for_each(|(of, pair)| of.push(pair));
        Ok(())
    })?;
    Ok(out)
}

/// Moderated paired t test of pseudobulk samples: per patient log2 counts per million of the group minus
/// those of the reference (`log2((count + 0.5) / (library + 1) 1e6)`, limma's voom scale), then limma's
/// `eBayes` with a trend: each gene's variance is shrunk towards that of genes of similar mean expression
/// (Smyth 2004; Sartor et al. 2006). Genes with fewer than `min_count` counts in all samples together
/// are not tested.
pub fn pseudobulk(kind: Kind, pairs: &[Option<Pair>], min_count: f64, aside: &[bool]) -> Paired {
    let pairs: Vec<&Pair> = pairs.iter().flatten().collect();
    let n = pairs.len();
    let mut out = Paired {
        kind,
        sample: Sample::Pseudobulk,
        n_pairs: n,
        genes: None,
        prior: Vec::new(),
    };
    if n < 2 {
        return out;
    }
    let n_genes = pairs[0].group.len();
    let samples: Vec<Option<Changes>> = {
        let library: Vec<(f64, f64)> = pairs
            .iter()
            .map(|p| (p.group.iter().sum(), p.reference.iter().sum()))
            .collect();
        (0..n_genes)
            .map(|g| Changes::of(g, &pairs, &library, min_count))
            .collect()
    };
    let df = (n - 1) as f64;
    let tested: Vec<(usize, &Changes)> = samples
        .iter()
        .enumerate()
        .filter_map(|(g, s)| Some((g, s.as_ref()?)))
        .collect();
    let variances: Vec<f64> = tested.iter().map(|t| variance(&t.1.changes, 1)).collect();
    let levels: Vec<f64> = tested.iter().map(|t| t.1.level).collect();
    out.prior = VariancePrior::fit_along(&variances, df, &levels);
    let untested = TTest {
        t: f64::NAN,
        df: f64::NAN,
        p: clcc_numerics::stats::PValue::UNDEFINED,
        difference: f64::NAN,
        se: f64::NAN,
    };
    let mut tests = vec![untested; n_genes];
    for ((&(g, sample), variance), prior) in tested.iter().zip(&variances).zip(&out.prior) {
        let (v, df) = prior.moderate(*variance, df);
        tests[g] = TTest::new(mean(&sample.changes), (v / n as f64).sqrt(), df);
    }
    let log2fc: Vec<f64> = tests.iter().map(|t| t.difference).collect();
    out.genes = Some(adjust(&tests, &log2fc, |g| {
        samples[g].is_some() && (kind != Kind::Epithelium || !aside[g])
    }));
    out
}

/// Log2 counts per million of one gene: the difference between the groups of each patient, and the mean over
/// all samples.
struct Changes {
    changes: Vec<f64>,
    level: f64,
}

impl Changes {
    /// `None` where the gene has fewer than `min_count` counts. `library` are the sums of the pairs' counts.
    fn of(g: usize, pairs: &[&Pair], library: &[(f64, f64)], min_count: f64) -> Option<Self> {
        let counts = pairs.iter().map(|p| p.group[g] + p.reference[g]);
        if counts.sum::<f64>() < min_count {
            return None;
        }
        let cpm = |count: f64, library: f64| math::log2((count + 0.5) / (library + 1.0) * 1e6);
        let both = pairs.iter().zip(library);
        let both = both.map(|(p, l)| (cpm(p.group[g], l.0), cpm(p.reference[g], l.1)));
        Some(Self {
            changes: both.clone().map(|(a, b)| a - b).collect(),
            level: both.map(|(a, b)| a + b).sum::<f64>() / (2 * pairs.len()) as f64,
        })
    }
}
