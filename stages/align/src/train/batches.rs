//! Cuts cells into batches: a function of the seed and the epoch alone.

use clcc_numerics::rng::Rng;

/// Cuts a fresh order of the training cells into the batches of an epoch (counted from 0).
///
/// The last batch may be smaller; one of a single cell is dropped, since it has no batch statistics.
pub(super) fn epoch_batches(
    train: &[usize],
    batch_size: usize,
    seed: u64,
    epoch: u64,
) -> Vec<Vec<u32>> {
    cut(train, batch_size, Rng::new(seed, "train.order", &[epoch]))
}

/// Cuts the validation cells into batches, the same in every epoch, in a random order so that a batch
/// holds all patients.
pub(super) fn validation_batches(val: &[usize], batch_size: usize, seed: u64) -> Vec<Vec<u32>> {
    cut(val, batch_size, Rng::new(seed, "train.validation", &[]))
}

fn cut(cells: &[usize], batch_size: usize, mut rng: Rng) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = cells.iter().map(|&c| c as u32).collect();
    rng.shuffle(&mut order);
    order
        .chunks(batch_size)
        .filter(|b| b.len() > 1)
        .map(<[u32]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_holds_each_cell_once_and_drops_a_lone_one() {
        let train: Vec<usize> = (10..31).collect();
        let batches = epoch_batches(&train, 5, 1, 0);
        assert_eq!(
            batches.iter().map(Vec::len).collect::<Vec<_>>(),
            [5, 5, 5, 5]
        );
        let batches = epoch_batches(&train, 6, 1, 0);
        let mut cells = batches.concat();
        cells.sort_unstable();
        assert_eq!(cells, (10..31).collect::<Vec<u32>>());
        assert_ne!(epoch_batches(&train, 6, 1, 1), batches);
        assert_eq!(epoch_batches(&train, 6, 1, 0), batches);
    }
}
