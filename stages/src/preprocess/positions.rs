//! Gives each gene of the data its place, and orders genes along the genome.

use std::collections::BTreeMap;

use super::checks::QcCheck;
use super::params::PreprocessParams;
use crate::error::{StageError, StageResult};
use crate::frame::{Categorical, Column, Frame};
use crate::genome::{GeneTable, natural_cmp, normalise_chromosome};

/// A gene of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedGene {
    /// Its column in the input.
    pub column: usize,
    /// Its name in the data.
    pub name: String,
    /// Chromosome, first and last base; `None` without a position.
    pub place: Option<(String, i64, i64)>,
}

/// Genes with their places.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedGenes {
    /// The genes.
    pub genes: Vec<PlacedGene>,
    /// Whether each column of the input is mitochondrial: named `MT-...` or placed on chrM.
    pub mt: Vec<bool>,
    /// Genes without a position, before any of them left.
    pub n_unplaced: usize,
    /// Genes that left because their chromosome has too few.
    pub n_on_small_chromosomes: usize,
}

/// Looks up every gene of `var` in `table`, or in its own columns `chromosome`, `start` and `end`.
///
/// # Errors
/// [`StageError::Data`] where neither is there.
pub fn place_genes(
    var: &Frame,
    table: Option<&GeneTable>,
    params: &PreprocessParams,
) -> StageResult<PlacedGenes> {
    let places: Vec<Option<(String, i64, i64)>> = match table {
        Some(table) => {
            let place = |g: usize| {
                let gene = &table.genes[g];
                (gene.chromosome.clone(), gene.start, gene.end)
            };
            table
                .resolve(&var.index, params.duplicates)
                .into_iter()
                .map(|at| at.map(place))
                .collect()
        }
        None => own_places(var)?,
    };
    let is_mt = |(name, place): (&String, &Option<(String, i64, i64)>)| {
        name.get(..3).is_some_and(|p| p.eq_ignore_ascii_case("MT-"))
            || place.as_ref().is_some_and(|p| p.0 == "chrM")
    };
    let mt = var.index.iter().zip(&places).map(is_mt).collect();
    let genes = var.index.iter().zip(places).enumerate();
    let genes: Vec<PlacedGene> = genes
        .map(|(column, (name, place))| PlacedGene {
            column,
            name: name.clone(),
            place,
        })
        .collect();
    let n_unplaced = genes.iter().filter(|g| g.place.is_none()).count();
    Ok(PlacedGenes {
        genes,
        mt,
        n_unplaced,
        n_on_small_chromosomes: 0,
    })
}

fn own_places(var: &Frame) -> StageResult<Vec<Option<(String, i64, i64)>>> {
    if !["chromosome", "start", "end"]
        .iter()
        .all(|c| var.columns.contains_key(*c))
    {
        return Err(StageError::data_hint(
            "there are no gene positions: no input `genes`, and no columns `chromosome`, `start` and `end` of the genes",
            "add `genes` to the stage's `inputs`, with `genes: {builtin: grch38}` under the workflow's `inputs`",
        ));
    }
    let (chromosome, start, end) = (
        var.texts("chromosome")?,
        var.numbers("start")?,
        var.numbers("end")?,
    );
    let place = |g: usize| {
        let known = !chromosome[g].is_empty() && start[g].is_finite() && end[g].is_finite();
        known.then(|| {
            (
                normalise_chromosome(&chromosome[g]),
                start[g] as i64,
                end[g] as i64,
            )
        })
    };
    Ok((0..var.len()).map(place).collect())
}

impl PlacedGenes {
    /// The genes at `kept`.
    pub(super) fn take(mut self, kept: &[usize]) -> Self {
        self.genes = kept.iter().map(|&g| self.genes[g].clone()).collect();
        self.n_unplaced = self.genes.iter().filter(|g| g.place.is_none()).count();
        self
    }

