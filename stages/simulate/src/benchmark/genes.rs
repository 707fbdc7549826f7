//! Gene rankings and calls of every method compared with planted escape.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::metrics::ranking;
use super::truth::Truth;
use super::{Score, patients};
use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::rows::{
    BaselineGeneRow, COMPENSATION_GENES, ComparedGeneRow, DiscordanceGeneRow, DosageFactorRow,
    DosageGeneRow, DosageLoadingRow, ESCAPE_GENES, FindingGeneRow, POOLED, PairedGeneRow,
};
use clcc_stage::stage::StageContext;
use clcc_stage::tables::Row as _;

/// Scores of genes by name.
struct GeneRanking {
    method: String,
    scores: HashMap<String, f64>,
}

pub(super) fn scores(ctx: &StageContext<'_>, truth: &Truth) -> StageResult<Vec<Score>> {
    let mut rankings = Vec::new();
    let mut called: Vec<(&str, HashSet<String>)> = Vec::new();
    if let Some(dosage) = ctx.optional(roles::DOSAGE) {
        let genes = dosage.rows::<DosageGeneRow>()?;
        rankings.extend(slope_rankings(&genes));
        rankings.extend(factor_rankings(
            &dosage.rows()?,
            &dosage.rows::<DosageFactorRow>()?,
        ));
        called.push(("dosage", dosage_calls(&genes)));
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
        rankings.extend(baseline_rankings(baselines.rows()?));
    }
    let mut out = match ctx.optional(roles::DOSAGE) {
        Some(dosage) if truth.escape_in.is_some() => patients::own(truth, &dosage.rows()?),
        _ => Vec::new(),
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

fn slope_rankings(genes: &[DosageGeneRow]) -> Vec<GeneRanking> {
    let of = |method: &str, score: &dyn Fn(&DosageGeneRow) -> f64| GeneRanking {
        method: method.to_string(),
        scores: genes.iter().map(|g| (g.names.clone(), score(g))).collect(),
    };
    let mut out = vec![
        of("dosage_slope", &|g| -g.slope),
        of("dosage_slope_shrunken", &|g| -g.slope_shrunken),
        of("dosage_slope_t", &|g| (1.0 - g.slope) / g.se),
    ];
    // Absent where too few genes were tested for a posterior.
    if genes.iter().any(|g| g.prob_insensitive.is_some()) {
        let probability = |g: &DosageGeneRow| g.prob_insensitive.unwrap_or(f64::NAN);
        out.push(of("dosage_prob_insensitive", &probability));
    }
    out
}

fn factor_rankings(genes: &[DosageLoadingRow], factors: &[DosageFactorRow]) -> Vec<GeneRanking> {
    let ranking = |(method, factor): (&str, &str)| {
        let loading = |g: &DosageLoadingRow| Some((g.names.clone(), *g.loadings.get(factor)?));
        Some(GeneRanking {
            method: method.to_string(),
            scores: genes.iter().map(loading).collect::<Option<_>>()?,
        })
    };
    leading_factors(factors)
        .into_iter()
        .filter_map(ranking)
        .collect()
}

/// Factors to score, each with its method: the leading one, and the one that carries most of the sum over genes.
pub(super) fn leading_factors(factors: &[DosageFactorRow]) -> Vec<(&'static str, &str)> {
    let coherence = |at: usize| factors[at].coherence;
    let most = |a: &usize, b: &usize| coherence(*a).total_cmp(&coherence(*b)).then(b.cmp(a));
    let best = (0..factors.len()).max_by(most);
    let first = factors
        .first()
        .map(|f| ("dosage_factor_1", f.factor.as_str()));
    let best = best.map(|at| ("dosage_coherent_factor", factors[at].factor.as_str()));
    first.into_iter().chain(best).collect()
}

fn dosage_calls(genes: &[DosageGeneRow]) -> HashSet<String> {
    let is_called =
        |g: &&DosageGeneRow| matches!(g.class.as_str(), "insensitive" | "over-compensated");
    genes
        .iter()
        .filter(is_called)
        .map(|g| g.names.clone())
        .collect()
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
    let ranking = |method: &str, scores: HashMap<String, f64>| GeneRanking {
        method: method.to_string(),
        scores,
    };
    let mut out = Vec::new();
    if let Some(path) = pooled(dir) {
        let genes = ComparedGeneRow::read(&path)?.into_iter();
        let scores = genes.map(|g| (g.names, g.scores.abs())).collect();
        out.push(ranking("de", scores));
    }
    let stratified = dir.join("discordant_vs_concordant.stratified.tsv");
    if stratified.exists() {
        let genes = PairedGeneRow::read(&stratified)?.into_iter();
        let scores = genes.map(|g| (g.names, g.t.abs())).collect();
        out.push(ranking("de_stratified", scores));
    }
    Ok(out)
}

fn de_calls(dir: &Path) -> StageResult<HashSet<String>> {
    let mut out = HashSet::new();
    for file in [ESCAPE_GENES, COMPENSATION_GENES] {
        let rows = FindingGeneRow::read(&dir.join(file))?;
        let has_pooled = rows.iter().any(|row| row.patient == POOLED);
        let counts = |row: &FindingGeneRow| row.patient == POOLED || !has_pooled;
        out.extend(rows.into_iter().filter(counts).map(|row| row.names));
    }
    Ok(out)
}

fn baseline_rankings(rows: Vec<BaselineGeneRow>) -> Vec<GeneRanking> {
    let mut out: BTreeMap<String, HashMap<String, f64>> = BTreeMap::new();
    for row in rows {
        let of_method = out.entry(row.method).or_default();
        of_method.insert(row.names, row.score);
    }
    let ranking = |(method, scores)| GeneRanking { method, scores };
    out.into_iter().map(ranking).collect()
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
