//! Chunk `enrichment`: gene sets by how many of their genes escape.

use serde_json::{Value, json};

use super::genes::Genes;
use crate::report::load::{numbers, stack, tables, texts};
use crate::report::page::{Block, Section};
use crate::report::params::Params;
use crate::report::payload::{Chunk, LeftOut};
use crate::report::table_view::{BY_P, TableView};
use clcc_data::error::StageResult;
use clcc_data::table::TextTable;
use clcc_stage::roles;
use clcc_stage::stage::StageContext;

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
    /// From the table of `enrichment`; `None` without it.
    ///
    /// # Errors
    /// What reading the table reports.
    pub(crate) fn load(
        ctx: &StageContext<'_>,
        genes: Option<&Genes>,
        params: &Params,
    ) -> StageResult<Option<Self>> {
        let files = tables(ctx, roles::ENRICHMENT)?;
        let Some((table, file)) = stack(&files, "enrichment")?.into_iter().next() else {
            return Ok(None);
        };
        let chunk = genes.and_then(|g| chunk(&table, &file, g));
        let text = "Which gene sets hold more of the genes that escape than a random draw of the tested genes would. Genes of one region share \
                    their copy number, so a set whose genes lie together is found with its chromosome arm: look at the arms first.";
        let mut blocks = vec![Block::Text(text.into())];
        blocks.extend(
            table
                .notes
                .first()
                .map(|n| Block::Text(format!("{}.", sentence(n)))),
        );
        if table.rows.is_empty() {
            blocks.push(Block::Text("No set has tested genes enough.".into()));
        } else {
            let view = TableView::new("Gene sets", table, &file, params.table_rows, BY_P);
            blocks.push(Block::Table(view));
        }
        let section = Section {
            id: "enrichment",
            title: "Gene sets of the genes that escape",
            blocks,
        };
        Ok(Some(Self { section, chunk }))
    }
}

fn sentence(note: &str) -> String {
    let mut letters = note.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}", first.unwrap_or_default(), letters.as_str())
}

fn chunk(table: &TextTable, file: &str, genes: &Genes) -> Option<Chunk> {
    let text = |name: &str| texts(table, &[name]);
    let number = |name: &str| numbers(table, &[name]);
    let (collections, names, hits_of) = (text("collection")?, text("names")?, text("genes")?);
    let (size, hits, expected) = (
        number("n_tested")?,
        number("n_escape")?,
        number("expected")?,
    );
    let (fold, p, q) = (number("fold")?, number("pvals")?, number("pvals_adj")?);
    let index = genes.index();
    let set = |i: usize| -> Value {
        let own: Vec<usize> = hits_of[i]
            .split(',')
            .filter_map(|g| index.get(g).copied())
            .collect();
        json!({
            "collection": collections[i], "name": names[i], "size": size[i], "hits": hits[i], "expected": expected[i],
            "odds": fold[i], "p": p[i], "q": q[i], "genes": own,
        })
    };
    let n = names.len().min(MOST);
    let mut chunk = Chunk::new("enrichment");
    chunk.set("file", json!(file));
    chunk.set("about", json!(table.notes));
    chunk.set("tested", json!(genes.n_tested()));
    chunk.set(
        "hits",
        json!((0..genes.names.len()).filter(|&g| genes.escapes(g)).count()),
    );
    chunk.set("sets", (0..n).map(set).collect());
    if names.len() > n {
        chunk.left_out.push(LeftOut {
            what: format!("{} gene sets", names.len() - n),
            why: format!("the page holds the {MOST} with the smallest p"),
            file: file.to_string(),
        });
    }
    Some(chunk)
}
