//! Loads the inputs of method B: cells, and the copy-number states of their subclusters.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use crate::mine::{FeatureMoments, Moments, Part, Split};
use crate::train::network::inputs::Modality;
use clcc_data::anndata::Uns;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::Frame;
use clcc_data::matrix::{Columns, Csr, Parts};
use clcc_stage::cohort::{Cohort, Paired, paired, patient_name};
use clcc_stage::roles;
use clcc_stage::stage::{StageContext, missing};

/// The anchors: distinct state vectors of subclusters.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Anchors {
    /// Name of each anchor, that of its first subcluster.
    pub(super) names: Vec<String>,
    /// Subclusters of each anchor, in order.
    pub(super) subclusters: Vec<Vec<String>>,
    /// `n_anchors x n_genes`: copy number over the normal one, minus 1.
    pub(super) states: Csr,
    /// Names of the columns' genes.
    pub(super) genes: Vec<String>,
    /// Anchor of each cell, in cohort order; `None` where inferCNV left the cell out.
    pub(super) of: Vec<Option<u32>>,
    /// Subcluster of each cell, empty where it has none.
    pub(super) subcluster_of: Vec<String>,
}

/// The states of one patient's subclusters.
struct States {
    genes: Vec<String>,
    names: Vec<String>,
    /// `n_subclusters x n_genes`, copy number over the normal one.
    values: ndarray::Array2<f64>,
    /// Subcluster of each cell.
    labels: Vec<String>,
}

impl States {
    fn read(cnv: &Paired<'_>) -> StageResult<Self> {
        let absent = || {
            StageError::data_hint(
                format!(
                    "`cnv` of patient `{}` has no copy-number states of subclusters",
                    patient_name(&cnv.input)
                ),
                "set `method: hmm` in `infercnv`",
            )
        };
        let uns = cnv.reader.uns()?;
        let hmm = uns
            .get("cnv")
            .and_then(|c| c.at(&["hmm"]))
            .ok_or_else(absent)?;
        let (Some(Uns::Matrix(values)), Some(Uns::Strings(names))) =
            (hmm.at(&["states"]), hmm.at(&["subclusters"]))
        else {
            return Err(absent());
        };
        Ok(Self {
            genes: cnv.reader.var()?.index,
            names: names.clone(),
            values: values.clone(),
            labels: cnv.obs()?.texts("cnv_subcluster")?,
        })
    }

    /// The altered genes of each subcluster among `genes`, which this patient all has: their number there,
    /// and the state minus 1.
    fn altered(&self, genes: &[String]) -> impl Iterator<Item = Vec<(u32, f32)>> {
        let place: HashMap<&str, usize> = self
            .genes
            .iter()
            .enumerate()
            .map(|(i, g)| (g.as_str(), i))
            .collect();
        let columns: Vec<usize> = genes.iter().map(|g| place[g.as_str()]).collect();
        self.values.rows().into_iter().map(move |states| {
            columns
                .iter()
                .enumerate()
                .map(|(g, &column)| (g as u32, (states[column] - 1.0) as f32))
                .filter(|(_, v)| *v != 0.0)
                .collect()
        })
    }
}

/// Sparse rows of (gene, value), each once.
#[derive(Debug, Default)]
struct DistinctRows {
    rows: Vec<Vec<(u32, f32)>>,
    /// Number of each row, by its genes and the bits of its values.
    number_of: BTreeMap<Vec<(u32, u32)>, u32>,
}

impl DistinctRows {
    /// The number of a row, a new one where there is no equal row yet.
    fn number(&mut self, row: Vec<(u32, f32)>) -> u32 {
        let key = row.iter().map(|&(g, v)| (g, v.to_bits())).collect();
        let next = self.rows.len() as u32;
        let number = *self.number_of.entry(key).or_insert(next);
        if number == next {
            self.rows.push(row);
        }
        number
    }
}

/// The genes that every patient retained and that are `known`, in the order of the first patient.
fn shared_genes(parts: &[States], known: &dyn Fn(&str) -> bool) -> StageResult<Vec<String>> {
    let retained: Vec<HashSet<&str>> = parts
        .iter()
        .map(|p| p.genes.iter().map(String::as_str).collect())
        .collect();
    let everywhere = |g: &&String| retained.iter().all(|p| p.contains(g.as_str()));
    let first = parts.first().map_or(&[][..], |p| &p.genes);
    let genes: Vec<String> = first
        .iter()
        .filter(everywhere)
        .filter(|g| known(g))
        .cloned()
        .collect();
    if genes.is_empty() {
        return Err(StageError::data(
            "no gene that `infercnv` retained is among the genes of all patients",
        ));
    }
    Ok(genes)
}

