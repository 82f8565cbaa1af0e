//! What to do next for one session: pure, total, without a clock. The stages follow each other as the session object says.

use std::time::Duration;

use backproof_api::{BackupVerificationSessionStatus, Cause, run::PinnedRun};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    closing,
    decision::{Decision, Effect, Wake, until},
    deleting,
    discovery::Discovery,
    done,
    observed::Observed,
    resolve, running,
    stage::{self, Stage, stage},
    wire::{self, Refusal},
};
use crate::{events::Note, hold::Standing, shared::Reading};

/// A slow look at whatever is unfinished, should an event ever be lost.
pub(super) const SLOW: Duration = Duration::from_secs(600);

/// What to do next.
pub(super) fn decide(observed: &Observed, now: Timestamp) -> Decision {
    match stage(&observed.session) {
        Stage::Foreign => Decision {
            effects: vec![Effect::TellOnce(Note::warning(
                "NotOurs",
                "Observe",
                "another operator has written this session's status: Backproof leaves it alone; create another session to have it verified by Backproof",
            ))],
            ..Decision::rest()
        },
        Stage::Gone => Decision::rest(),
        Stage::Deleting(run) => deleting::decide(observed, run.as_deref(), now),
        Stage::Unpinned => start(observed, now),
        Stage::Contradicted(run) => {
            let message = "annotation backproof.dev/run no longer says what the status says: it must not be edited; create another session";
            closing::refuse(observed, &run, &Refusal::new(Cause::PinnedFactsChanged, message), now)
        }
        Stage::Running(run) => running::decide(observed, &run, now),
        Stage::Judged(run, judged) => closing::decide(observed, &run, &judged, now),
        Stage::Done(run) => done::decide(observed, &run, now),
    }
}

/// Pins what the session names, or says what is missing. Both end in the same two writes: metadata first, then status.
fn start(observed: &Observed, now: Timestamp) -> Decision {
    let session = &observed.session;
    if let Some(said) = &observed.unreadable {
        let message = format!("what this session names could not be read in time: {said}; create another session when that is mended");
        return closing::refuse(observed, &PinnedRun::default(), &Refusal::new(Cause::DeadlineExceeded, message), now);
    }
    let Some(references) = &observed.references else { return Decision::wait(Duration::from_secs(1)) };
    let mut run = PinnedRun::default();
    if references.discovery != Discovery::Known
        && now < latest_pin(observed)
        && let Some(decision) = held_off(observed, now)
    {
        return decision;
    }
    let resolved = match &references.discovery {
        Discovery::Ask(at) => return await_discovery(observed, Some(*at), now),
        Discovery::Pending if now < latest_pin(observed) => return await_discovery(observed, None, now),
        Discovery::Pending => Err(Refusal::new(
            Cause::DeadlineExceeded,
            "the snapshots in the repository were not listed in time: look at the discovery Job of the Repository",
        )),
        Discovery::Failed(refusal) => Err(refusal.clone()),
        Discovery::Known => Ok(()),
    };
    let resolved = match resolve::resolve(session, references, &observed.settings, &mut run, now) {
        // What the session names at fault comes before what discovery could not find out.
        Ok(()) | Err(Refusal { cause: Cause::NoSnapshotToVerify, .. }) if resolved.is_err() => resolved,
        outcome => outcome,
    };
    let ends = resolved.is_err() || !run.proven_by.is_empty();
    if ends && references.reading == Reading::Cached {
        return Decision::act(vec![Effect::AskAgain]);
    }
    // A crash between the two writes leaves the annotation: the times in it stand, if the rest is what we find again.
    if let Some(hint) = stage::annotated(session).filter(|hint| same_but_times(hint, &run, now)) {
        run = hint;
    }
    let mut status = session.status.clone().unwrap_or_default();
    status.run = Some(run.clone());
    status.start_time = run.started.parse().ok().map(wire::time);
    status.observed_generation = session.metadata.generation;
    match &resolved {
        Ok(()) => {
            let message = format!("verifying Snapshot {} by restoring it into {}", run.snapshot.name, resolve::target_text(&run));
            wire::progress(&mut status, "Pinned", &message, now);
        }
        Err(refusal) => {
            wire::progress(&mut status, "Closing", &refusal.message, now);
            wire::failed(&mut status, refusal, now);
        }
    }
    let claim = running::claim(session, references, &run).map(Effect::Claim);
    let older = if run.replaceable { running::older(observed) } else { Vec::new() };
    let nudge = (!older.is_empty()).then_some(Effect::Nudge(older));
    let effects = claim.into_iter().chain([Effect::WriteStatus]).chain(nudge).collect();
    Decision { status: Some(Box::new(status)), effects, wake: Wake::Again }
}

