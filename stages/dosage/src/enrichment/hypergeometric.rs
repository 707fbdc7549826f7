//! Tail of the hypergeometric distribution.

use clcc_numerics::math;

/// Probability that a draw of `drawn` of `n` things holds `k` or more of the `marked` ones, without putting any back. 1 where
/// `k` is 0.
///
/// ```
/// // Two cards of 52: the chance of at least one ace is 1 - (48 / 52) (47 / 51).
/// let p = clcc_dosage::enrichment::at_least(1, 52, 4, 2);
/// assert!((p - (1.0 - 48.0 * 47.0 / (52.0 * 51.0))).abs() < 1e-12);
/// ```
///
/// # Panics
/// Where more is marked or drawn than there is.
#[must_use]
pub fn at_least(k: usize, n: usize, marked: usize, drawn: usize) -> f64 {
    assert!(
        marked <= n && drawn <= n,
        "more marked or drawn than there is"
    );
    if k <= (marked + drawn).saturating_sub(n) {
        return 1.0;
    }
    let most = marked.min(drawn);
    if k > most {
        return 0.0;
    }
    let whole = ln_choose(n, drawn);
    // From the largest number on, where terms are smallest.
    let term =
        |i: usize| math::exp(ln_choose(marked, i) + ln_choose(n - marked, drawn - i) - whole);
    (k..=most).rev().map(term).sum::<f64>().min(1.0)
}

fn ln_choose(n: usize, k: usize) -> f64 {
    let ln_factorial = |n: usize| math::ln_gamma(n as f64 + 1.0);
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each tail is that of `scipy.stats.hypergeom.sf(k - 1, 450, 8, 40)`, scipy 1.17.1.
    #[test]
    fn tails_are_those_of_scipy() {
        assert_eq!(at_least(0, 450, 8, 40), 1.0);
        assert_eq!(at_least(9, 450, 8, 40), 0.0);
        assert_eq!(at_least(3, 5, 4, 4), 1.0);
        for (k, expected) in SCIPY {
            let found = at_least(k, 450, 8, 40);
            assert!((found / expected - 1.0).abs() < 1e-9, "{k}: {found}");
        }
    }

    const SCIPY: [(usize, f64); 3] = [
        (1, 0.528_042_114_019_453_8),
        (3, 0.026_667_301_602_707_808),
        (8, 1.963_122_330_307_210_3e-9),
    ];
}
