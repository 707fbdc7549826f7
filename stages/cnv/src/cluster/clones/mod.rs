//! Clones of a patient: malignant cells separated by the copy number of pieces of arms.
//!
//! Leiden on the windows of all cells finds tumours and cell types, but does not separate subclones,
//! which differ by a few arms (adjusted Rand index near 0 on simulated tumours of 340 malignant cells,
//! where this method reaches .7 to 1). Here malignant cells are compared among themselves, by raw
//! counts:
//!
//! 1. Expressed genes are cut into pieces of an arm (of a chromosome, where the genome is not known),
//!    consecutive genes in equal numbers ([`Piece`]).
//! 2. Each cell has one value per piece: the log of its share of the cell's counts, with genes weighted
//!    by `1 / (1 + phi m)` (phi: overdispersion, m: mean count), so that no variable gene dominates.
//! 3. A mixture of normal components with shared variances (`mixture`) is fitted for 1, 2, ...
//!    clones; BIC chooses their number. What a value changes by with the depth of a cell is estimated
//!    within the components and taken away, and the mixture fitted again: clones do not split by depth.
//! 4. An expression programme moves some genes of a piece, a copy-number change all of them: a
//!    component is kept only if its cells differ by a copy-number change from those that they would
//!    otherwise join (`compare`); others are dissolved, the least different first.
//!
//! This method is ours; neither paper nor infercnvpy has it. Numbat and CONGAS find clones from counts
//! in a similar way, with alleles or given segments.

mod compare;
mod mixture;

use std::collections::BTreeMap;

use ndarray::{Array1, Array2, Axis};

use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_data::genome::Arm;
use clcc_data::matrix::Csr;
use clcc_numerics::math;
use clcc_numerics::stats::median;
pub use compare::Evidence;
use compare::{bulks, difference, median_ratio};

/// Mean count in malignant cells from which a gene is included.
const MIN_MEAN: f64 = 0.02;
/// Expressed genes per piece; arms with fewer than [`MIN_GENES`] are not included.
const PIECE_GENES: usize = 75;
const MIN_GENES: usize = 20;
/// Range of the overdispersion.
const PHI: (f64, f64) = (0.01, 10.0);

/// Options of [`clones`].
#[derive(Debug, Clone, Copy)]
pub struct CloneOptions {
    /// Largest number of clones.
    pub max_clones: usize,
    /// Fewest cells of a clone.
    pub min_cells: usize,
    /// Seed of the starts.
    pub seed: u64,
}

/// Clones of one patient, the largest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Clones {
    /// Clone of each cell; `None` for cells that are not malignant.
    pub of_cell: Vec<Option<u32>>,
    /// Probability of that clone; NaN for cells that are not malignant.
    pub confidence: Vec<f64>,
    /// Number of cells of each clone.
    pub n_cells: Vec<usize>,
    /// Pieces of the genome that the cells were compared on.
    pub pieces: Vec<Piece>,
    /// `n_clones x n_pieces`: median over genes of the log ratio to the patient's other clones,
    /// relative to the median piece; NaN with one clone or too few counts.
    pub log_ratio: Array2<f64>,
    /// For each clone, the other clone that it differs from least (`None` with one clone), and why it
    /// differs from that.
    pub evidence: Vec<Option<(usize, Evidence)>>,
    /// Median counts of each clone's cells.
    pub median_counts: Vec<f64>,
}

/// Piece of the genome: consecutive expressed genes of one arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Chromosome, with `chr`.
    pub chromosome: String,
    /// Arm; `None` where the genome's arms are not known and the piece is part of a chromosome.
    pub arm: Option<Arm>,
    /// First and last base, 1-based, inclusive.
    pub span: (i64, i64),
    /// Genes, as columns of the counts.
    pub genes: Vec<usize>,
}

