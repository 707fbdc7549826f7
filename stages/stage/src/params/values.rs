//! Values as they were written, held against a schema: kind, names, bounds, sizes, unknown keys.
//!
//! It reads what [`super::schema`] makes and no more of JSON Schema than that: `type`, `const`, `enum`,
//! `oneOf` of names, `anyOf`, bounds, `items`, `properties`, `additionalProperties`, `required`.

use serde_json::{Map, Value};

/// One value that the schema does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer inside the parameters.
    pub pointer: String,
    /// What was expected and what was found.
    pub message: String,
    /// Where it is the key that nobody knows: the key.
    pub key: Option<String>,
    /// Where a name was expected and another was found: the name found.
    pub name: Option<String>,
    /// The names that would do, in place of `key` or `name`.
    pub known: Vec<String>,
}

/// Everything in `value` that `schema` does not allow, in the order of `value`.
///
/// A value that was written at a whole number's or a number's place must be one: text never counts as a
/// number, and so `.nan` and `.inf`, which JSON has no numbers for, are refused.
pub fn faults(schema: &Value, value: &Value) -> Vec<Fault> {
    let mut out = Vec::new();
    walk(schema, value, "", &mut out);
    out
}

/// How a message names a value: `nothing`, `` `3` ``, `` the text `x` ``, `a list`, `a mapping`.
pub fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_string(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(s) => format!("the text `{s}`"),
        Value::Array(_) => "a list".to_string(),
        Value::Object(_) => "a mapping".to_string(),
    }
}

fn walk(schema: &Value, value: &Value, at: &str, out: &mut Vec<Fault>) {
    if let Some(options) = schema.get("anyOf").and_then(Value::as_array) {
        return any_of(options, value, at, out);
    }
    if let Some(known) = names(schema) {
        let may_be_null = types(schema).contains(&"null");
        if !(may_be_null && value.is_null()) {
            name(known, value, at, out);
        }
        return;
    }
    let types = types(schema);
    if !types.is_empty() && !types.iter().any(|t| is(t, value)) {
        let expected = kinds(&types);
        out.push(fault(
            at,
            format!("expected {expected}, found {}", found(value)),
        ));
        return;
    }
    match value {
        Value::Number(_) => bounds(schema, value, at, out),
        Value::String(text) => {
            if text.is_empty() && schema["minLength"].as_u64().is_some_and(|n| n > 0) {
                out.push(fault(at, "expected text, found an empty one"));
            }
        }
        Value::Array(items) => list(schema, items, at, out),
        Value::Object(map) => mapping(schema, map, at, out),
        Value::Null | Value::Bool(_) => {}
    }
}

fn fault(at: &str, message: impl Into<String>) -> Fault {
    Fault {
        pointer: at.to_string(),
        message: message.into(),
        key: None,
        name: None,
        known: Vec::new(),
    }
}

/// The value must suit one of the schemas. What is wrong is told by the one that is of its kind.
fn any_of(options: &[Value], value: &Value, at: &str, out: &mut Vec<Fault>) {
    let mut of_its_kind = None;
    for option in options {
        let mut own = Vec::new();
        walk(option, value, at, &mut own);
        if own.is_empty() {
            return;
        }
        if kind_of(option).iter().any(|t| is(t, value)) {
            of_its_kind = Some(own);
        }
    }
    match of_its_kind {
        Some(own) => out.extend(own),
        None => {
            let expected: Vec<String> = options.iter().map(expected).collect();
            let expected = expected.join(" or ");
            out.push(fault(
                at,
                format!("expected {expected}, found {}", found(value)),
            ));
        }
    }
}

/// What would do, in words.
fn expected(schema: &Value) -> String {
    match names(schema) {
        Some(known) => one_of(&known),
        None => range(schema).unwrap_or_else(|| kinds(&types(schema))),
    }
}

fn kind_of(schema: &Value) -> Vec<&str> {
    match names(schema) {
        Some(_) => vec!["string"],
        None => types(schema),
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    }
}

