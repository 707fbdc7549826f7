//! Genes of a table: which column is what, by the header or by what stands in the rows.

use std::path::Path;

use super::{GeneTable, MISSING, Row, is_browser_line, is_ensembl_id, whole};
use crate::error::{StageError, StageResult};
use crate::genome::chromosome::is_numbered;
use crate::genome::normalise_chromosome;

/// Names of columns as [`plain`] leaves them, in the order in which they are preferred.
const NAME: &[&str] = &[
    "genename",
    "genesymbol",
    "symbol",
    "hgncsymbol",
    "mgisymbol",
    "rgdsymbol",
    "externalgenename",
    "externalgeneid",
    "associatedgenename",
    "approvedsymbol",
    "featurename",
    "gene",
    "genes",
    "name2",
    "name",
    "index",
];
const ID: &[&str] = &[
    "geneid",
    "geneids",
    "genestableid",
    "genestableidversion",
    "ensemblgeneid",
    "ensemblgeneidversion",
    "ensemblid",
    "ensemblids",
    "ensembl",
    "ensgene",
    "ensg",
    "featureid",
    "id",
];
const CHROMOSOME: &[&str] = &[
    "chromosome",
    "chr",
    "chrom",
    "chromosomename",
    "chromosomescaffoldname",
    "seqname",
    "seqnames",
    "seqid",
    "contig",
];
const START: &[&str] = &[
    "start",
    "startposition",
    "genestart",
    "genestartbp",
    "startbp",
    "chromstart",
    "txstart",
];
const END: &[&str] = &[
    "end",
    "stop",
    "endposition",
    "geneend",
    "geneendbp",
    "endbp",
    "chromend",
    "txend",
];
const BIOTYPE: &[&str] = &["genebiotype", "genetype", "biotype"];
/// What pandas and R call row names once they have written and read them.
const UNNAMED: &[&str] = &["", "unnamed0", "x", "1", "rowname", "rownames"];
/// UCSC's names of starts, which count from 0.
const ZERO_BASED: &[&str] = &["chromstart", "txstart"];
/// Rows that are looked at for the layout of a table without a header.
const LOOKED_AT: usize = 1000;

/// The genes, in the order of the file. `first` is its first line that is no comment.
///
/// # Errors
/// [`StageError::Format`] where the header is not understood, a row is too short or a position is wrong.
pub(super) fn read(path: &Path, text: &str, first: &str) -> StageResult<GeneTable> {
    let separator = Separator::of(first);
    let mut records = separator.records(path, text)?;
    let columns = match header_in_comment(text, separator, &records) {
        Some(columns) => columns,
        None => match Columns::of_rows(&records) {
            Some(columns) => columns,
            None => {
                let header = records.remove(0);
                Columns::of_header(&header.fields, &records)
                    .map_err(|missing| not_understood(path, &header, &missing))?
            }
        },
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bed = name.ends_with(".bed") || name.ends_with(".bed.gz");
    let mut table = GeneTable::default();
    for record in &records {
        let row = columns.row(record, bed).map_err(|needed| {
            let found = record.fields.len();
            let why = if columns.chromosome == 0 && columns.zero_based {
                " (a BED has the gene in its fourth)"
            } else {
                ""
            };
            let message = format!("expected at least {needed} fields{why}, found {found}");
            StageError::format(path, format!("line {}", record.line), message)
        })?;
        match row.gene(path, record.line)? {
            Some(gene) => table.genes.push(gene),
            None => table.n_left_out += 1,
        }
    }
    Ok(table)
}

fn not_understood(path: &Path, header: &Record, missing: &[&str]) -> StageError {
    let shown: Vec<&str> = header.fields.iter().take(12).map(String::as_str).collect();
    let message = format!(
        "expected a gene, a chromosome, a start and an end, or a header that names them; no column is the {}: found `{}`",
        missing.join(" or the "),
        shown.join("`, `")
    );
    StageError::format(path, format!("line {}", header.line), message).or_hint(
        "name the columns `gene`, `chromosome`, `start` and `end`; the names of BioMart (`hgnc_symbol`, `chromosome_name`, `start_position`, `end_position`, ...) are known too",
    )
}

/// A row and its line in the file, from 1.
struct Record {
    line: u64,
    fields: Vec<String>,
}

#[derive(Clone, Copy)]
enum Separator {
    Char(u8),
    Blanks,
}

impl Separator {
    /// The tab where there is one, else the more frequent of comma and semicolon, else blanks.
    fn of(line: &str) -> Self {
        let count = |c: u8| line.bytes().filter(|b| *b == c).count();
        let (commas, semicolons) = (count(b','), count(b';'));
        match () {
            () if line.contains('\t') => Self::Char(b'\t'),
            () if commas == 0 && semicolons == 0 => Self::Blanks,
            () if commas >= semicolons => Self::Char(b','),
            () => Self::Char(b';'),
        }
    }

    /// All rows, without comments, blank lines and those for a genome browser.
    fn records(self, path: &Path, text: &str) -> StageResult<Vec<Record>> {
        let all = match self {
            Self::Char(separator) => delimited(path, text, separator)?,
            Self::Blanks => (1..)
                .zip(text.lines())
                .filter(|(_, l)| !l.starts_with('#'))
                .map(|(line, l)| Record {
                    line,
                    fields: words(l),
                })
                .collect(),
        };
        let keeps = |r: &Record| {
            r.fields.iter().any(|f| !f.is_empty())
                && !is_browser_line(&r.fields[0])
                && !matches!(self, Self::Blanks if is_browser_line(&r.fields.join(" ")))
        };
        Ok(all.into_iter().filter(keeps).collect())
    }

    fn split(self, line: &str) -> Vec<String> {
        match self {
            Self::Char(c) => line
                .split(char::from(c))
                .map(|f| f.trim().trim_matches('"').to_string())
                .collect(),
            Self::Blanks => words(line),
        }
    }
}

fn delimited(path: &Path, text: &str, separator: u8) -> StageResult<Vec<Record>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut out = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| StageError::format(path, "", e.to_string()))?;
        out.push(Record {
            line: record.position().map_or(0, |p| line_of(text, p)),
            fields: record.iter().map(str::to_string).collect(),
        });
    }
    Ok(out)
}

