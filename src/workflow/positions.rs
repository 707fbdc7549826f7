//! The bounded event pass over a workflow file: where everything stands, and what is refused
//! before any value is made (size, depth, aliases, tags, duplicate keys, several documents).

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

use super::problem::{Place, Problem};

/// Largest workflow file in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting.
pub(super) const MAX_DEPTH: usize = 64;

/// Places by JSON pointer (`/stages/cluster/params/resolution`).
#[derive(Debug, Default)]
pub struct Positions {
    keys: BTreeMap<String, Place>,
    values: BTreeMap<String, Place>,
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

enum Frame {
    Map {
        pointer: String,
        key: Option<String>,
    },
    Seq {
        pointer: String,
        next: usize,
    },
}

/// Runs the pass.
///
/// # Errors
/// Every problem found; syntax errors end the pass.
pub(super) fn scan(text: &str) -> Result<Positions, Vec<Problem>> {
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
        Ok(scan.positions)
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

#[derive(Default)]
struct Scan {
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
            Event::Scalar(text, _, anchor, tag) => {
                self.refuse_marks(anchor, tag.is_some(), place);
                self.scalar(&text, place);
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_marks(anchor, tag.is_some(), place);
                let pointer = self.begin(place);
                self.stack.push(Frame::Seq { pointer, next: 0 });
                return self.depth_ok(place);
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_marks(anchor, tag.is_some(), place);
                let pointer = self.begin(place);
                self.stack.push(Frame::Map { pointer, key: None });
                return self.depth_ok(place);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.stack.pop();
                self.end_value();
            }
            _ => {}
        }
        true
    }

    fn refuse(&mut self, message: &str, place: Place) {
        self.problems.push(Problem::new(message).at(place));
    }

    fn refuse_and_skip(&mut self, message: &str, place: Place) {
        self.refuse(message, place);
        self.scalar("", place);
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
            Some(Frame::Map { pointer, key }) => join(pointer, key.as_deref().unwrap_or("?")),
            Some(Frame::Seq { pointer, next }) => join(pointer, &next.to_string()),
        }
    }

    fn scalar(&mut self, text: &str, place: Place) {
        if let Some(Frame::Map {
            pointer,
            key: key @ None,
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
        self.positions.values.insert(pointer, place);
        self.end_value();
    }

    fn end_value(&mut self) {
        match self.stack.last_mut() {
            Some(Frame::Map { key, .. }) => *key = None,
            Some(Frame::Seq { next, .. }) => *next += 1,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Option<Place> {
        Some(Place { line, column })
    }

    #[test]
    fn keys_and_values_have_places() {
        let p = scan(
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
