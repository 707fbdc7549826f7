//! A run's state on disk, so that a killed run goes on where it was, bit for bit.
//!
//! One file, `checkpoint`: safetensors, then the blake3 digest of all that (32 bytes). Arrays:
//!
//! | name | what |
//! |---|---|
//! | `weights.*` | weights and running statistics as they are |
//! | `best.*` | those of the epoch with the lowest validation loss, where there is one |
//! | `state.*` | what the objective keeps between batches, under its own names |
//! | `moments.m.*`, `moments.v.*` | the optimiser's moments |
//!
//! The header holds the [`Header`] as JSON. Draws need no state: they are functions of seed, epoch
//! and batch. The file is written array by array under another name and renamed, so a reader sees
//! all of it or the one before. It is not forced to the disk: after a power cut it may be broken,
//! which the digest tells, and training starts anew.
//!
//! When: every [`CHECKPOINT_STEPS`] steps, and when the run is cancelled. A kill loses the steps
//! since; the resumed run does them again, to the same bits.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::TrainResult;
use super::network::encoder::NamedArray;
use super::optimizer::AdamMoments;
use crate::mine::tensors::TensorFile;
use clcc_data::error::{StageError, StageResult};

/// Steps between two checkpoints. A checkpoint writes 16 bytes a weight and costs about as much as
/// three steps, each of which reads or writes 28 bytes a weight and does its products: so many
/// steps apart it stays near 1 % at any size of the model, and no clock decides anything.
const CHECKPOINT_STEPS: u64 = 256;
/// Version of the layout above; a file of another one is not read.
const FORMAT: u32 = 2;
const NAME: &str = "checkpoint";
const DIGEST: usize = 32;
/// The metadata entry that holds the header, as [`TensorFile`] reads it.
const ABOUT: &str = "clcc_flow";
/// Values that are written together.
const PIECE: usize = 1 << 16;

/// Name and shape of an array.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ArrayShape {
    name: String,
    shape: Vec<usize>,
}

/// What the file holds besides the weights and the moments, and the run that it belongs to.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header<C> {
    run: String,
    has_best: bool,
    state: Vec<ArrayShape>,
    cursor: C,
}

/// The part of the header that every version of the format has.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Version {
    #[serde(default)]
    format: u32,
}

/// Everything that a resumed run needs.
#[derive(Debug, PartialEq)]
pub(super) struct State<'a, C> {
    /// Where the run stands.
    pub(super) cursor: &'a C,
    /// Weights and running statistics as they are.
    pub(super) weights: &'a [NamedArray],
    /// Those of the best epoch; empty before the first.
    pub(super) best: &'a [NamedArray],
    /// The objective's own.
    pub(super) state: &'a [NamedArray],
}

/// What [`Checkpoint::load`] gives back: [`State`] and the moments.
#[derive(Debug)]
pub(super) struct Loaded<C> {
    pub(super) cursor: C,
    pub(super) weights: Vec<NamedArray>,
    pub(super) best: Vec<NamedArray>,
    pub(super) state: Vec<NamedArray>,
    pub(super) moments: Vec<AdamMoments>,
}

/// A checkpoint that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saved {
    /// Steps done when it was written.
    pub(super) step: u64,
    pub(super) path: PathBuf,
}

/// Why a checkpoint was not taken up.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    /// It cannot be read.
    #[error(transparent)]
    Io(StageError),
    /// It is of no use to this run, which then starts anew.
    #[error("`{}`: {reason}", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        reason: Unusable,
    },
}

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("checkpoint is cut short")]
    CutShort,
    #[error("checkpoint does not have its digest")]
    Digest,
    #[error("checkpoint has format {found}, expected {FORMAT}")]
    Format { found: u32 },
    #[error("checkpoint is of a run with other parameters or data")]
    OtherRun,
    #[error("checkpoint has no usable header: {0}")]
    Header(serde_json::Error),
    #[error("checkpoint lacks an array: {0}")]
    Array(StageError),
}

