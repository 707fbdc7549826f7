//! Retrieval of method B: is a cell, or the centroid of an anchor's cells, nearest to its own anchor?
//!
//! A query's rank is 1 plus the number of *other* anchors whose cosine with it is at least that of its
//! own anchor, so ties worsen it. A centroid is the mean over an anchor's cells of one part of the split
//! (unit rows in `z`, rows as they are in `h`). Averaging removes what is specific to a cell, so
//! centroids find their anchor more easily than cells do, and centroids of training cells most easily:
//! the model was trained on those. Chance for the first k of M anchors is k / M.

use std::path::Path;

use ndarray::{Array2, ArrayView1};
use serde_json::json;

use crate::mine::{Part, Split};
use clcc_data::anndata::Reader;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Categorical, Column, Frame};
use clcc_numerics::stats::median;
use clcc_stage::roles;
use clcc_stage::rows::{AnchorRetrievalRow, AnchorRow, AnchorSimilarityRow, CentroidSimilarityRow};
use clcc_stage::stage::{Metrics, StageContext};
use clcc_stage::tables::{Family, Table};

/// The `k` of the top-k shares.
const TOP: [usize; 2] = [1, 5];

/// Cells and anchors in one space, `z` or `h`.
#[derive(Debug, Clone)]
pub(super) struct Space {
    name: &'static str,
    /// `n_cells x dim`, unit rows.
    cells: Array2<f64>,
    /// The cells' rows before scaling, for the means.
    raw: Array2<f64>,
    /// `n_anchors x dim`, unit rows.
    anchors: Array2<f64>,
}

impl Space {
    /// Scales the rows of both to unit length.
    pub(super) fn new(name: &'static str, cells: Array2<f64>, anchors: Array2<f64>) -> Self {
        Self {
            name,
            cells: unit(cells.clone()),
            raw: cells,
            anchors: unit(anchors),
        }
    }

    /// Computes the mean row of `cells` for each anchor that has some, at unit length: (anchor, row).
    fn centroids(&self, cells: &[usize], of: &[Option<usize>]) -> Vec<(usize, Vec<f64>)> {
        let m = self.anchors.nrows();
        let mut sums = Array2::<f64>::zeros((m, self.raw.ncols()));
        let mut counts = vec![0usize; m];
        for &c in cells {
            if let Some(a) = of[c] {
                counts[a] += 1;
                let mut sum = sums.row_mut(a);
                sum += &self.raw.row(c);
            }
        }
        let sums = unit(sums);
        let there = (0..m).filter(|&a| counts[a] > 0);
        there.map(|a| (a, sums.row(a).to_vec())).collect()
    }

    /// Ranks the anchor `own` of a query among all anchors.
    fn rank(&self, query: ArrayView1<'_, f64>, own: usize) -> Found {
        let cosines = self.anchors.dot(&query);
        let others = (0..cosines.len()).filter(|&a| a != own);
        let ahead = others.clone().filter(|&a| cosines[a] >= cosines[own]);
        let n = cosines.len() as f64 - 1.0;
        Found {
            anchor: own,
            rank: 1 + ahead.count(),
            own: cosines[own],
            other: others.map(|a| cosines[a]).sum::<f64>() / n,
        }
    }

    /// The other anchor that is nearest to anchor `a`, and its cosine with it.
    fn nearest(&self, a: usize) -> (usize, f64) {
        let own = self.anchors.row(a);
        let others = (0..self.anchors.nrows()).filter(|&b| b != a);
        others.map(|b| (b, own.dot(&self.anchors.row(b)))).fold(
            (a, f64::NEG_INFINITY),
            |best, other| {
                if other.1 > best.1 { other } else { best }
            },
        )
    }
}

/// Scales rows to unit length; a row of zeros stays as it is.
fn unit(mut rows: Array2<f64>) -> Array2<f64> {
    for mut row in rows.rows_mut() {
        let length = row.dot(&row).sqrt();
        if length > 0.0 {
            row /= length;
        }
    }
    rows
}

/// The result of one query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    anchor: usize,
    pub(super) rank: usize,
    /// Cosine with the own anchor.
    own: f64,
    /// Mean cosine with the others.
    other: f64,
}

