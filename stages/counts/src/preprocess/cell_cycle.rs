//! Cell-cycle scores as scanpy computes them.

use super::checks::QcCheck;
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_data::matrix::Csr;
use clcc_numerics::rng::Rng;

/// Genes of S phase (Tirosh et al. 2016, Science 352:189), with the name of today where it changed.
pub const S_GENES: [&[&str]; 43] = [
    &["MCM5"],
    &["PCNA"],
    &["TYMS"],
    &["FEN1"],
    &["MCM2"],
    &["MCM4"],
    &["RRM1"],
    &["UNG"],
    &["GINS2"],
    &["MCM6"],
    &["CDCA7"],
    &["DTL"],
    &["PRIM1"],
    &["UHRF1"],
    &["MLF1IP", "CENPU"],
    &["HELLS"],
    &["RFC2"],
    &["RPA2"],
    &["NASP"],
    &["RAD51AP1"],
    &["GMNN"],
    &["WDR76"],
    &["SLBP"],
    &["CCNE2"],
    &["UBR7"],
    &["POLD3"],
    &["MSH2"],
    &["ATAD2"],
    &["RAD51"],
    &["RRM2"],
    &["CDC45"],
    &["CDC6"],
    &["EXO1"],
    &["TIPIN"],
    &["DSCC1"],
    &["BLM"],
    &["CASP8AP2"],
    &["USP1"],
    &["CLSPN"],
    &["POLA1"],
    &["CHAF1B"],
    &["BRIP1"],
    &["E2F8"],
];

/// Genes of G2 and M phase (Tirosh et al. 2016), with the name of today where it changed.
pub const G2M_GENES: [&[&str]; 54] = [
    &["HMGB2"],
    &["CDK1"],
    &["NUSAP1"],
    &["UBE2C"],
    &["BIRC5"],
    &["TPX2"],
    &["TOP2A"],
    &["NDC80"],
    &["CKS2"],
    &["NUF2"],
    &["CKS1B"],
    &["MKI67"],
    &["TMPO"],
    &["CENPF"],
    &["TACC3"],
    &["FAM64A", "PIMREG"],
    &["SMC4"],
    &["CCNB2"],
    &["CKAP2L"],
    &["CKAP2"],
    &["AURKB"],
    &["BUB1"],
    &["KIF11"],
    &["ANP32E"],
    &["TUBB4B"],
    &["GTSE1"],
    &["KIF20B"],
    &["HJURP"],
    &["CDCA3"],
    &["HN1", "JPT1"],
    &["CDC20"],
    &["TTK"],
    &["CDC25C"],
    &["KIF2C"],
    &["RANGAP1"],
    &["NCAPD2"],
    &["DLGAP5"],
    &["CDCA2"],
    &["CDCA8"],
    &["ECT2"],
    &["KIF23"],
    &["HMMR"],
    &["AURKA"],
    &["PSRC1"],
    &["ANLN"],
    &["LBR"],
    &["CKAP5"],
    &["CENPE"],
    &["CTCF"],
    &["NEK2"],
    &["G2E3"],
    &["GAS2L3"],
    &["CBX5"],
    &["CENPA"],
];

/// Expression bins that control genes are drawn from (scanpy's default).
const N_BINS: usize = 25;

/// Phase of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Neither score is positive.
    G1,
    /// The G2M score is the higher one.
    G2M,
    /// Otherwise.
    S,
}

/// Scores and phases of all cells.
#[derive(Debug, Clone, PartialEq)]
pub struct CellCycle {
    /// Mean of the S genes minus the mean of their controls, log1p scale; NaN without an S gene.
    pub s_score: Vec<f64>,
    /// The same for G2M.
    pub g2m_score: Vec<f64>,
    /// Phase; `None` where a score is missing.
    pub phase: Vec<Option<Phase>>,
    /// S and G2M genes found in the data.
    pub n_genes: [usize; 2],
}

/// Scores every cell. `x` is log1p expression, `n_cells x n_genes`; only the columns `pool` take part.
///
/// **Source**: scanpy 1.11 `tl.score_genes_cell_cycle`. **Deviation**: control genes are drawn from our
/// own generator (`random_state`), so scores differ from scanpy's by the luck of that draw; they are
/// equal where bins are small enough to be taken whole. Renamed genes are found under both names.
pub fn score_cell_cycle(names: &[String], x: &Csr, pool: &[usize], random_state: u64) -> CellCycle {
    let find = |list: &[&[&str]]| -> Vec<usize> {
        let at = |alias: &&str| pool.iter().copied().find(|&g| names[g] == **alias);
        list.iter()
            .filter_map(|aliases| aliases.iter().find_map(at))
            .collect()
    };
    let (s, g2m) = (find(&S_GENES), find(&G2M_GENES));
    let ctrl_size = S_GENES.len().min(G2M_GENES.len());
    let score = |genes: &[usize], which: u64| {
        let mut rng = Rng::new(random_state, "cell-cycle control genes", &[which]);
        score_genes(x, genes, pool, ctrl_size, &mut rng)
            .unwrap_or_else(|| vec![f64::NAN; x.n_rows()])
    };
    let (s_score, g2m_score) = (score(&s, 0), score(&g2m, 1));
    let phase = s_score.iter().zip(&g2m_score).map(|(&s, &g)| match () {
        () if s.is_nan() || g.is_nan() => None,
        () if s < 0.0 && g < 0.0 => Some(Phase::G1),
        () if g > s => Some(Phase::G2M),
        () => Some(Phase::S),
    });
    CellCycle {
        phase: phase.collect(),
        s_score,
        g2m_score,
        n_genes: [s.len(), g2m.len()],
    }
}

