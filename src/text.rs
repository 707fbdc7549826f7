//! Text from files and paths, as a terminal may show it.

use std::borrow::Cow;

/// `text` on one line in which nothing acts on a terminal: control characters (also line breaks and tabs), and the
/// marks that reorder or hide what stands next to them, are written as in a program: `\n`, `\u{1b}`.
pub fn shown(text: &str) -> Cow<'_, str> {
    written_out(text, acts)
}

/// The same for text of several lines: line breaks and tabs stay.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    written_out(text, |c| !matches!(c, '\n' | '\t') && acts(c))
}

/// A hint: its further lines stand under the first, so that none looks like a line of the program's own.
pub fn hint_lines(hint: &str) -> String {
    let lines: Vec<Cow<'_, str>> = hint.trim().lines().map(|l| shown(l.trim())).collect();
    lines.join("\n      ")
}

fn written_out(text: &str, escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if escaped(c) {
            out.extend(c.escape_debug());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Control characters, line and paragraph separators, and the invisible marks of direction and joining
/// (Unicode's Bidi_Control, zero-width characters, the byte order mark, tags).
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_a_terminal_and_letters_stay() {
        for (text, wanted) in [
            ("P0006 µ-Zelle 細胞 é\u{301}", "P0006 µ-Zelle 細胞 é\u{301}"),
            ("a\u{1b}[31mred", "a\\u{1b}[31mred"),
            ("a\nerror: b\r\tc", "a\\nerror: b\\r\\tc"),
            ("\u{7f}\u{9b}2J", "\\u{7f}\\u{9b}2J"),
            (
                "a\u{202e}b\u{2066}c\u{2028}d",
                "a\\u{202e}b\\u{2066}c\\u{2028}d",
            ),
            ("it's \"quoted\" C:\\data", "it's \"quoted\" C:\\data"),
        ] {
            assert_eq!(shown(text), wanted);
        }
        assert!(matches!(shown("plain"), Cow::Borrowed(_)));
        assert_eq!(hint_lines("a\nerror: b\u{7}\n"), "a\n      error: b\\u{7}");
        assert_eq!(shown_lines("a\tb\nc\u{1b}"), "a\tb\nc\\u{1b}");
    }
}
