//! Which cancer cells an analysis is about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::StageResult;
use crate::frame::Frame;

/// Which cancer cells count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restrict {
    /// Every cell with `cancer_vs_normal` = `Cancer`: every cell of a tumour sample, immune cells
    /// included.
    #[default]
    All,
    /// Those of them whose `cell_type` contains `pithelial`.
    Epithelial,
}

impl Restrict {
    /// One flag per cell. Without a `cell_type` column no cell is epithelial.
    ///
    /// # Errors
    /// [`crate::StageError::Data`] without a `cancer_vs_normal` column.
    pub fn cancer_cells(self, obs: &Frame) -> StageResult<Vec<bool>> {
        let cancer = is_cancer(obs)?;
        let kept = match self {
            Self::All => vec![true; obs.len()],
            Self::Epithelial => is_epithelial(obs),
        };
        Ok(cancer.iter().zip(kept).map(|(&c, k)| c && k).collect())
    }
}

/// Cells of a tumour sample.
///
/// # Errors
/// [`crate::StageError::Data`] without a `cancer_vs_normal` column.
pub(crate) fn is_cancer(obs: &Frame) -> StageResult<Vec<bool>> {
    Ok(obs
        .texts("cancer_vs_normal")?
        .iter()
        .map(|v| v == "Cancer")
        .collect())
}

/// Cells whose `cell_type` contains `pithelial`; none without that column.
pub(crate) fn is_epithelial(obs: &Frame) -> Vec<bool> {
    obs.texts("cell_type").map_or_else(
        |_| vec![false; obs.len()],
        |t| t.iter().map(|v| v.contains("pithelial")).collect(),
    )
}
