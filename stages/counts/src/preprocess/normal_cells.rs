//! Cells that are most likely normal, of a patient whose cells have no labels.
//!
//! A genome that is gained here and lost there makes expression vary along the genome more than it does in any
//! normal cell type. So cells are clustered by their expression, and the clusters whose mean expression, smoothed
//! along the genome, varies least are taken as normal: copyKAT's rule for its confident diploid cells (Gao et al.
//! 2021, `baseline.norm.cl`).
//!
//! Deviations from copyKAT: clusters are those of Leiden on principal components of the expression, not six of a
//! tree; the variance is the covariance between two halves of a cluster's cells, so that small clusters gain nothing
//! by their noise (copyKAT fits three normal distributions to a cluster's profile); and every cluster on the lower
//! side of the best cut through the logarithms of these variances is taken, not the lowest alone, since one cell type
//! is a poor reference for the others.
//!
//! What it cannot do: of a patient without normal cells it takes the least altered tumour cells, and says so only
//! where those express epithelial genes. Cells of clusters with fewer than 20 cells are not judged.

use std::collections::HashMap;

use super::checks::QcCheck;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_data::genome::symbols;
use clcc_data::matrix::Csr;
use clcc_numerics::graph::{
    LeidenOptions, Objective, connectivities, leiden, nearest_neighbors, neighborhood_size,
};
use clcc_numerics::linalg::{PcaOptions, pca};
use clcc_numerics::math;
use clcc_numerics::stats::highly_variable;
use clcc_stage::rows::NormalClusterRow;
use clcc_stage::tables::Table;
use rayon::prelude::*;

/// Genes in a smaller share of the cells have no say, as in copyKAT (`LOW.DR`).
const MIN_SHARE_OF_CELLS: f64 = 0.05;
/// Genes of a window, and between the starts of two.
const WINDOW: usize = 100;
const STEP: usize = 25;
/// Fewer genes of a chromosome are not looked at.
const MIN_GENES: usize = 20;
/// Clusters of fewer cells are not judged: no reference can be made of them.
const MIN_CELLS: usize = 20;
/// Genes that clusters are found by, and their components.
const TOP_GENES: usize = 2_000;
const COMPONENTS: usize = 20;
const NEIGHBORS: usize = 15;

/// Genes that tell the kinds of tissue apart; a cell is of the kind whose genes it expresses most.
const KINDS: [(&str, &[&str]); 4] = [
    (
        "immune",
        &[
            "PTPRC", "CD2", "CD3D", "CD3E", "CD79A", "MS4A1", "NKG7", "LYZ", "CD68", "CSF1R",
        ],
    ),
    ("stromal", &["COL1A1", "COL1A2", "COL3A1", "DCN", "LUM"]),
    ("endothelial", &["PECAM1", "VWF", "CLDN5", "CDH5"]),
    (
        "epithelial",
        &["EPCAM", "KRT7", "KRT8", "KRT18", "KRT19", "CDH1"],
    ),
];

/// What was found.
#[derive(Debug, Clone)]
pub struct NormalCells {
    /// One flag per cell.
    pub normal: Vec<bool>,
    /// The clusters, the least altered first.
    pub clusters: Vec<NormalClusterRow>,
}

impl NormalCells {
    /// The column `cancer_vs_normal`: found normal cells are Normal, all others Cancer, as all cells of a tumour
    /// sample are where samples decide.
    pub(super) fn annotate(&self, obs: &mut Frame) {
        let codes = self.normal.iter().map(|&normal| i32::from(normal));
        obs.set(
            "cancer_vs_normal",
            Column::Category(Categorical {
                codes: codes.collect(),
                categories: vec!["Cancer".to_string(), "Normal".to_string()],
                ordered: false,
            }),
        );
    }

    /// Whether what was taken can be trusted.
    pub(super) fn check(&self) -> QcCheck {
        let found = self.n_normal() as f64;
        QcCheck::new("normal_cells_found", false, found, self.warning())
    }

    fn n_normal(&self) -> usize {
        self.normal.iter().filter(|n| **n).count()
    }

