//! The page: the answer, views that scripts draw from packed data, folds of blocks, one style sheet, one script, nothing
//! from the network.

use serde_json::{Value, json};

use super::figures::svg::Svg;
use super::html::{escape, slug};
use super::payload::{Chunk, Code};
use super::record::PROVENANCE_MARK;
use super::table_view::TableView;

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
    /// Patient that it shows alone; such figures are the first to leave a page that grows too large.
    pub(crate) patient: Option<String>,
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
            patient: None,
            svg,
        }
    }

    /// The same, of one patient.
    #[must_use]
    pub(crate) fn of(mut self, patient: &str) -> Self {
        self.patient = Some(patient.to_string());
        self
    }
}

impl Figure {
    /// Says which of several nodes of its stage it is of.
    pub(crate) fn name_node(&mut self, node: &str) {
        self.id = slug(&format!("{} {node}", self.id));
        self.title = format!("{}, {node}", self.title);
    }
}

/// How a note is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Good to know.
    Info,
    /// Read this before believing the numbers.
    Warning,
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

/// Where the folds of the steps stand on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below the views: the figures of a step of the analysis.
    Figures,
    /// With the quality of what went in.
    Quality,
}

/// All that the page is made of.
pub(crate) struct Page<'a> {
    /// Headline.
    pub(crate) title: &'a str,
    /// First screen, HTML.
    pub(crate) answer: String,
    /// Folds of the steps, in order.
    pub(crate) steps: &'a [(Place, Section)],
    /// Tables of enrichment, HTML-free blocks; none where the workflow has none.
    pub(crate) enrichment: Option<&'a Section>,
    /// Packed data.
    pub(crate) chunks: &'a [Chunk],
    /// Whether figures of single patients are drawn on the page; else they lie beside it.
    pub(crate) single_figures: bool,
}

/// Views that scripts draw: anchor, chunk, heading, what it needs scripts for.
const VIEWS: [(&str, &str, &str, &str); 3] = [
    (
        "gene",
        "genes",
        "Gene",
        "the expression of any gene against the copy number of each clone, its slope in each patient and its place in the genome",
    ),
    (
        "genome",
        "genome",
        "Genome",
        "copy number of cells and clones along the genome",
    ),
    (
        "cells",
        "cells",
        "Cells",
        "maps of the cells, coloured by what is known of them",
    ),
];

/// Collects the tables and drawings that the script inserts.
#[derive(Debug, Default)]
struct Writer {
    tables: Vec<Value>,
    drawings: Option<Vec<(String, String, String)>>,
    single_figures: bool,
}

impl Page<'_> {
    fn has(&self, chunk: &str) -> bool {
        self.chunks.iter().any(|c| c.name() == chunk)
    }

    /// The file.
    pub(crate) fn html(&self) -> String {
        let mut writer = Writer {
            drawings: Some(Vec::new()),
            single_figures: self.single_figures,
            ..Writer::default()
        };
        let mut sections: Vec<(&str, &str, String)> = Vec::new();
        sections.push(("answer", "Answer", self.answer.clone()));
        for (id, chunk, heading, needs) in VIEWS {
            if self.has(chunk) {
                sections.push((id, heading, view(id, chunk, heading, needs)));
            }
        }
        let folds = |place: Place, writer: &mut Writer| -> String {
            let own = self.steps.iter().filter(|(p, _)| *p == place);
            own.map(|(_, step)| writer.step(step)).collect()
        };
        let card = |id: &str, title: &str, body: &str| {
            format!("<section id=\"{id}\" class=\"card\"><h2>{title}</h2>\n{body}</section>\n")
        };
        let figures = folds(Place::Figures, &mut writer);
        if !figures.is_empty() {
            sections.push((
                "figures",
                "Figures",
                card("figures", "Figures of each step", &figures),
            ));
        }
        if let Some(section) = self.enrichment {
            sections.push(("enrichment", "Enrichment", self.sets(section, &mut writer)));
        }
        let tables = self.tables();
        if !tables.is_empty() {
            sections.push((
                "tables",
                "Tables",
                card("tables", "Tables of all genes", &tables),
            ));
        }
        let quality = folds(Place::Quality, &mut writer);
        if !quality.is_empty() {
            sections.push((
                "quality",
                "Quality",
                card("quality", "Quality of what went in", &quality),
            ));
        }
        let run = writer.blocks(&[Block::Text(RUN.into()), Block::Provenance]);
        sections.push(("run", "Run", card("run", "Run", &run)));
        let mut chunks: String = self.chunks.iter().map(Chunk::html).collect();
        chunks.extend(figures_chunk(writer.drawings.take().unwrap_or_default()).map(|c| c.html()));
        chunks.extend(tables_chunk(&writer.tables).map(|c| c.html()));
        self.assembled(&sections, &chunks)
    }

    /// Gene sets: a static table, and what scripts add to it.
    fn sets(&self, section: &Section, writer: &mut Writer) -> String {
        let (class, rest) = if self.has("enrichment") {
            ("card view\" data-chunk=\"enrichment", VIEW_BODY)
        } else {
            ("card", "")
        };
        format!(
            "<section id=\"enrichment\" class=\"{class}\"><h2>{}</h2>\n{}{rest}</section>\n",
            escape(section.title),
            writer.blocks(&section.blocks)
        )
    }

    /// Tables that scripts draw from packed data.
    fn tables(&self) -> String {
        let of = [
            ("all-genes", "genes", "All genes"),
            ("contrasts", "contrasts", "Contrasts"),
        ];
        of.iter()
            .filter(|(_, chunk, _)| self.has(chunk))
            .map(|(id, chunk, heading)| {
                format!(
                    "<div class=\"view\" data-chunk=\"{chunk}\" id=\"{id}\"><h3>{heading}</h3>{NEEDS_SCRIPT}{VIEW_BODY}</div>\n",
                )
            })
            .collect()
    }

    fn assembled(&self, sections: &[(&str, &str, String)], chunks: &str) -> String {
        let contents: String = sections
            .iter()
            .map(|(id, title, _)| format!("<a href=\"#{id}\">{title}</a>"))
            .collect();
        let body: String = sections.iter().map(|s| s.2.as_str()).collect();
        let find = if self.has("genes") { FIND } else { "" };
        format!(
            "<!doctype html>\n<html lang=\"en\" class=\"no-js\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\n\
             <style>{css}</style>\n<link rel=\"icon\" href=\"data:,\"></head>\n<body>\n\
             <a class=\"skip\" href=\"#answer\">Skip to the answer</a>\n\
             <header><div class=\"bar\"><h1>{title}</h1>{find}\
             <button id=\"theme\" type=\"button\" hidden>Theme: auto</button></div>\n\
             <nav aria-label=\"Sections\">{contents}</nav></header>\n<main>\n{body}</main>\n{chunks}\
             {PROVENANCE_MARK}\n<script>{js}</script>\n</body></html>\n",
            title = escape(self.title),
            css = include_str!("../../web/dist/page.css"),
            js = include_str!("../../web/dist/page.js"),
        )
    }
}

