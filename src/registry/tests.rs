//! What holds for the parameters of every kind: ranges, defaults, documentation, messages, and which
//! are read only under others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Kind, kind, kinds};

/// Numbers that may be anything.
const UNBOUNDED: &[&str] = &[];

fn resolved(kind: &Kind, params: Value) -> Result<Value, Vec<String>> {
    let params = params.as_object().expect("a mapping");
    kind.resolve(params).map(|r| r.params).map_err(|refused| {
        refused
            .into_iter()
            .map(|r| format!("{} {}", r.pointer, r.why.text()))
            .collect()
    })
}

/// Every property of a schema with its dotted path, nested ones and items too.
fn properties(schema: &Value, at: &str, visit: &mut impl FnMut(&str, &Value, bool)) {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if at.is_empty() {
            name.clone()
        } else {
            format!("{at}.{name}")
        };
        visit(&path, property, required.contains(&name.as_str()));
        properties(property, &path, visit);
        properties(&property["items"], &path, visit);
        properties(&property["additionalProperties"], &path, visit);
    }
}

/// Every schema with a kind of value inside another, and its path.
fn leaves(schema: &Value, at: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(at, schema);
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            leaves(&schema[key], at, visit);
        }
    }
    for option in schema["anyOf"].as_array().into_iter().flatten() {
        leaves(option, at, visit);
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        leaves(property, &format!("{at}.{name}"), visit);
    }
}

/// Every text under the key `description`.
fn descriptions(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(text)) = map.get("description") {
                visit(text);
            }
            map.values().for_each(|v| descriptions(v, visit));
        }
        Value::Array(items) => items.iter().for_each(|v| descriptions(v, visit)),
        _ => {}
    }
}

/// Parameters with `value` at a JSON pointer.
fn with(pointer: &str, value: Value) -> Map<String, Value> {
    let nested = pointer[1..]
        .rsplit('/')
        .fold(value, |v, key| json!({ key: v }));
    nested.as_object().expect("a mapping").clone()
}

#[test]
fn every_default_resolves_and_is_in_the_schema() {
    for kind in kinds() {
        let all = resolved(kind, json!({})).unwrap_or_else(|e| panic!("{}: {e:?}", kind.name));
        // What is effective resolves to itself, and what the schema calls a default as well.
        assert_eq!(resolved(kind, all.clone()).unwrap(), all, "{}", kind.name);
        properties(&kind.schema(), "", &mut |path, property, required| {
            let has = property.get("default").is_some();
            assert!(has || required, "{}: `{path}` has no default", kind.name);
            if let (Some(default), Some(effective)) = (property.get("default"), all.get(path)) {
                assert_eq!(
                    super::sorted(default.clone()),
                    *effective,
                    "{}: `{path}`",
                    kind.name
                );
            }
        });
    }
}

/// The number after the word `default` in a description.
fn said_default(text: &str) -> Option<f64> {
    let after = text.split_once("efault ")?.1;
    let inside = |c: &char| c.is_ascii_digit() || "-.,e".contains(*c);
    let number: String = after.chars().take_while(inside).collect();
    let number = number.trim_end_matches(['.', ',', 'e']).replace(',', "");
    number.parse().ok()
}

#[test]
fn the_default_that_a_description_states_is_the_default() {
    let mut stated = 0;
    for kind in kinds() {
        properties(&kind.schema(), "", &mut |path, property, _| {
            let default = property["default"].as_f64();
            let text = property["description"].as_str().unwrap_or_default();
            if let (Some(default), Some(said)) = (default, said_default(text)) {
                assert_eq!(said, default, "{}: `{path}`: {text}", kind.name);
                stated += 1;
            }
        });
    }
    assert!(stated > 100, "{stated}");
}

