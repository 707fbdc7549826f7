//! The artifact `negatives`: each training cell's hard negatives, by cohort row.

use std::path::Path;

use super::hard::Anchor;
use super::tensors::TensorFile;
use clcc_data::error::{StageError, StageResult};

/// The hard negatives of every cell of the cohort; cells outside training have none.
#[derive(Debug, Clone, PartialEq)]
pub struct Negatives {
    /// `n_cells + 1`: the negatives of cell `i` are at `offsets[i]..offsets[i + 1]`.
    pub offsets: Vec<i64>,
    /// Negatives, as cohort rows.
    pub indices: Vec<u32>,
    /// Expression cosine of each negative with its anchor, in [-1, 1], ascending for each anchor.
    pub expr_cosine: Vec<f32>,
}

impl Negatives {
    /// Renumbers negatives, from rows among the training cells `train` to rows of a cohort of `n_cells`.
    pub fn new(n_cells: usize, train: &[usize], anchors: &[Anchor]) -> Self {
        let mut lists: Vec<&[(f32, u32)]> = vec![&[]; n_cells];
        for (&cell, anchor) in train.iter().zip(anchors) {
            lists[cell] = &anchor.negatives;
        }
        let mut out = Self {
            offsets: vec![0],
            indices: Vec::new(),
            expr_cosine: Vec::new(),
        };
        for list in lists {
            out.indices
                .extend(list.iter().map(|n| train[n.1 as usize] as u32));
            out.expr_cosine.extend(list.iter().map(|n| n.0));
            out.offsets.push(out.indices.len() as i64);
        }
        out
    }

    /// The negatives of a cell, as cohort rows.
    pub fn of(&self, cell: usize) -> &[u32] {
        &self.indices[self.offsets[cell] as usize..self.offsets[cell + 1] as usize]
    }

    /// Writes the arrays as safetensors: `offsets` (i64), `indices` (u32), `expr_cosine` (f32).
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub fn write(&self, path: &Path) -> StageResult<()> {
        let mut file = TensorFile::default();
        file.put_i64("offsets", &[self.offsets.len()], &self.offsets);
        file.put_u32("indices", &[self.indices.len()], &self.indices);
        file.put_f32("expr_cosine", &[self.expr_cosine.len()], &self.expr_cosine);
        file.write(path)
    }

    /// Reads the file of [`Negatives::write`] for a cohort of `n_cells`.
    ///
    /// # Errors
    /// [`StageError::Format`] where the arrays do not fit together or the cohort.
    pub fn read(path: &Path, n_cells: usize) -> StageResult<Self> {
        let file = TensorFile::read(path)?;
        let out = Self {
            offsets: file.i64s("offsets")?,
            indices: file.u32s("indices")?,
            expr_cosine: file.f32s("expr_cosine")?,
        };
        let fits = out.offsets.len() == n_cells + 1
            && out.offsets[0] == 0
            && out.offsets.windows(2).all(|w| w[0] <= w[1])
            && out.offsets[n_cells] == out.indices.len() as i64
            && out.expr_cosine.len() == out.indices.len()
            && out.indices.iter().all(|&i| (i as usize) < n_cells);
        if fits {
            Ok(out)
        } else {
            Err(StageError::format(
                path,
                "",
                format!("expected negatives of {n_cells} cells, found other offsets or indices"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_renumbered_to_cohort_rows() {
        let anchor = |negatives: Vec<(f32, u32)>| Anchor {
            negatives,
            ..Anchor::default()
        };
        // Training cells 1, 3, 4 of five; the second has the third and the first as negatives.
        let anchors = [
            anchor(vec![]),
            anchor(vec![(0.1, 2), (0.2, 0)]),
            anchor(vec![(0.1, 1)]),
        ];
        let n = Negatives::new(5, &[1, 3, 4], &anchors);
        assert_eq!(n.offsets, [0, 0, 0, 0, 2, 3]);
        assert_eq!(
            (n.of(3), n.of(4), n.of(1)),
            (&[4u32, 1][..], &[3u32][..], &[][..])
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("negatives");
        n.write(&path).unwrap();
        assert_eq!(Negatives::read(&path, 5).unwrap(), n);
        assert!(Negatives::read(&path, 4).is_err());
    }
}
