//! Cis effects: correlation of a region's expression with its own copy number, compared with the copy
//! number of other regions (trans control).

use crate::dosage::windows::gene_arms;
use clcc_data::error::StageResult;
use clcc_data::frame::Frame;
use clcc_data::genome::arm_name;
use clcc_data::matrix::Csr;
use clcc_numerics::stats::{Correlation, average_ranks, benjamini_hochberg, mean, pearson};

/// A chromosome or an arm with its genes and windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Name, such as `chr7` or `chr7p`.
    pub name: String,
    /// Level: `chromosome` or `arm`.
    pub level: &'static str,
    /// Chromosome, such as `chr7`.
    pub chromosome: String,
    /// Genes, as columns of `expr`.
    pub genes: Vec<usize>,
    /// Windows, as columns of `X_cnv`.
    pub windows: Vec<usize>,
}

/// List the chromosomes and arms that have both genes and windows, in the order of the windows. A
/// window belongs to the arm of the middle of its bases; chromosomes without known arms appear as
/// chromosomes only.
///
/// # Errors
/// [`clcc_data::error::StageError::Data`] where a column of positions is missing.
pub fn regions(var: &Frame, windows: &Frame) -> StageResult<Vec<Region>> {
    let (gene_arm, window_arm) = (gene_arms(var), gene_arms(windows));
    let (genes, windows) = (var.texts("chromosome")?, windows.texts("chromosome")?);
    let mut order: Vec<&String> = Vec::new();
    for name in &windows {
        if order.last() != Some(&name) {
            order.push(name);
        }
    }
    let mut out = Vec::new();
    for chromosome in order {
        let mut arms: Vec<_> = (0..windows.len())
            .filter(|&w| windows[w] == *chromosome)
            .filter_map(|w| window_arm[w])
            .collect();
        arms.sort_unstable();
        arms.dedup();
        let parts = std::iter::once(None).chain(arms.into_iter().map(Some));
        for arm in parts {
            let pick = |names: &[String], of: &[Option<clcc_data::genome::Arm>]| -> Vec<usize> {
                (0..names.len())
                    .filter(|&i| names[i] == *chromosome && (arm.is_none() || of[i] == arm))
                    .collect()
            };
            let region = Region {
                name: arm_name(chromosome, arm),
                level: if arm.is_some() { "arm" } else { "chromosome" },
                chromosome: chromosome.clone(),
                genes: pick(&genes, &gene_arm),
                windows: pick(&windows, &window_arm),
            };
            if !region.genes.is_empty() {
                out.push(region);
            }
        }
    }
    Ok(out)
}

/// Mean of `x`, `columns x cells`, over each region's columns: `[region][cell]`.
pub fn region_means(x: &Csr, columns: &[&[usize]]) -> Vec<Vec<f64>> {
    let mut regions_of: Vec<Vec<u32>> = vec![Vec::new(); x.n_rows()];
    for (r, columns) in columns.iter().enumerate() {
        for &c in *columns {
            regions_of[c].push(r as u32);
        }
    }
    let mut out = vec![vec![0.0; x.n_cols()]; columns.len()];
    for (c, regions) in regions_of.iter().enumerate() {
        let (cells, values) = x.row(c);
        for &r in regions {
            for (&cell, &v) in cells.iter().zip(values) {
                out[r as usize][cell as usize] += f64::from(v);
            }
        }
    }
    for (means, columns) in out.iter_mut().zip(columns) {
        means.iter_mut().for_each(|m| *m /= columns.len() as f64);
    }
    out
}

/// Cis effect of one region in one set of cells.
#[derive(Debug, Clone, PartialEq)]
pub struct CisEffect {
    /// Index of the region.
    pub region: usize,
    /// Spearman correlation of expression with the region's own copy number.
    pub cis: Correlation,
    /// Benjamini-Hochberg adjusted p-value of `cis`, over the regions of the same level.
    pub p_adjusted: f64,
    /// Mean copy number (`X_cnv`) of the region over the cells.
    pub mean_cnv: f64,
    /// Trans control: mean Spearman correlation of the same expression with the copy number of each
    /// region of the same level on other chromosomes; NaN where there is none.
    pub trans_mean: f64,
    /// The largest of those trans correlations in absolute value.
    pub trans_max: f64,
}

