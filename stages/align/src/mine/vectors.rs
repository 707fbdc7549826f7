//! Prepares the training cells' vectors so that the two cosines of any pair are cheap.
//!
//! The vectors of a cohort are as large as its matrices: they are kept in a [`Spool`], and read by blocks of cells.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use super::moments::Moments;
use super::params::Space;
use clcc_data::error::StageResult;
use clcc_data::matrix::{Csr, Parts, RowsView, Spool, SpooledRows};

/// A copy-number cosine in f32 that is this close to the bound is computed again in f64, so that
/// rounding (about 1e-6) never decides.
pub(super) const CNV_ROUNDING: f32 = 1e-4;
/// The same for expression cosines, relative to the vectors' lengths.
const EXPR_ROUNDING: f64 = 1e-4;

/// Copy number as dense unit rows; expression as sparse rows, with the shift of the z-score kept apart.
#[derive(Debug)]
pub struct Vectors {
    /// Number of windows.
    pub n_windows: usize,
    /// `n x n_windows`, unit rows; all zeros where the vector has no direction.
    cnv: Spool<f32>,
    /// Whether each cell's copy-number vector has a direction.
    pub has_cnv: Vec<bool>,
    /// `x / sd` (z-score) or `x`: sparse rows `y`.
    expr: SpooledRows,
    /// `y . m`, with `m = mean / sd` (z-score) or 0.
    projection: Vec<f64>,
    /// `m . m`.
    shift_norm2: f64,
    /// `1 / |y - m|`; 0 where that vector has no direction.
    inverse_norm: Vec<f64>,
    /// `|y|`.
    norm: Vec<f64>,
}

/// Anchors that are compared at once: 19,000 genes x 8 x 4 bytes stay in L2.
pub(super) const LANES: usize = 8;

/// The expression of up to [`LANES`] cells, dense and interleaved by gene.
#[derive(Debug)]
pub(super) struct Lanes {
    /// `genes x LANES`.
    values: Vec<[f32; LANES]>,
    cells: Range<usize>,
    /// Genes of these cells.
    filled: Vec<u32>,
}

impl Lanes {
    /// Empty lanes of `n_genes`.
    pub(super) fn new(n_genes: usize) -> Self {
        Self {
            values: vec![[0.0; LANES]; n_genes],
            cells: 0..0,
            filled: Vec::new(),
        }
    }

    /// Fills the lanes with the expression of these cells, at most [`LANES`]; `block` holds the cells from `first` on.
    pub(super) fn spread(&mut self, cells: Range<usize>, first: usize, block: &RowsView<'_>) {
        for c in self.filled.drain(..) {
            self.values[c as usize] = [0.0; LANES];
        }
        for (lane, cell) in cells.clone().enumerate() {
            let (cols, vals) = block.row(cell - first);
            for (&c, &v) in cols.iter().zip(vals) {
                self.values[c as usize][lane] = v;
            }
            self.filled.extend_from_slice(cols);
        }
        self.cells = cells;
    }
}

impl Vectors {
    /// Prepares the cells at `rows` of log1p expression (`n_cells x n_genes`) and `X_cnv`
    /// (`n_cells x n_windows`), matrices in memory.
    ///
    /// # Panics
    /// Where there is no room on the disk for what is not held in memory.
    pub fn prepare(expr: &Csr, cnv: &Csr, rows: &[usize], moments: &Moments, space: Space) -> Self {
        let (expr, cnv) = (expr.take_rows(rows), cnv.take_rows(rows));
        Self::of_parts(&expr, &cnv, moments, space, &std::env::temp_dir())
            .expect("room for temporary files")
    }

