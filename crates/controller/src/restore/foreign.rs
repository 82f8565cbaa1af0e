//! Functions that are not Backproof's: what their Jobs get, and what of their word is believed.
//!
//! Such a Function keeps KubeStash's contract: it finds everything by itself and writes the state of its component into the
//! RestoreSession's status. Its Job has a ServiceAccount of its own, which may write the status of that one RestoreSession from just
//! before it starts until it has ended. What it wrote is judged ([`judge`], pure) when the Job has ended and that right is taken back.

use std::collections::BTreeMap;

use backproof_api::{
    Cause, ComponentRestoreStatus, Function, RestorePhase, RestoreProgress, RestoreSession, Verdict, labels, run::PinnedForeign,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{Pod, ServiceAccount},
        rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};

use super::Owner;
use crate::{
    Config, Error,
    failure::{Failure, cause_of},
    fate::{Ended, Fate, fate, silence},
};

/// Whether a Function that is not ours may run here, as it was pinned.
pub(crate) fn allowed(owner: &Owner, function: &Function, place: &str, config: &Config) -> Result<(), Failure> {
    let name = function.name_any();
    if !config.foreign_functions {
        let text = format!(
            "{place} runs Function {name}, which is not Backproof's (it lacks the label {}); set the chart's value foreignFunctions.enabled to true, or use an Addon of Backproof's catalog",
            labels::IMPLEMENTS
        );
        return Err(Failure::new(Cause::ForeignFunctionNotAllowed, text));
    }
    if owner.run.verifier.foreign.is_none() {
        let text = format!("Function {name} lost the label {} after the session had started; start another session", labels::IMPLEMENTS);
        return Err(Failure::new(Cause::VerifierChanged, text));
    }
    let (own, target) = (owner.session.namespace().unwrap_or_default(), &owner.run.verifier.target.object.namespace);
    if own != *target {
        let text = format!(
            "{place} runs Function {name}, which is not Backproof's, and the target lies in namespace {target}: such a Function reads the Secrets of its session's namespace {own}, so it runs only there; restore into a claim of that namespace"
        );
        return Err(Failure::new(Cause::CrossNamespaceNotAllowed, text));
    }
    Ok(())
}

/// Whether a Job runs with rights of its own: only those of foreign Functions have an account of their own name.
pub(crate) fn needs_rights(job: &Job) -> bool {
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    pod.is_some_and(|pod| pod.automount_service_account_token == Some(true) && pod.service_account_name.as_ref() == Some(&job.name_any()))
}

/// What a component's state must be before its Job is started: anything else was written by nobody who may.
pub(crate) fn is_untouched(component: Option<&ComponentRestoreStatus>) -> bool {
    let pending = ComponentRestoreStatus { phase: Some(RestorePhase::Pending.into()), ..ComponentRestoreStatus::default() };
    component.is_some_and(|component| *component == pending)
}

/// What is known of a component whose Job runs a foreign Function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reported {
    /// Its container has yet to start; why, and when that is given up.
    Waiting { why: Option<String>, until: Option<Timestamp> },
    /// It runs.
    Running,
    /// It ended, and may still write: that right goes first.
    MayStillWrite,
    /// What it says of its success.
    Succeeded { files: u64, took: SignedDuration },
    /// It failed, or what it says does not count.
    Failed { failure: Failure, ended: Ended },
}

/// By what its word is judged.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) pinned: &'a PinnedForeign,
    /// Whether a success counts without a figure.
    pub(crate) trusted: bool,
    /// Whether it can write no more.
    pub(crate) revoked: bool,
    pub(crate) deadline: Timestamp,
    pub(crate) start_timeout: SignedDuration,
}