impl Anchors {
    /// Loads the role `cnv` of all patients, on the genes that all of them retained and that are `known`.
    ///
    /// Subclusters with the same states on these genes are one anchor: they would be one point of the
    /// bank, and no model could tell them apart.
    ///
    /// # Errors
    /// [`StageError::Data`] without states, and where fewer than two anchors or no genes are left.
    pub(super) fn load(ctx: &StageContext<'_>, known: &dyn Fn(&str) -> bool) -> StageResult<Self> {
        let found = paired(ctx, roles::CNV)?;
        let parts = found
            .iter()
            .map(States::read)
            .collect::<StageResult<Vec<_>>>()?;
        let prefixes: Vec<String> = found
            .iter()
            .map(|cnv| match found.len() {
                1 => String::new(),
                _ => format!("{}:", patient_name(&cnv.input)),
            })
            .collect();
        Self::join(&parts, &prefixes, known)
    }

    /// Joins the patients' states; the names of a patient's subclusters get its prefix.
    fn join(
        parts: &[States],
        prefixes: &[String],
        known: &dyn Fn(&str) -> bool,
    ) -> StageResult<Self> {
        let mut anchors = Self {
            names: Vec::new(),
            subclusters: Vec::new(),
            states: Csr::from_rows(0, Vec::new()),
            genes: shared_genes(parts, known)?,
            of: Vec::new(),
            subcluster_of: Vec::new(),
        };
        let mut rows = DistinctRows::default();
        for (part, prefix) in parts.iter().zip(prefixes) {
            let mut own: HashMap<&str, u32> = HashMap::new();
            for (name, states) in part.names.iter().zip(part.altered(&anchors.genes)) {
                let anchor = rows.number(states);
                let name_in_cohort = format!("{prefix}{name}");
                if anchor as usize == anchors.names.len() {
                    anchors.names.push(name_in_cohort.clone());
                    anchors.subclusters.push(Vec::new());
                }
                anchors.subclusters[anchor as usize].push(name_in_cohort);
                own.insert(name, anchor);
            }
            for label in &part.labels {
                anchors.of.push(own.get(label.as_str()).copied());
                let name = if label.is_empty() {
                    String::new()
                } else {
                    format!("{prefix}{label}")
                };
                anchors.subcluster_of.push(name);
            }
        }
        if anchors.len() < 2 {
            return Err(StageError::data_hint(
                format!(
                    "expected at least 2 anchors, found {}: all subclusters have the same copy-number states",
                    anchors.len()
                ),
                "lower `hmm.bayes_max_p_normal` or raise `hmm.leiden_resolution` in `infercnv`",
            ));
        }
        anchors.states = Csr::from_rows(anchors.genes.len(), rows.rows);
        Ok(anchors)
    }

    /// Number of anchors.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}

/// The data that training reads and does not change.
#[derive(Debug)]
pub(super) struct AnchorData {
    /// Expression of all cells on the anchors' genes.
    pub(super) expr: Modality,
    /// States of the anchors.
    pub(super) states: Modality,
    /// Anchor of each cell.
    pub(super) of: Vec<Option<u32>>,
    pub(super) n_anchors: usize,
    /// Training cells that have an anchor.
    pub(super) train: Vec<usize>,
    /// Validation cells that have one.
    pub(super) val: Vec<usize>,
}

impl AnchorData {
    /// Scales `expr` (`n_cells x n_genes` of the anchors) and sorts the cells that have an anchor.
    fn new(
        expr: &dyn Parts,
        anchors: &Anchors,
        split: &Split,
        moments: &Moments,
        dir: &Path,
    ) -> StageResult<Self> {
        let with_anchor = |part: Part| -> Vec<usize> {
            let cells = split.cells(part).into_iter();
            cells.filter(|&c| anchors.of[c].is_some()).collect()
        };
        Ok(Self {
            expr: Modality::cells(expr, &moments.expr, dir)?,
            states: Modality::cells(&anchors.states, &moments.cnv, dir)?,
            of: anchors.of.clone(),
            n_anchors: anchors.len(),
            train: with_anchor(Part::Train),
            val: with_anchor(Part::Val),
        })
    }
}

/// The inputs of a run.
pub(super) struct Inputs {
    pub(super) data: AnchorData,
    pub(super) anchors: Anchors,
    pub(super) split: Split,
    pub(super) moments: Moments,
    pub(super) cells: Vec<String>,
    pub(super) patients: Vec<String>,
}

impl Inputs {
    /// Reads `expr`, `cnv`, `split` and `moments`.
    ///
    /// # Errors
    /// As [`Anchors::load`], and where the roles do not fit together.
    pub(super) fn load(ctx: &StageContext<'_>) -> StageResult<Self> {
        let cohort = Cohort::load(ctx)?;
        let split = Split::read(&ctx.one(roles::SPLIT)?.path, &cohort.obs.index)?;
        let n_windows = n_windows(ctx)?;
        let moments = Moments::read(&ctx.one(roles::MOMENTS)?.path, cohort.var.len(), n_windows)?;
        let column: HashMap<&str, usize> = cohort
            .var
            .index
            .iter()
            .enumerate()
            .map(|(g, name)| (name.as_str(), g))
            .collect();
        // Place of a cohort gene among the moments.
        let moment = |g: usize| match &moments.genes {
            None => Some(g),
            Some(genes) => genes.binary_search(&(g as u32)).ok(),
        };
        let known = |name: &str| column.get(name).is_some_and(|&g| moment(g).is_some());
        let anchors = Anchors::load(ctx, &known)?;
        let columns: Vec<usize> = anchors.genes.iter().map(|g| column[g.as_str()]).collect();
        let pick = |values: &[f64]| -> Vec<f64> {
            let at = |&g: &usize| values[moment(g).expect("`known` genes have moments")];
            columns.iter().map(at).collect()
        };
        let moments = Moments {
            expr: FeatureMoments {
                mean: pick(&moments.expr.mean),
                sd: pick(&moments.expr.sd),
            },
            // The states are used as they are.
            cnv: FeatureMoments {
                mean: vec![0.0; anchors.genes.len()],
                sd: vec![1.0; anchors.genes.len()],
            },
            genes: None,
        };
        let x = cohort.expression(ctx)?;
        let expr = Columns {
            x: &x,
            kept: &columns,
        };
        Ok(Self {
            data: AnchorData::new(&expr, &anchors, &split, &moments, &ctx.out_dir)?,
            split,
            moments,
            patients: cohort.obs.texts("patient")?,
            cells: cohort.obs.index,
            anchors,
        })
    }

