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
    let mut strength = vec![0.0; n];
    let mut size = vec![0usize; n];
    for node in 0..n {
        strength[clusters[node] as usize] += graph.strength[node];
        size[clusters[node] as usize] += 1;
    }
    let mut empty: Vec<u32> = (0..n as u32)
        .rev()
        .filter(|&c| size[c as usize] == 0)
        .collect();
    let mut queue: VecDeque<u32> = rng.permutation(n).into_iter().map(|i| i as u32).collect();
    let mut queued = vec![true; n];
    let mut towards = Sums::new(n);
    while let Some(node) = queue.pop_front() {
        let node = node as usize;
        queued[node] = false;
        let from = clusters[node];
        towards.clear();
        towards.add(from as usize, 0.0);
        for (other, weight) in graph.edges(node) {
            towards.add(clusters[other] as usize, weight);
        }
        let own = graph.strength[node];
        let gain =
            |cluster: u32, strength: f64| towards.of(cluster as usize) - penalty * own * strength;
        let staying = gain(from, strength[from as usize] - own);
        let (mut best, mut best_gain) = (from, staying + MIN_GAIN);
        for &cluster in &towards.touched {
            let value = gain(cluster, strength[cluster as usize]);
            if cluster != from && value > best_gain {
                (best, best_gain) = (cluster, value);
            }
        }
        // Alone in a cluster, the gain is 0.
        if size[from as usize] > 1 && 0.0 > best_gain {
            best = *empty
                .last()
                .expect("fewer clusters than nodes leave one empty");
        }
        if best == from {
            continue;
        }
        strength[from as usize] -= own;
        size[from as usize] -= 1;
        if size[from as usize] == 0 {
            strength[from as usize] = 0.0;
            empty.push(from);
        }
        if size[best as usize] == 0 {
            empty.pop();
        }
        strength[best as usize] += own;
        size[best as usize] += 1;
        clusters[node] = best;
        for (other, _) in graph.edges(node) {
            if !queued[other] && clusters[other] != best {
                queued[other] = true;
                queue.push_back(other as u32);
            }
        }
    }
}
