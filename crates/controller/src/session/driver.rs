//! One session's round: observe, decide, apply, until there is nothing more to do at once.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use backproof_api::{BackupVerificationSession, RestoreSession};
use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use kube::{
    ResourceExt as _,
    core::DeserializeGuard,
    runtime::{
        controller::Action,
        reflector::{ObjectRef, Store},
    },
};

use super::{
    decide::{SLOW, decide},
    decision::Wake,
    observed::References,
};
use crate::{Context, Error, error::Class, events::Note, lease::Lock};

/// A session that may not parse.
pub(super) type Watched = DeserializeGuard<BackupVerificationSession>;

/// Most rounds in a row; more means that something keeps changing under us.
const ROUNDS: usize = 20;

/// What the rounds of all sessions share.
pub(super) struct Driver {
    pub(super) context: Arc<Context>,
    pub(super) sessions: Store<Watched>,
    pub(super) restores: Store<DeserializeGuard<RestoreSession>>,
    pub(super) memory: Memory,
}

/// What this process remembers; nothing here is needed for a right decision, only to make it sooner or to say it once.
pub(super) struct Memory {
    /// Locks held, by session UID.
    held: Mutex<HashMap<String, String>>,
    /// Who waits for which lock.
    waiting: Mutex<HashMap<String, HashSet<ObjectRef<Watched>>>>,
    /// What was told once.
    told: Mutex<HashSet<(String, String)>>,
    nudges: UnboundedSender<ObjectRef<Watched>>,
}

/// What one reconcile carries from round to round.
#[derive(Default)]
pub(super) struct Carried {
    /// Read in this reconcile.
    pub(super) references: Option<Arc<References>>,
    /// Seen in this reconcile.
    pub(super) lock: Lock,
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
        let outcome = self.rounds(session).await;
        self.context.metrics.reconciled("BackupVerificationSession", outcome.as_ref().map_or_else(Error::reason, |_| "ok"));
        outcome
    }

    async fn rounds(&self, session: BackupVerificationSession) -> Result<Action, Error> {
        let mut session = Arc::new(session);
        let mut carried = Carried::default();
        for _ in 0..ROUNDS {
            let now = Timestamp::now();
            let observed = self.observe(session.clone(), &carried, now).await?;
            carried.references.clone_from(&observed.references);
            let decision = decide(&observed, now);
            session = self.apply(&observed, &decision, &mut carried, now).await?;
            match decision.wake {
                Wake::Again => {}
                Wake::After(duration) => return Ok(Action::requeue(duration)),
                Wake::OnChange => return Ok(Action::await_change()),
            }
        }
        Ok(Action::requeue(std::time::Duration::from_secs(1)))
    }

    /// What to do after a failed reconcile: try again in a time that fits, and say so where a person must act.
    pub(super) fn failed(&self, watched: &Watched, error: &Error) -> Action {
        let name = format!("{}/{}", watched.namespace().unwrap_or_default(), watched.name_any());
        match error.class() {
            Class::Conflict => tracing::debug!(session = name, error = error.chain(), "looking again"),
            Class::Unavailable => tracing::warn!(session = name, error = error.chain(), "trying again"),
            Class::Forbidden | Class::Refused | Class::Internal => {
                tracing::error!(session = name, error = error.chain(), "cannot go on");
                let regarding = kube::Resource::object_ref(watched, &());
                let (context, text, reason) = (self.context.clone(), error.chain(), error.reason());
                tokio::spawn(async move { context.events.publish(&regarding, Note::warning(reason, "Reconcile", text)).await });
            }
        }
        Action::requeue(error.class().requeue().min(SLOW))
    }
}

impl Memory {
    /// An empty memory that wakes sessions through `nudges`.
    pub(super) fn new(nudges: UnboundedSender<ObjectRef<Watched>>) -> Self {
        Self { held: Mutex::default(), waiting: Mutex::default(), told: Mutex::default(), nudges }
    }

    /// Makes a session look at the world again.
    pub(super) fn nudge(&self, session: ObjectRef<Watched>) {
        // Nobody listening means that the process is ending.
        let _ = self.nudges.unbounded_send(session);
    }

    /// Notes that a session has a lock.
    pub(super) fn took(&self, session_uid: &str, lease: &str) {
        lock(&self.held).insert(session_uid.to_owned(), lease.to_owned());
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

    /// Whether this is told for the first time.
    pub(super) fn first_time(&self, session_uid: &str, what: &str) -> bool {
        lock(&self.told).insert((session_uid.to_owned(), what.to_owned()))
    }

    /// Forgets a session.
    pub(super) fn forget(&self, session_uid: &str) {
        lock(&self.held).remove(session_uid);
        lock(&self.told).retain(|(uid, _)| uid != session_uid);
    }
}

/// A poisoned lock holds plain data all the same.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
