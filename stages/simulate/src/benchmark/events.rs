//! Planted events that the called segments of the clusters find.

use std::collections::BTreeMap;

use super::Score;
use super::truth::{TrueEvent, Truth};
use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::rows::CnvSegmentRow;
use clcc_stage::stage::StageContext;
use clcc_stage::tables::Row as _;

/// Share of an event's genes, and of its clone's cells, at which it is found.
const HALF: f64 = 0.5;

/// Kind of event and target.
const KINDS: [(&str, &str); 3] = [
    ("arm", "arm_events"),
    ("sub_arm", "sub_arm_events"),
    ("focal", "focal_events"),
];

/// Direction in which each gene is called, per cluster of a patient.
type CalledGenes = BTreeMap<String, Vec<i8>>;

/// Score the recall of the events of each kind over clones and patients; `label` is the cluster of each
/// cell. Events without an expressed place, and focal ones that undo the event around them, do not count.
pub(super) fn scores(
    ctx: &StageContext<'_>,
    truth: &Truth,
    label: &[String],
) -> StageResult<Vec<Score>> {
    let mut found: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for (p, input) in ctx.all(roles::CLUSTER_TABLES).iter().enumerate() {
        let path = input.path.join(CnvSegmentRow::FILE);
        if !path.exists() {
            continue;
        }
        let called = called_genes(CnvSegmentRow::read(&path)?, truth);
        let patient = &truth.patients[p];
        let mut own: Vec<_> = truth
            .events
            .iter()
            .filter(|(k, _)| k.0 == *patient)
            .collect();
        own.sort_by_key(|(key, _)| *key);
        for ((_, clone), events) in own {
            let clusters = shares_of_clusters(truth, p, clone, label);
            for event in events.iter().filter(|e| e.log_ratio != 0.0) {
                let kind = KINDS.iter().find(|k| k.0 == event.kind);
                if let (Some(kind), Some(hit)) = (kind, find(truth, event, &clusters, &called)) {
                    found.entry(kind.1).or_default().push(hit);
                }
            }
        }
    }
    let score = |(_, target): (&str, &'static str)| {
        let hits = found.get(target)?;
        let n = hits.len() as f64;
        Some(Score {
            chance: hits.iter().map(|h| h.1).sum::<f64>() / n,
            n_positive: hits.len(),
            ..Score::single(
                target,
                "cnv_segments",
                "recall",
                hits.iter().map(|h| h.0).sum::<f64>() / n,
                hits.len(),
            )
        })
    };
    Ok(KINDS.into_iter().filter_map(score).collect())
}

/// Share of a clone's malignant cells in each cluster.
fn shares_of_clusters<'a>(
    truth: &Truth,
    patient: usize,
    clone: &str,
    label: &'a [String],
) -> BTreeMap<&'a str, f64> {
    let cells: Vec<usize> = (0..label.len())
        .filter(|&i| truth.patient_of[i] as usize == patient)
        .filter(|&i| truth.malignant[i] && truth.clone[i] == clone)
        .collect();
    let mut out = BTreeMap::new();
    for &i in &cells {
        *out.entry(label[i].as_str()).or_default() += 1.0 / cells.len() as f64;
    }
    out
}

/// Whether the event is found (1 or 0), and the share of all genes that the clone's cells have in calls of
/// its direction; `None` where no gene is in it.
fn find(
    truth: &Truth,
    event: &TrueEvent,
    clusters: &BTreeMap<&str, f64>,
    called: &CalledGenes,
) -> Option<(f64, f64)> {
    let sign = if event.log_ratio > 0.0 { 1 } else { -1 };
    let inside: Vec<usize> = (0..truth.gene_names.len())
        .filter(|&g| truth.is_covered(g, event))
        .collect();
    if inside.is_empty() {
        return None;
    }
    let share = |genes: &mut dyn Iterator<Item = i8>, n: usize| {
        genes.filter(|c| *c == sign).count() as f64 / n as f64
    };
    let (mut cells, mut chance) = (0.0, 0.0);
    for (cluster, weight) in clusters {
        let Some(calls) = called.get(*cluster) else {
            continue;
        };
        let covered = share(&mut inside.iter().map(|&g| calls[g]), inside.len());
        if covered >= HALF {
            cells += weight;
        }
        chance += weight * share(&mut calls.iter().copied(), calls.len());
    }
    Some((f64::from(u8::from(cells >= HALF)), chance))
}

fn called_genes(segments: Vec<CnvSegmentRow>, truth: &Truth) -> CalledGenes {
    let n = truth.gene_names.len();
    let mut out = CalledGenes::new();
    for s in segments {
        let calls = out.entry(s.cluster).or_insert_with(|| vec![0; n]);
        let sign = match s.call.as_str() {
            "gain" => 1,
            "loss" => -1,
            _ => continue,
        };
        for (g, called) in calls.iter_mut().enumerate() {
            if truth.is_within(g, &s.chromosome, s.start as f64, s.end as f64) {
                *called = sign;
            }
        }
    }
    out
}
