//! What the program says, to the letter: help pages, messages, the lines of a run, and the verbs that read.
//!
//! Times, digests, sizes and places are redacted. A test fails where a word differs and never writes over what is
//! committed; `cargo insta review`, or `INSTA_UPDATE=always cargo test --test it messages`, takes a change over.

use std::fmt::Write as _;
use std::path::Path;

use insta::{Settings, assert_snapshot};

use crate::project::{Project, Ran, SMALLEST, TINY, with_tables};

/// What differs between two runs of the same test.
const REDACTED: [(&str, &str); 20] = [
    // The directory of another project of the same test.
    (r"/[^ `]*/\.tmp[A-Za-z0-9]{6}\b", "<project>"),
    // A stage that takes long says where it is: on a busy machine any may.
    (r"(?m)^ +RUN \[ *\d+\.\d{3}s\].*\n", ""),
    (
        r#""(elapsed|seconds|memory|peak_rss_bytes)":( ?)[0-9.e-]+"#,
        r#""$1":$2"<n>""#,
    ),
    (r"\d{8}T\d{9}Z-[A-Za-z0-9]{12}", "<run>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<when>"),
    (r"\b(ac|cas)/[0-9a-f]{2}/", "$1/<shard>/"),
    (r"\btmp/[0-9a-f]{8}\.[A-Za-z0-9]{12}\b", "tmp/<attempt>"),
    // Outputs enter the cache several at once: any may be the first that cannot.
    (r"(rename into the cache `[^`]*/out)/[^`]*`", "$1/<output>`"),
    (r"\b[0-9a-f]{64}\b", "<digest>"),
    (r"\b[0-9a-f]{8}\b", "<short>"),
    (r"\[ *\d+\.\d{3}s\]", "[<seconds>]"),
    (r"\b\d+\.\d+ s\b", "<seconds> s"),
    (r" *\b\d+(\.\d+)? (KiB|MiB|GiB)", " <size>"),
    (r"\b\d+ bytes", "<n> bytes"),
    (r"\b0\.1\.0\b", "<version>"),
    (r"\(\d+ threads?\)", "(<n> threads)"),
    (r"\bon (cpu|cuda|auto|metal)\b", "on <device>"),
    // Who tests, and what the files of that user are allowed.
    (r"\buser \d+ and group \d+", "user <id> and group <id>"),
    (r"\bwith mode \d{4}\b", "with mode <mode>"),
    (r"(?m)[ \t]+$", ""),
];

/// Compares with the snapshot of that name.
pub(crate) fn compare(p: &Project, name: &str, said: &str) {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, with) in REDACTED {
        settings.add_filter(pattern, with);
    }
    let here = p.path().canonicalize().expect("a directory");
    let said = [here.as_path(), p.path()]
        .iter()
        .fold(said.to_string(), |text, path| {
            text.replace(&path.display().to_string(), "<project>")
        })
        .replace(env!("CARGO_MANIFEST_DIR"), "<repository>");
    settings.bind(|| assert_snapshot!(name, said));
}

/// What a run has to say of its nodes, without the lines that say how it goes: warnings, failures, hints, errors.
pub(crate) fn problems(said: &str) -> String {
    let is_course = |line: &str| {
        let first = line.split_whitespace().next().unwrap_or_default();
        [
            "RUN", "DONE", "CACHED", "SKIP", "[", "results:", "report:", "failed:",
        ]
        .contains(&first)
            || first.starts_with('[')
            || line
                .split_once(": ")
                .is_some_and(|(_, rest)| rest.ends_with(" on 1 core"))
    };
    let lines = said.lines().filter(|line| !is_course(line));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// A command line and what came of it.
fn told(args: &[&str], ran: &Ran) -> String {
    let mut text = format!("$ clcc-flow {}\n{}", args.join(" "), ran.stdout);
    if !ran.stderr.is_empty() {
        let _ = write!(text, "--- stderr\n{}", ran.stderr);
    }
    let _ = writeln!(text, "--- exit code {}\n", ran.code);
    text
}

/// Commands one after another.
struct Transcript<'a> {
    project: &'a Project,
    text: String,
}

