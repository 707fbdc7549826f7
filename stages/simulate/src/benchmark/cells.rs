//! Cell scores of every method compared with planted discordance, and retrieval.

use std::collections::{BTreeMap, HashMap};

use ndarray::Axis;

use super::genes::leading_factors;
use super::metrics::ranking;
use super::truth::Truth;
use super::{Score, mean_ranking};
use clcc_align::eval::grouped::{Hits, groups, retrieval as retrieve};
use clcc_align::mine::{Part, Split};
use clcc_data::anndata::Reader;
use clcc_data::error::StageResult;
use clcc_numerics::stats::{mean, spearman};
use clcc_stage::roles;
use clcc_stage::rows::{
    BaselineCellRow, BaselineRetrievalRow, ConcordanceRow, DiscordanceCellRow, DosageCellRow,
    DosageFactorRow,
};
use clcc_stage::stage::StageContext;
use clcc_stage::tables::Row as _;

/// Scores of all cells, in cohort order; NaN where there is none.
struct CellScores {
    method: String,
    scores: Vec<f64>,
}

pub(super) fn scores(ctx: &StageContext<'_>, truth: &Truth) -> StageResult<Vec<Score>> {
    let at = truth.cells_at();
    let mut found = Vec::new();
    if let Some(concordance) = ctx.optional(roles::CONCORDANCE) {
        let rows = concordance.rows::<ConcordanceRow>()?;
        found.push(CellScores::new("concordance", truth, &at, &rows, |row| {
            ((&row.patient, &row.cell), row.distance)
        }));
    }
    if let Some(dosage) = ctx.optional(roles::DOSAGE) {
        let rows = dosage.rows::<DosageCellRow>()?;
        found.extend(of_dosage(truth, &at, &rows, &dosage.rows()?));
    }
    if let Some(discordance) = ctx.optional(roles::DISCORDANCE) {
        let rows = discordance.rows::<DiscordanceCellRow>()?;
        found.push(CellScores::new("discordance", truth, &at, &rows, |row| {
            ((&row.patient, &row.cell), row.log_odds)
        }));
    }
    if let Some(baselines) = ctx.optional(roles::BASELINES) {
        found.extend(by_method(truth, &at, baselines.rows()?));
    }
    let mut out = Vec::new();
    for f in &found {
        let rankings: Vec<_> = (0..truth.patients.len())
            .map(|p| {
                let rows = malignant_of(truth, p);
                let scores: Vec<f64> = rows.iter().map(|&i| f.scores[i]).collect();
                let positive: Vec<bool> = rows.iter().map(|&i| truth.discordant[i]).collect();
                ranking(&scores, &positive)
            })
            .collect();
        if let Some(r) = mean_ranking(&rankings) {
            out.extend(Score::of_ranking("discordant_cells", &f.method, r));
        }
        out.extend(graded(truth, f));
    }
    Ok(out)
}

/// Malignant cells of a patient.
fn malignant_of(truth: &Truth, patient: usize) -> Vec<usize> {
    (0..truth.malignant.len())
        .filter(|&i| truth.patient_of[i] as usize == patient && truth.malignant[i])
        .collect()
}

/// Spearman's correlation of a score with graded discordance over each patient's malignant cells, mean
/// over patients; cells without a score stand last.
fn graded(truth: &Truth, f: &CellScores) -> Option<Score> {
    let z = truth.discordance.as_ref()?;
    let (mut values, mut n, mut scored) = (Vec::new(), 0, 0);
    for p in 0..truth.patients.len() {
        let rows = malignant_of(truth, p);
        let filled = |&i: &usize| match f.scores[i] {
            s if s.is_nan() => f64::NEG_INFINITY,
            s => s,
        };
        let scores: Vec<f64> = rows.iter().map(filled).collect();
        let planted: Vec<f64> = rows.iter().map(|&i| z[i]).collect();
        let r = spearman(&scores, &planted).r;
        if r.is_finite() {
            values.push(r);
        }
        n += rows.len();
        scored += scores.iter().filter(|s| s.is_finite()).count();
    }
    (!values.is_empty()).then(|| Score {
        chance: 0.0,
        coverage: scored as f64 / n as f64,
        ..Score::single("discordant_cells", &f.method, "spearman", mean(&values), n)
    })
}

