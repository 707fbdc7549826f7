//! Parameters that are read only under certain values of others, as `lambda` with `objective: clcc`.
//!
//! What a stage does not read under its other parameters is no part of its key, and it is an error to
//! write it. The same table makes the JSON Schema ([`super::schema`]), the refusals and the sentences of
//! the documentation.

use serde_json::Value;

use super::pointer;
use crate::stage::Stage;

/// Parameters that are read only where one of some conditions holds. A parameter that several entries
/// list is read where all of them allow it, one that none lists always.
#[derive(Debug)]
pub struct OnlyWith {
    /// Dotted paths; a mapping stands for everything beneath it.
    pub params: &'static [&'static str],
    /// One of these must hold, on a parameter that is itself read.
    pub any: &'static [When],
}

/// A condition on one parameter, given by its dotted path.
#[derive(Debug)]
pub enum When {
    /// It has one of these names.
    Is(&'static str, &'static [&'static str]),
    /// It is neither null nor empty.
    Given(&'static str),
    /// It is null.
    Null(&'static str),
    /// It is above this number.
    Above(&'static str, f64),
}

impl When {
    /// The path of the parameter that it looks at.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Is(tag, _) | Self::Given(tag) | Self::Null(tag) | Self::Above(tag, _) => tag,
        }
    }

    /// Whether it holds under parameters with their defaults filled in.
    pub fn holds(&self, params: &Value) -> bool {
        let value = params.pointer(&pointer(self.tag()));
        let value = value.unwrap_or(&Value::Null);
        match self {
            Self::Is(_, names) => value.as_str().is_some_and(|v| names.contains(&v)),
            Self::Given(_) => match value {
                Value::Null => false,
                Value::String(s) => !s.is_empty(),
                Value::Array(a) => !a.is_empty(),
                Value::Object(o) => !o.is_empty(),
                Value::Bool(_) | Value::Number(_) => true,
            },
            Self::Null(_) => value.is_null(),
            Self::Above(_, bound) => value.as_f64().is_some_and(|v| v > *bound),
        }
    }

    /// `with` or `where`, and the condition.
    fn words(&self) -> String {
        let tag = self.tag();
        match self {
            Self::Is(_, names) => {
                let each = names.iter().map(|name| format!("`{tag}: {name}`"));
                format!("with {}", each.collect::<Vec<_>>().join(" or "))
            }
            Self::Given(_) => format!("where `{tag}` is given"),
            Self::Null(_) => format!("where `{tag}` is null"),
            Self::Above(_, bound) => format!("where `{tag}` is above {bound}"),
        }
    }
}

impl OnlyWith {
    /// Where the parameters are read, in words: `` with `method: hmm` ``.
    pub(super) fn words(&self) -> String {
        let each: Vec<String> = self.any.iter().map(When::words).collect();
        each.join(" or ")
    }

    fn covers(&self, path: &str) -> bool {
        let below = |p: &str| path.strip_prefix(p).is_some_and(|r| r.starts_with('.'));
        self.params.iter().any(|p| path == *p || below(p))
    }
}

/// A parameter that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// JSON pointer inside the parameters.
    pub pointer: String,
    /// JSON pointers of the parameters whose values keep it from being read.
    pub tags: Vec<String>,
    /// `` not read with `method: hmm` ``.
    pub message: String,
    /// Where it is read.
    pub hint: String,
}

/// What the stage does not read under parameters as written, be they right or wrong; a mapping is named
/// and not what is beneath it.
pub fn unread<S: Stage>(written: &Value) -> Vec<Unread> {
    let defaults = serde_json::to_value(S::Params::default());
    let mut params = defaults.expect("parameters are plain values");
    fill(&mut params, written);
    by_rules(S::ONLY_WITH, &params, written)
}

/// Sets what is written in place of the defaults.
fn fill(params: &mut Value, written: &Value) {
    match (params, written) {
        (Value::Object(params), Value::Object(written)) => {
            for (key, value) in written {
                fill(params.entry(key).or_insert(Value::Null), value);
            }
        }
        (param, written) => *param = written.clone(),
    }
}

/// The same under all parameters and by given rules; `written` tells which values are no defaults.
fn by_rules(rules: &[OnlyWith], params: &Value, written: &Value) -> Vec<Unread> {
    let mut out: Vec<Unread> = Vec::new();
    for path in rules.iter().flat_map(|r| r.params) {
        let at = pointer(path);
        let known = |u: &Unread| at == u.pointer || at.starts_with(&format!("{}/", u.pointer));
        if out.iter().any(known) {
            continue;
        }
        if let Some(rule) = refusing(rules, params, path) {
            let deciding = deciding(rules, params, rule);
            let because: Vec<String> = deciding.iter().map(|t| said(t, params, written)).collect();
            out.push(Unread {
                pointer: at,
                tags: deciding.iter().map(|t| pointer(t)).collect(),
                message: format!("not read with {}", because.join(" and ")),
                hint: format!("it is read only {}", rule.words()),
            });
        }
    }
    out
}

/// The first entry that keeps `path` from being read.
fn refusing<'a>(rules: &'a [OnlyWith], params: &Value, path: &str) -> Option<&'a OnlyWith> {
    let of_path = rules.iter().filter(|rule| rule.covers(path));
    let allows = |rule: &OnlyWith| {
        let mut any = rule.any.iter();
        any.any(|when| when.holds(params) && refusing(rules, params, when.tag()).is_none())
    };
    of_path.into_iter().find(|rule| !allows(rule))
}

