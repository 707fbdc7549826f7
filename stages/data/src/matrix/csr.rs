//! Compressed sparse rows with u64 row pointers and u32 column indices.

use ndarray::Array2;
use rayon::prelude::*;

use crate::error::{StageError, StageResult};

/// Entries of a block of columns that [`Csr::transpose`] turns at once, and the most blocks.
const BLOCK_ENTRIES: usize = 1 << 17;
const MOST_BLOCKS: usize = 64;

/// Sparse rows. In each row the column indices rise strictly.
///
/// ```
/// use clcc_data::matrix::Csr;
///
/// // Two rows of four columns: 5 in column 1; 2 in column 0 and 3 in column 3.
/// let m = Csr::new(4, vec![0, 1, 3], vec![1, 3, 0], vec![5.0, 3.0, 2.0]).expect("pointers that fit");
/// assert_eq!(m.row(1), (&[0, 3][..], &[2.0, 3.0][..]));
/// assert_eq!((m.nnz(), m.get(0, 1), m.get(0, 2)), (3, 5.0, 0.0));
/// assert_eq!(m.transpose().row_sums(), [2.0, 5.0, 0.0, 3.0]);
/// // A column that is not there is an error with its number.
/// assert!(Csr::new(4, vec![0, 1], vec![4], vec![1.0]).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Csr {
    n_cols: usize,
    indptr: Vec<u64>,
    indices: Vec<u32>,
    data: Vec<f32>,
}

impl Csr {
    /// From the three arrays of the format. Rows with unsorted columns are sorted, duplicate
    /// entries of a row are summed, explicit zeros are kept.
    ///
    /// # Errors
    /// [`StageError::Data`] where lengths disagree, the pointers fall, or a column is out of range.
    pub fn new(
        n_cols: usize,
        indptr: Vec<u64>,
        indices: Vec<u32>,
        data: Vec<f32>,
    ) -> StageResult<Self> {
        Self::summed(n_cols, indptr, indices, data).map(|(csr, _)| csr)
    }

    /// As [`Csr::new`], with the number of entries that were added to another.
    ///
    /// # Errors
    /// As [`Csr::new`].
    pub fn summed(
        n_cols: usize,
        indptr: Vec<u64>,
        indices: Vec<u32>,
        data: Vec<f32>,
    ) -> StageResult<(Self, u64)> {
        let bad = |message: String| Err(StageError::data(message));
        if indptr.first() != Some(&0) || indptr.windows(2).any(|w| w[0] > w[1]) {
            return bad(
                "sparse matrix: expected row pointers that start at 0 and never fall".into(),
            );
        }
        let nnz = *indptr.last().expect("checked above") as usize;
        if indices.len() != nnz || data.len() != nnz {
            return bad(format!(
                "sparse matrix: row pointers end at {nnz}, but there are {} column indices and {} values",
                indices.len(),
                data.len()
            ));
        }
        let mut csr = Self {
            n_cols,
            indptr,
            indices,
            data,
        };
        // Where columns rise, the last tells whether all are in range.
        let is_canonical = |r: usize| {
            let columns = csr.row(r).0;
            let next = columns.get(1..).unwrap_or_default();
            let rise = columns
                .iter()
                .zip(next)
                .fold(true, |rise, (a, b)| rise & (a < b));
            rise && columns.last().is_none_or(|&c| (c as usize) < n_cols)
        };
        let rows = (0..csr.n_rows()).into_par_iter().with_min_len(64);
        if !rows.all(is_canonical) {
            if let Some(i) = csr.indices.iter().find(|&&i| i as usize >= n_cols) {
                return bad(format!(
                    "sparse matrix: column index {i} in a matrix of {n_cols} columns"
                ));
            }
            csr.canonicalise();
        }
        let n_summed = nnz - csr.nnz();
        Ok((csr, n_summed as u64))
    }

