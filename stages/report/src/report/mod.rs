//! One page that a biologist reads without help: figures, tables and where they come from.
//!
//! Last in the flow. Reads whatever the other stages wrote, every role as optional, and writes one
//! self-contained HTML file (no network, light and dark, phone and paper) and each figure as an
//! SVG of its own. It computes nothing that is not shown: every number is another stage's, but for
//! counts, quartiles and densities of the figures themselves.
//!
//! The page holds [`PROVENANCE_MARK`] once; the engine replaces it with the run's record when it
//! publishes the file, so the artifact itself does not depend on when or where it was made.
//! Bytes are a function of inputs and parameters: no dates, no random numbers.

pub(crate) mod figures;
pub(crate) mod html;
mod load;
mod page;
mod params;
mod sections;
mod table_view;
#[cfg(test)]
mod tests;

pub use html::script_json;
pub use page::PROVENANCE_MARK;
pub use params::Params as ReportParams;

use std::collections::BTreeSet;

use serde_json::json;

use clcc_data::error::{StageError, StageResult};
use clcc_stage::params::ParamProblem;
use clcc_stage::roles;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use page::{Figure, Section};
use sections::Inputs;

/// The stage kind `report`.
pub struct Report;

impl Stage for Report {
    type Params = ReportParams;

    const KIND: &'static str = "report";
    // 8: figures name their axes, whose distances the classes rest on; elementary functions,
    //    products and decompositions of `math`.
    // 9: doublets; the files of a stage that runs per patient are named with the patient; genes of
    //    `dosage` by their posterior.
    const CODE_VERSION: u32 = 9;
    const ABOUT: &'static str =
        "one self-contained HTML page with figures, tables and the run's provenance";

    fn check(params: &Self::Params) -> Vec<ParamProblem> {
        params.check()
    }

    fn reads(_params: &Self::Params) -> Vec<Read> {
        sections::roles().into_iter().map(Read::optional).collect()
    }

    fn outputs(_params: &Self::Params) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(roles::REPORT, "the page, one HTML file")
                .publish(Publish::At("report.html")),
            OutputDecl::new(roles::FIGURES, "every figure as SVG")
                .publish(Publish::Into("figures")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        let patients = load::patients(ctx)?;
        let mut sections = compose(&Inputs {
            ctx,
            params,
            patients: &patients,
        })?;
        make_ids_unique(&mut sections);
        let figures: Vec<&Figure> = sections.iter().flat_map(Section::figures).collect();
        save_figures(ctx, &figures)?;
        let html = page::page(&params.title, &sections);
        let path = ctx.output(roles::REPORT);
        std::fs::write(&path, &html).map_err(StageError::writing(&path))?;
        let mut metrics = Metrics::new();
        metrics.insert("n_figures".into(), json!(figures.len()));
        metrics.insert("n_patients".into(), json!(patients.len()));
        metrics.insert("page_bytes".into(), json!(html.len()));
        Ok(metrics)
    }
}

/// All sections, in the order of the page.
fn compose(inputs: &Inputs<'_, '_>) -> StageResult<Vec<Section>> {
    let parts = sections::compose(inputs)?;
    let mut out = vec![sections::summary::summary(inputs, &parts)];
    out.extend(parts.into_iter().map(|p| p.section));
    out.push(sections::summary::provenance());
    Ok(out)
}

/// Two patients whose names differ in punctuation alone would share the ids of their figures.
fn make_ids_unique(sections: &mut [Section]) {
    let mut seen = BTreeSet::new();
    for figure in sections.iter_mut().flat_map(Section::figures_mut) {
        let base = figure.id.clone();
        let mut n = 1;
        while !seen.insert(figure.id.clone()) {
            n += 1;
            figure.id = format!("{base}-{n}");
        }
    }
}

fn save_figures(ctx: &StageContext<'_>, figures: &[&Figure]) -> StageResult<()> {
    let dir = ctx.output(roles::FIGURES);
    std::fs::create_dir_all(&dir).map_err(StageError::creating(&dir))?;
    for figure in figures {
        let path = dir.join(format!("{}.svg", figure.id));
        std::fs::write(&path, figure.svg.standalone(&figure.id, &figure.title))
            .map_err(StageError::writing(&path))?;
    }
    Ok(())
}
