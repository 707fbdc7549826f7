//! Workflow files that are damaged at random: always an answer, never a panic.

use std::path::Path;

use clcc_stages::rng::Rng;

use super::Workflow;
use crate::plan::{Overrides, Plan};

const SEEDS: [&str; 3] = [
    include_str!("../../workflows/demo.yaml"),
    include_str!("../../workflows/luad10.yaml"),
    "version: 1\naxes: {a: {x: {cluster: {resolution: 1}}, y: {seed: 2}}}\nstages:\n  simulate: {keyed_by: a}\n  \
     cluster: {per: a, needs: [infercnv], join: {min: 1}, resources: {memory: 1G}}\n  infercnv: {}\n",
];
/// What YAML gives a meaning to, and what breaks readers.
const PIECES: [&str; 30] = [
    ":", ": ", "- ", "[", "]", "{", "}", "\n", "\n  ", "\t", "#", "&a ", "*a", "!t ", "<<: ",
    "|\n", ">\n", "'", "\"", "\\", "\0", "\u{feff}", "\r\n", "---\n", "...\n", "? ", "~", ".nan",
    "1e999", "\u{2028}",
];

fn mutate(text: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for _ in 0..1 + rng.below(6) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let to = (at + rng.below(40) as usize).min(bytes.len());
        match rng.below(6) {
            0 => drop(bytes.drain(at..to)),
            1 => {
                let copy = bytes[at..to].to_vec();
                let into = rng.below(bytes.len() as u64 + 1) as usize;
                drop(bytes.splice(into..into, copy));
            }
            2 if at < bytes.len() => bytes[at] = rng.below(256) as u8,
            3 => bytes.truncate(at),
            _ => {
                let piece = PIECES[rng.below(PIECES.len() as u64) as usize];
                drop(bytes.splice(at..at, piece.bytes()));
            }
        }
    }
    bytes
}

fn read(bytes: &[u8]) -> Result<(), super::InvalidWorkflow> {
    let workflow = Workflow::parse(Path::new("w.yaml"), bytes)?;
    Plan::new(&workflow, &Overrides::default()).map(drop)
}

/// `CLCC_CASES` mutants (default 3,000).
#[test]
fn a_mutated_workflow_is_read_or_refused_with_the_place() {
    let cases = std::env::var("CLCC_CASES")
        .ok()
        .and_then(|n| n.parse().ok());
    let mut refused = 0;
    for case in 0..cases.unwrap_or(3000) {
        let mut rng = Rng::new(case, "workflow fuzz", &[]);
        let seed = SEEDS[rng.below(3) as usize];
        let bytes = mutate(seed.as_bytes(), &mut rng);
        if let Err(e) = read(&bytes) {
            refused += 1;
            let text = String::from_utf8_lossy(&bytes);
            for p in &e.problems {
                assert!(
                    p.place.is_some(),
                    "case {case}: no place: {}\n{text}",
                    p.message
                );
                let place = p.place.expect("checked");
                let lines = text.lines().count() + 1;
                assert!(
                    place.line >= 1 && place.line <= lines + 1,
                    "case {case}: {p:?}"
                );
            }
        }
    }
    assert!(refused > 100, "most mutants are wrong: {refused}");
}

#[test]
fn bombs_are_refused_at_once() {
    let lines = |n: usize, line: &str| line.repeat(n);
    let bombs = [
        ("ten megabytes", lines(10 << 20, "a")),
        ("depth", lines(10_000, "[")),
        ("depth by lines", (0..5_000).map(|i| format!("{}a:\n", " ".repeat(i))).collect()),
        ("nul", "version: 1\nname: \0\n".to_string()),
        ("aliases", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n".to_string()),
        ("duplicate keys", lines(100, "version: 1\n")),
        (
            "cycle",
            "version: 1\naxes: {patient: [A]}\nstages:\n  cluster: {needs: [infercnv]}\n  infercnv: {needs: [cluster]}\n".to_string(),
        ),
    ];
    for (name, text) in bombs {
        let e = read(text.as_bytes()).expect_err(name);
        assert!(!e.problems.is_empty() && e.problems.len() < 200, "{name}");
        assert!(
            e.problems[0].place.is_some(),
            "{name}: {}",
            e.problems[0].message
        );
    }
    // These are no attack: they read as what they are.
    let plain = SEEDS[0];
    read(format!("\u{feff}{plain}").as_bytes()).expect("a byte order mark");
    read(plain.replace('\n', "\r\n").as_bytes()).expect("carriage returns");
}
