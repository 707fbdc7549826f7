//! Fast local moving: nodes go to the neighbouring cluster of largest gain until none wants to.

use std::collections::VecDeque;

use super::graph::{Graph, Sums};
use crate::rng::Rng;

/// Gains below this (in edge weights) are rounding: without the floor a node could move to and fro.
pub(super) const MIN_GAIN: f64 = 1e-10;

/// Moves nodes between clusters (`MoveNodesFast` of the paper): all nodes once in random order, and
/// again each node that has a neighbour that moved away from it. An empty cluster is always among
/// the choices.
pub(super) fn move_nodes(graph: &Graph, clusters: &mut [u32], resolution: f64, rng: &mut Rng) {
    let n = graph.n();
    let penalty = graph.penalty(resolution);
    let mut totals = Totals::new(graph, clusters);
    let mut queue: VecDeque<u32> = rng.permutation(n).into_iter().map(|i| i as u32).collect();
    let mut queued = vec![true; n];
    let mut towards = Sums::new(n);
    while let Some(node) = queue.pop_front() {
        let node = node as usize;
        queued[node] = false;
        let from = clusters[node];
        towards.clear();
        for (other, weight) in graph.edges(node) {
            towards.add(clusters[other] as usize, weight);
        }
        let own = graph.strength[node];
        let gain =
            |cluster: u32, strength: f64| towards.of(cluster as usize) - penalty * own * strength;
        let staying = gain(from, totals.strength[from as usize] - own);
        let (mut best, mut best_gain) = (from, staying + MIN_GAIN);
        for &cluster in towards.touched() {
            let value = gain(cluster, totals.strength[cluster as usize]);
            if cluster != from && value > best_gain {
                (best, best_gain) = (cluster, value);
            }
        }
        // Alone in a cluster, the gain is 0.
        if totals.size[from as usize] > 1 && 0.0 > best_gain {
            best = totals.an_empty_one();
        }
        if best == from {
            continue;
        }
        totals.exchange(from, best, own);
        clusters[node] = best;
        for (other, _) in graph.edges(node) {
            if !queued[other] && clusters[other] != best {
                queued[other] = true;
                queue.push_back(other as u32);
            }
        }
    }
}

/// What the clusters have.
struct Totals {
    strength: Vec<f64>,
    /// Nodes.
    size: Vec<usize>,
    /// Clusters without nodes; the last is taken first.
    empty: Vec<u32>,
}

impl Totals {
    fn new(graph: &Graph, clusters: &[u32]) -> Self {
        let n = graph.n();
        let mut strength = vec![0.0; n];
        let mut size = vec![0usize; n];
        for node in 0..n {
            strength[clusters[node] as usize] += graph.strength[node];
            size[clusters[node] as usize] += 1;
        }
        let empty = (0..n as u32).rev().filter(|&c| size[c as usize] == 0);
        Self {
            empty: empty.collect(),
            strength,
            size,
        }
    }

    /// The empty cluster to take next.
    fn an_empty_one(&self) -> u32 {
        let last = self.empty.last();
        *last.expect("fewer clusters than nodes leave one empty")
    }

    /// A node of this strength goes from one cluster to another.
    fn exchange(&mut self, from: u32, to: u32, strength: f64) {
        self.strength[from as usize] -= strength;
        self.size[from as usize] -= 1;
        if self.size[from as usize] == 0 {
            self.strength[from as usize] = 0.0;
            self.empty.push(from);
        }
        if self.size[to as usize] == 0 {
            self.empty.pop();
        }
        self.strength[to as usize] += strength;
        self.size[to as usize] += 1;
    }
}
