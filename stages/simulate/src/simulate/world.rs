//! Properties shared by all patients of a simulation: the genes, their expression in each cell type,
//! and their dosage sensitivity.

use std::collections::{BTreeMap, BTreeSet};

use clcc_counts::preprocess::{G2M_GENES, S_GENES};
use clcc_data::error::{StageError, StageResult};
use clcc_data::genome::{Arm, Assembly, Gene, GeneClass, GeneTable};
use clcc_numerics::math;
use clcc_numerics::rng::Rng;

use super::cell_types::{CellType, TYPES};
use super::clonotypes;
use super::marginals::{Marginals, calibrate};
use super::params::SimulateParams;

/// Share of a cell's counts in mitochondrial genes before its own variation (4 % in GSE131907).
pub(super) const MT_SHARE: f64 = 0.04;
/// Standard deviation of log expression over the expressed genes.
const LOG_SD: f64 = 2.2;
/// Number of genes that the tissue expresses; of a larger draw the others are nearly silent. With
/// 20,000 genes and 4,000 counts per cell that leaves 94 % zeros.
const N_EXPRESSED: f64 = 9_500.0;
/// Difference of log expression between expressed and silent genes, natural log.
const SILENT: f64 = 5.0;
/// Largest share of one gene in the counts, before the patient's own shifts.
const TOP_SHARE: f64 = 0.012;
/// Groups of genes that vary together from cell to cell.
pub(super) const N_PROGRAMMES: usize = 8;

/// A gene of the simulation and its truth.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedGene {
    /// Gene symbol.
    pub name: String,
    /// Chromosome.
    pub chromosome: String,
    /// Arm; `None` on chrM.
    pub arm: Option<Arm>,
    /// First base, 1-based.
    pub start: i64,
    /// Last base, inclusive.
    pub end: i64,
    /// Dosage slope in malignant cells: 0 for constitutive escape.
    pub slope: f64,
    /// Constitutive escape: slope 0 in every malignant cell (under `escape_patients`, of some patients).
    pub escape_constitutive: bool,
    /// Cell-state escape: departs from its dosage in discordant cells.
    pub escape_state: bool,
    /// Slope where it does not escape.
    pub(super) plain_slope: f64,
    /// Whether it is a part of immunoglobulins, where clones of them are simulated.
    pub(super) immunoglobulin: bool,
    pub(super) phase: Option<CyclePhase>,
    /// Programme that the gene belongs to.
    pub(super) programme: Option<usize>,
}

/// Cell-cycle phases with marker genes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CyclePhase {
    S,
    G2M,
}

/// Genes, profiles and slopes of a simulation.
#[derive(Debug, Clone)]
pub struct World {
    /// Genes in alphabetical order, as in GSE131907.
    pub genes: Vec<SimulatedGene>,
    /// Log of each gene's relative expression, per cell type.
    log_profiles: BTreeMap<CellType, Vec<f64>>,
    /// Shift of the malignant from the epithelial log profile.
    tumour_shift: Vec<f64>,
    /// Dispersion of each gene within a kind of cell, where it is fitted.
    dispersion: Option<Vec<f64>>,
    /// Library sizes over the genes, ascending, where they are fitted.
    pub(super) totals: Option<Vec<f64>>,
    /// Genes of constitutive escape that escape in each patient, where it is not all of them.
    escape_in: Option<BTreeMap<String, Vec<bool>>>,
}

impl World {
    /// Draw genes, profiles and slopes.
    ///
    /// # Errors
    /// [`StageError::Param`] where the built-in table has fewer genes than `n_genes`.
    pub fn new(params: &SimulateParams, seed: u64) -> StageResult<Self> {
        Self::build(params, seed, None)
    }

    /// The same with means, dispersions and library sizes of real counts; their genes are drawn first.
    ///
    /// # Errors
    /// As [`World::new`], and [`StageError::Data`] where no gene of the counts is known.
    pub fn fitted(params: &SimulateParams, seed: u64, counts: &Marginals) -> StageResult<Self> {
        Self::build(params, seed, Some(counts))
    }

