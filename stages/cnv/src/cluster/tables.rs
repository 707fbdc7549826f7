//! Tables of `cluster`.

use std::path::Path;

use super::malignancy::TwoComponents;
use super::segments::{ArmCall, Segment, Segmented};
use super::{CANCER_VS_NORMAL, Clones, Clustered, Details};
use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::genome::arm_name;
use clcc_data::table::write_tsv;
use clcc_numerics::stats::normal_sf;

/// Number of bins of the histogram of scores.
const BINS: usize = 50;

/// Write `cnv_clusters.tsv`, `cnv_cells.tsv`, `cnv_malignancy.tsv`, `cnv_malignancy_histogram.tsv`;
/// where clones were sought, `cnv_clones.tsv` and `cnv_clone_pieces.tsv`; and where the windows are
/// known, `cnv_cluster_profiles.tsv`, `cnv_segments.tsv` and `cnv_arms.tsv`.
pub(super) fn write(
    dir: &Path,
    obs: &Frame,
    windows: Option<&Frame>,
    found: &Clustered,
    details: &Details,
    clones: Option<&Clones>,
) -> StageResult<()> {
    if let Some(clones) = clones {
        clone_tables(dir, clones)?;
    }
    let notes = [
        "copy-number clusters of the cells: Leiden on the neighbour graph of X_cnv's principal components; 0 is the largest",
        "cnv_score: mean of |X_cnv| over all cells and windows of the cluster, zeros included (infercnvpy)",
        "mean_burden: mean of the cells' cnv_burden; share_cancer: share of cells with cancer_vs_normal = Cancer among those with a value, where the label is known; share_malignant: share of cells called malignant",
        "ithcna: interquartile range of the correlations of all pairs of the cluster's profiles (infercnvpy), over a draw of its cells where it is large",
    ];
    write_tsv(
        &dir.join("cnv_clusters.tsv"),
        "cluster",
        &clusters(obs, found, details),
        &notes,
    )?;
    if let Some(windows) = windows {
        let notes = [
            "mean X_cnv of each cluster in each window: log ratio (natural) to the reference after denoising",
        ];
        write_tsv(
            &dir.join("cnv_cluster_profiles.tsv"),
            "window",
            &profile_table(windows, found),
            &notes,
        )?;
    }
    let notes = [
        "per cell: cnv_burden, mean |X_cnv|; cnv_signal, root mean square of X_cnv; cnv_correlation, with the mean profile of the other cells of its cluster; cnv_malignancy, their product",
        "cnv_malignant: above the threshold of cnv_malignancy.tsv and no reference cell; no column where there is no threshold",
    ];
    write_tsv(
        &dir.join("cnv_cells.tsv"),
        "cell",
        &cells(obs, found),
        &notes,
    )?;
    malignancy_tables(dir, found)?;
    match (windows, &details.segmented) {
        (Some(windows), Some(segmented)) => genome_tables(dir, windows, segmented),
        _ => Ok(()),
    }
}

/// Write `cnv_malignancy.tsv` and `cnv_malignancy_histogram.tsv`.
fn malignancy_tables(dir: &Path, found: &Clustered) -> StageResult<()> {
    let notes = [
        "two normal components fitted to the cells' cnv_malignancy; empty where they could not be told apart (fewer than 20 cells, one does as well, or no crossing between the means)",
        "threshold: cells above it that are no reference are malignant; where a cell is as likely of one component as of the other, or the parameter malignancy_threshold; without either there are no rows",
        "bic_gain: Bayesian information criterion of one component minus that of two",
    ];
    write_tsv(
        &dir.join("cnv_malignancy.tsv"),
        "component",
        &components(found),
        &notes,
    )?;
    let notes = [
        "cells by cnv_malignancy in equal bins from `from` to `to`, and how many each component expects there",
    ];
    write_tsv(
        &dir.join("cnv_malignancy_histogram.tsv"),
        "bin",
        &histogram(found),
        &notes,
    )
}

