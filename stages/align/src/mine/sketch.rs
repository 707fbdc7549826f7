//! Bounds the copy-number cosine of any pair of cells from a few numbers per cell.
//!
//! Windows overlap, so a cell's `X_cnv` varies slowly along the genome and nearly all of its length lies in a few
//! directions. With `a = Q qa + ra`, where the columns of `Q` are the leading principal directions of a sample of
//! cells, `cos(a, b) = qa.qb + ra.rb`, and by Cauchy and Schwarz `|ra.rb| <= |ra| |rb|`. So the product of `(qa,
//! |ra|)` and `(qb, |rb|)` is an upper bound of the cosine. It costs `k + 1` multiplications in place of one per
//! window, and only pairs that it cannot decide are computed whole: the result is that of all pairs.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};

use super::vectors::{CNV_ROUNDING, Vectors};
use clcc_data::error::StageResult;

/// Cells whose principal directions are taken.
const SAMPLE: usize = 4096;
/// Cells on each side of the pairs that choose the number of directions.
const PROBES: usize = 512;
/// Directions come in steps of this.
const STEP: usize = 32;
/// What a multiplication of a pair computed alone costs, in those of a pair in a tile.
const ALONE: f64 = 6.0;
/// Added to squared lengths of remainders: more than the rounding of directions and sums in f32 (about 1e-6).
const ROUNDING: f32 = 1e-5;

/// Sketches of all cells.
#[derive(Debug)]
pub(super) struct Sketch {
    /// Numbers per cell: directions, and the length of the remainder.
    pub(super) width: usize,
    /// `n x width`; the length is the last of each row.
    pub(super) rows: Vec<f32>,
}

impl Sketch {
    /// Sketches the cells, where this saves work: `None` for few cells, or where no number of directions decides
    /// enough pairs at `bound`.
    ///
    /// # Errors
    /// Where the vectors cannot be read.
    pub(super) fn new(vectors: &Vectors, bound: f64) -> StageResult<Option<Self>> {
        let (n, w) = (vectors.len(), vectors.n_windows);
        // Directions cost about 10 w^3, and save at most n^2 w / 2.
        if n < PROBES || n * n < 40 * w * w {
            return Ok(None);
        }
        let Some(directions) = directions(&sample(vectors, SAMPLE)?, w) else {
            return Ok(None);
        };
        let Some(k) = best_width(&sample(vectors, 2 * PROBES)?, w, &directions, bound) else {
            return Ok(None);
        };
        let mut rows = vec![0f32; n * (k + 1)];
        let kept = directions.subcols(0, k);
        for (block, rows) in rows.chunks_mut(SAMPLE * (k + 1)).enumerate() {
            let first = block * SAMPLE;
            let cells = vectors.cnv_rows(first..first + rows.len() / (k + 1))?;
            project(&cells, w, kept, rows);
        }
        Ok(Some(Self { width: k + 1, rows }))
    }

    /// Numbers of a cell.
    pub(super) fn row(&self, cell: usize) -> &[f32] {
        &self.rows[cell * self.width..][..self.width]
    }

    /// Length of a cell's remainder.
    pub(super) fn remainder(&self, cell: usize) -> f32 {
        self.row(cell)[self.width - 1]
    }
}

/// Principal directions of a sample of the cells, `windows x windows`, the leading first; `None` if they cannot be
/// computed.
fn directions(sample: &[f32], w: usize) -> Option<Mat<f32>> {
    let cells = MatRef::from_row_major_slice(sample, sample.len() / w, w);
    let mut gram = Mat::<f32>::zeros(w, w);
    matmul(
        gram.as_mut(),
        Accum::Replace,
        cells.transpose(),
        cells,
        1.0,
        Par::rayon(0),
    );
    let gram = Mat::<f64>::from_fn(w, w, |i, j| f64::from(gram[(i, j)]));
    let vectors = gram.self_adjoint_eigen(Side::Lower).ok()?;
    // Ascending there.
    Some(Mat::from_fn(w, w, |i, j| {
        vectors.U()[(i, w - 1 - j)] as f32
    }))
}

/// Fills `rows` with the sketches of cells (`n x w`, unit rows or zero), one of `k + 1` numbers for each.
fn project(cells: &[f32], w: usize, directions: MatRef<'_, f32>, rows: &mut [f32]) {
    let (n, width) = (cells.len() / w, directions.ncols() + 1);
    let mut out = MatMut::from_row_major_slice_mut(&mut *rows, n, width);
    matmul(
        out.as_mut().subcols_mut(0, width - 1),
        Accum::Replace,
        MatRef::from_row_major_slice(cells, n, w),
        directions,
        1.0,
        Par::rayon(0),
    );
    for row in rows.chunks_exact_mut(width) {
        let kept: f64 = row[..width - 1].iter().map(|q| f64::from(*q).powi(2)).sum();
        row[width - 1] = ((1.0 - kept).max(0.0) as f32 + ROUNDING).sqrt();
    }
}

