//! Gives each gene of the data its place, and orders genes along the genome.

use std::collections::BTreeMap;

use super::checks::QcCheck;
use super::params::PreprocessParams;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_data::genome::symbols;
use clcc_data::genome::{
    Assembly, GeneTable, annotate_arms, is_ensembl_id, likely_cause, natural_cmp,
    normalise_chromosome,
};

use super::chromosomes::Chromosomes;

/// A gene of the data.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedGene {
    /// Its column in the input.
    pub column: usize,
    /// Its name in the data.
    pub name: String,
    /// Chromosome, first and last base; `None` without a position.
    pub place: Option<Place>,
}

/// Chromosome, first and last base.
pub(super) type Place = (String, i64, i64);

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
    /// Rows of the gene table that have no position.
    pub n_rows_left_out: usize,
    /// The genome of the positions, where it is declared.
    pub genome: Option<Assembly>,
    /// What does not fit that genome, or could.
    pub(super) chromosomes: Chromosomes,
    /// Why genes have no position, where many have none and their names say it.
    pub(super) cause: Option<String>,
}

/// Shares of genes with a position below which a run stops, and below which it warns. Symbols of other
/// Ensembl releases cost a few percent; another species or other names cost nearly all.
const TOO_FEW: f64 = 0.02;
const FEW: f64 = 0.5;

/// What is behind most genes without a position.
const CAUSES: &str = "likely causes: the data are of another species than the gene table, the names carry a prefix (`GRCh38_TP53`), or one has symbols and the other ids";

/// Looks up every gene of `var` in `table`, or in its own columns `chromosome`, `start` and `end`. A
/// gene is looked up by its id in the column `gene_ids` where `var` has one (10x data), then by its
/// name.
///
/// # Errors
/// [`StageError::Data`] where neither is there, where two names are one gene of the table, where fewer
/// than 2 % of the genes have a position, and where the positions cannot be of the declared genome.
pub fn place_genes(
    var: &Frame,
    table: Option<&GeneTable>,
    params: &PreprocessParams,
) -> StageResult<PlacedGenes> {
    let mut places: Vec<Option<Place>> = match table {
        Some(table) => places_in(table, var, params)?,
        None => own_places(var)?,
    };
    let genome = genome(params.genome, table)?;
    let chromosomes = Chromosomes::settle(genome, table, &mut places)?;
    let is_mt = |(name, place): (&String, &Option<Place>)| {
        name.get(..3).is_some_and(|p| p.eq_ignore_ascii_case("MT-"))
            || place.as_ref().is_some_and(|p| p.0 == "chrM")
    };
    let mt = symbols(var).iter().zip(&places).map(is_mt).collect();
    let genes = var.index.iter().zip(places).enumerate();
    let genes: Vec<PlacedGene> = genes
        .map(|(column, (name, place))| PlacedGene {
            column,
            name: name.clone(),
            place,
        })
        .collect();
    let n_unplaced = genes.iter().filter(|g| g.place.is_none()).count();
    let share = 1.0 - n_unplaced as f64 / genes.len().max(1) as f64;
    let unplaced = || {
        let genes = genes.iter().filter(|g| g.place.is_none());
        genes.map(|g| g.name.as_str()).collect::<Vec<_>>()
    };
    let cause = match table {
        _ if share >= FEW => None,
        Some(table) => likely_cause(&unplaced(), table),
        None => Some(
            "the columns `chromosome`, `start` and `end` of the genes are empty for most"
                .to_string(),
        ),
    };
    if share < TOO_FEW {
        return Err(too_few_positions(&genes, cause.as_deref()));
    }
    Ok(PlacedGenes {
        genes,
        mt,
        n_unplaced,
        n_on_small_chromosomes: 0,
        ids: names_of_kind(&var.index, true),
        symbols: names_of_kind(&var.index, false),
        n_ambiguous: table.map_or(0, |t| t.n_ambiguous(&var.index)),
        n_rows_left_out: table.map_or(0, |t| t.n_left_out),
        genome,
        chromosomes,
        cause,
    })
}