/// One row of `anchor_retrieval.tsv`.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) level: &'static str,
    pub(super) space: &'static str,
    pub(super) cells: &'static str,
    pub(super) found: Vec<Found>,
}

impl Row {
    /// Share of the queries whose own anchor is among the first `k`; NaN without queries.
    pub(super) fn top(&self, k: usize) -> f64 {
        self.mean(|f| f64::from(u8::from(f.rank <= k)))
    }

    fn mean(&self, value: impl Fn(&Found) -> f64) -> f64 {
        mean(self.found.iter(), value)
    }

    /// NaN without queries.
    fn median_rank(&self) -> f64 {
        let ranks: Vec<f64> = self.found.iter().map(|f| f.rank as f64).collect();
        if ranks.is_empty() {
            f64::NAN
        } else {
            median(&ranks)
        }
    }
}

/// Mean over queries; NaN of none.
fn mean<'a>(found: impl Iterator<Item = &'a Found>, value: impl Fn(&Found) -> f64) -> f64 {
    let values: Vec<f64> = found.map(value).collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// What `train` says of an anchor.
#[derive(Debug, Clone)]
struct About {
    /// Subclusters with its states.
    subclusters: String,
    n_cells: i64,
    n_train_cells: i64,
    /// Share of the genes that are not in the normal state.
    share_altered: f64,
}

impl About {
    fn read(anchors: &Frame) -> StageResult<Vec<Self>> {
        let subclusters = anchors.texts("subclusters")?;
        let [cells, train, altered] =
            ["n_cells", "n_train_cells", "share_altered"].map(|name| anchors.numbers(name));
        let (cells, train, altered) = (cells?, train?, altered?);
        let about = |(i, subclusters)| Self {
            subclusters,
            n_cells: cells[i] as i64,
            n_train_cells: train[i] as i64,
            share_altered: altered[i],
        };
        Ok(subclusters.into_iter().enumerate().map(about).collect())
    }
}

/// Cells, anchors and the split, in both spaces.
#[derive(Debug)]
pub(super) struct Anchored {
    names: Vec<String>,
    /// One entry per anchor.
    about: Vec<About>,
    /// Anchor of each cell.
    of: Vec<Option<usize>>,
    split: Split,
    spaces: [Space; 2],
}

impl Anchored {
    fn load(ctx: &StageContext<'_>, anchors: &Path) -> StageResult<Self> {
        let embeddings = ctx.one(roles::EMBEDDINGS)?.open()?;
        let anchors = Reader::open(anchors)?;
        let (obs, about) = (embeddings.obs()?, anchors.obs()?);
        let names = about.index.clone();
        let split = Split::read(&ctx.one(roles::SPLIT)?.path, &obs.index)?;
        let of = match obs.column("anchor")? {
            Column::Category(Categorical {
                codes, categories, ..
            }) if *categories == names => codes.iter().map(|&c| usize::try_from(c).ok()).collect(),
            _ => {
                return Err(StageError::data(
                    "`embeddings` and `anchors` are of different runs: column `anchor` has other names",
                ));
            }
        };
        let wide = |reader: &Reader, name: &str| -> StageResult<Array2<f64>> {
            Ok(reader.obsm(name)?.into_dense().mapv(f64::from))
        };
        let space = |name, key: &str| -> StageResult<Space> {
            Ok(Space::new(
                name,
                wide(&embeddings, key)?,
                wide(&anchors, key)?,
            ))
        };
        Ok(Self {
            names,
            about: About::read(&about)?,
            of,
            split,
            spaces: [space("z", "X_z")?, space("h", "X_h")?],
        })
    }

    /// Lists the cells of a part that have an anchor; `heldout` is validation and test together, none of
    /// which the model was trained on.
    fn cells(&self, part: &str) -> Vec<usize> {
        let wanted = |p: Part| match part {
            "heldout" => p != Part::Train,
            name => p.name() == name,
        };
        let all = 0..self.of.len();
        all.filter(|&c| wanted(self.split.part[c]) && self.of[c].is_some())
            .collect()
    }

    /// Lists the anchors by descending number of training cells, ties by number: the constant answer to beat.
    fn by_size(&self) -> Vec<usize> {
        let mut counts = vec![0usize; self.names.len()];
        for cell in self.cells("train") {
            counts[self.of[cell].expect("`cells` have an anchor")] += 1;
        }
        let mut order: Vec<usize> = (0..counts.len()).collect();
        order.sort_by_key(|&a| (std::cmp::Reverse(counts[a]), a));
        order
    }

    /// Ranks centroids, then cells; in `z`, then in `h`.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for level in ["centroid", "cell"] {
            for space in &self.spaces {
                for part in ["train", "heldout", "val", "test"] {
                    let cells = self.cells(part);
                    let found = if level == "centroid" {
                        let centroids = space.centroids(&cells, &self.of);
                        let rank = |(a, q): &(usize, Vec<f64>)| space.rank(ArrayView1::from(q), *a);
                        centroids.iter().map(rank).collect()
                    } else {
                        let rank =
                            |&c: &usize| self.of[c].map(|a| space.rank(space.cells.row(c), a));
                        cells.iter().filter_map(rank).collect()
                    };
                    rows.push(Row {
                        level,
                        space: space.name,
                        cells: part,
                        found,
                    });
                }
            }
        }
        rows
    }
}