impl<'a> Transcript<'a> {
    fn of(project: &'a Project) -> Self {
        let text = String::new();
        Self { project, text }
    }

    fn then(mut self, args: &[&str]) -> Self {
        let ran = self.project.run_with(args, &[("COLUMNS", "100")]);
        self.text.push_str(&told(args, &ran));
        self
    }

    /// Something done to the project in between.
    fn note(mut self, what: &str, done: impl FnOnce(&Project)) -> Self {
        done(self.project);
        let _ = writeln!(self.text, "# {what}\n");
        self
    }

    fn is(self, name: &str) {
        compare(self.project, name, &self.text);
    }
}

#[test]
fn help_pages() {
    let p = Project::new(TINY);
    Transcript::of(&p).then(&["--help"]).is("help");
    Transcript::of(&p).then(&["--version"]).is("version");
    for verb in [
        "run",
        "plan",
        "explain",
        "check",
        "graph",
        "schema",
        "init",
        "status",
        "attach",
        "cancel",
        "log",
        "verify",
        "diff",
        "gc",
        "inspect",
        "simulate",
        "completions",
    ] {
        let said = Transcript::of(&p).then(&[verb, "--help"]);
        said.is(&format!("help_{verb}"));
    }
}

/// A workflow for which `check` has something to say.
fn refused(name: &str, workflow: &str, more: &[&[&str]]) {
    let p = Project::new(workflow);
    let mut said = Transcript::of(&p);
    for args in more {
        said = said.then(&[&["check", "w.yaml"], *args].concat());
    }
    said.is(name);
    assert!(!p.path().join(".clcc").exists(), "nothing was made");
}

#[test]
fn what_check_says_of_a_file() {
    let once: &[&[&str]] = &[&[]];
    refused(
        "check_every_problem_at_once",
        "version: 1\naxes:\n  patient: [A]\n  ablation: {full: {}, none: {cluster: {resolution: 1}}}\n\
         stages:\n  simulate: {params: {n_cels: 10}}\n  preproces: {per: patient, needs: [simulate]}\n  \
         cluster: {per: patient, needs: [infercnvv], params: {resolution: high}}\n",
        once,
    );
    refused(
        "check_shapes",
        "version: 2\nsede: 1\naxes: {patient: [P1, ../x, P1], empty: []}\ninputs:\n  counts: {pth: a}\n  \
         both: {path: a, builtin: grch38, url: ftp://x, digest: md5:1}\nstages:\n  a: {neds: [b]}\n  b: 3\n  \
         c: {join: {}, resources: {memory: much, cores: 0}}\n",
        once,
    );
    refused("check_empty", "", once);
    refused("check_not_yaml", "version: 1\nstages: [1, 2\n", once);
    refused(
        "check_cycle",
        "version: 1\nstages:\n  mine: {needs: [train]}\n  train: {needs: [mine]}\n",
        once,
    );
    refused(
        "check_missing_role",
        &TINY.replace(
            "needs: [preprocess, infercnv, cluster]",
            "needs: [preprocess, infercnv]",
        ),
        once,
    );
    refused(
        "check_join_of_one",
        &TINY.replace(
            "    per: patient\n    needs: [infercnv]",
            "    needs: [infercnv]",
        ),
        once,
    );
    refused(
        "check_missing_inputs",
        &TINY.replace("{builtin: grch38}", "{path: data/genes.tsv}"),
        once,
    );
    refused(
        "check_unknown_builtin",
        &TINY.replace("grch38", "grch83"),
        once,
    );
    refused(
        "check_one_published_path",
        &format!(
            "{}  finer:\n    kind: cluster\n    per: patient\n    needs: [infercnv]\n",
            with_tables()
        ),
        once,
    );
    refused(
        "check_parameters_of_another_method",
        "version: 1\naxes: {patient: [A]}\ninputs: {genes: {builtin: grch38}}\nstages:\n  \
         simulate: {params: {n_cells: 60, n_genes: 1500}}\n  \
         preprocess: {per: patient, needs: [simulate], inputs: [genes]}\n  \
         infercnv: {per: patient, needs: [preprocess], params: {method: hmm, lfc_clip: 1}}\n  \
         mine: {per: patient, needs: [preprocess, infercnv]}\n  train:\n    per: patient\n    \
         needs: [preprocess, infercnv, mine]\n    \
         params: {objective: anchors, patience: 3, lambda: 2, epochs: 5}\n",
        // Inherited beneath a switch they are left out.
        &[
            &[],
            &[
                "--set",
                "train.objective=clcc",
                "--set",
                "infercnv.method=window",
            ],
        ],
    );
}

