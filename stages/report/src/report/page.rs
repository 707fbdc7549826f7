//! The page: sections of blocks, one style sheet, one script, nothing from the network.

use super::figures::svg::Svg;
use super::html::{escape, slug};
use super::table_view::TableView;

/// The engine puts the run's record here: `<script type="application/json" id="run-provenance">`.
pub const PROVENANCE_MARK: &str = "<!--clcc:provenance-->";

/// A drawing with what it shows and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// Unique in the page; also the file's name.
    pub(crate) id: String,
    /// A few words above it.
    pub(crate) title: String,
    /// What it shows.
    pub(crate) caption: String,
    /// Roles that it is drawn from.
    pub(crate) from: Vec<&'static str>,
    /// The drawing.
    pub(crate) svg: Svg,
}

impl Figure {
    /// A figure whose id is made of `parts`.
    pub(crate) fn new(
        parts: &[&str],
        title: &str,
        caption: &str,
        from: &[&'static str],
        svg: Svg,
    ) -> Self {
        Self {
            id: slug(&parts.join(" ")),
            title: title.to_string(),
            caption: caption.to_string(),
            from: from.to_vec(),
            svg,
        }
    }

    fn html(&self) -> String {
        let size = if self.svg.width > 560.0 {
            "wide"
        } else {
            "small"
        };
        let from = self
            .from
            .iter()
            .map(|r| format!("<code>{}</code>", escape(r)))
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "<figure class=\"{size}\" id=\"{id}\"><h4>{title}</h4><div class=\"drawing\">{svg}</div>\
             <figcaption>{caption} <span class=\"from\">From {from}.</span></figcaption></figure>\n",
            id = self.id,
            title = escape(&self.title),
            svg = self.svg.inline(&self.id, &self.title),
            caption = escape(&self.caption),
        )
    }
}

/// How a note is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Good to know.
    Info,
    /// Read this before believing the numbers.
    Warning,
    /// Something is not there.
    Missing,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    /// A paragraph of text.
    Text(String),
    /// A paragraph that stands out.
    Note(Tone, String),
    /// A heading within the section.
    Heading(String),
    /// Headline numbers: value, what it is.
    Tiles(Vec<(String, String)>),
    /// Figures beside one another.
    Figures(Vec<Figure>),
    /// A table.
    Table(TableView),
    /// Shown on demand; the flag opens it from the start.
    Fold(String, bool, Vec<Block>),
    /// Where the run's record is shown.
    Provenance,
}

/// A part of the page with an entry in its contents.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Section {
    /// Anchor.
    pub(crate) id: &'static str,
    /// Heading.
    pub(crate) title: &'static str,
    /// What it holds.
    pub(crate) blocks: Vec<Block>,
}

impl Section {
    /// A section for a part of the pipeline that the workflow does not have.
    pub(crate) fn absent(id: &'static str, title: &'static str, stage: &str) -> Self {
        let text = format!(
            "The stage `{stage}` was not part of this workflow, so there is nothing to show here."
        );
        Self {
            id,
            title,
            blocks: vec![Block::Note(Tone::Missing, text)],
        }
    }

    /// All figures, in order.
    pub(crate) fn figures(&self) -> Vec<&Figure> {
        fn collect<'a>(blocks: &'a [Block], out: &mut Vec<&'a Figure>) {
            for block in blocks {
                match block {
                    Block::Figures(figures) => out.extend(figures),
                    Block::Fold(_, _, inner) => collect(inner, out),
                    _ => {}
                }
            }
        }
        let mut out = Vec::new();
        collect(&self.blocks, &mut out);
        out
    }

    /// The same, to rename them.
    pub(crate) fn figures_mut(&mut self) -> Vec<&mut Figure> {
        fn collect<'a>(blocks: &'a mut [Block], out: &mut Vec<&'a mut Figure>) {
            for block in blocks {
                match block {
                    Block::Figures(figures) => out.extend(figures),
                    Block::Fold(_, _, inner) => collect(inner, out),
                    _ => {}
                }
            }
        }
        let mut out = Vec::new();
        collect(&mut self.blocks, &mut out);
        out
    }
}

