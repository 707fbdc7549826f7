//! The error of training: what candle reports, what a stage does, or a loss that diverges.

use clcc_data::StageError;

use super::divergence::Diverged;

/// Result of what computes with tensors.
pub(super) type TrainResult<T> = Result<T, TrainError>;

/// Why a step of the training did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrainError {
    /// Data, files, parameters, or a cancelled run.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// candle reported an error.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    /// The loss is no longer a number, or has grown too far.
    #[error(transparent)]
    Diverged(#[from] Box<Diverged>),
}

impl From<TrainError> for StageError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Stage(e) => e,
            TrainError::Tensor(e) => Self::Tensor(Box::new(e)),
            TrainError::Diverged(e) => (*e).into(),
        }
    }
}
