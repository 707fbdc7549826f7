//! Inputs of the stage, in cohort order.

use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_data::genome::symbols;
use clcc_data::matrix::Parts as _;
use clcc_stage::cohort::{Cohort, CohortCnv};
use clcc_stage::roles;
use clcc_stage::rows::{ConcordanceRow, DosageCellRow, DosageGeneRow};
use clcc_stage::stage::StageContext;
use clcc_stage::tables::Row as _;

use super::compare::{self, DosageGenes};
use super::contrasts::{Sides, sides};
use super::locus::{Loci, LociSums, changed};
use super::null;
use super::paired::{self, Pair};
use super::params::DeParams;
use super::scores::{CNV_SCORE, SCORES};
use crate::by_gene::ByGene;
use crate::dosage::{GeneWindows, load_cnv};

/// Everything that the comparisons use.
pub(super) struct Data {
    pub(super) cohort: Cohort,
    /// The expression to test: the held-out part where the counts were split.
    pub(super) x: ByGene,
    /// The part that the classes were learnt on, where the counts were split.
    pub(super) learnt: Option<ByGene>,
    pub(super) cnv: CohortCnv,
    /// Windows of the genes.
    pub(super) map: GeneWindows,
    /// Copy number of every gene in the discordant and the concordant cells of each patient, then of all.
    loci: Vec<Option<Loci>>,
    /// Concordance class of each cell; empty where a cell has none.
    pub(super) class: Vec<String>,
    /// Distance between each cell's embeddings; NaN where the table has none.
    pub(super) distance: Vec<f64>,
    /// Cell type of each cell; empty where the data has none.
    pub(super) cell_type: Vec<String>,
    pub(super) sides: Sides,
    /// Sums of raw counts per side, `[kind][patient]`.
    pub(super) sums: Vec<Vec<Option<Pair>>>,
    /// Sides of the cells under each permutation of the labels.
    pub(super) null: Vec<Vec<u8>>,
    /// Scores of cells, by name.
    pub(super) scores: Vec<(String, Vec<f64>)>,
    /// Copy-number signal of each cell, by name: `cnv_score` of its cluster, where `clusters` was read,
    /// and its own burden.
    pub(super) cnv_scores: Vec<(String, Vec<f64>)>,
    pub(super) dosage: Option<DosageGenes>,
    /// `shortfall_z` of each cell, where `dosage` was read.
    pub(super) shortfall: Option<Vec<f64>>,
    /// Genes set aside from cancer against normal epithelium.
    pub(super) aside: Vec<bool>,
}

impl Data {
    pub(super) fn load(ctx: &StageContext<'_>, params: &DeParams) -> StageResult<Self> {
        let cohort = Cohort::load(ctx)?;
        let cnv = load_cnv(ctx, cohort.n_cells())?;
        let map = GeneWindows::new(&cohort.var.index, &cnv.windows, &cnv.genes)?;
        let rows = ctx.one(roles::CONCORDANCE)?.rows::<ConcordanceRow>()?;
        check_cells(&cohort, &rows)?;
        let distance = rows.iter().map(|row| row.distance).collect::<Vec<_>>();
        let class: Vec<String> = rows.into_iter().map(|row| row.concordance_class).collect();
        let (burden, loci) = of_copy_number(&cnv, &map, &class, params.locus_threshold)?;
        let sides = sides(
            &cohort.obs,
            &cohort.patient_of,
            cohort.patients.len(),
            &class,
            &burden,
            params.burden_quantile,
        )?;
        let sums = paired::sums(&cohort.test_counts(ctx)?, &sides)?;
        ctx.check_cancelled()?;
        let learnt = match Cohort::is_split(ctx)? {
            true => Some(ByGene::new(&cohort.expression(ctx)?, &ctx.out_dir)?),
            false => None,
        };
        let x = ByGene::new(&cohort.test_expression(ctx)?, &ctx.out_dir)?;
        let null = match ctx.optional(roles::CONCORDANCE_NULL) {
            Some(input) => null::read(&input.path, &cohort.obs.index)?,
            None => Vec::new(),
        };
        let (dosage, shortfall) = dosage(ctx, &cohort)?.unzip();
        let clusters = clusters(ctx, &cohort)?;
        let scores = scores(&cohort, &clusters, &distance, shortfall.as_deref());
        let mut cnv_scores = vec![("cnv_burden".to_string(), burden)];
        if let Ok(of_cluster) = clusters.numbers(CNV_SCORE) {
            cnv_scores.insert(0, (CNV_SCORE.to_string(), of_cluster));
        }
        Ok(Self {
            cell_type: cohort.obs.texts("cell_type").unwrap_or_default(),
            aside: params.aside(&symbols(&cohort.var)),
            cohort,
            x,
            learnt,
            cnv,
            map,
            loci,
            class,
            distance,
            sides,
            sums,
            null,
            scores,
            cnv_scores,
            dosage,
            shortfall,
        })
    }

