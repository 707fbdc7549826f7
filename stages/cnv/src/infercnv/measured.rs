//! Measured copy number in the windows of the inferred one, so that later stages can use it in its
//! place.
//!
//! The table of segments (tab-separated, `#` lines are notes) has the columns `chromosome`, `start`,
//! `end` (1-based, inclusive) and `copy_number`, and identifies their owner by `cell` (the name in
//! `obs`) or by `clone` (the value of `measured.clone_key` in `obs`); a column `patient`, if present,
//! must agree with `obs` as well. A gene has the copy number of the segment that contains its middle,
//! or `ploidy` where there is none; a cell without segments is unchanged throughout.
//!
//! Values are ln(copy number / ploidy), clipped to `lfc_clip`, in the same weighted windows as inferred
//! ones. Unlike those they are not centred on the cell's median, since a measurement has a zero.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::layout::{GenePositions, Layout};
use super::params::InfercnvParams;
use super::smooth::{Scratch, Smoother};
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Frame, is_missing};
use clcc_data::genome::normalise_chromosome;
use clcc_data::matrix::Csr;
use clcc_data::table::TextTable;
use clcc_numerics::math;

/// Owner of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Cell,
    Clone,
}

/// Interval of one chromosome with its copy number.
#[derive(Debug, Clone, PartialEq)]
struct Segment {
    chromosome: String,
    start: f64,
    end: f64,
    copy_number: f64,
}

/// Table of measured copy number.
#[derive(Debug, Clone)]
pub struct Segments {
    owner: Owner,
    /// Whether the owner includes the patient.
    by_patient: bool,
    of: BTreeMap<(String, String), Vec<Segment>>,
}

impl Segments {
    /// Read the table.
    ///
    /// # Errors
    /// [`StageError::Data`] where a column is missing, a value is not a number, a segment ends before
    /// it starts, two segments of one owner overlap, or a copy number is negative.
    pub fn read(path: &Path) -> StageResult<Self> {
        let table = TextTable::read(path)?;
        let (owner, column) = match (table.position("cell"), table.position("clone")) {
            (Some(_), _) => (Owner::Cell, "cell"),
            (None, Some(_)) => (Owner::Clone, "clone"),
            (None, None) => {
                return Err(StageError::data(format!(
                    "expected a column `cell` or `clone` in the table of segments; the columns are `{}`",
                    table.header.join("`, `")
                )));
            }
        };
        let name = table.texts(column)?;
        let by_patient = table.position("patient").is_some();
        let patient = if by_patient {
            table.texts("patient")?
        } else {
            vec![""; name.len()]
        };
        let chromosome = table.texts("chromosome")?;
        let [start, end, copies] =
            ["start", "end", "copy_number"].map(|column| table.numbers(column));
        let (start, end, copies) = (start?, end?, copies?);
        let mut of: BTreeMap<(String, String), Vec<Segment>> = BTreeMap::new();
        for i in 0..name.len() {
            let segment = Segment {
                chromosome: normalise_chromosome(chromosome[i]),
                start: start[i],
                end: end[i],
                copy_number: copies[i],
            };
            check_row(i, name[i], &segment)?;
            of.entry((patient[i].to_string(), name[i].to_string()))
                .or_default()
                .push(segment);
        }
        for ((_, name), segments) in &mut of {
            sort_disjoint(name, segments)?;
        }
        Ok(Self {
            owner,
            by_patient,
            of,
        })
    }

    /// Chromosomes with a segment but without a gene, such as a human's X under the number 23; X, Y and
    /// M, which data may lack, are not reported.
    pub(super) fn chromosomes_without_genes(&self, positions: &GenePositions) -> Vec<&str> {
        let with_genes: BTreeSet<&str> = positions.chromosome.iter().map(String::as_str).collect();
        let all: BTreeSet<&str> = self
            .of
            .values()
            .flatten()
            .map(|s| s.chromosome.as_str())
            .collect();
        all.into_iter()
            .filter(|c| !with_genes.contains(c) && !["chrX", "chrY", "chrM"].contains(c))
            .collect()
    }
}

