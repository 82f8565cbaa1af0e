//! From a URL and the environment to a store: `file:///...`, `s3://bucket/prefix`, `gs://...`, `az://container/prefix`.
//!
//! Settings come from the providers' usual environment; credentials also from files of a mounted Secret, which win.

use std::{collections::BTreeMap, env, fs, path::PathBuf, sync::Arc, time::Duration};

use backproof_api::{Cause, environment, report::Finding};
use object_store::{
    Certificate, ClientOptions, ObjectStore, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder, path::Path,
};
use url::Url;

use super::{Store, cloud, listing::Checking, local};

/// Where a repository lies, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// A directory.
    Directory(PathBuf),
    /// A bucket or container, and a prefix in it.
    Bucket(Provider, String, String),
}

/// Whose object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Amazon S3, or what speaks like it.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Provider {
    /// What a Secret for it must hold.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::S3 => environment::S3_REQUIRED,
            Self::Gcs => environment::GCS_REQUIRED,
            Self::Azure => environment::AZURE_REQUIRED,
        }
    }

    /// The same, for messages.
    pub(super) fn credentials(self) -> String {
        self.required().join(" and ")
    }

    /// What it calls a bucket.
    pub(super) fn bucket(self) -> &'static str {
        match self {
            Self::S3 | Self::Gcs => "bucket",
            Self::Azure => "container",
        }
    }
}

impl std::str::FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Self::Directory(text.into()));
        }
        let url = Url::parse(text).map_err(|error| {
            format!("{text:?} is no URL ({error}); give file:///DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX")
        })?;
        let provider = match url.scheme() {
            "file" => {
                return url.to_file_path().map(Self::Directory).map_err(|()| format!("{text:?} names no directory; give file:///DIR"));
            }
            "s3" => Provider::S3,
            "gs" => Provider::Gcs,
            "az" => Provider::Azure,
            other => return Err(format!("{other}:// is not supported; give file://, s3://, gs:// or az://")),
        };
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or_else(|| format!("{text:?} names no bucket"))?;
        let rest = text.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, prefix)| prefix);
        Ok(Self::Bucket(provider, bucket.to_owned(), rest.trim_matches('/').to_owned()))
    }
}

/// The files of the mounted storage Secret; `None` where no Secret is mounted.
pub(crate) fn storage_secrets() -> Option<BTreeMap<String, String>> {
    let folder = env::var_os(environment::STORAGE_DIR).filter(|folder| !folder.is_empty())?;
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    Some(files.filter_map(|file| Some((file.file_name().into_string().ok()?, fs::read_to_string(file.path()).ok()?))).collect())
}

impl Location {
    /// The place at this path below.
    pub(crate) fn below(&self, path: &str) -> Self {
        match self {
            Self::Directory(directory) => Self::Directory(directory.join(path)),
            Self::Bucket(provider, bucket, prefix) => {
                let parts: Vec<&str> = [prefix.as_str(), path].into_iter().filter(|part| !part.is_empty()).collect();
                Self::Bucket(*provider, bucket.clone(), parts.join("/"))
            }
        }
    }

    /// The store at this place. Nothing is asked of it yet.
    pub(crate) fn open(&self, secrets: Option<&BTreeMap<String, String>>) -> Result<Store, Finding> {
        match self {
            Self::Directory(path) => Ok(Store::Local(local::Directory::new(path.clone()))),
            Self::Bucket(provider, bucket, prefix) => open_bucket(*provider, bucket, prefix, secrets),
        }
    }
}

fn open_bucket(provider: Provider, bucket: &str, prefix: &str, secrets: Option<&BTreeMap<String, String>>) -> Result<Store, Finding> {
    if let Some(secrets) = secrets
        && let Some(missing) = provider.required().iter().find(|key| secrets.get(**key).is_none_or(|value| value.trim().is_empty()))
    {
        let detail = format!("the storage's Secret has no {missing}, or it is empty: add it to the Secret that the BackupStorage names");
        return Err(Finding { kind: Cause::SecretMissing, path: (*missing).to_owned(), detail });
    }
    // A process that has one already keeps it; there is only this one here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let nothing = BTreeMap::new();
    let secrets = secrets.unwrap_or(&nothing);
    let unusable = |error: &dyn std::fmt::Display| unusable(provider, bucket, &error.to_string());
    let options = client_options(secrets).map_err(|error| unusable(&error))?;
    let prefix = Path::parse(prefix).map_err(|error| unusable(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|error| unusable(&error))?;
    // Some settings start clients of their own, which look for the runtime they will run in.
    let _entered = runtime.enter();
    let objects = build(provider, bucket, options, secrets).map_err(|error| unusable(&error))?;
    drop(_entered);
    Ok(Store::Cloud(cloud::Bucket::new(objects, prefix, runtime, (provider, bucket))))
}

/// Settings that no request could be made with.
fn unusable(provider: Provider, bucket: &str, text: &str) -> Finding {
    let said_of_keys = ["Access Key", "service account", "credential", "RSA key", "pem file"];
    let (kind, detail) = if said_of_keys.iter().any(|word| text.contains(word)) {
        let keys = provider.credentials();
        (Cause::StorageCredentialsRefused, format!("{keys} cannot be used: give it as the provider gave it to you, whole. {text}"))
    } else {
        (Cause::StorageUnreachable, format!("the storage's settings cannot be used: {text}"))
    };
    Finding { kind, path: bucket.to_owned(), detail }
}

fn build(
    provider: Provider,
    bucket: &str,
    options: ClientOptions,
    secrets: &BTreeMap<String, String>,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    Ok(match provider {
        Provider::S3 => {
            let mut builder = AmazonS3Builder::from_env().with_client_options(options).with_http_connector(Checking);
            for (key, value) in secrets.iter().filter(|(key, _)| key.starts_with("AWS_")) {
                if let Ok(key) = key.to_ascii_lowercase().parse() {
                    builder = builder.with_config(key, value.trim());
                }
            }
            Arc::new(builder.with_bucket_name(bucket).with_retry(cloud::retries()).build()?)
        }
        Provider::Gcs => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_client_options(options).with_http_connector(Checking);
            if let Some(key) = setting(secrets, environment::GCS_KEY) {
                builder = builder.with_service_account_key(key);
            }
            Arc::new(builder.with_bucket_name(bucket).with_retry(cloud::retries()).build()?)
        }
        Provider::Azure => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_client_options(options).with_http_connector(Checking);
            if let Some(key) = setting(secrets, environment::AZURE_KEY) {
                builder = builder.with_access_key(key.trim());
            }
            // As restic calls it.
            if let (Err(_), Ok(account)) = (env::var(environment::AZURE_ACCOUNT), env::var("AZURE_ACCOUNT_NAME")) {
                builder = builder.with_account(account);
            }
            Arc::new(builder.with_container_name(bucket).with_retry(cloud::retries()).build()?)
        }
    })
}

