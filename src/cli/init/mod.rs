//! `init`: a workflow to start from: of a shipped one, or for the user's own data.

mod propose;

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clcc_stages::ingest::{self, IngestParams, Survey};
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
/// The schema that editors check the workflow against, beside it.
const SCHEMA: &str = "clcc-flow.schema.json";
/// Values of a column that a message or comment lists.
const SHOWN: usize = 12;

pub(super) fn init(args: &InitArgs) -> Result<i32, CliError> {
    match (&args.from, &args.template) {
        (Some(data), None) => from_data(args, data),
        (None, name) => from_template(args, name.as_deref().unwrap_or("demo")),
        (Some(_), Some(_)) => Err(usage("--from and --template cannot be used together")),
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

fn from_data(args: &InitArgs, data: &Path) -> Result<i32, CliError> {
    let path = match &args.path {
        Some(path) => path.clone(),
        None => PathBuf::from(format!("{}.yaml", stem(data))),
    };
    if path.exists() {
        return Err(usage(format!("`{}` exists already", path.display())));
    }
    let params = IngestParams {
        cell_id: args
            .cell_id
            .clone()
            .unwrap_or_else(|| IngestParams::default().cell_id),
        layer: args.layer.clone().unwrap_or_default(),
        ..IngestParams::default()
    };
    let survey = ingest::survey(
        data,
        args.format.as_deref(),
        args.annotations.as_deref(),
        &params,
        &[],
    )
    .map_err(|e| CliError::from_error(exit::INVALID, &e).with_hint(e.hint().map(str::to_string)))?;
    let proposal = decide(args, &survey)?;
    let text = workflow_text(args, data, &path, &survey, &proposal);
    write_new(&path, &text)?;
    write_schema(&path)?;
    said(&path);
    check(&path)
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
fn decide(args: &InitArgs, survey: &Survey) -> Result<Proposal, CliError> {
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
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        ask(args, survey, &mut proposal)?;
    }
    let Some(labels) = &proposal.labels else {
        let message =
            "which cells are cancer and which are normal? The columns and values do not say";
        let hint = format!(
            "give --cancer VALUE or --normal VALUE (and --by COLUMN); columns are {}",
            propose::overview(columns)
        );
        return Err(usage(message).hint(hint));
    };
    labels.check(columns).map_err(usage)?;
    Ok(proposal)
}

/// Asks after what no flag says; an empty answer keeps the proposal.
fn ask(args: &InitArgs, survey: &Survey, proposal: &mut Proposal) -> Result<(), CliError> {
    tell!(
        "{} cells; columns: {}",
        survey.n_cells,
        propose::overview(&survey.columns)
    );
    if args.patient.is_none() {
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
    if args.cancer.is_empty() && args.normal.is_empty() {
        let now = match &proposal.labels {
            Some(labels) => labels.to_string(),
            None => "not known".to_string(),
        };
        let answer = line(&format!(
            "cancer cells, as COLUMN=VALUE,VALUE, or normal ones, as not COLUMN=VALUE,VALUE [{now}]: "
        ))?;
        if !answer.is_empty() {
            let labels = Labels::parse(&answer)
                .ok_or_else(|| usage(format!("expected COLUMN=VALUE,VALUE, found `{answer}`")))?;
            proposal.labels = Some(labels);
        }
    }
    Ok(())
}

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

/// The schema beside the workflow, unless one is there.
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
    data: &Path,
    path: &Path,
    survey: &Survey,
    proposal: &Proposal,
) -> String {
    let mut text = heading(data, path, survey, proposal);
    let patients = proposal.patients(&survey.columns, &stem(data));
    let names: Vec<String> = patients.iter().map(|p| p.name.clone()).collect();
    let _ = write!(
        text,
        "version: 1\nname: {}\nseed: 42\n\naxes:\n  patient: {}\n  \
         # Each value holds out its own third of the cells.\n  fold:\n    f1: {{mine_folds: {{fold: 1}}}}\n    \
         f2: {{mine_folds: {{fold: 2}}}}\n    f3: {{mine_folds: {{fold: 3}}}}\n\n",
        name_of(path),
        list(&names)
    );
    text.push_str(&inputs(args, data));
    text.push_str(&ingest_stage(args, proposal, &patients));
    let window = match survey.n_features {
        Some(n) if n < 8_000 => 100,
        _ => 250,
    };
    let yaml = |l: &Labels| l.yaml(proposal.name_after_ingest(&l.column));
    let labels = proposal.labels.as_ref().map(yaml).unwrap_or_default();
    let stages = STAGES
        .replace("{labels}", &labels)
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

fn inputs(args: &InitArgs, data: &Path) -> String {
    let entry = |name: &str, path: &Path, format: Option<&str>| {
        let format = format.map_or(String::new(), |f| format!(", format: {f}"));
        format!(
            "  {name}: {{path: {}{format}}}\n",
            quoted(&path.to_string_lossy())
        )
    };
    let mut text = format!("inputs:\n{}", entry("counts", data, args.format.as_deref()));
    if let Some(annotations) = &args.annotations {
        text.push_str(&entry("annotations", annotations, None));
    }
    match &args.genes {
        Some(genes) => text.push_str(&entry("genes", genes, None)),
        None => text.push_str(
            "  # Positions of human genes (GRCh38); of another genome: {path: genes.gtf.gz}.\n  genes: {builtin: grch38}\n",
        ),
    }
    text.push('\n');
    text
}

fn ingest_stage(args: &InitArgs, proposal: &Proposal, patients: &[propose::Patient]) -> String {
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
    let mut text = format!("stages:\n  ingest:\n    inputs: {read}\n");
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
  # The contrastive alignment of expression and copy number. Without it, leave out everything from here to
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
    params: {cross_fit: 3}
  de:
    needs: [preprocess, infercnv, cluster, concordance, dosage]
  export:
    per: patient
    needs: [preprocess, doublets, infercnv, cluster, train, concordance]
    # For scanpy and Seurat; the same as zarr is always written.
    params: {h5ad: true}
  report:
    needs: [ingest, preprocess, infercnv, cluster, mine, train, eval, concordance, dosage, de]
";
