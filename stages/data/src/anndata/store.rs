//! What the decoder needs from a container of groups and arrays, whether zarr or HDF5.

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::error::{StageError, StageResult};

/// Attributes of a group or an array.
pub(super) type Attributes = Map<String, Value>;

/// A group or an array.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Its attributes.
    pub(super) attributes: Attributes,
    /// Shape and type, where it is an array.
    pub(super) array: Option<ArrayInfo>,
}

/// Shape and type of an array.
#[derive(Debug, Clone)]
pub(super) struct ArrayInfo {
    /// Extent of each dimension; empty for a scalar.
    pub(super) shape: Vec<u64>,
    /// `int32`, `float64`, `string`, ...
    pub(super) dtype: String,
}

impl Node {
    /// A text attribute, empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.attributes
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("")
    }

    /// anndata's `encoding-type`, empty in old files.
    pub(super) fn encoding(&self) -> &str {
        self.text("encoding-type")
    }

    /// Whether it stands for Python's `None`.
    pub(super) fn is_null(&self) -> bool {
        self.encoding() == "null"
    }
}

/// A container of groups and arrays. Paths are relative to the root, without a leading slash.
pub(super) trait Store: Send + Sync + Debug {
    /// The file or directory, for messages.
    fn path(&self) -> &Path;

    /// The group or array at `at`; `None` where there is none. The root is `""`.
    fn node(&self, at: &str) -> StageResult<Option<Node>>;

    /// Names below the group at `at`, sorted.
    fn children(&self, at: &str) -> StageResult<Vec<String>>;

    /// All values of the array at `at`, row-major.
    fn read(&self, at: &str) -> StageResult<Values>;

    /// The values at `rows` of the first dimension, row-major.
    fn read_rows(&self, at: &str, rows: Range<u64>) -> StageResult<Values>;

    /// A format error at an element.
    fn bad(&self, at: &str, message: String) -> StageError {
        StageError::format(self.path(), at, message)
    }

    /// Refuses an array of more values than the file can hold, before anything is reserved for them.
    /// `value_bytes` is the least that a value takes in memory, `held_bytes` what is stored, and
    /// `most_packed` the most that its codecs can have packed into a byte. Arrays up to 64 MiB pass: what
    /// is not stored is the fill value.
    ///
    /// # Errors
    /// [`StageError::Format`] with both sizes.
    fn can_hold(
        &self,
        at: &str,
        shape: &[u64],
        value_bytes: u64,
        held_bytes: &dyn Fn() -> u64,
        most_packed: u64,
    ) -> StageResult<()> {
        const ALWAYS: u64 = 64 << 20;
        let count = shape.iter().try_fold(1u64, |n, side| n.checked_mul(*side));
        let bytes = count.and_then(|n| n.checked_mul(value_bytes));
        if bytes.is_some_and(|b| b <= ALWAYS) {
            return Ok(());
        }
        let held = held_bytes();
        if bytes.is_some_and(|b| b <= held.saturating_mul(most_packed)) {
            return Ok(());
        }
        Err(self.bad(
            at,
            format!("it says that it has the shape {shape:?}, more than the {held} bytes that are stored can hold"),
        ))
    }

    /// The group or array at `at`.
    fn require(&self, at: &str) -> StageResult<Node> {
        if let Some(node) = self.node(at)? {
            return Ok(node);
        }
        let (parent, _) = at.rsplit_once('/').unwrap_or(("", at));
        let there = if self.node(parent)?.is_some_and(|n| n.array.is_none()) {
            format!("its group has {}", list(&self.children(parent)?))
        } else {
            format!("there is no `{parent}` either")
        };
        Err(self.bad(at, format!("no such element; {there}")))
    }
}

/// What a decoder gives, where it panics an error: damaged files must not end the program.
pub(super) fn decoded<T, E: std::fmt::Display>(
    decode: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    let caught = crate::error::catching(decode);
    match caught {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(panic) => Err(format!("it is damaged: its decoder failed with `{panic}`")),
    }
}

/// Names in backticks, the first twelve of them.
pub fn list<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 12;
    if names.is_empty() {
        return "nothing".to_string();
    }
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|n| format!("`{}`", n.as_ref()))
        .collect();
    let rest = names.len().saturating_sub(SHOWN);
    if rest > 0 {
        format!("{} and {rest} more", shown.join(", "))
    } else {
        shown.join(", ")
    }
}

/// Values of an array, in the narrowest of these types that holds the stored one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// Flags.
    Bool(Vec<bool>),
    /// Integers of up to 32 bits with sign, 16 without.
    I32(Vec<i32>),
    /// Unsigned integers of 32 bits; column indices.
    U32(Vec<u32>),
    /// Integers of 64 bits.
    I64(Vec<i64>),
    /// Unsigned integers of 64 bits.
    U64(Vec<u64>),
    /// Numbers of 32 bits.
    F32(Vec<f32>),
    /// Numbers of 64 bits.
    F64(Vec<f64>),
    /// Texts.
    Text(Vec<String>),
}