/// Where a run keeps its checkpoints.
#[derive(Debug)]
pub(super) struct Checkpoint {
    dir: PathBuf,
    /// Names the run: code version, seed, parameters, sizes of the data.
    run: String,
    /// Steps between two checkpoints.
    pub(super) every_steps: u64,
    /// The last one that was written or loaded.
    pub(super) last: Option<Saved>,
}

impl Checkpoint {
    /// Checkpoints of the run named `run` in `dir`, which is created when the first is written.
    pub(super) fn new(dir: &Path, run: impl Into<String>) -> Self {
        Self {
            dir: dir.to_path_buf(),
            run: run.into(),
            every_steps: CHECKPOINT_STEPS,
            last: None,
        }
    }

    /// Whether it is time for the next checkpoint after `step` steps.
    pub(super) fn is_due(&self, step: u64) -> bool {
        step >= self.last.as_ref().map_or(0, |l| l.step) + self.every_steps
    }

    /// Writes a checkpoint of a run that has done `step` steps, in place of the last one.
    ///
    /// Does nothing where a weight is not finite: the last good checkpoint then stays.
    ///
    /// # Errors
    /// [`StageError::Io`].
    pub(super) fn save<C: Serialize>(
        &mut self,
        step: u64,
        state: &State<'_, C>,
        moments: &[AdamMoments],
    ) -> TrainResult<()> {
        let is_finite = |a: &NamedArray| a.values.iter().all(|v| v.is_finite());
        if !state.weights.iter().all(is_finite) {
            return Ok(());
        }
        let mut arrays: Vec<Array<'_>> = Vec::new();
        for (prefix, of) in [
            ("weights", state.weights),
            ("best", state.best),
            ("state", state.state),
        ] {
            arrays.extend(of.iter().map(|a| Array {
                name: format!("{prefix}.{}", a.name),
                shape: a.shape.clone(),
                values: Cow::Borrowed(&a.values),
            }));
        }
        for (i, of) in moments.iter().enumerate() {
            let (m, v) = of.values()?;
            for (what, values) in [("m", m), ("v", v)] {
                arrays.push(Array {
                    name: format!("moments.{what}.{i}"),
                    shape: vec![values.len()],
                    values,
                });
            }
        }
        let header = Header {
            run: self.run.clone(),
            has_best: !state.best.is_empty(),
            state: state
                .state
                .iter()
                .map(|a| ArrayShape {
                    name: a.name.clone(),
                    shape: a.shape.clone(),
                })
                .collect(),
            cursor: state.cursor,
        };
        let mut about = serde_json::to_value(&header).expect("plain data");
        about["format"] = json!(FORMAT);
        std::fs::create_dir_all(&self.dir).map_err(StageError::creating(&self.dir))?;
        let (temporary, path) = (self.dir.join(".checkpoint.tmp"), self.dir.join(NAME));
        write(&temporary, &about.to_string(), &arrays).map_err(StageError::writing(&temporary))?;
        std::fs::rename(&temporary, &path).map_err(StageError::writing(&path))?;
        self.last = Some(Saved { step, path });
        Ok(())
    }

