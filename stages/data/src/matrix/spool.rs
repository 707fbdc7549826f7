//! Numbers that are held in memory while they are few, and in a file beyond.
//!
//! What a stage keeps of all cells of a cohort, and reads again by blocks or one cell at a time, goes through here: a
//! [`Spool`] of plain numbers, [`SpooledRows`] of a sparse matrix. Its memory has a bound that no cohort moves
//! ([`hold_at_most`]). The file has no name: it is gone with the process, however that ends, and nobody else opens it.

use std::borrow::Cow;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytemuck::Pod;

use super::{Csr, Parts};
use crate::error::{StageError, StageResult};

/// Bytes of one [`Spool`] that are held in memory, unless [`hold_at_most`] says otherwise.
const HELD: usize = 512 << 20;

static MOST_HELD: AtomicUsize = AtomicUsize::new(HELD);

/// Sets how many bytes each [`Spool`] of this process holds in memory, 512 MiB unless set: less for a machine of little
/// memory, and for tests. The values read are the same in any case.
pub fn hold_at_most(bytes: usize) {
    MOST_HELD.store(bytes, Ordering::Relaxed);
}

/// How many stored values of a sparse matrix (8 bytes each) to read together, where `share` of what [`hold_at_most`]
/// allows may be held at once.
pub fn block_of(share: f64) -> u64 {
    (MOST_HELD.load(Ordering::Relaxed) as f64 * share / 8.0) as u64
}

/// Numbers in the order in which they were added.
#[derive(Debug)]
pub struct Spool<T> {
    held: Vec<T>,
    /// Where all of them are, once they are too many to be held.
    file: Option<File>,
    len: u64,
    /// Directory of the file.
    dir: PathBuf,
}

impl<T: Pod> Spool<T> {
    /// Without numbers. A file, where one is needed, lies in `dir`.
    pub fn new(dir: &Path) -> Self {
        Self {
            held: Vec::new(),
            file: None,
            len: 0,
            dir: dir.to_path_buf(),
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The numbers, where all of them are held.
    pub fn held(&self) -> Option<&[T]> {
        self.file.is_none().then_some(&self.held)
    }

    /// Adds numbers.
    ///
    /// # Errors
    /// [`StageError::Io`] where the file cannot be made or written.
    pub fn append(&mut self, values: &[T]) -> StageResult<()> {
        let bytes = (self.held.len() + values.len()) * size_of::<T>();
        if self.file.is_none() && bytes > MOST_HELD.load(Ordering::Relaxed) {
            let create = StageError::creating(&self.dir);
            let file = tempfile::tempfile_in(&self.dir).map_err(create)?;
            self.file = Some(file);
            let held = std::mem::take(&mut self.held);
            self.write(&held, 0)?;
        }
        if self.file.is_some() {
            self.write(values, self.len)?;
        } else {
            self.held.extend_from_slice(values);
        }
        self.len += values.len() as u64;
        Ok(())
    }

    fn write(&self, values: &[T], at: u64) -> StageResult<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.write_all_at(bytemuck::cast_slice(values), at * size_of::<T>() as u64)
            .map_err(StageError::writing(&self.dir))
    }

    /// The numbers at `range`.
    ///
    /// # Errors
    /// [`StageError::Io`] where the file cannot be read.
    ///
    /// # Panics
    /// Where the range is not within the numbers.
    pub fn read(&self, range: Range<u64>) -> StageResult<Cow<'_, [T]>> {
        assert!(range.end <= self.len, "numbers that were added");
        let Some(file) = &self.file else {
            let held = &self.held[range.start as usize..range.end as usize];
            return Ok(Cow::Borrowed(held));
        };
        let mut values = vec![T::zeroed(); (range.end - range.start) as usize];
        let at = range.start * size_of::<T>() as u64;
        file.read_exact_at(bytemuck::cast_slice_mut(&mut values), at)
            .map_err(StageError::reading(&self.dir))?;
        Ok(Cow::Owned(values))
    }
}

/// A sparse matrix to which rows are added, and that is read by blocks of rows.
#[derive(Debug)]
pub struct SpooledRows {
    n_cols: usize,
    indptr: Vec<u64>,
    columns: Spool<u32>,
    values: Spool<f32>,
    /// Where the parts of the matrix that it was made of end; empty where its parts are blocks.
    ends: Vec<usize>,
}