fn kinds(types: &[&str]) -> String {
    let words = types.iter().map(|t| match *t {
        "null" => "nothing",
        "boolean" => "`true` or `false`",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "array" => "a list",
        _ => "a mapping",
    });
    words.collect::<Vec<_>>().join(" or ")
}

/// The names of a schema that is a choice of names, or of names and null.
fn names(schema: &Value) -> Option<Vec<&str>> {
    let several = |key: &str| schema.get(key).and_then(Value::as_array);
    if let Some(values) = several("enum") {
        let names = values.iter().filter(|v| !v.is_null());
        return names.map(Value::as_str).collect();
    }
    let options = several("oneOf")?.iter();
    let of_each: Option<Vec<Vec<&str>>> = options
        .map(|o| match o.get("const").and_then(Value::as_str) {
            Some(one) => Some(vec![one]),
            None => names(o),
        })
        .collect();
    Some(of_each?.concat())
}

fn one_of(known: &[&str]) -> String {
    match known {
        [one] => format!("`{one}`"),
        _ => format!("one of `{}`", known.join("`, `")),
    }
}

fn name(known: Vec<&str>, value: &Value, at: &str, out: &mut Vec<Fault>) {
    let expected = one_of(&known);
    match value {
        Value::String(text) if known.contains(&text.as_str()) => {}
        Value::String(text) => out.push(Fault {
            name: Some(text.clone()),
            known: known.into_iter().map(str::to_string).collect(),
            ..fault(at, format!("expected {expected}, found `{text}`"))
        }),
        _ => out.push(fault(
            at,
            format!("expected {expected}, found {}", found(value)),
        )),
    }
}

/// A bound as people write it: `0.5`, `4096`.
fn plain(bound: &Value) -> String {
    match (bound.as_i64(), bound.as_f64()) {
        (None, Some(v)) => v.to_string(),
        _ => bound.to_string(),
    }
}

/// The range of a schema in words, if it has one.
fn range(schema: &Value) -> Option<String> {
    let bound = |key: &str| schema.get(key).filter(|b| b.is_number());
    let (at_least, above) = (bound("minimum"), bound("exclusiveMinimum"));
    let (at_most, below) = (bound("maximum"), bound("exclusiveMaximum"));
    let words = match (above.or(at_least), below.or(at_most)) {
        (None, None) => return None,
        (Some(low), Some(high)) => format!(
            "a value in {}{}, {}{}",
            if above.is_some() { "(" } else { "[" },
            plain(low),
            plain(high),
            if below.is_some() { ")" } else { "]" },
        ),
        (Some(low), None) if above.is_some() => format!("a number above {}", plain(low)),
        (Some(low), None) => format!("at least {}", plain(low)),
        (None, Some(high)) if below.is_some() => format!("a number below {}", plain(high)),
        (None, Some(high)) => format!("at most {}", plain(high)),
    };
    let null = types(schema).contains(&"null");
    Some(format!("{words}{}", if null { ", or null" } else { "" }))
}

fn bounds(schema: &Value, value: &Value, at: &str, out: &mut Vec<Fault>) {
    let Some(v) = value.as_f64() else { return };
    let broken = |key: &str, breaks: fn(f64, f64) -> bool| {
        let bound = schema.get(key).and_then(Value::as_f64);
        bound.is_some_and(|bound| breaks(v, bound))
    };
    let outside = broken("minimum", |v, b| v < b)
        || broken("exclusiveMinimum", |v, b| v <= b)
        || broken("maximum", |v, b| v > b)
        || broken("exclusiveMaximum", |v, b| v >= b);
    if let (true, Some(range)) = (outside, range(schema)) {
        out.push(fault(at, format!("expected {range}, found `{value}`")));
    }
}

