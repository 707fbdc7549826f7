//! Text matrices as GEO has them: genes in rows, cells in columns, one streaming pass.
//!
//! ```text
//! Index <TAB> cell 1 <TAB> cell 2 ...
//! A1BG  <TAB> 0      <TAB> 3      ...
//! ```
//!
//! Fields stand between tabs, commas, semicolons or blanks; the header may lack its first field, as
//! R's `write.table` leaves it out. The file is unpacked on a thread of its own; memory is a few megabytes, the names, and the
//! packed entries of the cells that are kept ([`super::compact`]).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::annotations::shown;
use super::cells::{Cells, Patient};
use super::compact::Packed;
use super::count_problem;
use super::params::{CountKind, IngestParams};
use super::source::Matrices;
use super::text::{self, Lines};
use clcc_data::anndata::list;
use clcc_data::error::{StageError, StageResult};
use clcc_data::frame::{Frame, is_missing};
use clcc_stage::stage::{Progress, StageContext};

/// Fields of a line at most, far more than any matrix of text has cells: each takes dozens of bytes once it is a
/// name.
const MAX_FIELDS: usize = 1 << 24;

/// Marks a column whose cell is not kept.
const DROPPED: u32 = u32::MAX;

/// A text whose header is read.
pub(super) struct Text {
    path: PathBuf,
    lines: Lines,
    separator: u8,
    /// The line after the header.
    first: Option<Vec<u8>>,
    /// The cells of the header, without columns.
    pub(super) cells: Frame,
}

impl Text {
    /// Reads the header and the line after it.
    ///
    /// # Errors
    /// [`StageError::Format`] where the header is none: a blank line, a comment, a name that comes twice.
    pub(super) fn open(path: &Path, progress: &dyn Progress) -> StageResult<Self> {
        let mut lines = Lines::open(path)?;
        let head = lines.next()?.map(<[u8]>::to_vec);
        let first = lines.next()?.map(<[u8]>::to_vec);
        let separator = separator(head.as_deref().unwrap_or_default());
        let Header { names, no_corner } =
            header(head.as_deref(), first.as_deref(), separator, path)?;
        if no_corner {
            progress.warn(&format!(
                "the header of `{}` has no name for the genes' column, as R writes it: its first field, `{}`, is a cell",
                path.display(),
                names[0]
            ));
        }
        Ok(Self {
            path: path.to_path_buf(),
            lines,
            separator,
            first,
            cells: Frame::new(names),
        })
    }

    /// The name of the first row.
    pub(super) fn first_gene(&self) -> Option<&str> {
        let line = self.first.as_deref()?;
        text::name(&line[..name_end(line, self.separator)]).ok()
    }

    /// Reads the patients' counts, and the genes.
    ///
    /// # Errors
    /// [`StageError::Format`] with the line, gene and cell for a cut-off or corrupt gzip stream, a row too
    /// short or too long, a count that is none, genes that come twice, an empty file.
    pub(super) fn read(
        mut self,
        ctx: &StageContext<'_>,
        params: &IngestParams,
        cells: &Cells,
        patients: &[Patient],
    ) -> StageResult<(Frame, Matrices)> {
        let names = &self.cells.index;
        let mut target = Target::new(names.len(), cells, patients);
        let mut rows = Rows {
            path: &self.path,
            cells: names,
            kind: params.counts,
            separator: self.separator,
            target: &mut target,
            genes: Vec::new(),
            summaries: Vec::new(),
            line_of: HashMap::new(),
            blank: None,
            number: 1,
        };
        if let Some(first) = self.first {
            rows.read(&first)?;
        }
        while let Some(line) = self.lines.next()? {
            rows.read(line)?;
            if rows.genes.len().is_multiple_of(64) {
                ctx.check_cancelled()?;
                let (done, total) = self.lines.progress();
                let note = format!("{} genes", rows.genes.len());
                ctx.progress.step(done, total, &note);
            }
        }
        let (genes, summaries) = rows.finish()?;
        if !summaries.is_empty() {
            ctx.progress.warn(&format!(
                "{} rows count reads of no gene and are left out: {}",
                summaries.len(),
                list(&summaries)
            ));
        }
        let mut packed = target.packed.into_iter();
        let matrices = std::iter::from_fn(move || packed.next().map(Packed::into_csr));
        Ok((Frame::new(genes), Box::new(matrices)))
    }
}

