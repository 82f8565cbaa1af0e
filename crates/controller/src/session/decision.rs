//! What a decision may order: a status to write, effects in order, and when to look again.

use std::time::Duration;

use backproof_api::{BackupVerificationSession, BackupVerificationSessionStatus, RestoreSession, SnapshotStatus};
use jiff::Timestamp;

use crate::{events::Note, hold::Hold, lease::Held};

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Decision {
    /// The session's status after [`Effect::WriteStatus`].
    pub(super) status: Option<Box<BackupVerificationSessionStatus>>,
    /// In order; each may be done twice, and a failure of one keeps the later ones from being done.
    pub(super) effects: Vec<Effect>,
    /// When to look again.
    pub(super) wake: Wake,
}

/// When to look again, besides whenever something changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wake {
    /// Only then.
    #[default]
    OnChange,
    /// At once: the effects changed what was observed.
    Again,
    /// After a while at the latest.
    After(Duration),
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    /// First write: finalizer, owner reference, label and annotation together, as a merge patch of the metadata.
    Claim(serde_json::Value),
    /// Reads what the session refers to once more, all of it live: caches never end a session.
    AskAgain,
    /// Writes the decision's status, if it differs.
    WriteStatus,
    /// Asks for a listing of the repository that starts no earlier than this.
    RequestDiscovery { repository: String, at: Timestamp },
    /// Writes what is known of failures on the Repository, bound to the version that was read; nothing lifts a hold.
    WriteHold(Option<Box<Hold>>),
    /// Looks again when the Repository changes.
    AwaitRepository,
    /// Tells the reader of the Repository.
    TellRepository(Note),
    /// Tries to take the lock on the target.
    AcquireLock,
    /// Removes a lock whose holder is gone.
    EvictLock(Box<Held>),
    /// Gives the lock back.
    ReleaseLock,
    /// Makes the RestoreSession; that one of the name exists is looked at in the next round.
    CreateRestore(Box<RestoreSession>),
    /// Deletes our RestoreSession of this UID.
    DeleteRestore(String),
    /// Tells our RestoreSession of this UID that its target may be wiped.
    AskForWipe(String),
    /// Deletes every Job that carries the session's UID.
    DeleteJobs,
    /// Writes the status of the pinned Snapshot, bound to the version that was read.
    WriteSnapshot { name: String, version: String, status: Box<SnapshotStatus> },
    /// Deletes an older session.
    DeleteSession { name: String, uid: String },
    /// Makes the session that repeats this one, under the first free name.
    CreateRetry { session: Box<BackupVerificationSession>, at: Timestamp },
    /// Makes other sessions look at the world again.
    Nudge(Vec<String>),
    /// Lets a deleted session go.
    DropFinalizer,
    /// Tells the session's reader.
    Tell(Note),
    /// Tells the session's reader, once per message while this process lives.
    TellOnce(Note),
    /// Tells the reader of its invoker.
    TellInvoker(Note),
    /// Counts a finished session.
    Count { verdict: &'static str, cause: &'static str, seconds: i64 },
}

impl Decision {
    /// Nothing to do until something changes.
    pub(super) fn rest() -> Self {
        Self::default()
    }

    /// Nothing to do for a while.
    pub(super) fn wait(duration: Duration) -> Self {
        Self { wake: Wake::After(duration), ..Self::default() }
    }

    /// Effects without a status, then another look.
    pub(super) fn act(effects: Vec<Effect>) -> Self {
        Self { effects, wake: Wake::Again, ..Self::default() }
    }

    /// A status to write, then further effects, then another look.
    pub(super) fn write(status: BackupVerificationSessionStatus, then: Vec<Effect>) -> Self {
        let effects = std::iter::once(Effect::WriteStatus).chain(then).collect();
        Self { status: Some(Box::new(status)), effects, wake: Wake::Again }
    }

    /// The same decision, with another time to look again.
    #[must_use]
    pub(super) fn then(self, wake: Wake) -> Self {
        Self { wake, ..self }
    }
}

/// The time from `now` until `at`, at least `least` and at most `most`.
pub(super) fn until(at: Timestamp, now: Timestamp, least: Duration, most: Duration) -> Duration {
    let left = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
    left.clamp(least, most)
}
