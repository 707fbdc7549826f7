//! Tables of `cluster`.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_data::genome::arm_name;
use clcc_data::table::number;
use clcc_numerics::stats::normal_sf;
use clcc_stage::rows::{
    ClonePieceRow, ClusterProfileRow, CnvArmRow, CnvCellRow, CnvCloneRow, CnvClusterRow,
    CnvSegmentRow, MalignancyBinRow, MalignancyRow,
};
use clcc_stage::tables::{Family, Table};

use super::malignancy::Malignancy;
use super::segments::{Level, Segmented};
use super::{CANCER_VS_NORMAL, Clones, Clustered, Judged};

/// Number of bins of the histogram of scores.
const BINS: usize = 50;

/// Everything that the tables show.
pub(super) struct Results<'a> {
    pub(super) obs: &'a Frame,
    pub(super) windows: Option<&'a Frame>,
    pub(super) found: &'a Clustered,
    pub(super) judged: &'a Judged,
    pub(super) ithcna: &'a [f64],
    pub(super) clones: Option<&'a Clones>,
}

impl Results<'_> {
    /// Write `cnv_clusters.tsv`, `cnv_cells.tsv`, `cnv_malignancy.tsv`, `cnv_malignancy_histogram.tsv`; where clones
    /// were sought, `cnv_clones.tsv` and `cnv_clone_pieces.tsv`; and where the windows are known,
    /// `cnv_cluster_profiles.tsv`, `cnv_segments.tsv` and `cnv_arms.tsv`.
    pub(super) fn write(&self, dir: &Path) -> StageResult<()> {
        if let Some(clones) = self.clones {
            clone_tables(dir, clones)?;
        }
        Table::new(self.clusters())
            .note("copy-number clusters of the cells: Leiden on the neighbour graph of X_cnv's principal components; 0 is the largest")
            .note("altered: a region is surely gained or lost, so that the cluster can hold malignant cells; false_share: share of the reference cells above the malignancy threshold in the cluster, over that of other cells; above .5 the cluster holds no malignant cell")
            .write(dir)?;
        if let Some(windows) = self.windows {
            Table::new(self.profiles(windows))
                .note("mean X_cnv of each cluster in each window: log ratio (natural) to the reference after denoising")
                .write(dir)?;
        }
        Table::new(self.cells())
            .note("cnv_malignancy: share of the altered clusters' profile that the cell has (0: normal, 1: their typical cell); cnv_signal times cnv_correlation where no cluster is altered")
            .note("cnv_malignant: above the threshold of cnv_malignancy.tsv, in an altered cluster, and no reference cell; nothing where no call is made")
            .write(dir)?;
        let m = &self.judged.malignancy;
        Table::new(components(m))
            .note("components of cnv_malignancy: the normal one is that of the reference cells, the malignant one is fitted to the other cells of altered clusters; empty where they could not be told apart")
            .note("false_share: share of the reference cells above the threshold in altered clusters, over that of other cells; above .5 no call is made")
            .write(dir)?;
        Table::new(histogram(m))
            .note("cells by cnv_malignancy in equal bins, and how many candidates (cells of altered clusters that are no reference) each component expects there")
            .write(dir)?;
        match (self.windows, &self.judged.segmented) {
            (Some(windows), Some(segmented)) => genome_tables(dir, windows, segmented),
            _ => Ok(()),
        }
    }

    fn clusters(&self) -> Vec<CnvClusterRow> {
        let Partitioned { membership, n } = self.partition();
        let mean = |values: Option<Vec<f64>>| -> Vec<Option<f64>> {
            values.map_or(vec![None; n], |v| {
                means(&v, membership, n).into_iter().map(Some).collect()
            })
        };
        let cancer = self.obs.texts(CANCER_VS_NORMAL).ok().map(|classes| {
            let of_cell = |c: String| match c.as_str() {
                "" => f64::NAN,
                c => f64::from(u8::from(c == "Cancer")),
            };
            classes.into_iter().map(of_cell).collect()
        });
        let calls = self.judged.malignancy.calls();
        let calls = calls.map(|c| c.iter().map(|c| f64::from(u8::from(*c))).collect());
        let share_cancer = mean(cancer);
        let mean_burden = mean(self.obs.numbers("cnv_burden").ok());
        let share_malignant = mean(calls);
        let m = &self.judged.malignancy;
        let false_share = m.false_share_of_clusters(membership, n);
        let segmented = self.judged.segmented.as_ref();
        (0..n)
            .map(|c| CnvClusterRow {
                cluster: c.to_string(),
                n_cells: self.found.profiles.n_cells[c] as i64,
                share_cancer: share_cancer[c],
                cnv_score: self.found.profiles.score[c],
                mean_burden: mean_burden[c],
                n_arms_called: segmented.map(|s| s.n_called(c) as i64),
                altered: !self.judged.altered[c].is_empty(),
                false_share: (!false_share[c].is_nan()).then_some(false_share[c]),
                share_malignant: share_malignant[c],
                ithcna: self.ithcna[c],
            })
            .collect()
    }

    fn partition(&self) -> Partitioned<'_> {
        Partitioned {
            membership: &self.found.partition.membership,
            n: self.found.partition.n_clusters,
        }
    }

    fn cells(&self) -> Vec<CnvCellRow> {
        let burden = self.obs.numbers("cnv_burden").ok();
        let m = &self.judged.malignancy;
        let calls = m.calls();
        let call = |i: usize| match calls.as_ref().map(|c| c[i]) {
            None => "",
            Some(true) => "Malignant",
            Some(false) => "Normal",
        };
        (0..self.obs.len())
            .map(|i| CnvCellRow {
                cell: self.obs.index[i].clone(),
                cnv_leiden: self.found.partition.membership[i].to_string(),
                cnv_burden: burden.as_ref().map(|b| b[i]),
                cnv_signal: m.signal[i],
                cnv_correlation: m.correlation[i],
                cnv_malignancy: m.score[i],
                cnv_malignant: call(i).to_string(),
            })
            .collect()
    }

    fn profiles(&self, windows: &Frame) -> Vec<ClusterProfileRow> {
        let mean = &self.found.profiles.mean;
        let columns = Family::names((0..mean.nrows()).map(|c| format!("cluster_{c}")));
        let chromosome = windows.texts("chromosome").ok();
        let [start, end] = ["start", "end"].map(|name| windows.numbers(name).ok());
        let row = |(w, name): (usize, &String)| ClusterProfileRow {
            window: name.clone(),
            chromosome: chromosome.as_ref().map(|c| c[w].clone()),
            start: start.as_ref().map(|s| s[w] as i64),
            end: end.as_ref().map(|e| e[w] as i64),
            mean: Family::new(&columns, mean.column(w).to_vec()),
        };
        windows.index.iter().enumerate().map(row).collect()
    }
}

