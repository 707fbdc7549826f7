//! Computes the mean and standard deviation of each feature over the training cells.

use std::path::Path;

use super::tensors::TensorFile;
use clcc_data::error::{StageError, StageResult};
use clcc_data::matrix::{Csr, Parts};

/// Mean and standard deviation of each column of a matrix over a set of its rows.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMoments {
    /// Mean, one per column.
    pub mean: Vec<f64>,
    /// Population standard deviation, one per column; exactly 0 where the column is constant.
    pub sd: Vec<f64>,
}

impl FeatureMoments {
    /// Computes the moments of `x` (`n_cells x n_features`) over `rows`, which must not be empty.
    ///
    /// Absent entries are zeros. The variance is summed about the mean in f64, in row order.
    pub fn compute(x: &Csr, rows: &[usize]) -> Self {
        let mut sums = FirstSums::new(x.n_cols());
        sums.add(x, rows.iter().copied());
        let mut sums = sums.second(rows.len());
        sums.add(x, rows.iter().copied());
        sums.moments()
    }

    /// Computes the moments over all rows of a matrix, which is read twice.
    ///
    /// # Errors
    /// Where a part cannot be read.
    pub fn of_parts(x: &dyn Parts) -> StageResult<Self> {
        let mut sums = FirstSums::new(x.n_cols());
        x.each(&mut |_, part| {
            sums.add(part, 0..part.n_rows());
            Ok(())
        })?;
        let mut sums = sums.second(x.n_rows());
        x.each(&mut |_, part| {
            sums.add(part, 0..part.n_rows());
            Ok(())
        })?;
        Ok(sums.moments())
    }

    /// Computes `1 / sd`; 0 for a constant feature, whose z-score is 0 in every cell.
    pub fn inverse_sd(&self) -> Vec<f64> {
        self.sd
            .iter()
            .map(|&s| if s > 0.0 { 1.0 / s } else { 0.0 })
            .collect()
    }

    /// Computes `mean / sd`; 0 for a constant feature.
    pub fn shift(&self) -> Vec<f64> {
        self.mean
            .iter()
            .zip(self.inverse_sd())
            .map(|(m, i)| m * i)
            .collect()
    }

    /// Computes `x / sd`, sparse: the part of `z = x / sd - mean / sd` that differs between cells. Entries of constant
    /// features are dropped.
    pub fn scale(&self, x: &Csr) -> Csr {
        let inverse = self.inverse_sd();
        Csr::from_rows(
            x.n_cols(),
            (0..x.n_rows()).map(|r| {
                let (cols, vals) = x.row(r);
                let entries = cols
                    .iter()
                    .zip(vals)
                    .filter(|(c, v)| inverse[**c as usize] > 0.0 && **v != 0.0);
                entries
                    .map(|(&c, &v)| (c, (f64::from(v) * inverse[c as usize]) as f32))
                    .collect()
            }),
        )
    }
}

/// Sums over rows from which means are told.
struct FirstSums {
    sum: Vec<f64>,
    stored: Vec<u32>,
    low: Vec<f32>,
    high: Vec<f32>,
}

impl FirstSums {
    fn new(n_cols: usize) -> Self {
        Self {
            sum: vec![0.0; n_cols],
            stored: vec![0; n_cols],
            low: vec![f32::INFINITY; n_cols],
            high: vec![f32::NEG_INFINITY; n_cols],
        }
    }

    fn add(&mut self, x: &Csr, rows: impl Iterator<Item = usize>) {
        for r in rows {
            let (cols, vals) = x.row(r);
            for (&c, &v) in cols.iter().zip(vals) {
                let c = c as usize;
                self.sum[c] += f64::from(v);
                self.stored[c] += 1;
                self.low[c] = self.low[c].min(v);
                self.high[c] = self.high[c].max(v);
            }
        }
    }

    /// With the means over `n` rows.
    fn second(mut self, n: usize) -> SecondSums {
        self.sum.iter_mut().for_each(|m| *m /= n as f64);
        SecondSums {
            n,
            squares: vec![0.0; self.sum.len()],
            first: self,
        }
    }
}

/// Sums of squares about the means.
struct SecondSums {
    n: usize,
    squares: Vec<f64>,
    /// Its sums are means now.
    first: FirstSums,
}

impl SecondSums {
    fn add(&mut self, x: &Csr, rows: impl Iterator<Item = usize>) {
        for r in rows {
            let (cols, vals) = x.row(r);
            for (&c, &v) in cols.iter().zip(vals) {
                let d = f64::from(v) - self.first.sum[c as usize];
                self.squares[c as usize] += d * d;
            }
        }
    }

    fn moments(self) -> FeatureMoments {
        let FirstSums {
            sum: mean,
            stored,
            low,
            high,
        } = self.first;
        let sd = (0..mean.len()).map(|c| {
            let absent = self.n - stored[c] as usize;
            let (low, high) = if absent > 0 {
                (low[c].min(0.0), high[c].max(0.0))
            } else {
                (low[c], high[c])
            };
            // Exact: rounding of the mean must not turn a constant column into a varying one.
            if low >= high {
                0.0
            } else {
                ((self.squares[c] + absent as f64 * mean[c] * mean[c]) / self.n as f64).sqrt()
            }
        });
        FeatureMoments {
            sd: sd.collect(),
            mean,
        }
    }
}

