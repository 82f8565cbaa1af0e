//! What a Job and its pods say about one component. Pure. Only a report of the Job's own pod that repeats what it was
//! started with is believed; everything else leaves it open what the backup is worth.

use backproof_api::{Cause, Verdict, report::Report};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition},
    core::v1::{ContainerState, ContainerStateTerminated, ContainerStateWaiting, Pod},
};
use kube::ResourceExt as _;

use super::failure::Failure;
use crate::pods::does_what_its_job_says;

/// What a report must repeat, and by when.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) session_uid: &'a str,
    pub(crate) attempt: u32,
    pub(crate) component: &'a str,
    pub(crate) restic_id: &'a str,
    pub(crate) deadline: Timestamp,
    pub(crate) start_timeout: SignedDuration,
}

/// What is known of a component whose Job was started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Judged {
    /// Its container has yet to start; why, and when that is given up.
    Waiting { why: Option<String>, until: Option<Timestamp> },
    /// Its container runs, or its Job has yet to notice that it ended.
    Running,
    /// It ended with a report that is believed.
    Reported { report: Box<Report>, duration: SignedDuration },
    /// It ended without one, or will never start.
    Lost { failure: Failure, ended: Ended },
}

/// Whether the container ever came to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It never started.
    BeforeStart,
    /// It started and ended early.
    Early,
}

/// Judges a Job that was started. `pods` may hold pods of others.
pub(crate) fn judge(job: &Job, pods: &[Pod], expected: Expected<'_>, now: Timestamp) -> Judged {
    let own: Vec<&Pod> = pods.iter().filter(|pod| controlled_by(pod, job)).collect();
    match finished(job) {
        Some(end) => ended(job, end, &own, expected),
        None => under_way(job, &own, expected, now),
    }
}

/// How a finished Job ended.
#[derive(Clone, Copy)]
enum End<'a> {
    Complete,
    Failed(&'a JobCondition),
}

fn finished(job: &Job) -> Option<End<'_>> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.status == "True").find_map(|condition| match condition.type_.as_str() {
        "Complete" => Some(End::Complete),
        "Failed" => Some(End::Failed(condition)),
        _ => None,
    })
}

/// Whether a Job will do nothing more.
pub(crate) fn is_finished(job: &Job) -> bool {
    finished(job).is_some()
}

fn controlled_by(pod: &Pod, job: &Job) -> bool {
    let uid = job.uid().unwrap_or_default();
    !uid.is_empty()
        && pod.namespace() == job.namespace()
        && pod.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.kind == "Job" && owner.uid == uid)
        && does_what_its_job_says(pod, job)
}

fn ended(job: &Job, end: End<'_>, pods: &[&Pod], expected: Expected<'_>) -> Judged {
    let early = |cause, text: String| Judged::Lost { failure: Failure::new(cause, text), ended: Ended::Early };
    let name = job.name_any();
    let terminated: Vec<(&Pod, &ContainerStateTerminated)> =
        pods.iter().filter_map(|pod| Some((*pod, state(pod)?.terminated.as_ref()?))).collect();
    if let Some((pod, _)) = terminated.iter().find(|(_, state)| state.reason.as_deref() == Some("OOMKilled")) {
        return early(
            Cause::OutOfMemory,
            format!(
                "the container of Pod {} was killed for its memory; raise restoreOption.addonInfo.jobTemplate.spec.resources.limits.memory",
                pod.name_any()
            ),
        );
    }
    match terminated.as_slice() {
        [(pod, state)] => match read(pod, state, end, expected) {
            Ok(report) => return in_time(state, report, expected),
            // A Job stopped at its deadline or a pod that was evicted rarely leaves a report; that is the better reason.
            Err(problem) => return early_end(job, end, pods).unwrap_or_else(|| early(Cause::ExecutorFailed, problem)),
        },
        [] => {}
        // With backoffLimit 0 a Job has one pod; whichever of several to believe is anybody's guess.
        several => return early(Cause::ExecutorFailed, format!("Job {name} had {} pods instead of one", several.len())),
    }
    early_end(job, end, pods).unwrap_or_else(|| match pods {
        [] => early(Cause::PodLost, format!("the pod of Job {name} vanished before it had reported")),
        _ => early(Cause::PodLost, format!("the pod of Job {name} ended without its container; its node may be lost")),
    })
}

