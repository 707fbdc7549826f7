//! Distributions side by side, and histograms.

use kuva::prelude::{BoxPlot, Histogram, Layout, Plot, TickFormat, ViolinPlot};
use std::sync::Arc;

use super::chart::{draw, plain, range, styled};
use super::palette::{self, hex};
use super::svg::{Svg, clip};
use crate::error::StageResult;

/// How the values lie along the axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// As they are.
    Linear,
    /// By their logarithm to base ten; values of 0 and less are left out.
    Log10,
}

/// One violin with a box (quartiles, median) a group. `None` where no group has two distinct
/// values.
///
/// # Errors
/// Where the chart cannot be drawn.
pub(crate) fn violins(
    groups: &[(String, Vec<f64>)],
    y_label: &str,
    scale: Scale,
) -> StageResult<Option<Svg>> {
    let placed: Vec<(String, Vec<f64>)> = groups
        .iter()
        .map(|(name, values)| {
            let values = values
                .iter()
                .copied()
                .filter(|v| v.is_finite() && (scale == Scale::Linear || *v > 0.0));
            (
                name.clone(),
                values
                    .map(|v| if scale == Scale::Log10 { v.log10() } else { v })
                    .collect::<Vec<f64>>(),
            )
        })
        .filter(|(_, values)| values.len() > 1)
        .collect();
    let Some((lo, hi)) = range(placed.iter().flat_map(|(_, v)| v.iter().copied()), 0.0) else {
        return Ok(None);
    };
    if placed.iter().all(|(_, v)| v.iter().all(|x| *x == v[0])) {
        return Ok(None);
    }
    let mut violin = ViolinPlot::new().with_width(0.85);
    // A group of equal values has no bandwidth of its own.
    if placed.iter().any(|(_, v)| v.iter().all(|x| *x == v[0])) {
        violin = violin.with_bandwidth((hi - lo) / 40.0);
    }
    let mut boxes = BoxPlot::new().with_width(0.14).with_color(palette::AXIS);
    for (name, values) in &placed {
        let label = plain(&clip(name, 14));
        violin = violin.with_group(label.clone(), values.iter().copied());
        boxes = boxes.with_group(label, values.iter().copied());
    }
    let colours: Vec<String> = (0..placed.len())
        .map(|i| hex(palette::category(i)))
        .collect();
    let plots: Vec<Plot> = vec![violin.with_group_colors(colours).into(), boxes.into()];
    let mut layout = styled(Layout::auto_from_plots(&plots), "", y_label);
    if placed.len() > 4 {
        layout = layout.with_x_tick_rotate(-45.0);
    }
    if scale == Scale::Log10 {
        layout = layout
            .with_y_tick_format(TickFormat::Custom(Arc::new(power_of_ten)))
            .with_y_tick_step(if hi - lo > 2.5 { 1.0 } else { 0.5 });
    } else if lo >= 0.0 {
        // The smooth outline reaches beyond the smallest value; below zero it would show what cannot be.
        layout = layout.with_y_axis_min(0.0);
    }
    draw(plots, layout).map(Some)
}

/// The value whose logarithm stands at a tick: `300`, `10k`.
fn power_of_ten(exponent: f64) -> String {
    let value = 10f64.powf(exponent);
    let (value, unit) = if value >= 999_500.0 {
        (value / 1e6, "M")
    } else if value >= 999.5 {
        (value / 1e3, "k")
    } else {
        (value, "")
    };
    let digits = if value >= 9.95 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    };
    format!("{}{unit}", digits.strip_suffix(".0").unwrap_or(&digits))
}

/// Histograms of the parts over one another (part, colour, values), in common bins. `None` where
/// there are no two distinct values. What lies outside the 0.5th and 99.5th percentile is counted
/// in the outer bins, so that a few extreme values do not take all the room.
///
/// # Errors
/// Where the chart cannot be drawn.
pub(crate) fn histogram(
    parts: &[(String, [u8; 3], Vec<f64>)],
    x_label: &str,
    y_label: &str,
) -> StageResult<Option<Svg>> {
    const BINS: usize = 50;
    let mut all: Vec<f64> = parts
        .iter()
        .flat_map(|p| p.2.iter().copied())
        .filter(|v| v.is_finite())
        .collect();
    all.sort_unstable_by(f64::total_cmp);
    let Some(last) = all.len().checked_sub(1) else {
        return Ok(None);
    };
    let (lo, hi) = (all[last / 200], all[last - last / 200]);
    if lo >= hi {
        return Ok(None);
    }
    let edges: Vec<f64> = (0..=BINS)
        .map(|i| lo + (hi - lo) * i as f64 / BINS as f64)
        .collect();
    let mut below = vec![0.0; BINS];
    let mut stacked: Vec<Plot> = Vec::new();
    for (_, colour, values) in parts {
        for v in values.iter().filter(|v| v.is_finite()) {
            let bin = ((v - lo) / (hi - lo) * BINS as f64).clamp(0.0, (BINS - 1) as f64) as usize;
            below[bin] += 1.0;
        }
        // Each part is drawn with those before it; the larger stack is drawn first.
        stacked.push(
            Histogram::from_bins(edges.clone(), below.clone())
                .with_color(hex(*colour))
                .into(),
        );
    }
    stacked.reverse();
    let layout = styled(Layout::auto_from_plots(&stacked), x_label, y_label);
    let mut svg = draw(stacked, layout)?;
    if parts.len() > 1 {
        let entries: Vec<(String, [u8; 3])> =
            parts.iter().map(|(n, c, _)| (n.clone(), *c)).collect();
        svg.legend(60.0, &entries);
    }
    Ok(Some(svg))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_a_log_axis_are_counts() {
        let texts: Vec<String> = [0.0, 2.0, 2.4771, 3.0, 4.0, 3.5, 6.0, 0.5]
            .iter()
            .map(|&e| power_of_ten(e))
            .collect();
        assert_eq!(texts, ["1", "100", "300", "1k", "10k", "3.2k", "1M", "3.2"]);
    }

    #[test]
    fn distributions_without_spread_have_no_figure() {
        let flat = vec![("P1".to_string(), vec![0.0; 9])];
        assert!(violins(&flat, "pct", Scale::Linear).unwrap().is_none());
        assert!(violins(&flat, "pct", Scale::Log10).unwrap().is_none());
        let mixed = vec![
            ("P<1>".to_string(), vec![0.0; 9]),
            ("P2".to_string(), (0..9).map(f64::from).collect()),
        ];
        let svg = violins(&mixed, "pct", Scale::Linear).unwrap().unwrap();
        assert!(
            svg.body.contains("P&lt;1&gt;")
                && svg.body.contains("<path")
                && !svg.body.contains("NaN")
        );
        assert!(
            histogram(&[("a".into(), [0; 3], vec![1.0; 4])], "x", "n")
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn stacked_parts_carry_their_colours_and_names() {
        let parts = vec![
            ("low".to_string(), [1, 2, 3], vec![0.0, 0.1, f64::NAN]),
            ("high".to_string(), [4, 5, 6], vec![1.0, 0.9]),
        ];
        let svg = histogram(&parts, "slope", "genes").unwrap().unwrap();
        assert!(
            svg.body.contains("#010203")
                && svg.body.contains("#040506")
                && svg.body.contains(">high<")
                && !svg.body.contains("NaN")
        );
    }
}
