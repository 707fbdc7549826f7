//! The digest that a workflow states of a file.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use sha2::Digest as _;

/// `sha256:<64 hex digits>` or `blake3:<64 hex digits>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    algorithm: Algorithm,
    hex: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Blake3,
}

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `sha256:` or `blake3:` and 64 hexadecimal digits, found `{0}`")]
pub struct ParseDigestError(String);

impl FromStr for Expected {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let error = || ParseDigestError(text.to_string());
        let (name, hex) = text.split_once(':').ok_or_else(error)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "blake3" => Algorithm::Blake3,
            _ => return Err(error()),
        };
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        Ok(Self {
            algorithm,
            hex: hex.to_ascii_lowercase(),
        })
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name(), self.hex)
    }
}

impl Expected {
    fn name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Sha256 => "sha256",
            Algorithm::Blake3 => "blake3",
        }
    }

    /// The digest of a file, by the same algorithm and in the same form.
    pub(super) fn of_file(&self, path: &Path) -> std::io::Result<String> {
        let mut file = clcc_cache::open_plain_linked(path)?;
        let hex = match self.algorithm {
            Algorithm::Blake3 => {
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(&mut file)?;
                hasher.finalize().to_hex().to_string()
            }
            Algorithm::Sha256 => {
                let mut hasher = sha2::Sha256::new();
                let mut block = vec![0; 1 << 20];
                loop {
                    match file.read(&mut block)? {
                        0 => break,
                        n => hasher.update(&block[..n]),
                    }
                }
                let bytes = hasher.finalize();
                bytes.iter().map(|b| format!("{b:02x}")).collect()
            }
        };
        Ok(format!("{}:{hex}", self.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_and_made() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").expect("written");
        // The example of FIPS 180-2.
        let sha = "sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        let expected: Expected = sha.parse().expect("a digest");
        assert_eq!(
            expected.of_file(&path).expect("read"),
            sha.to_lowercase().replace("SHA", "sha")
        );
        assert_eq!(expected.to_string(), sha.to_lowercase());
        for wrong in [
            "abc",
            "md5:00",
            "sha256:00",
            &format!("sha256:{}", "x".repeat(64)),
        ] {
            assert!(wrong.parse::<Expected>().is_err(), "{wrong}");
        }
    }
}
