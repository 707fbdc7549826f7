//! What is read, and from which inputs the changes start.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clcc_counts::ingest::{Ingest, IngestParams, preview, survey};
use clcc_data::StageError;
use clcc_data::anndata::{AnnData, Reader, Uns, describe};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::{Csr, Matrix};
use clcc_stage::stage::{Branch, DeviceChoice, InputArtifact, Quiet, Stage as _, StageContext};
use hdf5_pure::FileBuilder;

use crate::mutate::Files;

/// A format.
pub struct Target {
    pub name: String,
    pub seeds: Vec<Files>,
    /// Reads the input in a folder; the second is an empty one to write to.
    pub read: fn(&Path, &Path) -> Result<(), StageError>,
}

pub const NAMES: [&str; 6] = ["text", "mtx", "annotations", "h5ad", "tenx_h5", "zarr"];

/// The target of this name, with what `CLCC_FUZZ_SEEDS` has for it.
pub fn named(name: &str) -> Option<Target> {
    let (mut seeds, read): (_, fn(&Path, &Path) -> Result<(), StageError>) = match name {
        "text" => (texts(), read_text),
        "mtx" => (tenx_folders(), |dir, out| ingest(dir, None, "10x_mtx", out)),
        "annotations" => (annotations(), read_annotations),
        "h5ad" => (stores(false), |dir, out| read_store(&dir.join("m.h5ad"), "h5ad", out)),
        "tenx_h5" => (tenx_files(), |dir, out| {
            let _ = describe(&dir.join("m.h5"));
            ingest(&dir.join("m.h5"), None, "10x_h5", out)
        }),
        "zarr" => (stores(true), |dir, out| read_store(dir, "zarr", out)),
        _ => return None,
    };
    if let Some(more) = std::env::var_os("CLCC_FUZZ_SEEDS") {
        let dir = PathBuf::from(more).join(name);
        let mut paths: Vec<PathBuf> =
            std::fs::read_dir(&dir).into_iter().flatten().map(|e| e.expect("an entry").path()).collect();
        paths.sort();
        for path in paths {
            let mut files = files_below(&path);
            if path.is_file() {
                files[0].0 = if name == "h5ad" { "m.h5ad" } else { "m.h5" }.to_string();
            }
            seeds.push(files);
        }
    }
    Some(Target { name: name.to_string(), seeds, read })
}

/// The files of a folder, or a file, by their paths below it.
pub fn files_below(root: &Path) -> Files {
    if root.is_file() {
        return vec![(String::new(), std::fs::read(root).expect("read"))];
    }
    let mut files = Files::new();
    for entry in std::fs::read_dir(root).expect("a folder") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        for (below, bytes) in files_below(&entry.path()) {
            let path = if below.is_empty() { name.clone() } else { format!("{name}/{below}") };
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

/// Writes an input to the empty folder `dir`.
pub fn write(files: &Files, dir: &Path) -> std::io::Result<()> {
    for (name, bytes) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().expect("below a folder"))?;
        if name.ends_with(".gz") {
            let file = std::fs::File::create(&path)?;
            let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            packed.write_all(bytes)?;
            packed.finish()?;
        } else {
            std::fs::write(&path, bytes)?;
        }
    }
    Ok(())
}

fn one(name: &str, bytes: impl Into<Vec<u8>>) -> Files {
    vec![(name.to_string(), bytes.into())]
}

fn texts() -> Vec<Files> {
    let rows = |sep: &str, corner: &str| {
        let mut text = format!("{corner}c1{sep}c2{sep}c3{sep}c4{sep}c5{sep}c6\n");
        for g in 0..12 {
            text += &format!("G{g}");
            for c in 0..6 {
                text += &format!("{sep}{}", if (g * 7 + c * 5) % 4 == 0 { g * c } else { 0 });
            }
            text.push('\n');
        }
        text
    };
    vec![
        one("m.txt", rows("\t", "Index\t")),
        one("m.txt", rows(",", "gene,")),
        one("m.txt", rows("\t", "")),
        one("m.txt", rows(" ", "x ")),
        one("m.txt", rows("\t", "\"\"\t").replace('\n', "\r\n")),
        one("m.txt.gz", rows("\t", "Index\t")),
    ]
}

fn read_text(dir: &Path, out: &Path) -> Result<(), StageError> {
    let packed = dir.join("m.txt.gz");
    let path = if packed.is_file() { packed } else { dir.join("m.txt") };
    let _ = preview(&path);
    ingest(&path, None, "geo_umi", out)
}

fn tenx_folders() -> Vec<Files> {
    let barcodes = "AAA-1\nCCC-1\nGGG-1\nTTT-1\n";
    let features =
        "E1\tA\tGene Expression\nE2\tB\tGene Expression\nE3\tA\tGene Expression\nP\tP\tAntibody Capture\n";
    let genes = "E1\tA\nE2\tB\nE3\tC\nE4\tD\n";
    let header = "%%MatrixMarket matrix coordinate integer general\n%x\n";
    let by_cell = format!("{header}4 4 5\n1 1 3\n4 1 9\n2 2 1\n3 3 2\n1 4 7\n");
    let by_gene = format!("{header}4 4 5\n1 1 3\n1 4 7\n2 2 1\n3 3 2\n4 1 9\n");
    let folder = |features_name: &str, features: &str, matrix: &str, end: &str| {
        [("barcodes.tsv", barcodes), (features_name, features), ("matrix.mtx", matrix)]
            .map(|(name, text)| (format!("{name}{end}"), text.as_bytes().to_vec()))
            .to_vec()
    };
    vec![
        folder("features.tsv", features, &by_cell, ""),
        folder("genes.tsv", genes, &by_cell, ""),
        folder("features.tsv", features, &by_gene, ""),
        folder("features.tsv", features, &by_cell, ".gz"),
    ]
}

