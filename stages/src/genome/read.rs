//! Reads gene positions from a GTF or from a table of names, chromosomes, starts and ends.

use std::io::Read as _;
use std::path::Path;

use super::normalise_chromosome;
use super::table::{Gene, GeneClass, GeneTable, strip_version};
use crate::error::{StageError, StageResult};

const NAME: &[&str] = &[
    "gene",
    "gene_name",
    "gene_symbol",
    "symbol",
    "name",
    "index",
];
const ID: &[&str] = &["gene_id", "ensembl_id", "ensg"];
const CHROMOSOME: &[&str] = &["chr", "chromosome", "chrom", "seqname"];
const START: &[&str] = &["start", "start_position", "gene_start"];
const END: &[&str] = &["end", "stop", "end_position", "gene_end"];
const BIOTYPE: &[&str] = &["biotype", "gene_biotype", "gene_type"];

impl GeneTable {
    /// Reads a GTF, or a table whose columns are gene, chromosome, start and end (the gene order
    /// file of inferCNV). Either may be gzipped. Which one it is, is told by the first line: nine
    /// fields between tabs with whole numbers in the fourth and fifth are a GTF.
    ///
    /// A table may have a header; then the columns may stand in any order and more of them may be
    /// there (`gene_id`, `biotype`). Without a header the first four columns count. Fields are
    /// separated by tabs, else by commas, else by blanks. From a GTF the lines with feature `gene`
    /// count; the name is `gene_name`, else `gene_id`.
    ///
    /// # Errors
    /// [`StageError::Io`]; [`StageError::Format`] with the line where a field is missing, a position
    /// is no whole number, a gene ends before it starts, or where no gene was found.
    pub fn read(path: &Path) -> StageResult<Self> {
        let bytes = std::fs::read(path).map_err(StageError::io("read", path))?;
        let text = if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut text = String::new();
            flate2::read::MultiGzDecoder::new(bytes.as_slice())
                .read_to_string(&mut text)
                .map_err(StageError::io("decompress", path))?;
            text
        } else {
            String::from_utf8(bytes).map_err(|e| {
                StageError::format(
                    path,
                    format!("byte {}", e.utf8_error().valid_up_to()),
                    "expected UTF-8 text",
                )
            })?
        };
        let genes = parse(path, &text)?;
        if genes.is_empty() {
            return Err(StageError::format(
                path,
                "",
                "expected gene positions (a GTF with `gene` lines, or the columns gene, chromosome, start, end), found none",
            ));
        }
        Ok(Self { genes })
    }
}

fn parse(path: &Path, text: &str) -> StageResult<Vec<Gene>> {
    let mut lines = text
        .trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line))
        .filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty())
        .peekable();
    let Some(&(_, first)) = lines.peek() else {
        return Ok(Vec::new());
    };
    if is_gtf(first) {
        let genes = lines.filter(|(_, l)| l.split('\t').nth(2) == Some("gene"));
        return genes
            .map(|(number, line)| gtf_gene(path, number, line))
            .collect();
    }
    let separator = Separator::of(first);
    let columns = match Columns::from_header(&separator.split(first)) {
        Some(columns) => {
            lines.next();
            columns
        }
        None => Columns::default(),
    };
    lines
        .map(|(number, line)| table_gene(path, number, &separator.split(line), &columns))
        .collect()
}

fn is_gtf(line: &str) -> bool {
    let f: Vec<&str> = line.split('\t').collect();
    f.len() == 9 && f[3].parse::<i64>().is_ok() && f[4].parse::<i64>().is_ok()
}

fn gtf_gene(path: &Path, number: usize, line: &str) -> StageResult<Gene> {
    let bad = |message: String| StageError::format(path, format!("line {number}"), message);
    let f: Vec<&str> = line.split('\t').collect();
    if f.len() != 9 {
        return Err(bad(format!(
            "expected the 9 fields of a GTF, found {}",
            f.len()
        )));
    }
    let id = attribute(f[8], "gene_id").map(strip_version);
    let name = attribute(f[8], "gene_name")
        .or(id)
        .ok_or_else(|| bad("expected the attribute `gene_name` or `gene_id`".into()))?;
    let biotype = attribute(f[8], "gene_biotype").or_else(|| attribute(f[8], "gene_type"));
    gene(path, number, [name, f[0], f[3], f[4]], id, biotype)
}

