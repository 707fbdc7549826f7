//! A table in the page: the first rows as HTML, which every browser and printer shows, and all
//! embedded rows as data in the chunk `tables`, which the page's script sorts, searches, pages and offers as TSV.
//!
//! Columns `chromosome`, `start` and `end` that stand together are one column `position` here: `chr6:126,000,000-126,100,000`.

use serde_json::{Value, json};

use super::html::{count, escape, place, short, slug};
use clcc_data::table::TextTable;
use clcc_stage::rows;
use clcc_stage::tables::{ColumnSpec, TableSpec};

/// Which rows of a long table the page holds; names of columns, the first that the table has counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick<'a> {
    /// The first rows.
    First,
    /// Those with the smallest values; a table that fits keeps its order.
    Smallest(&'a [&'a str]),
    /// Those with the largest values, and in that order even where all fit.
    Largest(&'a [&'a str]),
}

/// By significance, as most tables are.
pub(crate) const BY_P: Pick<'static> = Pick::Smallest(&["pvals_adj", "pvals"]);

/// Rows that are written as HTML.
const STATIC_ROWS: usize = 8;

/// What a column holds, and so how its values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Number,
    P,
    Position,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Whole => "int",
            Self::Number => "num",
            Self::P => "p",
            Self::Position => "pos",
        }
    }

    fn is_numeric(self) -> bool {
        matches!(self, Self::Whole | Self::Number | Self::P)
    }
}

/// A table of the page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableView {
    title: String,
    caption: String,
    notes: Vec<String>,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    n_rows: usize,
    /// How the rows were chosen, where some were left out.
    chosen: Option<String>,
    /// Where the whole table lies, relative to the page.
    file: Option<String>,
}

impl TableView {
    /// At most `cap` rows of a table.
    pub(crate) fn new(
        title: &str,
        table: TextTable,
        file: &str,
        cap: usize,
        pick: Pick<'_>,
    ) -> Self {
        let table = with_positions(table);
        let n_rows = table.rows.len();
        let mut rows = table.rows;
        let (names, sign, word) = match pick {
            Pick::First => (&[][..], 1.0, ""),
            Pick::Smallest(names) => (names, 1.0, "smallest"),
            Pick::Largest(names) => (names, -1.0, "largest"),
        };
        let by = names
            .iter()
            .find_map(|name| Some((*name, table.header.iter().position(|h| h == name)?)));
        if let Some((_, at)) = by.filter(|_| n_rows > cap || sign < 0.0) {
            // The order of the file breaks ties; what is no number comes last.
            let key = |row: &Vec<String>| {
                row[at]
                    .parse::<f64>()
                    .ok()
                    .filter(|v| !v.is_nan())
                    .map_or(f64::INFINITY, |v| sign * v)
            };
            rows.sort_by(|a, b| key(a).total_cmp(&key(b)));
        }
        rows.truncate(cap);
        let chosen = (n_rows > cap).then(|| match by {
            Some((name, _)) => format!(
                "the {} rows with the {word} {name} of {}",
                count(cap),
                count(n_rows)
            ),
            None => format!("the first {} of {} rows", count(cap), count(n_rows)),
        });
        Self {
            title: title.to_string(),
            caption: String::new(),
            notes: table.notes,
            header: table.header,
            rows,
            n_rows,
            chosen,
            file: (!file.is_empty()).then(|| file.to_string()),
        }
    }

    /// A sentence under the title.
    #[must_use]
    pub(crate) fn caption(mut self, caption: &str) -> Self {
        self.caption = caption.to_string();
        self
    }

    /// All that the script needs of it.
    pub(crate) fn data(&self) -> Value {
        let kinds: Vec<Kind> = (0..self.header.len()).map(|c| self.kind(c)).collect();
        let numeric: Vec<bool> = kinds.iter().map(|k| k.is_numeric()).collect();
        let declared: Vec<Option<&ColumnSpec>> =
            self.header.iter().map(|name| self.column(name)).collect();
        let of = |what: fn(&ColumnSpec) -> &str| -> Vec<&str> {
            declared.iter().map(|c| c.map_or("", what)).collect()
        };
        json!({
            "name": slug(&self.title),
            "notes": self.notes,
            "header": self.header,
            "numeric": numeric,
            "kinds": kinds.iter().map(|k| k.name()).collect::<Vec<_>>(),
            "classes": self.classes(&numeric),
            "units": of(|c| c.unit),
            "about": of(|c| c.about.trim()),
            "rows": self.rows,
        })
    }

