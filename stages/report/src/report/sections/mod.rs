//! The sections of the page: each is made of the artifacts of its roles, or says which stage was not there.

pub(crate) mod anchors;
pub(crate) mod baseline;
pub(crate) mod cnv;
pub(crate) mod concordance;
pub(crate) mod de;
pub(crate) mod discordance;
pub(crate) mod dosage;
pub(crate) mod doublets;
pub(crate) mod qc;
pub(crate) mod retrieval;
pub(crate) mod side_by_side;
pub(crate) mod training;

use std::collections::BTreeSet;

use super::held_back::HeldBack;
use super::load::{Patient, TableFile};
use super::page::{Block, Place, Section};
use super::params::Params;
use super::table_view::{BY_P, Pick, TableView};
use clcc_data::error::StageResult;
use clcc_data::frame::{Column, Frame};
use clcc_stage::roles::{self, Any, Role};
use clcc_stage::stage::StageContext;

/// What every section may read.
pub(crate) struct Inputs<'a, 'c> {
    /// Input artifacts.
    pub(crate) ctx: &'a StageContext<'c>,
    /// Parameters.
    pub(crate) params: &'a Params,
    /// Cells of each patient.
    pub(crate) patients: &'a [Patient],
    /// Size of the copy-number value that has the full colour, on the page and in its figures.
    pub(crate) limit: f64,
    /// What `discordance` found, one for each of its nodes.
    pub(crate) held_back: &'a [HeldBack],
}

/// Rows of a table whose genes the page holds in a chunk as well.
pub(crate) const PACKED_ROWS: usize = 20;

/// What a section shows.
pub(crate) type Content = Vec<Block>;

/// A section of the page, chosen by the roles at hand.
pub(crate) struct SectionKind {
    /// Anchor in the page.
    pub(crate) id: &'static str,
    /// Heading.
    pub(crate) title: &'static str,
    /// Roles that it shows, each with the stage kind that writes it. It is composed where one of them is at hand.
    pub(crate) reads: &'static [(Role<Any>, &'static str)],
    /// Where its fold stands.
    pub(crate) place: Place,
    /// Section that takes its place where it is shown.
    pub(crate) instead: Option<&'static str>,
    /// Composes it; `None` where its roles hold nothing that it shows.
    pub(crate) compose: fn(&Inputs<'_, '_>) -> StageResult<Option<Content>>,
}

/// The sections in the order of the page: the answer's own stage before those that only lead up to it. A new one is a module
/// and its line here.
pub(crate) const SECTIONS: [&SectionKind; 11] = [
    &dosage::SECTION,
    &discordance::SECTION,
    &cnv::SECTION,
    &retrieval::SECTION,
    &anchors::SECTION,
    &concordance::SECTION,
    &de::SECTION,
    &training::MINING,
    &training::TRAINING,
    &qc::SECTION,
    &doublets::SECTION,
];

/// All roles that the page is made of, each once.
pub(crate) fn roles() -> Vec<Role<Any>> {
    let mut roles: Vec<Role<Any>> = Vec::new();
    let of_views = [
        roles::EMBEDDINGS.any(),
        roles::TRUTH.any(),
        roles::ENRICHMENT.any(),
        roles::BASELINES.any(),
    ];
    let of_sections = SECTIONS.iter().flat_map(|kind| kind.reads).map(|r| r.0);
    for role in of_sections.chain(of_views) {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles
}

/// The sections that the roles at hand make, in the order of the page.
///
/// # Errors
/// Where an artifact cannot be read or a figure cannot be drawn.
pub(crate) fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Vec<(Place, Section)>> {
    let mut parts = Vec::new();
    let mut shown = BTreeSet::new();
    // A section that takes another's place may stand after it.
    for kind in SECTIONS
        .iter()
        .filter(|k| k.instead.is_none())
        .chain(SECTIONS.iter().filter(|k| k.instead.is_some()))
    {
        if kind.instead.is_some_and(|other| shown.contains(other)) {
            continue;
        }
        let at_hand = |(role, _): &(Role<Any>, _)| !inputs.ctx.all(*role).is_empty();
        if !kind.reads.iter().any(at_hand) {
            continue;
        }
        if let Some(blocks) = (kind.compose)(inputs)? {
            let (id, title) = (kind.id, kind.title);
            shown.insert(id);
            parts.push((kind.place, Section { id, title, blocks }));
        }
    }
    let rank = |id: &str| SECTIONS.iter().position(|kind| kind.id == id);
    parts.sort_by_key(|(_, section)| rank(section.id));
    Ok(parts)
}

/// Codes, names and size of a column of text; names are in order of their numbers where they are
/// numbers, else as stored. `None` where there is no such column.
pub(crate) fn categories(obs: &Frame, column: &str) -> Option<(Vec<i32>, Vec<String>)> {
    let (codes, names) = match obs.columns.get(column)? {
        Column::Category(c) => (c.codes.clone(), c.categories.clone()),
        Column::Str(v) => {
            let c = clcc_data::frame::Categorical::from_values(v);
            (c.codes, c.categories)
        }
        Column::Bool(v) => (
            v.iter().map(|&b| i32::from(b)).collect(),
            vec!["False".to_string(), "True".to_string()],
        ),
        Column::F64(_) | Column::I64(_) => return None,
    };
    let numbers: Option<Vec<u64>> = names.iter().map(|n| n.parse().ok()).collect();
    let Some(numbers) = numbers else {
        return Some((codes, names));
    };
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|&i| numbers[i]);
    let mut new_of_old = vec![0i32; names.len()];
    order
        .iter()
        .enumerate()
        .for_each(|(new, &old)| new_of_old[old] = new as i32);
    let codes = codes
        .iter()
        .map(|&c| usize::try_from(c).map_or(-1, |c| new_of_old[c]))
        .collect();
    Some((codes, order.iter().map(|&i| names[i].clone()).collect()))
}

