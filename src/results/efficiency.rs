//! What jobs of a batch system asked for, used and waited: `status --efficiency`, and `efficiency.tsv` next to the
//! record of a run.

use serde::Serialize;
use serde_json::Value;

use super::RunRecord;

/// The file in the results directory.
pub(super) const FILE: &str = "efficiency.tsv";

const HEAD: &str = "# What the job of each node asked for, used and waited. A node from the cache: the job that made it.\n\
                    # memory_used, time_used: used / asked. asked_memory_bytes: of the node; its job may hold others too.\n\
                    node\tjob\thost\tasked_cores\tasked_memory_bytes\tpeak_memory_bytes\tmemory_used\tasked_seconds\t\
                    seconds\ttime_used\twaited_seconds\n";

/// What a node's job asked for and what it used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobUse {
    /// The node.
    pub node: String,
    /// The job's id in the batch system.
    pub job: Option<String>,
    /// The machine.
    pub host: Option<String>,
    /// Memory that was asked for, in bytes.
    pub asked_memory: u64,
    /// The most that the stage held, in bytes.
    pub peak_memory: u64,
    /// Time that was asked for.
    pub asked_seconds: u64,
    /// Time that the stage took.
    pub seconds: f64,
    /// Time in the queue.
    pub waited_seconds: f64,
    /// Cores that were asked for.
    pub cores: u64,
}

impl JobUse {
    /// From what a record says of how its node was made; `None` where that was no job.
    pub fn of(node: &str, measured: &Value) -> Option<Self> {
        let job = measured.get("job")?;
        let text = |name: &str| job[name].as_str().map(str::to_string);
        Some(Self {
            node: node.to_string(),
            job: text("id"),
            host: text("host"),
            asked_memory: job["asked_memory"].as_u64()?,
            peak_memory: measured["peak_rss_bytes"].as_u64()?,
            asked_seconds: job["asked_seconds"].as_u64()?,
            seconds: measured["seconds"].as_f64()?,
            waited_seconds: job["waited_seconds"].as_f64().unwrap_or(0.0),
            cores: job["asked_cores"].as_u64().unwrap_or(1),
        })
    }

    /// Used of the memory that was asked for.
    pub fn memory_used(&self) -> f64 {
        share(self.peak_memory as f64, self.asked_memory as f64)
    }

    /// Used of the time that was asked for.
    pub fn time_used(&self) -> f64 {
        share(self.seconds, self.asked_seconds as f64)
    }

    fn line(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{:.4}\t{}\t{:.3}\t{:.4}\t{:.3}\n",
            self.node,
            self.job.as_deref().unwrap_or_default(),
            self.host.as_deref().unwrap_or_default(),
            self.cores,
            self.asked_memory,
            self.peak_memory,
            self.memory_used(),
            self.asked_seconds,
            self.seconds,
            self.time_used(),
            self.waited_seconds,
        )
    }
}

fn share(used: f64, asked: f64) -> f64 {
    used / asked.max(1.0)
}

/// The text of [`FILE`]; `None` where no node of the run was made by a job.
pub(super) fn table(run: &RunRecord) -> Option<String> {
    let nodes = run.nodes.iter();
    let uses = nodes.filter_map(|n| JobUse::of(&n.id, n.details.as_ref()?.measured.as_ref()?));
    let lines: String = uses.map(|u| u.line()).collect();
    (!lines.is_empty()).then(|| format!("{HEAD}{lines}"))
}

/// Whether a text was made by [`table`].
pub(super) fn is_ours(text: &[u8]) -> bool {
    text.starts_with(HEAD.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_has_a_value_for_each_column_and_what_is_no_job_has_none() {
        let measured = json!({
            "seconds": 30.0, "peak_rss_bytes": 512, "job": {
                "id": "4711_3", "host": "n7", "asked_memory": 1024, "asked_seconds": 120,
                "asked_cores": 4, "waited_seconds": 2.5
            }
        });
        let used = JobUse::of("train", &measured).unwrap();
        assert_eq!(
            used.line(),
            "train\t4711_3\tn7\t4\t1024\t512\t0.5000\t120\t30.000\t0.2500\t2.500\n"
        );
        let columns = HEAD.lines().last().unwrap().split('\t').count();
        assert_eq!(used.line().split('\t').count(), columns);
        let here = json!({"seconds": 30.0, "peak_rss_bytes": 512});
        assert_eq!(JobUse::of("train", &here), None);
    }
}
