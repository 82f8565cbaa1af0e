//! What is believed of a foreign Function: a table over Jobs, pods and what it wrote.

use serde_json::{Value, json};

use super::*;

fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn job(condition: Option<&str>) -> Job {
    let conditions: Vec<Value> = condition.iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
    from(json!({
        "metadata": {"name": "j", "namespace": "demo", "uid": "u-job"},
        "status": {"startTime": "2026-01-01T00:00:00Z", "conditions": conditions},
    }))
}

fn pod(state: Value) -> Pod {
    from(json!({
        "metadata": {"name": "p", "namespace": "demo", "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u-job", "controller": true}]},
        "status": {"phase": "Succeeded", "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]},
    }))
}

fn ended(code: i32) -> Pod {
    pod(json!({"terminated": {"exitCode": code, "startedAt": "2026-01-01T00:00:01Z", "finishedAt": "2026-01-01T00:00:11Z"}}))
}

fn terms(pinned: &PinnedForeign) -> Terms<'_> {
    Terms {
        pinned,
        trusted: false,
        revoked: true,
        deadline: "2026-01-01T01:00:00Z".parse().unwrap(),
        start_timeout: SignedDuration::from_mins(10),
    }
}

fn told(reported: Reported) -> String {
    match reported {
        Reported::Succeeded { files, took } => format!("green {files} {}s", took.as_secs()),
        Reported::Failed { failure, .. } => failure.cause.to_string(),
        other @ (Reported::Waiting { .. } | Reported::Running | Reported::MayStillWrite) => format!("{other:?}"),
    }
}

const NOW: &str = "2026-01-01T00:00:20Z";

#[test]
fn only_a_whole_success_of_a_job_that_ended_well_is_one() {
    let done = json!({"filesDone": 7, "totalFiles": 7, "percentDone": "100%"});
    let with = |phase: &str, progress: &Value| json!({"phase": phase, "progress": progress});
    let plain = PinnedForeign::default();
    for (case, condition, pods, component, expected) in [
        ("whole", Some("Complete"), vec![ended(0)], with("Succeeded", &done), "green 7 10s"),
        ("a dump has no files", Some("Complete"), vec![ended(0)], with("Succeeded", &json!({"percentDone": "100.00%"})), "green 0 10s"),
        ("no figure", Some("Complete"), vec![ended(0)], json!({"phase": "Succeeded"}), "ReadBackIncomplete"),
        ("an empty figure", Some("Complete"), vec![ended(0)], with("Succeeded", &json!({"speed": "1MB/s"})), "ReadBackIncomplete"),
        (
            "a part",
            Some("Complete"),
            vec![ended(0)],
            with("Succeeded", &json!({"percentDone": "7.48%", "filesDone": 1, "totalFiles": 9})),
            "ReadBackIncomplete",
        ),
        (
            "all of nothing",
            Some("Complete"),
            vec![ended(0)],
            with("Succeeded", &json!({"filesDone": 0, "totalFiles": 0})),
            "ReadBackIncomplete",
        ),
        (
            "files missing at 100 %",
            Some("Complete"),
            vec![ended(0)],
            with("Succeeded", &json!({"percentDone": "100%", "filesDone": 8, "totalFiles": 9})),
            "ReadBackIncomplete",
        ),
        ("the Job failed", Some("Failed"), vec![ended(0)], with("Succeeded", &done), "ExecutorFailed"),
        ("the container failed", Some("Complete"), vec![ended(1)], with("Succeeded", &done), "ExecutorFailed"),
        ("no pod", Some("Complete"), vec![], with("Succeeded", &done), "PodLost"),
        ("it runs", None, vec![pod(json!({"running": {}}))], with("Succeeded", &done), "Running"),
        ("it says nothing", Some("Complete"), vec![ended(0)], json!({"phase": "Pending"}), "ExecutorFailed"),
        ("it did not finish", Some("Complete"), vec![ended(0)], with("Running", &done), "ExecutorFailed"),
        ("it does not know", Some("Complete"), vec![ended(0)], with("Unknown", &done), "ExecutorFailed"),
        ("a word of its own", Some("Complete"), vec![ended(0)], with("Fine", &done), "ExecutorFailed"),
        ("it failed", Some("Failed"), vec![ended(1)], json!({"phase": "Failed", "error": "PackDamaged: bad"}), "ExecutorFailed"),
        (
            "killed for its memory",
            Some("Failed"),
            vec![pod(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))],
            with("Succeeded", &done),
            "OutOfMemory",
        ),
    ] {
        let component: ComponentRestoreStatus = from(component);
        let found = told(judge(&job(condition), &pods, &component, terms(&plain), NOW.parse().unwrap()));
        assert_eq!(found, expected, "{case}");
        // Before its right to write is taken back, nothing that has ended is judged.
        if condition.is_some() {
            let early = judge(&job(condition), &pods, &component, Terms { revoked: false, ..terms(&plain) }, NOW.parse().unwrap());
            assert_eq!(early, Reported::MayStillWrite, "{case}");
        }
    }
    let late = Terms { deadline: "2026-01-01T00:00:10Z".parse().unwrap(), ..terms(&plain) };
    let whole: ComponentRestoreStatus = from(with("Succeeded", &done));
    assert_eq!(told(judge(&job(Some("Complete")), &[ended(0)], &whole, late, NOW.parse().unwrap())), "DeadlineExceeded");
    // Where its word is enough, it still must not contradict itself.
    let trusting = Terms { trusted: true, ..terms(&plain) };
    for (progress, expected) in [(json!({}), "green 0 10s"), (json!({"percentDone": "50%"}), "ReadBackIncomplete")] {
        let component: ComponentRestoreStatus = from(with("Succeeded", &progress));
        assert_eq!(told(judge(&job(Some("Complete")), &[ended(0)], &component, trusting, NOW.parse().unwrap())), expected);
    }
}

