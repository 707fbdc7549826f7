//! What the page says of its run. The artifact does not depend on when or where it was made, so this is put into the copy
//! that is published: name, program and seed of the run, its warnings grouped by cause, and its record as data.

use serde_json::Value;

use super::answer::Remark;
use super::html::{escape, script_json};

/// The run's record stands here: `<script type="application/json" id="run-provenance">`.
pub const PROVENANCE_MARK: &str = "<!--clcc:provenance-->";
/// The workflow's name stands here.
pub(crate) const WORKFLOW_MARK: &str = "<!--clcc:workflow-->";
/// Run, date, program and seed stand here.
pub(crate) const IDENTITY_MARK: &str = "<!--clcc:identity-->";
/// The warnings of the run stand here.
pub(crate) const WARNINGS_MARK: &str = "<!--clcc:warnings-->";

/// A cause of warnings: kind of the stages that warn (empty: any), what their messages contain, the cause in one line, what to do.
type Cause = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

const CAUSES: [Cause; 16] = [
    (
        "concordance",
        &["goes together with", "discordant cells have"],
        "The discordance class goes with other properties of the cells",
        "Genes that tell the classes apart may mark cell type or depth instead of escape. Read the contrasts within cell types, and believe the \
         dosage slopes first.",
    ),
    (
        "concordance",
        &["depends on whether the model trained on it"],
        "A cell's distance depends on which model measured it",
        "Distances of the folds hardly agree, so the classes of single cells are weak. More cells or more epochs may help; the dosage slopes \
         do not use them.",
    ),
    (
        "concordance",
        &["no cell was classed"],
        "No cell was classed as concordant or discordant",
        "Check the column cancer_vs_normal and the parameter restrict of concordance.",
    ),
    (
        "de",
        &["labels are permuted"],
        "Most genes of the discordance contrasts tell cell types apart",
        "They are found as well with labels permuted within cell types. Do not read the pooled list as escape; read the contrasts within \
         cell types.",
    ),
    (
        "de",
        &["discordant_vs_concordant"],
        "Some comparisons of discordant cells could not be made",
        "The table contrasts.tsv gives the reasons.",
    ),
    (
        "cluster",
        &["are probably normal"],
        "Some of the cells called malignant are probably normal",
        "Look at the malignancy scores of these patients; a higher malignancy_threshold of cluster keeps the surest cells.",
    ),
    (
        "cluster",
        &["no cell is called malignant"],
        "In some patients no cell could be called malignant",
        "Their cells are grouped by label and cluster. Look at the malignancy scores; malignancy_threshold of cluster sets a threshold by hand.",
    ),
    (
        "cluster",
        &["copy-number signal"],
        "Some patients have no copy-number signal",
        "Their clusters mean nothing. Check the reference cells and dynamic_threshold of infercnv.",
    ),
    (
        "infercnv",
        &["reference"],
        "The reference of the copy number is weak",
        "Name normal cells with reference_key and reference_cat of infercnv, or give the patient a normal sample.",
    ),
    (
        "infercnv",
        &["exclude_genes", "exclude_chromosomes"],
        "Something that was to be excluded is not in the data",
        "Check the spelling of exclude_genes and exclude_chromosomes of infercnv.",
    ),
    (
        "dosage",
        &[
            "no gene is called",
            "no gene was tested",
            "nothing could be tested",
            "no cell was scored",
        ],
        "Dosage could not be told in full",
        "It takes malignant clones that differ in copy number and have cells enough: more patients, more cells in each clone, or other calls \
         of malignant cells.",
    ),
    (
        "mine",
        &["hard negative"],
        "Few cells have a hard negative",
        "The margin part of the loss does next to nothing. Try the other space of mine, or a higher expr_cosine_max.",
    ),
    (
        "train",
        &["not below chance"],
        "The two embeddings were not aligned",
        "The validation loss is no better than chance, so distances and classes say nothing. Train longer, or with more cells.",
    ),
    (
        "doublets",
        &["no cell is called a doublet", "no score"],
        "Doublets could not be called in some patients",
        "Look at the histograms of the scores; threshold of doublets sets one by hand.",
    ),
    (
        "ingest",
        &[""],
        "Something of the input was left out or changed",
        "Read the lines below; if it was not meant, change the inputs or the parameters of ingest.",
    ),
    (
        "preprocess",
        &[""],
        "Checks of the cells that deserve a look",
        "The integrity checks under Quality have the details.",
    ),
];

