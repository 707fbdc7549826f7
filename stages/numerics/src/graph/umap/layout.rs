//! The layout's gradient steps.
use rayon::prelude::*;

use super::Curve;
use crate::rng::{Rng, philox4x32};
use clcc_data::matrix::Csr;

/// Turns that the cells take within an epoch. Changing it changes results.
const BATCHES: usize = 4;
/// Gradients are clipped to this on each axis.
const CLIP: f32 = 4.0;
/// Cells that one task moves.
const TASK: usize = 128;
/// Forces on one cell computed side by side.
const LANES: usize = 8;
/// Cells whose forces are computed side by side.
const WALKS: usize = 4;
/// Forces computed side by side.
const WIDTH: usize = WALKS * LANES;
/// Fractions of a draw per epoch are whole numbers of this.
const RATE_UNIT: f64 = (1u64 << 24) as f64;

/// Schedule of [`optimize`].
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
    rates: Vec<u32>,
}

/// Moves `points` (one per row of `w`) for `n_epochs`.
pub(super) fn optimize<const D: usize>(
    w: &Csr,
    mut points: Vec<[f32; D]>,
    plan: &Plan,
) -> Vec<[f32; D]> {
    let n = points.len();
    if n < 2 {
        return points;
    }
    let batches = batches(w, plan);
    let mut key = Rng::new(plan.seed, "umap negative samples", &[]);
    let key = [key.next_u32(), key.next_u32()];
    let forces = Forces::new(plan.curve);
    // The widest vectors that the processor has; the same operations, so the same bits, on any.
    let arch = crate::math::vectors();
    let mut moved: Vec<[f32; D]> = Vec::new();
    for epoch in 0..plan.n_epochs {
        let step = 1.0 - epoch as f32 / plan.n_epochs as f32;
        for batch in &batches {
            let turn = Turn {
                batch,
                points: &points,
                epoch,
                step,
                key,
                negatives: plan.negative_sample_rate,
                forces: &forces,
            };
            moved.resize(batch.cells.len(), [0.0; D]);
            moved
                .par_chunks_mut(TASK)
                .enumerate()
                .for_each(|(task, out)| {
                    let first = task * TASK;
                    arch.dispatch(Gather {
                        turn: &turn,
                        first,
                        out,
                    });
                });
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
                        batch
                            .rates
                            .push((f64::from(weight / largest) * RATE_UNIT) as u32);
                    }
                }
                batch.starts.push(batch.others.len());
            }
            batch
        })
        .collect()
}

/// One turn of one batch.
struct Turn<'a, const D: usize> {
    batch: &'a Batch,
    points: &'a [[f32; D]],
    epoch: usize,
    step: f32,
    key: [u32; 2],
    negatives: usize,
    forces: &'a Forces,
}

/// Computes the new positions of the cells of the turn's batch from `first` on. A type and not a
/// closure, because only what is inlined into `with_simd` is compiled for the wide vectors.
struct Gather<'a, const D: usize> {
    turn: &'a Turn<'a, D>,
    first: usize,
    out: &'a mut [[f32; D]],
}

impl<const D: usize> pulp::WithSimd for Gather<'_, D> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.turn.gather_all(self.first, self.out);
    }
}

impl<const D: usize> Turn<'_, D> {
    /// Compute the new positions of the cells of the batch from `first` on. Several cells are processed
    /// together, each by its own forces in its own order: the forces on one cell depend on one another,
    /// those on several do not.
    #[inline(always)]
    fn gather_all(&self, first: usize, out: &mut [[f32; D]]) {
        let mut walks: [Walk<D>; WALKS] = [Walk::default(); WALKS];
        let mut lanes = Lanes::default();
        let mut next = 0;
        loop {
            let mut walking = false;
            for (slot, walk) in walks.iter_mut().enumerate() {
                loop {
                    if walk.fill(self, &mut lanes, slot * LANES) {
                        walking = true;
                        break;
                    }
                    if walk.active {
                        out[walk.at] = walk.here;
                    }
                    if next == out.len() {
                        walk.active = false;
                        break;
                    }
                    *walk = self.walk(first, next);
                    next += 1;
                }
            }
            if !walking {
                return;
            }
            self.forces.apply(&lanes, &mut walks, self.step);
        }
    }

    #[inline(always)]
    fn walk(&self, first: usize, at: usize) -> Walk<D> {
        let cell = self.batch.cells[first + at];
        let block = philox4x32([cell, self.epoch as u32, 0, 0], self.key);
        Walk {
            active: true,
            at,
            here: self.points[cell as usize],
            bits: Bits::new(block),
            edge: self.batch.starts[first + at],
            end: self.batch.starts[first + at + 1],
            left: 0,
        }
    }
}