/// The value of `key "value";` in the last field of a GTF line.
fn attribute<'a>(field: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', ';']);
        let (name, tail) = rest.split_once(' ')?;
        let tail = tail.trim_start();
        let (value, after) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => tail.split_once(';').unwrap_or((tail, "")),
        };
        if name == key {
            return Some(value.trim()).filter(|v| !v.is_empty());
        }
        rest = after;
    }
}

#[derive(Clone, Copy)]
enum Separator {
    Char(char),
    Blanks,
}

impl Separator {
    fn of(line: &str) -> Self {
        match ['\t', ','].into_iter().find(|c| line.contains(*c)) {
            Some(c) => Self::Char(c),
            None => Self::Blanks,
        }
    }

    fn split(self, line: &str) -> Vec<&str> {
        let clean = |f: &'_ str| -> usize { f.len() - f.trim_start().len() };
        match self {
            Self::Char(c) => line
                .split(c)
                .map(|f| f[clean(f)..].trim_end().trim_matches('"'))
                .collect(),
            Self::Blanks => line.split_whitespace().collect(),
        }
    }
}

struct Columns {
    name: usize,
    chromosome: usize,
    start: usize,
    end: usize,
    id: Option<usize>,
    biotype: Option<usize>,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            name: 0,
            chromosome: 1,
            start: 2,
            end: 3,
            id: None,
            biotype: None,
        }
    }
}

impl Columns {
    /// The columns by name, where the line names at least chromosome, start and end. A header whose
    /// first field is empty (pandas' unnamed index) or unknown has the gene there.
    fn from_header(fields: &[&str]) -> Option<Self> {
        let find = |names: &[&str]| {
            fields
                .iter()
                .position(|f| names.iter().any(|n| f.eq_ignore_ascii_case(n)))
        };
        let (chromosome, start, end) = (find(CHROMOSOME)?, find(START)?, find(END)?);
        let id = find(ID);
        let name = find(NAME).or(id.filter(|_| fields.len() <= 4)).unwrap_or(0);
        Some(Self {
            name,
            chromosome,
            start,
            end,
            id,
            biotype: find(BIOTYPE),
        })
    }
}

fn table_gene(path: &Path, number: usize, fields: &[&str], columns: &Columns) -> StageResult<Gene> {
    let get = |at: usize| {
        fields.get(at).copied().ok_or_else(|| {
            StageError::format(
                path,
                format!("line {number}"),
                format!(
                    "expected at least {} fields, found {}",
                    at + 1,
                    fields.len()
                ),
            )
        })
    };
    let core = [
        get(columns.name)?,
        get(columns.chromosome)?,
        get(columns.start)?,
        get(columns.end)?,
    ];
    let id = columns
        .id
        .and_then(|at| fields.get(at))
        .map(|id| strip_version(id))
        .filter(|id| !id.is_empty());
    gene(
        path,
        number,
        core,
        id,
        columns.biotype.and_then(|at| fields.get(at)).copied(),
    )
}