fn list(schema: &Value, items: &[Value], at: &str, out: &mut Vec<Fault>) {
    let size = |key: &str| schema.get(key).and_then(Value::as_u64).map(|n| n as usize);
    let (least, most) = (size("minItems"), size("maxItems"));
    let n = items.len();
    if least.is_some_and(|least| n < least) || most.is_some_and(|most| n > most) {
        let expected = match (least, most) {
            (Some(a), Some(b)) if a == b => format!("{a} values"),
            (Some(1), None) => "at least one value".to_string(),
            (Some(a), None) => format!("at least {a} values"),
            (None, Some(b)) => format!("at most {b} values"),
            (a, b) => format!("{} to {} values", a.unwrap_or(0), b.unwrap_or(n)),
        };
        let found = if n == 0 {
            "none".to_string()
        } else {
            n.to_string()
        };
        out.push(fault(at, format!("expected {expected}, found {found}")));
        return;
    }
    if let Some(of_each) = schema.get("items") {
        for (i, item) in items.iter().enumerate() {
            walk(of_each, item, &format!("{at}/{i}"), out);
        }
    }
}

fn mapping(schema: &Value, map: &Map<String, Value>, at: &str, out: &mut Vec<Fault>) {
    let none = Map::new();
    let own = schema.get("properties").and_then(Value::as_object);
    let own = own.unwrap_or(&none);
    let others = schema.get("additionalProperties");
    for (key, value) in map {
        let here = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        match (own.get(key), others) {
            (Some(schema), _) | (None, Some(schema @ Value::Object(_))) => {
                walk(schema, value, &here, out);
            }
            (None, Some(Value::Bool(false))) => out.push(Fault {
                key: Some(key.clone()),
                known: own.keys().cloned().collect(),
                ..fault(&here, format!("unknown parameter `{key}`"))
            }),
            _ => {}
        }
    }
    let required = schema.get("required").and_then(Value::as_array);
    for key in required.into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(key) {
            out.push(fault(
                at,
                format!("expected a value for `{key}`, found none"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(schema: Value, value: Value) -> Vec<String> {
        faults(&schema, &value)
            .into_iter()
            .map(|f| format!("{} {}", f.pointer, f.message).trim().to_string())
            .collect()
    }

    #[test]
    fn ranges_are_said_as_intervals_or_as_one_bound() {
        let cases = [
            (
                json!({"type": "integer", "minimum": 1, "maximum": 4096}),
                json!(0),
                "expected a value in [1, 4096], found `0`",
            ),
            (
                json!({"type": "integer", "minimum": 2}),
                json!(-1),
                "expected at least 2, found `-1`",
            ),
            (
                json!({"type": "number", "exclusiveMinimum": 0}),
                json!(0),
                "expected a number above 0, found `0`",
            ),
            (
                json!({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}),
                json!(0.6),
                "expected a value in (0, 0.5], found `0.6`",
            ),
            (
                json!({"type": "number", "minimum": 0.0, "exclusiveMaximum": 1.0}),
                json!(1),
                "expected a value in [0, 1), found `1`",
            ),
            (
                json!({"type": ["number", "null"], "minimum": 0}),
                json!(-0.5),
                "expected at least 0, or null, found `-0.5`",
            ),
            (
                json!({"type": "number", "maximum": 3}),
                json!(4),
                "expected at most 3, found `4`",
            ),
            (
                json!({"type": "number", "exclusiveMaximum": 3}),
                json!(3),
                "expected a number below 3, found `3`",
            ),
        ];
        for (schema, value, message) in cases {
            assert_eq!(said(schema, value), [message]);
        }
        for within in [json!(1), json!(4096)] {
            let schema = json!({"type": "integer", "minimum": 1, "maximum": 4096});
            assert_eq!(faults(&schema, &within), []);
        }
    }

    #[test]
    fn a_value_of_another_kind_is_named_in_plain_words() {
        let cases = [
            (
                "integer",
                json!("x"),
                "expected a whole number, found the text `x`",
            ),
            (
                "integer",
                json!(1.5),
                "expected a whole number, found `1.5`",
            ),
            (
                "number",
                json!(".nan"),
                "expected a number, found the text `.nan`",
            ),
            ("number", json!(null), "expected a number, found nothing"),
            (
                "boolean",
                json!("yes"),
                "expected `true` or `false`, found the text `yes`",
            ),
            ("string", json!(["a"]), "expected text, found a list"),
            ("array", json!({"a": 1}), "expected a list, found a mapping"),
            ("object", json!(true), "expected a mapping, found `true`"),
        ];
        for (kind, value, message) in cases {
            assert_eq!(said(json!({"type": kind}), value), [message]);
        }
        let nullable = json!({"type": ["integer", "null"]});
        assert_eq!(said(nullable.clone(), json!(null)), [""; 0]);
        assert_eq!(
            said(nullable, json!("x")),
            ["expected a whole number or nothing, found the text `x`"]
        );
    }

    #[test]
    fn names_are_listed_and_kept_for_a_hint() {
        let schema = json!({"oneOf": [{"const": "window"}, {"const": "hmm"}]});
        let fault = &faults(&schema, &json!("hm"))[0];
        assert_eq!(fault.message, "expected one of `window`, `hmm`, found `hm`");
        assert_eq!(fault.name.as_deref(), Some("hm"));
        assert_eq!(fault.known, ["window", "hmm"]);
        assert_eq!(
            said(schema.clone(), json!(3)),
            ["expected one of `window`, `hmm`, found `3`"]
        );
        assert_eq!(said(schema, json!("hmm")), [""; 0]);
        let nullable = json!({"type": ["string", "null"], "enum": ["GRCh38", null]});
        assert_eq!(said(nullable.clone(), json!(null)), [""; 0]);
        assert_eq!(
            said(nullable, json!("GRCh39")),
            ["expected `GRCh38`, found `GRCh39`"]
        );
    }

    #[test]
    fn a_choice_of_kinds_is_told_by_the_kind_that_was_written() {
        let schema = json!({"anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
            {"oneOf": [{"const": "quartiles"}, {"const": "tertiles"}]},
        ]});
        assert_eq!(said(schema.clone(), json!(0.3)), [""; 0]);
        assert_eq!(
            said(schema.clone(), json!(0.7)),
            ["expected a value in (0, 0.5], found `0.7`"]
        );
        assert_eq!(
            said(schema.clone(), json!("third")),
            ["expected one of `quartiles`, `tertiles`, found `third`"]
        );
        assert_eq!(
            said(schema, json!([])),
            ["expected a value in (0, 0.5] or one of `quartiles`, `tertiles`, found a list"]
        );
    }

    #[test]
    fn lists_and_mappings_are_read_to_their_leaves() {
        let three = json!({"type": "array", "items": {"type": "number", "minimum": 0}, "minItems": 3, "maxItems": 3});
        assert_eq!(
            said(three.clone(), json!([1, 2])),
            ["expected 3 values, found 2"]
        );
        assert_eq!(
            said(three, json!([1, -2, "a"])),
            [
                "/1 expected at least 0, found `-2`",
                "/2 expected a number, found the text `a`",
            ]
        );
        let some =
            json!({"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1});
        assert_eq!(
            said(some.clone(), json!([])),
            ["expected at least one value, found none"]
        );
        assert_eq!(
            said(some, json!([""])),
            ["/0 expected text, found an empty one"]
        );
        let nested = json!({"type": "object", "additionalProperties": false, "required": ["column"], "properties": {
            "column": {"type": "string"},
            "groups": {"type": "object", "additionalProperties": {"type": "integer"}},
        }});
        assert_eq!(
            said(nested, json!({"groups": {"a/b": "x"}, "colum": 1})),
            [
                "/groups/a~1b expected a whole number, found the text `x`",
                "/colum unknown parameter `colum`",
                "expected a value for `column`, found none",
            ]
        );
    }
}
