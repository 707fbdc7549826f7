//! Annotation tables beside a fixed matrix.
#![allow(clippy::print_stdout)]

use clcc_fuzz::{ingest, run};

fn main() {
    let seeds = [
        b"Index\tSample\tn\tf\nc1\tT\t1\tTRUE\nc2\tN\t2\tFALSE\nc3\tT\tNA\tTRUE\n".to_vec(),
        b"Index,Sample,Cell_type\r\n\"c1\",T,\"B, cell\"\r\nc2,N,\r\nc3,N,x\r\n".to_vec(),
        b"\"Sample\"\t\"x\"\n\"c1\"\t\"T\"\t1.5\n\"c2\"\t\"N\"\t2\n\"c3\"\t\"N\"\t2\n".to_vec(),
    ];
    run("annotations", &seeds, true, "a.tsv", |dir, out| {
        let matrix = dir.join("m.txt");
        std::fs::write(&matrix, "Index\tc1\tc2\tc3\nA\t1\t0\t2\nB\t0\t3\t0\n").expect("written");
        ingest(&matrix, Some(&dir.join("a.tsv")), "geo_umi", out)
    });
}