    /// The declaration of a column, where the table is a declared one.
    fn column(&self, name: &str) -> Option<&'static ColumnSpec> {
        let spec = declared(self.file.as_deref()?)?;
        spec.column(name)
    }

    /// The element; `id` is unique in the page, `index` the place of its data in the chunk.
    pub(crate) fn html(&self, id: &str, index: usize) -> String {
        let kinds: Vec<Kind> = (0..self.header.len()).map(|c| self.kind(c)).collect();
        let numeric: Vec<bool> = kinds.iter().map(|k| k.is_numeric()).collect();
        let classes = self.classes(&numeric);
        let (head, body) = self.head_and_body(&kinds, &classes);
        let notes: String = self
            .notes
            .iter()
            .map(|n| format!("<p class=\"table-note\">{}</p>", escape(n)))
            .collect();
        let caption = if self.caption.is_empty() {
            String::new()
        } else {
            format!("<p class=\"table-lead\">{}</p>", escape(&self.caption))
        };
        format!(
            "<div class=\"table\" id=\"{id}\" data-table=\"{index}\"><h4>{}</h4>{caption}<div class=\"table-scroll\"><table><thead><tr>{head}</tr></thead>\
             <tbody>{body}</tbody></table></div><p class=\"table-foot\">{}</p>{}</div>\n",
            escape(&self.title),
            self.foot(),
            if notes.is_empty() {
                String::new()
            } else {
                format!(
                    "<details class=\"table-notes\"><summary>How it was made</summary>{notes}</details>"
                )
            },
        )
    }

    /// Class of each column; one of sentences keeps a readable width where the table is wider than the page.
    fn classes(&self, numeric: &[bool]) -> Vec<&'static str> {
        let long = |c: usize| self.rows.iter().any(|r| r[c].chars().count() > 36);
        let class = |(c, &numeric): (usize, &bool)| match numeric {
            true => "num",
            false if long(c) => "long",
            false => "",
        };
        numeric.iter().enumerate().map(class).collect()
    }

    fn head_and_body(&self, kinds: &[Kind], classes: &[&str]) -> (String, String) {
        let class = |c: usize| match classes[c] {
            "" => String::new(),
            name => format!(" class=\"{name}\""),
        };
        let head: String = self
            .header
            .iter()
            .enumerate()
            .map(|(c, h)| {
                let unit = self.column(h).map_or("", |column| column.unit);
                let unit = match unit {
                    "" => String::new(),
                    unit => format!(" <small>{}</small>", escape(unit)),
                };
                format!("<th scope=\"col\"{}>{}{unit}</th>", class(c), escape(h))
            })
            .collect();
        let body: String = self
            .rows
            .iter()
            .take(STATIC_ROWS)
            .map(|row| {
                let cells: String = row
                    .iter()
                    .enumerate()
                    .map(|(c, v)| format!("<td{}>{}</td>", class(c), escape(&shown(v, kinds[c]))))
                    .collect();
                format!("<tr>{cells}</tr>")
            })
            .collect();
        (head, body)
    }

    fn foot(&self) -> String {
        let held = match &self.chosen {
            Some(chosen) => format!("This page holds {}.", escape(chosen)),
            None if self.n_rows == 1 => "One row.".to_string(),
            None => format!("{} rows.", count(self.n_rows)),
        };
        match &self.file {
            Some(file) if file.contains('*') => format!(
                "{held} The full tables lie beside this page in <code>{}</code>.",
                escape(file)
            ),
            Some(file) => format!(
                "{held} The full table lies beside this page: <a href=\"{0}\">{0}</a>.",
                escape(file)
            ),
            None => held,
        }
    }

    fn kind(&self, column: usize) -> Kind {
        let name = self.header[column].as_str();
        if name == POSITION {
            return Kind::Position;
        }
        let (mut seen, mut whole) = (false, true);
        for row in &self.rows {
            match row[column].as_str() {
                "" | "NA" => {}
                v if v.parse::<f64>().is_ok() => {
                    seen = true;
                    whole &= v.parse::<i64>().is_ok();
                }
                _ => return Kind::Text,
            }
        }
        let is_p = name.starts_with("pval") || name.starts_with("qval") || name.ends_with("_adj");
        match (seen, whole, is_p) {
            (false, ..) => Kind::Text,
            (true, true, false) => Kind::Whole,
            (true, _, true) => Kind::P,
            (true, false, false) => Kind::Number,
        }
    }
}

/// The declaration of the table that lies at `file` beside the page.
fn declared(file: &str) -> Option<&'static TableSpec> {
    let name = file.rsplit('/').next()?;
    let find = |name: &str| rows::ALL.iter().find(|spec| spec.is_file(name));
    // Names of a patient, or of several, stand before the ending.
    let of_all = || find(&format!("{}.tsv", name.split('.').next()?));
    find(name).or_else(of_all)
}

/// Column of places in the genome.
const POSITION: &str = "position";

/// The same table with one column for `chromosome`, `start` and `end` where they stand together.
fn with_positions(mut table: TextTable) -> TextTable {
    let is = |w: &[String]| w == ["chromosome", "start", "end"];
    let Some(at) = table.header.windows(3).position(is) else {
        return table;
    };
    table.header.splice(at..at + 3, [POSITION.to_string()]);
    for row in &mut table.rows {
        let text = match (row[at].as_str(), row[at + 1].as_str(), row[at + 2].as_str()) {
            ("", _, _) => String::new(),
            (chromosome, start, end) => format!("{chromosome}:{start}-{end}"),
        };
        row.splice(at..at + 3, [text]);
    }
    table
}

