//! How things stand, worked out when somebody asks for the figures: unfinished sessions, and a few series for each
//! Repository that exists. Nothing is remembered here, so nothing is left of a Repository that is gone.
//!
//! Invariant: what is not known has no series. A Repository without a proof has no proof of age zero, and a controller that has
//! just started says nothing before it has seen every Snapshot.

use std::collections::{BTreeMap, BTreeSet};

use backproof_api::{BackupVerificationSession, Guarded, Repository, Verdict, shared::Wire};
use kube::{ResourceExt as _, runtime::reflector::Store};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{
    asked::{Asked, Wanted},
    snapshots::{Answer, Facts, Key, Snapshots},
};

/// Where the figures come from.
pub(crate) struct Standing {
    /// Every session.
    pub(crate) sessions: Store<Guarded<BackupVerificationSession>>,
    /// Every Repository.
    pub(crate) repositories: Store<Repository>,
    /// What stands on the Snapshots.
    pub(crate) snapshots: Snapshots,
    /// What is to be verified.
    pub(crate) asked: Asked,
}

/// The figures of one Repository; times are Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// When the newest proof was made.
    pub(super) proof: Option<i64>,
    /// When the newest Snapshot that is bad was found to be, unless a younger one is proven.
    pub(super) failure: Option<i64>,
    /// When a session last ended without an answer.
    pub(super) inconclusive: Option<i64>,
    /// When a session last found everything proven already.
    pub(super) skip: Option<i64>,
    /// How many references want it verified.
    pub(super) verifiers: Option<i64>,
    /// How many of these have no Snapshot to verify.
    pub(super) without_snapshot: Option<i64>,
}

/// A finished session: its Repository, verdict and end.
pub(super) type Ended = (Key, Verdict, i64);

/// The figures of every Repository that exists.
pub(super) fn rows(
    repositories: impl IntoIterator<Item = Key>,
    ended: impl IntoIterator<Item = Ended>,
    snapshots: Option<&[(String, Facts)]>,
    asked: &[(String, Wanted)],
) -> BTreeMap<Key, Row> {
    let mut rows: BTreeMap<Key, Row> = repositories.into_iter().map(|key| (key, Row::default())).collect();
    for (key, verdict, at) in ended {
        let Some(row) = rows.get_mut(&key) else { continue };
        match verdict {
            Verdict::Inconclusive => row.inconclusive = row.inconclusive.max(Some(at)),
            Verdict::Skipped => row.skip = row.skip.max(Some(at)),
            Verdict::Verified | Verdict::VerificationFailed => {}
        }
    }
    for (namespace, (repository, _)) in asked {
        if let Some(row) = rows.get_mut(&(namespace.clone(), repository.clone())) {
            row.verifiers = Some(row.verifiers.unwrap_or_default() + 1);
        }
    }
    if let Some(snapshots) = snapshots {
        answers(&mut rows, snapshots);
        missing(&mut rows, snapshots, asked);
    }
    rows
}

fn answers(rows: &mut BTreeMap<Key, Row>, snapshots: &[(String, Facts)]) {
    let mut youngest: BTreeMap<Key, i64> = BTreeMap::new();
    for (namespace, facts) in snapshots {
        let key = (namespace.clone(), facts.repository.clone());
        let (Some((Answer::Proven, at)), Some(row)) = (facts.answer, rows.get_mut(&key)) else { continue };
        row.proof = row.proof.max(Some(at));
        if let Some(taken) = facts.taken {
            let entry = youngest.entry(key).or_insert(taken);
            *entry = taken.max(*entry);
        }
    }
    for (namespace, facts) in snapshots {
        let key = (namespace.clone(), facts.repository.clone());
        let (Some((Answer::Bad, at)), Some(row)) = (facts.answer, rows.get_mut(&key)) else { continue };
        // A proof of an older Snapshot, made after this one was found bad, does not make this one better.
        let outdone = facts.taken.zip(youngest.get(&key)).is_some_and(|(taken, proven)| taken < *proven);
        if !outdone {
            row.failure = row.failure.max(Some(at));
        }
    }
}

