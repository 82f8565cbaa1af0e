//! What discovery of one Repository does next, decided from what was observed. No client, no clock.

use std::{collections::BTreeMap, sync::Arc};

use backproof_api::{
    BackupStorage, Cause, Repository,
    report::{DiscoveryRecord, DiscoveryReport},
    run::PinnedObject,
    shared::Wire,
    validate::usage_allows,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{EnvVar, Pod},
};
use kube::ResourceExt as _;

use super::{
    inputs::{Session, hash, request},
    job::{self, Beginning, Parts},
    outcome,
};
use crate::{
    Config,
    events::Note,
    failure::Failure,
    fate::is_finished,
    hold,
    restore::copies,
    storage::{HostPath, Place, SecretSource, access},
};

/// How often a repository is looked into although nobody asks.
const INTERVAL: SignedDuration = SignedDuration::from_mins(10);
/// A pod of this age has had its volume mounted, or will not have it soon.
const WRITER_AGE: SignedDuration = SignedDuration::from_mins(10);
/// Longest that a discovery waits for one pod after another.
const WRITERS_PATIENCE: SignedDuration = SignedDuration::from_mins(30);
/// How often is looked whether they are gone.
const WRITERS_LOOK: SignedDuration = SignedDuration::from_secs(15);
/// Waits after the first, second, third and every further failure in a row.
const BACKOFF: [SignedDuration; 4] =
    [SignedDuration::from_mins(5), SignedDuration::from_mins(10), SignedDuration::from_mins(20), SignedDuration::from_mins(30)];

/// What there is.
pub(super) struct Observed<'a> {
    /// A Repository that is to be discovered.
    pub(super) repository: &'a Repository,
    /// Its storage, if it exists.
    pub(super) storage: Option<Arc<BackupStorage>>,
    /// Session that untagged snapshots belong to.
    pub(super) session: Session,
    /// What discovery last came to.
    pub(super) record: DiscoveryRecord,
    /// Its discovery Jobs.
    pub(super) jobs: Vec<Arc<Job>>,
    /// Pods of the Job of the next run, once that Job was seen.
    pub(super) pods: Vec<Pod>,
    /// Pods that are not gone and may write to the repository's claim; looked for when a discovery is due.
    pub(super) writers: Vec<Pod>,
    /// Whether pods of the namespace may do more than the restricted profile allows.
    pub(super) host_path: HostPath,
    /// Labels of the namespace; looked up where the storage lies elsewhere.
    pub(super) labels: BTreeMap<String, String>,
    /// Why the Job of the next run cannot have what it needs.
    pub(super) refused: Option<Failure>,
    /// Time a Job may take until its container runs.
    pub(super) patience: SignedDuration,
    /// The installation's settings.
    pub(super) config: &'a Config,
    /// Proxy settings to hand on.
    pub(super) proxies: &'a [EnvVar],
}

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Decision {
    /// A Job to create.
    pub(super) start: Option<Box<Job>>,
    /// One that was created and waits for its copy of Secrets.
    pub(super) resume: Option<Waiting>,
    /// Secrets of other namespaces of which that Job gets a copy before it begins.
    pub(super) secrets: Vec<SecretSource>,
    /// The record of a discovery that waits.
    pub(super) waiting: Option<Box<DiscoveryRecord>>,
    /// A discovery that ended: what to write down.
    pub(super) ended: Option<Box<Ended>>,
    /// A Job to delete if nobody has changed it since.
    pub(super) forget: Option<Waiting>,
    /// Jobs to delete, by name and UID.
    pub(super) delete: Vec<(String, String)>,
    /// What the Repository's owner should know.
    pub(super) notes: Vec<Note>,
    /// When to look again, if nothing changes before.
    pub(super) wake: Option<SignedDuration>,
}

/// A Job that waits for its copy of Secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) job: PinnedObject,
    pub(super) version: String,
}

impl Waiting {
    pub(super) fn of(job: &Job) -> Self {
        let (namespace, uid) = (job.namespace().unwrap_or_default(), job.uid().unwrap_or_default());
        let job_object = PinnedObject { namespace, name: job.name_any(), uid, generation: 0 };
        Self { job: job_object, version: job.resource_version().unwrap_or_default() }
    }
}

/// A discovery that ended.
#[derive(Debug, PartialEq)]
pub(super) struct Ended {
    /// The new record.
    pub(super) record: DiscoveryRecord,
    /// What the Job reported.
    pub(super) report: DiscoveryReport,
    /// Whether objects of snapshots that are gone may be deleted.
    pub(super) forget: Forget,
}

