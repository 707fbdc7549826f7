//! Parameters from JSON into a stage's type, with what the type refuses kept as it is: no message is taken apart.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// What a type has against a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TypeFault {
    /// A name that it does not have.
    #[error("unknown name `{name}`")]
    Name {
        name: String,
        known: &'static [&'static str],
    },
    /// In its own words: what was expected.
    #[error("{0}")]
    Own(String),
    /// Another type, a number that does not fit, a field that is missing or twice there.
    #[error("another value is expected")]
    Other,
}

impl de::Error for TypeFault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Own(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::Other
    }

    fn invalid_value(_: Unexpected<'_>, _: &dyn Expected) -> Self {
        Self::Other
    }

    fn invalid_length(_: usize, _: &dyn Expected) -> Self {
        Self::Other
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        let name = name.to_string();
        Self::Name { name, known }
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::unknown_variant(name, known)
    }

    fn missing_field(_: &'static str) -> Self {
        Self::Other
    }

    fn duplicate_field(_: &'static str) -> Self {
        Self::Other
    }
}

/// A JSON value to be read into a type.
#[derive(Clone, Copy)]
pub(super) struct Parameters<'de>(pub(super) &'de Value);

impl<'de> IntoDeserializer<'de, TypeFault> for Parameters<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Parameters<'de> {
    fn map(
        map: &'de serde_json::Map<String, Value>,
    ) -> MapDeserializer<'de, impl Iterator<Item = (&'de str, Parameters<'de>)>, TypeFault> {
        MapDeserializer::new(map.iter().map(|(k, v)| (k.as_str(), Parameters(v))))
    }
}

impl<'de> Deserializer<'de> for Parameters<'de> {
    type Error = TypeFault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeFault> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(u), ..) => visitor.visit_u64(u),
                (_, Some(i), _) => visitor.visit_i64(i),
                (.., Some(x)) => visitor.visit_f64(x),
                _ => Err(TypeFault::Other),
            },
            Value::String(s) => visitor.visit_borrowed_str(s),
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.iter().map(Parameters));
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Object(map) => {
                let mut fields = Self::map(map);
                let read = visitor.visit_map(&mut fields)?;
                fields.end().map(|()| read)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeFault> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeFault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeFault> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(StrDeserializer::new(name)),
            Value::Object(map) if map.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Self::map(map)))
            }
            _ => Err(TypeFault::Other),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Method {
        Window,
        Hmm { states: u8 },
        Named(String),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged, expecting = "expected `half` or a number")]
    enum Share {
        Number(f64),
        Named(Half),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Half {
        Half,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(default)]
    struct Params {
        method: Method,
        share: Share,
        n: u32,
        steps: Vec<i64>,
        pair: (f64, bool),
        maybe: Option<Box<Method>>,
    }

    impl Default for Params {
        fn default() -> Self {
            Self {
                method: Method::Window,
                share: Share::Number(1.0),
                n: 1,
                steps: vec![],
                pair: (0.0, false),
                maybe: None,
            }
        }
    }

    fn read(value: &Value) -> Result<Params, TypeFault> {
        Params::deserialize(Parameters(value))
    }

    #[test]
    fn what_serde_json_reads_is_read_the_same() {
        for value in [
            json!({}),
            json!({"method": "window", "share": "half", "n": 7, "steps": [-1, 2], "pair": [1, true]}),
            json!({"method": {"hmm": {"states": 6}}, "maybe": {"named": "x"}, "share": 0.5}),
            json!({"maybe": null, "unknown": {"a": [1, null]}}),
        ] {
            assert_eq!(
                read(&value),
                Ok(serde_json::from_value(value.clone()).unwrap())
            );
        }
    }

    #[test]
    fn every_fault_keeps_what_it_is() {
        let name = TypeFault::Name {
            name: "windw".into(),
            known: &["window", "hmm", "named"],
        };
        assert_eq!(read(&json!({"method": "windw"})), Err(name));
        let own = TypeFault::Own("expected `half` or a number".into());
        assert_eq!(read(&json!({"share": "third"})), Err(own));
        for other in [
            json!({"n": u64::MAX}),
            json!({"n": "1"}),
            json!({"pair": [1]}),
            json!({"pair": [1, true, 2]}),
            json!({"method": {"hmm": {}}}),
            json!({"method": 3}),
        ] {
            assert_eq!(read(&other), Err(TypeFault::Other), "{other}");
            assert!(serde_json::from_value::<Params>(other).is_err());
        }
    }
}
