//! Slurm: `sbatch` of arrays, one `squeue` for all jobs, `sacct` where there is one, `scancel`.

use std::time::Duration;

use super::batch::{Batch, Failed, Handed, How, Line, Refusal, Word, call};

/// How long a program of Slurm may take: it waits for its controller itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// Jobs that are named in one call.
const AT_ONCE: usize = 100;

/// Slurm by its programs.
#[derive(Debug)]
pub(super) struct Slurm {
    /// Options of `sbatch`.
    pub(super) options: Vec<String>,
    /// `--gres` of nodes that want an accelerator.
    pub(super) gpu: String,
    most_tasks: usize,
}

impl Slurm {
    pub(super) fn new(options: Vec<String>, gpu: String) -> Self {
        let asked = call(&argv(&["scontrol", "show", "config"]), PATIENCE);
        let most = asked.ok().and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("MaxArraySize"))?;
            line.split('=').nth(1)?.trim().parse::<usize>().ok()
        });
        Self {
            options,
            gpu,
            // Indices lie below it.
            most_tasks: most.unwrap_or(1001).saturating_sub(1).clamp(1, 1000),
        }
    }

    fn sbatch(&self, batch: &Handed) -> Vec<String> {
        let shape = &batch.shape;
        let mut all = argv(&["sbatch", "--parsable"]);
        all.push(format!("--job-name={}", job_name(&batch.run)));
        all.push(format!("--comment={}", batch.name));
        all.push(format!("--array=0-{}", batch.tasks - 1));
        all.push("--ntasks=1".into());
        all.push(format!("--cpus-per-task={}", shape.cores));
        all.push(format!("--mem={}M", shape.memory_mb));
        all.push(format!("--time={}", shape.minutes));
        if shape.gpu {
            all.push(format!("--gres={}", self.gpu));
        }
        if !shape.without.is_empty() {
            let nodes: Vec<&str> = shape.without.iter().map(String::as_str).collect();
            all.push(format!("--exclude={}", nodes.join(",")));
        }
        all.extend(argv(&[
            "--signal=B:TERM@60",
            "--requeue",
            "--open-mode=append",
        ]));
        all.push(format!("--output={}/%a.out", batch.dir.display()));
        all.extend(self.options.iter().cloned());
        all.push(batch.dir.join("array.sh").display().to_string());
        all
    }
}

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_string()).collect()
}

/// The name that all jobs of a run have.
fn job_name(run: &str) -> String {
    format!("clcc-{run}")
}

impl Batch for Slurm {
    fn submit(&self, batch: &Handed) -> Result<Vec<String>, Refusal> {
        let script = batch.script("\"$SLURM_ARRAY_TASK_ID\"");
        let file = batch.dir.join("array.sh");
        std::fs::write(&file, script)
            .map_err(|e| Refusal::Later(format!("cannot write `{}`: {e}", file.display())))?;
        let said = call(&self.sbatch(batch), PATIENCE).map_err(|e| refusal(&e))?;
        // `<id>` or `<id>;<cluster>`, after what a site's plugins may say.
        let id = said.lines().rev().find_map(|line| {
            let id = line.split(';').next()?.trim();
            (!id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())).then_some(id)
        });
        match id {
            Some(id) => Ok((0..batch.tasks).map(|n| format!("{id}_{n}")).collect()),
            None => Err(Refusal::Unknown(format!(
                "`sbatch` answered `{}`",
                said.trim()
            ))),
        }
    }

    fn poll(&self, runs: &[String], _ids: &[String]) -> Result<Vec<Line>, String> {
        let names: Vec<String> = runs.iter().map(|run| job_name(run)).collect();
        let mut all = argv(&["squeue", "--noheader", "--array", "--states=all"]);
        all.push(format!("--name={}", names.join(",")));
        all.push("--format=%i|%T|%k|%N".into());
        let said = call(&all, PATIENCE).map_err(|e| e.text)?;
        parse(&said, |fields| match fields {
            [id, state, batch, node] => Some(line(id, state, Some(batch), node)),
            _ => None,
        })
    }

    fn recall(&self, ids: &[String]) -> Vec<Line> {
        let mut lines = Vec::new();
        for ids in ids.chunks(AT_ONCE) {
            let mut all = argv(&["sacct", "--noheader", "--allocations", "--parsable2"]);
            all.push("--format=JobID,State,NodeList".into());
            all.push(format!("--jobs={}", ids.join(",")));
            let known = call(&all, PATIENCE).ok().and_then(|said| {
                let known = parse(&said, |fields| match fields {
                    [id, state, node] => Some(line(id, state, None, node)),
                    _ => None,
                });
                known.ok()
            });
            match known {
                Some(known) => lines.extend(known),
                None => lines.extend(ids.iter().filter_map(|id| scontrol(id))),
            }
        }
        lines
    }

    fn cancel(&self, ids: &[String]) -> Result<(), String> {
        for ids in ids.chunks(AT_ONCE) {
            let mut all = argv(&["scancel"]);
            all.extend(ids.iter().cloned());
            call(&all, PATIENCE).map_err(|e| e.text)?;
        }
        Ok(())
    }

    fn finds_by_batch(&self) -> bool {
        true
    }

    fn most_tasks(&self) -> usize {
        self.most_tasks
    }

    fn is_parent(&self) -> bool {
        true
    }
}

