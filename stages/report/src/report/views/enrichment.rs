//! Chunk `enrichment`: gene sets by how many of their genes escape.

use serde_json::{Value, json};

use super::genes::Genes;
use crate::report::load::tables;
use crate::report::page::{Block, Section};
use crate::report::params::Params;
use crate::report::payload::{Chunk, LeftOut};
use crate::report::table_view::{BY_P, TableView};
use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::rows::GeneSetRow;
use clcc_stage::stage::StageContext;
use clcc_stage::tables::Row as _;

/// Sets that the chunk holds.
const MOST: usize = 300;

/// The section and its data.
pub(crate) struct Enrichment {
    /// Text and static table.
    pub(crate) section: Section,
    /// Sets with their genes; `None` without genes of `dosage` on the page.
    pub(crate) chunk: Option<Chunk>,
}

impl Enrichment {
    /// From the table of each node of `enrichment`; `None` without it. `genes`: those of each node of `dosage`.
    ///
    /// # Errors
    /// What reading the tables reports.
    pub(crate) fn load(
        ctx: &StageContext<'_>,
        genes: &[Genes],
        params: &Params,
    ) -> StageResult<Option<Self>> {
        let mut files = tables(ctx, roles::ENRICHMENT)?;
        files.retain(|f| f.is::<GeneSetRow>());
        let text = "Which gene sets hold more of the genes that escape than a random draw of the tested genes would. Genes of one region share \
                    their copy number, so a set whose genes lie together is found with its chromosome arm: look at the arms first.";
        let mut blocks = vec![Block::Text(text.into())];
        let mut chunk = None;
        for file in &files {
            let table = file.read()?;
            if let ([one], [genes]) = (files.as_slice(), genes) {
                let sets = GeneSetRow::parse(&table)?;
                chunk = Some(packed(&sets, &table.notes, &one.published, genes));
            }
            let node = file.patient.as_ref().filter(|_| files.len() > 1);
            blocks.extend(node.map(|node| Block::Heading(node.clone())));
            blocks.extend(
                table
                    .notes
                    .first()
                    .map(|n| Block::Text(format!("{}.", sentence(n)))),
            );
            if table.rows.is_empty() {
                blocks.push(Block::Text("No set has tested genes enough.".into()));
            } else {
                let title = node.map_or("Gene sets".into(), |node| format!("Gene sets, {node}"));
                let view = TableView::new(&title, table, &file.published, params.table_rows, BY_P);
                blocks.push(Block::Table(view));
            }
        }
        let section = Section {
            id: "enrichment",
            title: "Gene sets of the genes that escape",
            blocks,
        };
        Ok((!files.is_empty()).then_some(Self { section, chunk }))
    }
}

fn sentence(note: &str) -> String {
    let mut letters = note.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}", first.unwrap_or_default(), letters.as_str())
}

fn packed(sets: &[GeneSetRow], notes: &[String], file: &str, genes: &Genes) -> Chunk {
    let index = genes.index();
    let set = |set: &GeneSetRow| -> Value {
        let hits = set.genes.split(',');
        let own: Vec<usize> = hits.filter_map(|g| index.get(g).copied()).collect();
        json!({
            "collection": set.collection, "name": set.names, "size": set.n_tested as f64, "hits": set.n_escape as f64,
            "expected": set.expected, "odds": set.fold, "p": set.pvals, "q": set.pvals_adj, "genes": own,
        })
    };
    let n = sets.len().min(MOST);
    let mut chunk = Chunk::new("enrichment");
    chunk.set("file", json!(file));
    chunk.set("about", json!(notes));
    chunk.set("tested", json!(genes.n_tested()));
    chunk.set(
        "hits",
        json!((0..genes.names.len()).filter(|&g| genes.escapes(g)).count()),
    );
    chunk.set("sets", sets[..n].iter().map(set).collect());
    if sets.len() > n {
        chunk.left_out.push(LeftOut {
            what: format!("{} gene sets", sets.len() - n),
            why: format!("the page holds the {MOST} with the smallest p"),
            file: file.to_string(),
        });
    }
    chunk
}
