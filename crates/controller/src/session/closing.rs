//! The verdict, and the last steps in their order: conditions, Snapshot, history, and one closing write.

use backproof_api::{
    BackupVerificationSessionStatus, Cause, Verdict,
    condition::{self, Condition},
    duration,
    phase::{self, conditions as of, reasons},
    run::{Evidence, PinnedRun},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    decision::{Decision, Effect},
    history,
    judge::{Judged, judge},
    observed::{Observed, Seen, SiblingState},
    proof, resolve,
    stage::Judgement,
    wire::{self, Ending, Refusal},
};
use crate::{
    events::Note,
    restore::{REPORTED, checks_hold},
};

/// How long history cleaning is tried before the session closes with what is left named.
const HISTORY_PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// Writes a verdict that no RestoreSession gave: nothing was proven.
pub(super) fn refuse(observed: &Observed, run: &PinnedRun, refusal: &Refusal, now: Timestamp) -> Decision {
    conclude(observed, run, Err((refusal.clone(), None)), now)
}

/// Writes the verdict into the conditions, with the evidence. Everything else follows from there.
pub(super) fn conclude(
    observed: &Observed,
    run: &PinnedRun,
    result: Result<Box<Evidence>, (Refusal, Option<Box<Evidence>>)>,
    now: Timestamp,
) -> Decision {
    let mut status = observed.session.status.clone().unwrap_or_default();
    status.run = Some(run.clone());
    let with_rest = |evidence: Box<Evidence>| Evidence { not_covered: run.not_covered.clone(), ..*evidence };
    match result {
        Ok(evidence) => {
            status.message = proven(&evidence, run);
            if run.verifier.query.is_some() {
                wire::asked(&mut status, now);
            }
            status.evidence = Some(with_rest(evidence));
            wire::verified(&mut status, now);
        }
        Err((refusal, evidence)) => {
            if refusal.restored && evidence.as_ref().is_some_and(|evidence| evidence.checks_total > 0) {
                wire::asked(&mut status, now);
            }
            status.evidence = evidence.map(with_rest);
            wire::failed(&mut status, &refusal, now);
        }
    }
    Decision::write(status, Vec::new())
}

fn proven(evidence: &Evidence, run: &PinnedRun) -> String {
    let rest = if run.not_covered.is_empty() { String::new() } else { format!("; not covered: {}", run.not_covered.join(", ")) };
    if evidence.source == REPORTED {
        return format!(
            "Function {} reports that Snapshot {} restores; that is its word, as Backproof has read nothing back{rest}",
            run.verifier.function.name, run.snapshot.name
        );
    }
    if let Some(database) = &evidence.database {
        let objects = database.objects.unwrap_or_default();
        let checks = if evidence.checks_total == 0 { String::new() } else { format!(", and {}", checks_hold(evidence.checks_total)) };
        return format!(
            "Snapshot {} restores: its dump of {} bytes made {objects} objects in database {:?} of {}{checks}{rest}",
            run.snapshot.name,
            evidence.restored.bytes,
            database.database,
            resolve::target_text(run)
        );
    }
    let counts = evidence.read_back;
    format!(
        "Snapshot {} restores: {} files, {} directories, {} bytes came back and were read back{rest}",
        run.snapshot.name, counts.files, counts.directories, counts.bytes
    )
}

