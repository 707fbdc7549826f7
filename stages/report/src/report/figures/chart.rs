//! Charts with axes: the kuva crate lays out and draws, this file gives every chart one look.

use kuva::prelude::{Layout, Plot, SvgBackend, Theme, render_multiple};

use super::palette::{AXIS, GRID, GROUND, INK};
use super::svg::{Svg, number};
use crate::report::html::visible;
use clcc_data::error::{StageError, StageResult};

/// Width of a chart that stands beside others, in CSS pixels; a phone shows it nearly unscaled.
pub(crate) const WIDTH: f64 = 440.0;
/// Height of such a chart.
pub(crate) const HEIGHT: f64 = 320.0;

/// Where the data area lies in a drawing, and what it spans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Area {
    /// Data range along x.
    pub(crate) x: (f64, f64),
    /// Data range along y.
    pub(crate) y: (f64, f64),
    /// Left edge in pixels.
    pub(crate) left: f64,
    /// Upper edge in pixels.
    pub(crate) top: f64,
    /// Right edge in pixels.
    pub(crate) right: f64,
    /// Lower edge in pixels.
    pub(crate) bottom: f64,
}

impl Area {
    /// Pixel column of a data value.
    pub(crate) fn px(&self, x: f64) -> f64 {
        self.left + (x - self.x.0) / (self.x.1 - self.x.0) * (self.right - self.left)
    }

    /// Pixel row of a data value; larger is higher up.
    pub(crate) fn py(&self, y: f64) -> f64 {
        self.bottom - (y - self.y.0) / (self.y.1 - self.y.0) * (self.bottom - self.top)
    }
}

/// Colours from the page's variables.
fn theme() -> Theme {
    Theme {
        background: "none".into(),
        axis_color: AXIS.into(),
        grid_color: GRID.into(),
        tick_color: AXIS.into(),
        text_color: INK.into(),
        legend_bg: "none".into(),
        legend_border: "none".into(),
        pie_leader: AXIS.into(),
        box_median: GROUND.into(),
        violin_border: "none".into(),
        colorbar_border: AXIS.into(),
        font_family: None,
        show_grid: true,
    }
}

/// The common look, over the layout that the plots ask for.
pub(crate) fn styled(layout: Layout, x_label: &str, y_label: &str) -> Layout {
    // An empty label would still take its line.
    let layout = if x_label.is_empty() {
        layout
    } else {
        layout.with_x_label(plain(x_label))
    };
    let layout = if y_label.is_empty() {
        layout
    } else {
        layout.with_y_label(plain(y_label))
    };
    layout
        .with_width(WIDTH)
        .with_height(if x_label.is_empty() {
            HEIGHT - 24.0
        } else {
            HEIGHT
        })
        .with_theme(theme())
        .with_label_size(13)
        .with_tick_size(11)
        .with_body_size(11)
        .with_grid_line_width(1.0)
        .with_axis_line_width(1.0)
}

/// Text as kuva takes it: a dollar sign would begin a formula.
pub(crate) fn plain(text: &str) -> String {
    visible(text).replace('$', "\\$")
}

/// Draws plots in one pair of axes.
///
/// # Errors
/// [`StageError::Data`] where kuva's output is not one SVG element.
pub(crate) fn draw(plots: Vec<Plot>, mut layout: Layout) -> StageResult<Svg> {
    // Ours stand below the chart, where a phone has room.
    layout.show_legend = false;
    finish(render_multiple(plots, layout))
}

/// Axes alone, and where their data area is; for scatters that are drawn as an image.
///
/// # Errors
/// As [`draw`].
pub(crate) fn axes(
    x: (f64, f64),
    y: (f64, f64),
    x_label: &str,
    y_label: &str,
) -> StageResult<(Svg, Area)> {
    let layout = styled(Layout::new(x, y), x_label, y_label)
        .with_interactive()
        .with_clamp_axis();
    let mut scene = render_multiple(vec![kuva::prelude::ScatterPlot::new().into()], layout);
    let meta = scene
        .axis_meta
        .take()
        .ok_or_else(|| StageError::data("the chart library gave no axes"))?;
    // Interactive mode was only the way to learn where the axes are: without it there is no script.
    scene.interactive = false;
    let area = Area {
        x: (meta.x_min, meta.x_max),
        y: (meta.y_min, meta.y_max),
        left: meta.plot_left,
        top: meta.plot_top,
        right: meta.plot_right,
        bottom: meta.plot_bottom,
    };
    Ok((finish(scene)?, area))
}

