//! What this page is, and where it comes from.

use super::{Inputs, Part, SECTIONS};
use crate::report::html::count;
use crate::report::page::{Block, Section, Tone};

/// Opening section: headline numbers of all parts.
pub(crate) fn summary(inputs: &Inputs<'_, '_>, parts: &[Part]) -> Section {
    let mut blocks = vec![Block::Text(
        "Tumour cells gain and lose stretches of their genome. Most genes in a gained stretch are expressed more, in a lost one less; \
         some escape this dosage. This page goes from raw counts of single cells to such genes: copy number is inferred from \
         expression, cells are compared with what their copy number predicts, and genes are tested for how far they follow it. Every \
         figure names the artifact it is drawn from; the full tables and the cells lie beside this page."
            .into(),
    )];
    let cells: usize = inputs.patients.iter().map(|p| p.obs.len()).sum();
    let mut tiles = Vec::new();
    if !inputs.patients.is_empty() {
        tiles.push((
            count(inputs.patients.len()),
            if inputs.patients.len() == 1 {
                "patient"
            } else {
                "patients"
            }
            .to_string(),
        ));
        tiles.push((count(cells), "cells".to_string()));
    }
    if let Some(n) = inputs.patients.iter().filter_map(|p| p.n_genes).max() {
        tiles.push((count(n), "genes with a position".to_string()));
    }
    tiles.extend(parts.iter().flat_map(|p| p.tiles.iter().cloned()));
    if !tiles.is_empty() {
        blocks.push(Block::Tiles(tiles));
    }
    let absent = absent(inputs);
    if !absent.is_empty() {
        let names = absent
            .iter()
            .map(|s| format!("`{s}`"))
            .collect::<Vec<_>>()
            .join(", ");
        blocks.push(Block::Note(
            Tone::Missing,
            format!("Stages that this workflow does not have: {names}. Their sections say so."),
        ));
    }
    Section {
        id: "summary",
        title: "Summary",
        blocks,
    }
}

/// Stages of the sections that are expected, of which nothing is at hand.
fn absent(inputs: &Inputs<'_, '_>) -> Vec<&'static str> {
    let expected = SECTIONS.iter().filter(|kind| kind.is_expected);
    let reads: Vec<_> = expected.flat_map(|kind| kind.reads).collect();
    let mut absent: Vec<&str> = Vec::new();
    for (_, stage) in &reads {
        let mut of_stage = reads.iter().filter(|(_, other)| other == stage);
        if !absent.contains(stage) && of_stage.all(|(role, _)| inputs.ctx.all(*role).is_empty()) {
            absent.push(stage);
        }
    }
    absent
}

/// The record of the run, which the engine adds when it publishes the page.
pub(crate) fn provenance() -> Section {
    let text = "What was run, with which inputs and parameters: the engine's own record. A node that was cached had been computed \
                before from the same inputs, parameters and code.";
    Section {
        id: "provenance",
        title: "Provenance",
        blocks: vec![Block::Text(text.into()), Block::Provenance],
    }
}