/// Check that row `i` of the table names an owner and has a valid interval and copy number.
fn check_row(i: usize, name: &str, segment: &Segment) -> StageResult<()> {
    let row = || format!("row {} of the segments", i + 1);
    let Segment {
        start,
        end,
        copy_number,
        ..
    } = *segment;
    if is_missing(name) {
        return Err(StageError::data(format!(
            "{}: expected whose segment it is, found `{name}`",
            row()
        )));
    }
    if start > end || (start - end).is_nan() {
        return Err(StageError::data(format!(
            "{}: expected start <= end, found {start} and {end}",
            row()
        )));
    }
    if !(copy_number >= 0.0 && copy_number.is_finite()) {
        return Err(StageError::data(format!(
            "{}: expected a copy number of at least 0, found {copy_number}",
            row()
        )));
    }
    Ok(())
}

/// Sort the segments of the owner `name` along the genome, and check that they do not overlap.
fn sort_disjoint(name: &str, segments: &mut [Segment]) -> StageResult<()> {
    segments.sort_by(|a, b| {
        a.chromosome
            .cmp(&b.chromosome)
            .then(a.start.total_cmp(&b.start))
    });
    let overlap = segments
        .windows(2)
        .find(|w| w[0].chromosome == w[1].chromosome && w[1].start <= w[0].end);
    match overlap {
        None => Ok(()),
        Some(w) => Err(StageError::data(format!(
            "segments of `{name}` overlap on {}: {}-{} and {}-{}",
            w[0].chromosome, w[0].start, w[0].end, w[1].start, w[1].end
        ))),
    }
}

fn copies(segments: &[Segment], chromosome: &str, middle: f64) -> Option<f64> {
    let after = segments.partition_point(|s| {
        s.chromosome.as_str() < chromosome || (s.chromosome == chromosome && s.start <= middle)
    });
    let s = segments.get(after.checked_sub(1)?)?;
    (s.chromosome == chromosome && middle <= s.end).then_some(s.copy_number)
}

