//! Posterior probability of a called region, over the cells of its subcluster.

use clcc_numerics::math;
/// Compute the posterior mean share of a subcluster's cells in each state.
///
/// `log_likelihood` has one row of `k` numbers per cell: the log density of the cell's values in the
/// region under each state. The model is R inferCNV's Bayesian network: each cell has its own state,
/// drawn with shares that have a flat Dirichlet prior. R samples it with JAGS; here the states'
/// posterior is found by collapsed variational inference of order zero (Asuncion et al. 2009), which
/// needs no random draws, and the shares follow as (1 + expected cells in the state) / (k + cells). A
/// region has dozens of genes, so a cell's state is hardly ever uncertain and the two agree within the
/// sampler's own error.
pub fn state_shares(log_likelihood: &[Vec<f64>], k: usize) -> Vec<f64> {
    let mut weights: Vec<Vec<f64>> = log_likelihood
        .iter()
        .map(|l| normalised(l, &vec![1.0; k]))
        .collect();
    let mut totals = vec![0.0; k];
    weights
        .iter()
        .for_each(|w| totals.iter_mut().zip(w).for_each(|(t, w)| *t += w));
    for _ in 0..500 {
        let mut moved = 0f64;
        for (cell, own) in log_likelihood.iter().zip(&mut weights) {
            let prior: Vec<f64> = totals
                .iter()
                .zip(own.iter())
                .map(|(t, w)| 1.0 + (t - w).max(0.0))
                .collect();
            let next = normalised(cell, &prior);
            for ((t, w), n) in totals.iter_mut().zip(own.iter_mut()).zip(&next) {
                moved = moved.max((n - *w).abs());
                *t += n - *w;
                *w = *n;
            }
        }
        if moved < 1e-9 {
            break;
        }
    }
    let n = log_likelihood.len() as f64;
    totals.iter().map(|t| (1.0 + t) / (k as f64 + n)).collect()
}

fn normalised(log_likelihood: &[f64], prior: &[f64]) -> Vec<f64> {
    let largest = log_likelihood
        .iter()
        .copied()
        .fold(f64::NEG_INFINITY, f64::max);
    let raw: Vec<f64> = log_likelihood
        .iter()
        .zip(prior)
        .map(|(l, p)| p * math::exp(l - largest))
        .collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|r| r / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_numerics::rng::Rng;

    /// The exact posterior mean of the shares: all assignments of few cells, weighted by their marginal
    /// probability (product of n_k! over the states, Dirichlet-multinomial).
    fn exact(log_likelihood: &[Vec<f64>], k: usize) -> Vec<f64> {
        let n = log_likelihood.len();
        let mut total = 0.0;
        let mut shares = vec![0.0; k];
        for code in 0..k.pow(n as u32) {
            let mut rest = code;
            let mut counts = vec![0usize; k];
            let mut log_p = 0.0;
            for cell in log_likelihood {
                counts[rest % k] += 1;
                log_p += cell[rest % k];
                rest /= k;
            }
            log_p += counts
                .iter()
                .flat_map(|&c| (1..=c).map(|i| (i as f64).ln()))
                .sum::<f64>();
            let p = log_p.exp();
            total += p;
            shares
                .iter_mut()
                .zip(&counts)
                .for_each(|(s, &c)| *s += p * (1.0 + c as f64) / (k + n) as f64);
        }
        shares.iter().map(|s| s / total).collect()
    }

    #[test]
    fn agrees_with_the_sum_over_all_assignments() {
        let mut rng = Rng::new(3, "bayes test", &[]);
        for separation in [2.0, 10.0] {
            let cells: Vec<Vec<f64>> = (0..6)
                .map(|c| {
                    (0..3)
                        .map(|s| {
                            if s == c % 2 {
                                0.0
                            } else {
                                -separation * (1.0 + rng.uniform())
                            }
                        })
                        .collect()
                })
                .collect();
            for (a, b) in state_shares(&cells, 3).iter().zip(exact(&cells, 3)) {
                // Absolute, in shares: the sampler's own error at 1,000 draws is .01 to .02.
                assert!((a - b).abs() < 0.01, "{a} {b}");
            }
        }
    }

    #[test]
    fn certain_cells_by_hand() {
        // Three cells surely in state 0, one surely in 1: (1 + 3) / (3 + 4), (1 + 1) / 7, 1 / 7.
        let far = -1e4;
        let cells = vec![
            vec![0.0, far, far],
            vec![0.0, far, far],
            vec![far, 0.0, far],
            vec![0.0, far, far],
        ];
        let shares = state_shares(&cells, 3);
        for (s, e) in shares.iter().zip([4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0]) {
            assert!((s - e).abs() < 1e-12);
        }
    }
}
