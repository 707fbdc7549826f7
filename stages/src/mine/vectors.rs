//! The training cells' vectors, prepared so that any pair's two cosines are cheap.

use super::moments::Moments;
use super::params::Space;
use crate::matrix::Csr;

/// Copy number as dense unit rows, expression as sparse rows with what a z-score adds kept apart.
#[derive(Debug, Clone)]
pub struct Vectors {
    /// Number of windows.
    pub n_windows: usize,
    /// `n x n_windows` unit rows; a row without a cosine is all zero.
    pub cnv: Vec<f32>,
    /// Whether a cell's copy-number vector has a length.
    pub has_cnv: Vec<bool>,
    /// `x / sd` (z-score) or `x`: sparse rows `y`.
    expr: Csr,
    /// `y . m`, with `m = mean / sd` (z-score) or 0.
    projection: Vec<f64>,
    /// `m . m`.
    shift_norm2: f64,
    /// `1 / |y - m|`, 0 where that vector has no length.
    inverse_norm: Vec<f64>,
}

impl Vectors {
    /// Prepares the cells at `rows` of log1p expression and `X_cnv`.
    pub fn prepare(expr: &Csr, cnv: &Csr, rows: &[usize], moments: &Moments, space: Space) -> Self {
        let (cnv_rows, has_cnv) = unit_rows(cnv, rows, moments, space);
        let (y, shift) = match space {
            Space::Zscore => (moments.expr.scale(expr, rows), moments.expr.shift()),
            Space::Log1p => (expr.take_rows(rows), vec![0.0; expr.n_cols()]),
        };
        let shift_norm2 = shift.iter().map(|m| m * m).sum::<f64>();
        let mut projection = Vec::with_capacity(rows.len());
        let mut inverse_norm = Vec::with_capacity(rows.len());
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

    /// The copy-number cosine of two cells, summed in f64.
    pub fn cnv_cosine(&self, a: usize, b: usize) -> f64 {
        self.cnv_row(a)
            .iter()
            .zip(self.cnv_row(b))
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    }

    /// Lays the expression row of `cell` out in `dense` (all zeros before).
    pub fn spread(&self, cell: usize, dense: &mut [f32]) {
        let (cols, vals) = self.expr.row(cell);
        for (&c, &v) in cols.iter().zip(vals) {
            dense[c as usize] = v;
        }
    }

    /// Undoes [`Vectors::spread`].
    pub fn clear(&self, cell: usize, dense: &mut [f32]) {
        for &c in self.expr.row(cell).0 {
            dense[c as usize] = 0.0;
        }
    }

    /// The expression cosine of `a`, laid out in `dense`, and `b`; `None` where a vector has no length.
    pub fn expr_cosine(&self, a: usize, dense: &[f32], b: usize) -> Option<f64> {
        let scale = self.inverse_norm[a] * self.inverse_norm[b];
        if scale == 0.0 {
            return None;
        }
        let (cols, vals) = self.expr.row(b);
        let mut sums = [0.0f64; 4];
        let (col_quads, col_rest) = cols.as_chunks::<4>();
        let (val_quads, val_rest) = vals.as_chunks::<4>();
        for (c, v) in col_quads.iter().zip(val_quads) {
            for k in 0..4 {
                sums[k] += f64::from(v[k]) * f64::from(dense[c[k] as usize]);
            }
        }
        for (&c, &v) in col_rest.iter().zip(val_rest) {
            sums[0] += f64::from(v) * f64::from(dense[c as usize]);
        }
        let dot = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        Some((dot - (self.projection[a] + self.projection[b]) + self.shift_norm2) * scale)
    }
}

/// Unit copy-number rows, and which of them have a length.
fn unit_rows(cnv: &Csr, rows: &[usize], moments: &Moments, space: Space) -> (Vec<f32>, Vec<bool>) {
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
