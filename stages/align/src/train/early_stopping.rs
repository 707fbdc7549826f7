//! When training ends before its last epoch, and which epoch's weights are kept.

use serde::{Deserialize, Serialize};

/// The epoch with the lowest validation loss so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Best {
    /// Counted from 1.
    pub(super) epoch: usize,
    pub(super) val_loss: f64,
}

/// Ends training when the validation loss has not fallen for some epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EarlyStopping {
    /// Epochs without a lower validation loss before training ends, at least 1.
    pub(super) patience: usize,
}

impl EarlyStopping {
    /// Whether training is over after `epochs_done`. Epochs before the first [`Best`] count too.
    pub(super) fn is_over(&self, epochs_done: usize, best: Option<Best>) -> bool {
        epochs_done - best.map_or(0, |b| b.epoch) >= self.patience
    }

    /// The new best, where epoch number `epoch` (counted from 1) has a lower loss than `best`; ties
    /// stay with the earlier epoch.
    pub(super) fn improved(epoch: usize, val_loss: f64, best: Option<Best>) -> Option<Best> {
        best.is_none_or(|b| val_loss < b.val_loss)
            .then_some(Best { epoch, val_loss })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Losses 3, 2, 2, 4: epoch 2 is the best, the tie changes nothing, and patience 2 ends after 4.
    #[test]
    fn patience_counts_epochs_since_the_lowest_loss() {
        let stopping = EarlyStopping { patience: 2 };
        let mut best = None;
        let mut over = Vec::new();
        for (epoch, loss) in [3.0, 2.0, 2.0, 4.0].into_iter().enumerate() {
            best = EarlyStopping::improved(epoch + 1, loss, best).or(best);
            over.push(stopping.is_over(epoch + 1, best));
        }
        let expected = Best {
            epoch: 2,
            val_loss: 2.0,
        };
        assert_eq!(best, Some(expected));
        assert_eq!(over, [false, false, false, true]);
    }
}
