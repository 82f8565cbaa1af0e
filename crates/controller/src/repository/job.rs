//! The Job that looks into a repository, as a whole value. Pure.

use std::collections::BTreeMap;

use backproof_api::{
    BackupStorage, Repository, labels, names,
    shared::{ContainerRuntimeSettings, PodRuntimeSettings},
};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{Capabilities, Container, EnvVar, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile, SecurityContext},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource as _, ResourceExt as _};

use crate::{
    manifest::{NOBODY, list, map, text},
    storage::RepositoryAccess,
};

/// Seconds a listing may take.
const DEADLINE: i64 = 30 * 60;
/// Seconds a finished Job stays.
const TTL: i32 = 24 * 60 * 60;
/// Annotation on the Job: when it was asked for, by the same clock that asks for the next one.
const ASKED_AT: &str = "backproof.dev/asked-at";
/// Annotation on the Job: hash of what it was made from.
const INPUTS: &str = "backproof.dev/inputs";

/// What the Job is made from.
pub(super) struct Parts<'a> {
    pub(super) repository: &'a Repository,
    pub(super) storage: &'a BackupStorage,
    pub(super) access: RepositoryAccess,
    /// Session that untagged snapshots belong to; empty when it is not clear.
    pub(super) session: &'a str,
    pub(super) run: u64,
    pub(super) asked_at: String,
    pub(super) inputs: &'a str,
    pub(super) image: &'a str,
    pub(super) proxies: &'a [EnvVar],
    pub(super) beginning: Beginning,
}

/// When a Job may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// At once.
    Now,
    /// When its copy of Secrets is there.
    WithItsCopy,
}

/// Whether a Job waits for its copy of Secrets.
pub(super) fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true)
}

/// Name of the Job of one run.
pub(super) fn name(repository: &Repository, run: u64) -> String {
    names::child(&["discover", &repository.name_any(), &run.to_string()], &repository.uid().unwrap_or_default())
}

/// When a Job was asked for.
pub(super) fn asked_at(job: &Job) -> Option<&str> {
    job.annotations().get(ASKED_AT).map(String::as_str)
}

/// Hash of what a Job was made from.
pub(super) fn inputs(job: &Job) -> &str {
    job.annotations().get(INPUTS).map_or("", String::as_str)
}

/// Whether a discovery Job still talks to the API server, or will.
pub(super) fn needs_rights(job: &Job) -> bool {
    !crate::fate::is_finished(job) && job.metadata.deletion_timestamp.is_none()
}

/// The user a storage's Jobs run as.
pub(super) fn user(storage: &BackupStorage) -> i64 {
    security(storage).and_then(|context| context.run_as_user).unwrap_or(NOBODY)
}

fn pod_settings(storage: &BackupStorage) -> Option<&PodRuntimeSettings> {
    storage.spec.runtime_settings.as_ref()?.pod.as_ref()
}

fn container_settings(storage: &BackupStorage) -> Option<&ContainerRuntimeSettings> {
    storage.spec.runtime_settings.as_ref()?.container.as_ref()
}

fn security(storage: &BackupStorage) -> Option<&PodSecurityContext> {
    pod_settings(storage)?.security_context.as_ref()
}

