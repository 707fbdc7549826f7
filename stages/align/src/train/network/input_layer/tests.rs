//! Both directions against dense z-scores, and the same bits at any number of threads.

use std::sync::Arc;

use super::*;
use crate::train::test_support::sparse_input;
use candle_core::{Device, Var};
use clcc_data::matrix::Csr;
use clcc_numerics::rng::Rng;
use clcc_testing::at_threads;
use ndarray::Array2;

/// A sparse input with shifts, and the same cells dense and z-scored.
pub(crate) fn example(n: usize, g: usize, seed: u64) -> (Arc<SparseInput>, Array2<f64>) {
    let mut rng = Rng::new(seed, "test.input", &[]);
    let y = Array2::from_shape_fn((n, g), |_| {
        if rng.uniform() < 0.2 {
            rng.normal() as f32
        } else {
            0.0
        }
    });
    let shift: Vec<f32> = (0..g).map(|_| rng.normal() as f32 * 0.2).collect();
    let z = Array2::from_shape_fn((n, g), |(i, j)| f64::from(y[[i, j]]) - f64::from(shift[j]));
    (Arc::new(sparse_input(&Csr::from_dense(&y), shift)), z)
}

fn random(n: usize, m: usize, seed: u64) -> Array2<f64> {
    let mut rng = Rng::new(seed, "test.random", &[]);
    Array2::from_shape_fn((n, m), |_| rng.normal())
}

/// A weight of `features x width` as it is held.
fn panelled(a: &Array2<f64>) -> Tensor {
    let (features, width) = a.dim();
    let mut held = vec![0f64; panels(width) * features * LANES];
    for ((f, unit), &v) in a.indexed_iter() {
        held[place(features, f, unit)] = v;
    }
    Tensor::from_vec(held, (panels(width), features, LANES), &Device::Cpu).unwrap()
}

/// The other way; what fills the last panel up must be zero.
fn unpanelled(t: &Tensor, width: usize) -> Array2<f64> {
    let (_, features, _) = t.dims3().unwrap();
    let held = t
        .to_dtype(candle_core::DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap();
    let held = held.to_vec1::<f64>().unwrap();
    let out = Array2::from_shape_fn((features, width), |(f, u)| held[place(features, f, u)]);
    let sum = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>();
    let (all, kept) = (
        sum(&mut held.iter().copied()),
        sum(&mut out.iter().copied()),
    );
    assert!((all - kept).abs() <= 1e-12 * all);
    out
}

fn to_tensor(a: &Array2<f64>) -> Tensor {
    Tensor::from_vec(a.iter().copied().collect(), a.dim(), &Device::Cpu).unwrap()
}

fn close(found: &Tensor, expected: &Array2<f64>, tolerance: f64) {
    let found = found
        .to_dtype(candle_core::DType::F64)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1::<f64>()
        .unwrap();
    assert_eq!(found.len(), expected.len());
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max);
    assert!(worst < tolerance, "{worst}");
}

/// A pass's part of the gradient, and the bias's.
fn pending(batch: SparseBatch, grad: &Tensor) -> (Pending, Tensor) {
    let (width, held) = (grad.dim(1).unwrap(), hold(grad));
    match grad.dtype() {
        candle_core::DType::F32 => Pending::new::<f32>(batch, held.get().unwrap(), width),
        _ => Pending::new::<f64>(batch, held.get().unwrap(), width),
    }
    .unwrap()
}

