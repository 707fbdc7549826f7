//! Curves over a common axis: training histories.

use std::sync::Arc;

use kuva::prelude::{Layout, LinePlot, Plot, TickFormat};

use super::chart::{draw, styled};
use super::palette::{self, hex};
use super::svg::Svg;
use crate::report::html::short;
use clcc_data::error::StageResult;

/// One line a series (name, values at `x`); points that are no numbers are left out, and so are
/// series without any. `None` where nothing is left.
///
/// # Errors
/// Where the chart cannot be drawn.
pub(crate) fn lines(
    x: &[f64],
    series: &[(&str, Vec<f64>)],
    x_label: &str,
    y_label: &str,
) -> StageResult<Option<Svg>> {
    let mut plots: Vec<Plot> = Vec::new();
    let mut entries = Vec::new();
    for (i, (name, values)) in series.iter().enumerate() {
        let points: Vec<(f64, f64)> = x
            .iter()
            .zip(values)
            .filter(|(x, y)| x.is_finite() && y.is_finite())
            .map(|(x, y)| (*x, *y))
            .collect();
        if points.is_empty() {
            continue;
        }
        let colour = palette::category(i);
        plots.push(
            LinePlot::new()
                .with_data(points)
                .with_color(hex(colour))
                .with_stroke_width(2.0)
                .into(),
        );
        entries.push((name.to_string(), colour));
    }
    if plots.is_empty() {
        return Ok(None);
    }
    let steps = x
        .iter()
        .copied()
        .filter(|x| x.is_finite())
        .fold(0.0, f64::max);
    let layout = styled(Layout::auto_from_plots(&plots), x_label, y_label)
        .with_x_tick_step(whole_step(steps))
        .with_y_tick_format(TickFormat::Custom(Arc::new(short)));
    let mut svg = draw(plots, layout)?;
    svg.legend(60.0, &entries);
    Ok(Some(svg))
}

/// A distance between ticks of epochs or ranks: 1, 2 or 5 times a power of ten, for about six ticks.
fn whole_step(most: f64) -> f64 {
    let mut step = 1.0;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle().take(30) {
        if most / step <= 7.0 {
            break;
        }
        step *= factor;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_at_whole_numbers() {
        assert_eq!(
            [3.0, 7.0, 12.0, 20.0, 100.0, 400.0].map(whole_step),
            [1.0, 1.0, 2.0, 5.0, 20.0, 100.0]
        );
    }

    #[test]
    fn series_without_numbers_are_left_out() {
        let x = [1.0, 2.0, 3.0];
        let svg = lines(
            &x,
            &[("train", vec![3.0, 2.0, 1.0]), ("val", vec![f64::NAN; 3])],
            "epoch",
            "loss",
        )
        .unwrap()
        .unwrap();
        assert!(
            svg.body.contains(">train<")
                && !svg.body.contains(">val<")
                && !svg.body.contains("NaN")
        );
        assert!(
            lines(&x, &[("val", vec![f64::NAN; 3])], "epoch", "loss")
                .unwrap()
                .is_none()
        );
    }
}
