//! Summaries of chromosomes and arms: their copy number, and the dosage slopes of their genes.

use std::collections::BTreeMap;

use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_data::genome::arm_name;
use clcc_numerics::stats::{mean, median, quantile};

use super::Analysis;
use super::slope::Class;
use super::windows::gene_arms;

/// Level of a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Chromosome,
    Arm,
}

/// Summary of one chromosome or arm.
#[derive(Debug, Clone)]
pub(super) struct ArmSummary {
    /// `chr7`, or `chr7p` (the chromosome itself where it has no known arms).
    pub(super) name: String,
    pub(super) n_genes: usize,
    pub(super) n_tested: usize,
    /// Median slope of the tested genes.
    pub(super) median_slope: f64,
    /// First and third quartile of their slopes.
    pub(super) quartiles: (f64, f64),
    /// Numbers of sensitive, insensitive, over-compensated and unresolved genes.
    pub(super) classes: [usize; 4],
    /// Smallest and largest mean log copy ratio of the arm over the malignant clones; NaN without one.
    pub(super) copy: (f64, f64),
    /// Numbers of malignant clones in which at least half of the arm's genes are gained, and lost.
    pub(super) gained_lost: (usize, usize),
}

/// Summarise each chromosome or arm, in the order of the genes.
pub(super) fn arms(level: Level, var: &Frame, found: &Analysis) -> StageResult<Vec<ArmSummary>> {
    let chromosome = var.texts("chromosome")?;
    let arm = gene_arms(var);
    let mut genes_of: BTreeMap<usize, (String, Vec<usize>)> = BTreeMap::new();
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for g in (0..var.len()).filter(|&g| !chromosome[g].is_empty()) {
        let name = arm_name(&chromosome[g], arm[g].filter(|_| level == Level::Arm));
        let at = *first.entry(name.clone()).or_insert(g);
        genes_of
            .entry(at)
            .or_insert_with(|| (name, Vec::new()))
            .1
            .push(g);
    }
    Ok(genes_of
        .into_values()
        .map(|(name, genes)| ArmSummary::new(name, &genes, found))
        .collect())
}

impl ArmSummary {
    fn new(name: String, genes: &[usize], found: &Analysis) -> Self {
        let of = |class: Class| {
            genes
                .iter()
                .filter(|&&g| found.slopes.genes[g].class == class)
                .count()
        };
        let slopes: Vec<f64> = genes
            .iter()
            .map(|&g| &found.slopes.genes[g])
            .filter(|g| g.class != Class::Untested)
            .map(|g| g.slope)
            .collect();
        let mut out = Self {
            name,
            n_genes: genes.len(),
            n_tested: slopes.len(),
            median_slope: median(&slopes),
            quartiles: (quantile(&slopes, 0.25), quantile(&slopes, 0.75)),
            classes: [
                of(Class::Sensitive),
                of(Class::Insensitive),
                of(Class::OverCompensated),
                of(Class::Unresolved),
            ],
            copy: (f64::NAN, f64::NAN),
            gained_lost: (0, 0),
        };
        for u in (0..found.clones.len()).filter(|&u| found.clones[u].id.cancer) {
            out.add_clone(genes, &found.ratios[u], &found.copy[u]);
        }
        out
    }

    /// Add a malignant clone's log copy ratios, `ratios` as found and `altered` with 0 where not altered.
    fn add_clone(&mut self, genes: &[usize], ratios: &[f64], altered: &[f64]) {
        let local: Vec<f64> = genes
            .iter()
            .map(|&g| ratios[g])
            .filter(|v| v.is_finite())
            .collect();
        if local.is_empty() {
            return;
        }
        let m = mean(&local);
        self.copy = (self.copy.0.min(m), self.copy.1.max(m));
        let half = |sign: f64| {
            let changed = genes.iter().filter(|&&g| sign * altered[g] > 0.0);
            2 * changed.count() >= genes.len()
        };
        self.gained_lost.0 += usize::from(half(1.0));
        self.gained_lost.1 += usize::from(half(-1.0));
    }
}
