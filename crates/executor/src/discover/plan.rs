//! From restic snapshots and the Snapshot objects there are to what is to be made. Pure.

use backproof_api::{
    Component, Driver, Repository, ResticStats, ResticSummary, Snapshot, SnapshotPhase, SnapshotSpec, SnapshotStatus, VerificationStatus,
    labels, names,
    shared::{TypedObjectReference, Wire},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::{Resource as _, ResourceExt as _};

/// Most Snapshots of one Repository.
pub(super) const MOST: usize = 50;
/// Digits of a restic id that stand in names and reports.
const DIGITS: usize = 16;

/// A restic snapshot that passes the filter, with its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// 64 hex digits.
    pub(super) id: String,
    pub(super) time: Timestamp,
    pub(super) paths: Vec<String>,
    pub(super) session: String,
}

impl Found {
    fn short(&self) -> String {
        short(&self.id)
    }
}

/// What to do with one name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Create the object, then write its status.
    Create(Box<Snapshot>),
    /// Write the status: an earlier run was interrupted.
    Complete(Box<Snapshot>),
    /// It belongs to another session now.
    Move { name: String, session: String },
}

/// What to do, and what to report.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Name of the newest.
    pub(super) newest: Option<String>,
    /// The newest, shortened ids, newest first.
    pub(super) ids: Vec<String>,
    /// Shortened ids of objects whose restic snapshot is not among `all`.
    pub(super) gone: Vec<String>,
    /// Objects in the way.
    pub(super) notes: Vec<String>,
}

/// What to do. `all` are the ids of every restic snapshot, whether it passes the filter or not.
pub(super) fn plan(repository: &Repository, mut found: Vec<Found>, all: &[String], existing: &[Snapshot]) -> Plan {
    found.sort_by(|a, b| (b.time, &b.id).cmp(&(a.time, &a.id)));
    found.truncate(MOST);
    let mut plan = Plan { newest: None, ids: found.iter().map(Found::short).collect(), ..Plan::default() };
    for found in &found {
        let wanted = snapshot(repository, found);
        let name = wanted.name_any();
        let there = existing.iter().find(|object| object.name_any() == name);
        match there {
            None => plan.steps.push(Step::Create(Box::new(wanted))),
            Some(there) if !is_ours(there, repository) || restic_id(there).is_some_and(|id| id != found.id) => {
                plan.notes.push(format!("restic snapshot {} is left out: Snapshot {name} exists and was not made by discovery of this Repository; delete or rename it", found.short()));
                continue;
            }
            Some(there) => {
                if there.spec.session != found.session {
                    plan.steps.push(Step::Move { name: name.clone(), session: found.session.clone() });
                }
                if there.status.as_ref().is_none_or(|status| status.phase.is_none()) {
                    plan.steps.push(Step::Complete(Box::new(wanted)));
                }
            }
        }
        plan.newest.get_or_insert(name);
    }
    let ours = existing.iter().filter(|object| is_ours(object, repository)).filter_map(restic_id);
    plan.gone = ours.filter(|id| !all.contains(id)).map(|id| short(&id)).take(MOST).collect();
    plan
}

fn is_ours(snapshot: &Snapshot, repository: &Repository) -> bool {
    let uid = repository.uid();
    uid.is_some()
        && snapshot.labels().get(labels::REPOSITORY_UID) == uid.as_ref()
        && snapshot.owner_references().iter().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
}

fn restic_id(snapshot: &Snapshot) -> Option<String> {
    let status = snapshot.status.as_ref()?;
    let summary = status.components.values().flat_map(|component| &component.restic_stats).find_map(|stats| stats.summary.as_ref())?;
    Some(summary.id.clone())
}

fn short(id: &str) -> String {
    id.chars().take(DIGITS).collect()
}

/// The object for a restic snapshot, status included.
fn snapshot(repository: &Repository, found: &Found) -> Snapshot {
    let namespace = repository.namespace().unwrap_or_default();
    let mut snapshot = Snapshot::new(
        &names::discovered_snapshot(&repository.name_any(), &found.id),
        SnapshotSpec {
            snapshot_id: ulid(found),
            kind: "FullBackup".to_owned(),
            repository: repository.name_any(),
            session: found.session.clone(),
            version: "v1".to_owned(),
            app_ref: repository.spec.app_ref.clone(),
            ..SnapshotSpec::default()
        },
    );
    let name = snapshot.metadata.name.take();
    snapshot.metadata =
        ObjectMeta { name, namespace: Some(namespace.clone()), owner_references: Some(vec![owner(repository)]), ..ObjectMeta::default() };
    snapshot.metadata.labels = Some(our_labels(repository, &namespace));
    snapshot.status = Some(status(found));
    snapshot
}

fn our_labels(repository: &Repository, namespace: &str) -> std::collections::BTreeMap<String, String> {
    let nothing = TypedObjectReference::default();
    let app = repository.spec.app_ref.as_ref().unwrap_or(&nothing);
    [
        (labels::MANAGED_BY, labels::MANAGED_BY_VALUE.to_owned()),
        (labels::REPO_NAME, names::label_value(&repository.name_any())),
        (labels::REPOSITORY_UID, repository.uid().unwrap_or_default()),
        (labels::APP_REF_KIND, names::label_value(&app.kind)),
        (labels::APP_REF_NAME, names::label_value(&app.name)),
        (labels::APP_REF_NAMESPACE, names::label_value(if app.name.is_empty() { "" } else { app.namespace_or(namespace) })),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn owner(repository: &Repository) -> OwnerReference {
    OwnerReference {
        api_version: Repository::api_version(&()).into_owned(),
        kind: Repository::kind(&()).into_owned(),
        name: repository.name_any(),
        uid: repository.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn status(found: &Found) -> SnapshotStatus {
    let summary = ResticSummary { id: found.id.clone(), host_path: found.paths.join(","), ..ResticSummary::default() };
    let component = Component {
        path: ".".to_owned(),
        phase: Some(Wire::Known(SnapshotPhase::Succeeded)),
        driver: Some(Wire::Known(Driver::Restic)),
        restic_stats: vec![ResticStats { progress: None, summary: Some(summary) }],
        ..Component::default()
    };
    SnapshotStatus {
        phase: Some(Wire::Known(SnapshotPhase::Succeeded)),
        verification_status: Some(Wire::Known(VerificationStatus::NotVerified)),
        // The API carries whole seconds.
        snapshot_time: Some(Time(Timestamp::from_second(found.time.as_second()).unwrap_or(found.time))),
        total_components: 1,
        components: [("pod".to_owned(), component)].into(),
        ..SnapshotStatus::default()
    }
}

/// A ULID that is the same every time: the snapshot's time, and the beginning of its id in place of chance.
fn ulid(found: &Found) -> String {
    let millis = u64::try_from(found.time.as_millisecond()).unwrap_or_default();
    let random = u128::from_str_radix(found.id.get(..20).unwrap_or("0"), 16).unwrap_or_default();
    ulid::Ulid::from_parts(millis, random).to_string()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
