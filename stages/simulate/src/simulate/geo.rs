//! Simulated patients in the file formats of GSE131907.
//!
//! File names, header, columns and order are those of the series' supplement: genes in rows and in
//! alphabetical order, cells `<barcode>_<sample>` with samples interleaved in barcode order, and an
//! annotation whose rows are in another order. So the program that reads the real files can be tried on
//! small ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use clcc_data::error::{StageError, StageResult};
use clcc_data::matrix::{Csr, Matrix};
use clcc_numerics::rng::Rng;
use clcc_stage::params::problems;
use clcc_stage::stage::{Metrics, Progress};

use super::Simulate;
use super::atlas::{SAMPLES, is_tumour};
use super::cell_types::CellType;
use super::counts::{Patient, simulate_patient};
use super::params::SimulateParams;
use super::plan::{CellGroup, PatientPlan, SamplePlan};
use super::truth::Truth;
use super::world::World;

/// Name of the count matrix in the series' supplement.
pub const MATRIX_FILE: &str = "GSE131907_Lung_Cancer_raw_UMI_matrix.txt.gz";
/// Name of the annotation.
pub const ANNOTATION_FILE: &str = "GSE131907_Lung_Cancer_cell_annotation.txt.gz";
/// Folder of the truth tables, next to the other files.
pub const TRUTH_DIR: &str = "truth";

/// Number of genes of the real matrix.
const N_GENES: usize = 29_634;
/// Share of a tumour sample's epithelial cells that are malignant.
const MALIGNANT_EPITHELIAL: f64 = 0.9;
/// Share of cells without `Cell_type.refined` and `Cell_subtype`.
const MISSING_SUBTYPE: f64 = 0.02;

/// Parameters of a file set: those of the stage with as many genes as the real matrix has.
/// `n_cells`, `tumour_share` and `malignant_share` have no effect, the atlas has its own.
pub fn default_params() -> SimulateParams {
    SimulateParams {
        n_genes: N_GENES,
        ..SimulateParams::default()
    }
}

/// Plan the 58 samples with `scale` times their cells (rounded, at least one cell of a type that the
/// sample has). Samples `LUNG_Txx` and `LUNG_Nxx` are of patient `P00xx`; the series does not name the
/// patients of the others, so each is a patient under its own name.
pub fn plans(scale: f64) -> Vec<PatientPlan> {
    let mut plans: Vec<PatientPlan> = Vec::new();
    for &(sample, origin, cells) in &SAMPLES {
        let digits = ["LUNG_T", "LUNG_N"]
            .iter()
            .find_map(|p| sample.strip_prefix(p));
        let name = digits.map_or(sample.to_string(), |d| format!("P00{d}"));
        let plan = SamplePlan {
            name: sample.to_string(),
            origin: origin.to_string(),
            groups: groups(cells, is_tumour(origin), scale),
        };
        match plans.iter_mut().find(|p| p.name == name) {
            // The tumour sample goes first, though `LUNG_N06` comes before `LUNG_T06`.
            Some(patient) => patient.samples.insert(0, plan),
            None => plans.push(PatientPlan {
                name,
                samples: vec![plan],
            }),
        }
    }
    plans.sort_by(|a, b| a.name.cmp(&b.name));
    plans
}

fn groups(cells: [usize; 10], is_tumour: bool, scale: f64) -> Vec<CellGroup> {
    let scaled = |n: usize| {
        if n == 0 {
            0
        } else {
            ((n as f64 * scale).round() as usize).max(1)
        }
    };
    let mut groups = Vec::new();
    for (cell_type, n) in CellType::all().into_iter().zip(cells) {
        let n = scaled(n);
        let share = if is_tumour && cell_type == CellType::Epithelial {
            MALIGNANT_EPITHELIAL
        } else {
            0.0
        };
        let n_malignant = (n as f64 * share).round() as usize;
        groups.push(CellGroup {
            cell_type,
            malignant: true,
            n_cells: n_malignant,
        });
        groups.push(CellGroup {
            cell_type,
            malignant: false,
            n_cells: n - n_malignant,
        });
    }
    groups.retain(|g| g.n_cells > 0);
    groups
}

