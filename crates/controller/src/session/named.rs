//! What a run names, object by object: the one that is meant, or why there is none that would do.

use backproof_api::{
    Addon, BackupStorage, BackupVerificationSession, BackupVerifier, Cause, Executor, Function, Repository, Snapshot, Task, labels,
    shared::Wire, validate,
};
use kube::ResourceExt as _;

use super::{
    observed::{References, Settings, Target},
    resolve::invalid,
    wire::Refusal,
};
use crate::database::{Form, form};

/// The Repository.
pub(super) fn repository<'a>(
    session: &BackupVerificationSession,
    own: &str,
    references: &'a References,
) -> Result<&'a Repository, Refusal> {
    references.repository.as_ref().ok_or_else(|| {
        Refusal::new(
            Cause::RepositoryObjectNotFound,
            format!(
                "spec.repository: Repository {own}/{} does not exist: wait for the first backup, or create it",
                session.spec.repository
            ),
        )
    })
}

/// The Snapshot that is named, or the newest.
pub(super) fn snapshot<'a>(session: &BackupVerificationSession, own: &str, references: &'a References) -> Result<&'a Snapshot, Refusal> {
    let spec = &session.spec;
    let belongs = |snapshot: &Snapshot| snapshot.spec.repository == spec.repository && snapshot.spec.session == spec.session;
    if validate::wants_newest(session) {
        return newest(references.snapshots.iter().filter(|snapshot| belongs(snapshot))).ok_or_else(|| {
            Refusal::new(
                Cause::NoSnapshotToVerify,
                format!(
                    "no Succeeded Snapshot of repository {} and session {} exists in namespace {own}: wait for a backup",
                    spec.repository, spec.session
                ),
            )
        });
    }
    let found = references.snapshots.iter().find(|snapshot| snapshot.name_any() == spec.snapshot).ok_or_else(|| {
        Refusal::new(
            Cause::SnapshotObjectNotFound,
            format!(
                "spec.snapshot: Snapshot {own}/{} does not exist: see kubectl get snapshots.storage.kubestash.com -n {own}",
                spec.snapshot
            ),
        )
    })?;
    if !belongs(found) {
        return Err(Refusal::new(
            Cause::SnapshotObjectNotFound,
            format!(
                "spec.snapshot: Snapshot {own}/{} belongs to repository {} and session {}, not to {} and {}: name one of theirs",
                spec.snapshot, found.spec.repository, found.spec.session, spec.repository, spec.session
            ),
        ));
    }
    if !succeeded(found) {
        let phase = found.status.as_ref().and_then(|status| status.phase.as_ref()).map_or_else(|| "unknown".into(), ToString::to_string);
        return Err(Refusal::new(
            Cause::NoSnapshotToVerify,
            format!("spec.snapshot: phase of Snapshot {own}/{} is {phase}: name one that is Succeeded", spec.snapshot),
        ));
    }
    Ok(found)
}

/// The newest Succeeded Snapshot: by the time it was taken, then by name.
fn newest<'a>(snapshots: impl Iterator<Item = &'a Snapshot>) -> Option<&'a Snapshot> {
    let taken = |snapshot: &Snapshot| snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref()).map(|time| time.0);
    snapshots
        .filter(|snapshot| succeeded(snapshot) && snapshot.metadata.deletion_timestamp.is_none())
        .max_by(|a, b| (taken(a), a.name_any()).cmp(&(taken(b), b.name_any())))
}

fn succeeded(snapshot: &Snapshot) -> bool {
    snapshot.status.as_ref().and_then(|status| status.phase.as_ref()).is_some_and(|phase| *phase == backproof_api::SnapshotPhase::Succeeded)
}

/// The BackupStorage of a Repository.
pub(super) fn storage<'a>(repository: &Repository, own: &str, references: &'a References) -> Result<&'a BackupStorage, Refusal> {
    let reference = repository.spec.storage_ref.clone().unwrap_or_default();
    references.storage.as_ref().ok_or_else(|| {
        Refusal::new(
            Cause::StorageObjectNotFound,
            format!(
                "BackupStorage {}/{} does not exist: create it, or correct spec.storageRef of Repository {}",
                reference.namespace_or(own),
                reference.name,
                crate::events::path(repository)
            ),
        )
    })
}