/// Place in the cohort of the cells, by patient and name.
type Places<'a> = HashMap<(&'a str, &'a str), usize>;

impl CellScores {
    /// The scores that the rows of a table have; `of_row` says of which patient and cell a row is, and its score.
    fn new<R>(
        method: &str,
        truth: &Truth,
        at: &Places<'_>,
        rows: &[R],
        of_row: impl Fn(&R) -> ((&str, &str), f64),
    ) -> Self {
        let mut scores = vec![f64::NAN; truth.obs.len()];
        for (place, score) in rows.iter().map(of_row) {
            if let Some(&row) = at.get(&place) {
                scores[row] = score;
            }
        }
        Self {
            method: method.to_string(),
            scores,
        }
    }
}

/// Both shortfalls and the leading factors, those that were computed.
fn of_dosage(
    truth: &Truth,
    at: &Places<'_>,
    rows: &[DosageCellRow],
    factors: &[DosageFactorRow],
) -> Vec<CellScores> {
    let scores = |method: &str, of: &dyn Fn(&DosageCellRow) -> Option<f64>| {
        rows.iter().any(|row| of(row).is_some()).then(|| {
            CellScores::new(method, truth, at, rows, |row| {
                ((&row.patient, &row.cell), of(row).unwrap_or(f64::NAN))
            })
        })
    };
    let mut out = vec![
        scores("dosage_shortfall", &|row| row.shortfall),
        scores("dosage_shortfall_z", &|row| row.shortfall_z),
    ];
    for (method, factor) in leading_factors(factors) {
        out.push(scores(method, &|row| row.factors.get(factor).copied()));
    }
    out.into_iter().flatten().collect()
}

fn by_method(truth: &Truth, at: &Places<'_>, rows: Vec<BaselineCellRow>) -> Vec<CellScores> {
    let mut of_method: BTreeMap<String, Vec<BaselineCellRow>> = BTreeMap::new();
    for row in rows {
        of_method.entry(row.method.clone()).or_default().push(row);
    }
    let scores = |(method, rows): (String, Vec<BaselineCellRow>)| {
        CellScores::new(&method, truth, at, &rows, |row| {
            ((&row.patient, &row.cell), row.score)
        })
    };
    of_method.into_iter().map(scores).collect()
}

/// Score the retrieval of test cells with the trained embeddings, and collect the baselines' own
/// figures.
pub(super) fn retrieval(ctx: &StageContext<'_>, truth: &Truth) -> StageResult<Vec<Score>> {
    let mut out = Vec::new();
    // Where cells are matched with anchors, there is no partner to retrieve.
    let embeddings = ctx.optional(roles::EMBEDDINGS).filter(|e| {
        ctx.optional(roles::ANCHORS)
            .is_none_or(|a| a.branch != e.branch)
    });
    if let (Some(embeddings), Some(split)) = (embeddings, ctx.optional(roles::SPLIT)) {
        let split = Split::read(&split.path, &truth.obs.index)?;
        let test = split.cells(Part::Test);
        let reader = Reader::open(&embeddings.path)?;
        let [expr, cnv] = ["X_clcc_expr", "X_clcc_cnv"].map(|name| reader.obsm(name));
        let rows = |m: clcc_data::matrix::Matrix| m.into_dense().select(Axis(0), &test);
        let hits = retrieve(
            &rows(expr?),
            &rows(cnv?),
            &groups(&truth.obs, &truth.patient_of, &test),
        );
        out.extend(hits.into_iter().map(|h| of_hits("trained", h)));
    }
    if let Some(baselines) = ctx.optional(roles::BASELINES) {
        let path = baselines.path.join(BaselineRetrievalRow::FILE);
        if path.exists() {
            for row in BaselineRetrievalRow::read(&path)? {
                let hits = Hits {
                    metric: row.metric,
                    value: row.value,
                    chance: row.chance,
                    se: row.se,
                    n: row.n as usize,
                };
                out.push(of_hits(&row.method, hits));
            }
        }
    }
    Ok(out)
}

fn of_hits(method: &str, h: Hits) -> Score {
    Score {
        chance: h.chance,
        se: h.se,
        ..Score::single("retrieval", method, &h.metric, h.value, h.n)
    }
}
