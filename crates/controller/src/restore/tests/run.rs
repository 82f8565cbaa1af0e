//! Whole runs: whom it serves, in which order it goes, how components fold, what is written.

use backproof_api::run::PinnedObject;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::facts::{DUMP_ID, POD_ID, SESSION, World, at, from, pod, report, terminated};
use crate::restore::decide::Effect;

fn effects(world: &World) -> Vec<String> {
    world.decide(at(5)).unwrap().effects.iter().map(describe).collect()
}

pub(super) fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Create(job) => format!("create {}", job.metadata.name.clone().unwrap()),
        Effect::CopySecrets { job, sources } => {
            let from: Vec<_> = sources.iter().map(|source| format!("{}/{}", source.namespace, source.name)).collect();
            format!("copy {} to {}/{}", from.join(","), job.namespace, job.name)
        }
        Effect::Remember { path, .. } => format!("remember {path}"),
        Effect::Delete(PinnedObject { uid, .. }) => format!("delete {uid}"),
        Effect::Grant(job) => format!("grant {}", job.metadata.uid.clone().unwrap()),
        Effect::Revoke(job) => format!("revoke {}", job.uid),
        Effect::Start { job, .. } => format!("start {}", job.uid),
    }
}

#[test]
fn only_the_one_we_made_is_served() {
    type Change = fn(&mut World);
    let cases: &[(&str, bool, Change)] = &[
        ("ours", true, |_| {}),
        ("no owner", false, |w| w.restore.metadata.owner_references = None),
        ("owner of another UID", false, |w| w.restore.metadata.owner_references.as_mut().unwrap()[0].uid = "x".into()),
        ("owner does not control", false, |w| w.restore.metadata.owner_references.as_mut().unwrap()[0].controller = None),
        ("owner of another group", false, |w| {
            w.restore.metadata.owner_references.as_mut().unwrap()[0].api_version = "core.example.com/v1".into()
        }),
        ("another name", false, |w| w.restore.metadata.name = Some("x".into())),
        ("another namespace", false, |w| w.restore.metadata.namespace = Some("x".into())),
        ("no label", false, |w| w.restore.metadata.labels = None),
        ("another spec", false, |w| w.restore.spec.data_source.as_mut().unwrap().snapshot = "other".into()),
        ("nothing pinned", false, |w| w.owner.run.restore_spec_hash.clear()),
        ("pinned to another", false, |w| w.owner.run.restore_session = Some(from(json!({"name": "x", "uid": "u-other"})))),
        ("pinned to this", true, |w| w.owner.run.restore_session = Some(from(json!({"name": "x", "uid": "u-restore"})))),
        ("about to be made", true, |w| w.owner.run.restore_session = Some(from(json!({"name": "x"})))),
        ("being deleted", false, |w| w.restore.metadata.deletion_timestamp = Some(from(json!("2026-01-01T00:00:00Z")))),
    ];
    for (name, served, change) in cases {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(world.decide(at(5)).is_some(), *served, "{name}");
    }
}

