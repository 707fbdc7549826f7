//! Text into HTML.

use clcc_data::table::shortened;

/// `text` with the five characters that mean something in HTML and XML written as entities.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if acts(c) => out.extend(c.escape_debug()),
            c => out.push(c),
        }
    }
    out
}

/// What XML, and so SVG, has no way to write, and marks that reorder the text around them: shown as in a program.
fn acts(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same for a drawing whose library writes the entities.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    out
}

/// A name for an `id` or a file: lower-case letters, digits and single hyphens.
pub(crate) fn slug(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_matches('-').to_string()
}

/// JSON that may stand in a `<script>` element: no `<` in it closes the element or begins a comment in it.
pub(crate) fn script_json(value: &serde_json::Value) -> String {
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// A whole number with thin groups of three: `80,576`.
pub(crate) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// Bases of a chromosome: `chr6:126,000,000-126,100,000`.
pub(crate) fn place(chromosome: &str, start: u32, end: u32) -> String {
    format!(
        "{chromosome}:{}-{}",
        count(start as usize),
        count(end as usize)
    )
}

/// A number with a fixed number of decimals and a true minus; `–` where there is none.
pub(crate) fn signed(x: f64, decimals: usize) -> String {
    if !x.is_finite() {
        return "–".to_string();
    }
    let text = format!("{x:.decimals$}");
    // Rounded to nothing, a number has no sign.
    if text.chars().all(|c| matches!(c, '-' | '0' | '.')) {
        return text.replace('-', "");
    }
    text.replace('-', "−")
}

/// A p-value or an error rate: three decimals, or a power of ten where it is smaller.
pub(crate) fn p_value(p: f64) -> String {
    if p.is_finite() && p != 0.0 && p.abs() < 1e-3 {
        format!("{p:.1e}").replace('-', "−")
    } else {
        signed(p, 3)
    }
}

/// A number for people: four significant digits, `–` where there is none.
pub(crate) fn short(x: f64) -> String {
    if !x.is_finite() {
        return "–".to_string();
    }
    shortened(x, 4)
}

/// A share as a percentage: `12.3 %`.
pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{:.1} %", share * 100.0)
    } else {
        "–".to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_names_is_text() {
        assert_eq!(
            escape("<script>\"a\" & 'b'</script>\u{7}"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;\\u{7}"
        );
        assert_eq!(
            script_json(&serde_json::json!("</script>")),
            "\"\\u003c/script>\""
        );
        assert_eq!(escape("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(visible("<\u{1b}[31m\n"), "<\\u{1b}[31m\n");
        let hidden = serde_json::json!({"norm<!--<script>": "\u{2028}"});
        assert_eq!(
            script_json(&hidden),
            "{\"norm\\u003c!--\\u003cscript>\":\"\\u2028\"}"
        );
        assert_eq!(slug("T cells / CD8+ <x>"), "t-cells-cd8-x");
    }

    #[test]
    fn numbers_are_short() {
        let texts: Vec<String> = [0.0, 3.0, 0.87349, 12345.6, 1.5e-9, 1234567.8, f64::NAN]
            .iter()
            .map(|&x| short(x))
            .collect();
        assert_eq!(
            texts,
            ["0", "3", "0.8735", "12346", "1.50e-9", "1.23e6", "–"]
        );
        assert_eq!(count(80576), "80,576");
        assert_eq!(count(999), "999");
        assert_eq!(percent(0.1234), "12.3 %");
        assert_eq!(
            place("chr6", 126_000_000, 126_100_000),
            "chr6:126,000,000-126,100,000"
        );
        assert_eq!(
            [signed(-1.186, 2), signed(-0.001, 2), signed(f64::NAN, 2)],
            ["−1.19", "0.00", "–"]
        );
        assert_eq!(
            [p_value(3.46e-6), p_value(0.0221), p_value(0.0)],
            ["3.5e−6", "0.022", "0.000"]
        );
    }
}
