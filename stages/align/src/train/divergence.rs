//! Why a run cannot go on: its loss is not a number, or has grown too far.

use std::fmt;

use clcc_data::error::StageError;

use super::checkpoint::Saved;

/// An epoch's mean training loss above so many times the first epoch's is divergence.
const LARGEST_GROWTH: f64 = 3.0;

/// What went wrong with the loss.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub(super) enum Reason {
    /// A batch's loss is infinite or NaN.
    #[error("training loss is {loss}")]
    TrainingLoss {
        /// As computed.
        loss: f64,
    },
    /// The validation cells' loss is infinite or NaN.
    #[error("validation loss is {loss}")]
    ValidationLoss {
        /// As computed.
        loss: f64,
    },
    /// An epoch's mean loss is more than three times that of an early epoch.
    #[error(
        "the training loss diverges: its mean is {mean:.3}, and was {first:.3} in epoch {first_epoch},"
    )]
    Growth {
        /// The epoch's mean.
        mean: f64,
        /// The mean of the epoch that it is compared with.
        first: f64,
        /// That epoch, counted from 1.
        first_epoch: usize,
    },
}

impl Reason {
    /// Checks a batch's loss.
    pub(super) fn of_batch(loss: f64) -> Option<Self> {
        (!loss.is_finite()).then_some(Self::TrainingLoss { loss })
    }

    /// Checks an epoch: its validation loss, and its mean training loss against that of the first
    /// epoch that can be compared, given as (mean, epoch counted from 1).
    pub(super) fn of_epoch(
        mean: f64,
        val_loss: Option<f64>,
        first: Option<(f64, usize)>,
    ) -> Option<Self> {
        if let Some(loss) = val_loss.filter(|loss| !loss.is_finite()) {
            return Some(Self::ValidationLoss { loss });
        }
        let (first, first_epoch) = first?;
        (mean > LARGEST_GROWTH * first).then_some(Self::Growth {
            mean,
            first,
            first_epoch,
        })
    }
}

/// A run that was stopped for its loss.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{reason} in {at}; {}", last_checkpoint(checkpoint.as_ref()))]
pub(super) struct Diverged {
    pub(super) reason: Reason,
    pub(super) at: Place,
    /// The last checkpoint, whose weights are finite.
    pub(super) checkpoint: Option<Saved>,
    /// Path of the parameter that clips the gradient.
    pub(super) clip_param: &'static str,
}

/// Where in the run, all counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) epoch: usize,
    /// `None` at the epoch's end.
    pub(super) batch: Option<usize>,
    pub(super) step: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}", self.epoch)?;
        if let Some(batch) = self.batch {
            write!(f, ", batch {batch}")?;
        }
        write!(f, " (step {})", self.step)
    }
}

fn last_checkpoint(saved: Option<&Saved>) -> String {
    match saved {
        Some(Saved { step, path }) => format!(
            "the last checkpoint, of step {step}, is `{}`",
            path.display()
        ),
        None => "there is no checkpoint yet".to_string(),
    }
}

impl From<Diverged> for StageError {
    fn from(diverged: Diverged) -> Self {
        let hint = format!(
            "lower `learning_rate`, set a lower `{}`, or check the input for extreme values",
            diverged.clip_param
        );
        Self::data_hint(diverged.to_string(), hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_condition() {
        assert_eq!(Reason::of_batch(2.0), None);
        let infinite = Reason::of_batch(f64::INFINITY);
        assert_eq!(infinite.unwrap().to_string(), "training loss is inf");
        assert_eq!(Reason::of_epoch(2.9, Some(1.0), Some((1.0, 1))), None);
        assert_eq!(Reason::of_epoch(9.0, None, None), None);
        let validation = Reason::of_epoch(2.0, Some(f64::NAN), Some((1.0, 1)));
        assert_eq!(validation.unwrap().to_string(), "validation loss is NaN");
        let growth = Reason::of_epoch(3.1, Some(1.0), Some((1.0, 2)));
        let expected = Reason::Growth {
            mean: 3.1,
            first: 1.0,
            first_epoch: 2,
        };
        assert_eq!(growth, Some(expected));
    }

    #[test]
    fn the_message_says_where_and_the_hint_what_to_lower() {
        let diverged = |batch, checkpoint| Diverged {
            reason: Reason::TrainingLoss { loss: f64::NAN },
            at: Place {
                epoch: 2,
                batch,
                step: 7,
            },
            checkpoint,
            clip_param: "anchors.clip_norm",
        };
        assert_eq!(
            diverged(Some(3), None).to_string(),
            "training loss is NaN in epoch 2, batch 3 (step 7); there is no checkpoint yet"
        );
        let saved = Saved {
            step: 5,
            path: "ckpt/checkpoint".into(),
        };
        let error = StageError::from(diverged(None, Some(saved)));
        assert_eq!(
            error.to_string(),
            "training loss is NaN in epoch 2 (step 7); the last checkpoint, of step 5, is `ckpt/checkpoint`"
        );
        assert!(error.hint().unwrap().contains("`anchors.clip_norm`"));
    }
}