/// Writes the tables of method B and returns its metrics.
///
/// # Errors
/// Where the artifacts do not fit together or a table cannot be written.
pub(super) fn run(ctx: &StageContext<'_>, anchors: &Path) -> StageResult<Metrics> {
    let of = Anchored::load(ctx, anchors)?;
    ctx.check_cancelled()?;
    let rows = of.rows();
    let dir = ctx.output(roles::RETRIEVAL);
    write_rows(&dir, &rows, &of.by_size())?;
    write_anchors(&dir, &of, &rows)?;
    write_similarities(&dir, &of)?;
    Ok(metrics(&rows, of.names.len()))
}

fn write_rows(dir: &Path, rows: &[Row], by_size: &[usize]) -> StageResult<()> {
    let m = by_size.len();
    let row = |r: &Row| {
        let largest = |k: usize| {
            let answers = &by_size[..k.min(m)];
            r.mean(|f| f64::from(u8::from(answers.contains(&f.anchor))))
        };
        let [first, second] = TOP;
        AnchorRetrievalRow {
            level: r.level.to_string(),
            space: r.space.to_string(),
            cells: r.cells.to_string(),
            queries: r.found.len() as i64,
            anchors: m as i64,
            top1: r.top(first),
            chance_top1: chance(first, m),
            largest_top1: largest(first),
            top5: r.top(second),
            chance_top5: chance(second, m),
            largest_top5: largest(second),
            mrr: r.mean(|f| 1.0 / f.rank as f64),
            median_rank: r.median_rank(),
            mean_own: r.mean(|f| f.own),
            mean_other: r.mean(|f| f.other),
        }
    };
    Table::new(rows.iter().map(row).collect())
        .note("how often a query's own anchor is among the k nearest by cosine; rank = 1 + number of other anchors at least as similar (ties count against us); chance_topk = k / anchors; largest_topk: what the k anchors with most training cells, always answered, would give")
        .note("level: centroid (mean of an anchor's cells of that part) or cell; cells: train, heldout (val and test together), val, test; mean_own, mean_other: mean cosine with the own anchor and with the others")
        .write(dir)
}

fn chance(k: usize, m: usize) -> f64 {
    k.min(m) as f64 / m as f64
}

