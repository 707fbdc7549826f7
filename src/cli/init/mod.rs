//! `init`: a workflow to start from: of a shipped one, or for the user's own data.

mod propose;
mod samples;

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clcc_stages::genome::Species;
use clcc_stages::ingest::{self, IngestParams, Sheet, Survey};
use clcc_stages::{StageError, StageResult};
use serde_json::Value;

use super::args::{InitArgs, WorkflowArgs};
use super::error::{CliError, exit};
use propose::{Labels, Proposal};

/// Shipped workflows, by name.
const TEMPLATES: [(&str, &str); 7] = [
    ("demo", include_str!("../../../workflows/demo.yaml")),
    (
        "demo_anchors",
        include_str!("../../../workflows/demo_anchors.yaml"),
    ),
    ("luad10", include_str!("../../../workflows/luad10.yaml")),
    ("measured", include_str!("../../../workflows/measured.yaml")),
    ("ovarian4", include_str!("../../../workflows/ovarian4.yaml")),
    (
        "p0006_anchors",
        include_str!("../../../workflows/p0006_anchors.yaml"),
    ),
    ("truth", include_str!("../../../workflows/truth.yaml")),
];
/// The schema that editors check the workflow against, next to it.
const SCHEMA: &str = "clcc-flow.schema.json";
/// Values of a column that a message or comment lists.
const SHOWN: usize = 12;

pub(super) fn init(args: &InitArgs) -> Result<i32, CliError> {
    match (args.from.is_empty(), &args.template) {
        (false, None) => from_data(args),
        (true, name) => from_template(args, name.as_deref().unwrap_or("demo")),
        (false, Some(_)) => Err(usage("--from and --template cannot be used together")),
    }
}

fn usage(message: impl Into<String>) -> CliError {
    CliError::new(exit::USAGE, message)
}

fn from_template(args: &InitArgs, template: &str) -> Result<i32, CliError> {
    let known = TEMPLATES.map(|(name, _)| name);
    let Some((_, start)) = TEMPLATES.iter().find(|(name, _)| *name == template) else {
        let problem = crate::workflow::unknown("template", template, &known);
        return Err(usage(problem.message).with_hint(problem.hint));
    };
    let path = match &args.path {
        Some(path) => path.clone(),
        None if args.template.is_some() => PathBuf::from(format!("{template}.yaml")),
        None => {
            return Err(
                usage("expected a file to write, --from DATA or --template NAME")
                    .hint(format!("templates are {}", known.join(", "))),
            );
        }
    };
    // Not of the same name, or its results would take the other's place; nor its heading, which says how that is run.
    let name = name_of(&path);
    let body = start
        .split_once("version: 1")
        .map_or(*start, |(_, rest)| rest);
    let text = format!(
        "# From the template `{template}`. For counts of your own: clcc-flow init --from DATA\n#\n\
         #   clcc-flow run {}\nversion: 1{}",
        path.display(),
        body.replacen(&format!("name: {template}"), &format!("name: {name}"), 1)
    );
    write_new(&path, &text)?;
    said(&path);
    Ok(exit::OK)
}

fn said(path: &Path) {
    let path = path.display();
    say!("wrote {path}; run it with: clcc-flow run {path}");
}

fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |e: std::io::Error| {
        let code = match e.kind() {
            std::io::ErrorKind::AlreadyExists => exit::USAGE,
            _ => exit::DISK,
        };
        let message = match code {
            exit::USAGE => format!("`{}` exists already", path.display()),
            _ => format!("cannot write `{}`: {e}", path.display()),
        };
        CliError::new(code, message).with_hint(crate::disk::hint(path, &e))
    };
    let mut file = std::fs::File::create_new(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// The name of a workflow in a file of that path: `true` and `null` would be no text.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().map(|s| s.to_string_lossy());
    let name: String = stem
        .as_deref()
        .unwrap_or("workflow")
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || "_-".contains(c) => c,
            _ => '_',
        })
        .collect();
    let name = match name.trim_start_matches(['_', '-']) {
        "" => "workflow",
        name => name,
    };
    match serde_yaml::from_str::<Value>(name) {
        Ok(Value::String(_)) => name.to_string(),
        _ => format!("\"{name}\""),
    }
}

