//! How a Job reaches a restic repository: from BackupStorage and Repository to URL, volumes, mounts and environment.
//!
//! Pure: no client, no clock. Whatever a Job mounts of a repository is read-only twice, at the mount and at the source, since
//! kubelet changes owners on a volume whose source is writable. No `subPath` is used, because kubelet makes a missing one.

mod secrets;
mod volume;

use backproof_api::{BackupStorage, Cause, Repository, S3Storage, environment};
use k8s_openapi::api::core::v1::{EnvVar, Volume, VolumeMount};
use kube::ResourceExt as _;

pub use secrets::{ENCRYPTION_DIR, STORAGE_DIR, SecretSource, secrets};
use volume::read_only_volume;

/// Where a repository on a volume is mounted.
pub const REPOSITORY_DIR: &str = "/backproof/repository";

const REPOSITORY_VOLUME: &str = "backproof-repository";

/// What a Job needs to reach one restic repository.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RepositoryAccess {
    /// Where the repository is, as the executor reads it: `file://`, `s3://`, `gs://` or `az://`.
    pub url: String,
    /// Volumes of the pod: the repository (local storage only) and the Secrets.
    pub volumes: Vec<Volume>,
    /// Where the executor's container mounts them; all read-only.
    pub mounts: Vec<VolumeMount>,
    /// Settings of the provider, and the directories of the Secrets.
    pub env: Vec<EnvVar>,
}

/// Where a Job runs, and what it may use there.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The Job's namespace.
    pub namespace: &'a str,
    /// Whether the installation lets pods of that namespace mount directories of the node.
    pub host_path: HostPath,
    /// A Secret of the Job's namespace that holds a copy of every key [`secrets`] lists; used instead of the originals.
    pub copied_secret: Option<&'a str>,
}

/// Whether pods may mount directories of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPath {
    /// The chart's values list the namespace.
    Allowed,
    /// They do not.
    Refused,
}

/// Why a repository cannot be reached as it is set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// A field is missing.
    #[error("{object}: {field} is not set; {remedy}")]
    Missing {
        /// Kind, namespace and name.
        object: String,
        /// Path of the field.
        field: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A field holds something that cannot be used.
    #[error("{object}: {field} {problem}; {remedy}")]
    Invalid {
        /// Kind, namespace and name.
        object: String,
        /// Path of the field.
        field: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The volume source is one that the installation does not allow.
    #[error(
        "{object}: {field} asks for a directory of the node; use a PersistentVolumeClaim, or list namespace {namespace} in the chart's value unsafeNamespaces"
    )]
    HostPathRefused {
        /// Kind, namespace and name.
        object: String,
        /// Path of the field.
        field: &'static str,
        /// The Job's namespace.
        namespace: String,
    },
    /// The volume lies in another namespace than the Job.
    #[error(
        "{object}: spec.storage.local names a claim of namespace {claim_namespace}, and a Job of namespace {namespace} cannot mount it; restore into namespace {claim_namespace}"
    )]
    VolumeElsewhere {
        /// Kind, namespace and name.
        object: String,
        /// Where the claim is.
        claim_namespace: String,
        /// The Job's namespace.
        namespace: String,
    },
    /// A Secret lies in another namespace than the Job, and no copy was made.
    #[error(
        "{named_by} names Secret {secret_namespace}/{secret}, and a Job of namespace {namespace} cannot mount it; put a copy of it into namespace {namespace} and name that"
    )]
    SecretElsewhere {
        /// Object and field that name the Secret.
        named_by: String,
        /// The Secret's namespace.
        secret_namespace: String,
        /// The Secret's name.
        secret: String,
        /// The Job's namespace.
        namespace: String,
    },
}

impl AccessError {
    /// The cause a session ends with; none of these says anything about the backup.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Missing { .. } | Self::Invalid { .. } => Cause::RepositoryInvalid,
            Self::HostPathRefused { .. } => Cause::UnsafeSettings,
            Self::VolumeElsewhere { .. } => Cause::CrossNamespaceNotAllowed,
            Self::SecretElsewhere { .. } => Cause::SecretNotReachable,
        }
    }
}

/// How a Job reaches the restic repository of one component: `component_path` is relative to the Repository's `spec.path`,
/// and `.` (or nothing) means the Repository itself is one.
pub fn access(
    storage: &BackupStorage,
    repository: &Repository,
    component_path: &str,
    place: Place<'_>,
) -> Result<RepositoryAccess, AccessError> {
    let mut access = backend(storage, repository, component_path, place)?;
    for secret in secrets(storage, repository) {
        secret.mount(place, &mut access)?;
    }
    Ok(access)
}

