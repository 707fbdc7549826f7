//! Messages and exit codes.

use serde_json::Value;

use crate::project::{Project, Ran, SMALLEST, TINY, command};

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

/// Counts of two samples as GEO has them, and a table of their cells.
fn samples(p: &Project) {
    let cells: Vec<String> = (0..12).map(|c| format!("cell{c}")).collect();
    let mut counts = format!("Index\t{}\n", cells.join("\t"));
    for gene in ["TP53", "EGFR", "MYC", "ACTB", "CD3E"] {
        counts.push_str(&format!("{gene}{}\n", "\t1".repeat(12)));
    }
    let mut table = String::from("barcode,donor,Cell type\n");
    for (i, cell) in cells.iter().enumerate() {
        let kind = ["Malignant", "T cell"][i % 2];
        table.push_str(&format!("{cell},{},{kind}\n", 1 + i / 6));
    }
    p.write("counts.txt", &counts);
    p.write("cells.csv", &table);
}

#[test]
fn init_from_data_writes_what_they_suggest_or_says_what_it_needs() {
    let p = Project::new(TINY);
    samples(&p);
    let from = "init --from counts.txt --format geo_umi --annotations cells.csv --cell-id barcode";
    let from: Vec<&str> = from.split(' ').collect();
    let said = p.run(&from).expect(0);
    assert!(said.stdout.contains("counts.yaml: ") && said.stdout.contains("no problems"));
    let text = std::fs::read_to_string(p.path().join("counts.yaml")).expect("written");
    for line in [
        "# yaml-language-server: $schema=clcc-flow.schema.json",
        "# Patients are told apart by the column `donor`: 1 (6), 2 (6).",
        "  patient: [\"1\", \"2\"]",
        "      columns: {cell_type: \"Cell type\"}",
        "      cancer_vs_normal: {column: \"cell_type\", cancer: [\"Malignant\"]}",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    p.json("clcc-flow.schema.json");
    // What is there stays.
    p.run(&from).expect(2);
    // Flags win over what the data suggest; what they name must be there.
    let with = |more: &[&str]| p.run(&[&from[..], more].concat());
    with(&["other.yaml", "--normal", "T cell", "--patient", "Cell type"]).expect(0);
    let other = std::fs::read_to_string(p.path().join("other.yaml")).expect("written");
    assert!(
        other.contains("normal: [\"T cell\"]")
            && other.contains("patient: [\"Malignant\", \"T_cell\"]")
    );
    for (more, says) in [
        (
            &["x.yaml", "--patient", "doner"][..],
            "did you mean `donor`",
        ),
        (
            &["x.yaml", "--cancer", "malignant"][..],
            "Malignant (6), T cell (6)",
        ),
        (
            &["x.yaml", "--template", "demo"][..],
            "cannot be used together",
        ),
    ] {
        let refused = with(more).expect(2);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
    }
    // Without anything that says which cells are normal they are to be found.
    let bare = p
        .run(&[
            "init",
            "bare.yaml",
            "--from",
            "counts.txt",
            "--format",
            "geo_umi",
        ])
        .expect(0);
    assert!(
        bare.stderr.contains("--cancer VALUE or --normal VALUE"),
        "{}",
        bare.stderr
    );
    let bare = std::fs::read_to_string(p.path().join("bare.yaml")).expect("written");
    for line in [
        "  patient: [\"counts\"]",
        "      cancer_vs_normal: null  # found by expression along the genome",
        "    params: {restrict: malignant}",
        "    params: {cross_fit: 3, restrict: malignant}",
    ] {
        assert!(bare.lines().any(|l| l == line), "{line}\n{bare}");
    }
}

/// A folder of Cell Ranger with two cells and these genes.
fn tenx(p: &Project, folder: &str, genes: [(&str, &str); 2]) {
    std::fs::create_dir_all(p.path().join(folder)).expect("a folder");
    p.write(&format!("{folder}/barcodes.tsv"), "AAA-1\nCCC-1\n");
    let features = genes.map(|(id, name)| format!("{id}\t{name}\tGene Expression\n"));
    p.write(&format!("{folder}/features.tsv"), &features.concat());
    p.write(
        &format!("{folder}/matrix.mtx"),
        "%%MatrixMarket matrix coordinate integer general\n2 2 2\n1 1 3\n2 2 1\n",
    );
}

#[test]
fn init_knows_whose_genes_these_are() {
    let p = Project::new(TINY);
    let text = |file: &str| std::fs::read_to_string(p.path().join(file)).expect("written");
    let human = [("ENSG00000141510", "TP53"), ("ENSG00000146648", "EGFR")];
    tenx(&p, "human", human);
    p.run(&["init", "--from", "human"]).expect(0);
    assert!(text("human.yaml").contains("They are human, by their names."));
    let mouse = [
        ("ENSMUSG00000059552", "Trp53"),
        ("ENSMUSG00000020122", "Egfr"),
    ];
    tenx(&p, "mouse", mouse);
    let said = p.run(&["init", "--from", "mouse"]).expect(2);
    assert!(
        said.stderr
            .contains("by their names the genes are of mouse")
            && said.stderr.contains("--genes FILE"),
        "{}",
        said.stderr
    );
    assert!(!p.path().join("mouse.yaml").exists());
    p.write(
        "genes.tsv",
        "gene\tchr\tstart\tend\nTrp53\t11\t69471185\t69482699\nEgfr\t11\t16702203\t16868158\n",
    );
    p.run(&["init", "--from", "mouse", "--genes", "genes.tsv"])
        .expect(0);
    assert!(text("mouse.yaml").contains("genes: {path: \"genes.tsv\"}"));
}

#[test]
fn init_from_several_files_writes_a_table_of_samples() {
    let p = Project::new(TINY);
    samples(&p);
    for folder in [
        "P1/outs/filtered_feature_bc_matrix",
        "P2/outs/filtered_feature_bc_matrix",
    ] {
        let human = [("ENSG00000141510", "TP53"), ("ENSG00000146648", "EGFR")];
        tenx(&p, folder, human);
    }
    let two = [
        "init",
        "--from",
        "P1/outs/filtered_feature_bc_matrix",
        "P2/outs/filtered_feature_bc_matrix",
    ];
    let said = p.run(&[&two[..], &["ours.yaml"]].concat()).expect(0);
    assert!(
        said.stdout.contains("ours.yaml: ") && said.stdout.contains("no problems"),
        "{}",
        said.stdout
    );
    let sheet = std::fs::read_to_string(p.path().join("samples.csv")).expect("written");
    assert_eq!(
        sheet,
        "patient,sample,path\nP1,P1,\"P1/outs/filtered_feature_bc_matrix\"\nP2,P2,\"P2/outs/filtered_feature_bc_matrix\"\n"
    );
    let text = std::fs::read_to_string(p.path().join("ours.yaml")).expect("written");
    for line in [
        "  counts: {sheet: \"samples.csv\"}",
        "    per: patient",
        "  # `patient`: those of samples.csv.",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    // A column that only one of them has is not named for all.
    std::fs::remove_file(p.path().join("samples.csv")).expect("removed");
    let bare = "init --from counts.txt P1/outs/filtered_feature_bc_matrix mixed.yaml";
    let bare: Vec<&str> = bare.split(' ').collect();
    p.run(&bare).expect(0);
    // A table that is there is read, with what it says of the samples.
    p.write("sheet.csv", "patient,sample,path,condition\nP,T,P1/outs/filtered_feature_bc_matrix,tumour\nP,N,P2/outs/filtered_feature_bc_matrix,normal\n");
    p.run(&["init", "--from", "sheet.csv"]).expect(0);
    let text = std::fs::read_to_string(p.path().join("sheet.yaml")).expect("written");
    assert!(
        text.contains("cancer_vs_normal: {column: \"condition\", normal: [\"normal\"]}"),
        "{text}"
    );
    // What fails leaves nothing behind.
    std::fs::remove_file(p.path().join("samples.csv")).expect("removed");
    for more in [
        &["nowhere.h5", "x.yaml"][..],
        &["x.yaml", "--patient", "donor"],
    ] {
        p.run(&[&two[..], more].concat()).expect(2);
        assert!(!p.path().join("samples.csv").exists());
    }
}

/// On a terminal `init` asks: `script` gives it one.
#[test]
fn init_asks_on_a_terminal() {
    let p = Project::new(TINY);
    samples(&p);
    let program = env!("CARGO_BIN_EXE_clcc-flow");
    let line = format!(
        "{program} init asked.yaml --from counts.txt --format geo_umi --annotations cells.csv --cell-id barcode"
    );
    let ask = |answers: &str| {
        let mut script = std::process::Command::new("script");
        script
            .current_dir(p.path())
            .args(["-qec", &line, "/dev/null"]);
        script
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let Ok(mut child) = script.spawn() else {
            return None;
        };
        let mut input = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut input, answers.as_bytes()).expect("written");
        let said = child.wait_with_output().expect("an end");
        drop(input);
        Some(String::from_utf8_lossy(&said.stdout).into_owned())
    };
    // The proposal, another column of types, human genes, and a label by hand.
    let Some(said) = ask("\n\n\nCell type=T cell\n") else {
        eprintln!("skipped: there is no `script` to give a terminal");
        return;
    };
    for question in [
        "column that tells patients apart [donor]",
        "column of cell types [Cell type]",
        "nothing says whose genes these are",
        "[Cell type=Malignant]",
    ] {
        assert!(said.contains(question), "{question}\n{said}");
    }
    let text = std::fs::read_to_string(p.path().join("asked.yaml")).expect("written");
    assert!(text.contains("cancer: [\"T cell\"]"), "{text}");
    std::fs::remove_file(p.path().join("asked.yaml")).expect("removed");
    ask("Cell type\n\n\nnone\n");
    let text = std::fs::read_to_string(p.path().join("asked.yaml")).expect("written");
    assert!(
        text.contains("group_by: \"Cell type\"") && text.contains("cancer_vs_normal: null"),
        "{text}"
    );
    std::fs::remove_file(p.path().join("asked.yaml")).expect("removed");
    let refused = ask("\n\nno.gtf\n").expect("as before");
    assert!(refused.contains("there is no file `no.gtf`"), "{refused}");
    let refused = ask("donor\nCell typ\n").expect("as before");
    assert!(refused.contains("did you mean `Cell type`?"), "{refused}");
    assert!(!p.path().join("asked.yaml").exists());
}

#[test]
fn a_cached_node_does_not_read_as_a_step_back() {
    let p = Project::new(TINY);
    for seed in ["seed=0", "seed=43"] {
        p.run_json(&["--until", "simulate", "--set", seed])
            .expect(0);
    }
    let explain = |seed: &str| {
        p.run(&["explain", "w.yaml", "simulate", "--set", seed])
            .expect(0)
            .stdout
    };
    // Cached from the first run; the last one was of another seed.
    let said = explain("seed=0");
    assert!(said.contains("simulate is cached"), "{said}");
    assert!(
        said.contains("the last run of this node had seed 43, this one has 0"),
        "{said}"
    );
    assert!(!said.contains("->"), "{said}");
    let said = explain("seed=43");
    assert!(
        said.contains("is cached") && !said.contains("last run"),
        "{said}"
    );
    // What would run is said from the last run on.
    assert!(explain("seed=7").contains("seed 43 -> 7"));
}

#[test]
fn others_normal_cells_are_read_only_where_they_are_asked_for() {
    let pool = "  pool_normals:\n    needs: [preprocess]\n  dosage:";
    let p = Project::new(TINY);
    p.run_json(&["--until", "infercnv"]).expect(0);
    let status = |node: &str| {
        let plan = p.plan(&["--until", "infercnv"]);
        let found = plan.into_iter().find(|(id, _, _)| id == node);
        found.expect("it is in the plan").1
    };
    // The pool alone changes nothing of a patient: not what is read, not the key.
    let beside = TINY.replace("  dosage:", pool);
    p.write("w.yaml", &beside);
    assert_eq!(status("infercnv[A]"), "cached");
    let with = beside.replace(
        "    needs: [preprocess]\n    params: {window_size",
        "    needs: [preprocess, pool_normals]\n    params: {window_size",
    );
    p.write("w.yaml", &with);
    assert_eq!(status("infercnv[A]"), "maybe");
    let run = p.run_json(&["--until", "infercnv"]).expect(0);
    let mut ran = run.nodes("did_execute");
    ran.sort();
    assert_eq!(ran, ["infercnv[A]", "infercnv[B]", "pool_normals"]);
}

/// The text without what moves the cursor and sets colours: `ESC [ ... letter`.
fn without_escapes(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |plain, part| {
        plain
            + part
                .trim_start_matches(|c: char| !c.is_ascii_alphabetic())
                .get(1..)
                .unwrap_or("")
    })
}