/// Cluster of each cell, and the number of clusters.
struct Partitioned<'a> {
    membership: &'a [u32],
    n: usize,
}

/// Write `cnv_segments.tsv` and `cnv_arms.tsv`.
fn genome_tables(dir: &Path, windows: &Frame, segmented: &Segmented) -> StageResult<()> {
    let stray = format!(
        "windows of normal profiles stray from 0 by {}",
        number(segmented.stray)
    );
    Table::new(segments(segmented, windows)?)
        .note("level pieces of each cluster's mean profile (optimal partition); mean: natural log ratio; standard_error: of the mean over cells, of what normal profiles stray by, and of programmes of expression")
        .note("gene_ratio: natural log ratio of the piece's typical gene to the reference, by raw counts; confidence: 1 minus the two-sided p of gene_ratio over its error (of mean over standard_error, where counts are not read)")
        .note("call: gain or loss by the sign of mean, where confidence and |mean| reach their thresholds and gene_ratio agrees in sign; 0 is the cell's own median, so in a tumour altered over half of its genome calls shift")
        .note(&stray)
        .write(dir)?;
    Table::new(arms(segmented))
        .note("chromosome arms of each cluster (chromosomes, where the genome is not known), as in cnv_segments.tsv; an arm with fewer than 20 genes has no confidence")
        .note("share_gain, share_loss: share of the arm's windows in gains and losses of cnv_segments.tsv; an arm is called by its own level where that share reaches its threshold too")
        .note(&stray)
        .write(dir)
}