fn backend(
    storage: &BackupStorage,
    repository: &Repository,
    component_path: &str,
    place: Place<'_>,
) -> Result<RepositoryAccess, AccessError> {
    let object = describe(storage);
    let missing = |field, remedy| AccessError::Missing { object: object.clone(), field, remedy };
    let backend = storage.spec.storage.as_ref().ok_or_else(|| missing("spec.storage", "name a provider and its settings"))?;
    let directory = [
        segments(&describe(repository), "spec.path", &repository.spec.path)?,
        segments(&describe(repository), "status.components[].path of its Snapshot", component_path)?,
    ]
    .concat();
    match backend.provider.as_str() {
        "local" => {
            let local = backend.local.as_ref().ok_or_else(|| missing("spec.storage.local", "give the volume"))?;
            let inside = segments(&object, "spec.storage.local.subPath", &local.sub_path)?;
            let volume = read_only_volume(&object, storage, &local.source, place)?;
            Ok(RepositoryAccess {
                url: directory_url(REPOSITORY_DIR, &[inside, directory].concat()),
                volumes: vec![volume],
                mounts: vec![read_only_mount(REPOSITORY_VOLUME, REPOSITORY_DIR)],
                env: Vec::new(),
            })
        }
        "s3" => {
            let s3 = backend.s3.as_ref().ok_or_else(|| missing("spec.storage.s3", "give the bucket"))?;
            let bucket = name_of(&object, "spec.storage.s3.bucket", &s3.bucket)?;
            let prefix = segments(&object, "spec.storage.s3.prefix", &s3.prefix)?;
            Ok(RepositoryAccess {
                url: bucket_url("s3", bucket, &[prefix, directory].concat()),
                env: s3_settings(s3),
                ..RepositoryAccess::default()
            })
        }
        "gcs" => {
            let gcs = backend.gcs.as_ref().ok_or_else(|| missing("spec.storage.gcs", "give the bucket"))?;
            let bucket = name_of(&object, "spec.storage.gcs.bucket", &gcs.bucket)?;
            let prefix = segments(&object, "spec.storage.gcs.prefix", &gcs.prefix)?;
            Ok(RepositoryAccess { url: bucket_url("gs", bucket, &[prefix, directory].concat()), ..RepositoryAccess::default() })
        }
        "azure" => {
            let azure = backend.azure.as_ref().ok_or_else(|| missing("spec.storage.azure", "give storage account and container"))?;
            let container = name_of(&object, "spec.storage.azure.container", &azure.container)?;
            let account = name_of(&object, "spec.storage.azure.storageAccount", &azure.storage_account)?;
            let prefix = segments(&object, "spec.storage.azure.prefix", &azure.prefix)?;
            Ok(RepositoryAccess {
                url: bucket_url("az", container, &[prefix, directory].concat()),
                env: vec![variable(environment::AZURE_ACCOUNT, account)],
                ..RepositoryAccess::default()
            })
        }
        "" => Err(missing("spec.storage.provider", "set it to local, s3, gcs or azure")),
        other => Err(AccessError::Invalid {
            object: object.clone(),
            field: "spec.storage.provider".into(),
            problem: format!("is {other:?}, which is unknown"),
            remedy: "set it to local, s3, gcs or azure".into(),
        }),
    }
}

fn s3_settings(s3: &S3Storage) -> Vec<EnvVar> {
    let mut env = Vec::new();
    if !s3.region.is_empty() {
        env.push(variable(environment::S3_REGION, &s3.region));
    }
    let endpoint = s3.endpoint.trim_end_matches('/');
    // AWS itself is found by the region; its bare host name would answer for one region only.
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let amazon = host.starts_with("s3.") && host.ends_with("amazonaws.com");
    if !(host.is_empty() || amazon) {
        let scheme = if endpoint.contains("://") { "" } else { "https://" };
        env.push(variable(environment::S3_ENDPOINT, &format!("{scheme}{endpoint}")));
        if endpoint.starts_with("http://") {
            env.push(variable(environment::S3_ALLOW_HTTP, "true"));
        }
    }
    if s3.insecure_tls {
        env.push(variable(environment::INSECURE_TLS, "true"));
    }
    env
}

/// The parts of a path, checked: a path that climbs would leave what the storage was given for.
fn segments(object: &str, field: &str, path: &str) -> Result<Vec<String>, AccessError> {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect();
    if parts.iter().any(|part| part == ".." || part.contains('\0')) {
        return Err(AccessError::Invalid {
            object: object.to_owned(),
            field: field.to_owned(),
            problem: format!("is {path:?}, which leaves its directory"),
            remedy: "give a path without `..`".into(),
        });
    }
    Ok(parts)
}

fn name_of<'a>(object: &str, field: &'static str, name: &'a str) -> Result<&'a str, AccessError> {
    if name.is_empty() {
        return Err(AccessError::Missing { object: object.to_owned(), field, remedy: "give its name" });
    }
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Ok(name);
    }
    Err(AccessError::Invalid {
        object: object.to_owned(),
        field: field.to_owned(),
        problem: format!("is {name:?}"),
        remedy: "give a name of letters, digits, dashes, dots and underscores".into(),
    })
}

/// A directory as a URL, with whatever a URL would read otherwise escaped.
fn directory_url(root: &str, path: &[String]) -> String {
    path.iter().fold(format!("file://{root}"), |mut url, part| {
        url.push('/');
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                url.push(char::from(byte));
            } else {
                url.push_str(&format!("%{byte:02X}"));
            }
        }
        url
    })
}

/// A place in a bucket. Keys are taken as they stand: the executor reads everything after the bucket as one.
fn bucket_url(scheme: &str, bucket: &str, path: &[String]) -> String {
    path.iter().fold(format!("{scheme}://{bucket}"), |url, part| format!("{url}/{part}"))
}

fn read_only_mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), read_only: Some(true), ..VolumeMount::default() }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
}

fn describe<K: kube::Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}/{}", K::kind(&()), object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests;