/// Chosen columns of `n`; all where none are chosen.
pub(super) fn columns(chosen: Option<&[u32]>, n: usize) -> Vec<usize> {
    chosen.map_or_else(
        || (0..n).collect(),
        |genes| genes.iter().map(|&g| g as usize).collect(),
    )
}

/// The artifact `moments`.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Moments of log1p expression, one per gene.
    pub expr: FeatureMoments,
    /// Moments of `X_cnv`, one per window.
    pub cnv: FeatureMoments,
    /// The genes that make up expression vectors, as ascending numbers among the cohort's; `None` for all.
    pub genes: Option<Vec<u32>>,
}

impl Moments {
    /// The columns of a cohort of `n` genes that make up expression vectors.
    pub fn columns(&self, n: usize) -> Vec<usize> {
        columns(self.genes.as_deref(), n)
    }

    /// Writes `expr_mean`, `expr_sd`, `cnv_mean`, `cnv_sd` (f64) as safetensors, and `expr_genes`
    /// (u32) where genes were chosen.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn write(&self, path: &Path) -> StageResult<()> {
        let mut file = TensorFile::default();
        for (name, values) in self.named() {
            file.put_f64(name, &[values.len()], values);
        }
        if let Some(genes) = &self.genes {
            file.put_u32("expr_genes", &[genes.len()], genes);
        }
        file.write(path)
    }

    /// Reads the file of [`Moments::write`] for a cohort of `n_genes` and `n_windows`.
    ///
    /// # Errors
    /// [`StageError::Format`] where the file is no such artifact or has other numbers of features.
    pub fn read(path: &Path, n_genes: usize, n_windows: usize) -> StageResult<Self> {
        let file = TensorFile::read(path)?;
        let expr = FeatureMoments {
            mean: file.f64s("expr_mean")?,
            sd: file.f64s("expr_sd")?,
        };
        let cnv = FeatureMoments {
            mean: file.f64s("cnv_mean")?,
            sd: file.f64s("cnv_sd")?,
        };
        let genes = match file.has("expr_genes") {
            true => Some(file.u32s("expr_genes")?),
            false => None,
        };
        let rise = |g: &Vec<u32>| g.windows(2).all(|w| w[0] < w[1]);
        let in_range = |g: &Vec<u32>| g.last().is_none_or(|&last| (last as usize) < n_genes);
        let n = genes.as_ref().map_or(n_genes, Vec::len);
        let found = [expr.mean.len(), expr.sd.len(), cnv.mean.len(), cnv.sd.len()];
        if found != [n, n, n_windows, n_windows]
            || !genes.as_ref().is_none_or(|g| rise(g) && in_range(g))
        {
            let message =
                format!("expected moments of {n} genes and {n_windows} windows, found {found:?}");
            return Err(StageError::format(path, "expr_genes", message));
        }
        Ok(Self { expr, cnv, genes })
    }

    /// The four vectors by name.
    pub fn named(&self) -> [(&'static str, &[f64]); 4] {
        [
            ("expr_mean", &self.expr.mean),
            ("expr_sd", &self.expr.sd),
            ("cnv_mean", &self.cnv.mean),
            ("cnv_sd", &self.cnv.sd),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn moments_are_those_of_the_chosen_rows() {
        // Rows 0, 1, 3. Column 0: 0, 3, 0 -> mean 1, variance (1 + 4 + 1) / 3 = 2.
        // Column 1: constant 0.1, all stored. Column 2: all absent. Column 3: 2, -2, 3 -> mean 1, (1 + 9 + 4) / 3.
        let x = Csr::from_dense(&array![
            [0., 0.1, 0., 2.],
            [3., 0.1, 0., -2.],
            [9., 9.0, 9., 9.],
            [0., 0.1, 0., 3.]
        ]);
        let m = FeatureMoments::compute(&x, &[0, 1, 3]);
        for (found, expected) in
            m.sd.iter()
                .zip([2f64.sqrt(), 0.0, 0.0, (14.0f64 / 3.0).sqrt()])
        {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!((m.mean[0], m.mean[2], m.mean[3]), (1.0, 0.0, 1.0));
        assert_eq!(m.inverse_sd()[1], 0.0);
        // The constant column has no entry left, not even in row 2, where it differs.
        let scaled = m.scale(&x.take_rows(&[2]));
        assert_eq!(scaled.row(0).0, [0, 3]);
        assert!((scaled.get(0, 0) - 9.0 / 2f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn the_file_reads_back_and_other_shapes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("moments");
        let m = Moments {
            expr: FeatureMoments {
                mean: vec![0.1, 0.2],
                sd: vec![1.0, 0.0],
            },
            cnv: FeatureMoments {
                mean: vec![0.3],
                sd: vec![1.0 / 3.0],
            },
            genes: None,
        };
        m.write(&path).unwrap();
        assert_eq!(Moments::read(&path, 2, 1).unwrap(), m);
        assert!(Moments::read(&path, 1, 2).is_err());
        // Two chosen of five.
        let m = Moments {
            genes: Some(vec![1, 4]),
            ..m
        };
        m.write(&path).unwrap();
        assert_eq!(Moments::read(&path, 5, 1).unwrap(), m);
        assert!(Moments::read(&path, 4, 1).is_err());
    }
}