/// The verifier's Addon and its restore task.
pub(super) fn addon<'a>(verifier: &BackupVerifier, references: &'a References) -> Result<(&'a Addon, &'a Task), Refusal> {
    let info = verifier.spec.restore_option.as_ref().and_then(|option| option.addon_info.as_ref());
    let info = info.ok_or_else(|| invalid(verifier, "spec.restoreOption.addonInfo", &"is missing: name the Addon and its restore task"))?;
    let task = match info.tasks.as_slice() {
        [task] => task,
        [] => {
            return Err(invalid(
                verifier,
                "spec.restoreOption.addonInfo.tasks",
                &"is empty: name one restore task, such as logical-backup-restore",
            ));
        }
        several => {
            let names: Vec<_> = several.iter().map(|task| task.name.as_str()).collect();
            return Err(invalid(
                verifier,
                "spec.restoreOption.addonInfo.tasks",
                &format!("names {}: one task is restored at a time, keep one of them", names.join(", ")),
            ));
        }
    };
    let not_found = |message: String| Refusal::new(Cause::AddonNotFound, message);
    let addon = references.addon.as_ref().ok_or_else(|| {
        not_found(format!("Addon {} does not exist, nor one labelled {}={}: install Backproof's catalog, or correct spec.restoreOption.addonInfo.name of BackupVerifier {}", info.name, labels::IMPLEMENTS, info.name, crate::events::path(verifier)))
    })?;
    let found = addon.spec.restore_tasks.iter().find(|candidate| candidate.name == task.name).ok_or_else(|| {
        let known: Vec<_> = addon.spec.restore_tasks.iter().map(|task| task.name.as_str()).collect();
        not_found(format!("Addon {} has no restore task {}: it has {}", addon.name_any(), task.name, known.join(", ")))
    })?;
    match found.executor.as_ref() {
        None | Some(Wire::Known(Executor::Job)) => Ok((addon, found)),
        Some(other) => Err(Refusal::new(
            Cause::ExecutorNotSupported,
            format!(
                "Addon {}: restore task {} runs as {other}, but only Job is supported: choose another task",
                addon.name_any(),
                found.name
            ),
        )),
    }
}

/// The Function of this name.
pub(super) fn function<'a>(name: &str, found: Option<&'a Function>, settings: &Settings) -> Result<&'a Function, Refusal> {
    let function = found.ok_or_else(|| {
        Refusal::new(
            Cause::FunctionNotFound,
            format!("Function {name} does not exist, nor one labelled {}={name}: install the catalog it belongs to", labels::IMPLEMENTS),
        )
    })?;
    if is_ours(function) || settings.foreign_functions {
        return Ok(function);
    }
    Err(not_ours(function, "set the chart's value foreignFunctions.enabled to true, or use an Addon of the catalog"))
}

/// The Function that asks a restored database: one of ours, as no other tells what it was answered.
pub(super) fn verify_function<'a>(
    verifier: &BackupVerifier,
    references: &'a References,
    settings: &Settings,
) -> Result<&'a Function, Refusal> {
    let function = function(&verifier.spec.function, references.verify_function.as_ref(), settings)?;
    if is_ours(function) {
        return Ok(function);
    }
    Err(not_ours(function, "this version runs no such Function as a verifier: name kubedbverifier"))
}

fn is_ours(function: &Function) -> bool {
    function.labels().contains_key(labels::IMPLEMENTS)
}

fn not_ours(function: &Function, remedy: &str) -> Refusal {
    let text = format!("Function {} is not Backproof's (it lacks the label {}): {remedy}", function.name_any(), labels::IMPLEMENTS);
    Refusal::new(Cause::ForeignFunctionNotAllowed, text)
}

/// What is restored into.
pub(super) fn target<'a>(verifier: &BackupVerifier, references: &'a References) -> Result<&'a Target, Refusal> {
    let reference = verifier.spec.restore_option.as_ref().and_then(|option| option.target.clone()).unwrap_or_default();
    let path = crate::events::path(verifier);
    let field = "spec.restoreOption.target";
    if reference.name.is_empty() {
        return Err(invalid(verifier, field, &"is missing: name the PersistentVolumeClaim or database to restore into"));
    }
    let (kind, remedy) = match form(&reference.api_group, &reference.kind) {
        _ if is_claim(&reference.api_group, &reference.kind) => ("PersistentVolumeClaim", "create it"),
        Some(Form::Binding) => ("AppBinding", "create it, with clientConfig and secret of the database"),
        Some(Form::Service) => ("Service", "create it"),
        None => {
            let text = format!(
                "BackupVerifier {path}: {field}: {} cannot be restored into yet: name a PersistentVolumeClaim, or a PostgreSQL database by its AppBinding or Service",
                reference.kind
            );
            return Err(Refusal::new(Cause::TargetNotSupported, text));
        }
    };
    let namespace = reference.namespace_or(verifier.metadata.namespace.as_deref().unwrap_or_default());
    references.target.as_ref().ok_or_else(|| {
        let text = format!("{kind} {namespace}/{} does not exist: {remedy}, or correct {field} of BackupVerifier {path}", reference.name);
        Refusal::new(Cause::TargetNotFound, text)
    })
}

/// Whether a reference means a PersistentVolumeClaim of the core group.
pub(super) fn is_claim(group: &str, kind: &str) -> bool {
    (group.is_empty() || group == "core" || group == "v1") && kind == "PersistentVolumeClaim"
}
