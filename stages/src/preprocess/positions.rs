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
    /// Genes named by Ensembl id, and one of them.
    pub ids: (usize, String),
    /// Genes named otherwise, and one of them.
    pub symbols: (usize, String),
    /// Genes whose symbol the gene table has at several places.
    pub n_ambiguous: usize,
}

/// Looks up every gene of `var` in `table`, or in its own columns `chromosome`, `start` and `end`. A
/// gene is looked up by its id in the column `gene_ids` where `var` has one (10x data), then by its
/// name.
///
/// # Errors
/// [`StageError::Data`] where neither is there, and where two names are one gene of the table.
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
            let mut found = table.resolve(&var.index, params.duplicates);
            if var.columns.contains_key("gene_ids") {
                let by_id = table.resolve_ids(&var.texts("gene_ids")?, params.duplicates);
                let by_name = found.into_iter();
                found = by_id
                    .into_iter()
                    .zip(by_name)
                    .map(|(i, n)| i.or(n))
                    .collect();
            } else {
                one_name_each(&var.index, &found)?;
            }
            found.into_iter().map(|at| at.map(place)).collect()
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
    let kind = |ids: bool| {
        let mut of_kind = var.index.iter().filter(|n| is_ensembl_id(n) == ids);
        let first = of_kind.next();
        let n = of_kind.count() + usize::from(first.is_some());
        (n, first.cloned().unwrap_or_default())
    };
    Ok(PlacedGenes {
        genes,
        mt,
        n_unplaced,
        n_on_small_chromosomes: 0,
        ids: kind(true),
        symbols: kind(false),
        n_ambiguous: table.map_or(0, |t| t.n_ambiguous(&var.index)),
    })
}

/// Whether a name is an Ensembl gene id of any species (`ENSG...`, `ENSMUSG...`).
fn is_ensembl_id(name: &str) -> bool {
    name.strip_prefix("ENS")
        .and_then(|rest| rest.split_once('G'))
        .is_some_and(|(species, number)| {
            species.len() <= 4
                && number.len() >= 11
                && number.as_bytes()[..11].iter().all(u8::is_ascii_digit)
        })
}

/// # Errors
/// [`StageError::Data`] where two names are one gene.
fn one_name_each(names: &[String], found: &[Option<usize>]) -> StageResult<()> {
    let mut name_of: BTreeMap<usize, &String> = BTreeMap::new();
    for (name, at) in names.iter().zip(found) {
        let Some(at) = at else { continue };
        if let Some(before) = name_of.insert(*at, name) {
            return Err(StageError::data_hint(
                format!("`{before}` and `{name}` are one gene, so its counts are split in two"),
                "name all genes by symbol or all by Ensembl id, and add up the rows of one gene",
            ));
        }
    }
    Ok(())
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
        let mixed = self.ids.0 > 0 && self.symbols.0 > 0;
        let naming = match (self.ids.0, self.symbols.0) {
            (0, n) => format!("all {n} genes are named by symbol"),
            (n, 0) => format!("all {n} genes are named by Ensembl id"),
            (ids, symbols) => format!(
                "gene names are mixed: {ids} are Ensembl ids (`{}`), {symbols} are not (`{}`)",
                self.ids.1, self.symbols.1
            ),
        };
        // Annotations name a gene without a symbol by its id, which is a small share.
        let few =
            self.ids.0.min(self.symbols.0) as f64 <= 0.2 * (self.ids.0 + self.symbols.0) as f64;
        vec![
            QcCheck::new(
                "gene_naming",
                !mixed || few,
                self.ids.0 as f64 / (self.ids.0 + self.symbols.0).max(1) as f64,
                naming,
            ),
            QcCheck::new(
                "ambiguous_positions",
                true,
                self.n_ambiguous as f64,
                "genes whose symbol the gene table has at several places; `duplicates` chooses",
            ),
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
