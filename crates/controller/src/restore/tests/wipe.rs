//! The wiping of a target after the end of its session.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{
    facts::{CLAIM, SESSION, World, at, from, pod, report, terminated},
    run::describe,
};
use crate::restore::{decide::Decision, wipe};

/// A restore that is made, with its wipe.
fn always() -> World {
    let mut world = World::new();
    world.owner.run.wipe_target = true;
    world
}

/// A closed restore whose session ended at minute 6; its wipe's Job is made and waits.
fn closed() -> World {
    let mut world = always().started();
    world.finish("pod", "Complete", "x");
    world.pods = vec![pod("pod", "Succeeded", terminated(0, &report("Verified", None).to_string()))];
    let mut job = wipe::job(&world.planned().unwrap()[0].job, &world.owner, "image");
    job.metadata.uid = Some("u-job-wipe".into());
    job.metadata.resource_version = Some("9".into());
    let status = world.restore.status.as_mut().unwrap();
    status.wipe = Some(from(json!({"job": {"namespace": "demo", "name": job.metadata.name, "uid": "u-job-wipe"}})));
    world.jobs.push(job);
    world.restore.status = Some(world.decide(at(5)).unwrap().status);
    over(&mut world);
    world
}

pub(super) fn over(world: &mut World) {
    world.owner.session.status = Some(from(json!({
        "phase": "Succeeded",
        "conditions": [{"type": "VerificationSessionHistoryCleaned", "status": "True", "lastTransitionTime": at(6).to_string()}],
    })));
}

/// Unsuspends the wipe's Job; its pod ended with this message, where there is one.
fn ran(code: i32, message: Option<&Value>) -> World {
    let mut world = closed();
    let job = world.jobs.last_mut().unwrap();
    let spec = job.spec.as_mut().unwrap();
    (spec.suspend, spec.active_deadline_seconds) = (Some(false), Some(100));
    job.status = Some(from(json!({"startTime": at(6).to_string()})));
    if let Some(message) = message {
        world.finish("wipe", if code == 0 { "Complete" } else { "Failed" }, "x");
        world.pods.push(wipe_pod(terminated(code, &message.to_string())));
    }
    world
}

fn wipe_pod(state: Value) -> Pod {
    let mut pod = pod("wipe", "Succeeded", state);
    pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].name = "wipe".into();
    pod
}

fn wiped(identity: &str) -> Value {
    json!({"identity": {"sessionUid": identity, "attempt": 1}, "wiped": true, "removed": 7})
}

/// What was done, and what stands in the status.
fn told(decision: &Decision) -> (Vec<String>, Option<bool>, Vec<&'static str>) {
    let wipe = decision.status.wipe.clone().unwrap_or_default();
    (decision.effects.iter().map(describe).collect(), wipe.wiped, decision.notes.iter().map(|note| note.reason).collect())
}

#[test]
fn the_job_is_the_restores_without_the_repository() {
    let world = always();
    let restore = world.planned().unwrap().remove(0).job;
    let job = serde_json::to_value(wipe::job(&restore, &world.owner, "backproof:1")).unwrap();
    assert_eq!(job["metadata"]["name"], "wipe-store-daily-1767225600-5e551011");
    assert_eq!(job["metadata"]["labels"]["backproof.dev/session-uid"], SESSION);
    assert_eq!(job["metadata"]["labels"].get("backproof.dev/component"), None);
    assert_eq!(job["spec"]["suspend"], true);
    let pod = &job["spec"]["template"]["spec"];
    let like = serde_json::to_value(&restore).unwrap()["spec"]["template"]["spec"].clone();
    assert_eq!((&pod["securityContext"], &pod["automountServiceAccountToken"]), (&like["securityContext"], &json!(false)));
    assert_eq!(pod["volumes"], json!([{"name": "backproof-target", "persistentVolumeClaim": {"claimName": "scratch"}}]));
    assert_eq!(
        pod["containers"],
        json!([{
            "name": "wipe", "image": "backproof:1", "command": ["/bin/backproof-executor"],
            "args": ["wipe", "--target=/backproof/target", "--report=/dev/termination-log"],
            "env": [{"name": "BACKPROOF_SESSION_UID", "value": SESSION}, {"name": "BACKPROOF_ATTEMPT", "value": "1"}, {"name": "BACKPROOF_CLAIM_UID", "value": CLAIM}],
            "volumeMounts": [{"name": "backproof-target", "mountPath": "/backproof/target"}],
            "securityContext": like["containers"][0]["securityContext"],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        }])
    );
}