#[test]
fn a_run_goes_make_record_start_judge_close() {
    let mut world = World::new();
    assert_eq!(effects(&world), ["create store-daily-1767225600-pod-5e551011"]);
    // Made: its UID is recorded, and nothing is started before that is written.
    let mut job = world.planned().unwrap().remove(0).job;
    job.metadata.uid = Some("u-job-pod".into());
    job.metadata.resource_version = Some("7".into());
    world.jobs.push(job);
    world.made.insert("u-job-pod".into());
    let recorded = world.decide(at(5)).unwrap();
    assert_eq!(recorded.effects, []);
    assert_eq!(
        serde_json::to_value(&recorded.status).unwrap(),
        json!({
            "phase": "Running", "targetFound": true, "totalComponents": 1, "components": {"pod": {"phase": "Pending"}},
            "restoreDeadline": "2026-01-01T06:00:00Z", "startTime": "2026-01-01T00:05:00Z", "observedGeneration": 1,
            "dependencies": [{"kind": "Snapshot", "namespace": "demo", "name": "snap", "found": true}, {"kind": "Addon", "name": "backproof-pvc-addon", "found": true}],
            "conditions": [
                {"type": "ValidationPassed", "status": "True", "lastTransitionTime": "2026-01-01T00:05:00Z", "reason": "ResourceValidationPassed"},
                {"type": "RestoreExecutorEnsured", "status": "True", "lastTransitionTime": "2026-01-01T00:05:00Z", "reason": "SuccessfullyEnsuredRestoreExecutor"},
            ],
            "jobs": [{"component": "pod", "object": {"namespace": "demo", "name": "store-daily-1767225600-pod-5e551011", "uid": "u-job-pod"}, "attempt": 1, "started": false}],
        })
    );
    world.restore.status = Some(recorded.status);
    world.made.clear();
    assert_eq!(effects(&world), ["start u-job-pod"]);
    // Started.
    let spec = world.jobs[0].spec.as_mut().unwrap();
    (spec.suspend, spec.active_deadline_seconds) = (Some(false), Some(20_000));
    world.jobs[0].status = Some(from(json!({"startTime": at(6).to_string()})));
    let started = world.decide(at(6)).unwrap();
    assert_eq!((started.effects.len(), started.status.jobs[0].started), (0, true));
    assert_eq!(serde_json::to_value(&started.status.components).unwrap(), json!({"pod": {"phase": "Running"}}));
    world.restore.status = Some(started.status);
    // Ended.
    world.finish("pod", "Complete", "x");
    world.pods = vec![pod("pod", "Succeeded", terminated(0, &report("Verified", None).to_string()))];
    let closed = world.decide(at(7)).unwrap();
    assert_eq!(
        closed.notes.iter().map(|note| (note.reason, note.message.as_str())).collect::<Vec<_>>(),
        [("RestoreVerified", "restored and read back 3 files and 2 directories, 2.000 KiB in 2m0s")]
    );
    let mut status = serde_json::to_value(&closed.status).unwrap();
    assert_eq!(
        status["conditions"].take()[2],
        json!({"type": "MetricsPushed", "status": "True", "lastTransitionTime": "2026-01-01T00:07:00Z", "reason": "SuccessfullyPushedMetrics"})
    );
    let counts = json!({"files": 3, "directories": 2, "bytes": 2048});
    assert_eq!(
        status,
        json!({
            "phase": "Succeeded", "targetFound": true, "duration": "2m0s", "totalComponents": 1,
            "components": {"pod": {"phase": "Succeeded", "duration": "1m0s"}},
            "restoreDeadline": "2026-01-01T06:00:00Z", "startTime": "2026-01-01T00:05:00Z", "completionTime": "2026-01-01T00:07:00Z", "observedGeneration": 1,
            "dependencies": [{"kind": "Snapshot", "namespace": "demo", "name": "snap", "found": true}, {"kind": "Addon", "name": "backproof-pvc-addon", "found": true}],
            "conditions": null,
            "verdict": "Verified", "message": "restored and read back 3 files and 2 directories, 2.000 KiB",
            "evidence": {
                "source": "Executor", "restored": counts, "readBack": counts, "notCovered": ["manifest"], "resticIds": [POD_ID],
                "executor": "0.1.0", "images": ["localhost/backproof/backproof:dev"], "repository": {"id": "r", "version": 2},
            },
            "jobs": [{"component": "pod", "object": {"namespace": "demo", "name": "store-daily-1767225600-pod-5e551011", "uid": "u-job-pod"}, "attempt": 1, "started": true}],
        })
    );
    // Closed: nothing changes any more, whatever else is found.
    world.restore.status = Some(closed.status.clone());
    world.jobs.clear();
    world.pods.clear();
    let after = world.decide(at(9000)).unwrap();
    assert_eq!((after.status, after.effects.len(), after.notes.len()), (closed.status, 0, 0));
}