/// Writes `anchors.tsv`, one row per anchor.
fn write_anchors(dir: &Path, of: &Anchored, rows: &[Row]) -> StageResult<()> {
    let find = |level: &str, space: &str, cells: &str| {
        let wanted = |r: &&Row| (r.level, r.space, r.cells) == (level, space, cells);
        rows.iter().find(wanted).map_or(&[][..], |r| &r.found)
    };
    let rank = |space: &str, cells: &str, a: usize| {
        let found = find("centroid", space, cells).iter();
        let own = found.rev().find(|f| f.anchor == a);
        own.map_or(f64::NAN, |f| f.rank as f64)
    };
    let top5 = |space: &str, cells: &str, a: usize| {
        let own = find("cell", space, cells).iter().filter(|f| f.anchor == a);
        mean(own, |f| f64::from(u8::from(f.rank <= 5)))
    };
    let row = |(a, about): (usize, &About)| {
        let (nearest, cosine) = of.spaces[0].nearest(a);
        AnchorRow {
            anchor: of.names[a].clone(),
            subclusters: about.subclusters.clone(),
            n_cells: about.n_cells,
            n_train_cells: about.n_train_cells,
            share_altered: about.share_altered,
            rank_z_train: rank("z", "train", a),
            rank_z_heldout: rank("z", "heldout", a),
            rank_h_train: rank("h", "train", a),
            rank_h_heldout: rank("h", "heldout", a),
            cell_top5_z_train: top5("z", "train", a),
            cell_top5_z_heldout: top5("z", "heldout", a),
            cell_top5_h_train: top5("h", "train", a),
            cell_top5_h_heldout: top5("h", "heldout", a),
            nearest_anchor: of.names[nearest].clone(),
            nearest_cosine: rounded(cosine),
        }
    };
    Table::new(of.about.iter().enumerate().map(row).collect())
        .note("one row an anchor: the subclusters that have its states, their cells, the share of genes not in the normal state; rank_SPACE_PART: rank of the anchor for the centroid of its cells; cell_top5_SPACE_PART: share of its cells that have it among the nearest five; nearest_anchor: the other anchor nearest in z")
        .write(dir)
}

/// Rounds to six decimals, the precision of the embeddings.
fn rounded(v: f64) -> f64 {
    (v * 1e6).round() / 1e6
}

/// Cosines in z of the queries, each of an anchor, with all anchors.
fn cosines(of: &Anchored, queries: &[(usize, Vec<f64>)]) -> Vec<(String, Family<f64>)> {
    let names = Family::names(of.names.iter().cloned());
    let z = &of.spaces[0].anchors;
    let row = |(anchor, query): &(usize, Vec<f64>)| {
        let query = ArrayView1::from(query);
        let cosines = z.rows().into_iter().map(|a| rounded(a.dot(&query)));
        let cosines = Family::new(&names, cosines.collect());
        (of.names[*anchor].clone(), cosines)
    };
    queries.iter().map(row).collect()
}

fn write_similarities(dir: &Path, of: &Anchored) -> StageResult<()> {
    let z = &of.spaces[0];
    let anchors = z.anchors.rows().into_iter().map(|r| r.to_vec());
    let rows = cosines(of, &anchors.enumerate().collect::<Vec<_>>());
    let rows = rows.into_iter();
    Table::new(
        rows.map(|(anchor, cosine)| AnchorSimilarityRow { anchor, cosine })
            .collect(),
    )
    .note("cosine in z of the anchors with one another: how far apart the frozen map puts them")
    .write(dir)?;
    let rows = cosines(of, &z.centroids(&of.cells("train"), &of.of)).into_iter();
    Table::new(rows.map(|(anchor, cosine)| CentroidSimilarityRow { anchor, cosine }).collect())
        .note("cosine in z of the centroids of training cells (rows, by anchor) with the anchors (columns)")
        .write(dir)
}

