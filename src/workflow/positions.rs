//! The one pass over a YAML text: its values, where everything stands, how each scalar is written,
//! and what is refused (size, depth, aliases, tags, duplicate keys, several documents).
//!
//! A key is its text: `1.10` and `1.1` are two keys. A value without quotes has the type that
//! `serde_yaml` gives it, and its text is kept with it ([`Positions::text`]) for whoever expects text
//! there.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::problem::{Place, Problem};

/// Largest workflow file in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting.
pub(super) const MAX_DEPTH: usize = 64;

/// Places by JSON pointer (`/stages/cluster/params/resolution`), and scalars as they are written.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    keys: BTreeMap<String, Place>,
    values: BTreeMap<String, Place>,
    texts: BTreeMap<String, String>,
}

impl Positions {
    /// Place of the key at `pointer`, or of the nearest enclosing key.
    pub fn key(&self, pointer: &str) -> Option<Place> {
        nearest(&self.keys, pointer).or_else(|| nearest(&self.values, pointer))
    }

    /// Place of the value at `pointer`, or of the nearest enclosing value.
    pub fn value(&self, pointer: &str) -> Option<Place> {
        nearest(&self.values, pointer)
    }

    /// The number or flag at `pointer` as it is written: `1.10`, `007`, `TRUE`.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.texts.get(pointer).map(String::as_str)
    }
}

fn nearest(map: &BTreeMap<String, Place>, pointer: &str) -> Option<Place> {
    let mut p = pointer;
    loop {
        if let Some(place) = map.get(p) {
            return Some(*place);
        }
        p = &p[..p.rfind('/')?];
    }
}

/// Appends a segment to a JSON pointer.
pub fn join(pointer: &str, segment: &str) -> String {
    format!(
        "{pointer}/{}",
        segment.replace('~', "~0").replace('/', "~1")
    )
}

/// A collection that is not complete yet.
enum Frame {
    Map {
        pointer: String,
        key: Option<String>,
        value: Map<String, Value>,
    },
    Seq {
        pointer: String,
        value: Vec<Value>,
    },
}

/// Runs the pass; an empty text is null.
///
/// # Errors
/// Every problem found; syntax errors end the pass.
pub fn scan(text: &str) -> Result<(Value, Positions), Vec<Problem>> {
    if text.len() > MAX_BYTES {
        return Err(vec![
            Problem::new(format!(
                "expected a workflow file of at most {MAX_BYTES} bytes, found a longer one"
            ))
            .at(Place { line: 1, column: 1 }),
        ]);
    }
    // Line breaks of YAML 1.1 that are none in 1.2: two readers would see two files.
    let odd = |c: char| matches!(c, '\0' | '\u{85}' | '\u{2028}' | '\u{2029}');
    if let Some((at, c)) = text.char_indices().find(|(_, c)| odd(*c)) {
        let what = match c {
            '\0' => "a NUL byte".to_string(),
            _ => format!("the line separator U+{:04X}", u32::from(c)),
        };
        let message = format!("expected text, found {what}");
        return Err(vec![Problem::new(message).at(place_of(text, at))]);
    }
    let mut scan = Scan::default();
    for item in Parser::new_from_str(text) {
        match item {
            Ok((event, span)) => {
                let place = Place {
                    line: span.start.line(),
                    column: span.start.col() + 1,
                };
                if !scan.event(event, place) {
                    break;
                }
            }
            Err(e) => {
                let place = Place {
                    line: e.marker().line(),
                    column: e.marker().col() + 1,
                };
                scan.problems
                    .push(Problem::new(format!("not valid YAML: {}", e.info())).at(place));
                break;
            }
        }
    }
    if scan.problems.is_empty() {
        Ok((scan.document, scan.positions))
    } else {
        Err(scan.problems)
    }
}