#[test]
fn a_job_that_is_there_already() {
    let with_job = |change: fn(&mut Value)| {
        let mut world = World::new();
        let mut job = serde_json::to_value(world.planned().unwrap().remove(0).job).unwrap();
        job["metadata"]["uid"] = "u-there".into();
        change(&mut job);
        world.jobs.push(from(job));
        world
    };
    // Never started and ours by label, but not recorded: made again.
    assert_eq!(effects(&with_job(|_| {})), ["delete u-there"]);
    assert_eq!(effects(&with_job(|job| job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into())), [] as [&str; 0]);
    for change in [
        (|job: &mut Value| job["metadata"]["labels"]["backproof.dev/session-uid"] = "other".into()) as fn(&mut Value),
        |job| job["spec"]["suspend"] = false.into(),
        |job| job["status"] = json!({"startTime": "2026-01-01T00:00:00Z"}),
    ] {
        let world = with_job(change);
        assert_eq!(world.ending(at(5)), "Inconclusive NameTaken Failed");
        assert_eq!(effects(&world), [] as [&str; 0], "what is not ours is not touched");
    }
}

#[test]
fn invalid_is_the_phase_of_what_can_never_work() {
    let mut world = World::new();
    world.inputs.claim = None;
    let decision = world.decide(at(5)).unwrap();
    assert_eq!(world.ending(at(5)), "Inconclusive TargetNotFound Invalid");
    assert_eq!((decision.status.target_found, decision.effects.len()), (Some(false), 0));
    assert_eq!(
        serde_json::to_value(&decision.status.conditions).unwrap()[0],
        json!({"type": "ValidationPassed", "status": "False", "lastTransitionTime": "2026-01-01T00:05:00Z", "reason": "ResourceValidationFailed",
            "message": "Failed to validate the restore. Reason: \"TargetNotFound: PersistentVolumeClaim demo/scratch does not exist; create it, with room for what is restored\""})
    );
    assert_eq!(decision.status.message, "PersistentVolumeClaim demo/scratch does not exist; create it, with room for what is restored");
}

