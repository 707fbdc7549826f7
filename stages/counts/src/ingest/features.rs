//! Which features of a matrix are genes, and under which names they go on.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::params::{GeneNames, IngestParams};
use clcc_data::anndata::{TenxFeatures, list};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame, is_missing};
use clcc_stage::stage::Progress;

/// What 10x calls a gene.
const GENE: &str = "Gene Expression";

/// What others call one in a column of types, in lower case.
const GENES: [&str; 8] = [
    "gene expression",
    "gex",
    "rna",
    "mrna",
    "gene",
    "genes",
    "expression",
    "transcript",
];

/// What is no gene, in lower case: 10x's other features, and how others call them.
const OTHERS: [&str; 16] = [
    "antibody capture",
    "antigen capture",
    "crispr guide capture",
    "multiplexing capture",
    "custom",
    "peaks",
    "peak",
    "chromatin accessibility",
    "adt",
    "hto",
    "atac",
    "protein",
    "antibody",
    "guide",
    "sgrna",
    "vdj",
];

/// The rows of `var` that are genes, by the column `feature_types` as the 10x readers of scanpy write it
/// (`var` or else `of_x`, which has the same genes under the same names, has it). Without such a column, and
/// where it has none of the words of [`GENES`] and [`OTHERS`], every row is one; what is left out is counted
/// in a warning.
///
/// # Errors
/// [`StageError::Format`] where other features are there and no gene.
pub(super) fn of_store(
    var: &Frame,
    of_x: &Frame,
    path: &Path,
    progress: &dyn Progress,
) -> StageResult<Vec<usize>> {
    let all = (0..var.len()).collect();
    let Some(types) = types_of(var, of_x) else {
        return Ok(all);
    };
    let is_one_of = |kind: &str, words: &[&str]| words.contains(&kind.to_lowercase().as_str());
    let kept: Vec<usize> = (0..var.len())
        .filter(|&f| is_one_of(&types[f], &GENES))
        .collect();
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in types.iter().filter(|t| !is_one_of(t, &GENES)) {
        *others.entry(kind).or_default() += 1;
    }
    let counted: Vec<String> = others.iter().map(|(t, n)| format!("{t} ({n})")).collect();
    if !kept.is_empty() {
        warn_left_out(&others, progress);
        return Ok(kept);
    }
    if others.keys().any(|t| is_one_of(t, &OTHERS)) {
        let message = format!(
            "expected features of type `{GENE}`, found {}",
            list(&counted)
        );
        return Err(StageError::format(path, "var/feature_types", message));
    }
    if others.keys().any(|t| !t.is_empty()) {
        progress.warn(&format!(
            "no feature has the type `{GENE}`: all are taken for genes, of the types {}",
            list(&counted)
        ));
    }
    Ok(all)
}

/// The type of each row of `var`, empty where it has none.
fn types_of(var: &Frame, of_x: &Frame) -> Option<Vec<String>> {
    column_of(var, of_x, |frame| {
        frame.texts("feature_types").ok().or_else(|| {
            // In CELLxGENE's files a column of this name holds biotypes.
            let types = frame.texts("feature_type").ok()?;
            types.iter().any(|t| t == GENE).then_some(types)
        })
    })
}

/// The values that `find` finds for the rows of `var`, or for the rows of `of_x` by their names; empty where
/// they are missing.
fn column_of(
    var: &Frame,
    of_x: &Frame,
    find: impl Fn(&Frame) -> Option<Vec<String>>,
) -> Option<Vec<String>> {
    let find = |frame: &Frame| {
        let mut found = find(frame)?;
        let missing = found.iter_mut().filter(|v| is_missing(v));
        missing.for_each(String::clear);
        Some(found)
    };
    find(var).or_else(|| {
        let values = find(of_x)?;
        let of: HashMap<&String, &String> = of_x.index.iter().zip(&values).collect();
        let value_of = |gene| of.get(gene).map(|v| (*v).clone()).unwrap_or_default();
        Some(var.index.iter().map(value_of).collect())
    })
}