/// Chooses the number of directions with the least work over a sample of pairs; `None` where comparing whole vectors
/// is no more.
fn best_width(cells: &[f32], w: usize, directions: &Mat<f32>, bound: f64) -> Option<usize> {
    let n = cells.len() / w;
    let mut best = (0.9 * w as f64, None);
    for k in (STEP..w).step_by(STEP) {
        if k as f64 >= best.0 {
            break;
        }
        let mut rows = vec![0f32; n * (k + 1)];
        project(cells, w, directions.subcols(0, k), &mut rows);
        let undecided = undecided_share(&rows, k + 1, bound as f32);
        let work = (k + 1) as f64 + undecided * ALONE * w as f64;
        if work < best.0 {
            best = (work, Some(k));
        }
    }
    best.1
}

/// Share of pairs, of one cell with an even and one with an odd number, that their sketches leave open.
fn undecided_share(rows: &[f32], width: usize, bound: f32) -> f64 {
    let cells: Vec<&[f32]> = rows.chunks_exact(width).collect();
    let side = |first: usize| -> Vec<f32> {
        cells[first..]
            .iter()
            .step_by(2)
            .flat_map(|r| r.iter().copied())
            .collect()
    };
    let (a, b) = (side(0), side(1));
    let (n, m) = (a.len() / width, b.len() / width);
    let mut upper = Mat::<f32>::zeros(n, m);
    let view = |rows, n| MatRef::from_row_major_slice(rows, n, width);
    matmul(
        upper.as_mut(),
        Accum::Replace,
        view(&a[..], n),
        view(&b[..], m).transpose(),
        1.0,
        Par::rayon(0),
    );
    let length = |rows: &[f32], i: usize| rows[i * width + width - 1];
    let open = (0..n)
        .flat_map(|i| (0..m).map(move |j| (i, j)))
        .filter(|&(i, j)| decide(upper[(i, j)], length(&a, i), length(&b, j), bound).is_none())
        .count();
    open as f64 / (n * m).max(1) as f64
}

/// Decides whether the cosine of two cells is above `bound`, from its upper bound `upper` and the lengths of the cells'
/// remainders (0 where `upper` is the cosine, rounded); `None` where these do not tell.
pub(super) fn decide(upper: f32, a: f32, b: f32, bound: f32) -> Option<bool> {
    if upper < bound - CNV_ROUNDING {
        Some(false)
    } else if upper - 2.0 * a * b > bound + CNV_ROUNDING {
        Some(true)
    } else {
        None
    }
}

/// The copy-number rows of up to `most` cells, evenly spaced.
fn sample(vectors: &Vectors, most: usize) -> StageResult<Vec<f32>> {
    let mut out = Vec::new();
    for cell in spaced(vectors.len(), most) {
        out.extend_from_slice(&vectors.cnv_rows(cell..cell + 1)?);
    }
    Ok(out)
}

/// Up to `most` numbers of `0..n`, evenly spaced.
fn spaced(n: usize, most: usize) -> impl Iterator<Item = usize> {
    let count = n.min(most);
    (0..count).map(move |i| i * n / count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mine::hard::tests::smooth_vectors;
    use crate::mine::vectors::cnv_cosine;

    /// No pair is decided wrongly, and most are decided.
    #[test]
    fn decisions_are_those_of_whole_vectors() {
        let vectors = smooth_vectors(900, 120, 3);
        let rows = vectors.cnv_rows(0..900).unwrap();
        let row = |cell: usize| &rows[cell * 120..][..120];
        for bound in [-0.2, 0.3, 0.5, 0.9] {
            let sketch = Sketch::new(&vectors, bound).unwrap();
            let sketch = sketch.expect("smooth rows are worth it");
            assert!(sketch.width < 100, "{}", sketch.width);
            let (mut open, mut pairs) = (0, 0);
            for a in 0..vectors.len() {
                for b in 0..a {
                    let upper: f32 = sketch
                        .row(a)
                        .iter()
                        .zip(sketch.row(b))
                        .map(|(x, y)| x * y)
                        .sum();
                    let decided = decide(
                        upper,
                        sketch.remainder(a),
                        sketch.remainder(b),
                        bound as f32,
                    );
                    pairs += 1;
                    match decided {
                        None => open += 1,
                        Some(above) => {
                            assert_eq!(
                                above,
                                cnv_cosine(row(a), row(b)) > bound,
                                "{a} {b} at {bound}"
                            );
                        }
                    }
                }
            }
            assert!(5 * open < pairs, "{open} of {pairs} are open at {bound}");
        }
    }

    #[test]
    fn few_cells_are_not_sketched() {
        assert!(
            Sketch::new(&smooth_vectors(300, 120, 3), 0.5)
                .unwrap()
                .is_none()
        );
    }
}
