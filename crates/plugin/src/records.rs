//! What was found out about each Repository so far, by Snapshots' records and by sessions. Pure.
//!
//! A record counts only on the Snapshot it is about: a copy of it on another one proves nothing.

use std::collections::BTreeMap;

use backproof_api::{
    BackupVerificationSession, Cause, Repository, Snapshot, SnapshotPhase, Verdict, VerificationPhase, labels, run::VerificationRecord,
    shared::Wire, validate::RepositoryEntry,
};
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use crate::find::Invokers;

/// How one Repository stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Standing {
    pub(crate) namespace: String,
    pub(crate) repository: String,
    /// What the newest run found; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) newest_run: Option<Run>,
    /// The newest run that was Verified; absent where nothing was ever proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_proof: Option<Run>,
    /// Seconds since that proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proof_age_seconds: Option<i64>,
    /// The newest Snapshot that could be verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) newest_snapshot: Option<String>,
    /// Verifiers that are named for it, as NAMESPACE/NAME.
    pub(crate) verifiers: Vec<String>,
    /// Sessions that are not finished.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) running: Vec<String>,
    /// Until when sessions wait, as storage, credentials or image failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held_until: Option<String>,
}

/// One finished run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    pub(crate) verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<Cause>,
    pub(crate) snapshot: String,
    pub(crate) session: String,
    /// When it ended, RFC 3339.
    pub(crate) completed: Timestamp,
}

/// The objects of a place.
pub(crate) struct World<'a> {
    pub(crate) repositories: &'a [Repository],
    pub(crate) snapshots: &'a [Snapshot],
    pub(crate) sessions: &'a [BackupVerificationSession],
    pub(crate) invokers: &'a Invokers,
}

/// How each Repository stands, by namespace and name.
pub(crate) fn standings(world: &World<'_>, now: Timestamp) -> Vec<Standing> {
    let mut by_name: BTreeMap<(String, String), Standing> = BTreeMap::new();
    for repository in world.repositories {
        let key = (repository.namespace().unwrap_or_default(), repository.name_any());
        by_name.insert(key, standing(world, repository, now));
    }
    by_name.into_values().collect()
}

fn standing(world: &World<'_>, repository: &Repository, now: Timestamp) -> Standing {
    let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
    let is_own = |object_namespace: Option<String>, named: &str| named == name && object_namespace.unwrap_or_default() == namespace;
    let snapshots = world.snapshots.iter().filter(|snapshot| is_own(snapshot.namespace(), &snapshot.spec.repository));
    let sessions = world.sessions.iter().filter(|session| is_own(session.namespace(), &session.spec.repository));
    let mut runs: Vec<Run> = snapshots.clone().flat_map(of_snapshot).collect();
    runs.extend(sessions.clone().filter_map(of_session));
    // A time to come is nobody's: such a run would stay the newest for ever.
    runs.retain(|run| run.completed <= now);
    let newest = |wanted: &dyn Fn(&Run) -> bool| runs.iter().filter(|run| wanted(run)).max_by_key(|run| run.completed).cloned();
    let last_proof = newest(&|run| run.verdict == Verdict::Verified);
    let usable =
        snapshots.filter(|snapshot| snapshot.status.as_ref().is_some_and(|status| status.phase == Some(SnapshotPhase::Succeeded.into())));
    let taken = |snapshot: &Snapshot| {
        (snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref()).map(|time| time.0), snapshot.name_any())
    };
    Standing {
        newest_run: newest(&|_| true),
        proof_age_seconds: last_proof.as_ref().map(|run| now.duration_since(run.completed).as_secs()),
        last_proof,
        newest_snapshot: usable.max_by_key(|snapshot| taken(snapshot)).map(ResourceExt::name_any),
        verifiers: verifiers(world.invokers, &namespace, &name),
        running: sessions.filter(|session| !is_over(session)).map(ResourceExt::name_any).collect(),
        held_until: held_until(repository, now),
        namespace,
        repository: name,
    }
}

fn of_snapshot(snapshot: &Snapshot) -> Vec<Run> {
    let status = snapshot.status.clone().unwrap_or_default();
    let noted = snapshot.annotations().get(labels::VERIFICATION).and_then(|text| serde_json::from_str::<VerificationRecord>(text).ok());
    let record = status.verification.or(noted).filter(|record| Some(&record.snapshot_uid) == snapshot.metadata.uid.as_ref());
    let record = record.and_then(|record| {
        let completed = record.completed.parse().ok()?;
        Some(Run { verdict: record.verdict, cause: record.cause, snapshot: snapshot.name_any(), session: record.session, completed })
    });
    let attempt = status.last_attempt.and_then(|attempt| {
        let completed = attempt.completed.parse().ok()?;
        Some(Run {
            verdict: Verdict::Inconclusive,
            cause: attempt.cause,
            snapshot: snapshot.name_any(),
            session: attempt.session,
            completed,
        })
    });
    record.into_iter().chain(attempt).collect()
}

/// A session's answer. One that was skipped found nothing out by itself.
fn of_session(session: &BackupVerificationSession) -> Option<Run> {
    let status = session.status.as_ref().filter(|_| is_over(session))?;
    let verdict = status.verdict.as_ref().and_then(Wire::known).filter(|verdict| *verdict != Verdict::Skipped)?;
    let proven = status.phase == Some(VerificationPhase::Succeeded.into());
    if proven != (verdict == Verdict::Verified) {
        return None;
    }
    Some(Run {
        verdict,
        cause: status.cause.as_ref().and_then(Wire::known),
        snapshot: status.run.as_ref().map(|run| run.snapshot.name.clone()).unwrap_or_default(),
        session: session.name_any(),
        completed: status.completion_time.as_ref()?.0,
    })
}

fn is_over(session: &BackupVerificationSession) -> bool {
    let phase = session.status.as_ref().and_then(|status| status.phase.as_ref()).and_then(Wire::known);
    phase.is_some_and(VerificationPhase::is_done)
}

fn verifiers(invokers: &Invokers, namespace: &str, repository: &str) -> Vec<String> {
    let mut names = Vec::new();
    for invoker in invokers.iter().filter(|invoker| invoker.namespace() == namespace) {
        let entries = invoker.entries();
        let own = entries.iter().filter(|entry| entry.repository.name == repository).filter_map(RepositoryEntry::verifier);
        names.extend(own.map(|verifier| format!("{}/{}", verifier.namespace_or(namespace), verifier.name)));
    }
    names.sort();
    names.dedup();
    names
}

/// Until when sessions of a Repository wait, by the controller's note on it.
pub(crate) fn held_until(repository: &Repository, now: Timestamp) -> Option<String> {
    let note: serde_json::Value = serde_json::from_str(repository.annotations().get(labels::HOLD)?).ok()?;
    let next = note["next"].as_str().filter(|_| note["tries"].as_u64().is_some_and(|tries| tries > 0))?;
    next.parse::<Timestamp>().ok().filter(|next| *next > now).map(|_| next.to_owned())
}
