//! JSON Schema of a stage's parameters: kinds, names, ranges, defaults, descriptions, and what is read
//! only under other parameters.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use serde_json::{Map, Value, json};

use super::only_with::{OnlyWith, When};
use super::pointer;
use crate::stage::Stage;

/// The schema of the parameters of `S`, without references.
///
/// What is not read under the other parameters is not allowed with them: one `if`/`else` for each entry
/// of [`Stage::ONLY_WITH`], in which a parameter that is absent has its default.
pub fn schema<S: Stage>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<S::Params>();
    RecursiveTransform(plain).transform(&mut schema);
    let mut schema = schema.to_value();
    schema["title"] = json!(S::KIND);
    let defaults = serde_json::to_value(S::Params::default()).expect("parameters are plain values");
    describe(&mut schema, S::ONLY_WITH);
    if !S::ONLY_WITH.is_empty() {
        let rules = S::ONLY_WITH.iter().map(|rule| conditional(rule, &defaults));
        schema["allOf"] = rules.collect();
    }
    schema
}

/// Without what only a Rust program knows: widths of numbers, names of types, breaks of comment lines.
fn plain(schema: &mut Schema) {
    schema.remove("format");
    schema.remove("title");
    if let Some(Value::String(text)) = schema.get_mut("description") {
        let paragraphs = text.split("\n\n").map(|p| p.split_whitespace());
        let lines = paragraphs.map(|words| words.collect::<Vec<_>>().join(" "));
        *text = lines.collect::<Vec<_>>().join("\n\n");
    }
}

/// Says of each parameter where it is read.
fn describe(schema: &mut Value, rules: &[OnlyWith]) {
    let mut paths: Vec<&str> = rules.iter().flat_map(|r| r.params).copied().collect();
    paths.sort_unstable();
    paths.dedup();
    for path in paths {
        let of_path = rules.iter().filter(|r| r.params.contains(&path));
        let words: Vec<String> = of_path.map(OnlyWith::words).collect();
        let at = pointer(path).replace('/', "/properties/");
        let property = schema.pointer_mut(&at).and_then(Value::as_object_mut);
        if let Some(Value::String(text)) = property.and_then(|p| p.get_mut("description")) {
            *text = format!("{text} Read only {}.", words.join(" and "));
        }
    }
}

/// Where no condition of the rule holds, its parameters are not allowed.
fn conditional(rule: &OnlyWith, defaults: &Value) -> Value {
    let mut forbidden = json!({});
    for path in rule.params {
        forbid(&mut forbidden, path);
    }
    let mut conditions: Vec<Value> = rule.any.iter().map(|w| condition(w, defaults)).collect();
    let holds = match conditions.len() {
        1 => conditions.remove(0),
        _ => json!({ "anyOf": conditions }),
    };
    json!({ "if": holds, "else": forbidden })
}

/// Allows no property of that dotted path.
fn forbid(schema: &mut Value, path: &str) {
    match path.split_once('.') {
        None => schema["properties"][path] = json!(false),
        Some((first, rest)) => {
            let nested = &mut schema["properties"][first];
            if nested.is_null() {
                *nested = json!({});
            }
            forbid(nested, rest);
        }
    }
}

/// The parameters under which a condition holds.
fn condition(when: &When, defaults: &Value) -> Value {
    let leaf = match when {
        When::Is(_, names) => json!({ "enum": names }),
        When::Given(_) => json!({"not": {"enum": [null, "", [], {}]}}),
        When::Null(_) => json!({ "const": null }),
        When::Above(_, bound) => json!({ "exclusiveMinimum": bound }),
    };
    // Where the default suits, the parameter may be absent.
    let absent = when.holds(defaults);
    when.tag().rsplit('.').fold(leaf, |inner, name| {
        let mut outer = Map::new();
        outer.insert("properties".into(), json!({ name: inner }));
        if !absent {
            outer.insert("required".into(), json!([name]));
        }
        Value::Object(outer)
    })
}