    /// From arrays that were those of rows in this format before.
    pub(super) fn from_parts(
        n_cols: usize,
        indptr: Vec<u64>,
        indices: Vec<u32>,
        data: Vec<f32>,
    ) -> Self {
        debug_assert_eq!(indptr.last(), Some(&(indices.len() as u64)));
        Self {
            n_cols,
            indptr,
            indices,
            data,
        }
    }

    /// From rows of (column, value) with strictly rising columns.
    ///
    /// # Panics
    /// Where a row's columns do not rise or are out of range.
    pub fn from_rows<I: IntoIterator<Item = Vec<(u32, f32)>>>(n_cols: usize, rows: I) -> Self {
        let mut csr = Self {
            n_cols,
            indptr: vec![0],
            indices: Vec::new(),
            data: Vec::new(),
        };
        for row in rows {
            assert!(
                row.windows(2).all(|w| w[0].0 < w[1].0),
                "columns of a row rise"
            );
            assert!(
                row.last().is_none_or(|e| (e.0 as usize) < n_cols),
                "columns are in range"
            );
            csr.indices.extend(row.iter().map(|e| e.0));
            csr.data.extend(row.iter().map(|e| e.1));
            csr.indptr.push(csr.indices.len() as u64);
        }
        csr
    }

    /// Drops the zeros.
    pub fn from_dense(a: &Array2<f32>) -> Self {
        Self::from_rows(
            a.ncols(),
            a.rows().into_iter().map(|row| {
                row.iter()
                    .enumerate()
                    .filter(|(_, v)| **v != 0.0)
                    .map(|(c, v)| (c as u32, *v))
                    .collect()
            }),
        )
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }

    /// Number of columns.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Number of stored entries.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }

    /// Row pointers, `n_rows + 1` of them.
    pub fn indptr(&self) -> &[u64] {
        &self.indptr
    }

    /// Column indices.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Values.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Columns and values of a row.
    pub fn row(&self, r: usize) -> (&[u32], &[f32]) {
        let range = self.indptr[r] as usize..self.indptr[r + 1] as usize;
        (&self.indices[range.clone()], &self.data[range])
    }

    /// The entry at (row, column); 0 where none is stored.
    pub fn get(&self, r: usize, c: usize) -> f32 {
        let (cols, vals) = self.row(r);
        cols.binary_search(&(c as u32)).map_or(0.0, |i| vals[i])
    }

    /// The rows at `rows`, in that order; a row may be taken twice.
    #[must_use]
    pub fn take_rows(&self, rows: &[usize]) -> Self {
        let nnz = rows.iter().map(|&r| self.row(r).0.len()).sum();
        let mut out = Self {
            n_cols: self.n_cols,
            indptr: Vec::with_capacity(rows.len() + 1),
            indices: Vec::with_capacity(nnz),
            data: Vec::with_capacity(nnz),
        };
        out.indptr.push(0);
        for &r in rows {
            let (cols, vals) = self.row(r);
            out.indices.extend_from_slice(cols);
            out.data.extend_from_slice(vals);
            out.indptr.push(out.indices.len() as u64);
        }
        out
    }

    /// The columns at `cols`, in that order.
    ///
    /// # Panics
    /// Where a column is taken twice.
    #[must_use]
    pub fn take_cols(&self, cols: &[usize]) -> Self {
        let mut new_of_old = vec![u32::MAX; self.n_cols];
        for (new, &old) in cols.iter().enumerate() {
            assert_eq!(new_of_old[old], u32::MAX, "a column is taken once");
            new_of_old[old] = new as u32;
        }
        let mut rows: Vec<Vec<(u32, f32)>> = Vec::with_capacity(self.n_rows());
        for r in 0..self.n_rows() {
            let (c, v) = self.row(r);
            let mut row: Vec<(u32, f32)> = c
                .iter()
                .zip(v)
                .filter_map(|(&c, &v)| {
                    Some(new_of_old[c as usize])
                        .filter(|&n| n != u32::MAX)
                        .map(|n| (n, v))
                })
                .collect();
            row.sort_unstable_by_key(|e| e.0);
            rows.push(row);
        }
        Self::from_rows(cols.len(), rows)
    }

