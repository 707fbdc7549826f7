//! The action file of a node.

use clcc_cache::Digest;

use super::Options;
use super::dispatcher::Ready;
use crate::decide::{Decider, content_stat, content_stat_of_patient};
use crate::exec::{Action, ActionInput, ActionOutput};
use crate::key::stage_seed;
use crate::plan::{Node, NodeId, NodeInput};
use crate::workflow::InputSpec;
use clcc_stages::stage::OutputDecl;

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
                file_input(role, &decider.plan.inputs[input], key.digest)
            }
        })
        .collect();
    Action {
        kind: n.kind.name.to_string(),
        params: n.resolved.params.clone(),
        seed: stage_seed(n.seed, n.kind.name),
        inputs,
        outputs: outputs(n),
        keys: n.keys.clone(),
        threads,
        device: options.device,
        checkpoint_dir: decider.store.checkpoint_dir(&ready.key),
    }
}

/// A file of the workflow's `inputs`, with what `stat` says of it now: it must not change while it is read.
fn file_input(role: &str, spec: &InputSpec, digest: Digest) -> ActionInput {
    let path = spec
        .path
        .as_ref()
        .map(|p| std::path::absolute(p).unwrap_or_else(|_| p.clone()))
        .unwrap_or_default();
    let stat = match (&spec.samples, &spec.of) {
        (Some(sheet), Some(patient)) => content_stat_of_patient(&path, sheet, patient),
        _ => content_stat(&path),
    };
    ActionInput {
        role: role.to_string(),
        branch: Default::default(),
        stat,
        path,
        format: spec.format.clone(),
        of: spec.of.clone(),
        builtin: spec.builtin.clone(),
        digest: Some(digest),
        in_cache: false,
    }
}

/// What the node writes: one output a role, or one a key where the role is keyed.
fn outputs(node: &Node) -> Vec<ActionOutput> {
    let of = |output: &OutputDecl| -> Vec<ActionOutput> {
        let keys = match output.keyed {
            true => node.keys.iter().cloned().map(Some).collect(),
            false => vec![None],
        };
        let role = output.role.to_string();
        keys.into_iter()
            .map(|key| ActionOutput {
                role: role.clone(),
                key,
            })
            .collect()
    };
    node.resolved.outputs.iter().flat_map(of).collect()
}
