//! Gene rankings and calls of every method compared with planted escape.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::metrics::ranking;
use super::truth::Truth;
use super::{Score, patients};
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;
use clcc_stage::roles;
use clcc_stage::rows::DiscordanceGeneRow;
use clcc_stage::stage::StageContext;

/// Scores of genes by name.
struct GeneRanking {
    method: String,
    scores: HashMap<String, f64>,
}

pub(super) fn scores(ctx: &StageContext<'_>, truth: &Truth) -> StageResult<Vec<Score>> {
    let mut rankings = Vec::new();
    let mut called: Vec<(&str, HashSet<String>)> = Vec::new();
    if let Some(dosage) = ctx.optional(roles::DOSAGE) {
        let genes = dosage.read("dosage_genes.tsv")?;
        rankings.extend(dosage_rankings(&genes, &dosage.path)?);
        called.push(("dosage", dosage_calls(&genes)?));
    }
    if let Some(discordance) = ctx.optional(roles::DISCORDANCE) {
        let rows = discordance.rows::<DiscordanceGeneRow>()?;
        let scores = rows.into_iter().map(|r| (r.names, r.log_odds)).collect();
        rankings.push(GeneRanking {
            method: "discordance".to_string(),
            scores,
        });
    }
    if let Some(de) = ctx.optional(roles::DE) {
        rankings.extend(de_rankings(&de.path)?);
        called.push(("de", de_calls(&de.path)?));
    }
    if let Some(baselines) = ctx.optional(roles::BASELINES) {
        rankings.extend(baseline_rankings(
            &baselines.path.join("baselines_genes.tsv"),
        )?);
    }
    let mut out = match ctx.optional(roles::DOSAGE) {
        Some(dosage) => patients::own(truth, &dosage.path)?,
        None => Vec::new(),
    };
    for r in &rankings {
        for (target, is_positive) in [("constitutive_genes", 0), ("state_genes", 1)] {
            out.extend(against(truth, r, target, is_positive));
        }
        out.extend(patients::pooled(truth, &r.method, &r.scores));
    }
    for (method, genes) in &called {
        out.extend(calls(truth, method, genes));
    }
    Ok(out)
}

/// Score one kind of planted genes against eligible genes without any planted escape.
fn against(truth: &Truth, r: &GeneRanking, target: &'static str, kind: usize) -> Vec<Score> {
    let (mut scores, mut positive) = (Vec::new(), Vec::new());
    for (name, gene) in truth.gene_names.iter().zip(&truth.genes) {
        let is = [gene.constitutive, gene.state];
        if !gene.eligible || is[1 - kind] {
            continue;
        }
        scores.push(r.scores.get(name).copied().unwrap_or(f64::NAN));
        positive.push(is[kind]);
    }
    Score::of_ranking(target, &r.method, ranking(&scores, &positive))
}

fn by_name(names: &[&str], values: Vec<f64>) -> HashMap<String, f64> {
    names.iter().map(|n| (*n).to_string()).zip(values).collect()
}

fn dosage_rankings(genes: &TextTable, dir: &Path) -> StageResult<Vec<GeneRanking>> {
    let names = genes.texts("names")?;
    let (slope, se) = (genes.numbers("slope")?, genes.numbers("se")?);
    let of = |method: &str, scores: Vec<f64>| GeneRanking {
        method: method.to_string(),
        scores: by_name(&names, scores),
    };
    let mut out = vec![
        of("dosage_slope", slope.iter().map(|s| -s).collect()),
        of(
            "dosage_slope_shrunken",
            genes
                .numbers("slope_shrunken")?
                .iter()
                .map(|s| -s)
                .collect(),
        ),
        of(
            "dosage_slope_t",
            slope.iter().zip(&se).map(|(s, e)| (1.0 - s) / e).collect(),
        ),
    ];
    // Absent where too few genes were tested for a posterior.
    if genes.position("prob_insensitive").is_some() {
        let probability = genes.numbers("prob_insensitive")?;
        out.push(of("dosage_prob_insensitive", probability));
    }
    let loadings = TextTable::read(&dir.join("dosage_loadings.tsv"))?;
    let names = loadings.texts("names")?;
    for (method, column) in factor_columns(dir)? {
        if loadings.position(&column).is_some() {
            out.push(GeneRanking {
                method,
                scores: by_name(&names, loadings.numbers(&column)?),
            });
        }
    }
    Ok(out)
}

