//! Tables of `cluster`.

use std::path::Path;

use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::genome::arm_name;
use clcc_data::table::{number, write_tsv};
use clcc_numerics::stats::normal_sf;
use clcc_stage::tables::Table;

use super::malignancy::Malignancy;
use super::segments::{Level, Segmented};
use super::{CANCER_VS_NORMAL, Clones, Clustered, Judged};

/// Number of bins of the histogram of scores.
const BINS: usize = 50;

clcc_stage::table! {
    /// Copy-number clusters of the cells of a patient.
    pub struct ClusterRow = "cnv_clusters.tsv" {
        /// Number of the cluster; 0 is the largest.
        cluster: String,
        /// Number of cells.
        n_cells: i64,
        /// Share of cells with `cancer_vs_normal` = `Cancer` among those with a value.
        share_cancer: Option<f64>,
        /// Mean of |X_cnv| over all cells and windows, zeros included (infercnvpy).
        cnv_score: f64,
        /// Mean of the cells' `cnv_burden`.
        mean_burden: Option<f64>,
        /// Arms that are called.
        n_arms_called: Option<i64>,
        /// Whether a region is surely altered, so that the cluster can hold malignant cells.
        altered: bool,
        /// Estimated share of false calls: share of the reference cells above the malignancy threshold in this
        /// cluster, over that of other cells.
        false_share: Option<f64>,
        /// Share of cells called malignant.
        share_malignant: Option<f64>,
        /// Interquartile range of the correlations of all pairs of profiles (infercnvpy).
        ithcna: f64,
    }
}

clcc_stage::table! {
    /// Copy-number scores and call of each cell.
    pub struct CellRow = "cnv_cells.tsv" {
        /// Name of the cell.
        cell: String,
        /// Cluster.
        cnv_leiden: String,
        /// Mean |X_cnv|.
        cnv_burden: Option<f64>,
        /// Root mean square of X_cnv.
        #[unit = "natural log"]
        cnv_signal: f64,
        /// Correlation with the mean profile of the other cells of the cluster.
        cnv_correlation: f64,
        /// Share of the altered clusters' profile that the cell has; signal times correlation where no cluster is
        /// altered.
        cnv_malignancy: f64,
        /// `Malignant`, `Normal`, or nothing where no call is made.
        cnv_malignant: String,
    }
}

clcc_stage::table! {
    /// The two components of the malignancy scores.
    pub struct ComponentRow = "cnv_malignancy.tsv" {
        /// `normal` or `malignant`.
        component: String,
        /// Share of the altered clusters' cells; without a reference, of all cells.
        weight: f64,
        /// Mean score.
        mean: f64,
        /// Standard deviation of the score.
        sd: f64,
        /// Score above which a cell of an altered cluster that is no reference is malignant.
        threshold: f64,
        /// Estimated share of false calls; above .5 no call is made.
        false_share: f64,
    }
}

clcc_stage::table! {
    /// Histogram of the malignancy scores.
    pub struct BinRow = "cnv_malignancy_histogram.tsv" {
        /// Number of the bin.
        bin: String,
        /// Least score.
        from: f64,
        /// Largest score.
        to: f64,
        /// Cells.
        n_cells: i64,
        /// Reference cells among them.
        n_reference: i64,
        /// Cells of altered clusters among them that are no reference.
        n_candidates: i64,
        /// Candidates that the normal component expects.
        expected_normal: Option<f64>,
        /// Candidates that the malignant component expects.
        expected_malignant: Option<f64>,
    }
}

clcc_stage::table! {
    /// Level pieces of each cluster's mean profile.
    pub struct SegmentRow = "cnv_segments.tsv" {
        /// Number of the segment.
        segment: String,
        /// Cluster.
        cluster: String,
        /// Chromosome.
        chromosome: String,
        /// First base.
        start: i64,
        /// Last base.
        end: i64,
        /// Number of windows.
        n_windows: i64,
        /// Mean X_cnv.
        #[unit = "natural log"]
        mean: f64,
        /// Standard error of the mean.
        #[unit = "natural log"]
        standard_error: f64,
        /// Genes with enough counts.
        n_genes: Option<i64>,
        /// Log ratio of the typical gene to the reference, by raw counts.
        #[unit = "natural log"]
        gene_ratio: Option<f64>,
        /// Standard error of `gene_ratio`.
        #[unit = "natural log"]
        gene_ratio_error: Option<f64>,
        /// 1 minus the two-sided p of `gene_ratio`, or of `mean` where counts are not read; missing with fewer than
        /// 20 genes.
        confidence: f64,
        /// `gain`, `loss` or `neutral`.
        call: String,
    }
}