/// More than one feature block, a width with and without a remainder, rows taken twice.
#[test]
fn both_directions_agree_with_the_dense_z_score() {
    for width in [64, 70, 5] {
        let (input, z) = example(12, 600, 1);
        let rows = vec![3u32, 0, 11, 3];
        let z = z.select(ndarray::Axis(0), &[3, 0, 11, 3]);
        let (w, b, g) = (
            random(600, width, 2),
            random(1, width, 3),
            random(4, width, 4),
        );
        for (dtype, tolerance) in [
            (candle_core::DType::F64, 1e-10),
            (candle_core::DType::F32, 2e-4),
        ] {
            let weight = Var::from_tensor(&panelled(&w).to_dtype(dtype).unwrap()).unwrap();
            let bias = Var::from_tensor(
                &to_tensor(&b)
                    .flatten_all()
                    .unwrap()
                    .to_dtype(dtype)
                    .unwrap(),
            )
            .unwrap();
            let batch = SparseBatch::new(input.clone(), &rows);
            let out = batch.linear(&weight, &bias).unwrap();
            close(&out, &(z.dot(&w) + &b), tolerance);
            let (pending, of_bias) = pending(batch, &to_tensor(&g).to_dtype(dtype).unwrap());
            let gradient = unpanelled(&whole_gradient(&[pending]).unwrap(), width);
            close(&to_tensor(&gradient), &z.t().dot(&g), tolerance);
            close(
                &of_bias,
                &g.sum_axis(ndarray::Axis(0)).insert_axis(ndarray::Axis(0)),
                tolerance,
            );
        }
    }
}

/// More rows than one part, with every number of entries of a block from none to all.
#[test]
fn rows_of_any_number_of_entries_are_taken() {
    let (n, g, width) = (PART_ROWS + 150, 200, 70);
    let y = Array2::from_shape_fn((n, g), |(i, j)| {
        // Row i has its first i % 201 features.
        if j < i % (g + 1) {
            1.0 + ((i * 7 + j * 3) % 11) as f32 / 8.0
        } else {
            0.0
        }
    });
    let shift: Vec<f32> = (0..g).map(|j| (j % 5) as f32 / 16.0).collect();
    let z = Array2::from_shape_fn((n, g), |(i, j)| f64::from(y[[i, j]]) - f64::from(shift[j]));
    let input = Arc::new(sparse_input(&Csr::from_dense(&y), shift));
    let rows: Vec<u32> = (0..n as u32).rev().collect();
    let z = z.slice_move(ndarray::s![..;-1, ..]);
    let (w, b, grad) = (
        random(g, width, 8),
        random(1, width, 9),
        random(n, width, 10),
    );
    let batch = SparseBatch::new(input, &rows);
    let bias = to_tensor(&b).flatten_all().unwrap();
    let out = batch.linear(&panelled(&w), &bias).unwrap();
    close(&out, &(z.dot(&w) + &b), 1e-9);
    let (pending, _) = pending(batch, &to_tensor(&grad));
    let gradient = unpanelled(&whole_gradient(&[pending]).unwrap(), width);
    close(&to_tensor(&gradient), &z.t().dot(&grad), 1e-9);
}

/// What is dense and what is sparse decides no value: the same cells with every feature sparse, some dense and all
/// dense, and the slow product of the z-scores.
#[test]
fn dense_and_sparse_features_come_to_the_same() {
    let (n, g, width) = (40, 300, 70);
    let mut rng = Rng::new(11, "test.dense", &[]);
    let y = Array2::from_shape_fn((n, g), |(_, j)| {
        if rng.uniform() < (j % 10) as f64 / 9.0 {
            rng.normal() as f32
        } else {
            0.0
        }
    });
    let shift: Vec<f32> = (0..g).map(|_| rng.normal() as f32 * 0.2).collect();
    let z = Array2::from_shape_fn((n, g), |(i, j)| f64::from(y[[i, j]]) - f64::from(shift[j]));
    let scaled = Csr::from_dense(&y);
    let (w, b, grad) = (
        random(g, width, 12),
        random(1, width, 13),
        random(n, width, 14),
    );
    let by_share = sparse_input(&scaled, shift.clone())
        .dense()
        .features
        .clone();
    assert!((100..200).contains(&by_share.len()), "{}", by_share.len());
    for common in [Arc::default(), by_share, (0..g as u32).collect()] {
        let input = SparseInput::new(n, shift.clone(), common, |i| {
            let (cols, vals) = scaled.row(i);
            cols.iter().copied().zip(vals.iter().copied()).collect()
        });
        let rows: Vec<u32> = (0..n as u32).collect();
        let batch = SparseBatch::new(Arc::new(input), &rows);
        let bias = to_tensor(&b).flatten_all().unwrap();
        let out = batch.linear(&panelled(&w), &bias).unwrap();
        close(&out, &(z.dot(&w) + &b), 1e-10);
        let (pending, _) = pending(batch, &to_tensor(&grad));
        let gradient = unpanelled(&whole_gradient(&[pending]).unwrap(), width);
        close(&to_tensor(&gradient), &z.t().dot(&grad), 1e-10);
    }
}

