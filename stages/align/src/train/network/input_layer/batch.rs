//! The entries of a step's cells, laid out for the kernels.
//!
//! They are gathered into blocks of [`BLOCK`] features, of which one panel's weights (or gradients)
//! stay in L1, and parts of [`PART_ROWS`] rows. A block has some eight entries of a row, so what a
//! row costs besides its entries counts: within a part the rows with the same number of entries stand
//! together, fewest first.

use std::slice::ChunksExact;
use std::sync::Arc;

use rayon::prelude::*;

use clcc_data::matrix::Csr;

/// Features whose weights (or gradients) are worked on together: 128 x 64 x 4 bytes are L1's size.
pub(super) const BLOCK: usize = 128;
/// Rows whose entries are ordered together; fixed, since it decides the order of the gradient's sums.
pub(super) const PART_ROWS: usize = 512;
/// Blocks that are gathered together, so that a row's entries are read once.
const BLOCKS_PER_TASK: usize = 8;

/// All cells of one modality, z-scored in two parts.
#[derive(Debug)]
pub(in crate::train) struct SparseInput {
    /// `x / sd`, `n_cells x n_features`.
    scaled: Csr,
    /// `mean / sd`, one per feature.
    shift: Vec<f32>,
    /// Entries of each row before each block of features: `n_cells x (n_blocks + 1)`.
    splits: Vec<u32>,
}

impl SparseInput {
    /// From `x / sd` and `mean / sd`.
    pub(in crate::train) fn new(scaled: Csr, shift: Vec<f32>) -> Self {
        assert_eq!(scaled.n_cols(), shift.len(), "one shift per feature");
        let n_blocks = scaled.n_cols().div_ceil(BLOCK);
        let mut splits = vec![0u32; scaled.n_rows() * (n_blocks + 1)];
        for (r, splits) in splits.chunks_exact_mut(n_blocks + 1).enumerate() {
            for &c in scaled.row(r).0 {
                splits[c as usize / BLOCK + 1] += 1;
            }
            for b in 0..n_blocks {
                splits[b + 1] += splits[b];
            }
        }
        Self {
            scaled,
            shift,
            splits,
        }
    }

    /// Number of features.
    pub(in crate::train) fn n_features(&self) -> usize {
        self.scaled.n_cols()
    }

    /// `x / sd`.
    pub(in crate::train) fn scaled(&self) -> &Csr {
        &self.scaled
    }

    /// `mean / sd`.
    pub(in crate::train) fn shift(&self) -> &[f32] {
        &self.shift
    }

    /// Number of blocks of features.
    pub(super) fn n_blocks(&self) -> usize {
        self.n_features().div_ceil(BLOCK)
    }

    fn splits(&self, row: u32) -> &[u32] {
        let n = self.n_blocks() + 1;
        &self.splits[row as usize * n..][..n]
    }
}

/// The entries of a part's rows in one block of features; rows without any are left out.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// Entries of each row of a group, and its number of rows; fewest entries first.
    groups: Vec<(usize, usize)>,
    /// Rows within the part, group by group, rising in each.
    rows: Vec<u16>,
    /// Feature within the block.
    features: Vec<u8>,
    values: Vec<f32>,
}

impl Gathered {
    /// The rows of each group with their entries.
    #[inline(always)]
    pub(super) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let (mut rows, mut features, mut values) = (&*self.rows, &*self.features, &*self.values);
        self.groups.iter().map(move |&(entries, n)| {
            let (of_group, rest) = rows.split_at(n);
            rows = rest;
            let (f, rest) = features.split_at(n * entries);
            features = rest;
            let (v, rest) = values.split_at(n * entries);
            values = rest;
            Group {
                rows: of_group.iter(),
                features: f.chunks_exact(entries),
                values: v.chunks_exact(entries),
            }
        })
    }
}

/// Rows with the same number of entries: each row's number, features and values.
pub(super) struct Group<'a> {
    rows: std::slice::Iter<'a, u16>,
    features: ChunksExact<'a, u8>,
    values: ChunksExact<'a, f32>,
}