/// A run on a terminal of 60 columns: `script` gives it one.
#[test]
fn a_terminal_gets_a_footer_and_lines_of_its_width() {
    let p = Project::new(TINY);
    let run = |env: &str, set: &str| {
        let program = env!("CARGO_BIN_EXE_clcc-flow");
        let line = format!("stty cols 60 rows 24; {env} {program} run w.yaml {set}");
        let mut script = std::process::Command::new("script");
        script
            .current_dir(p.path())
            .env_remove("NO_COLOR")
            .args(["-qec", &line, "/dev/null"])
            .stdin(std::process::Stdio::null());
        let said = script.output().ok()?;
        assert!(said.status.success());
        Some(String::from_utf8_lossy(&said.stdout).into_owned())
    };
    let Some(said) = run("", "") else {
        eprintln!("skipped: there is no `script` to give a terminal");
        return;
    };
    // The footer counts nodes, and goes when the run ends.
    assert!(said.contains("/8 done"), "{said}");
    assert!(said.contains("\u{1b}[32;1m   DONE\u{1b}[0m"), "{said}");
    let said = run(
        "NO_COLOR=1",
        "--set infercnv.exclude_genes=[HLA-A,HLA-B,HLA-C]",
    )
    .expect("as before");
    assert!(!said.contains("\u{1b}[32;1m"), "{said}");
    // The reason is longer than the line: what is shown of it fits.
    // Lines follow one another without a line break: they are filled up with blanks.
    let plain = without_escapes(&said);
    let done = plain
        .split("   DONE ")
        .find(|rest| rest.contains(") infercnv[A]"));
    let done = done.expect("it ran again");
    let (shown, _) = done.split_once('…').expect("cut");
    assert_eq!(
        "   DONE ".len() + shown.chars().count() + 1,
        60,
        "{shown:?}"
    );
    assert!(shown.contains("exclude_ge"), "{shown:?}");
    let end = said.rfind(" ran, ").expect("a last line");
    assert!(!said[end..].contains("done"), "{said}");
}

