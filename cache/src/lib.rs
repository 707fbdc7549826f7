//! Content-addressed store and action records: what clcc-flow knows about work already done.
//!
//! ```text
//! <cache>/cas/aa/<digest>      an artifact: a file, or the archive of a directory of files; read only
//! <cache>/cas/aa/<digest>.tree listing (path, size, digest of each file) of an artifact that is still a directory, as
//!                              earlier versions published them
//! <cache>/ac/aa/<key>.json     action record: preimage of the key, outputs, measurements
//! <cache>/tmp/<attempt>/       private directory of one attempt
//! <cache>/ckpt/<key>/          checkpoint of an action that was interrupted
//! <cache>/runs/<run>/          events, logs and record of a run
//! <cache>/last/<workflow>.jsonl  key of each node's last record, for reasons
//! <cache>/stat.jsonl           digests of input files by (device, inode, size, mtime, ctime)
//! <cache>/locks/<key>          kernel lock: one computation of a key at a time
//! <cache>/jobs/<key>/<turn>/   a node that a batch system runs: claim, beats, messages, end
//! <cache>/batches/, bin/       what was handed to the batch system, and the program that jobs run
//! <cache>/gc.lock              kernel lock: shared by runs, taken alone by a collection
//! <cache>/quarantine/          what was found damaged
//! ```
//!
//! The one commit point of an action is the rename of its record into `ac/`. A record is trusted
//! only while every artifact it names is there with its size; digests are compared whenever content
//! is read as an input or copied out, and by [`Store::verify`]. Records and journal lines carry a
//! digest of themselves. No other file here is a source of truth: every journal may be lost.
//!
//! This crate knows nothing of stages, workflows or YAML, and its calls block.

mod action_store;
mod archive;
mod at_once;
mod digest;
mod error;
pub mod failpoint;
mod fresh;
mod jobs;
mod journal;
mod lock;
mod piece;
mod plain;
mod record;
pub mod remote;
mod stat_cache;
mod store;
mod tree;

pub use action_store::{ActionStore, NotBrought};
pub use archive::{measure_stored, pack, unpack_unless};
pub use at_once::{SYNCS, at_once};
pub use digest::{Digest, digest_bytes, digest_file};
pub use error::{CacheError, CacheResult};
pub use fresh::{fresh_dir, fresh_file, publish};
pub use jobs::Turn;
pub use journal::Journal;
pub use lock::{KeyLock, has_no_locks};
pub use piece::Piece;
pub use plain::{
    append_plain, edit_plain, is_not_plain, open_plain, open_plain_linked, read_plain,
    read_plain_linked,
};
pub use record::{ActionRecord, OutputRecord, RECORD_FORMAT};
pub use stat_cache::{StatCache, stat_name, stat_of};
pub use store::{
    Damage, Defect, GcItem, GcPolicy, GcReason, GcReport, LaidOut, Lookup, SILENCE, Store,
    VerifyReport,
};
pub use tree::{
    Artifact, ArtifactForm, TreeEntry, measure, measure_linked, measure_synced, sync_all,
};
