//! The wiping of the target after the end of a session, where its verifier says `cleanup: Always`: the session asks for it,
//! keeps the lock meanwhile, and tells what remains. The wipe itself is the restore reconciler's (`restore/wipe.rs`).

use std::time::Duration;

use backproof_api::{BackupVerificationSession, RestoreSession, labels, run::PinnedRun};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    decision::{Decision, Effect, Wake, until},
    observed::{Observed, Seen},
};
use crate::{
    events::Note,
    restore::wipe::{due, pending},
};

/// How long after its time a wipe may take to be told of.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// Whether the lock must still be kept.
pub(super) enum Wiping {
    /// The wipe is to come, or under way.
    Wait(Decision),
    /// There is none, or none any more; with what its reader has yet to be told.
    Over(Option<Effect>),
}

/// Whether the target of a finished session may still be wiped, as far as the session alone tells.
pub(super) fn may_run(session: &BackupVerificationSession, run: &PinnedRun, now: Timestamp) -> bool {
    run.wipe_target && run.restore_session.is_some() && now < awaited_until(session)
}

/// Until when a finished session waits for its wipe.
pub(super) fn awaited_until(session: &BackupVerificationSession) -> Timestamp {
    due(session).and_then(|due| due.checked_add(GRACE).ok()).unwrap_or(Timestamp::MIN)
}

/// What to do about the target of a finished session that has its lock.
pub(super) fn decide(observed: &Observed, run: &PinnedRun, now: Timestamp) -> Wiping {
    let made = run.restore_session.as_ref().is_some_and(|restore| !restore.uid.is_empty());
    if !run.wipe_target || !made {
        return Wiping::Over(None);
    }
    match &observed.restore {
        Seen::NotRead if now < awaited_until(&observed.session) => Wiping::Wait(Decision::wait(Duration::from_secs(1))),
        Seen::NotRead => Wiping::Over(Some(not_wiped("its RestoreSession could not be read; the next run wipes what this one left"))),
        Seen::Absent => Wiping::Over(Some(not_wiped("its RestoreSession is gone; the next run wipes what this one left"))),
        Seen::Present(restore) if pending(run, restore) && now < awaited_until(&observed.session) => Wiping::Wait(Decision {
            effects: ask(restore),
            wake: Wake::After(until(awaited_until(&observed.session), now, Duration::from_secs(1), Duration::from_secs(600))),
            ..Decision::default()
        }),
        Seen::Present(restore) if pending(run, restore) => {
            Wiping::Over(Some(not_wiped("its time ran out; the next run wipes what this one left")))
        }
        Seen::Present(restore) => Wiping::Over(told(restore)),
    }
}

/// Once: the annotation wakes who wipes.
fn ask(restore: &RestoreSession) -> Vec<Effect> {
    let asked = restore.annotations().contains_key(labels::WIPE);
    (!asked).then(|| Effect::AskForWipe(restore.uid().unwrap_or_default())).into_iter().collect()
}

fn told(restore: &RestoreSession) -> Option<Effect> {
    let wipe = restore.status.as_ref()?.wipe.clone()?;
    match wipe.wiped? {
        true => Some(Effect::TellOnce(Note::normal("TargetWiped", "Wipe", wipe.message))),
        false => Some(Effect::TellOnce(Note::warning("TargetNotWiped", "Wipe", wipe.message))),
    }
}

fn not_wiped(why: &str) -> Effect {
    Effect::TellOnce(Note::warning("TargetNotWiped", "Wipe", format!("the target was not wiped: {why}")))
}