/// Where the counts are.
enum Counts {
    /// One file of all patients, or of one.
    File(PathBuf),
    /// A table of samples; `new` where it was written for several files.
    Sheet { sheet: Sheet, new: bool },
}

impl Counts {
    fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Sheet { sheet, .. } => &sheet.path,
        }
    }

    fn survey(&self, args: &InitArgs, params: &IngestParams) -> StageResult<Survey> {
        let annotations = args.annotations.as_deref();
        match self {
            Self::File(path) => {
                ingest::survey(path, args.format.as_deref(), annotations, params, &[])
            }
            Self::Sheet { sheet, .. } => ingest::survey_sheet(sheet, annotations, params, &[]),
        }
    }
}

fn from_data(args: &InitArgs) -> Result<i32, CliError> {
    let mut data = args.from.clone();
    // `--from A B w.yaml`: the last is the file to write.
    let is_workflow = |p: &PathBuf| p.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let named = match &args.path {
        None if data.len() > 1 => data.pop_if(|p| is_workflow(p)),
        path => path.clone(),
    };
    let path = named.unwrap_or_else(|| match data.as_slice() {
        [one] => PathBuf::from(format!("{}.yaml", stem(one))),
        _ => PathBuf::from("cohort.yaml"),
    });
    if path.exists() {
        return Err(usage(format!("`{}` exists already", path.display())));
    }
    let counts = counts(args, &data, &path)?;
    let written = write_workflow(args, &counts, &path);
    if let (Err(_), Counts::Sheet { sheet, new: true }) = (&written, &counts) {
        // What is not of use alone does not stay.
        let _ = std::fs::remove_file(&sheet.path);
    }
    written?;
    check(&path)
}

/// What was given, as one file or a table of samples.
fn counts(args: &InitArgs, data: &[PathBuf], workflow: &Path) -> Result<Counts, CliError> {
    let counts = match data {
        [one] if args.format.is_none() && samples::is_sheet(one) => Counts::Sheet {
            sheet: samples::read(one)?,
            new: false,
        },
        [one] => Counts::File(one.clone()),
        several => {
            let path = workflow.with_file_name("samples.csv");
            write_new(
                &path,
                &samples::sheet_of(several, &path, args.format.as_deref())?,
            )?;
            let sheet = samples::read(&path).inspect_err(|_| {
                let _ = std::fs::remove_file(&path);
            })?;
            tell!(
                "wrote {}: each file is taken for a patient; give files of one patient the same name there",
                path.display()
            );
            Counts::Sheet { sheet, new: true }
        }
    };
    let flags = [("--patient", &args.patient), ("--sample", &args.sample)];
    match (&counts, flags.iter().find(|(_, value)| value.is_some())) {
        (Counts::Sheet { sheet, new }, Some((flag, _))) => {
            if *new {
                let _ = std::fs::remove_file(&sheet.path);
            }
            Err(usage(format!(
                "{flag} names a column of one file, and here each sample has its own"
            ))
            .hint("the columns `patient` and `sample` of a table of samples say whose a file is"))
        }
        _ => Ok(counts),
    }
}