    /// Reads the checkpoint; `None` where there is none. `like` has the names and shapes of the
    /// weights, and `n_moments` is the number of their arrays.
    ///
    /// # Errors
    /// [`LoadError`].
    pub(super) fn load<C: DeserializeOwned>(
        &self,
        like: &[NamedArray],
        n_moments: usize,
    ) -> Result<Option<Loaded<C>>, LoadError> {
        let path = self.dir.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(LoadError::Io(StageError::reading(&path)(e))),
        };
        let unusable = |reason| LoadError::Unusable {
            path: path.clone(),
            reason,
        };
        self.parse(&path, &bytes, like, n_moments)
            .map(Some)
            .map_err(unusable)
    }

    fn parse<C: DeserializeOwned>(
        &self,
        path: &Path,
        bytes: &[u8],
        like: &[NamedArray],
        n_moments: usize,
    ) -> Result<Loaded<C>, Unusable> {
        let (body, digest) = bytes
            .split_last_chunk::<DIGEST>()
            .ok_or(Unusable::CutShort)?;
        if blake3::hash(body).as_bytes() != digest {
            return Err(Unusable::Digest);
        }
        let file = TensorFile::from_bytes(path, body).map_err(Unusable::Array)?;
        let about = file.about.as_deref().unwrap_or_default();
        let version: Version = serde_json::from_str(about).map_err(Unusable::Header)?;
        if version.format != FORMAT {
            return Err(Unusable::Format {
                found: version.format,
            });
        }
        let header: Header<C> = serde_json::from_str(about).map_err(Unusable::Header)?;
        if header.run != self.run {
            return Err(Unusable::OtherRun);
        }
        let weights = |prefix: &str| {
            let shapes = like.iter().map(|a| (a.name.as_str(), a.shape.as_slice()));
            named(&file, prefix, shapes)
        };
        let state = header
            .state
            .iter()
            .map(|a| (a.name.as_str(), a.shape.as_slice()));
        let moments = (0..n_moments).map(|i| {
            let stored = |what: &str| file.f32s(&format!("moments.{what}.{i}"));
            Ok(AdamMoments::stored(stored("m")?, stored("v")?))
        });
        Ok(Loaded {
            weights: weights("weights")?,
            best: if header.has_best {
                weights("best")?
            } else {
                Vec::new()
            },
            state: named(&file, "state", state)?,
            moments: moments
                .collect::<StageResult<_>>()
                .map_err(Unusable::Array)?,
            cursor: header.cursor,
        })
    }

    /// Notes that the checkpoint on disk is of `step` steps, after it was loaded.
    pub(super) fn did_load(&mut self, step: u64) {
        let path = self.dir.join(NAME);
        self.last = Some(Saved { step, path });
    }
}

/// The arrays `{prefix}.{name}` of these names and shapes.
fn named<'a>(
    file: &TensorFile,
    prefix: &str,
    shapes: impl Iterator<Item = (&'a str, &'a [usize])>,
) -> Result<Vec<NamedArray>, Unusable> {
    let array = |(name, shape): (&str, &[usize])| {
        Ok(NamedArray {
            name: name.to_string(),
            shape: shape.to_vec(),
            values: file.f32s(&format!("{prefix}.{name}"))?,
        })
    };
    shapes
        .map(array)
        .collect::<StageResult<_>>()
        .map_err(Unusable::Array)
}

struct Array<'a> {
    name: String,
    shape: Vec<usize>,
    values: Cow<'a, [f32]>,
}

/// safetensors and its digest, array by array: no second copy of the state is made.
fn write(path: &Path, about: &str, arrays: &[Array<'_>]) -> std::io::Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), json!({ABOUT: about}));
    let mut end = 0;
    for Array {
        name,
        shape,
        values,
    } in arrays
    {
        let start = end;
        end += size_of_val::<[f32]>(values);
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let mut header = serde_json::to_vec(&header).expect("plain data");
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut file = BufWriter::new(File::create(path)?);
    let mut digest = blake3::Hasher::new();
    let mut put = |bytes: &[u8]| {
        digest.update(bytes);
        file.write_all(bytes)
    };
    put(&(header.len() as u64).to_le_bytes())?;
    put(&header)?;
    let mut bytes = vec![0u8; PIECE * size_of::<f32>()];
    for array in arrays {
        for piece in array.values.chunks(PIECE) {
            let bytes = &mut bytes[..size_of_val(piece)];
            for (place, v) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(piece) {
                *place = v.to_le_bytes();
            }
            put(bytes)?;
        }
    }
    file.write_all(digest.finalize().as_bytes())?;
    file.flush()
}
