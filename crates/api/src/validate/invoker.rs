//! BackupConfiguration and BackupBatch seen alike: sessions, and which repository of them is proven by which verifier.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{
    Backend, BackupBatch, BackupConfiguration, RepositoryInfo,
    shared::{ObjectReference, RetryConfig, SchedulerSpec, TypedObjectReference},
};

/// An object that backups, and so verifications, belong to.
#[derive(Clone, Copy, Debug)]
pub enum Invoker<'a> {
    /// One target.
    Configuration(&'a BackupConfiguration),
    /// Several targets.
    Batch(&'a BackupBatch),
}

/// One repository of one session of an invoker.
#[derive(Clone, Debug)]
pub struct RepositoryEntry<'a> {
    /// Path of this entry in the invoker, such as `spec.sessions[0].repositories[1]`.
    pub field: String,
    /// Name of the session.
    pub session: &'a str,
    /// What is backed up there.
    pub source: Option<&'a TypedObjectReference>,
    /// The entry itself.
    pub repository: &'a RepositoryInfo,
}

/// One session of an invoker, as far as both kinds have it.
#[derive(Clone, Debug)]
pub struct InvokerSession<'a> {
    /// Its name.
    pub name: &'a str,
    /// When it runs.
    pub scheduler: Option<&'a SchedulerSpec>,
    /// Longest time of a backup.
    pub timeout: &'a str,
    /// Retries of a failed backup.
    pub retry: Option<&'a RetryConfig>,
}

impl RepositoryEntry<'_> {
    /// The verifier that proves what is stored there.
    pub fn verifier(&self) -> Option<&ObjectReference> {
        self.repository.backup_verifier.as_ref().filter(|verifier| !verifier.name.is_empty())
    }
}

impl<'a> Invoker<'a> {
    /// API group of both kinds.
    pub const GROUP: &'static str = "core.kubestash.com";

    /// The kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Configuration(_) => "BackupConfiguration",
            Self::Batch(_) => "BackupBatch",
        }
    }

    /// The metadata.
    pub fn meta(self) -> &'a ObjectMeta {
        match self {
            Self::Configuration(configuration) => &configuration.metadata,
            Self::Batch(batch) => &batch.metadata,
        }
    }

    /// The namespace.
    pub fn namespace(self) -> &'a str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }

    /// The name.
    pub fn name(self) -> &'a str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    /// Whether no new sessions may run.
    pub fn paused(self) -> bool {
        match self {
            Self::Configuration(configuration) => configuration.spec.paused,
            Self::Batch(batch) => batch.spec.paused,
        }
    }

    /// The storages its repositories refer to.
    pub fn backends(self) -> &'a [Backend] {
        match self {
            Self::Configuration(configuration) => &configuration.spec.backends,
            Self::Batch(batch) => &batch.spec.backends,
        }
    }

    /// The names of its sessions.
    pub fn sessions(self) -> Vec<&'a str> {
        self.all_sessions().into_iter().map(|session| session.name).collect()
    }

    /// Its sessions.
    pub fn all_sessions(self) -> Vec<InvokerSession<'a>> {
        macro_rules! seen {
            ($sessions:expr) => {
                $sessions
                    .iter()
                    .map(|session| InvokerSession {
                        name: &session.name,
                        scheduler: session.scheduler.as_ref(),
                        timeout: &session.backup_timeout,
                        retry: session.retry_config.as_ref(),
                    })
                    .collect()
            };
        }
        match self {
            Self::Configuration(configuration) => seen!(configuration.spec.sessions),
            Self::Batch(batch) => seen!(batch.spec.sessions),
        }
    }

    /// Every repository of every session, in the order they are written.
    pub fn entries(self) -> Vec<RepositoryEntry<'a>> {
        match self {
            Self::Configuration(configuration) => configuration_entries(configuration),
            Self::Batch(batch) => batch_entries(batch),
        }
    }
}

/// Kind, namespace and name, as messages name it.
impl std::fmt::Display for Invoker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind(), self.namespace(), self.name())
    }
}

fn configuration_entries(configuration: &BackupConfiguration) -> Vec<RepositoryEntry<'_>> {
    let mut entries = Vec::new();
    for (s, session) in configuration.spec.sessions.iter().enumerate() {
        for (r, repository) in session.repositories.iter().enumerate() {
            entries.push(RepositoryEntry {
                field: format!("spec.sessions[{s}].repositories[{r}]"),
                session: &session.name,
                source: configuration.spec.target.as_ref(),
                repository,
            });
        }
    }
    entries
}

fn batch_entries(batch: &BackupBatch) -> Vec<RepositoryEntry<'_>> {
    let source = |name: &str| batch.spec.targets.iter().find(|target| target.name == name).and_then(|target| target.app_ref.as_ref());
    let mut entries = Vec::new();
    for (s, session) in batch.spec.sessions.iter().enumerate() {
        for (t, target) in session.targets.iter().enumerate() {
            for (r, repository) in target.repositories.iter().enumerate() {
                entries.push(RepositoryEntry {
                    field: format!("spec.sessions[{s}].targets[{t}].repositories[{r}]"),
                    session: &session.name,
                    source: source(&target.name),
                    repository,
                });
            }
        }
    }
    entries
}
