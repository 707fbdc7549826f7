//! Cis effects gene by gene, with the copy number of windows that do not contain the gene.
//!
//! The copy number of a window is a mean over its genes' expression, so a region's expression
//! correlates with its own copy number by construction. Here a gene's expression is correlated with the
//! nearest windows that do not contain it.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::dosage::GeneWindows;
use clcc_data::matrix::Csr;
use clcc_numerics::stats::{TTest, average_ranks, mean, paired_t};

use super::cis::Region;

/// Cells in which a gene must be expressed to be included.
pub(super) const MIN_CELLS: usize = 10;

/// Mean gene-level correlations of one region in one set of cells.
#[derive(Debug, Clone, PartialEq)]
pub struct LeftOut {
    /// Index of the region.
    pub region: usize,
    /// Genes expressed in 10 cells or more whose own and adjacent windows vary.
    pub n_genes: usize,
    /// Mean Spearman correlation with the windows that contain the gene.
    pub own: f64,
    /// Mean Spearman correlation with the nearest windows that do not contain it.
    pub adjacent: f64,
    /// Mean Spearman correlation with the copy number of the other chromosomes.
    pub trans: f64,
    /// Paired t test over genes of `adjacent` against `trans`.
    pub test: TTest,
}

/// Correlations of one gene: with its own windows, the adjacent windows, and other chromosomes.
type GeneRho = Option<[f64; 3]>;

/// Compute the left-out cis effects of all regions over cells: `genes` is their expression, `genes x cells`, `cnv`
/// their copy number, `cells x windows`.
pub fn left_out(regions: &[Region], map: &GeneWindows, genes: &Csr, cnv: &Csr) -> Vec<LeftOut> {
    let n_cells = cnv.n_rows();
    let windows = dense_windows(cnv);
    let chromosomes: Vec<&Region> = regions.iter().filter(|r| r.level == "chromosome").collect();
    let of_chromosome: Vec<Option<Ranks>> = chromosomes
        .par_iter()
        .map(|r| Ranks::of(&windows, &evenly(&r.windows), n_cells))
        .collect();
    let found: Vec<Vec<(usize, GeneRho)>> = groups(&chromosomes, map)
        .par_iter()
        .map(|(windows_of, members)| {
            let Some((own, adjacent)) = windows_of.ranks(&windows, n_cells) else {
                return Vec::new();
            };
            let rho = |&(g, chromosome): &(usize, usize)| {
                let rho = SparseRanks::of(genes.row(g), n_cells).map(|e| {
                    let trans: Vec<f64> = of_chromosome
                        .iter()
                        .enumerate()
                        .filter(|(c, _)| *c != chromosome)
                        .filter_map(|(_, r)| r.as_ref())
                        .map(|r| e.correlation(r))
                        .collect();
                    [e.correlation(&own), e.correlation(&adjacent), mean(&trans)]
                });
                (g, rho)
            };
            members.iter().map(rho).collect()
        })
        .collect();
    let mut rho: Vec<GeneRho> = vec![None; map.len()];
    for (g, r) in found.into_iter().flatten() {
        rho[g] = r;
    }
    (0..regions.len())
        .map(|r| summary(r, &regions[r].genes, &rho))
        .collect()
}

/// Own windows of a gene, and its adjacent windows with the bits of their weights.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct WindowsOf {
    own: (usize, usize),
    adjacent: Vec<(usize, u64)>,
}

impl WindowsOf {
    /// Ranks of the mean over the own windows and of that over the adjacent ones, in `n` cells; `None` where
    /// either does not vary.
    fn ranks(&self, windows: &[Vec<f32>], n: usize) -> Option<(Ranks, Ranks)> {
        let own: Vec<usize> = (self.own.0..self.own.1).collect();
        let adjacent: Vec<(usize, f64)> = self
            .adjacent
            .iter()
            .map(|b| (b.0, f64::from_bits(b.1)))
            .collect();
        Some((
            Ranks::of(windows, &evenly(&own), n)?,
            Ranks::of(windows, &adjacent, n)?,
        ))
    }
}

/// These windows with equal weights that sum to 1.
fn evenly(windows: &[usize]) -> Vec<(usize, f64)> {
    let weight = 1.0 / windows.len() as f64;
    windows.iter().map(|&w| (w, weight)).collect()
}

