//! What is wrong with a parameter, and the one place that says so.

use clcc_stages::params::Fault;
use serde_json::Value;

use super::typed::TypeFault;
use crate::workflow::{did_you_mean, unknown};

/// A parameter that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// JSON pointer inside `params`.
    pub pointer: String,
    /// What is wrong with it.
    pub why: Refusal,
}

/// Why a parameter is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The kind has no parameter of that name.
    UnknownKey {
        /// The name.
        key: String,
        /// Those that it has there.
        known: Vec<String>,
    },
    /// A value that is one of several names, and none of these.
    UnknownName {
        /// The value.
        name: String,
        /// The names.
        known: Vec<String>,
    },
    /// The schema does not allow it: type or range.
    NotAllowed {
        /// What was expected and what was found.
        message: String,
    },
    /// The type does not take it, though the schema does.
    NotTaken {
        /// What is expected, in the type's own words.
        expected: Option<String>,
        /// The value, in words.
        found: String,
    },
    /// It does not go with another parameter.
    NotTogether {
        /// What was expected and what was found.
        message: String,
    },
}

impl Refusal {
    /// In words, without the parameter's name; of an unknown key with it.
    pub fn text(&self) -> String {
        match self {
            Self::UnknownKey { key, .. } => format!("unknown parameter `{key}`"),
            Self::UnknownName { name, known } => {
                format!("expected {}, found `{name}`", one_of(known))
            }
            Self::NotAllowed { message } | Self::NotTogether { message } => message.clone(),
            Self::NotTaken {
                expected: Some(expected),
                ..
            } => expected.clone(),
            Self::NotTaken { found, .. } => format!("expected another value, found {found}"),
        }
    }

    /// What may have been meant.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key, known } => {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                unknown("parameter", key, &known).hint
            }
            Self::UnknownName { name, known } => {
                let near = did_you_mean(name, known.iter().map(String::as_str))?;
                Some(format!("did you mean `{near}`?"))
            }
            Self::NotAllowed { .. } | Self::NotTaken { .. } | Self::NotTogether { .. } => None,
        }
    }

    /// Whether it is the key that is wrong and not its value.
    pub fn is_of_key(&self) -> bool {
        matches!(self, Self::UnknownKey { .. })
    }

    /// What a type has against `value`.
    pub(super) fn by_type(fault: TypeFault, value: &Value) -> Self {
        let found = clcc_stages::params::found(value);
        match fault {
            TypeFault::Name { name, known } => Self::UnknownName {
                name,
                known: known.iter().map(ToString::to_string).collect(),
            },
            TypeFault::Own(words) => Self::NotTaken {
                expected: Some(words),
                found,
            },
            TypeFault::Other => Self::NotTaken {
                expected: None,
                found,
            },
        }
    }
}

fn one_of(known: &[String]) -> String {
    match known {
        [one] => format!("`{one}`"),
        _ => format!("one of `{}`", known.join("`, `")),
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        let why = match (fault.key, fault.name) {
            (Some(key), _) => Refusal::UnknownKey {
                key,
                known: fault.known,
            },
            (None, Some(name)) => Refusal::UnknownName {
                name,
                known: fault.known,
            },
            (None, None) => Refusal::NotAllowed {
                message: fault.message,
            },
        };
        Self {
            pointer: fault.pointer,
            why,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(key: Option<&str>, name: Option<&str>) -> Fault {
        Fault {
            pointer: "/x".into(),
            message: "expected a number, found the text `a`".into(),
            key: key.map(str::to_string),
            name: name.map(str::to_string),
            known: vec!["window".into(), "hmm".into()],
        }
    }

    fn said(why: &Refusal) -> (String, Option<String>, bool) {
        (why.text(), why.hint(), why.is_of_key())
    }

    #[test]
    fn every_refusal_has_its_words() {
        let expected =
            |text: &str, hint: Option<&str>, key| (text.to_string(), hint.map(str::to_string), key);
        let meant = Some("did you mean `window`?");
        assert_eq!(
            said(&Refused::from(fault(Some("windw"), None)).why),
            expected("unknown parameter `windw`", meant, true)
        );
        assert_eq!(
            said(&Refused::from(fault(None, Some("windw"))).why),
            expected(
                "expected one of `window`, `hmm`, found `windw`",
                meant,
                false
            )
        );
        assert_eq!(
            said(&Refused::from(fault(None, None)).why),
            expected("expected a number, found the text `a`", None, false)
        );
        let name = TypeFault::Name {
            name: "windw".into(),
            known: &["window"],
        };
        assert_eq!(
            said(&Refusal::by_type(name, &json!("windw"))),
            expected("expected `window`, found `windw`", meant, false)
        );
        let own = TypeFault::Own("expected a date".into());
        assert_eq!(
            said(&Refusal::by_type(own, &json!("x"))),
            expected("expected a date", None, false)
        );
        assert_eq!(
            said(&Refusal::by_type(TypeFault::Other, &json!("x"))),
            expected("expected another value, found the text `x`", None, false)
        );
        let together = Refusal::NotTogether {
            message: "expected fewer than `epochs`".into(),
        };
        assert_eq!(
            said(&together),
            expected("expected fewer than `epochs`", None, false)
        );
    }
}
