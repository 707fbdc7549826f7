//! The layout's gradient steps.

use rayon::prelude::*;

use super::Curve;
use crate::matrix::Csr;
use crate::rng::{Rng, philox4x32};

/// Turns that the cells take within an epoch. Part of the numerics.
const BATCHES: usize = 8;
/// Gradients are clipped to this on each axis.
const CLIP: f32 = 4.0;

/// What [`optimize`] does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) curve: Curve,
    pub(super) n_epochs: usize,
    pub(super) negative_sample_rate: usize,
    pub(super) seed: u64,
}

/// Edges of the cells of one batch, with the share of epochs in which each is drawn.
struct Batch {
    cells: Vec<u32>,
    starts: Vec<usize>,
    others: Vec<u32>,
    rates: Vec<f32>,
}

/// Moves `points` (one per row of `w`) for `n_epochs`.
pub(super) fn optimize(w: &Csr, mut points: Vec<[f32; 2]>, plan: &Plan) -> Vec<[f32; 2]> {
    let n = points.len();
    if n < 2 {
        return points;
    }
    let batches = batches(w, plan);
    let mut key = Rng::new(plan.seed, "umap negative samples", &[]);
    let key = [key.next_u32(), key.next_u32()];
    let forces = Forces::new(plan.curve);
    let mut moved: Vec<[f32; 2]> = Vec::new();
    for epoch in 0..plan.n_epochs {
        let step = 1.0 - epoch as f32 / plan.n_epochs as f32;
        for batch in &batches {
            (0..batch.cells.len())
                .into_par_iter()
                .with_min_len(64)
                .map(|at| {
                    batch.gather(
                        at,
                        &points,
                        epoch,
                        step,
                        key,
                        plan.negative_sample_rate,
                        &forces,
                    )
                })
                .collect_into_vec(&mut moved);
            for (&cell, &to) in batch.cells.iter().zip(&moved) {
                points[cell as usize] = to;
            }
        }
    }
    points
}

fn batches(w: &Csr, plan: &Plan) -> Vec<Batch> {
    let n = w.n_rows();
    let largest = w.data().iter().copied().fold(0.0f32, f32::max);
    let order = Rng::new(plan.seed, "umap batches", &[]).permutation(n);
    order
        .chunks(n.div_ceil(BATCHES).max(1))
        .map(|cells| {
            let mut batch = Batch {
                cells: cells.iter().map(|&c| c as u32).collect(),
                starts: vec![0],
                others: vec![],
                rates: vec![],
            };
            for &cell in cells {
                let (others, weights) = w.row(cell);
                for (&other, &weight) in others.iter().zip(weights) {
                    if weight >= largest / plan.n_epochs as f32 {
                        batch.others.push(other);
                        batch.rates.push(weight / largest);
                    }
                }
                batch.starts.push(batch.others.len());
            }
            batch
        })
        .collect()
}

impl Batch {
    /// Where a cell of the batch goes in an epoch.
    fn gather(
        &self,
        at: usize,
        points: &[[f32; 2]],
        epoch: usize,
        step: f32,
        key: [u32; 2],
        negatives: usize,
        forces: &Forces,
    ) -> [f32; 2] {
        let cell = self.cells[at];
        let mut here = points[cell as usize];
        let mut draws = Draws {
            counter: [0, cell, epoch as u32, 0],
            key,
            buffer: [0; 4],
            used: 4,
        };
        for e in self.starts[at]..self.starts[at + 1] {
            // Drawn in the epochs where epoch * rate passes a whole number.
            let rate = self.rates[e];
            if (((epoch + 1) as f32) * rate).floor() == (epoch as f32 * rate).floor() {
                continue;
            }
            let other = points[self.others[e] as usize];
            // As the head of this edge and as the tail of its mirror image.
            for _ in 0..2 {
                forces.attract(&mut here, other, step);
            }
            for _ in 0..negatives {
                let k = draws.below(points.len() as u32);
                if k != cell {
                    forces.repel(&mut here, points[k as usize], step);
                }
            }
        }
        here
    }
}

/// Uniform cells for one cell and epoch: Philox by (cell, epoch, block).
struct Draws {
    counter: [u32; 4],
    key: [u32; 2],
    buffer: [u32; 4],
    used: usize,
}

impl Draws {
    fn below(&mut self, n: u32) -> u32 {
        if self.used == 4 {
            self.buffer = philox4x32(self.counter, self.key);
            self.counter[0] += 1;
            self.used = 0;
        }
        self.used += 1;
        // Multiply and shift: off from uniform by at most n / 2^32.
        ((u64::from(self.buffer[self.used - 1]) * u64::from(n)) >> 32) as u32
    }
}