#[test]
fn init_writes_every_shipped_template() {
    let p = Project::new(TINY);
    for name in ["demo", "demo_anchors", "truth"] {
        p.run(&["init", "--template", name]).expect(0);
        p.run(&["check", &format!("{name}.yaml")]).expect(0);
    }
    for name in ["luad10", "ovarian4", "p0006_anchors", "measured"] {
        p.run(&["init", "--template", name]).expect(0);
    }
    let unknown = p.run(&["init", "--template", "luad"]).expect(2);
    assert!(
        unknown.stderr.contains("did you mean `luad10`"),
        "{}",
        unknown.stderr
    );
}

/// A run with its stdout and stderr on `out` and `err`.
fn run_to(p: &Project, args: &[&str], out: std::process::Stdio, err: std::process::Stdio) -> i32 {
    let status = command(p.path(), args).stdout(out).stderr(err).status();
    status.expect("the program starts").code().unwrap_or(-1)
}

/// The end of a pipe that nobody reads.
fn dead() -> std::process::Stdio {
    std::io::pipe().unwrap().1.into()
}

fn full() -> std::process::Stdio {
    let device = std::fs::File::options().write(true).open("/dev/full");
    device.unwrap().into()
}

/// The program as a shell starts it, with a redirection.
fn through_shell(p: &Project, line: &str) -> Ran {
    let program = env!("CARGO_BIN_EXE_clcc-flow");
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", &format!("\"$0\" {line}"), program])
        .current_dir(p.path());
    Ran::new(shell.output().expect("a shell"))
}

