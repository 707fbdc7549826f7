//! The weighted least squares of one step: strata, slopes, and the levels of malignant clones.
//!
//! Within a stratum (one patient and cell type) everything enters through six sums of products around
//! the stratum's means. A patient's own tumour level is a random effect of its stratum, which changes
//! these sums in closed form; the levels shared by the patients, and the slopes, are then solved for.

use super::{Design, Model};
use clcc_numerics::linalg::Cholesky;

/// Products of a stratum's local copy number x, responses y and tumour indicator z around their
/// weighted means.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::dosage) struct Sums {
    pub(in crate::dosage) xx: f64,
    pub(in crate::dosage) xy: f64,
    pub(in crate::dosage) yy: f64,
    pub(in crate::dosage) xz: f64,
    pub(in crate::dosage) zz: f64,
    pub(in crate::dosage) zy: f64,
}

impl Sums {
    /// The same with a random level of the stratum's malignant clones, of this variance, eliminated.
    pub(in crate::dosage) fn without_own_level(&self, variance: f64) -> Self {
        let keep = 1.0 / (1.0 + variance * self.zz);
        let f = variance * keep;
        Self {
            xx: self.xx - self.xz * self.xz * f,
            xy: self.xy - self.xz * self.zy * f,
            yy: self.yy - self.zy * self.zy * f,
            xz: self.xz * keep,
            zz: self.zz * keep,
            zy: self.zy * keep,
        }
    }

    fn add(&mut self, other: &Self) {
        self.xx += other.xx;
        self.xy += other.xy;
        self.yy += other.yy;
        self.xz += other.xz;
        self.zz += other.zz;
        self.zy += other.zy;
    }
}

/// Weighted means of a stratum.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Means {
    pub(super) w: f64,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) z: f64,
}

/// A shared level in the system: its products with z and y, its precision with the prior's.
#[derive(Debug, Clone, Copy)]
struct Level {
    zy: f64,
    precision: f64,
}

/// Normal equations of one step.
pub(super) struct System<'a> {
    design: &'a Design<'a>,
    model: &'a Model,
    /// Per stratum.
    pub(super) means: Vec<Means>,
    /// Per stratum, as they are.
    pub(super) raw: Vec<Sums>,
    /// Per slope, with the patients' own levels eliminated.
    slopes: Vec<Sums>,
    /// Products of x and z, `[slope][level]`.
    xz: Vec<Vec<f64>>,
    /// `None` where no clone determines the level.
    levels: Vec<Option<Level>>,
}

/// Slopes and their variances, in units of the residual variance.
pub(super) struct Solution {
    pub(super) slopes: Vec<f64>,
    pub(super) variances: Vec<f64>,
}

impl<'a> System<'a> {
    pub(super) fn new(
        x: &[f64],
        y: &[f64],
        w: &[f64],
        design: &'a Design<'a>,
        model: &'a Model,
    ) -> Self {
        let mut means = vec![Means::default(); design.n_strata];
        for u in 0..x.len() {
            let m = &mut means[design.strata[u]];
            m.w += w[u];
            m.x += w[u] * x[u];
            m.y += w[u] * y[u];
            m.z += w[u] * design.tumour[u];
        }
        for m in means.iter_mut().filter(|m| m.w > 0.0) {
            m.x /= m.w;
            m.y /= m.w;
            m.z /= m.w;
        }
        let mut raw = vec![Sums::default(); design.n_strata];
        for u in (0..x.len()).filter(|&u| w[u] > 0.0) {
            let m = means[design.strata[u]];
            let (dx, dy, dz) = (x[u] - m.x, y[u] - m.y, design.tumour[u] - m.z);
            raw[design.strata[u]].add(&Sums {
                xx: w[u] * dx * dx,
                xy: w[u] * dx * dy,
                yy: w[u] * dy * dy,
                xz: w[u] * dx * dz,
                zz: w[u] * dz * dz,
                zy: w[u] * dz * dy,
            });
        }
        Self::of_sums(means, raw, design, model)
    }

    fn of_sums(
        means: Vec<Means>,
        raw: Vec<Sums>,
        design: &'a Design<'a>,
        model: &'a Model,
    ) -> Self {
        let mut slopes = vec![Sums::default(); design.n_slopes];
        let mut xz = vec![vec![0.0; design.n_levels]; design.n_slopes];
        let mut of_level = vec![Sums::default(); design.n_levels];
        for (s, sums) in raw.iter().enumerate() {
            let own = sums.without_own_level(model.patient_variance);
            let p = design.slope_of[s];
            slopes[p].add(&own);
            if let Some(k) = design.level_of[s] {
                xz[p][k] += own.xz;
                of_level[k].add(&own);
            }
        }
        let levels = of_level
            .iter()
            .map(|l| {
                (l.zz > 1e-12).then(|| Level {
                    zy: l.zy,
                    precision: l.zz + 1.0 / model.level_variance,
                })
            })
            .collect();
        Self {
            design,
            model,
            means,
            raw,
            slopes,
            xz,
            levels,
        }
    }

