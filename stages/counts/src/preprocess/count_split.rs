//! Counts thinned into two parts: one to learn on, one to test on.
//!
//! Classes, clusters and copy number that are learnt from a cell's counts fit their noise, and a
//! test on the same counts finds that noise again. Each count goes to either part with probability
//! one half, so given a cell's rates the parts of a Poisson count are independent Poisson counts of
//! half the rate (Neufeld, Gao, Popp, Battle and Witten, Biostatistics 2022). Of overdispersed
//! counts the parts share what the cell's rates share, which is the cell and not its noise.

use rayon::prelude::*;

use clcc_data::matrix::Csr;
use clcc_numerics::rng::Rng;

/// The part to learn on and the part held out; they sum to `counts` (whole numbers). A cell's draws
/// depend on `seed` and its name alone, so neither order nor company changes them.
pub fn split_counts(counts: &Csr, cells: &[String], seed: u64) -> (Csr, Csr) {
    assert_eq!(counts.n_rows(), cells.len(), "one name per cell");
    let rows: Vec<[Vec<(u32, f32)>; 2]> = (0..counts.n_rows())
        .into_par_iter()
        .map(|r| {
            let name: Vec<u64> = cells[r].bytes().map(u64::from).collect();
            let mut rng = Rng::new(seed, "preprocess.count_split", &name);
            let (genes, values) = counts.row(r);
            let mut parts = [Vec::with_capacity(genes.len()), Vec::new()];
            for (&g, &v) in genes.iter().zip(values) {
                let n = v as u64;
                let learn = half(n, &mut rng);
                for (part, count) in parts.iter_mut().zip([learn, n - learn]) {
                    if count > 0 {
                        part.push((g, count as f32));
                    }
                }
            }
            parts
        })
        .collect();
    let (mut learn, mut held_out) = (Vec::new(), Vec::new());
    for [a, b] in rows {
        learn.push(a);
        held_out.push(b);
    }
    (
        Csr::from_rows(counts.n_cols(), learn),
        Csr::from_rows(counts.n_cols(), held_out),
    )
}

/// Binomial(n, 1/2), exactly: heads among n random bits.
fn half(n: u64, rng: &mut Rng) -> u64 {
    let (mut left, mut heads) = (n, 0);
    while left > 0 {
        let bits = left.min(64);
        heads += u64::from((rng.next_u64() >> (64 - bits)).count_ones());
        left -= bits;
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_numerics::stats::{mean, pearson, variance};

    #[test]
    fn halves_are_binomial_and_sum_to_the_whole() {
        let mut rng = Rng::new(1, "half", &[]);
        for n in [1_u64, 7, 64, 200] {
            let x: Vec<f64> = (0..20_000).map(|_| half(n, &mut rng) as f64).collect();
            let n = n as f64;
            // Standard error of the mean sqrt(n / 4 / 20,000); five of them.
            assert!((mean(&x) - n / 2.0).abs() < 5.0 * (n / 80_000.0).sqrt());
            assert!((variance(&x, 1) / (n / 4.0) - 1.0).abs() < 0.06);
        }
    }

    #[test]
    fn parts_of_poisson_counts_are_independent_and_cells_keep_their_draws() {
        let mut rng = Rng::new(2, "split test", &[]);
        let rows: Vec<Vec<(u32, f32)>> = (0..2000)
            .map(|_| {
                (0..3)
                    .map(|g| (g, rng.poisson(3.0) as f32))
                    .filter(|e| e.1 > 0.0)
                    .collect()
            })
            .collect();
        let counts = Csr::from_rows(3, rows);
        let cells: Vec<String> = (0..2000).map(|i| format!("cell{i}")).collect();
        let (a, b) = split_counts(&counts, &cells, 7);
        let column =
            |m: &Csr, g: usize| -> Vec<f64> { (0..2000).map(|i| f64::from(m.get(i, g))).collect() };
        for g in 0..3 {
            let (x, y, all) = (column(&a, g), column(&b, g), column(&counts, g));
            assert!((0..2000).all(|i| x[i] + y[i] == all[i]));
            // Correlation has a standard error of 0.022 here; thinning once would give 0.7 with all.
            assert!(pearson(&x, &y).r.abs() < 0.1, "{}", pearson(&x, &y).r);
            assert!(pearson(&x, &all).r > 0.6);
        }
        let order: Vec<usize> = (0..2000).rev().collect();
        let turned: Vec<String> = order.iter().map(|&i| cells[i].clone()).collect();
        let (c, _) = split_counts(&counts.take_rows(&order), &turned, 7);
        assert_eq!(c, a.take_rows(&order));
        assert_ne!(split_counts(&counts, &cells, 8).0, a);
    }
}