#[test]
fn what_check_says_of_the_command_line() {
    let set = |value: &'static str| ["--set", value];
    let values: Vec<[&str; 2]> = [
        "simulate.n_cells=many",
        "simulate.ambient=.nan",
        "cluster.zero_center=1",
        "infercnv.method=windw",
        "infercnv.exclude_chromosomes=chrX",
        "cluster.resolution=0",
        "cluster.resolution=-1",
        "cluster.n_iterations=18446744073709551615",
        "clustr.resolution=1",
    ]
    .map(set)
    .to_vec();
    let mut all: Vec<&[&str]> = values.iter().map(|v| &v[..]).collect();
    all.extend([
        &["--only", "patient=C"][..],
        &["--only", "patien=A"],
        &["--until", "infercnvv"],
        &["--force", "cluser"],
        &["--input", "gene=x.tsv"],
    ]);
    refused("check_command_line", TINY, &all);
}

#[test]
fn wrong_command_lines() {
    let p = Project::new(TINY);
    Transcript::of(&p)
        .then(&["run"])
        .then(&["run", "w.yaml", "--set", "cluster"])
        .then(&["run", "w.yaml", "--only", "patient"])
        .then(&["run", "w.yaml", "--memory", "much"])
        .then(&["run", "w.yaml", "-j", "0"])
        .then(&["rnu", "w.yaml"])
        .then(&["check", "nothing.yaml"])
        .then(&["check", "."])
        .then(&["check", "/dev/zero"])
        .then(&["schema", "clustr"])
        .then(&["status"])
        .then(&["init", "w.yaml"])
        .then(&["inspect", "nothing"])
        .then(&["explain", "w.yaml", "clustre[A]"])
        .is("wrong_command_lines");
}

#[test]
fn a_missing_data_set_says_where_it_comes_from() {
    let luad = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/luad10.yaml");
    let p = Project::new(TINY);
    Transcript::of(&p)
        .then(&["run", luad])
        .is("missing_data_set");
    assert!(!p.path().join(".clcc").exists());
}

#[test]
fn the_lines_of_a_run() {
    let p = Project::new(&with_tables());
    let run = ["run", "w.yaml", "-j", "1"];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    Transcript::of(&p)
        .then(&run)
        .then(&run)
        .then(&with(&["--set", "cluster.resolution=2"]))
        .note("a table is edited", |p| {
            p.write("results/smallest/tables/cnv_clusters.A.tsv", "edited");
        })
        .then(&with(&["--set", "cluster.resolution=2"]))
        .then(&with(&["--force", "infercnv", "--until", "infercnv"]))
        .note("the stage that makes the tables is left out", |p| {
            p.write("w.yaml", SMALLEST);
        })
        .then(&run)
        .note("another file of the same name", |p| {
            p.write("copy.yaml", &with_tables());
        })
        .then(&["run", "copy.yaml", "-j", "1"])
        .then(&["run", "copy.yaml", "-j", "1", "--force-results"])
        .then(&with(&["--only", "patient=A", "--until", "simulate"]))
        .is("run");
}

/// Patient B cannot be processed: no cell has so many counts.
fn with_a_failing_patient() -> String {
    TINY.replace(
        "[A, B]",
        "{A: {}, B: {preprocess: {min_counts: 1000000000}}}",
    )
}

