use super::*;
use candle_core::{Device, Var};
use clcc_testing::at_threads;

fn layer(p: f64) -> NormReluDropout {
    NormReluDropout::new(stream(p))
}

fn stream(p: f64) -> DropoutStream {
    DropoutStream {
        p,
        seed: 1,
        at: [0; 5],
    }
}

fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Rng::new(seed, "test.norm", &[]);
    (0..n).map(|_| 0.5 + 2.0 * rng.normal()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// By hand: column 0 is 1, 3 (mean 2, variance 1), column 1 is constant.
#[test]
fn a_small_batch_is_normalised_and_rectified() {
    let norm = layer(0.0);
    let y = norm.forward(&[1.0f64, 4.0, 3.0, 4.0], &[2.0, 5.0], &[0.5, 0.25]);
    let high = 0.5 + 2.0 / (1.0 + EPS).sqrt();
    assert_eq!(y[..2], [0.0, 0.25]);
    assert!((y[2] - high).abs() < 1e-12 && y[3] == 0.25);
    assert_eq!(
        *norm.stats(),
        BatchStats {
            mean: vec![2.0, 4.0],
            var: vec![1.0, 0.0],
            rows: 2
        }
    );
}

/// Central differences of a weighted sum of the outputs, with dropout on (the draws are fixed by
/// the stream).
#[test]
fn gradients_are_those_of_finite_differences() {
    let (n, width) = (70, 3);
    let inputs = [random(n * width, 1), random(width, 2), random(width, 3)];
    let weights = random(n * width, 4);
    let norm = layer(0.3);
    let y = norm.forward(&inputs[0], &inputs[1], &inputs[2]);
    let (dx, dscale, dshift) = norm.backward(&inputs[0], &inputs[1], &y, &weights);
    let loss = |t: &[Vec<f64>; 3]| dot(&layer(0.3).forward(&t[0], &t[1], &t[2]), &weights);
    for (i, grad) in [dx, dscale, dshift].iter().enumerate() {
        assert_eq!(grad.len(), inputs[i].len());
        for at in (0..grad.len()).step_by(7.min(grad.len() / 3)) {
            let moved = |by: f64| {
                let mut t = inputs.clone();
                t[i][at] += by;
                loss(&t)
            };
            let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!(
                (numeric - grad[at]).abs() < 1e-6 * (1.0 + numeric.abs()),
                "input {i} at {at}: {numeric} {}",
                grad[at]
            );
        }
    }
}

/// Values, statistics and gradients, with dropout on.
#[test]
fn the_composed_operations_do_the_same() {
    let (n, width) = (150, 7);
    let (x, scale, shift) = (random(n * width, 5), random(width, 6), random(width, 7));
    let weights = random(n * width, 8);
    let norm = layer(0.3);
    let y = norm.forward(&x, &scale, &shift);
    let (dx, dscale, dshift) = norm.backward(&x, &scale, &y, &weights);
    let stats = norm.stats();
    let by_hand = [y, dx, dscale, dshift, stats.mean.clone(), stats.var.clone()];

    let tensor = |v: &[f64]| Tensor::from_slice(v, (v.len() / width, width), &Device::Cpu).unwrap();
    let vector = |v: &[f64]| Var::new(v, &Device::Cpu).unwrap();
    let x = Var::from_tensor(&tensor(&x)).unwrap();
    let (scale, shift) = (vector(&scale), vector(&shift));
    let (y, stats) = NormReluDropout::composed(&x, &scale, &shift, &stream(0.3)).unwrap();
    let loss = (&y * tensor(&weights)).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let of = |v: &Var| flat(grads.get(v).unwrap());
    let composed = [
        flat(&y),
        of(&x),
        of(&scale),
        of(&shift),
        stats.mean,
        stats.var,
    ];
    for (a, b) in by_hand.iter().zip(&composed) {
        assert_eq!(a.len(), b.len());
        let mut pairs = a.iter().zip(b);
        assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-6 * (1.0 + b.abs())));
    }
}

#[test]
fn dropout_drops_its_share_and_keeps_the_mean() {
    let x = random(4000 * 5, 9);
    let run = |p| layer(p).forward(&x, &[1.0; 5], &[0.0; 5]);
    let (all, kept) = (run(0.0), run(0.25));
    let positive = |t: &[f64]| t.iter().filter(|v| **v > 0.0).count() as f64;
    // About 10,000 positive values: standard error of the kept share 0.0043.
    let share = positive(&kept) / positive(&all);
    assert!((share - 0.75).abs() < 0.02, "{share}");
    let sum = |t: &[f64]| t.iter().sum::<f64>();
    assert!((sum(&kept) / sum(&all) - 1.0).abs() < 0.03);
}

#[test]
fn one_and_three_threads_give_the_same_bits() {
    let x: Vec<f32> = random(500 * 40, 2).iter().map(|&v| v as f32).collect();
    let ones = [1f32; 40];
    let run = |threads: usize| {
        at_threads(threads, || {
            let norm = layer(0.1);
            let y = norm.forward(&x, &ones, &ones);
            let grads = norm.backward(&x, &ones, &y, &y);
            (y, grads)
        })
    };
    assert_eq!(run(1), run(3));
}
