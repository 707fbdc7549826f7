//! Looking outputs up on several threads, before their keys are known to be asked for.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clcc_cache::{ActionStore, Digest, Journal, Lookup};

use crate::plan::{NodeId, Plan};

/// Threads at most; looking up is bound by the file system.
const MAX_THREADS: usize = 8;

/// What the store said of the keys that nodes had last time. Most keys are still the same, but each
/// is known only after those before it: looked up in their turn, they would take one core.
///
/// An answer serves one decision: a node that is decided again, since its outputs turned out to be
/// damaged, asks the store anew. What was missing is asked again in its turn, as another run may have
/// computed it since.
#[derive(Debug, Default)]
pub struct Lookahead(Mutex<HashMap<Digest, Lookup>>);

impl Lookahead {
    /// Looks up the last keys of these nodes.
    pub fn new(
        store: &dyn ActionStore,
        plan: &Plan,
        last: &Journal<Digest>,
        nodes: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        let keys: Vec<Digest> = nodes
            .into_iter()
            .filter_map(|id| last.get(&plan.nodes[id].id).copied())
            .collect();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = cores.min(MAX_THREADS).min(keys.len());
        if threads < 2 {
            return Self::default();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut answers = Vec::new();
            while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                let found = store.lookup(key);
                if !matches!(found, Lookup::Miss) {
                    answers.push((*key, found));
                }
            }
            answers
        };
        let answers = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .flat_map(|w| w.join().unwrap_or_default())
                .collect()
        });
        Self(Mutex::new(answers))
    }

    /// What was found for a key, once.
    pub fn take(&self, key: &Digest) -> Option<Lookup> {
        self.0.lock().ok()?.remove(key)
    }
}
