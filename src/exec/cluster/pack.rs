//! What nodes ask of a batch system, and which go together: those of one shape into an array, short ones into one
//! task of it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::exec::job::Asked;
use crate::exec::local::Grant;
use crate::profile::Profile;

/// What a task asks for. Nodes of one shape go into one array.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) cores: usize,
    pub(super) memory_mb: u64,
    pub(super) minutes: u64,
    pub(super) gpu: bool,
    /// Machines that it keeps away from.
    pub(super) without: BTreeSet<String>,
}

/// What the job itself holds, in addition to the stage.
const OWN_MEMORY: u64 = 64 << 20;
/// Least that is asked for.
const LEAST_MEMORY: u64 = 512 << 20;
/// Starting, looking up, publishing, and the minute before the limit in which the stage is asked to end.
const OWN_SECONDS: u64 = 120;

/// What is asked for one node: what it is expected to take, with headroom, rounded so that like nodes have one shape.
pub(super) fn asked(grant: &Grant, cores: usize, profile: &Profile) -> Asked {
    let memory = (grant.memory + OWN_MEMORY).max(LEAST_MEMORY);
    let step = if memory < 4 << 30 { 256 << 20 } else { 1 << 30 };
    let doubled = 1u64 << grant.longer.min(8);
    let seconds = match (grant.timeout, grant.seconds) {
        // The engine ends it then; the batch system a little later.
        (Some(limit), _) => limit.as_secs() + OWN_SECONDS,
        // As long again, and never so little that a slow disk decides.
        (None, Some(learned)) => (learned * 2.0) as u64 * doubled + 180 * doubled + OWN_SECONDS,
        (None, None) => profile.time.as_secs() * doubled,
    };
    Asked {
        memory: memory.div_ceil(step) * step,
        seconds: rounded(seconds),
        cores,
    }
}

/// Up to whole minutes, from an hour on to tens of them: a limit of seconds is one of minutes for Slurm.
fn rounded(seconds: u64) -> u64 {
    let step = match seconds {
        0..3600 => 300,
        _ => 1800,
    };
    seconds.div_ceil(step) * step
}

/// Which of these nodes (expected seconds of each, in order; `None` where nothing was learned) share a task.
pub(super) fn pack(seconds: &[Option<f64>], about: Duration) -> Vec<Vec<usize>> {
    let about = about.as_secs_f64();
    let mut tasks: Vec<(Vec<usize>, f64)> = Vec::new();
    for (i, expected) in seconds.iter().enumerate() {
        // What may be long or is not known is alone.
        let alone = expected.is_none_or(|s| s > about / 2.0);
        let expected = expected.unwrap_or(about) + STARTING;
        match tasks.last_mut() {
            Some((nodes, held)) if !alone && *held + expected <= about => {
                nodes.push(i);
                *held += expected;
            }
            _ if alone => tasks.insert(tasks.len().saturating_sub(1), (vec![i], f64::INFINITY)),
            _ => tasks.push((vec![i], expected)),
        }
    }
    tasks.into_iter().map(|(nodes, _)| nodes).collect()
}

/// Seconds of a child process and of publication.
const STARTING: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(memory: u64, seconds: Option<f64>) -> Grant {
        Grant {
            memory,
            seconds,
            ..Grant::default()
        }
    }

    #[test]
    fn limits_have_headroom_and_are_round() {
        let profile = Profile::default();
        let of = |grant: &Grant| asked(grant, 1, &profile);
        // 64 MiB for itself, at least 512 MiB, in steps of 256 MiB.
        assert_eq!(of(&grant(1 << 20, None)).memory, 512 << 20);
        assert_eq!(of(&grant(500 << 20, None)).memory, 768 << 20);
        assert_eq!(of(&grant(5 << 30, None)).memory, 6 << 30);
        // Twice 100 s, 3 min, 2 min: 500 s, in steps of 5 min.
        assert_eq!(of(&grant(0, Some(100.0))).seconds, 600);
        assert_eq!(of(&grant(0, None)).seconds, 4 * 3600);
        let longer = Grant {
            longer: 1,
            ..grant(0, None)
        };
        assert_eq!(of(&longer).seconds, 8 * 3600);
        let longer = Grant {
            longer: 1,
            ..grant(0, Some(100.0))
        };
        // Twice 200 s, 6 min, 2 min.
        assert_eq!(of(&longer).seconds, 900);
        let limited = Grant {
            timeout: Some(Duration::from_secs(60)),
            ..grant(0, Some(100.0))
        };
        assert_eq!(of(&limited).seconds, 300);
    }

    #[test]
    fn short_nodes_share_a_task_and_long_or_unknown_ones_are_alone() {
        let ten = Duration::from_secs(600);
        let short = vec![Some(59.9); 25];
        let sizes: Vec<usize> = pack(&short, ten).iter().map(Vec::len).collect();
        assert_eq!(sizes, [10, 10, 5]);
        let mixed = [Some(1.0), None, Some(2.0), Some(400.0), Some(3.0)];
        let mut tasks = pack(&mixed, ten);
        tasks.sort();
        assert_eq!(tasks, [vec![0, 2, 4], vec![1], vec![3]]);
        let each = pack(&short, Duration::ZERO);
        assert_eq!(each.len(), 25);
    }
}
