//! The learning rate as a function of the place in the run.

use clcc_numerics::math;

/// How the learning rate changes over a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Schedule {
    /// The same rate in every step.
    Constant {
        /// Above 0.
        rate: f64,
    },
    /// Rises in equal steps through the warm-up's epochs, then falls from `rate` to 0 along half a
    /// cosine over the epochs that are left, constant within an epoch.
    WarmupCosine {
        /// The highest rate, above 0.
        rate: f64,
        /// Epochs of the rise, fewer than `epochs`.
        warmup_epochs: usize,
        /// Epochs of the run.
        epochs: usize,
    },
}

impl Schedule {
    /// The rate of the step on `batch` of `n_batches` in `epoch`, both counted from 0.
    pub(super) fn rate(&self, epoch: usize, batch: usize, n_batches: usize) -> f64 {
        match *self {
            Self::Constant { rate } => rate,
            Self::WarmupCosine {
                rate,
                warmup_epochs,
                ..
            } if epoch < warmup_epochs => {
                let step = epoch * n_batches + batch + 1;
                rate * step as f64 / (warmup_epochs * n_batches) as f64
            }
            Self::WarmupCosine {
                rate,
                warmup_epochs,
                epochs,
            } => {
                let done = (epoch - warmup_epochs) as f64 / (epochs - warmup_epochs) as f64;
                0.5 * rate * (1.0 + math::cos(std::f64::consts::PI * done))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_along_half_a_cosine() {
        let schedule = Schedule::WarmupCosine {
            rate: 1.0,
            warmup_epochs: 0,
            epochs: 4,
        };
        let expected = [
            1.0,
            0.5 + 0.5f64.sqrt() / 2.0,
            0.5,
            0.5 - 0.5f64.sqrt() / 2.0,
        ];
        for (epoch, expected) in expected.into_iter().enumerate() {
            assert!((schedule.rate(epoch, 0, 3) - expected).abs() < 1e-12);
        }
    }

    /// Two epochs of two steps rise to the rate; the cosine has the two epochs that are left.
    #[test]
    fn a_warm_up_comes_before_the_cosine() {
        let schedule = Schedule::WarmupCosine {
            rate: 1.0,
            warmup_epochs: 2,
            epochs: 4,
        };
        let places = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 1)];
        let rates = places.map(|(epoch, batch)| schedule.rate(epoch, batch, 2));
        let expected = [0.25, 0.5, 0.75, 1.0, 1.0, 0.5];
        let close = |(a, b): (&f64, f64)| (a - b).abs() < 1e-12;
        assert!(rates.iter().zip(expected).all(close), "{rates:?}");
    }

    #[test]
    fn a_constant_rate_does_not_change() {
        let schedule = Schedule::Constant { rate: 0.3 };
        assert_eq!(
            (schedule.rate(0, 0, 5), schedule.rate(99, 4, 5)),
            (0.3, 0.3)
        );
    }
}