/// Find the clones among the rows of `counts` (raw, `n_cells x n_genes`) that are `malignant`; `var`
/// has `chromosome`, `start` and `end` of each gene, and its `arm` where it is known, and `used` says
/// which genes take part.
///
/// # Errors
/// [`clcc_data::error::StageError::Data`] where a column of `var` is missing.
pub fn clones(
    counts: &Csr,
    (var, used): (&Frame, &[bool]),
    malignant: &[bool],
    options: CloneOptions,
) -> StageResult<Clones> {
    let cells: Vec<usize> = (0..counts.n_rows())
        .filter(|&i| malignant[i] && counts.row(i).1.iter().any(|v| *v > 0.0))
        .collect();
    let moments = Moments::new(counts, &cells);
    let pieces = pieces(var, used, &moments.mean)?;
    let mut per_depth = vec![0.0; pieces.len()];
    let labels = if cells.len() < 2 * options.min_cells || pieces.len() < 2 {
        (vec![0u32; cells.len()], vec![1.0; cells.len()])
    } else {
        let mut features = features(counts, &cells, &pieces, &moments);
        let first = labels_of(&best_mixture(&features.x, options));
        per_depth = features.take_depth(&first);
        let joint = best_mixture(&features.x, options);
        joined(counts, &cells, &pieces, (&features, &per_depth), joint)
    };
    Ok(Clones::new(
        counts,
        malignant,
        &cells,
        (pieces, &per_depth),
        labels,
    ))
}

/// Likeliest component of each row.
fn labels_of(joint: &Array2<f64>) -> Vec<u32> {
    let rows = joint.rows().into_iter();
    rows.map(|row| largest(row.iter().copied()).0 as u32)
        .collect()
}

/// Mean and overdispersion of each gene over the malignant cells.
struct Moments {
    mean: Vec<f64>,
    phi: Vec<f64>,
}

impl Moments {
    fn new(counts: &Csr, cells: &[usize]) -> Self {
        let libraries: Vec<f64> = cells.iter().map(|&i| library(counts, i)).collect();
        let (sum, squares): (f64, f64) = libraries
            .iter()
            .fold((0.0, 0.0), |(s, q), l| (s + l, q + l * l));
        let g = counts.n_cols();
        let (mut total, mut cross, mut own) = (vec![0.0; g], vec![0.0; g], vec![0.0; g]);
        for (&i, l) in cells.iter().zip(&libraries) {
            let (cols, values) = counts.row(i);
            for (&c, &n) in cols.iter().zip(values) {
                let (c, n) = (c as usize, f64::from(n));
                total[c] += n;
                cross[c] += n * l;
                own[c] += n * n;
            }
        }
        // Moments around l r: sum (n - l r)^2 = sum l r + phi sum (l r)^2.
        let phi = (0..g)
            .map(|c| {
                let r = total[c] / sum;
                let expected = r * r * squares;
                if expected > 0.0 {
                    let excess = own[c] - 2.0 * r * cross[c] + expected - r * sum;
                    (excess / expected).clamp(PHI.0, PHI.1)
                } else {
                    PHI.0
                }
            })
            .collect();
        let n = cells.len().max(1) as f64;
        Self {
            mean: total.iter().map(|t| t / n).collect(),
            phi,
        }
    }

    fn weight(&self, gene: usize) -> f64 {
        1.0 / (1.0 + self.phi[gene] * self.mean[gene])
    }
}

fn library(counts: &Csr, cell: usize) -> f64 {
    counts.row(cell).1.iter().map(|v| f64::from(*v)).sum()
}

/// Cut the expressed genes of each arm into pieces of equal numbers.
fn pieces(var: &Frame, used: &[bool], mean: &[f64]) -> StageResult<Vec<Piece>> {
    let chromosome = var.texts("chromosome")?;
    let (start, end) = (var.numbers("start")?, var.numbers("end")?);
    let known = Arm::of_frame(var);
    let mut arms: BTreeMap<(&str, Option<Arm>), Vec<usize>> = BTreeMap::new();
    for g in (0..mean.len()).filter(|&g| used[g] && mean[g] >= MIN_MEAN && chromosome[g] != "chrY")
    {
        let arm = known.as_ref().and_then(|arms| arms[g]);
        let placed = match known {
            Some(_) => arm.is_some(),
            None => !matches!(chromosome[g].as_str(), "" | "chrM"),
        };
        if placed {
            arms.entry((chromosome[g].as_str(), arm))
                .or_default()
                .push(g);
        }
    }
    let mut out = Vec::new();
    for ((name, arm), mut genes) in arms {
        if genes.len() < MIN_GENES {
            continue;
        }
        genes.sort_by(|&a, &b| start[a].total_cmp(&start[b]).then(a.cmp(&b)));
        let n = ((genes.len() as f64 / PIECE_GENES as f64).round() as usize).max(1);
        for piece in 0..n {
            let own = genes[piece * genes.len() / n..(piece + 1) * genes.len() / n].to_vec();
            let from = own.iter().map(|&g| start[g] as i64).min().unwrap_or(0);
            let to = own.iter().map(|&g| end[g] as i64).max().unwrap_or(0);
            out.push(Piece {
                chromosome: name.to_string(),
                arm,
                span: (from, to),
                genes: own,
            });
        }
    }
    Ok(out)
}