    /// What the metrics say of it.
    pub(super) fn metric(&self) -> (String, serde_json::Value) {
        ("normal_clusters_contrast".into(), self.contrast().into())
    }

    fn taken(&self) -> impl Iterator<Item = &NormalClusterRow> {
        self.clusters.iter().filter(|c| c.normal)
    }

    /// How much more the others vary than those that were taken: the ratio of their geometric means. NaN where none
    /// is left.
    pub(super) fn contrast(&self) -> f64 {
        let mean = |normal: bool| {
            let own = self.clusters.iter().filter(|c| c.normal == normal);
            let logs: Vec<f64> = own.map(|c| math::ln(c.variance)).collect();
            logs.iter().sum::<f64>() / logs.len() as f64
        };
        math::exp(mean(false) - mean(true))
    }

    /// What the user should know, in one sentence.
    pub(super) fn warning(&self) -> String {
        let kinds: Vec<String> = self
            .taken()
            .map(|c| format!("{} {}", c.n_cells, c.kind))
            .collect();
        let looks = match self.taken().find(|c| c.kind == "epithelial") {
            Some(_) => {
                "; some of them express epithelial genes most and may be tumour cells: give labels if there are any"
            }
            None => "",
        };
        format!(
            "no labels: {} of {} cells are taken as normal, the {} of {} clusters whose expression varies least along the genome ({} cells){looks}; \
             the other clusters vary {:.1} times as much (normal_clusters)",
            self.n_normal(),
            self.normal.len(),
            self.taken().count(),
            self.clusters.len(),
            kinds.join(", "),
            self.contrast(),
        )
    }

    pub(super) fn table(&self) -> Table<NormalClusterRow> {
        Table::new(self.clusters.clone())
            .note("clusters of cells by expression, the least altered first; normal: taken as the reference, since no labels were given")
            .note("variance: of the cluster's mean log1p expression in windows of 100 genes along the autosomes (covariance of two halves of its cells)")
            .note("kind: the tissue whose genes most of its cells express most, share: how many of them do")
    }
}

/// Finds normal cells by their log1p expression `x` (`n_cells x n_genes`); `var` has the genes in genome order with
/// their `chromosome`. The same for the same seed at any number of threads.
///
/// # Errors
/// [`StageError::Data`] where fewer than two clusters of 20 cells are found, or too few genes are expressed.
pub fn find_normal_cells(x: &Csr, var: &Frame, seed: u64) -> StageResult<NormalCells> {
    let too_little = |what: String| {
        StageError::data_hint(
            format!("normal cells cannot be found without labels: {what}"),
            "name cancer or normal cells with `cancer_vs_normal`, for example `{column: cell_type, cancer: [Tumour]}`",
        )
    };
    let windows = windows(x, var)?;
    if windows.len() < 2 {
        return Err(too_little(format!(
            "expected chromosomes with {MIN_GENES} genes that {:.0} % of the cells express, found {}",
            100.0 * MIN_SHARE_OF_CELLS,
            windows.len()
        )));
    }
    if x.n_rows() < 2 * MIN_CELLS {
        return Err(too_little(format!(
            "expected at least {} cells, found {}",
            2 * MIN_CELLS,
            x.n_rows()
        )));
    }
    let smooth = smoothed(x, &windows);
    let membership = clusters(x, seed)?;
    let kinds = Kinds::of(x, var);
    let mut rows = cluster_rows(&smooth, &membership, &kinds);
    if rows.len() < 2 {
        return Err(too_little(format!(
            "expected at least two clusters of {MIN_CELLS} cells, found {}",
            rows.len()
        )));
    }
    rows.sort_by(|a, b| {
        a.variance
            .total_cmp(&b.variance)
            .then(a.cluster.cmp(&b.cluster))
    });
    let logs: Vec<f64> = rows.iter().map(|r| math::ln(r.variance)).collect();
    let n_normal = best_cut(&logs);
    rows.iter_mut()
        .take(n_normal)
        .for_each(|row| row.normal = true);
    let taken: Vec<i64> = rows
        .iter()
        .filter(|r| r.normal)
        .map(|r| r.cluster)
        .collect();
    let normal = membership.iter().map(|&m| taken.contains(&i64::from(m)));
    Ok(NormalCells {
        normal: normal.collect(),
        clusters: rows,
    })
}