clcc_stage::table! {
    /// Chromosome arms of each cluster (chromosomes, where the genome is not known).
    pub struct ArmRow = "cnv_arms.tsv" {
        /// Cluster and arm.
        cluster_arm: String,
        /// Cluster.
        cluster: String,
        /// Arm, such as `chr7p`.
        arm: String,
        /// Number of windows whose middle is on the arm.
        n_windows: i64,
        /// Mean X_cnv.
        #[unit = "natural log"]
        mean: f64,
        /// Standard error of the mean.
        #[unit = "natural log"]
        standard_error: f64,
        /// Genes with enough counts.
        n_genes: Option<i64>,
        /// Log ratio of the typical gene to the reference, by raw counts.
        #[unit = "natural log"]
        gene_ratio: Option<f64>,
        /// Standard error of `gene_ratio`.
        #[unit = "natural log"]
        gene_ratio_error: Option<f64>,
        /// As in `cnv_segments.tsv`.
        confidence: f64,
        /// Share of the windows in gains of `cnv_segments.tsv`.
        share_gain: f64,
        /// Share of the windows in losses.
        share_loss: f64,
        /// `gain`, `loss` or `neutral`.
        call: String,
    }
}

clcc_stage::table! {
    /// Clones of the malignant cells.
    pub struct CloneRow = "cnv_clones.tsv" {
        /// Number of the clone; 1 is the largest.
        clone: String,
        /// Number of cells.
        n_cells: i64,
        /// Share of the malignant cells.
        share: f64,
        /// Mean probability of the clone over its cells.
        confidence: f64,
        /// Median counts of its cells.
        #[unit = "counts"]
        median_counts: f64,
        /// The other clone that it differs from least.
        nearest: Option<String>,
        /// Region that most surely tells it from that one.
        region: Option<String>,
        /// Genes of the region with enough counts.
        n_genes: Option<i64>,
        /// Log ratio of the region's median gene to that clone, beside the median piece of the genome.
        #[unit = "natural log"]
        log_ratio: Option<f64>,
        /// Standard error of `log_ratio`.
        #[unit = "natural log"]
        log_ratio_error: Option<f64>,
    }
}

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
            let note = "mean X_cnv of each cluster in each window: log ratio (natural) to the reference after denoising";
            let path = dir.join("cnv_cluster_profiles.tsv");
            write_tsv(&path, "window", &self.profiles(windows), &[note])?;
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

    fn clusters(&self) -> Vec<ClusterRow> {
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
            .map(|c| ClusterRow {
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

    fn cells(&self) -> Vec<CellRow> {
        let burden = self.obs.numbers("cnv_burden").ok();
        let m = &self.judged.malignancy;
        let calls = m.calls();
        let call = |i: usize| match calls.as_ref().map(|c| c[i]) {
            None => "",
            Some(true) => "Malignant",
            Some(false) => "Normal",
        };
        (0..self.obs.len())
            .map(|i| CellRow {
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

    fn profiles(&self, windows: &Frame) -> Frame {
        let mut table = Frame::new(windows.index.clone());
        for name in ["chromosome", "start", "end"] {
            if let Some(column) = windows.columns.get(name) {
                table.set(name, column.clone());
            }
        }
        for (c, profile) in self.found.profiles.mean.rows().into_iter().enumerate() {
            table.set(&format!("cluster_{c}"), Column::F64(profile.to_vec()));
        }
        table
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
        CloneRow {
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

fn components(m: &Malignancy) -> Vec<ComponentRow> {
    let Some(threshold) = m.threshold else {
        return Vec::new();
    };
    let of = |k: usize, name: &str| {
        let of_fit = |value: [f64; 2]| value[k];
        ComponentRow {
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
fn histogram(m: &Malignancy) -> Vec<BinRow> {
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
    let mut rows: Vec<BinRow> = (0..BINS)
        .map(|b| {
            let from = low + b as f64 * width;
            let expected = |k: usize| {
                m.fit.map(|fit| {
                    let below = |v: f64| normal_sf((fit.mean[k] - v) / fit.sd[k]);
                    candidates * fit.weight[k] * (below(from + width) - below(from))
                })
            };
            BinRow {
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

fn segments(found: &Segmented, windows: &Frame) -> StageResult<Vec<SegmentRow>> {
    let (chromosome, start, end) = (
        windows.texts("chromosome")?,
        windows.numbers("start")?,
        windows.numbers("end")?,
    );
    let row = |(i, s): (usize, &super::Segment)| {
        let (n_genes, gene_ratio, gene_ratio_error) = shift(&s.level);
        SegmentRow {
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

fn arms(found: &Segmented) -> Vec<ArmRow> {
    let row = |a: &super::ArmCall| {
        let arm = arm_name(&a.chromosome, a.arm);
        let (n_genes, gene_ratio, gene_ratio_error) = shift(&a.level);
        ArmRow {
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
