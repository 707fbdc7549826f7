//! Prepares the training cells' vectors so that the two cosines of any pair are cheap.

use std::ops::Range;

use super::moments::Moments;
use super::params::Space;
use clcc_data::matrix::Csr;

/// A copy-number cosine in f32 that is this close to the bound is computed again in f64, so that
/// rounding (about 1e-6) never decides.
pub(super) const CNV_ROUNDING: f32 = 1e-4;
/// The same for expression cosines, relative to the vectors' lengths.
const EXPR_ROUNDING: f64 = 1e-4;

/// Copy number as dense unit rows; expression as sparse rows, with the shift of the z-score kept apart.
#[derive(Debug, Clone)]
pub struct Vectors {
    /// Number of windows.
    pub n_windows: usize,
    /// `n x n_windows`, unit rows; all zeros where the vector has no direction.
    pub cnv: Vec<f32>,
    /// Whether each cell's copy-number vector has a direction.
    pub has_cnv: Vec<bool>,
    /// `x / sd` (z-score) or `x`: sparse rows `y`.
    expr: Csr,
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
}

impl Lanes {
    /// Empty lanes of `n_genes`.
    pub(super) fn new(n_genes: usize) -> Self {
        Self {
            values: vec![[0.0; LANES]; n_genes],
            cells: 0..0,
        }
    }
}

impl Vectors {
    /// Prepares the cells at `rows` of log1p expression (`n_cells x n_genes`) and `X_cnv`
    /// (`n_cells x n_windows`).
    pub fn prepare(expr: &Csr, cnv: &Csr, rows: &[usize], moments: &Moments, space: Space) -> Self {
        let (cnv_rows, has_cnv) = unit_cnv_rows(cnv, rows, moments, space);
        let (y, shift) = match space {
            Space::Zscore => (moments.expr.scale(expr, rows), moments.expr.shift()),
            Space::Log1p => (expr.take_rows(rows), vec![0.0; expr.n_cols()]),
        };
        let shift_norm2 = shift.iter().map(|m| m * m).sum::<f64>();
        let mut projection = Vec::with_capacity(rows.len());
        let mut inverse_norm = Vec::with_capacity(rows.len());
        let mut norm = Vec::with_capacity(rows.len());
        for r in 0..y.n_rows() {
            let (cols, vals) = y.row(r);
            let entries = || {
                cols.iter()
                    .zip(vals)
                    .map(|(&c, &v)| (c as usize, f64::from(v)))
            };
            let p: f64 = entries().map(|(c, v)| v * shift[c]).sum();
            let own: f64 = entries().map(|(_, v)| v * v).sum();
            let norm2 = own - 2.0 * p + shift_norm2;
            // Below the rounding of the three terms the vector is the mean itself: no direction.
            let floor = 1e-12 * (own + shift_norm2);
            projection.push(p);
            norm.push(own.sqrt());
            inverse_norm.push(if norm2 > floor {
                1.0 / norm2.sqrt()
            } else {
                0.0
            });
        }
        Self {
            n_windows: cnv.n_cols(),
            cnv: cnv_rows,
            has_cnv,
            expr: y,
            projection,
            shift_norm2,
            inverse_norm,
            norm,
        }
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

    /// The unit copy-number row of a cell.
    pub fn cnv_row(&self, cell: usize) -> &[f32] {
        &self.cnv[cell * self.n_windows..(cell + 1) * self.n_windows]
    }

    /// Computes the copy-number cosine of two cells in f64.
    pub fn cnv_cosine(&self, a: usize, b: usize) -> f64 {
        self.cnv_row(a)
            .iter()
            .zip(self.cnv_row(b))
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    }

    /// Decides whether the copy-number cosine of two cells is above `bound`: in f32, and again in f64
    /// where that is too close to tell.
    pub fn cnv_cosine_above(&self, a: usize, b: usize, bound: f64) -> bool {
        let dot = clcc_numerics::math::vectors().dispatch(Dot {
            a: self.cnv_row(a),
            b: self.cnv_row(b),
        });
        let cosine = f64::from(dot);
        if (cosine - bound).abs() > f64::from(CNV_ROUNDING) {
            cosine > bound
        } else {
            self.cnv_cosine(a, b) > bound
        }
    }

    /// Whether a cell's expression vector has a direction.
    pub fn has_expr(&self, cell: usize) -> bool {
        self.inverse_norm[cell] > 0.0
    }

    /// Fills `lanes` with the expression of these cells, at most [`LANES`].
    pub(super) fn spread(&self, cells: Range<usize>, lanes: &mut Lanes) {
        for cell in lanes.cells.clone() {
            for &c in self.expr.row(cell).0 {
                lanes.values[c as usize] = [0.0; LANES];
            }
        }
        for (lane, cell) in cells.clone().enumerate() {
            let (cols, vals) = self.expr.row(cell);
            for (&c, &v) in cols.iter().zip(vals) {
                lanes.values[c as usize][lane] = v;
            }
        }
        lanes.cells = cells;
    }

    /// Computes the expression cosines of the cells in `lanes` with `b` in f32, each within
    /// [`Vectors::rounding`] of the f64 value.
    pub(super) fn near_cosines(&self, lanes: &Lanes, b: usize) -> [f64; LANES] {
        let (cols, vals) = self.expr.row(b);
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

    /// Computes the expression cosine of `b` and of the cell in a lane in f64; `None` where a vector
    /// has no direction.
    pub(super) fn expr_cosine(&self, lanes: &Lanes, lane: usize, b: usize) -> Option<f64> {
        let a = lanes.cells.start + lane;
        if !self.has_expr(a) || !self.has_expr(b) {
            return None;
        }
        let (cols, vals) = self.expr.row(b);
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
fn unit_cnv_rows(
    cnv: &Csr,
    rows: &[usize],
    moments: &Moments,
    space: Space,
) -> (Vec<f32>, Vec<bool>) {
    let w = cnv.n_cols();
    let (shift, inverse) = match space {
        Space::Zscore => (moments.cnv.shift(), moments.cnv.inverse_sd()),
        Space::Log1p => (vec![0.0; w], vec![1.0; w]),
    };
    let mut out = vec![0f32; rows.len() * w];
    let mut has = Vec::with_capacity(rows.len());
    let mut z = vec![0f64; w];
    for (row, &r) in out.chunks_exact_mut(w.max(1)).zip(rows) {
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
    has.resize(rows.len(), false);
    (out, has)
}