/// The published page: `page` with the record of its run, as `run.json` has it. No text of the record is markup or script.
#[must_use]
pub fn with_record(page: &str, run: &Value) -> String {
    let script = format!(
        "<script type=\"application/json\" id=\"run-provenance\">{}</script>",
        script_json(run)
    );
    let workflow = match run["workflow"]["name"].as_str() {
        Some(name) => format!("<b>{}</b> · ", escape(name)),
        None => String::new(),
    };
    page.replacen(WORKFLOW_MARK, &workflow, 1)
        .replacen(IDENTITY_MARK, &identity(run), 1)
        .replacen(WARNINGS_MARK, &warnings(run), 1)
        .replacen(PROVENANCE_MARK, &script, 1)
}

/// Run, day, program and seed, as far as the record has them.
fn identity(run: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(started) = run["started"].as_str() {
        parts.push(started.split('T').next().unwrap_or(started).to_string());
    }
    if let Some(name) = run["run"].as_str() {
        parts.push(format!("run {name}"));
    }
    if let (Some(name), Some(version)) = (
        run["program"]["name"].as_str(),
        run["program"]["version"].as_str(),
    ) {
        parts.push(format!("{name} {version}"));
    }
    if let Some(seed) = run["workflow"]["seed"].as_u64() {
        parts.push(format!("seed {seed}"));
    }
    parts.iter().map(|p| format!(" · {}", escape(p))).collect()
}

/// A warning of a node.
struct Warning<'a> {
    kind: &'a str,
    node: &'a str,
    text: &'a str,
}

/// Parts of the run that failed, then the warnings of all nodes by cause, in the order of the plan.
fn warnings(run: &Value) -> String {
    let nodes: &[Value] = run["nodes"].as_array().map_or(&[], Vec::as_slice);
    let by_cause = by_cause(nodes).into_iter().map(remark);
    failures(nodes)
        .into_iter()
        .chain(by_cause)
        .map(|r| r.html())
        .collect()
}

fn failures(nodes: &[Value]) -> Option<Remark> {
    let failed = nodes.iter().filter(|n| n["status"] == "failed");
    let failed: Vec<String> = failed
        .filter_map(|n| n["id"].as_str().map(String::from))
        .collect();
    (!failed.is_empty()).then(|| Remark {
        is_warning: true,
        cause: "Parts of the run failed".into(),
        times: times(failed.len()),
        advice: "This page shows only what could be computed without them.".into(),
        items: failed,
    })
}

/// Cause, advice and the warnings of each.
type Group<'a> = (String, &'static str, Vec<Warning<'a>>);

fn by_cause(nodes: &[Value]) -> Vec<Group<'_>> {
    let mut found: Vec<Group<'_>> = Vec::new();
    for node in nodes {
        let name = |key: &str| node[key].as_str().unwrap_or_default();
        let kind = if name("kind").is_empty() {
            name("stage")
        } else {
            name("kind")
        };
        let texts = node["warnings"].as_array().map_or(&[][..], Vec::as_slice);
        for text in texts.iter().filter_map(Value::as_str) {
            let (cause, advice) = cause_of(kind, text);
            let node = name("id");
            let warning = Warning { kind, node, text };
            match found.iter_mut().find(|f| f.0 == cause) {
                Some(same) => same.2.push(warning),
                None => found.push((cause, advice, vec![warning])),
            }
        }
    }
    found
}

fn remark((cause, advice, warnings): Group<'_>) -> Remark {
    let mut nodes: Vec<&str> = warnings.iter().map(|w| w.node).collect();
    nodes.dedup();
    let line = |w: &Warning<'_>| {
        let who = if w.node.is_empty() { w.kind } else { w.node };
        format!("{who}: {}", w.text)
    };
    Remark {
        is_warning: true,
        cause,
        times: times(nodes.len()),
        advice: advice.to_string(),
        items: warnings.iter().map(line).collect(),
    }
}