/// A row for each cluster that is large enough to be judged.
fn cluster_rows(smooth: &[Vec<f64>], membership: &[u32], kinds: &Kinds) -> Vec<NormalClusterRow> {
    let n_clusters = membership.iter().max().map_or(0, |&m| m as usize + 1);
    (0..n_clusters)
        .map(|cluster| {
            let of_cluster = |c: &usize| membership[*c] as usize == cluster;
            let cells: Vec<usize> = (0..membership.len()).filter(of_cluster).collect();
            (cluster, cells)
        })
        .filter(|(_, cells)| cells.len() >= MIN_CELLS)
        .map(|(cluster, cells)| {
            let (kind, share) = kinds.most(&cells);
            NormalClusterRow {
                cluster: cluster as i64,
                n_cells: cells.len() as i64,
                variance: halves_covariance(smooth, &cells),
                normal: false,
                kind: kind.to_string(),
                share,
            }
        })
        .collect()
}

/// Windows of expressed genes of the autosomes, as columns of `x`.
fn windows(x: &Csr, var: &Frame) -> StageResult<Vec<Vec<usize>>> {
    let chromosomes = var.texts("chromosome")?;
    let mut n_cells = vec![0usize; x.n_cols()];
    for (&gene, &value) in x.indices().iter().zip(x.data()) {
        n_cells[gene as usize] += usize::from(value > 0.0);
    }
    let least = MIN_SHARE_OF_CELLS * x.n_rows() as f64;
    let names = symbols(var);
    // HLA genes follow the cell type.
    let counts = |g: &usize| n_cells[*g] as f64 >= least && !names[*g].starts_with("HLA-");
    let is_autosome = |name: &str| {
        let number = name.strip_prefix("chr").unwrap_or(name);
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    };
    let mut out = Vec::new();
    let mut start = 0;
    while start < chromosomes.len() {
        let of = &chromosomes[start];
        let end = (start..chromosomes.len())
            .find(|&g| chromosomes[g] != *of)
            .unwrap_or(chromosomes.len());
        if is_autosome(of) {
            let genes: Vec<usize> = (start..end).filter(counts).collect();
            if genes.len() >= MIN_GENES {
                let size = WINDOW.min(genes.len());
                let starts = (0..=genes.len() - size).step_by(STEP);
                out.extend(starts.map(|s| genes[s..s + size].to_vec()));
            }
        }
        start = end;
    }
    Ok(out)
}

/// Mean expression of each cell in each window, less the median over the cell's windows.
fn smoothed(x: &Csr, windows: &[Vec<usize>]) -> Vec<Vec<f64>> {
    (0..x.n_rows())
        .into_par_iter()
        .map_init(
            || vec![0f64; x.n_cols()],
            |dense, cell| {
                let (genes, values) = x.row(cell);
                for (&g, &v) in genes.iter().zip(values) {
                    dense[g as usize] = f64::from(v);
                }
                let mean =
                    |w: &Vec<usize>| w.iter().map(|&g| dense[g]).sum::<f64>() / w.len() as f64;
                let mut means: Vec<f64> = windows.iter().map(mean).collect();
                let middle = super::qc::median(&means);
                means.iter_mut().for_each(|m| *m -= middle);
                for &g in genes {
                    dense[g as usize] = 0.0;
                }
                means
            },
        )
        .collect()
}

/// Clusters of cells by expression.
fn clusters(x: &Csr, seed: u64) -> StageResult<Vec<u32>> {
    let rows: Vec<usize> = (0..x.n_rows()).collect();
    let genes = highly_variable(x, &rows, TOP_GENES);
    let genes: Vec<usize> = genes.into_iter().map(|g| g as usize).collect();
    let options = PcaOptions {
        n_comps: COMPONENTS,
        zero_center: true,
        exact_up_to: 512,
        seed,
    };
    let scores = pca(&x.take_cols(&genes), &options)?.scores;
    let k = neighborhood_size(x.n_rows(), NEIGHBORS);
    let graph = connectivities(&nearest_neighbors(&scores, k));
    let options = LeidenOptions {
        resolution: 1.0,
        n_iterations: Some(2),
        theta: 0.01,
        seed,
        objective: Objective::default(),
    };
    Ok(leiden(&graph, &options).membership)
}