#[test]
fn a_stdout_that_is_closed_or_cannot_be_written_is_said_by_the_exit_code() {
    let p = Project::new(SMALLEST);
    for closed in [">&-", "1</dev/null"] {
        let run = through_shell(&p, &format!("run w.yaml --format json {closed}"));
        assert!(run.stderr.contains("stdout"), "{}", run.stderr);
        assert_eq!(run.code, 10, "{closed}: {}", run.stderr);
        for verb in ["plan w.yaml", "status", "schema", "--help", "run --help"] {
            let ran = through_shell(&p, &format!("{verb} {closed}"));
            assert_eq!(ran.code, 10, "{verb} {closed}: {}", ran.stderr);
        }
        // What was to be printed there was nothing.
        through_shell(&p, &format!("run w.yaml {closed}")).expect(0);
    }
    assert!(p.path().join("results/smallest/run.json").is_file());
    // To throw it away is another thing.
    for thrown in [">/dev/null", "1<>/dev/null"] {
        through_shell(&p, &format!("run w.yaml --format json {thrown}")).expect(0);
    }
    through_shell(&p, "run w.yaml --format json <&- 2>&- >/dev/null").expect(0);
}

#[test]
fn a_lost_stderr_or_stdout_never_ends_a_run() {
    use std::process::Stdio;
    let json = ["run", "w.yaml", "--format", "json"];
    for (args, out, err, code) in [
        (&["run", "w.yaml"][..], dead(), dead(), 0),
        (&["run", "w.yaml"], full(), full(), 0),
        (&json, dead(), dead(), 10),
        (&json, full(), Stdio::null(), 10),
    ] {
        let p = Project::new(SMALLEST);
        assert_eq!(run_to(&p, args, out, err), code, "{args:?}");
        assert!(
            p.path().join("results/smallest/run.json").is_file(),
            "{args:?}"
        );
    }
    // A failure says more than a lost line does.
    let p = Project::new(&SMALLEST.replace(
        "  preprocess:\n",
        "  preprocess:\n    params: {min_counts: 1000000000}\n",
    ));
    assert_eq!(run_to(&p, &json, full(), Stdio::null()), 5);
    // Diagnostics that cannot be written end nothing either.
    let mut traced = command(p.path(), &["plan", "w.yaml"]);
    traced
        .env("CLCC_LOG", "trace")
        .stdout(Stdio::null())
        .stderr(full());
    assert_eq!(traced.status().unwrap().code(), Some(0));
    for args in [
        &["plan", "w.yaml"][..],
        &["schema"],
        &["completions", "bash"],
        &["--help"],
        &["run", "w.yaml", "-n"],
    ] {
        assert_eq!(run_to(&p, args, full(), Stdio::null()), 10, "{args:?}");
        assert_eq!(
            run_to(&p, args, dead(), Stdio::null()),
            -1,
            "ended by SIGPIPE: {args:?}"
        );
    }
    for args in [&["nonsense"][..], &["check", "nothing.yaml"]] {
        let code = run_to(&p, args, Stdio::null(), full());
        assert!(code == 2 || code == 3, "{args:?}: {code}");
    }
}

