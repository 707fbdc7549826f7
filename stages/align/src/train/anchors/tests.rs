//! The objective of method B against PyTorch and finite differences, and what training comes to.

use candle_core::{DType, Device, Tensor, Var};

use super::data::AnchorData;
use super::objective::{AnchorObjective, new_fit};
use super::params::{AnchorParams, CentroidSpace};
use crate::train::divergence::Reason;
use crate::train::error::TrainError;
use crate::train::fit::{CursorOf, Fit};
use crate::train::network::encoder::{NamedArray, by_name};
use crate::train::objective::{Model as _, Objective as _};
use crate::train::params::{Method, TrainParams};
use crate::train::test_support::{
    FIRST, cancel_after, f64s, in_torch_order, kill_after, modality, relative, resume,
    torch_position, train, with_widths,
};
use clcc_numerics::rng::Rng;
use clcc_testing::at_threads;

/// The data of `tests/reference/train/anchors_step.py`.
fn reference_data() -> AnchorData {
    AnchorData {
        expr: modality(
            14,
            40,
            |k| ((1.7 * k as f64 + 0.3).sin() - 0.4).max(0.0) * 2.0,
            |j| 0.1 * (0.9 * j as f64 + 1.0).sin(),
        ),
        states: modality(
            5,
            40,
            |k| (2.3 * k as f64 + 0.7).sin().round() / 2.0,
            |_| 0.0,
        ),
        of: (0..14).map(|c| Some(c * 3 % 5)).collect(),
        n_anchors: 5,
        train: (0..11).collect(),
        val: vec![11, 12, 13],
    }
}

fn reference_params(centroid_space: CentroidSpace) -> TrainParams {
    TrainParams {
        objective: Method::Anchors,
        expr_hidden: vec![16, 8],
        cnv_hidden: vec![8, 6],
        learning_rate: 0.01,
        weight_decay: 0.1,
        anchors: AnchorParams {
            batch_size: 8,
            temperature: 0.2,
            clip_norm: Some(0.5),
            h_dim: 6,
            head_hidden: 7,
            z_dim: 5,
            top_k: 2,
            centroid_space,
            centroid_weight: 0.3,
            h_weight: 0.05,
        },
        ..TrainParams::default()
    }
}

fn trainer<'a>(
    data: &'a AnchorData,
    params: &'a TrainParams,
    dtype: DType,
) -> Fit<AnchorObjective<'a>> {
    new_fit(data, params, 7, dtype, &Device::Cpu).unwrap()
}

/// The script's values for some arrays; parameters count from `first` in the script's order.
fn filled(arrays: &[NamedArray], first: usize) -> Vec<NamedArray> {
    let is_parameter = |a: &NamedArray| !a.name.contains("running");
    let mut p = first;
    let mut out = Vec::new();
    for (mut array, width) in with_widths(arrays) {
        if is_parameter(&array) {
            let wave = |k: usize| ((0.37 + 0.01 * p as f64) * k as f64 + p as f64).sin();
            let fan_in = match array.shape.len() {
                3 => array.shape[1],
                _ => *array.shape.last().unwrap(),
            } as f64;
            let value = |k: usize| match array.shape.len() {
                _ if array.name.ends_with("norm.weight") => 1.0 + 0.2 * wave(k),
                1 => 0.1 * wave(k),
                _ => wave(k) / fan_in.sqrt(),
            };
            array.values = (0..array.values.len())
                .map(|k| torch_position(&array, width, k).map_or(0.0, |k| value(k) as f32))
                .collect();
            p += 1;
        }
        out.push(array);
    }
    out
}

/// The script's weights and centroids.
fn fill(t: &mut AnchorObjective<'_>) {
    let expr = filled(&t.weights().unwrap(), 0);
    t.restore(&expr).unwrap();
    let frozen = filled(&t.frozen.snapshot().unwrap(), 14);
    t.frozen.restore(by_name(&frozen)).unwrap();
    let width = match t.params.anchors.centroid_space {
        CentroidSpace::Z => 5,
        CentroidSpace::H => 6,
    };
    t.bank = t.frozen.bank(&t.data.states, 5, &Device::Cpu).unwrap();
    t.centroids = Some(NamedArray {
        name: "centroids".into(),
        shape: vec![5, width],
        values: (0..5 * width)
            .map(|k| (0.5 * (1.3 * k as f64 + 0.2).sin()) as f32)
            .collect(),
    });
}