/// Looks at the counts and writes the workflow and the schema.
fn write_workflow(args: &InitArgs, counts: &Counts, path: &Path) -> Result<(), CliError> {
    let params = IngestParams {
        cell_id: args
            .cell_id
            .clone()
            .unwrap_or_else(|| IngestParams::default().cell_id),
        layer: args.layer.clone().unwrap_or_default(),
        ..IngestParams::default()
    };
    let mut survey = counts.survey(args, &params).map_err(stage_error)?;
    if let Counts::Sheet { .. } = counts {
        // What only some patients' files have cannot be named for all.
        let n_cells = |v: &ingest::Values| v.counts.values().sum::<usize>() + v.missing;
        let all = survey.columns.get("sample").map_or(0, n_cells);
        survey.columns.retain(|_, values| n_cells(values) == all);
    }
    let mut proposal = decide(args, &survey, counts)?;
    if let Counts::Sheet { .. } = counts {
        (proposal.patient, proposal.sample) = (None, None);
    }
    let text = workflow_text(args, counts, path, &survey, &proposal);
    write_new(path, &text)?;
    write_schema(path)?;
    said(path);
    Ok(())
}

fn stage_error(e: StageError) -> CliError {
    CliError::from_error(exit::INVALID, &e).with_hint(e.hint().map(str::to_string))
}

/// The data's name without what says its format.
fn stem(data: &Path) -> String {
    let name = data.file_name().map(|n| n.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| "workflow".to_string());
    match name.split_once('.') {
        Some(("", _)) | None => name,
        Some((stem, _)) => stem.to_string(),
    }
}

/// What the flags say, else what the data suggest, asked after on a terminal.
fn decide(args: &InitArgs, survey: &Survey, counts: &Counts) -> Result<Proposal, CliError> {
    let columns = &survey.columns;
    for (flag, column) in [
        ("--patient", &args.patient),
        ("--cell-type", &args.cell_type),
        ("--sample", &args.sample),
        ("--by", &args.by),
    ] {
        if let Some(column) = column
            && !columns.contains_key(column)
        {
            let known: Vec<&str> = columns.keys().map(String::as_str).collect();
            let problem = crate::workflow::unknown("column", column, &known);
            return Err(
                usage(format!("{flag} {column}: {}", problem.message)).with_hint(problem.hint)
            );
        }
    }
    let mut proposal = Proposal::of(args, columns);
    let on_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if on_terminal {
        ask(args, survey, counts, &mut proposal)?;
    }
    if proposal.genes.is_none()
        && let Some(species @ (Species::Mouse | Species::Other)) = survey.species
    {
        return Err(usage(format!(
            "by their names the genes are of {species}, and the built-in positions of genes are human"
        ))
        .hint("give positions with --genes FILE: the GTF that the reads were aligned with, for example"));
    }
    match &proposal.labels {
        Some(labels) => labels.check(columns).map_err(usage)?,
        None => tell!(
            "no column says which cells are cancer: normal cells are found by their expression along the genome \
             (`cancer_vs_normal: null`); if you know, give --cancer VALUE or --normal VALUE (and --by COLUMN); columns are {}",
            match propose::overview(columns) {
                none if none.is_empty() => "none".to_string(),
                columns => columns,
            }
        ),
    }
    Ok(proposal)
}

/// Asks after what no flag says; an empty answer keeps the proposal.
fn ask(
    args: &InitArgs,
    survey: &Survey,
    counts: &Counts,
    proposal: &mut Proposal,
) -> Result<(), CliError> {
    tell!(
        "{} cells; columns: {}",
        survey.n_cells,
        propose::overview(&survey.columns)
    );
    if args.patient.is_none() && matches!(counts, Counts::File(_)) {
        let now = proposal.patient.as_deref().unwrap_or("none: one patient");
        if let Some(column) = answer("column that tells patients apart", now, survey)? {
            proposal.patient = Some(column);
        }
    }
    if args.cell_type.is_none() {
        let now = proposal.cell_type.as_deref().unwrap_or("none");
        if let Some(column) = answer("column of cell types", now, survey)? {
            proposal.cell_type = Some(column);
        }
    }
    if args.genes.is_none() && survey.species != Some(Species::Human) {
        proposal.genes = ask_genes(survey.species)?;
    }
    if args.cancer.is_empty() && args.normal.is_empty() {
        let now = match &proposal.labels {
            Some(labels) => labels.to_string(),
            None => NONE.to_string(),
        };
        let answer = line(&format!(
            "cancer cells, as COLUMN=VALUE,VALUE, or normal ones, as not COLUMN=VALUE,VALUE, or {NONE} [{now}]: "
        ))?;
        if answer == NONE {
            proposal.labels = None;
        } else if !answer.is_empty() {
            let labels = Labels::parse(&answer)
                .ok_or_else(|| usage(format!("expected COLUMN=VALUE,VALUE, found `{answer}`")))?;
            proposal.labels = Some(labels);
        }
    }
    Ok(())
}

