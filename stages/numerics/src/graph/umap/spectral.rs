//! Initial positions of the layout: the slowest modes of the graph, one per axis, per connected part.

use ndarray::{Array1, Array2, s};
use rayon::prelude::*;

use crate::linalg::symmetric_eigen;
use crate::math;
use crate::rng::Rng;
use clcc_data::error::StageResult;
use clcc_data::matrix::Csr;

/// Half-width of the start on each axis around 0 (umap-learn scales to 10, then to [0, 10]).
const EXTENT: f64 = 10.0;
/// Standard deviation of the noise that parts copies of a cell.
const NOISE: f64 = 1e-4;
/// Krylov vectors of the eigenproblem.
const KRYLOV: usize = 120;
/// Parts smaller than this have no slow modes of their own: their cells start at random places.
const MIN_PART: usize = 4;

/// Start positions, `n` points within about [0, 10] on each axis.
///
/// One connected part: eigenvectors 2, 3 (and 4 in space) of the symmetric normalised Laplacian (umap-learn's
/// spectral start). Several: each part so, scaled to half the distance to the nearest other part,
/// around the mean of its first `coords` (umap-learn places them by a spectral embedding of
/// their means or on a simplex).
pub(super) fn start<const D: usize>(
    w: &Csr,
    coords: &Array2<f64>,
    seed: u64,
) -> StageResult<Vec<[f32; D]>> {
    let n = w.n_rows();
    let parts = connected_parts(w);
    let mut places = vec![[0.0f64; D]; n];
    let centres = if parts.len() > 1 {
        centres(&parts, coords)
    } else {
        vec![[0.0; D]; parts.len()]
    };
    for (p, nodes) in parts.iter().enumerate() {
        let mut rng = Rng::new(seed, "umap spectral start", &[p as u64]);
        let local: Vec<[f64; D]> = if nodes.len() < MIN_PART {
            (0..nodes.len())
                .map(|_| std::array::from_fn(|_| 2.0 * rng.uniform() - 1.0))
                .collect()
        } else {
            slow_modes(w, nodes, &mut rng)?
        };
        let largest = local.iter().flatten().fold(0.0f64, |m, v| m.max(v.abs()));
        let room = if parts.len() > 1 {
            room(p, &centres)
        } else {
            EXTENT
        };
        let scale = if largest > 0.0 { room / largest } else { 0.0 };
        for (&node, at) in nodes.iter().zip(&local) {
            places[node] = std::array::from_fn(|axis| centres[p][axis] + scale * at[axis]);
        }
    }
    let mut rng = Rng::new(seed, "umap start noise", &[]);
    for place in &mut places {
        place.iter_mut().for_each(|v| *v += NOISE * rng.normal());
    }
    for axis in 0..D {
        let low = places.iter().map(|p| p[axis]).fold(f64::INFINITY, f64::min);
        let high = places
            .iter()
            .map(|p| p[axis])
            .fold(f64::NEG_INFINITY, f64::max);
        let width = if high > low { high - low } else { 1.0 };
        places
            .iter_mut()
            .for_each(|p| p[axis] = 10.0 * (p[axis] - low) / width);
    }
    Ok(places.iter().map(|p| p.map(|v| v as f32)).collect())
}

/// Nodes of each connected part, parts in the order of their first node.
pub fn connected_parts(w: &Csr) -> Vec<Vec<usize>> {
    let n = w.n_rows();
    let mut seen = vec![false; n];
    let mut parts = Vec::new();
    for first in 0..n {
        if seen[first] {
            continue;
        }
        seen[first] = true;
        let mut nodes = vec![first];
        let mut at = 0;
        while at < nodes.len() {
            for &c in w.row(nodes[at]).0 {
                if !seen[c as usize] {
                    seen[c as usize] = true;
                    nodes.push(c as usize);
                }
            }
            at += 1;
        }
        nodes.sort_unstable();
        parts.push(nodes);
    }
    parts
}

