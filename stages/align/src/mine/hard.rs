//! Finds the hard negatives among the training cells, exactly, over all pairs.
//!
//! A hard negative of an anchor has nearly the same copy number but a different expression: a
//! copy-number cosine above one bound, an expression cosine below another. The `k` with the smallest
//! expression cosines are kept, ties by index. Copy number is compared first, as products of dense
//! tiles: of sketches that bound the cosine where these are shorter, and of whole vectors for what the bounds leave
//! open. Expression cosines are computed only for pairs that pass: in f32 for several anchors at
//! once, and again in f64 where the f32 value could be among the `k` smallest or is too close to the
//! bound to tell, so that every decision is that of f64. Each unordered pair is visited once and
//! offered to both its cells. Memory is `n x k` and, per thread, a tile and the vectors of its cells, never `n x n`.
//!
//! Same result at any number of threads: a tile is computed by one thread, and the `k` smallest of
//! a totally ordered set do not depend on the order in which they are offered.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::params::MineParams;
use super::sketch::{Sketch, decide};
use super::vectors::{CNV_ROUNDING, LANES, Lanes, Vectors, cnv_cosine_above};
use clcc_data::error::{StageError, StageResult};
use clcc_data::matrix::RowsView;
use clcc_numerics::rng::Rng;

/// Rows of a tile; cells whose results are locked together.
const ROWS: usize = 256;
/// Columns of a tile: the more, the less often the expression of its rows is copied into lanes.
const COLUMNS: usize = 8 * ROWS;

/// The hard negatives of one cell, and how many cells pass each bound.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Anchor {
    /// (expression cosine, cell), ascending by cosine, then by cell; at most `k`.
    pub negatives: Vec<(f32, u32)>,
    /// Cells that pass the copy-number bound.
    pub cnv_pairs: u32,
    /// Cells that pass both bounds.
    pub hard_pairs: u32,
}

impl Anchor {
    /// Adds a negative, and keeps the `k` smallest.
    fn offer(&mut self, cosine: f32, cell: u32, k: usize) {
        let place = self
            .negatives
            .partition_point(|have| have.0.total_cmp(&cosine).then(have.1.cmp(&cell)).is_lt());
        if place < k {
            self.negatives.truncate(k - 1);
            self.negatives.insert(place, (cosine, cell));
        }
    }
}

/// Called with the work done and the total; returns whether to stop.
type Watch<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);

/// Finds the hard negatives of every cell of `vectors`; cells are numbered by their row there.
///
/// With `candidates: N` each anchor is compared only with `N` cells drawn for it (random stream
/// `mine.candidates`, anchor), instead of all.
///
/// # Errors
/// [`StageError::Cancelled`] once `watch` says so.
pub fn hard_negatives(
    vectors: &Vectors,
    params: &MineParams,
    seed: u64,
    watch: Watch<'_>,
) -> StageResult<Vec<Anchor>> {
    match params.candidates {
        Some(n) if n + 1 < vectors.len() => among_candidates(vectors, params, n, seed, watch),
        _ => among_all(vectors, params, watch),
    }
}

fn among_all(vectors: &Vectors, params: &MineParams, watch: Watch<'_>) -> StageResult<Vec<Anchor>> {
    let n = vectors.len();
    let search = Search {
        vectors,
        sketch: Sketch::new(vectors, params.cnv_cosine_min)?,
        params,
        blocks: (0..n.div_ceil(ROWS))
            .map(|b| Mutex::new(vec![Anchor::default(); ROWS.min(n - b * ROWS)]))
            .collect(),
        worst: (0..n)
            .map(|_| AtomicU32::new(f32::INFINITY.to_bits()))
            .collect(),
    };
    // Column blocks first: a block's cells see other cells early and their lists fill soon.
    let tiles: Vec<(usize, usize)> = (0..n)
        .step_by(COLUMNS)
        .flat_map(|col| {
            let rows = (0..n.min(col + COLUMNS)).step_by(ROWS);
            rows.map(move |row| (row, col))
        })
        .collect();
    let done = AtomicU64::new(0);
    tiles.par_iter().try_for_each_init(
        || (Lanes::new(vectors.n_genes()), None),
        |(lanes, cols), &(row, col)| {
            if watch(done.fetch_add(1, Ordering::Relaxed), tiles.len() as u64) {
                return Err(StageError::Cancelled);
            }
            // A thread's next tile often has the same columns.
            let cells = col..n.min(col + COLUMNS);
            let is_other = |c: &Block<'_>| c.cells != cells;
            if cols.as_ref().is_none_or(is_other) {
                *cols = Some(Block::new(vectors, cells));
            }
            let cols = cols.as_mut().expect("made above");
            let mut rows = Block::new(vectors, row..n.min(row + ROWS));
            search.tile(&mut rows, cols, lanes)
        },
    )?;
    Ok(search
        .blocks
        .into_iter()
        .flat_map(|b| b.into_inner().expect("no tile panicked"))
        .collect())
}

