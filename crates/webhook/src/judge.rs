//! Looks up what a rule asks for, and judges one object of each kind.

use std::collections::BTreeMap;

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository,
    RestoreSession, Snapshot,
    shared::TypedObjectReference,
    validate::{self, DeletionFacts, Findings, Invoker, InvokerFacts, Lookup, SourceClaims, StorageFacts, VerifierFacts, workload_of},
};
use kube::{Resource, ResourceExt as _};

use crate::source::{OwnInvoker, OwnSessionFacts, Source};

/// What the chart's values allow.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Namespaces whose pods may ask for more than the restricted profile.
    pub unsafe_namespaces: Vec<String>,
    /// Pairs of a target's namespace and one whose sessions may restore there.
    pub crossing: Vec<(String, String)>,
}

/// An object of one of the kinds that are judged, as it was read.
#[derive(Debug)]
pub enum Object {
    /// A session.
    Session(Box<BackupVerificationSession>),
    /// A verifier.
    Verifier(Box<BackupVerifier>),
    /// A configuration or a batch.
    Invoker(OwnInvoker),
    /// A restore.
    Restore(Box<RestoreSession>),
    /// A Repository.
    Repository(Box<Repository>),
    /// A Snapshot.
    Snapshot(Box<Snapshot>),
    /// A storage.
    Storage(Box<BackupStorage>),
    /// An Addon.
    Addon(Box<Addon>),
    /// A Function.
    Function(Box<Function>),
}

impl From<BackupConfiguration> for Object {
    fn from(configuration: BackupConfiguration) -> Self {
        Self::Invoker(OwnInvoker::Configuration(Box::new(configuration)))
    }
}

impl From<BackupBatch> for Object {
    fn from(batch: BackupBatch) -> Self {
        Self::Invoker(OwnInvoker::Batch(Box::new(batch)))
    }
}

macro_rules! boxed {
    ($($kind:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$variant(Box::new(object))
            }
        })+
    };
}

boxed!(
    BackupVerificationSession => Session,
    BackupVerifier => Verifier,
    RestoreSession => Restore,
    Repository => Repository,
    Snapshot => Snapshot,
    BackupStorage => Storage,
    Addon => Addon,
    Function => Function,
);

/// Judges an object by what a source knows, as if it were created; and what differs from an old one, if it is changed.
pub async fn judge(source: &impl Source, allowed: &Allowed, object: &Object, old: Option<&Object>) -> Findings {
    match (object, old) {
        (Object::Session(session), None) => {
            let facts = Box::pin(OwnSessionFacts::gather(source, session)).await;
            validate::session(session, &facts.view())
        }
        (Object::Session(session), Some(Object::Session(old))) => validate::session_update(old, session),
        // An earlier spec that cannot be read any more differs from one that can.
        (Object::Session(session), Some(_)) => validate::session_update(&BackupVerificationSession::default(), session),
        (Object::Verifier(verifier), _) => Box::pin(judge_verifier(source, allowed, verifier)).await,
        (Object::Invoker(invoker), _) => Box::pin(judge_invoker(source, allowed, invoker.view())).await,
        (Object::Restore(restore), _) => validate::restore_session(restore),
        (Object::Repository(repository), old) => {
            let findings = Box::pin(judge_repository(source, repository)).await;
            match old {
                Some(Object::Repository(old)) => findings.and(validate::repository_update(old, repository)),
                _ => findings,
            }
        }
        (Object::Snapshot(snapshot), _) => validate::snapshot(snapshot),
        (Object::Storage(storage), old) => {
            let old = match old {
                Some(Object::Storage(old)) => Some(&**old),
                _ => None,
            };
            Box::pin(judge_storage(source, storage, old)).await
        }
        (Object::Addon(addon), _) => validate::addon(addon),
        (Object::Function(function), _) => validate::function(function),
    }
}

