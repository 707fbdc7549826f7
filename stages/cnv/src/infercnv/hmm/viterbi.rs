//! Hidden Markov models of R inferCNV: levels, emissions and the most likely path.

use clcc_numerics::math;
use clcc_numerics::stats::normal_ln_sf;

use super::params::HmmType;

/// Mean ratio of each state, and its standard deviation for one cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    /// One mean per state, ascending with copy number.
    pub means: Vec<f64>,
    /// One standard deviation per state.
    pub sds: Vec<f64>,
}

impl HmmType {
    /// Copy number of each state over the normal one (R's "proxy expression values").
    pub fn ratios(self) -> &'static [f64] {
        match self {
            Self::I6 => &[0.0, 0.5, 1.0, 1.5, 2.0, 3.0],
            Self::I3 => &[0.5, 1.0, 1.5],
        }
    }

    /// Index of the normal state.
    pub fn neutral(self) -> u8 {
        match self {
            Self::I6 => 2,
            Self::I3 => 1,
        }
    }
}

/// Find the most likely states along one chromosome. `x` are a subcluster's mean ratios (neutral 1) in
/// genome order, `sd` the common standard deviation of all levels, `t` the probability of each change.
///
/// The emission is R's: `1 / -ln P(Z > |x - mean| / sd)`, divided by its sum over the states. It is not
/// a density: far from every level all states become alike, where a normal density would make the
/// nearest one certain. The probability of staying is `1 - 5 t` in both models, as in R, also with
/// three states; ties go to the lower state. A chromosome with fewer than two genes is normal
/// throughout.
///
/// **Source**: R inferCNV 1.23 `Viterbi.dthmm.adj`, `.get_HMM`, `.i3HMM_get_HMM`. **Deviation**: for
/// such a chromosome R returns state 3, which is normal in i6 and a gain in i3.
pub fn viterbi(x: &[f64], means: &[f64], sd: f64, kind: HmmType, t: f64) -> Vec<u8> {
    let k = means.len();
    let neutral = kind.neutral() as usize;
    if x.len() < 2 {
        return vec![neutral as u8; x.len()];
    }
    let (stay, change) = (math::ln(1.0 - 5.0 * t), math::ln(t));
    let step = |from: usize, to: usize| if from == to { stay } else { change };
    let emission = |value: f64| -> Vec<f64> {
        let raw: Vec<f64> = means
            .iter()
            .map(|m| -1.0 / normal_ln_sf((value - m).abs() / sd))
            .collect();
        let sum: f64 = raw.iter().sum();
        raw.iter().map(|r| math::ln(r / sum)).collect()
    };
    let mut score: Vec<f64> = (0..k).map(|s| step(neutral, s)).collect();
    score
        .iter_mut()
        .zip(emission(x[0]))
        .for_each(|(s, e)| *s += e);
    let mut from: Vec<u8> = vec![0; x.len() * k];
    for (i, &value) in x.iter().enumerate().skip(1) {
        let mut next = emission(value);
        for (to, next) in next.iter_mut().enumerate() {
            let (best, value) = first_largest((0..k).map(|s| score[s] + step(s, to)));
            from[i * k + to] = best as u8;
            *next += value;
        }
        score = next;
    }
    let mut states = vec![0u8; x.len()];
    let last = x.len() - 1;
    states[last] = first_largest(score.into_iter()).0 as u8;
    for i in (0..last).rev() {
        states[i] = from[(i + 1) * k + states[i + 1] as usize];
    }
    states
}

fn first_largest(values: impl Iterator<Item = f64>) -> (usize, f64) {
    values
        .enumerate()
        .fold((0, f64::NEG_INFINITY), |best, (i, v)| {
            if v > best.1 { (i, v) } else { best }
        })
}

/// Median: the middle value, or the mean of the two middle ones.
pub(super) fn median(values: &[f64]) -> f64 {
    super::super::window::median_of(values, &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_numerics::rng::Rng;
    use proptest::prelude::*;

    const MEANS: [f64; 6] = [0.7, 0.85, 1.0, 1.15, 1.3, 1.6];

    /// Every path of a short chromosome, scored from the definition.
    fn brute_force(x: &[f64], means: &[f64], sd: f64, kind: HmmType, t: f64) -> f64 {
        let k = means.len();
        let n = k.pow(x.len() as u32);
        (0..n)
            .map(|code| path_score(&path(code, k, x.len()), x, means, sd, kind, t))
            .fold(f64::NEG_INFINITY, f64::max)
    }

    fn path(mut code: usize, k: usize, n: usize) -> Vec<u8> {
        (0..n)
            .map(|_| {
                let s = code % k;
                code /= k;
                s as u8
            })
            .collect()
    }

    fn path_score(states: &[u8], x: &[f64], means: &[f64], sd: f64, kind: HmmType, t: f64) -> f64 {
        let go = |a: u8, b: u8| if a == b { (1.0 - 5.0 * t).ln() } else { t.ln() };
        let mut before = kind.neutral();
        let mut total = 0.0;
        for (&s, &v) in states.iter().zip(x) {
            let raw: Vec<f64> = means
                .iter()
                .map(|m| 1.0 / -normal_ln_sf((v - m).abs() / sd))
                .collect();
            total += go(before, s) + (raw[s as usize] / raw.iter().sum::<f64>()).ln();
            before = s;
        }
        total
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn path_is_the_best_of_all(seed in any::<u64>(), t in 1e-6f64..0.1, i3 in any::<bool>()) {
            let mut rng = Rng::new(seed, "viterbi test", &[]);
            let x: Vec<f64> = (0..5).map(|_| 1.0 + 0.3 * rng.normal()).collect();
            let (kind, means) = if i3 { (HmmType::I3, &MEANS[1..4]) } else { (HmmType::I6, &MEANS[..]) };
            let states = viterbi(&x, means, 0.05, kind, t);
            let best = brute_force(&x, means, 0.05, kind, t);
            prop_assert!((path_score(&states, &x, means, 0.05, kind, t) - best).abs() < 1e-9);
        }
    }

    #[test]
    fn long_shifts_are_called_and_single_genes_are_not() {
        let mut x = vec![1.0; 200];
        x[50..150].fill(1.15);
        x[10] = 1.3;
        let states = viterbi(&x, &MEANS, 0.03, HmmType::I6, 1e-6);
        assert!(states[..50].iter().chain(&states[150..]).all(|s| *s == 2));
        assert!(states[50..150].iter().all(|s| *s == 3));
    }

    #[test]
    fn a_chromosome_of_one_gene_is_normal_in_both_models() {
        assert_eq!(viterbi(&[2.0], &MEANS, 0.03, HmmType::I6, 1e-6), [2]);
        assert_eq!(viterbi(&[2.0], &MEANS[1..4], 0.03, HmmType::I3, 1e-6), [1]);
    }
}