#[test]
fn every_parameter_is_described_in_words_of_the_workflow() {
    let mut schemas: Vec<(&str, Value)> = kinds().iter().map(|k| (k.name, k.schema())).collect();
    schemas.push(("workflow", super::workflow_schema()));
    for (name, schema) in schemas {
        properties(&schema, "", &mut |path, property, _| {
            let described = property["description"]
                .as_str()
                .is_some_and(|d| !d.is_empty());
            assert!(
                described || property.get("$ref").is_some(),
                "{name}: `{path}` is not described"
            );
        });
        descriptions(&schema, &mut |text| {
            for odd in [
                "::", "[`", "usize", "f64", "u64", "i64", "Option<", "Vec<", "\n ",
            ] {
                assert!(!text.contains(odd), "{name}: `{odd}` in `{text}`");
            }
        });
        let text = schema.to_string();
        for odd in [
            "\"format\":\"u",
            "\"format\":\"d",
            "\"format\":\"int",
            "Params\"",
        ] {
            assert!(!text.contains(odd), "{name}: {odd}");
        }
    }
}

#[test]
fn every_number_has_a_bound() {
    let mut schemas: Vec<(&str, Value)> = kinds().iter().map(|k| (k.name, k.schema())).collect();
    schemas.push(("workflow", super::workflow_schema()));
    for (name, schema) in schemas {
        leaves(&schema, name, &mut |path, leaf| {
            let kinds = leaf["type"].to_string();
            if !(kinds.contains("\"integer\"") || kinds.contains("\"number\""))
                || kinds.contains("\"string\"")
            {
                return;
            }
            let bounds = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];
            let bounded = bounds.iter().any(|b| leaf.get(b).is_some());
            assert!(
                bounded || UNBOUNDED.contains(&path),
                "`{path}` has no bound"
            );
        });
    }
}