/// Covariance along the genome of the means of every other cell and of the rest; above 0.
fn halves_covariance(smooth: &[Vec<f64>], cells: &[usize]) -> f64 {
    let n_windows = smooth[0].len();
    let mean = |offset: usize| {
        let half: Vec<usize> = cells.iter().copied().skip(offset).step_by(2).collect();
        let mut sum = vec![0f64; n_windows];
        for &cell in &half {
            sum.iter_mut().zip(&smooth[cell]).for_each(|(s, v)| *s += v);
        }
        let n = half.len() as f64;
        sum.iter_mut().for_each(|s| *s /= n);
        let centre = sum.iter().sum::<f64>() / n_windows as f64;
        sum.iter_mut().for_each(|s| *s -= centre);
        sum
    };
    let (a, b) = (mean(0), mean(1));
    let products = a.iter().zip(&b).map(|(x, y)| x * y).sum::<f64>();
    (products / (n_windows - 1) as f64).max(1e-12)
}

/// How many of the rising `values` are on the lower side of the cut that leaves the most variance between its sides
/// (Otsu 1979); at least one, and one less than all.
fn best_cut(values: &[f64]) -> usize {
    let n = values.len() as f64;
    let total: f64 = values.iter().sum();
    let mut below = 0.0;
    let mut best = (1, f64::NEG_INFINITY);
    for (i, value) in values.iter().enumerate().take(values.len() - 1) {
        below += value;
        let k = (i + 1) as f64;
        let apart = below / k - (total - below) / (n - k);
        let between = k / n * (1.0 - k / n) * apart * apart;
        if between > best.1 {
            best = (i + 1, between);
        }
    }
    best.0
}

/// Which kind of tissue each cell is.
struct Kinds {
    of_cell: Vec<Option<usize>>,
}

impl Kinds {
    fn of(x: &Csr, var: &Frame) -> Self {
        let kind_of: HashMap<&str, usize> = (KINDS.iter().enumerate())
            .flat_map(|(kind, (_, genes))| genes.iter().map(move |gene| (*gene, kind)))
            .collect();
        let names = symbols(var);
        let kind_of_gene: Vec<Option<usize>> = (names.iter())
            .map(|name| kind_of.get(name.to_uppercase().as_str()).copied())
            .collect();
        let mut n_genes = [0f64; KINDS.len()];
        kind_of_gene
            .iter()
            .flatten()
            .for_each(|&kind| n_genes[kind] += 1.0);
        let of_cell = (0..x.n_rows()).map(|cell| {
            let mut sums = [0f64; KINDS.len()];
            let (genes, values) = x.row(cell);
            for (&g, &v) in genes.iter().zip(values) {
                if let Some(kind) = kind_of_gene[g as usize] {
                    sums[kind] += f64::from(v) / n_genes[kind];
                }
            }
            let best =
                (0..KINDS.len()).max_by(|&a, &b| sums[a].total_cmp(&sums[b]).then(b.cmp(&a)));
            best.filter(|&kind| sums[kind] > 0.0)
        });
        Self {
            of_cell: of_cell.collect(),
        }
    }

