//! The claim that is restored into: what it must be, that it is not what was backed up, and who else uses it. Pure.

use std::collections::BTreeSet;

use backproof_api::{BackupStorage, Cause, Snapshot, run::PinnedTarget, shared::TypedObjectReference, validate};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;

use super::volumes;
use crate::{failure::Failure, pods::is_gone};

/// The claims of the workload that was backed up.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Source {
    pub(crate) namespace: String,
    /// Claims by name.
    pub(crate) claims: Vec<String>,
    /// For a StatefulSet: names of claims up to the ordinal, such as `data-db-`.
    pub(crate) claim_prefixes: Vec<String>,
}

impl Source {
    fn holds(&self, namespace: &str, claim: &str) -> bool {
        let ordinal = |prefix: &String| {
            claim
                .strip_prefix(prefix.as_str())
                .is_some_and(|ordinal| !ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit()))
        };
        self.namespace == namespace && (self.claims.iter().any(|own| own == claim) || self.claim_prefixes.iter().any(ordinal))
    }
}

/// Whether this kind of target can be restored to.
pub(crate) fn supported(target: &PinnedTarget) -> Result<(), Failure> {
    let core = target.api_group.is_empty() || target.api_group == "core" || target.api_group == "v1";
    if (core && target.kind == "PersistentVolumeClaim") || target.database.is_some() {
        return Ok(());
    }
    let kind = if target.api_group.is_empty() { target.kind.clone() } else { format!("{}.{}", target.kind, target.api_group) };
    Err(Failure::new(
        Cause::TargetNotSupported,
        format!("the target is a {kind}; this version restores into a PersistentVolumeClaim of the core group"),
    ))
}

/// Whether the claim is there, is the pinned one, and can be mounted.
pub(crate) fn exists(target: &PinnedTarget, claim: Option<&PersistentVolumeClaim>) -> Result<(), Failure> {
    let place = format!("PersistentVolumeClaim {}/{}", target.object.namespace, target.object.name);
    let failure = |text: &str| Failure::new(Cause::TargetNotFound, format!("{place} {text}"));
    let claim = claim.ok_or_else(|| failure("does not exist; create it, with room for what is restored"))?;
    if !target.object.uid.is_empty() && claim.uid().as_ref() != Some(&target.object.uid) {
        return Err(failure("was replaced by another of the same name after the session had started; start another session"));
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(failure("is being deleted"));
    }
    let spec = claim.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(Failure::new(Cause::TargetNotSupported, format!("{place} is a block device; give a claim with volumeMode Filesystem")));
    }
    if spec.access_modes.is_some_and(|modes| !modes.is_empty() && modes.iter().all(|mode| mode == "ReadOnlyMany")) {
        return Err(Failure::new(
            Cause::TargetNotSupported,
            format!("{place} can be mounted read-only only; give a claim that can be written to"),
        ));
    }
    // A Pending claim binds when the pod comes (WaitForFirstConsumer); one that never binds shows as a pod nobody schedules.
    match claim.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Lost") => Err(failure("has lost its volume")),
        _ => Ok(()),
    }
}

/// The object that is restored into, as a verifier names it.
pub(crate) fn reference(target: &PinnedTarget) -> TypedObjectReference {
    TypedObjectReference {
        api_group: target.api_group.clone(),
        kind: target.kind.clone(),
        namespace: target.object.namespace.clone(),
        name: target.object.name.clone(),
    }
}

/// Whether the target is something else than what was backed up, and than the volume the backups lie on.
pub(crate) fn is_not_source(target: &PinnedTarget, snapshot: &Snapshot, storage: &BackupStorage, source: &Source) -> Result<(), Failure> {
    let object = &target.object;
    let place = format!("{} {}/{}", target.kind, object.namespace, object.name);
    let refuse = |what: &str| Err(Failure::new(Cause::TargetIsSource, format!("{place} {what}; restore into a claim of its own")));
    let reference = reference(target);
    let namespace = snapshot.namespace().unwrap_or_default();
    if snapshot.spec.app_ref.as_ref().is_some_and(|source| validate::target_is_source(&reference, &object.namespace, source, &namespace)) {
        return refuse("is what was backed up");
    }
    if target.database.is_some() {
        // Which server is whose was asked live when the session was pinned to this one.
        return Ok(());
    }
    if source.holds(&object.namespace, &object.name) {
        return refuse("belongs to the workload that was backed up");
    }
    let local = storage.spec.storage.as_ref().and_then(|backend| backend.local.as_ref());
    if storage.namespace().as_ref() == Some(&object.namespace)
        && local.and_then(|local| volumes::claim_of(&local.source)) == Some(object.name.as_str())
    {
        return refuse("is the volume the backups lie on");
    }
    Ok(())
}

/// The first pod that is not ours, is not gone, and mounts the target.
///
/// A database is used by whom its server lets in; the executor holds a lock there, and sees who else has written.
pub(crate) fn user<'a>(target: &PinnedTarget, pods: &'a [Pod], our_jobs: &BTreeSet<&str>) -> Option<&'a Pod> {
    pods.iter().filter(|_| target.database.is_none()).find(|pod| {
        pod.namespace().as_ref() == Some(&target.object.namespace)
            && mounts(pod, &target.object.name)
            && !is_gone(pod)
            && !belongs(pod, our_jobs)
    })
}

/// Whether a pod's controller is one of these Jobs, by UID: labels and names can be anybody's.
pub(crate) fn belongs(pod: &Pod, jobs: &BTreeSet<&str>) -> bool {
    pod.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.kind == "Job" && jobs.contains(owner.uid.as_str()))
}

/// Whether a pod mounts a claim of its namespace.
pub(crate) fn mounts(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|volume| {
        volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == claim)
            || (volume.ephemeral.is_some() && format!("{}-{}", pod.name_any(), volume.name) == claim)
    })
}
