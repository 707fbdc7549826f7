//! Pyramid-weighted running mean, in time linear in the non-zeros and the windows.
//!
//! The pyramid of n genes is the convolution of two boxes of a and b genes, a = (n+1)/2 rounded down
//! and b = n+1-a, so its sum over a window is a second difference of the twice-summed values
//! C2(p) = sum over k < p of (p - k) x_k:
//!
//!   sum_r min(r, n+1-r) x_{s+r-1} = C2(s+n) - C2(s+a-1) - C2(s+b-1) + C2(s-1)
//!
//! Between two non-zeros C2 is a straight line, so it is evaluated only at the points that some window
//! needs. The cost does not depend on the window's size.

use super::layout::Layout;

/// Evaluates every window of a [`Layout`] on sparse values along the genes.
#[derive(Debug, Clone)]
pub struct Smoother {
    chromosomes: Vec<Points>,
    /// Slots of the four points of each window, and the inverse sum of its weights.
    windows: Vec<([u32; 4], f64)>,
    n_slots: usize,
}

#[derive(Debug, Clone)]
struct Points {
    first_gene: usize,
    end_gene: usize,
    /// Distinct ascending positions at which C2 is needed, relative to `first_gene`.
    at: Vec<i64>,
    /// Slot of the first position.
    first_slot: usize,
}

/// Working memory of [`Smoother::apply`]; one per thread.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    c2: Vec<f64>,
}

impl Smoother {
    /// Prepare the windows of `layout`.
    pub fn new(layout: &Layout) -> Self {
        let mut chromosomes = Vec::new();
        let mut windows = Vec::with_capacity(layout.windows.len());
        let mut n_slots = 0;
        for span in &layout.chromosomes {
            let own = &layout.windows[span.first_window..span.first_window + span.n_windows];
            let corners: Vec<([i64; 4], f64)> = own
                .iter()
                .map(|w| {
                    if w.flat {
                        flat(w.offset, w.size)
                    } else {
                        pyramid(w.offset, w.size)
                    }
                })
                .collect();
            let mut at: Vec<i64> = corners.iter().flat_map(|c| c.0).collect();
            at.sort_unstable();
            at.dedup();
            let slot =
                |p: i64| (n_slots + at.binary_search(&p).expect("every corner is a point")) as u32;
            windows.extend(
                corners
                    .iter()
                    .map(|(c, weight)| (c.map(slot), 1.0 / weight)),
            );
            let n = at.len();
            chromosomes.push(Points {
                first_gene: span.genes.start,
                end_gene: span.genes.end,
                at,
                first_slot: n_slots,
            });
            n_slots += n;
        }
        Self {
            chromosomes,
            windows,
            n_slots,
        }
    }

    /// Number of windows.
    pub fn n_windows(&self) -> usize {
        self.windows.len()
    }

    /// Compute the weighted means of the windows. `values` are (gene, value) with strictly ascending
    /// genes, which are positions in [`Layout::genes`]; genes that are not listed count as 0. `out` has
    /// one entry per window and is overwritten.
    pub fn apply(&self, values: &[(u32, f64)], scratch: &mut Scratch, out: &mut [f64]) {
        scratch.c2.resize(self.n_slots, 0.0);
        let mut next = 0;
        for points in &self.chromosomes {
            while next < values.len() && (values[next].0 as usize) < points.first_gene {
                next += 1;
            }
            let slots = &mut scratch.c2[points.first_slot..points.first_slot + points.at.len()];
            // C1 and C2 at `here`; both are 0 before the first gene.
            let (mut c1, mut c2, mut here) =
                (0.0, 0.0, points.at.first().copied().unwrap_or(0).min(0));
            for (&p, slot) in points.at.iter().zip(slots) {
                while let Some(&(gene, value)) = values.get(next) {
                    let k = i64::from(gene) - points.first_gene as i64;
                    if gene as usize >= points.end_gene || k >= p {
                        break;
                    }
                    c2 += c1 * (k - here) as f64;
                    here = k;
                    c1 += value;
                    next += 1;
                }
                c2 += c1 * (p - here) as f64;
                here = p;
                *slot = c2;
            }
        }
        for ((corners, scale), out) in self.windows.iter().zip(out) {
            let [p, q, r, s] = corners.map(|c| scratch.c2[c as usize]);
            *out = (p - q - r + s) * scale;
        }
    }
}

/// Corner points of the pyramid of `n` genes from `s`, and the sum of its weights.
fn pyramid(s: i64, n: usize) -> ([i64; 4], f64) {
    let a = n.div_ceil(2) as i64;
    let b = n as i64 + 1 - a;
    ([s + n as i64, s + a - 1, s + b - 1, s - 1], (a * b) as f64)
}