/// One cell on its way through an epoch.
#[derive(Debug, Clone, Copy)]
struct Walk<const D: usize> {
    active: bool,
    /// Index in the task.
    at: usize,
    here: [f32; D],
    bits: Bits,
    /// The next edge, and the one after its last.
    edge: usize,
    end: usize,
    /// Random cells that the last drawn edge still has to meet.
    left: usize,
}

impl<const D: usize> Default for Walk<D> {
    fn default() -> Self {
        Self {
            active: false,
            at: 0,
            here: [0.0; D],
            bits: Bits::new([0; 4]),
            edge: 0,
            end: 0,
            left: 0,
        }
    }
}

impl<const D: usize> Walk<D> {
    /// Sets the `LANES` lanes from `first` on to the next forces; without any they are unset and
    /// `false` is returned.
    #[inline(always)]
    fn fill(&mut self, turn: &Turn<'_, D>, lanes: &mut Lanes<D>, first: usize) -> bool {
        let mut filled = 0;
        if self.left == 0 {
            while self.edge < self.end && !drawn(turn.batch.rates[self.edge], turn.epoch) {
                self.edge += 1;
            }
            if self.edge < self.end {
                // As the head of this edge and as the tail of its mirror image: twice the attraction.
                let other = turn.points[turn.batch.others[self.edge] as usize];
                lanes.set(first, other, self.here, Kind::Attract);
                self.edge += 1;
                self.left = turn.negatives;
                filled = 1;
            }
        }
        while filled < LANES && self.left > 0 {
            let k = self.bits.below(turn.points.len());
            // A cell does not push itself: the difference is 0.
            lanes.set(first + filled, turn.points[k], self.here, Kind::Repel);
            self.left -= 1;
            filled += 1;
        }
        for lane in filled..LANES {
            lanes.unset(first + lane);
        }
        filled > 0
    }
}

/// Whether an edge is drawn in an epoch: where epoch times rate passes a whole number.
#[inline(always)]
fn drawn(rate: u32, epoch: usize) -> bool {
    let passed = |epoch: usize| (epoch as u64 * u64::from(rate)) >> 24;
    passed(epoch + 1) != passed(epoch)
}

/// The random cells of one cell in one epoch: SplitMix64 (Steele, Lea and Flood 2014) from a Philox block of
/// the cell and the epoch, so that a draw costs three multiplications and depends on nothing else.
#[derive(Debug, Clone, Copy)]
struct Bits {
    state: u64,
    left: u64,
    half: bool,
}

impl Bits {
    #[inline(always)]
    fn new(block: [u32; 4]) -> Self {
        Self {
            state: u64::from(block[0]) | u64::from(block[1]) << 32,
            left: 0,
            half: false,
        }
    }

    /// A number below `n` from 32 bits; off from uniform by at most `n / 2^32`.
    #[inline(always)]
    fn below(&mut self, n: usize) -> usize {
        if self.half {
            self.left >>= 32;
        } else {
            self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            self.left = z ^ (z >> 31);
        }
        self.half = !self.half;
        (((self.left & 0xFFFF_FFFF) * n as u64) >> 32) as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Attract,
    Repel,
}

/// Differences to the cells that act on the walking cells, `LANES` for each. An unset lane has no force.
#[derive(Debug, Clone, Copy)]
struct Lanes<const D: usize> {
    /// Axis by axis.
    away: [[f32; WIDTH]; D],
    /// 1 for attraction, 0 for repulsion.
    attract: [f32; WIDTH],
}

impl<const D: usize> Default for Lanes<D> {
    #[inline(always)]
    fn default() -> Self {
        Self {
            away: [[0.0; WIDTH]; D],
            attract: [0.0; WIDTH],
        }
    }
}

impl<const D: usize> Lanes<D> {
    #[inline(always)]
    fn set(&mut self, lane: usize, other: [f32; D], here: [f32; D], kind: Kind) {
        for axis in 0..D {
            self.away[axis][lane] = here[axis] - other[axis];
        }
        self.attract[lane] = if kind == Kind::Attract { 1.0 } else { 0.0 };
    }

    #[inline(always)]
    fn unset(&mut self, lane: usize) {
        for axis in 0..D {
            self.away[axis][lane] = 0.0;
        }
        self.attract[lane] = 0.0;
    }
}

/// Gradients of the cross entropy between the graph and the layout (umap-learn's
/// `_optimize_layout_euclidean_single_epoch`). The forces of one drawn edge act at once, from
/// where the cell is; umap-learn applies them one after the other.
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

