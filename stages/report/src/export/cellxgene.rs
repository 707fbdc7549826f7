//! `profile: cellxgene`: the AnnData as `cellxgene-schema validate` wants it.
//!
//! Written against schema 7.1.0 (CZI 2026, as cellxgene-schema 7.1.2 checks it): `raw.X` are counts, `X` log1p of the
//! same cells and genes, both indexed by Ensembl id; `var["feature_is_filtered"]`; ten columns of `obs`, seven of them
//! terms of ontologies; arrays of `obsm` dense and at least two wide; no empty value in `uns`. Columns of ours under
//! names that CELLxGENE fills itself (`cell_type`) become `author_<name>`.
//!
//! Left out: genes without an Ensembl id or with a retired one, `X_cnv` (a profile of thousands of windows, which
//! would be offered as a map), and `spatial` of other assays than single Visium sections. Terms are not checked: the
//! validator knows the ontologies.

use std::collections::{BTreeMap, HashMap, HashSet};

use clcc_data::anndata::{AnnData, Raw, Uns, list};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_data::matrix::Matrix;

use super::params::{Cellxgene, Term};

/// Ids of the built-in gene table that GENCODE 48 does not have; `tests/reference/export/make_retired.py` makes it.
static RETIRED: &str = include_str!("retired.txt");

/// Columns of `obs` that CELLxGENE adds itself, or refuses.
const TAKEN_OF_CELLS: [&str; 13] = [
    "assay",
    "cell_type",
    "development_stage",
    "disease",
    "ethnicity",
    "ethnicity_ontology_term_id",
    "experimental_condition",
    "observation_joinid",
    "organism",
    "perturbation_types",
    "self_reported_ethnicity",
    "sex",
    "tissue",
];
/// The same of `var`.
const TAKEN_OF_GENES: [&str; 6] = [
    "feature_biotype",
    "feature_is_filtered",
    "feature_length",
    "feature_name",
    "feature_reference",
    "feature_type",
];

/// Turns what `export` has gathered into what CELLxGENE takes. `layers["counts"]` must be there. Returns what to tell
/// the user.
///
/// # Errors
/// [`StageError::Data`] that names every required column that nothing fills, or values without a term; without a gene
/// that has an Ensembl id; where a cell has no count; without a map of the cells.
pub(super) fn apply(data: &mut AnnData, params: &Cellxgene) -> StageResult<Vec<String>> {
    cells(&mut data.obs, params)?;
    let mut notes = Vec::new();
    notes.extend(genes(data, params)?);
    maps(data);
    entries(data, params)?;
    Ok(notes)
}

/// Fills the columns of `obs`.
fn cells(obs: &mut Frame, params: &Cellxgene) -> StageResult<()> {
    let mut missing = Vec::new();
    let mut filled: Vec<(&str, Vec<String>)> = Vec::new();
    for (name, param, term, _) in params.columns() {
        match term {
            Some(Term::One(value)) => filled.push((name, vec![value.clone(); obs.len()])),
            Some(Term::Of(of)) => filled.push((name, terms(obs, param, &of.column, &of.terms)?)),
            None if obs.columns.contains_key(name) => {
                filled.push((name, known(obs.texts(name)?)));
            }
            None => missing.push(format!("`{param}`")),
        }
    }
    if !missing.is_empty() {
        return Err(StageError::data_hint(
            format!(
                "`profile: cellxgene`: nothing says {} of the cells",
                missing.join(", ")
            ),
            "set them under `cellxgene`, each to a term for all cells, to `unknown`, or to `{column: NAME, terms: \
             {VALUE: TERM}}`; or bring columns of the schema's names (`assay_ontology_term_id`)",
        ));
    }
    for name in TAKEN_OF_CELLS {
        rename(obs, name);
    }
    for (name, values) in filled {
        obs.set_category(name, &values);
    }
    let primary = params.is_primary_data.unwrap_or_default();
    obs.set("is_primary_data", Column::Bool(vec![primary; obs.len()]));
    // The validator takes no index of this name in the table.
    obs.columns.shift_remove("organism_ontology_term_id");
    Ok(())
}

/// `name` as `author_name`, in its place.
fn rename(frame: &mut Frame, name: &str) {
    if let Some(at) = frame.columns.get_index_of(name) {
        let (_, column) = frame
            .columns
            .shift_remove_index(at)
            .expect("it was just found");
        let end = frame.columns.len();
        let (new, _) = frame.columns.insert_full(format!("author_{name}"), column);
        if new == end {
            frame.columns.move_index(end, at);
        }
    }
}

