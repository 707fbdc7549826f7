//! Inferred copy number, malignancy and clones compared with the planted events.

use std::collections::BTreeMap;

use super::events;
use super::false_calls::{self, Calls};
use super::metrics::{Ranking, adjusted_rand, ranking};
use super::truth::Truth;
use super::{Score, mean_ranking};
use clcc_data::error::{StageError, StageResult};
use clcc_data::matrix::Csr;
use clcc_numerics::stats::pearson;
use clcc_stage::cells::CLONE;
use clcc_stage::cohort::{CohortCnv, paired};
use clcc_stage::roles;
use clcc_stage::stage::StageContext;

/// Share of changed genes above which a window counts as gained or lost.
const MAJORITY: f64 = 0.5;

pub(super) fn scores(
    ctx: &StageContext<'_>,
    truth: &Truth,
    max_cells: usize,
) -> StageResult<Vec<Score>> {
    if ctx.all(roles::CNV).is_empty() {
        return Ok(Vec::new());
    }
    let cnv = CohortCnv::load(ctx)?;
    let n = truth.obs.len();
    // All of it: planted truth is of simulated cohorts, which are small.
    let x_cnv = cnv.x.whole()?;
    if x_cnv.n_rows() != n {
        return Err(StageError::data(format!(
            "`cnv` has {} cells, `expr` has {n}",
            x_cnv.n_rows()
        )));
    }
    let clusters = clusters(ctx, n)?;
    let windows = TrueWindows::new(truth, &cnv)?;
    let mut levels: Vec<(&str, Csr)> = vec![("cell", x_cnv.clone())];
    if let Some(c) = &clusters {
        levels.push((
            "cluster",
            cluster_means(&x_cnv, &truth.patient_of, &c.label),
        ));
    }
    let mut out = Vec::new();
    for (level, x) in &levels {
        out.extend(windows.scores(truth, x, level, max_cells));
    }
    let burden: Vec<f64> = (0..n)
        .map(|i| x_cnv.row(i).1.iter().map(|v| f64::from(v.abs())).sum())
        .collect();
    out.extend(malignant(truth, "cnv_burden", &burden));
    if let Some(c) = &clusters {
        if let Some(score) = &c.malignancy {
            out.extend(malignant(truth, "cnv_malignancy", score));
        }
        out.extend(clones(truth, "cnv_leiden", &c.label));
        if let Some(clone) = &c.clone {
            out.extend(clones(truth, CLONE, clone));
        }
        out.extend(false_calls::scores(truth, &c.calls));
        out.extend(events::scores(ctx, truth, &c.label)?);
    }
    Ok(out)
}

/// Columns of `clusters`, per cell.
struct Clusters {
    label: Vec<String>,
    /// Clones, where they were sought.
    clone: Option<Vec<String>>,
    malignancy: Option<Vec<f64>>,
    calls: Calls,
}

fn clusters(ctx: &StageContext<'_>, n: usize) -> StageResult<Option<Clusters>> {
    if ctx.all(roles::CLUSTERS).is_empty() {
        return Ok(None);
    }
    let (mut label, mut clone, mut malignancy) = (Vec::new(), Vec::new(), Vec::new());
    let mut calls = Calls::default();
    for clusters in paired(ctx, roles::CLUSTERS)? {
        let obs = clusters.obs()?;
        calls.add(&obs);
        label.extend(obs.texts("cnv_leiden")?);
        clone.extend(obs.texts(CLONE).unwrap_or_default());
        if let Ok(values) = obs.numbers("cnv_malignancy") {
            malignancy.extend(values);
        }
    }
    if label.len() != n {
        return Err(StageError::data(format!(
            "`clusters` has {} cells, `expr` has {n}",
            label.len()
        )));
    }
    Ok(Some(Clusters {
        malignancy: (malignancy.len() == n).then_some(malignancy),
        clone: (clone.len() == n).then_some(clone),
        label,
        calls,
    }))
}

/// Replace every cell's row by the mean of its patient's cluster.
fn cluster_means(x: &Csr, patient_of: &[u32], label: &[String]) -> Csr {
    let mut members: BTreeMap<(u32, &str), Vec<usize>> = BTreeMap::new();
    for (i, l) in label.iter().enumerate() {
        members.entry((patient_of[i], l)).or_default().push(i);
    }
    let mut rows = vec![Vec::new(); x.n_rows()];
    for cells in members.values() {
        let mut sum = vec![0.0; x.n_cols()];
        for &i in cells {
            let (cols, values) = x.row(i);
            for (&w, &v) in cols.iter().zip(values) {
                sum[w as usize] += f64::from(v) / cells.len() as f64;
            }
        }
        let row: Vec<(u32, f32)> = sum
            .iter()
            .enumerate()
            .filter(|(_, v)| **v != 0.0)
            .map(|(w, &v)| (w as u32, v as f32))
            .collect();
        cells.iter().for_each(|&i| rows[i] = row.clone());
    }
    Csr::from_rows(x.n_cols(), rows)
}

/// Planted copy number of each window in each clone.
struct TrueWindows {
    /// By (patient, clone): mean log ratio, and whether gained (1), lost (-1) or neither.
    of_clone: BTreeMap<(u32, String), (Vec<f64>, Vec<i8>)>,
}

