//! `mine`: the split, the training moments and the hard negatives.
//!
//! Stands between `infercnv` and `train`, and joins the patients. It decides everything that must be
//! fixed before training and must not see validation or test cells: the part of each cell, the mean
//! and standard deviation that z-score every cell, and the hard negatives of each training cell.
//! `train`, `eval` and `concordance` read these and draw nothing of the kind themselves.
//!
//! The papers are not clear on the space of the cosines: see [`MineParams::space`]. Under the
//! z-score a cell with an all-zero `X_cnv` row is like any other (its vector is `-mean / sd`); in the
//! raw space it has no cosine, so it is counted (`without_cnv_cosine`) and left out.

mod coverage;
mod hard;
mod moments;
mod negatives;
mod params;
mod sketch;
mod split;
pub(crate) mod tensors;
mod vectors;

pub use coverage::Coverage;
pub use hard::{Anchor, hard_negatives};
pub use moments::{FeatureMoments, Moments};
pub use negatives::Negatives;
pub use params::{MineParams, Space, SplitBy};
pub use split::{Part, Split};
pub use vectors::Vectors;

use serde_json::json;

use clcc_data::error::{StageError, StageResult};
use clcc_data::genome::normalise_chromosome;
use clcc_data::matrix::{Columns, Parts, SpooledRows};
use clcc_numerics::stats::most_variable;
use clcc_stage::cohort::{Cohort, CohortCnv};
use clcc_stage::params::{OnlyWith, ParamProblem};
use clcc_stage::roles;
use clcc_stage::rows::MiningRow;
use clcc_stage::stage::{Metrics, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, Table, TableSpec};

/// Below this share of anchors with a negative the margin loss does next to nothing.
const LOW_COVERAGE: f64 = 0.1;

/// The kind `mine`: splits the cells, computes moments and finds hard negatives.
#[derive(Debug, Clone, Copy)]
pub struct Mine;

impl Stage for Mine {
    type Params = MineParams;
    const KIND: &'static str = "mine";
    // 2: elementary functions, products and decompositions of `math`.
    const CODE_VERSION: u32 = 2;
    const ABOUT: &'static str = "split the cells, take the training moments, find hard negatives: same copy number, other expression";
    const USES_SEED: bool = true;
    const MULTI_THREADED: bool = true;
    const ONLY_WITH: &'static [OnlyWith] = MineParams::ONLY_WITH;
    const TABLES: &'static [TableSpec] = &[MiningRow::SPEC];

    fn check(params: &MineParams) -> Vec<ParamProblem> {
        params.problems()
    }

    fn reads(_: &MineParams) -> Vec<Read> {
        vec![Read::required(roles::EXPR), Read::required(roles::CNV)]
    }

