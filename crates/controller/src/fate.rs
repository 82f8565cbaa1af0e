//! What became of a Job, from the Job and its pods as the API server has them. Pure, and the same for every Job of ours.
//!
//! Only a pod that the Job controls and that does what its Job says is looked at. How it ended without a word of its own is
//! told in one cause of the closed list; what its container said is for the caller to read ([`Fate::Ended`]).

use backproof_api::Cause;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition, PodFailurePolicy, PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule},
    core::v1::{ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod},
};
use kube::ResourceExt as _;

use crate::{failure::Failure, pods::does_what_its_job_says};

/// Condition of a pod that was evicted, preempted, or is deleted with its node.
const DISRUPTION: &str = "DisruptionTarget";

/// What became of a Job that was started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate<'a> {
    /// Its container has yet to start; why, and when that is given up.
    Waiting { why: Option<String>, until: Option<Timestamp> },
    /// Its container runs, or its Job has yet to notice that it ended.
    Running,
    /// Its one container ended.
    Ended(Box<Message<'a>>),
    /// It ended without one that could have said anything, or will never start.
    Lost { failure: Failure, ended: Ended },
}

/// How a container ended, and what to say if it left no word that can be believed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) state: &'a ContainerStateTerminated,
    /// Whether the Job counts it as done well.
    pub(crate) complete: bool,
    /// What somebody else did to it: a better reason than silence, or than that it was told to stop.
    pub(crate) stopped: Option<Failure>,
}

/// Whether the container ever came to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It never started.
    BeforeStart,
    /// It started and ended early.
    Early,
}

/// What becomes of a Job. `pods` may hold pods of others; a Job whose container has not started `patience` after `since`
/// never will.
pub(crate) fn fate<'a>(job: &Job, pods: &'a [Pod], since: Option<Timestamp>, patience: SignedDuration, now: Timestamp) -> Fate<'a> {
    let own: Vec<&Pod> = pods.iter().filter(|pod| controlled_by(pod, job)).collect();
    match end(job) {
        Some(end) => ended(job, end, &own),
        None => under_way(job, &own, since.and_then(|since| since.checked_add(patience).ok()), now),
    }
}

/// Whether a Job will do nothing more.
pub(crate) fn is_finished(job: &Job) -> bool {
    end(job).is_some()
}

/// How a finished Job ended.
#[derive(Clone, Copy)]
enum End<'a> {
    Complete,
    Failed(&'a JobCondition),
}

fn end(job: &Job) -> Option<End<'_>> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.filter(|condition| condition.status == "True").find_map(|condition| match condition.type_.as_str() {
        "Complete" => Some(End::Complete),
        "Failed" => Some(End::Failed(condition)),
        _ => None,
    })
}

fn controlled_by(pod: &Pod, job: &Job) -> bool {
    let uid = job.uid().unwrap_or_default();
    !uid.is_empty()
        && pod.namespace() == job.namespace()
        && pod.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.kind == "Job" && owner.uid == uid)
        && does_what_its_job_says(pod, job)
}

fn lost(cause: Cause, text: impl Into<String>) -> Fate<'static> {
    Fate::Lost { failure: Failure::new(cause, text), ended: Ended::Early }
}

