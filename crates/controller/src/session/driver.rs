//! One session's round: observe, decide, apply, until there is nothing more to do at once.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use backproof_api::{BackupVerificationSession, RestoreSession, Snapshot};
use futures::channel::mpsc::UnboundedSender;
use kube::{
    ResourceExt as _,
    runtime::{
        controller::Action,
        reflector::{ObjectRef, Store},
    },
};
use tokio::sync::Notify;

use super::{
    decide::{SLOW, decide},
    decision::{Decision, Wake},
    observed::{Observed, References, Retry},
    slots::Slots,
};
pub(super) use crate::shared::lock;
use crate::{
    Context, Error,
    error::Class,
    events::{self, Note},
    lease::Lock,
    shared::{Reading, Shared},
};

pub(super) use crate::shared::Session as Watched;

/// Most rounds in a row; more means that something keeps changing under us.
const ROUNDS: usize = 20;

/// What the rounds of all sessions share.
pub(super) struct Driver {
    pub(super) context: Arc<Context>,
    pub(super) sessions: Store<Watched>,
    pub(super) shared: Arc<Shared>,
    pub(super) memory: Arc<Memory>,
}

/// A lock that a session has, or may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Taken {
    /// Name of the Lease.
    pub(super) lease: String,
    /// Its UID, where this process has made it.
    pub(super) uid: Option<String>,
}

/// Sessions by what they wait for.
type Waiting<K> = Mutex<HashMap<K, HashSet<ObjectRef<Watched>>>>;

/// What this process remembers; nothing here is needed for a right decision, only to make it sooner or to say it once.
pub(super) struct Memory {
    /// Locks held, by session UID.
    pub(super) held: Mutex<HashMap<String, Taken>>,
    /// Who waits for which lock.
    pub(super) waiting: Waiting<String>,
    /// What was told once.
    pub(super) told: Mutex<HashSet<(String, String)>>,
    /// Failures in a row, by session UID.
    pub(super) failures: Mutex<HashMap<String, u32>>,
    /// Who waits for a Repository that is held off, by namespace and name.
    pub(super) held_off: Waiting<(String, String)>,
    /// How many run at once.
    pub(super) slots: Slots,
    /// Told when a session went and its lock stayed.
    pub(super) lock_left: Notify,
    nudges: UnboundedSender<ObjectRef<Watched>>,
}

/// What one reconcile carries from round to round.
#[derive(Default)]
pub(super) struct Carried {
    /// Read in this reconcile.
    pub(super) references: Option<Arc<References>>,
    /// How fresh that must be.
    pub(super) reading: Reading,
    /// Made in this reconcile; no cache has it yet.
    pub(super) restore: Option<Box<RestoreSession>>,
    /// Seen in this reconcile.
    pub(super) lock: Lock,
    /// What came of making a retry in this reconcile.
    pub(super) retry: Retry,
    /// Whether the session is what the API server returned to a write of ours in this reconcile.
    pub(super) fresh: bool,
}

impl Driver {
    /// Reconciles one session.
    pub(super) async fn reconcile(self: Arc<Self>, watched: Arc<Watched>) -> Result<Action, Error> {
        let session = match &watched.0 {
            Ok(session) => session.clone(),
            // What cannot be read can still be let go: that needs metadata alone.
            Err(invalid) if invalid.metadata.deletion_timestamp.is_some() => {
                BackupVerificationSession { metadata: invalid.metadata.clone(), ..Default::default() }
            }
            Err(invalid) => {
                let session = BackupVerificationSession { metadata: invalid.metadata.clone(), ..Default::default() };
                let message = format!(
                    "this session cannot be read: {}; delete it and create it as `kubectl explain backupverificationsession.spec` says",
                    invalid.error
                );
                self.context.events.on(&session, Note::warning("Malformed", "Observe", message)).await;
                return Ok(Action::await_change());
            }
        };
        let uid = session.uid().unwrap_or_default();
        let since = Instant::now();
        let outcome = self.rounds(session).await;
        self.context.metrics.took("BackupVerificationSession", since);
        if outcome.is_ok() {
            self.memory.went_well(&uid);
        }
        self.context.metrics.reconciled("BackupVerificationSession", outcome.as_ref().map_or_else(Error::reason, |_| "ok"));
        outcome
    }