/// Whether a name is that of a column about genes, which stands where cell ids are expected.
pub(super) fn is_about_genes(name: &str) -> bool {
    const MORE: [&str; 12] = [
        "chr",
        "chrom",
        "chromosome",
        "start",
        "end",
        "strand",
        "length",
        "description",
        "biotype",
        "gene_type",
        "gene_biotype",
        "unnamed: 0",
    ];
    let name = name.to_lowercase();
    !name.is_empty() && (CORNERS.contains(&name.as_str()) || MORE.contains(&name.as_str()))
}

/// Names that stand above the genes, in lower case.
const CORNERS: &[&str] = &[
    "",
    "index",
    "gene",
    "genes",
    "gene_id",
    "gene_ids",
    "geneid",
    "gene_name",
    "gene_names",
    "gene_symbol",
    "gene_symbols",
    "genesymbol",
    "gene symbol",
    "symbol",
    "symbols",
    "hgnc_symbol",
    "ensembl_id",
    "ensembl",
    "id",
    "name",
    "row",
    "rownames",
    "row.names",
    "unnamed: 0",
    "v1",
    "x",
];

#[derive(Debug, PartialEq)]
struct Header {
    /// Cell ids.
    names: Vec<String>,
    /// Whether the genes' column has no name, so that the header is one field short.
    no_corner: bool,
}

/// The byte between fields: tab where there is one, else comma, semicolon or blank.
pub(super) fn separator(head: &[u8]) -> u8 {
    let found = [b'\t', b',', b';', b' ']
        .into_iter()
        .find(|b| head.contains(b));
    found.unwrap_or(b'\t')
}

/// The cell ids of the first line. R leaves the first field out; the first row then has one more
/// field than the header, whose first name is none that genes' columns have.
fn header(
    head: Option<&[u8]>,
    first: Option<&[u8]>,
    separator: u8,
    path: &Path,
) -> StageResult<Header> {
    let bad = |message: String| StageError::format(path, "line 1", message);
    let head = header_line(head, first, path)?;
    let n = 1 + memchr::memchr_iter(separator, head).count();
    if n > MAX_FIELDS {
        return Err(bad(format!(
            "expected at most {MAX_FIELDS} fields, found {n}"
        )));
    }
    let fields = split_names(head, separator);
    let names = fields
        .iter()
        .map(|f| text::name(f).map(str::to_string))
        .collect::<Result<Vec<_>, _>>();
    let mut names = names.map_err(bad)?;
    if names.len() < 2 {
        return Err(bad(
            "expected `Index` and cell ids between tabs or commas, found one field".to_string(),
        ));
    }
    let n_first = first.map(|row| 1 + memchr::memchr_iter(separator, row).count());
    let usual = CORNERS.contains(&names[0].to_lowercase().as_str());
    let no_corner = !usual && n_first == Some(names.len() + 1);
    if !no_corner {
        names.remove(0);
    }
    if names.iter().take(5).eq(PLACES) {
        return Err(bad(
            "expected cell ids, found the columns `Chr`, `Start`, `End`, `Strand` and `Length` of featureCounts"
                .to_string(),
        )
        .or_hint(without_comments(Some(head))));
    }
    check_ids(&names, 1 + usize::from(!no_corner)).map_err(bad)?;
    Ok(Header { names, no_corner })
}

/// Checks that every cell has an id of its own; the first stands in column `first` of the table, counted from 1.
fn check_ids(names: &[String], first: usize) -> Result<(), String> {
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(names.len());
    for (column, name) in (first..).zip(names) {
        if is_missing(name) {
            return Err(format!(
                "expected a cell id in column {column}, found {}",
                shown(name)
            ));
        }
        if let Some(before) = seen.insert(name, column) {
            return Err(format!(
                "cell id `{name}` is in column {before} and again in column {column}"
            ));
        }
    }
    Ok(())
}