const RUN: &str = "What was run, with which inputs and parameters: the engine's own record. A node that was cached had been computed before \
                   from the same inputs, parameters and code.";
const VIEW_BODY: &str = "<div class=\"view-body\"></div>";
const NEEDS_SCRIPT: &str = "<p class=\"needs-script\">This table is drawn by the page's script; the files beside this page hold it whole.</p>";
const FIND: &str = "<div class=\"find\" role=\"search\" hidden><label class=\"sr\" for=\"q\">Find a gene</label>\
                    <input id=\"q\" type=\"search\" placeholder=\"Find a gene  ( / )\" autocomplete=\"off\" spellcheck=\"false\" role=\"combobox\" \
                    aria-expanded=\"false\" aria-controls=\"hits\" aria-autocomplete=\"list\"><ul id=\"hits\" role=\"listbox\" aria-label=\"Genes\" hidden></ul></div>";

fn view(id: &str, chunk: &str, heading: &str, needs: &str) -> String {
    format!(
        "<section id=\"{id}\" class=\"card view\" data-chunk=\"{chunk}\"><h2>{heading}</h2>\
         <p class=\"needs-script\">With scripts, this shows {needs}.</p>{VIEW_BODY}</section>\n"
    )
}

/// The rows of the tables that stand in the page; `None` without any.
fn tables_chunk(tables: &[Value]) -> Option<Chunk> {
    let mut chunk = Chunk::new("tables");
    let mut ends = vec![0u32];
    let mut all = String::new();
    for table in tables {
        all.push_str(&table.to_string());
        ends.push(all.len() as u32);
    }
    chunk.u32("ptr", &[ends.len()], &ends, Code::Plain);
    chunk.u8("json", &[all.len()], all.as_bytes());
    (!tables.is_empty()).then_some(chunk)
}

/// The drawings of the folds; `None` without any.
fn figures_chunk(drawings: Vec<(String, String, String)>) -> Option<Chunk> {
    if drawings.is_empty() {
        return None;
    }
    let mut chunk = Chunk::new("figures");
    let mut ends = vec![0u32];
    let mut all = String::new();
    for (_, _, svg) in &drawings {
        all.push_str(svg);
        ends.push(all.len() as u32);
    }
    let about = |(id, title, _): &(String, String, String)| json!({"id": id, "title": title, "file": format!("figures/{id}.svg")});
    chunk.set("figures", drawings.iter().map(about).collect());
    chunk.u32("ptr", &[ends.len()], &ends, Code::Plain);
    chunk.u8("svg", &[all.len()], all.as_bytes());
    Some(chunk)
}

impl Writer {
    fn step(&mut self, step: &Section) -> String {
        format!(
            "<details class=\"fold step\" id=\"{}\"><summary>{}</summary>\n{}</details>\n",
            step.id,
            escape(step.title),
            self.blocks(&step.blocks)
        )
    }