    fn build(
        params: &SimulateParams,
        seed: u64,
        marginals: Option<&Marginals>,
    ) -> StageResult<Self> {
        let table = GeneTable::grch38();
        let chosen = choose_genes(&table, params, seed, marginals)?;
        let genes = plant_escape(&chosen, params, seed);
        let base = base_expression(&chosen, seed);
        let log_profiles = TYPES
            .iter()
            .map(|(t, _)| (*t, type_profile(&genes, &base, *t, seed)))
            .collect();
        let mut tumour_shift = shifts(
            genes.len(),
            0.15,
            0.6,
            &mut Rng::new(seed, "simulate tumour", &[]),
        );
        clear_fixed(&genes, &mut tumour_shift);
        let mut world = Self {
            genes,
            log_profiles,
            tumour_shift,
            dispersion: None,
            totals: None,
            escape_in: None,
        };
        if let Some(marginals) = marginals {
            let names: Vec<&str> = world.genes.iter().map(|g| g.name.as_str()).collect();
            let targets = marginals.of_genes(&names, seed)?;
            let fit = calibrate(&world, &targets, params);
            for profile in world.log_profiles.values_mut() {
                profile
                    .iter_mut()
                    .zip(&fit.shift)
                    .for_each(|(p, s)| *p += s);
            }
            world.dispersion = Some(fit.dispersion);
            world.totals = Some(targets.totals);
        }
        Ok(world)
    }

    /// Draw in which of these patients each gene of constitutive escape does escape: `escape_patients` of
    /// them, or all. The genes of the other patients change where a patient is added.
    #[must_use]
    pub fn for_patients(mut self, names: &[String], params: &SimulateParams, seed: u64) -> Self {
        let Some(k) = params.escape_patients else {
            return self;
        };
        let mut escape_in: BTreeMap<String, Vec<bool>> = names
            .iter()
            .map(|n| (n.clone(), vec![false; self.genes.len()]))
            .collect();
        let escaping = (0..self.genes.len()).filter(|&g| self.genes[g].escape_constitutive);
        for g in escaping {
            let draw = |name: &String| {
                Rng::new(seed, &format!("simulate escape {name}"), &[g as u64]).uniform()
            };
            let mut order: Vec<(f64, &String)> = names.iter().map(|n| (draw(n), n)).collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0));
            for (_, name) in order.into_iter().take(k) {
                if let Some(flags) = escape_in.get_mut(name) {
                    flags[g] = true;
                }
            }
        }
        self.escape_in = Some(escape_in);
        self
    }

    /// Whether a gene has slope 0 in every malignant cell of this patient.
    pub fn escapes_in(&self, gene: usize, patient: &str) -> bool {
        let here = self.escape_in.as_ref().and_then(|of| of.get(patient));
        self.genes[gene].escape_constitutive && here.is_none_or(|flags| flags[gene])
    }

    /// Dosage slope of each gene in the concordant malignant cells of this patient.
    pub(super) fn slopes(&self, patient: &str) -> Vec<f64> {
        let slope = |g: usize| {
            if self.genes[g].escape_constitutive && !self.escapes_in(g, patient) {
                self.genes[g].plain_slope
            } else {
                self.genes[g].slope
            }
        };
        (0..self.genes.len()).map(slope).collect()
    }

    /// Dispersion of each gene within a kind of cell.
    pub(super) fn dispersions(&self, params: &SimulateParams) -> Vec<f64> {
        let same = || vec![params.dispersion; self.genes.len()];
        self.dispersion.clone().unwrap_or_else(same)
    }

    /// Log profile of a cell type, malignant or not.
    pub(super) fn log_profile(&self, cell_type: CellType, malignant: bool) -> Vec<f64> {
        let mut profile = self.log_profiles[&cell_type].clone();
        if malignant {
            profile
                .iter_mut()
                .zip(&self.tumour_shift)
                .for_each(|(p, s)| *p += s);
        }
        profile
    }

    /// Draw shifts of a `share` of genes by normal numbers of this standard deviation; mitochondrial
    /// genes are not shifted.
    pub(super) fn shift(&self, share: f64, sd: f64, rng: &mut Rng) -> Vec<f64> {
        let mut shift = shifts(self.genes.len(), share, sd, rng);
        clear_fixed(&self.genes, &mut shift);
        shift
    }

    /// Whether a gene is mitochondrial.
    pub(super) fn is_mt(&self, gene: usize) -> bool {
        self.genes[gene].chromosome == "chrM"
    }
}

