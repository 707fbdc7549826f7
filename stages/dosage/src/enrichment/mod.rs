//! Gene sets that hold more of the genes that escape than of all tested genes.
//!
//! Reads the table of genes of `dosage` and, where the workflow names them, gene sets as GMT ([`gmt`]): a file, or a folder
//! of files. Sets of chromosome arms are built in: genes of one arm share their copy number, so a list that comes from a few
//! arms tells of those arms before it tells of biology. The subunits of some large complexes are built in as well: a control
//! ([`complexes`]).
//!
//! A set is compared with the genes that could be tested, not with the genome: what is expressed enough, and lies
//! where clones differ, is no random draw of the genome. One-sided hypergeometric test, Benjamini-Hochberg over all sets.
//!
//! Limits: genes of a set share regulation and neighbourhood, so they are no independent draws and p-values are too small
//! where a set lies in one region; the arms beside it show that.

mod complexes;
mod gmt;
mod hypergeometric;
mod params;

pub use gmt::{GeneSet, parse};
pub use hypergeometric::at_least;
pub use params::EnrichmentParams;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::json;

use clcc_data::error::{StageError, StageResult};
use clcc_data::genome::{Assembly, arm_name};
use clcc_numerics::stats::benjamini_hochberg;
use clcc_stage::roles;
use clcc_stage::rows::{DosageGeneRow, GeneSetRow};
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, Table, TableSpec};

/// Collection of the built-in sets.
const ARMS: &str = "chromosome arms";

/// The stage kind `enrichment`.
#[derive(Debug)]
pub struct Enrichment;

impl Stage for Enrichment {
    type Params = EnrichmentParams;

    const KIND: &'static str = "enrichment";
    // 2: complexes.
    const CODE_VERSION: u32 = 2;
    const ABOUT: &'static str =
        "gene sets that hold more of the genes that escape than of all tested genes";
    const TABLES: &'static [TableSpec] = &[GeneSetRow::SPEC];

    fn reads(_: &EnrichmentParams) -> Vec<Read> {
        vec![Read::one(roles::DOSAGE)]
    }

    fn file_inputs(_: &EnrichmentParams) -> Vec<Read> {
        vec![Read::optional(roles::GENE_SETS)]
    }

    fn outputs(_: &EnrichmentParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::ENRICHMENT,
                "gene sets by how many escaping genes they hold",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &EnrichmentParams) -> StageResult<Metrics> {
        let genes = Genes::read(&ctx.one(roles::DOSAGE)?.path.join("dosage_genes.tsv"))?;
        let mut sets = if params.arms {
            genes.arms()
        } else {
            Vec::new()
        };
        if params.complexes {
            sets.extend(complexes::sets());
        }
        for input in ctx.all(roles::GENE_SETS) {
            let found = gmt::read(&input.path)?;
            let n_known = found.iter().filter(|s| genes.holds_any(s)).count();
            if n_known == 0 {
                ctx.progress.warn(&format!(
                    "no gene of the {} sets in `{}` was tested: names have to be those of the data, as in dosage_genes.tsv",
                    found.len(),
                    input.path.display()
                ));
            }
            sets.extend(found);
        }
        ctx.check_cancelled()?;
        let rows = compare(&genes, &sets, params);
        let mut metrics = Metrics::new();
        metrics.insert("n_tested_genes".into(), json!(genes.escapes.len()));
        metrics.insert("n_escaping_genes".into(), json!(genes.n_escape()));
        metrics.insert("n_sets".into(), json!(rows.len()));
        let below = rows.iter().filter(|r| r.pvals_adj < params.fdr).count();
        metrics.insert("n_sets_below_fdr".into(), json!(below));
        let mut table = Table::new(rows);
        for note in notes(&genes, params) {
            table = table.note(note);
        }
        let dir = ctx.output(roles::ENRICHMENT);
        std::fs::create_dir_all(&dir).map_err(StageError::creating(&dir))?;
        table.write(&dir)?;
        Ok(metrics)
    }
}

/// The genes of `dosage` that were tested.
#[derive(Debug, Default)]
pub struct Genes {
    /// Whether each escapes, by name.
    pub escapes: BTreeMap<String, bool>,
    /// Chromosome, first and last base of those that have them.
    places: HashMap<String, (String, i64, i64)>,
}

impl Genes {
    /// From `dosage_genes.tsv`.
    ///
    /// # Errors
    /// Where the table cannot be read or lacks its columns.
    pub fn read(path: &Path) -> StageResult<Self> {
        let mut out = Self::default();
        for gene in DosageGeneRow::read(path)? {
            if let (Some(chromosome), Some(start), Some(end)) = (
                gene.chromosome.filter(|c| !c.is_empty()),
                gene.start.filter(|s| *s >= 0),
                gene.end,
            ) {
                let place = (chromosome, start, end);
                out.places.insert(gene.names.clone(), place);
            }
            if gene.class != "untested" {
                let escapes = matches!(gene.class.as_str(), "insensitive" | "over-compensated");
                out.escapes.insert(gene.names, escapes);
            }
        }
        Ok(out)
    }

    fn n_escape(&self) -> usize {
        self.escapes.values().filter(|e| **e).count()
    }

    fn holds_any(&self, set: &GeneSet) -> bool {
        set.genes.iter().any(|g| self.escapes.contains_key(g))
    }