/// The last steps of a session whose verdict stands in its conditions.
pub(super) fn decide(observed: &Observed, run: &PinnedRun, judged: &Judgement, now: Timestamp) -> Decision {
    let session = &observed.session;
    let mut effects = tear_down(observed, run);
    if let Seen::Present(snapshot) = &observed.snapshot
        && let Some(status) = proof::updated(snapshot, session, run, judged, now)
    {
        let version = snapshot.resource_version().unwrap_or_default();
        effects.push(Effect::WriteSnapshot { name: snapshot.name_any(), version, status: Box::new(status) });
    }
    if matches!(observed.snapshot, Seen::NotRead) && !run.snapshot.uid.is_empty() {
        let text = format!("Snapshot {} could not be read, and does not tell this result", run.snapshot.name);
        effects.push(Effect::Tell(Note::warning("LeftUndone", "Verify", text)));
    }
    effects.extend(hold_off(observed, run, judged, now));
    // What comes after a Snapshot that took long is not to be late for it.
    let recorded = !effects.iter().any(|effect| matches!(effect, Effect::WriteSnapshot { .. }));
    let since = if recorded { judged.at } else { now };
    let left = clean_history(observed, run, SiblingState::Finished, since, now, &mut effects);
    let mut status = session.status.clone().unwrap_or_default();
    let mut judged = judged.clone();
    close(&mut status, run, &left, now);
    // Upstream's rule would call a session Succeeded that has no verdict; conditions that do not add up prove nothing.
    if phase::unproven(&status)
        || (judged.verdict == Verdict::Verified) != (phase::verification(&status.conditions) == backproof_api::VerificationPhase::Succeeded)
    {
        let refusal = Refusal::new(Cause::Internal, "the conditions of this session contradict each other: create another session");
        wire::failed(&mut status, &refusal, now);
        judged = Judgement { verdict: Verdict::Inconclusive, cause: Some(Cause::Internal), at: judged.at };
    }
    finish(observed, status, &judged, run, now, effects)
}

/// What a result means for the Repository: one that storage, credentials or an image caused holds it off, an answer lifts that.
fn hold_off(observed: &Observed, run: &PinnedRun, judged: &Judgement, now: Timestamp) -> Vec<Effect> {
    let Some(place) = &observed.place else { return Vec::new() };
    let uid = observed.session.uid().unwrap_or_default();
    let evidence = observed.session.status.as_ref().and_then(|status| status.evidence.as_ref());
    let answered = match judged.verdict {
        Verdict::Verified | Verdict::VerificationFailed => true,
        Verdict::Inconclusive => evidence.is_some_and(|evidence| evidence.repository.is_some()),
        Verdict::Skipped => false,
    };
    // Where the repository was opened, the Secret that is missing is the target's.
    let opened = evidence.is_some_and(|evidence| evidence.repository.is_some());
    let of_target = judged.cause == Some(Cause::SecretMissing) && opened;
    match judged.cause.filter(|cause| cause.holds_repository() && !of_target) {
        Some(cause) => {
            let Some(hold) = place.failed(&uid, cause, run, now) else { return Vec::new() };
            let first = (hold.tries == 1).then(|| {
                let text = format!("sessions wait until {}, as session {} ended {cause}", hold.next, observed.session.name_any());
                Effect::TellRepository(Note::warning("HeldOff", "Verify", text))
            });
            std::iter::once(Effect::WriteHold(Some(Box::new(hold)))).chain(first).collect()
        }
        None if answered && place.hold.is_some() => {
            let text = format!("sessions run again: session {} had an answer", observed.session.name_any());
            vec![Effect::WriteHold(None), Effect::TellRepository(Note::normal("HoldLifted", "Verify", text))]
        }
        None => Vec::new(),
    }
}

/// A session whose Snapshot is already proven: one closing write.
pub(super) fn skip(observed: &Observed, run: &PinnedRun, now: Timestamp) -> Decision {
    let mut effects = Vec::new();
    let since = run.started.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let left = clean_history(observed, run, SiblingState::Skipped, since, now, &mut effects);
    let mut status = observed.session.status.clone().unwrap_or_default();
    status.message = format!(
        "Snapshot {} was proven before, by session {}; annotate a session with backproof.dev/reverify: \"true\" to prove it again",
        run.snapshot.name, run.proven_by
    );
    let skipped =
        Condition::new(of::BACKUP_VERIFICATION_SKIPPED, condition::TRUE, reasons::SNAPSHOT_ALREADY_VERIFIED).with_message(&status.message);
    wire::set(&mut status, skipped, now);
    close(&mut status, run, &left, now);
    finish(observed, status, &Judgement { verdict: Verdict::Skipped, cause: None, at: now }, run, now, effects)
}

