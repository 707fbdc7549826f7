//! Chunk `genome`: copy number of cells and clones along the genome.

use serde_json::json;

use crate::report::figures::heatmap::{Group, subsample};
use crate::report::figures::palette;
use crate::report::load::{Patient, windows};
use crate::report::payload::{Chunk, Code, LeftOut};
use crate::report::sections::categories;
use clcc_data::error::StageResult;
use clcc_stage::cells::{CLONE, MALIGNANT};
use clcc_stage::stage::StageContext;

/// Largest share of a patient's rows that normal cells take where there are others.
const NORMAL_SHARE: usize = 4;

/// Cells of one patient that are shown together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CellGroup {
    /// Position of the patient.
    pub(crate) patient: usize,
    /// What a reader calls it: `clone 1`, `normal cells`.
    pub(crate) name: String,
    /// Whether its cells are malignant.
    pub(crate) malignant: bool,
    /// Rows of its cells in [`Patient::obs`].
    pub(crate) cells: Vec<usize>,
}

/// Copy number of the cohort along the genome.
#[derive(Debug)]
pub(crate) struct Genome {
    /// Chromosome of each window.
    pub(crate) chromosomes: Vec<String>,
    /// First and last base of each window; 0 where they are not known.
    starts: Vec<u32>,
    ends: Vec<u32>,
    /// Names of the patients.
    pub(crate) patients: Vec<String>,
    /// Groups in the order of the rows.
    pub(crate) groups: Vec<CellGroup>,
    /// Mean over the cells of each group, by window.
    pub(crate) profiles: Vec<Vec<f32>>,
    /// Size of the value that has the full colour, everywhere on the page.
    pub(crate) limit: f64,
    /// Rows that are shown, by group; a row is a cell of the patient.
    shown: Vec<Vec<usize>>,
    /// Their values, row by row.
    values: Vec<f32>,
    left_out: Vec<LeftOut>,
}

impl Genome {
    /// Reads the copy number of every patient, one after another; `rows` of each are kept. `None` without any.
    ///
    /// # Errors
    /// What reading a store reports.
    pub(crate) fn load(
        ctx: &StageContext<'_>,
        patients: &[Patient],
        rows: usize,
    ) -> StageResult<Option<Self>> {
        let mut out: Option<Self> = None;
        let mut left_out = Vec::new();
        for (p, patient) in patients.iter().enumerate() {
            ctx.check_cancelled()?;
            let Some(cnv) = windows(patient)? else {
                continue;
            };
            let genome = out.get_or_insert_with(|| Self {
                chromosomes: cnv.chromosomes.clone(),
                starts: cnv.starts.clone(),
                ends: cnv.ends.clone(),
                patients: patients.iter().map(|p| p.name.clone()).collect(),
                groups: Vec::new(),
                profiles: Vec::new(),
                limit: 1.0,
                shown: Vec::new(),
                values: Vec::new(),
                left_out: Vec::new(),
            });
            let same = genome.chromosomes == cnv.chromosomes && genome.starts == cnv.starts;
            if !same {
                left_out.push(LeftOut {
                    what: format!("copy number of {}", patient.name),
                    why: "its windows are not those of the first patient".into(),
                    file: String::new(),
                });
                continue;
            }
            let groups = cell_groups(p, patient);
            let shown = choose(&groups, rows);
            for (group, shown) in groups.into_iter().zip(shown) {
                let mean = cnv.x.sum_rows(group.cells.iter().copied());
                let n = group.cells.len() as f64;
                genome
                    .profiles
                    .push(mean.iter().map(|v| (v / n) as f32).collect());
                for &cell in &shown {
                    let (at, values) = cnv.x.row(cell);
                    let start = genome.values.len();
                    genome.values.resize(start + cnv.x.n_cols(), 0.0);
                    at.iter()
                        .zip(values)
                        .for_each(|(&c, &v)| genome.values[start + c as usize] = v);
                }
                genome.shown.push(shown);
                genome.groups.push(group);
            }
        }
        Ok(out.map(|mut genome| {
            genome.limit = limit(&genome.values);
            genome.left_out = left_out;
            genome
        }))
    }

    /// Number of windows.
    pub(crate) fn n_windows(&self) -> usize {
        self.chromosomes.len()
    }