/// The line on which a record begins: its position is that of the blank lines and comments before it.
fn line_of(text: &str, position: &csv::Position) -> u64 {
    let before = text[position.byte() as usize..].lines();
    let skipped = before.take_while(|l| l.trim().is_empty() || l.starts_with('#'));
    position.line() + skipped.count() as u64
}

/// The words of a line; a word in quotes may hold blanks, as R writes it.
fn words(line: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        out.push(word.to_string());
        rest = after.trim_start();
    }
    out
}

/// The columns by the last comment before the rows, where it is a header (`#chrom`, `# gene chr start end`).
fn header_in_comment(text: &str, separator: Separator, records: &[Record]) -> Option<Columns> {
    let comments = text.lines().take_while(|l| !super::is_record(l));
    let last = comments.filter(|l| l.starts_with('#')).last()?;
    let header = separator.split(last.trim_start_matches('#').trim());
    let fits = records.iter().all(|r| r.fields.len() >= header.len());
    Columns::of_header(&header, records).ok().filter(|_| fits)
}

/// A header as it is compared: lower case, letters and digits alone (`Gene start (bp)` is `genestartbp`).
fn plain(header: &str) -> String {
    let kept = header.chars().filter(char::is_ascii_alphanumeric);
    kept.map(|c| c.to_ascii_lowercase()).collect()
}

/// Which column is what.
struct Columns {
    name: usize,
    chromosome: usize,
    start: usize,
    end: usize,
    id: Option<usize>,
    biotype: Option<usize>,
    zero_based: bool,
}