/// Choose the genes: always the markers, cell-cycle genes and protein-coding mitochondrial genes; then
/// 85 % protein coding and 15 % long non-coding genes at random. Names are unique and in alphabetical
/// order. Genes of real counts go before others of their class.
fn choose_genes(
    table: &GeneTable,
    params: &SimulateParams,
    seed: u64,
    marginals: Option<&Marginals>,
) -> StageResult<Vec<Gene>> {
    let n_genes = params.n_genes;
    let cycle = S_GENES
        .iter()
        .chain(G2M_GENES.iter())
        .flat_map(|aliases| aliases.iter());
    let wanted: BTreeSet<&str> = TYPES
        .iter()
        .filter(|t| t.1.is_of_lung())
        .flat_map(|t| t.1.markers)
        .chain(cycle)
        .copied()
        .chain(clonotypes::genes(params))
        .collect();
    let mut seen = BTreeSet::new();
    let (mut chosen, mut coding, mut long) = (Vec::new(), Vec::new(), Vec::new());
    for gene in table.genes.iter().filter(|g| seen.insert(g.name.as_str())) {
        let class = gene.class.unwrap_or(GeneClass::Other);
        match class {
            _ if wanted.contains(gene.name.as_str()) => chosen.push(gene),
            GeneClass::ProteinCoding if gene.chromosome == "chrM" => chosen.push(gene),
            GeneClass::ProteinCoding => coding.push(gene),
            GeneClass::LongNonCoding => long.push(gene),
            _ => {}
        }
    }
    let available = chosen.len() + coding.len() + long.len();
    if n_genes > available || n_genes < chosen.len() {
        return Err(StageError::param(
            "n_genes",
            format!(
                "expected {} to {available}, found `{n_genes}`",
                chosen.len()
            ),
        ));
    }
    let rest = n_genes - chosen.len();
    let mut rng = Rng::new(seed, "simulate genes", &[]);
    rng.shuffle(&mut coding);
    rng.shuffle(&mut long);
    if let Some(marginals) = marginals {
        let is_other = |g: &&Gene| !marginals.has(&g.name);
        coding.sort_by_key(is_other);
        long.sort_by_key(is_other);
    }
    let n_coding = ((rest as f64 * 0.85).round() as usize)
        .min(coding.len())
        .max(rest.saturating_sub(long.len()));
    chosen.extend(&coding[..n_coding]);
    chosen.extend(&long[..rest - n_coding]);
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(chosen.into_iter().cloned().collect())
}

/// Draw slopes and escape. Mitochondrial genes have neither; genes of clonal immunoglobulins do not
/// escape.
fn plant_escape(genes: &[Gene], params: &SimulateParams, seed: u64) -> Vec<SimulatedGene> {
    let mut rng = Rng::new(seed, "simulate slopes", &[]);
    let phase = |name: &str| {
        let among = |list: &[&[&str]]| list.iter().any(|aliases| aliases.contains(&name));
        if among(&S_GENES) {
            Some(CyclePhase::S)
        } else {
            among(&G2M_GENES).then_some(CyclePhase::G2M)
        }
    };
    let clonal: BTreeSet<&str> = clonotypes::genes(params).collect();
    let plant = |gene: &Gene| {
        let nuclear = gene.chromosome != "chrM";
        let immunoglobulin = clonal.contains(gene.name.as_str());
        let may_escape = nuclear && !immunoglobulin;
        // Every gene uses the same draws, so changing a share changes only the genes that it affects.
        let (slope, u, v, w) = (
            params.slope_mean + params.slope_sd * rng.normal(),
            rng.uniform(),
            rng.uniform(),
            rng.uniform(),
        );
        let escape_constitutive = may_escape && u < params.constitutive_share;
        SimulatedGene {
            name: gene.name.clone(),
            chromosome: gene.chromosome.clone(),
            arm: Assembly::GRCh38.arm_of(&gene.chromosome, gene.start.get(), gene.end.get()),
            start: gene.start.get(),
            end: gene.end.get(),
            slope: if escape_constitutive || !nuclear {
                0.0
            } else {
                slope
            },
            escape_constitutive,
            escape_state: may_escape && !escape_constitutive && v < params.state_gene_share,
            plain_slope: slope,
            immunoglobulin,
            phase: phase(&gene.name),
            // Three of ten genes vary together with others.
            programme: (nuclear && w < 0.3).then(|| (w / 0.3 * N_PROGRAMMES as f64) as usize),
        }
    };
    genes.iter().map(plant).collect()
}

