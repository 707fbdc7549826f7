//! When each node ran, in the trace event format that chrome://tracing and Perfetto open.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::events::Event;

/// Gathers the events of a run.
#[derive(Debug, Default)]
pub struct Trace {
    /// Lane of each running node and when it began, in microseconds.
    running: BTreeMap<String, (usize, f64, Value)>,
    events: Vec<Value>,
}

impl Trace {
    /// Takes an event that happened `elapsed` seconds after the run began.
    pub fn on_event(&mut self, event: &Event, elapsed: f64) {
        let now = elapsed * 1e6;
        match event {
            Event::WillExecute {
                id,
                key,
                reasons,
                threads,
                memory,
                ..
            } => {
                let args =
                    json!({"key": key, "reasons": reasons, "threads": threads, "memory": memory});
                let lane = self.free_lane();
                self.running.insert(id.clone(), (lane, now, args));
            }
            Event::DidExecute {
                id, peak_rss_bytes, ..
            } => self.end(id, now, "ran", json!(peak_rss_bytes)),
            Event::DidFail { id, class, .. } | Event::WillRetry { id, class, .. } => {
                let class = serde_json::to_value(class).expect("a word");
                self.end(id, now, class.as_str().unwrap_or_default(), Value::Null);
            }
            Event::DidSkip { id, .. } => self.end(id, now, "skipped", Value::Null),
            Event::DidFindDamage { id, role, .. } => {
                self.instant(&format!("{id}: {role} damaged"), now)
            }
            Event::Warning { id, message } => self.instant(&format!("{id}: {message}"), now),
            Event::Note { message } => self.instant(message, now),
            Event::DidSubmit { id, job, .. } => {
                let job = job.as_deref().unwrap_or("?");
                self.instant(&format!("{id}: job {job}"), now);
            }
            Event::Started { .. }
            | Event::DidFetch { .. }
            | Event::DidSend { .. }
            | Event::WillWaitForSending { .. }
            | Event::DidTransfer { .. }
            | Event::DidReuse { .. }
            | Event::Progress { .. }
            | Event::DidPublish { .. }
            | Event::Finished { .. } => {}
        }
    }

    fn free_lane(&self) -> usize {
        let taken: Vec<usize> = self.running.values().map(|r| r.0).collect();
        (1..).find(|lane| !taken.contains(lane)).unwrap_or(1)
    }

    fn end(&mut self, id: &str, now: f64, how: &str, peak_rss_bytes: Value) {
        let Some((lane, began, mut args)) = self.running.remove(id) else {
            return;
        };
        args["ended"] = json!(how);
        args["peak_rss_bytes"] = peak_rss_bytes;
        let stage = id.split('[').next().unwrap_or(id);
        self.events.push(json!({
            "name": id, "cat": stage, "ph": "X", "ts": began, "dur": now - began,
            "pid": 1, "tid": lane, "args": args,
        }));
    }

    fn instant(&mut self, name: &str, now: f64) {
        self.events
            .push(json!({"name": name, "ph": "i", "s": "p", "ts": now, "pid": 1, "tid": 0}));
    }

    /// The trace of a workflow's run.
    pub fn into_json(mut self, workflow: &str) -> Value {
        self.events.push(json!({
            "name": "process_name", "ph": "M", "pid": 1, "args": {"name": workflow},
        }));
        json!({"displayTimeUnit": "ms", "traceEvents": self.events})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(id: &str) -> Event {
        Event::WillExecute {
            id: id.into(),
            key: String::new(),
            reason: None,
            reasons: vec![],
            threads: 1,
            memory: 0,
            accelerator: None,
        }
    }

    fn done(id: &str) -> Event {
        Event::DidExecute {
            id: id.into(),
            key: String::new(),
            reason: None,
            seconds: 0.0,
            peak_rss_bytes: 7,
        }
    }

    #[test]
    fn nodes_at_the_same_time_have_lanes_of_their_own() {
        let mut trace = Trace::default();
        for (event, elapsed) in [
            (begin("a[P1]"), 0.0),
            (begin("a[P2]"), 0.5),
            (done("a[P1]"), 1.0),
            (begin("b"), 1.5),
            (done("b"), 2.0),
            (done("a[P2]"), 3.0),
        ] {
            trace.on_event(&event, elapsed);
        }
        let json = trace.into_json("w");
        let spans: Vec<(&str, u64, f64, f64)> = json["traceEvents"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["ph"] == "X")
            .map(|e| {
                (
                    e["name"].as_str().unwrap(),
                    e["tid"].as_u64().unwrap(),
                    e["ts"].as_f64().unwrap(),
                    e["dur"].as_f64().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            spans,
            [
                ("a[P1]", 1, 0.0, 1e6),
                ("b", 1, 1.5e6, 0.5e6),
                ("a[P2]", 2, 0.5e6, 2.5e6),
            ]
        );
    }
}
