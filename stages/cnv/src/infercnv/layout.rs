//! Layout of the inference: the included genes in genome order, and the windows over them.

use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_data::genome::natural_cmp;
use clcc_numerics::rng::Rng;

use super::params::{Edges, InfercnvParams, ShortChromosomes};

/// Names and positions of the genes of `expr`, in its order.
#[derive(Debug, Clone)]
pub struct GenePositions {
    /// Gene names.
    pub names: Vec<String>,
    /// Their symbols ([`clcc_data::genome::symbols`]), which `exclude_genes` may name too.
    pub symbols: Vec<String>,
    /// Chromosome of each gene; empty where unknown.
    pub chromosome: Vec<String>,
    /// First base of each gene, 1-based.
    pub start: Vec<f64>,
    /// Last base of each gene, inclusive.
    pub end: Vec<f64>,
}

impl GenePositions {
    /// Read the columns `chromosome`, `start` and `end` of `var`.
    ///
    /// # Errors
    /// [`StageError::Data`] where a column is missing.
    pub fn from_var(var: &Frame) -> StageResult<Self> {
        Ok(Self {
            names: var.index.clone(),
            symbols: clcc_data::genome::symbols(var),
            chromosome: var.texts("chromosome")?,
            start: var.numbers("start")?,
            end: var.numbers("end")?,
        })
    }

    fn is_included(&self, g: usize, params: &InfercnvParams) -> bool {
        params.includes(&self.chromosome[g], [&self.names[g], &self.symbols[g]])
    }

    /// The same positions in random order, among the genes on included chromosomes.
    pub(super) fn shuffled(&self, params: &InfercnvParams) -> Self {
        let genes: Vec<usize> = (0..self.names.len())
            .filter(|&g| self.is_included(g, params))
            .collect();
        let mut from = genes.clone();
        Rng::new(params.control_seed, "infercnv gene order", &[]).shuffle(&mut from);
        let mut out = self.clone();
        for (&to, from) in genes.iter().zip(from) {
            out.chromosome[to] = self.chromosome[from].clone();
            (out.start[to], out.end[to]) = (self.start[from], self.end[from]);
        }
        out
    }
}

/// An included chromosome, with its genes and windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChromosomeSpan {
    /// Name, such as `chr1`.
    pub name: String,
    /// Genes, as positions in [`Layout::genes`].
    pub genes: std::ops::Range<usize>,
    /// Index of the first window.
    pub first_window: usize,
    /// Number of windows.
    pub n_windows: usize,
}

/// A window over neighbouring genes of one chromosome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Index into [`Layout::chromosomes`].
    pub chromosome: usize,
    /// First gene of the weighting, counted from the chromosome's first gene; negative where `edges:
    /// same` extends beyond the end.
    pub offset: i64,
    /// Number of genes in the weighting.
    pub size: usize,
    /// Whether weights are equal instead of the pyramid.
    pub flat: bool,
    /// First gene inside the window, as a position in [`Layout::genes`].
    pub first_gene: usize,
    /// Last gene inside the window, inclusive.
    pub last_gene: usize,
}

/// Included genes and the windows over them.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Included columns of `expr`, in genome order.
    pub genes: Vec<usize>,
    /// Chromosomes in natural order.
    pub chromosomes: Vec<ChromosomeSpan>,
    /// Windows in genome order.
    pub windows: Vec<Window>,
}

impl Layout {
    /// Lay out the windows. Genes are ordered by chromosome (natural), start, end and name.
    ///
    /// **Deviation**: infercnvpy sorts by `start` with an unstable sort, so that genes of equal start
    /// may swap there.
    ///
    /// # Errors
    /// [`StageError::Data`] where no gene is on an included chromosome, and where a position is missing
    /// on one that is.
    pub fn new(positions: &GenePositions, params: &InfercnvParams) -> StageResult<Self> {
        let genes = Self::sorted(positions, params)?;
        let mut layout = Self {
            genes: Vec::with_capacity(genes.len()),
            chromosomes: Vec::new(),
            windows: Vec::new(),
        };
        for run in genes.chunk_by(|&a, &b| positions.chromosome[a] == positions.chromosome[b]) {
            layout.push(&positions.chromosome[run[0]], run, params);
        }
        if layout.windows.is_empty() {
            return Err(none_left(positions, params));
        }
        Ok(layout)
    }

