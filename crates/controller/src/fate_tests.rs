//! Statuses as kubelet, the Job controller, the taint manager and the pod garbage collector write them, and what they mean.

use serde_json::{Value, json};

use super::*;

const CREATED: &str = "2026-01-01T00:00:00Z";

fn at(minutes: i64) -> Timestamp {
    CREATED.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes)
}

fn job(status: Value) -> Job {
    serde_json::from_value(json!({"metadata": {"name": "j", "namespace": "demo", "uid": "u-job"}, "status": status})).unwrap()
}

/// A Job that failed as `backoffLimit: 0` has it, unless another reason is given.
fn failed(reason: &str) -> Job {
    let message = match reason {
        "DeadlineExceeded" => "Job was active longer than specified deadline",
        _ => "Job has reached the specified backoff limit",
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message});
    job(json!({"failed": 1, "startTime": CREATED, "conditions": [condition("FailureTarget"), condition("Failed")]}))
}

fn running() -> Job {
    job(json!({"active": 1, "ready": 0, "startTime": CREATED}))
}

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "demo", "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "controller": true, "uid": "u-job"}]},
        "status": status,
    }))
    .unwrap()
}

fn container(state: Value) -> Value {
    json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
}

fn exit(code: i32, reason: &str, message: &str) -> Value {
    container(
        json!({"terminated": {"exitCode": code, "reason": reason, "message": message, "startedAt": CREATED, "finishedAt": at(1).to_string(), "containerID": "containerd://1"}}),
    )
}

fn disruption(reason: &str, message: &str) -> Value {
    json!([{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message, "lastTransitionTime": CREATED}])
}

/// A pod whose deletion somebody asked for `minutes` after its creation; its container was killed a minute after that creation.
fn deleted(minutes: i64) -> Pod {
    let mut deleted = pod(json!({"phase": "Failed", "containerStatuses": exit(137, "Error", "")}));
    let grace = SignedDuration::from_secs(30);
    deleted.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(minutes) + grace));
    deleted.metadata.deletion_grace_period_seconds = Some(grace.as_secs());
    deleted
}

#[test]
fn a_deleted_pod_is_lost_whether_or_not_it_is_still_seen() {
    let backoff = failed("BackoffLimitExceeded");
    assert_eq!(told(&backoff, &[]), "PodLost");
    assert_eq!(told(&backoff, &[deleted(0)]), "PodLost at its end");
    assert_eq!(told(&backoff, &[deleted(1)]), "PodLost at its end");
    assert_eq!(told(&backoff, &[deleted(2)]), "ExecutorFailed at its end", "its container ended before anybody deleted it");
    assert_eq!(told(&failed("DeadlineExceeded"), &[deleted(0)]), "DeadlineExceeded at its end");
    let complete = job(json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}));
    assert_eq!(told(&complete, &[deleted(0)]), "ExecutorFailed at its end", "it ended by itself");
}

/// The cause a Job that left no readable word ends with, and whether its container ever ran.
fn told(job: &Job, pods: &[Pod]) -> String {
    match fate(job, pods, Some(at(0)), SignedDuration::from_mins(10), at(11)) {
        Fate::Waiting { why, .. } => format!("waiting {}", why.unwrap_or_default()),
        Fate::Running => "running".into(),
        Fate::Ended(message) => format!("{} at its end", silence(&message, "nothing was said").cause),
        Fate::Lost { failure, ended: Ended::BeforeStart } => format!("{} before its start", failure.cause),
        Fate::Lost { failure, ended: Ended::Early } => format!("{}", failure.cause),
    }
}

