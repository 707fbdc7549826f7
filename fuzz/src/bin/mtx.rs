//! 10x folders: the matrix is mutated, or the three files in one, cut at a mark.
#![allow(clippy::print_stdout)]

use clcc_fuzz::{ingest, run};

const MARK: &str = "=====\n";

fn main() {
    let barcodes = "AAA-1\nCCC-1\nGGG-1\nTTT-1\n";
    let features = "E1\tA\tGene Expression\nE2\tB\tGene Expression\nE3\tA\tGene Expression\nP\tP\tAntibody Capture\n";
    let genes = "E1\tA\nE2\tB\nE3\tC\nE4\tD\n";
    let header = "%%MatrixMarket matrix coordinate integer general\n%x\n";
    let by_cell = format!("{header}4 4 5\n1 1 3\n4 1 9\n2 2 1\n3 3 2\n1 4 7\n");
    let by_gene = format!("{header}4 4 5\n1 1 3\n1 4 7\n2 2 1\n3 3 2\n4 1 9\n");
    let seeds: Vec<Vec<u8>> = [(features, &by_cell), (genes, &by_gene), (features, &by_gene)]
        .iter()
        .map(|(f, m)| [barcodes, f, m].join(MARK).into_bytes())
        .collect();
    run("mtx", &seeds, true, "all", |dir, out| {
        let all = std::fs::read(dir.join("all")).expect("read");
        let tenx = dir.join("tenx");
        let _ = std::fs::remove_dir_all(&tenx);
        std::fs::create_dir(&tenx).expect("a folder");
        let mut rest = all.as_slice();
        for name in ["barcodes.tsv", "features.tsv", "matrix.mtx"] {
            let at = rest.windows(MARK.len()).position(|w| w == MARK.as_bytes());
            let (part, tail) = at.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + MARK.len()..]));
            std::fs::write(tenx.join(name), part).expect("written");
            rest = tail;
        }
        ingest(&tenx, None, "10x_mtx", out)
    });
}
