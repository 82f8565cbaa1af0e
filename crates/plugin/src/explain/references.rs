//! What a session refers to: invoker, verifier, Repository, storage, Snapshot, Addon, Function, target.

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository, Snapshot,
    SnapshotPhase,
    run::PinnedObject,
    shared::{ObjectReference, TypedObjectReference},
    validate::Invoker,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Resource, ResourceExt as _};

use super::{Lines, Mark};
use crate::{cluster::Cluster, doctor::catalog, error::Error, output, records};

pub(super) async fn walk(cluster: &Cluster, lines: &mut Lines, session: &BackupVerificationSession, now: Timestamp) -> Result<(), Error> {
    let pinned = session.status.as_ref().and_then(|status| status.run.clone()).unwrap_or_default();
    let reference = invoker(cluster, lines, session).await?;
    if let Some(reference) = reference {
        verifier(cluster, lines, &reference, &pinned.verifier.object).await?;
    }
    repository(cluster, lines, session, now).await?;
    snapshot(cluster, lines, session, &pinned.snapshot.name, &pinned.snapshot.uid).await
}

/// The invoker, and which verifier its entry names.
async fn invoker(cluster: &Cluster, lines: &mut Lines, session: &BackupVerificationSession) -> Result<Option<ObjectReference>, Error> {
    let named = session.spec.invoker.clone().unwrap_or_default();
    let described = format!("{} {}/{}", named.kind, cluster.namespace, named.name);
    let (configuration, batch) = match named.kind.as_str() {
        "BackupConfiguration" => (lines.read("invoker", cluster.get::<BackupConfiguration>("", &named.name).await)?, None),
        "BackupBatch" => (None, lines.read("invoker", cluster.get::<BackupBatch>("", &named.name).await)?),
        _ => {
            lines.add(Mark::Wrong, "invoker", "spec.invoker names neither a BackupConfiguration nor a BackupBatch");
            return Ok(None);
        }
    };
    let invoker = match (&configuration, &batch) {
        (Some(Some(configuration)), _) => Invoker::Configuration(configuration),
        (_, Some(Some(batch))) => Invoker::Batch(batch),
        (Some(None), _) | (_, Some(None)) => {
            lines.add(Mark::Wrong, "invoker", &format!("{described} does not exist: create it, or a session with the right name"));
            return Ok(None);
        }
        (None, None) => return Ok(None),
    };
    let spec = &session.spec;
    let entries = invoker.entries();
    let mut own = entries.iter().filter(|entry| entry.session == spec.session && entry.repository.name == spec.repository);
    let Some(entry) = own.next() else {
        lines.add(Mark::Wrong, "invoker", &format!("{described} has no session {:?} with Repository {:?}", spec.session, spec.repository));
        return Ok(None);
    };
    if own.next().is_some() {
        lines.add(
            Mark::Wrong,
            "invoker",
            &format!("{described} names Repository {} more than once in session {}", spec.repository, spec.session),
        );
    } else if invoker.paused() {
        lines.add(Mark::Wrong, "invoker", &format!("{described} is paused: nothing new is verified until spec.paused is false"));
    } else {
        lines.add(Mark::Fine, "invoker", &format!("{described}, session {}, {}", spec.session, entry.field));
    }
    let verifier = entry.verifier().cloned();
    if verifier.is_none() {
        lines.add(Mark::Wrong, "verifier", &format!("none is named: set {}.backupVerifier of {described}", entry.field));
    }
    Ok(verifier)
}

async fn verifier(cluster: &Cluster, lines: &mut Lines, reference: &ObjectReference, pinned: &PinnedObject) -> Result<(), Error> {
    let described = format!("{}/{}", reference.namespace_or(&cluster.namespace), reference.name);
    let Some(found) = lines.read("verifier", cluster.get::<BackupVerifier>(&reference.namespace, &reference.name).await)? else {
        return Ok(());
    };
    let Some(verifier) = found else {
        lines.add(Mark::Wrong, "verifier", &format!("BackupVerifier {described} does not exist: create it, or correct the reference"));
        return Ok(());
    };
    let kind = verifier.spec.kind.as_ref().map(ToString::to_string).unwrap_or_default();
    if is_another(&verifier, pinned) {
        lines.add(Mark::Wrong, "verifier", &format!("{described}, {kind}: it was changed since the run began"));
    } else {
        lines.add(Mark::Fine, "verifier", &format!("{described}, {kind}"));
    }
    let option = verifier.spec.restore_option.clone().unwrap_or_default();
    addon(cluster, lines, &option.addon_info.unwrap_or_default()).await?;
    target(cluster, lines, &option.target.unwrap_or_default(), &verifier.namespace().unwrap_or_default()).await
}

fn is_another<K: Resource>(found: &K, pinned: &PinnedObject) -> bool {
    let other_generation = pinned.generation != 0 && found.meta().generation != Some(pinned.generation);
    !pinned.uid.is_empty() && (found.meta().uid.as_ref() != Some(&pinned.uid) || other_generation)
}

