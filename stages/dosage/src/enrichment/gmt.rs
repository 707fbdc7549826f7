//! Gene sets in the format GMT of MSigDB: a set a line, separated by tabs: name, description, genes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clcc_data::error::{StageError, StageResult};

/// Genes that have a name in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneSet {
    /// Where it comes from.
    pub collection: String,
    /// Name.
    pub name: String,
    /// Its genes.
    pub genes: BTreeSet<String>,
}

/// The sets of a file, or of all files `*.gmt` of a folder in the order of their names.
///
/// # Errors
/// [`StageError::Io`] where it cannot be read; as [`parse`]; [`StageError::Format`] where a folder holds none.
pub(super) fn read(path: &Path) -> StageResult<Vec<GeneSet>> {
    let mut out = Vec::new();
    for file in files(path)? {
        let bytes = std::fs::read(&file).map_err(StageError::reading(&file))?;
        let collection = file.file_stem().unwrap_or_default().to_string_lossy();
        out.extend(parse(&file, &collection, &String::from_utf8_lossy(&bytes))?);
    }
    Ok(out)
}

fn files(path: &Path) -> StageResult<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut out = Vec::new();
    for entry in std::fs::read_dir(path).map_err(StageError::reading(path))? {
        let file = entry.map_err(StageError::reading(path))?.path();
        if file
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("gmt"))
        {
            out.push(file);
        }
    }
    out.sort();
    if out.is_empty() {
        return Err(StageError::format(
            path,
            "folder",
            "expected files `*.gmt`, found none",
        ));
    }
    Ok(out)
}

/// The sets of a text; empty lines and empty names of genes are passed over, and a gene that stands twice counts once.
///
/// # Errors
/// [`StageError::Format`] at a line with fewer than three fields.
pub fn parse(path: &Path, collection: &str, text: &str) -> StageResult<Vec<GeneSet>> {
    let mut out = Vec::new();
    // A byte order mark is no part of the first name.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let mut fields = line.split('\t').map(str::trim);
        let (name, _, genes) = (fields.next().unwrap_or_default(), fields.next(), fields);
        let genes: BTreeSet<String> = genes.filter(|g| !g.is_empty()).map(String::from).collect();
        if name.is_empty() || genes.is_empty() {
            return Err(StageError::format(
                path,
                format!("line {}", i + 1),
                "expected a name, a description and genes, separated by tabs",
            ));
        }
        out.push(GeneSet {
            collection: collection.to_string(),
            name: name.to_string(),
            genes,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_set() {
        let path = Path::new("sets.gmt");
        let sets = parse(path, "sets", "A\thttp\tg1\tg2\tg1\t\r\n\nB\t\tg3\n").unwrap();
        assert_eq!(sets.len(), 2);
        assert_eq!(
            sets[0].genes,
            BTreeSet::from(["g1".to_string(), "g2".to_string()])
        );
        assert_eq!((sets[1].name.as_str(), sets[1].genes.len()), ("B", 1));
        let error = parse(path, "sets", "A\tx\tg\nonly a name\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("sets.gmt") && error.contains("line 2"),
            "{error}"
        );
    }

    #[test]
    fn exports_of_databases_load() {
        let path = Path::new("c.gmt");
        let url = "https://www.gsea-msigdb.org/gsea/msigdb/human/geneset/A";
        // MSigDB: an address as description; genes by symbol. Lines end as on any system, the last one may not end.
        let long: Vec<String> = (0..20_000).map(|i| format!("GENE{i}")).collect();
        let text = format!(
            "HALLMARK_A\t{url}\tTP53\tMYC\n20S proteasome\tCORUM 191\tPSMA1\tPSMA2\tPSMA1\t\r\nEMPTY\t\t HLA-A \tRPL36A-HNRNPH2\r\nLONG\tna\t{}",
            long.join("\t")
        );
        let check = |text: &str| {
            let sets = parse(path, "c", text).unwrap();
            let found: Vec<(&str, usize)> = sets
                .iter()
                .map(|s| (s.name.as_str(), s.genes.len()))
                .collect();
            assert_eq!(
                found,
                [
                    ("HALLMARK_A", 2),
                    ("20S proteasome", 2),
                    ("EMPTY", 2),
                    ("LONG", 20_000)
                ]
            );
            assert!(!sets[0].genes.contains(url) && sets[2].genes.contains("HLA-A"));
        };
        check(&text);
        check(&format!("\u{feff}{text}\r\n\r\n"));
    }

    #[test]
    fn a_folder_gives_its_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        put("b.gmt", "B\t\tg\n");
        put("a.gmt", "A\t\tg\n");
        put("readme.txt", "no set\n");
        let sets = read(dir.path()).unwrap();
        let names: Vec<_> = sets
            .iter()
            .map(|s| (s.collection.as_str(), s.name.as_str()))
            .collect();
        assert_eq!(names, [("a", "A"), ("b", "B")]);
        let empty = tempfile::tempdir().unwrap();
        assert!(
            read(empty.path())
                .unwrap_err()
                .to_string()
                .contains("*.gmt")
        );
    }
}
