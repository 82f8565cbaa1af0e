//! What Jobs and pods say, and that nothing else is believed.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::facts::{DUMP_ID, POD_ID, World, at, from, pod, report, terminated};
use crate::restore::known::place;

/// The ending of a run whose Job failed or completed, with these pods.
fn ending(condition: &str, pods: Vec<Pod>) -> String {
    let mut world = World::new().started();
    world.finish("pod", condition, "x");
    world.pods = pods;
    world.ending(at(10))
}

fn with_report(condition: &str, code: i32, report: &Value) -> String {
    ending(condition, vec![pod("pod", "Succeeded", terminated(code, &report.to_string()))])
}

fn edited(mut report: Value, pointer: &str, value: Value) -> Value {
    *report.pointer_mut(pointer).unwrap() = value;
    report
}

#[test]
fn a_report_of_the_right_pod_about_the_right_thing_decides() {
    let verified = report("Verified", None);
    for (condition, code, report, expected) in [
        ("Complete", 0, verified.clone(), "Verified - Succeeded"),
        ("Failed", 1, report("VerificationFailed", Some("PackDamaged")), "VerificationFailed PackDamaged Failed"),
        ("Failed", 2, report("Inconclusive", Some("StorageUnreachable")), "Inconclusive StorageUnreachable Failed"),
        (
            "Failed",
            2,
            edited(report("Inconclusive", Some("RepositoryNotFound")), "/snapshot", json!(null)),
            "Inconclusive RepositoryNotFound Failed",
        ),
        (
            "Failed",
            1,
            edited(report("VerificationFailed", Some("KeysDamaged")), "/snapshot", json!(null)),
            "VerificationFailed KeysDamaged Failed",
        ),
        // Less was read back than restored: not proven, whatever the executor says.
        ("Complete", 0, edited(verified.clone(), "/readBack/bytes", json!(2047)), "Inconclusive ReadBackIncomplete Failed"),
        // Outcome and exit code, Job and cause contradict each other.
        ("Failed", 1, verified.clone(), "Inconclusive ExecutorFailed Failed"),
        ("Failed", 0, verified.clone(), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, report("VerificationFailed", Some("PackDamaged")), "Inconclusive ExecutorFailed Failed"),
        ("Failed", 2, report("VerificationFailed", Some("PackDamaged")), "Inconclusive ExecutorFailed Failed"),
        ("Failed", 1, report("VerificationFailed", None), "Inconclusive ExecutorFailed Failed"),
        ("Failed", 1, report("VerificationFailed", Some("StorageUnreachable")), "Inconclusive ExecutorFailed Failed"),
        ("Failed", 2, report("Inconclusive", Some("PackDamaged")), "Inconclusive ExecutorFailed Failed"),
        ("Failed", 2, report("Inconclusive", None), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, report("Verified", Some("StaleLock")), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, report("Skipped", None), "Inconclusive ExecutorFailed Failed"),
        // About something else.
        ("Complete", 0, edited(verified.clone(), "/identity/sessionUid", json!("other")), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, edited(verified.clone(), "/identity/attempt", json!(2)), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, edited(verified.clone(), "/identity/component", json!("dump")), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, edited(verified.clone(), "/identity", json!({})), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, edited(verified.clone(), "/snapshot/id", json!("b".repeat(64))), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, edited(verified.clone(), "/snapshot/id", json!(&POD_ID[..8])), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, edited(verified.clone(), "/snapshot", json!(null)), "Inconclusive ExecutorFailed Failed"),
        (
            "Failed",
            1,
            edited(report("VerificationFailed", Some("PackDamaged")), "/snapshot/id", json!("b".repeat(64))),
            "Inconclusive ExecutorFailed Failed",
        ),
        // No report at all.
        ("Complete", 0, json!({}), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, json!("Verified"), "Inconclusive ExecutorFailed Failed"),
        ("Complete", 0, edited(verified.clone(), "/outcome", json!("Fine")), "Inconclusive ExecutorFailed Failed"),
    ] {
        assert_eq!(with_report(condition, code, &report), expected, "{condition} {code} {report}");
    }
    assert_eq!(ending("Complete", vec![pod("pod", "Succeeded", terminated(0, ""))]), "Inconclusive ExecutorFailed Failed");
    assert_eq!(
        ending("Failed", vec![pod("pod", "Failed", terminated(64, "error: unexpected argument"))]),
        "Inconclusive ExecutorFailed Failed"
    );
    assert_eq!(ending("Complete", vec![]), "Inconclusive PodLost Failed");
}

