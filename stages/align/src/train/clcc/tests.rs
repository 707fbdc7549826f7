//! The objective of method A against PyTorch and finite differences, and what training comes to.

use std::sync::Arc;

use candle_core::{DType, Device, Var};

use super::data::TrainingData;
use super::objective::{Clcc, new_fit};
use super::outputs::embed;
use crate::mine::Negatives;
use crate::train::Train;
use crate::train::fit::{CursorOf, Fit};
use crate::train::network::encoder::{Encoder, NamedArray};
use crate::train::network::inputs::Modality;
use crate::train::objective::{Model as _, Objective as _};
use crate::train::params::{BnScope, CnvInput, TrainParams};
use crate::train::test_support::{
    FIRST, accelerator, f64s, in_torch_order, modality, relative, sparse_input, torch_position,
    train, with_widths,
};
use clcc_data::matrix::Csr;
use clcc_numerics::rng::Rng;
use clcc_stage::stage::Stage as _;
use clcc_testing::at_threads;

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

pub(super) fn trainer<'a>(
    data: &'a TrainingData,
    params: &'a TrainParams,
    dtype: DType,
) -> Fit<Clcc<'a>> {
    trainer_on(&Device::Cpu, data, params, dtype)
}

fn trainer_on<'a>(
    device: &Device,
    data: &'a TrainingData,
    params: &'a TrainParams,
    dtype: DType,
) -> Fit<Clcc<'a>> {
    new_fit(data, params, 7, dtype, device).unwrap()
}

/// The script's `fill`, with the first layers in the layout in which they are held.
fn fill(trainer: &mut Fit<Clcc<'_>>) {
    let arrays = trainer.objective.weights().unwrap();
    let names: Vec<String> = trainer
        .objective
        .expr
        .parameters()
        .iter()
        .chain(&trainer.objective.cnv.parameters())
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
    trainer.objective.restore(&filled).unwrap();
}

/// Every parameter's name and gradient.
fn gradients(
    t: &mut Fit<Clcc<'_>>,
    grads: &candle_core::backprop::GradStore,
) -> Vec<(String, candle_core::Tensor)> {
    let of = |e: &mut Encoder| {
        let names: Vec<String> = e.parameters().into_iter().map(|p| p.0).collect();
        names
            .into_iter()
            .zip(e.gradients(grads))
            .collect::<Vec<_>>()
    };
    let expr = of(&mut t.objective.expr);
    expr.into_iter().chain(of(&mut t.objective.cnv)).collect()
}

