//! blake3 digests.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{CacheError, CacheResult};
use crate::plain::open_plain_linked;

/// A 256-bit blake3 digest; 64 hexadecimal digits in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// From the 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = CacheError;

    fn from_str(text: &str) -> CacheResult<Self> {
        blake3::Hash::from_hex(text)
            .map(|h| Self(*h.as_bytes()))
            .map_err(|_| CacheError::BadDigest(text.to_string()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Hex;
        impl serde::de::Visitor<'_> for Hex {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hexadecimal digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }
        d.deserialize_str(Hex)
    }
}

/// Digest of bytes in memory.
pub fn digest_bytes(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// Digest of a file's content, links followed.
///
/// # Errors
/// [`CacheError::Io`] where it cannot be read or is no file.
pub fn digest_file(path: &Path) -> CacheResult<Digest> {
    let mut file = open_plain_linked(path).map_err(CacheError::io("open", path))?;
    let size = file.metadata().map_err(CacheError::io("stat", path))?.len();
    let mut hasher = blake3::Hasher::new();
    // Mapping pays for big files only; small ones are one read.
    if size > 1 << 20 {
        hasher
            .update_mmap_rayon(path)
            .map_err(CacheError::io("read", path))?;
    } else {
        let mut buffer = Vec::with_capacity(size as usize);
        file.read_to_end(&mut buffer)
            .map_err(CacheError::io("read", path))?;
        hasher.update(&buffer);
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}
