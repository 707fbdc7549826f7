//! Random numbers as a pure function of (seed, stream, counter).
//!
//! Every draw in the program comes from here. A stream is named by the purpose of the draw and its
//! coordinates (epoch, cell, gene), so no draw depends on the order in which threads run or on
//! where a resumed run starts.
//!
//! The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as
//! 1, 2, 3"), checked against the known-answer vectors of that paper's code.

use crate::math;
const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

/// Ten rounds of Philox4x32.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(W0), key[1].wrapping_add(W1)];
        }
        let p0 = u64::from(M0) * u64::from(counter[0]);
        let p1 = u64::from(M1) * u64::from(counter[2]);
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ key[1],
            p0 as u32,
        ];
    }
    counter
}

/// Counters processed together.
const PHILOX_BATCH: usize = 16;

/// Batches of consecutive counters, for the widest registers that the machine has.
struct FillBatches<'a> {
    batches: &'a mut [[[u32; 4]; PHILOX_BATCH]],
    counter: u64,
    stream: u64,
    key: [u32; 2],
}

impl pulp::WithSimd for FillBatches<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        for (batch, out) in self.batches.iter_mut().enumerate() {
            let first = self.counter + (batch * PHILOX_BATCH) as u64;
            let mut c = [[0u32; PHILOX_BATCH]; 4];
            for k in 0..PHILOX_BATCH {
                let counter = first + k as u64;
                c[0][k] = counter as u32;
                c[1][k] = (counter >> 32) as u32;
                c[2][k] = self.stream as u32;
                c[3][k] = (self.stream >> 32) as u32;
            }
            let mut key = self.key;
            for round in 0..10 {
                if round > 0 {
                    key = [key[0].wrapping_add(W0), key[1].wrapping_add(W1)];
                }
                for k in 0..PHILOX_BATCH {
                    let p0 = u64::from(M0) * u64::from(c[0][k]);
                    let p1 = u64::from(M1) * u64::from(c[2][k]);
                    let next = [
                        (p1 >> 32) as u32 ^ c[1][k] ^ key[0],
                        p1 as u32,
                        (p0 >> 32) as u32 ^ c[3][k] ^ key[1],
                        p0 as u32,
                    ];
                    for word in 0..4 {
                        c[word][k] = next[word];
                    }
                }
            }
            for k in 0..PHILOX_BATCH {
                for word in 0..4 {
                    out[k][word] = c[word][k];
                }
            }
        }
    }
}

/// A stream of random numbers with its own counter.
///
/// ```
/// use clcc_numerics::rng::Rng;
///
/// // The draws of cell 7 are the same whatever was drawn before for other cells.
/// let mut one = Rng::new(42, "dropout", &[7]);
/// let mut again = Rng::new(42, "dropout", &[7]);
/// let mut other = Rng::new(42, "dropout", &[8]);
/// let first = one.next_u32();
/// assert_eq!(again.next_u32(), first);
/// assert_ne!(other.next_u32(), first);
/// ```
#[derive(Debug, Clone)]
pub struct Rng {
    key: [u32; 2],
    stream: u64,
    counter: u64,
    buffer: [u32; 4],
    used: usize,
}

