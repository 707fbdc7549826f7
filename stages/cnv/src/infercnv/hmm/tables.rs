//! Tables of `method: hmm`.

use std::path::Path;

use super::{Hmm, HmmType};
use crate::infercnv::layout::GenePositions;
use clcc_data::error::StageResult;
use clcc_stage::rows::{HmmRegionRow, HmmSubclusterRow};
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
    Table::new(regions(found, positions, kind))
        .notes(notes)
        .write(dir)?;
    Table::new(subclusters(found, kind))
        .note("subclusters over whose mean profile the states were called; share_gained, share_lost: share of the genes in a kept gain or loss")
        .write(dir)
}

fn regions(found: &Hmm, positions: &GenePositions, kind: HmmType) -> Vec<HmmRegionRow> {
    let ratio = |s: u8| kind.ratios()[s as usize];
    let chromosome = |gene: usize| {
        let mut spans = found.layout.chromosomes.iter();
        let span = spans.find(|c| c.genes.contains(&gene));
        span.map_or(String::new(), |c| c.name.clone())
    };
    let gene = |i: usize| found.layout.genes[i];
    let neutral = kind.neutral() as usize;
    let row = |(i, r): (usize, &super::Region)| {
        let chromosome = chromosome(r.genes.start);
        let ends = r.genes.clone().map(|g| positions.end[gene(g)] as i64);
        HmmRegionRow {
            region: format!("{chromosome}-region_{}", i + 1),
            subcluster: found.subclusters[r.subcluster].name.clone(),
            chromosome,
            start: positions.start[gene(r.genes.start)] as i64,
            end: ends.max().unwrap_or(0),
            n_genes: r.genes.len() as i64,
            called: ratio(r.called),
            state: ratio(r.state),
            p_normal: r.shares.get(neutral).copied().unwrap_or(f64::NAN),
            p_state: r.shares.iter().copied().fold(f64::NAN, f64::max),
        }
    };
    found.regions.iter().enumerate().map(row).collect()
}

fn subclusters(found: &Hmm, kind: HmmType) -> Vec<HmmSubclusterRow> {
    let row = |(s, states): (&super::Subcluster, &Vec<u8>)| {
        let share = |wanted: &dyn Fn(u8) -> bool| {
            states.iter().filter(|s| wanted(**s)).count() as f64 / states.len().max(1) as f64
        };
        HmmSubclusterRow {
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
