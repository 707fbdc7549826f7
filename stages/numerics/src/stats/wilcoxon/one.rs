//! One contrast: a gene's values need no cell, only their side, and sort in half the memory.

use rayon::prelude::*;

use super::order::{COUNTED, Digits, Order, positive_from, value_of};
use super::{Ranking, Tally, from_wins};
use clcc_data::matrix::Csr;

/// The tally of one contrast on every row of `genes` (gene x cell). `side[cell]` is 1 in the group, 2 in the
/// reference, else neither; `ties` are counted where they are `wanted`, else 0.
pub(super) fn tallies(genes: &Csr, side: &[u8], wanted: bool) -> Vec<Tally> {
    let size = |s: u8| side.iter().filter(|&&x| x == s).count();
    let cells = Sides {
        of: side,
        sizes: [size(1), size(2)],
        wanted,
    };
    (0..genes.n_rows())
        .into_par_iter()
        .with_min_len(16)
        .map_init(Memory::default, |memory, g| {
            memory.tally(genes.row(g), &cells)
        })
        .collect()
}

/// The contrast.
struct Sides<'a> {
    of: &'a [u8],
    /// Cells of the group and of the reference.
    sizes: [usize; 2],
    /// Whether ties are wanted.
    wanted: bool,
}

/// Memory of one gene's test, which every next gene uses again.
#[derive(Default)]
struct Memory {
    /// Bits of positive values, twice, plus 1 where the cell is in the group: equal values are in the order
    /// reference, group.
    keys: Vec<u32>,
    digits: Digits<u32>,
    order: Order,
}

impl Memory {
    fn tally(&mut self, row: (&[u32], &[f32]), cells: &Sides<'_>) -> Tally {
        self.keys.clear();
        self.keys.reserve(row.0.len());
        for (&cell, &value) in row.0.iter().zip(row.1) {
            let side = cells.of[cell as usize];
            if value < 0.0 {
                return by_runs(self.order.sort(row), cells);
            }
            if side != 0 && value > 0.0 {
                self.keys.push(value.to_bits() << 1 | u32::from(side == 1));
            }
        }
        if self.keys.len() < COUNTED {
            self.keys.sort_unstable();
        } else {
            self.digits.sort(&mut self.keys, |key| key);
        }
        let mut tally = by_keys(&self.keys, cells.sizes);
        if cells.wanted {
            tally.ties += ties(&self.keys);
        }
        tally
    }
}

/// The tally of positive values, without branches on what the values are: all but the ties among them.
fn by_keys(keys: &[u32], sizes: [usize; 2]) -> Tally {
    // Values of the reference so far, and where the run of equal values began; the run's own come before its
    // values of the group.
    let (mut reference, mut start, mut previous) = (0_u64, 0_u64, 0_u32);
    let mut wins = 0_u64;
    let mut sums = [0.0_f64; 2];
    for &key in keys {
        let is_group = u64::from(key & 1);
        start = if key >> 1 == previous {
            start
        } else {
            reference
        };
        previous = key >> 1;
        wins += (start + reference) & 0_u64.wrapping_sub(is_group);
        reference += 1 - is_group;
        let value = f64::from(f32::from_bits(key >> 1));
        sums[0] += if is_group == 1 { value } else { 0.0 };
        sums[1] += if is_group == 1 { 0.0 } else { value };
    }
    let group = keys.len() as u64 - reference;
    let zeros = [sizes[0] as u64 - group, sizes[1] as u64 - reference];
    let tied = (zeros[0] + zeros[1]) as f64;
    Tally {
        rank_sum: from_wins(
            sizes[0] as f64,
            wins + 2 * zeros[1] * group + zeros[0] * zeros[1],
        ),
        ties: tied * tied * tied - tied,
        sums,
        counts: [group as u32, reference as u32],
    }
}

/// Sum of t^3 - t over ties.
fn ties(keys: &[u32]) -> f64 {
    let runs = keys.chunk_by(|a, b| a >> 1 == b >> 1);
    runs.map(|run| run.len() as f64)
        .map(|t| t * t * t - t)
        .sum()
}

/// The tally of values of either sign, run by run.
fn by_runs(sorted: &[u64], cells: &Sides<'_>) -> Tally {
    let mut tally = Tally::default();
    for &e in sorted {
        let which = usize::from(cells.of[e as u32 as usize]).wrapping_sub(1);
        if let (Some(sum), Some(count)) = (tally.sums.get_mut(which), tally.counts.get_mut(which)) {
            *sum += f64::from(value_of(e));
            *count += 1;
        }
    }
    let zeros = [0, 1].map(|s| cells.sizes[s] as f64 - f64::from(tally.counts[s]));
    let (below, above) = sorted.split_at(positive_from(sorted));
    let mut ranks = Ranking::default();
    ranks.runs(below, cells.of);
    ranks.block(zeros[0] + zeros[1], zeros[0]);
    ranks.runs(above, cells.of);
    Tally {
        rank_sum: ranks.rank_sum,
        ties: ranks.ties,
        ..tally
    }
}