/// The place of every gene of `var` in the table.
fn places_in(
    table: &GeneTable,
    var: &Frame,
    params: &PreprocessParams,
) -> StageResult<Vec<Option<Place>>> {
    let mut found = table.resolve(&var.index, params.duplicates);
    if var.columns.contains_key("gene_ids") {
        let by_id = table.resolve_ids(&var.texts("gene_ids")?, params.duplicates);
        one_name_each(&var.index, &by_id)?;
        let either = |(by_id, by_name): (Option<usize>, Option<usize>)| by_id.or(by_name);
        found = by_id.into_iter().zip(found).map(either).collect();
    } else {
        one_name_each(&var.index, &found)?;
    }
    let place = |g: usize| {
        let gene = &table.genes[g];
        (gene.chromosome.clone(), gene.start.get(), gene.end.get())
    };
    Ok(found.into_iter().map(|at| at.map(place)).collect())
}

/// How many of the names are Ensembl ids, or are none, and the first of them.
fn names_of_kind(names: &[String], ids: bool) -> (usize, String) {
    let mut of_kind = names.iter().filter(|n| is_ensembl_id(n) == ids);
    let first = of_kind.next();
    let n = of_kind.count() + usize::from(first.is_some());
    (n, first.cloned().unwrap_or_default())
}

/// The genome of the positions: what the parameter says, else what the gene table declares.
///
/// # Errors
/// [`StageError::Param`] where they say different things.
fn genome(param: Option<Assembly>, table: Option<&GeneTable>) -> StageResult<Option<Assembly>> {
    match (param, table.and_then(|t| t.assembly)) {
        (Some(found), Some(declared)) if found != declared => Err(StageError::param(
            "genome",
            format!(
                "expected `{}`, which the gene table is of, found `{}`",
                declared.name(),
                found.name()
            ),
        )),
        (param, declared) => Ok(param.or(declared)),
    }
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

fn own_places(var: &Frame) -> StageResult<Vec<Option<Place>>> {
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
        // Genes without a position have -1 in what this program exports.
        let known = !chromosome[g].is_empty() && start[g] >= 0.0 && end[g] >= start[g];
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
            return Err(too_few_positions(&self.genes, self.cause.as_deref()));
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
        let detail = if share < FEW {
            format!(
                "{n} of {} genes have a position ({:.1} %), {} have none; {}",
                n + self.n_unplaced,
                100.0 * share,
                self.n_unplaced,
                self.cause.as_deref().unwrap_or(CAUSES)
            )
        } else {
            format!(
                "share of genes with a position; {} have none",
                self.n_unplaced
            )
        };
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
        let mut checks = vec![
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
            QcCheck::new("gene_positions", share >= FEW, share, detail),
            QcCheck::new(
                "gene_table_rows_without_position",
                true,
                self.n_rows_left_out as f64,
                "rows of the gene table that have no position, or neither name nor id",
            ),
            QcCheck::new(
                "genes_on_small_chromosomes",
                true,
                self.n_on_small_chromosomes as f64,
                "genes that left with chromosomes of fewer than `min_genes_per_chromosome` genes",
            ),
        ];
        checks.extend(self.chromosomes.checks(self.genome));
        checks
    }

    /// Adds `chromosome` (category in genome order), `start`, `end`, `mt` and, where the genome is known,
    /// `arm` to `var`, whose rows are these genes.
    ///
    /// # Errors
    /// As [`annotate_arms`].
    pub(super) fn annotate(&self, mut var: Frame) -> StageResult<Frame> {
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
        let number = |f: fn(&Place) -> i64| {
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
        annotate_arms(&mut var, self.genome)?;
        Ok(var)
    }
}

fn too_few_positions(genes: &[PlacedGene], cause: Option<&str>) -> StageError {
    let unplaced = genes.iter().filter(|g| g.place.is_none());
    let shown: Vec<&str> = unplaced.take(3).map(|g| g.name.as_str()).collect();
    let n = genes.iter().filter(|g| g.place.is_some()).count();
    let found = match n {
        0 => format!(
            "none of {} genes has a position; the first are",
            genes.len()
        ),
        n => format!(
            "{n} of {} genes have a position ({:.1} %), expected at least {:.0} %; the first without one are",
            genes.len(),
            100.0 * n as f64 / genes.len() as f64,
            100.0 * TOO_FEW
        ),
    };
    StageError::data_hint(
        format!("{found} `{}`", shown.join("`, `")),
        format!(
            "{}\n      genes are looked up by symbol (`TP53`) and by Ensembl id (`ENSG00000141510`); give a `genes` input (a GTF, or a table of gene, chr, start, end) that names them as the data does",
            cause.unwrap_or(CAUSES)
        ),
    )
}
