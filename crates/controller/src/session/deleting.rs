//! A deleted session: what it made goes first, then its finalizer. It needs nothing but the pinned facts, whatever the spec.

use std::time::Duration;

use backproof_api::run::PinnedRun;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    decision::{Decision, Effect, until},
    judge::{Judged, judge},
    observed::{Observed, Seen},
};
use crate::events::Note;

/// How long pods that do not go away hold up a deletion; the lock stays then.
const POD_PATIENCE: SignedDuration = SignedDuration::from_mins(2);
/// How long a missing right holds up a deletion.
const RIGHT_PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// What to do for a session that is being deleted.
pub(super) fn decide(observed: &Observed, run: Option<&PinnedRun>, now: Timestamp) -> Decision {
    let Some(remains) = &observed.remains else { return Decision::wait(Duration::from_secs(1)) };
    let since = observed.session.metadata.deletion_timestamp.as_ref().map_or(now, |time| time.0);
    let age = now.duration_since(since);
    let restore = ours(observed, run);
    if remains.is_empty() && restore.is_none() {
        let mut effects = Vec::new();
        if run.is_some_and(|run| !run.verifier.target.object.uid.is_empty()) {
            effects.push(Effect::ReleaseLock);
        }
        effects.push(Effect::Tell(Note::normal("Cleaned", "Delete", "everything this session made is gone")));
        effects.push(Effect::DropFinalizer);
        return Decision { effects, ..Decision::rest() };
    }
    let own = restore.as_ref().map(|_| format!("RestoreSession {}", observed.session.name_any()));
    let left = remains.jobs.iter().chain(&remains.pods).chain(&remains.forbidden).chain(&own).cloned().collect::<Vec<_>>().join(", ");
    let patience = if remains.forbidden.is_some() { RIGHT_PATIENCE } else { POD_PATIENCE };
    if age > patience {
        let message = format!(
            "this session goes although it left behind: {left}; its target stays locked until that is gone, and its Jobs end by their own deadline"
        );
        return Decision {
            effects: vec![Effect::Tell(Note::warning("LeftBehind", "Delete", message)), Effect::DropFinalizer],
            ..Decision::rest()
        };
    }
    let mut effects: Vec<_> = restore.map(Effect::DeleteRestore).into_iter().collect();
    if !remains.jobs.is_empty() || !remains.pods.is_empty() {
        effects.push(Effect::DeleteJobs);
    }
    let next = now.saturating_add(age).unwrap_or(now);
    Decision { effects, ..Decision::wait(until(next, now, Duration::from_secs(1), Duration::from_secs(15))) }
}

/// UID of the RestoreSession that is ours and must go.
fn ours(observed: &Observed, run: Option<&PinnedRun>) -> Option<String> {
    let Seen::Present(restore) = &observed.restore else { return None };
    let uid = observed.session.uid().unwrap_or_default();
    match judge(restore, &uid, run.unwrap_or(&PinnedRun::default())) {
        Judged::Open | Judged::Changed | Judged::Closed(_) => restore.uid(),
        Judged::NotOurs | Judged::AnotherOne => None,
    }
}
