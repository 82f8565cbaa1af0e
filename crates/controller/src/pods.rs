//! Whether a pod is what its Job asked for, and whether it is gone. An owner reference alone proves nothing: whoever may create
//! pods can write one.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, ContainerState, ContainerStatus, Pod, PodSpec, Volume, VolumeMount},
};

/// Name with which the API server begins the volumes of service account tokens it adds to pods.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// Names of the claims that a pod mounts.
pub(crate) fn claims(spec: &PodSpec) -> Vec<String> {
    let volumes = spec.volumes.iter().flatten();
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone())).collect()
}

/// Whether a pod runs its Job's containers on its Job's volumes and nothing beside them. Resources, tolerations and the
/// like may differ, as admission sets them; what is executed and what it sees may not.
pub(crate) fn does_what_its_job_says(pod: &Pod, job: &Job) -> bool {
    let template = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let (template, spec) = match (template, pod.spec.as_ref()) {
        (Some(template), Some(spec)) => (template, spec),
        (None, None) => return true,
        (Some(_), None) | (None, Some(_)) => return false,
    };
    let volumes = |volumes: &Option<Vec<Volume>>| -> Vec<Volume> {
        volumes.iter().flatten().filter(|volume| !volume.name.starts_with(TOKEN_VOLUME)).cloned().collect()
    };
    same(&template.containers, &spec.containers)
        && same(template.init_containers.as_deref().unwrap_or_default(), spec.init_containers.as_deref().unwrap_or_default())
        && spec.ephemeral_containers.as_ref().is_none_or(Vec::is_empty)
        && volumes(&template.volumes) == volumes(&spec.volumes)
}

fn same(asked: &[Container], found: &[Container]) -> bool {
    asked.len() == found.len() && asked.iter().zip(found).all(|(asked, found)| work(asked) == work(found))
}

/// The part of a container that decides what it does.
fn work(container: &Container) -> Container {
    let mounts = container.volume_mounts.iter().flatten();
    let mounts: Vec<VolumeMount> = mounts.filter(|mount| !mount.name.starts_with(TOKEN_VOLUME)).cloned().collect();
    Container {
        name: container.name.clone(),
        image: container.image.clone(),
        command: container.command.clone(),
        args: container.args.clone(),
        env: container.env.clone(),
        env_from: container.env_from.clone(),
        working_dir: container.working_dir.clone(),
        lifecycle: container.lifecycle.clone(),
        termination_message_path: container.termination_message_path.clone(),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        ..Container::default()
    }
}

/// Whether a pod can no longer touch anything: it ended, and so did each of its containers, those for debugging among them.
pub(crate) fn is_gone(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let statuses = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let ended = |container: &ContainerStatus| {
        // A container that never came to run has nothing to end.
        let never_ran = |state: &ContainerState| state.running.is_none() && container.started != Some(true);
        container.state.as_ref().is_some_and(|state| state.terminated.is_some() || never_ran(state))
    };
    matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) && statuses.into_iter().flatten().flatten().all(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_gone_when_it_and_its_containers_have_ended() {
        let container =
            "state: {running: {startedAt: '2026-01-01T00:00:00Z'}}, name: c, image: i, imageID: i, ready: true, restartCount: 0";
        for (status, gone) in [
            ("{}".to_owned(), false),
            ("{phase: Running}".to_owned(), false),
            ("{phase: Unknown}".to_owned(), false),
            ("{phase: Succeeded}".to_owned(), true),
            ("{phase: Failed}".to_owned(), true),
            (format!("{{phase: Failed, containerStatuses: [{{{container}}}]}}"), false),
            (format!("{{phase: Failed, initContainerStatuses: [{{{container}}}]}}"), false),
            (format!("{{phase: Failed, ephemeralContainerStatuses: [{{{container}}}]}}"), false),
        ] {
            let pod: Pod = serde_saphyr::from_str(&format!("{{status: {status}}}")).unwrap();
            assert_eq!(is_gone(&pod), gone, "{status}");
        }
    }
}