/// Draw the log expression of each gene relative to all: normal quantiles in random order, so that
/// every seed has the same distribution; silent and long non-coding genes are lower; mitochondrial
/// genes have a total share of [`MT_SHARE`].
fn base_expression(genes: &[Gene], seed: u64) -> Vec<f64> {
    let n = genes.len();
    let mut rng = Rng::new(seed, "simulate base expression", &[]);
    let order = rng.permutation(n);
    let silent_share = (1.0 - N_EXPRESSED / n as f64).max(0.0);
    let mut log: Vec<f64> = order
        .iter()
        .zip(genes)
        .map(|(&rank, gene)| {
            let low = if gene.class == Some(GeneClass::LongNonCoding) {
                1.5
            } else {
                0.0
            };
            let silent = if rng.uniform() < silent_share {
                SILENT
            } else {
                0.0
            };
            LOG_SD * math::normal_quantile((rank as f64 + 0.5) / n as f64) - low - silent
        })
        .collect();
    let nuclear: f64 = log
        .iter()
        .zip(genes)
        .filter(|(_, g)| g.chromosome != "chrM")
        .map(|(l, _)| math::exp(*l))
        .sum();
    let n_mt = genes.iter().filter(|g| g.chromosome == "chrM").count();
    let top = math::ln(TOP_SHARE * nuclear);
    for (log, gene) in log.iter_mut().zip(genes) {
        *log = if gene.chromosome == "chrM" {
            math::ln(MT_SHARE / (1.0 - MT_SHARE) / n_mt as f64)
        } else {
            log.min(top) - math::ln(nuclear)
        };
    }
    log
}

/// Add to the base the type's own shifts, with its markers high and other types' markers low.
fn type_profile(genes: &[SimulatedGene], base: &[f64], cell_type: CellType, seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(seed, "simulate cell type", &[cell_type as u64]);
    let mut shift = shifts(genes.len(), 0.2, 1.0, &mut rng);
    clear_fixed(genes, &mut shift);
    let mut profile: Vec<f64> = base.iter().zip(&shift).map(|(b, s)| b + s).collect();
    // A shift must not make one gene a large part of the cell.
    let top = math::ln(TOP_SHARE * profile.iter().map(|l| math::exp(*l)).sum::<f64>());
    profile.iter_mut().for_each(|l| *l = l.min(top));
    for (gene, log) in genes.iter().zip(&mut profile) {
        let own = |t: &CellType| t.facts().markers.contains(&gene.name.as_str());
        let mut of_lung = CellType::all()
            .into_iter()
            .filter(|t| t.facts().is_of_lung());
        if let Some(owner) = of_lung.find(own) {
            *log = if owner == cell_type { -6.9 } else { -11.5 };
        } else if own(&cell_type) {
            *log = -6.9;
        } else if gene.immunoglobulin {
            *log = if cell_type == CellType::B {
                -9.2
            } else {
                -13.0
            };
        } else if gene.phase.is_some() {
            // Low in resting cells; a cycling cell raises them.
            *log = -11.0;
        }
    }
    profile
}

fn shifts(n: usize, share: f64, sd: f64, rng: &mut Rng) -> Vec<f64> {
    (0..n)
        .map(|_| {
            if rng.uniform() < share {
                sd * rng.normal()
            } else {
                0.0
            }
        })
        .collect()
}

fn clear_fixed(genes: &[SimulatedGene], shift: &mut [f64]) {
    genes
        .iter()
        .zip(shift)
        .filter(|(g, _)| g.chromosome == "chrM")
        .for_each(|(_, s)| *s = 0.0);
}