#[test]
fn it_is_made_with_the_restore_and_started_only_when_the_session_is_over() {
    let names = |world: &World| world.decide(at(5)).unwrap().effects.iter().map(describe).collect::<Vec<_>>();
    assert_eq!(names(&always()), ["create store-daily-1767225600-pod-5e551011", "create wipe-store-daily-1767225600-5e551011"]);
    assert_eq!(names(&World::new()).len(), 1, "not asked for");
    let mut open = closed();
    open.owner.session.status = None;
    assert_eq!(told(&open.decide(at(7)).unwrap()), (vec![], None, vec![]), "whoever checks what was restored needs it");
    let mut deleted = closed();
    deleted.owner.session.metadata.deletion_timestamp = Some(from(json!("2026-01-01T00:00:00Z")));
    assert_eq!(told(&deleted.decide(at(7)).unwrap()), (vec![], None, vec![]));
    let decision = closed().decide(at(7)).unwrap();
    assert_eq!(told(&decision), (vec!["start u-job-wipe".into()], None, vec![]));
    assert_eq!(decision.status.verdict, Some(backproof_api::Verdict::Verified.into()));
}

#[test]
fn nobody_else_may_be_at_the_target() {
    let users = |pods: Vec<Pod>| {
        let mut world = closed();
        world.neighbours = pods;
        told(&world.decide(at(7)).unwrap())
    };
    let running = json!({"running": {}});
    let foreign = || {
        let mut pod = pod("x", "Running", running.clone());
        pod.metadata.owner_references = None;
        pod.metadata.labels = None;
        pod
    };
    assert_eq!(users(vec![foreign()]), (vec!["delete u-job-wipe".into()], Some(false), vec!["TargetNotWiped"]));
    assert_eq!(users(vec![pod("pod", "Running", running.clone())]), (vec![], None, vec![]), "its own restore's pod still runs");
    let mut verifier = foreign();
    verifier.metadata.labels = Some([("backproof.dev/session-uid".to_owned(), SESSION.to_owned())].into());
    assert_eq!(users(vec![verifier]), (vec![], None, vec![]), "another pod of the session still runs");
    let mut world = closed();
    world.neighbours = vec![foreign()];
    let mut observed = world.observed();
    observed.neighbours = None;
    let installation = crate::restore::plan::Installation { config: &world.config, proxies: &[] };
    assert_eq!(crate::restore::decide::decide(&observed, installation, at(7)).unwrap().effects, [], "nothing without a fresh look");
}

#[test]
fn how_it_ends() {
    let left = |cause: &str| json!({"identity": {"sessionUid": SESSION, "attempt": 1}, "wiped": false, "cause": cause, "error": "uid 5 cannot remove x"});
    let failed = (vec![], Some(false), vec!["TargetNotWiped"]);
    for (code, message, expected) in [
        (0, wiped(SESSION), (vec![], Some(true), vec!["TargetWiped"])),
        (0, wiped("other"), failed.clone()),
        (2, wiped(SESSION), failed.clone()),
        (2, left("TargetNotWipeable"), failed.clone()),
        (0, left("TargetNotWipeable"), failed.clone()),
        (0, json!("done"), failed.clone()),
        (0, json!({"identity": {"sessionUid": SESSION, "attempt": 1, "component": "pod"}, "wiped": true}), failed.clone()),
    ] {
        let world = ran(code, Some(&message));
        let decision = world.decide(at(8)).unwrap();
        assert_eq!(told(&decision), expected, "{code} {message}");
        // The verdict and everything else of the closed status stay as they are.
        let (mut before, mut after) = (world.restore.status.clone().unwrap(), decision.status);
        (before.wipe, after.wipe) = (None, None);
        assert_eq!(before, after);
    }
    let remains = ran(2, Some(&left("TargetNotWipeable"))).decide(at(8)).unwrap().status.wipe.unwrap().message;
    assert!(remains.contains("scratch") && remains.contains("TargetNotWipeable: uid 5 cannot remove x"), "{remains}");
    let running = ran(0, None);
    let decision = running.decide(at(8)).unwrap();
    assert_eq!((told(&decision), decision.status.wipe.unwrap().started), ((vec![], None, vec![]), true));
    assert_eq!(told(&running.decide(at(66)).unwrap()), (vec!["delete u-job-wipe".into()], Some(false), vec!["TargetNotWiped"]));
    assert_eq!(
        told(&closed().decide(at(66)).unwrap()),
        (vec!["delete u-job-wipe".into()], Some(false), vec!["TargetNotWiped"]),
        "never started"
    );
    let mut gone = closed();
    gone.jobs.pop();
    assert_eq!(told(&gone.decide(at(7)).unwrap()), failed);
    let mut started_by_others = ran(0, None);
    started_by_others.jobs.last_mut().unwrap().spec.as_mut().unwrap().active_deadline_seconds = None;
    assert_eq!(told(&started_by_others.decide(at(7)).unwrap()).1, Some(false));
    // A crash between the status and the deletion is made up for.
    let mut crashed = closed();
    crashed.restore.status = Some(crashed.decide(at(66)).unwrap().status);
    assert_eq!(told(&crashed.decide(at(67)).unwrap()), (vec!["delete u-job-wipe".into()], Some(false), vec![]));
}

#[test]
fn a_wipe_that_nothing_was_written_for_is_taken_away() {
    let mut world = closed();
    world.restore.status.as_mut().unwrap().jobs[0].started = false;
    assert_eq!(told(&world.decide(at(7)).unwrap()).0, ["delete u-job-wipe"]);
}
