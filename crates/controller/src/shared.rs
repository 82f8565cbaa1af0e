//! What the process knows of the world, once for all of its parts: caches of everything a session refers to, filled by watches.
//!
//! They save requests and may lag, so they never have the last word: what is missing in one is asked of the API server before
//! it counts as missing, and nothing ends a session before it was read live (`session/references.rs`, `restore/inputs.rs`).

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Guarded, Repository,
    RestoreSession, Snapshot, kept, labels, names,
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::ListParams,
    runtime::{
        reflector::{self, ObjectRef, Store, store::Writer},
        watcher,
    },
};
use serde::de::DeserializeOwned;

use crate::{
    Context, Error, Part, Shutdown,
    cache::{self, Caches, Filled, Index},
    session,
};

/// A session that may not parse: whoever made it is told so, and can still delete it.
pub(crate) type Session = Guarded<BackupVerificationSession>;

/// How fresh what is read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Reading {
    /// What the watches have told will do.
    Cached,
    /// The API server is asked.
    #[default]
    Live,
}

/// A cache that tells whoever listens.
pub(crate) struct Feed<K: Resource<DynamicType = ()> + 'static> {
    store: Store<K>,
    filled: Filled,
    listeners: Listeners<K>,
}

type Listeners<K> = Arc<Mutex<Vec<Box<dyn Fn(&K) + Send>>>>;

impl<K> Feed<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    fn open(caches: &mut Caches, trim: impl Fn(&mut K) + Send + 'static) -> Self {
        Self::open_some(caches, watcher::Config::default(), trim)
    }

    /// Of these objects alone.
    fn open_some(caches: &mut Caches, selection: watcher::Config, trim: impl Fn(&mut K) + Send + 'static) -> Self {
        let listeners = Listeners::<K>::default();
        let told = listeners.clone();
        let changed = move |object: &K| lock(&told).iter().for_each(|listener| listener(object));
        let store = caches.watch_trimmed(selection, trim, changed);
        let waits = store.clone();
        Self { store, filled: cache::filled(async move { waits.wait_until_ready().await.is_ok() }), listeners }
    }

    /// With these objects, which never change.
    #[cfg(test)]
    pub(crate) fn of(objects: Vec<K>) -> Self {
        Self {
            store: crate::exploration::filled(objects),
            filled: cache::filled(std::future::ready(true)),
            listeners: Listeners::default(),
        }
    }

    /// Completes when it is filled; `false` when the watch is gone.
    pub(crate) fn filled(&self) -> Filled {
        self.filled.clone()
    }

    /// The cache.
    pub(crate) fn store(&self) -> &Store<K> {
        &self.store
    }

    /// Calls `changed` after every change from now on, and once for each object that is there already.
    pub(crate) fn listen(&self, changed: impl Fn(&K) + Send + 'static) {
        // Who changes something tells of it under this lock, after the cache knows: nothing falls between the two.
        let mut listeners = lock(&self.listeners);
        self.store.state().iter().for_each(|object| changed(object));
        listeners.push(Box::new(changed));
    }

    /// An index of its objects.
    fn indexed(&self, word: fn(&K) -> Option<String>) -> Arc<Index<K>> {
        let index = Arc::new(Index::new(self.store.clone(), word));
        let listening = index.clone();
        self.listen(move |object| listening.note(object));
        index
    }

    /// The object of this name, of which the API server is asked where the cache does not have it, or is not to be relied on.
    pub(crate) async fn get(&self, client: &Client, namespace: &str, name: &str, reading: Reading) -> Result<Option<K>, Error>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    {
        match reading {
            Reading::Cached if !name.is_empty() => {
                if let Some(found) = self.store.get(&ObjectRef::new(name).within(namespace)) {
                    return Ok(Some((*found).clone()));
                }
            }
            Reading::Cached | Reading::Live => {}
        }
        live(Api::namespaced(client.clone(), namespace), name).await
    }

    /// Objects labelled as implementing this name.
    pub(crate) async fn implementing(&self, client: &Client, name: &str, reading: Reading) -> Result<Vec<K>, Error> {
        if !names::is_label_value(name) {
            return Ok(Vec::new());
        }
        let labelled = |object: &K| object.labels().get(labels::IMPLEMENTS).is_some_and(|label| label == name);
        match reading {
            Reading::Cached => Ok(self.store.state().iter().filter(|object| labelled(object)).map(|object| (**object).clone()).collect()),
            Reading::Live => {
                let selector = ListParams::default().labels(&format!("{}={name}", labels::IMPLEMENTS));
                let api: Api<Guarded<K>> = Api::all(client.clone());
                let listed = api.list(&selector).await.map_err(Error::api(format!("list {}s that implement {name}", K::kind(&()))))?;
                Ok(listed.items.into_iter().filter_map(|guarded| guarded.0.ok()).collect())
            }
        }
    }

    /// The same for a kind that lies in no namespace.
    pub(crate) async fn get_cluster(&self, client: &Client, name: &str, reading: Reading) -> Result<Option<K>, Error> {
        match reading {
            Reading::Cached if !name.is_empty() => {
                if let Some(found) = self.store.get(&ObjectRef::new(name)) {
                    return Ok(Some((*found).clone()));
                }
            }
            Reading::Cached | Reading::Live => {}
        }
        live(Api::all(client.clone()), name).await
    }
}

