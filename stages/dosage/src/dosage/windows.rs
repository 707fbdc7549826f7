//! Maps genes to copy-number windows: those that contain the gene, and the nearest that do not.

use std::collections::HashMap;
use std::ops::Range;

use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_data::genome::{Arm, arm_name};

/// Windows of each gene of `expr`: those that contain it, and the nearest that do not.
#[derive(Debug, Clone)]
pub struct GeneWindows {
    own: Vec<Range<usize>>,
    adjacent: Vec<Vec<(usize, f64)>>,
}

impl GeneWindows {
    /// Map `genes`, the names of `expr`, to windows. `windows` and `cnv_genes` are the layout that
    /// `infercnv` writes: windows in genome order with `chromosome`, `first_gene` and `last_gene`
    /// (inclusive positions in `cnv_genes`).
    ///
    /// The adjacent windows of a gene are the nearest on its left and on its right that are on its
    /// chromosome and do not contain it. Each is weighted by the share of its genes that are on the gene's
    /// arm (both by 1 where neither has any, or without arms).
    ///
    /// # Errors
    /// [`clcc_data::error::StageError::Data`] where a column is missing.
    pub fn new(genes: &[String], windows: &Frame, cnv_genes: &Frame) -> StageResult<Self> {
        let chromosome = windows.texts("chromosome")?;
        let spans = Spans {
            first: positions(windows, "first_gene")?,
            last: positions(windows, "last_gene")?,
            arms: gene_arms(cnv_genes),
        };
        let gene_chromosome = cnv_genes.texts("chromosome")?;
        let at: HashMap<&str, usize> = cnv_genes
            .index
            .iter()
            .enumerate()
            .map(|(i, g)| (g.as_str(), i))
            .collect();
        let mut of_chromosome: HashMap<&str, Range<usize>> = HashMap::new();
        for (w, name) in chromosome.iter().enumerate() {
            of_chromosome.entry(name.as_str()).or_insert(w..w).end = w + 1;
        }
        let mut out = Self {
            own: Vec::with_capacity(genes.len()),
            adjacent: Vec::with_capacity(genes.len()),
        };
        for gene in genes {
            let found = at.get(gene.as_str()).and_then(|&g| {
                let windows = of_chromosome.get(gene_chromosome[g].as_str())?;
                Some(spans.around(g, windows.clone()))
            });
            let (own, adjacent) = found.unwrap_or_default();
            out.own.push(own);
            out.adjacent.push(adjacent);
        }
        Ok(out)
    }

    /// Number of genes.
    pub fn len(&self) -> usize {
        self.own.len()
    }

    /// Whether there are no genes.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty()
    }

    /// Windows that contain the gene; empty where there are none.
    pub fn own(&self, gene: usize) -> Range<usize> {
        self.own[gene].clone()
    }

    /// Adjacent windows of the gene with their weights, which sum to 1; empty where there are none.
    pub fn adjacent(&self, gene: usize) -> &[(usize, f64)] {
        &self.adjacent[gene]
    }

    /// Mean of the profile over the windows that contain the gene; NaN where there are none.
    pub fn with_gene(&self, gene: usize, profile: &[f64]) -> f64 {
        clcc_numerics::stats::mean(&profile[self.own[gene].clone()])
    }

    /// Weighted mean of the profile over the adjacent windows of the gene; NaN where every window of
    /// its chromosome contains it, or it has none.
    pub fn without_gene(&self, gene: usize, profile: &[f64]) -> f64 {
        if self.adjacent[gene].is_empty() {
            return f64::NAN;
        }
        self.adjacent[gene]
            .iter()
            .map(|&(w, weight)| weight * profile[w])
            .sum()
    }
}

/// First and last genes of the windows, and arms of the genes.
struct Spans {
    first: Vec<usize>,
    last: Vec<usize>,
    arms: Vec<Option<Arm>>,
}

impl Spans {
    /// Windows that contain gene `g`, and its adjacent windows with their weights, among the `windows` of
    /// its chromosome.
    fn around(&self, g: usize, windows: Range<usize>) -> (Range<usize>, Vec<(usize, f64)>) {
        // First and last genes of windows ascend along a chromosome.
        let begin = windows.start + self.last[windows.clone()].partition_point(|&l| l < g);
        let end = windows.start + self.first[windows.clone()].partition_point(|&f| f <= g);
        let neighbours = [
            begin.checked_sub(1).filter(|w| windows.contains(w)),
            Some(end).filter(|w| windows.contains(w)),
        ];
        let mut adjacent: Vec<(usize, f64)> = neighbours
            .into_iter()
            .flatten()
            .map(|w| (w, self.share(w, self.arms[g])))
            .collect();
        if adjacent.iter().all(|b| b.1 == 0.0) {
            adjacent.iter_mut().for_each(|b| b.1 = 1.0);
        }
        let total: f64 = adjacent.iter().map(|b| b.1).sum();
        adjacent.iter_mut().for_each(|b| b.1 /= total);
        (begin..end.max(begin), adjacent)
    }