#[test]
fn a_terminal_that_vanishes_never_ends_a_run() {
    use std::os::unix::process::ExitStatusExt as _;
    let p = Project::new(SMALLEST);
    let child = p.start_json(&[], &[]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.signal(), output.status.code()),
        (None, Some(0))
    );
    assert!(p.path().join("results/smallest/run.json").is_file());
}

#[test]
fn paths_that_are_no_text_work_or_are_refused_at_once() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let odd = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    let p = Project::new(SMALLEST);
    let run = |dir: &std::path::Path, args: &[&OsStr]| {
        let mut command = command(dir, &["run"]);
        Ran::new(command.args(args).output().unwrap())
    };
    let w = OsStr::new("w.yaml");
    let refused = |ran: Ran, code: i32, what: &str| {
        let ran = ran.expect(code);
        assert!(
            ran.stderr.contains(what) && ran.stderr.contains("UTF-8"),
            "{}",
            ran.stderr
        );
        assert!(
            !ran.stderr.contains("nodes on"),
            "before anything runs: {}",
            ran.stderr
        );
    };
    refused(
        run(p.path(), &[w, "--cache".as_ref(), odd(b"c\xff")]),
        2,
        "--cache",
    );
    let with_input = SMALLEST.replace("genes: {builtin: grch38}", "genes: {path: genes.tsv}");
    p.write("v.yaml", &with_input);
    std::fs::write(p.path().join(odd(b"g\xff.tsv")), "x").unwrap();
    refused(
        run(
            p.path(),
            &[
                "v.yaml".as_ref(),
                "--input".as_ref(),
                odd(b"genes=g\xff.tsv"),
            ],
        ),
        2,
        "arguments",
    );
    // The workflow file, the results and the working directory may have any name.
    std::fs::copy(p.path().join("w.yaml"), p.path().join(odd(b"w\xfe.yaml"))).unwrap();
    run(
        p.path(),
        &[odd(b"w\xfe.yaml"), "--results".as_ref(), odd(b"r\xff")],
    )
    .expect(0);
    assert!(
        p.path()
            .join(odd(b"r\xff"))
            .join("smallest/run.json")
            .is_file()
    );
    let inside = p.path().join(odd(b"d\xff"));
    std::fs::create_dir(&inside).unwrap();
    std::fs::copy(p.path().join("w.yaml"), inside.join("w.yaml")).unwrap();
    refused(run(&inside, &[w]), 2, "--cache");
    let cache = p.path().join(".clcc");
    run(&inside, &[w, "--cache".as_ref(), cache.as_os_str()]).expect(0);
    std::fs::copy(p.path().join("v.yaml"), inside.join("v.yaml")).unwrap();
    let relative = [OsStr::new("v.yaml"), "--cache".as_ref(), cache.as_os_str()];
    refused(run(&inside, &relative), 3, "input `genes`");
}

