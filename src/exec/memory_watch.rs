//! What the running children hold in memory, and the end of the one that breaks the budget.
//!
//! Works without control groups: the resident memory of each child is read ten times a second, and
//! where the sum is above the budget the child that is furthest above what was expected of it is
//! killed. So a stage that needs more than was thought ends alone, and neither the coordinator nor
//! its neighbours are chosen by the system.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How often memory is read.
const PERIOD: Duration = Duration::from_millis(100);

/// The children of one run.
#[derive(Debug, Clone)]
pub struct MemoryWatch {
    budget: u64,
    children: Arc<Mutex<BTreeMap<i32, Child>>>,
    /// When memory was last read: one reading serves all children, however many watch.
    read_at: Arc<Mutex<Option<Instant>>>,
}

#[derive(Debug)]
struct Child {
    expected: u64,
    killed_at: Option<u64>,
}

impl MemoryWatch {
    /// A watch over `budget` bytes.
    pub fn new(budget: u64) -> Self {
        Self {
            budget,
            children: Arc::default(),
            read_at: Arc::default(),
        }
    }

    /// The budget in bytes.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Watches a child of which `expected` bytes are expected until the future is dropped.
    pub(super) async fn watch(&self, pid: Pid, expected: u64) {
        let child = Child {
            expected,
            killed_at: None,
        };
        if let Ok(mut children) = self.children.lock() {
            children.insert(pid.as_raw_nonzero().get(), child);
        }
        loop {
            tokio::time::sleep(PERIOD).await;
            if self.is_due() {
                self.enforce();
            }
        }
    }

    fn is_due(&self) -> bool {
        let Ok(mut read_at) = self.read_at.lock() else {
            return false;
        };
        // Those that wake together a little early count as due.
        let due = read_at.is_none_or(|t| t.elapsed() >= PERIOD / 2);
        if due {
            *read_at = Some(Instant::now());
        }
        due
    }

    /// Forgets a child that has ended. Returns the memory at which it was killed, if it was.
    pub(super) fn ended(&self, pid: Pid) -> Option<u64> {
        self.children
            .lock()
            .ok()?
            .remove(&pid.as_raw_nonzero().get())?
            .killed_at
    }

    fn enforce(&self) {
        let Ok(mut children) = self.children.lock() else {
            return;
        };
        let held: BTreeMap<i32, u64> = children
            .keys()
            .map(|pid| (*pid, anonymous_bytes(*pid)))
            .collect();
        if let Some(pid) = victim(self.budget, &children, &held)
            && let (Some(child), Some(group)) = (children.get_mut(&pid), Pid::from_raw(pid))
        {
            child.killed_at = held.get(&pid).copied();
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The child furthest above its expectation, where all together are above the budget.
fn victim(budget: u64, children: &BTreeMap<i32, Child>, held: &BTreeMap<i32, u64>) -> Option<i32> {
    // One that is being killed still holds memory: wait for it.
    if children.values().any(|c| c.killed_at.is_some()) || held.values().sum::<u64>() <= budget {
        return None;
    }
    let above = |pid: &i32| i128::from(held[pid]) - i128::from(children[pid].expected);
    children.keys().copied().max_by_key(above)
}

/// Anonymous and shared memory of a process; pages of mapped files can be dropped and do not count.
fn anonymous_bytes(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    ["RssAnon:", "RssShmem:"]
        .iter()
        .filter_map(|field| {
            let line = status.lines().find_map(|l| l.strip_prefix(field))?;
            line.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        })
        .sum::<u64>()
        * 1024
}

/// The same of a process and its children.
pub(super) fn held_by(pid: u32) -> u64 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|c| c.parse().ok());
    let own = std::iter::once(pid as i32);
    own.chain(children).map(anonymous_bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child(expected: u64) -> Child {
        Child {
            expected,
            killed_at: None,
        }
    }

    #[test]
    fn the_one_furthest_above_its_expectation_goes_and_only_beyond_the_budget() {
        let mut children = BTreeMap::from([(1, child(100)), (2, child(10)), (3, child(10))]);
        let held = BTreeMap::from([(1, 105), (2, 40), (3, 12)]);
        assert_eq!(victim(157, &children, &held), None);
        assert_eq!(victim(156, &children, &held), Some(2));
        children.get_mut(&2).unwrap().killed_at = Some(40);
        assert_eq!(victim(156, &children, &held), None, "one at a time");
    }

    #[test]
    fn however_many_watch_memory_is_read_once_in_a_while() {
        let watch = MemoryWatch::new(1 << 40);
        let due = (0..1000).filter(|_| watch.is_due()).count();
        assert!(due <= 2, "{due}");
        std::thread::sleep(PERIOD);
        assert!(watch.clone().is_due());
    }

    #[test]
    fn this_process_holds_memory() {
        assert!(anonymous_bytes(std::process::id() as i32) > 1 << 16);
    }
}