/// The genomes that the column `genome` of a store's genes names, as the 10x readers of scanpy write it, sorted.
pub(super) fn genomes_of_store(var: &Frame) -> Vec<String> {
    let values = var.texts("genome").unwrap_or_default();
    let distinct: BTreeSet<String> = values.into_iter().filter(|g| !is_missing(g)).collect();
    distinct.into_iter().collect()
}

/// Those of the rows `kept` of `var` that are of the genome that `params` ask for. A gene without a genome stays.
///
/// # Errors
/// [`StageError::Param`] where there are several genomes and none is chosen, or another than those.
pub(super) fn of_genome(
    mut kept: Vec<usize>,
    var: &Frame,
    of_x: &Frame,
    params: &IngestParams,
) -> StageResult<Vec<usize>> {
    let Some(genomes) = column_of(var, of_x, |frame| frame.texts("genome").ok()) else {
        return Ok(kept);
    };
    let known: Vec<&String> = (kept.iter().map(|&f| &genomes[f]))
        .filter(|g| !g.is_empty())
        .collect();
    if let Some(genome) = chosen_genome(&known, params)?.cloned() {
        kept.retain(|&f| genomes[f].is_empty() || genomes[f] == genome);
    }
    Ok(kept)
}

fn warn_left_out(others: &BTreeMap<&str, usize>, progress: &dyn Progress) {
    for (kind, n) in others {
        let what = match *kind {
            "" => "without a type".to_string(),
            kind => format!("of type `{kind}`"),
        };
        progress.warn(&format!("{n} features {what} are left out"));
    }
}

/// The genes of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Genes {
    /// One row per gene that is kept: index symbol or id, column `gene_ids` or `gene_symbols`.
    pub(super) var: Frame,
    /// For each feature of the file its row in `var`.
    pub(super) place: Vec<Option<u32>>,
}

/// Chooses the genes among `features`: those of the type `Gene Expression` and of the genome asked
/// for. Symbols that come again get `-1`, `-2`, ... as `anndata.var_names_make_unique` does.
///
/// # Errors
/// [`StageError::Param`] where several genomes are there and none is chosen, or another than those;
/// [`StageError::Format`] where an id comes twice or no feature is a gene.
pub(super) fn genes(
    features: &TenxFeatures,
    path: &Path,
    params: &IngestParams,
    progress: &dyn Progress,
) -> StageResult<Genes> {
    let n = features.ids.len();
    let is_gene = |f: usize| features.types.get(f).is_none_or(|t| t == GENE);
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in features.types.iter().filter(|t| *t != GENE) {
        *others.entry(kind).or_default() += 1;
    }
    warn_left_out(&others, progress);
    let genomes: Vec<&String> = (0..features.genomes.len())
        .filter(|&f| is_gene(f))
        .map(|f| &features.genomes[f])
        .collect();
    let genome = chosen_genome(&genomes, params)?;
    let of_genome =
        |f: usize| genome.is_none_or(|g| features.genomes.get(f).is_none_or(|x| x == g));
    let kept: Vec<usize> = (0..n).filter(|&f| is_gene(f) && of_genome(f)).collect();
    if kept.is_empty() {
        let message = format!("expected features of type `{GENE}`, found none among {n}");
        return Err(StageError::format(path, "features", message));
    }
    let mut seen = HashSet::with_capacity(n);
    if let Some(&f) = kept.iter().find(|&&f| !seen.insert(&features.ids[f])) {
        let message = format!("gene id `{}` comes twice", features.ids[f]);
        return Err(StageError::format(path, "features", message));
    }
    let pick = |from: &[String]| kept.iter().map(|&f| from[f].clone()).collect::<Vec<_>>();
    let (ids, symbols) = (pick(&features.ids), pick(&features.names));
    let (index, other_name, other) = match params.gene_names {
        GeneNames::Symbol => (unique(symbols, progress), "gene_ids", ids),
        GeneNames::Id => (ids, "gene_symbols", symbols),
    };
    let mut var = Frame::new(index);
    var.set(other_name, Column::Str(other));
    let mut place = vec![None; n];
    for (row, &f) in kept.iter().enumerate() {
        place[f] = Some(row as u32);
    }
    Ok(Genes { var, place })
}