fn annotations() -> Vec<Files> {
    [
        "Index\tSample\tn\tf\nc1\tT\t1\tTRUE\nc2\tN\t2\tFALSE\nc3\tT\tNA\tTRUE\n",
        "Index,Sample,Cell_type\r\n\"c1\",T,\"B, cell\"\r\nc2,N,\r\nc3,N,x\r\n",
        "\"Sample\"\t\"x\"\n\"c1\"\t\"T\"\t1.5\n\"c2\"\t\"N\"\t2\n\"c3\"\t\"N\"\t2\n",
    ]
    .map(|text| one("a.tsv", text))
    .to_vec()
}

fn read_annotations(dir: &Path, out: &Path) -> Result<(), StageError> {
    let matrix = dir.join("m.txt");
    std::fs::write(&matrix, "Index\tc1\tc2\tc3\nA\t1\t0\t2\nB\t0\t3\t0\n").expect("written");
    ingest(&matrix, Some(&dir.join("a.tsv")), "geo_umi", out)
}

/// AnnData as this program writes it.
fn stores(zarr: bool) -> Vec<Files> {
    let rows =
        (0..8u32).map(|r| (0..5).filter(|c| (r + c) % 3 == 0).map(|c| (c, (r + c + 1) as f32)).collect());
    let csr = Csr::from_rows(5, rows);
    let names = |p: &str, n: usize| (0..n).map(|i| format!("{p}{i}")).collect::<Vec<_>>();
    let mut obs = Frame::new(names("c", 8));
    obs.set_category("cell_type", &["a", "b", "a", "b", "", "a", "b", "b"]);
    obs.set("flag", Column::Bool(vec![true; 8]));
    obs.set("score", Column::F64(vec![0.5; 8]));
    let dir = tempfile::tempdir().expect("a folder");
    let dense = Matrix::Dense(csr.to_dense());
    let mut seeds = Vec::new();
    for (i, x) in [Matrix::Csr(csr), dense].into_iter().enumerate() {
        let data = AnnData {
            obs: obs.clone(),
            var: Frame::new(names("g", 5)),
            x: Some(x),
            uns: [("note".to_string(), Uns::Str("x".into()))].into(),
            ..AnnData::default()
        };
        let path = dir.path().join(i.to_string());
        if zarr {
            data.write_zarr(&path).expect("written");
            seeds.push(files_below(&path));
        } else {
            data.write_h5ad(&path).expect("written");
            seeds.push(one("m.h5ad", std::fs::read(&path).expect("read")));
        }
    }
    seeds
}

fn read_store(path: &Path, format: &str, out: &Path) -> Result<(), StageError> {
    let _ = describe(path);
    if let Ok(reader) = Reader::open(path) {
        let _ = reader.read();
    }
    ingest(path, None, format, out)
}

/// 10x files of Cell Ranger 3.
fn tenx_files() -> Vec<Files> {
    let mut file = FileBuilder::new();
    let mut matrix = file.create_group("matrix");
    let texts = |group: &mut hdf5_pure::GroupBuilder, name: &str, values: &[&str]| {
        group.create_dataset(name).with_vlen_strings(values).with_shape(&[values.len() as u64]);
    };
    texts(&mut matrix, "barcodes", &["AAA-1", "CCC-1"]);
    matrix.create_dataset("data").with_i32_data(&[1, 2, 3]).with_shape(&[3]);
    matrix.create_dataset("indices").with_i64_data(&[0, 0, 1]).with_shape(&[3]);
    matrix.create_dataset("indptr").with_i64_data(&[0, 1, 3]).with_shape(&[3]);
    matrix.create_dataset("shape").with_i32_data(&[2, 2]).with_shape(&[2]);
    let mut features = matrix.create_group("features");
    texts(&mut features, "id", &["E1", "E2"]);
    texts(&mut features, "name", &["A", "B"]);
    texts(&mut features, "feature_type", &["Gene Expression"; 2]);
    texts(&mut features, "genome", &["GRCh38"; 2]);
    matrix.add_group(features.finish());
    file.add_group(matrix.finish());
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("m.h5");
    file.write(&path).expect("written");
    vec![one("m.h5", std::fs::read(&path).expect("read"))]
}

/// Reads `counts` (and `annotations`) as the stage does, and looks at what was taken in.
fn ingest(counts: &Path, annotations: Option<&Path>, format: &str, out: &Path) -> Result<(), StageError> {
    let input = |role: &str, path: &Path, format: Option<&str>| InputArtifact {
        role: role.into(),
        branch: Branch::new(),
        path: path.to_path_buf(),
        format: format.map(str::to_string),
        builtin: None,
    };
    let mut inputs = vec![input("counts", counts, Some(format))];
    inputs.extend(annotations.map(|a| input("annotations", a, None)));
    let keys = vec!["p".to_string()];
    let params = match annotations {
        // All cells of the annotations are the patient's.
        Some(_) => IngestParams {
            group_by: "Sample".into(),
            groups: [("p".to_string(), vec!["T".to_string(), "N".to_string()])].into(),
            ..IngestParams::default()
        },
        None => IngestParams::default(),
    };
    let _ = survey(counts, Some(format), annotations, &params, &keys);
    let ctx = StageContext {
        inputs,
        out_dir: out.to_path_buf(),
        keys,
        seed: 0,
        threads: 2,
        device: DeviceChoice::Cpu,
        checkpoint_dir: None,
        progress: &Quiet,
        cancel: &AtomicBool::new(false),
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
