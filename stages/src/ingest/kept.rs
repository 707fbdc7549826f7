//! Counts of one patient as they arrive cell by cell.

use crate::error::StageResult;
use crate::matrix::Csr;

/// Sparse rows that grow.
#[derive(Debug, Default)]
pub(super) struct Kept {
    ends: Vec<u64>,
    indices: Vec<u32>,
    data: Vec<f32>,
}

impl Kept {
    /// Adds a cell whose genes go to the places that `place` names; a gene without one, and a
    /// stored zero, are left out.
    pub(super) fn push_placed(&mut self, genes: &[u32], values: &[f32], place: &[Option<u32>]) {
        for (&gene, &value) in genes.iter().zip(values).filter(|(_, v)| **v != 0.0) {
            if let Some(gene) = place[gene as usize] {
                self.indices.push(gene);
                self.data.push(value);
            }
        }
        self.end_cell();
    }

    fn end_cell(&mut self) {
        self.ends.push(self.indices.len() as u64);
    }

    /// Cells x genes.
    pub(super) fn into_csr(self, n_genes: usize) -> StageResult<Csr> {
        let indptr = std::iter::once(0).chain(self.ends).collect();
        Csr::new(n_genes, indptr, self.indices, self.data)
    }
}

/// Single entries in the order of a file. In 10x files the cells come one after another, so an entry
/// takes 8 bytes; in any other order up to 20.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Cell of each run of entries, and where it ends.
    cells: Vec<(u32, u64)>,
    genes: Vec<u32>,
    values: Vec<f32>,
}

impl Runs {
    /// Adds an entry.
    #[inline]
    pub(super) fn push(&mut self, cell: u32, gene: u32, value: f32) {
        self.genes.push(gene);
        self.values.push(value);
        let end = self.genes.len() as u64;
        match self.cells.last_mut() {
            Some(last) if last.0 == cell => last.1 = end,
            _ => self.cells.push((cell, end)),
        }
    }

    /// Hands all cells, those without entries too, to `kept` in their order.
    ///
    /// # Errors
    /// The cell and the gene of an entry that comes twice.
    pub(super) fn hand_on(self, n_cells: usize, kept: &mut Kept) -> Result<(), (u32, u32)> {
        let mut runs_of: Vec<(u32, u64, u64)> = Vec::with_capacity(self.cells.len());
        let mut start = 0;
        for &(cell, end) in &self.cells {
            runs_of.push((cell, start, end));
            start = end;
        }
        // Stable, and without effect on a file that is sorted by cell.
        runs_of.sort_by_key(|r| r.0);
        let mut next = 0;
        let mut row: Vec<(u32, f32)> = Vec::new();
        for cell in 0..n_cells as u32 {
            row.clear();
            while let Some(&(_, start, end)) = runs_of.get(next).filter(|r| r.0 == cell) {
                let part = start as usize..end as usize;
                let genes = self.genes[part.clone()].iter().copied();
                row.extend(genes.zip(self.values[part].iter().copied()));
                next += 1;
            }
            if row.windows(2).any(|w| w[0].0 >= w[1].0) {
                row.sort_by_key(|e| e.0);
                if let Some(w) = row.windows(2).find(|w| w[0].0 == w[1].0) {
                    return Err((cell, w[0].0));
                }
            }
            kept.indices.extend(row.iter().map(|e| e.0));
            kept.data.extend(row.iter().map(|e| e.1));
            kept.end_cell();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Any order of the entries gives the same rows.
        #[test]
        fn the_order_of_entries_has_no_effect(
            mut entries in prop::collection::btree_map((0u32..7, 0u32..9), 1u8..50, 0..40)
                .prop_map(|m| m.into_iter().collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let rows = |entries: &[((u32, u32), u8)]| {
                let mut runs = Runs::default();
                for &((cell, gene), value) in entries {
                    runs.push(cell, gene, f32::from(value));
                }
                let mut kept = Kept::default();
                runs.hand_on(7, &mut kept).unwrap();
                kept.into_csr(9).unwrap()
            };
            let shuffled = rows(&entries);
            for &((cell, gene), value) in &entries {
                prop_assert_eq!(shuffled.get(cell as usize, gene as usize), f32::from(value));
            }
            prop_assert_eq!((shuffled.nnz(), shuffled.n_rows()), (entries.len(), 7));
            entries.sort();
            prop_assert_eq!(rows(&entries), shuffled);
        }
    }

    #[test]
    fn an_entry_that_comes_twice_is_named() {
        let mut runs = Runs::default();
        for (cell, gene) in [(0, 3), (1, 2), (0, 3)] {
            runs.push(cell, gene, 1.0);
        }
        assert_eq!(runs.hand_on(2, &mut Kept::default()), Err((0, 3)));
    }
}
