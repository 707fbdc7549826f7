//! A single object, for an input that is in a bucket.

use super::address::Address;
use super::http::Patience;
use super::objects::Objects;
use super::open::open;
use super::trouble::Trouble;

/// Why an object could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// There is none.
    Absent,
    /// Credentials are missing, wrong or not enough.
    Refused(String),
    /// It is another version than the one asked for.
    Changed,
    /// It cannot be reached, or broke off: worth another try.
    Broken(String),
    /// The reader wants no more.
    Stopped,
}

/// What comes of an object that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// First: how long the whole object is, and which version.
    Head {
        /// Bytes.
        total: u64,
        /// Its entity tag.
        version: Option<String>,
    },
    /// The next bytes.
    Block(Vec<u8>),
}

/// Reads an object from byte `from` on, only while it is of `version`; `each` has what comes, until it wants no more.
///
/// # Errors
/// [`ReadError`].
pub fn read_object(
    address: &Address,
    from: u64,
    version: Option<&str>,
    each: &mut (dyn FnMut(Reading) -> bool + Send),
) -> Result<(), ReadError> {
    let mut read = || {
        let (store, path) = open(address, Patience::default())?;
        let objects = Objects::new(store, &path);
        objects.read_from(from, version, each)
    };
    read().map_err(|trouble| match trouble {
        Trouble::Absent => ReadError::Absent,
        Trouble::Refused(why) => ReadError::Refused(why),
        Trouble::Changed | Trouble::Exists => ReadError::Changed,
        Trouble::Stopped => ReadError::Stopped,
        Trouble::Failed(why) | Trouble::Lies(why) => ReadError::Broken(why),
        Trouble::Here(e) => ReadError::Broken(e.to_string()),
    })
}