/// Values by which cells are compared.
struct Features {
    /// Log share of each piece in a cell's counts, centred, in units of its counting noise, `n_cells x n_pieces`.
    x: Array2<f64>,
    /// Units of each piece's value per unit of the natural log.
    scale: Vec<f64>,
    /// Weighted library size of each cell.
    library: Vec<f64>,
}

impl Features {
    /// Take away what changes with the log of a cell's library size, by the slope within the groups that `labels`
    /// names; returns the slopes, in natural log per natural log.
    fn take_depth(&mut self, labels: &[u32]) -> Vec<f64> {
        let depth: Vec<f64> = self.library.iter().map(|l| math::ln(l.max(1.0))).collect();
        let within = |values: &[f64]| -> Vec<f64> {
            let k = labels.iter().map(|l| *l as usize + 1).max().unwrap_or(0);
            let (mut sum, mut n) = (vec![0.0; k], vec![0.0; k]);
            for (v, &l) in values.iter().zip(labels) {
                sum[l as usize] += v;
                n[l as usize] += 1.0;
            }
            let pairs = values.iter().zip(labels);
            pairs
                .map(|(v, &l)| v - sum[l as usize] / n[l as usize])
                .collect()
        };
        let deviation = within(&depth);
        let spread: f64 = deviation.iter().map(|d| d * d).sum();
        if spread <= 0.0 {
            return vec![0.0; self.scale.len()];
        }
        let centre = clcc_numerics::stats::mean(&depth);
        let scale = self.scale.clone();
        let columns = self.x.axis_iter_mut(Axis(1)).zip(scale);
        columns
            .map(|(mut column, scale)| {
                let own = within(&column.to_vec());
                let slope = own.iter().zip(&deviation).map(|(x, d)| x * d).sum::<f64>() / spread;
                column
                    .iter_mut()
                    .zip(&depth)
                    .for_each(|(x, d)| *x -= slope * (d - centre));
                slope / scale
            })
            .collect()
    }
}

fn features(counts: &Csr, cells: &[usize], pieces: &[Piece], moments: &Moments) -> Features {
    let mut piece_of = vec![usize::MAX; counts.n_cols()];
    for (p, piece) in pieces.iter().enumerate() {
        piece.genes.iter().for_each(|&g| piece_of[g] = p);
    }
    let mut x = Array2::zeros((cells.len(), pieces.len()));
    let mut library = vec![0.0; cells.len()];
    for (row, &i) in cells.iter().enumerate() {
        let (cols, values) = counts.row(i);
        for (&c, &n) in cols.iter().zip(values) {
            if let Some(value) = x.get_mut((row, piece_of[c as usize])) {
                *value += moments.weight(c as usize) * f64::from(n);
            }
        }
        library[row] = x.row(row).sum();
    }
    let mut scales = Vec::with_capacity(pieces.len());
    for mut column in x.axis_iter_mut(Axis(1)) {
        let scale = column.mean().unwrap_or(0.0).max(1.0).sqrt();
        column
            .iter_mut()
            .zip(&library)
            .for_each(|(v, t)| *v = math::ln((*v + 0.5) / t.max(1.0)) * scale);
        let mean = column.mean().unwrap_or(0.0);
        column -= mean;
        scales.push(scale);
    }
    Features {
        x,
        scale: scales,
        library,
    }
}

/// Fit mixtures and choose the one with the least BIC: log joint density of each cell and component.
/// Components of fewer cells than a clone needs (as a rule, normal cells among the malignant ones) are
/// dissolved: their cells join the likeliest of the others.
fn best_mixture(x: &Array2<f64>, options: CloneOptions) -> Array2<f64> {
    let mut best = (f64::INFINITY, Array2::ones((x.nrows(), 1)));
    let mut worse = 0;
    for k in 1..=options.max_clones {
        let Some(found) = mixture::fit(&x.view(), k, options.seed) else {
            break;
        };
        if found.bic < best.0 {
            best = (found.bic, found.log_joint);
            worse = 0;
        } else {
            worse += 1;
        }
        if worse == 2 {
            break;
        }
    }
    let mut joint = best.1;
    loop {
        let posterior = mixture::posterior(&joint);
        let mut size = vec![0usize; posterior.ncols()];
        posterior
            .rows()
            .into_iter()
            .for_each(|p| size[largest(p.iter().copied()).0] += 1);
        let (smallest, n) = largest(size.iter().map(|n| -(*n as f64)));
        if size.len() == 1 || -n >= options.min_cells as f64 {
            return joint;
        }
        joint.remove_index(Axis(1), smallest);
    }
}