    fn blocks(&mut self, blocks: &[Block]) -> String {
        blocks.iter().map(|block| self.block(block)).collect()
    }

    fn block(&mut self, block: &Block) -> String {
        match block {
            Block::Text(text) => format!("<p>{}</p>\n", prose(text)),
            Block::Note(tone, text) => {
                let class = match tone {
                    Tone::Info => "info",
                    Tone::Warning => "warning",
                };
                format!("<p class=\"note {class}\">{}</p>\n", prose(text))
            }
            Block::Heading(text) => format!("<h3>{}</h3>\n", escape(text)),
            Block::Figures(figures) => {
                let inner: String = figures.iter().map(|f| self.figure(f)).collect();
                format!("<div class=\"figures\">{inner}</div>\n")
            }
            Block::Table(table) => {
                let index = self.tables.len();
                self.tables.push(table.data());
                table.html(&format!("table-{}", index + 1), index)
            }
            Block::Fold(summary, open, inner) => {
                let open = if *open { " open" } else { "" };
                let inner = self.blocks(inner);
                format!(
                    "<details class=\"fold\"{open}><summary>{}</summary>{inner}</details>\n",
                    escape(summary)
                )
            }
            Block::Provenance => "<div id=\"provenance-view\"><p class=\"note missing\">The record of the run is added by the engine \
                 when it publishes this page; here it is not there, or scripts are off.</p></div>\n"
                .to_string(),
        }
    }

    /// A figure whose drawing the script inserts from the chunk `figures`; without scripts a link leads to its file.
    fn figure(&mut self, figure: &Figure) -> String {
        let size = if figure.svg.width > 560.0 {
            "wide"
        } else {
            "small"
        };
        let from: Vec<String> = figure
            .from
            .iter()
            .map(|r| format!("<code>{}</code>", escape(r)))
            .collect();
        let mut index = String::new();
        if self.single_figures || figure.patient.is_none() {
            let drawings = self.drawings.get_or_insert_default();
            index = format!(" data-figure=\"{}\"", drawings.len());
            let svg = figure.svg.inline(&figure.id, &figure.title);
            drawings.push((figure.id.clone(), figure.title.clone(), svg));
        }
        format!(
            "<figure class=\"{size}\" id=\"{id}\"{index}><h4>{title}</h4><div class=\"drawing\">\
             <a href=\"figures/{id}.svg\">The drawing, beside this page</a></div>\
             <figcaption>{caption} <span class=\"from\">From {from}.</span></figcaption></figure>\n",
            id = figure.id,
            title = escape(&figure.title),
            caption = escape(&figure.caption),
            from = from.join(", "),
        )
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
    use crate::report::payload::tests::Unpacked;

    #[test]
    fn prose_sets_code_and_escapes_all() {
        assert_eq!(prose("a `b<c` & d"), "a <code>b&lt;c</code> &amp; d");
        assert_eq!(prose("an odd ` mark"), "an odd ` mark");
    }

    #[test]
    fn the_page_asks_nothing_of_the_network_and_has_one_place_for_the_record() {
        let svg = |width| Svg {
            width,
            height: 10.0,
            body: "<g/>".into(),
        };
        let figure = |id: &str, width| {
            Figure::new(&[id, "c"], "t <", "shows & tells", &["expr"], svg(width))
        };
        let figures = vec![figure("A b", 600.0), figure("P1", 300.0).of("P1")];
        let section = Section {
            id: "s",
            title: "S",
            blocks: vec![Block::Fold(
                "more".into(),
                false,
                vec![Block::Figures(figures)],
            )],
        };
        assert_eq!(section.figures()[0].id, "a-b-c");
        let steps = [(Place::Figures, section)];
        let page = |single_figures| Page {
            title: "T & U",
            answer: String::new(),
            steps: &steps,
            enrichment: None,
            chunks: &[],
            single_figures,
        };
        let html = page(true).html();
        assert_eq!(html.matches(PROVENANCE_MARK).count(), 1);
        for bad in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!html.contains(bad), "the page holds `{bad}`");
        }
        assert!(
            html.contains("figure class=\"wide\" id=\"a-b-c\" data-figure=\"0\"")
                && html.contains("shows &amp; tells")
        );
        assert!(html.contains("T &amp; U") && !html.contains("<input id=\"q\""));
        let figures = Unpacked::of(&html, "figures").unwrap();
        let ends = figures.values("ptr");
        let all: String = figures
            .values("svg")
            .iter()
            .map(|b| char::from(*b as u8))
            .collect();
        assert_eq!(all[ends[1] as usize..], svg(300.0).inline("p1-c", "t <"));
        // The figures of single patients stay beside the page where they are asked to.
        let html = page(false).html();
        let figures = Unpacked::of(&html, "figures").unwrap();
        assert_eq!(figures.values("ptr").len(), 2);
        assert!(html.contains("<figure class=\"small\" id=\"p1-c\"><h4>"));
    }
}
