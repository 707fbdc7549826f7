//! `pool_normals`: mean expression of the normal cells of all patients, as a reference for `infercnv`.
//!
//! Reads `expr` of every patient, one after another, and writes `normals`: for each group of `reference_cat` the mean
//! of log1p expression over the cells of that group in all patients, as if they were one data set. An `infercnv` that
//! has this stage among its `needs` measures its cells against these means. One that has not does not read them, and
//! nothing of other patients is in its key.
//!
//! The idea is fastCNV's, which pools the reference cells of all samples, so that a sample
//! without normal cells, or with few, can be measured too. What it costs: what differs between patients by laboratory,
//! age or genotype is in the log ratios, where a reference of the patient's own cells takes it out.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};

use ndarray::Array2;

use clcc_data::anndata::{AnnData, Reader, Uns};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Column, Frame};
use clcc_numerics::stats::pearson;
use clcc_stage::cohort::patient_name;
use clcc_stage::roles;
use clcc_stage::stage::{Metrics, ObsRead, OutputDecl, Publish, Read, Stage, StageContext};
use clcc_stage::tables::{Row as _, Table, TableSpec};

use crate::infercnv::Reference;

clcc_stage::params! {
    /// Parameters of the stage `pool_normals`.
    pub struct PoolNormalsParams {
        /// Column of `obs` that names the reference cells; default `cancer_vs_normal`, which `preprocess` writes.
        pub reference_key: String = "cancer_vs_normal".into(),
        /// Values of `reference_key` that are reference, each a group of its own as in `infercnv`. At least one;
        /// default `[Normal]`.
        #[schemars(length(min = 1))]
        pub reference_cat: Vec<String> = vec!["Normal".into()],
        /// Patients whose cells take no part: those of another laboratory or chemistry, for example. Default none.
        pub exclude_patients: Vec<String> = Vec::new(),
        /// A patient with fewer cells of a group gives none to it; at least 1, default 1.
        #[schemars(range(min = 1))]
        pub min_cells: usize = 1,
    }
}

clcc_stage::table! {
    /// The cells that one patient gives to the pooled normals.
    pub struct PooledNormalsRow = "pooled_normals.tsv" {
        /// Patient.
        patient: String,
        /// Group: a value of `reference_cat`.
        group: String,
        /// Cells of the group that the patient has.
        n_cells: i64,
        /// Whether they are in the pool.
        pooled: bool,
        /// Correlation of their mean expression with that of the pooled cells of the other patients, over genes that
        /// either has. A low one speaks of another chemistry or tissue.
        correlation: Option<f64>,
    }
}

/// The stage kind `pool_normals`.
#[derive(Debug)]
pub struct PoolNormals;

impl Stage for PoolNormals {
    type Params = PoolNormalsParams;

    const KIND: &'static str = "pool_normals";
    const CODE_VERSION: u32 = 1;
    const ABOUT: &'static str = "a reference for `infercnv` of the normal cells of all patients";
    const MULTI_THREADED: bool = true;
    const TABLES: &'static [TableSpec] = &[PooledNormalsRow::SPEC];

    fn reads(_: &Self::Params) -> Vec<Read> {
        vec![Read::required(roles::EXPR)]
    }

    fn outputs(_: &Self::Params) -> Vec<OutputDecl> {
        vec![
            OutputDecl::new(roles::NORMALS, "mean expression of the pooled normal cells"),
            OutputDecl::new(
                roles::NORMALS_SUMMARY,
                "the cells that each patient gives to the pool",
            )
            .publish(Publish::Into("tables")),
        ]
    }

    fn obs_reads(params: &Self::Params) -> Vec<ObsRead> {
        vec![ObsRead {
            param: "reference_key",
            column: params.reference_key.clone(),
            required: true,
            values: vec![("reference_cat", params.reference_cat.clone())],
        }]
    }