/// Means of the first coordinates, scaled into the start's extent.
fn centres<const D: usize>(parts: &[Vec<usize>], coords: &Array2<f64>) -> Vec<[f64; D]> {
    let axes = coords.ncols().min(D);
    let mut centres: Vec<[f64; D]> = parts
        .iter()
        .map(|nodes| {
            let mut centre = [0.0; D];
            for axis in 0..axes {
                centre[axis] =
                    nodes.iter().map(|&i| coords[[i, axis]]).sum::<f64>() / nodes.len() as f64;
            }
            centre
        })
        .collect();
    for axis in 0..D {
        let low = centres
            .iter()
            .map(|c| c[axis])
            .fold(f64::INFINITY, f64::min);
        let high = centres
            .iter()
            .map(|c| c[axis])
            .fold(f64::NEG_INFINITY, f64::max);
        let width = if high > low { high - low } else { 1.0 };
        centres
            .iter_mut()
            .for_each(|c| c[axis] = EXTENT * (2.0 * (c[axis] - low) / width - 1.0));
    }
    centres
}

/// Half the distance to the nearest other centre, and at least a tenth, so that parts at one place
/// still spread.
fn room<const D: usize>(p: usize, centres: &[[f64; D]]) -> f64 {
    let here = centres[p];
    let nearest = centres
        .iter()
        .enumerate()
        .filter(|(q, _)| *q != p)
        .map(|(_, c)| distance(c, &here))
        .fold(f64::INFINITY, f64::min);
    (nearest / 2.0).clamp(0.1, EXTENT)
}

/// In the plane by `hypot`, whose bits the layouts of earlier versions have.
fn distance<const D: usize>(a: &[f64; D], b: &[f64; D]) -> f64 {
    let away: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    away.iter().copied().reduce(math::hypot).unwrap_or(0.0)
}

/// Eigenvectors 2, 3, ... of `I - D^-1/2 W D^-1/2` on one connected part, by Lanczos on
/// `D^-1/2 W D^-1/2` with the trivial eigenvector projected out and full reorthogonalisation.
fn slow_modes<const D: usize>(
    w: &Csr,
    nodes: &[usize],
    rng: &mut Rng,
) -> StageResult<Vec<[f64; D]>> {
    let walk = Walk::new(w, nodes);
    let (basis, images) = walk.krylov(rng);
    let m = images.len();
    // Rayleigh-Ritz on the basis without the trivial vector.
    let mut small = Array2::zeros((m, m));
    for i in 0..m {
        for j in i.saturating_sub(1)..m.min(i + 2) {
            small[[i, j]] = 0.5 * (basis[i].dot(&images[j]) + basis[j].dot(&images[i]));
        }
    }
    let eigen = symmetric_eigen(&small)?;
    let mut modes = vec![[0.0; D]; nodes.len()];
    for axis in 0..D.min(m) {
        let weights = eigen.vectors.slice(s![.., axis]);
        let mut mode = Array1::<f64>::zeros(nodes.len());
        for (vector, &weight) in basis.iter().zip(weights) {
            mode.scaled_add(weight, vector);
        }
        let largest = mode.iter().fold(
            0.0f64,
            |best, &v| if v.abs() > best.abs() { v } else { best },
        );
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        modes
            .iter_mut()
            .zip(&mode)
            .for_each(|(m, v)| m[axis] = sign * v);
    }
    Ok(modes)
}

/// The symmetric random walk `D^-1/2 W D^-1/2` on some nodes of a graph.
struct Walk<'a> {
    w: &'a Csr,
    nodes: &'a [usize],
    /// Place among `nodes` of each node of the graph.
    local: Vec<u32>,
    degree: Vec<f64>,
    /// One over the root of each degree.
    root: Vec<f64>,
}

impl<'a> Walk<'a> {
    fn new(w: &'a Csr, nodes: &'a [usize]) -> Self {
        let mut local = vec![u32::MAX; w.n_rows()];
        for (i, &node) in nodes.iter().enumerate() {
            local[node] = i as u32;
        }
        let degree: Vec<f64> = nodes
            .iter()
            .map(|&i| w.row(i).1.iter().map(|&v| f64::from(v)).sum::<f64>())
            .collect();
        Self {
            w,
            nodes,
            local,
            root: degree.iter().map(|d| 1.0 / d.sqrt()).collect(),
            degree,
        }
    }

