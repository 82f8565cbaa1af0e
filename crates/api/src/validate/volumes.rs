//! Volumes and mounts of a verifier's own container belong together.

use std::collections::BTreeSet;

use super::{Findings, choices, rules::verifier as rules};
use crate::{BackupVerifierSpec, shared::VolumeSource};

/// Refuses what the API server would refuse when the Job is made, hours after its author has gone.
pub(super) fn check_volumes(spec: &BackupVerifierSpec, findings: &mut Findings) {
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
        if !volume.name.is_empty() && !spec.volume_mounts.iter().any(|mount| mount.name == volume.name) {
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
