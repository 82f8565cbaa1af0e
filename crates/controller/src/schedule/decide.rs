//! Which CronJobs an invoker shall have, decided from what was observed. No client, no clock.

use std::{collections::BTreeMap, sync::Arc};

use backproof_api::{
    BackupVerifier,
    shared::{ObjectReference, SchedulerSpec},
    validate::{Invoker, RepositoryEntry, check_schedule},
};
use k8s_openapi::api::batch::v1::CronJob;

use super::{
    cronjob::{self, Discovery, Parts},
    same::covers,
};
use crate::events::Note;

/// What there is.
pub(super) struct Observed<'a> {
    /// The invoker.
    pub(super) invoker: Invoker<'a>,
    /// The verifiers it names that exist, by namespace and name.
    pub(super) verifiers: BTreeMap<(String, String), Arc<BackupVerifier>>,
    /// Repositories of its namespace that are discovered.
    pub(super) discovered: Vec<String>,
    /// CronJobs made for this invoker.
    pub(super) cronjobs: Vec<Arc<CronJob>>,
    /// The core image.
    pub(super) image: &'a str,
}

/// What to do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Decision {
    /// CronJobs to apply; those that already are as they should be are not among them.
    pub(super) apply: Vec<Applied>,
    /// CronJobs to delete, by name and UID.
    pub(super) delete: Vec<(String, String)>,
    /// Whether any CronJob is wanted, so that its account must exist.
    pub(super) wanted: usize,
    /// What the invoker's owner should know.
    pub(super) notes: Vec<Note>,
}

/// A CronJob to apply, and the field whose mistake it would be if the API server refused it.
#[derive(Debug, PartialEq)]
pub(super) struct Applied {
    pub(super) cronjob: CronJob,
    /// UID of the one that is there, if it was seen.
    pub(super) uid: Option<String>,
    pub(super) scheduler: String,
}

/// Which CronJobs the invoker shall have.
pub(super) fn decide(observed: &Observed<'_>) -> Decision {
    let mut decision = Decision::default();
    // While an invoker goes away nothing new may start for it.
    let entries = if observed.invoker.meta().deletion_timestamp.is_some() { Vec::new() } else { observed.invoker.entries() };
    let mut wanted = BTreeMap::new();
    for entry in &entries {
        let Some(reference) = entry.verifier() else { continue };
        match schedule(observed, &entries, entry, reference) {
            Ok(applied) => {
                wanted.insert(applied.cronjob.metadata.name.clone().unwrap_or_default(), applied);
            }
            Err(note) => decision.notes.push(note),
        }
    }
    decision.wanted = wanted.len();
    for found in &observed.cronjobs {
        let name = found.metadata.name.clone().unwrap_or_default();
        let uid = found.metadata.uid.clone().unwrap_or_default();
        match wanted.remove(&name) {
            None => decision.delete.push((name, uid)),
            Some(applied) if is_same(found, &applied.cronjob) => {}
            Some(applied) => decision.apply.push(Applied { uid: Some(uid), ..applied }),
        }
    }
    decision.apply.extend(wanted.into_values());
    decision
}

/// The CronJob of one entry, or why there is none.
fn schedule(
    observed: &Observed<'_>,
    entries: &[RepositoryEntry<'_>],
    entry: &RepositoryEntry<'_>,
    reference: &ObjectReference,
) -> Result<Applied, Note> {
    let invoker = observed.invoker;
    let (session, repository) = (entry.session, entry.repository.name.as_str());
    for (value, field) in [(session, "the session's name"), (repository, "the repository's name")] {
        if value.is_empty() {
            return Err(trouble(
                "ScheduleInvalid",
                format!("{invoker}: {}: {field} is empty, so nothing can be verified there; set it", entry.field),
            ));
        }
    }
    let twice = entries.iter().filter(|other| other.session == session && other.repository.name == repository).count() > 1;
    if twice {
        let message = format!(
            "{invoker}: {}: session {session:?} names repository {repository:?} more than once, so it is not clear which entry is meant; keep one of them",
            entry.field
        );
        return Err(trouble("AmbiguousRepository", message));
    }
    let namespace = reference.namespace_or(invoker.namespace());
    let described = format!("BackupVerifier {namespace}/{}", reference.name);
    let Some(verifier) = observed.verifiers.get(&(namespace.to_owned(), reference.name.clone())) else {
        let message = format!(
            "{invoker}: {}.backupVerifier names {described}, which does not exist; create it or take the reference out",
            entry.field
        );
        return Err(trouble("VerifierNotFound", message));
    };
    let scheduler = checked(&described, verifier)?;
    let policy = cronjob::policy(scheduler).ok_or_else(|| {
        let message =
            format!("{described}: spec.scheduler.concurrencyPolicy is {:?}; write Allow, Forbid or Replace", scheduler.concurrency_policy);
        trouble("ScheduleInvalid", message)
    })?;
    let discovery = if observed.discovered.iter().any(|name| name == repository) { Discovery::On } else { Discovery::Off };
    let cronjob = cronjob::cronjob(Parts { invoker, session, repository, verifier, scheduler, policy, discovery, image: observed.image });
    Ok(Applied { cronjob, uid: None, scheduler: format!("{described}: spec.scheduler") })
}

/// The verifier's scheduler, if a CronJob can run by it.
fn checked<'a>(described: &str, verifier: &'a BackupVerifier) -> Result<&'a SchedulerSpec, Note> {
    let Some(scheduler) = verifier.spec.scheduler.as_ref() else {
        let message = format!(
            "{described}: spec.scheduler is missing, so nothing is verified by itself; set spec.scheduler.schedule, such as \"0 3 * * *\""
        );
        return Err(trouble("ScheduleInvalid", message));
    };
    check_schedule(&scheduler.schedule).map_err(|why| {
        let message =
            format!("{described}: spec.scheduler.schedule is {:?}: {why}; write five fields such as \"0 3 * * *\"", scheduler.schedule);
        trouble("ScheduleInvalid", message)
    })?;
    Ok(scheduler)
}

fn trouble(reason: &'static str, message: String) -> Note {
    Note::warning(reason, "Schedule", message)
}

/// Whether what is there is what was applied, and by the same wishes.
fn is_same(found: &CronJob, wanted: &CronJob) -> bool {
    match (serde_json::to_value(found), serde_json::to_value(wanted)) {
        (Ok(found), Ok(wanted)) => covers(&found, &wanted),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => false,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