/// The other component's figures must not hide it.
#[test]
fn a_component_of_which_nothing_came_is_not_proven() {
    let nothing = json!({"files": 0, "directories": 0, "bytes": 0});
    for (restored, allow_empty, expected) in [
        (nothing.clone(), false, "Inconclusive ReadBackIncomplete Failed"),
        (nothing, true, "Verified - Succeeded"),
        (json!({"files": 1, "directories": 0, "bytes": 0}), false, "Verified - Succeeded"),
    ] {
        let mut world = World::of_two();
        world.owner.run.allow_empty = allow_empty;
        let mut world = world.started();
        let dump = edited(edited(report("Verified", None), "/identity/component", json!("dump")), "/snapshot/id", json!(DUMP_ID));
        let dump = edited(edited(dump, "/restored", restored.clone()), "/readBack", restored.clone());
        for (component, report) in [("pod", report("Verified", None)), ("dump", dump)] {
            world.finish(component, "Complete", "x");
            world.pods.push(pod(component, "Succeeded", terminated(0, &report.to_string())));
        }
        assert_eq!(world.ending(at(10)), expected, "{restored} {allow_empty}");
    }
}

#[test]
fn the_message_says_the_cause_once() {
    for (error, expected) in [
        (json!("PackDamaged data/12: blob 3 does not match its id"), "data/12: blob 3 does not match its id"),
        (json!("PackDamaged: blob 3"), "blob 3"),
        (json!("blob 3 does not match its id"), "blob 3 does not match its id"),
        (json!("PackDamaged"), "A pack file holds data that does not decrypt, does not decompress, or does not match its id."),
        (json!(null), "A pack file holds data that does not decrypt, does not decompress, or does not match its id."),
    ] {
        let mut world = World::new().started();
        world.finish("pod", "Failed", "x");
        let report = edited(report("VerificationFailed", Some("PackDamaged")), "/error", error.clone());
        world.pods = vec![pod("pod", "Failed", terminated(1, &report.to_string()))];
        let status = world.decide(at(10)).unwrap().status;
        assert_eq!(
            (status.message.as_str(), status.components["pod"].error.clone()),
            (expected, format!("PackDamaged: {expected}")),
            "{error}"
        );
    }
}

