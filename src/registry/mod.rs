//! The one place that knows every stage kind.
//!
//! A [`Kind`] is a stage with its types erased: parameters are JSON values that the typed struct
//! has checked and completed with its defaults.

mod refused;
mod resolve;
mod tables;
#[cfg(test)]
mod tests;
mod typed;
mod workflow_schema;

pub use refused::{Refusal, Refused};
pub use resolve::Resolved;
pub use tables::{tables_as_json, tables_as_text};
pub use workflow_schema::workflow_schema;

use std::fmt;

use clcc_stages::params::{self, Unread};
use clcc_stages::stage::{InputArtifact, Metrics, Stage, StageContext, Survey};
use clcc_stages::tables::TableSpec;
use clcc_stages::{StageError, StageResult};
use serde_json::{Map, Value};

/// Every kind, in the order of the pipeline.
pub fn kinds() -> &'static [Kind] {
    const fn of<S: Stage>() -> Kind {
        Kind::of::<S>()
    }
    const KINDS: &[Kind] = &clcc_stages::kinds!(of);
    KINDS
}

/// The kind of that name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    kinds().iter().find(|k| k.name == name)
}

/// A stage kind with its types erased.
pub struct Kind {
    /// Name in the workflow file.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// Raised whenever outputs change for the same inputs.
    pub code_version: u32,
    /// Whether the seed is part of the key.
    pub uses_seed: bool,
    /// Whether the device is part of the key.
    pub device_sensitive: bool,
    /// Whether one node profits from several cores.
    pub multi_threaded: bool,
    /// The tables that it publishes.
    pub tables: &'static [TableSpec],
    resolve: fn(&Map<String, Value>) -> Result<Resolved, Vec<Refused>>,
    unread: fn(&Value) -> Vec<Unread>,
    schema: fn() -> Value,
    run: fn(&StageContext<'_>, &Value) -> StageResult<Metrics>,
    survey: fn(&Value, &[InputArtifact], &[String]) -> StageResult<Option<Survey>>,
    of_key: fn(&Value, &str) -> Option<Value>,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind")
            .field("name", &self.name)
            .field("code_version", &self.code_version)
            .finish()
    }
}

impl Kind {
    const fn of<S: Stage>() -> Self {
        Self {
            name: S::KIND,
            about: S::ABOUT,
            code_version: S::CODE_VERSION,
            uses_seed: S::USES_SEED,
            device_sensitive: S::DEVICE_SENSITIVE,
            multi_threaded: S::MULTI_THREADED,
            tables: S::TABLES,
            resolve: resolve::resolve::<S>,
            unread: params::unread::<S>,
            schema: params::schema::<S>,
            run: run::<S>,
            survey: survey::<S>,
            of_key: of_key::<S>,
        }
    }

    /// A kind that is never resolved or run here: for tests of the run loop.
    #[cfg(test)]
    pub(crate) const fn synthetic(name: &'static str, device_sensitive: bool) -> Self {
        Self {
            name,
            about: "",
            code_version: 1,
            uses_seed: false,
            device_sensitive,
            multi_threaded: false,
            tables: &[],
            resolve: |_| Err(Vec::new()),
            unread: |_| Vec::new(),
            schema: || Value::Null,
            run: |_, _| Err(StageError::data("a synthetic kind")),
            survey: |_, _, _| Ok(None),
            of_key: |_, _| None,
        }
    }

    /// Checks parameters, fills in the defaults, and leaves out what is not read under them.
    ///
    /// # Errors
    /// Every unknown key, wrong type and value out of range.
    pub fn resolve(&self, params: &Map<String, Value>) -> Result<Resolved, Vec<Refused>> {
        (self.resolve)(params)
    }

    /// What the stage does not read under parameters as written.
    pub fn unread(&self, params: &Map<String, Value>) -> Vec<Unread> {
        (self.unread)(&Value::Object(params.clone()))
    }

    /// JSON Schema of the parameters, without references.
    pub fn schema(&self) -> Value {
        (self.schema)()
    }

    /// Runs the stage with parameters from [`Kind::resolve`].
    ///
    /// # Errors
    /// The stage's error.
    pub fn run(&self, ctx: &StageContext<'_>, params: &Value) -> StageResult<Metrics> {
        (self.run)(ctx, params)
    }

    /// The parameters that alone, with the file inputs, decide the keyed output of `key`; see [`Stage::of_key`].
    pub fn of_key(&self, params: &Value, key: &str) -> Option<Value> {
        (self.of_key)(params, key)
    }

    /// What the stage will find in its file inputs; see [`Stage::survey`].
    ///
    /// # Errors
    /// Where a file cannot be read as what it is said to be.
    pub fn survey(
        &self,
        params: &Value,
        inputs: &[InputArtifact],
        keys: &[String],
    ) -> StageResult<Option<Survey>> {
        (self.survey)(params, inputs, keys)
    }
}

fn typed<S: Stage>(params: &Value) -> StageResult<S::Params> {
    serde_json::from_value(params.clone())
        .map_err(|e| StageError::data(format!("action file: parameters of `{}`: {e}", S::KIND)))
}

fn run<S: Stage>(ctx: &StageContext<'_>, params: &Value) -> StageResult<Metrics> {
    S::run(ctx, &typed::<S>(params)?)
}

fn survey<S: Stage>(
    params: &Value,
    inputs: &[InputArtifact],
    keys: &[String],
) -> StageResult<Option<Survey>> {
    S::survey(&typed::<S>(params)?, inputs, keys)
}

fn of_key<S: Stage>(params: &Value, key: &str) -> Option<Value> {
    let own = S::of_key(&typed::<S>(params).ok()?, key)?;
    let own = serde_json::to_value(&own).expect("parameters are plain values");
    // Parameters that are not read were taken out of `params`, and do not come back.
    Some(sorted(same_fields(own, params)))
}

/// `value` without the fields of its mappings that `like` does not have.
fn same_fields(value: Value, like: &Value) -> Value {
    match (value, like) {
        (Value::Object(map), Value::Object(like)) => {
            let kept = map.into_iter().filter_map(|(name, value)| {
                let like = like.get(&name)?;
                Some((name, same_fields(value, like)))
            });
            Value::Object(kept.collect())
        }
        (value, _) => value,
    }
}

/// The same value with the keys of every mapping sorted.
pub fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut items: Vec<(String, Value)> =
                map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            items.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(items.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
