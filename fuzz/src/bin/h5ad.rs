//! HDF5: h5ad as this program writes it, and, where the folder is there, files of anndata and 10x.
#![allow(clippy::print_stdout)]

use clcc_fuzz::{ingest, run};
use clcc_stages::anndata::{AnnData, Uns};
use clcc_stages::frame::{Column, Frame};
use clcc_stages::matrix::{Csr, Matrix};

fn main() {
    let rows = (0..8u32).map(|r| (0..5).filter(|c| (r + c) % 3 == 0).map(|c| (c, (r + c + 1) as f32)).collect());
    let csr = Csr::from_rows(5, rows);
    let names = |p: &str, n: usize| (0..n).map(|i| format!("{p}{i}")).collect::<Vec<_>>();
    let mut obs = Frame::new(names("c", 8));
    obs.set_category("cell_type", &["a", "b", "a", "b", "", "a", "b", "b"]);
    obs.set("flag", Column::Bool(vec![true; 8]));
    obs.set("score", Column::F64(vec![0.5; 8]));
    let mut data = AnnData {
        obs,
        var: Frame::new(names("g", 5)),
        x: Some(Matrix::Csr(csr.clone())),
        uns: [("note".to_string(), Uns::Str("x".into()))].into(),
        ..AnnData::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let mut seeds = Vec::new();
    for (i, x) in [Matrix::Csr(csr.clone()), Matrix::Dense(csr.to_dense())].into_iter().enumerate() {
        data.x = Some(x);
        let path = dir.path().join(format!("{i}.h5ad"));
        data.write_h5ad(&path).expect("written");
        seeds.push(std::fs::read(path).expect("read"));
    }
    let more = std::env::var_os("CLCC_FUZZ_SEEDS").map(std::path::PathBuf::from);
    for entry in more.iter().flat_map(|d| std::fs::read_dir(d).expect("a folder")) {
        seeds.push(std::fs::read(entry.expect("an entry").path()).expect("read"));
    }
    run("h5ad", &seeds, false, "m.h5ad", |dir, out| ingest(&dir.join("m.h5ad"), None, "h5ad", out));
}
