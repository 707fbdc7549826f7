//! Copy number along the genome: cells in rows, grouped, windows in columns under a chromosome bar.

use super::palette::{self, hex};
use super::raster::Raster;
use super::svg::{Svg, TextStyle, clip, text_width};
use clcc_data::error::StageResult;
use clcc_data::matrix::Csr;

const WIDTH: f64 = 900.0;
const TOP: f64 = 30.0;
/// Windows side by side are averaged, within their chromosome, until this many columns hold them.
const MAX_COLUMNS: usize = 1_400;
/// Steps of the colour scale; the middle one is nothing.
const STEPS: usize = 255;

/// Rows of one label, in the order they are drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Group {
    /// Beside the rows.
    pub(crate) label: String,
    /// Colour of the bar beside them.
    pub(crate) colour: [u8; 3],
    /// Cells.
    pub(crate) rows: Vec<usize>,
}

/// A second bar beside the rows: a colour a cell, and what the colours mean.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SideBar {
    /// Colour of each cell of the matrix.
    pub(crate) colours: Vec<[u8; 3]>,
    /// Legend.
    pub(crate) entries: Vec<(String, [u8; 3])>,
}

/// About `n` of the cells, evenly from every group in proportion to its size and at least two of
/// each; the order within a group stays.
pub(crate) fn subsample(groups: &[Group], n: usize) -> Vec<Group> {
    let total: usize = groups.iter().map(|g| g.rows.len()).sum();
    if total <= n {
        return groups.to_vec();
    }
    let thin = |g: &Group| {
        let keep = (g.rows.len() * n).div_ceil(total).max(2).min(g.rows.len());
        Group {
            rows: (0..keep).map(|i| g.rows[i * g.rows.len() / keep]).collect(),
            ..g.clone()
        }
    };
    groups.iter().map(thin).collect()
}

/// Columns of the image: ranges of windows that share a chromosome.
pub(crate) fn columns(chromosomes: &[String]) -> Vec<std::ops::Range<usize>> {
    let width = chromosomes.len().div_ceil(MAX_COLUMNS).max(1);
    let mut out = Vec::new();
    let mut start = 0;
    for end in 1..=chromosomes.len() {
        if end == chromosomes.len()
            || chromosomes[end] != chromosomes[start]
            || end - start == width
        {
            out.push(start..end);
            start = end;
        }
    }
    out
}

/// Draws the heatmap; values of the size `limit` have the full colour.
///
/// # Errors
/// Where the image cannot be encoded.
pub(crate) fn heatmap(
    x: &Csr,
    chromosomes: &[String],
    groups: &[Group],
    side: &SideBar,
    limit: f64,
) -> StageResult<Svg> {
    let columns = columns(chromosomes);
    let cells: Vec<usize> = groups.iter().flat_map(|g| g.rows.iter().copied()).collect();
    let values: Vec<Vec<f64>> = cells.iter().map(|&c| means(x, c, &columns)).collect();

    let palette = (0..STEPS).map(|i| palette::diverging(scaled(i))).collect();
    let mut image = Raster::new(columns.len(), cells.len().max(1), palette);
    for (y, row) in values.iter().enumerate() {
        for (c, v) in row.iter().enumerate() {
            image.set(c, y, step(v / limit));
        }
    }
    // Where nothing was drawn yet the raster holds colour 0, the strongest loss.
    if cells.is_empty() {
        (0..columns.len()).for_each(|c| image.set(c, 0, (STEPS / 2) as u8));
    }

    let longest = groups
        .iter()
        .map(|g| text_width(&clip(&g.label, 22), 11.0))
        .fold(0.0, f64::max);
    let name = "chromosome";
    let left = (longest + 34.0).max(1.2 * text_width(name, 10.0) + 8.0);
    let width = WIDTH - left - 8.0;
    let height = (cells.len() as f64).clamp(180.0, 420.0);
    let mut svg = Svg {
        width: WIDTH,
        height: TOP + height,
        body: String::new(),
    };
    svg.body
        .push_str(&image.image(left, TOP, width, height, false)?);
    let style = TextStyle {
        size: 10.0,
        anchor: "end",
        ..TextStyle::default()
    };
    svg.text(left - 6.0, TOP - 14.0, &style, name);
    chromosome_bar(&mut svg, chromosomes, &columns, left, width, height);
    row_bars(&mut svg, groups, side, &cells, left, width, height)?;
    svg.body.push_str(&format!(
        "<rect x=\"{left}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"{}\"/>",
        palette::AXIS
    ));
    colour_bar(&mut svg, left, width, limit)?;
    if !side.entries.is_empty() {
        svg.legend(left, &side.entries);
    }
    Ok(svg)
}