/// The Job.
pub(super) fn job(parts: Parts<'_>) -> Job {
    let labels = our_labels(parts.repository);
    let settings = pod_settings(parts.storage).cloned().unwrap_or_default();
    let mut pod_labels = settings.pod_labels.clone();
    pod_labels.extend(labels.clone());
    Job {
        metadata: ObjectMeta {
            name: Some(name(parts.repository, parts.run)),
            namespace: parts.repository.namespace(),
            labels: Some(labels),
            annotations: Some([(ASKED_AT.to_owned(), parts.asked_at.clone()), (INPUTS.to_owned(), parts.inputs.to_owned())].into()),
            owner_references: Some(vec![owner(parts.repository)]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            suspend: (parts.beginning == Beginning::WithItsCopy).then_some(true),
            completions: Some(1),
            parallelism: Some(1),
            backoff_limit: Some(0),
            pod_replacement_policy: Some("Failed".into()),
            pod_failure_policy: Some(crate::fate::tell_of_disruption()),
            active_deadline_seconds: Some(DEADLINE),
            ttl_seconds_after_finished: Some(TTL),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
                    annotations: map(settings.pod_annotations.clone()),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(parts, settings)),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod(parts: Parts<'_>, settings: PodRuntimeSettings) -> PodSpec {
    let user = user(parts.storage);
    let asked = settings.security_context.clone().unwrap_or_default();
    PodSpec {
        restart_policy: Some("Never".into()),
        service_account_name: Some(labels::DISCOVERER.into()),
        automount_service_account_token: Some(true),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_user: Some(user),
            run_as_group: Some(asked.run_as_group.unwrap_or(NOBODY)),
            run_as_non_root: Some(user != 0),
            // No fsGroup: it is for volumes that may be written to, and nothing here may.
            supplemental_groups: asked.supplemental_groups,
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        volumes: list(parts.access.volumes.clone()),
        node_selector: map(settings.node_selector),
        image_pull_secrets: list(settings.image_pull_secrets),
        affinity: settings.affinity,
        tolerations: list(settings.tolerations),
        scheduler_name: text(settings.scheduler_name),
        priority_class_name: text(settings.priority_class_name),
        runtime_class_name: settings.runtime_class_name,
        topology_spread_constraints: list(settings.topology_spread_constraints),
        containers: vec![container(parts)],
        ..PodSpec::default()
    }
}

fn container(parts: Parts<'_>) -> Container {
    let settings = container_settings(parts.storage);
    let env: Vec<_> = parts.proxies.iter().chain(&parts.access.env).cloned().collect();
    Container {
        name: "discover".into(),
        image: Some(parts.image.to_owned()),
        command: Some(vec!["/bin/backproof-executor".into()]),
        args: Some(arguments(&parts)),
        env: list(env),
        volume_mounts: list(parts.access.mounts),
        resources: settings.and_then(|settings| settings.resources.clone()),
        termination_message_path: Some("/dev/termination-log".into()),
        termination_message_policy: Some("File".into()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".into()]) }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn arguments(parts: &Parts<'_>) -> Vec<String> {
    let repository = parts.repository;
    let mut arguments = vec![
        "discover".to_owned(),
        format!("--repository={}", parts.access.url),
        format!("--repository-name={}", repository.name_any()),
        format!("--namespace={}", repository.namespace().unwrap_or_default()),
        format!("--repository-uid={}", repository.uid().unwrap_or_default()),
    ];
    if !parts.session.is_empty() {
        arguments.push(format!("--session={}", parts.session));
    }
    if let Some(filter) = repository.annotations().get(labels::DISCOVER_FILTER) {
        arguments.push(format!("--filter={filter}"));
    }
    arguments.push("--report=/dev/termination-log".to_owned());
    // Kubelet would put variables in place of `$(NAME)`.
    arguments.into_iter().map(|argument| argument.replace("$(", "$$(")).collect()
}

fn our_labels(repository: &Repository) -> BTreeMap<String, String> {
    [
        (labels::MANAGED_BY, labels::MANAGED_BY_VALUE.to_owned()),
        (labels::COMPONENT, labels::COMPONENT_DISCOVERY.to_owned()),
        (labels::REPO_NAME, names::label_value(&repository.name_any())),
        (labels::REPOSITORY_UID, repository.uid().unwrap_or_default()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn owner(repository: &Repository) -> OwnerReference {
    OwnerReference {
        api_version: Repository::api_version(&()).into_owned(),
        kind: Repository::kind(&()).into_owned(),
        name: repository.name_any(),
        uid: repository.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
