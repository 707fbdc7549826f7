//! A cohort's expression gene by gene, for tests that rank the cells of all patients.
//!
//! Each patient's cells are turned once, and kept in a [`Spool`]: a test of one patient reads that patient, a test over
//! all patients reads some genes at a time.

use std::ops::Range;
use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::matrix::{Csr, Parts, Spool, block_of};

/// What the genes that a test over all patients reads together hold, as a share of what is held: 16 million stored
/// values.
const BLOCK: f64 = 0.25;

/// Expression of all cells, genes x cells.
#[derive(Debug)]
pub struct ByGene {
    parts: Vec<Part>,
    /// Of each stored value, its cell within the part.
    cells: Spool<u32>,
    values: Spool<f32>,
    n_genes: usize,
    n_cells: usize,
}

/// A part of the cells.
#[derive(Debug)]
struct Part {
    cells: Range<usize>,
    /// Where each gene's values begin, and the end of the last.
    starts: Vec<u64>,
}

impl ByGene {
    /// Turns `x`, `n_cells x n_genes`. Files, where they are needed, lie in `dir`.
    ///
    /// # Errors
    /// Where a part cannot be read or kept.
    pub fn new(x: &dyn Parts, dir: &Path) -> StageResult<Self> {
        let mut out = Self {
            parts: Vec::new(),
            cells: Spool::new(dir),
            values: Spool::new(dir),
            n_genes: x.n_cols(),
            n_cells: x.n_rows(),
        };
        x.each(&mut |first, part| {
            let turned = part.transpose();
            let before = out.cells.len();
            out.parts.push(Part {
                cells: first..first + part.n_rows(),
                starts: turned.indptr().iter().map(|p| before + p).collect(),
            });
            out.cells.append(turned.indices())?;
            out.values.append(turned.data())
        })?;
        Ok(out)
    }

    /// Number of genes.
    pub fn n_genes(&self) -> usize {
        self.n_genes
    }

    /// Number of cells.
    pub fn n_cells(&self) -> usize {
        self.n_cells
    }

    /// Calls `f` with blocks of genes, `genes x rows`, that together are all genes in order; `rows` are cells,
    /// ascending. Cells of one part come in one block.
    ///
    /// # Errors
    /// Where the values cannot be read, and any error of `f`.
    pub fn blocks(
        &self,
        rows: &[usize],
        f: &mut dyn FnMut(&Csr) -> StageResult<()>,
    ) -> StageResult<()> {
        let parts: Vec<&Part> = self.parts.iter().filter(|p| p.holds_any(rows)).collect();
        let size = |g: usize| -> u64 { parts.iter().map(|p| p.starts[g + 1] - p.starts[g]).sum() };
        let most = block_of(BLOCK);
        let mut from = 0;
        while from < self.n_genes {
            let (mut to, mut held) = (from, 0);
            while to < self.n_genes && (to == from || parts.len() == 1 || held + size(to) <= most) {
                held += size(to);
                to += 1;
            }
            f(&self.of_genes(&parts, rows, from..to)?)?;
            from = to;
        }
        Ok(())
    }

    /// All genes of these cells at once, `genes x rows`; for cells of one part.
    ///
    /// # Errors
    /// Where the values cannot be read.
    pub fn of(&self, rows: &[usize]) -> StageResult<Csr> {
        let parts: Vec<&Part> = self.parts.iter().filter(|p| p.holds_any(rows)).collect();
        self.of_genes(&parts, rows, 0..self.n_genes)
    }

    fn of_genes(&self, parts: &[&Part], rows: &[usize], genes: Range<usize>) -> StageResult<Csr> {
        let read = |part: &&Part| {
            let place = part.starts[genes.start]..part.starts[genes.end];
            let values = (self.cells.read(place.clone())?, self.values.read(place)?);
            Ok((part.places(rows), values))
        };
        let read = parts.iter().map(read).collect::<StageResult<Vec<_>>>()?;
        let mut indptr = vec![0];
        let (mut columns, mut data) = (Vec::new(), Vec::new());
        for g in genes.clone() {
            for (part, (places, (cells, values))) in parts.iter().zip(&read) {
                let place = |g: usize| (part.starts[g] - part.starts[genes.start]) as usize;
                let own = place(g)..place(g + 1);
                for (&cell, &v) in cells[own.clone()].iter().zip(&values[own]) {
                    let at = places[cell as usize];
                    if at != u32::MAX {
                        columns.push(at);
                        data.push(v);
                    }
                }
            }
            indptr.push(columns.len() as u64);
        }
        Csr::new(rows.len(), indptr, columns, data)
    }
}

impl Part {
    /// Where the cells of the part are among `rows`, which ascend.
    fn among(&self, rows: &[usize]) -> Range<usize> {
        let place = |cell: usize| rows.partition_point(|&r| r < cell);
        place(self.cells.start)..place(self.cells.end)
    }

    fn holds_any(&self, rows: &[usize]) -> bool {
        !self.among(rows).is_empty()
    }

    /// Number of each cell of the part among `rows`; `u32::MAX` where it is not.
    fn places(&self, rows: &[usize]) -> Vec<u32> {
        let mut out = vec![u32::MAX; self.cells.len()];
        for at in self.among(rows) {
            out[rows[at] - self.cells.start] = at as u32;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_testing::random_csr;

    #[test]
    fn genes_of_some_cells_are_those_of_the_turned_matrix() {
        let two = vec![random_csr(30, 12, 0.3, 1), random_csr(20, 12, 0.3, 2)];
        let whole = Csr::vstack(&[&two[0], &two[1]]);
        let found = ByGene::new(&two, Path::new(".")).unwrap();
        let all: Vec<usize> = (0..50).collect();
        let some: Vec<usize> = (0..50).filter(|i| i % 3 != 1).collect();
        for rows in [&all[..], &some, &all[..7], &all[31..33], &[]] {
            let expected = whole.take_rows(rows).transpose();
            assert_eq!(found.of(rows).unwrap(), expected);
            let mut blocks = Vec::new();
            found
                .blocks(rows, &mut |block| {
                    blocks.push(block.clone());
                    Ok(())
                })
                .unwrap();
            assert_eq!(Csr::vstack(&blocks.iter().collect::<Vec<_>>()), expected);
        }
    }
}