/// One object as the API server has it, or nothing when it does not exist or cannot be read.
pub(crate) async fn live<K>(api: Api<Guarded<K>>, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    if name.is_empty() {
        return Ok(None);
    }
    let kind = K::kind(&()).into_owned();
    match api.get_opt(name).await.map_err(Error::api(format!("get {kind} {name}")))? {
        Some(Guarded(Ok(object))) => Ok(Some(object)),
        Some(Guarded(Err(invalid))) => {
            tracing::warn!(kind, name, error = invalid.error, "an object cannot be read and counts as missing");
            Ok(None)
        }
        None => Ok(None),
    }
}

/// Labels of a namespace, which a BackupStorage's usage policy may ask for.
pub(crate) async fn namespace_labels(client: &Client, name: &str) -> Result<BTreeMap<String, String>, Error> {
    let namespace = live::<Namespace>(Api::all(client.clone()), name).await?;
    Ok(namespace.and_then(|namespace| namespace.metadata.labels).unwrap_or_default())
}

/// What the API server answered to a write, read as the object it is of.
pub(crate) fn answered<K>(answer: Result<Guarded<K>, kube::Error>) -> Result<K, kube::Error> {
    answer?.0.map_err(|unreadable| kube::Error::SerdeError(serde::de::Error::custom(unreadable)))
}

/// The caches, and what parts tell each other.
pub(crate) struct Shared {
    pub(crate) configurations: Feed<BackupConfiguration>,
    pub(crate) batches: Feed<BackupBatch>,
    pub(crate) verifiers: Feed<BackupVerifier>,
    pub(crate) repositories: Feed<Repository>,
    pub(crate) storages: Feed<BackupStorage>,
    pub(crate) addons: Feed<Addon>,
    pub(crate) functions: Feed<Function>,
    pub(crate) claims: Feed<PersistentVolumeClaim>,
    pub(crate) volumes: Feed<PersistentVolume>,
    /// As they were meant, whatever the installed schema drops.
    pub(crate) restores: Feed<RestoreSession>,
    /// Jobs of restores and their pods.
    pub(crate) jobs: Feed<Job>,
    pub(crate) pods: Feed<Pod>,
    /// The same by the UID of their session.
    pub(crate) jobs_of: Arc<Index<Job>>,
    pub(crate) pods_of: Arc<Index<Pod>>,
    /// Sessions, which the session reconciler watches.
    pub(crate) sessions: Store<Session>,
    sessions_writer: Mutex<Option<Writer<Session>>>,
    /// Sessions that share a history ([`session::history_of`]).
    pub(crate) sessions_of: Arc<Index<Session>>,
    /// Snapshots as they were when a run was pinned to them, by the session's UID; they go when it ends. There may be ten
    /// thousand Snapshots, so no cache holds them.
    pub(crate) pinned: Mutex<HashMap<String, Arc<Snapshot>>>,
}