#[test]
fn a_failure_is_red_only_where_the_function_promises_to_name_it_and_does() {
    for (contract, error, expected) in [
        (false, "PackDamaged: pack ab", "ExecutorFailed"),
        (true, "PackDamaged: pack ab", "PackDamaged"),
        (true, "StorageUnreachable: no route", "StorageUnreachable"),
        (true, "StaleLock: a finding is no failure", "ExecutorFailed"),
        (true, "it broke", "ExecutorFailed"),
        (true, "Broken: something", "ExecutorFailed"),
        (true, "", "ExecutorFailed"),
    ] {
        let component: ComponentRestoreStatus = from(json!({"phase": "Failed", "error": error}));
        let pinned = PinnedForeign { verdict_contract: contract };
        assert_eq!(
            told(judge(&job(Some("Failed")), &[ended(1)], &component, terms(&pinned), NOW.parse().unwrap())),
            expected,
            "{contract} {error}"
        );
    }
}

#[test]
fn why_the_target_could_not_be_prepared_is_told() {
    let mut pod = pod(json!({"waiting": {"reason": "PodInitializing"}}));
    let status = pod.status.as_mut().unwrap();
    status.phase = Some("Failed".into());
    status.init_container_statuses = Some(vec![from(json!({
        "name": "prepare", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 2, "message": "TargetNotEmpty: /t: it holds data"}},
    }))]);
    let plain = PinnedForeign::default();
    let found = judge(&job(Some("Failed")), &[pod], &ComponentRestoreStatus::default(), terms(&plain), NOW.parse().unwrap());
    let Reported::Failed { failure, .. } = found else { panic!("{found:?}") };
    assert_eq!(failure.line(), "TargetNotEmpty: /t: it holds data");
}

#[test]
fn what_it_may_do_is_about_one_restore_and_goes_with_its_job() {
    let restore: RestoreSession =
        from(json!({"metadata": {"name": "r", "namespace": "demo", "labels": {"backproof.dev/session-uid": "u-session"}}, "spec": {}}));
    let Rights { account, role, bindings } = rights(&job(None), &restore);
    let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u-job", "controller": true}]);
    let labels = json!({"app.kubernetes.io/managed-by": "kubestash.com", "backproof.dev/session-uid": "u-session"});
    let metadata = |name: &str| json!({"name": name, "namespace": "demo", "labels": labels, "ownerReferences": owner});
    assert_eq!(
        serde_json::to_value(&role).unwrap(),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata("j"),
            "rules": [{"apiGroups": ["core.kubestash.com"], "resources": ["restoresessions/status"], "resourceNames": ["r"], "verbs": ["get", "patch", "update"]}],
        })
    );
    assert_eq!(
        serde_json::to_value(&account).unwrap(),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("j"), "automountServiceAccountToken": false})
    );
    let binding = |name: &str, kind: &str, role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata(name),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": "j", "namespace": "demo"}],
        })
    };
    assert_eq!(
        serde_json::to_value(&bindings).unwrap(),
        json!([binding("j", "Role", "j"), binding("j-read", "ClusterRole", "backproof-foreign")])
    );
}