    /// The kind of most of the cells, and the share that is of it.
    fn most(&self, cells: &[usize]) -> (&'static str, f64) {
        let mut n = [0usize; KINDS.len()];
        cells
            .iter()
            .filter_map(|&c| self.of_cell[c])
            .for_each(|kind| n[kind] += 1);
        let best = (0..KINDS.len()).max_by(|&a, &b| n[a].cmp(&n[b]).then(b.cmp(&a)));
        match best.filter(|&kind| n[kind] > 0) {
            Some(kind) => (KINDS[kind].0, n[kind] as f64 / cells.len() as f64),
            None => ("unknown", 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_numerics::rng::Rng;

    #[test]
    fn the_cut_is_where_the_two_sides_differ_most() {
        assert_eq!(best_cut(&[0.0, 0.1, 0.2, 2.0]), 3);
        assert_eq!(best_cut(&[0.0, 1.9, 2.0, 2.1]), 1);
        assert_eq!(best_cut(&[1.0, 1.0]), 1);
    }

    /// Two types of 60 normal cells and one of 60 tumour cells: 40 genes on each of 10 chromosomes, one count each on
    /// average, types apart in genes of their own, the tumour with three copies of chr1 to chr3 and one of chr4.
    fn data(altered: bool) -> (Csr, Frame) {
        let (n_cells, n_genes) = (180, 400);
        let rows = (0..n_cells).map(|cell| {
            let kind = cell / 60;
            let mut rng = Rng::new(3, "normal cells", &[cell as u64]);
            let row = (0..n_genes).map(|g| {
                let copies = match (kind == 2 && altered, g / 40) {
                    (true, 0..=2) => 1.6,
                    (true, 3) => 0.4,
                    _ => 1.0,
                };
                let own = if g % 20 == kind { 8.0 } else { 1.0 };
                let noise = 0.5 + rng.uniform();
                (g as u32, (copies * own * noise) as f32)
            });
            row.collect::<Vec<_>>()
        });
        let x = Csr::from_rows(n_genes, rows);
        let mut var = Frame::new((0..n_genes).map(|g| format!("G{g}")).collect());
        let chromosomes: Vec<String> = (0..n_genes).map(|g| format!("chr{}", 1 + g / 40)).collect();
        var.set_category("chromosome", &chromosomes);
        (x, var)
    }

    #[test]
    fn cells_with_altered_chromosomes_are_not_taken() {
        let (x, var) = data(true);
        let found = find_normal_cells(&x, &var, 0).unwrap();
        // A few cells of a type may stand in a cluster too small to be judged.
        let taken = found.normal[..120].iter().filter(|n| **n).count();
        assert!(taken >= 100, "{:?}", found.clusters);
        assert!(
            found.normal[120..].iter().all(|n| !n),
            "{:?}",
            found.clusters
        );
        assert!(found.contrast() > 3.0, "{}", found.contrast());
        assert_eq!(found.clusters[0].kind, "unknown");
        let said = found.warning();
        let expected = format!("{taken} of 180 cells are taken as normal");
        assert!(said.contains(&expected), "{said}");
    }

    #[test]
    fn kinds_are_told_by_their_genes() {
        let (x, mut var) = data(true);
        // Of each type two of the genes that it expresses most.
        for (kind, genes) in [["PTPRC", "CD3D"], ["COL1A1", "DCN"], ["EPCAM", "KRT8"]]
            .into_iter()
            .enumerate()
        {
            for (i, gene) in genes.into_iter().enumerate() {
                var.index[kind + 20 * i] = gene.into();
            }
        }
        let kinds = Kinds::of(&x, &var);
        let kind_of = |cell: usize| kinds.most(&[cell]).0;
        assert_eq!(
            [0, 60, 150].map(kind_of),
            ["immune", "stromal", "epithelial"]
        );
        let found = find_normal_cells(&x, &var, 0).unwrap();
        let tumour = found.clusters.iter().filter(|c| c.kind == "epithelial");
        assert!(tumour.clone().count() > 0 && tumour.clone().all(|c| !c.normal));
        let said = found.warning();
        assert!(!said.contains("epithelial genes"), "{said}");
    }

    #[test]
    fn too_little_is_said() {
        let (x, var) = data(false);
        let few: Vec<usize> = (0..30).collect();
        let error = find_normal_cells(&x.take_rows(&few), &var, 0).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("expected at least 40 cells, found 30"),
            "{error}"
        );
        let one: Vec<usize> = (0..50).collect();
        let error = find_normal_cells(&x.take_rows(&one), &var, 0).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("expected at least two clusters of 20 cells, found"),
            "{error}"
        );
        let mut elsewhere = var.clone();
        elsewhere.set_category("chromosome", &vec!["chrX"; var.len()]);
        let error = find_normal_cells(&x, &elsewhere, 0).unwrap_err();
        assert!(error.to_string().contains("found 0"), "{error}");
        assert!(error.hint().unwrap().contains("cancer_vs_normal"));
    }
}
