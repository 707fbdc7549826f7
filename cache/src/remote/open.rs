//! From an address to a store of objects: credentials and endpoints from where other programs take them too.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::address::{Address, Scheme};
use super::http::{Carrier, Patience};
use super::trouble::{Trouble, told};

/// A store of objects, and the prefix in it.
pub(crate) type Opened = (Arc<dyn ObjectStore>, String);

/// Opens what an address names; nothing is asked of it yet. The folder of a `file:` address is made.
///
/// # Errors
/// [`Trouble::Refused`] where the environment lacks what is needed.
pub(crate) fn open(address: &Address, patience: Patience) -> Result<Opened, Trouble> {
    let (place, path) = (address.place(), address.path().to_string());
    let carrier = Carrier {
        patience,
        redirects: 0,
    };
    let failed = |e: object_store::Error| Trouble::Refused(told(&e));
    Ok(match address.scheme() {
        Scheme::S3 => {
            let store = s3().with_bucket_name(place).with_retry(retry());
            let store = store.with_http_connector(carrier).build();
            (Arc::new(store.map_err(failed)?), path)
        }
        Scheme::Gcs => {
            let store = GoogleCloudStorageBuilder::from_env().with_bucket_name(place);
            let store = store.with_retry(retry()).with_http_connector(carrier);
            (Arc::new(store.build().map_err(failed)?), path)
        }
        Scheme::Azure => {
            let store = MicrosoftAzureBuilder::from_env().with_container_name(place);
            let store = store.with_retry(retry()).with_http_connector(carrier);
            (Arc::new(store.build().map_err(failed)?), path)
        }
        Scheme::Http | Scheme::Https => {
            let carrier = Carrier {
                redirects: 5,
                ..carrier
            };
            let store = HttpBuilder::new()
                .with_url(address.to_string())
                .with_config(ClientConfigKey::AllowHttp, "true")
                .with_retry(retry())
                .with_http_connector(carrier)
                .build();
            (Arc::new(store.map_err(failed)?), String::new())
        }
        Scheme::File => {
            let root = PathBuf::from(format!("/{path}"));
            std::fs::create_dir_all(&root)
                .map_err(|e| Trouble::Failed(format!("cannot create `{}`: {e}", root.display())))?;
            let store = LocalFileSystem::new_with_prefix(&root).map_err(failed)?;
            (Arc::new(store.with_fsync(true)), String::new())
        }
    })
}

/// A server that is away is given up within about ten seconds: the run does the work itself.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(3),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(60),
    }
}

/// S3 by the environment, else by the profile of `~/.aws`, as the AWS command line has it.
fn s3() -> AmazonS3Builder {
    let mut store = AmazonS3Builder::from_env();
    let profile = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".to_string());
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let of_home = |variable: &str, file: &str| {
        let named = std::env::var_os(variable).map(PathBuf::from);
        let path = named.or_else(|| {
            Some(
                PathBuf::from(std::env::var_os("HOME")?)
                    .join(".aws")
                    .join(file),
            )
        });
        path.and_then(|p| std::fs::read_to_string(p).ok())
            .unwrap_or_default()
    };
    let credentials = of_home("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    let config = of_home("AWS_CONFIG_FILE", "config");
    let has_own = [
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_SKIP_SIGNATURE",
    ];
    if !has_own.iter().any(|name| set(name)) {
        for (name, key) in [
            ("aws_access_key_id", AmazonS3ConfigKey::AccessKeyId),
            ("aws_secret_access_key", AmazonS3ConfigKey::SecretAccessKey),
            ("aws_session_token", AmazonS3ConfigKey::Token),
        ] {
            let value = setting(&credentials, &profile, name);
            if let Some(value) = value.or_else(|| setting(&config, &profile, name)) {
                store = store.with_config(key, value);
            }
        }
    }
    if !set("AWS_REGION") && !set("AWS_DEFAULT_REGION") {
        let region = setting(&config, &profile, "region");
        store = store.with_region(region.unwrap_or_else(|| "us-east-1".to_string()));
    }
    let endpoints = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"];
    if !endpoints.iter().any(|name| set(name))
        && let Some(endpoint) = setting(&config, &profile, "endpoint_url")
    {
        store = store.with_endpoint(endpoint);
    }
    store
}

/// `name` of the profile in a file of `[profile]` sections with `name = value` lines.
fn setting(text: &str, profile: &str, name: &str) -> Option<String> {
    let heads = [format!("[{profile}]"), format!("[profile {profile}]")];
    let mut lines = text
        .lines()
        .map(str::trim)
        .skip_while(|l| !heads.iter().any(|h| h == l));
    lines.next()?;
    lines
        .take_while(|l| !l.starts_with('['))
        .filter_map(|l| l.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_those_of_the_profile() {
        let text = "[default]\nregion = eu-west-1\n\n[profile lab]\nregion=us-east-2\nendpoint_url = https://s3.lab.org\n[other]\nx = y\n";
        assert_eq!(setting(text, "default", "region").unwrap(), "eu-west-1");
        assert_eq!(setting(text, "lab", "region").unwrap(), "us-east-2");
        assert_eq!(
            setting(text, "lab", "endpoint_url").unwrap(),
            "https://s3.lab.org"
        );
        assert_eq!(setting(text, "default", "endpoint_url"), None);
        assert_eq!(setting(text, "lab", "x"), None);
        assert_eq!(setting("", "lab", "x"), None);
    }
}