    async fn rounds(&self, session: BackupVerificationSession) -> Result<Action, Error> {
        let mut session = Arc::new(session);
        let mut carried = Carried { reading: Reading::Cached, ..Carried::default() };
        for _ in 0..ROUNDS {
            let now = self.context.clock.now();
            let observed = self.observe(session.clone(), &carried, now).await?;
            carried.references.clone_from(&observed.references);
            let decision = decide(&observed, now);
            self.keep_pinned(&observed, &decision);
            session = self.apply(&observed, &decision, &mut carried, now).await?;
            match decision.wake {
                Wake::Again => {}
                Wake::After(duration) => return Ok(Action::requeue(duration)),
                Wake::OnChange => return Ok(Action::await_change()),
            }
        }
        Ok(Action::requeue(Duration::from_secs(1)))
    }

    /// Keeps the Snapshot that a session is about to be pinned to, so that it need not be asked for again and again.
    fn keep_pinned(&self, observed: &Observed, decision: &Decision) {
        let (Some(references), Some(status)) = (&observed.references, &decision.status) else { return };
        let Some(uid) = status.run.as_ref().map(|run| run.snapshot.uid.as_str()).filter(|uid| !uid.is_empty()) else { return };
        let pinned = references.snapshots.iter().find(|snapshot| snapshot.uid().as_deref() == Some(uid));
        if let Some(snapshot) = pinned {
            let mut snapshot: Snapshot = snapshot.clone();
            snapshot.metadata.managed_fields = None;
            self.shared.pin(&observed.session.uid().unwrap_or_default(), snapshot);
        }
    }

    /// What to do after a failed reconcile: try again in a time that fits, and say so where a person must act.
    pub(super) fn failed(&self, watched: &Watched, error: &Error) -> Action {
        let name = format!("{}/{}", watched.namespace().unwrap_or_default(), watched.name_any());
        let uid = watched.uid().unwrap_or_default();
        let class = error.class();
        match class {
            Class::Conflict => tracing::debug!(session = name, error = error.chain(), "looking again"),
            Class::Unavailable => tracing::warn!(session = name, error = error.chain(), "trying again"),
            Class::Forbidden | Class::Refused | Class::Internal => {
                tracing::error!(session = name, error = error.chain(), "cannot go on");
                if let Some(note) = events::of_error(error, "Reconcile").filter(|note| self.memory.first_time(&uid, note.reason)) {
                    let (context, regarding) = (self.context.clone(), kube::Resource::object_ref(watched, &()));
                    tokio::spawn(async move { context.events.publish(&regarding, note).await });
                }
            }
        }
        let failures = self.memory.failed(&uid);
        Action::requeue(match class {
            Class::Conflict => class.requeue(),
            Class::Unavailable | Class::Forbidden | Class::Refused | Class::Internal => patience(class.requeue(), failures),
        })
    }
}

/// How long to wait after so many failures in a row: each time twice as long.
fn patience(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(SLOW)
}

impl Memory {
    /// An empty memory that wakes sessions through `nudges`.
    pub(super) fn new(nudges: UnboundedSender<ObjectRef<Watched>>, slots: Slots) -> Self {
        Self {
            held: Mutex::default(),
            waiting: Mutex::default(),
            told: Mutex::default(),
            failures: Mutex::default(),
            held_off: Mutex::default(),
            slots,
            lock_left: Notify::new(),
            nudges,
        }
    }

    /// Makes a session look at the world again.
    pub(super) fn nudge(&self, session: ObjectRef<Watched>) {
        // Nobody listening means that the process is ending.
        let _ = self.nudges.unbounded_send(session);
    }

    /// Notes that a session has a lock, or may have it.
    pub(super) fn took(&self, session_uid: &str, lease: &str) {
        let mut held = lock(&self.held);
        if held.get(session_uid).is_none_or(|taken| taken.lease != lease) {
            held.insert(session_uid.to_owned(), Taken { lease: lease.to_owned(), uid: None });
        }
    }