/// A search among all pairs.
struct Search<'a> {
    vectors: &'a Vectors,
    /// What tiles multiply; whole copy-number vectors where there is none.
    sketch: Option<Sketch>,
    params: &'a MineParams,
    /// Results of [`ROWS`] cells each.
    blocks: Vec<Mutex<Vec<Anchor>>>,
    /// The largest cosine that each cell keeps, as bits; infinite until its list is full. It only
    /// falls, so one read too early costs work and decides nothing.
    worst: Vec<AtomicU32>,
}

/// The result of a tile for its rows or its columns: counts per cell, and the pairs to offer.
struct Found {
    cnv_pairs: Vec<u32>,
    hard_pairs: Vec<u32>,
    /// (cell, other, expression cosine), ascending by cell.
    offers: Vec<(u32, u32, f32)>,
}

impl Found {
    fn new(n_cells: usize) -> Self {
        Self {
            cnv_pairs: vec![0; n_cells],
            hard_pairs: vec![0; n_cells],
            offers: Vec::new(),
        }
    }
}

/// Some cells and their vectors, which are read where they are needed.
struct Block<'a> {
    vectors: &'a Vectors,
    cells: Range<usize>,
    cnv: Option<Cow<'a, [f32]>>,
    expr: Option<RowsView<'a>>,
}

impl<'a> Block<'a> {
    fn new(vectors: &'a Vectors, cells: Range<usize>) -> Self {
        Self {
            vectors,
            cells,
            cnv: None,
            expr: None,
        }
    }

    /// Copy number, `cells x windows`.
    fn cnv(&mut self) -> StageResult<&[f32]> {
        if self.cnv.is_none() {
            self.cnv = Some(self.vectors.cnv_rows(self.cells.clone())?);
        }
        Ok(self.cnv.as_deref().expect("read above"))
    }

    fn expr(&mut self) -> StageResult<&RowsView<'a>> {
        if self.expr.is_none() {
            self.expr = Some(self.vectors.expr_rows(self.cells.clone())?);
        }
        Ok(self.expr.as_ref().expect("read above"))
    }
}

/// Up to [`LANES`] anchors, rows of a tile, and for each column one bit per anchor: whether its copy number is alike.
type Alike = (Range<usize>, Vec<u8>);