    /// Genes of all included chromosomes in genome order, without windows.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn genes_in_order(
        positions: &GenePositions,
        params: &InfercnvParams,
    ) -> StageResult<Self> {
        let genes = Self::sorted(positions, params)?;
        if genes.is_empty() {
            return Err(none_left(positions, params));
        }
        let mut chromosomes = Vec::new();
        let mut first = 0;
        for run in genes.chunk_by(|&a, &b| positions.chromosome[a] == positions.chromosome[b]) {
            chromosomes.push(ChromosomeSpan {
                name: positions.chromosome[run[0]].clone(),
                genes: first..first + run.len(),
                first_window: 0,
                n_windows: 0,
            });
            first += run.len();
        }
        Ok(Self {
            genes,
            chromosomes,
            windows: Vec::new(),
        })
    }

    /// Genes of each chromosome.
    pub(super) fn spans(&self) -> Vec<std::ops::Range<usize>> {
        self.chromosomes.iter().map(|c| c.genes.clone()).collect()
    }

    /// Lay out windows of `size` genes (odd) around every `step`-th of `genes`, truncated at the ends.
    /// `spans` are the genes of each of this layout's chromosomes; empty ones are left out.
    pub(super) fn centred(
        &self,
        genes: &[usize],
        spans: &[std::ops::Range<usize>],
        size: usize,
        step: usize,
    ) -> Self {
        let tail = size / 2;
        let mut out = Self {
            genes: genes.to_vec(),
            chromosomes: Vec::new(),
            windows: Vec::new(),
        };
        for (chromosome, span) in self
            .chromosomes
            .iter()
            .zip(spans)
            .filter(|(_, s)| !s.is_empty())
        {
            let first_window = out.windows.len();
            for middle in span.clone().step_by(step) {
                out.windows.push(Window {
                    chromosome: out.chromosomes.len(),
                    offset: (middle - span.start) as i64 - tail as i64,
                    size,
                    flat: false,
                    first_gene: middle.saturating_sub(tail).max(span.start),
                    last_gene: (middle + tail).min(span.end - 1),
                });
            }
            out.chromosomes.push(ChromosomeSpan {
                name: chromosome.name.clone(),
                genes: span.clone(),
                first_window,
                n_windows: out.windows.len() - first_window,
            });
        }
        out
    }

    /// Middle gene of each window of [`Self::centred`].
    pub(super) fn middle_genes(&self) -> impl Iterator<Item = usize> + '_ {
        self.windows.iter().map(|w| {
            let first = self.chromosomes[w.chromosome].genes.start as i64;
            (first + w.offset + (w.size / 2) as i64) as usize
        })
    }

    fn sorted(positions: &GenePositions, params: &InfercnvParams) -> StageResult<Vec<usize>> {
        let mut genes: Vec<usize> = (0..positions.names.len())
            .filter(|&g| positions.is_included(g, params))
            .collect();
        if let Some(&g) = genes
            .iter()
            .find(|&&g| !(positions.start[g].is_finite() && positions.end[g].is_finite()))
        {
            return Err(StageError::data(format!(
                "gene `{}` has a chromosome but no start and end",
                positions.names[g]
            )));
        }
        genes.sort_by(|&a, &b| {
            natural_cmp(&positions.chromosome[a], &positions.chromosome[b])
                .then(positions.start[a].total_cmp(&positions.start[b]))
                .then(positions.end[a].total_cmp(&positions.end[b]))
                .then_with(|| positions.names[a].cmp(&positions.names[b]))
        });
        Ok(genes)
    }

    fn push(&mut self, name: &str, genes: &[usize], params: &InfercnvParams) {
        let (n_genes, size) = (genes.len(), params.window_size);
        if n_genes < size && params.short_chromosomes == ShortChromosomes::Drop {
            return;
        }
        let base = self.genes.len();
        let chromosome = self.chromosomes.len();
        let first_window = self.windows.len();
        let window = |offset: i64, size: usize, flat: bool| Window {
            chromosome,
            offset,
            size,
            flat,
            first_gene: base + offset.max(0) as usize,
            last_gene: base + ((offset + size as i64 - 1) as usize).min(n_genes - 1),
        };
        if size >= n_genes {
            // One whole-chromosome window; infercnvpy takes this branch at `size == n_genes` too.
            self.windows
                .push(window(0, n_genes, params.edges == Edges::Valid));
        } else {
            // numpy's `same` starts at entry (n - 1) / 2 of the full convolution.
            let (first, count) = match params.edges {
                Edges::Valid => (0, n_genes - size + 1),
                Edges::Same => (((size - 1) / 2) as i64 - (size as i64 - 1), n_genes),
            };
            self.windows.extend(
                (0..count)
                    .step_by(params.step)
                    .map(|s| window(first + s as i64, size, false)),
            );
        }
        self.genes.extend_from_slice(genes);
        self.chromosomes.push(ChromosomeSpan {
            name: name.to_string(),
            genes: base..base + n_genes,
            first_window,
            n_windows: self.windows.len() - first_window,
        });
    }

    /// Build `var` of the artifact: the included genes, with their columns.
    pub(super) fn gene_frame(&self, var: &Frame, positions: &GenePositions) -> Frame {
        let mut frame = Frame::new(self.genes.iter().map(|&g| var.index[g].clone()).collect());
        frame.set(
            "chromosome",
            self.chromosome_column(self.genes.iter().map(|&g| positions.chromosome[g].as_str())),
        );
        frame.set(
            "start",
            Column::I64(
                self.genes
                    .iter()
                    .map(|&g| positions.start[g] as i64)
                    .collect(),
            ),
        );
        frame.set(
            "end",
            Column::I64(
                self.genes
                    .iter()
                    .map(|&g| positions.end[g] as i64)
                    .collect(),
            ),
        );
        frame
    }

    /// Build `uns["cnv"]["windows"]`: one row per window, named `chr1:0`, `chr1:1`, ...; `start` is the
    /// first base of its first gene, `end` the last base of any of its genes.
    pub(super) fn window_frame(&self, positions: &GenePositions) -> Frame {
        let name_of = |w: &Window| self.chromosomes[w.chromosome].name.as_str();
        let mut frame = Frame::new(
            self.windows
                .iter()
                .enumerate()
                .map(|(i, w)| {
                    format!(
                        "{}:{}",
                        name_of(w),
                        i - self.chromosomes[w.chromosome].first_window
                    )
                })
                .collect(),
        );
        let end = |w: &Window| {
            let ends = self.genes[w.first_gene..=w.last_gene]
                .iter()
                .map(|&g| positions.end[g] as i64);
            ends.max().expect("a window holds a gene")
        };
        frame.set(
            "chromosome",
            self.chromosome_column(self.windows.iter().map(name_of)),
        );
        frame.set(
            "start",
            Column::I64(
                self.windows
                    .iter()
                    .map(|w| positions.start[self.genes[w.first_gene]] as i64)
                    .collect(),
            ),
        );
        frame.set("end", Column::I64(self.windows.iter().map(end).collect()));
        frame.set(
            "first_gene",
            Column::I64(self.windows.iter().map(|w| w.first_gene as i64).collect()),
        );
        frame.set(
            "last_gene",
            Column::I64(self.windows.iter().map(|w| w.last_gene as i64).collect()),
        );
        frame
    }

    /// Chromosome names as a category in genome order.
    fn chromosome_column<'a>(&self, values: impl Iterator<Item = &'a str>) -> Column {
        let categories: Vec<String> = self.chromosomes.iter().map(|c| c.name.clone()).collect();
        let code = |v: &str| {
            categories
                .iter()
                .position(|c| c == v)
                .map_or(-1, |i| i as i32)
        };
        Column::Category(Categorical {
            codes: values.map(code).collect(),
            categories,
            ordered: false,
        })
    }
}

fn none_left(positions: &GenePositions, params: &InfercnvParams) -> StageError {
    let mut seen: Vec<&str> = positions
        .chromosome
        .iter()
        .map(String::as_str)
        .filter(|c| !c.is_empty())
        .collect();
    seen.sort_by(|a, b| natural_cmp(a, b));
    seen.dedup();
    let shown = seen
        .iter()
        .take(8)
        .copied()
        .collect::<Vec<_>>()
        .join("`, `");
    StageError::data_hint(
        format!(
            "no gene is on a chromosome that can be used (named `chr...`, not chrM, not excluded{}); the chromosomes are `{shown}`",
            if params.short_chromosomes == ShortChromosomes::Drop {
                format!(", at least {} genes", params.window_size)
            } else {
                String::new()
            }
        ),
        "check `exclude_chromosomes`, `exclude_genes`, `window_size` and the gene positions that `preprocess` was given",
    )
}
