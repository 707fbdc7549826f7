//! Refinement: each cluster is built again from single nodes by random merges within it.

use super::LeidenOptions;
use super::graph::{Graph, Sums};
use crate::math;
use crate::rng::Rng;

/// The parts of each cluster (`RefinePartition` and `MergeNodesSubset` of the paper).
///
/// A node that is still alone, and well connected to the rest of its cluster
/// (`w(v, S - v) >= resolution k_v K_{S-v} / 2m`), joins a well-connected part of the cluster that
/// it has an edge to, drawn among those that do not lower the quality (staying alone included) with
/// probability proportional to `exp(gain / theta)`. Parts are therefore connected. `clusters` are
/// numbered 0 to `n_clusters`; the result has a part number below `n` for each node.
pub(super) fn refine(
    graph: &Graph,
    clusters: &[u32],
    n_clusters: usize,
    options: &LeidenOptions,
    rng: &mut Rng,
) -> Vec<u32> {
    let n = graph.n();
    let penalty = graph.penalty(options.resolution);
    let mut cluster_strength = vec![0.0; n_clusters];
    for node in 0..n {
        cluster_strength[clusters[node] as usize] += graph.strength[node];
    }
    let mut part: Vec<u32> = (0..n as u32).collect();
    let mut size = vec![1usize; n];
    let mut strength = graph.strength.clone();
    // Weight of the edges from a part to the rest of its cluster.
    let mut outward: Vec<f64> = (0..n)
        .map(|node| {
            graph
                .edges(node)
                .filter(|(other, _)| clusters[*other] == clusters[node])
                .map(|e| e.1)
                .sum()
        })
        .collect();
    let mut towards = Sums::new(n);
    let mut choices: Vec<(u32, f64)> = Vec::new();
    for node in rng.permutation(n) {
        let own = part[node];
        let whole = cluster_strength[clusters[node] as usize];
        // Rounding must not make a part that is all of its cluster look badly connected.
        let well_connected = |outward: f64, strength: f64| {
            outward >= penalty * strength * (whole - strength) - super::moves::MIN_GAIN
        };
        let k = graph.strength[node];
        if size[own as usize] != 1 || !well_connected(outward[own as usize], k) {
            continue;
        }
        towards.clear();
        for (other, weight) in graph
            .edges(node)
            .filter(|(other, _)| clusters[*other] == clusters[node])
        {
            towards.add(part[other] as usize, weight);
        }
        choices.clear();
        choices.push((own, 0.0));
        for &candidate in &towards.touched {
            let at = candidate as usize;
            let gain = towards.of(at) - penalty * k * strength[at];
            if gain >= 0.0 && well_connected(outward[at], strength[at]) {
                choices.push((candidate, gain));
            }
        }
        let chosen = draw(&choices, options.theta, rng);
        if chosen == own {
            continue;
        }
        let (to, weight) = (chosen as usize, towards.of(chosen as usize));
        outward[to] += outward[own as usize] - 2.0 * weight;
        strength[to] += k;
        size[to] += 1;
        size[own as usize] = 0;
        part[node] = chosen;
    }
    part
}

/// One of the choices, with probability proportional to `exp(gain / theta)`.
fn draw(choices: &[(u32, f64)], theta: f64, rng: &mut Rng) -> u32 {
    if let [only] = choices {
        return only.0;
    }
    let largest = choices
        .iter()
        .map(|c| c.1)
        .fold(f64::NEG_INFINITY, f64::max);
    let weight = |gain: f64| math::exp((gain - largest) / theta);
    let total: f64 = choices.iter().map(|c| weight(c.1)).sum();
    let mut left = rng.uniform() * total;
    for &(part, gain) in choices {
        left -= weight(gain);
        if left < 0.0 {
            return part;
        }
    }
    // Rounding only: the last choice with a weight.
    choices
        .iter()
        .rev()
        .find(|c| weight(c.1) > 0.0)
        .expect("the largest has weight 1")
        .0
}
