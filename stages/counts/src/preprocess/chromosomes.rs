//! Whether the positions can be of the declared genome, and what the chromosomes 23 and 24 are.

use super::checks::QcCheck;
use super::positions::Place;
use clcc_data::error::{StageError, StageResult};
use clcc_data::genome::{Assembly, GeneTable, Misfit, is_ensembl_id};

/// What the chromosomes of the positions say about the genome.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Chromosomes {
    /// Genes that end beyond their chromosome in the declared genome.
    n_beyond: usize,
    /// The first of them, in words.
    beyond: String,
    /// Names of the known assemblies that hold all positions.
    fitting: Vec<&'static str>,
}

impl Chromosomes {
    /// Looks at all positions, of the table where there is one; names `chr23` and `chr24` of `places`
    /// X and Y where the genome is a human's.
    ///
    /// # Errors
    /// [`StageError::Data`] where there is a chromosome 23 or 24 that may be X or Y or neither, and where
    /// the declared genome does not have a chromosome.
    pub(super) fn settle(
        genome: Option<Assembly>,
        table: Option<&GeneTable>,
        places: &mut [Option<Place>],
    ) -> StageResult<Self> {
        let all: Vec<(&str, i64)> = match table {
            Some(table) => {
                let genes = table.genes.iter();
                genes
                    .map(|g| (g.chromosome.as_str(), g.end.get()))
                    .collect()
            }
            None => {
                let placed = places.iter().flatten();
                placed.map(|p| (p.0.as_str(), p.2)).collect()
            }
        };
        if genome.is_none() {
            no_doubt(&all, table)?;
        }
        let misfit = |a: Assembly| {
            let name = |c| if a.is_human() { by_letter(c) } else { c };
            a.misfit(all.iter().map(|&(c, end)| (name(c), end)))
        };
        let fitting: Vec<&str> = Assembly::KNOWN
            .into_iter()
            .filter(|a| misfit(*a) == Misfit::default())
            .map(Assembly::name)
            .collect();
        let misfit = genome.map(misfit).unwrap_or_default();
        if let (Some(absent), Some(genome)) = (misfit.absent, genome) {
            return Err(StageError::data_hint(
                format!(
                    "the gene positions have `{absent}`, which is no chromosome of `{}`",
                    genome.name()
                ),
                match fitting.as_slice() {
                    [] => "the positions are of another species; `genome: other` of `preprocess` takes them as they are, without arms".to_string(),
                    fitting => format!("the positions would fit `{}`", fitting.join("`, `")),
                },
            ));
        }
        let beyond = misfit.beyond.map(|(chromosome, end, length)| {
            format!("a gene of `{chromosome}` ends at {end}, the chromosome at {length}")
        });
        let found = Self {
            n_beyond: misfit.n_beyond,
            beyond: beyond.unwrap_or_default(),
            fitting,
        };
        if genome.is_some_and(Assembly::is_human) {
            for place in places.iter_mut().flatten() {
                place.0 = by_letter(&place.0).to_string();
            }
        }
        Ok(found)
    }

    pub(super) fn checks(&self, genome: Option<Assembly>) -> Vec<QcCheck> {
        // Few positions fit every assembly, which says nothing.
        let would_fit = match self.fitting.len() {
            1..=3 => format!("; they would fit `{}`", self.fitting.join("`, `")),
            _ => String::new(),
        };
        let Some(genome) = genome else {
            return vec![QcCheck::new(
                "genome",
                false,
                0.0,
                format!(
                    "the genome of the gene positions is not declared, so chromosomes have no arms: name it with `genome` of `preprocess`{would_fit}"
                ),
            )];
        };
        let detail = match self.n_beyond {
            0 => format!(
                "genes that end beyond their chromosome in `{}`",
                genome.name()
            ),
            n => format!(
                "{n} genes end beyond their chromosome in `{}` ({}): the positions are of another build{would_fit}",
                genome.name(),
                self.beyond
            ),
        };
        let n = self.n_beyond as f64;
        vec![QcCheck::new("genome", self.n_beyond == 0, n, detail)]
    }
}

fn by_letter(chromosome: &str) -> &str {
    match chromosome {
        "chr23" => "chrX",
        "chr24" => "chrY",
        other => other,
    }
}

/// Some tools number a human's X and Y; a fish has a chromosome 23 and no X. Where a sex chromosome has a
/// letter, or the ids are not a human's, the number means what it says.
fn no_doubt(all: &[(&str, i64)], table: Option<&GeneTable>) -> StageResult<()> {
    let Some((number, _)) = all.iter().find(|(c, _)| by_letter(c) != *c) else {
        return Ok(());
    };
    let lettered = all
        .iter()
        .any(|(c, _)| matches!(*c, "chrX" | "chrY" | "chrZ" | "chrW" | "Z" | "W"));
    let ids = || {
        table
            .into_iter()
            .flat_map(|t| &t.genes)
            .filter_map(|g| g.id.as_ref())
    };
    let of_others = ids().any(|id| is_ensembl_id(id)) && !ids().any(|id| id.starts_with("ENSG0"));
    if lettered || of_others {
        return Ok(());
    }
    Err(StageError::data_hint(
        format!(
            "the gene positions have `{number}`, which is {} where a human's sex chromosomes are numbered, and itself in another species",
            by_letter(number)
        ),
        "declare the genome with `genome` of `preprocess`: for a human one (`GRCh38`) 23 is X and 24 is Y; `other` takes the chromosomes as they are",
    ))
}
