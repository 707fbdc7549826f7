//! What the sections show, read from the input artifacts. Every role may be absent.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use ndarray::Array2;

use clcc_data::anndata::{Reader, Uns};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_data::matrix::Csr;
use clcc_data::table::TextTable;
use clcc_stage::cohort::{pair_cells, patient_name};
use clcc_stage::roles::{self, Input, Role, Store, Tables};
use clcc_stage::stage::{InputArtifact, StageContext};
use clcc_stage::tables::Row;

/// The cells of one patient: everything that is known of each, without the matrices.
#[derive(Debug, Default)]
pub(crate) struct Patient {
    /// Name.
    pub(crate) name: String,
    /// Cells with the columns of `expr`, `cnv` and `clusters`.
    pub(crate) obs: Frame,
    /// Genes of `expr`.
    pub(crate) n_genes: Option<usize>,
    /// `X_cnv_umap`, rows as `obs`.
    pub(crate) umap: Option<Array2<f32>>,
    /// `X_umap`, the map of expression, rows as `obs`.
    pub(crate) expression_umap: Option<Array2<f32>>,
    /// Where the expression lies.
    pub(crate) expr: Option<PathBuf>,
    /// Where the copy-number matrix lies.
    pub(crate) cnv: Option<PathBuf>,
}

/// A patient's copy-number matrix.
pub(crate) struct Windows {
    /// Cells, in the order of [`Patient::obs`], by windows.
    pub(crate) x: Csr,
    /// Chromosome of each window.
    pub(crate) chromosomes: Vec<String>,
    /// First base of each window; 0 where it is not known.
    pub(crate) starts: Vec<u32>,
    /// Last base of each window; 0 where it is not known.
    pub(crate) ends: Vec<u32>,
}

/// The patients of roles `expr`, `cnv` and `clusters`, in axis order.
///
/// # Errors
/// What the reader reports, and [`StageError::Data`] where two roles disagree on a patient's cells.
pub(crate) fn patients(ctx: &StageContext<'_>) -> StageResult<Vec<Patient>> {
    let mut found: IndexMap<String, Patient> = IndexMap::new();
    for role in [roles::EXPR, roles::CNV, roles::CLUSTERS] {
        for input in ctx.all(role) {
            ctx.check_cancelled()?;
            let name = patient_name(&input);
            let patient = found.entry(name.clone()).or_insert_with(|| Patient {
                name,
                ..Patient::default()
            });
            add(patient, role, input)?;
        }
    }
    Ok(found.into_values().collect())
}

fn add(patient: &mut Patient, role: Role<Store>, input: Input<'_, Store>) -> StageResult<()> {
    let reader = input.open()?;
    let obs = reader.obs()?;
    let order = if patient.obs.columns.is_empty() && patient.obs.is_empty() {
        patient.obs = Frame::new(obs.index.clone());
        None
    } else {
        pair_cells(&obs.index, &patient.obs.index)
            .map_err(|cell| other_cells(&patient.name, role.name(), &cell))?
    };
    let obs = order
        .as_ref()
        .map_or_else(|| obs.clone(), |rows| obs.take(rows));
    for (name, column) in obs.columns {
        if !patient.obs.columns.contains_key(&name) {
            patient.obs.set(&name, column);
        }
    }
    if role == roles::EXPR {
        patient.n_genes = Some(reader.var()?.len());
        patient.expr = Some(input.path.clone());
    } else if role == roles::CNV {
        patient.cnv = Some(input.path.clone());
    } else {
        let known = reader.names("obsm")?;
        let map = |name: &str| -> StageResult<Option<Array2<f32>>> {
            if !known.iter().any(|n| n == name) {
                return Ok(None);
            }
            let map = reader.obsm(name)?;
            let map = order
                .as_ref()
                .map_or_else(|| map.clone(), |rows| map.take_rows(rows));
            Ok(Some(map.into_dense()).filter(|u| u.ncols() >= 2))
        };
        patient.umap = map("X_cnv_umap")?;
        patient.expression_umap = map("X_umap")?;
    }
    Ok(())
}

fn other_cells(patient: &str, role: &str, cell: &str) -> StageError {
    StageError::data(format!(
        "patient `{patient}`: cell `{cell}` is in only one of `{role}` and the roles read before it"
    ))
}

/// The copy-number matrix of a patient; `None` where the workflow has no `cnv`.
///
/// # Errors
/// What the reader reports.
pub(crate) fn windows(patient: &Patient) -> StageResult<Option<Windows>> {
    let Some(path) = &patient.cnv else {
        return Ok(None);
    };
    let reader = Reader::open(path)?;
    let Some(frame) = reader
        .uns()?
        .remove("cnv")
        .and_then(|cnv| match cnv.at(&["windows"]) {
            Some(Uns::Frame(f)) => Some(f.clone()),
            _ => None,
        })
    else {
        return Err(StageError::format(
            path,
            "uns/cnv/windows",
            "expected a data frame of the windows",
        ));
    };
    let chromosomes = frame.texts("chromosome")?;
    let x = reader.obsm("X_cnv")?.into_csr();
    let x = match pair_cells(&reader.obs()?.index, &patient.obs.index)
        .map_err(|c| other_cells(&patient.name, "cnv", &c))?
    {
        Some(rows) => x.take_rows(&rows),
        None => x,
    };
    if x.n_cols() != chromosomes.len() {
        return Err(StageError::format(
            path,
            "obsm/X_cnv",
            format!(
                "expected {} columns, one a window, found {}",
                chromosomes.len(),
                x.n_cols()
            ),
        ));
    }
    let bases = |column: &str| -> Vec<u32> {
        frame.numbers(column).map_or_else(
            |_| vec![0; chromosomes.len()],
            |v| v.into_iter().map(|b| b as u32).collect(),
        )
    };
    Ok(Some(Windows {
        x,
        starts: bases("start"),
        ends: bases("end"),
        chromosomes,
    }))
}