impl Search<'_> {
    /// Compares each cell of the rows with each later cell of the columns.
    fn tile(
        &self,
        rows: &mut Block<'_>,
        cols: &mut Block<'_>,
        lanes: &mut Lanes,
    ) -> StageResult<()> {
        let upper = self.bound_cosines(rows, cols)?;
        let mut by_row = Found::new(rows.cells.len());
        let mut by_col = Found::new(cols.cells.len());
        let alike = self.alike(&upper, rows, cols, &mut by_row, &mut by_col)?;
        if !alike.is_empty() {
            let blocks = (
                rows.cells.start,
                rows.expr()?,
                cols.cells.start,
                cols.expr()?,
            );
            for (anchors, similar) in &alike {
                self.anchors(
                    blocks,
                    anchors.clone(),
                    similar,
                    lanes,
                    &mut by_row,
                    &mut by_col,
                );
            }
        }
        by_col.offers = by_row
            .offers
            .iter()
            .map(|&(a, b, cosine)| (b, a, cosine))
            .collect();
        by_col.offers.sort_unstable_by_key(|o| (o.0, o.1));
        self.keep(rows.cells.start, &by_row);
        self.keep(cols.cells.start, &by_col);
        Ok(())
    }

    /// Upper bounds of the copy-number cosines of a tile, `rows x cols`; the cosines where whole vectors are multiplied.
    fn bound_cosines(&self, rows: &mut Block<'_>, cols: &mut Block<'_>) -> StageResult<Vec<f32>> {
        let (n, m) = (rows.cells.len(), cols.cells.len());
        let (a, b, w) = match &self.sketch {
            Some(sketch) => {
                let w = sketch.width;
                let of = |cells: &Range<usize>| &sketch.rows[cells.start * w..cells.end * w];
                (of(&rows.cells), of(&cols.cells), w)
            }
            None => (rows.cnv()?, cols.cnv()?, self.vectors.n_windows),
        };
        let mut upper = vec![0f32; n * m];
        matmul(
            MatMut::from_row_major_slice_mut(&mut upper, n, m),
            Accum::Replace,
            MatRef::from_row_major_slice(a, n, w),
            MatRef::from_row_major_slice(b, m, w).transpose(),
            1.0f32,
            Par::Seq,
        );
        Ok(upper)
    }

    /// Finds the pairs that pass the copy-number bound, and counts them.
    fn alike(
        &self,
        upper: &[f32],
        rows: &mut Block<'_>,
        cols: &mut Block<'_>,
        by_row: &mut Found,
        by_col: &mut Found,
    ) -> StageResult<Vec<Alike>> {
        let (row, width) = (rows.cells.start, cols.cells.len());
        let mut groups = Vec::new();
        for first in rows.cells.clone().step_by(LANES) {
            let anchors = first..rows.cells.end.min(first + LANES);
            let mut similar = vec![0u8; width];
            let mut any = false;
            for (lane, a) in anchors.clone().enumerate() {
                let upper = &upper[(a - row) * width..][..width];
                for c in self.similar(a, rows, cols, upper)? {
                    similar[c] |= 1 << lane;
                    by_row.cnv_pairs[a - row] += 1;
                    by_col.cnv_pairs[c] += 1;
                    any = true;
                }
            }
            if any {
                groups.push((anchors, similar));
            }
        }
        Ok(groups)
    }

    /// Compares up to [`LANES`] anchors, rows of the tile, with the columns whose copy number is alike: one bit per
    /// anchor in `similar`. `blocks` are the first row and the rows' expression, and the columns' likewise.
    fn anchors(
        &self,
        (row, rows, col, cols): (usize, &RowsView<'_>, usize, &RowsView<'_>),
        anchors: Range<usize>,
        similar: &[u8],
        lanes: &mut Lanes,
        by_row: &mut Found,
        by_col: &mut Found,
    ) {
        lanes.spread(anchors.clone(), row, rows);
        for (c, &mask) in similar.iter().enumerate().filter(|s| *s.1 != 0) {
            let near = self.vectors.near_cosines(lanes, col + c, cols.row(c));
            for (lane, a) in anchors.clone().enumerate() {
                if mask & (1 << lane) == 0 {
                    continue;
                }
                let pair = (a, col + c, cols.row(c));
                let (hard, cosine) = self.judge(near[lane], lanes, lane, pair);
                by_row.hard_pairs[a - row] += u32::from(hard);
                by_col.hard_pairs[c] += u32::from(hard);
                if let Some(cosine) = cosine {
                    by_row.offers.push((a as u32, (col + c) as u32, cosine));
                }
            }
        }
    }

    /// Lists the columns after `a` that pass the copy-number bound with `a`, given `upper` bounds of their cosines.
    fn similar(
        &self,
        a: usize,
        rows: &mut Block<'_>,
        cols: &mut Block<'_>,
        upper: &[f32],
    ) -> StageResult<Vec<usize>> {
        let bound = self.params.cnv_cosine_min;
        let start = cols.cells.start;
        let first = if self.vectors.has_cnv[a] {
            (a + 1).saturating_sub(start).min(upper.len())
        } else {
            upper.len()
        };
        let remainder = |cell| self.sketch.as_ref().map_or(0.0, |s| s.remainder(cell));
        let least = bound as f32 - CNV_ROUNDING;
        let of_a = remainder(a);
        let w = self.vectors.n_windows;
        let mut out = Vec::new();
        for c in first..upper.len() {
            if upper[c] < least || !self.vectors.has_cnv[start + c] {
                continue;
            }
            let is = match decide(upper[c], of_a, remainder(start + c), bound as f32) {
                Some(is) => is,
                None => {
                    let own = (a - rows.cells.start) * w;
                    let own = &rows.cnv()?[own..own + w];
                    cnv_cosine_above(own, &cols.cnv()?[c * w..(c + 1) * w], bound)
                }
            };
            if is {
                out.push(c);
            }
        }
        Ok(out)
    }

    /// Decides whether the expression cosine of `a` and `b`, whose row this is, is below the bound, from its f32 value `near`;
    /// gives the f64 cosine too, where either cell may have to keep it.
    fn judge(
        &self,
        near: f64,
        lanes: &Lanes,
        lane: usize,
        (a, b, row): (usize, usize, (&[u32], &[f32])),
    ) -> (bool, Option<f32>) {
        let (bound, rounding) = (self.params.expr_cosine_max, self.vectors.rounding(a, b));
        if near > bound + rounding || !self.vectors.has_expr(a) || !self.vectors.has_expr(b) {
            return (false, None);
        }
        let worst = |cell: usize| f32::from_bits(self.worst[cell].load(Ordering::Relaxed));
        let worst = f64::from(worst(a).max(worst(b)));
        if near < bound - rounding && near - rounding > worst {
            return (true, None);
        }
        match self.vectors.expr_cosine(lanes, lane, b, row) {
            Some(cosine) if cosine < bound => (true, Some(cosine as f32)),
            _ => (false, None),
        }
    }

    /// Adds the result of a tile to the cells from `start` on.
    fn keep(&self, start: usize, found: &Found) {
        let k = self.params.n_negatives;
        let mut offers = found.offers.as_slice();
        for (block, cells) in (start / ROWS..).zip(found.cnv_pairs.chunks(ROWS)) {
            let mut anchors = self.blocks[block].lock().expect("no tile panicked");
            let first = block * ROWS;
            for (at, anchor) in anchors.iter_mut().enumerate().take(cells.len()) {
                anchor.cnv_pairs += cells[at];
                anchor.hard_pairs += found.hard_pairs[first - start + at];
            }
            let here = offers.partition_point(|o| (o.0 as usize) < first + ROWS);
            let (now, later) = offers.split_at(here);
            offers = later;
            for &(a, b, cosine) in now {
                let anchor = &mut anchors[a as usize - first];
                anchor.offer(cosine, b, k);
                if let Some(last) = anchor.negatives.get(k - 1) {
                    self.worst[a as usize].store(last.0.to_bits(), Ordering::Relaxed);
                }
            }
        }
    }
}