#[test]
fn a_number_is_refused_beyond_each_bound_of_its_schema() {
    let mut tried = 0;
    for kind in kinds() {
        properties(&kind.schema(), "", &mut |path, property, _| {
            let pointer = format!("/{}", path.replace('.', "/"));
            let beyond = [
                ("minimum", -0.5),
                ("exclusiveMinimum", 0.0),
                ("maximum", 0.5),
                ("exclusiveMaximum", 0.0),
            ];
            for (bound, by) in beyond {
                let Some(limit) = property.get(bound) else {
                    continue;
                };
                let whole = property["type"].to_string().contains("integer");
                let limit = limit.as_f64().expect("a number");
                let value = match (whole, by) {
                    (true, by) => json!((limit + 2.0 * by) as i64),
                    (false, by) => json!(limit + by),
                };
                let refused = resolved(kind, Value::Object(with(&pointer, value.clone())));
                let refused = refused.expect_err(&format!("{} {path}: {value}", kind.name));
                let own = format!("{pointer} expected ");
                let ends = format!("found `{value}`");
                let said = refused
                    .iter()
                    .any(|m| m.starts_with(&own) && m.ends_with(&ends));
                assert!(said, "{}: {refused:?}", kind.name);
                tried += 1;
            }
        });
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn a_value_of_another_kind_is_told_in_plain_words() {
    let others = [
        json!("zzz"),
        json!(0.123),
        json!(-7),
        json!(true),
        json!(null),
        json!([]),
        json!([[]]),
        json!({"zzz": []}),
    ];
    let mut refused = 0;
    for kind in kinds() {
        properties(&kind.schema(), "", &mut |path, _, _| {
            let pointer = format!("/{}", path.replace('.', "/"));
            for other in &others {
                let params = Value::Object(with(&pointer, other.clone()));
                for message in resolved(kind, params).err().unwrap_or_default() {
                    refused += 1;
                    let (_, message) = message.split_once(' ').expect("a pointer and a message");
                    // Without what is quoted, names and values.
                    let message: String = message.split('`').step_by(2).collect();
                    assert!(
                        message.starts_with("expected ")
                            || message.starts_with("unknown parameter "),
                        "{path}: {message}"
                    );
                    for odd in [
                        "usize",
                        "f64",
                        "u64",
                        "i64",
                        "invalid",
                        "variant",
                        "struct",
                        "sequence",
                        "string",
                        "integer",
                        "float",
                        "boolean",
                        "another value",
                    ] {
                        assert!(!message.contains(odd), "{path}: {message}");
                    }
                }
            }
        });
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn a_misspelt_name_is_answered_with_the_nearest() {
    let params = with("/method", json!("windw"));
    let refused = kind("infercnv").unwrap().resolve(&params).unwrap_err();
    assert_eq!(
        refused[0].why.text(),
        "expected one of `window`, `hmm`, `measured`, found `windw`"
    );
    assert_eq!(
        refused[0].why.hint().as_deref(),
        Some("did you mean `window`?")
    );
    let params = with("/hmm/k_n", json!(3));
    let refused = kind("infercnv").unwrap().resolve(&params).unwrap_err();
    assert_eq!(refused[0].why.text(), "unknown parameter `k_n`");
    assert!(refused[0].why.is_of_key());
    assert_eq!(
        refused[0].why.hint().as_deref(),
        Some("did you mean `k_nn`?")
    );
}

#[test]
fn what_is_wrong_alone_and_what_is_wrong_together_is_said_at_once() {
    let params = json!({"epochs": 10, "warmup_epochs": 10, "dropout": 1, "margin": "x"});
    let refused = resolved(kind("train").unwrap(), params).unwrap_err();
    assert_eq!(refused.len(), 2, "{refused:?}");
    let params = json!({"epochs": 10, "warmup_epochs": 10, "dropout": 1});
    let refused = resolved(kind("train").unwrap(), params).unwrap_err();
    assert_eq!(
        refused,
        [
            "/dropout expected a value in [0, 1), found `1`",
            "/warmup_epochs expected fewer than `epochs` (10), found `10`",
        ]
    );
}

#[test]
fn a_number_too_large_for_any_field_is_refused_in_plain_words() {
    let params = with("/n_iterations", json!(u64::MAX));
    let refused = kind("cluster").unwrap().resolve(&params).unwrap_err();
    assert_eq!(refused[0].pointer, "/n_iterations");
    assert_eq!(
        refused[0].why.text(),
        format!("expected another value, found `{}`", u64::MAX)
    );
}

#[test]
fn what_another_method_reads_is_no_effective_parameter() {
    let train = kind("train").unwrap();
    let clcc = resolved(train, json!({})).unwrap();
    assert!(clcc.get("anchors").is_none() && clcc["lambda"] == 0.5);
    let anchors = resolved(train, json!({"objective": "anchors"})).unwrap();
    let names: Vec<&String> = anchors.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "anchors",
            "cnv_hidden",
            "epochs",
            "expr_hidden",
            "learning_rate",
            "objective",
            "precision",
            "weight_decay"
        ]
    );
    let without = resolved(train, json!({"lambda": 0})).unwrap();
    assert!(without.get("margin").is_none() && without.get("n_negatives").is_none());
    let infercnv = kind("infercnv").unwrap();
    let window = resolved(infercnv, json!({"method": "window"})).unwrap();
    for other in ["hmm", "measured", "control_seed"] {
        assert!(window.get(other).is_none(), "{other}");
    }
    let hmm = resolved(
        infercnv,
        json!({"method": "hmm", "hmm": {"hmm_type": "i3", "analysis_mode": "samples"}}),
    )
    .unwrap();
    for other in ["sd_trend", "k_nn", "leiden_method", "random_state"] {
        assert!(hmm["hmm"].get(other).is_none(), "{other}");
    }
    assert_eq!(hmm["hmm"]["i3_p_val"], 0.05);
}

#[test]
fn what_is_not_read_takes_no_part_in_checks() {
    // A warm-up of the other method, longer than the epochs.
    let params = json!({"objective": "anchors", "epochs": 5, "warmup_epochs": 30});
    assert!(resolved(kind("train").unwrap(), params).is_ok());
}

/// Whether JSON Schema allows the value, for the words that the conditions are made of.
fn allows(schema: &Value, value: &Value) -> bool {
    let Some(map) = schema.as_object() else {
        return schema != &json!(false);
    };
    map.iter().all(|(word, of)| match word.as_str() {
        "properties" => of
            .as_object()
            .unwrap()
            .iter()
            .all(|(name, sub)| value.get(name).is_none_or(|v| allows(sub, v))),
        "required" => of
            .as_array()
            .unwrap()
            .iter()
            .all(|n| value.get(n.as_str().unwrap()).is_some()),
        "enum" => of.as_array().unwrap().contains(value),
        "const" => of == value,
        "not" => !allows(of, value),
        "anyOf" => of.as_array().unwrap().iter().any(|s| allows(s, value)),
        "allOf" => of.as_array().unwrap().iter().all(|s| allows(s, value)),
        "exclusiveMinimum" => value.as_f64().is_none_or(|v| v > of.as_f64().unwrap()),
        "if" => allows(of, value) || allows(&map["else"], value),
        "else" => true,
        other => panic!("`{other}` is not known here"),
    })
}

/// Values of a property that differ in what else is read.
fn values(property: &Value) -> Vec<Value> {
    let names = property["oneOf"].as_array().into_iter().flatten();
    let mut out: Vec<Value> = names.filter_map(|o| o.get("const")).cloned().collect();
    let kinds = property["type"].to_string();
    let default = property["default"].clone();
    if kinds.contains("null") {
        out.push(Value::Null);
    }
    if kinds.contains("integer") || kinds.contains("number") {
        out.extend([json!(0), json!(1), json!(2)]);
    }
    if kinds.contains("boolean") {
        out.push(json!(true));
    }
    if kinds.contains("\"object\"") && default == json!({}) {
        out.push(json!({"a": "b"}));
    }
    out.push(default);
    out
}

#[test]
fn the_schema_and_the_program_agree_on_what_is_read() {
    let mut refused = 0;
    for kind in kinds() {
        let schema = kind.schema();
        let conditions = json!({"allOf": schema.get("allOf").cloned().unwrap_or(json!([]))});
        let mut all: Vec<(String, Vec<Value>)> = Vec::new();
        properties(&schema, "", &mut |path, property, _| {
            if !property["properties"].is_object() {
                all.push((format!("/{}", path.replace('.', "/")), values(property)));
            }
        });
        // Every pair of parameters with every pair of their values, on every value of the first tag.
        let tags: Vec<&(String, Vec<Value>)> = all.iter().filter(|(_, v)| v.len() > 1).collect();
        for (tag, of_tag) in &tags {
            for chosen in of_tag {
                for (other, of_other) in &all {
                    let mut params = with(tag, chosen.clone());
                    merge(&mut params, with(other, of_other[0].clone()));
                    agree(kind, &conditions, &params, &mut refused);
                    for method in ["hmm", "measured"]
                        .iter()
                        .filter(|_| kind.name == "infercnv")
                    {
                        merge(&mut params, with("/method", json!(method)));
                        agree(kind, &conditions, &params, &mut refused);
                    }
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

fn merge(into: &mut Map<String, Value>, other: Map<String, Value>) {
    for (key, value) in other {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn agree(kind: &Kind, conditions: &Value, params: &Map<String, Value>, refused: &mut usize) {
    let unread = kind.unread(params);
    let written = Value::Object(params.clone());
    let idle: Vec<&str> = unread
        .iter()
        .filter(|u| written.pointer(&u.pointer).is_some())
        .map(|u| u.pointer.as_str())
        .collect();
    *refused += usize::from(!idle.is_empty());
    assert_eq!(
        allows(conditions, &written),
        idle.is_empty(),
        "{}: {written}: {idle:?}",
        kind.name
    );
}

#[test]
fn shipped_workflows_write_each_parameter_beside_what_reads_it() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows");
    let mut stages = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let workflow = crate::workflow::Workflow::load(&path).unwrap();
        for (name, stage) in &workflow.stages {
            let schema = kind(&stage.kind).unwrap().schema();
            let conditions = json!({"allOf": schema.get("allOf").cloned().unwrap_or(json!([]))});
            let params = Value::Object(stage.params.clone());
            assert!(
                allows(&conditions, &params),
                "{} of {}",
                name,
                path.display()
            );
            stages += 1;
        }
    }
    assert!(stages > 100, "{stages}");
}

#[test]
fn every_name_of_a_condition_is_a_parameter() {
    let mut listed = 0;
    for kind in kinds() {
        let schema = kind.schema();
        for condition in schema["allOf"].as_array().into_iter().flatten() {
            for branch in ["if", "else"] {
                for (path, of) in named(&condition[branch], "") {
                    let at = path.replace('/', "/properties/");
                    let property = schema.pointer(&at);
                    let property = property.unwrap_or_else(|| panic!("{}: {path}", kind.name));
                    let names = property["oneOf"].as_array().into_iter().flatten();
                    let names: Vec<&Value> = names.map(|o| &o["const"]).collect();
                    for name in of["enum"].as_array().into_iter().flatten() {
                        assert!(names.contains(&name), "{}: {path}: {name}", kind.name);
                    }
                    if branch == "else" {
                        let said = property["description"].as_str().unwrap();
                        assert!(said.contains("Read only "), "{}: {path}", kind.name);
                    }
                    listed += 1;
                }
            }
        }
    }
    assert!(listed > 60, "{listed}");
}

/// The innermost properties that a condition names.
fn named(condition: &Value, at: &str) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    for option in condition["anyOf"].as_array().into_iter().flatten() {
        out.extend(named(option, at));
    }
    for (name, sub) in condition["properties"].as_object().into_iter().flatten() {
        let path = format!("{at}/{name}");
        match sub.get("properties") {
            Some(_) => out.extend(named(sub, &path)),
            None => out.push((path, sub.clone())),
        }
    }
    out
}

/// A role that nobody writes can never be read, and one that no kind has is a slip of the pen.
#[test]
fn every_role_that_is_read_is_written_and_every_role_belongs_to_a_kind() {
    let mut read: BTreeMap<&str, &str> = BTreeMap::new();
    let mut written: BTreeSet<&str> = BTreeSet::new();
    let mut from_files: BTreeSet<&str> = BTreeSet::new();
    for kind in kinds() {
        let mut all: Vec<(String, Vec<Value>)> = vec![(String::new(), Vec::new())];
        properties(&kind.schema(), "", &mut |path, property, _| {
            if !property["properties"].is_object() {
                all.push((format!("/{}", path.replace('.', "/")), values(property)));
            }
        });
        let single = all
            .iter()
            .flat_map(|(path, values)| values.iter().map(|v| with(path, v.clone())));
        for params in single.chain([Map::new()]) {
            // Values that need another parameter with them are refused alone.
            let Ok(found) = kind.resolve(&params) else {
                continue;
            };
            read.extend(found.reads.iter().map(|r| (r.role, kind.name)));
            written.extend(found.outputs.iter().map(|o| o.role));
            from_files.extend(found.file_inputs.iter().map(|r| r.role));
        }
    }
    for (role, reader) in &read {
        assert!(
            written.contains(role),
            "`{reader}` reads `{role}`, which no kind writes"
        );
    }
    let known: BTreeSet<&str> = clcc_stages::roles::ALL.iter().map(|r| r.0).collect();
    let used: BTreeSet<&str> = written.union(&from_files).copied().collect();
    assert_eq!(
        known, used,
        "roles::ALL and the kinds' outputs and file inputs"
    );
}