/// Compute `X_cnv` of every cell (`n_cells x n_windows`), and the number of cells without segments.
///
/// # Errors
/// [`StageError::Data`] where `obs` lacks the column that names a cell's clone or patient.
pub fn measured(
    obs: &Frame,
    positions: &GenePositions,
    layout: &Layout,
    segments: &Segments,
    params: &InfercnvParams,
) -> StageResult<(Csr, usize)> {
    let names = match segments.owner {
        Owner::Cell => obs.index.clone(),
        Owner::Clone => obs.texts(&params.measured.clone_key)?,
    };
    let patients = if segments.by_patient {
        obs.texts("patient")?
    } else {
        vec![String::new(); obs.len()]
    };
    let smoother = Smoother::new(layout);
    let profile = |own: &[Segment]| -> Vec<(u32, f32)> {
        let ratio = |g: usize| {
            let middle = (positions.start[g] + positions.end[g]) / 2.0;
            let n = copies(own, &positions.chromosome[g], middle)?;
            let clip = params.lfc_clip;
            Some(math::ln(n / params.measured.ploidy).clamp(-clip, clip))
        };
        let values: Vec<(u32, f64)> = layout
            .genes
            .iter()
            .enumerate()
            .filter_map(|(at, &g)| Some((at as u32, ratio(g)?)))
            .collect();
        let mut out = vec![0.0; smoother.n_windows()];
        smoother.apply(&values, &mut Scratch::default(), &mut out);
        out.iter()
            .enumerate()
            // Sums of equal and opposite terms leave rounding errors.
            .filter(|(_, v)| v.abs() > 1e-9)
            .map(|(w, &v)| (w as u32, v as f32))
            .collect()
    };
    let mut made: HashMap<(String, String), Vec<(u32, f32)>> = HashMap::new();
    let mut without = 0;
    let rows: Vec<Vec<(u32, f32)>> = patients
        .into_iter()
        .zip(names)
        .map(|key| match segments.of.get(&key) {
            None => {
                without += 1;
                Vec::new()
            }
            Some(own) => made.entry(key).or_insert_with(|| profile(own)).clone(),
        })
        .collect();
    Ok((Csr::from_rows(layout.windows.len(), rows), without))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infercnv::InfercnvParams;

    fn positions() -> GenePositions {
        // chr1: ten genes of 100 bases, one every 1,000; chr2 the same.
        let n = 20;
        GenePositions {
            names: (0..n).map(|g| format!("g{g}")).collect(),
            symbols: (0..n).map(|g| format!("g{g}")).collect(),
            chromosome: (0..n).map(|g| format!("chr{}", 1 + g / 10)).collect(),
            start: (0..n).map(|g| f64::from((g % 10) * 1000 + 1)).collect(),
            end: (0..n).map(|g| f64::from((g % 10) * 1000 + 100)).collect(),
        }
    }

    fn read(text: &str) -> StageResult<Segments> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segments.tsv");
        std::fs::write(&path, text).unwrap();
        Segments::read(&path)
    }

    /// Windows of three genes, pyramid weights 1 2 1: genes 0-4 of chr1 have 3 copies in clone a.
    #[test]
    fn segments_fill_the_windows_that_they_cover() {
        let segments = read("# note\npatient\tclone\tchromosome\tstart\tend\tcopy_number\nP\ta\t1\t1\t4500\t3\nP\tb\tchr2\t1\t9000\t0\n").unwrap();
        let params = InfercnvParams {
            window_size: 3,
            step: 1,
            lfc_clip: 2.0,
            ..Default::default()
        };
        let p = positions();
        let layout = Layout::new(&p, &params).unwrap();
        let mut obs = Frame::new(["c1", "c2", "c3", "c4"].map(String::from).to_vec());
        obs.set_category("patient", &["P", "P", "P", "Q"]);
        obs.set_category("truth_clone", &["a", "b", "", "a"]);
        let (x, without) = measured(&obs, &p, &layout, &segments, &params).unwrap();
        assert_eq!((x.n_rows(), x.n_cols(), without), (4, 16, 2));
        let gain = 1.5f64.ln();
        // Window w of chr1 holds genes w, w+1, w+2.
        for (w, weight) in [(0, 1.0), (2, 1.0), (3, 0.75), (4, 0.25), (5, 0.0), (8, 0.0)] {
            assert!(
                (f64::from(x.get(0, w)) - weight * gain).abs() < 1e-6,
                "window {w}"
            );
        }
        // No copies: clipped; gene 9 of chr2 begins after the segment.
        assert!((x.get(1, 8) + 2.0).abs() < 1e-6 && (x.get(1, 15) + 1.5).abs() < 1e-6);
        assert!(x.row(2).0.is_empty() && x.row(3).0.is_empty());
    }

    #[test]
    fn segments_off_the_genes_are_named() {
        let head = "cell\tchromosome\tstart\tend\tcopy_number\n";
        let text = format!("{head}c\t1\t1\t4\t3\nc\t23\t1\t4\t1\nc\tX\t1\t4\t1\n");
        let segments = read(&text).unwrap();
        assert_eq!(segments.chromosomes_without_genes(&positions()), ["chr23"]);
    }

    #[test]
    fn what_is_wrong_with_a_table_is_named() {
        let head = "cell\tchromosome\tstart\tend\tcopy_number\n";
        for (text, part) in [
            ("chromosome\tstart\n", "`cell` or `clone`"),
            (&format!("{head}c\t1\t5\t4\t2\n"), "start <= end"),
            (
                &format!("{head}NA\t1\t1\t4\t2\n"),
                "row 1 of the segments: expected whose segment it is, found `NA`",
            ),
            (&format!("{head}c\t1\t1\t4\t-1\n"), "at least 0"),
            (
                &format!("{head}c\t1\t1\t4\t1\nc\tchr1\t4\t9\t2\n"),
                "overlap",
            ),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
