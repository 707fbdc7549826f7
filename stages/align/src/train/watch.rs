//! Runs the loop inside a stage: progress, cancel flag, checkpoint directory.

use super::checkpoint::LoadError;
use super::fit::{Fit, ResumeError, StepDone, Watch};
use super::objective::Objective;
use clcc_data::error::StageResult;
use clcc_stage::stage::StageContext;

/// Trains to the end, from the checkpoint of an earlier attempt where there is one; `run` names the
/// run. An unusable checkpoint is warned of, and training starts anew.
///
/// # Errors
/// As [`Fit::run`], and where the checkpoint cannot be read.
pub(super) fn fit_in_stage<O: Objective>(
    ctx: &StageContext<'_>,
    fit: &mut Fit<O>,
    run: &str,
) -> StageResult<()> {
    if let Some(dir) = &ctx.checkpoint_dir {
        match fit.resume(dir, run) {
            Ok(_) => {}
            Err(ResumeError::Load(e @ LoadError::Unusable { .. })) => {
                ctx.progress.warn(&format!("{e}; training starts anew"));
            }
            Err(ResumeError::Load(LoadError::Io(e))) => return Err(e),
            Err(ResumeError::Train(e)) => return Err(e.into()),
        }
    }
    Ok(fit.run(&StageWatch { ctx })?)
}

struct StageWatch<'a> {
    ctx: &'a StageContext<'a>,
}

impl Watch for StageWatch<'_> {
    fn is_cancelled(&self) -> bool {
        self.ctx.check_cancelled().is_err()
    }

    fn did_step(&self, step: StepDone) {
        let best = step.best_val_loss;
        let best = best.map_or_else(String::new, |v| format!("  best val {v:.4}"));
        let message = format!(
            "epoch {}/{}  loss {:.4}{best}",
            step.epoch + 1,
            step.epochs,
            step.loss
        );
        let done = (step.epoch * step.n_batches + step.batch) as u64;
        let total = (step.epochs * step.n_batches) as u64;
        self.ctx.progress.step(done, total, &message);
    }
}