fn clone_tables(dir: &Path, clones: &Clones) -> StageResult<()> {
    let n = clones.n_cells.len();
    let names: Vec<String> = (1..=n).map(|c| c.to_string()).collect();
    let total: usize = clones.n_cells.iter().sum();
    let confidence = |c: usize| {
        let of_cell = clones.of_cell.iter().zip(&clones.confidence);
        let own = of_cell.filter(|(k, _)| **k == Some(c as u32));
        clcc_numerics::stats::mean(&own.map(|(_, p)| *p).collect::<Vec<_>>())
    };
    let rows = (0..n).map(|c| {
        let why = clones.evidence[c]
            .as_ref()
            .filter(|e| !e.1.pieces.is_empty());
        CnvCloneRow {
            clone: names[c].clone(),
            n_cells: clones.n_cells[c] as i64,
            share: clones.n_cells[c] as f64 / total as f64,
            confidence: confidence(c),
            median_counts: clones.median_counts[c],
            nearest: why.map(|e| names[e.0].clone()),
            region: why.map(|e| region_name(&clones.pieces[e.1.pieces.clone()])),
            n_genes: why.map(|e| e.1.n_genes as i64),
            log_ratio: why.map(|e| e.1.log_ratio),
            log_ratio_error: why.map(|e| e.1.error),
        }
    });
    Table::new(rows.collect())
        .note("clones of the malignant cells (obs cnv_clone), told apart by the counts of pieces of chromosome arms: normal mixture, the number by BIC, joined where no piece's median gene differs")
        .note("nearest, region, log_ratio: the clone that it differs from least, and the region that tells the two apart")
        .write(dir)?;
    piece_table(dir, clones, &names)
}

/// Write `cnv_clone_pieces.tsv`.
fn piece_table(dir: &Path, clones: &Clones, names: &[String]) -> StageResult<()> {
    let columns = Family::names(names.iter().map(|name| format!("clone_{name}")));
    let row = |(p, piece): (usize, &super::clones::Piece)| ClonePieceRow {
        piece: p.to_string(),
        chromosome: piece.chromosome.clone(),
        arm: piece.arm.map_or(String::new(), |a| a.letter().to_string()),
        start: piece.span.0,
        end: piece.span.1,
        n_genes: piece.genes.len() as i64,
        log_ratio: Family::new(&columns, clones.log_ratio.column(p).to_vec()),
    };
    Table::new(clones.pieces.iter().enumerate().map(row).collect())
        .keep(columns.iter())
        .note("what tells the clones apart: median over the genes of a piece of the natural log ratio of a clone's expression to that of the patient's other malignant cells, beside the median piece")
        .write(dir)
}

/// `chr7p:1-5000000` of neighbouring pieces.
fn region_name(pieces: &[super::clones::Piece]) -> String {
    match pieces {
        [] => String::new(),
        [first, ..] => format!(
            "{}:{}-{}",
            arm_name(&first.chromosome, first.arm),
            first.span.0,
            pieces.iter().map(|p| p.span.1).max().unwrap_or(0)
        ),
    }
}

fn components(m: &Malignancy) -> Vec<MalignancyRow> {
    let Some(threshold) = m.threshold else {
        return Vec::new();
    };
    let of = |k: usize, name: &str| {
        let of_fit = |value: [f64; 2]| value[k];
        MalignancyRow {
            component: name.into(),
            weight: m.fit.map_or(f64::NAN, |f| of_fit(f.weight)),
            mean: m.fit.map_or(f64::NAN, |f| of_fit(f.mean)),
            sd: m.fit.map_or(f64::NAN, |f| of_fit(f.sd)),
            threshold,
            false_share: m.false_share.unwrap_or(f64::NAN),
        }
    };
    vec![of(0, "normal"), of(1, "malignant")]
}

