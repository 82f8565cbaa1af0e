//! The Secrets a Job needs to reach a repository: which keys of which, and how they are mounted. Pure; nothing here reads one.

use backproof_api::{BackupStorage, Repository, environment};
use k8s_openapi::api::core::v1::{KeyToPath, SecretVolumeSource, Volume};
use kube::ResourceExt as _;

use super::{AccessError, Place, RepositoryAccess, describe, read_only_mount, variable};

/// Where the Secret with the repository's password is mounted.
pub const ENCRYPTION_DIR: &str = "/backproof/encryption";
/// Where the Secret with the storage's credentials is mounted.
pub const STORAGE_DIR: &str = "/backproof/storage";

const ENCRYPTION_VOLUME: &str = "backproof-encryption";
const STORAGE_VOLUME: &str = "backproof-storage";

/// A Secret that a Job needs, and which keys of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSource {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The keys to mount; some may be absent.
    pub keys: &'static [&'static str],
    /// Object and field that name the Secret.
    pub named_by: String,
    volume: &'static str,
    mount_path: &'static str,
    env: &'static str,
}

/// The Secrets a Job needs for this repository.
pub fn secrets(storage: &BackupStorage, repository: &Repository) -> Vec<SecretSource> {
    let mut sources = Vec::new();
    if let Some(reference) = repository.spec.encryption_secret.as_ref().filter(|reference| !reference.name.is_empty()) {
        let own = repository.namespace().unwrap_or_default();
        sources.push(SecretSource {
            namespace: reference.namespace_or(&own).to_owned(),
            name: reference.name.clone(),
            keys: environment::ENCRYPTION_KEYS,
            named_by: format!("{}: spec.encryptionSecret", describe(repository)),
            volume: ENCRYPTION_VOLUME,
            mount_path: ENCRYPTION_DIR,
            env: environment::ENCRYPTION_DIR,
        });
    }
    if let Some((name, keys, field)) = storage_secret(storage) {
        sources.push(SecretSource {
            namespace: storage.namespace().unwrap_or_default(),
            name: name.to_owned(),
            keys,
            named_by: format!("{}: {field}", describe(storage)),
            volume: STORAGE_VOLUME,
            mount_path: STORAGE_DIR,
            env: environment::STORAGE_DIR,
        });
    }
    sources
}

impl SecretSource {
    pub(super) fn mount(&self, place: Place<'_>, access: &mut RepositoryAccess) -> Result<(), AccessError> {
        let secret = match place.copied_secret {
            Some(copy) => copy,
            None if self.namespace == place.namespace => &self.name,
            None => {
                return Err(AccessError::SecretElsewhere {
                    named_by: self.named_by.clone(),
                    secret_namespace: self.namespace.clone(),
                    secret: self.name.clone(),
                    namespace: place.namespace.to_owned(),
                });
            }
        };
        let item = |key: &&str| KeyToPath { key: (*key).to_owned(), path: (*key).to_owned(), mode: None };
        access.volumes.push(Volume {
            name: self.volume.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.to_owned()),
                items: Some(self.keys.iter().map(item).collect()),
                // Without it the container would not start, and nobody would report which Secret is missing.
                optional: Some(true),
                default_mode: Some(0o444),
            }),
            ..Volume::default()
        });
        access.mounts.push(read_only_mount(self.volume, self.mount_path));
        access.env.push(variable(self.env, self.mount_path));
        Ok(())
    }
}

fn storage_secret(storage: &BackupStorage) -> Option<(&str, &'static [&'static str], &'static str)> {
    let backend = storage.spec.storage.as_ref()?;
    let (name, keys, field) = match backend.provider.as_str() {
        "s3" => (&backend.s3.as_ref()?.secret_name, environment::S3_KEYS, "spec.storage.s3.secretName"),
        "gcs" => (&backend.gcs.as_ref()?.secret_name, environment::GCS_KEYS, "spec.storage.gcs.secretName"),
        "azure" => (&backend.azure.as_ref()?.secret_name, environment::AZURE_KEYS, "spec.storage.azure.secretName"),
        _ => return None,
    };
    (!name.is_empty()).then_some((name.as_str(), keys, field))
}