/// Genes with their chromosomes, grouped by their windows: genes with the same own and adjacent windows share
/// those windows' ranks.
fn groups(chromosomes: &[&Region], map: &GeneWindows) -> Vec<(WindowsOf, Vec<(usize, usize)>)> {
    let mut groups: BTreeMap<WindowsOf, Vec<(usize, usize)>> = BTreeMap::new();
    for (c, region) in chromosomes.iter().enumerate() {
        for &g in &region.genes {
            let (own, adjacent) = (map.own(g), map.adjacent(g));
            if !own.is_empty() && !adjacent.is_empty() {
                let windows = WindowsOf {
                    own: (own.start, own.end),
                    adjacent: adjacent.iter().map(|b| (b.0, b.1.to_bits())).collect(),
                };
                groups.entry(windows).or_default().push((g, c));
            }
        }
    }
    groups.into_iter().collect()
}

fn summary(region: usize, genes: &[usize], rho: &[GeneRho]) -> LeftOut {
    let known: Vec<[f64; 3]> = genes.iter().filter_map(|&g| rho[g]).collect();
    let of = |k: usize| known.iter().map(|r| r[k]).collect::<Vec<f64>>();
    let (adjacent, trans) = (of(1), of(2));
    LeftOut {
        region,
        n_genes: known.len(),
        own: mean(&of(0)),
        adjacent: mean(&adjacent),
        trans: mean(&trans),
        test: paired_t(&adjacent, &trans),
    }
}

/// Dense copy number, `[window][cell]`.
fn dense_windows(cnv: &Csr) -> Vec<Vec<f32>> {
    let mut out = vec![vec![0.0; cnv.n_rows()]; cnv.n_cols()];
    for r in 0..cnv.n_rows() {
        let (cols, values) = cnv.row(r);
        for (&c, &v) in cols.iter().zip(values) {
            out[c as usize][r] = v;
        }
    }
    out
}

/// Ranks of a dense vector, minus their mean, with their norm.
struct Ranks {
    centred: Vec<f32>,
    norm: f64,
}

impl Ranks {
    /// Rank a weighted sum of windows; `None` where it does not vary.
    fn of(windows: &[Vec<f32>], parts: &[(usize, f64)], n: usize) -> Option<Self> {
        let mut sum = vec![0.0; n];
        for &(w, weight) in parts {
            for (s, &v) in sum.iter_mut().zip(&windows[w]) {
                *s += weight * f64::from(v);
            }
        }
        let middle = (n as f64 + 1.0) / 2.0;
        let centred: Vec<f32> = average_ranks(&sum)
            .iter()
            .map(|r| (r - middle) as f32)
            .collect();
        let norm = centred
            .iter()
            .map(|&c| f64::from(c) * f64::from(c))
            .sum::<f64>()
            .sqrt();
        (norm > 0.0).then_some(Self { centred, norm })
    }
}

/// Ranks of a gene's values, stored as the difference of the expressing cells' ranks from the rank of
/// the zeros.
struct SparseRanks {
    beyond_zero: Vec<(u32, f64)>,
    norm: f64,
}