    #[inline(always)]
    fn apply<const D: usize>(&self, lanes: &Lanes<D>, walks: &mut [Walk<D>; WALKS], step: f32) {
        let (a, b) = (self.a, self.b);
        let mut moves = [[0f32; WIDTH]; D];
        for l in 0..WIDTH {
            let attract = lanes.attract[l];
            let mut squared = 0.0;
            for axis in 0..D {
                squared += lanes.away[axis][l] * lanes.away[axis][l];
            }
            // At distance 0 the difference below is 0, so any finite coefficient will do.
            let squared = squared.max(1e-30);
            let p = power(squared, b);
            let numerator = 2.0 * b * (1.0 - attract) - 2.0 * a * b * p * attract;
            let g = numerator / ((squared + 0.001 * (1.0 - attract)) * (1.0 + a * p));
            let twice = 1.0 + attract;
            for axis in 0..D {
                moves[axis][l] = (g * lanes.away[axis][l]).clamp(-CLIP, CLIP) * twice;
            }
        }
        for (slot, walk) in walks.iter_mut().enumerate() {
            for axis in 0..D {
                walk.here[axis] += step * sum(&moves[axis][slot * LANES..(slot + 1) * LANES]);
            }
        }
    }
}

/// Pairwise, in a fixed order.
#[inline(always)]
fn sum(v: &[f32]) -> f32 {
    ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]))
}

/// `x^b` for x > 0 to about 1e-5 relative, from the bits of the number and two short polynomials:
/// branch-free, so that lanes run side by side, and the same on every platform.
#[inline(always)]
fn power(x: f32, b: f32) -> f32 {
    exp2(b * log2(x))
}

#[inline(always)]
fn log2(x: f32) -> f32 {
    // Mantissa in [sqrt(1/2), sqrt(2)).
    let shifted = x.to_bits().wrapping_sub(0x3f35_04f3);
    let exponent = (shifted as i32) >> 23;
    let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    // ln m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172.
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let atanh = s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0))));
    exponent as f32 + atanh * (2.0 * std::f32::consts::LOG2_E)
}

#[inline(always)]
fn exp2(y: f32) -> f32 {
    let y = y.clamp(-126.0, 126.0);
    // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let shifted = y + MAGIC;
    let t = (y - (shifted - MAGIC)) * std::f32::consts::LN_2;
    let p = 1.0 + t * (1.0 + t * (0.5 + t * (1.0 / 6.0 + t * (1.0 / 24.0 + t * (1.0 / 120.0)))));
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
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

    #[test]
    fn draws_are_uniform_over_the_cells() {
        let mut seen = [0usize; 7];
        for i in 0..14_000 {
            let mut bits = Bits::new(philox4x32([i, 0, 0, 0], [1, 2]));
            (0..5).for_each(|_| seen[bits.below(7)] += 1);
        }
        // 10,000 expected each; five standard deviations.
        assert!(seen.iter().all(|&n| n.abs_diff(10_000) < 470), "{seen:?}");
    }

    #[test]
    fn cells_at_one_place_do_not_move_each_other() {
        let forces = Forces::new(Curve { a: 1.577, b: 0.895 });
        for kind in [Kind::Attract, Kind::Repel] {
            let mut walks = [Walk::default(); WALKS];
            walks[1].here = [2.0, 3.0];
            let mut lanes = Lanes::default();
            lanes.set(LANES, walks[1].here, walks[1].here, kind);
            forces.apply(&lanes, &mut walks, 1.0);
            assert_eq!(walks[1].here, [2.0, 3.0]);
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
            let moved = |kind: Kind| {
                let mut walks = [Walk::default(); WALKS];
                walks[0].here = [x as f32, 0.5f32];
                let mut lanes = Lanes::default();
                lanes.set(3, [0.0, 0.0], walks[0].here, kind);
                forces.apply(&lanes, &mut walks, 1.0);
                f64::from(walks[0].here[0]) - x
            };
            // Attraction counts twice.
            let (got, wanted) = (moved(Kind::Attract) / 2.0, slope(&|x| phi(x).ln()));
            assert!(
                (got - wanted).abs() < 1e-3,
                "attraction at {x}: {got} {wanted}"
            );
            let (moved, wanted) = (moved(Kind::Repel), slope(&|x| (1.0 - phi(x)).ln()));
            // The 0.001 in the denominator softens the force.
            assert!(
                (moved - wanted).abs() < 5e-3 * (1.0 + wanted.abs()),
                "repulsion at {x}: {moved} {wanted}"
            );
        }
    }
}