/// Corner points for equal weights: a box of n genes and a box of one.
fn flat(s: i64, n: usize) -> ([i64; 4], f64) {
    let n = n as i64;
    ([s + n, s + n - 1, s, s - 1], n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infercnv::{Edges, GenePositions, InfercnvParams};
    use clcc_numerics::rng::Rng;
    use proptest::prelude::*;

    /// `numpy.convolve(x, kernel, mode)` for a kernel shorter than `x`.
    fn convolve(x: &[f64], kernel: &[f64], edges: Edges) -> Vec<f64> {
        let n = kernel.len();
        let full: Vec<f64> = (0..x.len() + n - 1)
            .map(|i| {
                (0..n)
                    .filter(|&j| i >= j && i - j < x.len())
                    .map(|j| kernel[j] * x[i - j])
                    .sum()
            })
            .collect();
        match edges {
            Edges::Valid => full[n - 1..x.len()].to_vec(),
            Edges::Same => full[(n - 1) / 2..(n - 1) / 2 + x.len()].to_vec(),
        }
    }

    fn oracle(chromosomes: &[Vec<f64>], params: &InfercnvParams) -> Vec<f64> {
        let weights = |n: usize| -> Vec<f64> { (1..=n).map(|r| r.min(n + 1 - r) as f64).collect() };
        let mut out = Vec::new();
        for x in chromosomes {
            let n = params.window_size;
            if n < x.len() {
                let w = weights(n);
                let total: f64 = w.iter().sum();
                out.extend(
                    convolve(x, &w, params.edges)
                        .iter()
                        .step_by(params.step)
                        .map(|v| v / total),
                );
            } else {
                let w = if params.edges == Edges::Valid {
                    vec![1.0; x.len()]
                } else {
                    weights(x.len())
                };
                out.push(x.iter().zip(&w).map(|(x, w)| x * w).sum::<f64>() / w.iter().sum::<f64>());
            }
        }
        out
    }

    fn layout(sizes: &[usize], params: &InfercnvParams) -> Layout {
        let chromosome: Vec<String> = sizes
            .iter()
            .enumerate()
            .flat_map(|(c, &n)| vec![format!("chr{}", c + 1); n])
            .collect();
        let place: Vec<f64> = (0..chromosome.len()).map(|g| g as f64).collect();
        let names: Vec<String> = (0..chromosome.len()).map(|g| format!("g{g}")).collect();
        Layout::new(
            &GenePositions {
                symbols: names.clone(),
                names,
                chromosome,
                start: place.clone(),
                end: place,
            },
            params,
        )
        .unwrap()
    }

    fn agrees(sizes: &[usize], params: &InfercnvParams, density: f64, seed: u64) {
        let mut rng = Rng::new(seed, "smooth test", &[]);
        let chromosomes: Vec<Vec<f64>> = sizes
            .iter()
            .map(|&n| {
                (0..n)
                    .map(|_| {
                        if rng.uniform() < density {
                            rng.normal()
                        } else {
                            0.0
                        }
                    })
                    .collect()
            })
            .collect();
        let sparse: Vec<(u32, f64)> = chromosomes
            .concat()
            .into_iter()
            .enumerate()
            .filter(|(_, v)| *v != 0.0)
            .map(|(g, v)| (g as u32, v))
            .collect();
        let smoother = Smoother::new(&layout(sizes, params));
        let expected = oracle(&chromosomes, params);
        let mut out = vec![f64::NAN; smoother.n_windows()];
        smoother.apply(&sparse, &mut Scratch::default(), &mut out);
        assert_eq!(out.len(), expected.len());
        for (o, e) in out.iter().zip(&expected) {
            // Absolute: values are of order 1; cancellation in C2 costs about n_genes^2 * 1e-16.
            assert!((o - e).abs() < 1e-10, "{o} {e} {params:?} {sizes:?}");
        }
    }

    #[test]
    fn hand_made_windows() {
        // Weights 1 2 1 over 4 genes, step 1: (1+4+3)/4, (2+6+4)/4.
        let params = InfercnvParams {
            window_size: 3,
            step: 1,
            ..Default::default()
        };
        let smoother = Smoother::new(&layout(&[4], &params));
        let mut out = [0.0; 2];
        smoother.apply(
            &[(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)],
            &mut Scratch::default(),
            &mut out,
        );
        assert_eq!(out, [2.0, 3.0]);
    }

    proptest! {
        #[test]
        fn equals_naive_convolution(
            sizes in prop::collection::vec(1usize..60, 1..4),
            window_size in 1usize..40,
            step in 1usize..12,
            same in any::<bool>(),
            density in 0.0f64..1.0,
            seed in any::<u64>(),
        ) {
            let edges = if same { Edges::Same } else { Edges::Valid };
            agrees(&sizes, &InfercnvParams { window_size, step, edges, ..Default::default() }, density, seed);
        }
    }

    #[test]
    fn real_sizes_keep_their_precision() {
        let params = InfercnvParams {
            window_size: 250,
            step: 10,
            ..Default::default()
        };
        agrees(&[2000, 249, 250, 251], &params, 0.1, 5);
        agrees(&[2000, 400], &params, 1.0, 6);
    }
}