fn known(values: Vec<String>) -> Vec<String> {
    let or_unknown = |value: String| match value.is_empty() {
        true => "unknown".to_string(),
        false => value,
    };
    values.into_iter().map(or_unknown).collect()
}

/// The term of each cell by its value in `column`.
fn terms(
    obs: &Frame,
    param: &str,
    column: &str,
    terms: &BTreeMap<String, String>,
) -> StageResult<Vec<String>> {
    let values = obs.texts(column)?;
    if terms.is_empty() {
        return Ok(known(values));
    }
    let mut without: Vec<&String> = values
        .iter()
        .filter(|v| !v.is_empty() && !terms.contains_key(*v))
        .collect::<HashSet<_>>()
        .into_iter()
        .collect();
    without.sort();
    if !without.is_empty() {
        return Err(StageError::data_hint(
            format!(
                "`cellxgene.{param}.terms` has no term for {} of `{column}`",
                list(&without)
            ),
            "give each value a term, or `unknown`",
        ));
    }
    let term = |value: String| terms.get(&value).cloned().unwrap_or_default();
    Ok(known(values.into_iter().map(term).collect()))
}

/// Genes by Ensembl id, counts in `raw`.
fn genes(data: &mut AnnData, params: &Cellxgene) -> StageResult<Option<String>> {
    let (rows, ids) = with_ids(&data.var, &params.exclude_genes)?;
    let n = data.var.len();
    let all = rows.len() == n;
    let of_genes = |matrix: Matrix| match all {
        true => matrix.into_csr(),
        false => matrix.into_csr().take_cols(&rows),
    };
    let counts = data.layers.remove("counts").map(of_genes);
    let counts = counts.ok_or_else(|| StageError::data("`expr` has no layer `counts`"))?;
    if let Some(empty) = (0..counts.n_rows()).find(|&r| counts.row(r).0.is_empty()) {
        return Err(StageError::data_hint(
            format!(
                "cell `{}` has no counts, which CELLxGENE refuses",
                data.obs.index[empty]
            ),
            "`preprocess: {params: {min_counts: 1}}` takes such cells out",
        ));
    }
    data.x = data.x.take().map(|x| Matrix::Csr(of_genes(x)));
    let mut var = data.var.take(&rows);
    var.columns.shift_remove("gene_ids");
    for name in TAKEN_OF_GENES {
        rename(&mut var, name);
    }
    let symbols = std::mem::replace(&mut var.index, ids.clone());
    var.set("gene_symbols", Column::Str(symbols));
    let mut raw_var = Frame::new(ids);
    raw_var.set("gene_symbols", var.columns["gene_symbols"].clone());
    data.raw = Some(Raw {
        x: Matrix::Csr(counts),
        var: raw_var,
    });
    var.set("feature_is_filtered", Column::Bool(vec![false; rows.len()]));
    data.var = var;
    let left_out = n - rows.len();
    Ok((left_out > 0).then(|| {
        format!("{left_out} of {n} genes are left out: without an Ensembl id that CELLxGENE knows, or excluded")
    }))
}

/// The genes that stay and their Ensembl ids without version.
fn with_ids(var: &Frame, exclude: &[String]) -> StageResult<(Vec<usize>, Vec<String>)> {
    let names = match var.columns.contains_key("gene_ids") {
        true => var.texts("gene_ids")?,
        false => var.index.clone(),
    };
    let retired = retired();
    let exclude: HashSet<&str> = exclude.iter().map(String::as_str).collect();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut rows = Vec::new();
    let mut ids = Vec::new();
    for (row, name) in names.iter().enumerate() {
        let id = name.split('.').next().unwrap_or_default();
        let takes = id.starts_with("ENS") && !retired.contains(id) && !exclude.contains(id);
        if takes && seen.insert(id.to_string(), row).is_none() {
            rows.push(row);
            ids.push(id.to_string());
        }
    }
    match rows.is_empty() {
        false => Ok((rows, ids)),
        true => Err(StageError::data_hint(
            "no gene has an Ensembl id",
            "`gene_ids` come with the counts, or with `genes: {builtin: grch38}`",
        )),
    }
}

fn retired() -> HashSet<String> {
    let steps = RETIRED.split_ascii_whitespace();
    let mut number = 0u64;
    let id = |step: &str| {
        number += step.parse::<u64>().expect("the list is of numbers");
        format!("ENSG{number:011}")
    };
    steps.map(id).collect()
}

