//! A run's state on disk, so that a killed run goes on where it was, bit for bit.
//!
//! One file, `checkpoint`: safetensors with the weights, the running statistics, AdamW's moments,
//! the best weights, and the cursor as JSON in the header; then the blake3 digest of all that (32
//! bytes). Draws need no state: they are functions of seed, epoch and batch. Written array by array
//! under another name and renamed, so a reader sees all of it or the one before. It is not forced
//! to the disk: after a power cut the file may be broken, which the digest tells, and training
//! starts anew.
//!
//! When: every [`super::trainer::CHECKPOINT_STEPS`] steps, and when the run is cancelled. A kill
//! loses the steps since; the resumed run does them again, to the same bits.

use crate::train::error::TrainResult;
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::adamw::AdamMoments;
use super::encoder::NamedArray;
use super::trainer::{Cursor, Trainer};
use crate::mine::tensors::TensorFile;
use clcc_data::error::{StageError, StageResult};

const NAME: &str = "checkpoint";
const DIGEST: usize = 32;
/// The metadata entry that holds the header, as [`TensorFile`] reads it.
const ABOUT: &str = "clcc_flow";
/// Values that are written together.
const PIECE: usize = 1 << 16;

/// What the checkpoint belongs to: another run's is not taken.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header<C> {
    run: String,
    cursor: C,
}

/// Everything that a checkpoint holds.
#[derive(Debug)]
pub(super) struct State<'a, C> {
    /// Where the run stands.
    pub(super) cursor: &'a C,
    /// The weights as they are.
    pub(super) now: &'a [NamedArray],
    /// Other arrays that the run goes on with.
    pub(super) kept: &'a [NamedArray],
    /// The optimiser's.
    pub(super) moments: &'a [AdamMoments],
}

/// What [`load`] gives back.
#[derive(Debug)]
pub(super) struct Loaded<C> {
    pub(super) cursor: C,
    pub(super) now: Vec<NamedArray>,
    pub(super) kept: Vec<NamedArray>,
    pub(super) moments: Vec<AdamMoments>,
    pub(super) path: PathBuf,
}

/// Writes the state of `trainer`, whose weights are `now`, into `dir`; see [`write_state`].
///
/// # Errors
/// [`StageError::Io`].
pub(super) fn save(
    dir: &Path,
    run: &str,
    trainer: &Trainer<'_>,
    now: &[NamedArray],
) -> StageResult<PathBuf> {
    let state = State {
        cursor: &trainer.cursor,
        now,
        kept: &trainer.best,
        moments: &trainer.moments,
    };
    Ok(write_state(dir, run, &state)?)
}

/// Writes `state` into `dir`, which is created; `run` names what it belongs to.
///
/// # Errors
/// [`StageError::Io`].
pub(super) fn write_state<C: Serialize + Clone>(
    dir: &Path,
    run: &str,
    state: &State<'_, C>,
) -> TrainResult<PathBuf> {
    let mut arrays: Vec<(String, Vec<usize>, Cow<'_, [f32]>)> = Vec::new();
    for (prefix, of) in [("now", state.now), ("best", state.kept)] {
        for a in of {
            let name = format!("{prefix}.{}", a.name);
            arrays.push((name, a.shape.clone(), Cow::Borrowed(&a.values)));
        }
    }
    for (i, moments) in state.moments.iter().enumerate() {
        let (m, v) = moments.values()?;
        arrays.push((format!("m.{i}"), vec![m.len()], m));
        arrays.push((format!("v.{i}"), vec![v.len()], v));
    }
    let header = Header {
        run: run.to_string(),
        cursor: state.cursor.clone(),
    };
    let about = serde_json::to_string(&header).expect("plain data");
    std::fs::create_dir_all(dir).map_err(StageError::io("create", dir))?;
    let (temporary, path) = (dir.join(".checkpoint.tmp"), dir.join(NAME));
    write(&temporary, &about, &arrays).map_err(StageError::io("write", &temporary))?;
    std::fs::rename(&temporary, &path).map_err(StageError::io("write", &path))?;
    Ok(path)
}

/// safetensors and its digest, array by array: no second copy of the state is made.
fn write(
    path: &Path,
    about: &str,
    arrays: &[(String, Vec<usize>, Cow<'_, [f32]>)],
) -> std::io::Result<()> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), json!({ABOUT: about}));
    let mut end = 0;
    for (name, shape, values) in arrays {
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
    for (_, _, values) in arrays {
        for piece in values.chunks(PIECE) {
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

/// Puts `trainer` where the checkpoint in `dir` left off; `false` where there is none.
///
/// # Errors
/// As [`load`].
pub(super) fn resume(dir: &Path, run: &str, trainer: &mut Trainer<'_>) -> StageResult<bool> {
    let now = trainer.snapshot()?;
    let best = |cursor: &Cursor| {
        if cursor.best_epoch > 0 {
            now.clone()
        } else {
            Vec::new()
        }
    };
    let Some(loaded) = load(dir, run, &now, best, trainer.moments.len())? else {
        return Ok(false);
    };
    trainer.restore(&loaded.now)?;
    trainer.moments = loaded.moments;
    trainer.best = loaded.kept;
    trainer.saved = (loaded.cursor.step, Some(loaded.path));
    trainer.cursor = loaded.cursor;
    Ok(true)
}

/// The state in `dir`; `None` where there is none. `now` has the names and shapes of the weights;
/// `kept` says what else there is where the run stands.
///
/// # Errors
/// [`StageError::Format`] where there is a checkpoint that cannot be used: broken, or of another run.
pub(super) fn load<C: DeserializeOwned>(
    dir: &Path,
    run: &str,
    now: &[NamedArray],
    kept: impl Fn(&C) -> Vec<NamedArray>,
    n_moments: usize,
) -> StageResult<Option<Loaded<C>>> {
    let path = dir.join(NAME);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StageError::io("read", &path)(e)),
    };
    let bad = |message: &str| StageError::format(&path, "", message);
    let (body, digest) = bytes
        .split_last_chunk::<DIGEST>()
        .ok_or_else(|| bad("checkpoint is cut short"))?;
    if blake3::hash(body).as_bytes() != digest {
        return Err(bad("checkpoint does not have its digest"));
    }
    let file = TensorFile::from_bytes(&path, body)?;
    let header: Header<C> = serde_json::from_str(file.about.as_deref().unwrap_or_default())
        .map_err(|e| bad(&format!("checkpoint has no usable cursor: {e}")))?;
    if header.run != run {
        return Err(bad("checkpoint is of a run with other parameters or data"));
    }
    let named = |prefix: &str, like: &[NamedArray]| {
        let array = |a: &NamedArray| {
            Ok(NamedArray {
                values: file.f32s(&format!("{prefix}.{}", a.name))?,
                ..a.clone()
            })
        };
        like.iter().map(array).collect::<StageResult<Vec<_>>>()
    };
    let moments = (0..n_moments)
        .map(|i| {
            let stored = |what: &str| file.f32s(&format!("{what}.{i}"));
            Ok(AdamMoments::stored(stored("m")?, stored("v")?))
        })
        .collect::<StageResult<Vec<_>>>()?;
    Ok(Some(Loaded {
        now: named("now", now)?,
        kept: named("best", &kept(&header.cursor))?,
        cursor: header.cursor,
        moments,
        path,
    }))
}
