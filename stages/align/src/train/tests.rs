//! The whole objective against PyTorch, finite differences, and the promises of the loop.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Var;

use super::encoder::NamedArray;
use super::input_layer::SparseInput;
use super::trainer::Cursor;
use super::*;
use clcc_data::matrix::Csr;
use clcc_numerics::rng::Rng;
use clcc_testing::at_threads;

/// A watch that stops after a number of steps, and keeps the checkpoints in a directory.
struct TestWatch<'a> {
    dir: Option<&'a Path>,
    stop_after: u64,
    /// Stops without a last checkpoint, as a kill does.
    killed: bool,
    losses: RefCell<Vec<f64>>,
}

impl<'a> TestWatch<'a> {
    fn new(dir: Option<&'a Path>, stop_after: u64) -> Self {
        Self {
            dir,
            stop_after,
            killed: false,
            losses: RefCell::default(),
        }
    }
}

impl Watch for TestWatch<'_> {
    fn cancelled(&self) -> bool {
        self.losses.borrow().len() as u64 >= self.stop_after
    }

    fn step(&self, _: &Trainer<'_>, _: usize, loss: StepLoss) {
        self.losses.borrow_mut().push(loss.total);
    }

    fn checkpoint(
        &self,
        trainer: &Trainer<'_>,
        now: &[NamedArray],
    ) -> StageResult<Option<PathBuf>> {
        if self.killed && self.cancelled() {
            return Ok(None);
        }
        let save = |dir| checkpoint::save(dir, "test", trainer, now);
        self.dir.map(save).transpose()
    }
}

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
    Modality::of(Arc::new(SparseInput::new(scaled, shift)))
}

fn negatives(n_cells: usize, lists: &[(usize, Vec<u32>)]) -> Negatives {
    let mut out = Negatives {
        offsets: vec![0],
        indices: vec![],
        expr_cosine: vec![],
    };
    for cell in 0..n_cells {
        if let Some((_, list)) = lists.iter().find(|l| l.0 == cell) {
            out.indices.extend(list);
        }
        out.offsets.push(out.indices.len() as i64);
    }
    out.expr_cosine = vec![0.0; out.indices.len()];
    out
}

/// The data of `tests/reference/train/clcc_step.py`.
fn reference_data() -> TrainingData {
    let expr = modality(
        14,
        40,
        |k| ((1.7 * k as f64 + 0.3).sin() - 0.4).max(0.0) * 2.0,
        |j| 0.1 * (0.9 * j as f64 + 1.0).sin(),
    );
    let cnv = modality(
        14,
        12,
        |k| (2.3 * k as f64 + 0.7).sin(),
        |j| 0.2 * (1.1 * j as f64).sin(),
    );
    let lists = [
        (0, vec![7, 2]),
        (1, vec![9]),
        (3, vec![7, 8, 10]),
        (4, vec![1]),
    ];
    TrainingData {
        expr,
        cnv,
        negatives: negatives(14, &lists),
        train: (0..11).collect(),
        val: vec![11, 12, 13],
        masked_clusters: None,
    }
}

fn small_params() -> TrainParams {
    TrainParams {
        expr_hidden: vec![16, 8],
        cnv_hidden: vec![8, 6],
        embedding_dim: 5,
        batch_size: 6,
        learning_rate: 0.01,
        weight_decay: 0.1,
        dropout: 0.0,
        ..TrainParams::default()
    }
}