/// Write [`MATRIX_FILE`], [`ANNOTATION_FILE`] and [`TRUTH_DIR`] into `dir`, which is created. `scale`
/// is the share of the atlas' cells, above 0 and at most 1; 1 is 208,506 cells. Same arguments, same
/// bytes.
///
/// Memory is about 8 bytes for each non-zero count: 3 GB at scale 1.
///
/// # Errors
/// [`StageError::Param`] where `scale` or a parameter is out of range; [`StageError::Io`].
pub fn write_file_set(
    dir: &Path,
    params: &SimulateParams,
    seed: u64,
    scale: f64,
    progress: &dyn Progress,
) -> StageResult<Metrics> {
    if !(scale > 0.0 && scale <= 1.0) {
        return Err(StageError::param(
            "scale",
            format!("expected a number above 0 and at most 1, found `{scale}`"),
        ));
    }
    if let Some(problem) = problems::<Simulate>(params).into_iter().next() {
        return Err(StageError::param(problem.path, problem.message));
    }
    std::fs::create_dir_all(dir).map_err(StageError::creating(dir))?;
    let plans = plans(scale);
    let patients: Vec<String> = plans.iter().map(|p| p.name.clone()).collect();
    let world = World::new(params, seed)?.for_patients(&patients, params, seed);
    let mut truth = Truth::new(&world, params);
    let mut cells = Vec::new();
    let mut by_gene = Vec::new();
    for (p, plan) in plans.iter().enumerate() {
        let mut patient = simulate_patient(&world, plan, params, seed)?;
        truth.add(&patient);
        if let Some(Matrix::Csr(x)) = patient.counts.x.take() {
            by_gene.push(x.transpose());
        }
        cells.extend(annotated_cells(&patient, p, seed)?);
        progress.step(p as u64 + 1, plans.len() as u64, &plan.name);
    }
    // Barcode order interleaves the samples.
    cells.sort_by(|a, b| a.id.cmp(&b.id));
    let mut column_of: Vec<Vec<usize>> = by_gene.iter().map(|x| vec![0; x.n_cols()]).collect();
    cells
        .iter()
        .enumerate()
        .for_each(|(column, c)| column_of[c.patient][c.row] = column);
    let genes: Vec<&str> = world.genes.iter().map(|g| g.name.as_str()).collect();
    write_matrix(&dir.join(MATRIX_FILE), &genes, &cells, &by_gene, &column_of)?;
    cells.sort_by(|a, b| a.sample.cmp(&b.sample).then(a.id.cmp(&b.id)));
    write_annotation(&dir.join(ANNOTATION_FILE), &cells)?;
    let mut metrics = truth.write(&dir.join(TRUTH_DIR))?;
    metrics.insert("n_patients".into(), plans.len().into());
    metrics.insert("n_cells".into(), cells.len().into());
    metrics.insert("n_genes".into(), genes.len().into());
    Ok(metrics)
}

struct AnnotatedCell {
    id: String,
    patient: usize,
    row: usize,
    sample: String,
    origin: String,
    cell_type: CellType,
    /// `None` where the atlas has no finer type.
    subtype: Option<&'static str>,
}

fn annotated_cells(patient: &Patient, index: usize, seed: u64) -> StageResult<Vec<AnnotatedCell>> {
    let obs = &patient.counts.obs;
    let (samples, origins) = (obs.texts("sample")?, obs.texts("sample_origin")?);
    let mut rng = Rng::new(seed, &format!("simulate annotation {}", patient.name), &[]);
    let cell = |row: usize| AnnotatedCell {
        id: obs.index[row].clone(),
        patient: index,
        row,
        sample: samples[row].clone(),
        origin: origins[row].clone(),
        cell_type: patient.types[row],
        subtype: (rng.uniform() >= MISSING_SUBTYPE).then_some(patient.subtypes[row]),
    };
    Ok((0..obs.len()).map(cell).collect())
}

