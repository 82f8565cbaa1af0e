//! The record that stays with a Snapshot: when an earlier one still holds, and how this session's result becomes the next.

use backproof_api::{
    BackupVerificationSession, Snapshot, SnapshotStatus, Verdict, VerificationStatus, duration,
    duration::DurationError,
    labels,
    run::{PinnedRun, VerificationAttempt, VerificationRecord},
};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    components::{restic_ids, still_stands_for},
    resolve::second,
    stage::Judgement,
};

/// How far clocks of one cluster may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// The session whose proof of this Snapshot still holds for this run, or nothing.
///
/// A proof holds only if the status says Verified, the record's own verdict is Verified, it names this very Snapshot, these
/// restic ids, this place and this verifier, and it has not expired. `Verified` without such a record proves nothing.
pub(super) fn that_holds(snapshot: &Snapshot, run: &PinnedRun, reverify_after: &str, now: Timestamp) -> Result<String, DurationError> {
    let limit = duration::parse_optional(reverify_after)?;
    let status = snapshot.status.as_ref();
    let verified =
        status.and_then(|status| status.verification_status.as_ref()).is_some_and(|status| *status == VerificationStatus::Verified);
    let Some(record) = record(snapshot).filter(|_| verified) else { return Ok(String::new()) };
    let mut ids = record.restic_ids.clone();
    ids.sort_unstable();
    let young = record.completed.parse::<Timestamp>().is_ok_and(|completed| {
        let limit = limit.map_or(SignedDuration::MAX, |limit| SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX));
        !lies_ahead(completed, now) && now.duration_since(completed) < limit
    });
    let holds = record.verdict == Verdict::Verified
        && !run.snapshot.uid.is_empty()
        && record.snapshot_uid == run.snapshot.uid
        && ids == restic_ids(run)
        && record.verifier_hash == run.verifier.hash
        && !run.place.is_empty()
        && record.place == run.place
        && young;
    Ok(if holds { record.session } else { String::new() })
}

/// The record of a Snapshot, in its status or, where that was pruned, in its annotation.
pub(crate) fn record(snapshot: &Snapshot) -> Option<VerificationRecord> {
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
    now: Timestamp,
) -> Option<SnapshotStatus> {
    if snapshot.uid().unwrap_or_default() != run.snapshot.uid {
        return None;
    }
    // A Snapshot that stands for other content by now is not what was judged.
    if judged.verdict != Verdict::Inconclusive && !still_stands_for(snapshot, run) {
        return None;
    }
    let before = snapshot.status.clone().unwrap_or_default();
    let mut after = before.clone();
    match judged.verdict {
        Verdict::Inconclusive => attempt(&mut after, session, judged, now),
        Verdict::Verified | Verdict::VerificationFailed if is_late(snapshot, session, run, now) => {}
        Verdict::Verified => conclude(&mut after, session, run, judged, VerificationStatus::Verified),
        Verdict::VerificationFailed => conclude(&mut after, session, run, judged, VerificationStatus::VerificationFailed),
        Verdict::Skipped => {}
    }
    (after != before).then_some(after)
}

fn attempt(status: &mut SnapshotStatus, session: &BackupVerificationSession, judged: &Judgement, now: Timestamp) {
    let completed = second(judged.at);
    let later = status.last_attempt.as_ref().is_some_and(|attempt| is_after(&attempt.completed, &completed, now));
    if !later {
        status.last_attempt = Some(VerificationAttempt { session: session.name_any(), completed, cause: judged.cause });
    }
}

/// Whether a session that started later has left its record already.
fn is_late(snapshot: &Snapshot, session: &BackupVerificationSession, run: &PinnedRun, now: Timestamp) -> bool {
    let uid = session.uid().unwrap_or_default();
    record(snapshot).is_some_and(|record| record.session_uid != uid && is_after(&record.started, &run.started, now))
}

fn conclude(
    status: &mut SnapshotStatus,
    session: &BackupVerificationSession,
    run: &PinnedRun,
    judged: &Judgement,
    word: VerificationStatus,
) {
    let uid = session.uid().unwrap_or_default();
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
        place: run.place.clone(),
        restored: evidence.restored,
        read_back: evidence.read_back,
        failed_checks: evidence.checks.iter().filter(|check| !check.holds).map(|check| check.name.clone()).collect(),
        repository: evidence.repository,
    });
    status.verification_status = Some(word.into());
    status.verification_session = session.name_any();
}

/// Whether a moment has yet to come, by more than clocks differ: nobody was there, so what it dates proves nothing.
fn lies_ahead(at: Timestamp, now: Timestamp) -> bool {
    at.duration_since(now) > CLOCKS
}