/// Where the names of the genes do not say that they are human.
fn ask_genes(species: Option<Species>) -> Result<Option<PathBuf>, CliError> {
    let question = match species {
        Some(species) => format!(
            "by their names the genes are of {species}; a file with their positions, for example a GTF: "
        ),
        None => "nothing says whose genes these are; a file with their positions, for example a GTF [human, GRCh38]: "
            .to_string(),
    };
    let said = line(&question)?;
    if said.is_empty() {
        return Ok(None);
    }
    let path = PathBuf::from(said);
    match path.exists() {
        true => Ok(Some(path)),
        false => Err(usage(format!("there is no file `{}`", path.display()))),
    }
}

/// The answer of who has no labels.
const NONE: &str = "none";

fn answer(question: &str, now: &str, survey: &Survey) -> Result<Option<String>, CliError> {
    let said = line(&format!("{question} [{now}]: "))?;
    if said.is_empty() {
        return Ok(None);
    }
    if survey.columns.contains_key(&said) {
        return Ok(Some(said));
    }
    let known: Vec<&str> = survey.columns.keys().map(String::as_str).collect();
    let problem = crate::workflow::unknown("column", &said, &known);
    Err(usage(problem.message).with_hint(problem.hint))
}

fn line(question: &str) -> Result<String, CliError> {
    super::out::tell_text(question);
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|e| usage(format!("cannot read the answer: {e}")))?;
    Ok(answer.trim().to_string())
}

/// The schema next to the workflow, unless one is there.
fn write_schema(workflow: &Path) -> Result<(), CliError> {
    let path = workflow.with_file_name(SCHEMA);
    if path.exists() {
        return Ok(());
    }
    let schema = crate::registry::workflow_schema();
    let text = serde_json::to_string_pretty(&schema).expect("plain values serialise");
    write_new(&path, &format!("{text}\n"))
}

/// What `check` says; the file stays, to be mended.
fn check(path: &Path) -> Result<i32, CliError> {
    super::check::check(&WorkflowArgs::of(path))
}

/// Text as a YAML scalar that is read back as the same text.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text serialises")
}

fn list<'a>(values: impl IntoIterator<Item = &'a String>) -> String {
    let values: Vec<String> = values.into_iter().map(|v| quoted(v)).collect();
    format!("[{}]", values.join(", "))
}