    /// The chunk. `offsets`: row of each patient's first cell among all cells.
    pub(crate) fn chunk(&self, offsets: &[usize]) -> Chunk {
        let mut chunk = Chunk::new("genome");
        let n = self.n_windows();
        let mut chroms: Vec<&str> = Vec::new();
        let mut chrom = Vec::with_capacity(n);
        for name in &self.chromosomes {
            let at = chroms.iter().position(|c| c == name);
            chrom.push(at.unwrap_or_else(|| {
                chroms.push(name);
                chroms.len() - 1
            }) as u8);
        }
        chunk.set("limit", json!(self.limit));
        chunk.set("chroms", json!(chroms));
        chunk.set("patients", json!(self.patients));
        let about = |g: &CellGroup| json!({"patient": g.patient, "clone": g.name, "malignant": g.malignant, "n": g.cells.len()});
        let with_rows = self.groups.iter().zip(&self.shown).map(|(g, rows)| {
            let mut about = about(g);
            about["rows"] = json!(rows.len());
            about
        });
        chunk.set("groups", with_rows.collect());
        chunk.set("profiles", self.groups.iter().map(about).collect());
        let of = self.groups.iter().zip(&self.shown);
        let cells: Vec<u32> = of
            .flat_map(|(g, rows)| rows.iter().map(|c| (offsets[g.patient] + c) as u32))
            .collect();
        chunk.steps8("heat", &[cells.len(), n], &self.values, self.limit);
        chunk.u32("cells", &[cells.len()], &cells, Code::Planes);
        let profiles: Vec<f64> = self
            .profiles
            .iter()
            .flatten()
            .map(|v| f64::from(*v))
            .collect();
        chunk.f16("profiles", &[self.profiles.len(), n], &profiles);
        chunk.u8("wchrom", &[n], &chrom);
        chunk.u32("wstart", &[n], &self.starts, Code::DeltaPlanes);
        chunk.u32("wend", &[n], &self.ends, Code::DeltaPlanes);
        chunk.left_out.clone_from(&self.left_out);
        chunk
    }
}

/// The cells of a patient by clone where there are clones, else by call, by label, by cluster, or together. Groups of normal
/// cells come first.
pub(crate) fn cell_groups(at: usize, patient: &Patient) -> Vec<CellGroup> {
    let n = patient.obs.len();
    let column = |name: &str| {
        categories(&patient.obs, name).filter(|(codes, _)| codes.iter().any(|c| *c >= 0))
    };
    let text = |(codes, names): &(Vec<i32>, Vec<String>), i: usize| {
        usize::try_from(codes[i]).map_or(String::new(), |c| names[c].clone())
    };
    let (clones, calls) = (column(CLONE), column(MALIGNANT));
    let labels = column("cancer_vs_normal");
    let clusters = column("cnv_leiden");
    let key = |i: usize| -> (u8, usize, String) {
        let call = calls.as_ref().map(|c| text(c, i));
        if let Some(clones) = &clones {
            return match (usize::try_from(clones.0[i]), call.as_deref()) {
                (Ok(c), _) => (1, c, format!("clone {}", clones.1[c])),
                (Err(_), Some("Malignant")) => (2, 0, "malignant, in no clone".into()),
                _ => (0, 0, "normal cells".into()),
            };
        }
        match (call.as_deref(), &labels, &clusters) {
            (Some("Malignant"), _, _) => (1, 0, "malignant cells".into()),
            (Some(_), _, _) => (0, 0, "normal cells".into()),
            (None, Some(labels), _) => match text(labels, i).as_str() {
                "Cancer" => (1, 0, "cancer cells".into()),
                _ => (0, 0, "normal cells".into()),
            },
            (None, None, Some(clusters)) => {
                let c = usize::try_from(clusters.0[i]).unwrap_or(0);
                (0, c, format!("cluster {}", clusters.1[c]))
            }
            (None, None, None) => (0, 0, "all cells".into()),
        }
    };
    let mut groups: std::collections::BTreeMap<(u8, usize, String), Vec<usize>> =
        std::collections::BTreeMap::new();
    (0..n).for_each(|i| groups.entry(key(i)).or_default().push(i));
    groups
        .into_iter()
        .map(|((rank, _, name), cells)| CellGroup {
            patient: at,
            name,
            malignant: rank > 0,
            cells,
        })
        .collect()
}

