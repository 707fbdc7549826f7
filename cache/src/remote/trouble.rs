//! What can be wrong with a remote, in words that hold no secret.

use std::error::Error as _;

use crate::error::CacheError;

/// Why something could not be had from a remote, or not be sent there.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// There is no such object.
    Absent,
    /// It is there already.
    Exists,
    /// Another version than the one asked for.
    Changed,
    /// Credentials are missing, wrong or not enough.
    Refused(String),
    /// It cannot be reached, or fails.
    Failed(String),
    /// What came is not what was asked for.
    Lies(String),
    /// The local disk.
    Here(CacheError),
    /// The run ends.
    Stopped,
}

impl From<object_store::Error> for Trouble {
    fn from(e: object_store::Error) -> Self {
        use object_store::Error as E;
        match &e {
            E::NotFound { .. } => Self::Absent,
            E::AlreadyExists { .. } => Self::Exists,
            E::Precondition { .. } | E::NotModified { .. } => Self::Changed,
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => Self::Refused(told(&e)),
            _ => {
                let text = told(&e);
                // Where no credentials were given, those of a machine in the cloud are asked for.
                match is_about_credentials(&whole(&e)) {
                    true => Self::Refused(text),
                    false => Self::Failed(text),
                }
            }
        }
    }
}

fn is_about_credentials(text: &str) -> bool {
    text.contains("169.254.169.254")
        || text.contains("metadata.google.internal")
        || text.contains("metadata/instance")
        || text.contains("credential")
}

/// The error and its causes.
fn whole(e: &object_store::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Longest text that is told.
const MOST: usize = 300;

/// An error in words: the status and the code of what a server said, without the rest of it, which may repeat keys.
pub(crate) fn told(e: &object_store::Error) -> String {
    let text = whole(e);
    let between = |from: &str, to: &str| {
        let (_, rest) = text.split_once(from)?;
        let (found, _) = rest.split_once(to)?;
        (found.len() < 80).then(|| found.to_string())
    };
    let status = between("status code: ", ":");
    let code = between("<Code>", "</Code>");
    let short = match (status, code) {
        (Some(status), Some(code)) => format!("the server answered {status} ({code})"),
        (Some(status), None) => format!("the server answered {status}"),
        (None, Some(code)) => format!("the server answered {code}"),
        (None, None) if text.contains("https only") => {
            "the endpoint has no TLS; AWS_ALLOW_HTTP=true allows that".to_string()
        }
        (None, None) if is_about_credentials(&text) => "no credentials were found".to_string(),
        (None, None) => text.replace(['\n', '\r'], " "),
    };
    let mut short = without_secrets(short);
    if let Some((cut, _)) = short.char_indices().nth(MOST) {
        short.truncate(cut);
        short.push_str("...");
    }
    short
}

/// The text without the value of any variable that holds credentials.
fn without_secrets(mut text: String) -> String {
    const NAMES: [&str; 6] = [
        "KEY",
        "SECRET",
        "TOKEN",
        "SAS",
        "PASSWORD",
        "SERVICE_ACCOUNT",
    ];
    for (name, value) in std::env::vars_os() {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
            continue;
        };
        let of_a_cloud = ["AWS_", "GOOGLE_", "AZURE_"]
            .iter()
            .any(|p| name.starts_with(p));
        if of_a_cloud && value.len() > 1 && NAMES.iter().any(|n| name.contains(n)) {
            text = text.replace(value, "***");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_said_is_told_without_the_keys_that_it_repeats() {
        let body = "Error performing GET http://h/b/k in 1ms - Server returned non-2xx status code: 403 Forbidden: \
                    <Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIASECRET</AWSAccessKeyId></Error>";
        let e = object_store::Error::PermissionDenied {
            path: "k".into(),
            source: body.into(),
        };
        assert_eq!(
            told(&e),
            "the server answered 403 Forbidden (InvalidAccessKeyId)"
        );
        assert!(matches!(Trouble::from(e), Trouble::Refused(_)));
        let e = object_store::Error::Generic {
            store: "S3",
            source: "x".repeat(1000).into(),
        };
        assert!(told(&e).len() < 310);
        assert!(matches!(Trouble::from(e), Trouble::Failed(_)));
    }
}
