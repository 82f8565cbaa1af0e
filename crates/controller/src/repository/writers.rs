//! Who may write to the volume a repository lies on. Pure.

use backproof_api::BackupStorage;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::pods::is_gone;

/// The claim a storage lies on.
pub(super) fn claim(storage: &BackupStorage) -> Option<&str> {
    let local = storage.spec.storage.as_ref()?.local.as_ref()?;
    local.source.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.as_str())
}

/// Whether a pod is not gone and mounts the claim so that it may be written to. A read-only mount of a volume whose source is
/// not read-only still lets the node change its owner.
pub(super) fn may_write(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let writes = volumes.into_iter().any(|volume| {
        let named = volume.persistent_volume_claim.as_ref();
        named.is_some_and(|source| source.claim_name == claim && source.read_only != Some(true))
            || (volume.ephemeral.is_some() && format!("{}-{}", pod.name_any(), volume.name) == claim)
    });
    writes && !is_gone(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_may_write_and_is_not_gone_is_waited_for() {
        let pod = |volume: &str, status: &str| -> Pod {
            serde_saphyr::from_str(&format!(
                "{{metadata: {{name: p}}, spec: {{containers: [], volumes: [{{name: v, {volume}}}]}}, status: {{{status}}}}}"
            ))
            .unwrap()
        };
        let writes = "persistentVolumeClaim: {claimName: backups}";
        for (volume, status, expected) in [
            (writes, "phase: Pending", true),
            (writes, "phase: Running", true),
            (writes, "", true),
            (writes, "phase: Succeeded", false),
            (writes, "phase: Failed", false),
            ("persistentVolumeClaim: {claimName: backups, readOnly: true}", "phase: Running", false),
            ("persistentVolumeClaim: {claimName: other}", "phase: Running", false),
            ("emptyDir: {}", "phase: Running", false),
        ] {
            assert_eq!(may_write(&pod(volume, status), "backups"), expected, "{volume} {status}");
        }
    }
}
