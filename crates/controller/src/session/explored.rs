//! This reconciler as the exploration drives it: one round at a time, from caches that are given to it, with a memory that can
//! be taken out and put back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::channel::mpsc::{self, UnboundedReceiver};
use kube::runtime::{controller::Action, reflector::ObjectRef};

use super::{
    driver::{Driver, Memory, Taken, lock},
    slots::Slots,
};
use crate::{
    Context,
    shared::{Session, Shared},
};

/// A session by name; all live in one namespace.
type Name = String;

/// What a process keeps between reconciles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Remembered {
    held: BTreeMap<String, Taken>,
    waiting: BTreeMap<String, BTreeSet<Name>>,
    told: BTreeSet<(String, String)>,
    failures: BTreeMap<String, u32>,
    held_off: BTreeMap<(String, String), BTreeSet<Name>>,
}

impl Remembered {
    /// Whom a change of a Repository wakes, as the watch does it.
    pub(crate) fn repository_changed(&mut self, namespace: &str, name: &str) -> BTreeSet<Name> {
        self.held_off.remove(&(namespace.to_owned(), name.to_owned())).unwrap_or_default()
    }
}

/// The reconciler for one step.
pub(crate) struct Sessions {
    driver: Arc<Driver>,
    nudged: UnboundedReceiver<ObjectRef<Session>>,
    namespace: String,
}

impl Sessions {
    /// With these caches and this memory.
    pub(crate) fn new(context: Arc<Context>, namespace: &str, shared: Arc<Shared>, remembered: &Remembered) -> Self {
        let (nudges, nudged) = mpsc::unbounded();
        let memory = Memory::new(nudges, Slots::new(0));
        lock(&memory.held).extend(remembered.held.clone());
        lock(&memory.told).extend(remembered.told.iter().cloned());
        let reference = |name: &Name| ObjectRef::new(name).within(namespace);
        lock(&memory.waiting)
            .extend(remembered.waiting.iter().map(|(lease, names)| (lease.clone(), names.iter().map(reference).collect())));
        lock(&memory.failures).extend(remembered.failures.clone());
        lock(&memory.held_off)
            .extend(remembered.held_off.iter().map(|(place, names)| (place.clone(), names.iter().map(reference).collect())));
        let driver = Driver { context, sessions: shared.sessions.clone(), shared, memory: Arc::new(memory) };
        Self { driver: Arc::new(driver), nudged, namespace: namespace.to_owned() }
    }

    /// One reconcile; `None` for a session that the cache does not have.
    pub(crate) async fn reconcile(&self, name: &str) -> Option<Action> {
        let watched = self.driver.sessions.get(&ObjectRef::new(name).within(&self.namespace))?;
        Some(match self.driver.clone().reconcile(watched.clone()).await {
            Ok(action) => action,
            Err(error) => self.driver.failed(&watched, &error),
        })
    }

    /// What is done once after a start.
    pub(crate) async fn sweep(&self) {
        self.driver.recall().await;
        self.driver.sweep().await;
    }

    /// What is kept for the next step, and which sessions were nudged.
    pub(crate) fn end(mut self) -> (Remembered, BTreeSet<Name>) {
        let memory = &self.driver.memory;
        let names = |waiting: &std::collections::HashSet<ObjectRef<Session>>| waiting.iter().map(|session| session.name.clone()).collect();
        let remembered = Remembered {
            held: lock(&memory.held).clone().into_iter().collect(),
            waiting: lock(&memory.waiting).iter().map(|(lease, waiting)| (lease.clone(), names(waiting))).collect(),
            told: lock(&memory.told).clone().into_iter().collect(),
            failures: lock(&memory.failures).clone().into_iter().collect(),
            held_off: lock(&memory.held_off).iter().map(|(place, waiting)| (place.clone(), names(waiting))).collect(),
        };
        let mut nudged = BTreeSet::new();
        while let Ok(session) = self.nudged.try_recv() {
            nudged.insert(session.name);
        }
        (remembered, nudged)
    }
}

/// The session that a change of a RestoreSession wakes.
pub(crate) fn woken_by<K: kube::Resource>(restore: &K) -> Option<Name> {
    super::owner(restore).map(|session| session.name)
}

/// The word for how far a session is, as the picture in the documentation has it.
pub(crate) fn step(session: &backproof_api::BackupVerificationSession) -> &'static str {
    use super::stage::{Stage, stage};
    match stage(session) {
        Stage::Foreign => "Foreign",
        Stage::Gone => "Gone",
        Stage::Deleting(_) => "Deleting",
        Stage::Unpinned => "Unpinned",
        Stage::Contradicted(_) => "Contradicted",
        Stage::Running(_) => "Running",
        Stage::Judged(..) => "Judged",
        Stage::Done(_) => "Done",
    }
}