/// Whether Snapshots whose restic snapshot is gone may be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Forget {
    /// The listing was complete, and of the repository that was recorded: these restic ids are missing for the second time
    /// in a row.
    Allowed(Vec<String>),
    /// One of the two is not so.
    Refused,
}

/// What to do next.
pub(super) fn decide(observed: &Observed<'_>, now: Timestamp) -> Decision {
    let mut decision = Decision { notes: wipe_out(observed.repository), ..Decision::default() };
    let run = observed.record.run + 1;
    let name = job::name(observed.repository, run);
    let current = observed.jobs.iter().find(|job| job.name_any() == name);
    // The last one stays, for whoever wants to read its log.
    let last = job::name(observed.repository, observed.record.run);
    let over = |job: &Job| ![&name, &last].contains(&&job.name_any()) && is_finished(job);
    for old in observed.jobs.iter().filter(|job| over(job) && job.metadata.deletion_timestamp.is_none()) {
        decision.delete.push((old.name_any(), old.uid().unwrap_or_default()));
    }
    match current {
        Some(job) => watch(observed, job, now, &mut decision),
        None => begin(observed, run, now, &mut decision),
    }
    decision
}

/// A Job runs, or ran.
fn watch(observed: &Observed<'_>, job: &Job, now: Timestamp, decision: &mut Decision) {
    if job.metadata.deletion_timestamp.is_some() {
        return;
    }
    if job::is_suspended(job) {
        return resume(observed, job, now, decision);
    }
    let Some(report) = outcome::report(job, &observed.pods, now, observed.patience) else {
        let created = job.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
        decision.wake = Some((observed.patience - now.duration_since(created)).max(SignedDuration::from_secs(5)));
        return;
    };
    if !is_finished(job) {
        // Its container never started; nothing may start it any more.
        decision.delete.push((job.name_any(), job.uid().unwrap_or_default()));
    }
    let at = job::asked_at(job).map_or_else(|| now.to_string(), str::to_owned);
    end(observed, report, at, job::inputs(job).to_owned(), decision);
}

/// A Job was made and has yet to get its copy of Secrets. One that was not recorded is not believed to be the one we made.
fn resume(observed: &Observed<'_>, job: &Job, now: Timestamp, decision: &mut Decision) {
    let waiting = Waiting::of(job);
    let again = |decision: &mut Decision| decision.wake = Some(SignedDuration::from_secs(1));
    if observed.record.job.as_ref() != Some(&waiting.job.uid) {
        // Bound to its version: what the caches do not show yet may have started it.
        decision.forget = Some(waiting);
        return again(decision);
    }
    let refused = observed.refused.clone().map_or(Ok(()), Err);
    match refused
        .map_err(|failure| (failure.cause, failure.text))
        .and_then(|()| storage(observed))
        .and_then(|storage| copied(observed, storage))
    {
        Ok(secrets) => {
            decision.secrets = secrets;
            decision.resume = Some(waiting);
            again(decision);
        }
        Err((cause, error)) => {
            decision.delete.push((waiting.job.name, waiting.job.uid));
            end(observed, outcome::failed(cause, error), now.to_string(), job::inputs(job).to_owned(), decision);
        }
    }
}

/// No Job runs: is one due?
fn begin(observed: &Observed<'_>, run: u64, now: Timestamp, decision: &mut Decision) {
    let inputs = hash(observed);
    let wait = due_in(observed, &inputs, now);
    if wait.is_positive() {
        decision.wake = Some(wait);
        return;
    }
    if let Some(record) = waits(observed, now) {
        decision.wake = Some(WRITERS_LOOK);
        if record != observed.record {
            let pods = record.waiting_for.clone().unwrap_or_default();
            decision.notes.push(Note::normal(
                "WaitingForWriters",
                "Discover",
                format!(
                    "discovery waits while {pods} may write to the repository: who mounts its volume first decides the owner of its files"
                ),
            ));
            decision.waiting = Some(Box::new(record));
        }
        return;
    }
    match start(observed, run, &inputs, now) {
        Ok((job, secrets)) => {
            decision.wake = (!secrets.is_empty()).then_some(SignedDuration::from_secs(1));
            (decision.start, decision.secrets) = (Some(Box::new(job)), secrets);
        }
        Err((cause, error)) => end(observed, outcome::failed(cause, error), now.to_string(), inputs, decision),
    }
}