impl SparseRanks {
    /// Rank a gene's positive values; `None` where fewer than [`MIN_CELLS`] of the `n` cells have one,
    /// or all have the same.
    fn of((cells, values): (&[u32], &[f32]), n: usize) -> Option<Self> {
        let mut order: Vec<usize> = (0..cells.len()).filter(|&i| values[i] > 0.0).collect();
        if order.len() < MIN_CELLS {
            return None;
        }
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]).then(a.cmp(&b)));
        let zeros = (n - order.len()) as f64;
        let zero_rank = (zeros + 1.0) / 2.0;
        let n = n as f64;
        let cube = |t: f64| t * t * t - t;
        let mut ties = cube(zeros);
        let mut beyond_zero = Vec::with_capacity(order.len());
        let mut below = zeros;
        for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
            let t = tied.len() as f64;
            let rank = below + (t + 1.0) / 2.0;
            beyond_zero.extend(tied.iter().map(|&i| (cells[i], rank - zero_rank)));
            ties += cube(t);
            below += t;
        }
        // Sum of squares of ranks around their mean, corrected for ties (Kendall).
        let square = (cube(n) - ties) / 12.0;
        (square > 0.0).then(|| Self {
            beyond_zero,
            norm: square.sqrt(),
        })
    }

    /// Spearman's correlation with `other`, whose ranks sum to 0, so the zeros' common rank drops out.
    fn correlation(&self, other: &Ranks) -> f64 {
        self.beyond_zero
            .iter()
            .map(|&(cell, r)| r * f64::from(other.centred[cell as usize]))
            .sum::<f64>()
            / (self.norm * other.norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dosage::windows::tests::windows;
    use clcc_numerics::rng::Rng;
    use clcc_numerics::stats::spearman;
    use clcc_testing::genes;

    /// 300 cells, three chromosomes; windows hold their own noise only, or the copy number of chr4.
    fn data(dosage: f64) -> (Vec<Region>, GeneWindows, Csr, Csr) {
        let sizes = [("chr4", 60), ("chr5", 60), ("chr6", 60)];
        let g = genes(&sizes);
        let w = windows(&sizes, 20, 10);
        let map = GeneWindows::new(&g.index, &w, &g).unwrap();
        let mut rng = Rng::new(2, "left out", &[]);
        let n = 300;
        let (first, last) = (
            w.numbers("first_gene").unwrap(),
            w.numbers("last_gene").unwrap(),
        );
        let mut x = ndarray::Array2::<f32>::zeros((n, 180));
        let mut c = ndarray::Array2::<f32>::zeros((n, w.len()));
        for i in 0..n {
            let gain = rng.uniform();
            for k in 0..180 {
                let mean = 0.6 + if k < 60 { dosage * gain } else { 0.0 };
                x[[i, k]] = (rng.poisson(mean) as f32).ln_1p();
            }
            // As infercnv: a window is the mean of its genes.
            for k in 0..w.len() {
                let own = first[k] as usize..=last[k] as usize;
                c[[i, k]] = own.clone().map(|g| x[[i, g]]).sum::<f32>() / own.count() as f32;
            }
        }
        let regions = ["chr4", "chr5", "chr6"]
            .iter()
            .enumerate()
            .map(|(r, name)| Region {
                name: (*name).into(),
                level: "chromosome",
                chromosome: (*name).into(),
                genes: (60 * r..60 * r + 60).collect(),
                windows: (0..w.len())
                    .filter(|&k| first[k] as usize / 60 == r)
                    .collect(),
            })
            .collect();
        (regions, map, Csr::from_dense(&x), Csr::from_dense(&c))
    }

    #[test]
    fn own_windows_correlate_by_construction_and_adjacent_ones_do_not() {
        let (regions, map, x, cnv) = data(0.0);
        let found = left_out(&regions, &map, &x.transpose(), &cnv);
        for f in &found {
            assert!(f.n_genes > 50 && f.own > 0.1, "{f:?}");
            assert!(f.adjacent.abs() < 0.03 && f.trans.abs() < 0.03, "{f:?}");
        }
        let (regions, map, x, cnv) = data(2.0);
        let found = left_out(&regions, &map, &x.transpose(), &cnv);
        assert!(
            found[0].adjacent > 0.1 && found[0].test.p.p < 1e-6,
            "{:?}",
            found[0]
        );
        assert!(
            found[1].adjacent.abs() < 0.03 && found[1].trans.abs() < 0.03,
            "{:?}",
            found[1]
        );
    }

    #[test]
    fn one_gene_equals_spearman() {
        let (regions, map, x, cnv) = data(1.0);
        // Half of the cells, out of order.
        let rows: Vec<usize> = (0..150).map(|i| (i * 7) % 300).collect();
        let gene = 25;
        let only = [
            Region {
                genes: vec![gene],
                ..regions[0].clone()
            },
            regions[1].clone(),
        ];
        let genes = x.take_rows(&rows).transpose();
        let found = &left_out(&only, &map, &genes, &cnv.take_rows(&rows))[0];
        let dense: Vec<f64> = rows.iter().map(|&i| f64::from(x.get(i, gene))).collect();
        let profile = |i: usize| -> Vec<f64> {
            (0..cnv.n_cols())
                .map(|w| f64::from(cnv.get(i, w)))
                .collect()
        };
        let adjacent: Vec<f64> = rows
            .iter()
            .map(|&i| map.without_gene(gene, &profile(i)))
            .collect();
        let own: Vec<f64> = rows
            .iter()
            .map(|&i| map.with_gene(gene, &profile(i)))
            .collect();
        assert!((found.adjacent - spearman(&dense, &adjacent).r).abs() < 1e-9);
        assert!((found.own - spearman(&dense, &own).r).abs() < 1e-9);
    }
}
