//! How much memory and time a node is expected to need, learned from what earlier ones of its kind took.

use std::collections::BTreeMap;

/// Margin over what was seen.
const MARGIN: f64 = 1.25;
/// Expected of a kind that was never seen: this much, and a multiple of what it reads.
const UNSEEN_BYTES: u64 = 256 << 20;
const UNSEEN_PER_INPUT_BYTE: u64 = 8;

/// What one run of a kind took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Bytes of everything it read.
    pub input_bytes: u64,
    /// Peak resident memory in bytes, or wall time in milliseconds.
    pub taken: u64,
}

impl Observation {
    /// From the measurements in an action record.
    pub fn of(measured: &serde_json::Value) -> Option<Self> {
        Some(Self {
            input_bytes: measured["input_bytes"].as_u64()?,
            taken: measured["peak_rss_bytes"].as_u64().filter(|p| *p > 0)?,
        })
    }

    /// The wall time in an action record.
    pub fn of_time(measured: &serde_json::Value) -> Option<Self> {
        Some(Self {
            input_bytes: measured["input_bytes"].as_u64()?,
            taken: (measured["seconds"].as_f64()? * 1000.0) as u64,
        })
    }
}

/// Peaks by stage kind.
#[derive(Debug, Default)]
pub struct MemoryModel {
    seen: BTreeMap<&'static str, Vec<Observation>>,
}

impl MemoryModel {
    /// Learns from a run.
    pub fn observe(&mut self, kind: &'static str, seen: Observation) {
        self.seen.entry(kind).or_default().push(seen);
    }

    /// Bytes to set aside for a node that reads `input_bytes`: what was learned, and 25 % on top.
    pub fn expect(&self, kind: &str, input_bytes: u64, own: Option<Observation>) -> u64 {
        match learned(&self.seen, kind, input_bytes, own) {
            Some(bytes) => (bytes * MARGIN) as u64,
            None => UNSEEN_BYTES + UNSEEN_PER_INPUT_BYTE * input_bytes,
        }
    }
}

/// Wall times by stage kind.
#[derive(Debug, Default)]
pub struct TimeModel {
    seen: BTreeMap<&'static str, Vec<Observation>>,
}

impl TimeModel {
    /// Learns from a run.
    pub fn observe(&mut self, kind: &'static str, seen: Observation) {
        self.seen.entry(kind).or_default().push(seen);
    }

    /// Seconds that a node takes which reads `input_bytes`; `None` where none of its kind was seen.
    pub fn expect(&self, kind: &str, input_bytes: u64, own: Option<Observation>) -> Option<f64> {
        learned(&self.seen, kind, input_bytes, own).map(|ms| ms / 1000.0)
    }
}

/// Seconds that a node of a kind that was never seen is thought to take: kinds that use several cores or a device are
/// heavy, others read what they read at this rate.
pub fn unseen_seconds(input_bytes: u64, is_heavy: bool) -> f64 {
    let reading = 1.0 + input_bytes as f64 / f64::from(4 << 20);
    if is_heavy {
        reading.max(UNSEEN_HEAVY_SECONDS)
    } else {
        reading
    }
}

/// Expected of a kind that was never seen and uses several cores or a device.
const UNSEEN_HEAVY_SECONDS: f64 = 60.0;

/// What a node takes that reads `input_bytes`. Its own last run counts most: with as much to read again it takes as
/// much again. Else a line through what its kind took, never below the largest of a smaller input.
fn learned(
    seen: &BTreeMap<&'static str, Vec<Observation>>,
    kind: &str,
    input_bytes: u64,
    own: Option<Observation>,
) -> Option<f64> {
    let others = seen.get(kind).map_or(&[][..], Vec::as_slice);
    match own {
        Some(own) if input_bytes <= own.input_bytes => Some(own.taken as f64),
        None if others.is_empty() => None,
        _ => {
            let points: Vec<Observation> = others.iter().copied().chain(own).collect();
            Some(line(&points, input_bytes as f64).max(floor(&points, input_bytes) as f64))
        }
    }
}

/// Least squares with slope and intercept not negative; one point scales with its input.
fn line(points: &[Observation], at: f64) -> f64 {
    let n = points.len() as f64;
    let mean_x = points.iter().map(|p| p.input_bytes as f64).sum::<f64>() / n;
    let mean_y = points.iter().map(|p| p.taken as f64).sum::<f64>() / n;
    let sxx: f64 = points
        .iter()
        .map(|p| (p.input_bytes as f64 - mean_x).powi(2))
        .sum();
    if sxx == 0.0 {
        return mean_y * (at / mean_x.max(1.0)).max(1.0);
    }
    let sxy: f64 = points
        .iter()
        .map(|p| (p.input_bytes as f64 - mean_x) * (p.taken as f64 - mean_y))
        .sum();
    let slope = (sxy / sxx).clamp(0.0, mean_y / mean_x.max(1.0));
    mean_y + slope * (at - mean_x)
}