    /// A set for each chromosome arm; for each chromosome where the genome is not known.
    fn arms(&self) -> Vec<GeneSet> {
        let places = self.places.values().map(|(c, _, end)| (c.as_str(), *end));
        let genome = Assembly::that_fits(places);
        let mut sets: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (gene, (chromosome, start, end)) in &self.places {
            let arm = genome.and_then(|g| g.arm_of(chromosome, *start, *end));
            let name = arm_name(chromosome, arm);
            sets.entry(name).or_default().insert(gene.clone());
        }
        let set = |(name, genes)| GeneSet {
            collection: ARMS.to_string(),
            name,
            genes,
        };
        sets.into_iter().map(set).collect()
    }
}

/// Compare sets of a size within the bounds with all tested genes. Rows by p-value; collection and name break ties.
pub fn compare(genes: &Genes, sets: &[GeneSet], params: &EnrichmentParams) -> Vec<GeneSetRow> {
    let (n, n_escape) = (genes.escapes.len(), genes.n_escape());
    let mut rows: Vec<GeneSetRow> = Vec::new();
    for set in sets {
        let tested: Vec<(&String, bool)> = set
            .genes
            .iter()
            .filter_map(|g| Some((g, *genes.escapes.get(g)?)))
            .collect();
        if !(params.min_size..=params.max_size).contains(&tested.len()) {
            continue;
        }
        let own: Vec<&str> = tested
            .iter()
            .filter(|t| t.1)
            .map(|t| t.0.as_str())
            .collect();
        let expected = tested.len() as f64 * n_escape as f64 / n as f64;
        rows.push(GeneSetRow {
            collection: set.collection.clone(),
            names: set.name.clone(),
            n_tested: tested.len() as i64,
            n_escape: own.len() as i64,
            expected,
            fold: own.len() as f64 / expected,
            pvals: at_least(own.len(), n, n_escape, tested.len()),
            pvals_adj: f64::NAN,
            genes: own.join(","),
        });
    }
    let p: Vec<f64> = rows.iter().map(|r| r.pvals).collect();
    for (row, adjusted) in rows.iter_mut().zip(benjamini_hochberg(&p)) {
        row.pvals_adj = adjusted;
    }
    rows.sort_by(|a, b| {
        a.pvals
            .total_cmp(&b.pvals)
            .then_with(|| (&a.collection, &a.names).cmp(&(&b.collection, &b.names)))
    });
    rows
}

fn notes(genes: &Genes, params: &EnrichmentParams) -> Vec<String> {
    vec![
        format!(
            "gene sets that hold more of the {} genes that escape (class insensitive or over-compensated) than a random draw of the {} tested genes",
            genes.n_escape(),
            genes.escapes.len()
        ),
        format!(
            "test: hypergeometric, one-sided, against tested genes alone; pvals_adj: Benjamini-Hochberg over all sets with {} to {} tested genes",
            params.min_size, params.max_size
        ),
        "complexes: subunits are buffered as proteins, seldom as RNA; a list full of them calls for a look at counts and normalisation".to_string(),
        "genes of one region share their copy number and are no independent draws: look at the chromosome arms before you believe a set".to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn genes() -> Genes {
        let mut out = Genes::default();
        for i in 0..20 {
            out.escapes.insert(format!("g{i:02}"), i < 4);
        }
        out
    }

    fn set(name: &str, genes: &[&str]) -> GeneSet {
        GeneSet {
            collection: "c".into(),
            name: name.into(),
            genes: genes.iter().map(|g| (*g).to_string()).collect(),
        }
    }

    #[test]
    fn sets_are_compared_with_tested_genes_alone() {
        let params = EnrichmentParams {
            min_size: 3,
            ..EnrichmentParams::default()
        };
        let sets = [
            set("all four", &["g00", "g01", "g02", "g03", "not tested"]),
            set("none", &["g10", "g11", "g12", "g13"]),
            set("too few tested", &["g00", "g01", "x", "y", "z"]),
        ];
        let rows = compare(&genes(), &sets, &params);
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0].n_tested, rows[0].n_escape, rows[0].genes.as_str()),
            (4, 4, "g00,g01,g02,g03")
        );
        // 4 of 20 escape: one draw in C(20, 4) = 4,845 holds all of them.
        assert!((rows[0].pvals - 1.0 / 4845.0).abs() < 1e-12);
        assert!((rows[0].pvals_adj - 2.0 / 4845.0).abs() < 1e-12);
        assert!((rows[0].expected - 0.8).abs() < 1e-12 && (rows[0].fold - 5.0).abs() < 1e-12);
        assert_eq!((rows[1].n_escape, rows[1].pvals), (0, 1.0));
    }

    #[test]
    fn arms_are_sets() {
        let mut genes = genes();
        // The border of chr1 lies at about 123 Mb.
        for (name, start) in [("g00", 1_000_000), ("g01", 2_000_000), ("g05", 200_000_000)] {
            genes
                .places
                .insert(name.into(), ("chr1".into(), start, start + 10));
        }
        let sets = genes.arms();
        let found: Vec<(&str, usize)> = sets
            .iter()
            .map(|s| (s.name.as_str(), s.genes.len()))
            .collect();
        assert_eq!(found, [("chr1p", 2), ("chr1q", 1)]);
    }
}
