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
    let mut parts = Parts::new(graph, clusters);
    let mut towards = Sums::new(n);
    let mut choices: Vec<(u32, f64)> = Vec::new();
    let mut weights = Vec::new();
    for node in rng.permutation(n) {
        let own = parts.of[node];
        let whole = cluster_strength[clusters[node] as usize];
        // Rounding must not make a part that is all of its cluster look badly connected.
        let well_connected = |outward: f64, strength: f64| {
            outward >= penalty * strength * (whole - strength) - super::moves::MIN_GAIN
        };
        let k = graph.strength[node];
        if parts.size[own as usize] != 1 || !well_connected(parts.outward[own as usize], k) {
            continue;
        }
        towards.clear();
        for (other, weight) in within(graph, clusters, node) {
            towards.add(parts.of[other] as usize, weight);
        }
        choices.clear();
        choices.push((own, 0.0));
        for &candidate in towards.touched() {
            let at = candidate as usize;
            let gain = towards.of(at) - penalty * k * parts.strength[at];
            if gain >= 0.0 && well_connected(parts.outward[at], parts.strength[at]) {
                choices.push((candidate, gain));
            }
        }
        let chosen = draw(&choices, options.theta, rng, &mut weights);
        if chosen != own {
            parts.join(node, chosen, k, towards.of(chosen as usize));
        }
    }
    parts.of
}

/// The edges of a node to its own cluster.
fn within<'a>(
    graph: &'a Graph,
    clusters: &'a [u32],
    node: usize,
) -> impl Iterator<Item = (usize, f64)> + 'a {
    graph
        .edges(node)
        .filter(move |(other, _)| clusters[*other] == clusters[node])
}

/// The parts so far.
struct Parts {
    /// Part of each node.
    of: Vec<u32>,
    /// Nodes of each part.
    size: Vec<usize>,
    strength: Vec<f64>,
    /// Weight of the edges from a part to the rest of its cluster.
    outward: Vec<f64>,
}

impl Parts {
    /// Every node is a part.
    fn new(graph: &Graph, clusters: &[u32]) -> Self {
        let n = graph.n();
        let outward = |node| within(graph, clusters, node).map(|e| e.1).sum();
        Self {
            of: (0..n as u32).collect(),
            size: vec![1; n],
            strength: graph.strength.clone(),
            outward: (0..n).map(outward).collect(),
        }
    }

    /// A node that is a part of its own, of strength `k`, joins `part`, to which it has edges of that weight.
    fn join(&mut self, node: usize, part: u32, k: f64, weight: f64) {
        let (own, to) = (self.of[node] as usize, part as usize);
        self.outward[to] += self.outward[own] - 2.0 * weight;
        self.strength[to] += k;
        self.size[to] += 1;
        self.size[own] = 0;
        self.of[node] = part;
    }
}

/// One of the choices, with probability proportional to `exp(gain / theta)`; `weights` is memory to work with.
fn draw(choices: &[(u32, f64)], theta: f64, rng: &mut Rng, weights: &mut Vec<f64>) -> u32 {
    if let [only] = choices {
        return only.0;
    }
    let largest = choices
        .iter()
        .map(|c| c.1)
        .fold(f64::NEG_INFINITY, f64::max);
    weights.clear();
    weights.extend(choices.iter().map(|c| math::exp((c.1 - largest) / theta)));
    let total: f64 = weights.iter().sum();
    let mut left = rng.uniform() * total;
    for (&(part, _), weight) in choices.iter().zip(weights.iter()) {
        left -= weight;
        if left < 0.0 {
            return part;
        }
    }
    // Rounding only: the last choice with a weight.
    let last = weights.iter().rposition(|&w| w > 0.0);
    choices[last.expect("the largest has weight 1")].0
}