impl Shared {
    /// Begins to watch.
    pub(crate) fn watch(context: &Context) -> (Self, Caches) {
        let mut caches = Caches::new(context.client.clone(), context.metrics.clone());
        let all = &mut caches;
        let (configurations, batches, verifiers) = (Feed::open(all, |_| {}), Feed::open(all, |_| {}), Feed::open(all, |_| {}));
        let (repositories, storages) = (Feed::open(all, |_| {}), Feed::open(all, |_| {}));
        let (addons, functions) = (Feed::open(all, |_| {}), Feed::open(all, |_| {}));
        let (claims, volumes) = (Feed::open(all, trim_claim), Feed::open(all, trim_volume));
        let restores = Feed::open(all, unpack);
        // Triggers carry the verifier's component as well, but belong to no session.
        let parts = [labels::COMPONENT_RESTORE, labels::COMPONENT_VERIFIER].join(", ");
        let ours = watcher::Config::default().labels(&format!("{} in ({parts}),{}", labels::COMPONENT, labels::SESSION_UID));
        let (jobs, pods) = (Feed::open_some(all, ours.clone(), |_| {}), Feed::open_some(all, ours, |_| {}));
        let (jobs_of, pods_of) = (jobs.indexed(of_session), pods.indexed(of_session));
        let (sessions, sessions_writer) = reflector::store();
        let sessions_of = Arc::new(Index::new(sessions.clone(), session::history_of));
        let (sessions_writer, pinned) = (Mutex::new(Some(sessions_writer)), Mutex::default());
        let shared = Self {
            configurations,
            batches,
            verifiers,
            repositories,
            storages,
            addons,
            functions,
            claims,
            volumes,
            restores,
            jobs,
            pods,
            jobs_of,
            pods_of,
            sessions,
            sessions_writer,
            sessions_of,
            pinned,
        };
        (shared, caches)
    }

    /// Completes when all are filled; `false` when a watch is gone.
    pub(crate) async fn filled(&self) -> bool {
        self.configurations.filled().await
            && self.batches.filled().await
            && self.verifiers.filled().await
            && self.repositories.filled().await
            && self.storages.filled().await
            && self.addons.filled().await
            && self.functions.filled().await
            && self.claims.filled().await
            && self.volumes.filled().await
            && self.restores.filled().await
            && self.jobs.filled().await
            && self.pods.filled().await
    }

    /// The end of the cache of sessions, for the part that fills it.
    pub(crate) fn sessions_writer(&self) -> Result<Writer<Session>, Error> {
        lock(&self.sessions_writer).take().ok_or(Error::PartEnded { part: "session" })
    }

    /// Keeps the Snapshot a session is pinned to.
    pub(crate) fn pin(&self, session_uid: &str, snapshot: Snapshot) {
        lock(&self.pinned).insert(session_uid.to_owned(), Arc::new(snapshot));
    }

    /// Forgets it: the session has ended, or it is out of date.
    pub(crate) fn unpin(&self, session_uid: &str) {
        lock(&self.pinned).remove(session_uid);
    }

    /// The Snapshot a session was pinned to, as it was then.
    pub(crate) fn pinned_snapshot(&self, session_uid: &str) -> Option<Arc<Snapshot>> {
        lock(&self.pinned).get(session_uid).cloned()
    }
}

