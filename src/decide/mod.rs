//! Cached, run, maybe or skip, and why.
//!
//! A node is decided from the content of what it reads: as soon as every producer's outputs are
//! known, its key is; the store then has a record with its outputs in place, or it does not. The
//! reason is the difference to the last record of the same node.

mod content;
mod lookahead;
mod reason;

pub use content::{
    content, content_of_patient, content_stat, content_stat_of_patient, files_of_patient,
};
pub use lookahead::Lookahead;
pub use reason::{Reason, value_changes};

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use clcc_cache::{
    ActionRecord, ActionStore, CacheResult, Damage, Digest, Journal, Lookup, StatCache,
    digest_bytes,
};
use serde::{Deserialize, Serialize};

use clcc_stages::stage::Branch;

use crate::key::{KEY_FORMAT, KeyInput, Preimage, stage_seed};
use crate::plan::{Node, NodeId, NodeInput, Plan};
use reason::{changed_roles, fixed_changes, values_change};

/// What is to be done with a node.
#[derive(Debug)]
pub enum Decision {
    /// A record with all outputs in place.
    Hit(Arc<ActionRecord>),
    /// It must run.
    Run {
        /// Its key.
        key: Digest,
        /// What the key was made of.
        preimage: Box<Preimage>,
        /// Every difference to the last record; the first is shown.
        reasons: Vec<Reason>,
    },
    /// A producer's outputs are not known yet.
    Unknown,
}

/// Content of the file inputs, by input name.
pub type InputDigests = BTreeMap<String, (Digest, Option<String>)>;

/// Digests the file inputs that the plan uses.
///
/// # Errors
/// The input's name, and why it could not be read.
pub fn digest_inputs(
    plan: &Plan,
    stat: &mut StatCache,
) -> Result<InputDigests, (String, clcc_cache::CacheError)> {
    let mut out = BTreeMap::new();
    let selected = plan.used_inputs().into_iter().map(|name| (name, true));
    let others = plan.unselected_inputs().into_iter();
    for (name, is_selected) in selected.chain(others.map(|name| (name, false))) {
        let spec = &plan.inputs[name];
        if let (Some(sheet), Some(patient)) = (&spec.samples, &spec.of) {
            let found = match is_selected {
                true => content_of_patient(sheet, patient, |file| stat.digest(file))
                    .map_err(|e| (name.to_string(), e))?,
                false => {
                    let remembered = |file: &Path| stat.remembered(file).ok_or(());
                    match content_of_patient(sheet, patient, remembered) {
                        Ok(digest) => digest,
                        Err(()) => continue,
                    }
                }
            };
            out.insert(name.to_string(), (found, spec.format.clone()));
            continue;
        }
        let digest = match (&spec.path, &spec.builtin) {
            (Some(path), _) if is_selected => {
                content(path, |file| stat.digest(file)).map_err(|e| (name.to_string(), e))?
            }
            // A node that was not selected is looked up where that costs no reading.
            (Some(path), _) => match content(path, |file| stat.remembered(file).ok_or(())) {
                Ok(digest) => digest,
                Err(()) => continue,
            },
            (None, Some(builtin)) => {
                digest_bytes(clcc_stages::genome::builtin(builtin).unwrap_or_default())
            }
            (None, None) => continue,
        };
        let format = spec
            .format
            .clone()
            .or_else(|| spec.path.as_deref().and_then(extension));
        out.insert(name.to_string(), (digest, format));
    }
    Ok(out)
}

/// The extension that says what a file is, without `.gz`.
fn extension(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.rsplit_once('.').map(|(_, e)| e.to_string())
}

/// Decides nodes against a store.
#[derive(Debug)]
pub struct Decider<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The store.
    pub store: &'a dyn ActionStore,
    /// Content of the file inputs.
    pub inputs: &'a InputDigests,
    /// Key of the last record of each node.
    pub last: &'a Journal<Digest>,
    /// Stages forced to run.
    pub force: &'a BTreeSet<String>,
    /// Device class for device-sensitive kinds.
    pub numerics: &'a str,
    /// What was looked up ahead of its turn.
    pub ahead: Lookahead,
}

