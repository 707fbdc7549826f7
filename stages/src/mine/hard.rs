//! Exact all-pairs hard negatives among the training cells.
//!
//! A negative of an anchor has nearly its copy number but another expression: copy-number cosine
//! above one bound, expression cosine below another; the `k` smallest expression cosines are kept,
//! ties by index. Copy number comes first, as products of dense tiles; the sparse expression
//! cosine is worked out only for the pairs that survive it. Each unordered pair is looked at once
//! and offered to both its cells. Memory is `n x k` and a tile per thread, never `n x n`.
//!
//! Same result at any number of threads: a tile is computed by one thread, and the `k` smallest of
//! a totally ordered set do not depend on the order in which they are offered.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::params::MineParams;
use super::vectors::Vectors;
use crate::error::{StageError, StageResult};
use crate::rng::Rng;

/// Pairs this close to the copy-number bound are computed again in f64, so that the rounding of
/// the tile product (about 1e-6) never decides.
const BOUNDARY: f32 = 1e-4;

/// What is known of one anchor.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Anchor {
    /// (expression cosine, cell), rising by cosine, then by cell; at most `k`.
    pub negatives: Vec<(f32, u32)>,
    /// Cells that pass the copy-number bound.
    pub cnv_pairs: u32,
    /// Cells that pass both bounds.
    pub hard_pairs: u32,
}

impl Anchor {
    fn offer(&mut self, cosine: f32, cell: u32, k: usize) {
        self.hard_pairs += 1;
        let place = self
            .negatives
            .partition_point(|have| have.0.total_cmp(&cosine).then(have.1.cmp(&cell)).is_lt());
        if place < k {
            self.negatives.truncate(k - 1);
            self.negatives.insert(place, (cosine, cell));
        }
    }
}

/// Called with the work done and in all; says whether to stop.
type Watch<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);

/// The hard negatives of every cell of `vectors`; cells are numbered by their row there.
///
/// With `candidates: N` each anchor looks only at `N` cells drawn for it (stream
/// `mine.candidates`, anchor), in place of all.
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
    let side = (n / 16).clamp(64, 512);
    let n_blocks = n.div_ceil(side);
    let blocks: Vec<Mutex<Vec<Anchor>>> = (0..n_blocks)
        .map(|b| Mutex::new(vec![Anchor::default(); side.min(n - b * side)]))
        .collect();
    let tiles: Vec<(usize, usize)> = (0..n_blocks)
        .flat_map(|i| (i..n_blocks).map(move |j| (i, j)))
        .collect();
    let done = AtomicU64::new(0);
    tiles.par_iter().try_for_each(|&(i, j)| {
        if watch(done.fetch_add(1, Ordering::Relaxed), tiles.len() as u64) {
            return Err(StageError::Cancelled);
        }
        let tile = Tile::compute(vectors, params, i * side, j * side, side);
        tile.offer(&blocks[i], i * side, params.n_negatives, |pair| {
            (pair.0, pair.1)
        });
        tile.offer(&blocks[j], j * side, params.n_negatives, |pair| {
            (pair.1, pair.0)
        });
        Ok(())
    })?;
    Ok(blocks
        .into_iter()
        .flat_map(|b| b.into_inner().expect("no tile panicked"))
        .collect())
}

/// The pairs of one tile.
struct Tile {
    /// Pairs that pass the copy-number bound and both of whose cells take part.
    similar: Vec<(u32, u32)>,
    /// Pairs that pass both bounds, with the expression cosine.
    hard: Vec<(u32, u32, f32)>,
}

impl Tile {
    fn compute(
        vectors: &Vectors,
        params: &MineParams,
        row0: usize,
        col0: usize,
        side: usize,
    ) -> Self {
        let n = vectors.len();
        let (rows, cols) = (side.min(n - row0), side.min(n - col0));
        let mut cosines = vec![0f32; rows * cols];
        let w = vectors.n_windows;
        let block = |at: usize, len: usize| {
            MatRef::from_row_major_slice(&vectors.cnv[at * w..(at + len) * w], len, w)
        };
        let out = MatMut::from_row_major_slice_mut(&mut cosines, rows, cols);
        matmul(
            out,
            Accum::Replace,
            block(row0, rows),
            block(col0, cols).transpose(),
            1.0f32,
            Par::Seq,
        );
        let bound = params.cnv_cosine_min;
        let mut tile = Self {
            similar: Vec::new(),
            hard: Vec::new(),
        };
        let mut dense = vec![0f32; vectors.n_genes()];
        for r in 0..rows {
            let a = row0 + r;
            if !vectors.has_cnv[a] {
                continue;
            }
            let first = tile.similar.len();
            for c in 0..cols {
                let b = col0 + c;
                let cosine = cosines[r * cols + c];
                if b <= a || cosine < bound as f32 - BOUNDARY || !vectors.has_cnv[b] {
                    continue;
                }
                if cosine > bound as f32 + BOUNDARY || vectors.cnv_cosine(a, b) > bound {
                    tile.similar.push((a as u32, b as u32));
                }
            }
            if tile.similar.len() == first {
                continue;
            }
            vectors.spread(a, &mut dense);
            for &(_, b) in &tile.similar[first..] {
                if let Some(cosine) = vectors.expr_cosine(a, &dense, b as usize)
                    && cosine < params.expr_cosine_max
                {
                    tile.hard.push((a as u32, b, cosine as f32));
                }
            }
            vectors.clear(a, &mut dense);
        }
        tile
    }

    /// Offers every pair to the cell that `sides` puts first, a cell of the block that starts at `start`.
    fn offer(
        &self,
        block: &Mutex<Vec<Anchor>>,
        start: usize,
        k: usize,
        sides: impl Fn((u32, u32)) -> (u32, u32),
    ) {
        let mut anchors = block.lock().expect("no tile panicked");
        for &pair in &self.similar {
            anchors[sides(pair).0 as usize - start].cnv_pairs += 1;
        }
        for &(a, b, cosine) in &self.hard {
            let (anchor, other) = sides((a, b));
            anchors[anchor as usize - start].offer(cosine, other, k);
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
            || vec![0f32; vectors.n_genes()],
            |dense, a| {
                let step = done.fetch_add(1, Ordering::Relaxed);
                if step.is_multiple_of(64) && watch(step, n as u64) {
                    return Err(StageError::Cancelled);
                }
                let mut anchor = Anchor::default();
                if !vectors.has_cnv[a] {
                    return Ok(anchor);
                }
                vectors.spread(a, dense);
                for b in draw_candidates(n, a, n_candidates, seed) {
                    if !vectors.has_cnv[b] || vectors.cnv_cosine(a, b) <= params.cnv_cosine_min {
                        continue;
                    }
                    anchor.cnv_pairs += 1;
                    if let Some(cosine) = vectors.expr_cosine(a, dense, b)
                        && cosine < params.expr_cosine_max
                    {
                        anchor.offer(cosine as f32, b as u32, params.n_negatives);
                    }
                }
                vectors.clear(a, dense);
                Ok(anchor)
            },
        )
        .collect()
}

/// `k` distinct cells of `0..n` other than `anchor`, rising (Floyd's algorithm).
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
mod tests {
    use super::*;
    use crate::matrix::Csr;
    use crate::mine::moments::{FeatureMoments, Moments};
    use crate::mine::params::Space;
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

    fn moments(x: &Csr, c: &Csr, rows: &[usize]) -> Moments {
        Moments {
            expr: FeatureMoments::compute(x, rows),
            cnv: FeatureMoments::compute(c, rows),
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
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| hard_negatives(&vectors, p, 1, &|_, _| false).unwrap())
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