/// Whether one moment lies after another; an unreadable one does not, nor one that has yet to come.
fn is_after(one: &str, other: &str, now: Timestamp) -> bool {
    match (one.parse::<Timestamp>(), other.parse::<Timestamp>()) {
        (Ok(one), Ok(other)) => one > other && !lies_ahead(one, now),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-01-01T12:00:00Z";

    fn run() -> PinnedRun {
        serde_saphyr::from_str(
            "{started: '2026-01-01T11:00:00Z', place: p, verifier: {hash: h, task: t}, snapshot: {name: s, uid: sna, components: [{name: pod, path: '.', resticIds: [r1]}]}}",
        )
        .unwrap()
    }

    fn snapshot(started: &str, completed: &str) -> Snapshot {
        serde_saphyr::from_str(&format!(
            "{{metadata: {{name: s, namespace: demo, uid: sna}}, spec: {{}}, status: {{verificationStatus: Verified,
              components: {{pod: {{driver: Restic, phase: Succeeded, path: '.', resticStats: [{{summary: {{id: r1}}}}]}}}},
              lastAttempt: {{session: other, completed: '{completed}'}},
              verification: {{session: other, sessionUid: o, started: '{started}', completed: '{completed}', verdict: Verified,
                verifierHash: h, snapshotUid: sna, place: p, resticIds: [r1]}}}}}}"
        ))
        .unwrap()
    }

    /// A record of a time that has yet to come proves nothing, whether it was forged or a clock was wrong.
    #[test]
    fn nothing_is_skipped_for_a_proof_of_tomorrow() {
        let now = NOW.parse().unwrap();
        for (completed, limit, holds) in [
            ("2026-01-01T11:00:00Z", "", true),
            ("2026-01-01T11:00:00Z", "2h", true),
            ("2026-01-01T11:00:00Z", "30m", false),
            ("2026-01-01T12:04:00Z", "", true),
            ("2026-01-01T12:06:00Z", "", false),
            ("2027-01-01T00:00:00Z", "", false),
            ("2027-01-01T00:00:00Z", "2h", false),
            ("soon", "", false),
        ] {
            let skipped_for = that_holds(&snapshot(completed, completed), &run(), limit, now).unwrap();
            assert_eq!(!skipped_for.is_empty(), holds, "{completed} {limit}");
        }
    }

    /// What was proven of one copy says nothing of another, and what does not say where it lay nothing at all.
    #[test]
    fn nothing_is_skipped_for_a_proof_of_another_place() {
        let now = NOW.parse().unwrap();
        let moved = |recorded: &str, pinned: &str| {
            let mut snapshot = snapshot("2026-01-01T11:00:00Z", "2026-01-01T11:00:00Z");
            snapshot.status.as_mut().unwrap().verification.as_mut().unwrap().place = recorded.to_owned();
            that_holds(&snapshot, &PinnedRun { place: pinned.to_owned(), ..run() }, "", now).unwrap()
        };
        assert_eq!(moved("p", "p"), "other");
        for (recorded, pinned) in [("p", "q"), ("", "p"), ("p", ""), ("", "")] {
            assert_eq!(moved(recorded, pinned), "", "{recorded:?} {pinned:?}");
        }
    }

    /// A later session's record stays, but no record of tomorrow keeps the truth off the Snapshot.
    #[test]
    fn no_record_of_tomorrow_stays() {
        let session: BackupVerificationSession = serde_saphyr::from_str("{metadata: {name: own, uid: u}, spec: {}}").unwrap();
        let now = NOW.parse().unwrap();
        let judged = |verdict, cause| Judgement { verdict, cause, at: "2026-01-01T11:30:00Z".parse().unwrap() };
        for (started, replaced) in [
            ("2026-01-01T10:00:00Z", true),
            ("2026-01-01T11:30:00Z", false),
            ("2026-01-01T12:04:00Z", false),
            ("2026-01-01T12:06:00Z", true),
            ("2027-01-01T00:00:00Z", true),
        ] {
            let before = snapshot(started, started);
            let red = judged(Verdict::VerificationFailed, Some(backproof_api::Cause::PackDamaged));
            let written = updated(&before, &session, &run(), &red, now);
            let words = written.map(|status| (status.verification_session, status.verification.unwrap().session));
            assert_eq!(words, replaced.then(|| ("own".to_owned(), "own".to_owned())), "{started}");
            let unclear = judged(Verdict::Inconclusive, Some(backproof_api::Cause::PodLost));
            let attempt = updated(&before, &session, &run(), &unclear, now).and_then(|status| status.last_attempt);
            // The attempt is dated by its end, half past.
            let noted = replaced || started == "2026-01-01T11:30:00Z";
            assert_eq!(attempt.is_some(), noted, "{started}");
        }
    }
}
