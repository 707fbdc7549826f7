//! One page that a biologist reads without help: the answer first, then any gene, the genome, the cells, figures and tables.
//!
//! Last in the flow. Reads whatever the other stages wrote, every role as optional, and writes one
//! self-contained HTML file (no network, light and dark, phone and paper) and each figure as an
//! SVG of its own. It computes nothing that is not shown: every number is another stage's, but for
//! counts, quartiles and densities of the figures themselves, means of the copy number over groups of cells, and the plane of
//! the joint embedding.
//!
//! The first screen (`answer`) is static; what a reader explores is drawn by the script in `web/` from packed data
//! (`payload`, filled by `views`), within a size (`budget`).
//!
//! The page holds [`PROVENANCE_MARK`] once, and marks for the run's name and warnings; the engine fills them
//! ([`with_record`]) when it publishes the file, so the artifact itself does not depend on when or where it was made.
//! Bytes are a function of inputs and parameters: no dates, no random numbers.

mod answer;
mod budget;
pub(crate) mod figures;
mod held_back;
pub(crate) mod html;
mod load;
mod page;
mod params;
mod payload;
mod record;
pub(crate) mod sections;
mod table_view;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod view_tests;
mod views;
#[cfg(test)]
mod web_tests;

pub use params::Params as ReportParams;
pub use record::{PROVENANCE_MARK, with_record};
pub(crate) use views::maps::joint;

use std::collections::BTreeSet;

use serde_json::json;

use answer::Answer;
use budget::Budget;
use clcc_data::error::{StageError, StageResult};
use clcc_stage::params::ParamProblem;
use clcc_stage::roles;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use held_back::HeldBack;
use load::Patient;
use page::{Figure, Page, Place, Section};
use payload::{Chunk, LeftOut};
use sections::Inputs;
use views::contrasts::Contrast;
use views::enrichment::Enrichment;
use views::genes::Genes;
use views::genome::Genome;
use views::{cells, contrasts, genes};

/// The stage kind `report`.
pub struct Report;

impl Stage for Report {
    type Params = ReportParams;

    const KIND: &'static str = "report";
    // 8: figures name their axes, whose distances the classes rest on; elementary functions,
    //    products and decompositions of `math`.
    // 9: doublets; the files of a stage that runs per patient are named with the patient; genes of
    //    `dosage` by their posterior.
    // 10: the answer first; views of genes, genome and cells from packed data.
    // 11: cells that hold back a set of genes; what baselines reach; several nodes of one kind each by name.
    // 12: what jobs of a batch system used.
    const CODE_VERSION: u32 = 12;
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
        let material = Material::load(ctx, params)?;
        let mut steps = sections::compose(&Inputs {
            ctx,
            params,
            patients: &material.patients,
            limit: material.genome.as_ref().map_or(1.0, |g| g.limit),
            held_back: &material.held_back,
        })?;
        make_ids_unique(&mut steps);
        let figures: Vec<&Figure> = steps.iter().flat_map(|s| s.1.figures()).collect();
        save_figures(ctx, &figures)?;
        let (html, left_out) = material.fitting(ctx, params, &steps)?;
        let path = ctx.output(roles::REPORT);
        std::fs::write(&path, &html).map_err(StageError::writing(&path))?;
        let mut metrics = Metrics::new();
        metrics.insert("n_figures".into(), json!(figures.len()));
        metrics.insert("n_patients".into(), json!(material.patients.len()));
        metrics.insert("n_left_out".into(), json!(left_out));
        metrics.insert("page_bytes".into(), json!(html.len()));
        Ok(metrics)
    }
}

/// What the page is drawn from.
struct Material {
    patients: Vec<Patient>,
    /// One for each node of `dosage`.
    genes: Vec<Genes>,
    genome: Option<Genome>,
    contrasts: Vec<Contrast>,
    enrichment: Option<Enrichment>,
    held_back: Vec<HeldBack>,
}

