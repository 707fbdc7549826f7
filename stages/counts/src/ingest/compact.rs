//! Counts that arrive gene by gene and are needed cell by cell.
//!
//! A gene-by-cell text holds one gene per line, so a cell's counts are complete only at the end.
//! Until then the entries of one patient are held here as variable-length bytes, gene by gene: the step
//! to the next cell that has the gene, and the count. That is 2 to 3 bytes an entry instead of the
//! 8 of sparse rows: 1e8 entries wait in 250 MB, and only one patient at a time is unpacked.

use clcc_data::error::StageResult;
use clcc_data::matrix::Csr;

/// Entries of one patient, packed.
#[derive(Debug, Clone, Default)]
pub(super) struct Packed {
    bytes: Vec<u8>,
    /// Where each gene ends in `bytes`.
    ends: Vec<usize>,
    /// Entries of each cell.
    per_cell: Vec<u32>,
    /// The next cell that the gene at hand may have.
    next_cell: u32,
}

impl Packed {
    /// For `n_cells` cells.
    pub(super) fn new(n_cells: usize) -> Self {
        Self {
            per_cell: vec![0; n_cells],
            ..Self::default()
        }
    }

    /// Adds an entry of the gene at hand; cells rise within a gene.
    #[inline]
    pub(super) fn push(&mut self, cell: u32, value: f32) {
        debug_assert!(cell >= self.next_cell, "cells rise within a gene");
        put(&mut self.bytes, cell - self.next_cell);
        self.next_cell = cell + 1;
        self.per_cell[cell as usize] += 1;
        // A whole number as twice itself; 1 marks four bytes of f32. The cast saturates, so what is
        // negative or too large differs from it.
        let whole = value as u32;
        if whole as f32 == value && whole <= 16_777_216 {
            put(&mut self.bytes, whole << 1);
        } else {
            put(&mut self.bytes, 1);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Ends the gene at hand.
    pub(super) fn end_gene(&mut self) {
        self.ends.push(self.bytes.len());
        self.next_cell = 0;
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Cells x genes, both in the order of arrival.
    pub(super) fn into_csr(self) -> StageResult<Csr> {
        let n_genes = self.ends.len();
        let mut indptr = Vec::with_capacity(self.per_cell.len() + 1);
        indptr.push(0u64);
        for &n in &self.per_cell {
            indptr.push(indptr[indptr.len() - 1] + u64::from(n));
        }
        let nnz = indptr[indptr.len() - 1] as usize;
        let mut free: Vec<usize> = indptr[..self.per_cell.len()]
            .iter()
            .map(|&p| p as usize)
            .collect();
        let (mut indices, mut data) = (vec![0u32; nnz], vec![0f32; nnz]);
        let mut at = 0;
        for (gene, &end) in self.ends.iter().enumerate() {
            let mut cell = 0;
            while at < end {
                cell += take(&self.bytes, &mut at) as usize;
                let value = match take(&self.bytes, &mut at) {
                    1 => {
                        let bytes = self.bytes[at..at + 4]
                            .try_into()
                            .expect("push wrote four bytes");
                        at += 4;
                        f32::from_le_bytes(bytes)
                    }
                    twice => (twice >> 1) as f32,
                };
                indices[free[cell]] = gene as u32;
                data[free[cell]] = value;
                free[cell] += 1;
                cell += 1;
            }
        }
        Csr::new(n_genes, indptr, indices, data)
    }
}

/// Seven bits a byte, low ones first; the top bit says that more follow.
#[inline]
fn put(bytes: &mut Vec<u8>, mut x: u32) {
    while x >= 0x80 {
        bytes.push(x as u8 | 0x80);
        x >>= 7;
    }
    bytes.push(x as u8);
}

#[inline]
fn take(bytes: &[u8], at: &mut usize) -> u32 {
    let (mut x, mut shift) = (0u32, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        x |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return x;
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn common_entries_take_two_bytes() {
        let mut packed = Packed::new(100);
        for cell in [0, 50, 99] {
            packed.push(cell, 63.0);
        }
        packed.end_gene();
        assert_eq!(packed.held(), 6);
    }

    proptest! {
        #[test]
        fn unpacking_gives_the_transpose(
            rows in prop::collection::vec(
                prop::collection::vec(prop_oneof![Just(0f32), Just(1.0), Just(64.0), Just(300.0), Just(16_777_216.0), Just(0.37), Just(2.5e9)], 300),
                1..6,
            )
        ) {
            let mut packed = Packed::new(300);
            for row in &rows {
                for (cell, &v) in row.iter().enumerate().filter(|e| *e.1 != 0.0) {
                    packed.push(cell as u32, v);
                }
                packed.end_gene();
            }
            let csr = packed.into_csr().unwrap();
            prop_assert_eq!((csr.n_rows(), csr.n_cols()), (300, rows.len()));
            for (gene, row) in rows.iter().enumerate() {
                for (cell, &v) in row.iter().enumerate() {
                    prop_assert_eq!(csr.get(cell, gene), v);
                }
            }
        }
    }
}