/// Write `cnv_segments.tsv` and `cnv_arms.tsv`.
fn genome_tables(dir: &Path, windows: &Frame, segmented: &Segmented) -> StageResult<()> {
    let stray = format!(
        "windows of normal profiles stray from 0 by {}",
        clcc_data::table::number(segmented.stray)
    );
    let notes = [
        "level pieces of each cluster's mean profile (optimal partition); mean: natural log ratio; standard_error: of the mean over cells, and of what normal profiles stray by",
        "confidence: 1 minus the two-sided p of mean over standard_error; call: gain or loss where confidence and |mean| reach their thresholds; 0 is the cell's own median, so in a tumour altered over half of its genome calls shift",
        &stray,
    ];
    write_tsv(
        &dir.join("cnv_segments.tsv"),
        "segment",
        &segments(segmented, windows)?,
        &notes,
    )?;
    let notes = [
        "chromosome arms of each cluster (chromosomes, where the genome is not known); share_gain, share_loss: share of the arm's windows in gains and losses of cnv_segments.tsv; called where that reaches its threshold",
        &stray,
    ];
    write_tsv(
        &dir.join("cnv_arms.tsv"),
        "cluster_arm",
        &arms(segmented),
        &notes,
    )
}

fn clone_tables(dir: &Path, clones: &Clones) -> StageResult<()> {
    let n = clones.n_cells.len();
    let names: Vec<String> = (1..=n).map(|c| c.to_string()).collect();
    let total: usize = clones.n_cells.iter().sum();
    let mut table = Frame::new(names.clone());
    table.set(
        "n_cells",
        Column::I64(clones.n_cells.iter().map(|&n| n as i64).collect()),
    );
    let share = |&n: &usize| n as f64 / total as f64;
    table.set(
        "share",
        Column::F64(clones.n_cells.iter().map(share).collect()),
    );
    let confidence = |c: usize| {
        let own: Vec<f64> = clones
            .of_cell
            .iter()
            .zip(&clones.confidence)
            .filter(|(k, _)| **k == Some(c as u32))
            .map(|(_, p)| *p)
            .collect();
        clcc_numerics::stats::mean(&own)
    };
    table.set("confidence", Column::F64((0..n).map(confidence).collect()));
    let notes = [
        "clones of the malignant cells (obs cnv_clone), told apart by the counts of pieces of chromosome arms: normal mixture, the number by BIC, joined where no piece's median gene differs",
        "confidence: mean probability of the clone over its cells",
    ];
    write_tsv(&dir.join("cnv_clones.tsv"), "clone", &table, &notes)?;
    let pieces = &clones.pieces;
    let mut table = Frame::new((0..pieces.len()).map(|p| p.to_string()).collect());
    let texts =
        |f: &dyn Fn(&super::clones::Piece) -> String| Column::Str(pieces.iter().map(f).collect());
    let whole =
        |f: &dyn Fn(&super::clones::Piece) -> i64| Column::I64(pieces.iter().map(f).collect());
    table.set("chromosome", texts(&|p| p.chromosome.clone()));
    table.set(
        "arm",
        texts(&|p| p.arm.map_or(String::new(), |a| a.letter().to_string())),
    );
    table.set("start", whole(&|p| p.span.0));
    table.set("end", whole(&|p| p.span.1));
    table.set("n_genes", whole(&|p| p.genes.len() as i64));
    for (name, ratios) in names.iter().zip(clones.log_ratio.rows()) {
        table.set(&format!("clone_{name}"), Column::F64(ratios.to_vec()));
    }
    let notes = [
        "what tells the clones apart: median over the genes of a piece of the natural log ratio of a clone's expression to that of the patient's other malignant cells, beside the median piece",
    ];
    write_tsv(&dir.join("cnv_clone_pieces.tsv"), "piece", &table, &notes)
}