/// What caches were filled with, for one step of the exploration.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) configurations: Vec<BackupConfiguration>,
    pub(crate) batches: Vec<BackupBatch>,
    pub(crate) verifiers: Vec<BackupVerifier>,
    pub(crate) repositories: Vec<Repository>,
    pub(crate) storages: Vec<BackupStorage>,
    pub(crate) addons: Vec<Addon>,
    pub(crate) functions: Vec<Function>,
    pub(crate) claims: Vec<PersistentVolumeClaim>,
    pub(crate) volumes: Vec<PersistentVolume>,
    pub(crate) restores: Vec<RestoreSession>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) pods: Vec<Pod>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) pinned: HashMap<String, Arc<Snapshot>>,
}

#[cfg(test)]
impl Shared {
    /// As the watches would have made it of these objects.
    pub(crate) fn of(mut known: Known) -> Self {
        known.restores.iter_mut().for_each(unpack);
        known.sessions.iter_mut().filter_map(|session| session.0.as_mut().ok()?.status.as_mut()).for_each(kept::unpack);
        known.claims.iter_mut().for_each(trim_claim);
        known.volumes.iter_mut().for_each(trim_volume);
        let (jobs, pods, sessions) = (Feed::of(known.jobs), Feed::of(known.pods), crate::exploration::filled(known.sessions));
        Self {
            configurations: Feed::of(known.configurations),
            batches: Feed::of(known.batches),
            verifiers: Feed::of(known.verifiers),
            repositories: Feed::of(known.repositories),
            storages: Feed::of(known.storages),
            addons: Feed::of(known.addons),
            functions: Feed::of(known.functions),
            claims: Feed::of(known.claims),
            volumes: Feed::of(known.volumes),
            restores: Feed::of(known.restores),
            jobs_of: jobs.indexed(of_session),
            pods_of: pods.indexed(of_session),
            jobs,
            pods,
            sessions_of: Arc::new(Index::new(sessions.clone(), session::history_of)),
            sessions,
            sessions_writer: Mutex::default(),
            pinned: Mutex::new(known.pinned),
        }
    }
}

/// Runs until told to stop, or until a watch ends, which none should.
pub(crate) async fn run(context: Arc<Context>, shared: Arc<Shared>, mut caches: Caches, shutdown: Shutdown) -> Result<(), Error> {
    let ready = async {
        if shared.filled().await {
            context.ready.set(Part::Shared);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ready => Ok(()),
        () = caches.ended() => Err(Error::PartEnded { part: "caches" }),
        () = shutdown.requested() => Ok(()),
    }
}

/// UID of the session that a Job or pod is of.
fn of_session<K: Resource>(object: &K) -> Option<String> {
    object.labels().get(labels::SESSION_UID).cloned()
}

fn unpack(restore: &mut RestoreSession) {
    restore.status.iter_mut().for_each(kept::unpack);
}

/// A restore as it was meant, whatever the installed schema drops of its status.
pub(crate) fn as_meant(mut restore: RestoreSession) -> RestoreSession {
    unpack(&mut restore);
    restore
}

/// Of a claim: whose it is, what it is bound to, and whether it can be mounted.
fn trim_claim(claim: &mut PersistentVolumeClaim) {
    (claim.metadata.annotations, claim.metadata.labels) = (None, None);
    let phase = claim.status.take().and_then(|status| status.phase);
    claim.status = Some(PersistentVolumeClaimStatus { phase, ..PersistentVolumeClaimStatus::default() });
    if let Some(spec) = &mut claim.spec {
        (spec.data_source, spec.data_source_ref, spec.resources, spec.selector) = (None, None, None, None);
    }
}

/// Of a volume: whose it is, and where its data lies.
fn trim_volume(volume: &mut PersistentVolume) {
    (volume.metadata.annotations, volume.metadata.labels, volume.status) = (None, None, None);
    if let Some(spec) = &mut volume.spec {
        (spec.capacity, spec.access_modes, spec.mount_options) = (None, None, None);
    }
}

/// Each entry is whole at any time, so a panic elsewhere leaves nothing half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
