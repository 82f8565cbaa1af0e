//! Volumes and mounts: of a verifier's own container, and of the restore's Job.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::VolumeMount;

use super::{Findings, choices, rules::verifier as rules};
use crate::{
    BackupVerifierSpec,
    shared::{AddonInfo, Volume, VolumeSource},
};

/// Whether a volume's name is one of Backproof's own in its Jobs.
pub fn is_own_volume(name: &str) -> bool {
    name == "kubestash-tmp-volume" || name.starts_with("backproof-")
}

/// Where nothing may be mounted: our own places, the system's, and where images keep their programs. Who could put another
/// program in the executor's place could have it report what they like.
const NOT_TO_HIDE: [&str; 10] = ["backproof", "kubestash-tmp", "dev", "proc", "sys", "bin", "sbin", "lib", "lib64", "usr"];

/// Whether a mount at this path would hide one of Backproof's own, or may do so as the path climbs (`..`). Kubelet makes a
/// relative path absolute, and the node takes several slashes for one.
pub fn is_own_place(path: &str) -> bool {
    let mut steps = path.split('/').filter(|step| !step.is_empty() && *step != ".").peekable();
    let outermost = steps.peek().is_none_or(|first| NOT_TO_HIDE.contains(first));
    outermost || steps.any(|step| step == "..")
}

/// Refuses what would stand in the way of the restore's own volumes, or let its Job write to what is proven.
pub(super) fn check_job_volumes(info: &AddonInfo, findings: &mut Findings) {
    let at = "spec.restoreOption.addonInfo";
    for (index, task) in info.tasks.iter().enumerate() {
        let at = format!("{at}.tasks[{index}]");
        for (index, volume) in task.addon_volumes.iter().enumerate() {
            let source = volume.source.as_ref().map(|source| &source.source);
            check_job_volume(&format!("{at}.addonVolumes[{index}]"), &volume.name, source, findings);
        }
        let Some(targets) = &task.target_volumes else { continue };
        if !targets.volume_claim_templates.is_empty() {
            let field = format!("{at}.targetVolumes.volumeClaimTemplates");
            let problem = "belong to a workload, and this version restores into a PersistentVolumeClaim";
            findings.refuse(rules::JOB_VOLUME, field, problem, "take them out");
        }
        check_all(&format!("{at}.targetVolumes"), &targets.volumes, &targets.volume_mounts, findings);
    }
    if let Some(pod) = info.job_template.as_ref().and_then(|template| template.spec.as_ref()) {
        check_all(&format!("{at}.jobTemplate.spec"), &pod.volumes, &pod.volume_mounts, findings);
    }
}

fn check_all(at: &str, volumes: &[Volume], mounts: &[VolumeMount], findings: &mut Findings) {
    for (index, volume) in volumes.iter().enumerate() {
        check_job_volume(&format!("{at}.volumes[{index}]"), &volume.name, Some(&volume.source), findings);
    }
    for (index, mount) in mounts.iter().enumerate().filter(|(_, mount)| is_own_place(&mount.mount_path)) {
        let problem = format!("is mounted at {}, which is Backproof's own place", mount.mount_path);
        findings.refuse(rules::JOB_MOUNT, format!("{at}.volumeMounts[{index}]"), problem, "mount it elsewhere");
    }
}

fn check_job_volume(at: &str, name: &str, source: Option<&VolumeSource>, findings: &mut Findings) {
    if is_own_volume(name) {
        let problem = format!("is named {name}, which is Backproof's own");
        findings.refuse(rules::JOB_VOLUME, at, problem, "give it another name");
    }
    let claim = source.and_then(|source| source.persistent_volume_claim.as_ref());
    if let Some(claim) = claim.filter(|claim| claim.read_only != Some(true)) {
        findings.refuse(
            rules::JOB_VOLUME,
            at,
            format!("mounts the claim {}, which may hold a repository or live data", claim.claim_name),
            "set its persistentVolumeClaim.readOnly to true, or use an ephemeral volume",
        );
    }
}

/// Refuses what the API server would refuse when the Job is made, hours after its author has gone.
pub(super) fn check_volumes(spec: &BackupVerifierSpec, findings: &mut Findings) {
    let mounted: BTreeSet<&str> = spec.volume_mounts.iter().map(|mount| mount.name.as_str()).collect();
    let mut names = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let at = format!("spec.volumes[{index}]");
        if volume.name.is_empty() {
            findings.refuse(rules::VOLUME, format!("{at}.name"), "is missing", "give the volume a name");
        } else if !names.insert(volume.name.as_str()) {
            let problem = format!("{} names another volume already", volume.name);
            findings.refuse(rules::VOLUME, format!("{at}.name"), problem, "give each volume a name of its own");
        }
        if volume.source == VolumeSource::default() {
            let problem = format!("volume {} has no source", volume.name);
            findings.refuse(rules::VOLUME, &at, problem, "say where its content comes from, such as configMap");
        }
        if !volume.name.is_empty() && !mounted.contains(volume.name.as_str()) {
            let problem = format!("volume {} is not mounted", volume.name);
            findings.warn(rules::VOLUME_UNUSED, at, problem, "add it to spec.volumeMounts, or take it out");
        }
    }
    let mut paths = BTreeSet::new();
    for (index, mount) in spec.volume_mounts.iter().enumerate() {
        let at = format!("spec.volumeMounts[{index}]");
        if !names.contains(mount.name.as_str()) {
            let remedy = match choices(names.iter().copied()) {
                none if none.is_empty() => "add the volume to spec.volumes".to_owned(),
                known => format!("add it to spec.volumes, or name one of: {known}"),
            };
            findings.refuse(rules::MOUNT, format!("{at}.name"), format!("{:?} is no volume of the verifier", mount.name), remedy);
        }
        let path = mount.mount_path.as_str();
        if path.is_empty() || path.contains(':') {
            let problem = format!("{path:?} is no path to mount at");
            findings.refuse(rules::MOUNT, format!("{at}.mountPath"), problem, "write an absolute path without a colon");
        } else if !paths.insert(path) {
            let problem = format!("{path} is where another volume is mounted already");
            findings.refuse(rules::MOUNT, format!("{at}.mountPath"), problem, "give each mount a path of its own");
        }
    }
}
