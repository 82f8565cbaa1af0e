//! From restic snapshots and the Snapshot objects there are to what is to be made. Pure.
//!
//! A Snapshot stands for what would be restored as of one restic snapshot: that one, and the newest of every other component of
//! its session that is not newer. So the newest Snapshot of a session covers every component, whatever a backup left out last.

use std::collections::BTreeSet;

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
/// The place of a repository that is not below the Repository's own.
pub(super) const WHOLE: &str = ".";
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
    /// The component it belongs to, and where its restic repository lies below the Repository's place.
    pub(super) component: String,
    pub(super) place: String,
}

/// What one restic repository holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Where it lies below the Repository's place.
    pub(super) place: String,
    /// Ids of all restic snapshots, whether they pass the filter or not.
    pub(super) ids: Vec<String>,
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
    /// A restic snapshot came to be known that is as old, or older: the object stands for that one too. What it names no
    /// longer is dropped.
    Recompose { snapshot: Box<Snapshot>, dropped: Vec<String> },
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

/// What to do.
pub(super) fn plan(repository: &Repository, mut found: Vec<Found>, held: &[Held], existing: &[Snapshot]) -> Plan {
    found.sort_by(|a, b| (b.time, &b.id).cmp(&(a.time, &a.id)));
    let newest = &found[..found.len().min(MOST)];
    let mut plan = Plan { newest: None, ids: newest.iter().map(Found::short).collect(), ..Plan::default() };
    for (at, found_at) in newest.iter().enumerate() {
        let wanted = snapshot(repository, found_at, &as_of(&found[at..]));
        let name = wanted.name_any();
        let there = existing.iter().find(|object| object.name_any() == name);
        match there {
            None => plan.steps.push(Step::Create(Box::new(wanted))),
            Some(there) if !is_ours(there, repository) || names_others(there, found_at) => {
                plan.notes.push(format!("restic snapshot {} is left out: Snapshot {name} exists and was not made by discovery of this Repository; delete or rename it", found_at.short()));
                continue;
            }
            Some(there) => {
                if there.spec.session != found_at.session {
                    plan.steps.push(Step::Move { name: name.clone(), session: found_at.session.clone() });
                }
                if there.status.as_ref().is_none_or(|status| status.phase.is_none()) {
                    plan.steps.push(Step::Complete(Box::new(wanted)));
                } else if is_outdated(there, &wanted, held) {
                    let components = |snapshot: &Snapshot| snapshot.status.clone().unwrap_or_default().components;
                    let now = components(&wanted);
                    let dropped = components(there).into_keys().filter(|component| !now.contains_key(component)).collect();
                    plan.steps.push(Step::Recompose { snapshot: Box::new(wanted), dropped });
                }
            }
        }
        plan.newest.get_or_insert(name);
    }
    plan.gone = gone(repository, held, existing);
    plan
}

/// What would be restored as of the first of these, which are sorted from new to old.
fn as_of(found: &[Found]) -> Vec<&Found> {
    let mut parts: Vec<&Found> = Vec::new();
    let Some(first) = found.first() else { return parts };
    for other in found.iter().filter(|other| other.session == first.session) {
        if !parts.iter().any(|part| part.component == other.component) {
            parts.push(other);
        }
    }
    parts
}

/// Whether an object of this name is about another restic snapshot.
fn names_others(there: &Snapshot, found: &Found) -> bool {
    let ids: Vec<_> = stands_for(there).into_iter().map(|(_, id)| id).collect();
    !ids.is_empty() && !ids.contains(&found.id)
}

/// Whether an object lacks what is known by now. What it names and nobody holds any more is for [`gone`] to judge: a listing may
/// have met the repository while it was being taken away.
fn is_outdated(there: &Snapshot, wanted: &Snapshot, held: &[Held]) -> bool {
    let (before, now) = (stands_for(there), stands_for(wanted));
    before != now && before.iter().all(|part| now.contains(part) || is_held(held, part))
}

fn is_held(held: &[Held], (place, id): &(String, String)) -> bool {
    held.iter().any(|held| held.place == *place && held.ids.contains(id))
}

/// Shortened ids that objects of this Repository name and that are gone: the repository at their place was listed, and does not
/// hold them. One of a component's own repository counts only while that holds another one that is known of it, or else it may
/// be another repository by now.
fn gone(repository: &Repository, held: &[Held], existing: &[Snapshot]) -> Vec<String> {
    let named: BTreeSet<_> = existing.iter().filter(|object| is_ours(object, repository)).flat_map(stands_for).collect();
    let known = |held: &Held| named.iter().any(|(place, id)| *place == held.place && held.ids.contains(id));
    let listed = |place: &str| held.iter().find(|held| held.place == place).filter(|held| held.place == WHOLE || known(held));
    let missing = named.iter().filter(|(place, id)| listed(place).is_some_and(|held| !held.ids.contains(id)));
    missing.map(|(_, id)| short(id)).take(MOST).collect()
}

fn is_ours(snapshot: &Snapshot, repository: &Repository) -> bool {
    let uid = repository.uid();
    uid.is_some()
        && snapshot.labels().get(labels::REPOSITORY_UID) == uid.as_ref()
        && snapshot.owner_references().iter().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
}

/// Places and ids of the restic snapshots that an object names.
fn stands_for(snapshot: &Snapshot) -> BTreeSet<(String, String)> {
    let components = snapshot.status.iter().flat_map(|status| status.components.values());
    let ids = components.flat_map(|component| component.restic_stats.iter().map(|stats| (&component.path, stats)));
    ids.filter_map(|(path, stats)| Some((path.clone(), stats.summary.as_ref()?.id.clone()))).collect()
}

fn short(id: &str) -> String {
    id.chars().take(DIGITS).collect()
}

/// The object for a restic snapshot, status included.
fn snapshot(repository: &Repository, found: &Found, parts: &[&Found]) -> Snapshot {
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
    snapshot.status = Some(status(found, parts));
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

fn status(found: &Found, parts: &[&Found]) -> SnapshotStatus {
    SnapshotStatus {
        phase: Some(Wire::Known(SnapshotPhase::Succeeded)),
        verification_status: Some(Wire::Known(VerificationStatus::NotVerified)),
        // The API carries whole seconds.
        snapshot_time: Some(Time(Timestamp::from_second(found.time.as_second()).unwrap_or(found.time))),
        total_components: i32::try_from(parts.len()).unwrap_or(i32::MAX),
        components: parts.iter().map(|part| (part.component.clone(), component(part))).collect(),
        ..SnapshotStatus::default()
    }
}

fn component(found: &Found) -> Component {
    let summary = ResticSummary { id: found.id.clone(), host_path: found.paths.join(","), ..ResticSummary::default() };
    Component {
        path: found.place.clone(),
        phase: Some(Wire::Known(SnapshotPhase::Succeeded)),
        driver: Some(Wire::Known(Driver::Restic)),
        restic_stats: vec![ResticStats { progress: None, summary: Some(summary) }],
        ..Component::default()
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