/// Every trained parameter with its gradient.
fn gradients(t: &mut AnchorObjective<'_>, total: &Tensor) -> Vec<(String, Var, Tensor)> {
    let grads = total.backward().unwrap();
    let of_expr = t.expr.gradients(&grads);
    let of_head = t.head.gradients(&grads).unwrap();
    let named = |(n, v): (String, &Var)| (n, v.clone());
    let head = t.head.parameters();
    let all = t.expr.parameters().into_iter().chain(head).map(named);
    all.zip(of_expr.into_iter().chain(of_head))
        .map(|((name, var), gradient)| (name, var, gradient))
        .collect()
}

/// Bank, terms and every gradient's every entry in f64 and in f32 (as training runs, also by the path of
/// accelerators); then two steps of Adam with L2 and clipping.
#[test]
fn two_steps_are_those_of_pytorch() {
    let expected: serde_json::Value = serde_json::from_str(include_str!(
        "../../../../../tests/reference/train/anchors_step.json"
    ))
    .unwrap();
    let cells: Vec<u32> = (0..8).collect();
    for (name, space) in [("z", CentroidSpace::Z), ("h", CentroidSpace::H)] {
        let expected = &expected[name];
        let params = reference_params(space);
        for (dtype, resident, loss_bound, gradient_bound) in [
            (DType::F64, false, 1e-7, 1e-7),
            (DType::F32, false, 1e-5, 1e-4),
            (DType::F32, true, 1e-5, 1e-4),
        ] {
            let what = format!("{name} {dtype:?} resident {resident}");
            let mut data = reference_data();
            if resident {
                data.expr.place_on(&Device::Cpu, dtype).unwrap();
            }
            let mut t = trainer(&data, &params, dtype);
            fill(&mut t.objective);
            for (bank, key) in [
                (&t.objective.bank.h, "bank_h"),
                (&t.objective.bank.z, "bank_z"),
            ] {
                let worst = relative(&f64s(bank), &expected[key]);
                assert!(worst < loss_bound, "{what} {key}: {worst}");
            }
            let arrays = with_widths(&t.objective.weights().unwrap());
            let loss = t.objective.loss(&cells, FIRST).unwrap();
            let terms = loss.terms;
            let found = [
                f64s(&loss.total)[0],
                terms.nce,
                terms.centroid.unwrap(),
                terms.h,
            ];
            for (k, found) in found.into_iter().enumerate() {
                let expected = expected["loss"][k].as_f64().unwrap();
                let off = (found / expected - 1.0).abs();
                assert!(off < loss_bound, "{what} term {k}: {found} {expected}");
            }
            for (parameter, _, gradient) in gradients(&mut t.objective, &loss.total) {
                let (array, width) = arrays.iter().find(|a| a.0.name == parameter).unwrap();
                let found = in_torch_order(array, *width, &f64s(&gradient));
                let wanted = &expected["gradients"][&parameter];
                let sizes = wanted.as_array().unwrap().iter();
                // A bias before a batch norm has no effect: its gradient is rounding on both sides.
                if sizes.clone().all(|g| g.as_f64().unwrap().abs() < 1e-12) {
                    assert!(found.iter().all(|g| g.abs() < 1e-5), "{what} {parameter}");
                    continue;
                }
                let worst = relative(&found, wanted);
                assert!(worst < gradient_bound, "{what} {parameter}: {worst}");
            }

            // The terms above moved the running statistics; start again.
            let mut t = trainer(&data, &params, dtype);
            fill(&mut t.objective);
            for _ in 0..2 {
                t.step(&cells, 1).unwrap();
            }
            let after = expected["parameters_after_two_steps"].as_object().unwrap();
            let arrays = with_widths(&t.objective.weights().unwrap());
            assert_eq!(arrays.len(), after.len());
            for (array, width) in arrays {
                let values: Vec<f64> = array.values.iter().map(|&v| f64::from(v)).collect();
                let values = in_torch_order(&array, width, &values);
                // L2 gives a bias without effect a gradient of its own, so nothing moves by noise.
                let bound = if dtype == DType::F64 { 3e-6 } else { 1e-3 };
                let worst = relative(&values, &after[&array.name]);
                assert!(worst < bound, "{what} {}: {worst}", array.name);
            }
        }
    }
}

