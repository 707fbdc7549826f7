//! The artifact `model`, which both methods write.

use std::path::Path;

use serde_json::json;

use super::network::encoder::{NamedArray, torch_layout};
use super::params::{Method, TrainParams};
use crate::mine::Moments;
use crate::mine::tensors::TensorFile;
use clcc_data::error::StageResult;

/// Writes the weights as safetensors in torch's layout (`weight` is `out x in`), with the running
/// statistics, the z-score moments, and the names of genes and windows in the header.
///
/// # Errors
/// [`clcc_data::error::StageError::Io`].
pub(super) fn write_model(
    path: &Path,
    weights: &[NamedArray],
    moments: &Moments,
    params: &TrainParams,
    genes: &[String],
    windows: &[String],
) -> StageResult<()> {
    let mut file = TensorFile::default();
    for a in weights {
        let bias = a
            .name
            .strip_suffix("weight")
            .map(|stem| format!("{stem}bias"));
        let bias = weights.iter().find(|b| Some(&b.name) == bias.as_ref());
        let (shape, values) = torch_layout(a, bias.map_or(0, |b| b.values.len()));
        file.put_f32(&a.name, &shape, &values);
    }
    for (name, values) in moments.named() {
        file.put_f64(&format!("moments.{name}"), &[values.len()], values);
    }
    let (inputs, layers) = match params.objective {
        Method::Clcc => (
            "z-scored log1p expression (1e4) and X_cnv, (x - mean) / sd, 0 where sd is 0",
            "linear, batch norm (eps 1e-5), ReLU for each but the last; linear; rows to unit length",
        ),
        Method::Anchors => (
            "expr: z-scored log1p expression (1e4), (x - mean) / sd, 0 where sd is 0; cnv: copy-number states over the normal one, less 1",
            "linear, batch norm (eps 1e-5; of cnv over the anchors themselves), ReLU for each but the last; linear: h; head: linear, ReLU, linear; rows to unit length: z",
        ),
    };
    let about = json!({
        "inputs": inputs,
        "layers": layers,
        "params": params,
        "genes": genes,
        "windows": windows,
    });
    file.about = Some(about.to_string());
    file.write(path)
}
