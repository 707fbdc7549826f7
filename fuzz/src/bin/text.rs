//! Text matrices: tab, comma, R's header, gzip.
#![allow(clippy::print_stdout)]

use clcc_fuzz::{ingest, run};

fn main() {
    let rows = |sep: &str, corner: &str| {
        let mut text = format!("{corner}c1{sep}c2{sep}c3{sep}c4{sep}c5{sep}c6\n");
        for g in 0..12 {
            text += &format!("G{g}");
            for c in 0..6 {
                text += &format!("{sep}{}", if (g * 7 + c * 5) % 4 == 0 { g * c } else { 0 });
            }
            text.push('\n');
        }
        text.into_bytes()
    };
    let seeds = [
        rows("\t", "Index\t"),
        rows(",", "gene,"),
        rows("\t", ""),
        rows(" ", "x "),
        String::from_utf8(rows("\t", "\"\"\t")).expect("text").replace('\n', "\r\n").into_bytes(),
    ];
    run("text", &seeds, true, "m.txt", |dir, out| {
        ingest(&dir.join("m.txt"), None, "geo_umi", out)
    });
}
