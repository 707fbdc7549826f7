//! Simple models as baselines: the figures that a trained model has to beat.
//!
//! Four baselines over the joined patients, each with a score per cancer cell (large: the cell's
//! expression departs from its copy number) and a ranking of the genes (large: the gene departs):
//! `dosage_residual` and `correlation` ([`regression`]), `cca` and `linear` ([`projection`]). The
//! first two leave the windows that hold a gene out of its copy number. All work on sparse
//! expression and give the same bytes at any number of threads.
//!
//! Where a needed stage writes `split`, `cca` and `linear` are fitted on its training cells alone, and
//! `baselines_retrieval.tsv` has their retrieval on its test cells, comparable with `eval`'s.
//!
//! Where a needed stage writes `clusters`, a fifth method is added, `mixture` ([`mixture`]): cells and genes
//! together, on the residuals of `dosage`; what `discordance` replaced.
//!
//! The stage ranks cells and genes; it does not call them, and does not read planted truth.

mod clones;
pub mod local;
pub mod mixture;
mod params;
pub mod projection;
pub mod regression;
mod write;

pub use params::{BaselinesParams, CopyNumber};

use std::collections::BTreeMap;

use serde_json::json;

use crate::by_gene::ByGene;
use crate::dosage::clones::cell_types;
use crate::dosage::{GeneWindows, Strata, add_malignant, load_cnv};
use clcc_align::concordance::{Class, classify, row_distances};
use clcc_align::mine::{Part, Split};
use clcc_data::error::{StageError, StageResult};
use clcc_data::genome::normalise_chromosome;
use clcc_data::matrix::{Columns, Parts};
use clcc_numerics::stats::{Contrast, RankSumOptions, log2_fold_change, sparse_wilcoxon};
use clcc_stage::cells::{Restrict, is_cancer};
use clcc_stage::cohort::{Cohort, CohortCnv, CohortMatrix};
use clcc_stage::roles;
use clcc_stage::rows::{BaselineCellRow, BaselineGeneRow, BaselineRetrievalRow};
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, TableSpec};

use local::{Profiles, Slots};
use projection::{Components, Embedded};
use regression::{Member, Options};

/// The stage kind `baselines`.
#[derive(Debug)]
pub struct Baselines;

impl Stage for Baselines {
    type Params = BaselinesParams;
    const KIND: &'static str = "baselines";
    const TABLES: &'static [TableSpec] = &[
        BaselineCellRow::SPEC,
        BaselineGeneRow::SPEC,
        BaselineRetrievalRow::SPEC,
    ];
    // 9: elementary functions, products and decompositions of `math`.
    const CODE_VERSION: u32 = 10;
    const ABOUT: &'static str =
        "simple models to compare with: dosage residual, correlation, CCA, linear projection";
    const USES_SEED: bool = true;
    const MULTI_THREADED: bool = true;

    fn reads(params: &BaselinesParams) -> Vec<Read> {
        let mut roles = vec![
            Read::required(roles::EXPR),
            Read::required(roles::CNV),
            Read::optional_one(roles::SPLIT),
        ];
        roles.push(match (params.copy_number, params.restrict) {
            (CopyNumber::Cluster, _) | (_, Restrict::Malignant) => Read::required(roles::CLUSTERS),
            (CopyNumber::Cell, _) => Read::optional(roles::CLUSTERS),
        });
        roles
    }

    fn outputs(_: &BaselinesParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(
                roles::BASELINES,
                "score of each cancer cell, ranking of the genes, retrieval; one row per method",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &BaselinesParams) -> StageResult<Metrics> {
        let mut cohort = Cohort::load(ctx)?;
        let (x, cnv) = (cohort.expression(ctx)?, load_cnv(ctx, cohort.n_cells())?);
        let split = ctx
            .optional(roles::SPLIT)
            .map(|s| Split::read(&s.path, &cohort.obs.index))
            .transpose()?;
        let map = GeneWindows::new(&cohort.var.index, &cnv.windows, &cnv.genes)?;
        let slots = Slots::new(&map);
        if !ctx.all(roles::CLUSTERS).is_empty() {
            add_malignant(ctx, &mut cohort)?;
        }
        let scored = params.restrict.cancer_cells(&cohort.obs)?;
        let mut methods = regressions(ctx, params, &cohort, (&x, &cnv), &slots, &scored)?;
        ctx.check_cancelled()?;
        let mut retrieval = Vec::new();
        let projections = projections(ctx, params, &cohort, (&x, &cnv), split.as_ref())?;
        let by_gene = ByGene::new(&x, &ctx.out_dir)?;
        for (name, embedded) in projections {
            ctx.check_cancelled()?;
            if let Some(split) = &split {
                let test = split.cells(Part::Test);
                let rows =
                    write::retrieval_rows(name, &cohort.obs, &cohort.patient_of, &test, &embedded);
                retrieval.extend(rows);
            }
            methods.push(by_distance(
                name, &embedded, &cohort, &by_gene, &scored, params,
            )?);
        }
        let mut metrics = Metrics::new();
        if !ctx.all(roles::CLUSTERS).is_empty() {
            let found = clones::compensation(ctx, params, &cohort, &cnv, &scored)?;
            if let Some((method, own)) = found {
                methods.push(method);
                metrics.extend(own);
            }
        }
        let dir = ctx.output(roles::BASELINES);
        write::cells(&dir, &cohort, &methods, params)?;
        write::genes(&dir, &cohort, &methods, params)?;
        metrics.insert("n_cells_scored".into(), json!(methods[0].cells.len()));
        for m in &methods {
            let ranked = m.genes.iter().filter(|g| g.score.is_finite()).count();
            metrics.insert(format!("n_genes_{}", m.name), json!(ranked));
        }
        for row in &retrieval {
            metrics.insert(format!("{}_{}", row.method, row.metric), json!(row.value));
        }
        if split.is_some() {
            write::retrieval(&dir, retrieval)?;
        }
        Ok(metrics)
    }
}

