//! Volumes of a restore Job beside the repository: the target, the scratch directory, and what verifier and Addon add. Pure.

use backproof_api::{
    Cause, Task,
    shared::{FlatPodSpec, TaskReference, TemplateVolumeSource, VolumeSource},
    validate,
};
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, EphemeralVolumeSource, PersistentVolumeClaimTemplate, PersistentVolumeClaimVolumeSource, Volume, VolumeMount,
};

use super::variables::TARGET_DIR;
use crate::failure::Failure;

/// Upstream's scratch volume, and where it is mounted.
const SCRATCH_VOLUME: &str = "kubestash-tmp-volume";
/// Where the scratch volume is mounted.
pub(crate) const SCRATCH_DIR: &str = "/kubestash-tmp";
/// The volume that is restored into.
pub(crate) const TARGET_VOLUME: &str = "backproof-target";

/// Volumes and the container's mounts of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Volumes {
    pub(crate) volumes: Vec<Volume>,
    pub(crate) mounts: Vec<VolumeMount>,
}

/// The target and the scratch directory.
pub(crate) fn own(claim: &str) -> Volumes {
    let mut own = scratch();
    let target = Volume {
        name: TARGET_VOLUME.into(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name: claim.to_owned(), read_only: None }),
        ..Volume::default()
    };
    own.volumes.insert(0, target);
    own.mounts.insert(0, mount(TARGET_VOLUME, TARGET_DIR));
    own
}

/// The scratch directory.
pub(crate) fn scratch() -> Volumes {
    Volumes {
        volumes: vec![Volume { name: SCRATCH_VOLUME.into(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }],
        mounts: vec![mount(SCRATCH_VOLUME, SCRATCH_DIR)],
    }
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// What Addon and verifier add. Claims are mounted read-only at most: any of them may hold a repository or
/// what is live.
pub(crate) fn added(task: &Task, given: &TaskReference, template: Option<&FlatPodSpec>) -> Result<Volumes, Failure> {
    let mut added = Volumes::default();
    for declared in &task.volume_template {
        let replaced = given.addon_volumes.iter().find(|volume| volume.name == declared.name).and_then(|volume| volume.source.as_ref());
        if let Some(source) = replaced.or(declared.source.as_ref()) {
            added.volumes.push(from_template(&declared.name, source));
        }
    }
    let targets = given.target_volumes.as_ref();
    if targets.is_some_and(|targets| !targets.volume_claim_templates.is_empty()) {
        let text = format!(
            "task {:?} sets targetVolumes.volumeClaimTemplates, which belong to a workload; the target is a PersistentVolumeClaim",
            given.name
        );
        return Err(Failure::new(Cause::VerifierInvalid, text));
    }
    added.volumes.extend(targets.iter().flat_map(|targets| targets.volumes.iter()).map(backproof_api::shared::Volume::to_volume));
    added.volumes.extend(template.iter().flat_map(|spec| spec.volumes.iter()).map(backproof_api::shared::Volume::to_volume));
    added.mounts.extend(task.volume_mounts.iter().cloned());
    added.mounts.extend(targets.iter().flat_map(|targets| targets.volume_mounts.iter().cloned()));
    added.mounts.extend(template.iter().flat_map(|spec| spec.volume_mounts.iter().cloned()));
    check(&added)?;
    Ok(added)
}

/// Refuses what would hide a mount of ours or write to what is proven.
pub(crate) fn check(added: &Volumes) -> Result<(), Failure> {
    for volume in &added.volumes {
        if validate::is_own_volume(&volume.name) {
            let text = format!("a volume is named {:?}, which is Backproof's own; give it another name", volume.name);
            return Err(Failure::new(Cause::VerifierInvalid, text));
        }
        if let Some(claim) = &volume.persistent_volume_claim
            && claim.read_only != Some(true)
        {
            let text = format!(
                "volume {:?} mounts the claim {}, which may hold a repository or live data; set its persistentVolumeClaim.readOnly to true, or use an ephemeral volume",
                volume.name, claim.claim_name
            );
            return Err(Failure::new(Cause::UnsafeSettings, text));
        }
    }
    for mount in &added.mounts {
        if validate::is_own_place(&mount.mount_path) {
            let text =
                format!("volume {:?} is mounted at {}, which is Backproof's own place; mount it elsewhere", mount.name, mount.mount_path);
            return Err(Failure::new(Cause::VerifierInvalid, text));
        }
    }
    Ok(())
}

fn from_template(name: &str, source: &TemplateVolumeSource) -> Volume {
    let mut volume = source.source.to_volume(name);
    if let Some(template) = &source.volume_claim_template {
        // A claim that is made for the executor lives as long as its pod.
        volume.ephemeral = Some(EphemeralVolumeSource {
            volume_claim_template: Some(PersistentVolumeClaimTemplate {
                metadata: template.metadata.as_ref().map(backproof_api::shared::PartialObjectMeta::to_meta),
                spec: template.spec.clone().unwrap_or_default(),
            }),
        });
    }
    volume
}

/// The claim a storage lies on, if it lies on one.
pub(crate) fn claim_of(source: &VolumeSource) -> Option<&str> {
    source.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.as_str())
}