/// Two pending batches of one step are the step with the sum of their gradients.
#[test]
fn a_pending_step_is_the_step_with_the_whole_gradient() {
    let (input, _) = example(12, 600, 1);
    let start = panelled(&random(600, 70, 2));
    let adam = AdamWStep {
        learning_rate: 0.1,
        weight_decay: 0.5,
        l2: 0.25,
        step: 1,
        gradient_scale: 1.0,
    };
    let passes = || {
        [(vec![3u32, 0, 11], 4), (vec![5, 3], 5)]
            .map(|(rows, seed)| {
                let grad = to_tensor(&random(rows.len(), 70, seed));
                pending(SparseBatch::new(input.clone(), &rows), &grad).0
            })
            .into()
    };
    let whole = Var::from_tensor(&start).unwrap();
    let pending: Vec<Pending> = passes();
    let mut moments = AdamMoments::default();
    let whole_grad = whole_gradient(&pending).unwrap();
    adam.apply(&whole, &whole_grad, &mut moments).unwrap();

    let pieces = Var::from_tensor(&(&start * 1.0).unwrap()).unwrap();
    let squares = gradient_square_sum(&pending).unwrap();
    let gradient = unpanelled(&whole_grad, 70);
    let expected: f64 = gradient.iter().map(|g| g * g).sum();
    assert!(
        (squares / expected - 1.0).abs() < 1e-12,
        "{squares} {expected}"
    );
    let mut other = AdamMoments::default();
    pieces
        .inplace_op1(&InputLayerStep {
            pending,
            moments: Mutex::new(&mut other),
            adam,
        })
        .unwrap();
    close(
        &to_tensor(&unpanelled(&pieces, 70)),
        &unpanelled(&whole, 70),
        1e-12,
    );
    assert!(
        moments
            .m
            .iter()
            .zip(&other.m)
            .all(|(a, b)| (a - b).abs() <= 1e-6 * a.abs())
    );
}

#[test]
fn one_and_three_threads_give_the_same_bits() {
    let (input, _) = example(50, 3000, 5);
    let rows: Vec<u32> = (0..50).collect();
    let weight = panelled(&random(3000, 96, 6)).flatten_all().unwrap();
    let weight: Vec<f32> = weight
        .to_vec1::<f64>()
        .unwrap()
        .into_iter()
        .map(|x| x as f32)
        .collect();
    let grad: Vec<f32> = random(50, 96, 7).iter().map(|&x| x as f32).collect();
    let run = |threads: usize| {
        at_threads(threads, || {
            let batch = SparseBatch::new(input.clone(), &rows);
            let out = forward(&batch, &weight, &grad[..96]);
            let (pending, _) = Pending::new(batch, &grad, 96).unwrap();
            let mut moments = AdamMoments::default();
            let mut stepped = weight.clone();
            let step = InputLayerStep {
                pending: vec![pending],
                moments: Mutex::new(&mut moments),
                adam: AdamWStep {
                    learning_rate: 0.1,
                    weight_decay: 0.5,
                    l2: 0.0,
                    step: 1,
                    gradient_scale: 1.0,
                },
            };
            let mut held = step.moments.lock().unwrap();
            held.fit(stepped.len()).unwrap();
            step.update(&mut stepped, 3000, &mut held).unwrap();
            (out, stepped)
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(7));
}
