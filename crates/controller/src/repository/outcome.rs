//! How a discovery Job ended, from the Job and its pods. Pure.

use backproof_api::{Cause, report::DiscoveryReport};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{ContainerState, ContainerStatus, Pod},
};

/// How far a Job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has not ended.
    Unfinished,
    /// It ended well.
    Complete,
    /// It ended otherwise.
    Failed,
}

/// How far a Job is.
pub(super) fn progress(job: &Job) -> Progress {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let holds = |kind: &str| conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True");
    if holds("Complete") {
        Progress::Complete
    } else if holds("Failed") {
        Progress::Failed
    } else {
        Progress::Unfinished
    }
}

/// What a finished Job reported, or what became of it instead.
pub(super) fn report(job: &Job, pods: &[Pod]) -> DiscoveryReport {
    // The newest of the Job's own pods; one that was only labelled like it tells nothing.
    let own = pods.iter().filter(|pod| is_of(pod, job)).max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let message = own.and_then(terminated).and_then(|state| state.message.as_deref());
    if let Some(report) = message.and_then(|message| serde_json::from_str::<DiscoveryReport>(message.trim()).ok())
        // A listing is only whole when the Job says so too.
        && (progress(job) == Progress::Complete || report.cause.is_some())
    {
        return report;
    }
    let (cause, error) = match own {
        None => (Cause::PodLost, "the pod of the discovery Job is gone, and with it its report".to_owned()),
        Some(pod) => died(pod),
    };
    failed(cause, error)
}

/// A discovery that could not find out.
pub(super) fn failed(cause: Cause, error: String) -> DiscoveryReport {
    DiscoveryReport {
        cause: Some(cause),
        error: Some(error),
        repository_id: String::new(),
        complete: false,
        found: 0,
        created: 0,
        newest: None,
        ids: Vec::new(),
        gone: Vec::new(),
        notes: Vec::new(),
    }
}

/// Why a Job's container has not started although there was time enough; `None` while there is time, or when it has.
pub(super) fn stuck(job: &Job, pods: &[Pod], now: Timestamp, patience: SignedDuration) -> Option<DiscoveryReport> {
    let created = job.metadata.creation_timestamp.as_ref()?.0;
    if now.duration_since(created) < patience {
        return None;
    }
    let own: Vec<_> = pods.iter().filter(|pod| is_of(pod, job)).collect();
    let started = own.iter().any(|pod| state(pod).is_some_and(|state| state.running.is_some() || state.terminated.is_some()));
    if started {
        return None;
    }
    let (cause, text) = match own.first() {
        None => (
            Cause::PodNotStarted,
            "the discovery Job has no pod: look at the Job's events (quota, Pod Security, missing ServiceAccount)".to_owned(),
        ),
        Some(pod) => waiting(pod),
    };
    Some(failed(cause, text))
}

fn is_of(pod: &Pod, job: &Job) -> bool {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == job.metadata.uid.as_ref())
        && crate::pods::does_what_its_job_says(pod, job)
}

fn status(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn state(pod: &Pod) -> Option<&ContainerState> {
    status(pod)?.state.as_ref()
}

fn terminated(pod: &Pod) -> Option<&k8s_openapi::api::core::v1::ContainerStateTerminated> {
    state(pod)?.terminated.as_ref()
}

fn waiting(pod: &Pod) -> (Cause, String) {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if let Some(scheduled) = conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False") {
        return (
            Cause::Unschedulable,
            format!("no node takes the discovery pod: {}", scheduled.message.as_deref().unwrap_or("no reason given")),
        );
    }
    match state(pod).and_then(|state| state.waiting.as_ref()) {
        Some(waiting) => {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            let pulled =
                !matches!(reason, "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable");
            let cause = if pulled { Cause::PodNotStarted } else { Cause::ImagePullFailed };
            (
                cause,
                format!(
                    "the discovery pod does not start: {reason}: {}",
                    waiting.message.as_deref().unwrap_or("no more is said; look at the pod's events (volume, Secret)")
                ),
            )
        }
        None => (Cause::PodNotStarted, "the discovery pod does not start; look at its events (volume, Secret)".to_owned()),
    }
}

fn died(pod: &Pod) -> (Cause, String) {
    let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref()).unwrap_or_default();
    let said = pod.status.as_ref().and_then(|status| status.message.as_deref()).unwrap_or_default();
    match (reason, terminated(pod)) {
        ("Evicted", _) => (Cause::Evicted, format!("the discovery pod was evicted: {said}")),
        ("DeadlineExceeded", _) => (Cause::DeadlineExceeded, "the discovery Job took longer than 30 minutes".to_owned()),
        (_, Some(state)) if state.reason.as_deref() == Some("OOMKilled") => (
            Cause::OutOfMemory,
            "the discovery pod ran out of memory; raise spec.runtimeSettings.container.resources of the BackupStorage".to_owned(),
        ),
        (_, Some(state)) => (
            Cause::ExecutorFailed,
            format!("the discovery pod ended with exit code {} and no readable report; look at its log", state.exit_code),
        ),
        (_, None) => waiting(pod),
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
