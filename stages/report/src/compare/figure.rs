//! The figure: one panel per target and metric, a dot and an interval per method and group, chance as a
//! line.

use super::params::Panel;
use super::summary::Row;
use crate::report::figures::palette;
use crate::report::figures::svg::{Svg, TextStyle};

const LEFT: f64 = 250.0;
const WIDTH: f64 = 380.0;
const LINE: f64 = 17.0;

/// Draws the panels that have rows; `None` where none has.
pub(super) fn draw(rows: &[Row], panels: &[Panel]) -> Option<Svg> {
    let mut svg = Svg {
        width: LEFT + WIDTH + 40.0,
        height: 10.0,
        body: String::new(),
    };
    let mut drawn = 0;
    for panel in panels {
        let own: Vec<&Row> = rows
            .iter()
            .filter(|r| r.target == panel.target && r.metric == panel.metric)
            .collect();
        if !own.is_empty() {
            one(&mut svg, panel, &own);
            drawn += 1;
        }
    }
    (drawn > 0).then_some(svg)
}

fn one(svg: &mut Svg, panel: &Panel, rows: &[&Row]) {
    let style = |anchor: &'static str, bold: bool| TextStyle {
        size: 11.0,
        anchor,
        bold,
        ..TextStyle::default()
    };
    let top = svg.height + 18.0;
    let title = format!("{}, {}", panel.target.replace('_', " "), panel.metric);
    svg.text(LEFT, top, &style("start", true), &title);
    let (lo, hi) = limits(rows);
    let x = |v: f64| LEFT + (v.clamp(lo, hi) - lo) / (hi - lo) * WIDTH;
    let first = top + 18.0;
    let bottom = first + LINE * rows.len() as f64;
    for k in 0..=4 {
        let v = lo + (hi - lo) * f64::from(k) / 4.0;
        svg.line(
            (x(v), first - 8.0),
            (x(v), bottom - 8.0),
            palette::GRID,
            1.0,
        );
        svg.text(
            x(v),
            bottom + 6.0,
            &style("middle", false),
            &format!("{v:.2}"),
        );
    }
    let mut methods: Vec<&str> = rows.iter().map(|r| r.method.as_str()).collect();
    methods.dedup();
    for (at, row) in rows.iter().enumerate() {
        let y = first + LINE * at as f64;
        let place = methods.iter().position(|m| *m == row.method).unwrap_or(0);
        let colour = palette::hex(palette::category(place));
        svg.text(LEFT - 8.0, y + 4.0, &style("end", false), &label(row));
        if row.chance.is_finite() {
            svg.line(
                (x(row.chance), y - 7.0),
                (x(row.chance), y + 7.0),
                palette::INK,
                1.5,
            );
        }
        if row.value.low.is_finite() {
            svg.line((x(row.value.low), y), (x(row.value.high), y), &colour, 2.0);
        }
        for (_, v) in &row.values {
            svg.rect(x(*v) - 0.75, y - 4.0, 1.5, 8.0, &colour);
        }
        svg.rect(x(row.value.mean) - 3.5, y - 3.5, 7.0, 7.0, &colour);
    }
    svg.height = bottom + 16.0;
}

fn label(row: &Row) -> String {
    let values: Vec<&str> = row.group.values().map(String::as_str).collect();
    if values.is_empty() {
        row.method.clone()
    } else {
        format!("{} · {}", values.join(" "), row.method)
    }
}

/// 0 to 1 for shares, less where all lie close together; whole numbers otherwise.
fn limits(rows: &[&Row]) -> (f64, f64) {
    let values = rows.iter().flat_map(|r| {
        [r.value.mean, r.chance]
            .into_iter()
            .chain(r.values.iter().map(|v| v.1))
    });
    let (lo, hi) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| {
            (a.min(v), b.max(v))
        });
    let margin = 0.05 * (hi - lo).max(0.02);
    if lo >= 0.0 && hi <= 1.0 {
        ((lo - margin).max(0.0), (hi + margin).min(1.0))
    } else {
        (lo - margin, hi + margin)
    }
}
