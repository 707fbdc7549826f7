//! The whole objective against PyTorch, finite differences, and the promises of the loop.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use candle_core::Var;

use super::encoder::NamedArray;
use super::input_layer::SparseInput;
use super::trainer::Cursor;
use super::*;
use crate::matrix::Csr;
use crate::rng::Rng;

/// A watch that stops after a number of steps, and keeps the checkpoints in a directory.
struct TestWatch<'a> {
    dir: Option<&'a Path>,
    stop_after: u64,
    losses: RefCell<Vec<f64>>,
}

impl<'a> TestWatch<'a> {
    fn new(dir: Option<&'a Path>, stop_after: u64) -> Self {
        Self {
            dir,
            stop_after,
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

    fn checkpoint(&self, trainer: &Trainer<'_>) -> StageResult<()> {
        self.dir
            .map_or(Ok(()), |dir| checkpoint::save(dir, "test", trainer))
    }
}

fn modality(
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
    Modality::of(Arc::new(SparseInput {
        scaled,
        shift: (0..width).map(|j| shift(j) as f32).collect(),
    }))
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

/// The script's `fill`, with the first layers transposed to the way they are held.
fn fill(trainer: &mut Trainer<'_>) {
    let mut arrays = trainer.snapshot().unwrap();
    let names: Vec<String> = trainer
        .expr
        .parameters()
        .iter()
        .chain(&trainer.cnv.parameters())
        .map(|p| p.0.clone())
        .collect();
    for array in &mut arrays {
        let Some(p) = names.iter().position(|n| *n == array.name) else {
            continue;
        };
        let wave = |k: usize| ((0.37 + 0.01 * p as f64) * k as f64 + p as f64).sin();
        let n = array.values.len();
        let transposed = transposed(array);
        let fan_in = if transposed {
            array.shape[0]
        } else {
            *array.shape.last().unwrap()
        };
        let value = |k: usize| {
            if array.name.ends_with("norm.weight") {
                1.0 + 0.2 * wave(k)
            } else if array.shape.len() == 2 {
                wave(k) / (fan_in as f64).sqrt()
            } else {
                0.1 * wave(k)
            }
        };
        let values: Vec<f32> = (0..n)
            .map(|k| value(torch_position(array, k)) as f32)
            .collect();
        array.values = values;
    }
    trainer.restore(&arrays).unwrap();
}

fn transposed(array: &NamedArray) -> bool {
    matches!(array.name.as_str(), "expr.0.weight" | "cnv.0.weight")
}

/// The position in torch's order of the value held at `k`.
fn torch_position(array: &NamedArray, k: usize) -> usize {
    if transposed(array) {
        let (inputs, outputs) = (array.shape[0], array.shape[1]);
        (k % outputs) * inputs + k / outputs
    } else {
        k
    }
}

/// Norm, and dot product with sin(k + 1).
fn summary(array: &NamedArray, values: &[f64]) -> [f64; 2] {
    let dot = values
        .iter()
        .enumerate()
        .map(|(k, v)| v * (torch_position(array, k) as f64 + 1.0).sin());
    [values.iter().map(|v| v * v).sum::<f64>().sqrt(), dot.sum()]
}

fn f64s(t: &candle_core::Tensor) -> Vec<f64> {
    t.flatten_all()
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
        .to_vec1()
        .unwrap()
}

fn pair(value: &serde_json::Value) -> [f64; 2] {
    [value[0].as_f64().unwrap(), value[1].as_f64().unwrap()]
}

/// Every parameter's name and gradient.
fn gradients(
    t: &Trainer<'_>,
    grads: &candle_core::backprop::GradStore,
) -> Vec<(String, candle_core::Tensor)> {
    let of = |e: &super::encoder::Encoder| {
        let names: Vec<String> = e.parameters().into_iter().map(|p| p.0).collect();
        names
            .into_iter()
            .zip(e.gradients(grads))
            .collect::<Vec<_>>()
    };
    of(&t.expr).into_iter().chain(of(&t.cnv)).collect()
}

/// Loss and gradients in f64 (relative 1e-9), then two steps (absolute 3e-6: AdamW's moments and the
/// running statistics are kept in f32).
#[test]
fn two_steps_are_those_of_pytorch() {
    let expected: serde_json::Value = serde_json::from_str(include_str!(
        "../../../tests/reference/train/clcc_step.json"
    ))
    .unwrap();
    let data = reference_data();
    let anchors: Vec<u32> = (0..6).collect();
    for (name, bn_scope) in [("joint", BnScope::Joint), ("separate", BnScope::Separate)] {
        let expected = &expected[name];
        let params = TrainParams {
            bn_scope,
            ..small_params()
        };
        let mut t = trainer(&data, &params, DType::F64);
        fill(&mut t);
        let shapes = t.snapshot().unwrap();
        let close =
            |what: &str, found: [f64; 2], expected: [f64; 2], relative: f64, absolute: f64| {
                let fits =
                    |a: f64, b: f64| (a - b).abs() <= absolute + relative * expected[0].abs();
                assert!(
                    fits(found[0], expected[0]) && fits(found[1], expected[1]),
                    "{name} {what}: {found:?} {expected:?}"
                );
            };

        let (total, nce, margin, encoded) = t.losses(&anchors).unwrap();
        assert_eq!(encoded, if bn_scope == BnScope::Joint { 10 } else { 13 });
        for (k, loss) in [&total, &nce, margin.as_ref().unwrap()]
            .into_iter()
            .enumerate()
        {
            let (found, expected) = (f64s(loss)[0], expected["loss"][k].as_f64().unwrap());
            assert!(
                (found - expected).abs() < 1e-10,
                "{name} loss {k}: {found} {expected}"
            );
        }
        let grads = total.backward().unwrap();
        for (parameter, gradient) in gradients(&t, &grads) {
            let array = shapes.iter().find(|a| a.name == parameter).unwrap();
            let found = summary(array, &f64s(&gradient));
            close(
                &parameter,
                found,
                pair(&expected["gradients"][&parameter]),
                1e-9,
                1e-11,
            );
        }

        // The losses above moved the running statistics; start again.
        let mut t = trainer(&data, &params, DType::F64);
        fill(&mut t);
        for _ in 0..2 {
            t.step(&anchors).unwrap();
        }
        let after = expected["parameters_after_two_steps"].as_object().unwrap();
        let arrays = t.snapshot().unwrap();
        assert_eq!(arrays.len(), after.len());
        for array in arrays {
            let values: Vec<f64> = array.values.iter().map(|&v| f64::from(v)).collect();
            close(
                &array.name,
                summary(&array, &values),
                pair(&after[&array.name]),
                0.0,
                3e-6,
            );
        }
        let (found, expected) = (
            t.validation_loss().unwrap(),
            expected["validation_loss"].as_f64().unwrap(),
        );
        assert!(
            (found - expected).abs() < 1e-4,
            "{name} validation: {found} {expected}"
        );
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
    let gradients = gradients(&t, &grads);
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
        for at in (0..base.len()).step_by(base.len().div_ceil(5)) {
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
        Modality::of(Arc::new(SparseInput { scaled, shift }))
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
        .forward_eval(&data.expr.batch(&cells))
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    let c = t
        .cnv
        .forward_eval(&data.cnv.batch(&cells))
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
    for (name, gradient) in gradients(&t, &grads) {
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
            assert!(matches!(stopped, Err(StageError::Cancelled)));
        }
        let mut last = trainer(&data, &params, DType::F32);
        assert!(checkpoint::resume(dir.path(), "test", &mut last).unwrap());
        assert_eq!(last.cursor.step, 9);
        last.run(&TestWatch::new(Some(dir.path()), u64::MAX))
            .unwrap();
        assert_eq!(state(&last), state(&whole));
        // A finished run's checkpoint has nothing left to do.
        let mut again = trainer(&data, &params, DType::F32);
        checkpoint::resume(dir.path(), "test", &mut again).unwrap();
        again.run(&TestWatch::new(None, 0)).unwrap();
        assert_eq!(state(&again), state(&whole));
    }
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
fn one_and_three_threads_train_the_same_bits() {
    let data = simulated(150, 4);
    let params = TrainParams {
        epochs: 2,
        batch_size: 96,
        ..quick_params()
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut t = trainer(&data, &params, DType::F32);
            t.run(&TestWatch::new(None, u64::MAX)).unwrap();
            let embedded = embed(&t.expr, &data.expr, 150, 16).unwrap();
            (state(&t), embedded)
        })
    };
    assert_eq!(run(1), run(3));
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
    assert!(error.hint().is_some());
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
        assert!((t.learning_rate() - expected).abs() < 1e-12);
    }
}

#[test]
fn devices_that_are_not_there_are_refused_by_name() {
    assert_eq!(choose_device(DeviceChoice::Auto).unwrap().1, "cpu");
    let error = choose_device(DeviceChoice::Cuda).unwrap_err();
    assert!(error.to_string().contains("cuda"), "{error}");
    assert!(error.hint().unwrap().contains("--device cpu"));
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
    assert!(base.problems().is_empty());
    let bad = TrainParams {
        dropout: 1.0,
        epochs: 0,
        expr_hidden: vec![],
        learning_rate: f64::NAN,
        ..base
    };
    let paths: Vec<String> = bad.problems().into_iter().map(|p| p.path).collect();
    assert_eq!(paths, ["epochs", "learning_rate", "dropout", "expr_hidden"]);
}