fn among_candidates(
    vectors: &Vectors,
    params: &MineParams,
    n_candidates: usize,
    seed: u64,
    watch: Watch<'_>,
) -> StageResult<Vec<Anchor>> {
    let n = vectors.len();
    let done = AtomicU64::new(0);
    (0..n)
        .into_par_iter()
        .map_init(
            || Lanes::new(vectors.n_genes()),
            |lanes, a| {
                let step = done.fetch_add(1, Ordering::Relaxed);
                if step.is_multiple_of(64) && watch(step, n as u64) {
                    return Err(StageError::Cancelled);
                }
                let mut anchor = Anchor::default();
                if !vectors.has_cnv[a] {
                    return Ok(anchor);
                }
                lanes.spread(a..a + 1, a, &vectors.expr_rows(a..a + 1)?);
                let own = vectors.cnv_rows(a..a + 1)?;
                for b in draw_candidates(n, a, n_candidates, seed) {
                    let bound = params.cnv_cosine_min;
                    if !vectors.has_cnv[b]
                        || !cnv_cosine_above(&own, &vectors.cnv_rows(b..b + 1)?, bound)
                    {
                        continue;
                    }
                    anchor.cnv_pairs += 1;
                    let other = vectors.expr_rows(b..b + 1)?;
                    if let Some(cosine) = vectors.expr_cosine(lanes, 0, b, other.row(0))
                        && cosine < params.expr_cosine_max
                    {
                        anchor.hard_pairs += 1;
                        anchor.offer(cosine as f32, b as u32, params.n_negatives);
                    }
                }
                Ok(anchor)
            },
        )
        .collect()
}