/// Takes the root element off.
fn finish(mut scene: kuva::render::render::Scene) -> StageResult<Svg> {
    scene.background_color = None;
    let (width, height) = (scene.width, scene.height);
    let text = SvgBackend.render_scene(&scene);
    let inner = text
        .find('>')
        .and_then(|open| text.rfind("</svg>").map(|close| &text[open + 1..close]))
        .ok_or_else(|| StageError::data("the chart library did not draw an SVG element"))?;
    // A stamp with the library's version says nothing to a reader.
    let inner = match (inner.find("<!--"), inner.find("-->")) {
        (Some(a), Some(b)) if a < b => format!("{}{}", &inner[..a], &inner[b + 3..]),
        _ => inner.to_string(),
    };
    // The root carried the colour of text.
    let body = format!("<g fill=\"{INK}\">{}</g>", renumber_clips(&inner));
    Ok(Svg {
        width: width.ceil(),
        height: height.ceil(),
        body,
    })
}

/// kuva numbers its clip paths with a counter of the whole process; ours are numbered in each
/// drawing, so that the same data give the same bytes whatever was drawn before.
fn renumber_clips(svg: &str) -> String {
    const NAME: &str = "kuva-clip-";
    let mut seen: Vec<&str> = Vec::new();
    let mut out = String::with_capacity(svg.len());
    let mut rest = svg;
    while let Some(at) = rest.find(NAME) {
        let tail = &rest[at + NAME.len()..];
        let digits = &tail[..tail.bytes().take_while(u8::is_ascii_digit).count()];
        let number = seen.iter().position(|s| *s == digits).unwrap_or_else(|| {
            seen.push(digits);
            seen.len() - 1
        });
        out.push_str(&rest[..at]);
        out.push_str(&format!("clip-{number}"));
        rest = &tail[digits.len()..];
    }
    out.push_str(rest);
    out
}

/// A dashed line across the data area, with a label at its end.
pub(crate) fn guide(svg: &mut Svg, area: &Area, vertical: bool, value: f64) {
    let (a, b) = if vertical {
        ((area.px(value), area.top), (area.px(value), area.bottom))
    } else {
        ((area.left, area.py(value)), (area.right, area.py(value)))
    };
    svg.body.push_str(&format!(
        "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{AXIS}\" stroke-dasharray=\"4 3\" stroke-width=\"1\"/>",
        number(a.0),
        number(a.1),
        number(b.0),
        number(b.1)
    ));
}

/// The smallest and largest finite value, widened by `margin` of their distance.
pub(crate) fn range(values: impl IntoIterator<Item = f64>, margin: f64) -> Option<(f64, f64)> {
    let (lo, hi) = values
        .into_iter()
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| {
            (lo.min(v), hi.max(v))
        });
    if lo > hi {
        return None;
    }
    let pad = if hi > lo {
        (hi - lo) * margin
    } else {
        lo.abs().max(1.0) * 0.1
    };
    Some((lo - pad, hi + pad))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kuva::prelude::LinePlot;

    #[test]
    fn axes_say_where_the_data_go() {
        let (svg, area) = axes((-2.0, 2.0), (0.0, 10.0), "x", "cost in $ and <y>").unwrap();
        assert_eq!((area.x, area.y), ((-2.0, 2.0), (0.0, 10.0)));
        assert!(
            area.left > 20.0 && area.right <= svg.width && area.bottom < svg.height,
            "{area:?}"
        );
        assert_eq!(area.px(-2.0), area.left);
        assert_eq!(area.py(10.0), area.top);
        assert!(
            !svg.body.contains("<script")
                && !svg.body.contains("<!--")
                && !svg.body.contains("foreignObject")
        );
        assert!(svg.body.contains("cost in $ and &lt;y&gt;"), "{}", svg.body);
    }

    #[test]
    fn a_drawing_follows_the_page_colours() {
        let plots: Vec<Plot> = vec![
            LinePlot::new()
                .with_data([(0.0, 1.0), (1.0, 3.0)])
                .with_color("#123456")
                .into(),
        ];
        let layout = styled(Layout::auto_from_plots(&plots), "epoch", "loss");
        let svg = draw(plots, layout).unwrap();
        assert!(svg.body.contains(INK) && svg.body.contains(GRID) && svg.body.contains("#123456"));
        assert!(!svg.body.contains("black") && !svg.body.contains("white"));
    }

    #[test]
    fn the_same_data_give_the_same_drawing_again() {
        let plot = || vec![LinePlot::new().with_data([(0.0, 1.0), (1.0, 3.0)]).into()];
        let drawn = || draw(plot(), styled(Layout::auto_from_plots(&plot()), "x", "y")).unwrap();
        assert_eq!(drawn(), drawn());
        assert_eq!(
            renumber_clips("a kuva-clip-17 b kuva-clip-9 c kuva-clip-17"),
            "a clip-0 b clip-1 c clip-0"
        );
    }

    #[test]
    fn ranges_leave_a_margin_and_skip_what_is_no_number() {
        assert_eq!(range([f64::NAN, 0.0, 10.0], 0.05), Some((-0.5, 10.5)));
        assert_eq!(range([2.0], 0.1), Some((1.8, 2.2)));
        assert_eq!(range([f64::NAN], 0.1), None);
    }
}
