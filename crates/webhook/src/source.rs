//! Where the facts come from that the rules ask for.

use std::collections::BTreeMap;

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository, Snapshot,
    SnapshotPhase,
    validate::{Access, Invoker, Lookup, RepositoryEntry, SessionFacts, SourceClaims, wants_newest},
};
use k8s_openapi::api::authentication::v1::UserInfo;

/// A place where objects are looked up: the watched caches, the API server itself, or a test's.
pub trait Source: Send + Sync + 'static {
    /// A BackupConfiguration.
    fn configuration(&self, namespace: &str, name: &str) -> impl Future<Output = Lookup<BackupConfiguration>> + Send;
    /// A BackupBatch.
    fn batch(&self, namespace: &str, name: &str) -> impl Future<Output = Lookup<BackupBatch>> + Send;
    /// A BackupVerifier.
    fn verifier(&self, namespace: &str, name: &str) -> impl Future<Output = Lookup<BackupVerifier>> + Send;
    /// A Repository.
    fn repository(&self, namespace: &str, name: &str) -> impl Future<Output = Lookup<Repository>> + Send;
    /// A Snapshot.
    fn snapshot(&self, namespace: &str, name: &str) -> impl Future<Output = Lookup<Snapshot>> + Send;
    /// Any Succeeded Snapshot of a session in a Repository.
    fn succeeded(&self, namespace: &str, repository: &str, session: &str) -> impl Future<Output = Lookup<Snapshot>> + Send;
    /// The invokers that refer to a verifier.
    fn users(&self, namespace: &str, name: &str) -> impl Future<Output = Lookup<Vec<OwnInvoker>>> + Send;
    /// A BackupStorage.
    fn storage(&self, namespace: &str, name: &str) -> impl Future<Output = Lookup<BackupStorage>> + Send;
    /// Every BackupStorage.
    fn storages(&self) -> impl Future<Output = Lookup<Vec<BackupStorage>>> + Send;
    /// Every Repository.
    fn repositories(&self) -> impl Future<Output = Lookup<Vec<Repository>>> + Send;
    /// The Addon labelled to implement a name, else the one of that name.
    fn addon(&self, name: &str) -> impl Future<Output = Lookup<Addon>> + Send;
    /// The Function labelled to implement a name, else the one of that name.
    fn function(&self, name: &str) -> impl Future<Output = Lookup<Function>> + Send;
    /// The sessions of a namespace that have not ended.
    fn unfinished(&self, namespace: &str) -> impl Future<Output = Lookup<Vec<BackupVerificationSession>>> + Send;
    /// The labels of a namespace.
    fn labels(&self, namespace: &str) -> impl Future<Output = Lookup<BTreeMap<String, String>>> + Send;
    /// The claims of a workload.
    fn workload(&self, kind: &str, namespace: &str, name: &str) -> impl Future<Output = Lookup<SourceClaims>> + Send;
    /// Whether somebody has an access.
    fn permitted(&self, user: &UserInfo, access: &Access) -> impl Future<Output = Lookup<bool>> + Send;
}

/// An invoker that is ours to keep.
#[derive(Clone, Debug)]
pub enum OwnInvoker {
    /// A BackupConfiguration.
    Configuration(Box<BackupConfiguration>),
    /// A BackupBatch.
    Batch(Box<BackupBatch>),
}

impl OwnInvoker {
    /// As the rules see it.
    pub fn view(&self) -> Invoker<'_> {
        match self {
            Self::Configuration(configuration) => Invoker::Configuration(configuration),
            Self::Batch(batch) => Invoker::Batch(batch),
        }
    }
}

/// Whether an invoker names this verifier anywhere.
pub fn uses(invoker: Invoker<'_>, namespace: &str, name: &str) -> bool {
    let fits = |entry: &RepositoryEntry<'_>| {
        entry.verifier().is_some_and(|verifier| verifier.name == name && verifier.namespace_or(invoker.namespace()) == namespace)
    };
    invoker.entries().iter().any(fits)
}

/// What was found of all a session names.
#[derive(Debug)]
pub struct OwnSessionFacts {
    invoker: Lookup<OwnInvoker>,
    repository: Lookup<Repository>,
    verifier: Lookup<BackupVerifier>,
    snapshot: Lookup<Snapshot>,
}

impl OwnSessionFacts {
    /// Looks up all a session names.
    pub async fn gather(source: &impl Source, session: &BackupVerificationSession) -> Self {
        let spec = &session.spec;
        let namespace = session.metadata.namespace.as_deref().unwrap_or_default();
        let named = spec.invoker.clone().unwrap_or_default();
        let invoker_and_verifier = async {
            let invoker = match (named.kind.as_str(), named.name.as_str()) {
                (_, "") => Lookup::Missing,
                ("BackupConfiguration", name) => {
                    source.configuration(namespace, name).await.map(|it| OwnInvoker::Configuration(Box::new(it)))
                }
                ("BackupBatch", name) => source.batch(namespace, name).await.map(|it| OwnInvoker::Batch(Box::new(it))),
                (_, _) => Lookup::Missing,
            };
            let verifier = match verifier_of(&invoker, &spec.session, &spec.repository) {
                Some((namespace, name)) => source.verifier(&namespace, &name).await,
                None => Lookup::Missing,
            };
            (invoker, verifier)
        };
        let repository = async {
            match spec.repository.as_str() {
                "" => Lookup::Missing,
                name => source.repository(namespace, name).await,
            }
        };
        let snapshot = async {
            match spec.snapshot.as_str() {
                name if !wants_newest(session) => source.snapshot(namespace, name).await,
                _ if spec.repository.is_empty() || spec.session.is_empty() => Lookup::Missing,
                _ => source.succeeded(namespace, &spec.repository, &spec.session).await,
            }
        };
        // Together, so that a slow API server costs its patience twice at most, not once per object.
        let ((invoker, verifier), repository, snapshot) = tokio::join!(invoker_and_verifier, repository, snapshot);
        Self { invoker, repository, verifier, snapshot }
    }

    /// As the rules take them.
    pub fn view(&self) -> SessionFacts<'_> {
        SessionFacts {
            invoker: self.invoker.as_ref().map(OwnInvoker::view),
            repository: self.repository.as_ref(),
            verifier: self.verifier.as_ref(),
            snapshot: self.snapshot.as_ref(),
        }
    }
}

/// Namespace and name of the verifier an invoker names for a repository of a session.
fn verifier_of(invoker: &Lookup<OwnInvoker>, session: &str, repository: &str) -> Option<(String, String)> {
    let invoker = invoker.as_ref().found()?.view();
    let entries = invoker.entries();
    let entry = entries.iter().find(|entry| entry.session == session && entry.repository.name == repository)?;
    let verifier = entry.verifier()?;
    Some((verifier.namespace_or(invoker.namespace()).to_owned(), verifier.name.clone()))
}

/// Whether a Snapshot is a finished one of a session in a Repository.
pub fn is_succeeded(snapshot: &Snapshot, repository: &str, session: &str) -> bool {
    snapshot.spec.repository == repository
        && snapshot.spec.session == session
        && snapshot.metadata.deletion_timestamp.is_none()
        && snapshot.status.as_ref().and_then(|status| status.phase.as_ref()).is_some_and(|phase| *phase == SnapshotPhase::Succeeded)
}
