//! The Job that restores one component, or asks what was restored, as a whole value. Pure.

use std::collections::{BTreeMap, BTreeSet};

use backproof_api::{
    Function, RestoreSession, RestoreSessionStatus, labels, names,
    run::PinnedComponent,
    shared::{AddonInfo, FlatPodSpec},
};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec, Volume, VolumeMount},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource as _, ResourceExt as _};

use super::{
    Owner,
    landing::Landing,
    settings::{Profile, Wishes},
    variables::TARGET_DIR,
    volumes::{SCRATCH_DIR, TARGET_VOLUME, Volumes},
};
use crate::{
    manifest::{list, map, text},
    storage::RepositoryAccess,
};

/// Seconds a finished Job stays.
const TTL: i32 = 24 * 60 * 60;
/// Annotation with the namespace and name of the session, in full where a label cuts it.
const SESSION_ANNOTATION: &str = labels::FULL_NAME;
/// Which attempt at a component this is; components are not repeated inside a session.
pub(crate) const ATTEMPT: u32 = 1;

/// What a Job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// To restore a component.
    Restore,
    /// To ask what was restored.
    Verify,
}

/// Everything a restore Job is made from, or the verifier's.
pub(crate) struct Parts<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) restore: &'a RestoreSession,
    pub(crate) component: &'a PinnedComponent,
    pub(crate) work: Work,
    /// Its templates are filled in.
    pub(crate) function: &'a Function,
    pub(crate) addon: &'a AddonInfo,
    pub(crate) access: RepositoryAccess,
    pub(crate) own: Volumes,
    pub(crate) added: Volumes,
    pub(crate) wishes: Wishes<'a>,
    pub(crate) profile: Profile,
    /// What earlier runs know of the repository.
    pub(crate) known: Vec<EnvVar>,
    /// How it gets into the target, if that is a database.
    pub(crate) target: Vec<EnvVar>,
    /// Where it lands, if others restore to the same target.
    pub(crate) landing: Option<Landing>,
    /// Our own image.
    pub(crate) image: &'a str,
    pub(crate) proxies: &'a [EnvVar],
}

/// Name of the Job that restores a component.
pub(crate) fn name(owner: &Owner, component: &str) -> String {
    names::child(&[&owner.session.name_any(), component], &owner.session.uid().unwrap_or_default())
}

/// UIDs of the Jobs a restore has recorded.
pub(crate) fn our_jobs(status: &RestoreSessionStatus) -> BTreeSet<&str> {
    let wipe = status.wipe.iter().map(|wipe| wipe.job.uid.as_str());
    status.jobs.iter().map(|job| job.object.uid.as_str()).chain(wipe).filter(|uid| !uid.is_empty()).collect()
}

/// Name of the only container: the task's, as upstream has it, where that is a name.
pub(crate) fn container_name(task: &str) -> String {
    let valid =
        task.len() < 60 && !task.is_empty() && task.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if valid && !task.starts_with('-') { format!("{task}-0") } else { "restore-0".into() }
}

