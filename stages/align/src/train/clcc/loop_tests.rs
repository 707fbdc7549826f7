//! What the loop promises, shown with method A: resuming, checkpoints, divergence, early stopping.

use std::path::Path;

use candle_core::DType;

use super::objective::Clcc;
use super::tests::{quick_params, simulated, state, trainer};
use crate::mine::tensors::TensorFile;
use crate::train::batches::epoch_batches;
use crate::train::checkpoint::{Checkpoint, LoadError, Unusable};
use crate::train::divergence::Reason;
use crate::train::error::TrainError;
use crate::train::fit::{Fit, ResumeError};
use crate::train::objective::{Model as _, Objective as _};
use crate::train::params::{BnScope, TrainParams};
use crate::train::test_support::{cancel_after, kill_after, modality, resume, train};
use clcc_data::error::StageError;

#[test]
fn a_resumed_run_is_the_uninterrupted_one_bit_for_bit() {
    let data = simulated(100, 3);
    for bn_scope in [BnScope::Joint, BnScope::Separate] {
        let params = TrainParams {
            bn_scope,
            ..quick_params()
        };
        let mut whole = trainer(&data, &params, DType::F32);
        train(&mut whole).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // 80 cells in batches of 32: three steps an epoch. Stop in the middle of epochs 1 and 3, and at the end of one.
        for stop_after in [1, 4, 1, 3] {
            let mut part = trainer(&data, &params, DType::F32);
            resume(&mut part, dir.path(), 256);
            cancel_after(&mut part, stop_after);
        }
        let mut last = trainer(&data, &params, DType::F32);
        assert!(resume(&mut last, dir.path(), 256));
        assert_eq!(last.cursor.step, 9);
        train(&mut last).unwrap();
        assert_eq!(state(&last), state(&whole));
        // The checkpoint can be taken up again.
        let mut again = trainer(&data, &params, DType::F32);
        resume(&mut again, dir.path(), 256);
        train(&mut again).unwrap();
        assert_eq!(state(&again), state(&whole));
    }
}

/// Killed without notice at three points: a run goes on from the last checkpoint, which may be some
/// steps back, in the middle of an epoch or where one ends.
#[test]
fn a_killed_run_is_the_uninterrupted_one_bit_for_bit() {
    let data = simulated(100, 3);
    let params = TrainParams {
        learn_temperature: true,
        clip_norm: Some(1.0),
        warmup_epochs: 2,
        ..quick_params()
    };
    let mut whole = trainer(&data, &params, DType::F32);
    train(&mut whole).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Checkpoints after every second step; three steps an epoch, 15 in all.
    for (steps, resumed_from) in [(3, 0), (3, 2), (4, 4)] {
        let mut part = trainer(&data, &params, DType::F32);
        resume(&mut part, dir.path(), 2);
        assert_eq!(part.cursor.step, resumed_from);
        kill_after(&mut part, steps);
        assert_eq!(part.cursor.step, resumed_from + steps);
    }
    let mut last = trainer(&data, &params, DType::F32);
    assert!(resume(&mut last, dir.path(), 2));
    // Killed right after step 8, before its checkpoint.
    assert_eq!(last.cursor.step, 6);
    train(&mut last).unwrap();
    assert_eq!(state(&last), state(&whole));
    assert_ne!(
        last.objective.temperature_now().unwrap(),
        params.temperature
    );
}

#[test]
fn checkpoints_are_some_steps_apart_and_never_of_broken_weights() {
    let data = simulated(100, 3);
    let params = quick_params();
    let dir = tempfile::tempdir().unwrap();
    let mut t = trainer(&data, &params, DType::F32);
    resume(&mut t, dir.path(), 4);
    train(&mut t).unwrap();
    // 15 steps: after 4, 8 and 12.
    let last = |t: &Fit<Clcc<'_>>| t.checkpoint.as_ref().unwrap().last.clone().unwrap();
    assert_eq!(last(&t).step, 12);
    let mut broken = trainer(&data, &params, DType::F32);
    let mut arrays = broken.objective.weights().unwrap();
    arrays[3].values[0] = f32::NAN;
    broken.objective.restore(&arrays).unwrap();
    broken.checkpoint = Some(Checkpoint::new(dir.path(), "test"));
    cancel_after(&mut broken, 0);
    let mut again = trainer(&data, &params, DType::F32);
    resume(&mut again, dir.path(), 256);
    assert_eq!(again.cursor.step, 12);
}