fn ended<'a>(job: &Job, end: End<'_>, pods: &[&'a Pod]) -> Fate<'a> {
    let name = job.name_any();
    let terminated: Vec<(&Pod, &ContainerStateTerminated)> =
        pods.iter().filter_map(|pod| Some((*pod, state(pod)?.terminated.as_ref()?))).collect();
    if let Some((pod, _)) = terminated.iter().find(|(_, state)| state.reason.as_deref() == Some("OOMKilled")) {
        let text = format!("the container of Pod {} was killed for its memory; raise its resources.limits.memory", pod.name_any());
        return lost(Cause::OutOfMemory, text);
    }
    let stopped = stopped(job, end, pods);
    match (terminated.as_slice(), pods) {
        ([(pod, state)], _) if never_ran(state) => {
            let failure = stopped.unwrap_or_else(|| {
                Failure::new(Cause::PodNotStarted, format!("the container of Pod {} could not be started{}", pod.name_any(), reason(state)))
            });
            Fate::Lost { failure, ended: Ended::BeforeStart }
        }
        ([(pod, state)], _) => Fate::Ended(Box::new(Message { pod, state, complete: matches!(end, End::Complete), stopped })),
        // With backoffLimit 0 a Job has one pod; whichever of several to believe is anybody's guess.
        ([_, _, ..], several) => lost(Cause::ExecutorFailed, format!("Job {name} had {} pods instead of one", several.len())),
        ([], pods) => match (stopped, pods) {
            (Some(failure), _) => Fate::Lost { failure, ended: Ended::Early },
            (None, []) => {
                lost(Cause::PodLost, format!("the pod of Job {name} vanished before it had reported; somebody may have deleted it"))
            }
            (None, [_, ..]) => lost(Cause::PodLost, format!("the pod of Job {name} ended without its container; its node may be lost")),
        },
    }
}

/// Whether a terminated container never came to run: its process could not be started.
fn never_ran(state: &ContainerStateTerminated) -> bool {
    matches!(state.reason.as_deref(), Some("StartError" | "ContainerCannotRun"))
}

fn reason(state: &ContainerStateTerminated) -> String {
    let reason = state.reason.as_deref().unwrap_or_default();
    let message = state.message.as_deref().unwrap_or_default().trim();
    format!(" ({reason}): {}", message.chars().take(300).collect::<String>())
}

/// Why a container that is over left nothing to believe: what its exit tells.
pub(crate) fn silence(message: &Message<'_>, problem: &str) -> Failure {
    if let Some(stopped) = &message.stopped {
        return stopped.clone();
    }
    let (pod, state) = (message.pod.name_any(), message.state);
    if state.reason.as_deref() == Some("ContainerStatusUnknown") {
        return Failure::new(Cause::PodLost, format!("nobody knows how the container of Pod {pod} ended{}", reason(state)));
    }
    // A shell's way to tell a signal, and the runtime's.
    let signal = state.signal.filter(|signal| *signal > 0).or_else(|| (state.exit_code > 128).then_some(state.exit_code - 128));
    match signal {
        Some(15) => Failure::new(Cause::Interrupted, format!("the container of Pod {pod} was told to stop (signal 15): {problem}")),
        Some(signal) if signal < 65 => {
            let hint = if signal == 9 { "; if its node was short of memory, raise its resources.requests.memory" } else { "" };
            Failure::new(Cause::ExecutorFailed, format!("signal {signal} ended the container: {problem}{hint}"))
        }
        Some(_) | None => Failure::new(Cause::ExecutorFailed, problem),
    }
}

/// Has a Job fail with the word that its pod was disrupted. A pod that is evicted is gone as soon as the Job controller has
/// counted it, often before anybody else has looked at it; what the Job says stays.
pub(crate) fn tell_of_disruption() -> PodFailurePolicy {
    let disrupted = PodFailurePolicyOnPodConditionsPattern { type_: DISRUPTION.into(), status: Some("True".into()) };
    PodFailurePolicy {
        rules: vec![PodFailurePolicyRule {
            action: "FailJob".into(),
            on_pod_conditions: Some(vec![disrupted]),
            ..PodFailurePolicyRule::default()
        }],
    }
}

/// The end of a Job by somebody else's hand, or by its deadline.
fn stopped(job: &Job, end: End<'_>, pods: &[&Pod]) -> Option<Failure> {
    let (reason, said) = match end {
        End::Complete => ("", ""),
        End::Failed(condition) => (condition.reason.as_deref().unwrap_or_default(), condition.message.as_deref().unwrap_or_default()),
    };
    if reason == "DeadlineExceeded" {
        return Some(out_of_time(&job.name_any()));
    }
    pods.iter().find_map(|pod| disrupted(pod)).or_else(|| {
        let text = format!("the pod of Job {} was evicted, preempted, or taken with its node, and is gone: {said}", job.name_any());
        match end {
            End::Complete => None,
            End::Failed(_) if reason == "PodFailurePolicy" => Some(Failure::new(Cause::Evicted, text)),
            End::Failed(_) => pods.iter().find_map(|pod| deleted(pod)),
        }
    })
}

/// Somebody deleted the pod, and its container ended only after that. Such a pod is gone a moment later; whoever looks
/// before, and whoever looks after, tell the same.
fn deleted(pod: &Pod) -> Option<Failure> {
    let gone = pod.metadata.deletion_timestamp.as_ref()?.0;
    let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or_default());
    let asked = gone.checked_sub(grace).ok()?;
    let finished = state(pod)?.terminated.as_ref()?.finished_at.as_ref();
    let ended_before = finished.is_some_and(|finished| finished.0 < asked);
    (!ended_before)
        .then(|| Failure::new(Cause::PodLost, format!("Pod {} was deleted by somebody before its container had reported", pod.name_any())))
}