fn times(nodes: usize) -> String {
    match nodes {
        0 | 1 => String::new(),
        n => format!("{n} nodes"),
    }
}

/// Cause of a warning and what to do; the warning's own first words where it is none of those that are known.
fn cause_of(kind: &str, text: &str) -> (String, &'static str) {
    let is = |(own, contains, _, _): &&Cause| {
        (own.is_empty() || *own == kind) && contains.iter().any(|c| text.contains(c))
    };
    if let Some((_, _, cause, advice)) = CAUSES.iter().find(is) {
        return ((*cause).to_string(), advice);
    }
    // Messages that differ in numbers alone have one cause.
    let head = text.split([':', ';']).next().unwrap_or(text);
    let mut cause = String::new();
    for c in head.chars() {
        if !c.is_ascii_digit() {
            cause.push(c);
        } else if !cause.ends_with('…') {
            cause.push('…');
        }
    }
    (
        format!("{kind}: {}", cause.trim()),
        "The lines below are the stage's own words; its tables and the documentation of stages say more.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn published(run: &Value) -> String {
        let page = format!(
            "<p>{WORKFLOW_MARK}3 patients{IDENTITY_MARK}</p><div>{WARNINGS_MARK}</div>{PROVENANCE_MARK}"
        );
        with_record(&page, run)
    }

    #[test]
    fn the_run_is_named_and_warnings_of_one_cause_are_one_line() {
        let node = |id: &str, kind: &str, warnings: &[&str]| json!({"id": id, "stage": "s", "kind": kind, "status": "ran", "warnings": warnings});
        let run = json!({
            "run": "R1", "started": "2026-11-28T10:00:00Z", "workflow": {"name": "demo", "seed": 7},
            "program": {"name": "clcc-flow", "version": "0.1.0"},
            "nodes": [
                node("cluster[P1]", "cluster", &["7 % of the cells called malignant are probably normal: so often"]),
                node("cluster[P2]", "cluster", &["9 % of the cells called malignant are probably normal: so often"]),
                node("odd[P1]", "odd", &["12 things of 5: really"]),
                node("odd[P2]", "odd", &["3 things of 77: really"]),
                json!({"id": "de", "kind": "de", "status": "failed", "warnings": []}),
            ],
        });
        let html = published(&run);
        assert!(
            html.starts_with(
                "<p><b>demo</b> · 3 patients · 2026-11-28 · run R1 · clcc-flow 0.1.0 · seed 7</p>"
            ),
            "{html}"
        );
        assert_eq!(html.matches("<details").count(), 3);
        assert!(html.contains("Some of the cells called malignant are probably normal</b> <span class=\"times\">2 nodes</span>"));
        assert!(
            html.contains("<li>cluster[P1]: 7 % of the cells")
                && html.contains("malignancy_threshold")
        );
        assert!(html.contains("<b>odd: … things of …</b> <span class=\"times\">2 nodes</span>"));
        assert!(html.contains("Parts of the run failed") && html.contains("<li>de</li>"));
        assert_eq!(html.matches("run-provenance").count(), 1);
    }

    #[test]
    fn names_of_the_record_are_text() {
        let evil = "a</script><b>\"<!--\u{2028}";
        let run = json!({
            "run": evil, "workflow": {"name": evil}, "program": {"name": evil, "version": "1"},
            "nodes": [{"id": evil, "kind": "x", "status": "ran", "warnings": [evil]}],
        });
        let html = published(&run);
        let (before, data) = html
            .split_once("<script type=\"application/json\" id=\"run-provenance\">")
            .unwrap();
        assert!(
            !before.contains("<b>\"") && !before.contains("</script>") && !before.contains("<!--")
        );
        let (json, rest) = data.split_once("</script>").unwrap();
        assert_eq!((rest, json.contains('<')), ("", false));
        assert_eq!(serde_json::from_str::<Value>(json).unwrap(), run);
    }

    #[test]
    fn a_page_without_marks_stays_as_it_is() {
        assert_eq!(with_record("<p>x</p>", &json!({})), "<p>x</p>");
    }
}
