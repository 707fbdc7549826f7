//! What jobs of a batch system asked for, used and waited: `status --efficiency`, and `efficiency.tsv` next to the
//! record of a run.

use clcc_stages::tables::{Row as _, Table};
use serde::Serialize;
use serde_json::Value;

use super::RunRecord;

/// The file in the results directory.
pub(super) const FILE: &str = JobUse::FILE;

const NOTES: [&str; 2] = [
    "What the job of each node asked for, used and waited. A node from the cache: the job that made it.",
    "memory_used, time_used: used / asked. asked_memory_bytes: of the node; its job may hold others too.",
];

clcc_stages::table! {
    /// What the job of a node asked for, used and waited; next to `run.json`, where jobs of a batch system made nodes.
    #[derive(Serialize)]
    pub struct JobUse = "efficiency.tsv" {
        /// Node.
        node: String,
        /// Id of the job in the batch system.
        job: Option<String>,
        /// Machine that ran it.
        host: Option<String>,
        /// Cores that the node asked for.
        asked_cores: i64,
        /// Memory that the node asked for.
        #[unit = "bytes"]
        asked_memory_bytes: i64,
        /// Peak memory of the stage.
        #[unit = "bytes"]
        peak_memory_bytes: i64,
        /// Peak memory over the memory that was asked for.
        memory_used: f64,
        /// Time limit that the node asked for.
        #[unit = "seconds"]
        asked_seconds: i64,
        /// Time that the stage took.
        #[unit = "seconds"]
        seconds: f64,
        /// Time taken over the time that was asked for.
        time_used: f64,
        /// Time in the queue.
        #[unit = "seconds"]
        waited_seconds: f64,
    }
}

impl JobUse {
    /// From what a record says of how its node was made; `None` where that was no job.
    pub fn of(node: &str, measured: &Value) -> Option<Self> {
        let job = measured.get("job")?;
        let text = |name: &str| job[name].as_str().map(str::to_string);
        let asked_memory_bytes = job["asked_memory"].as_i64()?;
        let peak_memory_bytes = measured["peak_rss_bytes"].as_i64()?;
        let asked_seconds = job["asked_seconds"].as_i64()?;
        let seconds = measured["seconds"].as_f64()?;
        Some(Self {
            node: node.to_string(),
            job: text("id"),
            host: text("host"),
            asked_cores: job["asked_cores"].as_i64().unwrap_or(1),
            asked_memory_bytes,
            peak_memory_bytes,
            memory_used: share(peak_memory_bytes as f64, asked_memory_bytes as f64),
            asked_seconds,
            seconds,
            time_used: share(seconds, asked_seconds as f64),
            waited_seconds: job["waited_seconds"].as_f64().unwrap_or(0.0),
        })
    }
}

fn share(used: f64, asked: f64) -> f64 {
    used / asked.max(1.0)
}

/// The text of [`FILE`]; `None` where no node of the run was made by a job.
pub(super) fn table(run: &RunRecord) -> Option<String> {
    let nodes = run.nodes.iter();
    let uses = nodes.filter_map(|n| JobUse::of(&n.id, n.details.as_ref()?.measured.as_ref()?));
    let uses: Vec<JobUse> = uses.collect();
    (!uses.is_empty()).then(|| Table::new(uses).notes(NOTES).text())
}

/// Whether a text was made by [`table`].
pub(super) fn is_ours(text: &[u8]) -> bool {
    text.starts_with(format!("# {}\n", NOTES[0]).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_says_what_was_asked_and_used_and_what_is_no_job_has_none() {
        let measured = json!({
            "seconds": 30.0, "peak_rss_bytes": 512, "job": {
                "id": "4711_3", "host": "n7", "asked_memory": 1024, "asked_seconds": 120,
                "asked_cores": 4, "waited_seconds": 2.5
            }
        });
        let used = JobUse::of("train", &measured).unwrap();
        assert_eq!((used.memory_used, used.time_used), (0.5, 0.25));
        assert_eq!(
            Table::new(vec![used]).text().lines().last().unwrap(),
            "train\t4711_3\tn7\t4\t1024\t512\t0.5\t120\t30\t0.25\t2.5"
        );
        let here = json!({"seconds": 30.0, "peak_rss_bytes": 512});
        assert_eq!(JobUse::of("train", &here), None);
    }
}
