//! An SVG drawing that lives in the page (colours from the page's variables) and as a file of its
//! own (light colours written in).

use super::palette;
use crate::report::html::escape;

/// A drawing without its root element.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Svg {
    /// Width in CSS pixels.
    pub(crate) width: f64,
    /// Height in CSS pixels.
    pub(crate) height: f64,
    /// The elements.
    pub(crate) body: String,
}

impl Svg {
    /// For the page, whose script reads it as XML: ids made unique by `id`, read out as `title`.
    pub(crate) fn inline(&self, id: &str, title: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{}\" height=\"{}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            number(self.width),
            number(self.height),
            number(self.width),
            number(self.height),
            escape(title),
            self.own_ids(id)
        )
    }

    /// A file that opens in any viewer, on a light ground.
    pub(crate) fn standalone(&self, id: &str, title: &str) -> String {
        let mut body = self.own_ids(id);
        for (variable, colour) in palette::STANDALONE {
            body = body.replace(variable, colour);
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" \
             font-family=\"system-ui, 'DejaVu Sans', sans-serif\"><title>{t}</title>\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>{body}</svg>\n",
            w = number(self.width),
            h = number(self.height),
            t = escape(title),
        )
    }

    /// Clip paths of two drawings in one page must not share a name.
    fn own_ids(&self, id: &str) -> String {
        self.body
            .replace(" id=\"", &format!(" id=\"{id}-"))
            .replace("url(#", &format!("url(#{id}-"))
    }

    /// Adds a `<text>`.
    pub(crate) fn text(&mut self, x: f64, y: f64, style: &TextStyle, text: &str) {
        let weight = if style.bold {
            " font-weight=\"600\""
        } else {
            ""
        };
        let halo = if style.halo {
            format!(
                " stroke=\"{}\" stroke-width=\"3\" stroke-linejoin=\"round\" paint-order=\"stroke\"",
                palette::GROUND
            )
        } else {
            String::new()
        };
        let turn = if style.turn == 0.0 {
            String::new()
        } else {
            format!(
                " transform=\"rotate({} {} {})\"",
                number(style.turn),
                number(x),
                number(y)
            )
        };
        self.body.push_str(&format!(
            "<text x=\"{}\" y=\"{}\" font-size=\"{}\" text-anchor=\"{}\" fill=\"{}\"{weight}{halo}{turn}>{}</text>",
            number(x),
            number(y),
            number(style.size),
            style.anchor,
            style.colour,
            escape(text)
        ));
    }

    /// Adds a filled rectangle.
    pub(crate) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str) {
        self.body.push_str(&format!(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{fill}\"/>",
            number(x),
            number(y),
            number(width),
            number(height)
        ));
    }

    /// Adds a straight line.
    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, width: f64) {
        self.body.push_str(&format!(
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{stroke}\" stroke-width=\"{}\"/>",
            number(from.0),
            number(from.1),
            number(to.0),
            number(to.1),
            number(width)
        ));
    }

    /// Adds a legend below the drawing, in rows as wide as it; the drawing grows.
    pub(crate) fn legend(&mut self, left: f64, entries: &[(String, [u8; 3])]) {
        const SIZE: f64 = 12.0;
        let mut x = left;
        let mut y = self.height + 12.0;
        for (label, colour) in entries {
            let label = clip(label, 34);
            let width = 22.0 + text_width(&label, SIZE);
            if x > left && x + width > self.width {
                x = left;
                y += 19.0;
            }
            self.body.push_str(&format!(
                "<rect x=\"{}\" y=\"{}\" width=\"11\" height=\"11\" rx=\"2\" fill=\"{}\"/>",
                number(x),
                number(y - 9.5),
                palette::hex(*colour)
            ));
            self.text(
                x + 15.0,
                y,
                &TextStyle {
                    size: SIZE,
                    ..TextStyle::default()
                },
                &label,
            );
            x += width + 10.0;
        }
        self.height = y + 8.0;
    }
}

/// How a text stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextStyle {
    /// Font size in pixels.
    pub(crate) size: f64,
    /// `start`, `middle` or `end`.
    pub(crate) anchor: &'static str,
    /// Fill.
    pub(crate) colour: &'static str,
    /// Semi-bold.
    pub(crate) bold: bool,
    /// A rim in the colour of the ground, for text over data.
    pub(crate) halo: bool,
    /// Degrees clockwise about its anchor.
    pub(crate) turn: f64,
}

impl Default for TextStyle {
    fn default() -> Self {
        Self {
            size: 12.0,
            anchor: "start",
            colour: palette::INK,
            bold: false,
            halo: false,
            turn: 0.0,
        }
    }
}

/// At most `n` characters, the last an ellipsis where some were left out.
pub(crate) fn clip(text: &str, n: usize) -> String {
    if text.chars().count() <= n {
        return text.to_string();
    }
    text.chars()
        .take(n.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// About how wide a text is; fonts differ, so this errs on the wide side.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.58
}

/// A coordinate: two decimals at most.
pub(crate) fn number(x: f64) -> String {
    let text = format!("{x:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_string()
    } else {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_escapes_its_text_and_keeps_its_ids_to_itself() {
        let mut svg = Svg {
            width: 10.0,
            height: 10.0,
            body: "<g id=\"a\" clip-path=\"url(#a)\"/>".to_string(),
        };
        svg.text(1.0, 2.0, &TextStyle::default(), "<b>");
        let inline = svg.inline("f1", "a < b");
        assert!(
            inline.contains("id=\"f1-a\" clip-path=\"url(#f1-a)\""),
            "{inline}"
        );
        assert!(inline.contains("&lt;b&gt;") && inline.contains("aria-label=\"a &lt; b\""));
        assert!(inline.contains("var(--fig-ink)") && inline.starts_with("<svg xmlns="));
        let file = svg.standalone("f1", "t");
        assert!(file.contains("xmlns=") && !file.contains("var("));
    }

    #[test]
    fn a_legend_breaks_into_rows_within_the_width() {
        let mut svg = Svg {
            width: 120.0,
            height: 100.0,
            body: String::new(),
        };
        let entries: Vec<(String, [u8; 3])> = (0..4)
            .map(|i| (format!("category {i}"), [0, 0, 0]))
            .collect();
        svg.legend(0.0, &entries);
        // One entry of 10 letters is 22 + 70 wide: one a row, four rows of 19 from 112 on.
        assert_eq!(svg.height, 112.0 + 3.0 * 19.0 + 8.0);
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(
            [number(1.0), number(0.126), number(-0.001), number(2.5)],
            ["1", "0.13", "0", "2.5"].map(String::from)
        );
        assert_eq!(clip("abcdef", 4), "abc…");
    }
}
