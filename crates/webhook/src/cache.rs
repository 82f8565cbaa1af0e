//! The two sources of a running webhook: the watched caches, and the API server itself.
//!
//! Every object is kept behind a guard, so that one nobody can read neither stops a watch nor counts as missing. Of what may
//! be there in great numbers only the fields are kept that a rule asks for.

use std::{collections::BTreeMap, fmt::Debug, pin::Pin};

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerificationSessionStatus, BackupVerifier,
    Function, Guarded, Repository, Snapshot, SnapshotStatus, VerificationPhase, labels,
    shared::Wire,
    validate::{Access, Invoker, Lookup, SourceClaims},
};
use futures::StreamExt as _;
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::{
    Api, Client, Resource, ResourceExt as _,
    core::NamespaceResourceScope,
    runtime::{
        WatchStreamExt as _,
        reflector::{self, ObjectRef, Store},
        watcher,
    },
};
use serde::de::DeserializeOwned;

use crate::{
    Error,
    live::Live,
    source::{OwnInvoker, Source, is_succeeded, uses},
};

/// What is watched, as it was a moment ago.
#[derive(Clone)]
pub struct Cache {
    configurations: Store<Guarded<BackupConfiguration>>,
    batches: Store<Guarded<BackupBatch>>,
    verifiers: Store<Guarded<BackupVerifier>>,
    repositories: Store<Guarded<Repository>>,
    snapshots: Store<Guarded<Snapshot>>,
    storages: Store<Guarded<BackupStorage>>,
    addons: Store<Guarded<Addon>>,
    functions: Store<Guarded<Function>>,
    sessions: Store<Guarded<BackupVerificationSession>>,
    live: Live,
}

/// A task that keeps one store up to date; it never ends by itself.
pub type Watch = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Cache {
    /// Empty caches, and the tasks that fill them and keep them. What is not watched is asked of `live`.
    pub fn new(client: &Client, live: Live) -> (Self, Vec<Watch>) {
        let mut watches = Vec::new();
        let cache = Self {
            configurations: watched(client, &mut watches, |_| ()),
            batches: watched(client, &mut watches, |_| ()),
            verifiers: watched(client, &mut watches, |_| ()),
            repositories: watched(client, &mut watches, |repository: &mut Repository| repository.status = None),
            snapshots: watched(client, &mut watches, trim_snapshot),
            storages: watched(client, &mut watches, |storage: &mut BackupStorage| storage.status = None),
            addons: watched(client, &mut watches, |_| ()),
            functions: watched(client, &mut watches, |_| ()),
            sessions: watched(client, &mut watches, trim_session),
            live,
        };
        (cache, watches)
    }

    /// Completes when every cache is filled.
    pub async fn filled(&self) -> Result<(), Error> {
        let ended = |why: reflector::store::WriterDropped| Error::Ended { task: "watch", why: why.to_string() };
        let Self { configurations, batches, verifiers, repositories, snapshots, storages, addons, functions, sessions, live: _ } = self;
        tokio::try_join!(
            configurations.wait_until_ready(),
            batches.wait_until_ready(),
            verifiers.wait_until_ready(),
            repositories.wait_until_ready(),
            snapshots.wait_until_ready(),
            storages.wait_until_ready(),
            addons.wait_until_ready(),
            functions.wait_until_ready(),
            sessions.wait_until_ready(),
        )
        .map(|_| ())
        .map_err(ended)
    }
}

/// Tens of thousands of Snapshots are ordinary.
fn trim_snapshot(snapshot: &mut Snapshot) {
    snapshot.metadata.annotations = None;
    snapshot.metadata.labels = None;
    let phase = snapshot.status.take().and_then(|status| status.phase);
    snapshot.status = Some(SnapshotStatus { phase, ..SnapshotStatus::default() });
}

fn trim_session(session: &mut BackupVerificationSession) {
    session.metadata.annotations = None;
    let phase = session.status.take().and_then(|status| status.phase);
    session.status = Some(BackupVerificationSessionStatus { phase, ..BackupVerificationSessionStatus::default() });
}

fn watched<K>(client: &Client, watches: &mut Vec<Watch>, trim: fn(&mut K)) -> Store<Guarded<K>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let api = Api::<Guarded<K>>::all(client.clone());
    let stream = watcher(api, watcher::Config::default().any_semantic())
        .modify(move |object| {
            if let Ok(object) = &mut object.0 {
                trim(object);
            }
        })
        .default_backoff()
        .reflect(writer);
    let watch = stream.for_each(|event| async move {
        if let Err(error) = event {
            tracing::warn!(kind = %K::kind(&()), "the watch was interrupted and begins again: {error}");
        }
    });
    watches.push(Box::pin(watch));
    store
}

pub(crate) fn read<K: Clone>(guarded: &Guarded<K>) -> Lookup<K> {
    match &guarded.0 {
        Ok(object) => Lookup::Found(object.clone()),
        Err(invalid) => Lookup::Unknown(format!("it cannot be read: {invalid}")),
    }
}

