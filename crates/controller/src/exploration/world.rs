//! One state: the API's objects, what the caches know of them, what the process remembers, and when it looks again.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::DefaultHasher},
    fmt,
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

use backproof_api::Snapshot;
use backproof_testing::memory::{Change, Key, Object, Store};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::core::PartialObjectMeta;
use serde::Deserialize as _;

use super::{choice::Choice, truth::Truth};
use crate::{restore, session};

/// One object to reconcile, by the reconciler and the object's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Work {
    Session(String),
    Restore(String),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(name) => write!(f, "session:{name}"),
            Self::Restore(name) => write!(f, "restore:{name}"),
        }
    }
}

/// The watches, each with a cache behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Watch {
    /// The session reconciler's sessions.
    Sessions,
    /// Repositories, whose changes wake sessions.
    Repositories,
    /// Everything else that sessions refer to, which wakes nobody.
    References,
    /// RestoreSessions, for both reconcilers.
    Restores,
    /// The restore reconciler's Jobs.
    Jobs,
    /// The restore reconciler's pods.
    Pods,
}

impl Watch {
    pub(super) const ALL: [Self; 6] = [Self::Sessions, Self::Repositories, Self::References, Self::Restores, Self::Jobs, Self::Pods];

    /// The kinds it watches.
    pub(super) fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Sessions => &["BackupVerificationSession"],
            Self::Restores => &["RestoreSession"],
            Self::Repositories => &["Repository"],
            Self::References => &[
                "BackupConfiguration",
                "BackupBatch",
                "BackupVerifier",
                "BackupStorage",
                "Addon",
                "Function",
                "PersistentVolumeClaim",
                "PersistentVolume",
            ],
            Self::Jobs => &["Job"],
            Self::Pods => &["Pod"],
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Repositories => "repositories",
            Self::References => "references",
            Self::Restores => "restores",
            Self::Jobs => "jobs",
            Self::Pods => "pods",
        }
    }

    /// Whether the watch selects this object.
    fn takes(self, object: &Object) -> bool {
        use backproof_api::labels;
        match self {
            Self::Sessions | Self::Repositories | Self::References | Self::Restores => true,
            Self::Jobs | Self::Pods => {
                let parts = [labels::COMPONENT_RESTORE, labels::COMPONENT_VERIFIER];
                parts.contains(&object.label(labels::COMPONENT)) && !object.label(labels::SESSION_UID).is_empty()
            }
        }
    }
}

/// What one watch has delivered, and what it has not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) known: BTreeMap<Arc<Key>, Arc<Object>>,
    /// Versions still under way; `None` for one that is gone.
    pub(super) under_way: Vec<(Arc<Key>, Option<Arc<Object>>)>,
    /// Whether it waits to be let through.
    pub(super) late: bool,
}

/// One state.
#[derive(Clone)]
pub(super) struct World {
    pub(super) store: Store,
    pub(super) views: [View; 6],
    pub(super) sessions: session::explored::Remembered,
    pub(super) restores: restore::explored::Remembered,
    /// Snapshots as they were when sessions were pinned to them.
    pub(super) pinned: Pinned,
    /// When each object is looked at again; by the cluster's clock, which never jumps.
    pub(super) due: BTreeMap<Work, i64>,
    /// The controller's clock minus the cluster's.
    pub(super) skew: i64,
    /// Pods whose node is gone: nothing ends them.
    pub(super) stuck: BTreeSet<String>,
    /// A kind that the controller may not read any more.
    pub(super) unreadable: Option<&'static str>,
    /// How much went wrong so far.
    pub(super) faults: u32,
    pub(super) truth: Arc<Truth>,
    pub(super) trail: Option<Arc<Trail>>,
}

/// Snapshots that the process keeps, by session.
#[derive(Clone, Default)]
pub(super) struct Pinned(pub(super) Arc<std::collections::HashMap<String, Arc<Snapshot>>>);

impl Pinned {
    /// What decisions may rest on: for whom something is kept, whether it is what the API has, and what it is if not.
    fn digest(&self, store: &Store) -> u64 {
        let version = |snapshot: &Snapshot| snapshot.metadata.resource_version.clone().unwrap_or_default();
        let live = |snapshot: &Snapshot| store.all("Snapshot").any(|(_, object)| object.version() == version(snapshot));
        let text = |snapshot: &Snapshot| serde_json::to_string(&snapshot.status).unwrap_or_default();
        self.0.iter().fold(0, |sum: u64, (session, snapshot)| {
            let stale = (!live(snapshot)).then(|| text(snapshot));
            let mut hasher = DefaultHasher::new();
            (session, &snapshot.metadata.uid, stale).hash(&mut hasher);
            sum.wrapping_add(hasher.finish())
        })
    }
}

/// How a state was reached.
pub(super) struct Trail {
    choice: Choice,
    before: Option<Arc<Trail>>,
}

impl World {
    /// A world whose caches are full and whose process has just started.
    pub(super) fn new(mut store: Store, truth: Truth) -> Self {
        store.log.clear();
        let mut world = Self {
            store,
            views: Default::default(),
            sessions: session::explored::Remembered::default(),
            restores: restore::explored::Remembered::default(),
            pinned: Pinned::default(),
            due: BTreeMap::new(),
            skew: 0,
            stuck: BTreeSet::new(),
            unreadable: None,
            faults: 0,
            truth: Arc::new(truth),
            trail: None,
        };
        world.restart();
        world
    }

