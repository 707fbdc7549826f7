//! Chunk `contrasts`: fold changes and evidence of every gene in every comparison of `de`.

use std::collections::HashMap;

use serde_json::json;

use super::genes::Beside;
use crate::report::load::tables;
use crate::report::payload::{Chunk, LeftOut};
use crate::report::sections::{de, title_of};
use clcc_data::error::StageResult;
use clcc_stage::roles;
use clcc_stage::stage::StageContext;

/// Comparisons with a row per gene that the page holds at most; the others lie beside it.
const MOST: usize = 24;
/// The comparison that stands beside the slopes.
const BESIDE: &str = "discordant_vs_concordant.pooled";

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Contrast {
    name: String,
    title: String,
    file: String,
    test: String,
    names: Vec<String>,
    lfc: Vec<f64>,
    evidence: Vec<f64>,
    q: Vec<f64>,
}

/// The comparisons of all patients first, then those of single ones.
///
/// # Errors
/// What reading a table reports.
pub(crate) fn load(ctx: &StageContext<'_>) -> StageResult<Vec<Contrast>> {
    let mut out = Vec::new();
    let files = tables(ctx, roles::DE)?;
    for file in de::ordered(&files) {
        if !file.name.contains("_vs_") {
            continue;
        }
        let table = file.read()?;
        let Some(genes) = de::genes_of(&table)? else {
            continue;
        };
        // One row a gene: tables of genes in clusters or cell types have several.
        let mut seen = std::collections::HashSet::new();
        if !genes.iter().all(|g| seen.insert(g.name.as_str())) {
            continue;
        }
        let test = table.notes.iter().find_map(|n| n.strip_prefix("test: "));
        out.push(Contrast {
            name: file.name.clone(),
            title: match &file.patient {
                Some(patient) => format!("{}, {patient}", title_of(&file.name)),
                None => title_of(&file.name),
            },
            file: file.published.clone(),
            test: test.unwrap_or_default().to_string(),
            evidence: genes.iter().map(|g| g.evidence).collect(),
            lfc: genes.iter().map(|g| g.lfc).collect(),
            q: genes.iter().map(|g| g.q).collect(),
            names: genes.into_iter().map(|g| g.name).collect(),
        });
    }
    Ok(out)
}

/// Values of a comparison by gene of the page; NaN where it has none.
fn by_gene(contrast: &Contrast, names: &[String], values: &[f64]) -> Vec<f64> {
    let at: HashMap<&str, usize> = contrast.names.iter().map(String::as_str).zip(0..).collect();
    let of = |n: &String| at.get(n.as_str()).map_or(f64::NAN, |&i| values[i]);
    names.iter().map(of).collect()
}

/// The comparison that stands beside the slopes.
pub(crate) fn beside(contrasts: &[Contrast], names: &[String]) -> Option<Beside> {
    let own = contrasts.iter().find(|c| c.name == BESIDE)?;
    Some(Beside {
        title: own.title.clone(),
        lfc: by_gene(own, names, &own.lfc),
        q: by_gene(own, names, &own.q),
    })
}

/// The chunk; `None` without a comparison. `genes`: those of the page, where it has any.
pub(crate) fn chunk(contrasts: &[Contrast], genes: Option<&[String]>) -> Option<Chunk> {
    let (shown, others) = contrasts.split_at(contrasts.len().min(MOST));
    let first = shown.first()?;
    let mut chunk = Chunk::new("contrasts");
    let names = genes.unwrap_or(&first.names);
    if genes.is_none() {
        chunk.set("names", json!(names));
    }
    let about =
        |c: &Contrast| json!({"key": c.name, "title": c.title, "file": c.file, "test": c.test});
    chunk.set("contrasts", shown.iter().map(about).collect());
    let shape = [shown.len(), names.len()];
    let lfc: Vec<f64> = shown
        .iter()
        .flat_map(|c| by_gene(c, names, &c.lfc))
        .collect();
    // The largest number of two bytes; evidence beyond it is cut there.
    let cut = |v: f64| if v.is_nan() { v } else { v.min(60_000.0) + 0.0 };
    let evidence: Vec<f64> = shown
        .iter()
        .flat_map(|c| by_gene(c, names, &c.evidence))
        .map(cut)
        .collect();
    chunk.f16("lfc", &shape, &lfc);
    chunk.f16("nlq", &shape, &evidence);
    for other in others {
        chunk.left_out.push(LeftOut {
            what: other.title.clone(),
            why: format!("the page holds {MOST} comparisons"),
            file: other.file.clone(),
        });
    }
    Some(chunk)
}