#[test]
fn nothing_from_data_or_paths_acts_on_a_terminal() {
    let acts = |text: &str| {
        text.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
    };
    let p = Project::new(TINY);
    let evil = "a\u{1b}[2J\u{9b}31m\u{202e}\nerror: all is lost";
    let odd = format!("{evil}.yaml");
    p.write(&odd, "version: 1\nstages: {\"x\\e]0;y\\a\": {}}\n");
    let counts = format!("{evil}.txt");
    let genes: String = (0..500).map(|i| format!("G{i}\t1\t2\n")).collect();
    let odd_gene = evil.replace('\n', "");
    p.write(
        &counts,
        &format!("Index\tc1\tc2\nG\t1\t0\n{odd_gene}\t1\t2\n{genes}"),
    );
    let said = [
        p.run(&["check", &odd]).expect(3),
        p.run(&["run", &format!("{evil}none.yaml")]).expect(3),
        p.run(&[&format!("{evil}verb")]).expect(2),
        p.run(&["run", "w.yaml", "--set", &format!("simulate.{evil}=1")])
            .expect(3),
        p.run(&["run", "w.yaml", "--force", evil]).expect(3),
        p.run(&["explain", "w.yaml", evil]).expect(2),
        p.run(&["inspect", &counts]).expect(0),
        p.run(&["inspect", evil]).expect(2),
        p.run(&["log", evil]).expect(2),
        p.run(&["diff", evil, evil]).expect(2),
        p.run(&["status", "--cache", evil]).expect(2),
        p.run(&["run", "w.yaml", "--until", "simulate", "--results", evil])
            .expect(0),
    ];
    for (i, ran) in said.iter().enumerate() {
        for text in [&ran.stdout, &ran.stderr] {
            assert_eq!(acts(text), None, "{i}: {text:?}");
            assert!(!text.contains("\nerror: all is lost"), "{i}: {text}");
        }
    }
    // Data stays exact where it is for programs.
    let json = p
        .run(&["inspect", &counts, "--format", "json"])
        .expect(0)
        .stdout;
    let document: Value = serde_json::from_str(&json).unwrap();
    assert!(
        document.to_string().contains("\\u001b[2J\u{9b}31m\u{202e}"),
        "{document}"
    );
}