    fn run(ctx: &StageContext<'_>, params: &Self::Params) -> StageResult<Metrics> {
        let inputs = ctx.all(roles::EXPR);
        let names: Vec<String> = inputs.iter().map(|input| patient_name(input)).collect();
        if let Some(unknown) = params.exclude_patients.iter().find(|p| !names.contains(p)) {
            return Err(StageError::data(format!(
                "`exclude_patients`: there is no patient `{unknown}`, there are `{}`",
                names.join("`, `")
            )));
        }
        let mut patients = Vec::new();
        for (done, (input, name)) in inputs.iter().zip(&names).enumerate() {
            ctx.check_cancelled()?;
            ctx.progress.step(done as u64, inputs.len() as u64, name);
            patients.push(Sums::of(name, &input.open()?, params)?);
        }
        let pool = Pool::of(&patients, params)?;
        let rows = pool.rows(&patients, params);
        Table::new(rows).write(&ctx.output(roles::NORMALS_SUMMARY))?;
        let mut metrics = Metrics::new();
        let n_cells: Vec<i64> = pool.n_cells.iter().map(|&n| n as i64).collect();
        metrics.insert("n_cells".into(), n_cells.iter().sum::<i64>().into());
        metrics.insert(
            "n_patients".into(),
            pool.n_patients(&patients, params).into(),
        );
        metrics.insert("n_genes".into(), pool.genes.len().into());
        pool.write(&params.reference_cat, &ctx.output(roles::NORMALS))?;
        Ok(metrics)
    }
}

/// Sums of log1p expression over the reference cells of a patient.
struct Sums {
    patient: String,
    genes: Vec<String>,
    /// One per group: cells, and the sum of each gene.
    groups: Vec<(usize, Vec<f64>)>,
}

impl Sums {
    fn of(patient: &str, expr: &Reader, params: &PoolNormalsParams) -> StageResult<Self> {
        let obs = expr.obs()?;
        let values = obs.texts(&params.reference_key)?;
        let x = expr.x()?.into_csr();
        let of_group = |group: &String| {
            let rows: Vec<usize> = (0..values.len()).filter(|&r| values[r] == *group).collect();
            (rows.len(), x.sum_rows(rows))
        };
        Ok(Self {
            patient: patient.to_string(),
            genes: expr.var()?.index,
            groups: params.reference_cat.iter().map(of_group).collect(),
        })
    }

    fn gives(&self, group: usize, params: &PoolNormalsParams) -> bool {
        let excluded = params.exclude_patients.contains(&self.patient);
        !excluded && self.groups[group].0 >= params.min_cells
    }

    /// Sums of a group in the order of `genes`, all of which the patient has.
    fn in_order(&self, group: usize, genes: &[String]) -> Vec<f64> {
        let sums = &self.groups[group].1;
        if self.genes == genes {
            return sums.clone();
        }
        let of_gene: std::collections::HashMap<&String, f64> =
            self.genes.iter().zip(sums.iter().copied()).collect();
        genes.iter().map(|gene| of_gene[gene]).collect()
    }
}

/// The pooled cells: sums over patients, of the genes that all patients have.
struct Pool {
    genes: Vec<String>,
    n_cells: Vec<usize>,
    sums: Vec<Vec<f64>>,
}

impl Pool {
    fn of(patients: &[Sums], params: &PoolNormalsParams) -> StageResult<Self> {
        let Some(first) = patients.first() else {
            return Err(clcc_stage::stage::missing(roles::EXPR));
        };
        let others: Vec<HashSet<&String>> = patients[1..]
            .iter()
            .map(|p| p.genes.iter().collect())
            .collect();
        let in_all = |gene: &&String| others.iter().all(|genes| genes.contains(gene));
        let genes: Vec<String> = first.genes.iter().filter(in_all).cloned().collect();
        let n_groups = params.reference_cat.len();
        let mut pool = Self {
            n_cells: vec![0; n_groups],
            sums: vec![vec![0.0; genes.len()]; n_groups],
            genes,
        };
        for patient in patients {
            for group in (0..n_groups).filter(|&g| patient.gives(g, params)) {
                pool.n_cells[group] += patient.groups[group].0;
                let own = patient.in_order(group, &pool.genes);
                pool.sums[group]
                    .iter_mut()
                    .zip(own)
                    .for_each(|(sum, own)| *sum += own);
            }
        }
        match pool.n_cells.iter().position(|&n| n == 0) {
            None => Ok(pool),
            Some(empty) => Err(StageError::data_hint(
                format!(
                    "no patient gives cells to the reference `{}`",
                    params.reference_cat[empty]
                ),
                "lower `min_cells`, exclude fewer patients, or name other cells with `reference_key` and `reference_cat`",
            )),
        }
    }