fn workflow_text(
    args: &InitArgs,
    counts: &Counts,
    path: &Path,
    survey: &Survey,
    proposal: &Proposal,
) -> String {
    let mut text = heading(counts.path(), path, survey, proposal);
    let patients = match counts {
        Counts::File(data) => proposal.patients(&survey.columns, &stem(data)),
        Counts::Sheet { .. } => Vec::new(),
    };
    let names: Vec<String> = patients.iter().map(|p| p.name.clone()).collect();
    let axis = match counts {
        Counts::File(_) => format!("patient: {}", list(&names)),
        Counts::Sheet { sheet, .. } => format!(
            "# `patient`: those of {}.",
            crate::text::shown(&sheet.path.display().to_string())
        ),
    };
    let _ = write!(
        text,
        "version: 1\nname: {}\nseed: 42\n\naxes:\n  {axis}\n  \
         # Each value holds out its own third of the cells.\n  fold:\n    f1: {{mine_folds: {{fold: 1}}}}\n    \
         f2: {{mine_folds: {{fold: 2}}}}\n    f3: {{mine_folds: {{fold: 3}}}}\n\n",
        name_of(path),
    );
    text.push_str(&inputs(args, counts, survey, proposal));
    text.push_str(&ingest_stage(args, counts, proposal, &patients));
    let window = match survey.n_features {
        Some(n) if n < 8_000 => 100,
        _ => 250,
    };
    let yaml = |l: &Labels| l.yaml(proposal.name_after_ingest(&l.column));
    let labels = proposal.labels.as_ref().map(yaml);
    // Without labels the cells that are called malignant are cancer cells, not all others than the reference.
    let (of_dosage, of_concordance) = match &labels {
        Some(_) => ("", ""),
        None => (
            "    params: {restrict: malignant}\n",
            ", restrict: malignant",
        ),
    };
    let several = match counts {
        Counts::File(_) => patients.len() > 1,
        Counts::Sheet { sheet, .. } => sheet.patients().len() > 1,
    };
    let labels = labels.unwrap_or_else(|| "null  # found by expression along the genome".into());
    let stages = STAGES
        .replace("{labels}", &labels)
        .replace("{of_dosage}", of_dosage)
        .replace("{of_concordance}", of_concordance)
        .replace("{cohort}", if several { COHORT } else { "" })
        .replace("{window}", &window.to_string());
    text.push_str(&stages);
    text
}

fn heading(data: &Path, path: &Path, survey: &Survey, proposal: &Proposal) -> String {
    let mut text = format!(
        "# yaml-language-server: $schema={SCHEMA}\n# {}: {} cells{}.\n#\n#   clcc-flow run {}\n#\n",
        crate::text::shown(&data.display().to_string()),
        survey.n_cells,
        survey
            .n_features
            .map_or(String::new(), |n| format!(", {n} features")),
        crate::text::shown(&path.display().to_string()),
    );
    for (what, column) in [
        ("Patients", &proposal.patient),
        ("Cell types", &proposal.cell_type),
    ] {
        let Some(column) = column else { continue };
        let values = propose::values(&survey.columns[column], SHOWN);
        let _ = writeln!(
            text,
            "# {what} are told apart by the column `{}`: {}.",
            crate::text::shown(column),
            crate::text::shown(&values)
        );
    }
    if let Some(labels) = &proposal.labels {
        let _ = writeln!(
            text,
            "# Cancer cells: {}.",
            crate::text::shown(&labels.to_string())
        );
    }
    text.push_str("# Every parameter and its default: clcc-flow schema KIND, for example clcc-flow schema infercnv.\n");
    text
}

fn inputs(args: &InitArgs, counts: &Counts, survey: &Survey, proposal: &Proposal) -> String {
    let entry = |name: &str, path: &Path, format: Option<&str>| {
        let format = format.map_or(String::new(), |f| format!(", format: {f}"));
        format!(
            "  {name}: {{path: {}{format}}}\n",
            quoted(&path.to_string_lossy())
        )
    };
    let counts = match counts {
        Counts::File(data) => entry("counts", data, args.format.as_deref()),
        Counts::Sheet { sheet, .. } => format!(
            "  # One row a sample: patient, sample, path, and what else is known of it.\n  counts: {{sheet: {}}}\n",
            quoted(&sheet.path.to_string_lossy())
        ),
    };
    let mut text = format!("inputs:\n{counts}");
    if let Some(annotations) = &args.annotations {
        text.push_str(&entry("annotations", annotations, None));
    }
    match &proposal.genes {
        Some(genes) => text.push_str(&entry("genes", genes, None)),
        None => {
            let seen = match survey.species {
                Some(_) => "human, by their names",
                None => "taken for human: their names do not tell",
            };
            let _ = write!(
                text,
                "  # Positions of genes (GRCh38). They are {seen}. Of another genome: {{path: genes.gtf.gz}}.\n  \
                 genes: {{builtin: grch38}}\n"
            );
        }
    }
    text.push('\n');
    text
}