/// Ends a restore that is still open: RestoreSession first, so that nobody makes another Job for it.
fn tear_down(observed: &Observed, run: &PinnedRun) -> Vec<Effect> {
    let uid = observed.session.uid().unwrap_or_default();
    match &observed.restore {
        Seen::Present(restore) => match judge(restore, &uid, run) {
            Judged::Open | Judged::Changed => vec![Effect::DeleteRestore(restore.uid().unwrap_or_default()), Effect::DeleteJobs],
            Judged::NotOurs | Judged::AnotherOne => vec![Effect::DeleteJobs],
            Judged::Closed(_) => Vec::new(),
        },
        Seen::Absent | Seen::NotRead if run.restore_session.is_some() => vec![Effect::DeleteJobs],
        Seen::Absent | Seen::NotRead => Vec::new(),
    }
}

/// Orders the deletion of surplus sessions, or names those that could not be deleted in time.
fn clean_history(
    observed: &Observed,
    run: &PinnedRun,
    own: SiblingState,
    since: Timestamp,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) -> Vec<String> {
    // Without a verifier nobody said how many to keep.
    if run.history_limit == 0 {
        return Vec::new();
    }
    let surplus = history::surplus(&observed.siblings, run.history_limit, own);
    if now.duration_since(since) > HISTORY_PATIENCE {
        return surplus.into_iter().map(|sibling| sibling.name.clone()).collect();
    }
    effects.extend(surplus.into_iter().map(|sibling| Effect::DeleteSession { name: sibling.name.clone(), uid: sibling.uid.clone() }));
    Vec::new()
}

/// The closing marks.
fn close(status: &mut BackupVerificationSessionStatus, run: &PinnedRun, left: &[String], now: Timestamp) {
    let mut cleaned = Condition::new(of::VERIFICATION_SESSION_HISTORY_CLEANED, condition::TRUE, reasons::CLEANED_HISTORY);
    if !left.is_empty() {
        cleaned = cleaned.with_message(format!("these older sessions could not be deleted: {}", left.join(", ")));
    }
    wire::set(status, cleaned, now);
    let started = run.started.parse().unwrap_or(now);
    let took = SignedDuration::from_secs(now.duration_since(started).as_secs().max(0));
    status.completion_time = Some(wire::time(now));
    status.duration = duration::format(took);
    status.duration_seconds = Some(took.as_secs());
}

/// The closing write, and what is told and counted with it.
fn finish(
    observed: &Observed,
    mut status: BackupVerificationSessionStatus,
    judged: &Judgement,
    run: &PinnedRun,
    now: Timestamp,
    mut effects: Vec<Effect>,
) -> Decision {
    let ending = match judged.verdict {
        Verdict::Verified | Verdict::Skipped => Ending::Good,
        Verdict::VerificationFailed | Verdict::Inconclusive => Ending::Bad,
    };
    let message = status.message.clone();
    let reason = judged.verdict.as_str();
    wire::finished(&mut status, ending, reason, &message, now);
    status.verdict = Some(judged.verdict.into());
    status.observed_generation = observed.session.metadata.generation;
    status.cause = judged.cause.map(Into::into);
    status.phase = Some(phase::verification(&status.conditions).into());
    let seconds = status.duration_seconds.unwrap_or_default();
    let text = match judged.cause {
        Some(cause) => format!("{cause}: {message}"),
        None => message,
    };
    let note = |text: String| match ending {
        Ending::Good => Note::normal(reason, "Verify", text),
        Ending::Bad => Note::warning(reason, "Verify", text),
    };
    effects.push(Effect::WriteStatus);
    effects.push(Effect::Tell(note(text.clone())));
    // That the Repository is held off is told once, not by every session that tries it.
    let known = judged.cause.is_some_and(Cause::holds_repository)
        && observed.place.as_ref().and_then(|place| place.hold.as_ref()).is_some_and(|hold| hold.tries > 0);
    if !known {
        effects.push(Effect::TellInvoker(note(format!("session {}: {text}", observed.session.name_any()))));
    }
    if !run.not_covered.is_empty() && judged.verdict == Verdict::Verified {
        let rest = format!("this verification did not cover {}", run.not_covered.join(", "));
        effects.push(Effect::Tell(Note::normal("NotCovered", "Verify", rest)));
    }
    effects.push(Effect::Count { verdict: reason, cause: judged.cause.map_or("", Cause::as_str), seconds });
    Decision { status: Some(Box::new(status)), effects, wake: super::decision::Wake::Again }
}