/// Write one line per gene; `by_gene[p]` is genes x cells of patient p, `column_of[p]` the columns of
/// its cells.
fn write_matrix(
    path: &Path,
    genes: &[&str],
    cells: &[AnnotatedCell],
    by_gene: &[Csr],
    column_of: &[Vec<usize>],
) -> StageResult<()> {
    let mut out = gz(path)?;
    let mut line = String::from("Index");
    for cell in cells {
        line.push('\t');
        line.push_str(&cell.id);
    }
    line.push('\n');
    out.write_all(line.as_bytes())
        .map_err(StageError::writing(path))?;
    let mut counts: BTreeMap<usize, u32> = BTreeMap::new();
    for (g, gene) in genes.iter().enumerate() {
        counts.clear();
        for (x, columns) in by_gene.iter().zip(column_of) {
            let (rows, values) = x.row(g);
            counts.extend(
                rows.iter()
                    .zip(values)
                    .map(|(&r, &v)| (columns[r as usize], v as u32)),
            );
        }
        line.clear();
        line.push_str(gene);
        let mut next = 0;
        for (&column, count) in &counts {
            (next..column).for_each(|_| line.push_str("\t0"));
            let _ = write!(line, "\t{count}");
            next = column + 1;
        }
        (next..cells.len()).for_each(|_| line.push_str("\t0"));
        line.push('\n');
        out.write_all(line.as_bytes())
            .map_err(StageError::writing(path))?;
    }
    finish(out, path)
}

fn write_annotation(path: &Path, cells: &[AnnotatedCell]) -> StageResult<()> {
    let mut text = String::from(
        "Index\tBarcode\tSample\tSample_Origin\tCell_type\tCell_type.refined\tCell_subtype\n",
    );
    for c in cells {
        let barcode = c.id.split('_').next().unwrap_or_default();
        let refined = c.subtype.map_or("NA", |_| c.cell_type.facts().refined);
        let (name, subtype) = (c.cell_type.name(), c.subtype.unwrap_or("NA"));
        let _ = writeln!(
            text,
            "{}\t{barcode}\t{}\t{}\t{name}\t{refined}\t{subtype}",
            c.id, c.sample, c.origin
        );
    }
    let mut out = gz(path)?;
    out.write_all(text.as_bytes())
        .map_err(StageError::writing(path))?;
    finish(out, path)
}

type GzFile = GzEncoder<BufWriter<std::fs::File>>;

/// Create a gzip file. flate2 writes no time stamp, so the same text gives the same bytes.
fn gz(path: &Path) -> StageResult<GzFile> {
    let file = std::fs::File::create(path).map_err(StageError::creating(path))?;
    Ok(GzEncoder::new(
        BufWriter::with_capacity(1 << 20, file),
        Compression::new(5),
    ))
}

