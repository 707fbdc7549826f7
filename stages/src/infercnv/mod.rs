//! Copy number of each cell along the genome, from its expression against normal cells.
//!
//! Reads `expr` (log1p-normalised expression with gene positions), writes `cnv`: for each cell the
//! smoothed, centred and denoised log ratio to the reference in windows of genes (`obsm["X_cnv"]`),
//! the windows (`uns["cnv"]`), and the mean size of the cell's signal (`obs["cnv_burden"]`).
//!
//! The method is infercnvpy's ([`window::infer`]). Values are natural-log expression ratios, not
//! copy numbers: 0 is the reference's copy number, and a gain of one copy of two is less than
//! ln(1.5) because smoothing, median centring and dosage compensation shrink it.
//!
//! This stage decides nothing about which cells are malignant, and does not cluster.

mod gene_values;
mod layout;
mod params;
mod reference;
mod smooth;
mod window;

pub use layout::{GenePositions, Layout, Window};
pub use params::{Edges, InfercnvParams, Method, NoiseScope, ShortChromosomes};
pub use reference::{Reference, reference_groups};
pub use smooth::Smoother;
pub use window::{Inferred, infer};

use std::collections::BTreeMap;

use crate::anndata::{AnnData, Reader, Uns};
use crate::error::StageResult;
use crate::frame::{Column, Frame};
use crate::matrix::{Csr, Matrix};
use crate::params::ParamProblem;
use crate::stage::{Metrics, OutputDecl, Progress, Read, Stage, StageContext};

/// The stage kind `infercnv`.
#[derive(Debug)]
pub struct Infercnv;

impl Stage for Infercnv {
    type Params = InfercnvParams;

    const KIND: &'static str = "infercnv";
    const CODE_VERSION: u32 = 1;
    const ABOUT: &'static str =
        "copy number of each cell in windows along the genome, against normal cells";
    const MULTI_THREADED: bool = true;

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.check()
    }

    fn reads(_: &Self::Params) -> Vec<Read> {
        vec![Read::required("expr")]
    }

    fn outputs(_: &Self::Params) -> Vec<OutputDecl> {
        vec![OutputDecl::new(
            "cnv",
            "copy-number signal per cell and window (AnnData, obsm X_cnv)",
        )]
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        let reader = Reader::open(&ctx.one("expr")?.path)?;
        let (obs, var) = (reader.obs()?, reader.var()?);
        let x = reader.x()?.into_csr();
        ctx.check_cancelled()?;
        let (cnv, metrics) = annotate(&obs, &var, &x, params, ctx.progress)?;
        ctx.check_cancelled()?;
        cnv.write_zarr(&ctx.output("cnv"))?;
        Ok(metrics)
    }
}

/// Everything the stage does between reading and writing: the artifact `cnv` and its headline
/// numbers, from `obs`, `var` and log1p expression (`n_cells x n_genes`).
///
/// # Errors
/// Where `var` has no positions, where `reference_key` or a value of `reference_cat` is not in
/// `obs`, and as [`infer`].
pub fn annotate(
    obs: &Frame,
    var: &Frame,
    x: &Csr,
    params: &InfercnvParams,
    progress: &dyn Progress,
) -> StageResult<(AnnData, Metrics)> {
    let positions = GenePositions::from_var(var)?;
    let layout = Layout::new(&positions, params)?;
    let groups = reference_groups(obs, params)?;
    if params.reference_is_all() {
        progress.warn("no reference cells are named: the mean of all cells is the reference, which hides what most cells share");
    }
    let n_reference: usize = groups.iter().map(|g| g.1.len()).sum();
    let reference = Reference::new(x, &groups);
    let inferred = infer(x, &layout, &reference, params, progress)?;

    let burden = burden(&inferred.x_cnv);
    let mut metrics = Metrics::new();
    metrics.insert("n_cells".into(), x.n_rows().into());
    metrics.insert("n_genes".into(), layout.genes.len().into());
    metrics.insert("n_windows".into(), layout.windows.len().into());
    metrics.insert("n_chromosomes".into(), layout.chromosomes.len().into());
    metrics.insert("n_reference_cells".into(), n_reference.into());
    metrics.insert(
        "share_nonzero".into(),
        (inferred.x_cnv.nnz() as f64 / (x.n_rows() * layout.windows.len()).max(1) as f64).into(),
    );
    metrics.insert(
        "noise_thresholds".into(),
        inferred.thresholds.clone().into(),
    );
    let mut is_reference = vec![false; x.n_rows()];
    groups
        .iter()
        .flat_map(|g| &g.1)
        .for_each(|&c| is_reference[c] = true);
    for (name, wanted) in [
        ("mean_burden_reference", true),
        ("mean_burden_other", false),
    ] {
        let values: Vec<f64> = burden
            .iter()
            .zip(&is_reference)
            .filter(|(_, r)| **r == wanted)
            .map(|(b, _)| *b)
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        metrics.insert(
            name.into(),
            if values.is_empty() {
                serde_json::Value::Null
            } else {
                mean.into()
            },
        );
    }

    let mut cnv = AnnData {
        obs: Frame::new(obs.index.clone()),
        ..AnnData::default()
    };
    cnv.obs.set("cnv_burden", Column::F64(burden));
    cnv.var = layout.gene_frame(var, &positions);
    if let Some(values) = inferred.gene_values {
        cnv.layers
            .insert("gene_values_cnv".into(), Matrix::Dense(values));
    }
    let chr_pos = layout
        .chromosomes
        .iter()
        .map(|c| (c.name.clone(), Uns::I64(c.first_window as i64)));
    let uns = BTreeMap::from([
        ("chr_pos".to_string(), Uns::Dict(chr_pos.collect())),
        (
            "windows".to_string(),
            Uns::Frame(layout.window_frame(&positions)),
        ),
    ]);
    cnv.uns.insert("cnv".into(), Uns::Dict(uns));
    cnv.obsm.insert("X_cnv".into(), Matrix::Csr(inferred.x_cnv));
    Ok((cnv, metrics))
}

/// Mean |X_cnv| of each cell, zeros included.
fn burden(x_cnv: &Csr) -> Vec<f64> {
    let n_windows = x_cnv.n_cols().max(1) as f64;
    (0..x_cnv.n_rows())
        .map(|c| {
            x_cnv
                .row(c)
                .1
                .iter()
                .map(|v| f64::from(v.abs()))
                .sum::<f64>()
                / n_windows
        })
        .collect()
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