/// Number of cells in equal bins of the score, observed and expected from each component.
fn histogram(m: &Malignancy) -> Vec<MalignancyBinRow> {
    let (low, top) = m
        .score
        .iter()
        .fold((0.0f64, 0.0f64), |(low, top), &s| (low.min(s), top.max(s)));
    let width = if top > low {
        (top - low) / BINS as f64
    } else {
        1.0
    };
    let candidates = m
        .altered
        .iter()
        .zip(&m.reference)
        .filter(|(a, r)| **a && !**r);
    let candidates = candidates.count() as f64;
    let mut rows: Vec<MalignancyBinRow> = (0..BINS)
        .map(|b| {
            let from = low + b as f64 * width;
            let expected = |k: usize| {
                m.fit.map(|fit| {
                    let below = |v: f64| normal_sf((fit.mean[k] - v) / fit.sd[k]);
                    candidates * fit.weight[k] * (below(from + width) - below(from))
                })
            };
            MalignancyBinRow {
                bin: b.to_string(),
                from,
                to: from + width,
                n_cells: 0,
                n_reference: 0,
                n_candidates: 0,
                expected_normal: expected(0),
                expected_malignant: expected(1),
            }
        })
        .collect();
    for (i, score) in m.score.iter().enumerate() {
        let row = &mut rows[(((score - low) / width) as usize).min(BINS - 1)];
        row.n_cells += 1;
        row.n_reference += i64::from(m.reference[i]);
        row.n_candidates += i64::from(m.altered[i] && !m.reference[i]);
    }
    rows
}

fn segments(found: &Segmented, windows: &Frame) -> StageResult<Vec<CnvSegmentRow>> {
    let (chromosome, start, end) = (
        windows.texts("chromosome")?,
        windows.numbers("start")?,
        windows.numbers("end")?,
    );
    let row = |(i, s): (usize, &super::Segment)| {
        let (n_genes, gene_ratio, gene_ratio_error) = shift(&s.level);
        CnvSegmentRow {
            segment: i.to_string(),
            cluster: s.cluster.to_string(),
            chromosome: chromosome[s.windows.start].clone(),
            start: start[s.windows.start] as i64,
            end: end[s.windows.end - 1] as i64,
            n_windows: s.windows.len() as i64,
            mean: s.level.mean,
            standard_error: s.level.standard_error,
            n_genes,
            gene_ratio,
            gene_ratio_error,
            confidence: s.level.confidence,
            call: s.call.name().to_string(),
        }
    };
    Ok(found.segments.iter().enumerate().map(row).collect())
}

/// Number of genes, log ratio and its error of a level's shift.
fn shift(level: &Level) -> (Option<i64>, Option<f64>, Option<f64>) {
    let s = level.shift;
    (
        s.map(|s| s.n_genes as i64),
        s.map(|s| s.log_ratio),
        s.map(|s| s.standard_error),
    )
}

fn arms(found: &Segmented) -> Vec<CnvArmRow> {
    let row = |a: &super::ArmCall| {
        let arm = arm_name(&a.chromosome, a.arm);
        let (n_genes, gene_ratio, gene_ratio_error) = shift(&a.level);
        CnvArmRow {
            cluster_arm: format!("{}:{arm}", a.cluster),
            cluster: a.cluster.to_string(),
            arm,
            n_windows: a.windows.len() as i64,
            mean: a.level.mean,
            standard_error: a.level.standard_error,
            n_genes,
            gene_ratio,
            gene_ratio_error,
            confidence: a.level.confidence,
            share_gain: a.share_gain,
            share_loss: a.share_loss,
            call: a.call.name().to_string(),
        }
    };
    found.arms.iter().map(row).collect()
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