impl TrueWindows {
    fn new(truth: &Truth, cnv: &CohortCnv) -> StageResult<Self> {
        let first = cnv.windows.numbers("first_gene")?;
        let last = cnv.windows.numbers("last_gene")?;
        let mut of_clone = BTreeMap::new();
        for i in (0..truth.malignant.len()).filter(|&i| truth.malignant[i]) {
            let key = (truth.patient_of[i], truth.clone[i].clone());
            if of_clone.contains_key(&key) {
                continue;
            }
            let patient = &truth.patients[key.0 as usize];
            let gene: Vec<f64> = cnv
                .genes
                .index
                .iter()
                .map(|g| truth.log_ratio(patient, &key.1, g))
                .collect();
            let (mut means, mut calls) = (Vec::new(), Vec::new());
            for (&a, &b) in first.iter().zip(&last) {
                let genes = &gene[a as usize..=b as usize];
                let share = |sign: f64| {
                    genes.iter().filter(|r| *r * sign > 0.0).count() as f64 / genes.len() as f64
                };
                means.push(genes.iter().sum::<f64>() / genes.len() as f64);
                calls.push(i8::from(share(1.0) > MAJORITY) - i8::from(share(-1.0) > MAJORITY));
            }
            of_clone.insert(key, (means, calls));
        }
        Ok(Self { of_clone })
    }

    /// Score gains and losses over cells x windows of each patient's malignant cells; mean over
    /// patients.
    fn scores(&self, truth: &Truth, x: &Csr, method: &str, max_cells: usize) -> Vec<Score> {
        let mut gains: Vec<Ranking> = Vec::new();
        let mut losses: Vec<Ranking> = Vec::new();
        let mut correlations = Vec::new();
        for p in 0..truth.patients.len() {
            let rows: Vec<usize> = (0..truth.malignant.len())
                .filter(|&i| truth.patient_of[i] as usize == p && truth.malignant[i])
                .collect();
            let m = rows.len().min(max_cells);
            let (mut value, mut real, mut call) = (Vec::new(), Vec::new(), Vec::new());
            for i in (0..m).map(|k| rows[k * rows.len() / m]) {
                let (means, calls) = &self.of_clone[&(p as u32, truth.clone[i].clone())];
                let mut row = vec![0.0; x.n_cols()];
                let (cols, values) = x.row(i);
                for (&w, &v) in cols.iter().zip(values) {
                    row[w as usize] = f64::from(v);
                }
                value.extend(row);
                real.extend_from_slice(means);
                call.extend_from_slice(calls);
            }
            let is = |sign: i8| call.iter().map(|c| *c == sign).collect::<Vec<bool>>();
            let lower: Vec<f64> = value.iter().map(|v| -v).collect();
            gains.push(ranking(&value, &is(1)));
            losses.push(ranking(&lower, &is(-1)));
            let r = pearson(&value, &real).r;
            if r.is_finite() {
                correlations.push(r);
            }
        }
        let mut out = Vec::new();
        for (target, rankings) in [("gains", gains), ("losses", losses)] {
            if let Some(r) = mean_ranking(&rankings) {
                out.extend(Score::of_ranking(target, method, r));
            }
        }
        if !correlations.is_empty() {
            let mean = correlations.iter().sum::<f64>() / correlations.len() as f64;
            out.push(Score {
                chance: 0.0,
                ..Score::single("copy_number", method, "pearson", mean, correlations.len())
            });
        }
        out
    }
}

/// Score the ranking of malignant cells among all cells of each patient.
fn malignant(truth: &Truth, method: &str, score: &[f64]) -> Vec<Score> {
    let rankings: Vec<Ranking> = (0..truth.patients.len())
        .map(|p| {
            let rows: Vec<usize> = (0..score.len())
                .filter(|&i| truth.patient_of[i] as usize == p)
                .collect();
            let scores: Vec<f64> = rows.iter().map(|&i| score[i]).collect();
            let positive: Vec<bool> = rows.iter().map(|&i| truth.malignant[i]).collect();
            ranking(&scores, &positive)
        })
        .collect();
    mean_ranking(&rankings)
        .map(|r| Score::of_ranking("malignant_cells", method, r))
        .unwrap_or_default()
}

/// Score the agreement of CNV clusters with clones, over the malignant cells of each patient; mean over
/// patients.
fn clones(truth: &Truth, method: &str, label: &[String]) -> Option<Score> {
    let mut values = Vec::new();
    for p in 0..truth.patients.len() {
        let rows: Vec<usize> = (0..label.len())
            .filter(|&i| truth.patient_of[i] as usize == p && truth.malignant[i])
            .collect();
        if rows.len() > 1 {
            let a: Vec<&str> = rows.iter().map(|&i| label[i].as_str()).collect();
            let b: Vec<&str> = rows.iter().map(|&i| truth.clone[i].as_str()).collect();
            values.push(adjusted_rand(&a, &b));
        }
    }
    (!values.is_empty()).then(|| Score {
        chance: 0.0,
        ..Score::single(
            "clones",
            method,
            "ari",
            values.iter().sum::<f64>() / values.len() as f64,
            values.len(),
        )
    })
}