async fn addon(cluster: &Cluster, lines: &mut Lines, named: &backproof_api::shared::AddonInfo) -> Result<(), Error> {
    let Some(addons) = lines.read("addon", catalog::all::<Addon>(cluster).await)? else { return Ok(()) };
    let Some(addon) = catalog::resolve(&addons, &named.name) else {
        lines.add(
            Mark::Wrong,
            "addon",
            &format!("Addon {:?} does not exist: install the chart's catalog, or correct the verifier", named.name),
        );
        return Ok(());
    };
    let asked = named.tasks.first().map(|task| task.name.clone()).unwrap_or_default();
    let Some(task) = addon.spec.restore_tasks.iter().find(|task| task.name == asked) else {
        lines.add(Mark::Wrong, "addon", &format!("Addon {} has no restore task {asked:?}", addon.name_any()));
        return Ok(());
    };
    lines.add(Mark::Fine, "addon", &format!("{}, task {asked}", addon.name_any()));
    let Some(functions) = lines.read("function", catalog::all::<Function>(cluster).await)? else { return Ok(()) };
    match catalog::resolve(&functions, &task.function) {
        Some(function) => lines.add(Mark::Fine, "function", &format!("{}, image {}", function.name_any(), function.spec.image)),
        None => lines.add(Mark::Wrong, "function", &format!("Function {:?} does not exist: install the chart's catalog", task.function)),
    }
    Ok(())
}

async fn target(cluster: &Cluster, lines: &mut Lines, target: &TypedObjectReference, own: &str) -> Result<(), Error> {
    let described = format!("{} {}/{}", target.kind, target.namespace_or(own), target.name);
    if target.kind != "PersistentVolumeClaim" {
        lines.add(Mark::Unseen, "target", &format!("{described}: this kind is not looked at"));
        return Ok(());
    }
    let Some(found) = lines.read("target", cluster.get::<PersistentVolumeClaim>(target.namespace_or(own), &target.name).await)? else {
        return Ok(());
    };
    let Some(claim) = found else {
        lines.add(Mark::Wrong, "target", &format!("{described} does not exist: create an empty claim"));
        return Ok(());
    };
    let phase = claim.status.and_then(|status| status.phase).unwrap_or_default();
    match phase.as_str() {
        "Lost" => lines.add(Mark::Wrong, "target", &format!("{described} has lost its volume")),
        "Bound" => lines.add(Mark::Fine, "target", &format!("{described}, Bound")),
        // A claim of a class that waits for its first consumer is bound by the Job's pod.
        _ => lines.add(Mark::Waiting, "target", &format!("{described} is not bound yet; that may wait for the first pod")),
    }
    Ok(())
}

async fn repository(cluster: &Cluster, lines: &mut Lines, session: &BackupVerificationSession, now: Timestamp) -> Result<(), Error> {
    let name = &session.spec.repository;
    let Some(found) = lines.read("repository", cluster.get::<Repository>("", name).await)? else { return Ok(()) };
    let Some(repository) = found else {
        lines.add(Mark::Wrong, "repository", &format!("Repository {}/{name} does not exist: create it", cluster.namespace));
        return Ok(());
    };
    match records::held_until(&repository, now) {
        Some(until) => lines.add(
            Mark::Wrong,
            "repository",
            &format!(
                "{}/{name} is held off until {until}, as storage, credentials or image failed; annotation backproof.dev/probe ends that",
                cluster.namespace
            ),
        ),
        None => lines.add(Mark::Fine, "repository", &format!("{}/{name}, path {:?}", cluster.namespace, repository.spec.path)),
    }
    let reference = repository.spec.storage_ref.clone().unwrap_or_default();
    let described = format!("{}/{}", reference.namespace_or(&cluster.namespace), reference.name);
    let Some(found) = lines.read("storage", cluster.get::<BackupStorage>(&reference.namespace, &reference.name).await)? else {
        return Ok(());
    };
    match found {
        Some(storage) => {
            let provider = storage.spec.storage.map(|storage| storage.provider).unwrap_or_default();
            lines.add(Mark::Fine, "storage", &format!("{described}, {provider}"));
        }
        None => lines.add(
            Mark::Wrong,
            "storage",
            &format!("BackupStorage {described} does not exist: create it, or correct spec.storageRef of the Repository"),
        ),
    }
    Ok(())
}

async fn snapshot(cluster: &Cluster, lines: &mut Lines, session: &BackupVerificationSession, pinned: &str, uid: &str) -> Result<(), Error> {
    let asked = &session.spec.snapshot;
    let name = if pinned.is_empty() { asked.as_str() } else { pinned };
    if name.is_empty() || name == "latest" {
        lines.add(Mark::Waiting, "snapshot", "the newest one, which is chosen when the run starts");
        return Ok(());
    }
    let Some(found) = lines.read("snapshot", cluster.get::<Snapshot>("", name).await)? else { return Ok(()) };
    let Some(snapshot) = found else {
        lines.add(Mark::Wrong, "snapshot", &format!("Snapshot {}/{name} does not exist (any more)", cluster.namespace));
        return Ok(());
    };
    let status = snapshot.status.clone().unwrap_or_default();
    let taken = status.snapshot_time.as_ref().map(|time| format!(", taken {}", time.0)).unwrap_or_default();
    let proven = status.verification_status.as_ref().map(|word| format!(", {word}")).unwrap_or_default();
    let described = format!("{}/{name}{taken}{proven}", cluster.namespace);
    if !uid.is_empty() && snapshot.uid().as_deref() != Some(uid) {
        lines.add(Mark::Wrong, "snapshot", &format!("{described}: replaced by another of the same name since the run began"));
    } else if snapshot.spec.repository != session.spec.repository {
        lines.add(Mark::Wrong, "snapshot", &format!("{described}: it lies in Repository {}", snapshot.spec.repository));
    } else if status.phase != Some(SnapshotPhase::Succeeded.into()) {
        lines.add(Mark::Wrong, "snapshot", &format!("{described}: its backup did not succeed, or not yet"));
    } else {
        lines.add(Mark::Fine, "snapshot", &described);
    }
    Ok(())
}

/// How long ago something was, behind a name.
pub(super) fn since(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map(|at| format!(", {} ago", output::age(at, now))).unwrap_or_default()
}
