//! A weighted graph as Leiden needs it, and its merged versions.

use super::Objective;
use clcc_data::matrix::Csr;

/// Undirected weighted graph: every edge in both directions, self loops apart.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    starts: Vec<usize>,
    targets: Vec<u32>,
    weights: Vec<f64>,
    /// Summed weights of all edge ends at a node, those of its self loops included; under `Cpm` the number
    /// of base nodes in it.
    pub(super) strength: Vec<f64>,
    /// Both ends of the edges inside a node.
    inside: Vec<f64>,
    /// Sum of all edge ends: twice the weight of all edges.
    pub(super) total: f64,
    objective: Objective,
    /// Base nodes in the graph; what `Cpm` leaves out of its pairs.
    n_base: f64,
}

impl Graph {
    /// A symmetric matrix; entries of the diagonal are self loops, with both ends counted.
    pub(super) fn from_symmetric(w: &Csr, objective: Objective) -> Self {
        let rows = (0..w.n_rows()).map(|r| {
            let (cols, vals) = w.row(r);
            cols.iter()
                .zip(vals)
                .map(|(&c, &v)| (c, f64::from(v)))
                .collect::<Vec<_>>()
        });
        let mut graph = Self::from_rows(rows);
        graph.objective = objective;
        if objective == Objective::Cpm {
            graph.strength.fill(1.0);
        }
        graph
    }

    fn from_rows(rows: impl Iterator<Item = Vec<(u32, f64)>>) -> Self {
        let mut graph = Self {
            starts: vec![0],
            targets: Vec::new(),
            weights: Vec::new(),
            strength: Vec::new(),
            inside: Vec::new(),
            total: 0.0,
            objective: Objective::RbConfiguration,
            n_base: 0.0,
        };
        for (node, row) in rows.enumerate() {
            let (mut strength, mut inside) = (0.0, 0.0);
            for (target, weight) in row {
                strength += weight;
                if target as usize == node {
                    inside += weight;
                } else if weight > 0.0 {
                    graph.targets.push(target);
                    graph.weights.push(weight);
                }
            }
            graph.starts.push(graph.targets.len());
            graph.strength.push(strength);
            graph.inside.push(inside);
        }
        graph.total = graph.strength.iter().sum();
        graph.n_base = graph.strength.len() as f64;
        graph
    }

    /// Number of nodes.
    pub(super) fn n(&self) -> usize {
        self.strength.len()
    }

    /// Other nodes that a node has an edge to, with weights.
    pub(super) fn edges(&self, node: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let range = self.starts[node]..self.starts[node + 1];
        self.targets[range.clone()]
            .iter()
            .map(|&t| t as usize)
            .zip(self.weights[range].iter().copied())
    }

    /// Penalty of a pair of strengths: `resolution / total`, or under `Cpm` the resolution; 0 without
    /// edges.
    pub(super) fn penalty(&self, resolution: f64) -> f64 {
        if self.objective == Objective::Cpm {
            resolution
        } else if self.total > 0.0 {
            resolution / self.total
        } else {
            0.0
        }
    }

    /// The quality of a partition, as stated in the module.
    pub(super) fn quality(&self, membership: &[u32], resolution: f64) -> f64 {
        if self.total <= 0.0 {
            return 0.0;
        }
        let n = membership.iter().max().map_or(0, |&m| m as usize + 1);
        let (mut inside, mut strength) = (vec![0.0; n], vec![0.0; n]);
        for node in 0..self.n() {
            let cluster = membership[node];
            inside[cluster as usize] += self.inside[node];
            strength[cluster as usize] += self.strength[node];
            for (other, weight) in self.edges(node) {
                if membership[other] == cluster {
                    inside[cluster as usize] += weight;
                }
            }
        }
        let shares = inside.iter().zip(&strength);
        if self.objective == Objective::Cpm {
            // Ends are counted twice, and so are pairs; the n pairs of a node with itself are no pairs.
            let sum: f64 = shares.map(|(i, s)| i - resolution * s * s).sum();
            return (sum + resolution * self.n_base) / self.total;
        }
        shares
            .map(|(i, s)| i / self.total - resolution * (s / self.total).powi(2))
            .sum()
    }