/// The length before clipping, and the loss of the validation cells after two steps.
#[test]
fn length_and_validation_are_those_of_pytorch() {
    let expected: serde_json::Value = serde_json::from_str(include_str!(
        "../../../../../tests/reference/train/anchors_step.json"
    ))
    .unwrap();
    let (data, params) = (reference_data(), reference_params(CentroidSpace::Z));
    let params = TrainParams {
        epochs: 1,
        ..params
    };
    let mut t = trainer(&data, &params, DType::F64);
    fill(&mut t.objective);
    let cells: Vec<u32> = (0..8).collect();
    t.step(&cells, 1).unwrap();
    let length = t.cursor.sums.gradient_norm;
    let wanted = expected["z"]["length"].as_f64().unwrap();
    assert!((length / wanted - 1.0).abs() < 1e-7, "{length} {wanted}");
    assert!(length > 0.5, "the example is clipped");
    t.step(&cells, 1).unwrap();
    let found = t.objective.validation_loss().unwrap().unwrap();
    let wanted = expected["z"]["validation_loss"].as_f64().unwrap();
    assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let data = reference_data();
    let cells: Vec<u32> = (0..8).collect();
    for space in [CentroidSpace::Z, CentroidSpace::H] {
        let params = reference_params(space);
        let mut t = trainer(&data, &params, DType::F64);
        fill(&mut t.objective);
        let total = t.objective.loss(&cells, FIRST).unwrap().total;
        let arrays = with_widths(&t.objective.weights().unwrap());
        let mut largest: f64 = 0.0;
        for (name, var, gradient) in gradients(&mut t.objective, &total) {
            let (grad, base) = (f64s(&gradient), f64s(&var));
            let (array, width) = arrays.iter().find(|a| a.0.name == name).unwrap();
            let held: Vec<usize> = (0..base.len())
                .filter(|&k| torch_position(array, *width, k).is_some())
                .collect();
            for &at in held.iter().step_by(held.len().div_ceil(4)) {
                let mut moved = |by: f64| {
                    let mut values = base.clone();
                    values[at] += by;
                    let moved = Tensor::from_vec(values, var.shape(), &Device::Cpu).unwrap();
                    var.set(&moved).unwrap();
                    f64s(&t.objective.loss(&cells, FIRST).unwrap().total)[0]
                };
                let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                moved(0.0);
                largest = largest.max(numeric.abs());
                let off = (numeric - grad[at]).abs();
                assert!(
                    off < 1e-6 * (1.0 + numeric.abs()),
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
}

/// Cells of eight anchors: an anchor alters blocks of genes, and a cell's expression follows.
fn simulated(n: usize, seed: u64) -> AnchorData {
    const GENES: usize = 160;
    let mut rng = Rng::new(seed, "test.anchors", &[]);
    let state: Vec<f64> = (0..8 * GENES / 20)
        .map(|_| [-0.5, 0.0, 0.5][rng.below(3) as usize])
        .collect();
    let of = |cell: usize| cell % 8;
    let at = |anchor: usize, gene: usize| state[anchor * (GENES / 20) + gene / 20];
    let noise: Vec<f64> = (0..n * GENES).map(|_| rng.normal()).collect();
    AnchorData {
        expr: modality(
            n,
            GENES,
            |k| 2.0 * at(of(k / GENES), k % GENES) + noise[k],
            |_| 0.0,
        ),
        states: modality(8, GENES, |k| at(k / GENES, k % GENES), |_| 0.0),
        of: (0..n).map(|c| Some(of(c) as u32)).collect(),
        n_anchors: 8,
        train: (0..n * 4 / 5).collect(),
        val: (n * 4 / 5..n).collect(),
    }
}

fn quick_params() -> TrainParams {
    TrainParams {
        objective: Method::Anchors,
        epochs: 5,
        expr_hidden: vec![32, 16],
        cnv_hidden: vec![32, 16],
        anchors: AnchorParams {
            batch_size: 32,
            h_dim: 16,
            head_hidden: 16,
            z_dim: 8,
            top_k: 4,
            ..AnchorParams::default()
        },
        ..TrainParams::default()
    }
}

/// Share of `cells` whose own anchor is the nearest in `z`.
fn accuracy(t: &AnchorObjective<'_>, cells: &[usize]) -> f64 {
    let cells: Vec<u32> = cells.iter().map(|&c| c as u32).collect();
    let z = t.embed(&cells).unwrap().z;
    let bank = t.bank.z.to_vec2::<f32>().unwrap();
    let right = cells.iter().zip(z.rows()).filter(|(cell, z)| {
        let cosine = |a: usize| z.iter().zip(&bank[a]).map(|(x, y)| x * y).sum::<f32>();
        let best = (0..bank.len()).max_by(|&a, &b| cosine(a).total_cmp(&cosine(b)));
        best == t.data.of[**cell as usize].map(|a| a as usize)
    });
    right.count() as f64 / cells.len() as f64
}

#[test]
fn cells_find_their_anchors_and_every_term_falls() {
    let data = simulated(400, 1);
    for space in [CentroidSpace::Z, CentroidSpace::H] {
        let mut params = quick_params();
        params.epochs = 30;
        params.anchors.centroid_space = space;
        params.anchors.h_weight = 0.01;
        let mut t = trainer(&data, &params, DType::F32);
        train(&mut t).unwrap();
        let history = &t.cursor.history;
        let (first, second, last) = (&history[0], &history[1], history.last().unwrap());
        assert!(
            first.own.centroid.is_none(),
            "an untrained encoder has no centroids"
        );
        assert!(
            last.own.nce < 0.5 * first.own.nce && last.own.h < 0.8 * first.own.h,
            "{first:?} {last:?}"
        );
        assert!(space == CentroidSpace::H || last.own.centroid < second.own.centroid);
        let p = &params.anchors;
        let sum =
            last.own.nce + p.centroid_weight * last.own.centroid.unwrap() + p.h_weight * last.own.h;
        assert!(
            (last.train_loss - sum).abs() < 1e-5,
            "the terms make the loss"
        );
        let (on_train, on_val) = (
            accuracy(&t.objective, &data.train),
            accuracy(&t.objective, &data.val),
        );
        assert!(
            on_train > 0.98 && on_val > 0.9,
            "{space:?}: {on_train} {on_val}; chance is 0.125"
        );
    }
}

/// The map is frozen: recomputed every epoch, the bank stays where it was; and it is a function of the seed.
#[test]
fn the_bank_never_moves() {
    let (data, params) = (simulated(100, 2), quick_params());
    let mut t = trainer(&data, &params, DType::F32);
    let before = (f64s(&t.objective.bank.h), f64s(&t.objective.bank.z));
    train(&mut t).unwrap();
    assert_eq!(
        (f64s(&t.objective.bank.h), f64s(&t.objective.bank.z)),
        before
    );
    let other = new_fit(&data, &params, 8, DType::F32, &Device::Cpu).unwrap();
    assert_ne!(f64s(&other.objective.bank.z), before.1);
}

/// Weights, the frozen map with its running statistics, and the cursor.
type Reached<'a> = (
    Vec<NamedArray>,
    Vec<NamedArray>,
    CursorOf<AnchorObjective<'a>>,
);

fn reached<'a>(t: &Fit<AnchorObjective<'a>>) -> Reached<'a> {
    let frozen = t.objective.frozen.snapshot().unwrap();
    (t.objective.weights().unwrap(), frozen, t.cursor.clone())
}

/// Stopped and killed at points within and between epochs, with and without centroids.
#[test]
fn a_resumed_run_is_the_uninterrupted_one_bit_for_bit() {
    let data = simulated(100, 3);
    for (space, weight) in [
        (CentroidSpace::Z, 0.1),
        (CentroidSpace::H, 0.1),
        (CentroidSpace::Z, 0.0),
    ] {
        let mut params = quick_params();
        params.anchors.centroid_space = space;
        params.anchors.centroid_weight = weight;
        let mut whole = trainer(&data, &params, DType::F32);
        train(&mut whole).unwrap();
        let dir = tempfile::tempdir().unwrap();
        // 80 cells in batches of 32: three steps an epoch, 15 in all. The last stop is where an epoch begins.
        for (steps, kills, resumed_from) in [
            (1, false, 0),
            (4, false, 1),
            (1, false, 5),
            (2, true, 6),
            (3, true, 6),
            (3, false, 8),
            (1, false, 11),
            (0, false, 12),
        ] {
            let mut part = trainer(&data, &params, DType::F32);
            resume(&mut part, dir.path(), 2);
            assert_eq!(part.cursor.step, resumed_from);
            if kills {
                kill_after(&mut part, steps);
            } else {
                cancel_after(&mut part, steps);
            }
        }
        let mut last = trainer(&data, &params, DType::F32);
        assert!(resume(&mut last, dir.path(), 2));
        assert_eq!(last.cursor.step, 12);
        train(&mut last).unwrap();
        assert_eq!(reached(&last), reached(&whole));
        let mut other = trainer(&data, &params, DType::F32);
        assert!(other.resume(dir.path(), "other").is_err());
    }
}

/// A loss of three times that of the first epoch with all its terms ends the run: the second, where there
/// are centroids; and so does a loss that is no number.
#[test]
fn a_loss_that_diverges_stops_the_run() {
    let data = simulated(100, 3);
    for (weight, whole_epoch, stopped_in) in [(0.1, 1, 3), (0.0, 0, 2)] {
        let mut params = quick_params();
        params.anchors.centroid_weight = weight;
        let dir = tempfile::tempdir().unwrap();
        let mut t = trainer(&data, &params, DType::F32);
        resume(&mut t, dir.path(), 256);
        cancel_after(&mut t, 3 * (whole_epoch as u64 + 1));
        t.cursor.history[whole_epoch].train_loss = 1e-3;
        let error = train(&mut t).unwrap_err();
        let TrainError::Diverged(diverged) = error else {
            panic!("{error}")
        };
        assert!(matches!(diverged.reason, Reason::Growth { .. }));
        assert_eq!((diverged.at.epoch, diverged.at.batch), (stopped_in, None));
    }
    let (mut data, params) = (data, quick_params());
    let broken = |k: usize| {
        if k == 20 * 160 {
            f64::NAN
        } else {
            (k as f64).sin()
        }
    };
    data.expr = modality(100, 160, broken, |_| 0.0);
    let mut t = trainer(&data, &params, DType::F32);
    let error = train(&mut t).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("training loss is NaN in epoch 1, batch"),
        "{text}"
    );
}