/// Compute the cis effects of all regions from region means (`[region][cell]`), which their ranks replace.
pub fn cis_effects(
    regions: &[Region],
    mut expression: Vec<Vec<f64>>,
    mut cnv: Vec<Vec<f64>>,
) -> Vec<CisEffect> {
    let mean_cnv: Vec<f64> = cnv.iter().map(|x| mean(x)).collect();
    for x in expression.iter_mut().chain(&mut cnv) {
        *x = average_ranks(x);
    }
    let (e, c) = (expression, cnv);
    let mut out: Vec<CisEffect> = (0..regions.len())
        .map(|r| {
            let trans: Vec<f64> = (0..regions.len())
                .filter(|&o| {
                    regions[o].level == regions[r].level
                        && regions[o].chromosome != regions[r].chromosome
                })
                .map(|o| pearson(&e[r], &c[o]).r)
                .filter(|rho| rho.is_finite())
                .collect();
            CisEffect {
                region: r,
                cis: pearson(&e[r], &c[r]),
                p_adjusted: f64::NAN,
                mean_cnv: mean_cnv[r],
                trans_mean: mean(&trans),
                trans_max: trans.iter().copied().fold(f64::NAN, |m, v| {
                    if m.is_nan() || v.abs() > m.abs() {
                        v
                    } else {
                        m
                    }
                }),
            }
        })
        .collect();
    for level in ["chromosome", "arm"] {
        // A region without variation cannot be tested.
        let tested: Vec<usize> = (0..out.len())
            .filter(|&i| regions[i].level == level && out[i].cis.r.is_finite())
            .collect();
        let adjusted =
            benjamini_hochberg(&tested.iter().map(|&i| out[i].cis.p.p).collect::<Vec<_>>());
        for (&i, q) in tested.iter().zip(adjusted) {
            out[i].p_adjusted = q;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dosage::windows::tests::windows;
    use clcc_data::frame::Column;
    use clcc_numerics::rng::Rng;
    use clcc_testing::genes;

    #[test]
    fn regions_split_at_the_centromere() {
        // chr4, centromere at 50 Mb, one gene each Mb; windows of 20 every 20.
        let sizes = [("chr4", 100), ("chrUn", 20)];
        let g = genes(&sizes);
        let mut w = windows(&sizes, 20, 20);
        let first = w.numbers("first_gene").unwrap();
        let start: Vec<i64> = first
            .iter()
            .map(|&f| (f as i64 % 100) * 1_000_000)
            .collect();
        w.set("start", Column::I64(start.clone()));
        w.set(
            "end",
            Column::I64(start.iter().map(|s| s + 19_000_000).collect()),
        );
        clcc_data::genome::annotate_arms(&mut w, Some(clcc_data::genome::Assembly::GRCh38))
            .unwrap();
        let found = regions(&g, &w).unwrap();
        let names: Vec<&str> = found.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["chr4", "chr4p", "chr4q", "chrUn"]);
        // Windows [0,19] .. [80,99]: middles 9.5, 29.5, 49.5, 69.5, 89.5 Mb.
        assert_eq!(found[1].windows, [0, 1, 2]);
        assert_eq!((found[1].genes.len(), found[2].genes.len()), (50, 50));
    }

    #[test]
    fn expression_that_follows_its_own_copy_number_is_cis_not_trans() {
        let region = |name: &str| Region {
            name: name.into(),
            level: "chromosome",
            chromosome: name.into(),
            genes: vec![0],
            windows: vec![0],
        };
        let regions = [region("a"), region("b"), region("c")];
        let mut rng = Rng::new(5, "cis", &[]);
        let cnv: Vec<Vec<f64>> = (0..3)
            .map(|_| (0..200).map(|_| rng.normal()).collect())
            .collect();
        let expression: Vec<Vec<f64>> = (0..3)
            .map(|r| {
                (0..200)
                    .map(|i| {
                        if r == 2 {
                            1.0
                        } else {
                            cnv[r][i] + 0.5 * rng.normal()
                        }
                    })
                    .collect()
            })
            .collect();
        let found = cis_effects(&regions, expression, cnv);
        assert!(found[0].cis.r > 0.8 && found[0].p_adjusted < 1e-20);
        assert!(found[0].trans_mean.abs() < 0.2 && found[0].trans_max.abs() < 0.25);
        assert!(found[2].cis.r.is_nan() && found[2].p_adjusted.is_nan());
    }

    #[test]
    fn region_means_count_the_zeros() {
        let x = Csr::from_dense(&ndarray::array![[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]]);
        assert_eq!(
            region_means(&x.transpose(), &[&[0, 1], &[2]]),
            [[0.5, 0.0], [2.0, 0.0]]
        );
    }
}