fn metrics(rows: &[Row], m: usize) -> Metrics {
    let mut out = Metrics::new();
    let number = |x: f64| json!(Some(x).filter(|x| x.is_finite()));
    out.insert("anchors".into(), json!(m));
    for k in TOP {
        out.insert(format!("chance_top{k}"), number(chance(k, m)));
        for row in rows
            .iter()
            .filter(|r| ["train", "heldout"].contains(&r.cells))
        {
            let name = format!("{}_top{k}_{}_{}", row.level, row.space, row.cells);
            out.insert(name, number(row.top(k)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_stage::tables::Row as _;
    use ndarray::array;

    /// Three anchors on the axes of the plane and its diagonal; anchor 2 is between the others.
    fn example() -> Anchored {
        let anchors = array![[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]];
        let cells = array![
            [1.0, 0.0], // train, anchor 0: rank 1
            [0.6, 0.8], // train, anchor 0: both others are nearer, rank 3
            [0.0, 1.0], // val, anchor 1: rank 1
            [1.0, 1.0], // test, anchor 1: 2 is nearer and 0 as near, which counts against: rank 3
            [1.0, 0.0], // test, no anchor
        ];
        let h = Array2::from_elem((5, 2), 1.0);
        Anchored {
            names: ["a", "b", "c"].map(String::from).to_vec(),
            about: vec![
                About {
                    subclusters: "s1 s2".into(),
                    n_cells: 2,
                    n_train_cells: 2,
                    share_altered: 0.5,
                };
                3
            ],
            of: vec![Some(0), Some(0), Some(1), Some(1), None],
            split: Split {
                part: vec![Part::Train, Part::Train, Part::Val, Part::Test, Part::Test],
            },
            spaces: [
                Space::new("z", cells, anchors.clone()),
                Space::new("h", h, anchors),
            ],
        }
    }

    #[test]
    fn ranks_of_cells_and_centroids_by_hand() {
        let rows = example().rows();
        let ranks = |level: &str, space: &str, cells: &str| -> Vec<usize> {
            let row = rows
                .iter()
                .find(|r| r.level == level && r.space == space && r.cells == cells);
            row.unwrap().found.iter().map(|f| f.rank).collect()
        };
        assert_eq!(ranks("cell", "z", "train"), [1, 3]);
        assert_eq!(ranks("cell", "z", "heldout"), [1, 3]);
        // (0.8, 0.4): cosines .89, .45, .95. (0.5, 1): .45, .89, .95.
        assert_eq!(ranks("centroid", "z", "train"), [2]);
        assert_eq!(ranks("centroid", "z", "heldout"), [2]);
        assert_eq!(ranks("centroid", "z", "test"), [3]);
        // In h all cells are on the diagonal.
        assert_eq!(ranks("centroid", "h", "train"), [3]);
        assert_eq!(rows.len(), 16);
        let row = rows.iter().find(|r| r.level == "cell").unwrap();
        assert_eq!((row.top(1), row.top(5)), (0.5, 1.0));
        assert_eq!(
            (chance(1, 4), chance(5, 4), chance(5, 50)),
            (0.25, 1.0, 0.1)
        );
    }

    #[test]
    fn tables_have_a_row_an_anchor_and_a_row_a_scope() {
        let dir = tempfile::tempdir().unwrap();
        let of = example();
        let rows = of.rows();
        write_rows(dir.path(), &rows, &of.by_size()).unwrap();
        write_anchors(dir.path(), &of, &rows).unwrap();
        write_similarities(dir.path(), &of).unwrap();
        let at = |file: &str| dir.path().join(file);
        let retrieval = AnchorRetrievalRow::read(&at(AnchorRetrievalRow::FILE)).unwrap();
        assert_eq!(retrieval.len(), 16);
        assert_eq!(retrieval[0].chance_top1, 1.0 / 3.0);
        // Anchor 0 has the two training cells; no held-out cell is of it.
        assert_eq!(of.by_size(), [0, 1, 2]);
        let largest = |part: &str| {
            let wanted = |r: &&AnchorRetrievalRow| {
                (r.level.as_str(), r.space.as_str(), r.cells.as_str()) == ("cell", "z", part)
            };
            retrieval.iter().find(wanted).unwrap().largest_top1
        };
        assert_eq!((largest("train"), largest("heldout")), (1.0, 0.0));
        let anchors = AnchorRow::read(&at(AnchorRow::FILE)).unwrap();
        let nearest: Vec<&str> = anchors.iter().map(|a| a.nearest_anchor.as_str()).collect();
        assert_eq!(nearest, ["c", "c", "a"]);
        assert_eq!(anchors[0].rank_z_train, 2.0);
        assert!(anchors[1].rank_z_train.is_nan());
        assert_eq!(anchors[0].cell_top5_z_train, 1.0);
        let alike = AnchorSimilarityRow::read(&at(AnchorSimilarityRow::FILE)).unwrap();
        assert_eq!(alike[0].cosine.values(), [1.0, 0.0, rounded(0.5f64.sqrt())]);
        let centroids = CentroidSimilarityRow::read(&at(CentroidSimilarityRow::FILE)).unwrap();
        assert_eq!(centroids[0].cosine.get("c"), Some(&0.948683));
        let m = metrics(&rows, 3);
        assert_eq!(m["centroid_top1_z_train"], json!(0.0));
        assert_eq!(m["cell_top1_z_train"], json!(0.5));
    }
}