/// The whole page.
pub(crate) fn page(title: &str, sections: &[Section]) -> String {
    let contents: String = sections
        .iter()
        .map(|s| format!("<li><a href=\"#{}\">{}</a></li>", s.id, escape(s.title)))
        .collect();
    let mut tables = 0;
    let body: String = sections
        .iter()
        .map(|s| {
            format!(
                "<section id=\"{}\"><h2>{}</h2>\n{}</section>\n",
                s.id,
                escape(s.title),
                blocks_html(&s.blocks, &mut tables)
            )
        })
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\n\
         <style>{css}</style>\n<link rel=\"icon\" href=\"data:,\"></head>\n<body>\n\
         <header><div><p class=\"kicker\">clcc-flow report</p><h1>{title}</h1></div>\
         <button type=\"button\" id=\"theme\" hidden>Theme: auto</button></header>\n\
         <nav aria-label=\"Contents\"><ol>{contents}</ol></nav>\n<main>\n{body}</main>\n\
         {PROVENANCE_MARK}\n<script>{js}</script>\n</body></html>\n",
        title = escape(title),
        css = include_str!("page.css"),
        js = include_str!("page.js"),
    )
}

fn blocks_html(blocks: &[Block], tables: &mut usize) -> String {
    let mut out = String::new();
    for block in blocks {
        out.push_str(&block_html(block, tables));
    }
    out
}

fn block_html(block: &Block, tables: &mut usize) -> String {
    match block {
        Block::Text(text) => format!("<p>{}</p>\n", prose(text)),
        Block::Note(tone, text) => {
            let class = match tone {
                Tone::Info => "info",
                Tone::Warning => "warning",
                Tone::Missing => "missing",
            };
            format!("<p class=\"note {class}\">{}</p>\n", prose(text))
        }
        Block::Heading(text) => format!("<h3>{}</h3>\n", escape(text)),
        Block::Tiles(tiles) => {
            let tiles: String =
                tiles.iter().map(|(v, l)| format!("<div><dd>{}</dd><dt>{}</dt></div>", escape(v), escape(l))).collect();
            format!("<dl class=\"tiles\">{tiles}</dl>\n")
        }
        Block::Figures(figures) => {
            format!("<div class=\"figures\">{}</div>\n", figures.iter().map(Figure::html).collect::<String>())
        }
        Block::Table(table) => {
            *tables += 1;
            table.html(&format!("table-{tables}"))
        }
        Block::Fold(summary, open, inner) => {
            let open = if *open { " open" } else { "" };
            format!("<details class=\"fold\"{open}><summary>{}</summary>{}</details>\n", escape(summary), blocks_html(inner, tables))
        }
        Block::Provenance => "<div id=\"provenance-view\"><p class=\"note missing\">The record of the run is added by the engine \
             when it publishes this page; here it is not there, or scripts are off.</p></div>\n"
            .to_string(),
    }
}

/// Escaped text in which `` `code` `` is set as code.
fn prose(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return escape(text);
    }
    let set = |(i, part): (usize, &&str)| {
        if i % 2 == 1 {
            format!("<code>{}</code>", escape(part))
        } else {
            escape(part)
        }
    };
    parts.iter().enumerate().map(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_sets_code_and_escapes_all() {
        assert_eq!(prose("a `b<c` & d"), "a <code>b&lt;c</code> &amp; d");
        assert_eq!(prose("an odd ` mark"), "an odd ` mark");
    }

    #[test]
    fn the_page_asks_nothing_of_the_network_and_has_one_place_for_the_record() {
        let svg = Svg {
            width: 600.0,
            height: 10.0,
            body: String::new(),
        };
        let figure = Figure::new(&["A b", "c"], "t <", "shows & tells", &["expr"], svg);
        let section = Section {
            id: "s",
            title: "S",
            blocks: vec![
                Block::Fold("more".into(), false, vec![Block::Figures(vec![figure])]),
                Block::Provenance,
            ],
        };
        assert_eq!(section.figures()[0].id, "a-b-c");
        let html = page("T & U", &[section, Section::absent("x", "X", "train")]);
        assert_eq!(html.matches(PROVENANCE_MARK).count(), 1);
        for bad in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!html.contains(bad), "the page holds `{bad}`");
        }
        assert!(
            html.contains("figure class=\"wide\" id=\"a-b-c\"")
                && html.contains("shows &amp; tells")
        );
        assert!(html.contains("<code>train</code> was not part of this workflow"));
        assert!(html.contains("T &amp; U"));
    }
}