/// About `n` cells of a patient's groups, evenly from each in proportion to its size; normal cells take a quarter where there
/// are others.
fn choose(groups: &[CellGroup], n: usize) -> Vec<Vec<usize>> {
    let any = |malignant: bool| groups.iter().any(|g| g.malignant == malignant);
    let n_normal = if any(true) && any(false) {
        n / NORMAL_SHARE
    } else {
        n
    };
    let of = |malignant: bool, n: usize| {
        let own = groups.iter().filter(|g| g.malignant == malignant);
        let own: Vec<Group> = own
            .map(|g| Group {
                label: String::new(),
                colour: palette::MUTED,
                rows: g.cells.clone(),
            })
            .collect();
        subsample(&own, n).into_iter().map(|g| g.rows)
    };
    let n_malignant = if any(true) && any(false) {
        n - n_normal
    } else {
        n
    };
    let (mut normal, mut malignant) = (of(false, n_normal), of(true, n_malignant));
    let next = |g: &CellGroup| {
        let from = if g.malignant {
            malignant.next()
        } else {
            normal.next()
        };
        from.unwrap_or_default()
    };
    groups.iter().map(next).collect()
}

/// The 99th percentile of the sizes of values other than 0; 1 without any.
fn limit(values: &[f32]) -> f64 {
    let sizes = values.iter().map(|v| v.abs());
    let mut sizes: Vec<f32> = sizes.filter(|v| v.is_finite() && *v > 0.0).collect();
    if sizes.is_empty() {
        return 1.0;
    }
    let at = (sizes.len() - 1) * 99 / 100;
    f64::from(*sizes.select_nth_unstable_by(at, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_data::frame::Frame;

    fn patient(columns: &[(&str, [&str; 6])]) -> Patient {
        let mut obs = Frame::new((0..6).map(|i| i.to_string()).collect());
        for (name, values) in columns {
            obs.set_category(name, values);
        }
        Patient {
            name: "P".into(),
            obs,
            ..Patient::default()
        }
    }

    #[test]
    fn cells_are_grouped_by_the_best_that_is_known() {
        let names = |columns: &[(&str, [&str; 6])]| -> Vec<(String, bool, Vec<usize>)> {
            let groups = cell_groups(0, &patient(columns));
            groups
                .into_iter()
                .map(|g| (g.name, g.malignant, g.cells))
                .collect()
        };
        let clones = (CLONE, ["2", "1", "", "1", "", ""]);
        let calls = (
            MALIGNANT,
            [
                "Malignant",
                "Malignant",
                "Normal",
                "Malignant",
                "Malignant",
                "",
            ],
        );
        let group =
            |name: &str, malignant, cells: &[usize]| (name.to_string(), malignant, cells.to_vec());
        assert_eq!(
            names(&[clones, calls]),
            [
                group("normal cells", false, &[2, 5]),
                group("clone 1", true, &[1, 3]),
                group("clone 2", true, &[0]),
                group("malignant, in no clone", true, &[4]),
            ]
        );
        assert_eq!(
            names(&[calls])[1],
            group("malignant cells", true, &[0, 1, 3, 4])
        );
        let label = (
            "cancer_vs_normal",
            ["Cancer", "Normal", "Normal", "", "Cancer", "Normal"],
        );
        assert_eq!(names(&[label])[1], group("cancer cells", true, &[0, 4]));
        assert_eq!(
            names(&[("cnv_leiden", ["1", "0", "0", "1", "1", "1"])]).len(),
            2
        );
        assert_eq!(
            names(&[])[0],
            group("all cells", false, &[0, 1, 2, 3, 4, 5])
        );
    }

    #[test]
    fn normal_cells_take_a_quarter_of_the_rows() {
        let group = |malignant, cells: std::ops::Range<usize>| CellGroup {
            patient: 0,
            name: String::new(),
            malignant,
            cells: cells.collect(),
        };
        let groups = [
            group(false, 0..900),
            group(true, 900..960),
            group(true, 960..1000),
        ];
        let n = |chosen: Vec<Vec<usize>>| chosen.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(n(choose(&groups, 40)), [10, 18, 12]);
        assert_eq!(n(choose(&groups[..1], 40)), [40]);
        assert_eq!(n(choose(&groups, 4000)), [900, 60, 40]);
    }
}