#[test]
fn the_lines_of_a_run_that_fails() {
    let p = Project::new(&with_a_failing_patient());
    Transcript::of(&p)
        .then(&["run", "w.yaml", "-j", "1", "--fail-fast"])
        .then(&["run", "w.yaml", "-j", "1"])
        .then(&["status"])
        .then(&["log", "preprocess[B]"])
        .then(&["plan", "w.yaml"])
        .is("run_that_fails");
    let p = Project::new(SMALLEST);
    let args = ["run", "w.yaml", "-j", "1"];
    let ran = p.run_with(&args, &[("CLCC_FAILPOINT", "insert.rename=eio")]);
    compare(&p, "run_tries_again", &told(&args, &ran));
}

/// One byte of the largest file of an artifact.
fn flip(artifact: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mut files = vec![artifact.to_path_buf()];
    let mut largest = (0, artifact.to_path_buf());
    while let Some(path) = files.pop() {
        let meta = std::fs::metadata(&path).expect("there");
        if meta.is_dir() {
            files.extend(
                std::fs::read_dir(&path)
                    .expect("listed")
                    .map(|e| e.expect("an entry").path()),
            );
        } else if meta.len() > largest.0 {
            largest = (meta.len(), path);
        }
    }
    let mut bytes = std::fs::read(&largest.1).expect("read");
    bytes[0] ^= 1;
    let writable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&largest.1, writable).expect("chmod");
    std::fs::write(&largest.1, bytes).expect("written");
}

#[test]
fn the_lines_of_a_run_in_trouble() {
    let p = Project::new(SMALLEST);
    let run = ["run", "w.yaml", "-j", "1"];
    let warned = [&run[..], &["--set", "infercnv.reference_key="]].concat();
    let faulty = |place: &str| {
        let args = [&run[..], &["--set", "infercnv.step=20"]].concat();
        told(&args, &p.run_with(&args, &[("CLCC_FAILPOINT", place)]))
    };
    let mut said = Transcript::of(&p)
        .then(&warned)
        .then(&warned)
        .then(&["log", "infercnv[A]"])
        .then(&run)
        .note("what `preprocess[A]` wrote is damaged", |p| {
            let text = p
                .run(&["explain", "w.yaml", "preprocess[A]"])
                .expect(0)
                .stdout;
            let mut digests = text.split_whitespace().filter(|w| w.len() == 64);
            let digest = digests.nth(1).expect("an output");
            let place = p.path().join(".clcc/cas").join(&digest[..2]).join(digest);
            flip(&place);
        })
        .then(&[&run[..], &["--set", "infercnv.step=15"]].concat());
    said.text.push_str("# the stage's process is killed\n\n");
    said.text.push_str(&faulty("child.ran=kill"));
    said.text.push_str("# the engine is killed\n\n");
    said.text.push_str(&faulty("commit.begin=kill"));
    said.then(&["status"])
        .then(&[&run[..], &["--set", "infercnv.step=20"]].concat())
        .note("the workflow is another one under another name", |p| {
            std::fs::remove_file(p.path().join("w.yaml")).expect("removed");
            p.write("v.yaml", &format!("# edited\n{SMALLEST}"));
        })
        .then(&["run", "v.yaml", "-j", "1"])
        .then(&["run", "v.yaml", "-j", "1", "--until", "nothing"])
        .is("run_in_trouble");
}