/// The end of a Job by somebody else's hand, or by its deadline.
fn early_end(job: &Job, end: End<'_>, pods: &[&Pod]) -> Option<Judged> {
    let early = |cause, text: String| Some(Judged::Lost { failure: Failure::new(cause, text), ended: Ended::Early });
    if let End::Failed(condition) = end
        && condition.reason.as_deref() == Some("DeadlineExceeded")
    {
        return early(
            Cause::DeadlineExceeded,
            format!("Job {} did not end before the session's deadline; raise the verifier's timeout", job.name_any()),
        );
    }
    pods.iter().find_map(|pod| {
        let status = pod.status.as_ref()?;
        let message = status.message.clone().unwrap_or_default();
        match status.reason.as_deref() {
            Some("Evicted") => return early(Cause::Evicted, format!("Pod {} was evicted: {message}", pod.name_any())),
            Some("NodeLost") => return early(Cause::PodLost, format!("Pod {} is lost with its node: {message}", pod.name_any())),
            _ => {}
        }
        let disruption =
            status.conditions.iter().flatten().find(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")?;
        let reason = disruption.reason.clone().unwrap_or_default();
        let message = disruption.message.clone().unwrap_or_default();
        let cause = if reason == "DeletionByPodGC" { Cause::PodLost } else { Cause::Evicted };
        early(cause, format!("Pod {} was disrupted ({reason}): {message}", pod.name_any()))
    })
}

fn in_time(state: &ContainerStateTerminated, report: Report, expected: Expected<'_>) -> Judged {
    let (Some(started), Some(finished)) = (&state.started_at, &state.finished_at) else {
        let text = "the container's status tells no start and end";
        return Judged::Lost { failure: Failure::new(Cause::ExecutorFailed, text), ended: Ended::Early };
    };
    if finished.0 > expected.deadline {
        let text = format!(
            "the restore ended at {}, after the session's deadline {}; raise the verifier's timeout",
            finished.0, expected.deadline
        );
        return Judged::Lost { failure: Failure::new(Cause::DeadlineExceeded, text), ended: Ended::Early };
    }
    Judged::Reported { report: Box::new(report), duration: finished.0.duration_since(started.0) }
}

/// The report, if it is one that can be believed.
fn read(pod: &Pod, state: &ContainerStateTerminated, end: End<'_>, expected: Expected<'_>) -> Result<Report, String> {
    let code = state.exit_code;
    let message = state.message.clone().unwrap_or_default();
    let place = format!("the container of Pod {} ended with exit code {code}", pod.name_any());
    let report: Report = serde_json::from_str(&message).map_err(|_| {
        let reason = state
            .reason
            .as_deref()
            .filter(|reason| *reason != "Error" && *reason != "Completed")
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        format!("{place}{reason} and no readable report{}", said(&message))
    })?;
    let identity = &report.identity;
    if identity.session_uid != expected.session_uid || identity.attempt != expected.attempt || identity.component != expected.component {
        return Err(format!(
            "{place} and the report of something else (session {:?}, attempt {}, component {:?})",
            identity.session_uid, identity.attempt, identity.component
        ));
    }
    let complete = matches!(end, End::Complete);
    let agrees = match report.outcome {
        Verdict::Verified => code == 0 && complete && report.cause.is_none(),
        Verdict::VerificationFailed => {
            code == 1 && !complete && report.cause.is_some_and(|cause| cause.verdict() == Verdict::VerificationFailed)
        }
        Verdict::Inconclusive => code == 2 && !complete && report.cause.is_some_and(|cause| cause.verdict() == Verdict::Inconclusive),
        Verdict::Skipped => false,
    };
    if !agrees {
        let cause = report.cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
        return Err(format!("{place}, which contradicts its report: {}{cause}", report.outcome));
    }
    let id = report.snapshot.as_ref().map(|snapshot| snapshot.id.as_str());
    let named = match report.outcome {
        Verdict::Verified => id == Some(expected.restic_id),
        // Somebody who could not open the repository cannot know the snapshot; whoever says more must name it.
        Verdict::VerificationFailed | Verdict::Inconclusive | Verdict::Skipped => id.is_none_or(|id| id == expected.restic_id),
    };
    if !named {
        return Err(format!("{place} and reports on the restic snapshot {}, not on {}", id.unwrap_or("without id"), expected.restic_id));
    }
    Ok(report)
}

fn said(message: &str) -> String {
    let line = message.trim().lines().last().unwrap_or_default();
    if line.is_empty() { String::new() } else { format!("; its last words: {}", line.chars().take(200).collect::<String>()) }
}

fn under_way(job: &Job, pods: &[&Pod], expected: Expected<'_>, now: Timestamp) -> Judged {
    if pods.iter().any(|pod| state(pod).is_some_and(|state| state.running.is_some() || state.terminated.is_some())) {
        return Judged::Running;
    }
    let started = job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let until = started.and_then(|started| started.checked_add(expected.start_timeout).ok());
    let trouble = pods.iter().find_map(|pod| trouble(pod));
    let overdue = until.is_some_and(|until| now >= until);
    match trouble {
        Some(trouble) if overdue || trouble.weight == Weight::Final => {
            Judged::Lost { failure: Failure::new(trouble.cause, trouble.text), ended: Ended::BeforeStart }
        }
        Some(trouble) => Judged::Waiting { why: Some(format!("{}: {}", trouble.cause, trouble.text)), until },
        None if overdue => {
            let text = match pods {
                [] => format!("Job {} has no pod yet; see its events for what keeps it from being created", job.name_any()),
                [pod, ..] => format!("the container of Pod {} has not started; see its events", pod.name_any()),
            };
            Judged::Lost { failure: Failure::new(Cause::PodNotStarted, text), ended: Ended::BeforeStart }
        }
        None => Judged::Waiting { why: None, until },
    }
}

/// What keeps a pod from starting.
struct Trouble {
    cause: Cause,
    text: String,
    weight: Weight,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It may pass.
    Passing,
    /// It never will.
    Final,
}

fn trouble(pod: &Pod) -> Option<Trouble> {
    let name = pod.name_any();
    if let Some(waiting) = state(pod).and_then(|state| state.waiting.as_ref()) {
        return container_trouble(&name, waiting);
    }
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let unscheduled = conditions.into_iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let message = unscheduled.message.clone().unwrap_or_default();
    Some(Trouble { cause: Cause::Unschedulable, text: format!("no node takes Pod {name}: {message}"), weight: Weight::Passing })
}

fn container_trouble(pod: &str, waiting: &ContainerStateWaiting) -> Option<Trouble> {
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let (cause, weight) = match reason {
        "ErrImagePull" | "ImagePullBackOff" | "ImageInspectError" | "RegistryUnavailable" | "SignatureValidationFailed" => {
            (Cause::ImagePullFailed, Weight::Passing)
        }
        "InvalidImageName" | "ErrImageNeverPull" => (Cause::ImagePullFailed, Weight::Final),
        "" | "ContainerCreating" | "PodInitializing" => return None,
        _ => (Cause::PodNotStarted, Weight::Passing),
    };
    let message = waiting.message.clone().unwrap_or_default();
    Some(Trouble { cause, text: format!("the container of Pod {pod} does not start ({reason}): {message}"), weight })
}

/// State of the pod's only container.
fn state(pod: &Pod) -> Option<&ContainerState> {
    let name = &pod.spec.as_ref()?.containers.first()?.name;
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == *name)?.state.as_ref()
}
