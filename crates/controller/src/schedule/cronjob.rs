//! The CronJob that triggers the verification of one repository of one session, as a whole value. Pure.

use std::collections::BTreeMap;

use backproof_api::{
    BackupVerifier, labels, names,
    shared::{FlatPodSpec, JobTemplate, SchedulerSpec},
    validate::Invoker,
};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobSpec, JobSpec, JobTemplateSpec},
        core::v1::{
            Capabilities, Container, EnvVar, EnvVarSource, ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec,
            ResourceRequirements, SeccompProfile, SecurityContext,
        },
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, OwnerReference},
    },
};

use crate::manifest::{NOBODY, list, map, text};

/// Seconds after which a trigger that never ran (no image, no node) is given up, so that such ones do not pile up.
const TRIGGER_DEADLINE: i64 = 600;
/// The words of `concurrencyPolicy`; the first is the default.
const POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];

/// What one CronJob is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) invoker: Invoker<'a>,
    pub(super) session: &'a str,
    pub(super) repository: &'a str,
    pub(super) verifier: &'a BackupVerifier,
    pub(super) scheduler: &'a SchedulerSpec,
    /// One of [`policy`]'s answers.
    pub(super) policy: &'static str,
    /// Whether the repository is looked into for new snapshots before each run.
    pub(super) discovery: Discovery,
    pub(super) image: &'a str,
}

/// Whether a repository's snapshots are discovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Discovery {
    On,
    Off,
}

/// The policy a scheduler asks for, if it is one.
pub(super) fn policy(scheduler: &SchedulerSpec) -> Option<&'static str> {
    if scheduler.concurrency_policy.is_empty() {
        return Some(POLICIES[0]);
    }
    POLICIES.into_iter().find(|policy| *policy == scheduler.concurrency_policy)
}

/// Its name.
pub(super) fn name(invoker: Invoker<'_>, session: &str, repository: &str) -> String {
    names::verifier_cronjob(invoker.kind(), invoker.name(), session, repository)
}

/// The CronJob.
pub(super) fn cronjob(parts: Parts<'_>) -> CronJob {
    let scheduler = parts.scheduler;
    let job = scheduler.job_template.clone().unwrap_or_default();
    let suspended = parts.invoker.paused() || scheduler.suspend == Some(true) || job.suspend == Some(true);
    let mut cronjob = CronJob {
        metadata: ObjectMeta {
            name: Some(name(parts.invoker, parts.session, parts.repository)),
            namespace: Some(parts.invoker.namespace().to_owned()),
            labels: Some(our_labels(parts)),
            owner_references: Some(vec![owner(parts.invoker)]),
            ..ObjectMeta::default()
        },
        spec: Some(CronJobSpec {
            schedule: scheduler.schedule.trim().to_owned(),
            starting_deadline_seconds: scheduler.starting_deadline_seconds,
            // The policy is about sessions, which outlive the trigger's Job; the trigger heeds it.
            concurrency_policy: Some("Allow".into()),
            suspend: Some(suspended),
            successful_jobs_history_limit: scheduler.successful_jobs_history_limit,
            failed_jobs_history_limit: scheduler.failed_jobs_history_limit,
            job_template: JobTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(our_labels(parts)), ..ObjectMeta::default() }),
                spec: Some(job_spec(parts, job)),
            },
            ..CronJobSpec::default()
        }),
        status: None,
    };
    let hash = names::hash(&[&serde_json::to_string(&cronjob).unwrap_or_default()]);
    cronjob.metadata.annotations = Some([(labels::APPLIED.to_owned(), hash)].into());
    cronjob
}

/// The Job of a tick: it runs once, as a tick makes one session.
fn job_spec(parts: Parts<'_>, job: JobTemplate) -> JobSpec {
    let template = job.template.unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let mut labels = metadata.labels;
    labels.extend(our_labels(parts));
    JobSpec {
        completions: Some(1),
        parallelism: Some(1),
        backoff_limit: Some(0),
        pod_replacement_policy: Some("Failed".into()),
        active_deadline_seconds: Some(job.active_deadline_seconds.unwrap_or(TRIGGER_DEADLINE)),
        ttl_seconds_after_finished: job.ttl_seconds_after_finished,
        template: PodTemplateSpec {
            metadata: Some(ObjectMeta { labels: Some(labels), annotations: map(metadata.annotations), ..ObjectMeta::default() }),
            spec: Some(pod(parts, template.spec.unwrap_or_default())),
        },
        ..JobSpec::default()
    }
}

