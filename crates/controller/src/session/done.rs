//! A finished session: the lock goes back when its pods are gone, and a retry is made when one is owed.

use std::time::Duration;

use backproof_api::{BackupVerificationSession, condition, labels, phase::conditions as of, run::PinnedRun};
use jiff::Timestamp;
use kube::{ResourceExt as _, api::ObjectMeta};

use super::{
    decide::wake_at,
    decision::{Decision, Effect, Wake, until},
    history::{owes_retry, retry_due},
    observed::{Observed, Seen},
    resolve,
    wipe::{self, Wiping},
};
use crate::{events::Note, lease::Lock};

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
        Lock::NotRead | Lock::Free | Lock::Held(_) => return None,
    }
    let Some(remains) = &observed.remains else { return Some(Decision::wait(Duration::from_secs(1))) };
    let untold = match wipe::decide(observed, run, now) {
        Wiping::Wait(decision) => return Some(decision),
        Wiping::Over(untold) => untold,
    };
    if remains.pods.is_empty() && remains.forbidden.is_none() {
        return Some(Decision::act(untold.into_iter().chain([Effect::ReleaseLock]).collect()));
    }
    let what = remains.forbidden.clone().unwrap_or_else(|| remains.pods.join(", "));
    let message = format!("{} stays locked until these pods are gone: {what}", resolve::target_text(run));
    let age = Timestamp::from_second(now.as_second() + now.duration_since(completed).as_secs()).unwrap_or(now);
    let again = until(age, now, Duration::from_secs(1), Duration::from_secs(30));
    let effects = vec![Effect::DeleteJobs, Effect::TellOnce(Note::warning("TargetStaysLocked", "Unlock", message))];
    Some(Decision { effects, wake: Wake::After(again), ..Decision::default() })
}

fn retry(observed: &Observed, run: &PinnedRun, completed: Timestamp, now: Timestamp) -> Decision {
    let due = retry_due(completed, run.retry_delay_seconds);
    if now < due {
        return Decision::rest().then(wake_at(due, now));
    }
    let mut status = observed.session.status.clone().unwrap_or_default();
    let willing = match &observed.invoker {
        Seen::NotRead => return Decision::wait(Duration::from_secs(1)),
        Seen::Absent => Err("its invoker is gone"),
        Seen::Present(invoker) if invoker.as_invoker().paused() => Err("its invoker is paused"),
        Seen::Present(invoker) if invoker.as_invoker().meta().deletion_timestamp.is_some() => Err("its invoker is being deleted"),
        Seen::Present(_) => Ok(()),
    };
    match willing {
        Ok(()) => {
            status.retried = Some(true);
            let next = next_session(&observed.session, run);
            let note =
                Note::normal("Retried", "Retry", format!("a new session repeats this one; {} more would follow", next.spec.retry_left));
            let effects = vec![Effect::CreateRetry { session: Box::new(next), at: due }, Effect::WriteStatus, Effect::Tell(note)];
            Decision { status: Some(Box::new(status)), effects, wake: Wake::OnChange }
        }
        Err(reason) => {
            status.retried = Some(false);
            let note = Note::normal("NotRetried", "Retry", format!("this session is not repeated: {reason}"));
            Decision { status: Some(Box::new(status)), effects: vec![Effect::WriteStatus, Effect::Tell(note)], wake: Wake::OnChange }
        }
    }
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