fn gene(
    path: &Path,
    number: usize,
    core: [&str; 4],
    id: Option<&str>,
    biotype: Option<&str>,
) -> StageResult<Gene> {
    let bad = |message: String| StageError::format(path, format!("line {number}"), message);
    let whole = |what: &str, text: &str| -> StageResult<i64> {
        // pandas writes whole numbers of a column with gaps as `123.0`.
        let digits = text.strip_suffix(".0").unwrap_or(text);
        digits
            .parse()
            .ok()
            .filter(|n| *n >= 0)
            .ok_or_else(|| bad(format!("{what}: expected a whole number, found `{text}`")))
    };
    let [name, chromosome, start, end] = core;
    let (start, end) = (whole("start", start)?, whole("end", end)?);
    if end < start {
        return Err(bad(format!(
            "gene `{name}` ends at {end}, before its start at {start}"
        )));
    }
    if name.is_empty() || chromosome.is_empty() {
        return Err(bad(
            "expected a gene and a chromosome, found an empty field".into(),
        ));
    }
    Ok(Gene {
        name: name.to_string(),
        id: id.map(str::to_string),
        chromosome: normalise_chromosome(chromosome),
        start,
        end,
        class: biotype.map(GeneClass::of_biotype),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn read(text: &str) -> StageResult<Vec<(String, String, i64, i64)>> {
        let genes = parse(Path::new("genes"), text)?;
        Ok(genes
            .into_iter()
            .map(|g| (g.name, g.chromosome, g.start, g.end))
            .collect())
    }

    fn row(name: &str, chromosome: &str, start: i64, end: i64) -> (String, String, i64, i64) {
        (name.into(), chromosome.into(), start, end)
    }

    #[test]
    fn tables_read_with_and_without_header_and_prefix() {
        let expected = vec![row("A", "chr1", 5, 9), row("B", "chrX", 1, 2)];
        assert_eq!(read("A\tchr1\t5\t9\nB\tchrX\t1\t2\n").unwrap(), expected);
        assert_eq!(
            read("gene\tchr\tstart\tend\nA\t1\t5\t9\nB\tX\t1\t2").unwrap(),
            expected
        );
        assert_eq!(
            read("chromosome,start,end,symbol,x\n1,5.0,9.0,A,\n\"X\",1,2,\"B\",z\n").unwrap(),
            expected
        );
        assert_eq!(read("# note\nA 1 5 9\r\n\nB X 1 2\r\n").unwrap(), expected);
        assert_eq!(
            read("\tchromosome\tstart\tend\nA\tchr1\t5\t9\nB\tchrX\t1\t2\n").unwrap(),
            expected
        );
    }

    #[test]
    fn gtf_gives_gene_lines_only() {
        let text = "#!genome-build GRCh38\n\
            1\thavana\tgene\t11\t20\t.\t+\t.\tgene_id \"ENSG01.5\"; gene_name \"A; B\"; gene_biotype \"protein_coding\";\n\
            1\thavana\texon\t11\t15\t.\t+\t.\tgene_id \"ENSG01.5\"; gene_name \"A; B\";\n\
            MT\tx\tgene\t3\t4\t.\t+\t.\tgene_id \"ENSG02.1\"; level 2;\n";
        assert_eq!(
            read(text).unwrap(),
            vec![row("A; B", "chr1", 11, 20), row("ENSG02", "chrM", 3, 4)]
        );
        let genes = parse(Path::new("g"), text).unwrap();
        assert_eq!(genes[0].id.as_deref(), Some("ENSG01"));
        assert_eq!(genes[0].class, Some(GeneClass::ProteinCoding));
    }

    #[test]
    fn broken_lines_are_named() {
        let message = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            message("A\tchr1\t5\t9\nB\tchr1\tx\t9\n"),
            "`genes`, line 2: start: expected a whole number, found `x`"
        );
        assert_eq!(
            message("A\tchr1\t5\t9\nB\tchr1\t5\n"),
            "`genes`, line 2: expected at least 4 fields, found 3"
        );
        assert_eq!(
            message("A\tchr1\t9\t5\n"),
            "`genes`, line 1: gene `A` ends at 5, before its start at 9"
        );
    }

    #[test]
    fn gzip_and_empty_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("genes.tsv.gz");
        let mut z = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        z.write_all(b"A\t1\t5\t9\n").unwrap();
        std::fs::write(&path, z.finish().unwrap()).unwrap();
        assert_eq!(GeneTable::read(&path).unwrap().genes[0].chromosome, "chr1");
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "# nothing\n").unwrap();
        assert!(
            GeneTable::read(&empty)
                .unwrap_err()
                .to_string()
                .contains("found none")
        );
    }

    #[test]
    fn real_gtf_and_the_builtin_table_agree() {
        let Some(path) = crate::genome::shared("genes/hg38_gene_only.gtf.gz") else {
            return;
        };
        let gtf = GeneTable::read(&path).unwrap();
        let builtin = GeneTable::grch38();
        let ids: Vec<&str> = builtin
            .genes
            .iter()
            .filter_map(|g| g.id.as_deref())
            .collect();
        let at = gtf.resolve(&ids, crate::genome::Duplicates::First);
        for (gene, at) in builtin.genes.iter().zip(at) {
            assert_eq!(
                gene,
                &gtf.genes[at.expect("every built-in gene is in the GTF")]
            );
        }
    }
}
