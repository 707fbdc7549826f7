//! 10x: matrix-market folders (`barcodes`, `features` or `genes`, `matrix`; gzip or not) and HDF5.
//!
//! One folder or file is one library. A folder of several gives all their cells in one pass: the
//! library's name becomes the column `sample`, and a cell is named `<barcode>_<sample>`.

use std::path::{Path, PathBuf};

use super::annotations::shown;
use super::cells::{Cells, Patient};
use super::features::{self, Genes};
use super::kept::{self, Kept, Runs};
use super::params::IngestParams;
use super::source::{Holds, Matrices};
use super::store::{self, Place};
use super::text::{self, Lines};
use super::{count_problem, geo};
use clcc_data::anndata::{TenxFeatures, TenxFile, list};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Frame, is_missing};
use clcc_stage::stage::{Progress, StageContext};

/// How deep libraries may be below the folder that is given.
const DEPTH: usize = 4;

/// One library.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Triple {
        matrix: PathBuf,
        barcodes: PathBuf,
        features: PathBuf,
    },
    Hdf5(PathBuf),
}

/// A library whose names are known.
struct Library {
    source: Source,
    /// Group of an HDF5 file.
    group: String,
    sample: String,
    barcodes: Vec<String>,
    features: TenxFeatures,
}

/// Whether `path` is, or holds, a 10x library.
pub(super) fn is_tenx(path: &Path) -> bool {
    find(path, 0).is_ok_and(|found| !found.is_empty())
}

/// Libraries whose cells and features are read.
pub(super) struct Libraries {
    path: PathBuf,
    /// At least one, all with the same features.
    libraries: Vec<Library>,
    /// The cells of all, with the column `sample` where there are several libraries.
    pub(super) cells: Frame,
}

impl Libraries {
    /// Reads the cells and features of the library or libraries at `path`.
    ///
    /// # Errors
    /// [`StageError::Format`] with its place where a file is missing, cut off or not in its format, where
    /// libraries have different genes or cells come twice; [`StageError::Param`] where a file has several
    /// genomes and none is chosen.
    pub(super) fn open(path: &Path, params: &IngestParams) -> StageResult<Self> {
        let libraries = open(path, params)?;
        for other in &libraries[1..] {
            same_features(path, &libraries[0], other)?;
        }
        Ok(Self {
            cells: cell_frame(path, &libraries)?,
            path: path.to_path_buf(),
            libraries,
        })
    }

    /// The genes among the features.
    ///
    /// # Errors
    /// As [`features::genes`], and [`StageError::Format`] where the head of a matrix states another size than the
    /// names have.
    pub(super) fn genes(
        &self,
        params: &IngestParams,
        progress: &dyn Progress,
    ) -> StageResult<Genes> {
        for library in &self.libraries {
            if let Source::Triple { matrix, .. } = &library.source {
                let header = header(&mut Lines::open(matrix)?, matrix)?;
                check_size(matrix, library, &header)?;
            }
        }
        features::genes(&self.libraries[0].features, &self.path, params, progress)
    }

    pub(super) fn feature_names(&self) -> Vec<&str> {
        let features = &self.libraries[0].features;
        let both = features.names.iter().chain(&features.ids);
        both.map(String::as_str).collect()
    }

    pub(super) fn holds(&self) -> StageResult<Holds> {
        let first = &self.libraries[0];
        let mut genomes = match &first.source {
            Source::Hdf5(file) if first.group != "matrix" => TenxFile::open(file)?.groups()?,
            _ => first.features.genomes.clone(),
        };
        genomes.sort();
        genomes.dedup();
        genomes.retain(|g| !g.is_empty());
        Ok(Holds {
            genomes,
            gene_columns: vec!["gene_ids".into()],
            features: Some(first.features.ids.len()),
            ..Holds::default()
        })
    }