/// The first line, where it can be a header.
fn header_line<'a>(
    head: Option<&'a [u8]>,
    first: Option<&[u8]>,
    path: &Path,
) -> StageResult<&'a [u8]> {
    let bad = |message: &str| StageError::format(path, "line 1", message.to_string());
    match head {
        Some(line) if line.trim_ascii().is_empty() && first.is_some() => {
            let error = bad("expected `Index` and cell ids, found a blank line");
            Err(error.or_hint("remove the lines before the header"))
        }
        None | Some([]) => Err(bad("expected `Index` and cell ids, found an empty file")),
        Some(line) if line.starts_with(b"#") && is_comment(line, first) => {
            let start: String = String::from_utf8_lossy(line).chars().take(60).collect();
            let message = format!("expected `Index` and cell ids, found the comment `{start}`");
            Err(bad(&message).or_hint(without_comments(first)))
        }
        Some(line) => Ok(line),
    }
}

/// Whether a first line that begins with `#` is a comment: a header has as many fields as a row, or one less,
/// between what separates those.
fn is_comment(head: &[u8], first: Option<&[u8]>) -> bool {
    let Some(first) = first else { return true };
    let n = |line: &[u8]| split_names(line, separator(first)).len();
    n(head) < 2 || (n(first) != n(head) && n(first) != n(head) + 1)
}

/// The columns that featureCounts has before the counts.
const PLACES: [&str; 5] = ["Chr", "Start", "End", "Strand", "Length"];

/// What to do about comments, and about the columns of featureCounts where `header` has them.
fn without_comments(header: Option<&[u8]>) -> &'static str {
    let fields = header.map(|h| split_names(h, b'\t')).unwrap_or_default();
    let places = fields.iter().skip(1).take(5).map(|f| text::name(f));
    if places.eq(PLACES.map(Ok)) {
        "remove the lines that begin with `#` and the columns `Chr` to `Length` of featureCounts: \
         `grep -v '^#' table.txt | cut -f 1,7- > counts.txt`"
    } else {
        "remove the lines that begin with `#`: `grep -v '^#' table.txt > counts.txt`"
    }
}

/// Fields of a line; a separator between quotes is part of the name.
fn split_names(line: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let end = name_end(rest, separator);
        fields.push(&rest[..end]);
        if end == rest.len() {
            return fields;
        }
        rest = &rest[end + 1..];
    }
}

/// Where the first field of `line` ends.
fn name_end(line: &[u8], separator: u8) -> usize {
    let quoted = match line {
        [b'"', tail @ ..] => memchr::memchr(b'"', tail).map_or(0, |at| at + 1),
        _ => 0,
    };
    memchr::memchr(separator, &line[quoted..]).map_or(line.len(), |at| quoted + at)
}

/// Where the entries of each column go.
struct Target {
    /// Patient of each column, or [`DROPPED`].
    patient: Vec<u32>,
    /// Row of each column among its patient's cells.
    row: Vec<u32>,
    packed: Vec<Packed>,
}

impl Target {
    fn new(n_columns: usize, cells: &Cells, patients: &[Patient]) -> Self {
        let (mut patient, mut row) = (vec![DROPPED; n_columns], vec![0; n_columns]);
        for (p, cells_of) in patients.iter().enumerate() {
            for (r, &cell) in cells_of.rows.iter().enumerate() {
                patient[cells.at[cell]] = p as u32;
                row[cells.at[cell]] = r as u32;
            }
        }
        Self {
            patient,
            row,
            packed: patients.iter().map(|p| Packed::new(p.rows.len())).collect(),
        }
    }
}

/// The rows as they come.
struct Rows<'a> {
    path: &'a Path,
    cells: &'a [String],
    kind: CountKind,
    separator: u8,
    target: &'a mut Target,
    genes: Vec<String>,
    /// Rows that are no genes: what could not be counted ([`is_summary`]).
    summaries: Vec<String>,
    line_of: HashMap<String, u64>,
    /// Line of the first blank one.
    blank: Option<u64>,
    /// Lines so far.
    number: u64,
}

