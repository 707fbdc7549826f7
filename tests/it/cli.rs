//! Messages and exit codes.

use serde_json::Value;

use crate::project::{Project, SMALLEST, TINY, command};

#[test]
fn every_workflow_problem_is_named_with_its_place() {
    let p = Project::new(
        "version: 1\naxes:\n  patient: [A]\n  ablation: {full: {}, none: {cluster: {resolution: 1}}}\n\
         stages:\n  simulate: {params: {n_cels: 10, seeds: 3}}\n  preproces: {per: patient, needs: [simulate]}\n  \
         cluster: {per: patient, needs: [infercnvv], params: {resolution: high}}\n",
    );
    let text = p.run(&["check", "w.yaml"]).expect(3).stderr;
    for expected in [
        "unknown parameter `n_cels`",
        "did you mean `n_cells`?",
        "--> w.yaml:6:23",
        "unknown stage kind `preproces`",
        "did you mean `preprocess`?",
        "--> w.yaml:7:3",
        "unknown stage `infercnvv`",
        "--> w.yaml:8:35",
        "parameter `resolution`",
        "--> w.yaml:8:68",
        "stage `cluster` does not fan out over axis `ablation`",
        "--> w.yaml:4:31",
    ] {
        assert!(text.contains(expected), "{expected}\nnot in\n{text}");
    }
}

#[test]
fn a_value_out_of_range_is_refused_before_anything_runs() {
    let p = Project::new(TINY);
    let text = p
        .run(&["run", "w.yaml", "--set", "cluster.resolution=-1"])
        .expect(3)
        .stderr;
    assert!(
        text.contains("stage `cluster`: parameter `resolution`"),
        "{text}"
    );
    assert!(!p.path().join(".clcc").exists());
}

#[test]
fn a_missing_role_says_which_stage_to_need() {
    let p = Project::new(&TINY.replace(
        "needs: [preprocess, infercnv, cluster]",
        "needs: [preprocess, infercnv]",
    ));
    let text = p.run(&["check", "w.yaml"]).expect(3).stderr;
    assert!(text.contains("stage `dosage` reads `clusters`"), "{text}");
    assert!(text.contains("hint: add `cluster` to `needs`"), "{text}");
}

#[test]
fn a_cycle_is_an_error_with_a_place() {
    let p =
        Project::new("version: 1\nstages:\n  mine: {needs: [train]}\n  train: {needs: [mine]}\n");
    let text = p.run(&["check", "w.yaml"]).expect(3).stderr;
    assert!(
        text.contains("needs itself") && text.contains("--> w.yaml:"),
        "{text}"
    );
}

#[test]
fn a_missing_file_names_the_input_and_what_to_do() {
    let luad = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/luad10.yaml");
    let p = Project::new(TINY);
    let run = p.run(&["run", luad]).expect(3);
    for expected in [
        "GSE131907_Lung_Cancer_raw_UMI_matrix.txt.gz",
        "GSE131907_Lung_Cancer_cell_annotation.txt.gz",
        "series GSE131907",
        "data/GSE131907/",
        "clcc-flow simulate --like gse131907",
        "luad10.yaml:",
    ] {
        assert!(
            run.stderr.contains(expected),
            "{expected}\nnot in\n{}",
            run.stderr
        );
    }
    assert!(!p.path().join(".clcc").exists());
}

#[test]
fn shipped_workflows_are_sound() {
    let shipped = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/workflows")).unwrap();
    let files: Vec<String> = shipped
        .map(|f| f.unwrap().path().display().to_string())
        .collect();
    assert!(files.len() >= 12, "{files:?}");
    for file in files {
        let p = Project::new(TINY);
        for format in ["dot", "mermaid", "svg"] {
            let text = p
                .run(&["graph", &file, "--format", format])
                .expect(0)
                .stdout;
            assert!(text.contains("infercnv"), "{file} {format}: {text}");
        }
    }
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let p = Project::new(TINY);
    p.run(&["run", "w.yaml", "--set", "cluster"]).expect(2);
    p.run(&["run"]).expect(2);
    let text = p.run(&["run", "w.yaml", "--device", "cuda"]);
    if !cfg!(feature = "cuda") {
        assert!(text.expect(2).stderr.contains("feature `cuda`"));
    }
    assert!(
        p.run(&["check", "w.yaml", "--only", "patient=C"])
            .expect(3)
            .stderr
            .contains("unknown axis value `C`")
    );
    assert!(
        p.run(&["check", "nothing.yaml"])
            .expect(3)
            .stderr
            .contains("cannot read workflow `nothing.yaml`")
    );
}

#[test]
fn plan_with_exit_code_says_whether_there_is_work() {
    let p = Project::new(TINY);
    p.run(&["plan", "w.yaml", "--exit-code"]).expect(8);
    p.run_json(&["--until", "simulate"]).expect(0);
    p.run(&["plan", "w.yaml", "--exit-code", "--until", "simulate"])
        .expect(0);
}

#[test]
fn schema_lists_every_kind_and_its_parameters() {
    let p = Project::new(TINY);
    let whole: serde_json::Value =
        serde_json::from_str(&p.run(&["schema"]).expect(0).stdout).unwrap();
    let kinds = whole["$defs"].as_object().unwrap();
    assert_eq!(kinds.len(), clcc_flow::registry::kinds().len());
    let one: serde_json::Value =
        serde_json::from_str(&p.run(&["schema", "cluster"]).expect(0).stdout).unwrap();
    assert!(
        one["properties"]["resolution"]["description"]
            .as_str()
            .is_some_and(|d| !d.is_empty())
    );
}