    /// Levels that are determined, with their indices.
    fn known(&self) -> impl Iterator<Item = (usize, Level)> + '_ {
        self.levels
            .iter()
            .enumerate()
            .filter_map(|(k, l)| Some((k, (*l)?)))
    }

    /// Information on slope `p` alone, with the levels eliminated.
    pub(super) fn information(&self, p: usize) -> f64 {
        let levels: f64 = self
            .known()
            .map(|(k, l)| self.xz[p][k].powi(2) / l.precision)
            .sum();
        self.slopes[p].xx - levels
    }

    /// Slopes that solve the equations, with the slopes' prior.
    pub(super) fn solve(&self) -> Solution {
        let (mean, precision) = (self.model.prior.0, 1.0 / self.model.prior.1);
        let known: Vec<(usize, Level)> = self.known().collect();
        let d: Vec<f64> = self.slopes.iter().map(|s| s.xx + precision).collect();
        let c: Vec<f64> = self
            .slopes
            .iter()
            .map(|s| s.xy + precision * mean)
            .collect();
        // Slopes eliminated: what is left are the few shared levels, with a prior's precision on their diagonal.
        let n = known.len();
        let mut m = vec![0.0; n * n];
        let mut right = vec![0.0; n];
        for (i, (k, level)) in known.iter().enumerate() {
            m[i * n + i] += level.precision;
            right[i] += level.zy;
            for p in 0..d.len() {
                right[i] -= self.xz[p][*k] * c[p] / d[p];
                for (j, (h, _)) in known.iter().enumerate() {
                    m[i * n + j] -= self.xz[p][*k] * self.xz[p][*h] / d[p];
                }
            }
        }
        let factor = Cholesky::new(&m, n);
        let levels = factor.solve(&right);
        let of = |p: usize| -> Vec<f64> { known.iter().map(|(k, _)| self.xz[p][*k]).collect() };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let slopes = (0..d.len())
            .map(|p| (c[p] - dot(&of(p), &levels)) / d[p])
            .collect();
        let variances = (0..d.len())
            .map(|p| {
                let with = of(p);
                let spread = dot(&with, &factor.solve(&with));
                1.0 / d[p] + spread / (d[p] * d[p])
            })
            .collect();
        Solution { slopes, variances }
    }

    /// Shared levels, given the slopes; `None` where no clone determines them.
    pub(super) fn levels(&self, slopes: &[f64]) -> Vec<Option<f64>> {
        self.levels
            .iter()
            .enumerate()
            .map(|(k, level)| {
                let level = (*level)?;
                let explained: f64 = slopes.iter().zip(&self.xz).map(|(b, xz)| b * xz[k]).sum();
                Some((level.zy - explained) / level.precision)
            })
            .collect()
    }

    /// A stratum's own level, given slope and shared level.
    pub(super) fn own_level(&self, stratum: usize, slope: f64, level: f64) -> f64 {
        let (s, variance) = (self.raw[stratum], self.model.patient_variance);
        variance * (s.zy - slope * s.xz - level * s.zz) / (1.0 + variance * s.zz)
    }

    /// Degrees of freedom that the levels use: the trace of their smoother.
    pub(super) fn spent(&self) -> f64 {
        let variance = self.model.patient_variance;
        let mut total = 0.0;
        let mut shared = vec![0.0; self.levels.len()];
        for (s, sums) in self.raw.iter().enumerate() {
            let keep = 1.0 / (1.0 + variance * sums.zz);
            total += variance * sums.zz * keep;
            if let Some(k) = self.design.level_of[s] {
                shared[k] += sums.zz * keep * keep;
            }
        }
        self.known()
            .fold(total, |t, (k, l)| t + shared[k] / l.precision)
    }

    /// Cochran's Q of these slopes, in units of the residual variance, and its degrees of freedom: what
    /// they explain beyond one slope for all. The levels make the slopes depend on each other, so it is
    /// a quadratic form in all of them.
    pub(super) fn heterogeneity(&self, slopes: &[f64], magnitude: f64) -> (f64, f64) {
        let told: Vec<usize> = (0..slopes.len())
            .filter(|&p| self.slopes[p].xx > 1e-12 * magnitude)
            .collect();
        let form = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| {
            let own: f64 = told.iter().map(|&p| self.slopes[p].xx * a(p) * b(p)).sum();
            let levels: f64 = self
                .known()
                .map(|(k, l)| {
                    let sum =
                        |v: &dyn Fn(usize) -> f64| told.iter().map(|&p| self.xz[p][k] * v(p)).sum();
                    let (a, b): (f64, f64) = (sum(a), sum(b));
                    a * b / l.precision
                })
                .sum();
            own - levels
        };
        let (own, one) = (|p: usize| slopes[p], |_: usize| 1.0);
        let information = form(&one, &one);
        if told.len() < 2 || information <= 0.0 {
            return (f64::NAN, 0.0);
        }
        let q = form(&own, &own) - form(&one, &own).powi(2) / information;
        (q.max(0.0), (told.len() - 1) as f64)
    }
}