    /// The same entries with other values: `f(row, column, value)`.
    #[must_use]
    pub fn map(&self, f: impl Fn(usize, usize, f32) -> f32) -> Self {
        let mut out = self.clone();
        for r in 0..self.n_rows() {
            for i in self.indptr[r] as usize..self.indptr[r + 1] as usize {
                out.data[i] = f(r, self.indices[i] as usize, self.data[i]);
            }
        }
        out
    }

    /// Changes the values in place, row by row and in parallel: `f(row, values)`.
    pub fn update_rows(&mut self, f: impl Fn(usize, &mut [f32]) + Sync) {
        let mut rest = self.data.as_mut_slice();
        let mut rows = Vec::with_capacity(self.indptr.len());
        for (r, w) in self.indptr.windows(2).enumerate() {
            let (row, tail) = rest.split_at_mut((w[1] - w[0]) as usize);
            rows.push((r, row));
            rest = tail;
        }
        rows.into_par_iter()
            .with_min_len(64)
            .for_each(|(r, row)| f(r, row));
    }

    /// Sum of the values of each row, as they are added one after another.
    pub fn row_sums(&self) -> Vec<f64> {
        let rows = (0..self.n_rows()).into_par_iter().with_min_len(64);
        rows.map(|r| {
            let values = self.row(r).1;
            // Of whole numbers every order gives the same sum, and they add up faster.
            whole_sum(values).map_or_else(
                || values.iter().map(|&v| f64::from(v)).sum(),
                |sum| sum as f64,
            )
        })
        .collect()
    }

    /// Sum of some rows, one value per column, added in the order given.
    pub fn sum_rows(&self, rows: impl IntoIterator<Item = usize>) -> Vec<f64> {
        let mut sum = vec![0.0; self.n_cols];
        for r in rows {
            let (columns, values) = self.row(r);
            for (&c, &v) in columns.iter().zip(values) {
                sum[c as usize] += f64::from(v);
            }
        }
        sum
    }

    /// Columns become rows; entries of a new row are in the order of the old rows.
    ///
    /// Blocks of columns are turned side by side, each into an own stretch of the output that stays near
    /// the processor.
    #[must_use]
    pub fn transpose(&self) -> Self {
        let n_blocks = (self.nnz() / BLOCK_ENTRIES).clamp(1, MOST_BLOCKS);
        let width = self.n_cols.div_ceil(n_blocks).max(1);
        let indptr = self.starts_of_columns(width);
        let mut indices = vec![0u32; self.nnz()];
        let mut data = vec![0f32; self.nnz()];
        let mut stretches = Vec::new();
        let (mut rest_i, mut rest_d) = (indices.as_mut_slice(), data.as_mut_slice());
        for from in (0..self.n_cols).step_by(width) {
            let to = (from + width).min(self.n_cols);
            let (own_i, next_i) = rest_i.split_at_mut((indptr[to] - indptr[from]) as usize);
            let (own_d, next_d) = rest_d.split_at_mut(own_i.len());
            stretches.push((from..to, own_i, own_d));
            (rest_i, rest_d) = (next_i, next_d);
        }
        stretches
            .into_par_iter()
            .for_each(|(columns, indices, data)| {
                let first = indptr[columns.start];
                let starts = indptr[columns.clone()].iter();
                let mut next: Vec<usize> = starts.map(|p| (p - first) as usize).collect();
                for r in 0..self.n_rows() {
                    let (cols, vals) = self.part(r, columns.clone());
                    for (&c, &v) in cols.iter().zip(vals) {
                        let at = &mut next[c as usize - columns.start];
                        indices[*at] = r as u32;
                        data[*at] = v;
                        *at += 1;
                    }
                }
            });
        Self {
            n_cols: self.n_rows(),
            indptr,
            indices,
            data,
        }
    }

    /// The entries of row `r` in these columns.
    fn part(&self, r: usize, columns: std::ops::Range<usize>) -> (&[u32], &[f32]) {
        let (cols, vals) = self.row(r);
        let lo = cols.partition_point(|&c| (c as usize) < columns.start);
        let hi = lo + cols[lo..].partition_point(|&c| (c as usize) < columns.end);
        (&cols[lo..hi], &vals[lo..hi])
    }