/// Judges what a Function wrote of a component, from the Job it ran in.
pub(crate) fn judge(job: &Job, pods: &[Pod], component: &ComponentRestoreStatus, terms: Terms<'_>, now: Timestamp) -> Reported {
    let started = job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let fate = fate(job, pods, started, terms.start_timeout, now);
    let early = |failure| Reported::Failed { failure, ended: Ended::Early };
    let message = match fate {
        Fate::Waiting { why, until } => return Reported::Waiting { why, until },
        Fate::Running => return Reported::Running,
        Fate::Ended(_) | Fate::Lost { .. } if !terms.revoked => return Reported::MayStillWrite,
        Fate::Lost { failure, ended } => return Reported::Failed { failure: preparation(job, pods).unwrap_or(failure), ended },
        Fate::Ended(message) => message,
    };
    let (Some(began), Some(finished)) = (&message.state.started_at, &message.state.finished_at) else {
        return early(Failure::new(Cause::ExecutorFailed, "the container's status tells no start and end"));
    };
    if finished.0 > terms.deadline {
        let text = format!("the restore ended at {}, after the session's deadline {}", finished.0, terms.deadline);
        return early(Failure::new(Cause::DeadlineExceeded, text));
    }
    let code = message.state.exit_code;
    match component.phase.as_ref().and_then(|phase| phase.known()) {
        Some(RestorePhase::Succeeded) if message.complete && code == 0 && message.stopped.is_none() => {
            match figures(component.progress.as_ref(), terms.trusted) {
                Ok(files) => Reported::Succeeded { files, took: finished.0.duration_since(began.0) },
                Err(failure) => early(failure),
            }
        }
        Some(RestorePhase::Succeeded) => {
            early(silence(&message, &format!("the Function reports success, but its container ended with exit code {code}")))
        }
        Some(RestorePhase::Failed | RestorePhase::Invalid) if message.stopped.is_none() => {
            early(refusal(&component.error, terms.pinned, code))
        }
        Some(RestorePhase::Failed | RestorePhase::Invalid | RestorePhase::Pending | RestorePhase::Running | RestorePhase::Unknown)
        | None => early(silence(&message, &format!("the Function's container ended with exit code {code} and it reports no end"))),
    }
}

/// What a reported failure means. Its text can be classed only where the Function promises that, and only a named defect is red.
fn refusal(error: &str, pinned: &PinnedForeign, code: i32) -> Failure {
    let said = if error.is_empty() { format!("no reason, and exit code {code}") } else { error.chars().take(500).collect() };
    let named = error.split_once(':').and_then(|(word, rest)| Some((word.trim().parse::<Cause>().ok()?, rest.trim())));
    match named.filter(|(cause, _)| pinned.verdict_contract && cause.verdict() != Verdict::Verified) {
        Some((cause, rest)) => Failure::new(cause, format!("the Function reports: {rest}")),
        None => Failure::new(
            Cause::ExecutorFailed,
            format!("the Function reports a failure, and whether the backup is at fault is not known: {said}"),
        ),
    }
}

/// How many files a success is said to be about. None, or less than all, is no proof.
fn figures(progress: Option<&RestoreProgress>, trusted: bool) -> Result<u64, Failure> {
    let incomplete = |text: String| Err(Failure::new(Cause::ReadBackIncomplete, text));
    let nothing = RestoreProgress::default();
    let progress = progress.unwrap_or(&nothing);
    let percent = progress.percent_done.trim().trim_end_matches('%').trim().parse::<f64>().ok();
    let files = progress.files_done.unwrap_or_default();
    if percent.is_some_and(|percent| percent < 100.0) || progress.total_files.is_some_and(|total| files < total) {
        return incomplete(format!(
            "the Function reports success, and {:?} of the data and {files} of {} files as restored",
            progress.percent_done,
            progress.total_files.unwrap_or_default()
        ));
    }
    if files <= 0 && percent.is_none() && !trusted {
        return incomplete(
            "the Function reports success without a figure of what it restored; where its word is enough, set the chart's value foreignFunctions.trustReportedSuccess to true"
                .to_owned(),
        );
    }
    Ok(u64::try_from(files).unwrap_or_default())
}

/// Why the container that prepares the target did not let the Function's begin.
fn preparation(job: &Job, pods: &[Pod]) -> Option<Failure> {
    let uid = job.uid()?;
    let own = pods.iter().find(|pod| pod.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid))?;
    let container = own.status.as_ref()?.init_container_statuses.as_ref()?.first()?;
    let ended = container.state.as_ref()?.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    let line = ended.message.as_deref()?.trim();
    let cause = cause_of(line);
    let text = line.strip_prefix(&format!("{cause}: ")).unwrap_or(line);
    (cause.verdict() == Verdict::Inconclusive).then(|| Failure::new(cause, text))
}