/// Whether a discovery is to be started, as far as time tells.
pub(super) fn is_due(observed: &Observed<'_>, now: Timestamp) -> bool {
    !due_in(observed, &hash(observed), now).is_positive()
}

/// The record of a discovery that must wait: a node sets the owner of a volume's files for the first pod that mounts it, and
/// that must be the backup's. A pod that has been there for long has its volume; others are waited for, but not for ever.
fn waits(observed: &Observed<'_>, now: Timestamp) -> Option<DiscoveryRecord> {
    let young = |pod: &&Pod| pod.metadata.creation_timestamp.as_ref().is_none_or(|created| now.duration_since(created.0) < WRITER_AGE);
    let mut pods: Vec<String> = observed.writers.iter().filter(young).map(|pod| format!("Pod {}", pod.name_any())).collect();
    let before = observed.record.waiting_since.as_deref().and_then(|since| since.parse::<Timestamp>().ok()).filter(|since| *since <= now);
    let since = before.unwrap_or(now);
    if pods.is_empty() || now.duration_since(since) >= WRITERS_PATIENCE {
        return None;
    }
    pods.sort_unstable();
    Some(DiscoveryRecord { waiting_since: Some(since.to_string()), waiting_for: Some(pods.join(", ")), ..observed.record.clone() })
}

/// How long until the next discovery is due; not positive when it is.
fn due_in(observed: &Observed<'_>, inputs: &str, now: Timestamp) -> SignedDuration {
    let record = &observed.record;
    let Ok(last) = record.at.parse::<Timestamp>() else { return SignedDuration::ZERO };
    // A request from a clock that runs ahead of ours is as good as one of now; else it could never be met.
    let asked = request(observed.repository).map(|at| at.min(now));
    if asked.is_some_and(|at| at > last) || record.inputs != inputs {
        return SignedDuration::ZERO;
    }
    let wait = match usize::try_from(record.failures).unwrap_or(usize::MAX) {
        0 => INTERVAL,
        failures => BACKOFF[(failures - 1).min(BACKOFF.len() - 1)],
    };
    // A record from the future must not hold discovery back for longer than usual.
    let wait = wait - now.duration_since(last).max(SignedDuration::ZERO);
    // Nobody asked: what keeps sessions from verifying it would keep this from listing it.
    let held = hold::Place::of(observed.repository, observed.storage.as_deref()).rests_until(now);
    held.map_or(wait, |until| wait.max(until.duration_since(now)))
}

/// The storage, if it may be used from the Repository's namespace.
fn storage<'a>(observed: &'a Observed<'_>) -> Result<&'a BackupStorage, (Cause, String)> {
    let repository = observed.repository;
    let namespace = repository.namespace().unwrap_or_default();
    let described = format!("Repository {namespace}/{}", repository.name_any());
    let storage = observed.storage.as_deref().ok_or_else(|| {
        let named = repository.spec.storage_ref.as_ref().map_or("nothing", |reference| reference.name.as_str());
        (
            Cause::StorageObjectNotFound,
            format!("{described}: spec.storageRef names {named}, and there is no such BackupStorage; create it or mend the reference"),
        )
    })?;
    let own = storage.namespace().unwrap_or_default();
    if usage_allows(storage.spec.usage_policy.as_ref(), &own, &namespace, Some(&observed.labels)) == Some(true) {
        return Ok(storage);
    }
    let text = format!(
        "{described}: spec.storageRef names BackupStorage {own}/{}, whose spec.usagePolicy does not allow namespace {namespace}; allow it there",
        storage.name_any()
    );
    Err((Cause::CrossNamespaceNotAllowed, text))
}

/// Secrets of other namespaces that the Job needs a copy of.
fn copied(observed: &Observed<'_>, storage: &BackupStorage) -> Result<Vec<SecretSource>, (Cause, String)> {
    let namespace = observed.repository.namespace().unwrap_or_default();
    copies::needed(storage, observed.repository, &namespace, observed.config).map_err(|failure| (failure.cause, failure.text))
}