/// Position and value of the largest; ties go to the first.
fn largest(values: impl Iterator<Item = f64>) -> (usize, f64) {
    values
        .enumerate()
        .fold((0, f64::NEG_INFINITY), |best, (i, v)| {
            if v > best.1 { (i, v) } else { best }
        })
}

/// Dissolve components whose copy number does not differ from the others'; returns the label of each
/// cell and its probability.
///
/// The cells of a component are assigned to the others by [`fates`]. Where no part of them differs by a
/// copy-number change from the cells already there, the component is not a clone but half of one, or
/// cells of several clones that share an expression programme.
fn joined(
    counts: &Csr,
    cells: &[usize],
    pieces: &[Piece],
    (features, per_depth): (&Features, &[f64]),
    mut joint: Array2<f64>,
) -> (Vec<u32>, Vec<f64>) {
    loop {
        let k = joint.ncols();
        let (labels, confidence): (Vec<u32>, Vec<f64>) = mixture::posterior(&joint)
            .rows()
            .into_iter()
            .map(|p| largest(p.iter().copied()))
            .map(|(k, p)| (k as u32, p))
            .unzip();
        let least = (0..k)
            .filter(|_| k > 1)
            .map(|m| {
                let fates = fates(&features.x, &labels, k, m);
                // Components 0..k stay as they are; k.. are the parts of m that go to each.
                let parted: Vec<u32> = labels
                    .iter()
                    .zip(&fates)
                    .map(|(l, fate)| fate.map_or(*l, |f| k as u32 + f))
                    .collect();
                let bulks = bulks(counts, cells, &parted, &features.library, 2 * k);
                let difference = (0..k)
                    .filter(|&c| c != m && bulks[k + c].library > 0.0)
                    .map(|c| difference(&bulks[k + c], &bulks[c], pieces, per_depth).strength)
                    .fold(0.0, f64::max);
                (difference, m, fates)
            })
            .min_by(|x, y| x.0.total_cmp(&y.0));
        let Some((_, m, fates)) = least.filter(|l| l.0 < 1.0) else {
            return (labels, confidence);
        };
        for (mut row, fate) in joint.rows_mut().into_iter().zip(fates) {
            let to = fate.map_or_else(
                || {
                    let other = |(c, v): (usize, &f64)| if c == m { f64::NEG_INFINITY } else { *v };
                    largest(row.iter().enumerate().map(other)).0
                },
                |f| f as usize,
            );
            let (a, b) = (row[to], row[m]);
            row[to] = a.max(b) + math::ln_1p(math::exp(-(a - b).abs()));
        }
        joint.remove_index(Axis(1), m);
    }
}

/// Number of rounds of [`fates`].
const FATE_ROUNDS: usize = 20;