fn user(phase: &str, state: Value) -> Pod {
    from(json!({
        "metadata": {"name": "shop", "namespace": "demo", "uid": "u-shop", "labels": {"backproof.dev/session-uid": SESSION, "app.kubernetes.io/component": "kubestash-restore"}},
        "spec": {"containers": [{"name": "c"}], "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "scratch"}}]},
        "status": {"phase": phase, "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]},
    }))
}

#[test]
fn a_target_that_somebody_mounts_is_left_alone() {
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    let ended = json!({"terminated": {"exitCode": 0}});
    let elsewhere = {
        let mut pod = user("Running", running.clone());
        pod.spec.as_mut().unwrap().volumes.as_mut().unwrap()[0].persistent_volume_claim.as_mut().unwrap().claim_name = "other".into();
        pod
    };
    let ephemeral: Pod = from(
        json!({"metadata": {"name": "scr", "namespace": "demo"}, "spec": {"containers": [], "volumes": [{"name": "atch", "ephemeral": {}}]}, "status": {"phase": "Running"}}),
    );
    let mut ephemeral_target = World::new();
    ephemeral_target.owner.run.verifier.target.object.name = "scr-atch".into();
    ephemeral_target.neighbours = vec![ephemeral];
    assert_eq!(ephemeral_target.ending(at(5)), "Inconclusive TargetInUse Failed");
    for (pod, used) in [
        (user("Running", running.clone()), true),
        (user("Pending", json!({"waiting": {"reason": "ContainerCreating"}})), true),
        (user("Unknown", running.clone()), true),
        // Its phase is final, but a container still runs.
        (user("Failed", running), true),
        (user("Succeeded", ended.clone()), false),
        (user("Failed", ended), false),
        (elsewhere, false),
    ] {
        // Before the Job is made.
        let mut world = World::new();
        world.neighbours = vec![pod.clone()];
        assert_eq!(world.ending(at(5)) == "Inconclusive TargetInUse Failed", used, "{pod:?}");
        assert_eq!(effects(&world).is_empty(), used);
        // And again before it is started: then the Job that will not run is taken away.
        let mut world = World::new().started();
        world.restore.status.as_mut().unwrap().jobs[0].started = false;
        let spec = world.jobs[0].spec.as_mut().unwrap();
        (spec.suspend, spec.active_deadline_seconds) = (Some(true), None);
        world.neighbours = vec![pod];
        assert_eq!(effects(&world), if used { ["delete u-job-pod"] } else { ["start u-job-pod"] });
    }
}

#[test]
fn nothing_is_started_without_a_fresh_look_at_the_targets_namespace() {
    let world = World::new();
    let installation = crate::restore::plan::Installation { config: &world.config, proxies: &[] };
    // What is made before that waits.
    let mut observed = world.observed();
    observed.neighbours = None;
    let made = crate::restore::decide::decide(&observed, installation, at(5)).unwrap().effects;
    let [Effect::Create(job)] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!(job.spec.as_ref().unwrap().suspend, Some(true));
    let mut made = World::new().started();
    made.restore.status.as_mut().unwrap().jobs[0].started = false;
    let spec = made.jobs[0].spec.as_mut().unwrap();
    (spec.suspend, spec.active_deadline_seconds) = (Some(true), None);
    let mut observed = made.observed();
    observed.neighbours = None;
    assert_eq!(crate::restore::decide::decide(&observed, installation, at(5)).unwrap().effects, []);
}

#[test]
fn a_session_that_is_over_starts_nothing_more() {
    for over in [json!({"phase": "Failed"}), json!({"phase": "Succeeded"})] {
        let mut world = World::new();
        world.owner.session.status = Some(from(over));
        assert_eq!(effects(&world), [] as [&str; 0]);
    }
    let mut ending = World::new();
    ending.owner.session.metadata.deletion_timestamp = Some(from(json!("2026-01-01T00:00:00Z")));
    assert_eq!(effects(&ending), [] as [&str; 0]);
}

#[test]
fn the_deadline_ends_everything_and_stops_what_still_runs() {
    let mut world = World::new();
    assert_eq!(world.ending(at(360)), "Inconclusive DeadlineExceeded Failed");
    world = World::new().started();
    world.pods = vec![pod("pod", "Running", json!({"running": {}}))];
    assert_eq!(world.decide(at(359)).unwrap().wake, Some(jiff::SignedDuration::from_mins(1)));
    let decision = world.decide(at(360)).unwrap();
    assert_eq!(decision.effects.iter().map(describe).collect::<Vec<_>>(), ["delete u-job-pod"]);
    assert_eq!(world.ending(at(360)), "Inconclusive DeadlineExceeded Failed");
    // A crash between the status and the deletion: the deletion is made up for.
    world.restore.status = Some(decision.status);
    assert_eq!(effects(&world), ["delete u-job-pod"]);
    world.jobs[0].metadata.deletion_timestamp = Some(from(json!("2026-01-01T06:00:00Z")));
    assert_eq!(effects(&world), [] as [&str; 0]);
    let mut nonsense = World::new();
    nonsense.owner.run.deadline = "soon".into();
    assert_eq!(nonsense.ending(at(1)), "Inconclusive DeadlineExceeded Failed");
}

/// A report about the other component.
fn dump_report(outcome: &str, cause: Option<&str>) -> Value {
    let mut report = report(outcome, cause);
    report["identity"]["component"] = "dump".into();
    report["snapshot"]["id"] = DUMP_ID.into();
    report
}

#[test]
fn components_share_the_target_and_so_take_turns() {
    let mut world = World::of_two().started();
    for at in 0..2 {
        let spec = world.jobs[at].spec.as_mut().unwrap();
        (spec.suspend, spec.active_deadline_seconds) = (Some(true), None);
        world.restore.status.as_mut().unwrap().jobs[at].started = false;
    }
    assert_eq!(effects(&world), ["start u-job-dump"]);
    let spec = world.jobs[0].spec.as_mut().unwrap();
    (spec.suspend, spec.active_deadline_seconds) = (Some(false), Some(1));
    world.restore.status.as_mut().unwrap().jobs[0].started = true;
    assert_eq!(effects(&world), [] as [&str; 0], "one runs");
    world.finish("dump", "Failed", "x");
    let ended = pod("dump", "Failed", terminated(1, &dump_report("VerificationFailed", Some("PackDamaged")).to_string()));
    world.pods = vec![ended.clone()];
    world.neighbours = vec![pod("dump", "Running", json!({"running": {}}))];
    let decision = world.decide(at(5)).unwrap();
    assert_eq!(
        (decision.effects.len(), decision.status.message.as_str()),
        (0, "waiting for Pod pod-dump of the component before to be gone")
    );
    world.neighbours = vec![ended];
    assert_eq!(effects(&world), ["start u-job-pod"], "the other one is still worth to know");
}

#[test]
fn components_fold_a_defect_wins_and_only_all_of_them_are_green() {
    let ran = |dump: (i32, Value), pod_report: (i32, Value)| {
        let mut world = World::of_two().started();
        for (component, (code, report)) in [("dump", dump), ("pod", pod_report)] {
            world.finish(component, if code == 0 { "Complete" } else { "Failed" }, "x");
            world.pods.push(pod(component, "Failed", terminated(code, &report.to_string())));
        }
        (world.ending(at(5)), world.decide(at(5)).unwrap().status)
    };
    let (good, bad, unclear) =
        ((0, "Verified", None), (1, "VerificationFailed", Some("PackDamaged")), (2, "Inconclusive", Some("TargetFull")));
    for (dump, pod, expected) in [
        (good, good, "Verified - Succeeded"),
        (good, bad, "VerificationFailed PackDamaged Failed"),
        (bad, good, "VerificationFailed PackDamaged Failed"),
        (good, unclear, "Inconclusive TargetFull Failed"),
        (unclear, bad, "VerificationFailed PackDamaged Failed"),
        (bad, unclear, "VerificationFailed PackDamaged Failed"),
        (unclear, unclear, "Inconclusive TargetFull Failed"),
    ] {
        let (ending, status) = ran((dump.0, dump_report(dump.1, dump.2)), (pod.0, report(pod.1, pod.2)));
        assert_eq!(ending, expected);
        let evidence = status.evidence.unwrap();
        assert_eq!((evidence.restored.files, evidence.restic_ids), (6, vec![DUMP_ID.to_owned(), POD_ID.to_owned()]));
        assert_eq!(status.total_components, 2);
    }
}

#[test]
fn a_defect_found_before_the_deadline_stays_one() {
    let mut world = World::of_two().started();
    world.finish("dump", "Failed", "x");
    world.pods = vec![pod("dump", "Failed", terminated(1, &dump_report("VerificationFailed", Some("PackDamaged")).to_string()))];
    assert_eq!(world.ending(at(400)), "VerificationFailed PackDamaged Failed");
}

#[test]
fn findings_are_kept_short() {
    let mut world = World::new().started();
    world.finish("pod", "Complete", "x");
    let mut long = report("Verified", None);
    long["findings"] = (0..50).map(|at| json!({"kind": "StaleLock", "path": format!("locks/{at}"), "detail": "é".repeat(1000)})).collect();
    world.pods = vec![pod("pod", "Succeeded", terminated(0, &long.to_string()))];
    let findings = world.decide(at(5)).unwrap().status.evidence.unwrap().findings;
    assert_eq!((findings.len(), findings[0].detail.len()), (20, 299));
}

/// Several components have one target, and in the end it holds them all.
#[test]
fn each_of_several_components_has_a_directory_of_its_own() {
    let env = |world: &World| -> Vec<String> {
        let jobs = world.planned().unwrap().into_iter().map(|planned| serde_json::to_value(planned.job).unwrap());
        let told = |job: Value| {
            let env = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap().clone();
            let landing = env.iter().filter(|variable| variable["name"].as_str().unwrap().starts_with("BACKPROOF_LANDING"));
            landing
                .map(|variable| format!("{}={}", variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap()))
                .collect::<Vec<_>>()
                .join(" ")
        };
        jobs.map(told).collect()
    };
    assert_eq!(env(&World::new()), [""]);
    assert_eq!(env(&World::of_two()), ["BACKPROOF_LANDING_DIRECTORY=dump", "BACKPROOF_LANDING_DIRECTORY=pod"]);
}

/// A component of several restic snapshots: each has a Job and a report of its own, and only all of them are a proof.
#[test]
fn every_restic_snapshot_of_a_component_is_restored_and_proven() {
    let other = "b".repeat(64);
    let mut session = World::new().owner;
    session.run.snapshot.components[0].restic_ids.push(other.clone());
    let mut object = session.session;
    object.status = Some(from(json!({"phase": "Running", "run": session.run})));
    let owner = crate::restore::Owner::of(object).unwrap();
    let names: Vec<_> = owner.run.snapshot.components.iter().map(|part| (part.name.clone(), part.restic_ids.clone())).collect();
    assert_eq!(names, [("pod-1of2".to_owned(), vec![POD_ID.to_owned()]), ("pod-2of2".to_owned(), vec![other.clone()])]);

    let ended = |second: (i32, &str, Option<&str>)| {
        let mut world = World::new();
        let summary = json!({"summary": {"id": other, "hostPath": "/other"}});
        let snapshot = world.inputs.snapshot.as_mut().unwrap().status.as_mut().unwrap();
        snapshot.components.get_mut("pod").unwrap().restic_stats.push(from(summary));
        snapshot.components.get_mut("pod").unwrap().path = "repository/v1/daily/pod".into();
        world.owner.run.snapshot.components.clone_from(&owner.run.snapshot.components);
        let jobs: Vec<_> =
            world.planned().unwrap().into_iter().map(|planned| serde_json::to_value(planned.job).unwrap().to_string()).collect();
        assert!(jobs[0].contains(POD_ID) && !jobs[0].contains(&other) && jobs[1].contains(&other));
        assert!(jobs.iter().all(|job| job.contains(r#"{"name":"BACKPROOF_LANDING_FULL_PATH","value":"true"}"#)), "{jobs:?}");
        let mut world = world.started();
        for (part, id, (code, outcome, cause)) in [("pod-1of2", POD_ID, (0, "Verified", None)), ("pod-2of2", other.as_str(), second)] {
            world.finish(part, if code == 0 { "Complete" } else { "Failed" }, "x");
            let mut report = report(outcome, cause);
            report["identity"]["component"] = part.into();
            report["snapshot"]["id"] = id.into();
            world.pods.push(pod(part, "Succeeded", terminated(code, &report.to_string())));
        }
        (world.ending(at(5)), world.decide(at(5)).unwrap().status.evidence.unwrap())
    };
    let (ending, evidence) = ended((0, "Verified", None));
    assert_eq!(ending, "Verified - Succeeded");
    assert_eq!((evidence.restored.files, evidence.read_back.bytes, evidence.restic_ids), (6, 4096, vec![POD_ID.to_owned(), other.clone()]));
    assert_eq!(ended((1, "VerificationFailed", Some("PackDamaged"))).0, "VerificationFailed PackDamaged Failed");
    assert_eq!(ended((2, "Inconclusive", Some("TargetFull"))).0, "Inconclusive TargetFull Failed");
}