    /// One step from `x`, after half a shift: eigenvalues in [-1, 1] go to [0, 1], so the wanted ones are largest in
    /// size.
    fn step(&self, x: &Array1<f64>) -> Array1<f64> {
        let at = |i: usize| {
            let (cols, vals) = self.w.row(self.nodes[i]);
            let sum: f64 = cols
                .iter()
                .zip(vals)
                .map(|(&c, &v)| {
                    let j = self.local[c as usize] as usize;
                    f64::from(v) * self.root[j] * x[j]
                })
                .sum();
            0.5 * (x[i] + self.root[i] * sum)
        };
        let y: Vec<f64> = (0..self.nodes.len())
            .into_par_iter()
            .with_min_len(512)
            .map(at)
            .collect();
        Array1::from(y)
    }

    /// Orthonormal vectors of a random Krylov space, orthogonal to the trivial eigenvector, and the steps from them.
    fn krylov(&self, rng: &mut Rng) -> (Vec<Array1<f64>>, Vec<Array1<f64>>) {
        let n = self.nodes.len();
        let total: f64 = self.degree.iter().sum();
        let trivial = Array1::from_iter(self.degree.iter().map(|d| (d / total).sqrt()));
        let steps = KRYLOV.min(n - 1);
        let mut basis: Vec<Array1<f64>> = vec![trivial];
        let mut next = Array1::from_shape_simple_fn(n, || rng.normal());
        let mut images: Vec<Array1<f64>> = Vec::new();
        while basis.len() <= steps {
            if !orthogonalise(&mut next, &basis) {
                // The Krylov space is exhausted: continue in another direction.
                next = Array1::from_shape_simple_fn(n, || rng.normal());
                if !orthogonalise(&mut next, &basis) {
                    break;
                }
            }
            let image = self.step(&next);
            basis.push(next);
            images.push(image.clone());
            next = image;
        }
        basis.remove(0);
        (basis, images)
    }
}

/// Makes `x` a unit vector orthogonal to `basis` (Gram-Schmidt, twice); `false` where nothing is
/// left of it.
fn orthogonalise(x: &mut Array1<f64>, basis: &[Array1<f64>]) -> bool {
    let before = x.dot(x).sqrt();
    for _ in 0..2 {
        for b in basis {
            let overlap = b.dot(x);
            x.scaled_add(-overlap, b);
        }
    }
    let length = x.dot(x).sqrt();
    if !(length > 1e-10 * before && length > 0.0) {
        return false;
    }
    *x /= length;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(n: usize) -> Csr {
        Csr::from_rows(
            n,
            (0..n).map(|i| {
                let mut row = Vec::new();
                if i > 0 {
                    row.push((i as u32 - 1, 1.0));
                }
                if i + 1 < n {
                    row.push((i as u32 + 1, 1.0));
                }
                row
            }),
        )
    }

    /// The random walk on a path of n nodes has the modes cos(pi k i / (n - 1)).
    #[test]
    fn modes_of_a_path_are_cosines() {
        let n = 60;
        let nodes: Vec<usize> = (0..n).collect();
        let modes = slow_modes::<3>(&path(n), &nodes, &mut Rng::new(1, "test", &[])).unwrap();
        for axis in 0..3 {
            let expected = Array1::from_iter((0..n).map(|i| {
                let degree: f64 = if i == 0 || i == n - 1 { 1.0 } else { 2.0 };
                degree.sqrt()
                    * (std::f64::consts::PI * (axis + 1) as f64 * i as f64 / (n - 1) as f64).cos()
            }));
            let got = Array1::from_iter(modes.iter().map(|m| m[axis]));
            let overlap =
                got.dot(&expected).abs() / (got.dot(&got) * expected.dot(&expected)).sqrt();
            assert!(overlap > 1.0 - 1e-6, "mode {axis}: {overlap}");
        }
    }

    #[test]
    fn parts_start_beside_one_another() {
        let two = Csr::from_rows(
            20,
            (0..20u32).map(|i| {
                (0..20u32)
                    .filter(|&j| j != i && (i < 10) == (j < 10))
                    .map(|j| (j, 1.0))
                    .collect()
            }),
        );
        let coords = Array2::from_shape_fn((20, 2), |(i, _)| if i < 10 { 0.0 } else { 5.0 });
        let places = start::<2>(&two, &coords, 1).unwrap();
        let centre = |r: std::ops::Range<usize>| {
            r.clone().map(|i| places[i][0]).sum::<f32>() / r.len() as f32
        };
        assert!((centre(0..10) - centre(10..20)).abs() > 3.0);
        assert!(places.iter().flatten().all(|v| v.is_finite()));
    }
}