#[test]
fn any_number_of_threads_trains_the_same_bits() {
    let data = simulated(300, 4);
    let params = quick_params();
    let run = |threads: usize| {
        at_threads(threads, || {
            let mut t = trainer(&data, &params, DType::F32);
            train(&mut t).unwrap();
            let all: Vec<u32> = (0..300).collect();
            (reached(&t), t.objective.embed(&all).unwrap())
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

#[test]
fn parameters_out_of_range_are_named() {
    let params = TrainParams {
        anchors: AnchorParams {
            batch_size: 1,
            temperature: 0.0,
            clip_norm: Some(0.0),
            h_dim: 1,
            head_hidden: 0,
            z_dim: 1,
            top_k: 0,
            centroid_space: CentroidSpace::Z,
            centroid_weight: -1.0,
            h_weight: f64::NAN,
        },
        ..TrainParams::default()
    };
    let paths: Vec<String> = clcc_stage::params::problems::<crate::train::Train>(&params)
        .into_iter()
        .map(|p| p.path)
        .collect();
    let fields = [
        "batch_size",
        "temperature",
        "clip_norm",
        "h_dim",
        "head_hidden",
        "z_dim",
        "top_k",
        "centroid_weight",
        "h_weight",
    ];
    assert_eq!(paths, fields.map(|f| format!("anchors.{f}")));
}
