//! What the stages say of cells: the columns that several of them share, and which cancer cells an analysis
//! is about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;

/// Column of `obs`: the clone of each malignant cell, `1` the largest; empty elsewhere.
pub const CLONE: &str = "cnv_clone";

/// Column of `clusters` with `Malignant`, `Normal`, or nothing where no call was made.
pub const MALIGNANT: &str = "cnv_malignant";

/// Which cancer cells count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restrict {
    /// Every cell with `cancer_vs_normal` = `Cancer`: by default every cell of a tumour sample, immune cells
    /// included.
    #[default]
    All,
    /// Those of them whose `cell_type` contains `pithelial`.
    Epithelial,
    /// Those of them that `cluster` calls malignant by their copy number (`cnv_malignant`); none of
    /// a patient without a call.
    Malignant,
}

impl Restrict {
    /// One flag per cell. Without a `cell_type` column no cell is epithelial.
    ///
    /// # Errors
    /// [`StageError::Data`] without a `cancer_vs_normal` column, and with `malignant` without
    /// `cnv_malignant`.
    pub fn cancer_cells(self, obs: &Frame) -> StageResult<Vec<bool>> {
        let cancer = is_cancer(obs)?;
        let kept = match self {
            Self::All => vec![true; obs.len()],
            Self::Epithelial => is_epithelial(obs),
            Self::Malignant => obs
                .texts(MALIGNANT)
                .map_err(|_| {
                    StageError::data_hint(
                        format!(
                            "`restrict: malignant` needs the column `{MALIGNANT}` of `clusters`"
                        ),
                        "add `cluster` to `needs`",
                    )
                })?
                .iter()
                .map(|v| v == "Malignant")
                .collect(),
        };
        Ok(cancer.iter().zip(kept).map(|(&c, k)| c && k).collect())
    }
}

/// Cells with `cancer_vs_normal` = `Cancer`.
///
/// # Errors
/// [`clcc_data::StageError::Data`] without a `cancer_vs_normal` column.
pub fn is_cancer(obs: &Frame) -> StageResult<Vec<bool>> {
    labelled(obs, "Cancer")
}

/// Cells with `cancer_vs_normal` = `Normal`; a cell without a label is neither.
///
/// # Errors
/// As [`is_cancer`].
pub fn is_normal(obs: &Frame) -> StageResult<Vec<bool>> {
    labelled(obs, "Normal")
}

fn labelled(obs: &Frame, label: &str) -> StageResult<Vec<bool>> {
    let labels = obs.texts("cancer_vs_normal")?;
    Ok(labels.iter().map(|v| v == label).collect())
}

/// Cells whose `cell_type` contains `pithelial`; none without that column.
pub fn is_epithelial(obs: &Frame) -> Vec<bool> {
    obs.texts("cell_type").map_or_else(
        |_| vec![false; obs.len()],
        |t| t.iter().map(|v| v.contains("pithelial")).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malignant_cells_are_called_cancer_cells() {
        let mut obs = Frame::new((0..4).map(|i| i.to_string()).collect());
        obs.set_category(
            "cancer_vs_normal",
            &["Cancer", "Cancer", "Normal", "Cancer"],
        );
        assert!(Restrict::Malignant.cancer_cells(&obs).is_err());
        obs.set_category(MALIGNANT, &["Malignant", "Normal", "Malignant", ""]);
        assert_eq!(
            Restrict::Malignant.cancer_cells(&obs).unwrap(),
            [true, false, false, false]
        );
        assert_eq!(
            Restrict::All.cancer_cells(&obs).unwrap(),
            [true, true, false, true]
        );
    }
}