/// A value as the page shows it: numbers short and with separators, missing values as a dash.
fn shown(value: &str, kind: Kind) -> String {
    if value.is_empty() || value == "NA" {
        return "–".to_string();
    }
    match kind {
        Kind::Whole => whole(value),
        Kind::Number | Kind::P => value.parse().map_or_else(|_| value.to_string(), short),
        Kind::Position => position(value),
        Kind::Text => value.to_string(),
    }
}

fn whole(value: &str) -> String {
    match value.parse::<i64>() {
        Ok(n) if n < 0 => format!("−{}", count(n.unsigned_abs() as usize)),
        Ok(n) => count(n as usize),
        Err(_) => value.to_string(),
    }
}

fn position(value: &str) -> String {
    let parts = value.rsplit_once(':').and_then(|(chromosome, bases)| {
        let (start, end) = bases.split_once('-')?;
        // Bases may be written as numbers with a fraction of 0.
        let base = |text: &str| text.parse::<f64>().ok().map(|b| b as u32);
        Some(place(chromosome, base(start)?, base(end)?))
    });
    parts.unwrap_or_else(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[&str; 2]]) -> TextTable {
        TextTable {
            notes: vec!["made <so>".into()],
            header: vec!["names".into(), "pvals".into()],
            rows: rows.iter().map(|r| r.map(String::from).to_vec()).collect(),
        }
    }

    #[test]
    fn a_long_table_keeps_its_smallest_p_values_and_says_so() {
        let view = TableView::new(
            "DE",
            table(&[["a", "0.5"], ["b", "NA"], ["c", "0.01"], ["d", "0.01"]]),
            "tables/x.tsv",
            2,
            BY_P,
        );
        let names: Vec<&str> = view.rows.iter().map(|r| r[0].as_str()).collect();
        assert_eq!(names, ["c", "d"]);
        let html = view.html("t1", 0);
        assert!(
            html.contains("This page holds the 2 rows with the smallest pvals of 4."),
            "{html}"
        );
        assert!(html.contains("href=\"tables/x.tsv\""));
        let view = TableView::new(
            "DE",
            table(&[["a", "0.5"], ["b", "1"], ["c", "0.01"]]),
            "",
            2,
            Pick::First,
        );
        assert!(view.html("t", 0).contains("the first 2 of 3 rows"));
        let view = TableView::new(
            "L",
            table(&[["a", "0.5"], ["b", "NA"], ["c", "2"]]),
            "",
            9,
            Pick::Largest(&["pvals"]),
        );
        let names: Vec<&str> = view.rows.iter().map(|r| r[0].as_str()).collect();
        assert_eq!(names, ["c", "a", "b"]);
    }

    #[test]
    fn cells_are_text() {
        let view = TableView::new(
            "T",
            table(&[["</script><b>", "1e-12"]]),
            "",
            10,
            Pick::First,
        );
        let html = view.html("t1", 3);
        assert!(html.contains("id=\"t1\" data-table=\"3\""));
        assert!(html.contains("&lt;/script&gt;&lt;b&gt;") && html.contains("made &lt;so&gt;"));
        assert!(!html.contains("<b>") && html.contains("<td class=\"num\">1.00e-12</td>"));
        assert_eq!(view.data()["rows"][0][0], "</script><b>");
    }

    #[test]
    fn columns_of_declared_tables_have_their_units_and_meaning() {
        let of = |file: &str| {
            let table = TextTable {
                notes: Vec::new(),
                header: ["names", "copy_spread", "of_mine"]
                    .map(String::from)
                    .to_vec(),
                rows: vec![["a", "0.5", "1"].map(String::from).to_vec()],
            };
            TableView::new("T", table, file, 10, Pick::First)
        };
        for file in [
            "tables/dosage_genes.tsv",
            "tables/dosage_genes.P1.tsv",
            "tables/dosage_genes.*.tsv",
        ] {
            let data = of(file).data();
            assert_eq!(data["units"], json!(["", "ln", ""]), "{file}");
            assert_eq!(data["about"][0], "Gene.");
            assert!(
                of(file)
                    .html("t", 0)
                    .contains("copy_spread <small>ln</small>")
            );
        }
        assert_eq!(of("tables/mine.tsv").data()["units"], json!(["", "", ""]));
    }

    #[test]
    fn places_are_one_column_and_whole_numbers_have_separators() {
        let table = TextTable {
            notes: Vec::new(),
            header: ["names", "chromosome", "start", "end", "n", "share"]
                .map(String::from)
                .to_vec(),
            rows: vec![
                ["a", "chr6", "126000000", "126100000", "80576", "0.25"]
                    .map(String::from)
                    .to_vec(),
                ["b", "", "", "", "-3", ""].map(String::from).to_vec(),
            ],
        };
        let view = TableView::new("T", table, "", 10, Pick::First);
        let html = view.html("t1", 0);
        assert!(
            html.contains("<td>chr6:126,000,000-126,100,000</td><td class=\"num\">80,576</td>"),
            "{html}"
        );
        assert!(html.contains("<td>–</td><td class=\"num\">−3</td><td class=\"num\">–</td>"));
        assert_eq!(view.data()["kinds"], json!(["text", "pos", "int", "num"]));
    }
}