/// Means of a cell's windows in each column.
fn means(x: &Csr, cell: usize, columns: &[std::ops::Range<usize>]) -> Vec<f64> {
    let mut dense = vec![0.0f64; x.n_cols()];
    let (at, values) = x.row(cell);
    at.iter()
        .zip(values)
        .for_each(|(&c, &v)| dense[c as usize] = f64::from(v));
    columns
        .iter()
        .map(|r| dense[r.clone()].iter().sum::<f64>() / r.len() as f64)
        .collect()
}

/// Position of a step on the scale, in [-1, 1].
fn scaled(i: usize) -> f64 {
    (i as f64 - (STEPS / 2) as f64) / (STEPS / 2) as f64
}

fn step(t: f64) -> u8 {
    let t = if t.is_finite() {
        t.clamp(-1.0, 1.0)
    } else {
        0.0
    };
    (t * (STEPS / 2) as f64 + (STEPS / 2) as f64).round() as u8
}

fn chromosome_bar(
    svg: &mut Svg,
    chromosomes: &[String],
    columns: &[std::ops::Range<usize>],
    left: f64,
    width: f64,
    height: f64,
) {
    let px = |column: usize| left + column as f64 / columns.len() as f64 * width;
    let mut start = 0;
    let mut odd = false;
    for end in 1..=columns.len() {
        let name = &chromosomes[columns[start].start];
        if end < columns.len() && &chromosomes[columns[end].start] == name {
            continue;
        }
        let (a, b) = (px(start), px(end));
        svg.rect(
            a,
            TOP - 10.0,
            b - a,
            7.0,
            if odd { palette::GRID } else { palette::AXIS },
        );
        if end < columns.len() {
            svg.line((b, TOP), (b, TOP + height), palette::AXIS, 0.5);
        }
        let label = name.strip_prefix("chr").unwrap_or(name);
        if b - a >= text_width(label, 10.0) {
            let style = TextStyle {
                size: 10.0,
                anchor: "middle",
                ..TextStyle::default()
            };
            svg.text((a + b) / 2.0, TOP - 14.0, &style, label);
        }
        start = end;
        odd = !odd;
    }
}

fn row_bars(
    svg: &mut Svg,
    groups: &[Group],
    side: &SideBar,
    cells: &[usize],
    left: f64,
    width: f64,
    height: f64,
) -> StageResult<()> {
    let n = cells.len().max(1) as f64;
    let py = |row: usize| TOP + row as f64 / n * height;
    let mut start = 0;
    let mut label_free_from = f64::NEG_INFINITY;
    for group in groups {
        let end = start + group.rows.len();
        let (a, b) = (py(start), py(end));
        svg.rect(left - 26.0, a, 10.0, b - a, &hex(group.colour));
        let middle = (a + b) / 2.0 + 4.0;
        // Labels of thin groups would lie over one another.
        if middle - 11.0 >= label_free_from {
            let style = TextStyle {
                size: 11.0,
                anchor: "end",
                ..TextStyle::default()
            };
            svg.text(left - 30.0, middle, &style, &clip(&group.label, 22));
            label_free_from = middle;
        }
        if end < cells.len() {
            svg.line((left - 26.0, b), (left + width, b), palette::AXIS, 0.7);
        }
        start = end;
    }
    if !side.colours.is_empty() && !cells.is_empty() {
        let mut distinct: Vec<[u8; 3]> = cells.iter().map(|&c| side.colours[c]).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let mut bar = Raster::new(
            1,
            cells.len(),
            distinct.iter().map(|c| palette::opaque(*c)).collect(),
        );
        for (y, &cell) in cells.iter().enumerate() {
            bar.set(
                0,
                y,
                distinct
                    .binary_search(&side.colours[cell])
                    .expect("the colour is among the distinct ones") as u8,
            );
        }
        svg.body
            .push_str(&bar.image(left - 13.0, TOP, 10.0, height, false)?);
    }
    Ok(())
}