/// What is wrong with the checkpoint in `dir`.
fn refused(fit: &mut Fit<Clcc<'_>>, dir: &Path, run: &str) -> Unusable {
    match fit.resume(dir, run).unwrap_err() {
        ResumeError::Load(LoadError::Unusable { reason, .. }) => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn broken_and_foreign_checkpoints_are_refused() {
    let data = simulated(60, 3);
    let params = quick_params();
    let dir = tempfile::tempdir().unwrap();
    let mut t = trainer(&data, &params, DType::F32);
    assert!(!resume(&mut t, dir.path(), 256));
    cancel_after(&mut t, 2);
    let mut fresh = trainer(&data, &params, DType::F32);
    let other = refused(&mut fresh, dir.path(), "other");
    assert!(matches!(other, Unusable::OtherRun));
    assert_eq!(fresh.cursor.step, 0);
    assert!(resume(&mut fresh, dir.path(), 256));
    assert_eq!(fresh.cursor.step, 2);

    let path = dir.path().join("checkpoint");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut refused = || refused(&mut fresh, dir.path(), "test");
    assert!(matches!(refused(), Unusable::Digest));
    std::fs::write(&path, &bytes[..10]).unwrap();
    assert!(matches!(refused(), Unusable::CutShort));

    // Whole files: of the format before the first that has a number, without a header, of a smaller model.
    let write = |about: Option<String>| {
        let mut file = TensorFile::default();
        file.about = about;
        let mut bytes = file.to_bytes();
        let digest = blake3::hash(&bytes);
        bytes.extend(digest.as_bytes());
        std::fs::write(&path, bytes).unwrap();
    };
    write(Some(r#"{"run":"test","cursor":{}}"#.to_string()));
    assert!(matches!(refused(), Unusable::Format { found: 0 }));
    write(None);
    assert!(matches!(refused(), Unusable::Header(_)));
    let cursor = serde_json::to_value(&t.cursor).unwrap();
    let about = serde_json::json!({"format": 2, "run": "test", "has_best": false, "state": [], "cursor": cursor});
    write(Some(about.to_string()));
    assert!(matches!(refused(), Unusable::Array(_)));
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_says_where() {
    let mut data = simulated(60, 6);
    let broken = modality(
        60,
        24,
        |k| {
            if k == 24 * 20 {
                f64::NAN
            } else {
                1.0 + (k as f64).sin()
            }
        },
        |_| 0.0,
    );
    data.cnv = broken;
    let params = quick_params();
    let mut t = trainer(&data, &params, DType::F32);
    let error = train(&mut t).unwrap_err();
    let batches = epoch_batches(&data.train, 32, 7, 0);
    // Cell 20 is an anchor of one batch, or a negative of one before it.
    let first = batches.iter().position(|b| b.contains(&20)).unwrap();
    let text = error.to_string();
    assert!(
        text.contains("training loss is NaN in epoch 1, batch"),
        "{text}"
    );
    assert!(
        (0..=first).any(|b| text.contains(&format!("batch {} (step {})", b + 1, b + 1))),
        "{text}"
    );
    assert!(text.contains("there is no checkpoint yet"), "{text}");
    assert!(StageError::from(error).hint().is_some());
}

/// A loss that was fine at first and then grows: the message names the last good checkpoint.
#[test]
fn divergence_names_the_last_checkpoint() {
    let data = simulated(100, 3);
    let params = quick_params();
    let dir = tempfile::tempdir().unwrap();
    let mut t = trainer(&data, &params, DType::F32);
    resume(&mut t, dir.path(), 2);
    cancel_after(&mut t, 5);
    let mut t = trainer(&data, &params, DType::F32);
    resume(&mut t, dir.path(), 256);
    t.cursor.history[0].train_loss = 1e-3;
    let error = train(&mut t).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("diverges") && text.contains("in epoch 2 (step 6)"),
        "{text}"
    );
    assert!(
        text.contains("the last checkpoint, of step 5, is"),
        "{text}"
    );
    assert!(
        text.contains(&dir.path().join("checkpoint").display().to_string()),
        "{text}"
    );
    let TrainError::Diverged(diverged) = error else {
        panic!("{error}")
    };
    assert!(
        matches!(diverged.reason, Reason::Growth { first, first_epoch: 1, .. } if first == 1e-3)
    );
}

#[test]
fn training_stops_when_validation_no_longer_improves() {
    // Validation cells whose two modalities have nothing to do with each other.
    let mut data = simulated(100, 7);
    let other = simulated(100, 8);
    data.cnv = other.cnv;
    let params = TrainParams {
        epochs: 60,
        patience: 3,
        ..quick_params()
    };
    let mut t = trainer(&data, &params, DType::F32);
    train(&mut t).unwrap();
    let cursor = &t.cursor;
    assert!(cursor.epoch < 60);
    assert_eq!(cursor.epoch, cursor.best.unwrap().epoch + 3);
    let lowest = cursor
        .history
        .iter()
        .map(|e| e.val_loss.unwrap())
        .fold(f64::INFINITY, f64::min);
    assert_eq!(cursor.best.unwrap().val_loss, lowest);
    // The best weights, not the last ones, give that loss.
    assert_ne!(t.objective.validation_loss().unwrap().unwrap(), lowest);
    let best = t.best.clone();
    assert_eq!(t.keep_weights().unwrap(), best);
    assert_eq!(t.objective.validation_loss().unwrap().unwrap(), lowest);
}
