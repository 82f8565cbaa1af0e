//! A finished session: the lock goes back when its pods are gone, and a retry is made when one is owed.

use std::time::Duration;

use backproof_api::{BackupVerificationSession, condition, labels, phase::conditions as of, run::PinnedRun};
use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt as _, api::ObjectMeta};

use super::{
    decide::wake_at,
    decision::{Decision, Effect, Wake, until},
    history::{owes_retry, retry_due},
    observed::{Observed, Retry, Seen},
    resolve,
    wipe::{self, Wiping},
};
use crate::{events::Note, lease::Lock};

/// Pods that end within this time after their session are nothing to talk about.
const NORMAL_END: SignedDuration = SignedDuration::from_secs(30);
/// How long a retry that the API server refuses is tried.
const RETRY_PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// What to do for a session that is finished.
pub(super) fn decide(observed: &Observed, run: &PinnedRun, now: Timestamp) -> Decision {
    let completed = completed(&observed.session);
    match give_back(observed, run, completed, now) {
        Some(decision) => decision,
        None if owes_retry(&observed.session) => retry(observed, run, completed, now),
        None => Decision::rest(),
    }
}

/// When the session ended, by the closing mark.
pub(super) fn completed(session: &BackupVerificationSession) -> Timestamp {
    let mark = session.status.as_ref().and_then(|status| condition::get(&status.conditions, of::VERIFICATION_SESSION_HISTORY_CLEANED));
    mark.and_then(|mark| mark.last_transition_time.as_ref()).map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

fn give_back(observed: &Observed, run: &PinnedRun, completed: Timestamp, now: Timestamp) -> Option<Decision> {
    match &observed.lock {
        Lock::Mine => {}
        Lock::NotRead | Lock::Free | Lock::Held(_) | Lock::Full(_) => return None,
    }
    let Some(remains) = &observed.remains else { return Some(Decision::wait(Duration::from_secs(1))) };
    let untold = match wipe::decide(observed, run, now) {
        Wiping::Wait(decision) => return Some(decision),
        Wiping::Over(untold) => untold,
    };
    let busy = remains.busy();
    if busy.is_empty() {
        return Some(Decision::act(untold.into_iter().chain([Effect::ReleaseLock]).collect()));
    }
    let mut effects = vec![Effect::DeleteJobs];
    if now.duration_since(completed) > NORMAL_END {
        let message = format!("{} stays locked until these are gone: {}", resolve::target_text(run), busy.join(", "));
        effects.push(Effect::TellOnce(Note::warning("TargetStaysLocked", "Unlock", message)));
    }
    Some(Decision {
        effects,
        wake: Wake::After(as_long_again(completed, now, Duration::from_secs(1), Duration::from_secs(30))),
        ..Decision::default()
    })
}

/// The time since `since`, within bounds: waits grow with the age of what is waited for.
fn as_long_again(since: Timestamp, now: Timestamp, least: Duration, most: Duration) -> Duration {
    until(now.saturating_add(now.duration_since(since)).unwrap_or(now), now, least, most)
}

fn retry(observed: &Observed, run: &PinnedRun, completed: Timestamp, now: Timestamp) -> Decision {
    let due = retry_due(completed, run.retry_delay_seconds);
    if now < due {
        return Decision::rest().then(wake_at(due, now));
    }
    let willing = match &observed.invoker {
        Seen::NotRead => return Decision::wait(Duration::from_secs(1)),
        Seen::Absent => Err("its invoker is gone"),
        Seen::Present(invoker) if invoker.as_invoker().paused() => Err("its invoker is paused"),
        Seen::Present(invoker) if invoker.as_invoker().meta().deletion_timestamp.is_some() => Err("its invoker is being deleted"),
        Seen::Present(_) => Ok(()),
    };
    if let Err(reason) = willing {
        return not_repeated(observed, reason, Note::normal);
    }
    let next = next_session(&observed.session, run);
    match &observed.retry {
        Retry::NotTried => Decision::act(vec![Effect::CreateRetry { session: Box::new(next), at: due }]),
        Retry::Made => {
            let mut status = observed.session.status.clone().unwrap_or_default();
            status.retried = Some(true);
            let left = next.spec.retry_left;
            let note = Note::normal("Retried", "Retry", format!("a new session repeats this one; {left} more would follow"));
            Decision { status: Some(Box::new(status)), effects: vec![Effect::WriteStatus, Effect::Tell(note)], wake: Wake::OnChange }
        }
        Retry::NoName => not_repeated(observed, "other sessions have all the names its retry could have", Note::warning),
        Retry::Refused(said) if now.duration_since(due) > RETRY_PATIENCE => {
            not_repeated(observed, &format!("the API server refuses the new session: {said}"), Note::warning)
        }
        Retry::Refused(said) => {
            let message = format!("the API server refuses the session that is to repeat this one; trying for 10 minutes: {said}");
            let effects = vec![Effect::TellOnce(Note::warning("RetryRefused", "Retry", message))];
            let wait = as_long_again(due, now, Duration::from_secs(5), Duration::from_secs(60));
            Decision { effects, wake: Wake::After(wait), ..Decision::default() }
        }
    }
}

/// Writes that no session repeats this one, and why.
fn not_repeated(observed: &Observed, reason: &str, note: impl Fn(&'static str, &'static str, String) -> Note) -> Decision {
    let mut status = observed.session.status.clone().unwrap_or_default();
    status.retried = Some(false);
    let text = format!("this session is not repeated: {reason}");
    status.message = format!("{}; {text}", status.message);
    let note = note("NotRetried", "Retry", text);
    Decision { status: Some(Box::new(status)), effects: vec![Effect::WriteStatus, Effect::Tell(note)], wake: Wake::OnChange }
}

/// The session that repeats this one, still without a name.
fn next_session(session: &BackupVerificationSession, run: &PinnedRun) -> BackupVerificationSession {
    let mut spec = session.spec.clone();
    spec.retry_left = spec.retry_left.saturating_sub(1).max(0);
    if !run.snapshot.name.is_empty() {
        run.snapshot.name.clone_into(&mut spec.snapshot);
    }
    let mut own = session.labels().clone();
    own.insert(labels::RETRY_OF.to_owned(), session.uid().unwrap_or_default());
    let annotations = session.annotations().get(labels::REVERIFY).map(|value| [(labels::REVERIFY.to_owned(), value.clone())].into());
    BackupVerificationSession {
        metadata: ObjectMeta {
            namespace: session.namespace(),
            labels: Some(own),
            annotations,
            owner_references: Some(session.owner_references().to_vec()),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}