    /// Reads the patients' counts.
    ///
    /// # Errors
    /// [`StageError::Format`] with its place where a matrix is cut off or not in its format, or a count is
    /// none.
    pub(super) fn read(
        self,
        ctx: &StageContext<'_>,
        params: &IngestParams,
        genes: Genes,
        cells: &Cells,
        patients: &[Patient],
    ) -> StageResult<(Frame, Matrices)> {
        let names = &self.cells.index;
        let owner = store::owners(cells, patients, names.len());
        let mut kept: Vec<Kept> = patients.iter().map(|_| Kept::default()).collect();
        let mut start = 0;
        for library in &self.libraries {
            let part = start..start + library.barcodes.len();
            let place = Place {
                owner: &owner[part.clone()],
                cells: &names[part.clone()],
                genes: &genes,
            };
            match &library.source {
                Source::Hdf5(file) => {
                    let open = TenxFile::open(file)?;
                    let rows = open.rows(&library.group)?;
                    store::collect(ctx, file, &library.group, &rows, &place, params, &mut kept)?;
                }
                Source::Triple { matrix, .. } => {
                    read_matrix(ctx, matrix, library, &place, params, &mut kept)?;
                }
            }
            start = part.end;
        }
        Ok(kept::matrices(kept, genes.var))
    }
}

fn open(path: &Path, params: &IngestParams) -> StageResult<Vec<Library>> {
    let mut sources = find(path, 0)?;
    sources.sort();
    if sources.is_empty() {
        return Err(StageError::format(
            path,
            "",
            "expected 10x counts (`matrix.mtx` with `barcodes.tsv` and `features.tsv` or `genes.tsv`, \
             each also `.gz`, or a `.h5` file), found none",
        ));
    }
    let samples = sample_names(path, &sources)?;
    sources
        .into_iter()
        .zip(samples)
        .map(|(source, sample)| library(source, sample, params))
        .collect()
}

fn library(source: Source, sample: String, params: &IngestParams) -> StageResult<Library> {
    let (group, barcodes, features) = match &source {
        Source::Triple {
            barcodes, features, ..
        } => (
            String::new(),
            first_fields(barcodes)?,
            read_features(features)?,
        ),
        Source::Hdf5(file) => {
            let open = TenxFile::open(file)?;
            let groups = open.groups()?;
            // The newer layout has one group and tells genomes apart by feature.
            let at = match groups.as_slice() {
                [only] => {
                    if only != "matrix" && !params.genome.is_empty() && params.genome != *only {
                        features::pick_genome(&[only], &params.genome)?;
                    }
                    0
                }
                several => {
                    let names: Vec<&String> = several.iter().collect();
                    features::pick_genome(&names, &params.genome)?.unwrap_or(0)
                }
            };
            let group = groups[at].clone();
            let (barcodes, features) = (open.barcodes(&group)?, open.features(&group)?);
            (group, barcodes, features)
        }
    };
    Ok(Library {
        source,
        group,
        sample,
        barcodes,
        features,
    })
}

/// Groups of the first HDF5 file at or below `path`: in the older layout its genomes.
pub(super) fn genomes(path: &Path) -> StageResult<Vec<String>> {
    let mut sources = find(path, 0)?;
    sources.sort();
    match sources.first() {
        Some(Source::Hdf5(file)) => TenxFile::open(file)?.groups(),
        _ => Ok(Vec::new()),
    }
}

/// The files that are read with a matrix file (`matrix.mtx`, also `.gz` and with a prefix): barcodes and
/// features next to it. None for any other path, and where one of them is missing.
pub fn companions(path: &Path) -> Vec<PathBuf> {
    let name = file_name(path);
    if !name.trim_end_matches(".gz").ends_with(".mtx") || !path.is_file() {
        return Vec::new();
    }
    match find(path, 0).unwrap_or_default().pop() {
        Some(Source::Triple {
            barcodes, features, ..
        }) => vec![barcodes, features],
        _ => Vec::new(),
    }
}

