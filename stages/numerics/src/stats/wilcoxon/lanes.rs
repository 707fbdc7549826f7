//! Many contrasts of the same genes: each gene is ranked once, and sixteen contrasts walk its order side by side,
//! the sides of a cell under all of them in the bits of one number.

use rayon::prelude::*;

use super::order::{Order, positive_from, value_of};
use super::{Tally, from_wins};
use crate::math;
use clcc_data::matrix::Csr;

/// Contrasts that walk together.
const LANES: usize = 16;
/// Genes of one task.
const GENES: usize = 32;

/// Tallies of contrasts on every row of `genes` (gene x cell), `[contrast][gene]`; `sides[contrast][cell]` is 1 in
/// the group, 2 in the reference, else neither.
pub(super) fn tallies(genes: &Csr, sides: &[&[u8]]) -> Vec<Vec<Tally>> {
    let packed: Vec<Packed> = sides.chunks(LANES).map(Packed::new).collect();
    let first_genes: Vec<usize> = (0..genes.n_rows()).step_by(GENES).collect();
    let blocks: Vec<Vec<[Tally; LANES]>> = first_genes
        .into_par_iter()
        .map_init(Order::default, |order, first| {
            let last = (first + GENES).min(genes.n_rows());
            let mut out = Vec::with_capacity((last - first) * packed.len());
            for g in first..last {
                let sorted = order.sort(genes.row(g));
                out.extend(packed.iter().map(|p| p.tallies(sorted)));
            }
            out
        })
        .collect();
    let of = |c: usize| {
        let rows = blocks.iter().flat_map(|b| b.chunks_exact(packed.len()));
        rows.map(|gene| gene[c / LANES][c % LANES]).collect()
    };
    (0..sides.len()).map(of).collect()
}

/// Sides of all cells under up to sixteen contrasts.
struct Packed {
    /// Per cell: bit `l` where it is in the group of contrast `l`, bit `16 + l` where in its reference.
    of_cell: Vec<u32>,
    /// Cells of each contrast's group and reference.
    sizes: [[u32; LANES]; 2],
}

impl Packed {
    fn new(sides: &[&[u8]]) -> Self {
        let mut of_cell = vec![0_u32; sides.first().map_or(0, |s| s.len())];
        let mut sizes = [[0; LANES]; 2];
        for (lane, side) in sides.iter().enumerate() {
            for (bits, &s) in of_cell.iter_mut().zip(*side) {
                if let Some(which) = usize::from(s).checked_sub(1).filter(|&w| w < 2) {
                    *bits |= 1 << (which * LANES + lane);
                    sizes[which][lane] += 1;
                }
            }
        }
        Self { of_cell, sizes }
    }

    fn tallies(&self, sorted: &[u64]) -> [Tally; LANES] {
        // So many steps add up to less than 2^32.
        let most = (u32::MAX as usize / (2 * self.of_cell.len()).max(1)).max(1);
        let mut lanes = Lanes::default();
        let mut walk = |part| {
            math::vectors().dispatch(Walk {
                of_cell: &self.of_cell,
                part,
                most,
                lanes: &mut lanes,
            });
            lanes
        };
        let (below, above) = sorted.split_at(positive_from(sorted));
        let negative = if below.is_empty() {
            Lanes::default()
        } else {
            walk(below)
        };
        let all = walk(above);
        std::array::from_fn(|l| all.tally(l, &negative, [self.sizes[0][l], self.sizes[1][l]]))
    }
}

/// What the contrasts have counted so far.
#[derive(Clone, Copy, Default)]
struct Lanes {
    /// Twice the number of stored values of the reference.
    below: [u32; LANES],
    /// Number of stored values of the group.
    group: [u32; LANES],
    /// Pairs of a value of the group and a stored one of the reference that it outranks, twice, ties once: those of
    /// the latest steps.
    wins: [u32; LANES],
    /// And those of the steps before.
    earlier: [u64; LANES],
    /// Sum of t^3 - t over ties of stored values.
    ties: [f64; LANES],
    /// Sums of the values.
    sums: [[f64; LANES]; 2],
}

