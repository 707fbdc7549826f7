//! Computes the copy numbers of the cells of one matrix with the stages alone, without a workflow:
//!
//!     cargo run --example copy_numbers                  # a small simulated patient
//!     cargo run --example copy_numbers -- cells.h5ad    # raw counts in X, `sample_origin` in obs
//!
//! A stage is a function over typed data here: nothing is read or written but the matrix that is handed in.

#![allow(clippy::print_stdout, reason = "an example prints")]

use clcc_stages::anndata::{AnnData, Reader, Uns};
use clcc_stages::genome::GeneTable;
use clcc_stages::infercnv::{InfercnvParams, annotate};
use clcc_stages::matrix::{Csr, Matrix};
use clcc_stages::preprocess::{PreprocessParams, preprocess};
use clcc_stages::simulate::{PatientPlan, SimulateParams, World, simulate_patient};
use clcc_stages::stage::Quiet;
use clcc_stages::{StageError, StageResult};

/// Counts of a tumour and a normal sample.
fn simulated() -> StageResult<AnnData> {
    let params = SimulateParams {
        n_cells: 200,
        n_genes: 5000,
        ..SimulateParams::default()
    };
    let world = World::new(&params, 1)?;
    let plan = PatientPlan::standard("P0006", &params);
    Ok(simulate_patient(&world, &plan, &params, 1)?.counts)
}

fn sparse(matrix: Option<Matrix>) -> StageResult<Csr> {
    match matrix {
        Some(Matrix::Csr(x)) => Ok(x),
        _ => Err(StageError::data("expected a sparse matrix")),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let counts = match std::env::args_os().nth(1) {
        Some(path) => Reader::open(path.as_ref())?.read()?,
        None => simulated()?,
    };
    // Genes in genome order, log1p expression, and which cells are of the tumour (`cancer_vs_normal`).
    let params = PreprocessParams::default();
    let genes = GeneTable::grch38();
    let mut expr = preprocess(counts, Some(&genes), &params, &Quiet)?.expr;
    let x = sparse(expr.x.take())?;
    // Log ratios to the normal cells in windows of 100 genes.
    let (mut cnv, _) = annotate(&expr.obs, &expr.var, &x, &InfercnvParams::default(), &Quiet)?;
    let x_cnv = sparse(cnv.obsm.remove("X_cnv"))?;
    let Some(Uns::Dict(uns)) = cnv.uns.get("cnv") else {
        return Err("`infercnv` describes its windows".into());
    };
    let Some(Uns::Frame(windows)) = uns.get("windows") else {
        return Err("`infercnv` lists its windows".into());
    };

    let side = expr.obs.texts("cancer_vs_normal")?;
    let cancer: Vec<usize> = (0..side.len()).filter(|&i| side[i] == "Cancer").collect();
    let sums = x_cnv.sum_rows(cancer.iter().copied());
    println!("mean log ratio of {} cells of the tumour", cancer.len());
    let chromosome = windows.texts("chromosome")?;
    let mut first = 0;
    for on_it in chromosome.chunk_by(|a, b| a == b) {
        let last = first + on_it.len();
        let mean = sums[first..last].iter().sum::<f64>() / (on_it.len() * cancer.len()) as f64;
        println!("{:>6} {mean:8.4}  {} windows", on_it[0], on_it.len());
        first = last;
    }
    Ok(())
}