/// Libraries at or below `path`, those of raw barcodes left out where filtered ones are next to them.
fn find(path: &Path, depth: usize) -> StageResult<Vec<Source>> {
    let name = file_name(path);
    if path.is_file() {
        if name.ends_with(".h5") {
            return Ok(vec![Source::Hdf5(path.to_path_buf())]);
        }
        let Some(parent) = path.parent() else {
            return Ok(Vec::new());
        };
        // `matrix.mtx` is in the folder that has no name.
        let parent = match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => parent,
        };
        let mut found = find_here(parent, Some(&name))?;
        found.retain(|s| matches!(s, Source::Triple { .. }));
        return Ok(found);
    }
    let mut found = find_here(path, None)?;
    if found.is_empty() && depth < DEPTH {
        let mut folders = entries(path)?;
        folders.retain(|p| p.is_dir());
        let filtered = folders
            .iter()
            .any(|p| file_name(p).starts_with("filtered_"));
        folders.retain(|p| !(filtered && file_name(p).starts_with("raw_")));
        for folder in folders {
            found.extend(find(&folder, depth + 1)?);
        }
    }
    Ok(found)
}

/// The libraries of a folder; of several matrices only that of this name, where one is given.
fn find_here(folder: &Path, only: Option<&str>) -> StageResult<Vec<Source>> {
    let files: Vec<PathBuf> = entries(folder)?
        .into_iter()
        .filter(|p| p.is_file())
        .collect();
    let mut found = Vec::new();
    for matrix in &files {
        let name = file_name(matrix);
        if only.is_some_and(|only| only != name) {
            continue;
        }
        let stem = name.strip_suffix(".gz").unwrap_or(&name);
        let Some(prefix) = stem.strip_suffix("matrix.mtx") else {
            continue;
        };
        let next_to_it = |names: &[&str]| {
            let wanted = names
                .iter()
                .flat_map(|n| [format!("{prefix}{n}.gz"), format!("{prefix}{n}")]);
            let wanted: Vec<String> = wanted.collect();
            let there = files.iter().find(|f| wanted.contains(&file_name(f)));
            there.cloned().ok_or_else(|| {
                StageError::format(
                    folder,
                    "",
                    format!("expected {} next to `{name}`, found none", list(&wanted)),
                )
            })
        };
        found.push(Source::Triple {
            matrix: matrix.clone(),
            barcodes: next_to_it(&["barcodes.tsv"])?,
            features: next_to_it(&["features.tsv", "genes.tsv"])?,
        });
    }
    if found.is_empty() {
        let h5 = files.into_iter().filter(|p| file_name(p).ends_with(".h5"));
        found.extend(h5.map(Source::Hdf5));
    }
    Ok(found)
}