/// What a block of [`SpooledRows::blocks`] holds, as a share of what is held: 4 million stored values.
const BLOCK: f64 = 1.0 / 16.0;

impl SpooledRows {
    /// Without rows. Files, where they are needed, lie in `dir`.
    pub fn new(n_cols: usize, dir: &Path) -> Self {
        Self {
            n_cols,
            indptr: vec![0],
            columns: Spool::new(dir),
            values: Spool::new(dir),
            ends: Vec::new(),
        }
    }

    /// All rows of `x` in the same parts: for a matrix that is read several times, since a store is slower to read.
    ///
    /// # Errors
    /// Where a part cannot be read or kept.
    pub fn copy_of(x: &dyn Parts, dir: &Path) -> StageResult<Self> {
        let mut out = Self::new(x.n_cols(), dir);
        x.each(&mut |_, part| {
            out.append(part)?;
            out.ends.push(out.n_rows());
            Ok(())
        })?;
        Ok(out)
    }

    /// The `rows` of `x`, ascending, read part by part.
    ///
    /// # Errors
    /// Where a part cannot be read or kept.
    pub fn of_rows(x: &dyn Parts, rows: &[usize], dir: &Path) -> StageResult<Self> {
        let mut out = Self::new(x.n_cols(), dir);
        x.each(&mut |first, part| {
            let place = |row: usize| rows.partition_point(|&r| r < row);
            let own = &rows[place(first)..place(first + part.n_rows())];
            out.append(&part.take_rows(&own.iter().map(|r| r - first).collect::<Vec<_>>()))
        })?;
        Ok(out)
    }

    /// Adds the rows of a matrix of as many columns.
    ///
    /// # Errors
    /// As [`Spool::append`].
    ///
    /// # Panics
    /// Where it has another number of columns.
    pub fn append(&mut self, rows: &Csr) -> StageResult<()> {
        assert_eq!(rows.n_cols(), self.n_cols, "rows have the same columns");
        self.columns.append(rows.indices())?;
        self.values.append(rows.data())?;
        let before = self.indptr[self.indptr.len() - 1];
        let ends = rows.indptr().iter().skip(1).map(|end| before + end);
        self.indptr.extend(ends);
        Ok(())
    }

    /// The matrix, where all of it is held in memory; else itself.
    ///
    /// # Errors
    /// Itself, which is no failure.
    pub fn into_held(self) -> Result<Csr, Box<Self>> {
        if self.columns.file.is_some() || self.values.file.is_some() {
            return Err(Box::new(self));
        }
        let (columns, values) = (self.columns.held, self.values.held);
        Ok(Csr::from_parts(self.n_cols, self.indptr, columns, values))
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Number of columns.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// The rows at `rows`.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub fn read(&self, rows: Range<usize>) -> StageResult<Csr> {
        let entries = self.indptr[rows.start]..self.indptr[rows.end];
        let pointers = &self.indptr[rows.start..=rows.end];
        Ok(Csr::from_parts(
            self.n_cols,
            pointers.iter().map(|p| p - entries.start).collect(),
            self.columns.read(entries.clone())?.into_owned(),
            self.values.read(entries)?.into_owned(),
        ))
    }