fn clusters(obs: &Frame, found: &Clustered, details: &Details) -> Frame {
    let n = found.partition.n_clusters;
    let mut table = Frame::new((0..n).map(|c| c.to_string()).collect());
    table.set(
        "n_cells",
        Column::I64(found.profiles.n_cells.iter().map(|&n| n as i64).collect()),
    );
    if let Ok(classes) = obs.texts(CANCER_VS_NORMAL) {
        let cancer: Vec<f64> = classes
            .iter()
            .map(|c| match c.as_str() {
                "" => f64::NAN,
                c => f64::from(u8::from(c == "Cancer")),
            })
            .collect();
        table.set(
            "share_cancer",
            Column::F64(means(&cancer, &found.partition.membership, n)),
        );
    }
    table.set("cnv_score", Column::F64(found.profiles.score.clone()));
    if let Ok(burden) = obs.numbers("cnv_burden") {
        table.set(
            "mean_burden",
            Column::F64(means(&burden, &found.partition.membership, n)),
        );
    }
    if let Some(calls) = found.malignancy.calls() {
        let calls: Vec<f64> = calls.iter().map(|c| f64::from(u8::from(*c))).collect();
        let shares = means(&calls, &found.partition.membership, n);
        table.set("share_malignant", Column::F64(shares));
    }
    table.set("ithcna", Column::F64(details.ithcna.clone()));
    table
}

/// Cluster, burden and malignancy of each cell.
fn cells(obs: &Frame, found: &Clustered) -> Frame {
    let mut table = Frame::new(obs.index.clone());
    let membership = &found.partition.membership;
    let names = membership.iter().map(ToString::to_string).collect();
    table.set("cnv_leiden", Column::Str(names));
    if let Some(burden) = obs.columns.get("cnv_burden") {
        table.set("cnv_burden", burden.clone());
    }
    let m = &found.malignancy;
    table.set("cnv_signal", Column::F64(m.signal.clone()));
    table.set("cnv_correlation", Column::F64(m.correlation.clone()));
    table.set("cnv_malignancy", Column::F64(m.score.clone()));
    if let Some(calls) = m.calls() {
        let call = |c: &bool| if *c { "Malignant" } else { "Normal" }.to_string();
        table.set(
            "cnv_malignant",
            Column::Str(calls.iter().map(call).collect()),
        );
    }
    table
}

fn components(found: &Clustered) -> Frame {
    let m = &found.malignancy;
    let Some(threshold) = m.threshold else {
        return Frame::new(Vec::new());
    };
    let of_fit = |f: &dyn Fn(&TwoComponents) -> [f64; 2]| {
        Column::F64(m.fit.as_ref().map_or([f64::NAN; 2], f).to_vec())
    };
    let mut table = Frame::new(vec!["normal".into(), "malignant".into()]);
    table.set("weight", of_fit(&|f| f.weight));
    table.set("mean", of_fit(&|f| f.mean));
    table.set("sd", of_fit(&|f| f.sd));
    table.set("threshold", Column::F64(vec![threshold; 2]));
    table.set("bic_gain", of_fit(&|f| [f.bic_gain; 2]));
    table
}

/// Number of cells in equal bins of the score, observed and expected from each component.
fn histogram(found: &Clustered) -> Frame {
    let score = &found.malignancy.score;
    let (low, top) = score
        .iter()
        .fold((0.0f64, 0.0f64), |(low, top), &s| (low.min(s), top.max(s)));
    let width = if top > low {
        (top - low) / BINS as f64
    } else {
        1.0
    };
    let mut counts = vec![0i64; BINS];
    score
        .iter()
        .for_each(|s| counts[(((s - low) / width) as usize).min(BINS - 1)] += 1);
    let from: Vec<f64> = (0..BINS).map(|b| low + b as f64 * width).collect();
    let mut table = Frame::new((0..BINS).map(|b| b.to_string()).collect());
    table.set("from", Column::F64(from.clone()));
    table.set("to", Column::F64(from.iter().map(|v| v + width).collect()));
    table.set("n_cells", Column::I64(counts));
    if let Some(fit) = found.malignancy.fit {
        for (k, name) in ["expected_normal", "expected_malignant"].iter().enumerate() {
            let below = |v: f64| normal_sf((fit.mean[k] - v) / fit.sd[k]);
            let expected = from
                .iter()
                .map(|&v| score.len() as f64 * fit.weight[k] * (below(v + width) - below(v)));
            table.set(name, Column::F64(expected.collect()));
        }
    }
    table
}