/// The parameters whose values make `rule` refuse: those that it looks at, or where such a one is itself
/// not read, those that keep it from being read.
fn deciding(rules: &[OnlyWith], params: &Value, rule: &OnlyWith) -> Vec<&'static str> {
    let of_each = rule.any.iter().flat_map(|when| {
        match refusing(rules, params, when.tag()).filter(|_| when.holds(params)) {
            Some(other) => deciding(rules, params, other),
            None => vec![when.tag()],
        }
    });
    of_each.collect()
}

/// `` `method: window` (the default) ``.
fn said(tag: &str, params: &Value, written: &Value) -> String {
    let at = pointer(tag);
    let value = match params.pointer(&at) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "null".to_string(),
    };
    let default = written.pointer(&at).is_none();
    format!(
        "`{tag}: {value}`{}",
        if default { " (the default)" } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RULES: &[OnlyWith] = &[
        OnlyWith {
            params: &["clip", "noise"],
            any: &[When::Is("method", &["window", "table"])],
        },
        OnlyWith {
            params: &["hmm"],
            any: &[When::Is("method", &["hmm"])],
        },
        OnlyWith {
            params: &["chunk"],
            any: &[When::Given("noise")],
        },
        OnlyWith {
            params: &["hmm.seed"],
            any: &[
                When::Is("hmm.states", &["i6"]),
                When::Above("hmm.clusters", 1.0),
            ],
        },
    ];

    fn params(changes: &[(&str, Value)]) -> Value {
        let mut all = json!({
            "method": "window", "clip": 3, "noise": 1.5, "chunk": 10,
            "hmm": {"states": "i6", "clusters": 1, "seed": 0},
        });
        for (path, value) in changes {
            *all.pointer_mut(&pointer(path)).unwrap() = value.clone();
        }
        all
    }

    fn said_of(changes: &[(&str, Value)]) -> Vec<String> {
        let written = json!({"method": "as given"});
        by_rules(RULES, &params(changes), &written)
            .into_iter()
            .map(|u| format!("{}: {}; {}", u.pointer, u.message, u.hint))
            .collect()
    }

    #[test]
    fn a_parameter_is_read_where_every_entry_allows_it() {
        assert_eq!(
            said_of(&[]),
            ["/hmm: not read with `method: window`; it is read only with `method: hmm`"]
        );
        assert_eq!(
            said_of(&[("noise", json!(null))])[1..],
            [
                "/chunk: not read with `noise: null` (the default); it is read only where `noise` is given"
            ]
        );
    }

    #[test]
    fn what_hangs_on_an_unread_parameter_is_unread_too() {
        let found = said_of(&[("method", json!("hmm"))]);
        assert_eq!(
            found[2],
            "/chunk: not read with `method: hmm`; it is read only where `noise` is given"
        );
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn one_of_several_conditions_is_enough() {
        let hmm = ("method", json!("hmm"));
        let i3 = ("hmm.states", json!("i3"));
        let many = ("hmm.clusters", json!(2));
        let seed = |changes: &[(&str, Value)]| {
            let found = by_rules(RULES, &params(changes), &json!({}));
            found.into_iter().find(|u| u.pointer == "/hmm/seed")
        };
        assert_eq!(seed(&[hmm.clone(), i3.clone(), many.clone()]), None);
        let unread = seed(&[hmm, i3]).unwrap();
        assert_eq!(unread.tags, ["/hmm/states", "/hmm/clusters"]);
        assert_eq!(
            unread.message,
            "not read with `hmm.states: i3` (the default) and `hmm.clusters: 1` (the default)"
        );
        assert_eq!(
            unread.hint,
            "it is read only with `hmm.states: i6` or where `hmm.clusters` is above 1"
        );
    }
}