    /// Where each column begins, with the columns below one another; counted in blocks of `width` columns.
    fn starts_of_columns(&self, width: usize) -> Vec<u64> {
        let mut starts = vec![0u64; self.n_cols + 1];
        starts[1..]
            .par_chunks_mut(width)
            .enumerate()
            .for_each(|(block, counts)| {
                let from = block * width;
                for r in 0..self.n_rows() {
                    let (cols, _) = self.part(r, from..from + width);
                    cols.iter().for_each(|&c| counts[c as usize - from] += 1);
                }
            });
        for c in 0..self.n_cols {
            starts[c + 1] += starts[c];
        }
        starts
    }

    /// Dense, row-major.
    pub fn to_dense(&self) -> Array2<f32> {
        let mut a = Array2::zeros((self.n_rows(), self.n_cols));
        for r in 0..self.n_rows() {
            let (cols, vals) = self.row(r);
            for (&c, &v) in cols.iter().zip(vals) {
                a[[r, c as usize]] = v;
            }
        }
        a
    }

    /// Rows below one another.
    ///
    /// # Panics
    /// Where the numbers of columns differ, or there is no part.
    pub fn vstack(parts: &[&Self]) -> Self {
        let n_cols = parts.first().expect("at least one part").n_cols;
        let mut out = Self {
            n_cols,
            indptr: vec![0],
            indices: Vec::new(),
            data: Vec::new(),
        };
        for part in parts {
            assert_eq!(part.n_cols, n_cols, "parts have the same columns");
            let base = out.indices.len() as u64;
            out.indices.extend_from_slice(&part.indices);
            out.data.extend_from_slice(&part.data);
            out.indptr.extend(part.indptr[1..].iter().map(|p| p + base));
        }
        out
    }

    /// Sorts the columns of every row and sums duplicates.
    fn canonicalise(&mut self) {
        let mut out = Self {
            n_cols: self.n_cols,
            indptr: vec![0],
            indices: Vec::new(),
            data: Vec::new(),
        };
        for r in 0..self.n_rows() {
            let (cols, vals) = self.row(r);
            let mut row: Vec<(u32, f32)> = cols.iter().copied().zip(vals.iter().copied()).collect();
            row.sort_by_key(|e| e.0);
            let start = out.indices.len();
            for (c, v) in row {
                if out.indices.len() > start && out.indices.last() == Some(&c) {
                    *out.data.last_mut().expect("a value for each index") += v;
                } else {
                    out.indices.push(c);
                    out.data.push(v);
                }
            }
            out.indptr.push(out.indices.len() as u64);
        }
        *self = out;
    }
}

