//! The one place that knows every stage kind.
//!
//! A [`Kind`] is a stage with its types erased: parameters are JSON values that the typed struct
//! has checked and completed with its defaults.

use std::fmt;

use clcc_stages::params::ParamProblem;
use clcc_stages::stage::{
    InputArtifact, Metrics, ObsColumn, ObsRead, OutputDecl, Read, Stage, StageContext, Survey,
};
use clcc_stages::{
    StageError, StageResult, baselines::Baselines, benchmark::Benchmark, cluster::Cluster,
    compare::Compare, concordance::Concordance, de::De, dosage::Dosage, eval::Eval, export::Export,
    infercnv::Infercnv, ingest::Ingest, mine::Mine, preprocess::Preprocess, report::Report,
    simulate::Simulate, train::Train,
};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::workflow::join;

/// Every kind, in the order of the pipeline.
pub fn kinds() -> &'static [Kind] {
    const KINDS: &[Kind] = &[
        Kind::of::<Simulate>(),
        Kind::of::<Ingest>(),
        Kind::of::<Preprocess>(),
        Kind::of::<Infercnv>(),
        Kind::of::<Cluster>(),
        Kind::of::<Mine>(),
        Kind::of::<Train>(),
        Kind::of::<Eval>(),
        Kind::of::<Concordance>(),
        Kind::of::<Dosage>(),
        Kind::of::<De>(),
        Kind::of::<Baselines>(),
        Kind::of::<Benchmark>(),
        Kind::of::<Compare>(),
        Kind::of::<Export>(),
        Kind::of::<Report>(),
    ];
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
    resolve: fn(&Map<String, Value>) -> Result<Resolved, Vec<ParamProblem>>,
    schema: fn() -> Value,
    run: fn(&StageContext<'_>, &Value) -> StageResult<Metrics>,
    survey: fn(&Value, &[InputArtifact], &[String]) -> StageResult<Option<Survey>>,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind")
            .field("name", &self.name)
            .field("code_version", &self.code_version)
            .finish()
    }
}

/// What a kind reads and writes under given parameters.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Every parameter with its value; keys sorted.
    pub params: Value,
    /// Roles read from needed stages.
    pub reads: Vec<Read>,
    /// Roles read from file inputs.
    pub file_inputs: Vec<Read>,
    /// Roles written.
    pub outputs: Vec<OutputDecl>,
    /// Columns of the cells' table that parameters name.
    pub obs_reads: Vec<ObsRead>,
    /// Columns that it adds to the cells' table.
    pub obs_writes: Vec<ObsColumn>,
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
            resolve: resolve::<S>,
            schema: schema::<S>,
            run: run::<S>,
            survey: survey::<S>,
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
            resolve: |_| Err(Vec::new()),
            schema: || Value::Null,
            run: |_, _| Err(StageError::data("a synthetic kind")),
            survey: |_, _, _| Ok(None),
        }
    }

    /// Checks parameters and fills in the defaults.
    ///
    /// # Errors
    /// Every unknown key, wrong type and value out of range, with its path inside `params` as a
    /// JSON pointer.
    pub fn resolve(&self, params: &Map<String, Value>) -> Result<Resolved, Vec<ParamProblem>> {
        (self.resolve)(params)
    }

    /// JSON Schema of the parameters.
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

fn schema<S: Stage>() -> Value {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<S::Params>()
        .to_value()
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

fn resolve<S: Stage>(params: &Map<String, Value>) -> Result<Resolved, Vec<ParamProblem>> {
    let schema = schema::<S>();
    let mut problems = Vec::new();
    unknown_keys(&schema, &schema, params, "", &mut problems);
    // One key at a time, so that every wrong type is reported and not just the first.
    for (key, value) in params {
        if problems.iter().any(|p| p.path == join("", key)) {
            continue;
        }
        let single = Value::Object([(key.clone(), value.clone())].into_iter().collect());
        if let Err(e) = serde_path_to_error::deserialize::<_, S::Params>(single) {
            // Unknown keys of nested mappings are reported above, with their own place.
            let message = e.inner().to_string();
            if !message.starts_with("unknown field") {
                problems.push(ParamProblem {
                    path: pointer(e.path(), key),
                    message,
                });
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let typed: S::Params = serde_json::from_value(Value::Object(params.clone())).map_err(|e| {
        vec![ParamProblem {
            path: String::new(),
            message: e.to_string(),
        }]
    })?;
    let problems: Vec<ParamProblem> = S::check(&typed)
        .into_iter()
        .map(|p| ParamProblem {
            path: format!("/{}", p.path.replace('.', "/")),
            message: p.message,
        })
        .collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let params = sorted(serde_json::to_value(&typed).expect("parameters are plain values"));
    Ok(Resolved {
        params,
        reads: S::reads(&typed),
        file_inputs: S::file_inputs(&typed),
        outputs: S::outputs(&typed),
        obs_reads: S::obs_reads(&typed),
        obs_writes: S::obs_writes(&typed),
    })
}

fn pointer(path: &serde_path_to_error::Path, key: &str) -> String {
    use serde_path_to_error::Segment;
    let mut out = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Map { key } => out = join(&out, key),
            Segment::Seq { index } => out = join(&out, &index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    if out.is_empty() { join("", key) } else { out }
}

/// Keys that no property of the schema names, through nested structs.
fn unknown_keys(
    root: &Value,
    schema: &Value,
    map: &Map<String, Value>,
    at: &str,
    out: &mut Vec<ParamProblem>,
) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    for (key, value) in map {
        let here = join(at, key);
        match properties.get(key) {
            None => {
                let known: Vec<&str> = properties.keys().map(String::as_str).collect();
                let problem = crate::workflow::unknown("parameter", key, &known);
                let hint = problem.hint.map(|h| format!("; {h}")).unwrap_or_default();
                out.push(ParamProblem {
                    path: here,
                    message: format!("{}{hint}", problem.message),
                });
            }
            Some(sub) => {
                if let (Some(inner), Some(nested)) = (value.as_object(), struct_schema(root, sub)) {
                    unknown_keys(root, nested, inner, &here, out);
                }
            }
        }
    }
}

/// The schema of a nested struct: itself, behind a `$ref`, or the struct of an `anyOf` with null.
fn struct_schema<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    if schema.get("properties").is_some()
        && schema.get("additionalProperties") == Some(&Value::Bool(false))
    {
        return Some(schema);
    }
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return struct_schema(root, root.pointer(name.strip_prefix('#')?)?);
    }
    schema
        .get("anyOf")
        .and_then(Value::as_array)?
        .iter()
        .find_map(|s| struct_schema(root, s))
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
