//! Reads gene positions as their sources write them.
//!
//! [`annotation`] reads GTF and GFF3, [`columns`] understands the columns of every other table: exports
//! of BioMart and pandas, R's data frames, BED, the gene order file of inferCNV.

mod annotation;
mod columns;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::io::Read as _;
use std::path::Path;

use super::table::{Gene, GeneClass, GeneTable, is_ensembl_id, strip_version};
use super::{Assembly, Position, normalise_chromosome};
use crate::error::{StageError, StageResult};

/// What stands for a missing value: what pandas reads as one, and the dot of BED and GFF.
const MISSING: [&str; 16] = [
    "", ".", "NA", "N/A", "n/a", "<NA>", "nan", "NaN", "-nan", "-NaN", "null", "NULL", "None",
    "#N/A", "#NA", "#N/A N/A",
];

impl GeneTable {
    /// Reads a GTF, a GFF3, a BED, or a table with the columns gene, chromosome, start and end. Each may
    /// be gzipped, with a byte order mark and with line ends of any system.
    ///
    /// - **GTF, GFF3**: nine fields between tabs. The lines of genes count; the name is `gene_name` or
    ///   `Name`, else the id. A comment that names one known assembly declares it.
    /// - **A table with a header**: columns in any order, under the names of BioMart (the three of its
    ///   web pages and packages), pandas, R and others; row names without a header of their own are
    ///   understood. Fields are separated by tabs, commas, semicolons or blanks, with quotes or without.
    /// - **A table without one**: gene, chromosome, start, end (inferCNV), or chromosome, start, end,
    ///   gene (BED, whose starts count from 0).
    ///
    /// Rows without a position, or without a name and an id, are left out and counted.
    ///
    /// # Errors
    /// [`StageError::Io`]; [`StageError::Format`] with the line where a field is missing, a position
    /// is no whole number, a gene ends before it starts, where the header is not understood, or where no
    /// gene was found.
    pub fn read(path: &Path) -> StageResult<Self> {
        let table = parse(path, &text_of(path)?)?;
        if table.genes.is_empty() {
            let found = match table.n_left_out {
                0 => "none".to_string(),
                n => format!("{n} rows without a position"),
            };
            return Err(StageError::format(
                path,
                "",
                format!(
                    "expected gene positions (a GTF or GFF3 with genes, a BED, or the columns gene, chromosome, start, end), found {found}"
                ),
            ));
        }
        Ok(table)
    }
}

fn text_of(path: &Path) -> StageResult<String> {
    let mut bytes = std::fs::read(path).map_err(StageError::reading(path))?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        crate::gzip::Gunzip::new(bytes.as_slice())
            .read_to_end(&mut unpacked)
            .map_err(StageError::decompressing(path))?;
        bytes = unpacked;
    }
    for (mark, what) in [
        (&b"PK\x03\x04"[..], "a zip archive or a spreadsheet"),
        (b"\xff\xfe", "UTF-16"),
        (b"\xfe\xff", "UTF-16"),
        (b"BZh", "a file packed with bzip2"),
        (b"\xfd7zXZ", "a file packed with xz"),
    ] {
        if bytes.starts_with(mark) {
            let message = format!("expected UTF-8 text, plain or gzipped, found {what}");
            return Err(StageError::format(path, "", message));
        }
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = format!("byte {}", e.utf8_error().valid_up_to());
        StageError::format(path, at, "expected UTF-8 text")
    })?;
    // The line ends of old spreadsheets.
    if text.contains('\r') && !text.contains('\n') {
        return Ok(text.replace('\r', "\n"));
    }
    Ok(text)
}

fn parse(path: &Path, text: &str) -> StageResult<GeneTable> {
    let text = text.trim_start_matches('\u{feff}');
    let mut table = match text.lines().find(|l| is_record(l)) {
        None => GeneTable::default(),
        Some(first) if annotation::is_annotation(first) => annotation::read(path, text)?,
        Some(first) => columns::read(path, text, first)?,
    };
    table.assembly = stated_assembly(text);
    // BioMart repeats a gene for each of its transcripts where those were asked for too.
    let mut seen = HashSet::new();
    table.genes.retain(|g| {
        seen.insert((
            g.name.clone(),
            g.id.clone(),
            g.chromosome.clone(),
            g.start,
            g.end,
        ))
    });
    Ok(table)
}

/// Whether a line is neither blank nor a comment nor for a genome browser.
fn is_record(line: &str) -> bool {
    let line = line.trim();
    !(line.is_empty() || line.starts_with('#') || is_browser_line(line))
}

fn is_browser_line(line: &str) -> bool {
    ["track", "browser"].iter().any(|word| {
        line.strip_prefix(word)
            .is_some_and(|rest| rest.starts_with(' '))
    })
}

/// The assembly that the comments before the first record name; `None` where they name none or several.
fn stated_assembly(text: &str) -> Option<Assembly> {
    let comments = text.lines().take_while(|l| !is_record(l));
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let words = comments
        .filter(|l| l.starts_with('#'))
        .flat_map(|l| l.split(|c| !inside(c)));
    let named: BTreeSet<Assembly> = words
        .filter_map(|w| Assembly::named(w.trim_end_matches('.')))
        .filter(|a| *a != Assembly::Other)
        .collect();
    named.first().copied().filter(|_| named.len() == 1)
}

/// A row as it is written.
#[derive(Default)]
struct Row<'a> {
    name: &'a str,
    id: Option<&'a str>,
    chromosome: &'a str,
    start: &'a str,
    end: &'a str,
    biotype: Option<&'a str>,
    /// Whether the start counts from 0.
    zero_based: bool,
}

impl Row<'_> {
    /// The gene; `None` where the row has no position, or neither name nor id.
    fn gene(&self, path: &Path, line: u64) -> StageResult<Option<Gene>> {
        let bad = |message: String| StageError::format(path, format!("line {line}"), message);
        let missing = |text: &str| MISSING.contains(&text);
        let id = self.id.filter(|id| !missing(id)).map(strip_version);
        let name = match id {
            Some(id) if missing(self.name) => id,
            _ => self.name,
        };
        let unplaced = [self.chromosome, self.start, self.end];
        if name.is_empty() || name == "." || unplaced.into_iter().any(missing) {
            return Ok(None);
        }
        let number = |what: &str, text: &str| {
            whole(text)
                .filter(|n| *n >= 0)
                .ok_or_else(|| bad(format!("{what}: expected a whole number, found `{text}`")))
        };
        let start = number("start", self.start)?;
        let start = if self.zero_based {
            Position::from_zero(start)
        } else {
            Position::from_one(start)
        };
        let end = Position::from_one(number("end", self.end)?);
        if end < start {
            return Err(bad(format!(
                "gene `{name}` ends at {end}, before its start at {start}"
            )));
        }
        let own_id = || is_ensembl_id(name).then(|| strip_version(name));
        Ok(Some(Gene {
            name: name.to_string(),
            id: id.or_else(own_id).map(str::to_string),
            chromosome: normalise_chromosome(self.chromosome),
            start,
            end,
            class: self
                .biotype
                .filter(|b| !missing(b))
                .map(GeneClass::of_biotype),
        }))
    }
}

/// A whole number, also as pandas writes those of a column with gaps (`123.0`) and R large ones (`1e+05`).
fn whole(text: &str) -> Option<i64> {
    if let Ok(n) = text.parse() {
        return Some(n);
    }
    let number: f64 = text.parse().ok()?;
    // Beyond 2^53 a float no longer says which whole number it is.
    let exact = number.fract() == 0.0 && number.abs() < 9e15;
    exact.then_some(number as i64)
}
