//! Scaling to a common sum, and natural log1p.

use rayon::prelude::*;

use clcc_data::matrix::Csr;
use clcc_numerics::math;

/// Natural log of 1 + counts * `target_sum` / total, per cell; a cell with a total of 0 stays 0.
/// `totals` has one entry per row of `counts` and may count genes that are not in it.
///
/// **Source**: scanpy 1.11 `pp.normalize_total` and `pp.log1p`. **Deviation**: computed in f64 and
/// rounded once to f32.
pub fn log1p_normalize_total(counts: &Csr, totals: &[f64], target_sum: f64) -> Csr {
    let mut out = counts.clone();
    log1p_normalize_total_in_place(&mut out, totals, target_sum);
    out
}

/// [`log1p_normalize_total`] without a copy.
pub fn log1p_normalize_total_in_place(counts: &mut Csr, totals: &[f64], target_sum: f64) {
    let scale: Vec<f64> = totals
        .iter()
        .map(|&t| if t > 0.0 { target_sum / t } else { 0.0 })
        .collect();
    let value = |r: usize, v: f32| math::ln_1p(f64::from(v) * scale[r]) as f32;
    counts.update_rows(|r, row| {
        // Most counts of a cell are among a few small numbers: the logarithm is taken once of each.
        let mut small = [f32::NAN; 64];
        for v in row {
            // 2^23 has no room for a fraction: what is added to it is in its last bits.
            let shifted = *v + TWO_TO_23;
            let whole = (shifted.to_bits() ^ TWO_TO_23.to_bits()) as usize;
            *v = if whole < small.len() && shifted - TWO_TO_23 == *v {
                if small[whole].is_nan() {
                    small[whole] = value(r, *v);
                }
                small[whole]
            } else {
                value(r, *v)
            };
        }
    });
}

const TWO_TO_23: f32 = 8_388_608.0;

/// The columns at `columns`, in that order, zeros dropped.
pub(super) fn select_columns(x: &Csr, columns: &[usize]) -> Csr {
    let mut new_of_old = vec![u32::MAX; x.n_cols()];
    columns
        .iter()
        .enumerate()
        .for_each(|(new, &old)| new_of_old[old] = new as u32);
    let rows: Vec<Vec<(u32, f32)>> = (0..x.n_rows())
        .into_par_iter()
        .map(|r| {
            let (cols, vals) = x.row(r);
            let kept = cols
                .iter()
                .zip(vals)
                .map(|(&c, &v)| (new_of_old[c as usize], v));
            let mut row: Vec<(u32, f32)> = kept.filter(|e| e.0 != u32::MAX && e.1 != 0.0).collect();
            row.sort_unstable_by_key(|e| e.0);
            row
        })
        .collect();
    Csr::from_rows(columns.len(), rows)
}
