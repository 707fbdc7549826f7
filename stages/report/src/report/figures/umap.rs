//! A map of cells, coloured by a category or a number; drawn as an image.

use ndarray::ArrayView2;

use super::chart::range;
use super::palette::{self, opaque};
use super::raster::Raster;
use super::svg::{Svg, TextStyle, clip};
use clcc_data::error::StageResult;

const SIDE: f64 = 340.0;
/// Image pixels per CSS pixel: the browser's shrinking smooths the discs.
const SCALE: f64 = 2.0;
const STEPS: usize = 200;

/// What the colours say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Colouring {
    /// Categories by code; a code outside `names` is missing.
    Category {
        /// Code of each cell.
        codes: Vec<i32>,
        /// Name of each code.
        names: Vec<String>,
        /// Colour of each code.
        colours: Vec<[u8; 3]>,
        /// Write the names on the map, at the median of their cells.
        on_map: bool,
    },
    /// A number a cell; NaN is missing.
    Value {
        /// Value of each cell.
        values: Vec<f64>,
        /// Under the colour bar.
        label: String,
    },
}

impl Colouring {
    /// Each name in its usual colour.
    pub(crate) fn named(codes: Vec<i32>, names: Vec<String>, on_map: bool) -> Self {
        let colour = |(i, name): (usize, &String)| palette::named(name, i);
        let colours = names.iter().enumerate().map(colour).collect();
        Self::Category {
            codes,
            names,
            colours,
            on_map,
        }
    }
}

/// Draws the first two columns of `points`; cells whose place is no number are left out.
///
/// # Errors
/// Where the image cannot be encoded.
pub(crate) fn umap(points: ArrayView2<'_, f32>, colouring: &Colouring) -> StageResult<Svg> {
    let xs: Vec<f64> = points.column(0).iter().map(|&v| f64::from(v)).collect();
    let ys: Vec<f64> = points.column(1).iter().map(|&v| f64::from(v)).collect();
    let x = range(xs.iter().copied(), 0.03).unwrap_or((0.0, 1.0));
    let y = range(ys.iter().copied(), 0.03).unwrap_or((0.0, 1.0));
    let px = |i: usize| (xs[i] - x.0) / (x.1 - x.0) * SIDE;
    let py = |i: usize| SIDE - (ys[i] - y.0) / (y.1 - y.0) * SIDE;

    let (palette, colour_of) = colours(colouring);
    let n = xs.len();
    let radius = (110.0 / (n.max(1) as f64).sqrt()).clamp(1.4, 6.0);
    let mut image = Raster::new((SIDE * SCALE) as usize, (SIDE * SCALE) as usize, palette);
    // Missing ones first, so that they hide nothing.
    for missing in [true, false] {
        for i in scattered(n)
            .filter(|&i| (colour_of[i] == 1) == missing && xs[i].is_finite() && ys[i].is_finite())
        {
            image.disc(px(i) * SCALE, py(i) * SCALE, radius, colour_of[i]);
        }
    }
    let mut svg = Svg {
        width: SIDE,
        height: SIDE,
        body: image.image(0.0, 0.0, SIDE, SIDE, true)?,
    };
    name_axes(&mut svg);
    match colouring {
        Colouring::Category {
            codes,
            names,
            colours,
            on_map,
        } => {
            if *on_map {
                name_groups(&mut svg, codes, names, &px, &py);
            }
            let present = |c: usize| codes.contains(&(c as i32));
            let mut entries: Vec<(String, [u8; 3])> = (0..names.len())
                .filter(|&c| present(c))
                .map(|c| (names[c].clone(), colours[c]))
                .collect();
            if codes.iter().any(|&c| c < 0 || c as usize >= names.len()) {
                entries.push(("not stated".into(), palette::MUTED));
            }
            svg.legend(2.0, &entries);
        }
        Colouring::Value { values, label } => value_bar(&mut svg, values, label)?,
    }
    Ok(svg)
}

/// The names of the axes, in the corners where they end; a map has no units.
fn name_axes(svg: &mut Svg) {
    let style = TextStyle {
        size: 10.0,
        anchor: "end",
        colour: palette::AXIS,
        ..TextStyle::default()
    };
    svg.text(SIDE - 3.0, SIDE - 4.0, &style, "UMAP 1");
    let style = TextStyle {
        turn: -90.0,
        ..style
    };
    svg.text(10.0, 3.0, &style, "UMAP 2");
}

