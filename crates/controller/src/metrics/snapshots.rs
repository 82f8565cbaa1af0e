//! What stands on the Snapshots, kept small: a watch that remembers a few words of each and no object.
//!
//! Only figures are made from this. Whether a Snapshot is proven is decided from the live object, never from here.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backproof_api::{Guarded, Snapshot, SnapshotPhase, Verdict, VerificationStatus};
use futures::StreamExt as _;
use kube::{
    Api, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};

use crate::{Context, Error, Shutdown, session};

/// Namespace and name.
pub(super) type Key = (String, String);

/// What is remembered of a Snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// The Repository it lies in, of the same namespace.
    pub(super) repository: String,
    /// The session that made it.
    pub(super) session: String,
    /// Whether the backup succeeded, so that it can be verified.
    pub(super) usable: bool,
    /// When it was taken, in Unix seconds.
    pub(super) taken: Option<i64>,
    /// What was found out about it, and when.
    pub(super) answer: Option<(Answer, i64)>,
}

/// What may stand on a Snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was proven.
    Proven,
    /// It is bad.
    Bad,
}

/// The facts of all Snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshots(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<Key, Facts>,
    /// Seen since the listing began.
    listed: HashSet<Key>,
    /// A listing was complete once: before, what is missing may just not have come yet.
    complete: bool,
}

/// Watches until told to stop.
pub(crate) async fn run(context: Arc<Context>, shutdown: Shutdown) -> Result<(), Error> {
    let api: Api<Guarded<Snapshot>> = Api::all(context.client.clone());
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut stop = std::pin::pin!(shutdown.requested());
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            event = events.next() => match event {
                Some(Ok(event)) => context.metrics.snapshots.heard(event),
                // The watch goes on by itself, with growing pauses.
                Some(Err(error)) => tracing::warn!(kind = "Snapshot", error = crate::error::chain(&error), "watch interrupted"),
                None => return Err(Error::PartEnded { part: "figures" }),
            },
        }
    }
}

impl Snapshots {
    /// Takes in what the watch says.
    pub(super) fn heard(&self, event: watcher::Event<Guarded<Snapshot>>) {
        let mut inner = self.inner();
        match event {
            watcher::Event::Init => inner.listed.clear(),
            watcher::Event::InitApply(snapshot) => {
                inner.listed.insert(key(&snapshot));
                inner.note(&snapshot);
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut inner.listed);
                inner.known.retain(|key, _| listed.contains(key));
                inner.complete = true;
            }
            watcher::Event::Apply(snapshot) => inner.note(&snapshot),
            watcher::Event::Delete(snapshot) => drop(inner.known.remove(&key(&snapshot))),
        }
    }

    /// The facts of all Snapshots, or nothing while they are not all known.
    pub(super) fn all(&self) -> Option<Vec<(String, Facts)>> {
        let inner = self.inner();
        inner.complete.then(|| inner.known.iter().map(|((namespace, _), facts)| (namespace.clone(), facts.clone())).collect())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each entry is whole at any time, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note(&mut self, snapshot: &Guarded<Snapshot>) {
        match &snapshot.0 {
            Ok(object) => drop(self.known.insert(key(snapshot), facts(object))),
            // What cannot be read proves nothing.
            Err(_) => drop(self.known.remove(&key(snapshot))),
        }
    }
}

fn key(snapshot: &Guarded<Snapshot>) -> Key {
    (snapshot.namespace().unwrap_or_default(), snapshot.name_any())
}

/// What is to be remembered of a Snapshot.
pub(super) fn facts(snapshot: &Snapshot) -> Facts {
    let status = snapshot.status.clone().unwrap_or_default();
    let taken = status.snapshot_time.as_ref().map(|time| time.0.as_second());
    Facts {
        repository: snapshot.spec.repository.clone(),
        session: snapshot.spec.session.clone(),
        usable: status.phase.as_ref().is_some_and(|phase| *phase == SnapshotPhase::Succeeded),
        taken,
        answer: answer(snapshot, status.verification_status.as_ref().and_then(backproof_api::shared::Wire::known), taken),
    }
}

/// Green needs the word and a record of this very Snapshot that says so; for red the word is enough, whoever wrote it.
fn answer(snapshot: &Snapshot, word: Option<VerificationStatus>, taken: Option<i64>) -> Option<(Answer, i64)> {
    let record = session::record(snapshot).filter(|record| Some(&record.snapshot_uid) == snapshot.metadata.uid.as_ref());
    let completed = |verdict: Verdict| {
        let record = record.as_ref().filter(|record| record.verdict == verdict)?;
        record.completed.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
    };
    match word? {
        VerificationStatus::Verified => completed(Verdict::Verified).map(|at| (Answer::Proven, at)),
        VerificationStatus::VerificationFailed => Some((Answer::Bad, completed(Verdict::VerificationFailed).or(taken).unwrap_or_default())),
        VerificationStatus::NotVerified => None,
    }
}