/// Draws `k` distinct cells of `0..n` other than `anchor`, ascending (Floyd's algorithm).
fn draw_candidates(n: usize, anchor: usize, k: usize, seed: u64) -> Vec<usize> {
    let mut rng = Rng::new(seed, "mine.candidates", &[anchor as u64]);
    let others = n - 1;
    let mut chosen = HashSet::with_capacity(k);
    for top in others - k..others {
        let draw = rng.below(top as u64 + 1) as usize;
        if !chosen.insert(draw) {
            chosen.insert(top);
        }
    }
    let mut cells: Vec<usize> = chosen
        .into_iter()
        .map(|c| if c < anchor { c } else { c + 1 })
        .collect();
    cells.sort_unstable();
    cells
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::mine::moments::{FeatureMoments, Moments};
    use crate::mine::params::Space;
    use clcc_data::matrix::Csr;
    use clcc_testing::at_threads;
    use ndarray::Array2;

    /// Random sparse expression of three cell types and copy number of three clones with noise,
    /// with a cell without copy number, one without expression, and a pair of equal cells.
    pub(crate) fn cells(n: usize, seed: u64) -> (Csr, Csr) {
        let mut rng = Rng::new(seed, "test.cells", &[]);
        let (g, w) = (60, 12);
        let mut x = Array2::<f32>::zeros((n, g));
        let mut c = Array2::<f32>::zeros((n, w));
        for i in 0..n {
            for j in 0..g {
                let mean = if j % 3 == i % 3 { 1.2 } else { 0.3 };
                x[[i, j]] = (rng.poisson(mean) as f32).ln_1p();
            }
            for j in 0..w {
                let v = if j / 4 == (i / 3) % 3 { 0.3 } else { 0.0 } + 0.1 * rng.normal() as f32;
                c[[i, j]] = if v.abs() < 0.05 { 0.0 } else { v };
            }
        }
        c.row_mut(5).fill(0.0);
        x.row_mut(7).fill(0.0);
        let copy = x.row(10).to_owned();
        x.row_mut(11).assign(&copy);
        (Csr::from_dense(&x), Csr::from_dense(&c))
    }

    /// Vectors of `n` cells whose copy number varies slowly over `w` windows, as that of overlapping windows does.
    pub(crate) fn smooth_vectors(n: usize, w: usize, seed: u64) -> Vectors {
        let (x, c) = smooth_cells(n, w, seed);
        let rows: Vec<usize> = (0..n).collect();
        let m = moments(&x, &c, &rows);
        Vectors::prepare(&x, &c, &rows, &m, Space::Zscore)
    }

    fn smooth_cells(n: usize, w: usize, seed: u64) -> (Csr, Csr) {
        let mut rng = Rng::new(seed, "test.smooth cells", &[]);
        let mut c = Array2::<f32>::zeros((n, w));
        for (i, mut row) in c.rows_mut().into_iter().enumerate() {
            let mut noise = rng.normal();
            for (j, v) in row.iter_mut().enumerate() {
                noise = 0.98 * noise + 0.2 * rng.normal();
                let level = if j / 20 == i % 3 { 1.5 } else { 0.0 };
                *v = (level + noise) as f32;
            }
        }
        c.row_mut(5).fill(0.0);
        (cells(n, seed).0, Csr::from_dense(&c))
    }

    fn moments(x: &Csr, c: &Csr, rows: &[usize]) -> Moments {
        Moments {
            expr: FeatureMoments::compute(x, rows),
            cnv: FeatureMoments::compute(c, rows),
            genes: None,
        }
    }

    /// Every pair from dense f64 vectors: the definition, written out.
    fn oracle(x: &Csr, c: &Csr, rows: &[usize], m: &Moments, p: &MineParams) -> Vec<Anchor> {
        let dense = |a: &Csr, f: &FeatureMoments| -> Vec<Vec<f64>> {
            let a = a.to_dense();
            let value = |v: f32, j: usize| match p.space {
                Space::Log1p => f64::from(v),
                Space::Zscore if f.sd[j] == 0.0 => 0.0,
                Space::Zscore => (f64::from(v) - f.mean[j]) / f.sd[j],
            };
            rows.iter()
                .map(|&r| {
                    a.row(r)
                        .iter()
                        .enumerate()
                        .map(|(j, &v)| value(v, j))
                        .collect()
                })
                .collect()
        };
        let (x, c) = (dense(x, &m.expr), dense(c, &m.cnv));
        let cosine = |a: &[f64], b: &[f64]| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())
        };
        let mut out = vec![Anchor::default(); rows.len()];
        for i in 0..rows.len() {
            let mut found = Vec::new();
            for j in (0..rows.len()).filter(|&j| j != i) {
                // A vector without length gives NaN, which passes neither comparison.
                if cosine(&c[i], &c[j]) > p.cnv_cosine_min {
                    out[i].cnv_pairs += 1;
                    let e = cosine(&x[i], &x[j]);
                    if e < p.expr_cosine_max {
                        found.push((e as f32, j as u32));
                    }
                }
            }
            out[i].hard_pairs = found.len() as u32;
            found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            found.truncate(p.n_negatives);
            out[i].negatives = found;
        }
        out
    }

    fn assert_same(found: &[Anchor], expected: &[Anchor]) {
        for (i, (f, e)) in found.iter().zip(expected).enumerate() {
            assert_eq!(
                (f.cnv_pairs, f.hard_pairs),
                (e.cnv_pairs, e.hard_pairs),
                "cell {i}"
            );
            let cells = |a: &Anchor| a.negatives.iter().map(|n| n.1).collect::<Vec<_>>();
            assert_eq!(cells(f), cells(e), "cell {i}");
            assert!(
                f.negatives
                    .iter()
                    .zip(&e.negatives)
                    .all(|(a, b)| (a.0 - b.0).abs() < 1e-6),
                "cell {i}"
            );
        }
    }

    #[test]
    fn tiles_find_what_all_pairs_in_f64_find() {
        let (x, c) = cells(230, 3);
        // Some rows are not training cells.
        let rows: Vec<usize> = (0..230).filter(|r| r % 7 != 6).collect();
        for (space, expr_cosine_max) in [(Space::Zscore, 0.05), (Space::Log1p, 0.55)] {
            let p = MineParams {
                space,
                expr_cosine_max,
                n_negatives: 4,
                ..MineParams::default()
            };
            let m = moments(&x, &c, &rows);
            let vectors = Vectors::prepare(&x, &c, &rows, &m, space);
            let expected = oracle(&x, &c, &rows, &m, &p);
            let total: u32 = expected.iter().map(|a| a.hard_pairs).sum();
            let full = expected
                .iter()
                .filter(|a| a.negatives.len() == 4 && a.hard_pairs > 4)
                .count();
            assert!(
                total > 500 && full > 20,
                "the example tests something: {total} pairs, {full} full lists"
            );
            assert_same(
                &hard_negatives(&vectors, &p, 1, &|_, _| false).unwrap(),
                &expected,
            );
            // Drawing every other cell as a candidate is the same as no drawing.
            let all = MineParams {
                candidates: Some(rows.len() - 1),
                ..p.clone()
            };
            assert_same(
                &hard_negatives(&vectors, &all, 1, &|_, _| false).unwrap(),
                &expected,
            );
            assert_same(
                &among_candidates(&vectors, &p, rows.len() - 1, 1, &|_, _| false).unwrap(),
                &expected,
            );
        }
    }

    /// More cells than a tile has rows or columns, and lists that fill and are pushed out of.
    #[test]
    fn many_tiles_find_what_all_pairs_in_f64_find() {
        let (x, c) = cells(COLUMNS + ROWS + 77, 5);
        let rows: Vec<usize> = (0..x.n_rows()).collect();
        let p = MineParams {
            n_negatives: 3,
            ..MineParams::default()
        };
        let m = moments(&x, &c, &rows);
        let vectors = Vectors::prepare(&x, &c, &rows, &m, p.space);
        let found = hard_negatives(&vectors, &p, 1, &|_, _| false).unwrap();
        assert_same(&found, &oracle(&x, &c, &rows, &m, &p));
    }

    /// Enough cells that tiles multiply sketches.
    #[test]
    fn sketches_find_what_all_pairs_in_f64_find() {
        let (x, c) = smooth_cells(700, 100, 9);
        let rows: Vec<usize> = (0..x.n_rows()).collect();
        let m = moments(&x, &c, &rows);
        for cnv_cosine_min in [0.2, 0.5, 0.8] {
            let p = MineParams {
                cnv_cosine_min,
                ..MineParams::default()
            };
            let vectors = Vectors::prepare(&x, &c, &rows, &m, p.space);
            assert!(Sketch::new(&vectors, cnv_cosine_min).unwrap().is_some());
            let found = hard_negatives(&vectors, &p, 1, &|_, _| false).unwrap();
            assert_same(&found, &oracle(&x, &c, &rows, &m, &p));
        }
    }

    #[test]
    fn cells_without_a_cosine_take_no_part() {
        let (x, c) = cells(60, 4);
        let rows: Vec<usize> = (0..60).collect();
        let m = moments(&x, &c, &rows);
        // Bounds that let every pair with a cosine through.
        let p = MineParams {
            space: Space::Log1p,
            cnv_cosine_min: -1.0,
            expr_cosine_max: 1.0,
            n_negatives: 60,
            ..MineParams::default()
        };
        let vectors = Vectors::prepare(&x, &c, &rows, &m, Space::Log1p);
        assert_eq!(vectors.has_cnv.iter().filter(|h| !**h).count(), 1);
        let found = hard_negatives(&vectors, &p, 1, &|_, _| false).unwrap();
        for (i, anchor) in found.iter().enumerate() {
            assert!(
                anchor.negatives.iter().all(|n| n.1 != 5 && n.1 != 7),
                "cell {i}"
            );
        }
        assert!(found[5].negatives.is_empty() && found[7].negatives.is_empty());
        // 60 cells, less itself, 5 and 7; the equal cells 10 and 11 have cosine 1, which is not below 1.
        assert_eq!(found[0].negatives.len(), 57);
    }

    #[test]
    fn candidates_are_distinct_and_never_the_anchor() {
        let mut seen = vec![0u32; 20];
        for anchor in 0..20 {
            for seed in 0..50 {
                let drawn = draw_candidates(20, anchor, 6, seed);
                assert_eq!(drawn.len(), 6);
                assert!(
                    drawn.windows(2).all(|w| w[0] < w[1])
                        && !drawn.contains(&anchor)
                        && drawn[5] < 20
                );
                drawn.iter().for_each(|&c| seen[c] += 1);
            }
        }
        // Each cell is drawn 19 x 50 x 6/19 = 300 times on average, sd about 14.
        assert!(seen.iter().all(|&s| (220..380).contains(&s)), "{seen:?}");
    }

    #[test]
    fn one_and_two_threads_find_the_same_bits() {
        let (x, c) = cells(300, 9);
        let rows: Vec<usize> = (0..300).collect();
        let m = moments(&x, &c, &rows);
        let p = MineParams {
            expr_cosine_max: 0.2,
            ..MineParams::default()
        };
        let vectors = Vectors::prepare(&x, &c, &rows, &m, Space::Zscore);
        let run = |threads: usize, p: &MineParams| {
            at_threads(threads, || {
                hard_negatives(&vectors, p, 1, &|_, _| false).unwrap()
            })
        };
        assert_eq!(run(1, &p), run(3, &p));
        let subsample = MineParams {
            candidates: Some(50),
            ..p
        };
        assert_eq!(run(1, &subsample), run(3, &subsample));
    }

    #[test]
    fn a_cancelled_search_stops() {
        let (x, c) = cells(30, 1);
        let rows: Vec<usize> = (0..30).collect();
        let m = moments(&x, &c, &rows);
        let vectors = Vectors::prepare(&x, &c, &rows, &m, Space::Zscore);
        let found = hard_negatives(&vectors, &MineParams::default(), 1, &|_, _| true);
        assert!(matches!(found, Err(StageError::Cancelled)));
    }
}