/// A table block for every stack of the files of one name.
///
/// # Errors
/// Where a table cannot be read.
pub(crate) fn table_blocks(
    files: &[TableFile],
    name: &str,
    title: &str,
    lead: &str,
    params: &Params,
) -> StageResult<Vec<Block>> {
    picked_blocks(files, name, title, lead, params, BY_P)
}

/// The same, with the rows that a long table keeps.
///
/// # Errors
/// Where a table cannot be read.
pub(crate) fn picked_blocks(
    files: &[TableFile],
    name: &str,
    title: &str,
    lead: &str,
    params: &Params,
    pick: Pick<'_>,
) -> StageResult<Vec<Block>> {
    let mut stacks = super::load::stack(files, name)?;
    // What says nothing of some patients has no rows for them.
    if stacks.iter().any(|(table, _)| !table.rows.is_empty()) {
        stacks.retain(|(table, _)| !table.rows.is_empty());
    }
    let several = stacks.len() > 1;
    Ok(stacks
        .into_iter()
        .map(|(table, place)| {
            let whose = match table.texts("patient") {
                Ok(patients) if several => patients.iter().copied().collect::<BTreeSet<_>>(),
                _ => BTreeSet::new(),
            };
            // Tables of other columns stand apart: one patient's is named, that of the others is the table.
            let title = match whose.len() {
                1 => format!("{title}, {}", whose.into_iter().next().unwrap_or_default()),
                _ => title.to_string(),
            };
            Block::Table(
                TableView::new(&title, table, &place, params.table_rows, pick).caption(lead),
            )
        })
        .collect())
}

/// What `compose` makes of each node's files: of several nodes each in a fold of its own, with the node's name in its figures.
///
/// # Errors
/// What `compose` reports.
pub(crate) fn each_node(
    files: &[TableFile],
    compose: impl Fn(&[TableFile]) -> StageResult<Content>,
) -> StageResult<Content> {
    let mut nodes: Vec<&Option<String>> = Vec::new();
    for file in files {
        if !nodes.contains(&&file.patient) {
            nodes.push(&file.patient);
        }
    }
    if nodes.len() < 2 {
        return compose(files);
    }
    let mut out = Content::new();
    for node in nodes {
        let own = files.iter().filter(|f| f.patient == *node);
        // What the fold names need not stand in a column.
        let own: Vec<TableFile> = own.map(TableFile::of_one_node).collect();
        let mut blocks = compose(&own)?;
        let name = node.as_deref().unwrap_or("without a name");
        name_figures(&mut blocks, name);
        out.push(Block::Fold(name.to_string(), out.is_empty(), blocks));
    }
    Ok(out)
}

fn name_figures(blocks: &mut [Block], node: &str) {
    for block in blocks {
        match block {
            Block::Figures(figures) => figures.iter_mut().for_each(|f| f.name_node(node)),
            Block::Fold(_, _, inner) => name_figures(inner, node),
            _ => {}
        }
    }
}

/// Table blocks for the files that no section has named: later versions of a stage may write more.
///
/// # Errors
/// Where a table cannot be read.
pub(crate) fn other_tables(
    files: &[TableFile],
    known: &[&str],
    params: &Params,
) -> StageResult<Vec<Block>> {
    let mut names: Vec<&str> = files
        .iter()
        .map(|f| f.name.as_str())
        .filter(|n| !known.contains(n))
        .collect();
    names.sort_unstable();
    names.dedup();
    let mut out = Vec::new();
    for name in names {
        let blocks = table_blocks(files, name, &title_of(name), "", params)?;
        out.push(Block::Fold(title_of(name), false, blocks));
    }
    Ok(out)
}

/// A file name as words.
pub(crate) fn title_of(name: &str) -> String {
    let words = name.replace(['_', '-'], " ").replace('.', ", ");
    let words = match words.strip_prefix("cnv ") {
        Some(rest) => format!("copy-number {rest}"),
        None => words,
    };
    let mut letters = words.chars();
    letters
        .next()
        .map(|c| c.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_in_order_of_their_numbers() {
        let mut obs = Frame::new(["a", "b", "c"].map(String::from).to_vec());
        obs.set_category("cnv_leiden", &["10", "2", ""]);
        obs.set_category("cell_type", &["T", "B", "T"]);
        // Sorted as text the categories are "10", "2".
        assert_eq!(
            categories(&obs, "cnv_leiden"),
            Some((vec![1, 0, -1], vec!["2".to_string(), "10".to_string()]))
        );
        assert_eq!(
            categories(&obs, "cell_type"),
            Some((vec![1, 0, 1], vec!["B".to_string(), "T".to_string()]))
        );
        assert_eq!(categories(&obs, "nothing"), None);
        assert_eq!(title_of("cancer_vs_normal.P1"), "Cancer vs normal, P1");
        assert_eq!(title_of("cnv_arms.P1"), "Copy-number arms, P1");
    }
}