/// Palette and each cell's index into it: 0 nothing, 1 missing, 2.. the colours.
fn colours(colouring: &Colouring) -> (Vec<[u8; 4]>, Vec<u8>) {
    let mut palette = vec![[0, 0, 0, 0], opaque(palette::MUTED)];
    match colouring {
        Colouring::Category {
            codes,
            names,
            colours,
            ..
        } => {
            let n = names.len().min(254);
            palette.extend(colours[..n].iter().map(|c| opaque(*c)));
            let index = |&c: &i32| {
                usize::try_from(c)
                    .ok()
                    .filter(|&c| c < n)
                    .map_or(1, |c| c as u8 + 2)
            };
            (palette, codes.iter().map(index).collect())
        }
        Colouring::Value { values, .. } => {
            palette.extend(
                (0..STEPS).map(|i| opaque(palette::sequential(i as f64 / (STEPS - 1) as f64))),
            );
            let (lo, hi) = limits(values);
            let index = |&v: &f64| {
                let t = ((v - lo) / (hi - lo)).clamp(0.0, 1.0);
                if v.is_finite() {
                    (t * (STEPS - 1) as f64).round() as u8 + 2
                } else {
                    1
                }
            };
            (palette, values.iter().map(index).collect())
        }
    }
}

/// 1st and 99th percentile: a few extreme cells must not take all colours.
fn limits(values: &[f64]) -> (f64, f64) {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return (0.0, 1.0);
    };
    let (lo, hi) = (sorted[last / 100], sorted[last - last / 100]);
    if hi > lo {
        (lo, hi)
    } else {
        (lo - 0.5, lo + 0.5)
    }
}

/// All of `0..n` once, in an order that has nothing to do with theirs, so that no patient or
/// cluster is drawn over the others because it comes last.
fn scattered(n: usize) -> impl Iterator<Item = usize> {
    let gcd = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut stride = (n as f64 * 0.618) as usize | 1;
    while n > 1 && gcd(stride, n) != 1 {
        stride += 2;
    }
    (0..n).map(move |i| ((i as u128 * stride as u128) % n as u128) as usize)
}

fn name_groups(
    svg: &mut Svg,
    codes: &[i32],
    names: &[String],
    px: &impl Fn(usize) -> f64,
    py: &impl Fn(usize) -> f64,
) {
    for (code, name) in names.iter().enumerate() {
        let cells: Vec<usize> = (0..codes.len())
            .filter(|&i| codes[i] == code as i32)
            .collect();
        let (Some(x), Some(y)) = (
            median(cells.iter().map(|&i| px(i))),
            median(cells.iter().map(|&i| py(i))),
        ) else {
            continue;
        };
        let style = TextStyle {
            size: 12.0,
            anchor: "middle",
            bold: true,
            halo: true,
            ..TextStyle::default()
        };
        svg.text(x, y + 4.0, &style, &clip(name, 14));
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut v: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    v.sort_unstable_by(f64::total_cmp);
    v.get(v.len() / 2).copied()
}

fn value_bar(svg: &mut Svg, values: &[f64], label: &str) -> StageResult<()> {
    let mut bar = Raster::new(
        STEPS,
        1,
        (0..STEPS)
            .map(|i| opaque(palette::sequential(i as f64 / (STEPS - 1) as f64)))
            .collect(),
    );
    (0..STEPS).for_each(|i| bar.set(i, 0, i as u8));
    let (lo, hi) = limits(values);
    let y = svg.height + 6.0;
    let style = |anchor| TextStyle {
        size: 11.0,
        anchor,
        ..TextStyle::default()
    };
    svg.body.push_str(&bar.image(2.0, y, 150.0, 9.0, true)?);
    svg.text(
        2.0,
        y + 21.0,
        &style("start"),
        &crate::report::html::short(lo),
    );
    svg.text(
        152.0,
        y + 21.0,
        &style("end"),
        &crate::report::html::short(hi),
    );
    svg.text(162.0, y + 9.0, &style("start"), &clip(label, 30));
    svg.height = y + 28.0;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn every_cell_is_drawn_once_in_scattered_order() {
        for n in [0, 1, 2, 7, 10, 1_000] {
            let mut order: Vec<usize> = scattered(n).collect();
            assert!(n < 100 || order[..3] != [0, 1, 2]);
            order.sort_unstable();
            assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_map_names_its_categories_and_marks_missing_ones() {
        let points = array![[0.0f32, 0.0], [1.0, 1.0], [f32::NAN, 0.0]];
        let colouring = Colouring::Category {
            codes: vec![0, -1, 0],
            names: vec!["T <cells>".into(), "unused".into()],
            colours: vec![[1; 3], [2; 3]],
            on_map: true,
        };
        let svg = umap(points.view(), &colouring).unwrap();
        assert!(
            svg.body.contains("T &lt;cells&gt;")
                && svg.body.contains("not stated")
                && !svg.body.contains("unused")
        );
        let (_, index) = colours(&colouring);
        assert_eq!(index, [2, 1, 2]);
    }

    #[test]
    fn values_span_the_scale_and_missing_ones_do_not() {
        let (palette, index) = colours(&Colouring::Value {
            values: vec![0.0, f64::NAN, 10.0],
            label: "b".into(),
        });
        assert_eq!(palette.len(), STEPS + 2);
        assert_eq!(index, [2, 1, STEPS as u8 + 1]);
        assert_eq!(limits(&[3.0, 3.0]), (2.5, 3.5));
    }
}