/// The genome to keep, where features tell them apart.
fn chosen_genome<'a>(
    genomes: &[&'a String],
    params: &IngestParams,
) -> StageResult<Option<&'a String>> {
    let mut sizes: BTreeMap<&'a String, usize> = BTreeMap::new();
    for &genome in genomes {
        *sizes.entry(genome).or_default() += 1;
    }
    let names: Vec<&'a String> = sizes.keys().copied().collect();
    pick_genome(&names, &params.genome).map(|at| at.map(|i| names[i]))
}

/// The position of the genome `asked` among `names`; without one asked for, the only one.
///
/// # Errors
/// [`StageError::Param`] where there are several and none is asked for, or not that one.
pub(super) fn pick_genome(names: &[&String], asked: &str) -> StageResult<Option<usize>> {
    let several = |message: String| {
        Err(StageError::Param {
            param: "genome".to_string(),
            message,
            hint: Some("name one with `genome` of `ingest`".to_string()),
        })
    };
    match (names, asked) {
        ([], _) | ([_], "") => Ok((names.len() == 1).then_some(0)),
        (_, "") => several(format!(
            "the counts are of {} genomes, {}, and one patient's cells have one",
            names.len(),
            list(names)
        )),
        (_, asked) => match names.iter().position(|n| *n == asked) {
            Some(at) => Ok(Some(at)),
            None => several(format!("no genome `{asked}`; there is {}", list(names))),
        },
    }
}

/// Names that come again get `-1`, `-2`, ..., as anndata's `make_index_unique` does.
fn unique(mut names: Vec<String>, progress: &dyn Progress) -> Vec<String> {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut renamed = Vec::new();
    for name in &mut names {
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 {
            continue;
        }
        let mut number = *count - 1;
        let mut free = format!("{name}-{number}");
        while !taken.insert(free.clone()) {
            number += 1;
            free = format!("{name}-{number}");
        }
        *count = number + 1;
        renamed.push(name.clone());
        *name = free;
    }
    renamed.dedup();
    if !renamed.is_empty() {
        progress.warn(&format!(
            "{} gene symbols come more than once and got numbers (`{}-1`): {}",
            renamed.len(),
            renamed[0],
            list(&renamed)
        ));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_stage::stage::Quiet;

    fn texts(v: &[&str]) -> Vec<String> {
        v.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn symbols_are_made_unique_as_anndata_does() {
        // anndata.utils.make_index_unique(["a", "a", "b", "a-1", "a", "b"]) of 0.12, except that it
        // warns about `a-1` having been there.
        let names = unique(texts(&["a", "a", "b", "a-1", "a", "b"]), &Quiet);
        assert_eq!(names, ["a", "a-2", "b", "a-1", "a-3", "b-1"]);
    }

    #[test]
    fn genes_of_one_genome_and_type_are_kept() {
        let features = TenxFeatures {
            ids: texts(&["E1", "CD3", "E2", "E3"]),
            names: texts(&["A", "CD3", "A", "B"]),
            types: texts(&[GENE, "Antibody Capture", GENE, GENE]),
            genomes: texts(&["hg", "", "hg", "mm"]),
        };
        let path = Path::new("x.h5");
        let error = genes(&features, path, &IngestParams::default(), &Quiet).unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter `genome`: the counts are of 2 genomes, `hg`, `mm`, and one patient's cells have one"
        );
        let asked = |genome: &str, gene_names| IngestParams {
            genome: genome.into(),
            gene_names,
            ..IngestParams::default()
        };
        let error = genes(&features, path, &asked("rn", GeneNames::Symbol), &Quiet).unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter `genome`: no genome `rn`; there is `hg`, `mm`"
        );
        let found = genes(&features, path, &asked("hg", GeneNames::Symbol), &Quiet).unwrap();
        assert_eq!(found.var.index, ["A", "A-1"]);
        assert_eq!(found.var.texts("gene_ids").unwrap(), ["E1", "E2"]);
        assert_eq!(found.place, [Some(0), None, Some(1), None]);
        let found = genes(&features, path, &asked("mm", GeneNames::Id), &Quiet).unwrap();
        assert_eq!(found.var.index, ["E3"]);
        assert_eq!(found.var.texts("gene_symbols").unwrap(), ["B"]);
    }
}
