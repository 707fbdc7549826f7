//! A matrix of a few dozen rows and columns as coloured squares, with the numbers where they fit.

use super::palette;
use super::svg::{Svg, TextStyle, clip, number, text_width};

/// Most rows or columns that are drawn.
pub(crate) const MOST: usize = 60;

/// Squares coloured from loss (negative) over nothing to gain (positive), the strongest at the
/// largest size of a value; `None` where there is no number or more than [`MOST`] rows or columns.
pub(crate) fn grid(rows: &[String], columns: &[String], values: &[Vec<f64>]) -> Option<Svg> {
    let limit = values.iter().flatten().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    if limit == 0.0 || rows.len() > MOST || columns.len() > MOST {
        return None;
    }
    let label = |texts: &[String]| texts.iter().map(|t| text_width(&clip(t, 18), 11.0)).fold(0.0, f64::max);
    let side = (430.0 / columns.len() as f64).clamp(11.0, 46.0);
    let left = label(rows) + 8.0;
    let top = label(columns) * 0.71 + 14.0;
    let overhang = label(&columns[columns.len().saturating_sub(1)..]) * 0.71;
    let mut svg = Svg {
        width: (left + side * columns.len() as f64 + overhang.max(6.0)).ceil(),
        height: (top + side * rows.len() as f64 + 6.0).ceil(),
        body: String::new(),
    };
    for (r, row) in values.iter().enumerate() {
        let y = top + r as f64 * side;
        let style = TextStyle { size: 11.0, anchor: "end", ..TextStyle::default() };
        svg.text(left - 5.0, y + side / 2.0 + 4.0, &style, &clip(&rows[r], 18));
        for (c, &v) in row.iter().enumerate().filter(|(_, v)| v.is_finite()) {
            let [red, green, blue, _] = palette::diverging(v);
            let x = left + c as f64 * side;
            svg.body.push_str(&format!(
                "<rect x=\"{}\" y=\"{}\" width=\"{w}\" height=\"{w}\" fill=\"{}\" fill-opacity=\"{}\"/>",
                number(x + 0.5),
                number(y + 0.5),
                palette::hex([red, green, blue]),
                number(0.9 * v.abs() / limit),
                w = number(side - 1.0),
            ));
            if side >= 30.0 {
                let style = TextStyle { size: 10.0, anchor: "middle", ..TextStyle::default() };
                svg.text(x + side / 2.0, y + side / 2.0 + 3.5, &style, &format!("{v:.2}"));
            }
        }
    }
    for (c, name) in columns.iter().enumerate() {
        let style = TextStyle { size: 11.0, turn: -45.0, ..TextStyle::default() };
        svg.text(left + (c as f64 + 0.55) * side, top - 5.0, &style, &clip(name, 18));
    }
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_carry_sign_size_and_number() {
        let names = |v: &[&str]| v.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let svg = grid(&names(&["T <x>", "B"]), &names(&["T", "B"]), &[vec![0.5, -0.25], vec![f64::NAN, 0.0]]).unwrap();
        assert!(svg.body.contains("T &lt;x&gt;") && svg.body.contains(">-0.25<") && svg.body.contains("fill-opacity=\"0.45\""));
        assert_eq!(svg.body.matches("<rect").count(), 3);
        assert!(grid(&names(&["a"]), &names(&["b"]), &[vec![f64::NAN]]).is_none());
    }
}
