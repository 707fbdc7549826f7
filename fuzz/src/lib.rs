//! The loop: mutate a seed, read it as `ingest` does, look at what came of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clcc_stages::StageError;
use clcc_stages::anndata::Reader;
use clcc_stages::ingest::{Ingest, IngestParams};
use clcc_stages::stage::{Branch, DeviceChoice, InputArtifact, Quiet, Stage as _, StageContext};

/// A read that takes longer is a finding: the seeds take milliseconds.
const SLOW: Duration = Duration::from_secs(10);

/// Random numbers (xorshift64*), so that a run can be repeated from its seed.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// What text readers trip over.
const TOKENS: &[&[u8]] = &[
    b"\t", b"\n", b"\r\n", b"\r", b" ", b",", b";", b"\"", b"-1", b"NA", b"NaN", b"inf", b"0.5",
    b"1e999", b"16777217", b"99999999999999999999", b"0", b"00", b"+3", b"\xef\xbb\xbf", b"\xff",
    b"\0", b"%", b"%%MatrixMarket matrix coordinate integer general\n", b"0 0 0\n", b"\t0\t0\t0\t0",
    b"Gene Expression", b"\x1f\x8b",
];

/// One to eight changes of a seed.
pub fn mutate(seed: &[u8], other: &[u8], text: bool, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..1 + rng.below(8) {
        let at = rng.below(bytes.len() + 1);
        let most = 1 << rng.below(9);
        let end = (at + 1 + rng.below(most)).min(bytes.len());
        // In a binary format nearly every shift is noticed at once, so most changes stay in place.
        let kind = if text {
            rng.below(9)
        } else {
            [0, 1, 6, 0, 1, 6, 0, 1, 6, 2, 3, 4, 5][rng.below(13)]
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
            4 => bytes.truncate(at.max(bytes.len() / 8)),
            5 if !other.is_empty() => {
                let from = rng.below(other.len());
                let piece = &other[from..(from + 64).min(other.len())];
                bytes.splice(at..end.max(at), piece.iter().copied());
            }
            6 if at + 8 <= bytes.len() => {
                let odd = [0u64, 1, 0x7f, 0xff, 0xffff, 0xffff_ffff, u64::MAX, 1 << 40, rng.next()];
                let value = odd[rng.below(odd.len())].to_le_bytes();
                let width = [1, 2, 4, 8][rng.below(4)];
                bytes[at..at + width].copy_from_slice(&value[..width]);
            }
            _ if text => {
                let token = TOKENS[rng.below(TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            _ => {}
        }
    }
    bytes
}

/// Reads `counts` (and `annotations`) as the stage does.
pub fn ingest(
    counts: &Path,
    annotations: Option<&Path>,
    format: &str,
    out: &Path,
) -> Result<(), StageError> {
    let _ = std::fs::remove_dir_all(out);
    std::fs::create_dir_all(out).expect("a folder");
    let input = |role: &str, path: &Path, format: Option<&str>| InputArtifact {
        role: role.into(),
        branch: Branch::new(),
        path: path.to_path_buf(),
        format: format.map(str::to_string),
        builtin: None,
    };
    let mut inputs = vec![input("counts", counts, Some(format))];
    inputs.extend(annotations.map(|a| input("annotations", a, None)));
    let ctx = StageContext {
        inputs,
        out_dir: out.to_path_buf(),
        keys: vec!["p".into()],
        seed: 0,
        threads: 1,
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Quiet,
        cancel: &AtomicBool::new(false),
    };
    let params = match annotations {
        // All cells of the annotations are the patient's.
        Some(_) => IngestParams {
            group_by: "Sample".into(),
            groups: [("p".to_string(), vec!["T".to_string(), "N".to_string()])].into(),
            ..IngestParams::default()
        },
        None => IngestParams::default(),
    };
    Ingest::run(&ctx, &params)?;
    // What was taken in is whole: it reads back, and every count is a count.
    let data = Reader::open(&out.join("counts/p"))?.read()?;
    let x = data.x.clone().expect("counts").into_csr();
    assert_eq!((x.n_rows(), x.n_cols()), (data.n_obs(), data.n_vars()));
    assert!(x.data().iter().all(|v| *v > 0.0 && v.fract() == 0.0));
    assert!(data.obs.first_duplicate().is_none() && data.var.first_duplicate().is_none());
    Ok(())
}

/// Runs `read` on mutated seeds for as many seconds as the first argument says (default 60). `read`
/// gets the input's folder, in which `write` has laid it, and a folder to write to.
pub fn run(
    name: &str,
    seeds: &[Vec<u8>],
    text: bool,
    file: &str,
    read: impl Fn(&Path, &Path) -> Result<(), StageError>,
) {
    let argument = |n: usize| std::env::args().nth(n).and_then(|a| a.parse::<u64>().ok());
    let limit = Duration::from_secs(argument(1).unwrap_or(60));
    let first = argument(2).unwrap_or(1);
    let dir = tempfile::tempdir().expect("a folder");
    let (input, out) = (dir.path().join("in"), dir.path().join("out"));
    std::fs::create_dir_all(&input).expect("a folder");
    for seed in seeds {
        std::fs::write(input.join(file), seed).expect("written");
        read(&input, &out).unwrap_or_else(|e| panic!("a seed is refused: {e}"));
    }
    let start = Instant::now();
    let (mut n, mut accepted) = (0u64, 0u64);
    let mut kinds = std::collections::BTreeMap::<String, u64>::new();
    while start.elapsed() < limit {
        let mut rng = Rng::new(first + n);
        n += 1;
        let seed = &seeds[rng.below(seeds.len())];
        let other = &seeds[rng.below(seeds.len())];
        let bytes = mutate(seed, other, text, &mut rng);
        std::fs::write(input.join(file), &bytes).expect("written");
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&input, &out)));
        let slow = began.elapsed() > SLOW;
        match outcome {
            Ok(Ok(())) if !slow => accepted += 1,
            Ok(Err(e)) if !slow => {
                // The message without its values: how many different refusals were seen.
                let text = e.to_string();
                let kind: String = text
                    .rsplit(": ")
                    .next()
                    .unwrap_or("")
                    .split('`')
                    .step_by(2)
                    .collect();
                let kind = kind.chars().filter(|c| !c.is_ascii_digit()).collect();
                *kinds.entry(kind).or_default() += 1;
            }
            found => {
                let kept = PathBuf::from("found").join(format!("{name}-{}", first + n - 1));
                let _ = std::fs::create_dir_all("found");
                std::fs::write(&kept, &bytes).expect("written");
                let what = if found.is_err() { "a panic" } else { "a slow read" };
                eprintln!("{what}: {} (seed {})", kept.display(), first + n - 1);
                std::process::exit(1);
            }
        }
    }
    println!("{name}: {n} inputs, {accepted} accepted, {} kinds of refusal, no panic", kinds.len());
    for (kind, times) in kinds {
        println!("{times:>8} {kind}");
    }
}