fn cached<K>(store: &Store<Guarded<K>>, namespace: &str, name: &str) -> Lookup<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + 'static,
    Guarded<K>: Resource<DynamicType = ()> + Clone,
{
    match store.get(&ObjectRef::new(name).within(namespace)) {
        Some(guarded) => read(&guarded),
        None => Lookup::Missing,
    }
}

impl Source for Cache {
    async fn configuration(&self, namespace: &str, name: &str) -> Lookup<BackupConfiguration> {
        cached(&self.configurations, namespace, name)
    }

    async fn batch(&self, namespace: &str, name: &str) -> Lookup<BackupBatch> {
        cached(&self.batches, namespace, name)
    }

    async fn verifier(&self, namespace: &str, name: &str) -> Lookup<BackupVerifier> {
        cached(&self.verifiers, namespace, name)
    }

    async fn repository(&self, namespace: &str, name: &str) -> Lookup<Repository> {
        cached(&self.repositories, namespace, name)
    }

    async fn snapshot(&self, namespace: &str, name: &str) -> Lookup<Snapshot> {
        cached(&self.snapshots, namespace, name)
    }

    async fn succeeded(&self, namespace: &str, repository: &str, session: &str) -> Lookup<Snapshot> {
        let fits = |guarded: &Guarded<Snapshot>| {
            guarded.meta().namespace.as_deref() == Some(namespace)
                && guarded.0.as_ref().is_ok_and(|snapshot| is_succeeded(snapshot, repository, session))
        };
        self.snapshots.find(fits).map_or(Lookup::Missing, |guarded| read(&guarded))
    }

    async fn users(&self, namespace: &str, name: &str) -> Lookup<Vec<OwnInvoker>> {
        let configurations = self.configurations.state_filter(|guarded| {
            guarded.0.as_ref().is_ok_and(|configuration| uses(Invoker::Configuration(configuration), namespace, name))
        });
        let batches =
            self.batches.state_filter(|guarded| guarded.0.as_ref().is_ok_and(|batch| uses(Invoker::Batch(batch), namespace, name)));
        let configurations = configurations.iter().filter_map(|guarded| read(guarded).found());
        let batches = batches.iter().filter_map(|guarded| read(guarded).found());
        Lookup::Found(own_invokers(configurations, batches))
    }

    async fn storage(&self, namespace: &str, name: &str) -> Lookup<BackupStorage> {
        cached(&self.storages, namespace, name)
    }

    async fn storages(&self) -> Lookup<Vec<BackupStorage>> {
        Lookup::Found(everything(&self.storages, |_| true))
    }

    async fn repositories(&self) -> Lookup<Vec<Repository>> {
        Lookup::Found(everything(&self.repositories, |_| true))
    }

    async fn addon(&self, name: &str) -> Lookup<Addon> {
        implementing(&self.addons, name)
    }

    async fn function(&self, name: &str) -> Lookup<Function> {
        implementing(&self.functions, name)
    }

    async fn unfinished(&self, namespace: &str) -> Lookup<Vec<BackupVerificationSession>> {
        let running = |session: &BackupVerificationSession| {
            session.metadata.namespace.as_deref() == Some(namespace) && session.metadata.deletion_timestamp.is_none() && !is_done(session)
        };
        Lookup::Found(everything(&self.sessions, running))
    }

    async fn labels(&self, namespace: &str) -> Lookup<BTreeMap<String, String>> {
        self.live.labels(namespace).await
    }

    async fn workload(&self, kind: &str, namespace: &str, name: &str) -> Lookup<SourceClaims> {
        self.live.workload(kind, namespace, name).await
    }

    async fn permitted(&self, user: &UserInfo, access: &Access) -> Lookup<bool> {
        self.live.permitted(user, access).await
    }
}

/// Whether a session has ended.
pub(crate) fn is_done(session: &BackupVerificationSession) -> bool {
    let phase = session.status.as_ref().and_then(|status| status.phase.as_ref()).and_then(Wire::known);
    phase.is_some_and(VerificationPhase::is_done)
}

fn everything<K>(store: &Store<Guarded<K>>, wanted: impl Fn(&K) -> bool) -> Vec<K>
where
    K: Clone + 'static,
    Guarded<K>: Resource<DynamicType = ()> + Clone,
{
    store.state().iter().filter_map(|guarded| read(guarded).found()).filter(wanted).collect()
}

fn implementing<K>(store: &Store<Guarded<K>>, name: &str) -> Lookup<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
    Guarded<K>: Resource<DynamicType = ()> + Clone,
{
    let labelled = |guarded: &Guarded<K>| guarded.labels().get(labels::IMPLEMENTS).is_some_and(|value| value == name);
    store.find(labelled).or_else(|| store.get(&ObjectRef::new(name))).map_or(Lookup::Missing, |guarded| read(&guarded))
}

pub(crate) fn own_invokers(
    configurations: impl Iterator<Item = BackupConfiguration>,
    batches: impl Iterator<Item = BackupBatch>,
) -> Vec<OwnInvoker> {
    let configurations = configurations.map(|configuration| OwnInvoker::Configuration(Box::new(configuration)));
    configurations.chain(batches.map(|batch| OwnInvoker::Batch(Box::new(batch)))).collect()
}