fn trainer<'a>(data: &'a TrainingData, params: &'a TrainParams, dtype: DType) -> Trainer<'a> {
    Trainer::new(data, params, 7, dtype, &Device::Cpu).unwrap()
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

/// The script's `fill`, with the first layers in the layout in which they are held.
fn fill(trainer: &mut Trainer<'_>) {
    let arrays = trainer.snapshot().unwrap();
    let names: Vec<String> = trainer
        .expr
        .parameters()
        .iter()
        .chain(&trainer.cnv.parameters())
        .map(|p| p.0.clone())
        .collect();
    let filled: Vec<NamedArray> = with_widths(&arrays)
        .into_iter()
        .map(|(mut array, width)| {
            let Some(p) = names.iter().position(|n| *n == array.name) else {
                return array;
            };
            let wave = |k: usize| ((0.37 + 0.01 * p as f64) * k as f64 + p as f64).sin();
            let fan_in = match array.shape.len() {
                3 => array.shape[1],
                _ => *array.shape.last().unwrap(),
            };
            let value = |k: usize| {
                if array.name.ends_with("norm.weight") {
                    1.0 + 0.2 * wave(k)
                } else if array.shape.len() > 1 {
                    wave(k) / (fan_in as f64).sqrt()
                } else {
                    0.1 * wave(k)
                }
            };
            array.values = (0..array.values.len())
                .map(|k| torch_position(&array, width, k).map_or(0.0, |k| value(k) as f32))
                .collect();
            array
        })
        .collect();
    trainer.restore(&filled).unwrap();
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

/// Every parameter's name and gradient.
fn gradients(
    t: &mut Trainer<'_>,
    grads: &candle_core::backprop::GradStore,
) -> Vec<(String, candle_core::Tensor)> {
    let of = |e: &mut super::encoder::Encoder| {
        let names: Vec<String> = e.parameters().into_iter().map(|p| p.0).collect();
        names
            .into_iter()
            .zip(e.gradients(grads))
            .collect::<Vec<_>>()
    };
    let expr = of(&mut t.expr);
    expr.into_iter().chain(of(&mut t.cnv)).collect()
}

/// Loss and every gradient's every entry, of the same weights and batch: in f64 to rounding, in f32
/// (as training runs) within 1e-5 of the loss and 1e-4 of each tensor's largest gradient. Then two
/// steps (3e-6: AdamW's moments and the running statistics are kept in f32).
#[test]
fn two_steps_are_those_of_pytorch() {
    let expected: serde_json::Value = serde_json::from_str(include_str!(
        "../../../../tests/reference/train/clcc_step.json"
    ))
    .unwrap();
    let anchors: Vec<u32> = (0..6).collect();
    for (name, bn_scope) in [("joint", BnScope::Joint), ("separate", BnScope::Separate)] {
        let expected = &expected[name];
        let params = TrainParams {
            bn_scope,
            ..small_params()
        };
        // The last: candle's own operations, as on an accelerator.
        for (dtype, resident, loss_bound, gradient_bound) in [
            (DType::F64, false, 1e-10, 1e-9),
            (DType::F32, false, 1e-5, 1e-4),
            (DType::F32, true, 1e-5, 1e-4),
        ] {
            let what = format!("{name} {dtype:?} resident {resident}");
            let mut data = reference_data();
            if resident {
                data.expr.place_on(&Device::Cpu, dtype).unwrap();
                data.cnv.place_on(&Device::Cpu, dtype).unwrap();
            }
            let mut t = trainer(&data, &params, dtype);
            fill(&mut t);
            let arrays = with_widths(&t.snapshot().unwrap());
            let (total, nce, margin, encoded) = t.losses(&anchors).unwrap();
            assert_eq!(encoded, if bn_scope == BnScope::Joint { 10 } else { 13 });
            for (k, loss) in [&total, &nce, margin.as_ref().unwrap()].iter().enumerate() {
                let (found, expected) = (f64s(loss)[0], expected["loss"][k].as_f64().unwrap());
                assert!(
                    (found / expected - 1.0).abs() < loss_bound,
                    "{what} loss {k}: {found} {expected}"
                );
            }
            let grads = total.backward().unwrap();
            for (parameter, gradient) in gradients(&mut t, &grads) {
                let (array, width) = arrays.iter().find(|a| a.0.name == parameter).unwrap();
                let found = in_torch_order(array, *width, &f64s(&gradient));
                let wanted = &expected["gradients"][&parameter];
                // A bias before a batch norm has no effect: its gradient is rounding on both sides.
                if wanted
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|g| g.as_f64().unwrap().abs() < 1e-12)
                {
                    assert!(found.iter().all(|g| g.abs() < 1e-5), "{what} {parameter}");
                    continue;
                }
                let worst = relative(&found, wanted);
                assert!(worst < gradient_bound, "{what} {parameter}: {worst}");
            }

            // The losses above moved the running statistics; start again.
            let mut t = trainer(&data, &params, dtype);
            fill(&mut t);
            for _ in 0..2 {
                t.step(&anchors, 1).unwrap();
            }
            let after = expected["parameters_after_two_steps"].as_object().unwrap();
            let arrays = with_widths(&t.snapshot().unwrap());
            assert_eq!(arrays.len(), after.len());
            for (array, width) in arrays {
                // AdamW divides by the gradient's own size, so a bias without effect moves by noise, and
                // the running mean behind it; in eval mode that is seen.
                let unused = array.name.ends_with(".bias")
                    && !array.name.contains("norm")
                    && !array.name.ends_with("2.bias");
                let noise = unused || array.name.ends_with("running_mean");
                if noise && dtype == DType::F32 {
                    continue;
                }
                let values: Vec<f64> = array.values.iter().map(|&v| f64::from(v)).collect();
                let values = in_torch_order(&array, width, &values);
                let bound = if dtype == DType::F64 { 3e-6 } else { 1e-3 };
                let worst = relative(&values, &after[&array.name]);
                assert!(worst < bound, "{what} {}: {worst}", array.name);
            }
            let (found, expected) = (
                t.validation_loss().unwrap(),
                expected["validation_loss"].as_f64().unwrap(),
            );
            assert!(
                dtype == DType::F32 || (found - expected).abs() < 1e-4,
                "{what} validation: {found} {expected}"
            );
        }
    }
}

/// Every entry of a sample of each parameter, with dropout on.
#[test]
fn gradients_are_those_of_finite_differences() {
    let data = reference_data();
    let params = TrainParams {
        dropout: 0.2,
        temperature: 0.5,
        ..small_params()
    };
    let mut t = trainer(&data, &params, DType::F64);
    let anchors: Vec<u32> = (0..6).collect();
    let grads = t.losses(&anchors).unwrap().0.backward().unwrap();
    let gradients = gradients(&mut t, &grads);
    let arrays = with_widths(&t.snapshot().unwrap());
    let parameters: Vec<(String, Var)> = t
        .expr
        .parameters()
        .into_iter()
        .chain(t.cnv.parameters())
        .map(|(n, v)| (n, v.clone()))
        .collect();
    let mut largest: f64 = 0.0;
    for ((name, var), (_, gradient)) in parameters.into_iter().zip(gradients) {
        let grad = f64s(&gradient);
        let base = f64s(&var);
        let (array, width) = arrays.iter().find(|a| a.0.name == name).unwrap();
        let held: Vec<usize> = (0..base.len())
            .filter(|&k| torch_position(array, *width, k).is_some())
            .collect();
        for &at in held.iter().step_by(held.len().div_ceil(5)) {
            let mut moved = |by: f64| {
                let mut values = base.clone();
                values[at] += by;
                var.set(&candle_core::Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap())
                    .unwrap();
                f64s(&t.losses(&anchors).unwrap().0)[0]
            };
            let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            moved(0.0);
            largest = largest.max(numeric.abs());
            assert!(
                (numeric - grad[at]).abs() < 1e-6 * (1.0 + numeric.abs()),
                "{name} at {at}: {numeric} {}",
                grad[at]
            );
        }
    }
    assert!(
        largest > 0.01,
        "the example has gradients to compare: {largest}"
    );
}

/// Cells of random clones: copy number is the clone's, expression follows it through a random map.
fn simulated(n: usize, seed: u64) -> TrainingData {
    let mut rng = Rng::new(seed, "test.simulated", &[]);
    let (g, w) = (300, 24);
    let state: Vec<Vec<f64>> = (0..n)
        .map(|_| (0..w).map(|_| rng.normal()).collect())
        .collect();
    let rows = |width: usize, f: &mut dyn FnMut(usize, usize) -> f64| {
        let rows = (0..n).map(|i| {
            (0..width)
                .map(|j| (j as u32, f(i, j) as f32))
                .filter(|e| e.1 != 0.0)
                .collect()
        });
        Csr::from_rows(width, rows.collect::<Vec<Vec<_>>>())
    };
    let cnv = rows(w, &mut |i, j| state[i][j]);
    let expr = rows(g, &mut |i, j| {
        if rng.uniform() < 0.4 {
            0.5 + state[i][j % w] + 0.5 * rng.normal()
        } else {
            0.0
        }
    });
    let input = |scaled: Csr, m: f32| {
        let shift = vec![m; scaled.n_cols()];
        Modality::of(Arc::new(SparseInput::new(scaled, shift)))
    };
    let n_val = n / 5;
    let lists: Vec<(usize, Vec<u32>)> = (0..n - n_val)
        .filter(|i| i % 3 != 0)
        .map(|i| {
            (
                i,
                (1..9)
                    .map(|k| ((i + 5 * k) % (n - n_val)) as u32)
                    .filter(|&j| j as usize != i)
                    .collect(),
            )
        })
        .collect();
    TrainingData {
        expr: input(expr, 0.2),
        cnv: input(cnv, 0.0),
        negatives: negatives(n, &lists),
        train: (0..n - n_val).collect(),
        val: (n - n_val..n).collect(),
        masked_clusters: None,
    }
}

fn quick_params() -> TrainParams {
    TrainParams {
        batch_size: 32,
        epochs: 5,
        expr_hidden: vec![64, 32],
        cnv_hidden: vec![32, 16],
        embedding_dim: 16,
        ..TrainParams::default()
    }
}

#[test]
fn sixty_four_cells_are_learnt_by_heart() {
    let data = TrainingData {
        train: (0..64).collect(),
        ..simulated(80, 1)
    };
    let params = TrainParams {
        batch_size: 64,
        epochs: 80,
        patience: 80,
        dropout: 0.0,
        ..quick_params()
    };
    let mut t = trainer(&data, &params, DType::F32);
    t.run(&TestWatch::new(None, u64::MAX)).unwrap();
    let cells: Vec<u32> = (0..64).collect();
    let e = t
        .expr
        .forward_eval(&data.expr.batch(&cells).unwrap())
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    let c = t
        .cnv
        .forward_eval(&data.cnv.batch(&cells).unwrap())
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    let cosine = |i: usize, j: usize| e[i].iter().zip(&c[j]).map(|(a, b)| a * b).sum::<f32>();
    let hits = (0..64)
        .filter(|&i| (0..64).all(|j| j == i || cosine(i, j) < cosine(i, i)))
        .count();
    assert_eq!(hits, 64);
    let history = &t.cursor.history;
    assert!(
        history[79].train_loss < 0.3 * history[0].train_loss,
        "{:?}",
        history[79]
    );
}

#[test]
fn every_parameter_has_a_gradient() {
    let data = simulated(80, 2);
    let params = quick_params();
    let mut t = trainer(&data, &params, DType::F32);
    let grads = t
        .losses(&(0..32).collect::<Vec<u32>>())
        .unwrap()
        .0
        .backward()
        .unwrap();
    for (name, gradient) in gradients(&mut t, &grads) {
        let norm = f64s(&gradient).iter().map(|g| g * g).sum::<f64>();
        // A bias before a batch norm has no effect: its gradient is rounding.
        let before_norm = name.ends_with("bias") && !name.contains("norm") && !name.contains(".2.");
        assert!(before_norm || norm > 1e-10, "{name}: {norm}");
    }
}

type State = (Vec<NamedArray>, Cursor, Vec<NamedArray>);

fn state(t: &Trainer<'_>) -> State {
    (t.snapshot().unwrap(), t.cursor.clone(), t.best.clone())
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one_bit_for_bit() {
    let data = simulated(100, 3);
    for bn_scope in [BnScope::Joint, BnScope::Separate] {
        let params = TrainParams {
            bn_scope,
            ..quick_params()
        };
        let mut whole = trainer(&data, &params, DType::F32);
        whole.run(&TestWatch::new(None, u64::MAX)).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // 80 cells in batches of 32: three steps an epoch. Stop in the middle of epochs 1 and 3, and at the end of one.
        for stop_after in [1, 4, 1, 3] {
            let mut part = trainer(&data, &params, DType::F32);
            checkpoint::resume(dir.path(), "test", &mut part).unwrap();
            let stopped = part.run(&TestWatch::new(Some(dir.path()), stop_after));
            assert!(matches!(
                stopped,
                Err(TrainError::Stage(StageError::Cancelled))
            ));
        }
        let mut last = trainer(&data, &params, DType::F32);
        assert!(checkpoint::resume(dir.path(), "test", &mut last).unwrap());
        assert_eq!(last.cursor.step, 9);
        last.run(&TestWatch::new(Some(dir.path()), u64::MAX))
            .unwrap();
        assert_eq!(state(&last), state(&whole));
        // The checkpoint can be taken up again.
        let mut again = trainer(&data, &params, DType::F32);
        checkpoint::resume(dir.path(), "test", &mut again).unwrap();
        again.run(&TestWatch::new(None, u64::MAX)).unwrap();
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
    whole.run(&TestWatch::new(None, u64::MAX)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Checkpoints after every second step; three steps an epoch, 15 in all.
    for (kill_after, resumed_from) in [(3, 0), (3, 2), (4, 4)] {
        let mut part = trainer(&data, &params, DType::F32);
        part.checkpoint_steps = 2;
        checkpoint::resume(dir.path(), "test", &mut part).unwrap();
        assert_eq!(part.cursor.step, resumed_from);
        let watch = TestWatch {
            killed: true,
            ..TestWatch::new(Some(dir.path()), kill_after)
        };
        part.run(&watch).unwrap_err();
        assert_eq!(part.cursor.step, resumed_from + kill_after);
    }
    let mut last = trainer(&data, &params, DType::F32);
    assert!(checkpoint::resume(dir.path(), "test", &mut last).unwrap());
    // Killed right after step 8, before its checkpoint.
    assert_eq!(last.cursor.step, 6);
    last.run(&TestWatch::new(None, u64::MAX)).unwrap();
    assert_eq!(state(&last), state(&whole));
    assert_ne!(last.temperature_now().unwrap(), params.temperature);
}

#[test]
fn checkpoints_are_some_steps_apart_and_never_of_broken_weights() {
    let data = simulated(100, 3);
    let params = quick_params();
    let dir = tempfile::tempdir().unwrap();
    let mut t = trainer(&data, &params, DType::F32);
    t.checkpoint_steps = 4;
    t.run(&TestWatch::new(Some(dir.path()), u64::MAX)).unwrap();
    // 15 steps: after 4, 8 and 12.
    assert_eq!(t.saved.0, 12);
    let mut broken = trainer(&data, &params, DType::F32);
    let mut arrays = broken.snapshot().unwrap();
    arrays[3].values[0] = f32::NAN;
    broken.restore(&arrays).unwrap();
    broken
        .run(&TestWatch::new(Some(dir.path()), 0))
        .unwrap_err();
    let mut again = trainer(&data, &params, DType::F32);
    checkpoint::resume(dir.path(), "test", &mut again).unwrap();
    assert_eq!(again.cursor.step, 12);
}

/// Clipping to a bound that is never reached changes nothing; a low one scales the whole gradient.
#[test]
fn clipping_scales_the_gradient_to_its_bound() {
    let data = simulated(60, 5);
    let anchors: Vec<u32> = (0..32).collect();
    let moved = |clip_norm: Option<f64>| {
        let params = TrainParams {
            clip_norm,
            ..quick_params()
        };
        let mut t = trainer(&data, &params, DType::F64);
        t.step(&anchors, 1).unwrap();
        // The first moment after one step is a tenth of the gradient.
        let first: Vec<f64> = t
            .moments
            .iter()
            .flat_map(|m| m.m.iter().map(|&m| f64::from(m) * 10.0).collect::<Vec<_>>())
            .collect();
        first
    };
    let norm = |g: &[f64]| g.iter().map(|g| g * g).sum::<f64>().sqrt();
    let (free, high) = (moved(None), moved(Some(1e6)));
    assert_eq!(free, high);
    let low = moved(Some(0.01));
    assert!(
        norm(&free) > 0.1 && (norm(&low) - 0.01).abs() < 1e-5,
        "{}",
        norm(&low)
    );
    let scale = norm(&low) / norm(&free);
    assert!(
        free.iter()
            .zip(&low)
            .all(|(f, l)| (f * scale - l).abs() < 1e-7)
    );
}

#[test]
fn a_learnt_temperature_moves_and_stays_in_its_range() {
    let data = simulated(100, 3);
    let params = TrainParams {
        learn_temperature: true,
        temperature: 0.5,
        learning_rate: 0.3,
        epochs: 8,
        patience: 8,
        ..quick_params()
    };
    let mut t = trainer(&data, &params, DType::F32);
    t.run(&TestWatch::new(None, u64::MAX)).unwrap();
    let history = &t.cursor.history;
    assert_ne!(history[0].temperature, 0.5);
    assert!(
        history
            .iter()
            .all(|e| (0.01 - 1e-6..=1.0).contains(&e.temperature))
    );
    assert_ne!(history[0].temperature, history[7].temperature);
    let constant = quick_params();
    let mut fixed = trainer(&data, &constant, DType::F32);
    fixed.run(&TestWatch::new(None, u64::MAX)).unwrap();
    assert!(fixed.cursor.history.iter().all(|e| e.temperature == 0.07));
}

/// The operations of an accelerator, on the CPU: same draws, same losses, same weights to rounding.
#[test]
fn the_path_of_accelerators_trains_the_same_model() {
    let params = TrainParams {
        bn_scope: BnScope::Separate,
        clip_norm: Some(0.5),
        epochs: 2,
        ..quick_params()
    };
    let run = |resident: bool| {
        let mut data = simulated(100, 3);
        if resident {
            data.expr.place_on(&Device::Cpu, DType::F32).unwrap();
            data.cnv.place_on(&Device::Cpu, DType::F32).unwrap();
        }
        let mut t = trainer(&data, &params, DType::F32);
        t.run(&TestWatch::new(None, u64::MAX)).unwrap();
        let e = embed(&t.expr, &data.expr, 100, 16).unwrap();
        (t.cursor.history.clone(), e)
    };
    let ((sparse, e), (dense, f)) = (run(false), run(true));
    for (a, b) in sparse.iter().zip(&dense) {
        assert!(
            (a.train_loss / b.train_loss - 1.0).abs() < 1e-3,
            "{a:?} {b:?}"
        );
        assert!((a.val_loss / b.val_loss - 1.0).abs() < 1e-2, "{a:?} {b:?}");
    }
    let cosine = |i: usize| e.row(i).dot(&f.row(i));
    assert!((0..100).all(|i| cosine(i) > 0.99));
}

#[test]
fn broken_and_foreign_checkpoints_are_refused() {
    let data = simulated(60, 3);
    let params = quick_params();
    let dir = tempfile::tempdir().unwrap();
    let mut t = trainer(&data, &params, DType::F32);
    assert!(!checkpoint::resume(dir.path(), "test", &mut t).unwrap());
    t.run(&TestWatch::new(Some(dir.path()), 2)).unwrap_err();
    assert!(checkpoint::resume(dir.path(), "other", &mut t).is_err());
    assert!(checkpoint::resume(dir.path(), "test", &mut t).unwrap());
    let path = dir.path().join("checkpoint");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(
        checkpoint::resume(dir.path(), "test", &mut t)
            .unwrap_err()
            .to_string()
            .contains("digest")
    );
    std::fs::write(&path, &bytes[..10]).unwrap();
    assert!(checkpoint::resume(dir.path(), "test", &mut t).is_err());
}

#[test]
fn any_number_of_threads_trains_the_same_bits() {
    let data = simulated(150, 4);
    let params = TrainParams {
        epochs: 2,
        batch_size: 96,
        ..quick_params()
    };
    let run = |threads: usize| {
        at_threads(threads, || {
            let mut t = trainer(&data, &params, DType::F32);
            t.run(&TestWatch::new(None, u64::MAX)).unwrap();
            let embedded = embed(&t.expr, &data.expr, 150, 16).unwrap();
            (state(&t), embedded)
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

#[test]
fn another_seed_and_no_negatives_are_other_runs() {
    let data = simulated(60, 5);
    let params = TrainParams {
        epochs: 1,
        ..quick_params()
    };
    let run = |params: &TrainParams, seed: u64| {
        let mut t = Trainer::new(&data, params, seed, DType::F32, &Device::Cpu).unwrap();
        t.run(&TestWatch::new(None, u64::MAX)).unwrap();
        t.cursor.history[0]
    };
    let base = run(&params, 7);
    assert_eq!(base, run(&params, 7));
    assert_ne!(base, run(&params, 8));
    assert!(base.margin > 0.0 && (base.train_loss - (base.nce + 0.5 * base.margin)).abs() < 1e-6);
    let without = run(
        &TrainParams {
            lambda: 0.0,
            ..params
        },
        7,
    );
    assert_eq!((without.margin, without.train_loss), (0.0, without.nce));
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
    let error = t.run(&TestWatch::new(None, u64::MAX)).unwrap_err();
    let batches = super::batches::epoch_batches(&data.train, 32, 7, 0);
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

/// A loss that was fine at first and then no number: the message names the last good checkpoint.
#[test]
fn divergence_names_the_last_checkpoint() {
    let data = simulated(100, 3);
    let params = quick_params();
    let dir = tempfile::tempdir().unwrap();
    let mut t = trainer(&data, &params, DType::F32);
    t.checkpoint_steps = 2;
    t.run(&TestWatch::new(Some(dir.path()), 5)).unwrap_err();
    let mut t = trainer(&data, &params, DType::F32);
    checkpoint::resume(dir.path(), "test", &mut t).unwrap();
    t.cursor.history[0].train_loss = 1e-3;
    let error = t
        .run(&TestWatch::new(Some(dir.path()), u64::MAX))
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("diverges") && text.contains("epoch 2"),
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
    t.run(&TestWatch::new(None, u64::MAX)).unwrap();
    let cursor = &t.cursor;
    assert!(cursor.epoch < 60);
    assert_eq!(cursor.epoch, cursor.best_epoch + 3);
    let lowest = cursor
        .history
        .iter()
        .map(|e| e.val_loss)
        .fold(f64::INFINITY, f64::min);
    assert_eq!(t.best_val_loss(), Some(lowest));
    // The best weights, not the last ones, give that loss.
    let best = t.best.clone();
    assert_ne!(t.validation_loss().unwrap(), lowest);
    t.restore(&best).unwrap();
    assert_eq!(t.validation_loss().unwrap(), lowest);
}

#[test]
fn the_rate_falls_along_half_a_cosine() {
    let data = reference_data();
    let params = TrainParams {
        epochs: 4,
        learning_rate: 1.0,
        ..small_params()
    };
    let mut t = trainer(&data, &params, DType::F64);
    let rates = [
        1.0,
        0.5 + 0.5f64.sqrt() / 2.0,
        0.5,
        0.5 - 0.5f64.sqrt() / 2.0,
    ];
    for (epoch, expected) in rates.into_iter().enumerate() {
        t.cursor.epoch = epoch;
        assert!((t.learning_rate(3) - expected).abs() < 1e-12);
    }
}

/// Two epochs of two steps rise to the rate; the cosine has the two epochs that are left.
#[test]
fn a_warm_up_comes_before_the_cosine() {
    let data = reference_data();
    let params = TrainParams {
        epochs: 4,
        warmup_epochs: 2,
        learning_rate: 1.0,
        ..small_params()
    };
    let mut t = trainer(&data, &params, DType::F64);
    let mut rates = Vec::new();
    for (epoch, batch) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (3, 1)] {
        (t.cursor.epoch, t.cursor.batch) = (epoch, batch);
        rates.push(t.learning_rate(2));
    }
    let expected = [0.25, 0.5, 0.75, 1.0, 1.0, 0.5];
    assert!(
        rates
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-12),
        "{rates:?}"
    );
}

#[test]
fn clusters_are_read_only_when_a_parameter_needs_them() {
    let roles = |p: &TrainParams| Train::reads(p).iter().any(|r| r.role == "clusters");
    let base = TrainParams::default();
    assert!(!roles(&base));
    assert!(roles(&TrainParams {
        cnv_input: CnvInput::ClusterMean,
        ..base.clone()
    }));
    assert!(roles(&TrainParams {
        mask_same_cluster: true,
        ..base.clone()
    }));
    let problems = clcc_stage::params::problems::<Train>;
    assert!(problems(&base).is_empty());
    let bad = TrainParams {
        dropout: 1.0,
        epochs: 0,
        expr_hidden: vec![],
        learning_rate: f64::NAN,
        ..base
    };
    let paths = |p: &TrainParams| problems(p).into_iter().map(|p| p.path).collect::<Vec<_>>();
    let found = paths(&bad);
    assert_eq!(found, ["epochs", "learning_rate", "dropout", "expr_hidden"]);
    let bad = TrainParams {
        warmup_epochs: 100,
        clip_norm: Some(0.0),
        learn_temperature: true,
        temperature: 2.0,
        ..TrainParams::default()
    };
    assert_eq!(paths(&bad), ["clip_norm", "warmup_epochs", "temperature"]);
}