    fn n_patients(&self, patients: &[Sums], params: &PoolNormalsParams) -> usize {
        let gives = |p: &&Sums| (0..self.sums.len()).any(|g| p.gives(g, params));
        patients.iter().filter(gives).count()
    }

    fn rows(&self, patients: &[Sums], params: &PoolNormalsParams) -> Vec<PooledNormalsRow> {
        let mut rows = Vec::new();
        for patient in patients {
            for (g, group) in params.reference_cat.iter().enumerate() {
                let (n, _) = patient.groups[g];
                let pooled = patient.gives(g, params);
                let own = patient.in_order(g, &self.genes);
                let taken = if pooled { 1.0 } else { 0.0 };
                let others = self.n_cells[g] - if pooled { n } else { 0 };
                let other = |(sum, own): (&f64, &f64)| (sum - taken * own) / others as f64;
                let rest: Vec<f64> = self.sums[g].iter().zip(&own).map(other).collect();
                let mean: Vec<f64> = own.iter().map(|sum| sum / n as f64).collect();
                rows.push(PooledNormalsRow {
                    patient: patient.patient.clone(),
                    group: group.clone(),
                    n_cells: n as i64,
                    pooled,
                    correlation: (n > 0 && others > 0)
                        .then(|| correlation(&mean, &rest))
                        .flatten(),
                });
            }
        }
        rows
    }

    fn write(&self, groups: &[String], path: &std::path::Path) -> StageResult<()> {
        let shape = (groups.len(), self.genes.len());
        let means = Array2::from_shape_fn(shape, |(g, i)| self.sums[g][i] / self.n_cells[g] as f64);
        let mut obs = Frame::new(groups.to_vec());
        let n_cells = self.n_cells.iter().map(|&n| n as i64).collect();
        obs.set("n_cells", Column::I64(n_cells));
        let data = AnnData {
            obs,
            var: Frame::new(self.genes.clone()),
            uns: BTreeMap::from([("means".into(), Uns::Matrix(means))]),
            ..AnnData::default()
        };
        data.write_zarr(path)
    }
}

/// Pearson's correlation over genes that either has; `None` where one does not vary.
fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    let seen = a.iter().zip(b).filter(|(a, b)| **a > 0.0 || **b > 0.0);
    let (a, b): (Vec<f64>, Vec<f64>) = seen.map(|(a, b)| (*a, *b)).unzip();
    let r = pearson(&a, &b).r;
    r.is_finite().then_some(r)
}

/// Pooled normal cells as `infercnv` reads them.
#[derive(Debug, Clone, PartialEq)]
pub struct Normals {
    /// Genes of the reference.
    pub genes: Vec<String>,
    /// Lowest and highest mean of the groups, in the order of `genes`.
    pub reference: Reference,
    /// Cells of all groups.
    pub n_cells: usize,
}

impl Normals {
    /// Reads what `pool_normals` wrote.
    ///
    /// # Errors
    /// As [`Reader`]'s, and where the store is another.
    pub fn read(store: &Reader) -> StageResult<Self> {
        let (obs, var) = (store.obs()?, store.var()?);
        let Some(Uns::Matrix(means)) = store.uns()?.remove("means") else {
            return Err(StageError::format(
                &store.path(),
                "uns/means",
                "expected a matrix of means".to_string(),
            ));
        };
        let n_cells: f64 = obs.numbers("n_cells")?.iter().sum();
        let groups = means.rows().into_iter().map(|group| group.to_vec());
        Ok(Self {
            reference: Reference::of_means(means.ncols(), groups),
            genes: var.index,
            n_cells: n_cells as usize,
        })
    }

    /// The reference of `genes`, or the rows of those among them that it has.
    pub(crate) fn of(&self, genes: &[String]) -> (Reference, Option<Vec<usize>>) {
        if self.genes == genes {
            return (self.reference.clone(), None);
        }
        let place: std::collections::HashMap<&String, usize> = self.genes.iter().zip(0..).collect();
        let (rows, places): (Vec<usize>, Vec<usize>) = genes
            .iter()
            .enumerate()
            .filter_map(|(row, gene)| Some((row, *place.get(gene)?)))
            .unzip();
        let pick = |v: &[f64]| places.iter().map(|&p| v[p]).collect();
        let reference = Reference {
            low: pick(&self.reference.low),
            high: pick(&self.reference.high),
        };
        (reference, (rows.len() < genes.len()).then_some(rows))
    }
}