/// Arrays that CELLxGENE can show: dense, of two columns or more.
fn maps(data: &mut AnnData) {
    let is_section = Uns::Dict(data.uns.clone())
        .at(&["spatial", "is_single"])
        .is_some();
    data.obsm.retain(|name, matrix| {
        let shown = match matrix {
            Matrix::Dense(a) => !a.iter().all(|v| v.is_nan()) && a.iter().all(|v| !v.is_infinite()),
            Matrix::Csr(_) => false,
        };
        let taken = name.eq_ignore_ascii_case("x_spatial")
            || (name.eq_ignore_ascii_case("spatial") && !is_section);
        shown && matrix.shape().1 >= 2 && name != "X_cnv" && !taken
    });
    if !is_section {
        data.uns.remove("spatial");
    }
    if !data.obsm.contains_key("X_cnv") {
        // Where each chromosome's windows begin in the array that has left.
        data.uns.remove("cnv");
    }
}

/// What stands in `uns`.
fn entries(data: &mut AnnData, params: &Cellxgene) -> StageResult<()> {
    let of_cells = |name: &&String| name.starts_with("X_");
    let first = || data.obsm.keys().find(of_cells).cloned();
    let map = match &params.default_embedding {
        Some(name) if data.obsm.contains_key(name) => name.clone(),
        Some(name) => {
            let found: Vec<&String> = data.obsm.keys().collect();
            return Err(StageError::data(format!(
                "`cellxgene.default_embedding`: there is no `{name}`, there are {}",
                list(&found)
            )));
        }
        None if data.obsm.contains_key("X_umap") => "X_umap".to_string(),
        None => first().ok_or_else(|| {
            StageError::data_hint(
                "CELLxGENE wants a map of the cells, and there is none",
                "list `cluster` or `train` among the needs of `export`",
            )
        })?,
    };
    data.uns.retain(|name, value| {
        let taken = ["schema_version", "schema_reference", "citation", "organism"];
        !is_empty(value) && !taken.contains(&name.as_str()) && !name.ends_with("_colors")
    });
    let mut set = |name: &str, value: &str| {
        let value = Uns::Str(value.to_string());
        data.uns.insert(name.to_string(), value);
    };
    set("title", &params.title);
    set("organism_ontology_term_id", &params.organism);
    set("default_embedding", &map);
    // log1p of counts scaled to one sum.
    set("X_approximate_distribution", "normal");
    Ok(())
}