impl Lanes {
    /// The tally of lane `l`, with the zeros put in between what was counted of the negative values and the rest.
    /// `sizes`: cells of the group and of the reference.
    fn tally(&self, l: usize, negative: &Self, sizes: [u32; 2]) -> Tally {
        let counts = [self.group[l], self.below[l] / 2];
        let zeros = [0, 1].map(|s| u64::from(sizes[s] - counts[s]));
        let positive = u64::from(self.group[l] - negative.group[l]);
        let wins = self.earlier[l]
            + u64::from(self.wins[l])
            + 2 * zeros[1] * positive
            + zeros[0] * (u64::from(negative.below[l]) + zeros[1]);
        let tied = (zeros[0] + zeros[1]) as f64;
        Tally {
            rank_sum: from_wins(f64::from(sizes[0]), wins),
            ties: self.ties[l] + (tied * tied * tied - tied),
            sums: [self.sums[0][l], self.sums[1][l]],
            counts,
        }
    }

    #[inline(always)]
    fn flush(&mut self) {
        for l in 0..LANES {
            self.earlier[l] += u64::from(self.wins[l]);
            self.wins[l] = 0;
        }
    }

    /// A value that no other is tied with, of a cell with these bits.
    #[inline(always)]
    fn single(&mut self, bits: u32, value: f64) {
        for l in 0..LANES {
            let (in_group, in_reference) = masks(bits, l);
            self.wins[l] = self.wins[l].wrapping_add(in_group & self.below[l]);
            self.group[l] = self.group[l].wrapping_add(in_group & 1);
            self.below[l] = self.below[l].wrapping_add(in_reference & 2);
        }
        self.add(bits, value);
    }

    /// Add a value to the sums. Not by multiplying with 0 or 1: a sum keeps its bits where nothing is added.
    #[inline(always)]
    fn add(&mut self, bits: u32, value: f64) {
        for (s, sums) in self.sums.iter_mut().enumerate() {
            for l in 0..LANES {
                let with = sums[l] + value;
                let is_in = bits >> (s * LANES + l) & 1 != 0;
                sums[l] = if is_in { with } else { sums[l] };
            }
        }
    }

    /// Equal values of cells with these bits.
    #[inline(always)]
    fn tied(&mut self, run: impl Iterator<Item = u32>, value: f64) {
        let mut counts = [[0_u32; LANES]; 2];
        for bits in run {
            for l in 0..LANES {
                let (in_group, in_reference) = masks(bits, l);
                counts[0][l] = counts[0][l].wrapping_add(in_group & 1);
                counts[1][l] = counts[1][l].wrapping_add(in_reference & 1);
            }
            self.add(bits, value);
        }
        for l in 0..LANES {
            let (group, reference) = (counts[0][l], counts[1][l]);
            let below = u64::from(self.below[l]) + u64::from(reference);
            self.earlier[l] = self.earlier[l].wrapping_add(u64::from(group).wrapping_mul(below));
            self.group[l] = self.group[l].wrapping_add(group);
            self.below[l] = self.below[l].wrapping_add(reference.wrapping_mul(2));
            let tied = f64::from(group.wrapping_add(reference));
            self.ties[l] += tied * tied * tied - tied;
        }
    }
}

/// All bits set where bit `l`, bit `16 + l` of `bits` is.
#[inline(always)]
fn masks(bits: u32, l: usize) -> (u32, u32) {
    let all = |bit: u32| 0_u32.wrapping_sub(bit & 1);
    (all(bits >> l), all(bits >> (LANES + l)))
}

/// Walk a part of a gene's order. A type and not a closure, because only what is inlined into `with_simd` is
/// compiled for the wide vectors.
struct Walk<'a> {
    of_cell: &'a [u32],
    part: &'a [u64],
    /// Steps between which `wins` must be flushed.
    most: usize,
    lanes: &'a mut Lanes,
}

impl pulp::WithSimd for Walk<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let mut lanes = *self.lanes;
        let bits = |e: u64| self.of_cell[e as u32 as usize];
        let (mut at, mut steps) = (0, 0);
        while let Some(&entry) = self.part.get(at) {
            let key = entry >> 32;
            let value = f64::from(value_of(entry));
            let rest = &self.part[at + 1..];
            if rest.first().is_none_or(|e| e >> 32 != key) {
                if steps == self.most {
                    lanes.flush();
                    steps = 0;
                }
                steps += 1;
                lanes.single(bits(entry), value);
                at += 1;
                continue;
            }
            let more = rest.iter().take_while(|&e| e >> 32 == key).count();
            let run = &self.part[at..at + 1 + more];
            lanes.tied(run.iter().map(|&e| bits(e)), value);
            at += run.len();
        }
        *self.lanes = lanes;
    }
}