/// Outputs of nodes decided or run so far.
pub type Known = Vec<Option<Arc<ActionRecord>>>;

impl Decider<'_> {
    /// Every field of the node's key but its inputs.
    fn fixed(&self, node: &Node) -> Preimage {
        let kind = node.kind;
        Preimage {
            key_format: KEY_FORMAT,
            kind: kind.name.to_string(),
            code_version: kind.code_version,
            params: node.resolved.params.clone(),
            inputs: Vec::new(),
            keys: node.keys.clone(),
            seed: kind.uses_seed.then(|| stage_seed(node.seed, kind.name)),
            numerics: kind.device_sensitive.then(|| self.numerics.to_string()),
        }
    }

    /// The node's key fields, once all it reads is known. Artifacts of the residual branches in
    /// `without` are not read: a join that goes on without what failed.
    pub fn preimage(
        &self,
        id: NodeId,
        known: &Known,
        without: &BTreeSet<Branch>,
    ) -> Option<Preimage> {
        let node = &self.plan.nodes[id];
        let mut preimage = self.fixed(node);
        for input in node.inputs_without(without) {
            preimage.inputs.push(match input {
                NodeInput::File { role, input } => {
                    let (digest, format) = self.inputs.get(input)?;
                    KeyInput {
                        role: (*role).to_string(),
                        branch: Default::default(),
                        digest: *digest,
                        format: format.clone(),
                    }
                }
                NodeInput::Artifact {
                    role,
                    branch,
                    producer,
                    key,
                } => {
                    let record = known[*producer].as_ref()?;
                    let output = record
                        .outputs
                        .iter()
                        .find(|o| o.role == *role && o.key == *key)?;
                    KeyInput {
                        role: (*role).to_string(),
                        branch: branch.clone(),
                        digest: output.digest,
                        format: None,
                    }
                }
            });
        }
        Some(preimage)
    }

    /// Decides a node that reads everything it declares.
    pub fn decide(&self, id: NodeId, known: &Known) -> Decision {
        self.decide_without(id, known, &BTreeSet::new())
    }

    /// Decides a node that leaves out the residual branches in `without`.
    pub fn decide_without(
        &self,
        id: NodeId,
        known: &Known,
        without: &BTreeSet<Branch>,
    ) -> Decision {
        let Some(preimage) = self.preimage(id, known, without) else {
            return Decision::Unknown;
        };
        let key = preimage.key();
        let found = self.ahead.take(&key);
        let damage = match found.unwrap_or_else(|| self.store.lookup(&key)) {
            Lookup::Hit(_) if self.force.contains(&self.plan.nodes[id].stage) => {
                return Decision::Run {
                    key,
                    preimage: Box::new(preimage),
                    reasons: vec![Reason::Forced],
                };
            }
            Lookup::Hit(record) => return Decision::Hit(Arc::from(record)),
            Lookup::Damaged(damage) => Some(damage),
            Lookup::Miss => None,
        };
        let reasons = match damage {
            Some(Damage {
                role,
                corrupt: true,
                ..
            }) => vec![Reason::OutputCorrupt { role }],
            Some(Damage {
                role,
                corrupt: false,
                ..
            }) => vec![Reason::OutputMissing { role }],
            None => self.changes(id, &preimage),
        };
        Decision::Run {
            key,
            preimage: Box::new(preimage),
            reasons,
        }
    }

    /// The last record of a node.
    pub fn last_record(&self, id: NodeId) -> Option<ActionRecord> {
        self.store.record(self.last.get(&self.plan.nodes[id].id)?)
    }

    /// Every difference between the last record of the node and `now`.
    pub fn changes(&self, id: NodeId, now: &Preimage) -> Vec<Reason> {
        let Some(old) = self.last_preimage(id) else {
            return vec![Reason::New];
        };
        let mut reasons = fixed_changes(&old, now, self.key_axis(id));
        let came_and_went = branch_changes(&old, now);
        let mut upstream: Vec<String> = Vec::new();
        for role in changed_roles(&old, now) {
            let producers = self.plan.nodes[id].inputs.iter().filter_map(|i| match i {
                NodeInput::Artifact {
                    role: r,
                    branch,
                    producer,
                    ..
                } if *r == role => {
                    let digest = |p: &Preimage| {
                        p.inputs
                            .iter()
                            .find(|k| k.role == role && k.branch == *branch)
                            .map(|k| k.digest)
                    };
                    // What is new is told by its axis value.
                    let before = digest(&old);
                    let is_new = before.is_none() && !came_and_went.is_empty();
                    (before != digest(now) && !is_new)
                        .then(|| self.plan.nodes[*producer].id.clone())
                }
                _ => None,
            });
            let before = upstream.len();
            for p in producers {
                if !upstream.contains(&p) {
                    upstream.push(p);
                }
            }
            if upstream.len() == before && came_and_went.is_empty() {
                reasons.push(Reason::Input { role });
            }
        }
        reasons.extend(came_and_went);
        if !upstream.is_empty() {
            reasons.push(Reason::Upstream { nodes: upstream });
        }
        // The same fields under another key: the record was dropped.
        if reasons.is_empty() {
            vec![Reason::New]
        } else {
            reasons
        }
    }

    fn key_axis(&self, id: NodeId) -> &str {
        let axis = self.plan.nodes[id].key_axis.as_deref();
        axis.unwrap_or("axis value")
    }

    /// The outputs that a node which must run will write again as they were, from its last record: those of axis
    /// values for which nothing has changed, where a kind makes each value's output by itself ([`Kind::of_key`]).
    /// `None` where it has none such. For a dry run: what reads only these outputs is decided by them.
    ///
    /// [`Kind::of_key`]: crate::registry::Kind::of_key
    pub(crate) fn kept(
        &self,
        id: NodeId,
        now: &Preimage,
        reasons: &[Reason],
    ) -> Option<ActionRecord> {
        let by_key = |r: &Reason| matches!(r, Reason::Param { .. } | Reason::Values { .. });
        if reasons.is_empty() || !reasons.iter().all(by_key) {
            return None;
        }
        let record = self.last_record(id)?;
        let old: Preimage = serde_json::from_value(record.preimage.clone()).ok()?;
        if (old.seed, &old.kind) != (now.seed, &now.kind) {
            return None;
        }
        let kind = self.plan.nodes[id].kind;
        let same = |key: &String| {
            let own = |p: &Preimage| kind.of_key(&p.params, key);
            now.keys.contains(key) && own(&old).is_some() && own(&old) == own(now)
        };
        let kept: BTreeSet<&String> = old.keys.iter().filter(|key| same(key)).collect();
        let mut record = record;
        let is_kept = |key: &Option<String>| key.as_ref().is_some_and(|k| kept.contains(k));
        record.outputs.retain(|output| is_kept(&output.key));
        (!record.outputs.is_empty()).then_some(record)
    }

    fn last_preimage(&self, id: NodeId) -> Option<Preimage> {
        serde_json::from_value(self.last_record(id)?.preimage).ok()
    }

    /// What can be said of a node whose inputs are not known yet: `Some` where it has changed
    /// itself or was never recorded, so that it will run; `None` where it may still hit.
    pub fn changes_before_inputs(&self, id: NodeId) -> Option<Vec<Reason>> {
        let node = &self.plan.nodes[id];
        if self.force.contains(&node.stage) {
            return Some(vec![Reason::Forced]);
        }
        let Some(old) = self.last_preimage(id) else {
            return Some(vec![Reason::New]);
        };
        let reasons = fixed_changes(&old, &self.fixed(node), self.key_axis(id));
        (!reasons.is_empty()).then_some(reasons)
    }
}

