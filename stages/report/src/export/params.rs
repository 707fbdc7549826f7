//! Parameters of `export`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use clcc_stage::params::{OnlyWith, ParamProblem, When};
use clcc_stage::stage::ObsRead;

/// Whose conventions the AnnData follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// scanpy's and infercnvpy's.
    #[default]
    Scanpy,
    /// Those of CZ CELLxGENE's schema.
    Cellxgene,
}

/// What a column of `obs` says of each cell: a value for all, or a term for each value of another column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    expecting = "expected a term (`EFO:0009922`), or `{column: NAME, terms: {VALUE: TERM}}`"
)]
pub enum Term {
    /// The same for all cells.
    One(String),
    /// By the values of a column.
    Of(TermsOf),
}

/// Terms for the values of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TermsOf {
    /// The column of `obs`.
    pub column: String,
    /// The term of each value; default: values are terms already.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("default" = {}))]
    pub terms: BTreeMap<String, String>,
}

clcc_stage::params! {
    /// What CELLxGENE asks for and no count says. A column that the data bring under the schema's name
    /// (`assay_ontology_term_id`, ...) needs no parameter; cells without a value are `unknown`.
    pub struct Cellxgene {
        /// `uns["title"]`: the name of the data set; required.
        pub title: String = String::new(),
        /// Species; default `NCBITaxon:9606` (human).
        pub organism: String = "NCBITaxon:9606".into(),
        /// Assay, a term of EFO: `EFO:0009922` is 10x 3' v3.
        pub assay: Option<Term> = None,
        /// Cell type, terms of CL: `{column: cell_type, terms: {T cell: CL:0000084, Tumour: CL:0001063}}`.
        pub cell_type: Option<Term> = None,
        /// Stage of life, a term of HsapDv or MmusDv, or `unknown`.
        pub development_stage: Option<Term> = None,
        /// Disease, a term of MONDO, or `PATO:0000461` (none).
        pub disease: Option<Term> = None,
        /// Ethnicity, a term of HANCESTRO, or `unknown`; `na` for other species than human.
        pub self_reported_ethnicity: Option<Term> = None,
        /// Sex: `PATO:0000383` (female), `PATO:0000384` (male) or `unknown`.
        pub sex: Option<Term> = None,
        /// Tissue, a term of UBERON: `UBERON:0000992` is the ovary.
        pub tissue: Option<Term> = None,
        /// `tissue` (default), `organoid`, `primary cell culture` or `cell line`.
        pub tissue_type: Option<Term> = Some(Term::One("tissue".into())),
        /// `cell` (default), `nucleus` or `na`.
        pub suspension_type: Option<Term> = Some(Term::One("cell".into())),
        /// The donor; default: the patient.
        pub donor_id: Option<Term> = Some(Term::Of(TermsOf {
            column: "patient".into(),
            terms: BTreeMap::new(),
        })),
        /// Whether this is the first publication of these cells; required.
        pub is_primary_data: Option<bool> = None,
        /// The map that is shown first; null (default): `X_umap` if it is there, else the first.
        pub default_embedding: Option<String> = None,
        /// Ensembl ids to leave out: those that the validator does not know. The ids of the built-in gene table that
        /// GENCODE 48 has retired are left out by themselves.
        pub exclude_genes: Vec<String> = Vec::new(),
    }
}

/// Where a parameter stands, its column is named, and its values.
type Paths = (&'static str, &'static str, &'static str);

impl Cellxgene {
    /// The columns that the schema requires of `obs`: name, the parameter that fills it, and that parameter's paths.
    pub(super) fn columns(&self) -> [(&'static str, &'static str, Option<&Term>, Paths); 10] {
        macro_rules! column {
            ($name:literal, $field:ident) => {
                (
                    $name,
                    stringify!($field),
                    self.$field.as_ref(),
                    (
                        concat!("cellxgene.", stringify!($field)),
                        concat!("cellxgene.", stringify!($field), ".column"),
                        concat!("cellxgene.", stringify!($field), ".terms"),
                    ),
                )
            };
        }
        [
            column!("assay_ontology_term_id", assay),
            column!("cell_type_ontology_term_id", cell_type),
            column!("development_stage_ontology_term_id", development_stage),
            column!("disease_ontology_term_id", disease),
            column!(
                "self_reported_ethnicity_ontology_term_id",
                self_reported_ethnicity
            ),
            column!("sex_ontology_term_id", sex),
            column!("tissue_ontology_term_id", tissue),
            column!("tissue_type", tissue_type),
            column!("suspension_type", suspension_type),
            column!("donor_id", donor_id),
        ]
    }
}

clcc_stage::params! {
    /// Parameters of the stage `export`.
    pub struct ExportParams {
        /// `scanpy` (default): names and places that scanpy and infercnvpy use. `cellxgene`: as the schema 7.1.0 of CZ
        /// CELLxGENE wants it: Ensembl ids for genes, counts in `raw.X`, terms of ontologies in `obs`.
        pub profile: Profile = Profile::Scanpy,
        /// Whether the raw counts go along as `layers["counts"]` (default `true`); they are about half
        /// of the size.
        pub counts: bool = true,
        /// Whether the same data is also written as `<patient>.h5ad`, for programs that do not read zarr
        /// (default `false`).
        pub h5ad: bool = false,
        /// What CELLxGENE asks for.
        pub cellxgene: Cellxgene = Cellxgene::default(),
    }
}

impl ExportParams {
    pub(super) const ONLY_WITH: &'static [OnlyWith] = &[
        OnlyWith {
            params: &["cellxgene"],
            any: &[When::Is("profile", &["cellxgene"])],
        },
        OnlyWith {
            params: &["counts"],
            any: &[When::Is("profile", &["scanpy"])],
        },
    ];

    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        if self.profile != Profile::Cellxgene {
            return Vec::new();
        }
        let mut missing = Vec::new();
        if self.cellxgene.title.is_empty() {
            missing.push("`title`");
        }
        if self.cellxgene.is_primary_data.is_none() {
            missing.push("`is_primary_data`");
        }
        let message = || format!("`profile: cellxgene` needs {}", missing.join(" and "));
        let problem = (!missing.is_empty()).then(|| ParamProblem {
            path: "cellxgene".into(),
            message: message(),
        });
        problem.into_iter().collect()
    }

    /// Columns of the data that parameters name, and those that they bring under the schema's names because no
    /// parameter fills them. Columns that stages before this one add are looked up when it runs.
    pub(super) fn obs_reads(&self) -> Vec<ObsRead> {
        if self.profile != Profile::Cellxgene {
            return Vec::new();
        }
        let made_here = |column: &str| column == "patient" || column.starts_with("cnv_");
        let read =
            |(name, _, term, (whole, column, terms)): (&str, _, Option<&Term>, Paths)| match term {
                Some(Term::One(_)) => None,
                Some(Term::Of(of)) if made_here(&of.column) => None,
                Some(Term::Of(of)) => Some(ObsRead {
                    param: column,
                    column: of.column.clone(),
                    required: true,
                    values: vec![(terms, of.terms.keys().cloned().collect())],
                }),
                None => Some(ObsRead {
                    param: whole,
                    column: name.to_string(),
                    required: true,
                    values: Vec::new(),
                }),
            };
        self.cellxgene
            .columns()
            .into_iter()
            .filter_map(read)
            .collect()
    }
}