#[test]
fn the_verbs_that_read() {
    let p = Project::new(TINY);
    let finer = [
        "--set",
        "cluster.resolution=0.8",
        "--set",
        "cluster.n_neighbors=10",
    ];
    let with = |args: &[&'static str]| [args, &finer[..]].concat();
    let one_run = |p: &Project| drop(p.run_json(&["-j", "1"]).expect(0));
    let other_run = |p: &Project| {
        drop(p.run_json(&[&["-j", "1"][..], &finer].concat()).expect(0));
    };
    Transcript::of(&p)
        .then(&["plan", "w.yaml"])
        .then(&["explain", "w.yaml", "cluster[A]"])
        .note("a run", one_run)
        .then(&["plan", "w.yaml"])
        .then(&with(&["plan", "w.yaml"]))
        .then(&[
            "plan",
            "w.yaml",
            "--force",
            "infercnv",
            "--only",
            "patient=A",
        ])
        .then(&["explain", "w.yaml", "preprocess[A]"])
        .then(&with(&["explain", "w.yaml", "cluster[A]"]))
        .then(&with(&["explain", "w.yaml", "dosage"]))
        .then(&["status"])
        .then(&["log", "preprocess[A]"])
        .then(&["log", "nothing"])
        .then(&["log", "dosage", "--workflow", "other"])
        .note("a run with other parameters", other_run)
        .then(&["diff", "nothing", "results/tiny"])
        .then(&["verify"])
        .then(&["gc", "--keep-last", "2", "--dry-run"])
        .then(&["gc", "--keep-last", "1"])
        .then(&["verify"])
        .is("verbs_that_read");
}

#[test]
fn what_diff_says_of_two_results() {
    let p = Project::new(TINY);
    p.run_json(&["-j", "1", "--results", "a"]).expect(0);
    p.run_json(&["-j", "1", "--results", "b", "--set", "cluster.resolution=2"])
        .expect(0);
    Transcript::of(&p)
        .then(&["diff", "a/tiny", "b/tiny"])
        .then(&["diff", "a/tiny", "a/tiny"])
        .is("diff");
}

#[test]
fn what_verify_and_plan_say_of_damage() {
    let p = Project::new(SMALLEST);
    p.run_json(&["-j", "1"]).expect(0);
    Transcript::of(&p)
        .note("a record is cut and an output removed", |p| {
            let events = p.run_json(&[]).expect(0).events();
            let key = |id: &str| {
                let of = |e: &&serde_json::Value| e["event"] == "did_reuse" && e["id"] == id;
                let key = events.iter().find(of).expect("cached")["key"].clone();
                key.as_str().expect("a key").to_string()
            };
            let record = |key: &str| format!(".clcc/ac/{}/{key}.json", &key[..2]);
            let text = std::fs::read_to_string(p.path().join(record(&key("infercnv[A]"))));
            let line = text.expect("a record").lines().next().map(str::to_string);
            let line: serde_json::Value =
                serde_json::from_str(&line.expect("a line")).expect("JSON");
            let digest = line["outputs"][0]["digest"].as_str().expect("a digest");
            let artifact = format!(".clcc/cas/{}/{digest}", &digest[..2]);
            std::fs::remove_file(p.path().join(artifact)).expect("removed");
            p.write(&record(&key("simulate")), "{");
        })
        .then(&["plan", "w.yaml"])
        .then(&["verify"])
        .then(&["verify", "--repair"])
        .then(&["run", "w.yaml", "-j", "1"])
        .then(&["verify"])
        .is("damage");
}

#[test]
fn the_tables_of_a_kind() {
    let p = Project::new(SMALLEST);
    Transcript::of(&p)
        .then(&["schema", "doublets", "--tables"])
        .then(&["schema", "doublets", "--tables", "--format", "json"])
        .then(&["schema", "doublet", "--tables"])
        .then(&["schema", "--format", "json"])
        .is("tables");
}

#[test]
fn documents_for_programs() {
    let p = Project::new(SMALLEST);
    let args = ["run", "w.yaml", "--format", "json", "-j", "1"];
    let ran = p.run(&args).expect(0);
    // How often progress is said depends on the clock.
    let lines = ran.stdout.lines().filter(|l| !l.contains("\"progress\""));
    // So does the number of an event.
    let events: Vec<String> = lines
        .map(|l| {
            let mut event: serde_json::Value = serde_json::from_str(l).expect("an event");
            event
                .as_object_mut()
                .expect("an object")
                .shift_remove("seq");
            event.to_string()
        })
        .collect();
    compare(&p, "events", &events.join("\n"));
    Transcript::of(&p)
        .then(&[
            "plan",
            "w.yaml",
            "--format",
            "json",
            "--set",
            "infercnv.step=20",
        ])
        .then(&["status", "--format", "json"])
        .is("documents");
}
