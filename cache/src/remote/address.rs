//! Where a remote is: an address such as `s3://bucket/prefix`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place of objects. Its text holds no secret: an address with a user or a query is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    scheme: Scheme,
    /// Bucket, container, host with port, or nothing for a folder.
    place: String,
    /// Without a slash at either end.
    path: String,
}

/// Who keeps the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// S3 and what speaks like it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
    /// A web server; read only.
    Http,
    /// The same with TLS.
    Https,
    /// A folder, for example of a shared file system.
    File,
}

const SCHEMES: [(&str, Scheme); 6] = [
    ("s3", Scheme::S3),
    ("gs", Scheme::Gcs),
    ("az", Scheme::Azure),
    ("https", Scheme::Https),
    ("http", Scheme::Http),
    ("file", Scheme::File),
];

/// What an address looks like.
const EXPECTED: &str = "expected `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX`, `https://HOST/PATH` or `file:///FOLDER`";

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// Another scheme, or none.
    #[error("{EXPECTED}, found `{0}`")]
    Scheme(String),
    /// No bucket, container or host.
    #[error("{EXPECTED}, found `{0}`, which names no bucket or host")]
    Place(String),
    /// A path that is none.
    #[error("`{0}`: expected a path of plain names")]
    Path(String),
    /// A user, password or query, which would be shown wherever the address is. What follows the scheme is not repeated.
    #[error("an address with a user, password or query was given; it would be shown in logs")]
    Secret,
}

impl Address {
    /// Who keeps the objects.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether objects can be written there.
    pub fn can_be_written(&self) -> bool {
        !matches!(self.scheme, Scheme::Http | Scheme::Https)
    }

    /// Bucket, container or host.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The path in it, without a slash at either end.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether `text` begins as an address of a bucket does, which no path of a file should.
    pub fn is_bucket(text: &str) -> bool {
        ["s3://", "gs://", "az://"]
            .iter()
            .any(|s| text.starts_with(s))
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        use ParseAddressError as E;
        let found = || text.to_string();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| E::Scheme(found()))?;
        if rest.contains(['?', '#', '@']) {
            return Err(E::Secret);
        }
        let scheme = SCHEMES.iter().find(|(name, _)| *name == scheme);
        let (_, scheme) = *scheme.ok_or_else(|| E::Scheme(found()))?;
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let of_place = |c: char| c.is_ascii_alphanumeric() || "._-:[]".contains(c);
        let is_place = match scheme {
            Scheme::File => place.is_empty() && !path.is_empty(),
            _ => !place.is_empty() && place.chars().all(of_place),
        };
        if !is_place {
            return Err(E::Place(found()));
        }
        let path = path.trim_matches('/');
        let plain = |part: &str| {
            !["", ".", ".."].contains(&part) && !part.chars().any(|c| c.is_control() || c == '\\')
        };
        if !path.is_empty() && !path.split('/').all(plain) {
            return Err(E::Path(found()));
        }
        Ok(Self {
            scheme,
            place: place.to_string(),
            path: path.to_string(),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = SCHEMES
            .iter()
            .find(|(_, scheme)| *scheme == self.scheme)
            .expect("every scheme has a name");
        write!(f, "{name}://{}", self.place)?;
        match self.path.is_empty() {
            true => Ok(()),
            false => write!(f, "/{}", self.path),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = ParseAddressError;

    fn try_from(text: String) -> Result<Self, ParseAddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown, writes) in [
            ("s3://lab/cohort/v1/", "s3://lab/cohort/v1", true),
            ("gs://lab", "gs://lab", true),
            ("az://lab/x", "az://lab/x", true),
            (
                "https://host.org:8443/a/b",
                "https://host.org:8443/a/b",
                false,
            ),
            ("http://[::1]:80/a", "http://[::1]:80/a", false),
            ("file:///mnt/lab cache", "file:///mnt/lab cache", true),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse::<Address>().unwrap(), address);
            assert_eq!(address.can_be_written(), writes, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_secrets_are_not_repeated() {
        use ParseAddressError as E;
        let error = |text: &str| text.parse::<Address>().unwrap_err();
        for text in ["bucket/prefix", "/mnt/cache", "ftp://host/x", "s3:/x", ""] {
            assert!(matches!(error(text), E::Scheme(_)), "{text}");
        }
        for text in ["s3://", "s3:///x", "file://host/x", "file:///", "gs://a b"] {
            assert!(matches!(error(text), E::Place(_)), "{text}");
        }
        for text in ["s3://b/../x", "s3://b/a//c", "s3://b/a\\b", "s3://b/\u{7}"] {
            assert!(matches!(error(text), E::Path(_)), "{text}");
        }
        for text in [
            "https://me:hunter2@host/x",
            "az://c/x?sig=hunter2",
            "x://hunter2@h",
        ] {
            assert_eq!(error(text), E::Secret, "{text}");
            assert!(!error(text).to_string().contains("hunter2"));
        }
    }
}
