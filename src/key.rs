//! The key of an action: what is hashed, and what is not.
//!
//! | in the key | why |
//! |---|---|
//! | key format | a change of this encoding makes every key new |
//! | stage kind and its code version | what is computed |
//! | effective parameters | defaults filled in, what is not read left out, keys sorted |
//! | inputs: role, residual branch, content digest, stated format | what is read |
//! | axis values of keyed outputs | which slices are written |
//! | seed | for kinds that draw random numbers |
//! | numerics class | for kinds whose bytes depend on the device |
//!
//! Not in the key: node, workflow and file names, paths, times, host, user, run, threads (outputs
//! are the same bytes at any number), memory, retries, log level. So renaming, moving, touching and
//! reordering cost nothing, and two nodes with the same inputs and parameters share one result.

use clcc_cache::Digest;
use clcc_stages::stage::Branch;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Raised when the encoding or the set of fields changes.
pub const KEY_FORMAT: u32 = 1;

/// An input as the key sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyInput {
    /// The role.
    pub role: String,
    /// The axis values that the reading node does not share.
    #[serde(default)]
    pub branch: Branch,
    /// Digest of the content.
    pub digest: Digest,
    /// Format of a file input, as stated or guessed from its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// Every field that is hashed; stored in the action record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preimage {
    /// [`KEY_FORMAT`].
    pub key_format: u32,
    /// Stage kind.
    pub kind: String,
    /// The kind's code version.
    pub code_version: u32,
    /// Effective parameters.
    pub params: Value,
    /// Inputs in the order the stage sees them.
    pub inputs: Vec<KeyInput>,
    /// Axis values of keyed outputs.
    pub keys: Vec<String>,
    /// Seed of the stage, where it draws random numbers.
    pub seed: Option<u64>,
    /// Device class, where the bytes depend on it.
    pub numerics: Option<String>,
}

impl Preimage {
    /// The key.
    pub fn key(&self) -> Digest {
        let mut h = Encoder(blake3::Hasher::new_derive_key("clcc-flow action v1"));
        h.number(u64::from(self.key_format));
        h.text(&self.kind);
        h.number(u64::from(self.code_version));
        h.value(&self.params);
        h.number(self.inputs.len() as u64);
        for input in &self.inputs {
            h.text(&input.role);
            h.number(input.branch.len() as u64);
            for (axis, value) in &input.branch {
                h.text(axis);
                h.text(value);
            }
            h.0.update(input.digest.as_bytes());
            h.option(input.format.as_deref(), Encoder::text);
        }
        h.number(self.keys.len() as u64);
        for key in &self.keys {
            h.text(key);
        }
        h.option(self.seed, Encoder::number);
        h.option(self.numerics.as_deref(), Encoder::text);
        Digest::from_bytes(*h.0.finalize().as_bytes())
    }
}

/// The seed of a stage kind under a workflow seed: kinds draw unrelated numbers, and branches of
/// one kind share a seed, so that ablations are paired and equal inputs give equal keys.
pub fn stage_seed(workflow_seed: u64, kind: &str) -> u64 {
    let mut h = Encoder(blake3::Hasher::new_derive_key("clcc-flow stage seed v1"));
    h.number(workflow_seed);
    h.text(kind);
    u64::from_le_bytes(
        h.0.finalize().as_bytes()[..8]
            .try_into()
            .expect("eight bytes"),
    )
}

/// Typed, length-prefixed fields: no two different values give the same bytes.
struct Encoder(blake3::Hasher);

impl Encoder {
    fn number(&mut self, n: u64) {
        self.0.update(b"u");
        self.0.update(&n.to_le_bytes());
    }

    fn text(&mut self, s: &str) {
        self.0.update(b"s");
        self.0.update(&(s.len() as u64).to_le_bytes());
        self.0.update(s.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Self, T)) {
        match value {
            None => {
                self.0.update(b"0");
            }
            Some(v) => {
                self.0.update(b"1");
                some(self, v);
            }
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => {
                self.0.update(b"n");
            }
            Value::Bool(b) => {
                self.0.update(if *b { b"t" } else { b"f" });
            }
            // Whole numbers by value, others by bits; -0 is 0. JSON has no NaN.
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(u), ..) => self.number(u),
                (_, Some(i), _) => {
                    self.0.update(b"i");
                    self.0.update(&i.to_le_bytes());
                }
                (.., Some(x)) => {
                    self.0.update(b"d");
                    self.0
                        .update(&(if x == 0.0 { 0.0f64 } else { x }).to_bits().to_le_bytes());
                }
                _ => unreachable!("a JSON number is one of u64, i64 and f64"),
            },
            Value::String(s) => self.text(s),
            Value::Array(items) => {
                self.0.update(b"a");
                self.number(items.len() as u64);
                items.iter().for_each(|v| self.value(v));
            }
            Value::Object(map) => {
                self.0.update(b"o");
                self.number(map.len() as u64);
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                for k in keys {
                    self.text(k);
                    self.value(&map[k]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clcc_cache::digest_bytes;
    use serde_json::json;

    fn preimage() -> Preimage {
        Preimage {
            key_format: KEY_FORMAT,
            kind: "cluster".into(),
            code_version: 1,
            params: json!({"resolution": 0.5, "n_comps": 50}),
            inputs: vec![KeyInput {
                role: "cnv".into(),
                branch: Branch::new(),
                digest: digest_bytes(b"x"),
                format: None,
            }],
            keys: vec![],
            seed: Some(1),
            numerics: None,
        }
    }

    #[test]
    fn key_order_and_minus_zero_do_not_matter() {
        let a = preimage();
        let mut b = preimage();
        b.params = json!({"n_comps": 50, "resolution": 0.5});
        assert_eq!(a.key(), b.key());
        let with = |x: f64| {
            Preimage {
                params: json!({ "x": x }),
                ..preimage()
            }
            .key()
        };
        assert_eq!(with(0.0), with(-0.0));
    }

    #[test]
    fn every_field_matters() {
        let base = preimage();
        let edits: Vec<Box<dyn Fn(&mut Preimage)>> = vec![
            Box::new(|p| p.key_format += 1),
            Box::new(|p| p.kind = "mine".into()),
            Box::new(|p| p.code_version += 1),
            Box::new(|p| p.params["resolution"] = json!(0.8)),
            Box::new(|p| p.params["resolution"] = json!("0.5")),
            Box::new(|p| p.inputs[0].digest = digest_bytes(b"y")),
            Box::new(|p| p.inputs[0].role = "expr".into()),
            Box::new(|p| {
                p.inputs[0].branch.insert("patient".into(), "P1".into());
            }),
            Box::new(|p| p.inputs[0].format = Some("h5ad".into())),
            Box::new(|p| p.keys.push("P1".into())),
            Box::new(|p| p.seed = None),
            Box::new(|p| p.seed = Some(2)),
            Box::new(|p| p.numerics = Some("cuda sm_90".into())),
        ];
        let mut seen = vec![base.key()];
        for edit in edits {
            let mut p = base.clone();
            edit(&mut p);
            assert!(!seen.contains(&p.key()), "{p:?}");
            seen.push(p.key());
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let with = |a: &str, b: &str| {
            Preimage {
                keys: vec![a.into(), b.into()],
                ..preimage()
            }
            .key()
        };
        assert_ne!(with("ab", "c"), with("a", "bc"));
    }
}