/// Score and effect of one gene under one method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Departure of the gene from its copy number; larger is further.
    pub score: f64,
    /// Size and direction of the departure, on the method's own scale.
    pub effect: f64,
}

/// Scores of cells and genes by one method.
#[derive(Debug, Clone)]
pub struct Method {
    /// Name in the tables.
    pub name: &'static str,
    /// Rows of the scored cells in the cohort.
    pub cells: Vec<usize>,
    /// Departure of each scored cell from its copy number; larger is further.
    pub scores: Vec<f64>,
    /// Score and effect of each gene.
    pub genes: Vec<Ranked>,
}

fn regressions(
    ctx: &StageContext<'_>,
    params: &BaselinesParams,
    cohort: &Cohort,
    (x, cnv): (&CohortMatrix, &CohortCnv),
    slots: &Slots,
    scored: &[bool],
) -> StageResult<Vec<Method>> {
    let profiles = match params.copy_number {
        CopyNumber::Cell => Profiles::Cells(&cnv.x),
        CopyNumber::Cluster => Profiles::clusters(&cnv.x, cohort.load_clusters(ctx)?, slots)?,
    };
    let members = members(cohort, scored, params.strata)?;
    let options = Options {
        min_cells: params.min_cells,
        genes_per_bin: params.genes_per_bin,
    };
    let found = regression::fit(x, &profiles, slots, &members, options)?;
    let gene = |score: f64, effect: f64| Ranked { score, effect };
    Ok(vec![
        Method {
            name: "dosage_residual",
            cells: found.cells.clone(),
            scores: found.residual,
            genes: found
                .genes
                .iter()
                .map(|g| gene(g.shortfall(), g.slope / g.expected))
                .collect(),
        },
        Method {
            name: "correlation",
            cells: found.cells,
            scores: found.correlation,
            genes: found.genes.iter().map(|g| gene(-g.r, g.r)).collect(),
        },
    ])
}

/// Stratum of each included cell: the scored cells, and cells of normal samples.
fn members(cohort: &Cohort, scored: &[bool], strata: Strata) -> StageResult<Vec<Option<Member>>> {
    let cancer = is_cancer(&cohort.obs)?;
    let cell_type = cell_types(cohort, strata);
    let mut number_of: BTreeMap<(u32, &str), u32> = BTreeMap::new();
    Ok((0..cohort.n_cells())
        .map(|i| {
            if cancer[i] && !scored[i] {
                return None;
            }
            let next = number_of.len() as u32;
            let stratum = *number_of
                .entry((cohort.patient_of[i], cell_type[i].as_str()))
                .or_insert(next);
            Some(Member {
                stratum,
                cancer: cancer[i],
            })
        })
        .collect())
}