    /// Share of a window's genes that are on the arm.
    fn share(&self, window: usize, arm: Option<Arm>) -> f64 {
        let genes = self.first[window]..self.last[window] + 1;
        let same = genes.clone().filter(|&g| self.arms[g] == arm).count();
        same as f64 / genes.len() as f64
    }
}

/// A column of positions.
fn positions(windows: &Frame, column: &str) -> StageResult<Vec<usize>> {
    let values = windows.numbers(column)?;
    Ok(values.iter().map(|&v| v as usize).collect())
}

/// Chromosome and arm of each gene (`chr1p`; the chromosome alone where it has no known arms), empty
/// where it has no position. `var` has `chromosome` and, where arms are known, `arm`.
///
/// # Errors
/// [`clcc_data::error::StageError::Data`] where a column is missing.
pub fn arm_names(var: &Frame) -> StageResult<Vec<String>> {
    let chromosome = var.texts("chromosome")?;
    Ok(chromosome
        .into_iter()
        .zip(gene_arms(var))
        .map(|(name, arm)| arm_name(&name, arm))
        .collect())
}

/// Arm of each gene or window of a frame, from its column `arm`; `None` for all without that column.
pub(crate) fn gene_arms(genes: &Frame) -> Vec<Option<Arm>> {
    Arm::of_frame(genes).unwrap_or_else(|| vec![None; genes.len()])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use clcc_data::frame::Column;
    use clcc_testing::genes;

    /// Windows of `size` genes every `step` genes over each chromosome.
    pub(crate) fn windows(sizes: &[(&str, usize)], size: usize, step: usize) -> Frame {
        let mut rows: Vec<(&str, usize, usize)> = Vec::new();
        let mut base = 0;
        for &(c, n) in sizes {
            let mut at = 0;
            while at == 0 || at + size <= n {
                rows.push((c, base + at, base + (at + size).min(n) - 1));
                at += step;
            }
            base += n;
        }
        let mut frame = Frame::new((0..rows.len()).map(|i| i.to_string()).collect());
        frame.set_category("chromosome", &rows.iter().map(|r| r.0).collect::<Vec<_>>());
        frame.set(
            "first_gene",
            Column::I64(rows.iter().map(|r| r.1 as i64).collect()),
        );
        frame.set(
            "last_gene",
            Column::I64(rows.iter().map(|r| r.2 as i64).collect()),
        );
        frame
    }

    #[test]
    fn own_and_neighbouring_windows_by_hand() {
        // chr4 (centromere near 50 Mb): 90 genes, windows of 20 every 10: [0,19] [10,29] .. [70,89],
        // 8 windows; chr5: 15 genes, one window over all.
        let sizes = [("chr4", 90), ("chr5", 15)];
        let g = genes(&sizes);
        let map = GeneWindows::new(&g.index, &windows(&sizes, 20, 10), &g).unwrap();
        // Gene 25 is in [10,29] and [20,39]; next to it [0,19] (all p) and [30,49] (all p).
        let profile: Vec<f64> = (0..9).map(|w| f64::from(w * w)).collect();
        assert_eq!(map.with_gene(25, &profile), (1.0 + 4.0) / 2.0);
        assert_eq!(map.without_gene(25, &profile), (0.0 + 9.0) / 2.0);
        // Gene 45 (p): next to it [20,39], all p, and [50,69], all q: only the left counts.
        assert_eq!(map.without_gene(45, &profile), 4.0);
        // The last gene has no right neighbour.
        assert_eq!(map.without_gene(89, &profile), 36.0);
        // chr5 has one window, which contains every gene.
        assert_eq!(map.with_gene(95, &profile), 64.0);
        assert!(map.without_gene(95, &profile).is_nan());
        // A gene without a place in the inference.
        let other = GeneWindows::new(&["X".to_string()], &windows(&sizes, 20, 10), &g).unwrap();
        assert!(other.with_gene(0, &profile).is_nan() && other.without_gene(0, &profile).is_nan());
    }
}
