use super::*;
use crate::graph::{connectivities, nearest_neighbors, neighborhood_size};
use clcc_testing::{at_threads, random};

const POINTS: &str = include_str!("../../../../../tests/reference/cluster/points.tsv");
const VALUES: &str = include_str!("../../../../../tests/reference/cluster/values.tsv");

fn options(seed: u64) -> UmapOptions {
    UmapOptions {
        min_dist: 0.5,
        spread: 1.0,
        n_epochs: None,
        negative_sample_rate: 5,
        seed,
    }
}

fn points() -> Array2<f64> {
    let values: Vec<f64> = POINTS
        .lines()
        .flat_map(|l| l.split('\t').map(|v| v.parse::<f64>().unwrap()))
        .collect();
    Array2::from_shape_vec((values.len() / 10, 10), values).unwrap()
}

fn layout(x: &Array2<f64>, n_neighbors: usize, seed: u64) -> Array2<f32> {
    let w = connectivities(&nearest_neighbors(
        x,
        neighborhood_size(x.nrows(), n_neighbors),
    ));
    umap(&w, x, &options(seed)).unwrap()
}

/// scikit-learn's `trustworthiness`: 1 minus the penalised ranks, in the data, of the layout's
/// neighbours.
fn trustworthiness(x: &Array2<f64>, y: &Array2<f64>, k: usize) -> f64 {
    let n = x.nrows();
    let order = |z: &Array2<f64>, i: usize| -> Vec<usize> {
        let d: Vec<f64> = (0..n)
            .map(|j| (&z.row(i) - &z.row(j)).mapv(|v| v * v).sum())
            .collect();
        let mut o: Vec<usize> = (0..n).filter(|&j| j != i).collect();
        o.sort_by(|&a, &b| d[a].total_cmp(&d[b]));
        o
    };
    let mut penalty = 0.0;
    for i in 0..n {
        let mut rank = vec![0usize; n];
        order(x, i)
            .iter()
            .enumerate()
            .for_each(|(r, &j)| rank[j] = r + 1);
        penalty += order(y, i)[..k]
            .iter()
            .map(|&j| rank[j].saturating_sub(k) as f64)
            .sum::<f64>();
    }
    1.0 - penalty * 2.0 / (n as f64 * k as f64 * (2.0 * n as f64 - 3.0 * k as f64 - 1.0))
}

/// Value and script: tests/reference/cluster.
#[test]
fn trustworthiness_is_that_of_umap_learn() {
    let x = points();
    let theirs: f64 = VALUES
        .lines()
        .find(|l| l.starts_with("trustworthiness"))
        .unwrap()
        .rsplit('\t')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let found: Vec<f64> = (0..3)
        .map(|seed| trustworthiness(&x, &layout(&x, 15, seed).mapv(f64::from), 15))
        .collect();
    let mean = found.iter().sum::<f64>() / 3.0;
    assert!(mean >= theirs - 0.01, "{found:?} against {theirs}");
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let x = random(400, 5, 1);
    let one = at_threads(1, || layout(&x, 15, 3));
    assert!(at_threads(2, || layout(&x, 15, 3)) == one);
    assert!(layout(&x, 15, 4) != one);
}

#[test]
fn separate_groups_stay_apart() {
    // Two clouds without an edge between them.
    let mut x = random(80, 4, 2);
    x.slice_mut(ndarray::s![40.., 0])
        .mapv_inplace(|v| v + 1000.0);
    let y = layout(&x, 10, 0);
    let nearest = nearest_neighbors(&y.mapv(f64::from), 2);
    assert!((0..80).all(|i| (i < 40) == (nearest.indices[[i, 1]] < 40)));
}

#[test]
fn degenerate_graphs_have_finite_layouts() {
    for n in [1usize, 2, 3, 5, 16] {
        for x in [random(n, 3, 1), Array2::zeros((n, 3))] {
            let y = layout(&x, 15, 0);
            assert!(
                y.dim() == (n, 2) && y.iter().all(|v| v.is_finite()),
                "{n}: {y:?}"
            );
        }
    }
    let no_edges = umap(
        &Csr::from_rows(6, vec![vec![]; 6]),
        &Array2::zeros((6, 0)),
        &options(0),
    )
    .unwrap();
    assert!(no_edges.iter().all(|v| v.is_finite()));
    assert_eq!(
        umap(
            &Csr::from_rows(0, vec![]),
            &Array2::zeros((0, 2)),
            &options(0)
        )
        .unwrap()
        .dim(),
        (0, 2)
    );
}