/// A table that another stage wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableFile {
    /// Patient of a fanned-out node.
    pub(crate) patient: Option<String>,
    /// File name without extension.
    pub(crate) name: String,
    /// Where it is read.
    pub(crate) path: PathBuf,
    /// Where the user finds it, relative to the page.
    pub(crate) published: String,
}

impl TableFile {
    /// Reads the table.
    ///
    /// # Errors
    /// As [`TextTable::read`].
    pub(crate) fn read(&self) -> StageResult<TextTable> {
        TextTable::read(&self.path)
    }

    /// The same where nothing else has to be told from it.
    pub(crate) fn of_one_node(&self) -> Self {
        Self {
            patient: None,
            ..self.clone()
        }
    }

    /// Whether it is the table of this type.
    pub(crate) fn is<R: Row>(&self) -> bool {
        self.name == R::SPEC.name()
    }

    /// Reads its rows.
    ///
    /// # Errors
    /// As [`Row::read`].
    pub(crate) fn rows<R: Row>(&self) -> StageResult<Vec<R>> {
        R::read(&self.path)
    }
}

/// The rows of each of the files that is the table of this type, with the file.
///
/// # Errors
/// As [`Row::read`].
pub(crate) fn rows<R: Row>(files: &[TableFile]) -> StageResult<Vec<(&TableFile, Vec<R>)>> {
    let own = files.iter().filter(|file| file.is::<R>());
    own.map(|file| Ok((file, file.rows()?))).collect()
}

fn patient_of(input: &InputArtifact) -> Option<String> {
    (!input.branch.is_empty()).then(|| patient_name(input))
}

fn published(dir: &str, name: &str, patient: Option<&String>) -> String {
    let suffix = patient.map(|p| format!(".{p}")).unwrap_or_default();
    format!("{dir}/{name}{suffix}.tsv")
}

/// The tables of a role whose artifacts are one table each, published in `dir`.
pub(crate) fn table_files<R: Row>(
    ctx: &StageContext<'_>,
    role: Role<roles::TableFile>,
    dir: &str,
) -> Vec<TableFile> {
    let file = |input: Input<'_, roles::TableFile>| {
        let patient = patient_of(&input);
        TableFile {
            name: R::SPEC.name().to_string(),
            path: input.path.clone(),
            published: published(dir, R::SPEC.name(), patient.as_ref()),
            patient,
        }
    };
    ctx.all(role).into_iter().map(file).collect()
}

/// The tables of a role, in order of their names, patient by patient.
///
/// # Errors
/// [`StageError::Io`] where a directory cannot be read.
pub(crate) fn tables(ctx: &StageContext<'_>, role: Role<Tables>) -> StageResult<Vec<TableFile>> {
    let mut found = Vec::new();
    for input in ctx.all(role) {
        let patient = patient_of(&input);
        for name in tsv_names(&input.path)? {
            found.push(TableFile {
                patient: patient.clone(),
                path: input.path.join(format!("{name}.tsv")),
                published: published("tables", &name, patient.as_ref()),
                name,
            });
        }
    }
    Ok(found)
}

fn tsv_names(dir: &Path) -> StageResult<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(StageError::reading(dir))? {
        let path = entry.map_err(StageError::reading(dir))?.path();
        if path.extension().is_some_and(|e| e == "tsv") {
            names.extend(
                path.file_stem()
                    .and_then(|s| s.to_str())
                    .map(str::to_string),
            );
        }
    }
    names.sort();
    Ok(names)
}

/// Tables of one name from several patients below one another, with a leading column `patient`;
/// tables whose columns differ from the first's are left out of the stack and returned after it.
///
/// # Errors
/// As [`TableFile::read`].
pub(crate) fn stack(files: &[TableFile], name: &str) -> StageResult<Vec<(TextTable, String)>> {
    let mut stacks: Vec<(TextTable, String)> = Vec::new();
    for file in files.iter().filter(|f| f.name == name) {
        let mut table = file.read()?;
        let Some(patient) = &file.patient else {
            stacks.push((table, file.published.clone()));
            continue;
        };
        if table.position("patient").is_none() {
            table.header.insert(0, "patient".to_string());
            table
                .rows
                .iter_mut()
                .for_each(|r| r.insert(0, patient.clone()));
        }
        match stacks.iter_mut().find(|(t, _)| t.header == table.header) {
            Some((all, place)) => {
                all.rows.extend(table.rows);
                *place = format!("tables/{name}.*.tsv");
            }
            None => stacks.push((table, file.published.clone())),
        }
    }
    Ok(stacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_several_patients_become_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = |patient: &str, text: &str| {
            let path = dir.path().join(patient);
            std::fs::write(&path, text).unwrap();
            TableFile {
                patient: Some(patient.into()),
                name: "t".into(),
                path,
                published: format!("tables/t.{patient}.tsv"),
            }
        };
        let files = [
            file("P1", "# n\ncheck\tvalue\na\t1\n"),
            file("P2", "check\tvalue\nb\t2\n"),
            file("P3", "other\nx\n"),
        ];
        let stacks = stack(&files, "t").unwrap();
        assert_eq!(stacks.len(), 2);
        assert_eq!(stacks[0].0.header, ["patient", "check", "value"]);
        assert_eq!(stacks[0].0.rows, [["P1", "a", "1"], ["P2", "b", "2"]]);
        assert_eq!(stacks[0].1, "tables/t.*.tsv");
        assert_eq!(stacks[1].1, "tables/t.P3.tsv");
    }
}