/// The number of 64 bits that prints as `x` does: 1.1, where the nearest one is 1.100000023841858.
pub(super) fn as_printed(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// Whole numbers above this are not exact as f32.
const EXACT_IN_F32: f64 = 16_777_216.0;

/// Values that one thread looks at or turns at once.
const PART: usize = 1 << 16;

/// Turns values on all threads; the first that may not be turned is the error.
fn convert<T: Copy + Send + Sync, U: Send>(
    values: &[T],
    may: impl Fn(&T) -> bool + Send + Sync,
    to: impl Fn(T) -> U + Send + Sync,
) -> Result<Vec<U>, T> {
    let values = values.par_iter().with_min_len(PART);
    match values.clone().find_first(|x| !may(x)) {
        Some(&x) => Err(x),
        None => Ok(values.map(|&x| to(x)).collect()),
    }
}

impl Values {
    fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "flags",
            Self::I32(_) | Self::U32(_) | Self::I64(_) | Self::U64(_) => "whole numbers",
            Self::F32(_) | Self::F64(_) => "numbers",
            Self::Text(_) => "texts",
        }
    }

    /// As f64; `None` for text. Integers above 2^53 are rounded.
    pub(super) fn to_f64(&self) -> Option<Vec<f64>> {
        Some(match self {
            Self::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
            Self::I32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::U32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::I64(v) => v.iter().map(|&x| x as f64).collect(),
            Self::U64(v) => v.iter().map(|&x| x as f64).collect(),
            Self::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Self::F64(v) => v.clone(),
            Self::Text(_) => return None,
        })
    }

    /// As f32. Numbers of 64 bits are rounded; a whole number that f32 cannot hold is an error.
    pub(super) fn into_f32(self) -> Result<Vec<f32>, String> {
        fn whole<T: Copy + Send + Sync>(
            v: &[T],
            to: impl Fn(T) -> f64 + Send + Sync,
        ) -> Result<Vec<f32>, String> {
            let is_exact = |&x: &T| to(x).abs() <= EXACT_IN_F32;
            convert(v, is_exact, |x| to(x) as f32).map_err(|x| {
                let x = to(x);
                format!("whole number {x} is above 16777216, the largest that is exact here")
            })
        }
        match self {
            Self::F32(v) => Ok(v),
            Self::F64(v) => Ok(v.into_par_iter().map(|x| x as f32).collect()),
            Self::Bool(v) => Ok(v.into_iter().map(|x| f32::from(u8::from(x))).collect()),
            Self::I32(v) => whole(&v, f64::from),
            Self::U32(v) => whole(&v, f64::from),
            Self::I64(v) => whole(&v, |x| x as f64),
            Self::U64(v) => whole(&v, |x| x as f64),
            Self::Text(_) => Err("expected numbers, found texts".to_string()),
        }
    }

    /// As u32, for column indices.
    pub(super) fn into_u32(self) -> Result<Vec<u32>, String> {
        fn cast<T>(v: &[T]) -> Result<Vec<u32>, String>
        where
            T: Copy + Send + Sync + TryInto<u32> + std::fmt::Display,
        {
            let to = |x: T| x.try_into().unwrap_or(u32::MAX);
            let is_index = |&x: &T| TryInto::<u32>::try_into(x).is_ok();
            convert(v, is_index, to).map_err(|x| format!("`{x}` is no column index"))
        }
        match self {
            Self::U32(v) => Ok(v),
            // The usual case: one look at all, then the same memory under another name.
            Self::I32(v)
                if v.par_chunks(PART)
                    .all(|part| part.iter().fold(0, |any, &x| any | x) >= 0) =>
            {
                Ok(bytemuck::allocation::cast_vec(v))
            }
            Self::I32(v) => cast(&v),
            Self::I64(v) => cast(&v),
            Self::U64(v) => cast(&v),
            other => Err(format!("expected whole numbers, found {}", other.kind())),
        }
    }

    /// As u64, for row pointers.
    pub(super) fn into_u64(self) -> Result<Vec<u64>, String> {
        match self {
            Self::U64(v) => Ok(v),
            other => other
                .into_i64()?
                .into_iter()
                .map(|x| u64::try_from(x).map_err(|_| format!("`{x}` is no row pointer")))
                .collect(),
        }
    }

    /// As i64.
    pub(super) fn into_i64(self) -> Result<Vec<i64>, String> {
        match self {
            Self::I32(v) => Ok(v.into_iter().map(i64::from).collect()),
            Self::U32(v) => Ok(v.into_iter().map(i64::from).collect()),
            Self::I64(v) => Ok(v),
            Self::U64(v) => v
                .into_iter()
                .map(|x| i64::try_from(x).map_err(|_| format!("`{x}` is above 2^63")))
                .collect(),
            other => Err(format!("expected whole numbers, found {}", other.kind())),
        }
    }

    /// As flags.
    pub(super) fn into_bool(self) -> Result<Vec<bool>, String> {
        match self {
            Self::Bool(v) => Ok(v),
            Self::I32(v) if v.iter().all(|x| (0..2).contains(x)) => {
                Ok(v.into_iter().map(|x| x == 1).collect())
            }
            other => Err(format!("expected flags, found {}", other.kind())),
        }
    }

    /// As text: whole numbers as digits, numbers as the shortest text that reads back, NaN as
    /// nothing.
    pub(super) fn into_text(self) -> Vec<String> {
        let number = |x: f64| {
            if x.is_nan() {
                String::new()
            } else {
                crate::table::number(x)
            }
        };
        match self {
            Self::Text(v) => v,
            Self::Bool(v) => v
                .into_iter()
                .map(|x| if x { "True" } else { "False" }.to_string())
                .collect(),
            Self::I32(v) => v.iter().map(ToString::to_string).collect(),
            Self::U32(v) => v.iter().map(ToString::to_string).collect(),
            Self::I64(v) => v.iter().map(ToString::to_string).collect(),
            Self::U64(v) => v.iter().map(ToString::to_string).collect(),
            Self::F32(v) => v.iter().map(|&x| number(as_printed(x))).collect(),
            Self::F64(v) => v.into_iter().map(number).collect(),
        }
    }
}