#[test]
fn a_forged_pod_or_job_is_never_believed() {
    let good = || pod("pod", "Succeeded", terminated(0, &report("Verified", None).to_string()));
    let forged = |change: fn(&mut Pod)| {
        let mut pod = good();
        change(&mut pod);
        ending("Complete", vec![pod])
    };
    let owner = |pod: &mut Pod| pod.metadata.owner_references.as_mut().unwrap().swap_remove(0);
    assert_eq!(forged(|_| {}), "Verified - Succeeded");
    assert_eq!(forged(|pod| pod.metadata.owner_references = None), "Inconclusive PodLost Failed");
    assert_eq!(forged(|pod| pod.metadata.owner_references.as_mut().unwrap()[0].uid = "u-job-other".into()), "Inconclusive PodLost Failed");
    assert_eq!(forged(|pod| pod.metadata.owner_references.as_mut().unwrap()[0].controller = None), "Inconclusive PodLost Failed");
    assert_eq!(forged(|pod| pod.metadata.owner_references.as_mut().unwrap()[0].kind = "ReplicaSet".into()), "Inconclusive PodLost Failed");
    assert_eq!(forged(|pod| pod.metadata.namespace = Some("other".into())), "Inconclusive PodLost Failed");
    let foreign = |pod: &mut Pod| pod.spec.as_mut().unwrap().containers[0].image = Some("somebody/else:1".into());
    assert_eq!(forged(foreign), "Inconclusive PodLost Failed");
    // A second pod that names our Job as its owner: nobody knows which of them to believe.
    let mut second = good();
    second.metadata.name = Some("forged".into());
    assert_eq!(ending("Complete", vec![good(), second]), "Inconclusive ExecutorFailed Failed");
    // A sidecar that somebody injected speaks for itself only.
    let mut injected = good();
    injected.spec.as_mut().unwrap().containers.push(from(json!({"name": "sidecar"})));
    let status = injected.status.as_mut().unwrap().container_statuses.as_mut().unwrap();
    status[0].state = from(terminated(1, ""));
    status.push(from(json!({"name": "sidecar", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": terminated(0, &report("Verified", None).to_string())})));
    assert_eq!(ending("Complete", vec![injected]), "Inconclusive ExecutorFailed Failed");
    // The Job was made again under its name: its UID is another.
    let mut world = World::new().started();
    world.finish("pod", "Complete", "x");
    world.jobs[0].metadata.uid = Some("u-job-again".into());
    let mut pod = good();
    let mut reference = owner(&mut pod);
    reference.uid = "u-job-again".into();
    pod.metadata.owner_references = Some(vec![reference]);
    world.pods = vec![pod];
    assert_eq!(world.ending(at(10)), "Inconclusive JobDeleted Failed");
}

#[test]
fn every_early_end_has_its_cause() {
    let with_status = |status: Value| {
        let mut world = World::new().started();
        world.finish("pod", "Failed", "BackoffLimitExceeded");
        let mut pod = pod("pod", "Failed", json!({}));
        pod.status = from(status);
        world.pods = vec![pod];
        world.ending(at(10))
    };
    let state = |state: Value| json!([{"name": "logical-backup-restore-0", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
    let oom =
        json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": at(2).to_string(), "finishedAt": at(3).to_string()}});
    let killed = terminated(137, "");
    let disrupted = |reason: &str| json!([{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}]);
    for (status, expected) in [
        (json!({"phase": "Failed", "containerStatuses": state(oom)}), "Inconclusive OutOfMemory Failed"),
        (json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk"}), "Inconclusive Evicted Failed"),
        (json!({"phase": "Failed", "reason": "Evicted", "containerStatuses": state(killed.clone())}), "Inconclusive Evicted Failed"),
        (
            json!({"phase": "Failed", "conditions": disrupted("EvictionByEvictionAPI"), "containerStatuses": state(killed.clone())}),
            "Inconclusive Evicted Failed",
        ),
        (json!({"phase": "Failed", "conditions": disrupted("PreemptionByScheduler")}), "Inconclusive Evicted Failed"),
        (json!({"phase": "Failed", "conditions": disrupted("DeletionByPodGC")}), "Inconclusive PodLost Failed"),
        (json!({"phase": "Failed", "reason": "NodeLost"}), "Inconclusive PodLost Failed"),
        (json!({"phase": "Failed"}), "Inconclusive PodLost Failed"),
        (json!({"phase": "Failed", "containerStatuses": state(killed)}), "Inconclusive ExecutorFailed Failed"),
        (
            json!({"phase": "Failed", "containerStatuses": state(json!({"terminated": {"exitCode": 128, "reason": "StartError", "message": "no such file"}}))}),
            "Inconclusive PodNotStarted Failed",
        ),
    ] {
        assert_eq!(with_status(status.clone()), expected, "{status}");
    }
    let mut deadline = World::new().started();
    deadline.finish("pod", "Failed", "DeadlineExceeded");
    assert_eq!(deadline.ending(at(10)), "Inconclusive DeadlineExceeded Failed");
    let mut deleted = World::new().started();
    deleted.jobs.clear();
    assert_eq!(deleted.ending(at(10)), "Inconclusive JobDeleted Failed");
    let mut started_by_others = World::new().started();
    started_by_others.jobs[0].spec.as_mut().unwrap().active_deadline_seconds = None;
    assert_eq!(started_by_others.ending(at(10)), "Inconclusive PinnedFactsChanged Failed");
}

#[test]
fn a_container_that_does_not_start_is_given_up_in_time() {
    let waiting = |reason: &str| vec![pod("pod", "Pending", json!({"waiting": {"reason": reason, "message": "m"}}))];
    let unscheduled = || {
        let mut pod = pod("pod", "Pending", json!({}));
        pod.status = from(
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]}),
        );
        vec![pod]
    };
    // The Job started at minute 1, and 10 minutes is the limit.
    for (pods, early, late) in [
        (waiting("ImagePullBackOff"), "- - Running", "Inconclusive ImagePullFailed Failed"),
        (waiting("ErrImagePull"), "- - Running", "Inconclusive ImagePullFailed Failed"),
        (waiting("InvalidImageName"), "Inconclusive ImagePullFailed Failed", "Inconclusive ImagePullFailed Failed"),
        (waiting("ErrImageNeverPull"), "Inconclusive ImagePullFailed Failed", "Inconclusive ImagePullFailed Failed"),
        (waiting("CreateContainerConfigError"), "- - Running", "Inconclusive PodNotStarted Failed"),
        (waiting("ContainerCreating"), "- - Running", "Inconclusive PodNotStarted Failed"),
        (unscheduled(), "- - Running", "Inconclusive Unschedulable Failed"),
        (vec![], "- - Running", "Inconclusive PodNotStarted Failed"),
        (vec![pod("pod", "Running", json!({"running": {"startedAt": at(2).to_string()}}))], "- - Running", "- - Running"),
    ] {
        let mut world = World::new().started();
        world.pods = pods;
        assert_eq!((world.ending(at(10)).as_str(), world.ending(at(11)).as_str()), (early, late), "{:?}", world.pods);
    }
}

#[test]
fn why_it_waits_is_told_once() {
    let mut world = World::new().started();
    world.pods = vec![pod("pod", "Pending", json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}))];
    let first = world.decide(at(5)).unwrap();
    assert_eq!(first.status.message, "ImagePullFailed: the container of Pod pod-pod does not start (ImagePullBackOff): not found");
    assert_eq!(first.notes.iter().map(|note| note.reason).collect::<Vec<_>>(), ["RestoreWaiting"]);
    assert_eq!(first.wake, Some(jiff::SignedDuration::from_mins(6)));
    world.restore.status = Some(first.status.clone());
    let second = world.decide(at(6)).unwrap();
    assert_eq!(
        (second.status, second.notes.len(), second.effects.len()),
        (first.status, 0, 0),
        "nothing is written when nothing but time changed"
    );
}

#[test]
fn a_container_that_finished_in_time_counts_even_if_it_is_read_late() {
    let verified = report("Verified", None).to_string();
    for (minute, expected) in [(359, "Verified - Succeeded"), (360, "Verified - Succeeded"), (361, "Inconclusive DeadlineExceeded Failed")]
    {
        let mut world = World::new().started();
        world.finish("pod", "Complete", "x");
        let mut state = terminated(0, &verified);
        state["terminated"]["finishedAt"] = at(minute).to_string().into();
        world.pods = vec![pod("pod", "Succeeded", state)];
        assert_eq!(world.ending(at(1000)), expected, "{minute}");
    }
    // The Job was stopped at its deadline just after its container had ended.
    let mut world = World::new().started();
    world.finish("pod", "Failed", "DeadlineExceeded");
    world.pods = vec![pod("pod", "Failed", terminated(1, &report("VerificationFailed", Some("PackDamaged")).to_string()))];
    assert_eq!(world.ending(at(1000)), "VerificationFailed PackDamaged Failed");
}

#[test]
fn who_was_told_to_stop_ends_with_the_reason_of_whoever_stopped_it() {
    let interrupted = terminated(2, &edited(report("Inconclusive", Some("Interrupted")), "/error", json!("told to stop")).to_string());
    let ended = |reason: &str, status: Value| {
        let mut world = World::new().started();
        world.finish("pod", "Failed", reason);
        let mut pod = pod("pod", "Failed", interrupted.clone());
        let mut merged = serde_json::to_value(pod.status.take().unwrap()).unwrap();
        merged.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        pod.status = from(merged);
        world.pods = vec![pod];
        world.ending(at(10))
    };
    let drained = json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]});
    assert_eq!(ended("DeadlineExceeded", json!({})), "Inconclusive DeadlineExceeded Failed");
    assert_eq!(ended("BackoffLimitExceeded", drained), "Inconclusive Evicted Failed");
    assert_eq!(ended("BackoffLimitExceeded", json!({"reason": "Evicted"})), "Inconclusive Evicted Failed");
    assert_eq!(ended("BackoffLimitExceeded", json!({})), "Inconclusive Interrupted Failed");
}