fn is_empty(value: &Uns) -> bool {
    match value {
        Uns::Dict(d) => d.is_empty(),
        Uns::Str(s) => s.is_empty(),
        Uns::Strings(v) => v.is_empty(),
        Uns::Numbers(v) => v.is_empty(),
        Uns::Integers(v) => v.is_empty(),
        Uns::Matrix(a) => a.is_empty(),
        Uns::Frame(f) => f.is_empty() || f.columns.is_empty(),
        Uns::F64(_) | Uns::I64(_) | Uns::Bool(_) | Uns::Image(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::params::TermsOf;
    use clcc_data::matrix::Csr;

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|v| v.to_string()).collect()
    }

    /// Two cells; MYC, a gene without an id, a retired one (the first of the list), and TP53 with a version.
    fn data() -> AnnData {
        let mut obs = Frame::new(strings(&["a", "b"]));
        obs.set_category("patient", &["P1", "P1"]);
        obs.set_category("cell_type", &["Tumour", ""]);
        let mut var = Frame::new(strings(&["MYC", "LOC1", "OLD", "TP53"]));
        let mut old: Vec<String> = retired().into_iter().collect();
        old.sort();
        let ids = ["ENSG00000136997", "", &old[0], "ENSG00000141510.11"];
        var.set("gene_ids", Column::Str(strings(&ids)));
        let counts = Csr::from_rows(4, [vec![(0, 3.0), (1, 9.0)], vec![(2, 9.0), (3, 5.0)]]);
        AnnData {
            x: Some(Matrix::Csr(counts.map(|_, _, v| v.ln_1p()))),
            layers: BTreeMap::from([("counts".into(), Matrix::Csr(counts.clone()))]),
            obsm: BTreeMap::from([
                ("X_cnv".into(), Matrix::Csr(counts)),
                (
                    "X_umap".into(),
                    Matrix::Dense(ndarray::array![[0., 1.], [1., 0.]]),
                ),
                (
                    "spatial".into(),
                    Matrix::Dense(ndarray::array![[0., 1.], [1., 0.]]),
                ),
            ]),
            uns: BTreeMap::from([("log1p".into(), Uns::Dict(BTreeMap::new()))]),
            obs,
            var,
            ..AnnData::default()
        }
    }

    fn params() -> Cellxgene {
        let one = |term: &str| Some(Term::One(term.into()));
        let tumour = BTreeMap::from([("Tumour".to_string(), "CL:0001063".to_string())]);
        Cellxgene {
            title: "Two cells".into(),
            assay: one("EFO:0009922"),
            cell_type: Some(Term::Of(TermsOf {
                column: "cell_type".into(),
                terms: tumour,
            })),
            development_stage: one("unknown"),
            disease: one("MONDO:0008170"),
            self_reported_ethnicity: one("unknown"),
            sex: one("PATO:0000383"),
            tissue: one("UBERON:0000992"),
            is_primary_data: Some(false),
            ..Cellxgene::default()
        }
    }

    #[test]
    fn cells_get_terms_and_genes_their_ids() {
        let mut data = data();
        let notes = apply(&mut data, &params()).unwrap();
        assert_eq!(data.var.index, ["ENSG00000136997", "ENSG00000141510"]);
        assert_eq!(data.var.texts("gene_symbols").unwrap(), ["MYC", "TP53"]);
        let raw = data.raw.as_ref().unwrap();
        assert_eq!(
            raw.x.clone().into_dense(),
            ndarray::array![[3., 0.], [0., 5.]]
        );
        assert_eq!(raw.var.index, data.var.index);
        assert!(!data.layers.contains_key("counts"));
        let terms = data.obs.texts("cell_type_ontology_term_id").unwrap();
        assert_eq!(terms, ["CL:0001063", "unknown"]);
        // CELLxGENE writes `cell_type` itself.
        assert!(!data.obs.columns.contains_key("cell_type"));
        assert_eq!(data.obs.texts("author_cell_type").unwrap(), ["Tumour", ""]);
        assert_eq!(data.obs.texts("donor_id").unwrap(), ["P1", "P1"]);
        assert_eq!(data.obsm.keys().collect::<Vec<_>>(), ["X_umap"]);
        assert!(!data.uns.contains_key("log1p"));
        assert_eq!(data.uns["default_embedding"], Uns::Str("X_umap".into()));
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].starts_with("2 of 4 genes are left out"),
            "{notes:?}"
        );
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let mut without = params();
        without.assay = None;
        without.sex = None;
        let error = apply(&mut data(), &without).unwrap_err().to_string();
        assert_eq!(
            error,
            "`profile: cellxgene`: nothing says `assay`, `sex` of the cells"
        );
        // A column of the schema's name is enough.
        let mut brings = data();
        brings
            .obs
            .set_category("assay_ontology_term_id", &["EFO:0009922", ""]);
        brings
            .obs
            .set_category("sex_ontology_term_id", &["PATO:0000383"; 2]);
        apply(&mut brings, &without).unwrap();
        assert_eq!(
            brings.obs.texts("assay_ontology_term_id").unwrap(),
            ["EFO:0009922", "unknown"]
        );
        let mut other = data();
        other.obs.set_category("cell_type", &["Tumour", "T cell"]);
        let error = apply(&mut other, &params()).unwrap_err().to_string();
        assert_eq!(
            error,
            "`cellxgene.cell_type.terms` has no term for `T cell` of `cell_type`"
        );
    }

    #[test]
    fn a_cell_without_counts_is_refused_by_name() {
        let mut data = data();
        // Cell `b` has counts of a retired gene alone.
        let counts = Csr::from_rows(4, [vec![(0, 3.0)], vec![(2, 9.0)]]);
        data.layers.insert("counts".into(), Matrix::Csr(counts));
        let error = apply(&mut data, &params()).unwrap_err().to_string();
        assert_eq!(error, "cell `b` has no counts, which CELLxGENE refuses");
    }

    #[test]
    fn the_list_of_retired_ids_is_of_the_built_in_table() {
        let retired = retired();
        assert_eq!(retired.len(), 1_230);
        let table = clcc_data::genome::GeneTable::grch38();
        let ids: HashSet<String> = table.genes.into_iter().filter_map(|g| g.id).collect();
        assert!(retired.is_subset(&ids));
    }
}