/// Mean expression of `genes` minus the mean of control genes of like expression, per cell. Controls:
/// the genes of `pool` are ranked by mean and cut into 25 bins; `ctrl_size` are drawn from each bin
/// that holds one of `genes`, and `genes` themselves are left out. `None` without a gene or a control.
///
/// **Source**: scanpy 1.11 `tl.score_genes` with `ctrl_as_ref`.
pub fn score_genes(
    x: &Csr,
    genes: &[usize],
    pool: &[usize],
    ctrl_size: usize,
    rng: &mut Rng,
) -> Option<Vec<f64>> {
    let cut = expression_bins(x, pool);
    let mut wanted: Vec<usize> = genes.iter().map(|&g| cut[g]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut is_gene = vec![false; x.n_cols()];
    genes.iter().for_each(|&g| is_gene[g] = true);
    let mut is_control = vec![false; x.n_cols()];
    for bin in wanted {
        let mut members: Vec<usize> = pool.iter().copied().filter(|&g| cut[g] == bin).collect();
        if ctrl_size < members.len() {
            rng.shuffle(&mut members);
            members.truncate(ctrl_size);
        }
        members
            .into_iter()
            .for_each(|g| is_control[g] = !is_gene[g]);
    }
    let n_controls = is_control.iter().filter(|c| **c).count();
    if genes.is_empty() || n_controls == 0 {
        return None;
    }
    let score = |r: usize| {
        let (cols, vals) = x.row(r);
        let (mut list, mut control) = (0.0, 0.0);
        for (&c, &v) in cols.iter().zip(vals) {
            if is_gene[c as usize] {
                list += f64::from(v);
            } else if is_control[c as usize] {
                control += f64::from(v);
            }
        }
        list / genes.len() as f64 - control / n_controls as f64
    };
    Some((0..x.n_rows()).map(score).collect())
}

/// For each gene of `pool` its bin: rank of the mean (lowest rank for ties, from 1) over the bin size,
/// rounded down. `usize::MAX` for other genes.
fn expression_bins(x: &Csr, pool: &[usize]) -> Vec<usize> {
    let sums = x.sum_rows(0..x.n_rows());
    let mut order = pool.to_vec();
    order.sort_by(|&a, &b| sums[a].total_cmp(&sums[b]));
    let n_items = ((pool.len() as f64 / (N_BINS - 1) as f64).round_ties_even() as usize).max(1);
    let mut cut = vec![usize::MAX; x.n_cols()];
    let mut rank = 0;
    for (i, &g) in order.iter().enumerate() {
        if i == 0 || sums[g] > sums[order[i - 1]] {
            rank = i + 1;
        }
        cut[g] = rank / n_items;
    }
    cut
}

impl CellCycle {
    pub(super) fn annotate(&self, obs: &mut Frame) {
        obs.set("S_score", Column::F64(self.s_score.clone()));
        obs.set("G2M_score", Column::F64(self.g2m_score.clone()));
        let codes = self
            .phase
            .iter()
            .map(|p| p.map_or(-1, |p| p as i32))
            .collect();
        let categories = ["G1", "G2M", "S"].map(String::from).to_vec();
        obs.set(
            "phase",
            Column::Category(Categorical {
                codes,
                categories,
                ordered: false,
            }),
        );
    }

    pub(super) fn check(&self) -> QcCheck {
        let [s, g2m] = self.n_genes;
        let found = s + g2m;
        let detail = format!(
            "cell-cycle genes found: {s} of {} for S, {g2m} of {} for G2M{}",
            S_GENES.len(),
            G2M_GENES.len(),
            if s == 0 || g2m == 0 {
                "; there is no phase without both"
            } else {
                ""
            }
        );
        // Half of either list is our line between a score and a guess.
        QcCheck::new(
            "cell_cycle_genes",
            2 * s >= S_GENES.len() && 2 * g2m >= G2M_GENES.len(),
            found as f64,
            detail,
        )
    }
}