    /// Copy number of every gene in the discordant and the concordant cells of a patient, or of all.
    pub(super) fn loci(&self, patient: Option<usize>) -> Option<&Loci> {
        self.loci[patient.unwrap_or(self.cohort.patients.len())].as_ref()
    }
}

/// Burden of each cell, the mean absolute copy-number signal over all windows; and the copy number of every gene in the
/// discordant and the concordant cells of each part, then of all.
fn of_copy_number(
    cnv: &CohortCnv,
    map: &GeneWindows,
    class: &[String],
    threshold: f64,
) -> StageResult<(Vec<f64>, Vec<Option<Loci>>)> {
    let n_windows = cnv.windows.len();
    let mut burden = Vec::with_capacity(class.len());
    let (mut loci, mut all) = (Vec::new(), LociSums::new(map.len(), n_windows));
    cnv.x.each(&mut |first, x| {
        burden.extend((0..x.n_rows()).map(|r| {
            let values = x.row(r).1;
            values.iter().map(|v| f64::from(v.abs())).sum::<f64>() / n_windows as f64
        }));
        let of = |name: &str| -> Vec<usize> {
            let rows = 0..x.n_rows();
            rows.filter(|&r| class[first + r] == name).collect()
        };
        let (d, c) = (of("discordant"), of("concordant"));
        let counts = changed(map, x, &[&d[..], &c].concat(), threshold);
        let mut own = LociSums::new(map.len(), n_windows);
        for sums in [&mut own, &mut all] {
            sums.add(x, &d, &c, &counts);
        }
        loci.push(own.loci(map, threshold));
        Ok(())
    })?;
    loci.push(all.loci(map, threshold));
    Ok((burden, loci))
}

/// Genes, and `shortfall_z` of the cells, from the tables of `dosage`, where that role was read.
fn dosage(ctx: &StageContext<'_>, cohort: &Cohort) -> StageResult<Option<(DosageGenes, Vec<f64>)>> {
    let Some(input) = ctx.optional(roles::DOSAGE) else {
        return Ok(None);
    };
    let genes = DosageGenes::read(&input.path.join(DosageGeneRow::FILE), &cohort.var.index)?;
    let shortfall = compare::shortfall(
        &input.path.join(DosageCellRow::FILE),
        &cohort.obs.index,
        &cohort.patients,
        &cohort.patient_of,
    )?;
    Ok(Some((genes, shortfall)))
}

/// Check that the table of concordance is in cohort order.
fn check_cells(cohort: &Cohort, rows: &[ConcordanceRow]) -> StageResult<()> {
    if rows.len() != cohort.n_cells() {
        return Err(StageError::data(format!(
            "`concordance` has {} cells, `expr` has {}",
            rows.len(),
            cohort.n_cells()
        )));
    }
    let mut pairs = rows.iter().zip(&cohort.obs.index);
    match pairs.position(|(row, cell)| row.cell != *cell) {
        None => Ok(()),
        Some(i) => Err(StageError::data(format!(
            "row {i} of `concordance`: expected cell `{}` as in `expr`, found `{}`",
            cohort.obs.index[i], rows[i].cell
        ))),
    }
}

/// Columns of `clusters` for the cells, without rows where that role was not read.
fn clusters(ctx: &StageContext<'_>, cohort: &Cohort) -> StageResult<Frame> {
    if ctx.all(roles::CLUSTERS).is_empty() {
        return Ok(Frame::new(Vec::new()));
    }
    let parts = clcc_stage::cohort::paired(ctx, roles::CLUSTERS)?
        .iter()
        .map(clcc_stage::cohort::Paired::obs)
        .collect::<StageResult<Vec<_>>>()?;
    let clusters = clcc_stage::cohort::stack_frames(&parts);
    debug_assert_eq!(clusters.index, cohort.obs.index);
    Ok(clusters)
}

/// Collect the available scores: of `expr`, of `clusters`, and of both copy-number scores.
fn scores(
    cohort: &Cohort,
    clusters: &Frame,
    distance: &[f64],
    shortfall: Option<&[f64]>,
) -> Vec<(String, Vec<f64>)> {
    let of = |name: &str| -> Option<Vec<f64>> {
        match name {
            "distance" => Some(distance.to_vec()),
            "shortfall_z" => shortfall.map(<[f64]>::to_vec),
            _ => cohort
                .obs
                .numbers(name)
                .or_else(|_| clusters.numbers(name))
                .ok(),
        }
    };
    SCORES
        .into_iter()
        .filter_map(|name| Some((name.to_string(), of(name)?)))
        .filter(|(_, values)| values.iter().any(|v| v.is_finite()))
        .collect()
}
