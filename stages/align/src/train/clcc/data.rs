//! What method A learns from: both modalities of each cell, and its hard negatives.

use candle_core::Device;

use crate::mine::{Moments, Negatives, Part, Split};
use crate::train::device;
use crate::train::error::TrainError;
use crate::train::network::inputs::Modality;
use crate::train::params::{CnvInput, Precision, TrainParams};
use clcc_data::error::StageResult;
use clcc_data::matrix::{Columns, Parts};
use clcc_stage::cohort::{Cohort, CohortCnv};
use clcc_stage::roles;
use clcc_stage::stage::StageContext;

/// Everything that training reads; nothing of it changes.
#[derive(Debug)]
pub(super) struct TrainingData {
    pub(super) expr: Modality,
    pub(super) cnv: Modality,
    pub(super) negatives: Negatives,
    /// Numbers of the training cells.
    pub(super) train: Vec<usize>,
    /// Numbers of the validation cells.
    pub(super) val: Vec<usize>,
    /// Cluster of each cell, where pairs of one cluster are left out of the loss.
    pub(super) masked_clusters: Option<Vec<u32>>,
}

/// The inputs of a run.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) data: TrainingData,
    pub(super) moments: Moments,
    pub(super) split: Split,
    pub(super) cells: Vec<String>,
    pub(super) patients: Vec<String>,
    pub(super) genes: Vec<String>,
    pub(super) windows: Vec<String>,
}

impl Inputs {
    /// Reads `expr`, `cnv`, `split`, `moments`, `negatives`, and `clusters` where a parameter needs it.
    ///
    /// # Errors
    /// Where an artifact cannot be read, or they do not fit together.
    pub(super) fn load(ctx: &StageContext<'_>, params: &TrainParams) -> StageResult<Self> {
        let cohort = Cohort::load(ctx)?;
        let (x, cnv) = (cohort.expression(ctx)?, CohortCnv::load(ctx)?);
        let n = cohort.n_cells();
        let split = Split::read(&ctx.one(roles::SPLIT)?.path, &cohort.obs.index)?;
        let n_genes = cohort.var.len();
        let path = &ctx.one(roles::MOMENTS)?.path;
        let moments = Moments::read(path, n_genes, cnv.windows.len())?;
        let negatives = Negatives::read(&ctx.one(roles::NEGATIVES)?.path, n)?;
        let clusters = if params.needs_clusters() {
            Some(cohort.load_clusters(ctx)?)
        } else {
            None
        };
        let dir = &ctx.out_dir;
        let kept = moments.columns(n_genes);
        let chosen = Columns { x: &x, kept: &kept };
        let expr: &dyn Parts = if moments.genes.is_some() { &chosen } else { &x };
        let cnv_modality = match (&clusters, params.cnv_input) {
            (Some(clusters), CnvInput::ClusterMean) => {
                Modality::cluster_means(&cnv.x, clusters, &split, &moments.cnv, dir)?
            }
            _ => Modality::cells(&cnv.x, &moments.cnv, dir)?,
        };
        let data = TrainingData {
            expr: Modality::cells(expr, &moments.expr, dir)?,
            cnv: cnv_modality,
            negatives,
            train: split.cells(Part::Train),
            val: split.cells(Part::Val),
            masked_clusters: clusters.filter(|_| params.mask_same_cluster),
        };
        Ok(Self {
            data,
            moments,
            split,
            patients: cohort.obs.texts("patient")?,
            genes: kept.iter().map(|&g| cohort.var.index[g].clone()).collect(),
            windows: cnv.windows.index,
            cells: cohort.obs.index,
        })
    }

    /// Copies the whole data set, dense, into the memory of an accelerator; does nothing on the CPU.
    ///
    /// # Errors
    /// [`StageError::Param`] where `precision` needs an accelerator; candle's, where there is no room.
    pub(super) fn place_on(&mut self, device: &Device, precision: Precision) -> StageResult<()> {
        let Some(dtype) = device::resident_dtype(device, precision)? else {
            return Ok(());
        };
        for modality in [&mut self.data.expr, &mut self.data.cnv] {
            modality.place_on(device, dtype).map_err(TrainError::from)?;
        }
        Ok(())
    }
}
