//! Fits the dosage model to one matrix with the stages alone: how the expression of each gene follows the copy number
//! of its neighbours over the clones of a tumour. 1 is full dosage, 0 is escape.
//!
//!     cargo run --release --example dosage_slopes       # a simulated patient, whose true slopes are known

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::HashMap;

use clcc_stages::anndata::{AnnData, Uns};
use clcc_stages::cluster::{ClusterParams, cluster_profiles};
use clcc_stages::dosage::clones::CloneId;
use clcc_stages::dosage::slope::Class;
use clcc_stages::dosage::{Analysis, Cells, DosageParams, GeneWindows, Places, analyse, arm_names};
use clcc_stages::frame::Frame;
use clcc_stages::genome::GeneTable;
use clcc_stages::infercnv::{InfercnvParams, annotate};
use clcc_stages::matrix::{Csr, Matrix};
use clcc_stages::preprocess::{PreprocessParams, preprocess};
use clcc_stages::simulate::{PatientPlan, SimulateParams, World, simulate_patient};
use clcc_stages::stage::Quiet;
use clcc_stages::{StageError, StageResult};

fn sparse(matrix: Option<&Matrix>) -> StageResult<&Csr> {
    match matrix {
        Some(Matrix::Csr(x)) => Ok(x),
        _ => Err(StageError::data("expected a sparse matrix")),
    }
}

/// The windows of `infercnv`.
fn windows(cnv: &AnnData) -> StageResult<&Frame> {
    if let Some(Uns::Dict(uns)) = cnv.uns.get("cnv")
        && let Some(Uns::Frame(windows)) = uns.get("windows")
    {
        return Ok(windows);
    }
    Err(StageError::data("expected the windows of `infercnv`"))
}

/// Clones are the clusters of copy-number profiles, tumour and normal cells of one cell type apart.
fn clones(obs: &Frame, x_cnv: &Csr) -> StageResult<Vec<Option<CloneId>>> {
    let found = cluster_profiles(x_cnv, &ClusterParams::default(), 1, &|_, _| Ok(()))?;
    let (side, cell_type) = (obs.texts("cancer_vs_normal")?, obs.texts("cell_type")?);
    let id = |i: usize| CloneId {
        patient: 0,
        cell_type: cell_type[i].clone(),
        cancer: side[i] == "Cancer",
        group: found.partition.membership[i].to_string(),
        unplaced: false,
    };
    Ok((0..obs.len()).map(|i| Some(id(i))).collect())
}

fn model(expr: &AnnData, cnv: &AnnData) -> StageResult<Analysis> {
    let x_cnv = sparse(cnv.obsm.get("X_cnv"))?;
    analyse(
        Cells {
            counts: sparse(expr.layers.get("counts"))?,
            cnv: x_cnv,
            ids: &clones(&expr.obs, x_cnv)?,
            // No calls: clones are malignant by their own counts.
            calls: &vec![None; expr.obs.len()],
        },
        &GeneWindows::new(&expr.var.index, windows(cnv)?, &cnv.var)?,
        Places {
            chromosome: &expr.var.texts("chromosome")?,
            arm: &arm_names(&expr.var)?,
            excluded: &vec![false; expr.var.len()],
        },
        &DosageParams::default(),
        1,
        &|_, _| Ok(()),
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let params = SimulateParams {
        n_cells: 600,
        n_genes: 5000,
        median_counts: 10_000.0,
        malignant_share: 0.9,
        ..SimulateParams::default()
    };
    let world = World::new(&params, 1)?;
    let plan = PatientPlan::standard("P0006", &params);
    let counts = simulate_patient(&world, &plan, &params, 1)?.counts;
    let genes = GeneTable::grch38();
    let expr = preprocess(counts, Some(&genes), &PreprocessParams::default(), &Quiet)?.expr;
    let x = sparse(expr.x.as_ref())?;
    let infercnv = InfercnvParams::default();
    let (cnv, _) = annotate(&expr.obs, &expr.var, x, &infercnv, &Quiet)?;
    let found = model(&expr, &cnv)?;

    let known = world.genes.iter().map(|g| (g.name.as_str(), g.slope));
    let true_slope: HashMap<&str, f64> = known.collect();
    let mut tested: Vec<usize> = (0..expr.var.len())
        .filter(|&g| found.slopes.genes[g].class != Class::Untested)
        .collect();
    tested.sort_by(|&a, &b| {
        found.slopes.genes[a]
            .se
            .total_cmp(&found.slopes.genes[b].se)
    });
    println!(
        "{} clones, {} genes tested; the surest slopes:",
        found.clones.len(),
        tested.len()
    );
    for &g in tested.iter().take(20) {
        let (name, gene) = (&expr.var.index[g], &found.slopes.genes[g]);
        println!(
            "{name:>12} {:6.2} ± {:.2}  true {:5.2}  {}",
            gene.slope,
            gene.se,
            true_slope[name.as_str()],
            gene.class.name()
        );
    }
    Ok(())
}
