//! Text as it is written: where a parameter is text, `1.10`, `007` and `TRUE` are their letters.
//!
//! YAML types a scalar without quotes by its looks; only the schema of a stage kind knows that a
//! sample may be called `1.10`. Here numbers and flags that stand where the schema has text and
//! nothing else become the text of the file, in lists and mappings too.

use serde_json::{Map, Value};

use crate::workflow::join;

/// `params` of a kind with that JSON Schema. `text` gives a scalar as it is written, by its JSON
/// pointer inside `params`.
pub(super) fn as_written<'t>(
    schema: &Value,
    params: &Map<String, Value>,
    text: &dyn Fn(&str) -> Option<&'t str>,
) -> Map<String, Value> {
    let params = Value::Object(params.clone());
    let walk = Walk { root: schema, text };
    match walk.value(&[schema], params, "") {
        Value::Object(map) => map,
        _ => unreachable!("a mapping stays a mapping"),
    }
}

struct Walk<'a, 't> {
    root: &'a Value,
    text: &'a dyn Fn(&str) -> Option<&'t str>,
}

impl<'a> Walk<'a, '_> {
    /// `schemas` are those that the value may be checked against.
    fn value(&self, schemas: &[&'a Value], value: Value, pointer: &str) -> Value {
        let schemas = self.alternatives(schemas);
        match value {
            Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| {
                    let below: Vec<&Value> = schemas
                        .iter()
                        .filter_map(|s| {
                            s.pointer(&join("/properties", &key))
                                .or_else(|| s.get("additionalProperties"))
                        })
                        .collect();
                    let value = self.value(&below, value, &join(pointer, &key));
                    (key, value)
                })
                .collect(),
            Value::Array(items) => {
                let below: Vec<&Value> = schemas.iter().filter_map(|s| s.get("items")).collect();
                let items = items.into_iter().enumerate();
                items
                    .map(|(i, item)| self.value(&below, item, &join(pointer, &i.to_string())))
                    .collect()
            }
            Value::Number(_) | Value::Bool(_) if is_text(&schemas) => match (self.text)(pointer) {
                Some(text) => Value::String(text.to_string()),
                None => value,
            },
            other => other,
        }
    }

    /// The schemas with what they refer to and choose from.
    fn alternatives(&self, schemas: &[&'a Value]) -> Vec<&'a Value> {
        let mut found = Vec::new();
        let mut open = schemas.to_vec();
        while let Some(schema) = open.pop() {
            found.push(schema);
            if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
                open.extend(name.strip_prefix('#').and_then(|p| self.root.pointer(p)));
            }
            for key in ["anyOf", "oneOf", "allOf"] {
                open.extend(
                    schema
                        .get(key)
                        .and_then(Value::as_array)
                        .into_iter()
                        .flatten(),
                );
            }
        }
        found
    }
}

/// Whether text fits and neither a number nor a flag does.
fn is_text(schemas: &[&Value]) -> bool {
    let types: Vec<&str> = schemas
        .iter()
        .filter_map(|s| s.get("type"))
        .flat_map(|t| match t {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect::<Vec<_>>(),
        })
        .collect();
    types.contains(&"string")
        && !types
            .iter()
            .any(|t| ["number", "integer", "boolean"].contains(t))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What becomes of the parameters `yaml` of a kind.
    fn read(kind: &str, yaml: &str) -> Value {
        let (value, texts) = crate::workflow::scan(yaml).unwrap();
        let schema = crate::registry::kind(kind).unwrap().schema();
        let params = value.as_object().unwrap();
        Value::Object(as_written(&schema, params, &|at| texts.text(at)))
    }

    #[test]
    fn labels_are_their_letters_and_numbers_stay_numbers() {
        let ingest = "group_by: 007\ngroups: {1.10: [1.10, 1E2, +1, TRUE, 12345678901234567890, B]}\ncolumns: {sample: 1.0}\ncounts: integer\n";
        assert_eq!(
            read("ingest", ingest),
            json!({
                "group_by": "007",
                "groups": {"1.10": ["1.10", "1E2", "+1", "TRUE", "12345678901234567890", "B"]},
                "columns": {"sample": "1.0"},
                "counts": "integer",
            })
        );
        assert_eq!(
            read(
                "infercnv",
                "reference_key: 3\nreference_cat: [2.0, no]\nwindow_size: 100\nlfc_clip: 3.0\ncalculate_gene_values: true\n"
            ),
            json!({
                "reference_key": "3", "reference_cat": ["2.0", "no"], "window_size": 100,
                "lfc_clip": 3.0, "calculate_gene_values": true,
            })
        );
        assert_eq!(
            read(
                "preprocess",
                "cancer_vs_normal: {column: 1, cancer: [0.50]}\nmax_pct_mt: 20\n"
            ),
            json!({"cancer_vs_normal": {"column": "1", "cancer": ["0.50"]}, "max_pct_mt": 20})
        );
    }
}