fn names(object: &impl Resource) -> (&str, &str) {
    let meta = object.meta();
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

async fn judge_verifier(source: &impl Source, allowed: &Allowed, verifier: &BackupVerifier) -> Findings {
    let (namespace, name) = names(verifier);
    let option = verifier.spec.restore_option.as_ref();
    let addon = option.and_then(|option| option.addon_info.as_ref()).map(|info| info.name.as_str()).unwrap_or_default();
    let addon = async {
        match addon {
            "" => Lookup::Missing,
            name => source.addon(name).await,
        }
    };
    let function = async {
        match verifier.spec.function.as_str() {
            "" => Lookup::Missing,
            name => source.function(name).await,
        }
    };
    let (users, addon, function) = tokio::join!(source.users(namespace, name), addon, function);
    let (mut workloads, mut storages) = (Vec::new(), Vec::new());
    if let (Lookup::Found(users), Some(target)) = (&users, option.and_then(|option| option.target.as_ref())) {
        for invoker in users.iter().map(OwnInvoker::view) {
            let entries = invoker.entries();
            let using = entries
                .iter()
                .filter(|entry| entry.verifier().is_some_and(|one| one.name == name && one.namespace_or(invoker.namespace()) == namespace));
            for entry in using {
                let found = source_claims(source, entry.source, invoker.namespace(), (target, namespace)).await;
                workloads.extend(found.map(|found| (invoker.to_string(), found)));
                let backend = invoker.backends().iter().find(|backend| backend.name == entry.repository.backend);
                if let Some(reference) = backend.and_then(|backend| backend.storage_ref.as_ref()) {
                    // What cannot be asked for is looked at again before anything runs.
                    let storage = source.storage(reference.namespace_or(invoker.namespace()), &reference.name).await.found();
                    storages.extend(storage.map(|storage| (invoker.to_string(), storage)));
                }
            }
        }
    }
    let users: Lookup<Vec<Invoker<'_>>> = users.as_ref().map(|users| users.iter().map(OwnInvoker::view).collect());
    validate::verifier(verifier, &users)
        .and(validate::verifier_references(verifier, &VerifierFacts { addon, function, workloads, storages }))
        .and(validate::pod_settings(verifier, &allowed.unsafe_namespaces))
}

/// The claims of a source workload, if the target is a claim beside it. One that cannot be asked for has none here: the
/// controller looks again before it starts anything.
async fn source_claims(
    known: &impl Source,
    source: Option<&TypedObjectReference>,
    own: &str,
    (target, target_own): (&TypedObjectReference, &str),
) -> Option<SourceClaims> {
    let (kind, namespace, name) = workload_of(source?, own)?;
    if target.kind != "PersistentVolumeClaim" || target.namespace_or(target_own) != namespace {
        return None;
    }
    known.workload(kind, namespace, name).await.found()
}

async fn judge_invoker(source: &impl Source, allowed: &Allowed, invoker: Invoker<'_>) -> Findings {
    let own = invoker.namespace();
    let mut facts = InvokerFacts { crossing: Some(allowed.crossing.clone()), ..InvokerFacts::default() };
    for reference in invoker.backends().iter().filter_map(|backend| backend.storage_ref.as_ref()) {
        let place = (reference.namespace_or(own).to_owned(), reference.name.clone());
        if !reference.name.is_empty() && !facts.storages.contains_key(&place) {
            let storage = source.storage(&place.0, &place.1).await;
            facts.storages.insert(place, storage);
        }
    }
    if facts.storages.values().any(asks_for_labels) {
        facts.labels = source.labels(own).await.found();
    }
    for entry in invoker.entries() {
        let name = &entry.repository.name;
        if !name.is_empty() && !facts.repositories.contains_key(name) {
            facts.repositories.insert(name.clone(), source.repository(own, name).await);
        }
        let Some(reference) = entry.verifier() else { continue };
        let place = (reference.namespace_or(own).to_owned(), reference.name.clone());
        if !facts.verifiers.contains_key(&place) {
            facts.verifiers.insert(place.clone(), source.verifier(&place.0, &place.1).await);
        }
        if let Some(Lookup::Found(verifier)) = facts.verifiers.get(&place)
            && let Some(target) = verifier.spec.restore_option.as_ref().and_then(|option| option.target.as_ref())
        {
            facts.workloads.extend(source_claims(source, entry.source, own, (target, &place.0)).await);
        }
    }
    validate::invoker(invoker, &facts)
}

fn asks_for_labels(storage: &Lookup<BackupStorage>) -> bool {
    let Lookup::Found(storage) = storage else { return false };
    let allowed = storage.spec.usage_policy.as_ref().and_then(|policy| policy.allowed_namespaces.as_ref());
    allowed.is_some_and(|allowed| allowed.selector.is_some())
}

async fn judge_repository(source: &impl Source, repository: &Repository) -> Findings {
    let (own, _) = names(repository);
    let reference = repository.spec.storage_ref.clone().unwrap_or_default();
    let storage = match reference.name.as_str() {
        "" => Lookup::Missing,
        name => source.storage(reference.namespace_or(own), name).await,
    };
    let labels: Option<BTreeMap<String, String>> = if asks_for_labels(&storage) { source.labels(own).await.found() } else { None };
    validate::repository(repository, &storage, labels.as_ref())
}

async fn judge_storage(source: &impl Source, storage: &BackupStorage, old: Option<&BackupStorage>) -> Findings {
    let mut unanswered = Vec::new();
    let others = source.storages().await;
    if let Lookup::Unknown(why) = &others {
        unanswered.push(format!("other storages: {why}"));
    }
    let repositories = if old.is_some() { repositories_in(source, names(storage)).await } else { Vec::new() };
    let facts = StorageFacts { others: others.found().unwrap_or_default(), repositories };
    validate::storage(storage, old, &facts).and(Findings { unanswered, ..Findings::default() })
}

async fn repositories_in(source: &impl Source, storage: (&str, &str)) -> Vec<String> {
    let lies_there = |repository: &Repository| {
        let (own, _) = names(repository);
        repository.spec.storage_ref.as_ref().is_some_and(|one| (one.namespace_or(own), one.name.as_str()) == storage)
    };
    let all = source.repositories().await.found().unwrap_or_default();
    all.iter().filter(|one| lies_there(one)).map(|one| format!("Repository {}/{}", names(one).0, names(one).1)).collect()
}

/// What to say about a deletion.
pub async fn judge_deletion(source: &impl Source, kind: &str, namespace: &str, name: &str) -> Findings {
    let running = async |needs: &(dyn Fn(&BackupVerificationSession) -> bool + Send + Sync)| -> Vec<String> {
        let sessions = source.unfinished(namespace).await.found().unwrap_or_default();
        sessions.iter().filter(|session| needs(session)).map(|session| format!("{namespace}/{}", session.name_any())).collect()
    };
    let facts = match kind {
        "BackupVerifier" => {
            let users = source.users(namespace, name).await.found().unwrap_or_default();
            DeletionFacts { users: users.iter().map(|user| user.view().to_string()).collect(), sessions: Vec::new() }
        }
        "Snapshot" => DeletionFacts { sessions: running(&|session| session.spec.snapshot == name).await, users: Vec::new() },
        "Repository" => DeletionFacts { sessions: running(&|session| session.spec.repository == name).await, users: Vec::new() },
        "BackupStorage" => DeletionFacts { users: repositories_in(source, (namespace, name)).await, sessions: Vec::new() },
        "BackupConfiguration" | "BackupBatch" => {
            let of_it = |session: &BackupVerificationSession| {
                session.spec.invoker.as_ref().is_some_and(|invoker| invoker.kind == kind && invoker.name == name)
            };
            DeletionFacts { sessions: running(&of_it).await, users: Vec::new() }
        }
        _ => DeletionFacts::default(),
    };
    validate::deletion(kind, &facts)
}