/// Factors to score: the leading one, and the one that carries most of the sum over genes.
pub(super) fn factor_columns(dir: &Path) -> StageResult<Vec<(String, String)>> {
    let table = TextTable::read(&dir.join("dosage_factors.tsv"))?;
    let names = table.texts("factor")?;
    let coherence = table.numbers("coherence")?;
    let mut out = Vec::new();
    if let Some(first) = names.first() {
        out.push(("dosage_factor_1".to_string(), (*first).to_string()));
    }
    let best =
        (0..names.len()).max_by(|&a, &b| coherence[a].total_cmp(&coherence[b]).then(b.cmp(&a)));
    if let Some(best) = best {
        out.push((
            "dosage_coherent_factor".to_string(),
            names[best].to_string(),
        ));
    }
    Ok(out)
}

fn dosage_calls(genes: &TextTable) -> StageResult<HashSet<String>> {
    let (names, class) = (genes.texts("names")?, genes.texts("class")?);
    Ok(names
        .iter()
        .zip(class)
        .filter(|(_, c)| ["insensitive", "over-compensated"].contains(c))
        .map(|(n, _)| (*n).to_string())
        .collect())
}

/// Path of the table of discordant against concordant cells of all patients, or of the only one.
fn pooled(dir: &Path) -> Option<PathBuf> {
    let pooled = dir.join("discordant_vs_concordant.pooled.tsv");
    if pooled.exists() {
        return Some(pooled);
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            name.starts_with("discordant_vs_concordant.") && !name.contains(".stratified.")
        })
        .collect();
    found.sort();
    match found.as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    }
}

fn de_rankings(dir: &Path) -> StageResult<Vec<GeneRanking>> {
    let stratified = Some(dir.join("discordant_vs_concordant.stratified.tsv"));
    let mut out = Vec::new();
    for (method, path, column) in [
        ("de", pooled(dir), "scores"),
        ("de_stratified", stratified, "t"),
    ] {
        let Some(path) = path.filter(|p| p.exists()) else {
            continue;
        };
        let table = TextTable::read(&path)?;
        let sizes = table.numbers(column)?.into_iter().map(f64::abs).collect();
        out.push(GeneRanking {
            method: method.to_string(),
            scores: by_name(&table.texts("names")?, sizes),
        });
    }
    Ok(out)
}

fn de_calls(dir: &Path) -> StageResult<HashSet<String>> {
    let mut out = HashSet::new();
    for file in ["escape_genes.tsv", "compensation_genes.tsv"] {
        let table = TextTable::read(&dir.join(file))?;
        let patients = table.texts("patient")?;
        let has_pooled = patients.contains(&"pooled");
        for (name, patient) in table.texts("names")?.iter().zip(&patients) {
            if *patient == "pooled" || !has_pooled {
                out.insert((*name).to_string());
            }
        }
    }
    Ok(out)
}

fn baseline_rankings(path: &Path) -> StageResult<Vec<GeneRanking>> {
    let table = TextTable::read(path)?;
    let (names, methods) = (table.texts("names")?, table.texts("method")?);
    let scores = table.numbers("score")?;
    let mut out: BTreeMap<&str, HashMap<String, f64>> = BTreeMap::new();
    for i in 0..names.len() {
        out.entry(methods[i])
            .or_default()
            .insert(names[i].to_string(), scores[i]);
    }
    Ok(out
        .into_iter()
        .map(|(method, scores)| GeneRanking {
            method: method.to_string(),
            scores,
        })
        .collect())
}

/// Count the called genes, and score the share of them that were planted (either kind) in an arm that
/// is altered and expressed: elsewhere there is nothing to escape from.
fn calls(truth: &Truth, method: &str, called: &HashSet<String>) -> Vec<Score> {
    let planted = |g: usize| {
        let gene = &truth.genes[g];
        gene.eligible && (gene.constitutive || gene.state)
    };
    let genes: Vec<usize> = (0..truth.gene_names.len())
        .filter(|&g| called.contains(&truth.gene_names[g]))
        .collect();
    let found = genes.iter().filter(|&&g| planted(g)).count();
    let all = (0..truth.genes.len()).filter(|&g| planted(g)).count();
    let n = truth.genes.len();
    let mut out = vec![Score::single(
        "escape_calls",
        method,
        "n_called",
        genes.len() as f64,
        n,
    )];
    if !genes.is_empty() {
        out.push(Score {
            chance: all as f64 / n as f64,
            n_positive: all,
            ..Score::single(
                "escape_calls",
                method,
                "precision",
                found as f64 / genes.len() as f64,
                genes.len(),
            )
        });
    }
    if all > 0 {
        out.push(Score {
            n_positive: all,
            ..Score::single(
                "escape_calls",
                method,
                "recall",
                found as f64 / all as f64,
                all,
            )
        });
    }
    out
}