fn segments(found: &Segmented, windows: &Frame) -> StageResult<Frame> {
    let (chromosome, start, end) = (
        windows.texts("chromosome")?,
        windows.numbers("start")?,
        windows.numbers("end")?,
    );
    let all = &found.segments;
    let mut table = Frame::new((0..all.len()).map(|i| i.to_string()).collect());
    let numbers = |f: &dyn Fn(&Segment) -> f64| Column::F64(all.iter().map(f).collect());
    let whole = |f: &dyn Fn(&Segment) -> i64| Column::I64(all.iter().map(f).collect());
    let texts = |f: &dyn Fn(&Segment) -> String| Column::Str(all.iter().map(f).collect());
    table.set("cluster", texts(&|s| s.cluster.to_string()));
    table.set(
        "chromosome",
        texts(&|s| chromosome[s.windows.start].clone()),
    );
    table.set("start", whole(&|s| start[s.windows.start] as i64));
    table.set("end", whole(&|s| end[s.windows.end - 1] as i64));
    table.set("n_windows", whole(&|s| s.windows.len() as i64));
    table.set("mean", numbers(&|s| s.level.mean));
    table.set("standard_error", numbers(&|s| s.level.standard_error));
    table.set("confidence", numbers(&|s| s.level.confidence));
    table.set("call", texts(&|s| s.call.name().to_string()));
    Ok(table)
}

fn arms(found: &Segmented) -> Frame {
    let all = &found.arms;
    let name = |a: &ArmCall| arm_name(&a.chromosome, a.arm);
    let mut table = Frame::new(
        all.iter()
            .map(|a| format!("{}:{}", a.cluster, name(a)))
            .collect(),
    );
    let numbers = |f: &dyn Fn(&ArmCall) -> f64| Column::F64(all.iter().map(f).collect());
    let texts = |f: &dyn Fn(&ArmCall) -> String| Column::Str(all.iter().map(f).collect());
    table.set("cluster", texts(&|a| a.cluster.to_string()));
    table.set("arm", texts(&name));
    let n_windows = all.iter().map(|a| a.n_windows as i64);
    table.set("n_windows", Column::I64(n_windows.collect()));
    table.set("mean", numbers(&|a| a.level.mean));
    table.set("standard_error", numbers(&|a| a.level.standard_error));
    table.set("confidence", numbers(&|a| a.level.confidence));
    table.set("share_gain", numbers(&|a| a.share_gain));
    table.set("share_loss", numbers(&|a| a.share_loss));
    table.set("call", texts(&|a| a.call.name().to_string()));
    table
}

/// Mean of each cluster's values that are not NaN; NaN without any.
fn means(values: &[f64], membership: &[u32], n: usize) -> Vec<f64> {
    let mut sums = vec![(0.0f64, 0usize); n];
    for (&v, &c) in values.iter().zip(membership).filter(|(v, _)| !v.is_nan()) {
        sums[c as usize].0 += v;
        sums[c as usize].1 += 1;
    }
    sums.into_iter()
        .map(|(sum, count)| {
            if count == 0 {
                f64::NAN
            } else {
                sum / count as f64
            }
        })
        .collect()
}

fn profile_table(windows: &Frame, found: &Clustered) -> Frame {
    let mut table = Frame::new(windows.index.clone());
    for name in ["chromosome", "start", "end"] {
        if let Some(column) = windows.columns.get(name) {
            table.set(name, column.clone());
        }
    }
    for (c, profile) in found.profiles.mean.rows().into_iter().enumerate() {
        table.set(&format!("cluster_{c}"), Column::F64(profile.to_vec()));
    }
    table
}