pub(super) fn place_of(text: &str, byte: usize) -> Place {
    let before = &text[..byte];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// A scalar without quotes, typed as `serde_yaml` types it. A number that JSON lacks (`.nan`) is text.
fn plain(text: &str) -> Value {
    let may_be_typed = text
        .chars()
        .next()
        .is_none_or(|c| c.is_ascii_digit() || "+-.~nNtTfF".contains(c));
    if !may_be_typed {
        return Value::String(text.to_string());
    }
    match serde_yaml::from_str(text) {
        Ok(serde_yaml::Value::Null) => Value::Null,
        Ok(serde_yaml::Value::Bool(b)) => Value::Bool(b),
        Ok(serde_yaml::Value::Number(n)) => serde_json::to_value(&n)
            .ok()
            .filter(|v| !v.is_null())
            .unwrap_or_else(|| Value::String(text.to_string())),
        _ => Value::String(text.to_string()),
    }
}

#[derive(Default)]
struct Scan {
    document: Value,
    positions: Positions,
    problems: Vec<Problem>,
    stack: Vec<Frame>,
    documents: usize,
}

impl Scan {
    /// Returns `false` where going on makes no sense.
    fn event(&mut self, event: Event<'_>, place: Place) -> bool {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.refuse("expected one YAML document, found a second", place);
                    return false;
                }
            }
            Event::Alias(_) => self.refuse_and_skip("aliases (`*name`) are not supported", place),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_marks(anchor, tag.is_some(), place);
                self.scalar(&text, style == ScalarStyle::Plain, place);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_marks(anchor, tag.is_some(), place);
                let pointer = self.begin(place);
                let value = Vec::new();
                self.stack.push(Frame::Seq { pointer, value });
                return self.depth_ok(place);
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_marks(anchor, tag.is_some(), place);
                let pointer = self.begin(place);
                self.stack.push(Frame::Map {
                    pointer,
                    key: None,
                    value: Map::new(),
                });
                return self.depth_ok(place);
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(Frame::Map { value, .. }) => self.end_value(Value::Object(value)),
                Some(Frame::Seq { value, .. }) => self.end_value(Value::Array(value)),
                None => {}
            },
            _ => {}
        }
        true
    }

    fn refuse(&mut self, message: &str, place: Place) {
        self.problems.push(Problem::new(message).at(place));
    }

    fn refuse_and_skip(&mut self, message: &str, place: Place) {
        self.refuse(message, place);
        self.scalar("", false, place);
    }

    fn refuse_marks(&mut self, anchor: usize, tag: bool, place: Place) {
        if anchor != 0 {
            self.refuse("anchors (`&name`) are not supported", place);
        }
        if tag {
            self.refuse("tags (`!name`) are not supported", place);
        }
    }

    fn depth_ok(&mut self, place: Place) -> bool {
        let ok = self.stack.len() <= MAX_DEPTH;
        if !ok {
            self.refuse("nesting deeper than 64 levels", place);
        }
        ok
    }

    /// A collection begins: the pointer of its value. A collection as a key is refused.
    fn begin(&mut self, place: Place) -> String {
        if let Some(Frame::Map { key: None, .. }) = self.stack.last() {
            self.refuse("expected a plain key, found a collection", place);
        }
        let pointer = self.value_pointer();
        self.positions.values.insert(pointer.clone(), place);
        pointer
    }

    fn value_pointer(&self) -> String {
        match self.stack.last() {
            None => String::new(),
            Some(Frame::Map { pointer, key, .. }) => join(pointer, key.as_deref().unwrap_or("?")),
            Some(Frame::Seq { pointer, value }) => join(pointer, &value.len().to_string()),
        }
    }

    fn scalar(&mut self, text: &str, is_plain: bool, place: Place) {
        if let Some(Frame::Map {
            pointer,
            key: key @ None,
            ..
        }) = self.stack.last_mut()
        {
            let full = join(pointer, text);
            *key = Some(text.to_string());
            if text == "<<" {
                self.refuse("merge keys (`<<`) are not supported", place);
            } else if let Some(first) = self.positions.keys.insert(full, place) {
                self.problems.push(
                    Problem::new(format!(
                        "key `{text}` stands twice here (first at line {})",
                        first.line
                    ))
                    .at(place),
                );
            }
            return;
        }
        let pointer = self.value_pointer();
        let value = match is_plain {
            true => plain(text),
            false => Value::String(text.to_string()),
        };
        if matches!(value, Value::Number(_) | Value::Bool(_)) {
            let text = text.to_string();
            self.positions.texts.insert(pointer.clone(), text);
        }
        self.positions.values.insert(pointer, place);
        self.end_value(value);
    }

    fn end_value(&mut self, done: Value) {
        match self.stack.last_mut() {
            Some(Frame::Map { key, value, .. }) => {
                if let Some(key) = key.take() {
                    value.insert(key, done);
                }
            }
            Some(Frame::Seq { value, .. }) => value.push(done),
            None => self.document = done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(line: usize, column: usize) -> Option<Place> {
        Some(Place { line, column })
    }

    #[test]
    fn keys_and_values_have_places() {
        let (_, p) = scan(
            "version: 1\nstages:\n  cluster:\n    params: {resolution: 0.5}\n    needs: [a, b]\n",
        )
        .unwrap();
        assert_eq!(p.key("/stages/cluster/params/resolution"), at(4, 14));
        assert_eq!(p.value("/stages/cluster/params/resolution"), at(4, 26));
        assert_eq!(p.value("/stages/cluster/needs/1"), at(5, 16));
        assert_eq!(
            p.key("/stages/cluster/params/unknown/deeper"),
            p.key("/stages/cluster/params")
        );
    }

    #[test]
    fn keys_are_their_text_and_values_keep_theirs() {
        let (value, p) = scan(
            "a: {1.10: [1.10, 007, TRUE, '1.10', x, 1e3, ~, .nan]}\nb: {1.1: 1, 1E2: 2, +1: 3}\n",
        )
        .unwrap();
        let list = json!([1.1, "007", true, "1.10", "x", 1000.0, null, ".nan"]);
        assert_eq!(value["a"]["1.10"], list);
        let texts: Vec<Option<&str>> = (0..8).map(|i| p.text(&format!("/a/1.10/{i}"))).collect();
        let (t, none) = (Some, None);
        assert_eq!(
            texts,
            [t("1.10"), none, t("TRUE"), none, none, t("1e3"), none, none]
        );
        let keys: Vec<&String> = value["b"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["1.1", "1E2", "+1"]);
        assert_eq!(scan("").unwrap().0, Value::Null);
    }

    fn messages(text: &str) -> Vec<String> {
        scan(text)
            .unwrap_err()
            .into_iter()
            .map(|p| p.message)
            .collect()
    }

    #[test]
    fn duplicates_aliases_tags_and_depth_are_refused() {
        assert_eq!(
            messages("a: 1\nb: 2\na: 3\n"),
            ["key `a` stands twice here (first at line 1)"]
        );
        assert!(
            messages("a: &x [1]\nb: *x\n")
                .iter()
                .any(|m| m.contains("aliases"))
        );
        assert!(messages("a: !python/object x\n")[0].contains("tags"));
        assert!(messages(&"[".repeat(70))[0].contains("nesting"));
        assert!(messages("a: 1\n---\nb: 2\n")[0].contains("second"));
        assert!(messages("a: [1, 2\nb: 3")[0].contains("not valid YAML"));
        assert!(messages(&format!("a: {}", "x".repeat(MAX_BYTES)))[0].contains("at most"));
    }
}
