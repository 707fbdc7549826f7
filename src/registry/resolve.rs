//! From parameters as written to those that a stage reads.

use clcc_stages::params::{self, Fault};
use clcc_stages::stage::{ObsColumn, ObsRead, OutputDecl, Read, Stage};
use serde_json::{Map, Value};

use super::refused::{Refusal, Refused};
use super::sorted;
use super::typed::Parameters;

/// What a kind reads and writes under given parameters.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Every parameter that is read, with its value; keys sorted.
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

pub(super) fn resolve<S: Stage>(written: &Map<String, Value>) -> Result<Resolved, Vec<Refused>> {
    let written = Value::Object(written.clone());
    let mut refused: Vec<Refused> = params::faults(&params::schema::<S>(), &written)
        .into_iter()
        .filter(|fault| !is_a_spelling::<S>(fault, &written))
        .map(Refused::from)
        .collect();
    let typed = match read::<S>(&written) {
        Ok(typed) => typed,
        // What the schema cannot say, a number too large for its field.
        Err(other) if refused.is_empty() => return Err(vec![other]),
        Err(_) => return Err(refused),
    };
    let mut effective = serde_json::to_value(&typed).expect("parameters are plain values");
    for parameter in params::unread::<S>(&written) {
        remove(&mut effective, &parameter.pointer);
    }
    // What is not read has its default from here on, so that no check and no role hangs on it.
    let typed = read::<S>(&effective).map_err(|e| vec![e])?;
    for problem in S::check(&typed) {
        let pointer = format!("/{}", problem.path.replace('.', "/"));
        if !refused.iter().any(|r| r.pointer == pointer) {
            refused.push(Refused {
                pointer,
                why: Refusal::NotTogether {
                    message: problem.message,
                },
            });
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    Ok(Resolved {
        params: sorted(effective),
        reads: S::reads(&typed),
        file_inputs: S::file_inputs(&typed),
        outputs: S::outputs(&typed),
        obs_reads: S::obs_reads(&typed),
        obs_writes: S::obs_writes(&typed),
    })
}

/// Whether a name that the schema does not list is one that the type knows: another case, an alias.
fn is_a_spelling<S: Stage>(fault: &Fault, written: &Value) -> bool {
    let Some(value) = written
        .pointer(&fault.pointer)
        .filter(|_| fault.name.is_some())
    else {
        return false;
    };
    let keys = fault.pointer[1..].rsplit('/');
    let alone = keys.fold(
        value.clone(),
        |inner, key| serde_json::json!({ key: inner }),
    );
    serde_json::from_value::<S::Params>(alone).is_ok()
}

fn read<S: Stage>(params: &Value) -> Result<S::Params, Refused> {
    serde_path_to_error::deserialize(Parameters(params)).map_err(|e| {
        let pointer: String = e.path().iter().map(segment).collect();
        let value = params.pointer(&pointer).unwrap_or(params);
        Refused {
            why: Refusal::by_type(e.into_inner(), value),
            pointer,
        }
    })
}

fn segment(segment: &serde_path_to_error::Segment) -> String {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Map { key } => crate::workflow::join("", key),
        Segment::Seq { index } => format!("/{index}"),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    }
}

/// Removes what stands at a JSON pointer.
fn remove(value: &mut Value, pointer: &str) {
    if let Some((parent, key)) = pointer.rsplit_once('/')
        && let Some(Value::Object(map)) = value.pointer_mut(parent)
    {
        map.shift_remove(key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spelling_that_the_type_knows_is_none_that_the_schema_must_list() {
        use clcc_stages::infercnv::Infercnv;
        let fault = |pointer: &str| Fault {
            pointer: pointer.into(),
            message: String::new(),
            key: None,
            name: Some("as written".into()),
            known: Vec::new(),
        };
        let written = json!({"method": "hmm", "hmm": {"hmm_type": "i9"}});
        assert!(is_a_spelling::<Infercnv>(&fault("/method"), &written));
        assert!(!is_a_spelling::<Infercnv>(
            &fault("/hmm/hmm_type"),
            &written
        ));
    }
}
