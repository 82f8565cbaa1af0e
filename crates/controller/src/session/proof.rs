//! The record that stays with a Snapshot: when an earlier one still holds, and how this session's result becomes the next.

use backproof_api::{
    BackupVerificationSession, Snapshot, SnapshotStatus, Verdict, VerificationStatus, duration,
    duration::DurationError,
    labels,
    run::{PinnedRun, VerificationAttempt, VerificationRecord},
};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::{
    components::{self, restic_ids},
    resolve::second,
    stage::Judgement,
};

/// The session whose proof of this Snapshot still holds for this run, or nothing.
///
/// A proof holds only if the status says Verified, the record's own verdict is Verified, it names this very Snapshot, these
/// restic ids and this verifier, and it has not expired. `Verified` without such a record proves nothing.
pub(super) fn that_holds(snapshot: &Snapshot, run: &PinnedRun, reverify_after: &str, now: Timestamp) -> Result<String, DurationError> {
    let limit = duration::parse_optional(reverify_after)?;
    let status = snapshot.status.as_ref();
    let verified =
        status.and_then(|status| status.verification_status.as_ref()).is_some_and(|status| *status == VerificationStatus::Verified);
    let Some(record) = record(snapshot).filter(|_| verified) else { return Ok(String::new()) };
    let mut ids = record.restic_ids.clone();
    ids.sort_unstable();
    let young = match limit {
        None => true,
        Some(limit) => record.completed.parse::<Timestamp>().is_ok_and(|completed| {
            now.duration_since(completed) < jiff::SignedDuration::try_from(limit).unwrap_or(jiff::SignedDuration::MAX)
        }),
    };
    let holds = record.verdict == Verdict::Verified
        && !run.snapshot.uid.is_empty()
        && record.snapshot_uid == run.snapshot.uid
        && ids == restic_ids(run)
        && record.verifier_hash == run.verifier.hash
        && young;
    Ok(if holds { record.session } else { String::new() })
}

/// The record of a Snapshot, in its status or, where that was pruned, in its annotation.
pub(super) fn record(snapshot: &Snapshot) -> Option<VerificationRecord> {
    let in_status = snapshot.status.as_ref().and_then(|status| status.verification.clone());
    in_status.or_else(|| snapshot.annotations().get(labels::VERIFICATION).and_then(|text| serde_json::from_str(text).ok()))
}

/// The Snapshot's status with this session's result, or nothing when there is nothing to write: another Snapshot of the name,
/// a later session's record, or the result stands there already.
pub(super) fn updated(
    snapshot: &Snapshot,
    session: &BackupVerificationSession,
    run: &PinnedRun,
    judged: &Judgement,
) -> Option<SnapshotStatus> {
    if snapshot.uid().unwrap_or_default() != run.snapshot.uid {
        return None;
    }
    // A Snapshot that stands for other content by now is not what was judged.
    let stands_for = components::choose(snapshot, &run.verifier.task).map(|chosen| chosen.selected).unwrap_or_default();
    if judged.verdict != Verdict::Inconclusive && stands_for != run.snapshot.components {
        return None;
    }
    let before = snapshot.status.clone().unwrap_or_default();
    let mut after = before.clone();
    match judged.verdict {
        Verdict::Inconclusive => attempt(&mut after, session, judged),
        Verdict::Verified => conclude(&mut after, snapshot, session, run, judged, VerificationStatus::Verified),
        Verdict::VerificationFailed => conclude(&mut after, snapshot, session, run, judged, VerificationStatus::VerificationFailed),
        Verdict::Skipped => {}
    }
    (after != before).then_some(after)
}

fn attempt(status: &mut SnapshotStatus, session: &BackupVerificationSession, judged: &Judgement) {
    let completed = second(judged.at);
    let later = status.last_attempt.as_ref().is_some_and(|attempt| is_after(&attempt.completed, &completed));
    if !later {
        status.last_attempt = Some(VerificationAttempt { session: session.name_any(), completed, cause: judged.cause });
    }
}

fn conclude(
    status: &mut SnapshotStatus,
    snapshot: &Snapshot,
    session: &BackupVerificationSession,
    run: &PinnedRun,
    judged: &Judgement,
    word: VerificationStatus,
) {
    let uid = session.uid().unwrap_or_default();
    if record(snapshot).is_some_and(|record| record.session_uid != uid && is_after(&record.started, &run.started)) {
        return;
    }
    let evidence = session.status.as_ref().and_then(|status| status.evidence.clone()).unwrap_or_default();
    status.verification = Some(VerificationRecord {
        session: session.name_any(),
        session_uid: uid,
        started: run.started.clone(),
        completed: second(judged.at),
        verdict: judged.verdict,
        cause: judged.cause,
        kind: run.verifier.kind.clone(),
        verifier_hash: run.verifier.hash.clone(),
        snapshot_uid: run.snapshot.uid.clone(),
        restic_ids: restic_ids(run),
        restored: evidence.restored,
        read_back: evidence.read_back,
        failed_checks: evidence.checks.iter().filter(|check| !check.holds).map(|check| check.name.clone()).collect(),
        repository: evidence.repository,
    });
    status.verification_status = Some(word.into());
    status.verification_session = session.name_any();
}

/// Whether one moment lies after another; an unreadable one does not.
fn is_after(one: &str, other: &str) -> bool {
    match (one.parse::<Timestamp>(), other.parse::<Timestamp>()) {
        (Ok(one), Ok(other)) => one > other,
        (Err(_), _) | (_, Err(_)) => false,
    }
}
