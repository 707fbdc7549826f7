//! What method A learns from: both modalities of each cell, and its hard negatives.

use candle_core::Device;

use crate::mine::{Moments, Negatives, Part, Split};
use crate::train::device;
use crate::train::error::TrainError;
use crate::train::network::inputs::Modality;
use crate::train::params::{CnvInput, Precision, TrainParams};
use clcc_data::error::StageResult;
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
        let cnv = CohortCnv::load(ctx)?;
        let n = cohort.n_cells();
        let split = Split::read(&ctx.one(roles::SPLIT)?.path, &cohort.obs.index)?;
        let moments = Moments::read(
            &ctx.one(roles::MOMENTS)?.path,
            cohort.x.n_cols(),
            cnv.x.n_cols(),
        )?;
        let negatives = Negatives::read(&ctx.one(roles::NEGATIVES)?.path, n)?;
        let clusters = if params.needs_clusters() {
            Some(cohort.load_clusters(ctx)?)
        } else {
            None
        };
        let chosen = |names: &[String]| match &moments.genes {
            Some(genes) => genes.iter().map(|&g| names[g as usize].clone()).collect(),
            None => names.to_vec(),
        };
        let (genes, expr) = (
            chosen(&cohort.var.index),
            Moments::chosen(cohort.x, moments.genes.as_deref()),
        );
        let cnv_modality = match (&clusters, params.cnv_input) {
            (Some(clusters), CnvInput::ClusterMean) => {
                Modality::cluster_means(&cnv.x, clusters, &split, &moments.cnv)
            }
            _ => Modality::cells(&cnv.x, &moments.cnv),
        };
        let data = TrainingData {
            expr: Modality::cells(&expr, &moments.expr),
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
            genes,
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