fn ingest_stage(
    args: &InitArgs,
    counts: &Counts,
    proposal: &Proposal,
    patients: &[propose::Patient],
) -> String {
    let read = if args.annotations.is_some() {
        "[counts, annotations]"
    } else {
        "[counts]"
    };
    let mut params = String::new();
    let mut put = |name: &str, value: String| {
        let _ = writeln!(params, "      {name}: {value}");
    };
    if let Some(cell_id) = &args.cell_id {
        put("cell_id", quoted(cell_id));
    }
    if let Some(layer) = &args.layer {
        put("layer", quoted(layer));
    }
    if let Some(column) = &proposal.patient {
        put("group_by", quoted(column));
        if patients.iter().any(|p| p.value != p.name) {
            let groups: Vec<String> = patients
                .iter()
                .map(|p| format!("{}: [{}]", quoted(&p.name), quoted(&p.value)))
                .collect();
            put("groups", format!("{{{}}}", groups.join(", ")));
        }
    }
    let columns: Vec<String> = [
        ("sample", &proposal.sample),
        ("cell_type", &proposal.cell_type),
    ]
    .into_iter()
    .filter_map(|(name, column)| Some(format!("{name}: {}", quoted(column.as_ref()?))))
    .collect();
    if !columns.is_empty() {
        put("columns", format!("{{{}}}", columns.join(", ")));
    }
    let per = match counts {
        Counts::File(_) => "",
        Counts::Sheet { .. } => "    per: patient\n",
    };
    let mut text = format!("stages:\n  ingest:\n{per}    inputs: {read}\n");
    if !params.is_empty() {
        text.push_str("    params:\n");
        text.push_str(&params);
    }
    text
}

/// The pipeline after `ingest`.
const STAGES: &str = "  preprocess:
    per: patient
    needs: [ingest]
    inputs: [genes]
    params:
      cancer_vs_normal: {labels}
  doublets:
    per: patient
    needs: [preprocess]
  infercnv:
    per: patient
    needs: [preprocess]
    # HLA genes follow the cell type: with them macrophages score as high as tumour cells.
    params: {window_size: {window}, step: 10, exclude_genes: [\"HLA-*\"]}
  cluster:
    per: patient
    needs: [preprocess, infercnv]
  # Genes and cells that escape copy-number dosage.
  dosage:
    needs: [preprocess, infercnv, cluster]
{of_dosage}  # The contrastive alignment of expression and copy number. Without it, leave out everything from here to
  # `concordance`, and what names it below.
  mine:
    needs: [preprocess, infercnv]
    params: {space: zscore}
  train:
    needs: [preprocess, infercnv, mine]
  eval:
    needs: [mine, train]
  # Classes rest on three models more, each of which measures the cells that it did not see.
  mine_folds:
    kind: mine
    per: fold
    needs: [preprocess, infercnv]
    params: {space: zscore, cross_fit: 3}
  train_folds:
    kind: train
    per: fold
    needs: [preprocess, infercnv, mine_folds]
  concordance:
    needs: [preprocess, cluster, mine_folds, train_folds]
    params: {cross_fit: 3{of_concordance}}
  de:
    needs: [preprocess, infercnv, cluster, concordance, dosage]
  export:
    per: patient
    needs: [preprocess, doublets, infercnv, cluster, train, concordance, dosage]
    # For scanpy and Seurat; the same as zarr is always written.
    params: {h5ad: true}
{cohort}  report:
    needs: [ingest, preprocess, infercnv, cluster, mine, train, eval, concordance, dosage, de]
";

/// For more than one patient.
const COHORT: &str = "  # The same of all patients as one AnnData, `cohort.zarr`; about as large as those of the patients together.
  export_cohort:
    needs: [export]
";