    /// The genes that stay, by chromosome (natural), start, end and name; genes without a position
    /// last, in the order of the input.
    ///
    /// # Errors
    /// [`StageError::Data`] where no gene has a position, or none is on a large enough chromosome.
    pub(super) fn in_genome_order(mut self, params: &PreprocessParams) -> StageResult<Self> {
        if self.n_unplaced == self.genes.len() {
            return Err(no_position(&self.genes));
        }
        let mut sizes: BTreeMap<String, usize> = BTreeMap::new();
        for (chromosome, ..) in self.genes.iter().filter_map(|g| g.place.as_ref()) {
            *sizes.entry(chromosome.clone()).or_default() += 1;
        }
        let before = self.genes.len();
        self.genes.retain(|g| {
            g.place
                .as_ref()
                .is_none_or(|p| sizes[&p.0] >= params.min_genes_per_chromosome)
        });
        self.n_on_small_chromosomes = before - self.genes.len();
        if self.genes.iter().all(|g| g.place.is_none()) {
            let largest = sizes.values().max().copied().unwrap_or(0);
            return Err(StageError::data_hint(
                format!(
                    "no chromosome has `min_genes_per_chromosome` = {} genes; the largest has {largest}",
                    params.min_genes_per_chromosome
                ),
                "lower `min_genes_per_chromosome` of `preprocess`",
            ));
        }
        if params.require_position {
            self.genes.retain(|g| g.place.is_some());
        }
        self.genes.sort_by(|a, b| match (&a.place, &b.place) {
            (Some(p), Some(q)) => natural_cmp(&p.0, &q.0)
                .then(p.1.cmp(&q.1))
                .then(p.2.cmp(&q.2))
                .then_with(|| a.name.cmp(&b.name)),
            (p, q) => q.is_some().cmp(&p.is_some()),
        });
        Ok(self)
    }

    pub(super) fn checks(&self) -> Vec<QcCheck> {
        let n =
            self.genes.iter().filter(|g| g.place.is_some()).count() + self.n_on_small_chromosomes;
        let share = n as f64 / (n + self.n_unplaced) as f64;
        let detail = format!(
            "share of genes with a position; {} have none",
            self.n_unplaced
        );
        vec![
            // Symbols of other Ensembl releases cost a few percent; other naming costs nearly all.
            QcCheck::new("gene_positions", share >= 0.5, share, detail),
            QcCheck::new(
                "genes_on_small_chromosomes",
                true,
                self.n_on_small_chromosomes as f64,
                "genes that left with chromosomes of fewer than `min_genes_per_chromosome` genes",
            ),
        ]
    }

    /// Adds `chromosome` (category in genome order), `start`, `end` and `mt` to `var`, whose rows are
    /// these genes.
    pub(super) fn annotate(&self, mut var: Frame) -> Frame {
        let mut categories: Vec<String> = self
            .genes
            .iter()
            .filter_map(|g| g.place.as_ref())
            .map(|p| p.0.clone())
            .collect();
        categories.dedup();
        let code = |g: &PlacedGene| {
            let name = &g.place.as_ref()?.0;
            categories.iter().position(|c| c == name)
        };
        let codes = self
            .genes
            .iter()
            .map(|g| code(g).map_or(-1, |i| i as i32))
            .collect();
        var.set(
            "chromosome",
            Column::Category(Categorical {
                codes,
                categories: categories.clone(),
                ordered: false,
            }),
        );
        let number = |f: fn(&(String, i64, i64)) -> i64| {
            Column::I64(
                self.genes
                    .iter()
                    .map(|g| g.place.as_ref().map_or(-1, f))
                    .collect(),
            )
        };
        var.set("start", number(|p| p.1));
        var.set("end", number(|p| p.2));
        var.set(
            "mt",
            Column::Bool(self.genes.iter().map(|g| self.mt[g.column]).collect()),
        );
        var
    }
}

fn no_position(genes: &[PlacedGene]) -> StageError {
    let shown: Vec<&str> = genes.iter().take(3).map(|g| g.name.as_str()).collect();
    StageError::data_hint(
        format!(
            "none of {} genes has a position; the first are `{}`",
            genes.len(),
            shown.join("`, `")
        ),
        "genes are looked up by symbol (`TP53`) and by Ensembl id (`ENSG00000141510`); give a `genes` input (a GTF, or a table of gene, chr, start, end) that names them as the data does",
    )
}
