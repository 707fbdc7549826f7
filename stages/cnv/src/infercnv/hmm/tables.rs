//! Tables of `method: hmm`.

use std::path::Path;

use super::{Hmm, HmmType};
use crate::infercnv::layout::GenePositions;
use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_data::table::write_tsv;
use clcc_stage::tables::Table;

/// Write `hmm_regions.tsv` and `hmm_subclusters.tsv` into `dir`.
///
/// # Errors
/// [`clcc_data::StageError::Io`] where a file cannot be written.
pub fn write(dir: &Path, found: &Hmm, positions: &GenePositions, kind: HmmType) -> StageResult<()> {
    let notes = [
        "copy-number regions of subclusters, called by a hidden Markov model on the subcluster's mean expression ratio (R inferCNV)",
        "called, state: copy number over the normal one, as called and after the Bayesian filter; a region is kept where its state is not 1",
        "p_normal, p_state: posterior mean share of the subcluster's cells that are normal there, or in the state of the largest share; NA without the filter",
    ];
    write_tsv(
        &dir.join("hmm_regions.tsv"),
        "region",
        &regions(found, positions, kind),
        &notes,
    )?;
    Table::new(subclusters(found, kind))
        .note("subclusters over whose mean profile the states were called; share_gained, share_lost: share of the genes in a kept gain or loss")
        .write(dir)
}

fn regions(found: &Hmm, positions: &GenePositions, kind: HmmType) -> Frame {
    let ratio = |s: u8| kind.ratios()[s as usize];
    let chromosome = |gene: usize| {
        let span = found
            .layout
            .chromosomes
            .iter()
            .find(|c| c.genes.contains(&gene));
        span.map_or(String::new(), |c| c.name.clone())
    };
    let all = &found.regions;
    let names = all
        .iter()
        .enumerate()
        .map(|(i, r)| format!("{}-region_{}", chromosome(r.genes.start), i + 1));
    let mut table = Frame::new(names.collect());
    let texts = |f: &dyn Fn(&super::Region) -> String| Column::Str(all.iter().map(f).collect());
    let numbers = |f: &dyn Fn(&super::Region) -> f64| Column::F64(all.iter().map(f).collect());
    table.set(
        "subcluster",
        texts(&|r| found.subclusters[r.subcluster].name.clone()),
    );
    table.set("chromosome", texts(&|r| chromosome(r.genes.start)));
    let gene = |i: usize| found.layout.genes[i];
    let start = |r: &super::Region| positions.start[gene(r.genes.start)] as i64;
    let end = |r: &super::Region| {
        r.genes
            .clone()
            .map(|g| positions.end[gene(g)] as i64)
            .max()
            .unwrap_or(0)
    };
    table.set("start", Column::I64(all.iter().map(start).collect()));
    table.set("end", Column::I64(all.iter().map(end).collect()));
    table.set(
        "n_genes",
        Column::I64(all.iter().map(|r| r.genes.len() as i64).collect()),
    );
    table.set("called", numbers(&|r| ratio(r.called)));
    table.set("state", numbers(&|r| ratio(r.state)));
    let neutral = kind.neutral() as usize;
    table.set(
        "p_normal",
        numbers(&|r| r.shares.get(neutral).copied().unwrap_or(f64::NAN)),
    );
    let largest = |r: &super::Region| r.shares.iter().copied().fold(f64::NAN, f64::max);
    table.set("p_state", numbers(&largest));
    table
}

clcc_stage::table! {
    /// A subcluster of cells whose states were called together.
    pub(crate) struct SubclusterRow = "hmm_subclusters.tsv" {
        /// Name of the subcluster.
        subcluster: String,
        /// Cells.
        n_cells: i64,
        /// Whether its cells are reference cells.
        reference: bool,
        /// Share of the genes in a kept gain.
        share_gained: f64,
        /// Share of the genes in a kept loss.
        share_lost: f64,
    }
}

fn subclusters(found: &Hmm, kind: HmmType) -> Vec<SubclusterRow> {
    let row = |(s, states): (&super::Subcluster, &Vec<u8>)| {
        let share = |wanted: &dyn Fn(u8) -> bool| {
            states.iter().filter(|s| wanted(**s)).count() as f64 / states.len().max(1) as f64
        };
        SubclusterRow {
            subcluster: s.name.clone(),
            n_cells: s.cells.len() as i64,
            reference: s.reference,
            share_gained: share(&|s| s > kind.neutral()),
            share_lost: share(&|s| s < kind.neutral()),
        }
    };
    found
        .subclusters
        .iter()
        .zip(&found.states)
        .map(row)
        .collect()
}