    fn outputs(_: &MineParams) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(roles::SPLIT, "each cell's part: train, val or test"),
            OutputDecl::new(
                roles::MOMENTS,
                "mean and sd of each feature over the training cells (safetensors)",
            ),
            OutputDecl::new(
                roles::NEGATIVES,
                "hard negatives of each training cell (safetensors)",
            ),
            OutputDecl::new(
                roles::MINING,
                "how many anchors have hard negatives, over all and per patient",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn run(ctx: &StageContext<'_>, params: &MineParams) -> StageResult<Metrics> {
        let cohort = Cohort::load(ctx)?;
        let (x, cnv) = (cohort.expression(ctx)?, CohortCnv::load(ctx)?);
        let n = cohort.n_cells();
        let split = match params.cross_fit {
            None => Split::draw(&cohort.patient_of, params.split, params.split_by, ctx.seed)?,
            Some(k) => Split::hold_out(
                &cohort.patient_of,
                params.split,
                params.split_by,
                (params.fold, k),
                ctx.seed,
            )?,
        };
        let train = split.cells(Part::Train);
        let (moments, vectors) = vectors(ctx, &cohort, (&x, &cnv.x), &train, params)?;
        let watch = |done, total| {
            ctx.progress.step(done, total, "hard negatives");
            ctx.check_cancelled().is_err()
        };
        let anchors = hard_negatives(&vectors, params, ctx.seed, &watch)?;

        split.write(
            &ctx.output(roles::SPLIT),
            &cohort.obs.index,
            &cohort.obs.texts("patient")?,
        )?;
        moments.write(&ctx.output(roles::MOMENTS))?;
        Negatives::new(n, &train, &anchors).write(&ctx.output(roles::NEGATIVES))?;
        let rows = Coverage::count(
            &cohort.patient_of,
            cohort.patients.len(),
            &split,
            &vectors.has_cnv,
            &anchors,
        );
        let others = train.len().saturating_sub(1);
        let partners = params.candidates.unwrap_or(others).min(others) as u64;
        write_table(ctx, params, &cohort.patients, &rows, partners)?;
        warn(ctx, params, &rows[0]);
        let mut metrics = metrics(params, &rows[0], partners);
        metrics.insert("genes".into(), json!(vectors.n_genes()));
        Ok(metrics)
    }
}

/// Computes the moments over the training cells, and prepares their vectors.
fn vectors(
    ctx: &StageContext<'_>,
    cohort: &Cohort,
    (x, cnv): (&dyn Parts, &dyn Parts),
    train: &[usize],
    params: &MineParams,
) -> StageResult<(Moments, Vectors)> {
    let dir = &ctx.out_dir;
    // Each is read several times: what is kept is read faster than the store.
    let x = SpooledRows::of_rows(x, train, dir)?;
    let cnv = SpooledRows::of_rows(cnv, train, dir)?;
    ctx.check_cancelled()?;
    let genes = chosen_genes(cohort, &x, params)?;
    let kept = moments::columns(genes.as_deref(), x.n_cols());
    let chosen = Columns { x: &x, kept: &kept };
    let expr: &dyn Parts = if genes.is_some() { &chosen } else { &x };
    let moments = Moments {
        expr: FeatureMoments::of_parts(expr)?,
        cnv: FeatureMoments::of_parts(&cnv)?,
        genes,
    };
    ctx.check_cancelled()?;
    let vectors = Vectors::of_parts(expr, &cnv, &moments, params.space, dir)?;
    Ok((moments, vectors))
}

/// Chooses the genes that make up expression vectors, as ascending numbers; `None` for all. `train` is the expression
/// of the training cells.
fn chosen_genes(
    cohort: &Cohort,
    train: &dyn Parts,
    params: &MineParams,
) -> StageResult<Option<Vec<u32>>> {
    let n = train.n_cols();
    if params.exclude_chromosomes.is_empty() {
        let most = params.n_top_genes.filter(|&most| most < n);
        return most.map(|most| most_variable(train, most)).transpose();
    }
    let excluded: Vec<String> = params
        .exclude_chromosomes
        .iter()
        .map(|c| normalise_chromosome(c))
        .collect();
    let chromosome = cohort.var.texts("chromosome")?;
    let kept: Vec<usize> = (0..n)
        .filter(|&g| !excluded.contains(&normalise_chromosome(&chromosome[g])))
        .collect();
    if kept.len() < 2 {
        return Err(StageError::param(
            "exclude_chromosomes",
            format!(
                "expected at least two genes to be left, found {}",
                kept.len()
            ),
        ));
    }
    let number = |g: &usize| *g as u32;
    Ok(Some(
        match params.n_top_genes.filter(|&most| most < kept.len()) {
            None => kept.iter().map(number).collect(),
            Some(most) => {
                let x = Columns {
                    x: train,
                    kept: &kept,
                };
                let best = most_variable(&x, most)?.into_iter();
                best.map(|g| kept[g as usize] as u32).collect()
            }
        },
    ))
}

fn write_table(
    ctx: &StageContext<'_>,
    params: &MineParams,
    patients: &[String],
    rows: &[Coverage],
    partners: u64,
) -> StageResult<()> {
    let about = format!(
        "hard negatives among training cells: copy-number cosine > {}, expression cosine < {}, the {} smallest expression cosines, ties by index; space {}, {partners} partners per anchor",
        params.cnv_cosine_min,
        params.expr_cosine_max,
        params.n_negatives,
        space_name(params.space),
    );
    Table::new(coverage::table(patients, rows, partners))
        .note(about)
        .note("cnv_pairs and hard_pairs count ordered pairs (anchor of the row's patient, any training cell); shares are of train_cells, of negatives, and of all pairs looked at")
        .write(&ctx.output(roles::MINING))
}

fn warn(ctx: &StageContext<'_>, params: &MineParams, all: &Coverage) {
    let share = all.share_with_negative();
    if share < LOW_COVERAGE {
        let other = match params.space {
            Space::Zscore => "`space: log1p`",
            Space::Log1p => "`space: zscore`",
        };
        ctx.progress.warn(&format!(
            "{:.1} % of the anchors have a hard negative: the margin loss does next to nothing; consider {other} or a higher `expr_cosine_max`",
            100.0 * share
        ));
    }
    if all.without_cnv_cosine > 0 {
        ctx.progress.warn(&format!(
            "{} training cells have no copy-number cosine (an all-zero vector) and no hard negatives",
            all.without_cnv_cosine
        ));
    }
}

const fn space_name(space: Space) -> &'static str {
    match space {
        Space::Zscore => "zscore",
        Space::Log1p => "log1p",
    }
}

fn metrics(params: &MineParams, all: &Coverage, partners: u64) -> Metrics {
    let mut m = Metrics::new();
    let mut put = |name: &str, value: serde_json::Value| m.insert(name.to_string(), value);
    put("space", json!(space_name(params.space)));
    put("train_cells", json!(all.cells[0]));
    put("val_cells", json!(all.cells[1]));
    put("test_cells", json!(all.cells[2]));
    put("without_cnv_cosine", json!(all.without_cnv_cosine));
    put("anchors_with_negative", json!(all.anchors_with_negative));
    put("share_with_negative", json!(all.share_with_negative()));
    put("mean_negatives", json!(all.mean_negatives()));
    // Without a negative the share has no value; JSON has no NaN.
    put(
        "share_other_patient",
        json!(Some(all.share_other_patient()).filter(|s| s.is_finite())),
    );
    put("cnv_pairs", json!(all.cnv_pairs));
    put(
        "share_cnv_pairs",
        json!(Some(all.share_cnv_pairs(partners)).filter(|s| s.is_finite())),
    );
    put("hard_pairs", json!(all.hard_pairs));
    m
}