/// Workflow of two methods with parameters of the others beside them.
const OTHER_METHOD: &str = "\
version: 1
axes: {patient: [A]}
inputs: {genes: {builtin: grch38}}
stages:
  simulate: {params: {n_cells: 60, n_genes: 1500}}
  preprocess: {per: patient, needs: [simulate], inputs: [genes]}
  infercnv: {per: patient, needs: [preprocess], params: {method: hmm, lfc_clip: 1}}
  mine: {per: patient, needs: [preprocess, infercnv]}
  train:
    per: patient
    needs: [preprocess, infercnv, mine]
    params: {objective: anchors, patience: 3, lambda: 2, epochs: 5}
";

#[test]
fn parameters_of_another_method_are_refused_by_name_and_place() {
    let p = Project::new(OTHER_METHOD);
    let text = p.run(&["check", "w.yaml"]).expect(3).stderr;
    for expected in [
        "error: stage `infercnv`: parameter `lfc_clip` is not read with `method: hmm`\n  --> w.yaml:7:71\n\
         hint: it is read only with `method: window` or `method: measured`",
        "error: stage `train`: parameter `patience` is not read with `objective: anchors`\n  --> w.yaml:12:34\n\
         hint: it is read only with `objective: clcc`",
        "parameter `lambda` is not read with `objective: anchors`\n  --> w.yaml:12:47",
        "3 problems in",
    ] {
        assert!(text.contains(expected), "{expected}\nnot in\n{text}");
    }
    // Inherited beneath a switch they are left out.
    let switched = [
        "--set",
        "train.objective=clcc",
        "--set",
        "infercnv.method=window",
    ];
    p.run(&[&["check", "w.yaml"], &switched[..]].concat())
        .expect(0);
}

#[test]
fn a_parameter_that_is_not_read_is_no_part_of_the_key() {
    let p = Project::new(SMALLEST);
    p.run_json(&[]).expect(0);
    // The seed of a control that only one branch has.
    let more = SMALLEST
        .replace(
            "patient: [A]",
            "patient: [A]\n  control: {real: {}, order: {infercnv: {control: gene_order}}}",
        )
        .replace(
            "per: patient\n    needs: [preprocess]",
            "per: [patient, control]\n    needs: [preprocess]",
        )
        .replace("step: 10", "step: 10, control_seed: 5");
    p.write("w.yaml", &more);
    assert_eq!(p.not_cached(&[]), ["infercnv[A,order]"]);
}

#[test]
fn values_of_another_kind_are_refused_in_plain_words() {
    let p = Project::new(TINY);
    for (set, expected) in [
        (
            "simulate.n_cells=many",
            "expected a whole number, found the text `many`",
        ),
        ("simulate.ambient=.nan", "expected a number, found "),
        (
            "cluster.zero_center=1",
            "expected `true` or `false`, found `1`",
        ),
        (
            "infercnv.method=windw",
            "expected one of `window`, `hmm`, `measured`, found `windw`",
        ),
        (
            "infercnv.exclude_chromosomes=chrX",
            "expected a list, found the text `chrX`",
        ),
        (
            "cluster.resolution=0",
            "expected a value in (0, 1000], found `0`",
        ),
    ] {
        let text = p.run(&["check", "w.yaml", "--set", set]).expect(3).stderr;
        assert!(text.contains(expected), "{set}: {text}");
    }
}

#[cfg(unix)]
#[test]
fn a_verb_whose_reader_has_gone_ends_without_a_word() {
    use std::os::unix::process::ExitStatusExt as _;

    let p = Project::new(TINY);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let out = command(p.path(), &["plan", "w.yaml"])
        .stdout(writer)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert_eq!(stderr, "");
    // SIGPIPE.
    assert_eq!(out.status.signal(), Some(13));
}

#[test]
fn what_a_selection_cannot_make_is_planned_as_skipped() {
    let p = Project::new(TINY);
    let only = ["--only", "patient=A"];
    let skipped = |p: &Project| -> Vec<(String, Value)> {
        let plan = p.plan(&only).into_iter();
        let skipped = plan.filter(|(_, status, _)| status == "skip");
        skipped
            .map(|(id, _, why)| (id, why["nodes"].clone()))
            .collect()
    };
    let needs = serde_json::json!(["preprocess[B]", "infercnv[B]", "cluster[B]"]);
    assert_eq!(skipped(&p), [("dosage".to_string(), needs)]);
    let run = p.run_json(&only).expect(0);
    assert!(!run.nodes("did_execute").contains(&"dosage".to_string()));
    // Everything that the selection can make is there: no work is left.
    p.run(&["plan", "w.yaml", "--only", "patient=A", "--exit-code"])
        .expect(0);
    // Nodes that were not selected are no failure, whatever they wait for.
    let p = Project::new(TINY);
    p.run_json(&["--until", "simulate"]).expect(0);
    let text = p.run(&["status", "--format", "json"]).expect(0).stdout;
    let runs: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(runs[0]["not_selected"], 7);
    assert_eq!(runs[0]["without_result"], serde_json::json!([]));
}

#[test]
fn init_writes_a_workflow_under_any_name() {
    let p = Project::new(TINY);
    for name in ["true.yaml", "null.yml", "12.yaml", "my tumours.yaml"] {
        p.run(&["init", name]).expect(0);
        p.run(&["check", name]).expect(0);
    }
}