/// The pod. Of the verifier's settings those that say where it may run are taken; what runs, and as whom it talks to the API
/// server, is ours.
fn pod(parts: Parts<'_>, wished: FlatPodSpec) -> PodSpec {
    let user = |wish: fn(&PodSecurityContext) -> Option<i64>| {
        wished.security_context.as_ref().and_then(wish).filter(|id| *id > 0).unwrap_or(NOBODY)
    };
    PodSpec {
        restart_policy: Some("Never".into()),
        service_account_name: Some(labels::TRIGGER.into()),
        automount_service_account_token: Some(true),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(user(|context| context.run_as_user)),
            run_as_group: Some(user(|context| context.run_as_group)),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        node_selector: map(wished.node_selector),
        image_pull_secrets: list(wished.image_pull_secrets),
        affinity: wished.affinity,
        tolerations: list(wished.tolerations),
        scheduler_name: text(wished.scheduler_name),
        priority_class_name: text(wished.priority_class_name),
        runtime_class_name: wished.runtime_class_name,
        containers: vec![container(parts, wished.resources)],
        ..PodSpec::default()
    }
}

fn container(parts: Parts<'_>, resources: Option<ResourceRequirements>) -> Container {
    let asked = resources.filter(|resources| *resources != ResourceRequirements::default());
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), api_version: Some("v1".into()) }),
            ..EnvVarSource::default()
        }),
        value: None,
    };
    Container {
        name: "trigger".into(),
        image: Some(parts.image.to_owned()),
        command: Some(vec!["/bin/backproof-executor".into()]),
        args: Some(arguments(parts)),
        env: Some(vec![field("POD_NAMESPACE", "metadata.namespace"), field("JOB_NAME", "metadata.labels['batch.kubernetes.io/job-name']")]),
        resources: Some(asked.unwrap_or_else(modest)),
        termination_message_path: Some("/dev/termination-log".into()),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".into()]) }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn arguments(parts: Parts<'_>) -> Vec<String> {
    let retries = parts.verifier.spec.retry_config.as_ref().map_or(0, |retry| retry.max_retry.unwrap_or(1).max(0));
    let meta = parts.invoker.meta();
    let mut arguments = vec![
        "trigger".to_owned(),
        format!("--cronjob={}", name(parts.invoker, parts.session, parts.repository)),
        format!("--invoker-kind={}", parts.invoker.kind()),
        format!("--invoker-name={}", parts.invoker.name()),
        format!("--invoker-uid={}", meta.uid.as_deref().unwrap_or_default()),
        format!("--session={}", parts.session),
        format!("--repository={}", parts.repository),
        format!("--concurrency-policy={}", parts.policy),
        format!("--retry-left={retries}"),
        "--report=/dev/termination-log".to_owned(),
    ];
    if parts.discovery == Discovery::On {
        arguments.push("--discovered".to_owned());
    }
    // Kubelet would put variables in place of `$(NAME)`.
    arguments.into_iter().map(|argument| argument.replace("$(", "$$(")).collect()
}

/// Limits for a process that makes three requests.
fn modest() -> ResourceRequirements {
    let amounts =
        |list: &[(&str, &str)]| Some(list.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect());
    ResourceRequirements { requests: amounts(&[("cpu", "10m"), ("memory", "16Mi")]), limits: amounts(&[("memory", "128Mi")]), claims: None }
}

fn our_labels(parts: Parts<'_>) -> BTreeMap<String, String> {
    let invoker = parts.invoker;
    [
        (labels::MANAGED_BY, labels::MANAGED_BY_VALUE.to_owned()),
        (labels::COMPONENT, labels::COMPONENT_VERIFIER.to_owned()),
        (labels::INVOKER_KIND, invoker.kind().to_owned()),
        (labels::INVOKER_NAME, names::label_value(invoker.name())),
        (labels::INVOKER_NAMESPACE, names::label_value(invoker.namespace())),
        (labels::SESSION_NAME, names::label_value(parts.session)),
        (labels::REPO_NAME, names::label_value(parts.repository)),
        (labels::INVOKER_UID, invoker.meta().uid.clone().unwrap_or_default()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn owner(invoker: Invoker<'_>) -> OwnerReference {
    OwnerReference {
        api_version: format!("{}/v1alpha1", Invoker::GROUP),
        kind: invoker.kind().to_owned(),
        name: invoker.name().to_owned(),
        uid: invoker.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
