//! A matrix as coloured squares: a few dozen rows and columns with names and, where they fit,
//! numbers; more as an image.

use super::palette;
use super::raster::Raster;
use super::svg::{Svg, TextStyle, clip, number, text_width};
use clcc_data::error::StageResult;

/// What the rows and the columns of a matrix are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axes<'a> {
    /// Beside the rows.
    pub(crate) rows: &'a str,
    /// Above the columns.
    pub(crate) columns: &'a str,
}

/// Room for the name of an axis.
const NAME: f64 = 18.0;

impl Axes<'_> {
    /// Writes both names: the columns' over the middle of `x`, the rows' at the left edge beside the middle of `y`.
    fn write(self, svg: &mut Svg, x: (f64, f64), y: (f64, f64)) {
        let style = TextStyle {
            size: 12.0,
            anchor: "middle",
            ..TextStyle::default()
        };
        svg.text((x.0 + x.1) / 2.0, 12.0, &style, self.columns);
        let style = TextStyle {
            turn: -90.0,
            ..style
        };
        svg.text(12.0, (y.0 + y.1) / 2.0, &style, self.rows);
    }
}

/// Most rows or columns that are drawn.
pub(crate) const MOST: usize = 60;

/// Squares coloured from loss (negative) over nothing to gain (positive), the strongest at the
/// largest size of a value; `None` where there is no number or more than [`MOST`] rows or columns.
pub(crate) fn grid(
    rows: &[String],
    columns: &[String],
    values: &[Vec<f64>],
    axes: Axes<'_>,
) -> Option<Svg> {
    let limit = largest(values);
    if limit == 0.0 || rows.len() > MOST || columns.len() > MOST {
        return None;
    }
    let (place, mut svg) = Place::of(rows, columns, axes);
    let Place { left, top, side } = place;
    for (r, row) in values.iter().enumerate() {
        let y = top + r as f64 * side;
        svg.text(
            left - 5.0,
            y + side / 2.0 + 4.0,
            &at_end(),
            &clip(&rows[r], 18),
        );
        for (c, &v) in row.iter().enumerate().filter(|(_, v)| v.is_finite()) {
            square(&mut svg, (left + c as f64 * side, y), side, v, limit);
        }
    }
    for (c, name) in columns.iter().enumerate() {
        let style = TextStyle {
            size: 11.0,
            turn: -45.0,
            ..TextStyle::default()
        };
        svg.text(
            left + (c as f64 + 0.55) * side,
            top - 5.0,
            &style,
            &clip(name, 18),
        );
    }
    Some(svg)
}

/// Where the squares stand.
struct Place {
    left: f64,
    top: f64,
    /// Side of a square.
    side: f64,
}

impl Place {
    /// The place of the squares, and the drawing with the names of the axes.
    fn of(rows: &[String], columns: &[String], axes: Axes<'_>) -> (Self, Svg) {
        let label = |texts: &[String]| {
            texts
                .iter()
                .map(|t| text_width(&clip(t, 18), 11.0))
                .fold(0.0, f64::max)
        };
        // Slanted labels of neighbours need 16 units.
        let side = (430.0 / columns.len() as f64).clamp(16.0, 46.0);
        let left = NAME + label(rows) + 8.0;
        let top = NAME + label(columns) * 0.71 + 14.0;
        let overhang = label(&columns[columns.len().saturating_sub(1)..]) * 0.71;
        let (right, bottom) = (
            left + side * columns.len() as f64,
            top + side * rows.len() as f64,
        );
        let (wide, high) = (
            text_width(axes.columns, 12.0) / 2.0,
            text_width(axes.rows, 12.0) / 2.0,
        );
        let mut svg = Svg {
            width: (right + overhang.max(6.0))
                .max((left + right) / 2.0 + wide)
                .ceil(),
            height: (bottom + 6.0).max((top + bottom) / 2.0 + high).ceil(),
            body: String::new(),
        };
        // A name that is longer than its side is wide begins where there is room.
        let x = (left.max(2.0 * wide - right), right);
        let y = (top.max(2.0 * high - bottom), bottom);
        axes.write(&mut svg, x, y);
        (Self { left, top, side }, svg)
    }
}

/// Names left of what they name.
fn at_end() -> TextStyle {
    TextStyle {
        size: 11.0,
        anchor: "end",
        ..TextStyle::default()
    }
}

/// The largest size of a value; 0 without numbers.
fn largest(values: &[Vec<f64>]) -> f64 {
    let finite = values.iter().flatten().filter(|v| v.is_finite());
    finite.fold(0.0f64, |m, v| m.max(v.abs()))
}

/// One value in its colour, and as a number where that fits.
fn square(svg: &mut Svg, (x, y): (f64, f64), side: f64, v: f64, limit: f64) {
    let [red, green, blue, _] = palette::diverging(v);
    svg.body.push_str(&format!(
        "<rect x=\"{}\" y=\"{}\" width=\"{w}\" height=\"{w}\" fill=\"{}\" fill-opacity=\"{}\"/>",
        number(x + 0.5),
        number(y + 0.5),
        palette::hex([red, green, blue]),
        number(0.9 * v.abs() / limit),
        w = number(side - 1.0),
    ));
    if side >= 30.0 {
        let style = TextStyle {
            size: 10.0,
            anchor: "middle",
            ..TextStyle::default()
        };
        let middle = (x + side / 2.0, y + side / 2.0 + 3.5);
        svg.text(middle.0, middle.1, &style, &format!("{v:.2}"));
    }
}

