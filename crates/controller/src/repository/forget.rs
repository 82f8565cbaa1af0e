//! Which Snapshots of a discovered Repository go: those whose restic snapshot is gone, and the oldest beyond the most kept. Pure.

use backproof_api::{BackupVerificationSession, Repository, Snapshot, VerificationPhase, labels, run::PinnedRun};
use kube::ResourceExt as _;

/// Most Snapshots of one Repository.
const MOST_KEPT: usize = 50;
/// Digits of a restic id that tell one snapshot from another here.
const ID_DIGITS: usize = 16;

/// The Snapshots to delete, when the restic snapshots of these ids (their first 16 digits) are known to be gone.
pub(super) fn doomed<'a>(
    repository: &Repository,
    snapshots: &'a [Snapshot],
    sessions: &[BackupVerificationSession],
    gone: &[String],
) -> Vec<&'a Snapshot> {
    let mut ours: Vec<_> = snapshots.iter().filter(|snapshot| is_ours(snapshot, repository)).collect();
    ours.sort_by_key(|snapshot| std::cmp::Reverse(age(snapshot)));
    let free = |snapshot: &Snapshot| !sessions.iter().any(|session| pins(session, snapshot));
    let (missing, kept): (Vec<_>, Vec<_>) = ours.into_iter().partition(|snapshot| restic_ids(snapshot).any(|id| gone.contains(&id)));
    let excess = kept.into_iter().skip(MOST_KEPT).filter(|snapshot| !has_record(snapshot));
    missing.into_iter().chain(excess).filter(|snapshot| free(snapshot) && snapshot.metadata.deletion_timestamp.is_none()).collect()
}

/// By when it was taken, then by name.
fn age(snapshot: &Snapshot) -> (Option<jiff::Timestamp>, String) {
    (snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref()).map(|time| time.0), snapshot.name_any())
}

/// Whether discovery of this Repository made it.
fn is_ours(snapshot: &Snapshot, repository: &Repository) -> bool {
    let uid = repository.uid();
    let owned = snapshot.owner_references().iter().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref());
    uid.is_some() && owned && snapshot.labels().get(labels::REPOSITORY_UID) == uid.as_ref()
}

/// Of every component: what lacks one cannot be restored whole.
fn restic_ids(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let components = snapshot.status.iter().flat_map(|status| status.components.values());
    let summaries = components.flat_map(|component| &component.restic_stats).filter_map(|stats| stats.summary.as_ref());
    summaries.filter_map(|summary| summary.id.get(..ID_DIGITS).map(str::to_owned))
}

fn has_record(snapshot: &Snapshot) -> bool {
    snapshot.status.as_ref().is_some_and(|status| status.verification.is_some() || !status.verification_session.is_empty())
        || snapshot.annotations().contains_key(labels::VERIFICATION)
}

/// Whether an unfinished session is about this Snapshot, or may come to be.
fn pins(session: &BackupVerificationSession, snapshot: &Snapshot) -> bool {
    let status = session.status.as_ref();
    if status.and_then(|status| status.phase.as_ref()?.known()).is_some_and(VerificationPhase::is_done) {
        return false;
    }
    let name = snapshot.name_any();
    let by_status = status.and_then(|status| status.run.as_ref()).map(|run| run.snapshot.name.clone());
    let noted =
        session.annotations().get(labels::RUN).and_then(|text| serde_json::from_str::<PinnedRun>(text).ok()).map(|run| run.snapshot.name);
    session.spec.snapshot == name || by_status.as_ref() == Some(&name) || noted.as_ref() == Some(&name)
}

#[cfg(test)]
#[path = "forget_tests.rs"]
mod tests;
