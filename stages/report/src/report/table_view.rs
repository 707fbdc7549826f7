//! A table in the page: the first rows as HTML, which every browser and printer shows, and all
//! embedded rows as data, which the page's script sorts, searches, pages and offers as TSV.

use serde_json::json;

use super::html::{count, escape, script_json, short, slug};
use clcc_data::table::TextTable;

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

    /// The element; `id` is unique in the page.
    pub(crate) fn html(&self, id: &str) -> String {
        let numeric: Vec<bool> = (0..self.header.len()).map(|c| self.is_numeric(c)).collect();
        let classes = self.classes(&numeric);
        let (head, body) = self.head_and_body(&numeric, &classes);
        let data = json!({
            "name": slug(&self.title),
            "notes": self.notes,
            "header": self.header,
            "numeric": numeric,
            "classes": classes,
            "rows": self.rows,
        });
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
            "<div class=\"table\" id=\"{id}\"><h4>{}</h4>{caption}<div class=\"table-scroll\"><table><thead><tr>{head}</tr></thead>\
             <tbody>{body}</tbody></table></div><p class=\"table-foot\">{}</p>{}<script type=\"application/json\">{}</script></div>\n",
            escape(&self.title),
            self.foot(),
            if notes.is_empty() {
                String::new()
            } else {
                format!(
                    "<details class=\"table-notes\"><summary>How it was made</summary>{notes}</details>"
                )
            },
            script_json(&data)
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

    fn head_and_body(&self, numeric: &[bool], classes: &[&str]) -> (String, String) {
        let class = |c: usize| match classes[c] {
            "" => String::new(),
            name => format!(" class=\"{name}\""),
        };
        let head: String = self
            .header
            .iter()
            .enumerate()
            .map(|(c, h)| format!("<th scope=\"col\"{}>{}</th>", class(c), escape(h)))
            .collect();
        let body: String = self
            .rows
            .iter()
            .take(STATIC_ROWS)
            .map(|row| {
                let cells: String = row
                    .iter()
                    .enumerate()
                    .map(|(c, v)| format!("<td{}>{}</td>", class(c), escape(&shown(v, numeric[c]))))
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

    fn is_numeric(&self, column: usize) -> bool {
        let mut seen = false;
        for row in &self.rows {
            match row[column].as_str() {
                "" | "NA" => {}
                v if v.parse::<f64>().is_ok() => seen = true,
                _ => return false,
            }
        }
        seen
    }
}

/// A value as the page shows it: numbers short, missing values as a dash.
fn shown(value: &str, numeric: bool) -> String {
    match value.parse::<f64>() {
        Ok(x) if numeric => short(x),
        _ if value.is_empty() || value == "NA" => "–".to_string(),
        _ => value.to_string(),
    }
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
        let html = view.html("t1");
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
        assert!(view.html("t").contains("the first 2 of 3 rows"));
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
    fn cells_are_text_and_cannot_close_the_script() {
        let html = TableView::new(
            "T",
            table(&[["</script><b>", "1e-12"]]),
            "",
            10,
            Pick::First,
        )
        .html("t1");
        assert_eq!(html.matches("</script>").count(), 1);
        assert!(html.contains("&lt;/script&gt;&lt;b&gt;") && html.contains("made &lt;so&gt;"));
        assert!(html.contains("<td class=\"num\">1.00e-12</td>"));
    }
}