fn out_of_time(job: &str) -> Failure {
    Failure::new(Cause::DeadlineExceeded, format!("Job {job} did not end before its deadline"))
}

/// What kubelet, scheduler or another controller did to a pod, as they write it down.
fn disrupted(pod: &Pod) -> Option<Failure> {
    let status = pod.status.as_ref()?;
    let (name, said) = (pod.name_any(), status.message.clone().unwrap_or_default());
    let failure = |cause, text: String| Some(Failure::new(cause, text));
    match status.reason.as_deref().unwrap_or_default() {
        "Evicted" | "Preempting" => return failure(Cause::Evicted, format!("Pod {name} was evicted: {said}")),
        "Terminated" | "Shutdown" | "NodeShutdown" => {
            return failure(Cause::PodLost, format!("the node of Pod {name} was shut down: {said}"));
        }
        "NodeLost" => return failure(Cause::PodLost, format!("Pod {name} is lost with its node: {said}")),
        "DeadlineExceeded" => return Some(out_of_time(&format!("of Pod {name}"))),
        // What the scheduler chose and the node then refused.
        reason @ ("NodeAffinity"
        | "NodePorts"
        | "UnexpectedAdmissionError"
        | "TopologyAffinityError"
        | "AppArmor"
        | "PodOSNotSupported") => {
            return failure(Cause::Unschedulable, format!("the node refused Pod {name} ({reason}): {said}"));
        }
        reason if reason.starts_with("OutOf") => {
            return failure(Cause::Unschedulable, format!("the node refused Pod {name} ({reason}): {said}"));
        }
        _ => {}
    }
    let conditions = status.conditions.iter().flatten();
    let disruption = conditions.into_iter().find(|condition| condition.type_ == DISRUPTION && condition.status == "True")?;
    let (reason, message) = (disruption.reason.clone().unwrap_or_default(), disruption.message.clone().unwrap_or_default());
    let cause = match reason.as_str() {
        // Both mean that its node is gone or may not be used any more.
        "DeletionByPodGC" | "DeletionByTaintManager" => Cause::PodLost,
        _ => Cause::Evicted,
    };
    failure(cause, format!("Pod {name} was disrupted ({reason}): {message}"))
}

fn under_way(job: &Job, pods: &[&Pod], until: Option<Timestamp>, now: Timestamp) -> Fate<'static> {
    if let Some(pod) = pods.iter().find(|pod| state(pod).is_some_and(|state| state.running.is_some() || state.terminated.is_some())) {
        return match silent_node(pod) {
            Some(why) => Fate::Waiting { why: Some(why), until: None },
            None => Fate::Running,
        };
    }
    let trouble = pods.iter().find_map(|pod| trouble(pod));
    let overdue = until.is_some_and(|until| now >= until);
    match trouble {
        Some(trouble) if overdue || trouble.weight == Weight::Final => {
            Fate::Lost { failure: Failure::new(trouble.cause, trouble.text), ended: Ended::BeforeStart }
        }
        Some(trouble) => Fate::Waiting { why: Some(format!("{}: {}", trouble.cause, trouble.text)), until },
        None if overdue => {
            let text = match pods {
                [] => format!("Job {} has no pod yet; see its events for what keeps it from being created", job.name_any()),
                [pod, ..] => format!("the container of Pod {} has not started; see its events", pod.name_any()),
            };
            Fate::Lost { failure: Failure::new(Cause::PodNotStarted, text), ended: Ended::BeforeStart }
        }
        None => Fate::Waiting { why: None, until },
    }
}

/// A pod whose node does not answer any more: whether its container still runs, nobody knows.
fn silent_node(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let lost = status.reason.as_deref() == Some("NodeLost") || status.phase.as_deref() == Some("Unknown");
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("unknown");
    lost.then(|| format!("{}: node {node} of Pod {} does not answer", Cause::PodLost, pod.name_any()))
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
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let name = pod.spec.as_ref().and_then(|spec| spec.containers.first()).map(|container| container.name.as_str());
    let named = |status: &&ContainerStatus| name.is_none_or(|name| status.name == name);
    statuses.iter().find(named)?.state.as_ref()
}

#[cfg(test)]
#[path = "fate_tests.rs"]
mod tests;
