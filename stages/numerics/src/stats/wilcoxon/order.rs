//! The values of a gene in rising order, each with its cell.

/// The non-zero values of a gene in rising order, and the memory to sort them, which every next gene uses
/// again.
#[derive(Debug, Default)]
pub(in crate::stats) struct Order {
    sorted: Vec<u64>,
    digits: Digits<u64>,
}

/// First key of a positive value.
const ZERO_KEY: u64 = 0x8000_0000 << 32;
/// Below so many values a comparison sort is faster than counting digits.
pub(super) const COUNTED: usize = 192;
/// From here on fewer and wider digits are faster.
const WIDE: usize = 1024;
/// Bits of the widest digit.
const DIGIT: u32 = 11;

impl Order {
    /// Sort the non-zero values of a gene: the value's order-preserving bits above the cell's number, equal
    /// values by cell. The cells rise.
    pub(in crate::stats) fn sort(&mut self, (cells, values): (&[u32], &[f32])) -> &[u64] {
        self.sorted.clear();
        let entry = |(&cell, &v): (&u32, &f32)| u64::from(key_of(v)) << 32 | u64::from(cell);
        let stored = cells.iter().zip(values).filter(|(_, v)| **v != 0.0);
        self.sorted.extend(stored.map(entry));
        if self.sorted.len() < COUNTED {
            self.sorted.sort_unstable();
        } else {
            self.digits.sort(&mut self.sorted, |e| (e >> 32) as u32);
        }
        &self.sorted
    }
}

/// Where the positive values begin.
pub(in crate::stats) fn positive_from(sorted: &[u64]) -> usize {
    sorted.partition_point(|&e| e < ZERO_KEY)
}

/// Bits that order as the values do.
fn key_of(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 0 {
        bits | 0x8000_0000
    } else {
        !bits
    }
}

/// The value of an entry of [`Order::sort`].
pub(in crate::stats) fn value_of(entry: u64) -> f32 {
    let key = (entry >> 32) as u32;
    f32::from_bits(if key >> 31 == 1 {
        key & 0x7fff_ffff
    } else {
        !key
    })
}

/// A stable sort by keys of 32 bits, digit by digit from the lowest (a radix sort), and the memory that it works
/// with. The digits are those of the distance from the least key: what all keys have in common costs nothing.
#[derive(Debug, Default)]
pub(super) struct Digits<T> {
    other: Vec<T>,
    /// Where the next entry of each digit goes, for each pass.
    starts: [Vec<u32>; 4],
}

impl<T: Copy + Default> Digits<T> {
    /// Sort `entries`, fewer than 2^32, by `key`.
    pub(super) fn sort(&mut self, entries: &mut Vec<T>, key: impl Fn(T) -> u32) {
        let ends = entries.iter().fold((u32::MAX, 0), |(least, most), &e| {
            (least.min(key(e)), most.max(key(e)))
        });
        let (least, most) = ends;
        if least >= most {
            return;
        }
        let used = u32::BITS - (most - least).leading_zeros();
        let widest = if entries.len() < WIDE { 8 } else { DIGIT };
        let passes = used.div_ceil(widest) as usize;
        let width = used.div_ceil(passes as u32);
        let mask = (1_u32 << width) - 1;
        self.other.clear();
        self.other.resize(entries.len(), T::default());
        let starts = &mut self.starts[..passes];
        for starts in starts.iter_mut() {
            starts.clear();
            starts.resize(1 << width, 0);
        }
        for &e in entries.iter() {
            let mut left = key(e) - least;
            for starts in starts.iter_mut() {
                starts[(left & mask) as usize] += 1;
                left = left.checked_shr(width).unwrap_or(0);
            }
        }
        for (pass, starts) in starts.iter_mut().enumerate() {
            let mut at = 0;
            for start in starts.iter_mut() {
                (*start, at) = (at, at + *start);
            }
            let shift = pass as u32 * width;
            for &e in entries.iter() {
                let place = &mut starts[((key(e) - least) >> shift & mask) as usize];
                self.other[*place as usize] = e;
                *place += 1;
            }
            std::mem::swap(entries, &mut self.other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn counting_digits_sorts_as_comparing_does(
            keys in prop::collection::vec(prop_oneof![any::<u32>(), 0_u32..5, 0x3f80_0000_u32..0x3f90_0000], 0..2000),
        ) {
            let entries: Vec<u64> = keys.iter().enumerate().map(|(i, &k)| u64::from(k) << 32 | i as u64).collect();
            let mut want = entries.clone();
            want.sort_unstable();
            let mut got = entries;
            Digits::default().sort(&mut got, |e| (e >> 32) as u32);
            prop_assert_eq!(got, want);
        }

        #[test]
        fn values_rise_and_come_back(values in prop::collection::vec(prop_oneof![3 => Just(0.0_f32), 2 => -3.0_f32..3.0], 0..600)) {
            let cells: Vec<u32> = (0..values.len() as u32).collect();
            let mut order = Order::default();
            let sorted = order.sort((&cells, &values));
            let mut want: Vec<(f32, u32)> = values.iter().copied().zip(cells.iter().copied()).filter(|e| e.0 != 0.0).collect();
            want.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let got: Vec<(f32, u32)> = sorted.iter().map(|&e| (value_of(e), e as u32)).collect();
            prop_assert_eq!(&got, &want);
            prop_assert_eq!(positive_from(sorted), want.iter().filter(|e| e.0 < 0.0).count());
        }
    }
}