    /// The rows at `rows`, not copied where they are held.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub fn view(&self, rows: Range<usize>) -> StageResult<RowsView<'_>> {
        let entries = self.indptr[rows.start]..self.indptr[rows.end];
        Ok(RowsView {
            indptr: &self.indptr[rows.start..=rows.end],
            columns: self.columns.read(entries.clone())?,
            values: self.values.read(entries)?,
        })
    }

    /// Columns and values of a row.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub fn row(&self, row: usize) -> StageResult<(Cow<'_, [u32]>, Cow<'_, [f32]>)> {
        let entries = self.indptr[row]..self.indptr[row + 1];
        Ok((
            self.columns.read(entries.clone())?,
            self.values.read(entries)?,
        ))
    }

    /// The rows at `rows`, in that order; a row may be taken twice.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub fn take(&self, rows: &[usize]) -> StageResult<Csr> {
        let size = |&r: &usize| (self.indptr[r + 1] - self.indptr[r]) as usize;
        let nnz = rows.iter().map(size).sum();
        let (mut columns, mut values) = (Vec::with_capacity(nnz), Vec::with_capacity(nnz));
        let mut indptr = Vec::with_capacity(rows.len() + 1);
        indptr.push(0);
        for &r in rows {
            let (c, v) = self.row(r)?;
            columns.extend_from_slice(&c);
            values.extend_from_slice(&v);
            indptr.push(columns.len() as u64);
        }
        Ok(Csr::from_parts(self.n_cols, indptr, columns, values))
    }

    /// Blocks of rows of some four million stored values ([`block_of`]), at least a row each.
    pub fn blocks(&self) -> Vec<Range<usize>> {
        let (mut blocks, block) = (Vec::new(), block_of(BLOCK));
        let mut start = 0;
        while start < self.n_rows() {
            let most = self.indptr[start] + block;
            let end = self.indptr.partition_point(|&p| p <= most) - 1;
            let end = end.clamp(start + 1, self.n_rows());
            blocks.push(start..end);
            start = end;
        }
        blocks
    }
}

/// Some rows of [`SpooledRows`].
#[derive(Debug)]
pub struct RowsView<'a> {
    indptr: &'a [u64],
    columns: Cow<'a, [u32]>,
    values: Cow<'a, [f32]>,
}

impl RowsView<'_> {
    /// Columns and values of a row, counted from the first that was read.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let place = |at: usize| (self.indptr[at] - self.indptr[0]) as usize;
        let entries = place(row)..place(row + 1);
        (&self.columns[entries.clone()], &self.values[entries])
    }
}

/// A part is one of [`SpooledRows::copy_of`], or a block.
impl Parts for SpooledRows {
    fn n_rows(&self) -> usize {
        self.n_rows()
    }

    fn n_cols(&self) -> usize {
        self.n_cols()
    }

    fn n_parts(&self) -> usize {
        match self.ends.len() {
            0 => self.blocks().len(),
            n => n,
        }
    }

    fn part(&self, at: usize) -> StageResult<(usize, Cow<'_, Csr>)> {
        let rows = match self.ends.get(at) {
            None => self.blocks()[at].clone(),
            Some(&end) => at.checked_sub(1).map_or(0, |before| self.ends[before])..end,
        };
        Ok((rows.start, Cow::Owned(self.read(rows)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is added before and after the file is made comes back the same.
    #[test]
    fn a_file_holds_what_memory_would() {
        let dir = tempfile::tempdir().unwrap();
        // Between none and 12 entries in a row.
        let row = |r: u32| (0..30).filter(move |c| (r * 7 + c * c) % 13 < r % 6);
        let rows = (0..200).map(|r| row(r).map(|c| (c, (r + c) as f32)).collect());
        let whole = Csr::from_rows(30, rows);
        let rows = |range: Range<usize>| whole.take_rows(&range.collect::<Vec<_>>());
        let spooled = || {
            let mut out = SpooledRows::new(30, dir.path());
            for part in [0..50, 50..50, 50..51, 51..200] {
                out.append(&rows(part)).unwrap();
            }
            out
        };
        let held = spooled();
        hold_at_most(1000);
        let filed = spooled();
        hold_at_most(HELD);
        assert!(held.values.held().is_some() && filed.values.held().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        for m in [&held, &filed] {
            assert_eq!(m.n_rows(), 200);
            assert_eq!(m.read(0..200).unwrap(), whole);
            assert_eq!(m.read(20..90).unwrap(), rows(20..90));
            assert_eq!(m.take(&[7, 3, 7]).unwrap(), whole.take_rows(&[7, 3, 7]));
            assert_eq!(m.blocks(), std::iter::once(0..200).collect::<Vec<_>>());
            assert_eq!(m.view(20..90).unwrap().row(3), whole.row(23));
        }
        let parts = vec![rows(0..30), rows(30..30), rows(30..200)];
        let copy = SpooledRows::copy_of(&parts, dir.path()).unwrap();
        assert_eq!(copy.n_parts(), 3);
        for at in 0..3 {
            assert_eq!(copy.part(at).unwrap(), parts.part(at).unwrap());
        }
        assert_eq!(held.into_held().unwrap(), whole);
        assert!(filed.into_held().is_err());
    }
}