#[test]
fn a_key_that_vanished_since_an_earlier_run_is_a_defect_and_a_wrong_password_is_not() {
    let mut seen = json!({"id": "r", "version": 2, "keys": ["k1", "k2"], "passwordFingerprint": "p"});
    let World { inputs, .. } = World::new();
    seen["place"] = place(inputs.repository.as_ref().unwrap(), inputs.storage.as_ref().unwrap()).into();
    let ending_at = |path: &str, now: Value| {
        let mut world = World::new();
        world.inputs.repository.as_mut().unwrap().spec.path = path.into();
        let opened = json!({"repository/v1/daily/pod": seen}).to_string();
        world.inputs.repository.as_mut().unwrap().metadata.annotations = Some([("backproof.dev/opened".to_owned(), opened)].into());
        let mut world = world.started();
        world.finish("pod", "Failed", "x");
        let mut report = edited(report("Inconclusive", Some("EncryptionKeyRejected")), "/snapshot", json!(null));
        report["repository"] = now;
        world.pods = vec![pod("pod", "Failed", terminated(2, &report.to_string()))];
        world.ending(at(10))
    };
    let ending = |now: Value| ending_at("/shop", now);
    let now = |keys: &[&str], fingerprint: &str| json!({"id": "", "version": 0, "keys": keys, "passwordFingerprint": fingerprint});
    assert_eq!(ending(now(&["k2"], "p")), "VerificationFailed EncryptionKeyLost Failed");
    assert_eq!(ending(now(&["k2"], "q")), "Inconclusive EncryptionKeyRejected Failed");
    assert_eq!(ending(now(&["k1", "k2"], "p")), "Inconclusive EncryptionKeyRejected Failed");
    // The Repository names another path now, where another repository lies.
    assert_eq!(ending_at("/other", now(&["k3"], "p")), "Inconclusive EncryptionKeyRejected Failed");
}

#[test]
fn how_a_green_run_opened_the_repository_is_kept() {
    let effects = |outcome: (&str, Option<&str>, i32, &str), fingerprint: &str| {
        let mut world = World::new().started();
        world.finish("pod", outcome.3, "x");
        let mut report = report(outcome.0, outcome.1);
        report["repository"] = json!({"id": "r", "version": 2, "keys": ["k1"], "passwordFingerprint": fingerprint});
        world.pods = vec![pod("pod", "Succeeded", terminated(outcome.2, &report.to_string()))];
        world.decide(at(10)).unwrap().effects.iter().map(super::run::describe).collect::<Vec<_>>()
    };
    assert_eq!(effects(("Verified", None, 0, "Complete"), "p"), ["remember repository/v1/daily/pod"]);
    assert_eq!(effects(("Verified", None, 0, "Complete"), ""), [] as [&str; 0]);
    assert_eq!(effects(("VerificationFailed", Some("PackDamaged"), 1, "Failed"), "p"), [] as [&str; 0]);
}
