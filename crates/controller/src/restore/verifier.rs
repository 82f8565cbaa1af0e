//! The verifier's Job: it asks what was restored. Pure.

use backproof_api::{
    BackupVerifier, Cause, Function, Task, environment, labels,
    run::{PinnedComponent, VERIFIER_JOB},
    shared::{AddonInfo, FlatPodSpec, FreeForm, ObjectMetadata, PodTemplateSpec, TaskReference},
};
use kube::ResourceExt as _;

use super::{
    database::variable,
    job::{self, Parts, Work},
    plan::{Facts, Inputs, Planned, allowed, expanded},
    resolve::{is_ours, resolve, unchanged},
    settings::{Profile, Wishes},
    variables::{About, variables},
    volumes::{self, Volumes},
};
use crate::{failure::Failure, storage::RepositoryAccess};

/// The verifier's Job, where the restored database is to be asked.
pub(super) fn asks(facts: &Facts<'_>, verifier: &BackupVerifier, inputs: &Inputs) -> Result<Option<Result<Planned, Failure>>, Failure> {
    let run = &facts.owner.run;
    let Some(query) = &run.verifier.query else { return Ok(None) };
    let function = resolve("Function", &verifier.spec.function, Cause::FunctionNotFound, &inputs.verify_functions)?;
    unchanged("Function", &query.function, function)?;
    if !is_ours(function) {
        let text = format!("Function {} lost its label {} after the session had started", function.name_any(), labels::IMPLEMENTS);
        return Err(Failure::new(Cause::VerifierChanged, text));
    }
    Ok(Some(facts.verification(verifier, function)))
}

impl Facts<'_> {
    /// The Job that asks what was restored. It has the query and the way to the server, and nothing of the repository.
    fn verification(&self, verifier: &BackupVerifier, function: &Function) -> Result<Planned, Failure> {
        let run = &self.owner.run;
        let namespace = &run.verifier.target.object.namespace;
        let profile = if self.installation.config.allows_unsafe(namespace) { Profile::Unrestricted } else { Profile::Restricted };
        let restic_ids = run.snapshot.components.iter().flat_map(|component| component.restic_ids.iter().cloned()).collect();
        let component = PinnedComponent { name: VERIFIER_JOB.into(), path: String::new(), restic_ids };
        let about = About {
            owner: self.owner,
            component: &component,
            host_paths: &[],
            repository_url: "",
            allow_empty: run.allow_empty,
            image: &self.installation.config.image,
        };
        let function = expanded(function, &variables(&task(), self.reference, about)?)?;
        let settings = settings(verifier);
        let template = settings.job_template.as_ref().and_then(|template| template.spec.as_ref());
        let wishes =
            Wishes { function: function.spec.runtime_settings.as_ref(), addon: settings.container_runtime_settings.as_ref(), template };
        let added = volumes::added(&task(), &TaskReference::default(), template)?;
        volumes::check(&Volumes { volumes: Vec::new(), mounts: function.spec.volume_mounts.clone() })?;
        allowed(wishes, &added, profile, namespace)?;
        let query = verifier.spec.query.clone().unwrap_or_default();
        let restic_id = component.restic_ids.first().map(String::as_str).unwrap_or_default();
        let parts = Parts {
            owner: self.owner,
            restore: self.restore,
            component: &component,
            work: Work::Verify,
            function: &function,
            addon: &settings,
            access: questions(&query, restic_id),
            own: self.target_volumes(),
            added,
            wishes,
            profile,
            known: Vec::new(),
            target: self.target_env(),
            landing: None,
            image: &self.installation.config.image,
            proxies: self.installation.proxies,
        };
        Ok(Planned { component: component.name.clone(), job: job::job(parts) })
    }
}

/// What the verifier's Job has instead of a repository: the query, and what was restored.
fn questions(query: &FreeForm, restic_id: &str) -> RepositoryAccess {
    // kubelet expands `$(NAME)` in values; in JSON the sign can be written otherwise.
    let query = serde_json::Value::Object(query.clone()).to_string().replace('$', "\\u0024");
    let env = vec![variable(environment::QUERY, query), variable(environment::RESTIC_SNAPSHOT, restic_id.to_owned())];
    RepositoryAccess { env, ..RepositoryAccess::default() }
}

/// The verifier's `runtimeSettings`, volumes and mounts, in the form that the settings of restore Jobs have.
fn settings(verifier: &BackupVerifier) -> AddonInfo {
    let spec = &verifier.spec;
    let pod = spec.runtime_settings.as_ref().and_then(|settings| settings.pod.clone()).unwrap_or_default();
    let template = PodTemplateSpec {
        metadata: Some(ObjectMetadata { labels: pod.pod_labels, annotations: pod.pod_annotations }),
        spec: Some(FlatPodSpec {
            volumes: spec.volumes.clone(),
            volume_mounts: spec.volume_mounts.clone(),
            node_selector: pod.node_selector,
            service_account_name: pod.service_account_name,
            security_context: pod.security_context,
            image_pull_secrets: pod.image_pull_secrets,
            affinity: pod.affinity,
            scheduler_name: pod.scheduler_name,
            tolerations: pod.tolerations,
            priority_class_name: pod.priority_class_name,
            priority: pod.priority,
            runtime_class_name: pod.runtime_class_name,
            topology_spread_constraints: pod.topology_spread_constraints,
            ..FlatPodSpec::default()
        }),
        ..PodTemplateSpec::default()
    };
    AddonInfo {
        container_runtime_settings: spec.runtime_settings.as_ref().and_then(|settings| settings.container.clone()),
        job_template: Some(template),
        ..AddonInfo::default()
    }
}

/// The verifier's task: it has no parameters of its own, and is given those of the restore.
fn task() -> Task {
    Task { name: "verify".into(), ..Task::default() }
}