fn projections(
    ctx: &StageContext<'_>,
    params: &BaselinesParams,
    cohort: &Cohort,
    (x, cnv): (&CohortMatrix, &CohortCnv),
    split: Option<&Split>,
) -> StageResult<Vec<(&'static str, Embedded)>> {
    let train = split.map_or_else(
        || (0..cohort.n_cells()).collect::<Vec<_>>(),
        |s| s.cells(Part::Train),
    );
    let components =
        |x: &dyn Parts| Components::new(x, &train, params.n_comps, ctx.seed, &ctx.out_dir);
    let expr = if params.exclude_chromosomes.is_empty() {
        components(x)?
    } else {
        let excluded = &params.exclude_chromosomes;
        let excluded: Vec<String> = excluded.iter().map(|c| normalise_chromosome(c)).collect();
        let chromosome = cohort.var.texts("chromosome")?;
        let kept: Vec<usize> = (0..chromosome.len())
            .filter(|&g| !excluded.contains(&normalise_chromosome(&chromosome[g])))
            .collect();
        components(&Columns { x, kept: &kept })?
    };
    ctx.check_cancelled()?;
    let copy = match components(&cnv.x) {
        Ok(copy) => copy,
        // Without any copy-number signal there is nothing to project onto.
        Err(StageError::Data { .. }) => {
            ctx.progress
                .warn("the cells' copy number does not differ: no `cca` and no `linear`");
            return Ok(Vec::new());
        }
        Err(e) => return Err(e),
    };
    Ok(vec![
        ("cca", projection::cca(&expr, &copy, ctx.seed)?),
        ("linear", projection::linear(&expr, &copy, params.ridge)),
    ])
}

/// Score cells and genes by `concordance` and `de` on other embeddings: distance, classes by quantile
/// within each patient, and a rank-sum test of discordant against concordant cells of all patients.
fn by_distance(
    name: &'static str,
    embedded: &Embedded,
    cohort: &Cohort,
    by_gene: &ByGene,
    scored: &[bool],
    params: &BaselinesParams,
) -> StageResult<Method> {
    let distances = row_distances(&embedded.expr, &embedded.cnv);
    let cells: Vec<usize> = (0..cohort.n_cells()).filter(|&i| scored[i]).collect();
    let mut side = vec![0u8; cohort.n_cells()];
    for p in 0..cohort.patients.len() {
        let rows: Vec<usize> = cohort.cells_of(p).filter(|&i| scored[i]).collect();
        let here: Vec<f64> = rows.iter().map(|&i| distances[i]).collect();
        if rows.is_empty() {
            continue;
        }
        for (&i, class) in rows.iter().zip(classify(&here, params.quantile).0) {
            side[i] = match class {
                Class::Discordant => 1,
                Class::Concordant => 2,
                Class::Intermediate => 0,
            };
        }
    }
    let genes = if [1, 2].iter().all(|s| side.contains(s)) {
        let rows: Vec<usize> = (0..side.len()).filter(|&i| side[i] != 0).collect();
        let contrast = Contrast {
            side: rows.iter().map(|&i| side[i]).collect(),
        };
        let mut ranked = Vec::new();
        by_gene.blocks(&rows, &mut |genes| {
            let tests = sparse_wilcoxon(
                genes,
                std::slice::from_ref(&contrast),
                RankSumOptions::default(),
            );
            ranked.extend(tests.iter().flatten().map(|t| Ranked {
                score: t.z.abs(),
                effect: log2_fold_change(t.mean_group, t.mean_reference),
            }));
            Ok(())
        })?;
        ranked
    } else {
        let nothing = Ranked {
            score: f64::NAN,
            effect: f64::NAN,
        };
        vec![nothing; cohort.var.len()]
    };
    Ok(Method {
        name,
        scores: cells.iter().map(|&i| distances[i]).collect(),
        cells,
        genes,
    })
}

#[cfg(test)]
mod tests;
