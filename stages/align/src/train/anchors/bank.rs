//! The anchors' side: a frozen random map of copy-number states.
//!
//! The paper trains the expression encoder alone, so its copy-number encoder stays as it was drawn:
//! the bank of anchors is a random, fixed image of the states. Similar states have similar images,
//! and expression plays no part. It has the shape of the expression encoder (three layers to `h`, then
//! the head to `z`); its batch norms take their statistics over the bank itself.

use candle_core::{DType, Device, Result, Tensor};

use super::head::Head;
use crate::train::network::encoder::{Encoder, NamedArray, Pass, by_name};
use crate::train::network::inputs::Modality;
use crate::train::params::TrainParams;

/// The frozen encoder and its head.
#[derive(Debug)]
pub(super) struct FrozenMap {
    encoder: Encoder,
    head: Head,
}

/// The embeddings of the anchors, one row each: constants to the loss.
#[derive(Debug, Clone)]
pub(super) struct Bank {
    /// `n_anchors x h_dim`.
    pub(super) h: Tensor,
    /// `n_anchors x z_dim`, unit rows.
    pub(super) z: Tensor,
}

impl FrozenMap {
    /// Draws the weights from the seed; it stays on the CPU whatever the device.
    pub(super) fn new(
        n_genes: usize,
        params: &TrainParams,
        seed: u64,
        dtype: DType,
    ) -> Result<Self> {
        let p = &params.anchors;
        let hidden = &params.cnv_hidden;
        Ok(Self {
            encoder: Encoder::new("cnv", n_genes, hidden, p.h_dim, seed, dtype, &Device::Cpu)?,
            head: Head::new(
                "cnv",
                [p.h_dim, p.head_hidden, p.z_dim],
                seed,
                dtype,
                &Device::Cpu,
            )?,
        })
    }

    /// Computes the bank of all anchors, the same each time, and copies it to `device`.
    pub(super) fn bank(
        &mut self,
        states: &Modality,
        n_anchors: usize,
        device: &Device,
    ) -> Result<Bank> {
        let all: Vec<u32> = (0..n_anchors as u32).collect();
        let still = Pass {
            seed: 0,
            dropout: 0.0,
            epoch: 0,
            batch: 0,
            part: 0,
        };
        let h = self
            .encoder
            .hidden_train(&states.batch(&all)?, still)?
            .detach();
        self.encoder.forget_passes();
        let z = self.head.forward_eval(&h)?;
        Ok(Bank {
            h: h.to_device(device)?,
            z: z.to_device(device)?,
        })
    }

    /// Copies the weights and the running statistics.
    pub(super) fn snapshot(&self) -> Result<Vec<NamedArray>> {
        let mut all = self.encoder.snapshot()?;
        all.extend(self.head.snapshot()?);
        Ok(all)
    }

    /// Running statistics of the batch norms. They decide nothing, as the bank has its own, but they
    /// move whenever the bank is computed and are part of the model that is written.
    pub(super) fn running_statistics(&self) -> Vec<NamedArray> {
        self.encoder.running_statistics()
    }

    /// Takes over what [`FrozenMap::running_statistics`] gave.
    ///
    /// # Errors
    /// Where an array is missing or of another size.
    pub(super) fn restore_running_statistics(&mut self, state: &[NamedArray]) -> Result<()> {
        self.encoder.restore_running_statistics(by_name(state))
    }

    /// Takes over weights by name.
    #[cfg(test)]
    pub(super) fn restore<'a>(&mut self, find: impl Fn(&str) -> Option<&'a [f32]>) -> Result<()> {
        self.encoder.restore(&find)?;
        self.head.restore(&find)
    }
}