/// From the Secret, else from the environment; what is empty is not set.
fn setting(secrets: &BTreeMap<String, String>, name: &str) -> Option<String> {
    secrets.get(name).cloned().or_else(|| env::var(name).ok()).filter(|value| !value.trim().is_empty())
}

fn client_options(secrets: &BTreeMap<String, String>) -> object_store::Result<ClientOptions> {
    let set = |name: &str| env::var(name).is_ok_and(|value| matches!(value.trim(), "1" | "true" | "TRUE" | "True"));
    let mut options = ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(10))
        // Of a whole request: what is asked for at once is a few MiB.
        .with_timeout(Duration::from_secs(60))
        .with_allow_http(set(environment::S3_ALLOW_HTTP) || set("AZURE_ALLOW_HTTP") || set("GOOGLE_ALLOW_HTTP"))
        .with_allow_invalid_certificates(set(environment::INSECURE_TLS));
    if let Some(bundle) = setting(secrets, environment::CA_CERT_DATA) {
        for certificate in Certificate::from_pem_bundle(bundle.as_bytes())? {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use backproof_api::{Cause, environment};
    use object_store::{aws::AmazonS3ConfigKey, azure::AzureConfigKey};

    use super::{Location, Provider, unusable};

    /// The names that the controller sets and this executor leaves to the library to read.
    #[test]
    fn what_a_job_is_told_is_understood() {
        let s3 = |name: &str| name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(s3(environment::S3_REGION), AmazonS3ConfigKey::Region);
        assert_eq!(s3(environment::S3_ENDPOINT), AmazonS3ConfigKey::Endpoint);
        let keys = environment::S3_KEYS.iter().filter(|name| **name != environment::CA_CERT_DATA).map(|name| s3(name));
        assert!(keys.eq([AmazonS3ConfigKey::AccessKeyId, AmazonS3ConfigKey::SecretAccessKey, AmazonS3ConfigKey::Token]));
        assert_eq!(environment::AZURE_ACCOUNT.to_ascii_lowercase().parse::<AzureConfigKey>().unwrap(), AzureConfigKey::AccountName);
        for (provider, keys) in
            [(Provider::S3, environment::S3_KEYS), (Provider::Gcs, environment::GCS_KEYS), (Provider::Azure, environment::AZURE_KEYS)]
        {
            assert!(provider.required().iter().all(|key| keys.contains(key)), "{provider:?}: a key is asked for that no Job mounts");
        }
    }

    #[test]
    fn a_key_that_is_none_is_told_from_other_settings() {
        let kind = |text| unusable(Provider::Azure, "container", text).kind;
        assert_eq!(kind("Generic MicrosoftAzure error: Invalid Access Key: Invalid symbol"), Cause::StorageCredentialsRefused);
        assert_eq!(kind("Generic MicrosoftAzure error: Account must be specified"), Cause::StorageUnreachable);
    }

    #[test]
    fn urls_become_places() {
        for (url, expected) in [
            ("file:///srv/my%20repo", Location::Directory("/srv/my repo".into())),
            ("/srv/repo", Location::Directory("/srv/repo".into())),
            ("s3://bucket", Location::Bucket(Provider::S3, "bucket".into(), String::new())),
            ("s3://bucket/a/b/", Location::Bucket(Provider::S3, "bucket".into(), "a/b".into())),
            ("gs://bucket/a", Location::Bucket(Provider::Gcs, "bucket".into(), "a".into())),
            ("az://container/a b", Location::Bucket(Provider::Azure, "container".into(), "a b".into())),
        ] {
            assert_eq!(url.parse(), Ok(expected), "{url}");
        }
        for wrong in ["", "repo", "sftp://host/repo", "s3:///prefix", "rest:http://x/"] {
            assert!(wrong.parse::<Location>().is_err(), "{wrong}");
        }
    }
}