/// Where there is no accounting, the controller remembers a job for a while.
fn scontrol(id: &str) -> Option<Line> {
    let said = call(
        &argv(&["scontrol", "--oneliner", "show", "job", id]),
        PATIENCE,
    )
    .ok()?;
    let field = |name: &str| {
        said.split_whitespace()
            .find_map(|w| w.strip_prefix(name)?.strip_prefix('='))
    };
    Some(line(
        id,
        field("JobState")?,
        None,
        field("NodeList").unwrap_or(""),
    ))
}

/// Lines of fields between `|`. An answer without a line that reads is no answer, unless it is empty.
fn parse(said: &str, read: impl Fn(&[&str]) -> Option<Line>) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    let mut strange = None;
    for text in said.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let fields: Vec<&str> = text.split('|').map(str::trim).collect();
        match read(&fields) {
            Some(line) => lines.push(line),
            None => strange = strange.or(Some(text)),
        }
    }
    match strange {
        Some(text) => Err(format!("an answer that cannot be read: `{text}`")),
        None => Ok(lines),
    }
}

fn line(id: &str, state: &str, batch: Option<&str>, node: &str) -> Line {
    // `CANCELLED by 1000`, `RUNNING+`.
    let state = state.split([' ', '+']).next().unwrap_or("");
    let word = match state {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT"
        | "RESV_DEL_HOLD" => Word::Pending,
        "RUNNING" | "COMPLETING" | "CONFIGURING" | "SUSPENDED" | "STOPPED" | "SIGNALING"
        | "STAGE_OUT" | "RESIZING" => Word::Running,
        "COMPLETED" | "FAILED" => Word::Ended(How::Itself),
        "OUT_OF_MEMORY" => Word::Ended(How::Memory),
        "TIMEOUT" | "DEADLINE" => Word::Ended(How::Time),
        "NODE_FAIL" | "BOOT_FAIL" => Word::Ended(How::Machine),
        "PREEMPTED" => Word::Ended(How::Preempted),
        "CANCELLED" | "REVOKED" => Word::Ended(How::Cancelled),
        _ => Word::Unknown,
    };
    let told = |text: &str| !matches!(text, "" | "(null)" | "None assigned" | "None");
    Line {
        id: id.to_string(),
        batch: batch.filter(|b| told(b)).map(str::to_string),
        word,
        node: if told(node) {
            node.to_string()
        } else {
            String::new()
        },
    }
}

/// What a refusal of `sbatch` means.
fn refusal(e: &Failed) -> Refusal {
    let said = e.text.clone();
    let has = |words: &[&str]| words.iter().any(|w| said.contains(w));
    if e.timed_out
        || has(&[
            "Socket timed out",
            "Unable to contact",
            "Connection refused",
            "Zero Bytes were transmitted",
            "Transport endpoint",
            "Protocol authentication error",
        ])
    {
        return Refusal::Unknown(said);
    }
    if has(&[
        "submit limit",
        "SubmitJobLimit",
        "MaxSubmit",
        "temporarily",
        "Resource temporarily unavailable",
        "Slurm backup controller",
        "too many",
    ]) {
        return Refusal::Later(said);
    }
    Refusal::No(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_slurm_writes_them() {
        let said = "12_0|RUNNING|b1|vm\n12_1|PENDING|b1|\n13_0|NODE_FAIL|b2|n7\n14_0|CANCELLED by 0|(null)|\n";
        let lines = parse(said, |f| Some(line(f[0], f[1], Some(f[2]), f[3]))).unwrap();
        assert_eq!(lines[0].word, Word::Running);
        assert_eq!(lines[0].batch.as_deref(), Some("b1"));
        assert_eq!(lines[1].word, Word::Pending);
        assert_eq!(lines[2].word, Word::Ended(How::Machine));
        assert_eq!(lines[2].node, "n7");
        assert_eq!(lines[3].word, Word::Ended(How::Cancelled));
        assert_eq!(lines[3].batch, None);
        assert_eq!(line("1", "NEW_STATE", None, "").word, Word::Unknown);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_none() {
        let read = |f: &[&str]| (f.len() == 4).then(|| line(f[0], f[1], Some(f[2]), f[3]));
        assert_eq!(parse("", read), Ok(vec![]));
        assert!(parse("slurm_load_jobs error: Unable to contact\n", read).is_err());
    }

    #[test]
    fn a_refusal_is_for_now_for_good_or_not_known() {
        let of = |text: &str| {
            refusal(&Failed {
                text: text.to_string(),
                timed_out: false,
            })
        };
        assert!(matches!(
            of("Socket timed out on send/recv operation"),
            Refusal::Unknown(_)
        ));
        assert!(matches!(
            of(
                "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
            ),
            Refusal::Later(_)
        ));
        assert!(matches!(
            of("invalid partition specified: shrot"),
            Refusal::No(_)
        ));
    }
}