fn entries(folder: &Path) -> StageResult<Vec<PathBuf>> {
    let read = std::fs::read_dir(folder).map_err(StageError::reading(folder))?;
    let mut paths = Vec::new();
    for entry in read {
        paths.push(entry.map_err(StageError::reading(folder))?.path());
    }
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// A name for each library: what its path has before the parts that all 10x output has.
fn sample_names(root: &Path, sources: &[Source]) -> StageResult<Vec<String>> {
    const USUAL: &[&str] = &[
        "filtered_feature_bc_matrix",
        "raw_feature_bc_matrix",
        "filtered_gene_bc_matrices",
        "raw_gene_bc_matrices",
        "filtered_feature_bc_matrix.h5",
        "raw_feature_bc_matrix.h5",
        "filtered_gene_bc_matrices_h5.h5",
        "matrix.mtx.gz",
        "matrix.mtx",
        "outs",
    ];
    let name = |source: &Source| {
        let (Source::Triple { matrix: file, .. } | Source::Hdf5(file)) = source;
        let inside = file.strip_prefix(root).unwrap_or(file);
        let mut parts = Vec::new();
        for part in inside.iter().map(|p| p.to_string_lossy().into_owned()) {
            let mut rest = part.as_str();
            for usual in USUAL {
                rest = rest.strip_suffix(usual).unwrap_or(rest);
            }
            let rest = rest.strip_suffix(".h5").unwrap_or(rest);
            let rest = rest.trim_end_matches(['_', '.', '-']);
            if !rest.is_empty() {
                parts.push(rest.to_string());
            }
        }
        parts.join("_")
    };
    let names: Vec<String> = sources.iter().map(name).collect();
    let mut sorted: Vec<&String> = names.iter().collect();
    sorted.sort();
    if names.len() > 1
        && let Some(w) = sorted.windows(2).find(|w| w[0] == w[1])
    {
        return Err(StageError::format(
            root,
            "",
            format!(
                "two 10x libraries would be the sample `{}`; give the folder of one, or one folder a sample",
                w[0]
            ),
        ));
    }
    Ok(names)
}

fn cell_frame(path: &Path, libraries: &[Library]) -> StageResult<Frame> {
    let several = libraries.len() > 1;
    let (mut index, mut samples) = (Vec::new(), Vec::new());
    for library in libraries {
        for barcode in &library.barcodes {
            index.push(if several {
                format!("{barcode}_{}", library.sample)
            } else {
                barcode.clone()
            });
            samples.push(library.sample.as_str());
        }
    }
    let mut frame = Frame::new(index);
    if let Some(name) = frame.first_duplicate() {
        let message = format!("cell id `{name}` comes twice");
        return Err(StageError::format(path, "barcodes", message));
    }
    if several {
        frame.set_category("sample", &samples);
    }
    Ok(frame)
}

fn same_features(path: &Path, first: &Library, other: &Library) -> StageResult<()> {
    if first.features == other.features {
        return Ok(());
    }
    let (a, b) = (&first.features.ids, &other.features.ids);
    let message = match a.iter().zip(b).position(|(a, b)| a != b) {
        Some(at) => format!("feature {} is `{}` and `{}`", at + 1, a[at], b[at]),
        None if a.len() != b.len() => format!("there are {} and {} features", a.len(), b.len()),
        None => "ids agree, names or types do not".to_string(),
    };
    Err(StageError::format(
        path,
        "",
        format!(
            "the samples `{}` and `{}` have different features: {message}",
            first.sample, other.sample
        ),
    ))
}

/// The first field of each line.
fn first_fields(path: &Path) -> StageResult<Vec<String>> {
    let mut lines = Lines::open(path)?;
    let mut fields = Vec::new();
    while let Some(line) = lines.next()? {
        let end = memchr::memchr(b'\t', line).unwrap_or(line.len());
        let field = text::name(&line[..end]).map(str::to_string);
        let place = format!("line {}", lines.number());
        let field = field.map_err(|e| StageError::format(path, &place, e))?;
        if is_missing(&field) {
            let message = format!("expected a barcode, found {}", shown(&field));
            return Err(StageError::format(path, place, message));
        }
        fields.push(field);
    }
    if fields.is_empty() {
        return Err(StageError::format(
            path,
            "",
            "expected one barcode a line, found an empty file",
        ));
    }
    Ok(fields)
}

/// `id <TAB> name <TAB> type`; `genes.tsv` has no type.
fn read_features(path: &Path) -> StageResult<TenxFeatures> {
    let mut lines = Lines::open(path)?;
    let mut found = TenxFeatures::default();
    while let Some(line) = lines.next()? {
        let fields = line
            .split(|b| *b == b'\t')
            .map(|f| text::name(f).map(str::to_string))
            .collect::<Result<Vec<_>, _>>();
        let bad = |message: String| {
            StageError::format(path, format!("line {}", found.ids.len() + 1), message)
        };
        let fields = fields.map_err(bad)?;
        let typed = fields.len() > 2;
        if fields[0].is_empty() || (!found.ids.is_empty() && typed == found.types.is_empty()) {
            return Err(bad(format!(
                "expected the id, name and type of a feature, found {} fields",
                fields.len()
            )));
        }
        let mut fields = fields.into_iter();
        let id = fields.next().unwrap_or_default();
        found
            .names
            .push(fields.next().unwrap_or_else(|| id.clone()));
        found.ids.push(id);
        found.types.extend(fields.next());
    }
    if found.ids.is_empty() {
        return Err(StageError::format(
            path,
            "",
            "expected one feature a line, found an empty file",
        ));
    }
    Ok(found)
}

/// What a matrix-market file says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    features: usize,
    cells: usize,
    entries: u64,
}