/// Gradients of the cross entropy between the graph and the layout (umap-learn's
/// `_optimize_layout_euclidean_single_epoch`).
struct Forces {
    a: f32,
    b: f32,
}

impl Forces {
    fn new(curve: Curve) -> Self {
        Self {
            a: curve.a as f32,
            b: curve.b as f32,
        }
    }

    fn attract(&self, here: &mut [f32; 2], other: [f32; 2], step: f32) {
        let (x, y) = (here[0] - other[0], here[1] - other[1]);
        let squared = x * x + y * y;
        if squared > 0.0 {
            let p = power(squared, self.b);
            let g = -2.0 * self.a * self.b * p / (squared * (1.0 + self.a * p));
            here[0] += (g * x).clamp(-CLIP, CLIP) * step;
            here[1] += (g * y).clamp(-CLIP, CLIP) * step;
        }
    }

    fn repel(&self, here: &mut [f32; 2], other: [f32; 2], step: f32) {
        let (x, y) = (here[0] - other[0], here[1] - other[1]);
        let squared = x * x + y * y;
        if squared > 0.0 {
            let g = 2.0 * self.b / ((0.001 + squared) * (1.0 + self.a * power(squared, self.b)));
            here[0] += (g * x).clamp(-CLIP, CLIP) * step;
            here[1] += (g * y).clamp(-CLIP, CLIP) * step;
        }
    }
}

/// `x^b` for x > 0 to about 1e-5 relative, from the bits of the number and two short polynomials:
/// several times faster than `powf`, and the same on every platform.
fn power(x: f32, b: f32) -> f32 {
    exp2(b * log2(x))
}

fn log2(x: f32) -> f32 {
    let bits = x.to_bits();
    // Mantissa in [sqrt(1/2), sqrt(2)).
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let exponent = (shifted as i32) >> 23;
    let m = f32::from_bits((shifted & 0x007f_ffff) + 0x3f35_04f3);
    // ln m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let atanh = s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0))));
    exponent as f32 + atanh * (2.0 * std::f32::consts::LOG2_E)
}

fn exp2(y: f32) -> f32 {
    let y = y.clamp(-126.0, 126.0);
    let whole = (y + 0.5).floor();
    let t = (y - whole) * std::f32::consts::LN_2;
    let p = 1.0 + t * (1.0 + t * (0.5 + t * (1.0 / 6.0 + t * (1.0 / 24.0 + t * (1.0 / 120.0)))));
    p * f32::from_bits(((whole as i32 + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_power_is_close_to_powf() {
        for b in [0.5f32, 0.895, 1.334, 2.0] {
            for i in -60..60 {
                let x = 1.37f32.powi(i);
                let (got, want) = (power(x, b), x.powf(b));
                assert!((got / want - 1.0).abs() < 2e-5, "{x}^{b}: {got} {want}");
            }
        }
    }

    /// An edge of rate 1 is drawn in every epoch, one of rate 1/4 in a quarter of them.
    #[test]
    fn edges_are_drawn_in_proportion_to_their_weight() {
        for (rate, expected) in [(1.0f32, 500), (0.25, 125), (0.002, 1)] {
            let drawn = (0..500)
                .filter(|&e| (((e + 1) as f32) * rate).floor() != (e as f32 * rate).floor())
                .count();
            assert_eq!(drawn, expected);
        }
    }

    /// Derivative of -log(phi) and -log(1 - phi) along x, by central differences.
    #[test]
    fn forces_are_minus_the_gradients() {
        let curve = Curve { a: 0.583, b: 1.334 };
        let forces = Forces::new(curve);
        let phi = |x: f64| 1.0 / (1.0 + curve.a * (x * x + 0.25).powf(curve.b));
        for x in [0.7f64, 1.5, 3.0] {
            let h = 1e-5;
            let slope = |f: &dyn Fn(f64) -> f64| (f(x + h) - f(x - h)) / (2.0 * h);
            let mut here = [x as f32, 0.5];
            forces.attract(&mut here, [0.0, 0.0], 1.0);
            let moved = f64::from(here[0]) - x;
            assert!(
                (moved - slope(&|x| phi(x).ln())).abs() < 1e-3,
                "attraction at {x}: {moved}"
            );
            let mut here = [x as f32, 0.5];
            forces.repel(&mut here, [0.0, 0.0], 1.0);
            let moved = f64::from(here[0]) - x;
            let wanted = slope(&|x| (1.0 - phi(x)).ln());
            // The 0.001 in the denominator softens the force.
            assert!(
                (moved - wanted).abs() < 5e-3 * (1.0 + wanted.abs()),
                "repulsion at {x}: {moved} {wanted}"
            );
        }
    }
}