/// Loss and every gradient's every entry, of the same weights and batch: in f64 to rounding, in f32
/// (as training runs) within 1e-5 of the loss and 1e-4 of each tensor's largest gradient. Then two
/// steps (3e-6: AdamW's moments and the running statistics are kept in f32).
#[test]
fn two_steps_are_those_of_pytorch() {
    let expected: serde_json::Value = serde_json::from_str(include_str!(
        "../../../../../tests/reference/train/clcc_step.json"
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
            let mut device = Device::Cpu;
            if resident {
                device = accelerator();
                data.expr.place_on(&device, dtype).unwrap();
                data.cnv.place_on(&device, dtype).unwrap();
            }
            let mut t = trainer_on(&device, &data, &params, dtype);
            fill(&mut t);
            let arrays = with_widths(&t.objective.weights().unwrap());
            let loss = t.objective.loss(&anchors, FIRST).unwrap();
            let (total, terms) = (&loss.total, loss.terms);
            assert_eq!(
                loss.cells_encoded,
                if bn_scope == BnScope::Joint { 10 } else { 13 }
            );
            for (k, loss) in [f64s(total)[0], terms.nce, terms.margin]
                .into_iter()
                .enumerate()
            {
                let (found, expected) = (loss, expected["loss"][k].as_f64().unwrap());
                assert!(
                    (found / expected - 1.0).abs() < loss_bound,
                    "{what} loss {k}: {found} {expected}"
                );
            }
            let grads = loss.gradients().unwrap();
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
            let arrays = with_widths(&t.objective.weights().unwrap());
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
                t.objective.validation_loss().unwrap().unwrap(),
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
    let grads = t
        .objective
        .loss(&anchors, FIRST)
        .unwrap()
        .gradients()
        .unwrap();
    let gradients = gradients(&mut t, &grads);
    let arrays = with_widths(&t.objective.weights().unwrap());
    let parameters: Vec<(String, Var)> = t
        .objective
        .expr
        .parameters()
        .into_iter()
        .chain(t.objective.cnv.parameters())
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
                f64s(&t.objective.loss(&anchors, FIRST).unwrap().total)[0]
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
pub(super) fn simulated(n: usize, seed: u64) -> TrainingData {
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
        Modality::of(Arc::new(sparse_input(&scaled, shift)))
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

pub(super) fn quick_params() -> TrainParams {
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
    train(&mut t).unwrap();
    let cells: Vec<u32> = (0..64).collect();
    let e = t
        .objective
        .expr
        .forward_eval(&data.expr.batch(&cells).unwrap())
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    let c = t
        .objective
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
    let anchors: Vec<u32> = (0..32).collect();
    let grads = t
        .objective
        .loss(&anchors, FIRST)
        .unwrap()
        .gradients()
        .unwrap();
    for (name, gradient) in gradients(&mut t, &grads) {
        let norm = f64s(&gradient).iter().map(|g| g * g).sum::<f64>();
        // A bias before a batch norm has no effect: its gradient is rounding.
        let before_norm = name.ends_with("bias") && !name.contains("norm") && !name.contains(".2.");
        assert!(before_norm || norm > 1e-10, "{name}: {norm}");
    }
}

type State<'a> = (Vec<NamedArray>, CursorOf<Clcc<'a>>, Vec<NamedArray>);

pub(super) fn state<'a>(t: &Fit<Clcc<'a>>) -> State<'a> {
    (
        t.objective.weights().unwrap(),
        t.cursor.clone(),
        t.best.clone(),
    )
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
            .optimizer
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
    train(&mut t).unwrap();
    let history = &t.cursor.history;
    assert_ne!(history[0].own.temperature, 0.5);
    assert!(
        history
            .iter()
            .all(|e| (0.01 - 1e-6..=1.0).contains(&e.own.temperature))
    );
    assert_ne!(history[0].own.temperature, history[7].own.temperature);
    let constant = quick_params();
    let mut fixed = trainer(&data, &constant, DType::F32);
    train(&mut fixed).unwrap();
    assert!(
        fixed
            .cursor
            .history
            .iter()
            .all(|e| e.own.temperature == 0.07)
    );
}

/// The operations of an accelerator, there or on the CPU: same draws, same losses, same weights to rounding.
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
        let mut device = Device::Cpu;
        if resident {
            device = accelerator();
            data.expr.place_on(&device, DType::F32).unwrap();
            data.cnv.place_on(&device, DType::F32).unwrap();
        }
        let mut t = trainer_on(&device, &data, &params, DType::F32);
        train(&mut t).unwrap();
        let e = embed(&t.objective.expr, &data.expr, 100, 16).unwrap();
        (t.cursor.history.clone(), e)
    };
    let ((sparse, e), (dense, f)) = (run(false), run(true));
    for (a, b) in sparse.iter().zip(&dense) {
        assert!(
            (a.train_loss / b.train_loss - 1.0).abs() < 1e-3,
            "{a:?} {b:?}"
        );
        assert!(
            (a.val_loss.unwrap() / b.val_loss.unwrap() - 1.0).abs() < 1e-2,
            "{a:?} {b:?}"
        );
    }
    let cosine = |i: usize| e.row(i).dot(&f.row(i));
    assert!((0..100).all(|i| cosine(i) > 0.99));
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
            train(&mut t).unwrap();
            let embedded = embed(&t.objective.expr, &data.expr, 150, 16).unwrap();
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
        let mut t = new_fit(&data, params, seed, DType::F32, &Device::Cpu).unwrap();
        train(&mut t).unwrap();
        t.cursor.history[0].clone()
    };
    let base = run(&params, 7);
    assert_eq!(base, run(&params, 7));
    assert_ne!(base, run(&params, 8));
    assert!(
        base.own.margin > 0.0
            && (base.train_loss - (base.own.nce + 0.5 * base.own.margin)).abs() < 1e-6
    );
    let without = run(
        &TrainParams {
            lambda: 0.0,
            ..params
        },
        7,
    );
    assert_eq!(
        (without.own.margin, without.train_loss),
        (0.0, without.own.nce)
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