fn read_matrix(
    ctx: &StageContext<'_>,
    path: &Path,
    library: &Library,
    place: &Place<'_>,
    params: &IngestParams,
    kept: &mut [Kept],
) -> StageResult<()> {
    let mut lines = Lines::open(path)?;
    let header = header(&mut lines, path)?;
    check_size(path, library, &header)?;
    let (rows, n_rows) = rows_of_patients(place.owner, kept.len());
    let mut runs: Vec<Runs> = kept.iter().map(|_| Runs::default()).collect();
    let mut found = 0u64;
    // The first entry that is no count by itself, and its line: with another of its gene and cell it may be.
    let mut odd: Option<(usize, u32, u64)> = None;
    while let Some(line) = lines.next()? {
        if line.is_empty() {
            continue;
        }
        let outcome = entry(line, &header).and_then(|(feature, cell, text)| {
            let value = geo::number(text).map_err(|why| {
                let gene = &library.features.names[feature];
                format!("gene `{gene}`, cell `{}`: {why}", place.cells[cell])
            });
            Ok((feature, cell, value?))
        });
        let number = lines.number();
        let bad = |message| StageError::format(path, format!("line {number}"), message);
        let (feature, cell, value) = outcome.map_err(bad)?;
        found += 1;
        if let (Some(p), Some(gene)) = (place.owner[cell], place.genes.place[feature])
            && value != 0.0
        {
            runs[p].push(rows[cell], gene, value as f32);
            if odd.is_none() && count_problem(value, params.counts).is_some() {
                odd = Some((cell, gene, number));
            }
        }
        if found.is_multiple_of(1 << 20) {
            ctx.check_cancelled()?;
            let (done, total) = lines.progress();
            ctx.progress.step(done, total, &format!("{found} counts"));
        }
    }
    check_entries(path, &header, found)?;
    let mut n_summed = 0;
    for (p, runs) in runs.into_iter().enumerate() {
        let problem = |sum: f64| count_problem(sum, params.counts);
        let outcome = runs.hand_on(n_rows[p] as usize, &mut kept[p], problem);
        n_summed += outcome.map_err(|(row, gene, problem)| {
            let is_cell = |c: &usize| place.owner[*c] == Some(p) && rows[*c] == row;
            let cell = (0..rows.len()).find(is_cell).unwrap_or_default();
            bad_count(path, place, (cell, gene), odd, &problem)
        })?;
    }
    store::summed_warning(ctx.progress, path, "", n_summed);
    Ok(())
}

/// What is wrong with the count of a cell and gene; `odd` is the first entry that is no count by itself, and its line.
fn bad_count(
    path: &Path,
    place: &Place<'_>,
    (cell, gene): (usize, u32),
    odd: Option<(usize, u32, u64)>,
    problem: &str,
) -> StageError {
    let line = odd
        .filter(|(c, g, _)| (*c, *g) == (cell, gene))
        .map_or(String::new(), |(.., line)| format!("line {line}"));
    let gene = &place.genes.var.index[gene as usize];
    let message = format!("gene `{gene}`, cell `{}`: {problem}", place.cells[cell]);
    StageError::format(path, line, message)
}

/// That the matrix has as many entries as it says.
fn check_entries(path: &Path, header: &Header, found: u64) -> StageResult<()> {
    if found != header.entries {
        let message = format!(
            "expected {} entries, found {found}: the file is {}",
            header.entries,
            if found < header.entries {
                "cut off"
            } else {
                "longer than it says"
            }
        );
        return Err(StageError::format(path, "", message));
    }
    Ok(())
}

/// Row of each cell among those of its patient in this library, and the number of rows of each patient.
fn rows_of_patients(owner: &[Option<usize>], n_patients: usize) -> (Vec<u32>, Vec<u32>) {
    let mut n_rows = vec![0u32; n_patients];
    let row = |owner: &Option<usize>| {
        owner.map_or(0, |p| {
            n_rows[p] += 1;
            n_rows[p] - 1
        })
    };
    (owner.iter().map(row).collect(), n_rows)
}