impl Rows<'_> {
    /// Takes a line. A blank line may end the file and stand nowhere else.
    fn read(&mut self, line: &[u8]) -> StageResult<()> {
        self.number += 1;
        let number = self.number;
        let bad =
            |message: String| StageError::format(self.path, format!("line {number}"), message);
        if line.is_empty() {
            self.blank = self.blank.or(Some(number));
            return Ok(());
        }
        if let Some(blank) = self.blank {
            return Err(StageError::format(
                self.path,
                format!("line {blank}"),
                "expected a gene, found a blank line",
            ));
        }
        let gene_end = name_end(line, self.separator);
        let gene = text::name(&line[..gene_end]).map_err(bad)?;
        if gene.is_empty() {
            return Err(bad("expected the name of a gene, found nothing".to_string()));
        }
        if is_summary(gene) {
            self.summaries.push(gene.to_string());
            return Ok(());
        }
        let fields = &line[gene_end..];
        let row = match self.separator {
            b',' => parse_row::<b','>(fields, self.kind, self.target),
            b';' => parse_row::<b';'>(fields, self.kind, self.target),
            b' ' => parse_row::<b' '>(fields, self.kind, self.target),
            _ => parse_row::<b'\t'>(fields, self.kind, self.target),
        };
        row.map_err(|problem| bad(problem.describe(gene, self.cells)))?;
        if let Some(before) = self.line_of.insert(gene.to_string(), number) {
            return Err(bad(format!("gene `{gene}` is also on line {before}")));
        }
        self.genes.push(gene.to_string());
        Ok(())
    }

    /// The genes, and the rows that were left out.
    fn finish(self) -> StageResult<(Vec<String>, Vec<String>)> {
        if self.genes.is_empty() {
            return Err(StageError::format(
                self.path,
                "line 2",
                "expected a gene and its counts, found the end of the file",
            ));
        }
        Ok((self.genes, self.summaries))
    }
}

/// Whether a row counts reads of no gene, as htseq-count and STAR write below and above the genes.
fn is_summary(name: &str) -> bool {
    const HTSEQ: [&str; 5] = [
        "__no_feature",
        "__ambiguous",
        "__too_low_aQual",
        "__not_aligned",
        "__alignment_not_unique",
    ];
    const STAR: [&str; 4] = ["N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous"];
    HTSEQ.contains(&name) || STAR.contains(&name)
}

/// What is wrong with a row.
#[derive(Debug, PartialEq)]
enum RowProblem {
    /// Found this many counts.
    Length(usize),
    /// This column, this reason.
    Count(usize, String),
}

impl RowProblem {
    fn describe(&self, gene: &str, cells: &[String]) -> String {
        match self {
            Self::Length(found) => format!(
                "gene `{gene}`: expected {} counts, found {found}",
                cells.len()
            ),
            Self::Count(column, why) => format!("gene `{gene}`, cell `{}`: {why}", cells[*column]),
        }
    }
}

/// Parses `<TAB>count<TAB>count...` (or with another separator) and hands on what is not zero.
fn parse_row<const SEPARATOR: u8>(
    fields: &[u8],
    kind: CountKind,
    target: &mut Target,
) -> Result<(), RowProblem> {
    let four_zeros = u64::from_le_bytes([
        SEPARATOR, b'0', SEPARATOR, b'0', SEPARATOR, b'0', SEPARATOR, b'0',
    ]);
    let n_cells = target.patient.len();
    let (mut at, mut column) = (0, 0);
    while at < fields.len() {
        // 94 % of the counts are 0: step over four at a time, and to the first that differs.
        while let Some(next) = fields[at..].first_chunk::<8>() {
            let differs = u64::from_le_bytes(*next) ^ four_zeros;
            if differs == 0 {
                at += 8;
                column += 4;
                continue;
            }
            let same = differs.trailing_zeros() as usize / 8;
            at += same & !1;
            column += same / 2;
            break;
        }
        match fields.get(at) {
            None => break,
            Some(&b) if b == SEPARATOR => {}
            // No separator follows the last 0: it is the start of `0.5`.
            Some(_) => {
                at -= 2;
                column -= 1;
            }
        }
        let start = at + 1;
        at = start;
        while at < fields.len() && fields[at] != SEPARATOR {
            at += 1;
        }
        let field = &fields[start..at];
        if field != b"0" && column < n_cells {
            let value = count(field, kind).map_err(|why| RowProblem::Count(column, why))?;
            let patient = target.patient[column];
            if value != 0.0 && patient != DROPPED {
                target.packed[patient as usize].push(target.row[column], value);
            }
        }
        column += 1;
    }
    if column != n_cells {
        return Err(RowProblem::Length(column));
    }
    target.packed.iter_mut().for_each(Packed::end_gene);
    Ok(())
}

