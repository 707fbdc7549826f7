//! The tables of `cluster`.

use std::path::Path;

use super::Clustered;
use crate::error::StageResult;
use crate::frame::{Column, Frame};
use crate::table::write_tsv;

/// Writes `cnv_clusters.tsv` and, where the windows are known, `cnv_cluster_profiles.tsv`.
pub(super) fn write(
    dir: &Path,
    obs: &Frame,
    windows: Option<&Frame>,
    found: &Clustered,
) -> StageResult<()> {
    let notes = [
        "copy-number clusters of the cells: Leiden on the neighbour graph of X_cnv's principal components; 0 is the largest",
        "cnv_score: mean of |X_cnv| over all cells and windows of the cluster, zeros included (infercnvpy)",
        "mean_burden: mean of the cells' cnv_burden; share_cancer: share of cells with cancer_vs_normal = Cancer among those with a value",
    ];
    write_tsv(
        &dir.join("cnv_clusters.tsv"),
        "cluster",
        &clusters(obs, found),
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
    Ok(())
}

fn clusters(obs: &Frame, found: &Clustered) -> Frame {
    let n = found.partition.n_clusters;
    let mut table = Frame::new((0..n).map(|c| c.to_string()).collect());
    table.set(
        "n_cells",
        Column::I64(found.profiles.n_cells.iter().map(|&n| n as i64).collect()),
    );
    if let Ok(classes) = obs.texts("cancer_vs_normal") {
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
    table
}

/// Mean of each cluster's values that are numbers; NaN without any.
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