impl Material {
    /// The genes of the gene view; of several nodes of `dosage` none stands for the others.
    fn genes(&self) -> Option<&Genes> {
        match self.genes.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    fn load(ctx: &StageContext<'_>, params: &ReportParams) -> StageResult<Self> {
        let patients = load::patients(ctx)?;
        let genes = Genes::load(ctx)?;
        Ok(Self {
            genome: Genome::load(ctx, &patients, params.heatmap_cells)?,
            contrasts: contrasts::load(ctx)?,
            enrichment: Enrichment::load(ctx, &genes, params)?,
            held_back: HeldBack::load(ctx)?,
            patients,
            genes,
        })
    }

    /// The largest page within the size that was asked for, or the smallest there is, and how many parts it leaves out.
    fn fitting(
        &self,
        ctx: &StageContext<'_>,
        params: &ReportParams,
        steps: &[(Place, Section)],
    ) -> StageResult<(String, usize)> {
        let limit = (params.max_megabytes * 1e6) as usize;
        let mut out = (String::new(), 0);
        for (budget, left_out) in Budget::full(params.heatmap_cells).descending() {
            ctx.check_cancelled()?;
            let n = left_out.len();
            out = (self.page(ctx, params, steps, budget, left_out)?, n);
            if out.0.len() <= limit {
                break;
            }
        }
        Ok(out)
    }

    fn page(
        &self,
        ctx: &StageContext<'_>,
        params: &ReportParams,
        steps: &[(Place, Section)],
        budget: Budget,
        left_out: Vec<LeftOut>,
    ) -> StageResult<String> {
        let fewer = match budget.extent.rows < params.heatmap_cells {
            true => Genome::load(ctx, &self.patients, budget.extent.rows)?,
            false => None,
        };
        let genome = fewer.as_ref().or(self.genome.as_ref());
        let mut chunks = self.chunks(ctx, budget, genome)?;
        for part in &left_out {
            // What a view lacks stands in its own chunk too.
            let own = if part.what.contains("heatmap") {
                "genome"
            } else {
                "cells"
            };
            if let Some(chunk) = chunks.iter_mut().find(|c| c.name() == own) {
                chunk.left_out.push(part.clone());
            }
        }
        let of_chunks = chunks
            .iter()
            .filter(|c| c.name() != "cells" && c.name() != "genome");
        let mut all: Vec<LeftOut> = of_chunks.flat_map(|c| c.left_out.clone()).collect();
        all.extend(left_out);
        let answer = Answer {
            patients: &self.patients,
            genes: &self.genes,
            genome,
            synthetic: !ctx.all(roles::TRUTH).is_empty(),
            held_back: &self.held_back,
            has_discordance: !ctx.all(roles::CONCORDANCE).is_empty(),
            left_out: all,
        };
        let page = Page {
            title: &params.title,
            answer: answer.html(),
            steps,
            enrichment: self.enrichment.as_ref().map(|e| &e.section),
            chunks: &chunks,
            single_figures: budget.single_figures,
        };
        Ok(page.html())
    }

    fn chunks(
        &self,
        ctx: &StageContext<'_>,
        budget: Budget,
        genome: Option<&Genome>,
    ) -> StageResult<Vec<Chunk>> {
        let genes = self.genes();
        let names = genes.map(|g| g.names.as_slice());
        let mut out = Vec::new();
        if let Some(genes) = genes {
            let beside = contrasts::beside(&self.contrasts, &genes.names);
            out.push(genes::chunk(genes, beside.as_ref(), &self.held_back)?);
        }
        out.extend(genome.map(|g| g.chunk(&cells::offsets(&self.patients))));
        out.extend(cells::chunk(
            ctx,
            &self.patients,
            genes,
            genome,
            &self.held_back,
            budget.extent,
        )?);
        out.extend(contrasts::chunk(&self.contrasts, names));
        out.extend(self.enrichment.as_ref().and_then(|e| e.chunk.clone()));
        Ok(out)
    }
}

/// Two patients whose names differ in punctuation alone would share the ids of their figures.
fn make_ids_unique(steps: &mut [(Place, Section)]) {
    let mut seen = BTreeSet::new();
    for figure in steps.iter_mut().flat_map(|s| s.1.figures_mut()) {
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
