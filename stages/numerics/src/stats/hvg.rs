//! Highly variable genes.
//!
//! Follows `scanpy.pp.highly_variable_genes(flavor="seurat", n_top_genes=n)` (Satija et al. 2015):
//! dispersion (variance over mean, of counts per 1e4) as a logarithm, normalised by the mean and sd
//! of the genes of its mean-expression bin. Deviation: exactly `n` genes, ties by index, where
//! scanpy takes every gene at the cut.

use clcc_data::error::StageResult;
use clcc_data::matrix::{Csr, Parts};

use crate::math;

/// Bins of mean expression, scanpy's default.
const BINS: usize = 20;

/// Select the `n` most variable genes over `rows` of log1p expression `x` (`n_cells x n_genes`), in rising order;
/// all genes that vary where there are fewer. Needs two rows or more.
///
/// # Panics
/// Never: the matrix is in memory.
pub fn highly_variable(x: &Csr, rows: &[usize], n: usize) -> Vec<u32> {
    most_variable(&x.take_rows(rows), n).expect("a matrix in memory can be read")
}

/// The same over all rows of a matrix that is read part by part, three times.
///
/// # Errors
/// Where a part cannot be read.
pub fn most_variable(x: &dyn Parts, n: usize) -> StageResult<Vec<u32>> {
    let mut ranked: Vec<(f64, u32)> = normalised_dispersions(x)?
        .into_iter()
        .enumerate()
        .filter(|(_, d)| !d.is_nan())
        .map(|(gene, d)| (d, gene as u32))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    ranked.truncate(n);
    let mut genes: Vec<u32> = ranked.into_iter().map(|r| r.1).collect();
    genes.sort_unstable();
    Ok(genes)
}

/// One per gene; NaN where the gene does not vary.
fn normalised_dispersions(x: &dyn Parts) -> StageResult<Vec<f64>> {
    let (mean, variance) = count_moments(x)?;
    let level: Vec<f64> = mean.iter().map(|m| math::ln_1p(m.max(1e-12))).collect();
    let dispersion: Vec<f64> = mean
        .iter()
        .zip(&variance)
        .map(|(m, v)| {
            if *v > 0.0 {
                math::ln(v / m.max(1e-12))
            } else {
                f64::NAN
            }
        })
        .collect();
    let bin = bins(&level);
    let mut members = vec![Vec::new(); BINS];
    for (gene, d) in dispersion.iter().enumerate().filter(|(_, d)| !d.is_nan()) {
        members[bin[gene]].push(*d);
    }
    let centre_and_scale: Vec<(f64, f64)> = members
        .iter()
        .map(|d| {
            let n = d.len() as f64;
            let mean = d.iter().sum::<f64>() / n;
            let square = d.iter().map(|d| (d - mean).powi(2)).sum::<f64>();
            // A gene alone in its bin gets 1.
            if d.len() == 1 {
                (0.0, mean)
            } else {
                (mean, (square / (n - 1.0)).sqrt())
            }
        })
        .collect();
    let normalised = dispersion
        .iter()
        .zip(bin)
        .map(|(d, bin)| (d - centre_and_scale[bin].0) / centre_and_scale[bin].1);
    Ok(normalised.collect())
}

/// Calls `f` with the column and `expm1` of each entry, in order.
fn entries(x: &dyn Parts, mut f: impl FnMut(usize, f64)) -> StageResult<()> {
    x.each(&mut |_, part| {
        for (&c, &v) in part.indices().iter().zip(part.data()) {
            f(c as usize, math::exp_m1(f64::from(v)));
        }
        Ok(())
    })
}

/// Mean and variance (n - 1) of `expm1(x)`.
fn count_moments(x: &dyn Parts) -> StageResult<(Vec<f64>, Vec<f64>)> {
    let n = x.n_rows() as f64;
    let mut mean = vec![0f64; x.n_cols()];
    let mut stored = vec![0u32; x.n_cols()];
    entries(x, |c, v| {
        mean[c] += v;
        stored[c] += 1;
    })?;
    mean.iter_mut().for_each(|m| *m /= n);
    let constant = constant_columns(x)?;
    let mut square: Vec<f64> = mean
        .iter()
        .zip(&stored)
        .map(|(m, &s)| (n - f64::from(s)) * m * m)
        .collect();
    entries(x, |c, v| square[c] += (v - mean[c]).powi(2))?;
    for (s, constant) in square.iter_mut().zip(constant) {
        // Exact: rounding of the mean must not make a constant gene vary.
        *s = if constant { 0.0 } else { *s / (n - 1.0) };
    }
    Ok((mean, square))
}

fn constant_columns(x: &dyn Parts) -> StageResult<Vec<bool>> {
    let mut range = vec![(f32::INFINITY, f32::NEG_INFINITY, 0usize); x.n_cols()];
    x.each(&mut |_, part| {
        for (&c, &v) in part.indices().iter().zip(part.data()) {
            let (low, high, stored) = &mut range[c as usize];
            (*low, *high, *stored) = (low.min(v), high.max(v), *stored + 1);
        }
        Ok(())
    })?;
    let of = |(low, high, stored): (f32, f32, usize)| match x.n_rows() - stored {
        0 => low == high,
        n if n == x.n_rows() => true,
        _ => low == 0.0 && high == 0.0,
    };
    Ok(range.into_iter().map(of).collect())
}

/// `pandas.cut(level, bins=20)`: equal widths, closed on the right, the lowest value in the first.
fn bins(level: &[f64]) -> Vec<usize> {
    let low = level.iter().copied().fold(f64::INFINITY, f64::min);
    let high = level.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let edges: Vec<f64> = (1..BINS)
        .map(|b| low + (high - low) * b as f64 / BINS as f64)
        .collect();
    level
        .iter()
        .map(|l| edges.partition_point(|edge| edge < l))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    /// The formula of `tests/reference/train/hvg.py`.
    fn example() -> Csr {
        Csr::from_dense(&Array2::from_shape_fn((50, 120), |(i, j)| {
            if j == 5 {
                return 0.0;
            }
            let wave = (1.3 * i as f64 + 0.7 * j as f64 + 0.05 * (i * j) as f64).sin();
            let level = 0.2 + 0.02 * j as f64;
            ((wave * level * 2.0 + level * 0.5).max(0.0) * (1.0 + (j % 7) as f64)) as f32
        }))
    }

    #[test]
    fn the_genes_are_those_of_scanpy() {
        let expected: serde_json::Value =
            serde_json::from_str(include_str!("../../../../tests/reference/train/hvg.json"))
                .unwrap();
        // Rows 0, 3, 6, ... only; the script takes the same.
        let rows: Vec<usize> = (0..50).step_by(3).collect();
        let found = normalised_dispersions(&example().take_rows(&rows)).unwrap();
        let wanted: Vec<Option<f64>> =
            serde_json::from_value(expected["dispersions_norm"].clone()).unwrap();
        assert_eq!(found.len(), wanted.len());
        for (gene, (f, w)) in found.iter().zip(&wanted).enumerate() {
            let close = |w: f64| (f - w).abs() < 1e-4 * (1.0 + w.abs());
            assert!(w.map_or(f.is_nan(), close), "gene {gene}: {f} {w:?}");
        }
        let genes: Vec<u32> = serde_json::from_value(expected["top"].clone()).unwrap();
        assert_eq!(highly_variable(&example(), &rows, genes.len()), genes);
        // Constant genes are never chosen.
        let varying = wanted.iter().flatten().count();
        assert!(varying < 120);
        assert_eq!(highly_variable(&example(), &rows, 500).len(), varying);
    }
}