    /// Notes that this process has made the Lease of this UID for a session.
    pub(super) fn made(&self, session_uid: &str, lease: &str, uid: Option<String>) {
        lock(&self.held).insert(session_uid.to_owned(), Taken { lease: lease.to_owned(), uid });
    }

    /// UID of the Lease that was made for a session.
    pub(super) fn lease_of(&self, session_uid: &str, lease: &str) -> Option<String> {
        lock(&self.held).get(session_uid).filter(|taken| taken.lease == lease)?.uid.clone()
    }

    /// Notes that somebody else has the lock a session asked for.
    pub(super) fn has_not(&self, session_uid: &str) {
        lock(&self.held).remove(session_uid);
    }

    /// Whether a session may still have a lock.
    pub(super) fn holds(&self, session_uid: &str) -> bool {
        lock(&self.held).contains_key(session_uid)
    }

    /// Notes that a session gave its lock back, and wakes who waits for it.
    pub(super) fn gave_back(&self, session_uid: &str, lease: &str) {
        lock(&self.held).remove(session_uid);
        let waiting = lock(&self.waiting).remove(lease).unwrap_or_default();
        waiting.into_iter().for_each(|session| self.nudge(session));
    }

    /// Notes that a session waits for a lock.
    pub(super) fn waits(&self, session: ObjectRef<Watched>, lease: &str) {
        lock(&self.waiting).entry(lease.to_owned()).or_default().insert(session);
    }

    /// Notes that a session runs no more, or does not wait for a slot any more; wakes who may run now.
    pub(super) fn leaves(&self, session_uid: &str) {
        self.slots.leave(session_uid).into_iter().for_each(|session| self.nudge(session));
    }

    /// Notes that a session waits for a Repository.
    pub(super) fn waits_for(&self, session: ObjectRef<Watched>, namespace: &str, repository: &str) {
        lock(&self.held_off).entry((namespace.to_owned(), repository.to_owned())).or_default().insert(session);
    }

    /// Wakes who waits for a Repository.
    pub(super) fn repository_changed(&self, namespace: &str, repository: &str) {
        let waiting = lock(&self.held_off).remove(&(namespace.to_owned(), repository.to_owned())).unwrap_or_default();
        waiting.into_iter().for_each(|session| self.nudge(session));
    }

    /// Wakes who waits for any Repository.
    pub(super) fn a_storage_changed(&self) {
        let waiting = std::mem::take(&mut *lock(&self.held_off));
        waiting.into_values().flatten().for_each(|session| self.nudge(session));
    }

    /// Whether this is told for the first time.
    pub(super) fn first_time(&self, session_uid: &str, what: &str) -> bool {
        lock(&self.told).insert((session_uid.to_owned(), what.to_owned()))
    }

    /// Counts a failure; returns how many there were in a row.
    fn failed(&self, session_uid: &str) -> u32 {
        let mut failures = lock(&self.failures);
        let count = failures.entry(session_uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn went_well(&self, session_uid: &str) {
        lock(&self.failures).remove(session_uid);
    }

    /// Forgets a session. A lock that it did not give back is looked for later.
    pub(super) fn forget(&self, session_uid: &str) {
        self.went_well(session_uid);
        self.leaves(session_uid);
        if lock(&self.held).remove(session_uid).is_some() {
            self.lock_left.notify_one();
        }
        lock(&self.told).retain(|(uid, _)| uid != session_uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_not_given_back_is_looked_for() {
        let memory = Memory::new(futures::channel::mpsc::unbounded().0, Slots::new(0));
        let told = || futures::FutureExt::now_or_never(memory.lock_left.notified()).is_some();
        memory.took("u-1", "target-1");
        memory.gave_back("u-1", "target-1");
        memory.forget("u-1");
        assert!(!told());
        memory.took("u-1", "target-1");
        memory.forget("u-1");
        assert!(told());
    }

    #[test]
    fn waits_grow_up_to_a_slow_look() {
        let waits: Vec<_> = [1, 2, 3, 4, 5, 40].map(|failures| patience(Class::Refused.requeue(), failures).as_secs()).into();
        assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
        assert_eq!(patience(Class::Unavailable.requeue(), 1).as_secs(), 2);
    }
}
