//! Distributions side by side, and histograms.

use kuva::prelude::{BoxPlot, Histogram, Layout, LinePlot, Plot, TickFormat, ViolinPlot};
use std::sync::Arc;

use super::chart::{draw, plain, range, styled};
use super::palette::{self, hex};
use super::svg::{Svg, clip};
use clcc_data::error::StageResult;
use clcc_numerics::math;

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
    let of_scale = |values: &[f64]| -> Vec<f64> {
        let finite = values.iter().copied().filter(|v| v.is_finite());
        match scale {
            Scale::Linear => finite.collect(),
            Scale::Log10 => finite.filter(|v| *v > 0.0).map(math::log10).collect(),
        }
    };
    let placed: Vec<(String, Vec<f64>)> = groups
        .iter()
        .map(|(name, values)| (name.clone(), of_scale(values)))
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
            .with_y_tick_step(match hi - lo {
                wide if wide > 2.5 => 1.0,
                narrow if narrow < 1.3 => 0.25,
                _ => 0.5,
            });
    } else if lo >= 0.0 && lo < (hi - lo) * 0.25 {
        // The smooth outline reaches beyond the smallest value; below zero it would show what cannot be.
        layout = layout.with_y_axis_min(0.0);
    }
    draw(plots, layout).map(Some)
}

/// The value whose logarithm stands at a tick: `300`, `10k`.
fn power_of_ten(exponent: f64) -> String {
    let value = math::pow(10f64, exponent);
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
/// in the outer bins, so that a few extreme values do not take all the room. A dashed line stands at `mark`,
/// where that lies among the values.
///
/// # Errors
/// Where the chart cannot be drawn.
pub(crate) fn histogram(
    parts: &[(String, [u8; 3], Vec<f64>)],
    x_label: &str,
    y_label: &str,
    mark: Option<f64>,
) -> StageResult<Option<Svg>> {
    let mut all: Vec<f64> = parts
        .iter()
        .flat_map(|p| p.2.iter().copied())
        .filter(|v| v.is_finite())
        .collect();
    all.sort_unstable_by(f64::total_cmp);
    let Some(last) = all.len().checked_sub(1) else {
        return Ok(None);
    };
    let mark = mark.filter(|m| (all[0]..=all[last]).contains(m));
    let (mut lo, mut hi) = (all[last / 200], all[last - last / 200]);
    if let Some(m) = mark {
        (lo, hi) = (lo.min(m), hi.max(m));
    }
    if lo >= hi {
        return Ok(None);
    }
    let (edges, below, mut stacked) = stack(parts, lo, hi);
    let n_bins = below.len();
    stacked.reverse();
    let top = below.iter().copied().fold(0.0, f64::max) * 1.06;
    if let Some(x) = mark {
        stacked.push(
            LinePlot::new()
                .with_data([(x, 0.0), (x, top)])
                .with_color(palette::INK)
                .with_stroke_width(1.2)
                .with_dashed()
                .into(),
        );
    }
    let ranges = Layout::new((edges[0], edges[n_bins]), (0.0, top));
    let mut svg = draw(stacked, styled(ranges, x_label, y_label))?;
    let drawn = parts.iter().filter(|p| p.2.iter().any(|v| v.is_finite()));
    let entries: Vec<(String, [u8; 3])> = drawn.map(|(n, c, _)| (n.clone(), *c)).collect();
    if entries.len() > 1 {
        svg.legend(60.0, &entries);
    }
    Ok(Some(svg))
}

/// Edges of common bins, the counts of all parts together, and one plot per part.
fn stack(
    parts: &[(String, [u8; 3], Vec<f64>)],
    lo: f64,
    hi: f64,
) -> (Vec<f64>, Vec<f64>, Vec<Plot>) {
    // Bins begin and end at multiples of their width, so zero and one are edges.
    let width = round_width((hi - lo) / 50.0);
    let first = (lo / width).floor() as i64;
    let n_bins = ((hi / width).floor() as i64 - first + 1) as usize;
    let edges: Vec<f64> = (0..=n_bins)
        .map(|i| (first + i as i64) as f64 * width)
        .collect();
    let mut below = vec![0.0; n_bins];
    let mut stacked: Vec<Plot> = Vec::new();
    for (_, colour, values) in parts {
        for v in values.iter().filter(|v| v.is_finite()) {
            let bin = ((v / width).floor() - first as f64).clamp(0.0, (n_bins - 1) as f64) as usize;
            below[bin] += 1.0;
        }
        // Each part is drawn with those before it; the larger stack is drawn first.
        stacked.push(
            Histogram::from_bins(edges.clone(), below.clone())
                .with_color(hex(*colour))
                .into(),
        );
    }
    (edges, below, stacked)
}

/// The nearest of 1, 2, 5 times a power of ten that is not below `width`.
fn round_width(width: f64) -> f64 {
    let power = math::pow(10f64, math::log10(width).floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    power
        * steps[steps
            .iter()
            .position(|s| s * power >= width * 0.999)
            .unwrap_or(3)]
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
    fn bins_are_of_round_width() {
        let widths = [0.038, 0.01, 0.0021, 3.0, 70.0].map(round_width);
        for (found, expected) in widths.iter().zip([0.05, 0.01, 0.005, 5.0, 100.0]) {
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        }
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
            histogram(&[("a".into(), [0; 3], vec![1.0; 4])], "x", "n", None)
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
        let drawn = |mark| {
            histogram(&parts, "slope", "genes", mark)
                .unwrap()
                .unwrap()
                .body
        };
        let body = drawn(None);
        assert!(
            body.contains("#010203")
                && body.contains("#040506")
                && body.contains(">high<")
                && !body.contains("NaN")
        );
        let dashed = |body: &str| body.matches("dasharray").count();
        assert_eq!(dashed(&drawn(Some(0.5))), dashed(&body) + 1);
        assert_eq!(drawn(Some(2.0)), body);
        // Beyond what the axis would span, and among the values all the same.
        let mut tail: Vec<f64> = (0..1000).map(|i| f64::from(i) / 1000.0).collect();
        tail.push(50.0);
        let parts = [("all".to_string(), [0; 3], tail)];
        let drawn = |mark| histogram(&parts, "x", "n", mark).unwrap().unwrap().body;
        assert_eq!(dashed(&drawn(Some(40.0))), dashed(&drawn(None)) + 1);
    }
}