/// The axis values of joined artifacts that came and went between two keys.
fn branch_changes(old: &Preimage, now: &Preimage) -> Vec<Reason> {
    let values = |p: &Preimage| {
        let mut by_axis: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (axis, value) in p.inputs.iter().flat_map(|i| &i.branch) {
            let known = by_axis.entry(axis.clone()).or_default();
            if !known.contains(value) {
                known.push(value.clone());
            }
        }
        by_axis
    };
    let (old, now) = (values(old), values(now));
    let axes: BTreeSet<&String> = old.keys().chain(now.keys()).collect();
    let none = Vec::new();
    let of = |by_axis: &BTreeMap<String, Vec<String>>, axis: &String| {
        by_axis.get(axis).unwrap_or(&none).clone()
    };
    axes.into_iter()
        .filter_map(|axis| values_change(axis, &of(&old, axis), &of(&now, axis)))
        .collect()
}

/// `cached`, `run`, `maybe` or `skip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its outputs are in the cache.
    Cached,
    /// It must run.
    Run,
    /// What it reads is not known until something else has run.
    Maybe,
    /// It needs what was not selected and is not in the cache.
    Skip,
}

/// A node's status in a dry run.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The status.
    pub status: Status,
    /// Every reason; empty where cached.
    pub reasons: Vec<Reason>,
    /// Cached, but not all of it here.
    pub remote: bool,
}