    /// Describes each anchor in a row: its subclusters, its cells in all and in training, the share of
    /// its genes that are altered.
    pub(super) fn anchor_frame(&self) -> Frame {
        use clcc_data::frame::Column;
        let count = |cells: &mut dyn Iterator<Item = usize>| {
            let mut n = vec![0i64; self.anchors.len()];
            for anchor in cells.filter_map(|c| self.anchors.of[c]) {
                n[anchor as usize] += 1;
            }
            Column::I64(n)
        };
        let mut frame = Frame::new(self.anchors.names.clone());
        let joined = self.anchors.subclusters.iter().map(|s| s.join(" "));
        frame.set("subclusters", Column::Str(joined.collect()));
        frame.set("n_cells", count(&mut (0..self.cells.len())));
        frame.set("n_train_cells", count(&mut self.data.train.iter().copied()));
        let altered = (0..self.anchors.len())
            .map(|a| self.anchors.states.row(a).0.len() as f64 / self.anchors.genes.len() as f64);
        frame.set("share_altered", Column::F64(altered.collect()));
        frame
    }
}

fn n_windows(ctx: &StageContext<'_>) -> StageResult<usize> {
    let first = ctx.all(roles::CNV);
    let first = first.first().ok_or_else(|| missing(roles::CNV))?;
    first.open()?.columns("obsm/X_cnv")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn strings<const N: usize>(v: [&str; N]) -> Vec<String> {
        v.map(String::from).to_vec()
    }

    /// Genes b and c are everywhere. On them s1 and s3 of the first patient are the same, and so is s1 of
    /// the second.
    #[test]
    fn subclusters_with_the_same_states_are_one_anchor() {
        let parts = [
            States {
                genes: strings(["a", "b", "c"]),
                names: strings(["s1", "s2", "s3"]),
                values: array![[1.0, 1.0, 1.5], [1.0, 1.0, 1.0], [0.5, 1.0, 1.5]],
                labels: strings(["s2", "s1", "", "s3"]),
            },
            States {
                genes: strings(["c", "d", "b"]),
                names: strings(["s1", "s2"]),
                values: array![[1.5, 1.0, 1.0], [1.0, 1.0, 2.0]],
                labels: strings(["s2", "s1"]),
            },
        ];
        let all = Anchors::join(&parts, &strings(["P1:", "P2:"]), &|_| true).unwrap();
        assert_eq!(all.genes, strings(["b", "c"]));
        assert_eq!(all.names, strings(["P1:s1", "P1:s2", "P2:s2"]));
        assert_eq!(all.subclusters[0], strings(["P1:s1", "P1:s3", "P2:s1"]));
        assert_eq!(all.of, [Some(1), Some(0), None, Some(0), Some(2), Some(0)]);
        assert_eq!(all.subcluster_of[2..5], strings(["", "P1:s3", "P2:s2"]));
        assert_eq!(all.states.to_dense(), array![[0., 0.5], [0., 0.], [1., 0.]]);

        // With every gene of one patient, s1 and s3 differ; on a gene alike everywhere nothing is left.
        let one = Anchors::join(&parts[..1], &strings([""]), &|_| true).unwrap();
        assert_eq!((one.len(), one.names[2].as_str()), (3, "s3"));
        let error = Anchors::join(&parts[..1], &strings([""]), &|g| g == "b").unwrap_err();
        assert!(
            error.to_string().contains("at least 2 anchors, found 1"),
            "{error}"
        );
        assert!(Anchors::join(&parts[..1], &strings([""]), &|_| false).is_err());
    }
}