#[test]
fn every_way_a_job_can_fail_has_its_cause() {
    let backoff = || failed("BackoffLimitExceeded");
    let low = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. Container c was using 1Gi, request is 0, has larger consumption of memory. ";
    let cases: Vec<(&str, Job, Option<Value>, &str)> = vec![
        (
            "kubelet evicts: the container was killed",
            backoff(),
            Some(
                json!({"phase": "Failed", "reason": "Evicted", "message": low, "conditions": disruption("TerminationByKubelet", low), "containerStatuses": exit(137, "Error", "")}),
            ),
            "Evicted at its end",
        ),
        (
            "kubelet evicts: the container was never seen to end",
            backoff(),
            Some(json!({"phase": "Failed", "reason": "Evicted", "message": low})),
            "Evicted",
        ),
        (
            "somebody drains the node",
            backoff(),
            Some(
                json!({"phase": "Failed", "conditions": disruption("EvictionByEvictionAPI", "Eviction API: evicting"), "containerStatuses": exit(143, "Error", "")}),
            ),
            "Evicted at its end",
        ),
        (
            "the scheduler makes room",
            backoff(),
            Some(
                json!({"phase": "Failed", "conditions": disruption("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"), "containerStatuses": exit(137, "Error", "")}),
            ),
            "Evicted at its end",
        ),
        (
            "kubelet makes room for a critical pod",
            backoff(),
            Some(json!({"phase": "Failed", "reason": "Preempting", "message": "Preempted in order to admit critical pod"})),
            "Evicted",
        ),
        (
            "the node does not answer, and the taint manager deletes its pods",
            backoff(),
            Some(
                json!({"phase": "Failed", "conditions": disruption("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"), "containerStatuses": exit(137, "Error", "")}),
            ),
            "PodLost at its end",
        ),
        (
            "the node is gone, and its pods are collected",
            backoff(),
            Some(
                json!({"phase": "Failed", "conditions": disruption("DeletionByPodGC", "PodGC: node no longer exists"), "containerStatuses": container(json!({"running": {"startedAt": CREATED}}))}),
            ),
            "PodLost",
        ),
        (
            "the node shuts down gracefully",
            backoff(),
            Some(
                json!({"phase": "Failed", "reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown.", "conditions": disruption("TerminationByKubelet", "Pod was terminated in response to imminent node shutdown."), "containerStatuses": exit(143, "Error", "")}),
            ),
            "PodLost at its end",
        ),
        (
            "the node is lost, as older controllers say it",
            backoff(),
            Some(json!({"phase": "Failed", "reason": "NodeLost", "message": "Node n which was running pod p is unresponsive"})),
            "PodLost",
        ),
        (
            "kubelet came back and does not know the container any more",
            backoff(),
            Some(
                json!({"phase": "Failed", "containerStatuses": exit(137, "ContainerStatusUnknown", "The container could not be located when the pod was terminated")}),
            ),
            "PodLost at its end",
        ),
        (
            "killed for its memory",
            backoff(),
            Some(json!({"phase": "Failed", "containerStatuses": exit(137, "OOMKilled", "")})),
            "OutOfMemory",
        ),
        (
            "killed for its memory, and evicted for it as well",
            backoff(),
            Some(json!({"phase": "Failed", "reason": "Evicted", "message": low, "containerStatuses": exit(137, "OOMKilled", "")})),
            "OutOfMemory",
        ),
        (
            "the image has no such command",
            backoff(),
            Some(
                json!({"phase": "Failed", "containerStatuses": exit(128, "StartError", "failed to create containerd task: exec: \"/bin/x\": no such file or directory")}),
            ),
            "PodNotStarted before its start",
        ),
        (
            "exit code 1 without a word",
            backoff(),
            Some(json!({"phase": "Failed", "containerStatuses": exit(1, "Error", "")})),
            "ExecutorFailed at its end",
        ),
        ("signal 9", backoff(), Some(json!({"phase": "Failed", "containerStatuses": exit(137, "Error", "")})), "ExecutorFailed at its end"),
        (
            "signal 11",
            backoff(),
            Some(json!({"phase": "Failed", "containerStatuses": exit(139, "Error", "")})),
            "ExecutorFailed at its end",
        ),
        ("signal 15", backoff(), Some(json!({"phase": "Failed", "containerStatuses": exit(143, "Error", "")})), "Interrupted at its end"),
        (
            "the node refuses the pod",
            backoff(),
            Some(
                json!({"phase": "Failed", "reason": "OutOfmemory", "message": "Pod was rejected: Node didn't have enough resource: memory, requested: 2, used: 1, capacity: 2"}),
            ),
            "Unschedulable",
        ),
        (
            "the Job's deadline, as the Job has it",
            failed("DeadlineExceeded"),
            Some(json!({"phase": "Failed", "containerStatuses": exit(143, "Error", "")})),
            "DeadlineExceeded at its end",
        ),
        ("the Job's deadline, its pod gone already", failed("DeadlineExceeded"), None, "DeadlineExceeded"),
        (
            "a deadline of the pod itself",
            backoff(),
            Some(
                json!({"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline", "containerStatuses": exit(137, "Error", "")}),
            ),
            "DeadlineExceeded at its end",
        ),
        ("somebody deleted the pod", backoff(), None, "PodLost"),
        ("somebody drained the node, and the pod is gone already", failed("PodFailurePolicy"), None, "Evicted"),
        (
            "the node is gone, and the Job says no more than that its pod was disrupted",
            failed("PodFailurePolicy"),
            Some(json!({"phase": "Failed", "conditions": disruption("DeletionByPodGC", "PodGC: node no longer exists")})),
            "PodLost",
        ),
        ("the pod ended, and nobody knows how", backoff(), Some(json!({"phase": "Failed"})), "PodLost"),
        (
            "the image cannot be pulled",
            running(),
            Some(
                json!({"phase": "Pending", "containerStatuses": container(json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x/y:1\": ErrImagePull: not found"}}))}),
            ),
            "ImagePullFailed before its start",
        ),
        (
            "no node takes it",
            running(),
            Some(
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]}),
            ),
            "Unschedulable before its start",
        ),
        (
            "its volume does not come",
            running(),
            Some(
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}], "containerStatuses": container(json!({"waiting": {"reason": "ContainerCreating"}}))}),
            ),
            "PodNotStarted before its start",
        ),
        ("no pod is made: quota, Pod Security, ServiceAccount", running(), None, "PodNotStarted before its start"),
        (
            "its node does not answer",
            running(),
            Some(
                json!({"phase": "Running", "reason": "NodeLost", "containerStatuses": container(json!({"running": {"startedAt": CREATED}}))}),
            ),
            "waiting PodLost: node unknown of Pod p does not answer",
        ),
        (
            "it runs",
            running(),
            Some(json!({"phase": "Running", "containerStatuses": container(json!({"running": {"startedAt": CREATED}}))})),
            "running",
        ),
    ];
    for (case, job, status, expected) in cases {
        let pods: Vec<Pod> = status.into_iter().map(pod).collect();
        assert_eq!(told(&job, &pods), expected, "{case}");
    }
}

#[test]
fn texts_name_the_signal_and_what_kubelet_said() {
    let text = |status: Value| match fate(&failed("x"), &[pod(status)], None, SignedDuration::ZERO, at(0)) {
        Fate::Ended(message) => silence(&message, "no report").text,
        Fate::Lost { failure, .. } => failure.text,
        other @ (Fate::Waiting { .. } | Fate::Running) => format!("{other:?}"),
    };
    assert_eq!(
        text(json!({"phase": "Failed", "containerStatuses": exit(137, "Error", "")})),
        "signal 9 ended the container: no report; if its node was short of memory, raise its resources.requests.memory"
    );
    assert_eq!(text(json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"})), "Pod p was evicted: low on disk");
    assert_eq!(
        text(json!({"phase": "Failed", "containerStatuses": exit(128, "StartError", "no such file")})),
        "the container of Pod p could not be started (StartError): no such file"
    );
}