fn missing(rows: &mut BTreeMap<Key, Row>, snapshots: &[(String, Facts)], asked: &[(String, Wanted)]) {
    let usable: BTreeSet<_> = snapshots
        .iter()
        .filter(|(_, facts)| facts.usable)
        .map(|(namespace, facts)| (namespace.as_str(), facts.repository.as_str(), facts.session.as_str()))
        .collect();
    for (namespace, (repository, session)) in asked {
        if let Some(row) = rows.get_mut(&(namespace.clone(), repository.clone())) {
            let lacks = !usable.contains(&(namespace.as_str(), repository.as_str(), session.as_str()));
            row.without_snapshot = Some(row.without_snapshot.unwrap_or_default() + i64::from(lacks));
        }
    }
}

/// A session that has ended, if its Repository, verdict and end are known.
pub(super) fn ended(session: &BackupVerificationSession) -> Option<Ended> {
    let status = session.status.as_ref()?;
    let verdict = status.verdict.as_ref().and_then(Wire::known)?;
    let at = status.completion_time.as_ref()?.0.as_second();
    Some(((session.namespace()?, session.spec.repository.clone()), verdict, at))
}

/// How many sessions wait, and how many restore.
pub(super) fn unfinished<'a>(sessions: impl IntoIterator<Item = &'a BackupVerificationSession>) -> [(&'static str, i64); 2] {
    let (mut waiting, mut running) = (0, 0);
    for session in sessions {
        let status = session.status.as_ref();
        if status.and_then(|status| status.phase.as_ref()?.known()).is_some_and(backproof_api::VerificationPhase::is_done) {
            continue;
        }
        match status.and_then(|status| status.run.as_ref()?.restore_session.as_ref()) {
            Some(_) => running += 1,
            None => waiting += 1,
        }
    }
    [("waiting", waiting), ("running", running)]
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRepository {
    // Not `namespace`: that is what a scrape calls the namespace of the pod that was asked.
    repository_namespace: String,
    repository: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    state: &'static str,
}

/// Name, help and figure of a series that each Repository may have.
type Series = (&'static str, &'static str, fn(&Row) -> Option<i64>);

const SERIES: [Series; 6] = [
    ("repository_last_proof_timestamp_seconds", "When a Snapshot of the Repository was last proven to restore", |row| row.proof),
    ("repository_last_skip_timestamp_seconds", "When a session last found the newest Snapshot proven already", |row| row.skip),
    ("repository_failed_verification_timestamp_seconds", "When a Snapshot was found bad, as long as no younger one is proven", |row| {
        row.failure
    }),
    ("repository_last_inconclusive_timestamp_seconds", "When a session last ended without an answer", |row| row.inconclusive),
    ("repository_verifiers", "How many references to a BackupVerifier want the Repository verified", |row| row.verifiers),
    ("repository_verifiers_without_snapshot", "How many of them have no Snapshot to verify", |row| row.without_snapshot),
];

/// Writes the figures.
pub(super) fn encode(
    mut encoder: DescriptorEncoder<'_>,
    unfinished: [(&'static str, i64); 2],
    rows: &BTreeMap<Key, Row>,
) -> Result<(), std::fmt::Error> {
    let mut family =
        encoder.encode_descriptor("sessions_unfinished", "Sessions that have not ended, by state.", None, MetricType::Gauge)?;
    for (state, count) in unfinished {
        ConstGauge::new(count).encode(family.encode_family(&InState { state })?)?;
    }
    for (name, help, figure) in SERIES {
        let mut family = encoder.encode_descriptor(name, &format!("{help}."), None, MetricType::Gauge)?;
        for ((namespace, repository), row) in rows {
            if let Some(value) = figure(row) {
                let labels = OfRepository { repository_namespace: namespace.clone(), repository: repository.clone() };
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

impl Collector for Standing {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let sessions = self.sessions.state();
        let readable = || sessions.iter().filter_map(|session| session.0.as_ref().ok());
        let repositories = self.repositories.state();
        let keys = repositories.iter().map(|repository| (repository.namespace().unwrap_or_default(), repository.name_any()));
        let snapshots = self.snapshots.all();
        let rows = rows(keys, readable().filter_map(ended), snapshots.as_deref(), &self.asked.all());
        encode(encoder, unfinished(readable()), &rows)
    }
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing").finish_non_exhaustive()
    }
}
