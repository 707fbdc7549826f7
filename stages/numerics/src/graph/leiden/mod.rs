//! Leiden community detection (Traag, Waltman and van Eck 2019).
//!
//! The quality is leidenalg's `RBConfigurationVertexPartition` (Reichardt and Bornholdt 2006 with
//! the configuration null model): over clusters c, the sum of `w_c / m - resolution (K_c / 2m)²`,
//! with `w_c` the edge weight inside c, `K_c` the summed strength of its nodes and m the weight of
//! all edges. That is modularity at resolution 1, and `quality() / 2m` of leidenalg on the
//! symmetric directed graph that scanpy hands it.
//!
//! One pass moves nodes, in a queue, to the cluster of largest gain until none moves; refines each
//! cluster from single nodes by random merges that keep its parts well connected; merges the parts to
//! nodes of a smaller graph that starts from the unrefined clusters; and repeats there. Passes repeat
//! until one improves nothing. Everything is sequential, since the order of moves determines the
//! result.
//!
//! Deviation: at the end, a cluster that is not connected is split into its connected parts (which
//! always raises the quality), so every cluster is connected, whatever `n_iterations` is.

mod graph;
mod moves;
mod refine;

use crate::rng::Rng;
use clcc_data::matrix::Csr;

use graph::Graph;

/// Passes after which a run stops even if it still improves (it never took more than 20).
const MAX_PASSES: usize = 1000;

/// Options of [`leiden`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeidenOptions {
    /// Above 0; higher gives more clusters.
    pub resolution: f64,
    /// Passes; `None` repeats until stable.
    pub n_iterations: Option<usize>,
    /// Randomness of the refinement, in units of edge weight.
    pub theta: f64,
    /// Seed of the order of nodes and of the refinement.
    pub seed: u64,
    /// Quality function that a partition is scored by.
    pub objective: Objective,
}

/// Quality function that a partition is scored by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Objective {
    /// leidenalg's `RBConfigurationVertexPartition`, modularity with a resolution.
    #[default]
    RbConfiguration,
    /// The constant Potts model (Traag, Van Dooren and Nesterov 2011; igraph's and leidenalg's CPM): the
    /// sum over clusters of `w_c - resolution n_c (n_c - 1) / 2`, here divided by the weight of all edges.
    Cpm,
}

/// Clusters of the nodes of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// Cluster of each node: 0 is the largest, ties in the order of their first node.
    pub membership: Vec<u32>,
    /// Number of clusters.
    pub n_clusters: usize,
    /// Quality at the given resolution; 0 for a graph without edges.
    pub quality: f64,
}

/// Clusters of the undirected graph with the symmetric weights `w` (`n x n`, each edge stored in
/// both directions, weights above 0). A node without edges is a cluster of its own.
///
/// # Panics
/// Where `w` is not square.
pub fn leiden(w: &Csr, options: &LeidenOptions) -> Partition {
    assert_eq!(
        w.n_rows(),
        w.n_cols(),
        "a graph has as many rows as columns"
    );
    let base = Graph::from_symmetric(w, options.objective);
    let mut membership: Vec<u32> = (0..base.n() as u32).collect();
    let mut quality = base.quality(&membership, options.resolution);
    for pass in 0..options.n_iterations.unwrap_or(MAX_PASSES).min(MAX_PASSES) {
        let mut rng = Rng::new(options.seed, "leiden", &[pass as u64]);
        membership = one_pass(&base, &membership, options, &mut rng);
        let reached = base.quality(&membership, options.resolution);
        let improved = reached > quality + 1e-12;
        quality = reached;
        if !improved {
            break;
        }
    }
    let membership = by_size(&base.split_disconnected(&membership));
    let quality = base.quality(&membership, options.resolution);
    Partition {
        n_clusters: membership.iter().max().map_or(0, |&m| m as usize + 1),
        membership,
        quality,
    }
}

/// Moves, refines and merges until every cluster is one node of the merged graph.
fn one_pass(base: &Graph, start: &[u32], options: &LeidenOptions, rng: &mut Rng) -> Vec<u32> {
    // `node_of`: the node of `graph` that holds each base node; `clusters`: of nodes of `graph`.
    let mut node_of: Vec<u32> = (0..base.n() as u32).collect();
    let mut clusters = start.to_vec();
    let mut merged: Option<Graph> = None;
    loop {
        let graph = merged.as_ref().unwrap_or(base);
        moves::move_nodes(graph, &mut clusters, options.resolution, rng);
        let (clusters_dense, n_clusters) = graph::renumbered(&clusters);
        clusters = clusters_dense;
        if n_clusters == graph.n() {
            break;
        }
        let parts = refine::refine(graph, &clusters, n_clusters, options, rng);
        let (parts, n_parts) = graph::renumbered(&parts);
        if n_parts == graph.n() {
            break;
        }
        let smaller = graph.merge(&parts, n_parts);
        let mut cluster_of_part = vec![0u32; n_parts];
        for (node, &part) in parts.iter().enumerate() {
            cluster_of_part[part as usize] = clusters[node];
        }
        for node in &mut node_of {
            *node = parts[*node as usize];
        }
        clusters = cluster_of_part;
        merged = Some(smaller);
    }
    node_of
        .iter()
        .map(|&node| clusters[node as usize])
        .collect()
}

/// Cluster numbers by falling size, ties in the order of the first node.
fn by_size(membership: &[u32]) -> Vec<u32> {
    // After renumbering, a lower number has an earlier first node.
    let (dense, n) = graph::renumbered(membership);
    let mut sizes = vec![0usize; n];
    dense.iter().for_each(|&c| sizes[c as usize] += 1);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&c| (std::cmp::Reverse(sizes[c]), c));
    let mut rank = vec![0u32; n];
    for (position, &c) in order.iter().enumerate() {
        rank[c] = position as u32;
    }
    dense.iter().map(|&c| rank[c as usize]).collect()
}

#[cfg(test)]
mod tests;
