//! The built script and style against their sources, without Node.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

const SINGLE: [&str; 5] = [
    "package-lock.json",
    "package.json",
    "page.css",
    "tools/build.mjs",
    "tsconfig.json",
];

/// Files `*.ts` beneath a folder.
fn scripts(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            scripts(&path, out);
        } else if path.extension().is_some_and(|e| e == "ts") {
            out.push(path);
        }
    }
}

/// `npm run build` writes the digest of the sources into the first line of what it builds: over each source, in the order of
/// their paths, the path, a zero byte, the length in decimal digits, a zero byte, and the content.
#[test]
fn the_committed_script_is_built_from_its_sources() {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
    let mut files: Vec<PathBuf> = SINGLE.iter().map(|f| web.join(f)).collect();
    scripts(&web.join("src"), &mut files);
    let name = |file: &PathBuf| {
        let parts = file.strip_prefix(&web).unwrap().iter();
        let parts: Vec<_> = parts.map(|p| p.to_str().unwrap()).collect();
        parts.join("/")
    };
    let mut sources: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|f| (name(f), std::fs::read(f).unwrap()))
        .collect();
    sources.sort();
    let mut digest = Sha256::new();
    for (path, content) in sources {
        digest.update(path.as_bytes());
        digest.update([0]);
        digest.update(content.len().to_string());
        digest.update([0]);
        digest.update(content);
    }
    let hex: String = digest
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    for built in [
        include_str!("../../web/dist/page.js"),
        include_str!("../../web/dist/page.css"),
    ] {
        let first = built.lines().next().unwrap_or_default();
        assert_eq!(
            first,
            format!("/*! clcc-page sources sha256:{hex} */"),
            "run `npm ci && npm run build` in stages/report/web and commit dist"
        );
    }
}