impl Columns {
    /// The columns by their names; what is missing where some are. Where the header is one field short, or its
    /// first field is empty or unknown, the rows begin with their names.
    fn of_header(header: &[String], rows: &[Record]) -> Result<Self, Vec<&'static str>> {
        let mut names: Vec<String> = header.iter().map(|h| plain(h)).collect();
        let longer = |r: &Record| r.fields.len() == header.len() + 1;
        let trailing = |r: &Record| r.fields.last().is_some_and(String::is_empty);
        let has_row_names =
            !rows.is_empty() && rows.iter().all(longer) && !rows.iter().all(trailing);
        if has_row_names {
            names.insert(0, String::new());
        }
        let find = |known: &[&str]| known.iter().find_map(|k| names.iter().position(|n| n == k));
        let (chromosome, start, end) = (find(CHROMOSOME), find(START), find(END));
        let biotype = find(BIOTYPE);
        let known = [NAME, ID, CHROMOSOME, START, END, BIOTYPE].concat();
        // pandas' index, R's row names, or a word that we do not know.
        let first = (!known.contains(&names[0].as_str())).then(|| RowNames::of(rows));
        let id = find(ID).or_else(|| first.filter(|f| *f == RowNames::Ids).map(|_| 0));
        let unnamed = UNNAMED.contains(&names[0].as_str());
        let name = find(NAME)
            .or_else(|| match first {
                Some(RowNames::Texts) if unnamed || id.is_none() => Some(0),
                _ => None,
            })
            .or(id);
        match (name, chromosome, start, end) {
            (Some(name), Some(chromosome), Some(start), Some(end)) => Ok(Self {
                name,
                chromosome,
                start,
                end,
                id,
                biotype,
                zero_based: ZERO_BASED.contains(&names[start].as_str()),
            }),
            _ => Err([
                (name, "gene"),
                (chromosome, "chromosome"),
                (start, "start"),
                (end, "end"),
            ]
            .into_iter()
            .filter(|(at, _)| at.is_none())
            .map(|(_, what)| what)
            .collect()),
        }
    }

    /// The columns of a table without a header, by the first row with a chromosome and two whole numbers after
    /// it; `None` where the first row is no such row, and so a header. The gene stands before the
    /// chromosome (after its id, in features of 10x), or after the end (BED).
    fn of_rows(rows: &[Record]) -> Option<Self> {
        let looked_at = || rows.iter().take(LOOKED_AT);
        let numbered = |f: &str| is_numbered(&normalise_chromosome(f));
        let at = looked_at()
            .find_map(|r| place(&r.fields, numbered))
            .or_else(|| looked_at().find_map(|r| place(&r.fields, |_| true)))?;
        let columns = Self {
            name: if at == 0 { 3 } else { 0 },
            chromosome: at,
            start: at + 1,
            end: at + 2,
            id: None,
            biotype: None,
            zero_based: at == 0,
        };
        let first = &rows.first()?.fields;
        let position = |at: usize| {
            let field = first.get(at)?;
            Some(whole(field).is_some() || MISSING.contains(&field.as_str()))
        };
        if position(columns.start) != Some(true) || position(columns.end) != Some(true) {
            return None;
        }
        // Two columns before the chromosome: the second is the gene, the first its id or the row's number.
        Some(match (at, RowNames::of(rows)) {
            (2.., RowNames::Ids) => Self {
                name: 1,
                id: Some(0),
                ..columns
            },
            (2.., RowNames::Numbers) => Self { name: 1, ..columns },
            _ => columns,
        })
    }

    /// The fields of a row; the number of fields that it needs where it is too short.
    fn row<'a>(&self, record: &'a Record, bed: bool) -> Result<Row<'a>, usize> {
        let get = |at: usize| record.fields.get(at).map(String::as_str).ok_or(at + 1);
        let optional = |at: Option<usize>| at.and_then(|at| get(at).ok());
        Ok(Row {
            name: get(self.name)?,
            id: optional(self.id),
            chromosome: get(self.chromosome)?,
            start: get(self.start)?,
            end: get(self.end)?,
            biotype: optional(self.biotype),
            zero_based: self.zero_based || bed,
        })
    }
}

/// Where a chromosome is followed by two whole numbers.
fn place(fields: &[String], is_chromosome: impl Fn(&str) -> bool) -> Option<usize> {
    (0..fields.len().saturating_sub(2)).find(|&i| {
        !MISSING.contains(&fields[i].as_str())
            && is_chromosome(&fields[i])
            && whole(&fields[i + 1]).is_some()
            && whole(&fields[i + 2]).is_some()
    })
}

/// What the first column of a table holds where its header does not say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RowNames {
    /// Whole numbers: the rows are counted.
    Numbers,
    /// Ensembl ids.
    Ids,
    Texts,
}

impl RowNames {
    fn of(rows: &[Record]) -> Self {
        let all = |is: fn(&str) -> bool| {
            !rows.is_empty() && rows.iter().all(|r| r.fields.first().is_some_and(|f| is(f)))
        };
        match () {
            () if all(|f| whole(f).is_some()) => Self::Numbers,
            () if all(is_ensembl_id) => Self::Ids,
            () => Self::Texts,
        }
    }
}
