//! Which cells a step of method A encodes: a function of the seed, the epoch and the batch alone.

use std::collections::HashMap;

use super::loss::Pairs;
use crate::mine::Negatives;
use crate::train::params::BnScope;
use clcc_numerics::rng::Rng;

/// Draws `n` of a cell's negatives for an epoch, without replacement; all where there are no more.
fn draw(negatives: &[u32], n: usize, seed: u64, epoch: u64, cell: u32) -> Vec<u32> {
    let mut list = negatives.to_vec();
    if list.len() > n {
        let mut rng = Rng::new(seed, "train.negatives", &[epoch, u64::from(cell)]);
        for i in 0..n {
            let at = i + rng.below((list.len() - i) as u64) as usize;
            list.swap(i, at);
        }
        list.truncate(n);
    }
    list
}

/// The cells of one step, and the pairs of the margin loss as rows of their embeddings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StepCells {
    /// Cells of the first pass, anchors first; in the joint scope each distinct cell once.
    pub(super) first: Vec<u32>,
    /// Cells of the second pass (separate scope only), whose embeddings follow the first's.
    pub(super) second: Vec<u32>,
    pub(super) n_anchors: usize,
    pub(super) pairs: Pairs,
}

/// How negatives are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing {
    /// Per anchor; 0 draws none.
    pub(super) n_negatives: usize,
    pub(super) scope: BnScope,
    pub(super) seed: u64,
    pub(super) epoch: u64,
}

impl StepCells {
    /// Draws the negatives of `anchors` and gives each distinct cell its row.
    pub(super) fn new(anchors: &[u32], negatives: &Negatives, drawing: Drawing) -> Self {
        let mut first = anchors.to_vec();
        let mut second: Vec<u32> = Vec::new();
        let mut row_of: HashMap<u32, u32> = anchors
            .iter()
            .enumerate()
            .map(|(row, &cell)| (cell, row as u32))
            .collect();
        let mut rows = Vec::with_capacity(anchors.len());
        for &cell in anchors {
            let drawn = if drawing.n_negatives == 0 {
                Vec::new()
            } else {
                draw(
                    negatives.of(cell as usize),
                    drawing.n_negatives,
                    drawing.seed,
                    drawing.epoch,
                    cell,
                )
            };
            let row = |other: u32| match drawing.scope {
                BnScope::Joint => *row_of.entry(other).or_insert_with(|| {
                    first.push(other);
                    first.len() as u32 - 1
                }),
                BnScope::Separate => {
                    second.push(other);
                    (anchors.len() + second.len()) as u32 - 1
                }
            };
            rows.push(drawn.into_iter().map(row).collect::<Vec<u32>>());
        }
        // A second pass of one cell has no statistics: it joins the first.
        if second.len() == 1 {
            first.append(&mut second);
        }
        Self {
            first,
            second,
            n_anchors: anchors.len(),
            pairs: Pairs::new(&rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negatives(lists: &[&[u32]]) -> Negatives {
        let mut offsets = vec![0i64];
        for list in lists {
            offsets.push(offsets.last().unwrap() + list.len() as i64);
        }
        let indices = lists.concat();
        Negatives {
            offsets,
            expr_cosine: vec![0.0; indices.len()],
            indices,
        }
    }

    #[test]
    fn the_joint_scope_has_each_cell_once() {
        let n = negatives(&[&[1, 2], &[2], &[], &[0]]);
        let drawing = Drawing {
            n_negatives: 5,
            scope: BnScope::Joint,
            seed: 1,
            epoch: 0,
        };
        let step = StepCells::new(&[0, 1, 3], &n, drawing);
        assert_eq!((step.first, step.second), (vec![0, 1, 3, 2], vec![]));
        assert_eq!(
            (step.pairs.anchor, step.pairs.negative),
            (vec![0, 0, 1, 2], vec![1, 3, 3, 0])
        );
        let step = StepCells::new(
            &[0, 1, 3],
            &n,
            Drawing {
                scope: BnScope::Separate,
                ..drawing
            },
        );
        assert_eq!((step.first, step.second), (vec![0, 1, 3], vec![1, 2, 2, 0]));
        assert_eq!(step.pairs.negative, [3, 4, 5, 6]);
        let none = StepCells::new(
            &[0, 1, 3],
            &n,
            Drawing {
                n_negatives: 0,
                ..drawing
            },
        );
        assert!(none.pairs.anchor.is_empty() && none.first == [0, 1, 3]);
    }

    #[test]
    fn each_negative_is_drawn_equally_often() {
        let list: Vec<u32> = (0..10).collect();
        let mut seen = [0u32; 10];
        for epoch in 0..2000 {
            let drawn = draw(&list, 5, 1, epoch, 7);
            let mut distinct = drawn.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert_eq!(distinct.len(), 5);
            drawn.iter().for_each(|&c| seen[c as usize] += 1);
        }
        // 1,000 each on average, sd 22.
        assert!(seen.iter().all(|&s| (890..1110).contains(&s)), "{seen:?}");
    }
}
