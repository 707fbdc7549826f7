//! Names of chromosomes and their natural order.

use std::cmp::Ordering;

/// The `chr` form of a chromosome name: `1`, `Chr1` and `1.0` become `chr1`, `x` `chrX`, `MT` and `chrMT`
/// `chrM`, and RefSeq's accessions of human and mouse chromosomes (`NC_000001.11`) what they stand for.
/// Anything that is no primary chromosome (`KI270711.1`, `HLA-A`) is returned as it is.
///
/// `23` becomes `chr23`: whether that is X only the genome can say.
pub fn normalise_chromosome(name: &str) -> String {
    let name = name.trim();
    if let Some(chromosome) = refseq(name) {
        return chromosome;
    }
    let bare = match name.get(..3) {
        Some(prefix) if prefix.eq_ignore_ascii_case("chr") => &name[3..],
        _ => name,
    };
    // pandas writes a column of numbers with gaps as `1.0`.
    let upper = bare.strip_suffix(".0").unwrap_or(bare).to_ascii_uppercase();
    match upper.as_str() {
        "X" | "Y" => format!("chr{upper}"),
        "M" | "MT" => "chrM".to_string(),
        digits if digits.len() <= 2 && digits.parse::<u8>().is_ok_and(|n| n > 0) => {
            format!("chr{}", digits.trim_start_matches('0'))
        }
        _ => name.to_string(),
    }
}

/// What an accession of NCBI's RefSeq stands for: the chromosomes of human (GRCh37 and GRCh38, then T2T-CHM13)
/// and mouse are numbered in order.
fn refseq(name: &str) -> Option<String> {
    let (number, _) = name.strip_prefix("NC_")?.split_once('.')?;
    let number: u32 = number.parse().ok()?;
    let of = |first: u32, autosomes: u32| match number.checked_sub(first)? {
        n if n < autosomes => Some(format!("chr{}", n + 1)),
        n if n == autosomes => Some("chrX".to_string()),
        n if n == autosomes + 1 => Some("chrY".to_string()),
        _ => None,
    };
    match number {
        1..=24 => of(1, 22),
        67..=87 => of(67, 19),
        60_925..=60_948 => of(60_925, 22),
        5_089 | 12_920 => Some("chrM".to_string()),
        _ => None,
    }
}

/// Whether a name is `chr` and a number, X or Y: a chromosome, and no scaffold.
pub(super) fn is_numbered(name: &str) -> bool {
    name.strip_prefix("chr")
        .is_some_and(|n| matches!(n, "X" | "Y") || n.parse::<u8>().is_ok())
}

/// Orders names with runs of digits as numbers and letters without case: `chr2` before `chr10`,
/// `chr22` before `chrM`, `chrX`, `chrY`.
///
/// **Source**: `_natural_sort` of infercnvpy 0.6.1; names that it calls equal are ordered as text,
/// so that the order is total.
pub fn natural_cmp(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    loop {
        // The pattern of `re.split("([0-9]+)")`: text, digits, text, ...; the text may be empty.
        let order = text_run(&mut x).cmp(&text_run(&mut y));
        if order.is_ne() {
            return order;
        }
        match (x.is_empty(), y.is_empty()) {
            (true, true) => return a.cmp(b),
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        let order = number_run(&mut x).cmp(&number_run(&mut y));
        if order.is_ne() {
            return order;
        }
    }
}

fn text_run(rest: &mut &[u8]) -> Vec<u8> {
    let end = rest
        .iter()
        .position(u8::is_ascii_digit)
        .unwrap_or(rest.len());
    let (run, tail) = rest.split_at(end);
    *rest = tail;
    run.to_ascii_lowercase()
}

/// The digits without leading zeros, as (count, digits): compares as the number does, at any length.
fn number_run(rest: &mut &[u8]) -> (usize, Vec<u8>) {
    let end = rest
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(rest.len());
    let (run, tail) = rest.split_at(end);
    *rest = tail;
    let zeros = run.iter().take_while(|b| **b == b'0').count();
    (run.len() - zeros, run[zeros..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_chromosomes_get_one_name() {
        for (given, expected) in [
            ("1", "chr1"),
            ("01", "chr1"),
            ("chr22", "chr22"),
            ("Chr7", "chr7"),
            ("x", "chrX"),
            ("chrY", "chrY"),
            ("MT", "chrM"),
            ("chrMT", "chrM"),
            ("m", "chrM"),
            ("KI270711.1", "KI270711.1"),
            ("chr1_KI270706v1_random", "chr1_KI270706v1_random"),
            ("0", "0"),
            ("7.0", "chr7"),
            ("23", "chr23"),
            ("NC_000001.10", "chr1"),
            ("NC_000022.11", "chr22"),
            ("NC_000023.11", "chrX"),
            ("NC_000024.10", "chrY"),
            ("NC_012920.1", "chrM"),
            ("NC_060947.1", "chrX"),
            ("NC_000067.7", "chr1"),
            ("NC_000087.8", "chrY"),
            ("NC_005089.1", "chrM"),
            ("NC_007112.7", "NC_007112.7"),
            ("é", "é"),
        ] {
            assert_eq!(normalise_chromosome(given), expected);
        }
    }

    #[test]
    fn order_is_natural() {
        let mut names = [
            "chrY", "chr10", "chrM", "chr2", "chrX", "chr1", "chr22", "chr02",
        ];
        names.sort_by(|a, b| natural_cmp(a, b));
        assert_eq!(
            names,
            [
                "chr1", "chr02", "chr2", "chr10", "chr22", "chrM", "chrX", "chrY"
            ]
        );
        assert_eq!(natural_cmp("chr1", "chr1_x"), Ordering::Less);
        assert_eq!(natural_cmp("ab", "AC"), Ordering::Less);
        assert_eq!(natural_cmp("10", "9"), Ordering::Greater);
    }
}