/// The same colours for any number of rows and columns; `groups`, where given, are of both rows
/// and columns: their borders are drawn and named. `None` where there is no number.
///
/// # Errors
/// Where the image cannot be encoded.
pub(crate) fn dense(
    values: &[Vec<f64>],
    groups: &[String],
    axes: Axes<'_>,
) -> StageResult<Option<Svg>> {
    let limit = largest(values);
    let n_columns = values.first().map_or(0, Vec::len);
    if limit == 0.0 || n_columns == 0 {
        return Ok(None);
    }
    let left = groups
        .iter()
        .map(|g| text_width(&clip(g, 12), 11.0))
        .fold(0.0, f64::max)
        + NAME
        + 6.0;
    let mut svg = Svg {
        width: left + SIDE + 2.0,
        height: NAME + SIDE + 4.0,
        body: String::new(),
    };
    let top = NAME + 2.0;
    axes.write(&mut svg, (left, left + SIDE), (top, top + SIDE));
    svg.body
        .push_str(&raster(values, n_columns, limit).image(left, top, SIDE, SIDE, false)?);
    borders(&mut svg, groups, (left, top));
    svg.body.push_str(&format!(
        "<rect x=\"{}\" y=\"{top}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"none\" stroke=\"{}\"/>",
        number(left),
        palette::AXIS
    ));
    Ok(Some(svg))
}

/// Side of a dense matrix.
const SIDE: f64 = 360.0;

/// One pixel a value.
fn raster(values: &[Vec<f64>], n_columns: usize, limit: f64) -> Raster {
    const STEPS: i32 = 127;
    let palette = (-STEPS..=STEPS)
        .map(|i| palette::diverging(f64::from(i) / f64::from(STEPS)))
        .collect();
    let mut image = Raster::new(n_columns, values.len(), palette);
    for (y, row) in values.iter().enumerate() {
        for (x, v) in row.iter().enumerate() {
            let t = if v.is_finite() { v / limit } else { 0.0 };
            image.set(
                x,
                y,
                (t * f64::from(STEPS) + f64::from(STEPS)).round() as u8,
            );
        }
    }
    image
}

/// Names of the groups, and lines between them.
fn borders(svg: &mut Svg, groups: &[String], (left, top): (f64, f64)) {
    let at = |i: usize| i as f64 / groups.len() as f64 * SIDE;
    let mut start = 0;
    for end in 1..=groups.len() {
        if end < groups.len() && groups[end] == groups[start] {
            continue;
        }
        let middle = top + (at(start) + at(end)) / 2.0 + 4.0;
        svg.text(left - 4.0, middle, &at_end(), &clip(&groups[start], 12));
        if end < groups.len() {
            svg.line(
                (left, top + at(end)),
                (left + SIDE, top + at(end)),
                palette::AXIS,
                0.7,
            );
            svg.line(
                (left + at(end), top),
                (left + at(end), top + SIDE),
                palette::AXIS,
                0.7,
            );
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: Axes<'static> = Axes {
        rows: "of rows",
        columns: "of <columns>",
    };

    #[test]
    fn a_dense_matrix_marks_its_groups() {
        let groups = ["P1", "P1", "P<2>"].map(String::from);
        let svg = dense(
            &[vec![1.0, -1.0, 0.0], vec![0.5, f64::NAN, 0.0], vec![0.0; 3]],
            &groups,
            AXES,
        )
        .unwrap()
        .unwrap();
        assert!(svg.body.contains("P&lt;2&gt;") && svg.body.matches("<line").count() == 2);
        assert!(
            svg.body.contains(">of rows</text>") && svg.body.contains(">of &lt;columns&gt;</text>")
        );
        assert!(dense(&[vec![f64::NAN]], &[], AXES).unwrap().is_none());
    }

    #[test]
    fn squares_carry_sign_size_and_number() {
        let names = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let svg = grid(
            &names(&["T <x>", "B"]),
            &names(&["T", "B"]),
            &[vec![0.5, -0.25], vec![f64::NAN, 0.0]],
            AXES,
        )
        .unwrap();
        assert!(
            svg.body.contains("T &lt;x&gt;")
                && svg.body.contains(">-0.25<")
                && svg.body.contains("fill-opacity=\"0.45\"")
        );
        assert_eq!(svg.body.matches("<rect").count(), 3);
        assert!(
            svg.body.contains(">of rows</text>") && svg.body.contains(">of &lt;columns&gt;</text>")
        );
        // Two columns are narrower than the name above them.
        assert!(svg.width > text_width("of <columns>", 12.0));
        assert!(grid(&names(&["a"]), &names(&["b"]), &[vec![f64::NAN]], AXES).is_none());
    }
}