/// The sum of whole numbers from 0 to 4 million; nothing where one value is none.
fn whole_sum(values: &[f32]) -> Option<u64> {
    // 2^23 has no room for a fraction: what is added to it is in its last bits.
    const SHIFT: f32 = 8_388_608.0;
    let mut sum = 0;
    for part in values.chunks(256) {
        let (mut sum_of_part, mut odd) = (0u32, 0u32);
        for &v in part {
            let shifted = v + SHIFT;
            let whole = shifted.to_bits() ^ SHIFT.to_bits();
            odd |= whole >> 22 | u32::from(shifted - SHIFT != v);
            sum_of_part = sum_of_part.wrapping_add(whole);
        }
        if odd != 0 {
            return None;
        }
        sum += u64::from(sum_of_part);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn example() -> Csr {
        Csr::from_dense(&array![[0., 1., 2.], [0., 0., 0.], [3., 0., 4.]])
    }

    #[test]
    fn unsorted_rows_and_duplicates_become_canonical() {
        let m = Csr::new(3, vec![0, 3, 4], vec![2, 0, 2, 1], vec![1., 2., 3., 5.]).unwrap();
        assert_eq!(m.to_dense(), array![[2., 0., 4.], [0., 5., 0.]]);
        assert_eq!(m.nnz(), 3);
    }

    #[test]
    fn impossible_arrays_are_refused() {
        assert!(Csr::new(3, vec![0, 2], vec![0, 3], vec![1., 1.]).is_err());
        assert!(Csr::new(3, vec![0, 2, 1], vec![0, 1], vec![1., 1.]).is_err());
        assert!(Csr::new(3, vec![0, 3], vec![0, 1], vec![1., 1.]).is_err());
    }

    #[test]
    fn a_column_out_of_range_is_found_in_rows_that_rise_and_in_others() {
        for columns in [vec![0, 1, 7], vec![7, 1, 0], vec![1, 7, 2]] {
            let error = Csr::new(3, vec![0, 3, 3], columns, vec![1.0; 3]).unwrap_err();
            assert!(error.to_string().contains("column index 7"), "{error}");
        }
    }

    #[test]
    fn sums_of_rows_are_those_of_adding_one_after_another() {
        let rows = [
            vec![1.0, 2.0, 16_777_216.0],
            vec![],
            vec![0.1, 1e8, -0.3, 2_147_483_648.0],
            vec![3e9, 3e9, 1.0],
            vec![f32::NAN, 1.0],
            vec![-5.0, 2.0],
        ];
        let entries = rows.iter().map(|r| (0..).zip(r.iter().copied()).collect());
        let sums = Csr::from_rows(4, entries).row_sums();
        for (row, sum) in rows.iter().zip(sums) {
            let expected: f64 = row.iter().map(|&v| f64::from(v)).sum();
            // The empty sum of floats is -0.
            assert_eq!(sum.to_bits(), (expected + 0.0).to_bits(), "{row:?}");
        }
    }

    #[test]
    fn rows_are_mapped_each_by_its_own() {
        let m = example();
        let by_entry = m.map(|r, _, v| v * 10.0 + r as f32);
        let mut by_row = m.clone();
        by_row.update_rows(|r, values| {
            for v in values {
                *v = *v * 10.0 + r as f32;
            }
        });
        assert_eq!(by_row, by_entry);
    }

    /// Several blocks of columns, empty rows and columns among them, against one entry at a time.
    #[test]
    fn a_large_matrix_is_turned_as_a_small_one() {
        let (rows, cols) = (501, 1203);
        // Any fixed scatter does: a linear congruential generator's upper bits.
        let mut state = 1u64;
        let mut below = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let m = Csr::from_rows(
            cols,
            (0..rows).map(|r| {
                (0..cols as u32)
                    .filter(|c| r % 50 != 3 && c % 100 != 7 && below(10) < 6)
                    .map(|c| (c, (r * cols) as f32 + c as f32))
                    .collect()
            }),
        );
        assert!(m.nnz() > 2 * BLOCK_ENTRIES);
        let mut turned: Vec<Vec<(u32, f32)>> = vec![Vec::new(); cols];
        for r in 0..rows {
            let (at, values) = m.row(r);
            at.iter()
                .zip(values)
                .for_each(|(&c, &v)| turned[c as usize].push((r as u32, v)));
        }
        assert_eq!(m.transpose(), Csr::from_rows(rows, turned));
        assert_eq!(m.transpose().transpose(), m);
        let empty = Csr::from_rows(0, vec![Vec::new(); 3]);
        assert_eq!(empty.transpose().n_cols(), 3);
    }

    #[test]
    fn transpose_and_selection_agree_with_dense() {
        let m = example();
        assert_eq!(m.transpose().to_dense(), m.to_dense().t());
        assert_eq!(
            m.take_cols(&[2, 0]).to_dense(),
            array![[2., 0.], [0., 0.], [4., 3.]]
        );
        assert_eq!(
            m.take_rows(&[2, 2]).to_dense(),
            array![[3., 0., 4.], [3., 0., 4.]]
        );
        assert_eq!(Csr::vstack(&[&m, &m]).take_rows(&[3, 4, 5]), m);
        assert_eq!(m.get(2, 2), 4.0);
    }
}