/// That the matrix has the features and cells that the files next to it name.
fn check_size(path: &Path, library: &Library, header: &Header) -> StageResult<()> {
    let (n_features, n_cells) = (library.features.ids.len(), library.barcodes.len());
    if (header.features, header.cells) == (n_features, n_cells) {
        return Ok(());
    }
    let turned = (header.cells, header.features) == (n_features, n_cells);
    let why = if turned {
        ": the matrix is transposed, its rows are the cells"
    } else {
        ""
    };
    let message = format!(
        "expected {n_features} features x {n_cells} cells as `features` and `barcodes` have, found {} x {}{why}",
        header.features, header.cells
    );
    let error = StageError::format(path, "", message);
    Err(match turned {
        true => error.or_hint("write it with genes in rows: `scipy.io.mmwrite(path, X.T)`"),
        false => error,
    })
}

/// Checks that the first line says matrix market, and a kind that is read.
fn check_banner(first: Option<&[u8]>) -> Result<(), String> {
    let Some(first) = first else {
        return Err("expected a matrix-market header, found an empty file".into());
    };
    let first = String::from_utf8_lossy(first).to_lowercase();
    let words: Vec<&str> = first.split_whitespace().collect();
    match words[..] {
        [
            "%%matrixmarket",
            "matrix",
            "coordinate",
            "integer" | "real",
            "general",
        ] => Ok(()),
        ["%%matrixmarket", ..] => Err(format!(
            "expected `coordinate`, `integer` or `real`, `general`, found `{}`",
            words[1..].join(" ")
        )),
        _ => {
            let start: String = first.chars().take(40).collect();
            Err(format!("expected `%%MatrixMarket`, found `{start}`"))
        }
    }
}

fn header(lines: &mut Lines, path: &Path) -> StageResult<Header> {
    let bad = |number: u64, message: String| {
        Err(StageError::format(path, format!("line {number}"), message))
    };
    let first = lines.next()?;
    check_banner(first).map_err(|message| StageError::format(path, "line 1", message))?;
    loop {
        let line = lines
            .next()?
            .map(|l| String::from_utf8_lossy(l).into_owned());
        let Some(line) = line else {
            return bad(
                2,
                "expected the size of the matrix, found the end of the file".into(),
            );
        };
        if line.starts_with('%') || line.trim().is_empty() {
            continue;
        }
        let numbers: Vec<Option<u64>> = line.split_whitespace().map(|w| w.parse().ok()).collect();
        return match numbers[..] {
            [Some(features), Some(cells), Some(entries)]
                if features <= u64::from(u32::MAX) && cells <= u64::from(u32::MAX) =>
            {
                Ok(Header {
                    features: features as usize,
                    cells: cells as usize,
                    entries,
                })
            }
            _ => bad(
                lines.number(),
                format!("expected numbers of features, cells and entries, found `{line}`"),
            ),
        };
    }
}

/// Feature, cell (from 0) and the text of the count.
fn entry<'a>(line: &'a [u8], header: &Header) -> Result<(usize, usize, &'a [u8]), String> {
    let mut rest = line;
    let mut word = || {
        let start = rest.iter().position(|b| !matches!(b, b' ' | b'\t'))?;
        let tail = &rest[start..];
        let end = tail
            .iter()
            .position(|b| matches!(b, b' ' | b'\t'))
            .unwrap_or(tail.len());
        rest = &tail[end..];
        Some(&tail[..end])
    };
    let shown = || String::from_utf8_lossy(line).into_owned();
    let (Some(feature), Some(cell), Some(value), None) = (word(), word(), word(), word()) else {
        return Err(format!(
            "expected a feature, a cell and a count, found `{}`",
            shown()
        ));
    };
    let number = |text: &[u8], what: &str, n: usize| {
        let digits = !text.is_empty() && text.len() <= 10 && text.iter().all(u8::is_ascii_digit);
        let value = if digits {
            text.iter().fold(0u64, |x, d| x * 10 + u64::from(d - b'0'))
        } else {
            0
        };
        if value >= 1 && value <= n as u64 {
            Ok(value as usize - 1)
        } else {
            Err(format!(
                "expected a {what} from 1 to {n}, found `{}`",
                String::from_utf8_lossy(text)
            ))
        }
    };
    Ok((
        number(feature, "feature", header.features)?,
        number(cell, "cell", header.cells)?,
        value,
    ))
}