    /// The process starts: no memory, full caches, everything is looked at once.
    pub(super) fn restart(&mut self) {
        self.sessions = session::explored::Remembered::default();
        self.restores = restore::explored::Remembered::default();
        self.pinned = Pinned::default();
        self.due.clear();
        for watch in Watch::ALL {
            let view = &mut self.views[watch as usize];
            *view = View::default();
            let all = watch.kinds().iter().flat_map(|kind| self.store.all(kind));
            let taken = all.filter(|(_, object)| watch.takes(object));
            view.known.extend(taken.map(|(key, object)| (key.clone(), object.clone())));
            let woken: Vec<Work> = view.known.iter().flat_map(|(key, object)| woken(watch, key, object)).collect();
            woken.into_iter().for_each(|work| self.wake(work));
        }
    }

    /// The watches of what sessions refer to have told of nothing yet.
    pub(super) fn fall_behind(&mut self) {
        for watch in [Watch::Repositories, Watch::References] {
            let view = &mut self.views[watch as usize];
            view.late = true;
            view.under_way = std::mem::take(&mut view.known).into_iter().map(|(key, object)| (key, Some(object))).collect();
        }
    }

    /// The time of the cluster.
    pub(super) fn now(&self) -> i64 {
        self.store.now
    }

    pub(super) fn wake(&mut self, work: Work) {
        let now = self.now();
        self.due.entry(work).and_modify(|at| *at = (*at).min(now)).or_insert(now);
    }

    /// Hands changes to the watches; those that are not late deliver at once.
    pub(super) fn tell(&mut self, changes: &[Change]) {
        for change in changes {
            for watch in Watch::ALL.into_iter().filter(|watch| watch.kinds().contains(&change.key.kind.name)) {
                let version = change.after.clone().filter(|after| watch.takes(after));
                self.views[watch as usize].under_way.push((change.key.clone(), version));
            }
        }
        for watch in Watch::ALL {
            if !self.views[watch as usize].late {
                self.deliver(watch, usize::MAX);
            }
        }
    }

    /// Delivers the first `most` versions that are under way.
    pub(super) fn deliver(&mut self, watch: Watch, most: usize) {
        let view = &mut self.views[watch as usize];
        let most = most.min(view.under_way.len());
        let now: Vec<_> = view.under_way.drain(..most).collect();
        let mut all = Vec::new();
        for (key, version) in now {
            let before = match version {
                Some(version) => view.known.insert(key.clone(), version),
                None => view.known.remove(&key),
            };
            if watch == Watch::Repositories {
                all.extend(self.sessions.repository_changed(&key.namespace, &key.name).into_iter().map(Work::Session));
            }
            let object = view.known.get(&key).cloned().or(before);
            all.extend(object.iter().flat_map(|object| woken(watch, &key, object)));
        }
        all.into_iter().for_each(|work| self.wake(work));
    }

    /// What is to be looked at now, in order.
    pub(super) fn pending(&self) -> Vec<Work> {
        self.due.iter().filter(|(_, at)| **at <= self.now()).map(|(work, _)| work.clone()).collect()
    }

    /// How this state was reached.
    pub(super) fn path(&self) -> Vec<Choice> {
        let mut path = Vec::new();
        let mut at = self.trail.as_ref();
        while let Some(trail) = at {
            path.push(trail.choice.clone());
            at = trail.before.as_ref();
        }
        path.reverse();
        path
    }

    pub(super) fn went(&mut self, choice: Choice) {
        self.trail = Some(Arc::new(Trail { choice, before: self.trail.take() }));
    }

    /// A hash of everything that decides what may happen next.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.store.digest(), self.store.now, self.skew, &self.sessions, &self.due, &self.stuck, self.unreadable).hash(&mut hasher);
        for view in &self.views {
            view.late.hash(&mut hasher);
            let under_way: Vec<_> =
                view.under_way.iter().map(|(key, object)| (key, object.as_ref().map(|object| object.digest()))).collect();
            under_way.hash(&mut hasher);
            if view.late {
                for (key, object) in &view.known {
                    let live = self.store.get(key).is_some_and(|live| Arc::ptr_eq(live, object));
                    (key, live, object.digest()).hash(&mut hasher);
                }
            }
        }
        let cached = &self.views[Watch::Restores as usize].known;
        let version = |uid: &str| cached.values().find(|object| object.uid() == uid).map(|object| object.version().to_owned());
        self.restores.digest(version).hash(&mut hasher);
        self.pinned.digest(&self.store).hash(&mut hasher);
        self.truth.digest().hash(&mut hasher);
        hasher.finish()
    }
}

/// What a change of an object wakes, by the reconcilers' own rules.
fn woken(watch: Watch, key: &Key, object: &Object) -> Vec<Work> {
    match watch {
        Watch::Sessions => vec![Work::Session(key.name.clone())],
        // Whom it wakes stands in the process's memory.
        Watch::Repositories | Watch::References => Vec::new(),
        Watch::Restores => {
            let session = session::explored::woken_by(&Head::of(object)).map(Work::Session);
            [Work::Restore(key.name.clone())].into_iter().chain(session).collect()
        }
        Watch::Jobs | Watch::Pods => restore::explored::woken_by(&Head::of(object)).map(Work::Restore).into_iter().collect(),
    }
}

/// An object's metadata, which is all that decides what it wakes.
type Head = PartialObjectMeta<Pod>;

trait Read {
    fn of(object: &Object) -> Self;
}

impl Read for Head {
    fn of(object: &Object) -> Self {
        Self { metadata: ObjectMeta::deserialize(object.at("/metadata")).unwrap(), ..Self::default() }
    }
}