/// The objects that give a Job its rights; all have its name and belong to it.
struct Rights {
    account: ServiceAccount,
    role: Role,
    bindings: [RoleBinding; 2],
}

fn rights(job: &Job, restore: &RestoreSession) -> Rights {
    let (name, namespace) = (job.name_any(), job.namespace().unwrap_or_default());
    let metadata = |name: String| ObjectMeta {
        name: Some(name),
        namespace: Some(namespace.clone()),
        labels: Some(mark(restore)),
        owner_references: Some(vec![OwnerReference {
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            name: job.name_any(),
            uid: job.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    };
    let binding = |name: String, kind: &str, role: &str| RoleBinding {
        metadata: metadata(name),
        role_ref: RoleRef { api_group: "rbac.authorization.k8s.io".into(), kind: kind.into(), name: role.into() },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: job.name_any(),
            namespace: Some(namespace.clone()),
            api_group: None,
        }]),
    };
    Rights {
        account: ServiceAccount {
            metadata: metadata(name.clone()),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        role: Role {
            metadata: metadata(name.clone()),
            rules: Some(vec![PolicyRule {
                api_groups: Some(vec!["core.kubestash.com".into()]),
                resources: Some(vec!["restoresessions/status".into()]),
                resource_names: Some(vec![restore.name_any()]),
                verbs: ["get", "patch", "update"].map(str::to_owned).into(),
                ..PolicyRule::default()
            }]),
        },
        bindings: [binding(name.clone(), "Role", &name), binding(reading(&name), "ClusterRole", labels::FOREIGN)],
    }
}

fn reading(job: &str) -> String {
    format!("{job}-read")
}

fn mark(restore: &RestoreSession) -> BTreeMap<String, String> {
    let uid = restore.labels().get(labels::SESSION_UID).cloned().unwrap_or_default();
    [(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_VALUE.to_owned()), (labels::SESSION_UID.to_owned(), uid)].into()
}

/// Gives a Job its rights, or finds them given. A right that is missing here, or a name that is taken, ends the restore.
pub(crate) async fn grant(client: &Client, job: &Job, restore: &RestoreSession) -> Result<Result<(), Failure>, Error> {
    let Rights { account, role, bindings: [writes, reads] } = rights(job, restore);
    let mut made = make(client, account).await?;
    if made.is_ok() {
        made = make(client, role).await?;
    }
    if made.is_ok() {
        made = make(client, reads).await?;
    }
    // Last: with it, the Job could write.
    if made.is_ok() { make(client, writes).await } else { Ok(made) }
}

async fn make<K>(client: &Client, object: K) -> Result<Result<(), Failure>, Error>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let what = format!("{} {namespace}/{name}", K::kind(&()));
    let api = Api::<K>::namespaced(client.clone(), &namespace);
    match api.create(&PostParams::default(), &object).await.map_err(Error::api(format!("create {what}"))) {
        Ok(_) => Ok(Ok(())),
        Err(error) if error.status_code() == Some(403) => {
            let text =
                format!("{}; the chart's value foreignFunctions.enabled grants this right: upgrade the release with it", error.chain());
            Ok(Err(Failure::new(Cause::ForeignFunctionNotAllowed, text)))
        }
        Err(error) if error.is_conflict() => {
            let there = api.get_opt(&name).await.map_err(Error::api(format!("get {what}")))?;
            let Some(there) = there else { return Err(error) };
            let ours = there.owner_references() == object.owner_references();
            let taken = || Failure::new(Cause::NameTaken, format!("{what} exists and was not made for this Job; delete it"));
            Ok(if ours { Ok(()) } else { Err(taken()) })
        }
        Err(error) => Err(error),
    }
}

/// Takes a Job's rights back. The rest goes with the Job.
pub(crate) async fn revoke(client: &Client, namespace: &str, job: &str) -> Result<(), Error> {
    let api = Api::<RoleBinding>::namespaced(client.clone(), namespace);
    for name in [job.to_owned(), reading(job)] {
        let what = format!("delete RoleBinding {namespace}/{name}");
        match api.delete(&name, &DeleteParams::default()).await.map_err(Error::api(what)) {
            Err(error) if !error.is_not_found() => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