    /// Prepares the cells of matrices that are read part by part. Files, where they are needed, lie in `dir`.
    ///
    /// # Errors
    /// Where a part cannot be read or kept.
    pub fn of_parts(
        expr: &dyn Parts,
        cnv: &dyn Parts,
        moments: &Moments,
        space: Space,
        dir: &Path,
    ) -> StageResult<Self> {
        let shift = match space {
            Space::Zscore => moments.expr.shift(),
            Space::Log1p => vec![0.0; expr.n_cols()],
        };
        let mut out = Self {
            n_windows: cnv.n_cols(),
            cnv: Spool::new(dir),
            has_cnv: Vec::new(),
            expr: SpooledRows::new(expr.n_cols(), dir),
            projection: Vec::new(),
            shift_norm2: shift.iter().map(|m| m * m).sum(),
            inverse_norm: Vec::new(),
            norm: Vec::new(),
        };
        cnv.each(&mut |_, part| {
            let (rows, has) = unit_cnv_rows(part, moments, space);
            out.has_cnv.extend(has);
            out.cnv.append(&rows)
        })?;
        expr.each(&mut |_, part| {
            let y = match space {
                Space::Zscore => Cow::Owned(moments.expr.scale(part)),
                Space::Log1p => Cow::Borrowed(part),
            };
            (0..y.n_rows()).for_each(|r| out.measure(y.row(r), &shift));
            out.expr.append(&y)
        })?;
        Ok(out)
    }

    /// Adds the projection and the lengths of a row.
    fn measure(&mut self, (cols, vals): (&[u32], &[f32]), shift: &[f64]) {
        let entries = || {
            cols.iter()
                .zip(vals)
                .map(|(&c, &v)| (c as usize, f64::from(v)))
        };
        let p: f64 = entries().map(|(c, v)| v * shift[c]).sum();
        let own: f64 = entries().map(|(_, v)| v * v).sum();
        let norm2 = own - 2.0 * p + self.shift_norm2;
        // Below the rounding of the three terms the vector is the mean itself: no direction.
        let floor = 1e-12 * (own + self.shift_norm2);
        self.projection.push(p);
        self.norm.push(own.sqrt());
        self.inverse_norm.push(if norm2 > floor {
            1.0 / norm2.sqrt()
        } else {
            0.0
        });
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.has_cnv.len()
    }

    /// Whether there are no cells.
    pub fn is_empty(&self) -> bool {
        self.has_cnv.is_empty()
    }

    /// Number of genes.
    pub fn n_genes(&self) -> usize {
        self.expr.n_cols()
    }

    /// The unit copy-number rows of cells, below one another.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub(super) fn cnv_rows(&self, cells: Range<usize>) -> StageResult<Cow<'_, [f32]>> {
        let w = self.n_windows as u64;
        self.cnv.read(cells.start as u64 * w..cells.end as u64 * w)
    }

    /// The expression of cells.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub(super) fn expr_rows(&self, cells: Range<usize>) -> StageResult<RowsView<'_>> {
        self.expr.view(cells)
    }

    /// Whether a cell's expression vector has a direction.
    pub fn has_expr(&self, cell: usize) -> bool {
        self.inverse_norm[cell] > 0.0
    }

    /// Computes the expression cosines of the cells in `lanes` with `b`, whose row this is, in f32, each within
    /// [`Vectors::rounding`] of the f64 value.
    pub(super) fn near_cosines(
        &self,
        lanes: &Lanes,
        b: usize,
        (cols, vals): (&[u32], &[f32]),
    ) -> [f64; LANES] {
        let dots = clcc_numerics::math::vectors().dispatch(LaneDots {
            cols,
            vals,
            table: &lanes.values,
        });
        let mut out = [f64::INFINITY; LANES];
        for (lane, a) in lanes.cells.clone().enumerate() {
            out[lane] = self.cosine_of_dot(f64::from(dots[lane]), a, b);
        }
        out
    }

    /// Bound of the error of [`Vectors::near_cosines`] for two cells: products are summed in f32, in
    /// proportion to the lengths of the vectors before their mean is subtracted.
    pub(super) fn rounding(&self, a: usize, b: usize) -> f64 {
        let ratio = self.norm[a] * self.inverse_norm[a] * self.norm[b] * self.inverse_norm[b];
        EXPR_ROUNDING * ratio.max(1.0)
    }

    fn cosine_of_dot(&self, dot: f64, a: usize, b: usize) -> f64 {
        let scale = self.inverse_norm[a] * self.inverse_norm[b];
        (dot - (self.projection[a] + self.projection[b]) + self.shift_norm2) * scale
    }

    /// Computes the expression cosine of `b`, whose row this is, and of the cell in a lane in f64; `None` where a
    /// vector has no direction.
    pub(super) fn expr_cosine(
        &self,
        lanes: &Lanes,
        lane: usize,
        b: usize,
        (cols, vals): (&[u32], &[f32]),
    ) -> Option<f64> {
        let a = lanes.cells.start + lane;
        if !self.has_expr(a) || !self.has_expr(b) {
            return None;
        }
        let mut sums = [0.0f64; 4];
        let (col_quads, col_rest) = cols.as_chunks::<4>();
        let (val_quads, val_rest) = vals.as_chunks::<4>();
        for (c, v) in col_quads.iter().zip(val_quads) {
            for k in 0..4 {
                sums[k] += f64::from(v[k]) * f64::from(lanes.values[c[k] as usize][lane]);
            }
        }
        for (&c, &v) in col_rest.iter().zip(val_rest) {
            sums[0] += f64::from(v) * f64::from(lanes.values[c as usize][lane]);
        }
        let dot = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        Some(self.cosine_of_dot(dot, a, b))
    }
}