/// Discovery runs Jobs as well: none while the Repository is held off.
fn held_off(observed: &Observed, now: Timestamp) -> Option<Decision> {
    let place = observed.place.as_ref()?;
    let uid = observed.session.uid().unwrap_or_default();
    match place.standing(&uid, &PinnedRun::default(), now) {
        Standing::Free => None,
        Standing::MayProbe => Some(Decision::act(vec![Effect::WriteHold(place.probed_by(&uid, now).map(Box::new))])),
        Standing::Waits(until) => {
            let message = running::waits_for(&observed.session, place, until);
            let status = waiting(observed, "WaitingForRepository", &message, now);
            let effects = vec![Effect::AwaitRepository, Effect::TellOnce(Note::normal("WaitingForRepository", "Resolve", message))];
            Some(Decision::write(status, effects).then(wake_at(until, now)))
        }
    }
}

/// Until when a session waits for what must be known before it is pinned.
pub(super) fn latest_pin(observed: &Observed) -> Timestamp {
    let created = observed.session.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    created.saturating_add(observed.settings.default_timeout).unwrap_or(Timestamp::MAX)
}

/// Nothing is pinned yet, but whoever looks is told that work is under way.
fn waiting(observed: &Observed, reason: &str, message: &str, now: Timestamp) -> BackupVerificationSessionStatus {
    let mut status = observed.session.status.clone().unwrap_or_default();
    status.observed_generation = observed.session.metadata.generation;
    wire::progress(&mut status, reason, message, now);
    status
}

fn await_discovery(observed: &Observed, ask: Option<Timestamp>, now: Timestamp) -> Decision {
    let repository = observed.session.spec.repository.clone();
    let message = format!("waiting until the snapshots in Repository {repository} are listed, to find the newest");
    let status = waiting(observed, "WaitingForDiscovery", &message, now);
    let ask = ask.map(|at| Effect::RequestDiscovery { repository, at });
    let told = Effect::TellOnce(Note::normal("WaitingForDiscovery", "Resolve", message));
    Decision::write(status, ask.into_iter().chain([told]).collect()).then(Wake::After(Duration::from_secs(1)))
}

fn same_but_times(hint: &PinnedRun, run: &PinnedRun, now: Timestamp) -> bool {
    let timeless = |run: &PinnedRun| PinnedRun { started: String::new(), deadline: String::new(), ..run.clone() };
    let length = |run: &PinnedRun| match (run.started.parse::<Timestamp>(), run.deadline.parse::<Timestamp>()) {
        (Ok(started), Ok(deadline)) if started <= now => Some(deadline.duration_since(started)),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => None,
    };
    timeless(hint) == timeless(run) && length(hint).is_some() && length(hint) == length(run)
}

/// The deadline of a run; one that cannot be read has passed, so that nothing waits for ever.
pub(super) fn deadline(run: &PinnedRun) -> Timestamp {
    run.deadline.parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Waits for a deadline, with a slow look in between.
pub(super) fn wake_at(at: Timestamp, now: Timestamp) -> Wake {
    Wake::After(until(at, now, Duration::from_secs(1), SLOW))
}