    /// One node per part; `parts` are numbered 0 to `n_parts`.
    pub(super) fn merge(&self, parts: &[u32], n_parts: usize) -> Self {
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); n_parts];
        for (node, &part) in parts.iter().enumerate() {
            members[part as usize].push(node as u32);
        }
        let mut sums = Sums::new(n_parts);
        let mut merged = Self::from_rows(members.iter().enumerate().map(|(part, nodes)| {
            sums.clear();
            let mut own = 0.0;
            for &node in nodes {
                own += self.inside[node as usize];
                for (other, weight) in self.edges(node as usize) {
                    let other = parts[other] as usize;
                    if other == part {
                        own += weight;
                    } else {
                        sums.add(other, weight);
                    }
                }
            }
            // The diagonal is listed even where it is 0.
            let others = sums.touched().iter().map(|&p| (p, sums.of(p as usize)));
            std::iter::once((part as u32, own)).chain(others).collect()
        }));
        if self.objective == Objective::Cpm {
            let size = |nodes: &Vec<u32>| nodes.iter().map(|&n| self.strength[n as usize]).sum();
            merged.strength = members.iter().map(size).collect();
            merged.objective = self.objective;
            merged.n_base = self.n_base;
        }
        merged
    }

    /// The clusters, with every one that is not connected split into its connected parts.
    pub(super) fn split_disconnected(&self, membership: &[u32]) -> Vec<u32> {
        let mut out = vec![u32::MAX; self.n()];
        let mut next = 0;
        let mut stack = Vec::new();
        for first in 0..self.n() {
            if out[first] != u32::MAX {
                continue;
            }
            out[first] = next;
            stack.push(first);
            while let Some(node) = stack.pop() {
                for (other, _) in self.edges(node) {
                    if out[other] == u32::MAX && membership[other] == membership[node] {
                        out[other] = next;
                        stack.push(other);
                    }
                }
            }
            next += 1;
        }
        out
    }
}

/// Sums of weights above 0 by cluster number, which are cleared in the time of the clusters touched.
#[derive(Debug)]
pub(super) struct Sums {
    value: Vec<f64>,
    /// The clusters added to since the last clearing, in that order, in the first places.
    touched: Vec<u32>,
    n_touched: usize,
}

impl Sums {
    pub(super) fn new(n: usize) -> Self {
        Self {
            value: vec![0.0; n],
            // A place beyond the last for what is written and not kept.
            touched: vec![0; n + 1],
            n_touched: 0,
        }
    }

    /// Add a weight above 0. Without a branch on whether it is the cluster's first, which nothing foretells.
    #[inline]
    pub(super) fn add(&mut self, at: usize, weight: f64) {
        let value = &mut self.value[at];
        self.touched[self.n_touched] = at as u32;
        self.n_touched += usize::from(*value == 0.0);
        *value += weight;
    }

    pub(super) fn touched(&self) -> &[u32] {
        &self.touched[..self.n_touched]
    }

    pub(super) fn of(&self, at: usize) -> f64 {
        self.value[at]
    }

    pub(super) fn clear(&mut self) {
        for &at in &self.touched[..self.n_touched] {
            self.value[at as usize] = 0.0;
        }
        self.n_touched = 0;
    }
}

/// The same clusters, numbered in the order of their first node, and how many there are.
pub(super) fn renumbered(membership: &[u32]) -> (Vec<u32>, usize) {
    let mut new = vec![u32::MAX; membership.iter().max().map_or(0, |&m| m as usize + 1)];
    let mut next = 0;
    let out = membership
        .iter()
        .map(|&old| {
            if new[old as usize] == u32::MAX {
                new[old as usize] = next;
                next += 1;
            }
            new[old as usize]
        })
        .collect();
    (out, next as usize)
}