/// The Job, suspended: it is started once its UID is recorded.
pub(crate) fn job(parts: Parts<'_>) -> Job {
    let template = parts.addon.job_template.clone().unwrap_or_default();
    let target = &parts.owner.run.verifier.target.object.namespace;
    let metadata = template.metadata.unwrap_or_default();
    let controller = template.controller.unwrap_or_default();
    let (labels, annotations) = (our_labels(&parts), our_annotations(&parts));
    let same_namespace = parts.restore.namespace().as_ref() == Some(target);
    Job {
        metadata: ObjectMeta {
            name: Some(name(parts.owner, &parts.component.name)),
            namespace: Some(target.clone()),
            labels: Some(merged(&controller.labels, &labels)),
            annotations: Some(merged(&controller.annotations, &annotations)),
            owner_references: same_namespace.then(|| vec![owner_reference(parts.restore)]),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            suspend: Some(true),
            completions: Some(1),
            parallelism: Some(1),
            backoff_limit: Some(0),
            pod_replacement_policy: Some("Failed".into()),
            pod_failure_policy: Some(crate::fate::tell_of_disruption()),
            ttl_seconds_after_finished: Some(TTL),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(merged(&metadata.labels, &labels)),
                    annotations: Some(merged(&metadata.annotations, &annotations)),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(parts, template.spec.unwrap_or_default())),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn pod(parts: Parts<'_>, wished: FlatPodSpec) -> PodSpec {
    // A foreign Function reads and reports by itself, with an account of its Job's name.
    let account = parts.owner.run.verifier.foreign.is_some().then(|| name(parts.owner, &parts.component.name));
    let prepares = account.is_some().then(|| preparation(&parts));
    PodSpec {
        restart_policy: Some("Never".into()),
        automount_service_account_token: Some(account.is_some()),
        enable_service_links: Some(false),
        security_context: Some(parts.wishes.pod_security_context()),
        volumes: Some([&parts.own.volumes[..], &parts.access.volumes, &parts.added.volumes].concat())
            .filter(|volumes: &Vec<Volume>| !volumes.is_empty()),
        init_containers: list(prepares.into_iter().chain(wished.init_containers).collect()),
        termination_grace_period_seconds: wished.termination_grace_period_seconds,
        dns_policy: text(wished.dns_policy),
        dns_config: wished.dns_config,
        node_selector: map(wished.node_selector),
        service_account_name: account.or(text(wished.service_account_name)),
        host_network: wished.host_network.then_some(true),
        host_pid: wished.host_pid.then_some(true),
        host_ipc: wished.host_ipc.then_some(true),
        share_process_namespace: wished.share_process_namespace,
        image_pull_secrets: list(wished.image_pull_secrets),
        affinity: wished.affinity,
        scheduler_name: text(wished.scheduler_name),
        tolerations: list(wished.tolerations),
        priority_class_name: text(wished.priority_class_name),
        priority: wished.priority,
        runtime_class_name: wished.runtime_class_name,
        topology_spread_constraints: list(wished.topology_spread_constraints),
        containers: vec![container(parts)],
        ..PodSpec::default()
    }
}

fn container(parts: Parts<'_>) -> Container {
    let spec = &parts.function.spec;
    let mounts: Vec<VolumeMount> = [&parts.own.mounts[..], &parts.access.mounts, &spec.volume_mounts, &parts.added.mounts].concat();
    Container {
        name: match parts.work {
            Work::Restore => container_name(&parts.owner.run.verifier.task),
            Work::Verify => container_name("verify"),
        },
        image: Some(spec.image.clone()),
        command: list(spec.command.clone()),
        args: list(spec.args.clone()),
        working_dir: text(spec.working_dir.clone()),
        ports: list(spec.ports.clone()),
        env: Some(env(&parts)),
        env_from: list(parts.wishes.env_from()),
        resources: parts.wishes.resources().cloned(),
        liveness_probe: parts.wishes.liveness_probe().cloned(),
        readiness_probe: parts.wishes.readiness_probe().cloned(),
        lifecycle: parts.wishes.lifecycle().cloned(),
        volume_devices: list(spec.volume_devices.clone()),
        volume_mounts: Some(mounts),
        security_context: Some(parts.wishes.container_security_context(parts.profile)),
        termination_message_path: Some("/dev/termination-log".into()),
        termination_message_policy: Some("File".into()),
        ..Container::default()
    }
}

/// What goes before a foreign Function: the target emptied of what an earlier run left, under its marker, and marked again.
fn preparation(parts: &Parts<'_>) -> Container {
    let variable = |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    Container {
        name: "prepare".into(),
        image: Some(parts.image.to_owned()),
        command: Some(vec!["/bin/backproof-executor".into()]),
        args: Some(vec!["prepare".into(), format!("--target={TARGET_DIR}"), "--report=/dev/termination-log".into()]),
        env: Some(vec![
            variable("BACKPROOF_SESSION_UID", parts.owner.session.uid().unwrap_or_default()),
            variable("BACKPROOF_CLAIM_UID", parts.owner.run.verifier.target.object.uid.clone()),
        ]),
        volume_mounts: Some(parts.own.mounts.iter().filter(|mount| mount.name == TARGET_VOLUME).cloned().collect()),
        security_context: Some(parts.wishes.container_security_context(parts.profile)),
        termination_message_path: Some("/dev/termination-log".into()),
        termination_message_policy: Some("File".into()),
        ..Container::default()
    }
}

/// The environment: what others give first, ours last, and of one name only the last.
fn env(parts: &Parts<'_>) -> Vec<EnvVar> {
    let variable = |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    let ours = [
        variable("TMPDIR", SCRATCH_DIR.into()),
        variable("BACKPROOF_SESSION_UID", parts.owner.session.uid().unwrap_or_default()),
        variable("BACKPROOF_ATTEMPT", ATTEMPT.to_string()),
        variable("BACKPROOF_COMPONENT", parts.component.name.clone()),
    ];
    let target = &parts.owner.run.verifier.target;
    let claim = target.database.is_none().then(|| variable("BACKPROOF_CLAIM_UID", target.object.uid.clone()));
    let all: Vec<EnvVar> = parts
        .proxies
        .iter()
        .cloned()
        .chain(parts.wishes.env())
        .chain(ours)
        .chain(claim)
        .chain(parts.landing.iter().flat_map(Landing::env))
        .chain(parts.known.iter().cloned())
        .chain(parts.target.iter().cloned())
        .chain(parts.access.env.iter().cloned())
        .collect();
    let last = |at: usize, name: &str| !all.iter().skip(at + 1).any(|other| other.name == name);
    all.iter().enumerate().filter(|(at, variable)| last(*at, &variable.name)).map(|(_, variable)| variable.clone()).collect()
}

/// Upstream's label set for what a session makes, and ours.
fn our_labels(parts: &Parts<'_>) -> BTreeMap<String, String> {
    let session = &parts.owner.session;
    let value = |name: &str| names::label_value(name);
    let component = match parts.work {
        Work::Restore => labels::COMPONENT_RESTORE,
        Work::Verify => labels::COMPONENT_VERIFIER,
    };
    let mut all = session.labels().clone();
    all.extend(
        [
            (labels::MANAGED_BY, labels::MANAGED_BY_VALUE.to_owned()),
            (labels::INVOKER_NAME, value(&session.name_any())),
            (labels::INVOKER_NAMESPACE, value(&session.namespace().unwrap_or_default())),
            (labels::SESSION_NAME, value(&session.spec.session)),
            (labels::REPO_NAME, value(&session.spec.repository)),
            (labels::COMPONENT, component.to_owned()),
            (labels::SESSION_UID, session.uid().unwrap_or_default()),
            (labels::SNAPSHOT_COMPONENT, value(&parts.component.name)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    all
}

fn our_annotations(parts: &Parts<'_>) -> BTreeMap<String, String> {
    [(SESSION_ANNOTATION.to_owned(), parts.owner.session.name_any())].into()
}

fn merged(theirs: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    theirs.iter().chain(ours).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn owner_reference(restore: &RestoreSession) -> OwnerReference {
    OwnerReference {
        api_version: RestoreSession::api_version(&()).into_owned(),
        kind: RestoreSession::kind(&()).into_owned(),
        name: restore.name_any(),
        uid: restore.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