#[test]
fn workflows_that_are_too_large_are_refused_early() {
    use std::fmt::Write as _;
    let p = Project::new(TINY);
    let began = std::time::Instant::now();
    let text = p.run(&["check", "/dev/zero"]).expect(3).stderr;
    assert!(text.contains("expected a file, found a device"), "{text}");
    let list = |prefix: &str, n: usize| {
        (0..n).fold(String::new(), |mut out, i| {
            let _ = write!(out, "{prefix}{i},");
            out
        })
    };
    p.write(
        "axis.yaml",
        &TINY.replace("[A, B]", &format!("[{}]", list("P", 100_000))),
    );
    let text = p.run(&["check", "axis.yaml"]).expect(3).stderr;
    assert!(
        text.contains("at most 50000 values, found 100000"),
        "{text}"
    );
    let axes = format!("[{}]\n  other: [{}]", list("P", 1000), list("Q", 1000));
    let product = TINY
        .replace("[A, B]", &axes)
        .replace("per: patient", "per: [patient, other]");
    p.write("product.yaml", &product);
    let text = p.run(&["check", "product.yaml"]).expect(3).stderr;
    assert!(
        text.contains("at most 200000 nodes, found 3000002"),
        "{text}"
    );
    // Stages in the reverse order of their needs, each of which waits for the next.
    let mut text = String::from(
        "version: 1\nname: long\naxes: {patient: [A]}\ninputs: {genes: {builtin: grch38}}\nstages:\n",
    );
    for i in (2..4000).rev() {
        let _ = writeln!(
            text,
            "  s{i}: {{kind: infercnv, per: patient, needs: [s{}, s0]}}",
            i - 1
        );
    }
    text.push_str("  s1: {kind: infercnv, per: patient, needs: [s0]}\n  s0: {kind: preprocess, per: patient, needs: [simulate], inputs: [genes]}\n  simulate: {}\n");
    p.write("long.yaml", &text);
    p.run(&["check", "long.yaml"]).expect(0);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn simulate_ends_with_a_signal_and_leaves_no_half_of_a_data_set() {
    let p = Project::new(TINY);
    for (signal, code) in [
        (rustix::process::Signal::TERM, 143),
        (rustix::process::Signal::INT, 130),
    ] {
        let mut child = command(p.path(), &["simulate", "--scale", "1", "--out", "data"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(p.names_in("data").is_empty());
    }
}

/// Packages carry a page for the program and one for each command that `--help` lists.
#[test]
fn man_pages_are_written_for_every_command() {
    let p = Project::new(TINY);
    p.run(&["man-pages", "share/man"]).expect(0);
    let page = |name: &str| std::fs::read_to_string(p.path().join("share/man").join(name));
    let main = page("clcc-flow.1").unwrap();
    for verb in ["run", "plan", "init", "gc", "completions"] {
        assert!(main.contains(&format!("clcc\\-flow\\-{verb}(1)")), "{verb}");
        let text = page(&format!("clcc-flow-{verb}.1")).unwrap();
        assert!(text.starts_with(".ie"), "{verb}: {text}");
    }
    assert!(page("clcc-flow-run.1").unwrap().contains("fail\\-fast"));
    assert!(!main.contains("exec\\-node") && page("clcc-flow-exec-node.1").is_err());
    // Where nothing can be written, the error names the place.
    p.write("file", "");
    let said = p.run(&["man-pages", "file"]).expect(9);
    assert!(said.stderr.contains("`file`"), "{}", said.stderr);
}
