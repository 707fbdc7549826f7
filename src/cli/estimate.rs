//! How long a run may still take, by what its nodes took before.

use std::collections::BTreeMap;

/// Seconds that each node is expected to take.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    /// Of nodes that have not ended, by id.
    left: BTreeMap<String, Option<f64>>,
    /// Mean of a stage's nodes that have run, with their number.
    of_stage: BTreeMap<String, (f64, usize)>,
}

/// What is left to do.
#[derive(Debug, PartialEq)]
pub(super) struct Left {
    pub(super) seconds: f64,
    /// Whether some nodes have never run, nor others of their stage: it takes longer than that.
    pub(super) at_least: bool,
}

fn stage_of(id: &str) -> &str {
    id.split('[').next().unwrap_or(id)
}

impl Estimate {
    /// Of nodes with what each took last.
    pub(super) fn new(nodes: impl IntoIterator<Item = (String, Option<f64>)>) -> Self {
        let mut estimate = Self::default();
        for (id, seconds) in nodes {
            if let Some(seconds) = seconds {
                estimate.learn(&id, seconds);
            }
            estimate.left.insert(id, seconds);
        }
        estimate
    }

    fn learn(&mut self, id: &str, seconds: f64) {
        let (mean, n) = self.of_stage.entry(stage_of(id).to_string()).or_default();
        *n += 1;
        *mean += (seconds - *mean) / *n as f64;
    }

    /// A node has ended; `ran` is what it took, where it ran.
    pub(super) fn end(&mut self, id: &str, ran: Option<f64>) {
        if let Some(seconds) = ran {
            self.learn(id, seconds);
        }
        self.left.remove(id);
    }

    /// What a node is expected to take: as last, or as others of its stage.
    pub(super) fn of(&self, id: &str) -> Option<f64> {
        let own = self.left.get(id).copied().flatten();
        own.or_else(|| self.of_stage.get(stage_of(id)).map(|(mean, _)| *mean))
    }

    /// What is left on so many cores, where `running` nodes have run for so many seconds: all work shared out evenly,
    /// but no less than the longest node that runs. Nothing where nothing is known.
    pub(super) fn left(&self, running: &BTreeMap<String, f64>, cores: usize) -> Option<Left> {
        let mut work = 0.0;
        let mut longest: f64 = 0.0;
        let (mut known, mut at_least) = (false, false);
        for id in self.left.keys() {
            let Some(seconds) = self.of(id) else {
                at_least = true;
                continue;
            };
            known = true;
            let seconds = (seconds - running.get(id).copied().unwrap_or(0.0)).max(0.0);
            work += seconds;
            if running.contains_key(id) {
                longest = longest.max(seconds);
            }
        }
        known.then(|| Left {
            seconds: longest.max(work / cores.max(1) as f64),
            at_least,
        })
    }
}

/// `45 s`, `12 min`, `3 h 20 min`.
pub(super) fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        _ if seconds < 59.5 => format!("{:.0} s", seconds.max(1.0)),
        0..=59 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(nodes: &[(&str, f64)]) -> BTreeMap<String, f64> {
        nodes.iter().map(|(id, s)| (id.to_string(), *s)).collect()
    }

    #[test]
    fn what_is_left_follows_from_what_nodes_took() {
        let nodes = [
            ("a[1]", Some(10.0)),
            ("a[2]", None),
            ("train", Some(60.0)),
            ("new", None),
        ];
        let mut e = Estimate::new(nodes.map(|(id, s)| (id.to_string(), s)));
        // 10 + 10 (as its sister) + 60, on two cores; of `new` nothing is known.
        let left = |e: &Estimate, r: &[(&str, f64)]| e.left(&running(r), 2);
        assert_eq!(
            left(&e, &[]),
            Some(Left {
                seconds: 40.0,
                at_least: true
            })
        );
        // The longest that runs cannot be shared.
        assert_eq!(left(&e, &[("train", 5.0)]).map(|l| l.seconds), Some(55.0));
        e.end("a[1]", Some(30.0));
        assert_eq!(e.of("a[2]"), Some(20.0));
        e.end("a[2]", None);
        e.end("new", Some(1.0));
        assert_eq!(
            left(&e, &[("train", 70.0)]),
            Some(Left {
                seconds: 0.0,
                at_least: false
            })
        );
        e.end("train", Some(70.0));
        assert_eq!(left(&e, &[]), None);
    }

    #[test]
    fn durations_are_as_people_say_them() {
        for (seconds, text) in [
            (0.2, "1 s"),
            (59.0, "59 s"),
            (59.6, "1 min"),
            (3570.0, "1 h 00 min"),
            (12_000.0, "3 h 20 min"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
