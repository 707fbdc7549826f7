//! What the tests of both methods share.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};

use super::error::{TrainError, TrainResult};
use super::fit::{Fit, StepDone, Watch};
use super::network::encoder::NamedArray;
use super::network::input_layer::{SparseInput, common_features};
use super::network::inputs::Modality;
use super::objective::{BatchIndex, Objective};
use clcc_data::error::StageError;
use clcc_data::matrix::Csr;
use clcc_stage::stage::DeviceChoice;

/// The first batch of the first epoch.
pub(super) const FIRST: BatchIndex = BatchIndex { epoch: 0, batch: 0 };

/// Cancels after a number of steps, and keeps their losses.
pub(super) struct TestWatch {
    left: Cell<u64>,
    losses: RefCell<Vec<f64>>,
    kills: bool,
}

/// What a killed run unwinds with.
struct Killed;

impl Watch for TestWatch {
    fn is_cancelled(&self) -> bool {
        self.left.get() == 0
    }

    fn did_step(&self, step: StepDone) {
        self.losses.borrow_mut().push(step.loss);
        self.left.set(self.left.get() - 1);
        if self.kills && self.is_cancelled() {
            resume_unwind(Box::new(Killed));
        }
    }
}

fn run<O: Objective>(fit: &mut Fit<O>, steps: u64, kills: bool) -> TrainResult<Vec<f64>> {
    let watch = TestWatch {
        left: Cell::new(steps),
        losses: RefCell::default(),
        kills,
    };
    fit.run(&watch)?;
    Ok(watch.losses.into_inner())
}

/// Trains to the end; the loss of each step.
pub(super) fn train<O: Objective>(fit: &mut Fit<O>) -> TrainResult<Vec<f64>> {
    run(fit, u64::MAX, false)
}

/// Trains for some steps and is then cancelled.
pub(super) fn cancel_after<O: Objective>(fit: &mut Fit<O>, steps: u64) {
    let stopped = run(fit, steps, false).unwrap_err();
    assert!(matches!(stopped, TrainError::Stage(StageError::Cancelled)));
}

/// Trains for some steps and is then killed: nothing runs after the last step, no checkpoint either.
pub(super) fn kill_after<O: Objective>(fit: &mut Fit<O>, steps: u64) {
    let killed = catch_unwind(AssertUnwindSafe(|| run(fit, steps, true)));
    assert!(killed.unwrap_err().is::<Killed>());
}

/// Goes on from the checkpoint in `dir`, if any, with the next ones `every_steps` apart.
pub(super) fn resume<O: Objective>(fit: &mut Fit<O>, dir: &Path, every_steps: u64) -> bool {
    let resumed = fit.resume(dir, "test").unwrap();
    fit.checkpoint.as_mut().unwrap().every_steps = every_steps;
    resumed
}

/// Where the tests of the accelerators' path run: on the CPU, or on the device that `CLCC_TEST_DEVICE` names.
pub(super) fn accelerator() -> Device {
    let choice = match std::env::var("CLCC_TEST_DEVICE").as_deref() {
        Ok("cuda") => DeviceChoice::Cuda,
        Ok("metal") => DeviceChoice::Metal,
        Ok("cpu") | Err(_) => DeviceChoice::Cpu,
        Ok(other) => panic!("CLCC_TEST_DEVICE: expected cpu, cuda or metal, found `{other}`"),
    };
    super::device::open(choice).unwrap().device
}

/// The input of cells of which `x / sd` and `mean / sd` are given.
pub(super) fn sparse_input(scaled: &Csr, shift: Vec<f32>) -> SparseInput {
    let mut found = vec![0u32; scaled.n_cols()];
    for &c in scaled.indices() {
        found[c as usize] += 1;
    }
    let common = common_features(&found, scaled.n_rows());
    SparseInput::new(scaled.n_rows(), shift, common, |i| {
        let (cols, vals) = scaled.row(i);
        cols.iter().copied().zip(vals.iter().copied()).collect()
    })
}

/// A modality of `n` cells and `width` features: the value at `k = cell * width + feature` and the
/// shift of a feature.
pub(super) fn modality(
    n: usize,
    width: usize,
    values: impl Fn(usize) -> f64,
    shift: impl Fn(usize) -> f64,
) -> Modality {
    let rows = (0..n).map(|i| {
        let row = (0..width).map(|j| (j as u32, values(i * width + j) as f32));
        row.filter(|e| e.1 != 0.0).collect()
    });
    let scaled = Csr::from_rows(width, rows);
    let shift = (0..width).map(|j| shift(j) as f32).collect();
    Modality::of(Arc::new(sparse_input(&scaled, shift)))
}

/// Arrays of a trainer, each with its layer's width.
pub(super) fn with_widths(arrays: &[NamedArray]) -> Vec<(NamedArray, usize)> {
    let width = |a: &NamedArray| {
        let bias = a
            .name
            .strip_suffix("weight")
            .map(|stem| format!("{stem}bias"));
        let bias = arrays.iter().find(|b| Some(&b.name) == bias.as_ref());
        bias.map_or(0, |b| b.values.len())
    };
    arrays.iter().map(|a| (a.clone(), width(a))).collect()
}

/// The position in torch's order of the value held at `k`; `None` for what fills a panel up.
pub(super) fn torch_position(array: &NamedArray, width: usize, k: usize) -> Option<usize> {
    match array.shape.as_slice() {
        &[_, features, lanes] => {
            let unit = k / (features * lanes) * lanes + k % lanes;
            (unit < width).then_some(unit * features + k / lanes % features)
        }
        _ => Some(k),
    }
}

/// The values in torch's order.
pub(super) fn in_torch_order(array: &NamedArray, width: usize, values: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; values.len()];
    let mut n = 0;
    for (k, &v) in values.iter().enumerate() {
        match torch_position(array, width, k) {
            Some(to) => {
                out[to] = v;
                n += 1;
            }
            None => assert_eq!(v, 0.0, "{}: what fills a panel up is zero", array.name),
        }
    }
    out.truncate(n);
    out
}

/// Largest difference over the largest value.
pub(super) fn relative(found: &[f64], expected: &serde_json::Value) -> f64 {
    let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    worst.fold(0.0, f64::max) / largest
}

pub(super) fn f64s(t: &candle_core::Tensor) -> Vec<f64> {
    t.flatten_all()
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
        .to_vec1()
        .unwrap()
}