/// Decides every node without running any.
///
/// # Errors
/// None today; the store may fail to be read in later versions.
pub fn dry_run(decider: &Decider<'_>) -> CacheResult<Vec<Verdict>> {
    let plan = decider.plan;
    let mut known: Known = vec![None; plan.nodes.len()];
    let mut verdicts: Vec<Verdict> = Vec::with_capacity(plan.nodes.len());
    let verdict = |status: Status, reasons: Vec<Reason>| Verdict {
        status,
        reasons,
        remote: false,
    };
    for id in 0..plan.nodes.len() {
        let made = |p: NodeId| match verdicts[p].status {
            Status::Cached => true,
            Status::Run | Status::Maybe => !plan.nodes[p].cached_only,
            Status::Skip => false,
        };
        if let Err(blocked_by) = plan.left_out(id, made) {
            let nodes = blocked_by.into_iter().map(|p| plan.nodes[p].id.clone());
            let nodes = nodes.collect();
            verdicts.push(verdict(Status::Skip, vec![Reason::NotSelected { nodes }]));
            continue;
        }
        let found = match decider.decide(id, &known) {
            Decision::Hit(record) => {
                let remote = decider.store.is_elsewhere(&record);
                known[id] = Some(record);
                Verdict {
                    remote,
                    ..verdict(Status::Cached, Vec::new())
                }
            }
            Decision::Run {
                preimage, reasons, ..
            } => {
                known[id] = decider.kept(id, &preimage, &reasons).map(Arc::new);
                verdict(Status::Run, reasons)
            }
            Decision::Unknown => match decider.changes_before_inputs(id) {
                Some(reasons) => verdict(Status::Run, reasons),
                None => verdict(Status::Maybe, vec![upstream(plan, id, &verdicts)]),
            },
        };
        verdicts.push(found);
    }
    Ok(verdicts)
}

/// The nodes that decide whether the inputs of `id` change.
fn upstream(plan: &Plan, id: NodeId, verdicts: &[Verdict]) -> Reason {
    let producers = plan.producers(id).into_iter();
    let open = producers.filter(|&p| verdicts[p].status != Status::Cached);
    Reason::Upstream {
        nodes: open.map(|p| plan.nodes[p].id.clone()).collect(),
    }
}