/// The largest peak that a smaller or equal input took.
fn floor(points: &[Observation], input_bytes: u64) -> u64 {
    points
        .iter()
        .filter(|p| p.input_bytes <= input_bytes)
        .map(|p| p.taken)
        .max()
        .unwrap_or(0)
}

/// Memory that a run may hold: nine tenths of the machine's or of the control group's, whichever
/// is smaller.
pub fn default_budget() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo")
        .and_then(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
            line.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        })
        .map_or(4 << 30, |kib| kib * 1024);
    let group = cgroup_limit(&read("/proc/self/cgroup").unwrap_or_default(), &|path| {
        read(path)
    });
    machine.min(group.unwrap_or(u64::MAX)) / 10 * 9
}

/// The tightest limit from this process's group up to the root: `memory.max` of control groups version 2,
/// `memory.limit_in_bytes` of the memory controller of version 1. A container may see the host's names of groups that
/// are not mounted for it; the root of what is mounted is its own group, so it always counts.
fn cgroup_limit(proc_self_cgroup: &str, read: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let groups = proc_self_cgroup.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        let (mount, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            v1 if v1.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // `max` is no number; version 1 says "none" with one beyond any machine.
        std::iter::successors(Some(group.trim_end_matches('/')), |g| {
            Some(&g[..g.rfind('/')?])
        })
        .filter_map(|g| {
            read(&format!("{mount}{g}/{file}"))?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .min()
    });
    groups.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_learned_as_memory_is_and_without_a_margin() {
        let measured = serde_json::json!({"input_bytes": 100, "seconds": 2.5});
        let own = Observation::of_time(&measured);
        let mut model = TimeModel::default();
        assert_eq!(model.expect("k", 100, None), None);
        assert_eq!(model.expect("k", 100, own), Some(2.5));
        model.observe("k", own.unwrap());
        assert_eq!(model.expect("k", 200, None), Some(5.0));
        assert_eq!(unseen_seconds(0, false), 1.0);
        assert_eq!(unseen_seconds(400 << 20, false), 101.0);
        assert_eq!(unseen_seconds(0, true), 60.0);
    }

    fn seen(input_bytes: u64, peak_bytes: u64) -> Observation {
        Observation {
            input_bytes,
            taken: peak_bytes,
        }
    }

    #[test]
    fn a_node_is_expected_to_take_what_it_took_and_a_quarter_more() {
        let model = MemoryModel::default();
        assert_eq!(model.expect("mine", 100, Some(seen(100, 1000))), 1250);
        assert_eq!(model.expect("mine", 50, Some(seen(100, 1000))), 1250);
        assert_eq!(model.expect("mine", 200, Some(seen(100, 1000))), 2500);
    }

    #[test]
    fn a_new_node_follows_the_line_through_its_kind() {
        let mut model = MemoryModel::default();
        // peak = 100 + 3 x input
        model.observe("mine", seen(100, 400));
        model.observe("mine", seen(200, 700));
        assert_eq!(model.expect("mine", 300, None), 1250);
        assert_eq!(model.expect("mine", 0, None), 125);
        assert_eq!(model.expect("train", 10, None), UNSEEN_BYTES + 80);
    }

    #[test]
    fn a_line_never_falls_and_is_never_below_what_less_took() {
        let mut model = MemoryModel::default();
        model.observe("mine", seen(100, 900));
        model.observe("mine", seen(200, 300));
        assert_eq!(model.expect("mine", 300, None), 1125);
    }

    #[test]
    fn the_tightest_group_above_counts() {
        let limits = BTreeMap::from([
            ("/sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.max", "1000\n"),
            ("/sys/fs/cgroup/memory.max", "5000\n"),
        ]);
        let read = |path: &str| limits.get(path).map(|s| (*s).to_string());
        assert_eq!(cgroup_limit("0::/a/b\n", &read), Some(1000));
        assert_eq!(cgroup_limit("0::/\n", &read), Some(5000));
        assert_eq!(cgroup_limit("1:cpu:/x\n", &read), None);
    }

    #[test]
    fn control_groups_of_version_1_count_and_so_do_mixed_ones() {
        let limits = BTreeMap::from([
            (
                "/sys/fs/cgroup/memory/job/step/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "2000\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "4000\n"),
            ("/sys/fs/cgroup/unified/memory.max", "7\n"),
        ]);
        let read = |path: &str| limits.get(path).map(|s| (*s).to_string());
        let hybrid = "12:cpu,cpuacct:/job\n4:memory:/job/step\n1:name=systemd:/job\n0::/job\n";
        assert_eq!(cgroup_limit(hybrid, &read), Some(2000));
        // A container under the host's name for its group.
        assert_eq!(cgroup_limit("4:memory:/docker/ab12\n", &read), Some(4000));
        assert_eq!(cgroup_limit("4:hugetlb:/job\n", &read), None);
    }
}
