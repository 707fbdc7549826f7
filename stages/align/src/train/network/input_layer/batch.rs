//! The entries of a step's cells, laid out for the kernels.
//!
//! Forward they are gathered into blocks of [`BLOCK`] features, of which one panel's weights stay in
//! L1, and parts of [`PART_ROWS`] rows. A block has some eight entries of a row, so what a row costs
//! besides its entries counts: within a part the rows with the same number of entries stand together,
//! fewest first. Backward they are gathered by feature ([`ByFeature`]), so that a gradient is summed in
//! registers and written once: stores are what a sum by rows would wait for.
//!
//! What most cells have an entry of is no sparse matter: such features are laid out densely
//! ([`DENSE_SHARE`]) and multiplied as matrices.

use std::slice::ChunksExact;
use std::sync::Arc;

use rayon::prelude::*;

use clcc_data::matrix::Csr;

/// Features whose weights (or gradients) are worked on together: 128 x 64 x 4 bytes are L1's size.
pub(super) const BLOCK: usize = 128;
/// Rows whose entries are ordered together: their outputs in one panel stay in L2.
pub(super) const PART_ROWS: usize = 512;
/// Blocks that are gathered together, so that a row's entries are read once.
const BLOCKS_PER_TASK: usize = 8;
/// A feature with an entry in a larger share of the cells is dense. On a processor with AVX-512 an entry takes 1.4 ns
/// forward and 1.7 backward for a panel and .5 to gather, a dense value .9 each way (measured).
const DENSE_SHARE: f64 = 0.5;

/// All cells of one modality, z-scored in two parts.
#[derive(Debug)]
pub(in crate::train) struct SparseInput {
    /// `x / sd`, `n_cells x n_features`, without the dense features.
    rare: Csr,
    dense: DenseFeatures,
    /// `mean / sd`, one per feature.
    shift: Vec<f32>,
    /// Entries of each row of `rare` before each block of features: `n_cells x (n_blocks + 1)`.
    splits: Vec<u32>,
}

/// The features that most cells have an entry of.
#[derive(Debug)]
pub(super) struct DenseFeatures {
    /// Their numbers, rising.
    pub(super) features: Arc<[u32]>,
    /// `x / sd`, `n_cells x features.len()`.
    values: Vec<f32>,
}

impl DenseFeatures {
    /// Those of one block, as numbers in `features`.
    pub(super) fn of_block(&self, block: usize) -> std::ops::Range<usize> {
        let before = |f: usize| self.features.partition_point(|&d| (d as usize) < f);
        before(block * BLOCK)..before((block + 1) * BLOCK)
    }

    fn row(&self, row: usize) -> &[f32] {
        let n = self.features.len();
        &self.values[row * n..][..n]
    }
}

impl SparseInput {
    /// From `mean / sd`, the [`common_features`] of all cells, and each cell's entries of `x / sd`.
    pub(in crate::train) fn new(
        n_cells: usize,
        shift: Vec<f32>,
        common: Arc<[u32]>,
        cell: impl Fn(usize) -> Vec<(u32, f32)>,
    ) -> Self {
        let n_features = shift.len();
        // Place of each feature among the dense ones; for the others, a number beyond them.
        let mut place = vec![u32::MAX; n_features];
        for (at, &f) in common.iter().enumerate() {
            place[f as usize] = at as u32;
        }
        let n_dense = common.len();
        let mut values = vec![0f32; n_cells * n_dense];
        let rows = (0..n_cells).map(|i| {
            let mut entries = cell(i);
            let dense = &mut values[i * n_dense..(i + 1) * n_dense];
            entries.retain(|&(f, v)| match dense.get_mut(place[f as usize] as usize) {
                Some(to) => {
                    *to = v;
                    false
                }
                None => true,
            });
            entries
        });
        let rare = Csr::from_rows(n_features, rows);
        Self {
            splits: splits(&rare),
            rare,
            dense: DenseFeatures {
                features: common,
                values,
            },
            shift,
        }
    }

    /// Number of cells.
    pub(in crate::train) fn n_cells(&self) -> usize {
        self.rare.n_rows()
    }

    /// Number of features.
    pub(in crate::train) fn n_features(&self) -> usize {
        self.shift.len()
    }

    /// Adds a cell's `x / sd` to a row of `n_features`.
    pub(in crate::train) fn add_cell(&self, cell: usize, row: &mut [f32]) {
        let (cols, vals) = self.rare.row(cell);
        let dense = self.dense.features.iter().zip(self.dense.row(cell));
        for (&f, &v) in cols.iter().zip(vals).chain(dense) {
            row[f as usize] += v;
        }
    }