/// Computes the cosine of two unit rows of copy number in f64.
pub(super) fn cnv_cosine(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
    products.sum()
}

/// Decides whether the cosine of two unit rows of copy number is above `bound`: in f32, and again in f64 where that is
/// too close to tell.
pub(super) fn cnv_cosine_above(a: &[f32], b: &[f32], bound: f64) -> bool {
    let cosine = f64::from(clcc_numerics::math::vectors().dispatch(Dot { a, b }));
    if (cosine - bound).abs() > f64::from(CNV_ROUNDING) {
        cosine > bound
    } else {
        cnv_cosine(a, b) > bound
    }
}

/// Dot product of two dense rows.
struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl pulp::WithSimd for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> f32 {
        // Four vectors of sums, since each addition waits for the one before.
        let mut sums = [0f32; 64];
        let (a, a_rest) = self.a.as_chunks::<64>();
        let (b, b_rest) = self.b.as_chunks::<64>();
        for (a, b) in a.iter().zip(b) {
            for k in 0..64 {
                sums[k] += a[k] * b[k];
            }
        }
        let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
        sums.iter().sum::<f32>() + rest
    }
}

/// Dot products of one sparse row with every lane.
struct LaneDots<'a> {
    cols: &'a [u32],
    vals: &'a [f32],
    table: &'a [[f32; LANES]],
}

impl pulp::WithSimd for LaneDots<'_> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> [f32; LANES] {
        // Four sums, since each addition waits for the one before.
        let mut sums = [[0f32; LANES]; 4];
        let (col_quads, col_rest) = self.cols.as_chunks::<4>();
        let (val_quads, val_rest) = self.vals.as_chunks::<4>();
        for (c, v) in col_quads.iter().zip(val_quads) {
            for k in 0..4 {
                let row = &self.table[c[k] as usize];
                for lane in 0..LANES {
                    sums[k][lane] += v[k] * row[lane];
                }
            }
        }
        for (&c, &v) in col_rest.iter().zip(val_rest) {
            let row = &self.table[c as usize];
            for lane in 0..LANES {
                sums[0][lane] += v * row[lane];
            }
        }
        let mut out = [0f32; LANES];
        for lane in 0..LANES {
            out[lane] = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
        }
        out
    }
}

/// Computes the copy-number rows at unit length, and whether each has a direction.
fn unit_cnv_rows(cnv: &Csr, moments: &Moments, space: Space) -> (Vec<f32>, Vec<bool>) {
    let w = cnv.n_cols();
    let (shift, inverse) = match space {
        Space::Zscore => (moments.cnv.shift(), moments.cnv.inverse_sd()),
        Space::Log1p => (vec![0.0; w], vec![1.0; w]),
    };
    let mut out = vec![0f32; cnv.n_rows() * w];
    let mut has = Vec::with_capacity(cnv.n_rows());
    let mut z = vec![0f64; w];
    for (r, row) in out.chunks_exact_mut(w.max(1)).enumerate() {
        z.iter_mut().zip(&shift).for_each(|(z, s)| *z = -s);
        let (cols, vals) = cnv.row(r);
        for (&c, &v) in cols.iter().zip(vals) {
            z[c as usize] += f64::from(v) * inverse[c as usize];
        }
        let norm = z.iter().map(|z| z * z).sum::<f64>().sqrt();
        has.push(norm > 1e-12);
        if norm > 1e-12 {
            row.iter_mut()
                .zip(&z)
                .for_each(|(u, z)| *u = (z / norm) as f32);
        }
    }
    has.resize(cnv.n_rows(), false);
    (out, has)
}
