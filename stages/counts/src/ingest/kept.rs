//! Counts of one patient as they arrive cell by cell.

use super::source::Matrices;
use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_data::matrix::Csr;

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

/// The genes, and each patient's counts one at a time.
pub(super) fn matrices(kept: Vec<Kept>, var: Frame) -> (Frame, Matrices) {
    let n_genes = var.len();
    let mut kept = kept.into_iter();
    let next = move || kept.next().map(|k| k.into_csr(n_genes));
    (var, Box::new(std::iter::from_fn(next)))
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

    /// Hands all cells, those without entries too, to `kept` in their order. Entries of one cell and gene are
    /// added up, as scipy does. Returns how many were added to another.
    ///
    /// # Errors
    /// The cell, the gene and the problem that `problem` finds with a sum.
    pub(super) fn hand_on(
        self,
        n_cells: usize,
        kept: &mut Kept,
        problem: impl Fn(f64) -> Option<String>,
    ) -> Result<u64, (u32, u32, String)> {
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
        let mut n_summed = 0;
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
                let n = row.len();
                row.dedup_by(|next, sum| {
                    let same = next.0 == sum.0;
                    if same {
                        sum.1 += next.1;
                    }
                    same
                });
                n_summed += (n - row.len()) as u64;
            }
            for &(gene, value) in &row {
                if let Some(problem) = problem(f64::from(value)) {
                    return Err((cell, gene, problem));
                }
            }
            row.retain(|e| e.1 != 0.0);
            kept.indices.extend(row.iter().map(|e| e.0));
            kept.data.extend(row.iter().map(|e| e.1));
            kept.end_cell();
        }
        Ok(n_summed)
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
                runs.hand_on(7, &mut kept, |_| None).unwrap();
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
    fn entries_of_one_cell_and_gene_are_added_up() {
        let runs = |entries: &[(u32, u32, f32)]| {
            let mut runs = Runs::default();
            entries.iter().for_each(|e| runs.push(e.0, e.1, e.2));
            runs
        };
        let whole = |sum: f64| (sum.fract() != 0.0).then(|| sum.to_string());
        let mut kept = Kept::default();
        let entries = [
            (0, 3, 0.5),
            (1, 2, 1.0),
            (0, 3, 1.5),
            (0, 1, 2.0),
            (1, 0, 1.0),
            (1, 0, -1.0),
        ];
        // Two halves are a whole count; what adds up to nothing is not stored.
        assert_eq!(runs(&entries).hand_on(2, &mut kept, whole), Ok(2));
        let csr = kept.into_csr(4).unwrap();
        assert_eq!(csr.row(0), (&[1, 3][..], &[2.0, 2.0][..]));
        assert_eq!(csr.row(1), (&[2][..], &[1.0][..]));
        let bad = runs(&[(0, 3, 1.0), (0, 3, 0.25)]).hand_on(1, &mut Kept::default(), whole);
        assert_eq!(bad, Err((0, 3, "1.25".to_string())));
    }
}
