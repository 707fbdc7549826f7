//! A run's state on disk, so that a killed run goes on where it was, bit for bit.
//!
//! One file, `checkpoint`: the blake3 digest of the rest (32 bytes), then safetensors with the
//! weights, the running statistics, AdamW's moments and the best weights, and the cursor as JSON.
//! Draws need no state: they are functions of seed, epoch and batch. Written under another name
//! and renamed, so a reader sees all of it or the one before. It is not forced to the disk: after
//! a power cut the file may be broken, which the digest tells, and training starts anew.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::adamw::AdamMoments;
use super::encoder::NamedArray;
use super::trainer::{Cursor, Trainer};
use crate::error::{StageError, StageResult};
use crate::mine::tensors::TensorFile;

const NAME: &str = "checkpoint";
const DIGEST: usize = 32;

/// What the checkpoint belongs to: another run's is not taken.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    run: String,
    cursor: Cursor,
}

/// Writes the state of `trainer` into `dir`, which is created; `run` names what it belongs to.
///
/// # Errors
/// [`StageError::Io`].
pub(super) fn save(dir: &Path, run: &str, trainer: &Trainer<'_>) -> StageResult<()> {
    let now = trainer.snapshot()?;
    let mut file = TensorFile::default();
    for (prefix, arrays) in [("now", &now), ("best", &trainer.best)] {
        for a in arrays {
            file.put_f32(&format!("{prefix}.{}", a.name), &a.shape, &a.values);
        }
    }
    for (i, moments) in trainer.moments.iter().enumerate() {
        file.put_f32(&format!("m.{i}"), &[moments.m.len()], &moments.m);
        file.put_f32(&format!("v.{i}"), &[moments.v.len()], &moments.v);
    }
    let header = Header {
        run: run.to_string(),
        cursor: trainer.cursor.clone(),
    };
    file.about = Some(serde_json::to_string(&header).expect("plain data"));
    let body = file.to_bytes();
    std::fs::create_dir_all(dir).map_err(StageError::io("create", dir))?;
    let (temporary, path) = (dir.join(".checkpoint.tmp"), dir.join(NAME));
    let mut bytes = blake3::hash(&body).as_bytes().to_vec();
    bytes.extend_from_slice(&body);
    std::fs::write(&temporary, bytes).map_err(StageError::io("write", &temporary))?;
    std::fs::rename(&temporary, &path).map_err(StageError::io("write", &path))
}

/// Puts `trainer` where the checkpoint in `dir` left off; `false` where there is none.
///
/// # Errors
/// [`StageError::Format`] where there is one that cannot be used: broken, or of another run.
pub(super) fn resume(dir: &Path, run: &str, trainer: &mut Trainer<'_>) -> StageResult<bool> {
    let path = dir.join(NAME);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(StageError::io("read", &path)(e)),
    };
    let bad = |message: &str| StageError::format(&path, "", message);
    let (digest, body) = bytes
        .split_at_checked(DIGEST)
        .ok_or_else(|| bad("checkpoint is cut short"))?;
    if blake3::hash(body).as_bytes() != digest {
        return Err(bad("checkpoint does not have its digest"));
    }
    let file = TensorFile::from_bytes(&path, body)?;
    let header: Header = serde_json::from_str(file.about.as_deref().unwrap_or_default())
        .map_err(|e| bad(&format!("checkpoint has no usable cursor: {e}")))?;
    if header.run != run {
        return Err(bad("checkpoint is of a run with other parameters or data"));
    }
    let now = trainer.snapshot()?;
    let named = |prefix: &str| {
        let array = |a: &NamedArray| {
            Ok(NamedArray {
                values: file.f32s(&format!("{prefix}.{}", a.name))?,
                ..a.clone()
            })
        };
        now.iter().map(array).collect::<StageResult<Vec<_>>>()
    };
    let best = if header.cursor.best_epoch > 0 {
        named("best")?
    } else {
        Vec::new()
    };
    let moments = (0..trainer.moments.len())
        .map(|i| {
            Ok(AdamMoments {
                m: file.f32s(&format!("m.{i}"))?,
                v: file.f32s(&format!("v.{i}"))?,
            })
        })
        .collect::<StageResult<Vec<_>>>()?;
    trainer.restore(&named("now")?)?;
    trainer.moments = moments;
    trainer.best = best;
    trainer.cursor = header.cursor;
    Ok(true)
}
