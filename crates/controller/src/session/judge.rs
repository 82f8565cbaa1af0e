//! What a closed RestoreSession says about the backup. Only evidence makes a verdict green; everything unclear is Inconclusive.

use backproof_api::{
    Cause, RestorePhase, RestoreSession, Verdict, condition, labels,
    phase::{self, conditions as of},
    run::{Evidence, PinnedRun, spec_hash},
    shared::Wire,
};
use kube::ResourceExt as _;

use super::{components::restic_ids, wire::Refusal};
use crate::restore::REPORTED;

/// What a RestoreSession of the session's name is to the session.
#[derive(Debug, PartialEq)]
pub(super) enum Judged {
    /// Somebody else made it.
    NotOurs,
    /// Ours, but not the one that was pinned: the first was deleted.
    AnotherOne,
    /// Ours, but its spec is not the one we wrote.
    Changed,
    /// Ours and under way.
    Open,
    /// Ours and closed.
    Closed(Result<Box<Evidence>, (Refusal, Option<Box<Evidence>>)>),
}

/// Judges the RestoreSession that has the session's name.
pub(super) fn judge(restore: &RestoreSession, session_uid: &str, run: &PinnedRun) -> Judged {
    let ours = restore.labels().get(labels::SESSION_UID).is_some_and(|uid| uid == session_uid)
        && restore.owner_references().iter().any(|owner| owner.uid == session_uid && owner.controller == Some(true));
    let pinned = run.restore_session.as_ref().map(|pinned| pinned.uid.as_str()).unwrap_or_default();
    let uid = restore.uid().unwrap_or_default();
    match (ours, pinned.is_empty() || pinned == uid) {
        (_, false) => return Judged::AnotherOne,
        (false, true) => return Judged::NotOurs,
        (true, true) => {}
    }
    if run.restore_spec_hash.is_empty() || spec_hash(&restore.spec) != run.restore_spec_hash {
        return Judged::Changed;
    }
    if is_closed(restore) { Judged::Closed(verdict(restore, session_uid, run)) } else { Judged::Open }
}

/// Whether the restore has ended: MetricsPushed is its closing mark, and one that is invalid never gets that far.
fn is_closed(restore: &RestoreSession) -> bool {
    let status = restore.status.clone().unwrap_or_default();
    condition::is_present(&status.conditions, of::METRICS_PUSHED) || condition::is_false(&status.conditions, of::VALIDATION_PASSED)
}

fn verdict(restore: &RestoreSession, session_uid: &str, run: &PinnedRun) -> Result<Box<Evidence>, (Refusal, Option<Box<Evidence>>)> {
    let status = restore.status.clone().unwrap_or_default();
    let evidence = status.evidence.clone().map(Box::new);
    let what = format!("RestoreSession {}", crate::events::path(restore));
    let internal = |problem: &str| Refusal::new(Cause::Internal, format!("{what} {problem}"));
    let cause = status.cause.as_ref().and_then(Wire::known);
    let restored = restored(restore, session_uid, run);
    let is_restored = restored.is_ok();
    let refusal = match status.verdict.as_ref() {
        Some(Wire::Known(Verdict::Verified)) => match restored.and_then(|evidence| answered(evidence, run)) {
            Ok(evidence) => return Ok(evidence),
            Err(problem) => Refusal::new(Cause::ReadBackIncomplete, format!("{what}: {problem}")),
        },
        Some(Wire::Known(verdict @ (Verdict::VerificationFailed | Verdict::Inconclusive))) => match cause {
            Some(cause) if cause.verdict() == *verdict => {
                Refusal::new(cause, if status.message.is_empty() { cause.description().to_owned() } else { status.message.clone() })
            }
            Some(cause) => internal(&format!("ended {verdict} with the cause {cause}, which contradict each other: {}", status.message)),
            None => internal(&format!("ended {verdict} without a cause: {}", status.message)),
        },
        Some(Wire::Known(Verdict::Skipped)) => internal("ended Skipped, which proves nothing"),
        Some(Wire::Other(word)) => internal(&format!("ended with the verdict {word:?}, which this version does not know")),
        None => internal("ended without a verdict: are Backproof's CRDs installed?"),
    };
    // Where nothing was to be asked, nothing but the restore can have failed.
    let refusal = if is_restored && run.verifier.query.is_some() { refusal.after_restore() } else { refusal };
    Err((refusal, evidence))
}

/// The evidence, if it shows that all that was pinned was restored: everything was read back, or came into the database by this very
/// session, and of exactly the pinned restic snapshots.
fn restored(restore: &RestoreSession, session_uid: &str, run: &PinnedRun) -> Result<Box<Evidence>, String> {
    let status = restore.status.clone().unwrap_or_default();
    let Some(evidence) = status.evidence.clone() else { return Err("it ended Verified without evidence".into()) };
    let phase = phase::restore(&status);
    if phase != RestorePhase::Succeeded {
        return Err(format!("it ended Verified, but its phase is {phase}"));
    }
    if run.verifier.foreign.is_some() {
        // Its word was taken as such; there is nothing of ours to compare it with.
        let said = if evidence.source == REPORTED {
            Ok(Box::new(evidence))
        } else {
            Err(format!("its evidence comes from {:?}, not from the Function's report", evidence.source))
        };
        return said;
    }
    if evidence.source != "Executor" {
        return Err(format!("its evidence comes from {:?}, not from Backproof's executor", evidence.source));
    }
    let mut restored: Vec<_> = evidence.restic_ids.clone();
    restored.sort_unstable();
    if restored != restic_ids(run) || restored.is_empty() {
        return Err(format!("the restic snapshots {} were restored, but {} were pinned", restored.join(", "), restic_ids(run).join(", ")));
    }
    match (&run.verifier.target.database, &evidence.database) {
        (None, _) if evidence.read_back != evidence.restored => {
            return Err(format!("{:?} were restored, but {:?} read back", evidence.restored, evidence.read_back));
        }
        (Some(pinned), Some(facts)) if facts.database == pinned.name && facts.run == session_uid && !session_uid.is_empty() => {}
        (Some(_), _) => return Err("its evidence is of another database, or of what another session restored".into()),
        (None, _) => {}
    }
    if evidence.restored.is_empty() && !run.allow_empty {
        return Err("nothing was restored, and the verifier does not set allowEmpty".into());
    }
    Ok(Box::new(evidence))
}

/// The evidence, if every check that was pinned was answered, and holds.
fn answered(evidence: Box<Evidence>, run: &PinnedRun) -> Result<Box<Evidence>, String> {
    if let Some(check) = evidence.checks.iter().find(|check| !check.holds) {
        return Err(format!("check {} expected {} and got {}", check.name, check.expected, check.actual));
    }
    match &run.verifier.query {
        Some(query) if query.checks == 0 || evidence.checks_total != query.checks => {
            Err(format!("{} checks were answered, and {} are pinned", evidence.checks_total, query.checks))
        }
        Some(_) | None => Ok(evidence),
    }
}
