//! How Jobs and pods as YAML are read.

use super::*;

fn job(status: &str) -> Job {
    serde_saphyr::from_str(&format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: j, namespace: demo, uid: job-uid, creationTimestamp: \"2024-10-29T12:00:00Z\"}}\nstatus: {{{status}}}"
    ))
    .unwrap()
}

fn complete() -> Job {
    job("conditions: [{type: Complete, status: \"True\"}]")
}

fn failed_job() -> Job {
    job("conditions: [{type: Failed, status: \"True\"}]")
}

fn pod(owner: &str, status: &str) -> Pod {
    serde_saphyr::from_str(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: demo, creationTimestamp: \"2024-10-29T12:00:01Z\", ownerReferences: [{{apiVersion: batch/v1, kind: Job, name: j, uid: {owner}, controller: true}}]}}\nstatus: {{{status}}}"
    ))
    .unwrap()
}

fn container(state: &str) -> String {
    format!("containerStatuses: [{{name: discover, image: i, imageID: i, ready: false, restartCount: 0, state: {{{state}}}}}]")
}

fn ended(code: i32, message: &str) -> String {
    container(&format!("terminated: {{exitCode: {code}, message: '{message}'}}"))
}

const GOOD: &str = r#"{"complete": true, "repositoryId": "r", "found": 2}"#;

#[test]
fn a_report_counts_only_from_the_jobs_own_pod_and_if_the_job_agrees() {
    let refused = r#"{"complete": false, "repositoryId": "", "found": 0, "cause": "StorageUnreachable", "error": "e"}"#;
    for (case, job, pods, expected) in [
        ("good", complete(), vec![pod("job-uid", &ended(0, GOOD))], Ok(2)),
        ("a stranger's pod", complete(), vec![pod("other", &ended(0, GOOD))], Err(Cause::PodLost)),
        ("no pod", complete(), vec![], Err(Cause::PodLost)),
        ("unreadable", complete(), vec![pod("job-uid", &ended(0, "done"))], Err(Cause::ExecutorFailed)),
        ("good words, failed job", failed_job(), vec![pod("job-uid", &ended(1, GOOD))], Err(Cause::ExecutorFailed)),
        ("refused", failed_job(), vec![pod("job-uid", &ended(2, refused))], Err(Cause::StorageUnreachable)),
        (
            "killed",
            failed_job(),
            vec![pod("job-uid", &container("terminated: {exitCode: 137, reason: OOMKilled}"))],
            Err(Cause::OutOfMemory),
        ),
        ("evicted", failed_job(), vec![pod("job-uid", "reason: Evicted, message: low on disk")], Err(Cause::Evicted)),
        (
            "too long",
            failed_job(),
            vec![pod("job-uid", &format!("reason: DeadlineExceeded, {}", container("terminated: {exitCode: 143}")))],
            Err(Cause::DeadlineExceeded),
        ),
    ] {
        let report = report(&job, &pods, "2024-10-29T12:00:02Z".parse().unwrap(), SignedDuration::from_mins(10)).unwrap();
        let answer = report.cause.map_or(Ok(report.found), Err);
        assert_eq!((answer, report.complete), (expected, expected.is_ok()), "{case}");
    }
}

#[test]
fn a_container_that_does_not_start_is_given_time_and_then_a_cause() {
    let patience = SignedDuration::from_mins(10);
    let pulling = container("waiting: {reason: ImagePullBackOff, message: no such image}");
    let mounting = container("waiting: {reason: ContainerCreating}");
    let unscheduled = "conditions: [{type: PodScheduled, status: \"False\", message: 0/1 nodes fit}]";
    for (minutes, pods, expected) in [
        (9, vec![pod("job-uid", &pulling)], None),
        (10, vec![pod("job-uid", &pulling)], Some(Cause::ImagePullFailed)),
        (10, vec![pod("job-uid", &mounting)], Some(Cause::PodNotStarted)),
        (10, vec![pod("job-uid", unscheduled)], Some(Cause::Unschedulable)),
        (10, vec![], Some(Cause::PodNotStarted)),
        (10, vec![pod("job-uid", &container("running: {}"))], None),
        (10, vec![pod("other", &container("running: {}"))], Some(Cause::PodNotStarted)),
    ] {
        let now = "2024-10-29T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minutes);
        let report = report(&job(""), &pods, now, patience);
        assert_eq!(report.and_then(|report| report.cause), expected, "{minutes} {pods:?}");
    }
}