impl<'a> Iterator for Group<'a> {
    type Item = (&'a u16, &'a [u8], &'a [f32]);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        Some((
            self.rows.next()?,
            self.features.next()?,
            self.values.next()?,
        ))
    }
}

/// Some rows of a [`SparseInput`], to be multiplied by a weight.
#[derive(Debug, Clone)]
pub(in crate::train) struct SparseBatch {
    pub(super) input: Arc<SparseInput>,
    pub(super) rows: usize,
    /// Part by part, block by block.
    pub(super) parts: Arc<Vec<Vec<Gathered>>>,
}

impl SparseBatch {
    /// Gathers these rows of `input`.
    pub(in crate::train) fn new(input: Arc<SparseInput>, rows: &[u32]) -> Self {
        let parts = rows
            .par_chunks(PART_ROWS)
            .map(|rows| {
                let firsts: Vec<usize> = (0..input.n_blocks()).step_by(BLOCKS_PER_TASK).collect();
                let blocks = firsts.into_par_iter().flat_map_iter(|first| {
                    let last = input.n_blocks().min(first + BLOCKS_PER_TASK);
                    gather(&input, rows, first, last)
                });
                blocks.collect()
            })
            .collect();
        Self {
            rows: rows.len(),
            input,
            parts: Arc::new(parts),
        }
    }

    /// Number of rows.
    pub(in crate::train) fn n_rows(&self) -> usize {
        self.rows
    }
}

/// Blocks `first..last` of a part.
fn gather(input: &SparseInput, rows: &[u32], first: usize, last: usize) -> Vec<Gathered> {
    // Where in its block each row's entries go: `rows x blocks`.
    let n_blocks = last - first;
    let mut places = vec![0u32; rows.len() * n_blocks];
    let mut blocks: Vec<Gathered> = (0..n_blocks)
        .map(|block| ordered(input, rows, first + block, &mut places[block..], n_blocks))
        .collect();
    for (&row, places) in rows.iter().zip(places.chunks_exact(n_blocks)) {
        let (cols, vals) = input.scaled.row(row as usize);
        let ends = &input.splits(row)[first..=last];
        let ranges = ends.windows(2).map(|w| w[0] as usize..w[1] as usize);
        for ((range, &place), block) in ranges.zip(places).zip(&mut blocks) {
            let (to, n) = (place as usize, range.len());
            let features = &mut block.features[to..to + n];
            for (f, &c) in features.iter_mut().zip(&cols[range.clone()]) {
                *f = (c as usize % BLOCK) as u8;
            }
            block.values[to..to + n].copy_from_slice(&vals[range]);
        }
    }
    blocks
}

/// The rows of a block ordered by their number of entries, with room for the entries; the place of
/// each row's goes to every `step`th of `places`.
fn ordered(
    input: &SparseInput,
    rows: &[u32],
    block: usize,
    places: &mut [u32],
    step: usize,
) -> Gathered {
    let mut counts = Vec::with_capacity(rows.len());
    let mut rows_with = [0usize; BLOCK + 1];
    for &row in rows {
        let splits = input.splits(row);
        let n = (splits[block + 1] - splits[block]) as usize;
        rows_with[n] += 1;
        counts.push(n as u8);
    }
    rows_with[0] = 0;
    // The next row and entry of each number of entries.
    let mut next = [(0usize, 0usize); BLOCK + 1];
    let (mut n_rows, mut n_entries) = (0, 0);
    for (n, &of) in rows_with.iter().enumerate() {
        next[n] = (n_rows, n_entries);
        n_rows += of;
        n_entries += of * n;
    }
    let mut out = Gathered {
        groups: (1..=BLOCK)
            .filter(|&n| rows_with[n] > 0)
            .map(|n| (n, rows_with[n]))
            .collect(),
        rows: vec![0; n_rows],
        features: vec![0; n_entries],
        values: vec![0.0; n_entries],
    };
    for (row, (&n, place)) in counts
        .iter()
        .zip(places.iter_mut().step_by(step))
        .enumerate()
    {
        let n = n as usize;
        if n > 0 {
            let (at, entry) = &mut next[n];
            out.rows[*at] = row as u16;
            *place = *entry as u32;
            (*at, *entry) = (*at + 1, *entry + n);
        }
    }
    out
}
