//! The action file of a node.

use super::Options;
use super::dispatcher::Ready;
use crate::decide::{Decider, content_stat, content_stat_of_patient};
use crate::exec::{Action, ActionInput, ActionOutput};
use crate::key::stage_seed;
use crate::plan::{NodeId, NodeInput};

/// What the child of `node` is asked to do, with `threads` threads.
pub(super) fn action(
    decider: &Decider<'_>,
    options: &Options,
    node: NodeId,
    ready: &Ready,
    threads: usize,
) -> Action {
    let n = &decider.plan.nodes[node];
    let inputs = n
        .inputs_without(&ready.without)
        .zip(&ready.preimage.inputs)
        .map(|(input, key)| match input {
            NodeInput::Artifact { role, branch, .. } => ActionInput {
                role: (*role).to_string(),
                branch: branch.clone(),
                path: decider.store.artifact_path(&key.digest),
                format: None,
                of: None,
                builtin: None,
                digest: Some(key.digest),
                stat: None,
                in_cache: true,
            },
            NodeInput::File { role, input } => {
                let spec = &decider.plan.inputs[input];
                let path = spec
                    .path
                    .as_ref()
                    .map(|p| std::path::absolute(p).unwrap_or_else(|_| p.clone()))
                    .unwrap_or_default();
                ActionInput {
                    role: (*role).to_string(),
                    branch: Default::default(),
                    stat: match (&spec.samples, &spec.of) {
                        (Some(sheet), Some(patient)) => {
                            content_stat_of_patient(&path, sheet, patient)
                        }
                        _ => content_stat(&path),
                    },
                    path,
                    format: spec.format.clone(),
                    of: spec.of.clone(),
                    builtin: spec.builtin.clone(),
                    digest: Some(key.digest),
                    in_cache: false,
                }
            }
        })
        .collect();
    let mut outputs = Vec::new();
    for output in &n.resolved.outputs {
        let mut push = |key: Option<String>| {
            outputs.push(ActionOutput {
                role: output.role.to_string(),
                key,
            });
        };
        if output.keyed {
            n.keys.iter().for_each(|key| push(Some(key.clone())));
        } else {
            push(None);
        }
    }
    Action {
        kind: n.kind.name.to_string(),
        params: n.resolved.params.clone(),
        seed: stage_seed(n.seed, n.kind.name),
        inputs,
        outputs,
        keys: n.keys.clone(),
        threads,
        device: options.device,
        checkpoint_dir: decider.store.checkpoint_dir(&ready.key),
    }
}