impl Rng {
    /// The stream `purpose` at `coordinates` under `seed`. Different purposes or coordinates give
    /// unrelated streams.
    pub fn new(seed: u64, purpose: &str, coordinates: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("clcc-flow random stream v1");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&(purpose.len() as u64).to_le_bytes());
        hasher.update(purpose.as_bytes());
        for c in coordinates {
            hasher.update(&c.to_le_bytes());
        }
        let digest = hasher.finalize();
        let word = |i: usize| {
            u32::from_le_bytes(
                digest.as_bytes()[4 * i..4 * i + 4]
                    .try_into()
                    .expect("four bytes"),
            )
        };
        Self {
            key: [word(0), word(1)],
            stream: u64::from(word(2)) | u64::from(word(3)) << 32,
            counter: 0,
            buffer: [0; 4],
            used: 4,
        }
    }

    /// A uniform 32-bit number.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            let c = [
                self.counter as u32,
                (self.counter >> 32) as u32,
                self.stream as u32,
                (self.stream >> 32) as u32,
            ];
            self.buffer = philox4x32(c, self.key);
            self.counter += 1;
            self.used = 0;
        }
        self.used += 1;
        self.buffer[self.used - 1]
    }

    /// The numbers that as many calls of [`Rng::next_u32`] would give; faster for many.
    pub fn fill_u32(&mut self, out: &mut [u32]) {
        let ready = out.len().min(4 - self.used);
        let (head, rest) = out.split_at_mut(ready);
        head.fill_with(|| self.next_u32());
        let (blocks, tail) = rest.as_chunks_mut::<4>();
        let (batches, single) = blocks.as_chunks_mut::<PHILOX_BATCH>();
        crate::math::vectors().dispatch(FillBatches {
            batches,
            counter: self.counter,
            stream: self.stream,
            key: self.key,
        });
        self.counter += (batches.len() * PHILOX_BATCH) as u64;
        for block in single {
            block.fill_with(|| self.next_u32());
        }
        tail.fill_with(|| self.next_u32());
    }

    /// A uniform 64-bit number.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// A uniform number in [0, 1) with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A uniform integer in `0..n`, without bias.
    ///
    /// # Panics
    /// Where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "an empty range has no member to draw");
        // Lemire 2019, "Fast random integer generation in an interval".
        loop {
            let m = u128::from(self.next_u64()) * u128::from(n);
            let low = m as u64;
            if low >= n || low >= n.wrapping_neg() % n {
                return (m >> 64) as u64;
            }
        }
    }

    /// A standard normal number (Box-Muller, the cosine branch).
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - self.uniform();
        let v = self.uniform();
        (-2.0 * math::ln(u)).sqrt() * math::cos(std::f64::consts::TAU * v)
    }

    /// A gamma number of this shape and scale 1 (Marsaglia and Tsang 2000).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = math::pow(1.0 - self.uniform(), 1.0 / shape);
            return boost * self.gamma(shape + 1.0);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v <= 0.0 {
                continue;
            }
            let u = 1.0 - self.uniform();
            if math::ln(u) < 0.5 * x * x + d - d * v + d * math::ln(v) {
                return d * v;
            }
        }
    }

    /// A Poisson number: inversion below a mean of 10, PTRS (Hoermann 1993) above.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        if mean < 10.0 {
            let limit = math::exp(-mean);
            let mut product = self.uniform();
            let mut n = 0;
            while product > limit {
                product *= self.uniform();
                n += 1;
            }
            return n;
        }
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.02483 * b;
        let inv_alpha = 1.1239 + 1.1328 / (b - 3.4);
        let v_r = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let u = self.uniform() - 0.5;
            let v = 1.0 - self.uniform();
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= v_r {
                return k as u64;
            }
            if k < 0.0 || (us < 0.013 && v > us) {
                continue;
            }
            let accept = math::ln(v * inv_alpha / (a / (us * us) + b));
            if accept <= -mean + k * math::ln(mean) - math::ln_gamma(k + 1.0) {
                return k as u64;
            }
        }
    }

    /// Shuffles in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// A permutation of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut p: Vec<usize> = (0..n).collect();
        self.shuffle(&mut p);
        p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known-answer vectors of the Random123 distribution.
    #[test]
    fn many_numbers_at_once_are_those_one_by_one() {
        for (skip, n) in [(0, 64), (1, 7), (3, 200), (2, 0), (4, 65), (0, 1000)] {
            let (mut one, mut many) = (Rng::new(3, "test", &[skip]), Rng::new(3, "test", &[skip]));
            for rng in [&mut one, &mut many] {
                (0..skip).for_each(|_| {
                    rng.next_u32();
                });
            }
            let expected: Vec<u32> = (0..n).map(|_| one.next_u32()).collect();
            let mut found = vec![0; n];
            many.fill_u32(&mut found);
            assert_eq!(found, expected);
            assert_eq!(many.next_u64(), one.next_u64());
        }
    }

    #[test]
    fn philox_matches_known_answers() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_are_reproducible_and_unrelated() {
        let draw = |seed, purpose: &str, c: &[u64]| Rng::new(seed, purpose, c).next_u64();
        assert_eq!(draw(1, "a", &[2]), draw(1, "a", &[2]));
        assert_ne!(draw(1, "a", &[2]), draw(1, "a", &[3]));
        assert_ne!(draw(1, "a", &[2]), draw(1, "b", &[2]));
        assert_ne!(draw(1, "a", &[2]), draw(2, "a", &[2]));
    }

    fn moments(n: usize, mut draw: impl FnMut() -> f64) -> (f64, f64) {
        let xs: Vec<f64> = (0..n).map(|_| draw()).collect();
        let mean = xs.iter().sum::<f64>() / n as f64;
        (
            mean,
            xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64,
        )
    }

    #[test]
    fn distributions_have_their_moments() {
        let n = 200_000;
        let mut rng = Rng::new(7, "moments", &[]);
        // Five standard errors of each estimate.
        let (m, v) = moments(n, || rng.normal());
        assert!(m.abs() < 0.012 && (v - 1.0).abs() < 0.016, "normal {m} {v}");
        for mean in [0.3, 4.0, 30.0, 1000.0] {
            let (m, v) = moments(n, || rng.poisson(mean) as f64);
            let se = (mean / n as f64).sqrt();
            assert!((m - mean).abs() < 5.0 * se, "poisson {mean}: mean {m}");
            assert!(
                (v / mean - 1.0).abs() < 0.03,
                "poisson {mean}: variance {v}"
            );
        }
        for shape in [0.5, 2.0, 20.0] {
            let (m, v) = moments(n, || rng.gamma(shape));
            assert!(
                (m / shape - 1.0).abs() < 0.02 && (v / shape - 1.0).abs() < 0.05,
                "gamma {shape}: {m} {v}"
            );
        }
    }

    #[test]
    fn permutation_holds_each_index_once() {
        let mut p = Rng::new(3, "perm", &[]).permutation(100);
        assert_ne!(p, (0..100).collect::<Vec<_>>());
        p.sort_unstable();
        assert_eq!(p, (0..100).collect::<Vec<_>>());
    }
}
