//! Bars: plain, and stacked shares.

use kuva::prelude::{BarPlot, Layout, Plot, ReferenceLine};

use super::chart::{draw, plain, styled};
use super::palette::{AXIS, hex};
use super::svg::{Svg, clip};
use clcc_data::error::StageResult;

/// More bars than this need the width of the page.
const CROWDED: usize = 24;
/// That width, in CSS pixels.
const WIDE: f64 = 880.0;

/// Share of its place that a bar takes: a few bars alone need not be walls.
fn bar_width(n: usize) -> f64 {
    0.75 * (n as f64 / 4.0).min(1.0)
}

/// One bar a label, in its own colour, and a dashed line at `guide`; values that are no numbers
/// are left out. `None` where nothing is left.
///
/// # Errors
/// Where the chart cannot be drawn.
pub(crate) fn bars(
    items: &[(String, f64, [u8; 3])],
    x_label: &str,
    y_label: &str,
    guide: Option<f64>,
) -> StageResult<Option<Svg>> {
    let items: Vec<_> = items.iter().filter(|i| i.1.is_finite()).collect();
    if items.is_empty() {
        return Ok(None);
    }
    let mut plot = BarPlot::new().with_width(bar_width(items.len()));
    for (label, value, colour) in &items {
        plot = plot.with_colored_bar(plain(&clip(label, 16)), *value, hex(*colour));
    }
    let plots: Vec<Plot> = vec![plot.into()];
    let labels: Vec<&str> = items.iter().map(|i| i.0.as_str()).collect();
    let mut layout = turned(
        styled(Layout::auto_from_plots(&plots), x_label, y_label),
        &labels,
    );
    if items.len() > CROWDED {
        layout = layout.with_width(WIDE);
    }
    if let Some(at) = guide.filter(|g| g.is_finite()) {
        let line = ReferenceLine::horizontal(at)
            .with_color(AXIS)
            .with_dasharray("4 3");
        layout = layout.with_reference_line(line);
        if at > items.iter().map(|i| i.1).fold(0.0, f64::max) {
            layout = layout.with_y_axis_max(at * 1.1);
        }
    }
    draw(plots, layout).map(Some)
}

/// Bars of parts that add up to one: (bar, counts of the parts), with the parts' names and
/// colours. Bars without a count are left out.
///
/// # Errors
/// Where the chart cannot be drawn.
pub(crate) fn shares(
    bars: &[(String, Vec<f64>)],
    parts: &[(String, [u8; 3])],
    y_label: &str,
) -> StageResult<Option<Svg>> {
    let present = bars
        .iter()
        .filter(|b| b.1.iter().sum::<f64>() > 0.0)
        .count();
    let mut plot = BarPlot::new().with_width(bar_width(present)).with_stacked();
    let mut labels = Vec::new();
    for (label, counts) in bars {
        let total: f64 = counts.iter().sum();
        if total > 0.0 {
            let values: Vec<(f64, String)> = counts
                .iter()
                .zip(parts)
                .map(|(n, (_, c))| (n / total, hex(*c)))
                .collect();
            plot = plot.with_group(plain(&clip(label, 16)), values);
            labels.push(label.as_str());
        }
    }
    if labels.is_empty() {
        return Ok(None);
    }
    let plots: Vec<Plot> = vec![plot.into()];
    let layout = turned(
        styled(Layout::auto_from_plots(&plots), "", y_label),
        &labels,
    )
    .with_y_axis_max(1.0);
    let mut svg = draw(plots, layout)?;
    svg.legend(60.0, parts);
    Ok(Some(svg))
}

/// Labels that would run into one another are turned.
fn turned(layout: Layout, labels: &[&str]) -> Layout {
    let letters: usize = labels.iter().map(|l| l.chars().count().min(16) + 2).sum();
    if letters > 52 {
        layout.with_x_tick_rotate(-45.0)
    } else {
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_skip_what_is_no_number() {
        let items = vec![
            ("chr1".to_string(), 0.5, [1, 2, 3]),
            ("chr<2>".to_string(), -0.25, [4, 5, 6]),
            ("chr3".to_string(), f64::NAN, [7, 8, 9]),
        ];
        let svg = bars(&items, "", "rho", Some(0.3)).unwrap().unwrap();
        assert!(svg.body.contains("stroke-dasharray=\"4 3\""));
        assert!(
            svg.body.contains("#040506")
                && svg.body.contains("chr&lt;2&gt;")
                && !svg.body.contains("chr3")
        );
        assert!(bars(&[], "", "", None).unwrap().is_none());
    }

    #[test]
    fn shares_of_an_empty_bar_are_not_drawn() {
        let parts = vec![("a".to_string(), [1, 2, 3]), ("b".to_string(), [4, 5, 6])];
        let svg = shares(
            &[("x".into(), vec![1.0, 3.0]), ("y".into(), vec![0.0, 0.0])],
            &parts,
            "share",
        )
        .unwrap()
        .unwrap();
        assert!(svg.body.contains(">x<") && !svg.body.contains(">y<") && !svg.body.contains("NaN"));
    }
}
