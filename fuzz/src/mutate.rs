//! Inputs and how they are changed.

/// The files of an input: path below its folder, and bytes. A file named `.gz` is held unpacked.
pub type Files = Vec<(String, Vec<u8>)>;

/// Random numbers (xorshift64*), so that a run can be repeated from its seed.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((self.next() >> 8) % n.max(1) as u64) as usize
    }
}

/// What readers of text trip over.
const TOKENS: &[&[u8]] = &[
    b"\t", b"\n", b"\r\n", b"\r", b" ", b",", b";", b"\"", b"-1", b"NA", b"NaN", b"inf", b"0.5", b"1e999",
    b"16777217", b"99999999999999999999", b"0", b"00", b"+3", b"\xef\xbb\xbf", b"\xff", b"\0", b"%",
    b"%%MatrixMarket matrix coordinate integer general\n", b"0 0 0\n", b"\t0\t0\t0\t0", b"Gene Expression",
    b"\x1f\x8b", b"[]", b"{}", b"null", b"true", b"[1,1]", b"\"zstd\"", b"\"blosc\"", b"\"csc_matrix\"",
];

/// What takes the place of a number in text.
const NUMBERS: &[&[u8]] = &[
    b"0", b"1", b"-1", b"2", b"7", b"255", b"65536", b"4294967295", b"4294967296", b"100000000000", b"9223372036854775807",
    b"18446744073709551615", b"1e300", b"0.5", b"null", b"\"x\"", b"[]",
];

fn is_text(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".gz");
    name.starts_with(".z") || [".json", ".tsv", ".txt", ".mtx"].iter().any(|end| name.ends_with(end))
}

/// One to three files of `seed` changed; `other` is another seed to take pieces from.
pub fn mutate(seed: &Files, other: &Files, rng: &mut Rng) -> Files {
    let mut files = seed.clone();
    for _ in 0..1 + rng.below(3).min(files.len() - 1) {
        let at = rng.below(files.len());
        let foreign = match rng.below(4) {
            0 => &other[rng.below(other.len())].1,
            _ => &seed[rng.below(seed.len())].1,
        };
        match rng.below(24) {
            0 if files.len() > 1 => drop(files.remove(at)),
            1 if files.len() > 1 => files[at].1 = foreign.clone(),
            _ => {
                let text = is_text(&files[at].0);
                let bytes = std::mem::take(&mut files[at].1);
                files[at].1 = change(bytes, foreign, text, rng);
            }
        }
    }
    files
}

/// One to eight changes of a file.
fn change(mut bytes: Vec<u8>, foreign: &[u8], text: bool, rng: &mut Rng) -> Vec<u8> {
    for _ in 0..1 + rng.below(8) {
        let mut at = rng.below(bytes.len() + 1);
        // Much of an HDF5 file is unused.
        for _ in 0..6 {
            if !text && bytes.get(at) == Some(&0) {
                at = rng.below(bytes.len() + 1);
            }
        }
        let most = 1 << rng.below(9);
        let end = (at + 1 + rng.below(most)).min(bytes.len());
        // In a binary format nearly every shift is noticed at once, so most changes stay in place.
        let kind = match text {
            true => [0, 1, 2, 3, 4, 5, 7, 7, 8, 8, 8][rng.below(11)],
            false => [0, 1, 6, 0, 1, 6, 0, 1, 6, 2, 3, 4, 5][rng.below(13)],
        };
        match kind {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = rng.next() as u8,
            2 if at < end => drop(bytes.drain(at..end)),
            3 if at < end => {
                let piece = bytes[at..end].to_vec();
                let to = rng.below(bytes.len());
                bytes.splice(to..to, piece);
            }
            4 if rng.below(4) == 0 => bytes.truncate(at.max(bytes.len() / 8)),
            5 if !foreign.is_empty() => {
                let from = rng.below(foreign.len());
                let piece = &foreign[from..(from + 64).min(foreign.len())];
                bytes.splice(at..end.max(at), piece.iter().copied());
            }
            6 if at + 8 <= bytes.len() => {
                let odd = [0u64, 1, 0x7f, 0xff, 0xffff, 0xffff_ffff, u64::MAX, 1 << 40, 1 << 30, rng.next()];
                let value = odd[rng.below(odd.len())].to_le_bytes();
                let width = [1, 2, 4, 8][rng.below(4)];
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
            7 => {
                let token = TOKENS[rng.below(TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            8 => {
                let is_digit = |b: &u8| b.is_ascii_digit();
                let Some(from) = bytes[at..].iter().position(is_digit).map(|n| at + n) else {
                    continue;
                };
                let to = bytes[from..].iter().position(|b| !is_digit(b)).map_or(bytes.len(), |n| from + n);
                let number = NUMBERS[rng.below(NUMBERS.len())];
                bytes.splice(from..to, number.iter().copied());
            }
            _ => {}
        }
    }
    bytes
}