/// Assign each cell of component `m` to one of the other components, if all its cells are shifted
/// alike: `x ~ N(mean of c + shift, variances)` with one shift for all of them, by expectation and
/// maximisation. `None` for cells of other components.
fn fates(x: &Array2<f64>, labels: &[u32], k: usize, m: usize) -> Vec<Option<u32>> {
    let (mut mean, mut size) = (Array2::<f64>::zeros((k, x.ncols())), vec![0.0; k]);
    for (row, &l) in x.rows().into_iter().zip(labels) {
        mean.row_mut(l as usize).scaled_add(1.0, &row);
        size[l as usize] += 1.0;
    }
    for (mut row, n) in mean.rows_mut().into_iter().zip(&size) {
        row.mapv_inplace(|v| v / f64::max(*n, 1.0));
    }
    let mut precision = Array1::<f64>::zeros(x.ncols());
    for (row, &l) in x.rows().into_iter().zip(labels) {
        precision += &(&row - &mean.row(l as usize)).mapv(|d| d * d);
    }
    let n = x.nrows() as f64;
    precision.mapv_inplace(|v| n / v.max(1e-9 * n));
    let others: Vec<usize> = (0..k).filter(|&c| c != m && size[c] > 0.0).collect();
    let own: Vec<usize> = (0..labels.len())
        .filter(|&i| labels[i] as usize == m)
        .collect();
    let mut out = vec![None; labels.len()];
    if others.is_empty() {
        return out;
    }
    let mut weight = vec![1.0 / others.len() as f64; others.len()];
    // Start without a shift: cells of one clone are nearest to it, and a shift between two others would
    // split them.
    let mut shift = Array1::<f64>::zeros(x.ncols());
    for _ in 0..FATE_ROUNDS {
        let mut next = Array1::<f64>::zeros(x.ncols());
        let mut share = vec![0.0; others.len()];
        for &i in &own {
            let left = &x.row(i) - &shift;
            let log: Vec<f64> = others
                .iter()
                .zip(&weight)
                .map(|(&c, w)| {
                    let away = &left - &mean.row(c);
                    math::ln(f64::max(*w, 1e-9)) - 0.5 * (&away * &away * &precision).sum()
                })
                .collect();
            let (best, top) = largest(log.iter().copied());
            out[i] = Some(others[best] as u32);
            let total: f64 = log.iter().map(|l| math::exp(l - top)).sum();
            for (o, l) in log.iter().enumerate() {
                let p = math::exp(l - top) / total;
                share[o] += p;
                next.scaled_add(p, &(&x.row(i) - &mean.row(others[o])));
            }
        }
        let n = own.len().max(1) as f64;
        shift = next / n;
        weight = share.iter().map(|s| s / n).collect();
    }
    out
}

impl Clones {
    fn new(
        counts: &Csr,
        malignant: &[bool],
        cells: &[usize],
        (pieces, per_depth): (Vec<Piece>, &[f64]),
        (labels, probability): (Vec<u32>, Vec<f64>),
    ) -> Self {
        let n = labels.iter().map(|l| *l as usize + 1).max().unwrap_or(0);
        let mut size = vec![0usize; n];
        labels.iter().for_each(|l| size[*l as usize] += 1);
        // Largest first; ties go to the one that appears first.
        let mut order: Vec<usize> = (0..n).filter(|&k| size[k] > 0).collect();
        let first = |k: usize| labels.iter().position(|l| *l as usize == k);
        order.sort_by_key(|&k| (std::cmp::Reverse(size[k]), first(k)));
        let mut rank = vec![0u32; n];
        (0..order.len()).for_each(|r| rank[order[r]] = r as u32);
        let labels: Vec<u32> = labels.iter().map(|l| rank[*l as usize]).collect();
        let (mut of_cell, mut confidence) =
            (vec![None; malignant.len()], vec![f64::NAN; malignant.len()]);
        for ((&i, l), p) in cells.iter().zip(&labels).zip(probability) {
            of_cell[i] = Some(*l);
            confidence[i] = p;
        }
        let k = order.len();
        let mut log_ratio = Array2::from_elem((k, pieces.len()), f64::NAN);
        let libraries: Vec<f64> = cells.iter().map(|&i| library(counts, i)).collect();
        let median_counts = (0..k as u32).map(|c| {
            let own = libraries.iter().zip(&labels).filter(|(_, l)| **l == c);
            median(&own.map(|(n, _)| *n).collect::<Vec<_>>())
        });
        let median_counts = median_counts.collect();
        let each = bulks(counts, cells, &labels, &libraries, k);
        let nearest = |c: usize| {
            let others = (0..k).filter(|&o| o != c);
            let found = others.map(|o| (o, difference(&each[c], &each[o], &pieces, per_depth)));
            found.min_by(|a, b| a.1.strength.total_cmp(&b.1.strength))
        };
        let evidence = (0..k).map(nearest).collect();
        if k > 1 {
            for c in 0..k {
                let own: Vec<u32> = labels.iter().map(|l| u32::from(*l as usize != c)).collect();
                let two = bulks(counts, cells, &own, &libraries, 2);
                for (p, piece) in pieces.iter().enumerate() {
                    log_ratio[[c, p]] = median_ratio(&two[0], &two[1], &piece.genes);
                }
                let told = log_ratio.row(c).into_iter().copied();
                let middle = median(&told.filter(|v| v.is_finite()).collect::<Vec<_>>());
                log_ratio.row_mut(c).mapv_inplace(|v| v - middle);
            }
        }
        Self {
            of_cell,
            confidence,
            n_cells: order.iter().map(|&c| size[c]).collect(),
            pieces,
            log_ratio,
            evidence,
            median_counts,
        }
    }
}

#[cfg(test)]
mod tests;