/// The whole number of up to seven digits, which is below 2^24; nothing where there is other text.
#[inline]
fn few_digits(field: &[u8]) -> Option<u32> {
    let is_whole = !field.is_empty() && field.len() <= 7 && field.iter().all(u8::is_ascii_digit);
    is_whole.then(|| field.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0')))
}

/// A count from its text.
#[inline]
pub(super) fn count(field: &[u8], kind: CountKind) -> Result<f32, String> {
    if let Some(whole) = few_digits(field) {
        return Ok(whole as f32);
    }
    let value = number(field)?;
    match count_problem(value, kind) {
        Some(problem) => Err(problem),
        None => Ok(value as f32),
    }
}

/// A number from its text, whether it can be a count or not.
#[inline]
pub(super) fn number(field: &[u8]) -> Result<f64, String> {
    if let Some(whole) = few_digits(field) {
        return Ok(f64::from(whole));
    }
    let text = String::from_utf8_lossy(field);
    text.trim().parse::<f64>().map_err(|_| match &*text {
        "" => "expected a count, found nothing".to_string(),
        text => format!("expected a count, found `{text}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All columns kept, one patient.
    fn target(n: usize) -> Target {
        Target {
            patient: vec![0; n],
            row: (0..n as u32).collect(),
            packed: vec![Packed::new(n)],
        }
    }

    #[test]
    fn counts_are_read_or_refused() {
        let whole = |t: &str| count(t.as_bytes(), CountKind::Integer);
        assert_eq!(whole("7"), Ok(7.0));
        assert_eq!(whole("1.0"), Ok(1.0));
        assert_eq!(whole("1e3"), Ok(1000.0));
        assert_eq!(whole("16777216"), Ok(16_777_216.0));
        assert!(whole("16777217").unwrap_err().contains("16777216"));
        assert_eq!(
            whole("0.5").unwrap_err(),
            "expected a whole count, found `0.5`"
        );
        assert_eq!(
            whole("-1").unwrap_err(),
            "expected a count that is not negative, found `-1`"
        );
        assert_eq!(whole("NA").unwrap_err(), "expected a count, found `NA`");
        assert_eq!(whole("").unwrap_err(), "expected a count, found nothing");
        assert!(whole("NaN").is_err() && whole("inf").is_err());
        assert_eq!(count(b"0.5", CountKind::Any), Ok(0.5));
        assert!(count(b"-0.5", CountKind::Any).is_err());
    }

    proptest! {
        /// The eight-byte step gives what a plain split gives, at every width and remainder.
        #[test]
        fn a_row_parses_as_a_plain_split_does(
            values in prop::collection::vec(prop_oneof![8 => Just("0"), 1 => Just("3"), 1 => Just("0.5"), 1 => Just("120"), 1 => Just("0.0")], 1..60)
        ) {
            let line = format!("\t{}", values.join("\t"));
            let mut t = target(values.len());
            prop_assert_eq!(parse_row::<b'\t'>(line.as_bytes(), CountKind::Any, &mut t), Ok(()));
            let csr = t.packed.remove(0).into_csr().unwrap();
            for (cell, v) in values.iter().enumerate() {
                prop_assert_eq!(csr.get(cell, 0), v.parse::<f32>().unwrap());
            }
            prop_assert_eq!(csr.nnz(), values.iter().filter(|v| v.parse::<f32>().unwrap() != 0.0).count());
        }
    }

    #[test]
    fn a_row_of_another_length_is_refused() {
        for (line, found) in [
            ("\t1\t0", 2),
            ("", 0),
            ("\t0\t0\t0\t0\t0\t0\t0\t0\t0", 9),
            ("\t1\t2\t3\t", 4),
        ] {
            assert_eq!(
                parse_row::<b'\t'>(line.as_bytes(), CountKind::Integer, &mut target(3)),
                Err(RowProblem::Length(found))
            );
        }
    }
}