    /// `mean / sd`.
    pub(in crate::train) fn shift(&self) -> &[f32] {
        &self.shift
    }

    /// Number of blocks of features.
    pub(super) fn n_blocks(&self) -> usize {
        self.n_features().div_ceil(BLOCK)
    }

    pub(super) fn dense(&self) -> &DenseFeatures {
        &self.dense
    }

    fn splits(&self, row: u32) -> &[u32] {
        let n = self.n_blocks() + 1;
        &self.splits[row as usize * n..][..n]
    }
}

/// The features, rising, with entries in more than [`DENSE_SHARE`] of the cells, of each feature's number of entries.
/// They are those of all cells, however few an input holds: sums follow them.
pub(in crate::train) fn common_features(entries: &[u32], n_cells: usize) -> Arc<[u32]> {
    let most = (DENSE_SHARE * n_cells as f64) as u32;
    let features = 0..entries.len() as u32;
    features.filter(|&f| entries[f as usize] > most).collect()
}

/// Entries of each row before each block of features.
fn splits(x: &Csr) -> Vec<u32> {
    let n_blocks = x.n_cols().div_ceil(BLOCK);
    let mut splits = vec![0u32; x.n_rows() * (n_blocks + 1)];
    for (r, splits) in splits.chunks_exact_mut(n_blocks + 1).enumerate() {
        for &c in x.row(r).0 {
            splits[c as usize / BLOCK + 1] += 1;
        }
        for b in 0..n_blocks {
            splits[b + 1] += splits[b];
        }
    }
    splits
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
    rows: usize,
    /// Part by part, block by block.
    pub(super) parts: Arc<Vec<Vec<Gathered>>>,
    /// The dense features, `rows x n_dense`.
    pub(super) dense: Arc<Vec<f32>>,
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
        let mut dense = Vec::with_capacity(rows.len() * input.dense.features.len());
        for &row in rows {
            dense.extend_from_slice(input.dense.row(row as usize));
        }
        Self {
            rows: rows.len(),
            input,
            parts: Arc::new(parts),
            dense: Arc::new(dense),
        }
    }

    /// Number of rows.
    pub(in crate::train) fn n_rows(&self) -> usize {
        self.rows
    }

    /// The sparse entries by feature, block by block.
    pub(super) fn by_feature(&self) -> Vec<ByFeature> {
        let blocks = (0..self.input.n_blocks()).into_par_iter();
        blocks
            .with_min_len(BLOCKS_PER_TASK)
            .map(|block| ByFeature::new(self.parts.iter().map(|part| &part[block])))
            .collect()
    }
}

/// The entries of one block, feature after feature; each feature's rows in the order of the gathered parts.
#[derive(Debug)]
pub(super) struct ByFeature {
    /// First entry of each feature, and the end of the last.
    starts: [u32; BLOCK + 1],
    rows: Vec<u32>,
    values: Vec<f32>,
}

impl ByFeature {
    /// From the block's entries in each part of the rows.
    fn new<'a>(parts: impl Iterator<Item = &'a Gathered> + Clone) -> Self {
        let mut starts = [0u32; BLOCK + 1];
        for part in parts.clone() {
            for &f in &part.features {
                starts[f as usize + 1] += 1;
            }
        }
        for f in 0..BLOCK {
            starts[f + 1] += starts[f];
        }
        let n = starts[BLOCK] as usize;
        let (mut rows, mut values) = (vec![0u32; n], vec![0f32; n]);
        let mut next = starts;
        for (part, entries) in parts.enumerate() {
            let first_row = (part * PART_ROWS) as u32;
            for group in entries.groups() {
                for (&row, features, of_row) in group {
                    let row = first_row + u32::from(row);
                    for (&f, &v) in features.iter().zip(of_row) {
                        let at = next[f as usize] as usize;
                        next[f as usize] += 1;
                        rows[at] = row;
                        values[at] = v;
                    }
                }
            }
        }
        Self {
            starts,
            rows,
            values,
        }
    }

    /// Rows and values of each feature.
    #[inline(always)]
    pub(super) fn features(&self) -> impl Iterator<Item = (&[u32], &[f32])> {
        self.starts.windows(2).map(|w| {
            let range = w[0] as usize..w[1] as usize;
            (&self.rows[range.clone()], &self.values[range])
        })
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
        let (cols, vals) = input.rare.row(row as usize);
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