fn start(observed: &Observed<'_>, run: u64, inputs: &str, now: Timestamp) -> Result<(Job, Vec<SecretSource>), (Cause, String)> {
    let repository = observed.repository;
    let storage = storage(observed)?;
    let namespace = repository.namespace().unwrap_or_default();
    if job::user(storage) == 0 && observed.host_path == HostPath::Refused {
        let storage = format!("BackupStorage {}/{}", storage.namespace().unwrap_or_default(), storage.name_any());
        let text = format!(
            "{storage}: spec.runtimeSettings.pod.securityContext.runAsUser is 0; name the user that owns the repository's files, or list namespace {namespace} in the chart's value unsafeNamespaces"
        );
        return Err((Cause::UnsafeSettings, text));
    }
    let secrets = copied(observed, storage)?;
    let name = job::name(repository, run);
    let place =
        Place { namespace: &namespace, host_path: observed.host_path, copied_secret: (!secrets.is_empty()).then_some(name.as_str()) };
    let access = access(storage, repository, ".", place).map_err(|error| (error.cause(), error.to_string()))?;
    let job = job::job(Parts {
        repository,
        storage,
        access,
        session: observed.session.name(),
        run,
        asked_at: now.to_string(),
        inputs,
        image: &observed.config.image,
        proxies: observed.proxies,
        beginning: if secrets.is_empty() { Beginning::Now } else { Beginning::WithItsCopy },
    });
    Ok((job, secrets))
}

/// Writes down what came of a discovery.
fn end(observed: &Observed<'_>, report: DiscoveryReport, at: String, inputs: String, decision: &mut Decision) {
    let before = &observed.record;
    let good = report.cause.is_none() && report.complete;
    let known = if before.repository_id.is_empty() { &report.repository_id } else { &before.repository_id };
    let same = !report.repository_id.is_empty() && *known == report.repository_id;
    let record = DiscoveryRecord {
        at,
        complete: good,
        found: if good { report.found } else { before.found },
        newest: if good { report.newest.clone() } else { before.newest.clone() },
        error: report.error.clone().filter(|_| !good),
        cause: report.cause.or((!good).then_some(Cause::ExecutorFailed)),
        sessions: if good { Vec::new() } else { report.sessions.clone() },
        repository_id: known.clone(),
        // A failed listing in between proves nothing either way, so it neither confirms nor clears.
        missing: if good && same { report.gone.clone() } else { before.missing.clone() },
        failures: if good { 0 } else { before.failures.saturating_add(1) },
        run: before.run + 1,
        waiting_since: None,
        waiting_for: None,
        job: None,
        inputs,
    };
    decision.notes.extend(told(before, &record, &report));
    if good && !same {
        decision.notes.push(Note::warning(
            "RepositoryReplaced",
            "Discover",
            format!(
                "another restic repository lies at this place: id {} instead of {}; Snapshots of the earlier one are kept. If that is meant, remove annotation {} and the Snapshots",
                report.repository_id, known, backproof_api::labels::DISCOVERY
            ),
        ));
    }
    let forget = if good && same {
        Forget::Allowed(report.gone.iter().filter(|id| before.missing.contains(id)).cloned().collect())
    } else {
        Forget::Refused
    };
    decision.ended = Some(Box::new(Ended { record, report, forget }));
}

/// What changed since the last discovery, as events.
fn told(before: &DiscoveryRecord, after: &DiscoveryRecord, report: &DiscoveryReport) -> Vec<Note> {
    let mut notes = Vec::new();
    match after.cause {
        Some(cause) if (before.cause, &before.error) != (Some(cause), &after.error) => {
            let error = after.error.as_deref().unwrap_or_else(|| cause.description());
            notes.push(Note::warning("DiscoveryFailed", "Discover", format!("{cause}: {error}")));
        }
        Some(_) => {}
        None if report.created > 0 || before.cause.is_some() || before.at.is_empty() => {
            let newest = after.newest.as_deref().map_or_else(String::new, |newest| format!(", the newest is {newest}"));
            notes.push(Note::normal(
                "SnapshotsDiscovered",
                "Discover",
                format!("{} restic snapshots found, {} of them new{newest}", after.found, report.created),
            ));
        }
        None => {}
    }
    notes.extend(report.notes.iter().map(|note| Note::warning("SnapshotNotTaken", "Discover", note)));
    notes
}

fn wipe_out(repository: &Repository) -> Vec<Note> {
    match &repository.spec.deletion_policy {
        Some(Wire::Known(backproof_api::DeletionPolicy::WipeOut)) => vec![Note::warning(
            "WipeOutIgnored",
            "Discover",
            "spec.deletionPolicy is WipeOut, which Backproof never does: the repository's data stays when this object is deleted; set it to Delete to silence this",
        )],
        Some(Wire::Known(backproof_api::DeletionPolicy::Delete) | Wire::Other(_)) | None => Vec::new(),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