fn finish(out: GzFile, path: &Path) -> StageResult<()> {
    out.finish()
        .and_then(|mut w| w.flush())
        .map_err(StageError::writing(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_stage::stage::Quiet;
    use std::collections::BTreeSet;
    use std::io::Read as _;

    fn unpack(path: &Path) -> String {
        let mut text = String::new();
        flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    #[test]
    fn the_whole_atlas_has_its_cells() {
        let plans = plans(1.0);
        assert_eq!(
            plans.iter().map(PatientPlan::n_cells).sum::<usize>(),
            208_506
        );
        let of = |name: &str| plans.iter().find(|p| p.name == name).unwrap();
        let ten = [
            "P0006", "P0008", "P0009", "P0018", "P0019", "P0020", "P0028", "P0030", "P0031",
            "P0034",
        ];
        assert_eq!(ten.iter().map(|p| of(p).n_cells()).sum::<usize>(), 80_576);
        assert_eq!(of("P0006").n_cells(), 6265);
        let samples = |p: &PatientPlan| -> Vec<String> {
            p.samples
                .iter()
                .map(|s| format!("{} {}", s.name, s.origin))
                .collect()
        };
        assert_eq!(samples(of("P0006")), ["LUNG_T06 tLung", "LUNG_N06 nLung"]);
        assert_eq!(samples(of("EBUS_06")), ["EBUS_06 tL/B"]);
        // Totals as the series' annotation has them.
        let mut by_origin = BTreeMap::new();
        let mut by_type = BTreeMap::new();
        for sample in plans.iter().flat_map(|p| &p.samples) {
            for group in &sample.groups {
                *by_origin.entry(sample.origin.as_str()).or_insert(0) += group.n_cells;
                *by_type.entry(group.cell_type.name()).or_insert(0) += group.n_cells;
                assert!(!group.malignant || is_tumour(&sample.origin));
            }
        }
        let origins = [
            ("tLung", 45_149),
            ("nLung", 42_995),
            ("nLN", 37_446),
            ("mBrain", 29_060),
            ("mLN", 21_479),
            ("PE", 20_304),
            ("tL/B", 12_073),
        ];
        assert_eq!(by_origin, origins.into());
        let types = [
            ("T lymphocytes", 79_676),
            ("Myeloid cells", 42_245),
            ("Epithelial cells", 36_467),
            ("B lymphocytes", 27_657),
            ("NK cells", 11_551),
            ("Fibroblasts", 4_172),
            ("MAST cells", 3_396),
            ("Endothelial cells", 1_996),
            ("Oligodendrocytes", 716),
            ("Undetermined", 630),
        ];
        assert_eq!(by_type, types.into());
    }

    #[test]
    fn files_have_the_layout_of_the_series() {
        let params = SimulateParams {
            n_genes: 600,
            ..default_params()
        };
        let (dir, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let metrics = write_file_set(dir.path(), &params, 5, 0.004, &Quiet).unwrap();
        write_file_set(again.path(), &params, 5, 0.004, &Quiet).unwrap();
        for file in [MATRIX_FILE, ANNOTATION_FILE] {
            assert_eq!(
                std::fs::read(dir.path().join(file)).unwrap(),
                std::fs::read(again.path().join(file)).unwrap()
            );
        }
        let matrix = unpack(&dir.path().join(MATRIX_FILE));
        let mut lines = matrix.lines();
        let header: Vec<&str> = lines.next().unwrap().split('\t').collect();
        assert_eq!(header[0], "Index");
        assert_eq!(metrics["n_cells"], header.len() - 1);
        assert!(header[1..].is_sorted());
        let barcode = |id: &str| id.split_once('_').unwrap().0.len();
        assert!(header[1..].iter().all(|id| barcode(id) == 16));
        let samples: BTreeSet<&str> = header[1..]
            .iter()
            .map(|id| id.split_once('_').unwrap().1)
            .collect();
        assert_eq!(samples.len(), 58);
        assert!(samples.contains("LUNG_T06") && samples.contains("EFFUSION_06"));
        // Samples are interleaved: neighbours are rarely of one sample.
        let same = header[1..]
            .windows(2)
            .filter(|w| w[0].split_once('_').unwrap().1 == w[1].split_once('_').unwrap().1);
        assert!(same.count() * 5 < header.len());

        let rows: Vec<Vec<&str>> = lines.map(|l| l.split('\t').collect()).collect();
        assert_eq!(rows.len(), 600);
        assert!(rows.windows(2).all(|w| w[0][0] < w[1][0]));
        assert!(rows.iter().all(|r| r.len() == header.len()));

        let annotation = unpack(&dir.path().join(ANNOTATION_FILE));
        let mut lines = annotation.lines();
        let columns =
            "Index\tBarcode\tSample\tSample_Origin\tCell_type\tCell_type.refined\tCell_subtype";
        assert_eq!(lines.next(), Some(columns));
        let cells: Vec<Vec<&str>> = lines.map(|l| l.split('\t').collect()).collect();
        assert!(
            cells
                .iter()
                .all(|c| c[0] == format!("{}_{}", c[1], c[2]) && c.len() == 7)
        );
        let ids: Vec<&str> = cells.iter().map(|c| c[0]).collect();
        assert_ne!(ids, header[1..]);
        assert_eq!(
            ids.iter().collect::<BTreeSet<_>>(),
            header[1..].iter().collect::<BTreeSet<_>>()
        );

        // The counts of one patient are those that the simulation made.
        let world = World::new(&params, 5).unwrap();
        let patient = simulate_patient(&world, &plans(0.004)[3], &params, 5).unwrap();
        let x = patient.counts.x.unwrap().into_csr();
        for (r, id) in patient.counts.obs.index.iter().enumerate() {
            let column = header.iter().position(|h| h == id).unwrap();
            for (g, row) in rows.iter().enumerate() {
                assert_eq!(
                    row[column].parse::<f32>().unwrap(),
                    x.get(r, g),
                    "{id} {}",
                    row[0]
                );
            }
        }
    }

    #[test]
    fn scale_out_of_range_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_file_set(dir.path(), &default_params(), 1, 1.5, &Quiet).unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter `scale`: expected a number above 0 and at most 1, found `1.5`"
        );
    }
}