fn colour_bar(svg: &mut Svg, left: f64, width: f64, limit: f64) -> StageResult<()> {
    let palette = (0..STEPS).map(|i| palette::diverging(scaled(i))).collect();
    let mut bar = Raster::new(STEPS, 1, palette);
    (0..STEPS).for_each(|i| bar.set(i, 0, i as u8));
    let y = svg.height + 12.0;
    let length = 180.0;
    let x = left + width - length;
    svg.body.push_str(&bar.image(x, y, length, 9.0, true)?);
    svg.body.push_str(&format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{length}\" height=\"9\" fill=\"none\" stroke=\"{}\" stroke-width=\"0.5\"/>",
        palette::AXIS
    ));
    let limit = crate::report::html::short(limit);
    for (at, anchor, text) in [
        (x, "start", format!("loss −{limit}")),
        (x + length / 2.0, "middle", "0".to_string()),
        (x + length, "end", format!("+{limit} gain")),
    ] {
        svg.text(
            at,
            y + 22.0,
            &TextStyle {
                size: 11.0,
                anchor,
                ..TextStyle::default()
            },
            &text,
        );
    }
    svg.height = y + 26.0;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn groups() -> Vec<Group> {
        vec![
            Group {
                label: "0".into(),
                colour: [1, 2, 3],
                rows: (0..90).collect(),
            },
            Group {
                label: "1".into(),
                colour: [4, 5, 6],
                rows: (90..100).collect(),
            },
        ]
    }

    #[test]
    fn a_subsample_keeps_proportions_and_every_group() {
        let thin = subsample(&groups(), 20);
        assert_eq!(thin[0].rows.len(), 18);
        // Every fifth cell of ninety.
        assert_eq!(thin[0].rows[..3], [0, 5, 10]);
        assert_eq!(thin[1].rows, [90, 95]);
        assert_eq!(subsample(&groups(), 100), groups());
    }

    #[test]
    fn columns_do_not_cross_chromosomes() {
        let chromosomes: Vec<String> = (0..3_000)
            .map(|i| if i < 1_501 { "chr1" } else { "chr2" }.to_string())
            .collect();
        let columns = columns(&chromosomes);
        assert!(columns.len() <= MAX_COLUMNS + 1, "{}", columns.len());
        assert!(
            columns
                .iter()
                .all(|r| chromosomes[r.start] == chromosomes[r.end - 1])
        );
        assert_eq!(columns.iter().map(|r| r.len()).sum::<usize>(), 3_000);
        assert_eq!(
            super::columns(&["chr1".to_string(), "chr1".to_string()]),
            [0..1, 1..2]
        );
    }

    #[test]
    fn the_scale_is_symmetric_and_its_middle_is_nothing() {
        assert_eq!(
            [step(-1.0), step(0.0), step(1.0), step(f64::NAN), step(9.0)],
            [0, 127, 254, 127, 254]
        );
        assert_eq!(palette::diverging(scaled(127))[3], 0);
    }

    #[test]
    fn a_heatmap_names_its_chromosomes_and_groups() {
        let x = Csr::from_dense(&array![[0.5, 0.0, -0.5], [0.25, 0.0, 0.0]]);
        let chromosomes = ["chr1", "chr1", "chr7"].map(String::from);
        let groups = [Group {
            label: "clone <a>".into(),
            colour: [9, 9, 9],
            rows: vec![1, 0],
        }];
        let side = SideBar {
            colours: vec![[1; 3], [2; 3]],
            entries: vec![("Cancer".into(), [1; 3])],
        };
        let svg = heatmap(&x, &chromosomes, &groups, &side, 0.5).unwrap();
        assert!(
            svg.body.contains("+0.5 gain")
                && svg.body.contains(">7</text>")
                && svg.body.contains(">chromosome</text>")
                && svg.body.contains("clone &lt;a&gt;")
                && svg.body.contains(">Cancer<")
        );
        assert_eq!(svg.body.matches("<image").count(), 3);
    }
}
