//! A run whose Function is not ours: who lets it run, what its Job gets and when, and that nothing is green before all of it fits.

use backproof_api::run::PinnedForeign;
use serde_json::{Value, json};

use super::{
    facts::{World, at, from, pod, terminated},
    run::describe,
};

/// A world whose Function is somebody else's, in an installation that lets it run.
fn world() -> World {
    let mut world = World::new();
    world.inputs.functions[0].metadata.labels = None;
    world.owner.run.verifier.foreign = Some(PinnedForeign::default());
    world.config.foreign_functions = true;
    world
}

#[test]
fn it_runs_only_where_the_installation_lets_it_and_beside_its_session() {
    type Change = fn(&mut World);
    let cases: &[(&str, Change, &str)] = &[
        ("allowed", |_| {}, ""),
        ("not allowed", |w| w.config.foreign_functions = false, "ForeignFunctionNotAllowed"),
        ("ours when it was pinned", |w| w.owner.run.verifier.foreign = None, "VerifierChanged"),
        (
            "ours by now",
            |w| w.inputs.functions[0].metadata.labels = Some(from(json!({"backproof.dev/implements": "pvc-restore"}))),
            "VerifierChanged",
        ),
        ("a singleton with one component", |w| w.inputs.addons[0].spec.restore_tasks[0].singleton = true, ""),
        (
            "a target elsewhere",
            |w| {
                w.owner.run.verifier.target.object.namespace = "verify".into();
                w.config.cross_namespace = vec!["verify=demo".parse().unwrap()];
            },
            "CrossNamespaceNotAllowed",
        ),
    ];
    for (case, change, cause) in cases {
        let mut world = world();
        change(&mut world);
        let planned = world.planned().map(drop).err().unwrap_or_default();
        assert_eq!(planned.split(':').next().unwrap(), *cause, "{case}: {planned}");
    }
}

#[test]
fn its_job_has_an_account_of_its_own_and_a_prepared_target() {
    let name = "store-daily-1767225600-pod-5e551011";
    let spec = |world: &World| serde_json::to_value(world.planned().unwrap().remove(0).job).unwrap()["spec"]["template"]["spec"].clone();
    let foreign = spec(&world());
    assert_eq!((&foreign["serviceAccountName"], &foreign["automountServiceAccountToken"]), (&json!(name), &json!(true)));
    let prepare = &foreign["initContainers"][0];
    assert_eq!(
        (&prepare["args"], &prepare["volumeMounts"]),
        (
            &json!(["prepare", "--target=/backproof/target", "--report=/dev/termination-log"]),
            &json!([{"name": "backproof-target", "mountPath": "/backproof/target"}]),
        )
    );
    let ours = spec(&World::new());
    assert_eq!(
        (&ours["automountServiceAccountToken"], &ours["serviceAccountName"], &ours["initContainers"]),
        (&json!(false), &Value::Null, &Value::Null)
    );
}

/// What the Function wrote of its component.
fn writes(world: &mut World, state: Value) {
    let status = world.restore.status.as_mut().unwrap();
    status.components.insert("pod".into(), from(state));
}

fn effects(world: &World) -> Vec<String> {
    world.decide(at(5)).unwrap().effects.iter().map(describe).collect()
}

/// One whose Job is recorded and about to be started.
fn recorded() -> World {
    let mut world = world();
    world = world.started();
    for job in &mut world.jobs {
        let spec = job.spec.as_mut().unwrap();
        (spec.suspend, spec.active_deadline_seconds, job.status) = (Some(true), None, None);
    }
    let status = world.restore.status.as_mut().unwrap();
    for job in &mut status.jobs {
        (job.started, job.awaits_report) = (false, true);
    }
    world
}

#[test]
fn it_gets_the_right_to_report_just_before_it_starts() {
    let mut world = recorded();
    // What is about to be decided stands in the status before anything is done.
    world.restore.status = Some(world.decide(at(5)).unwrap().status);
    assert_eq!(effects(&world), ["grant u-job-pod"]);
    world.granted.insert("u-job-pod".into());
    assert_eq!(effects(&world), ["start u-job-pod"]);
    writes(&mut world, json!({"phase": "Succeeded", "progress": {"percentDone": "100%"}}));
    assert_eq!(world.ending(at(5)), "Inconclusive PinnedFactsChanged Failed");
}

/// One that runs.
fn running() -> World {
    let mut world = recorded();
    for job in &mut world.jobs {
        let spec = job.spec.as_mut().unwrap();
        (spec.suspend, spec.active_deadline_seconds) = (Some(false), Some(100));
        job.status = Some(from(json!({"startTime": at(1).to_string()})));
    }
    world.restore.status.as_mut().unwrap().jobs[0].started = true;
    world.pods = vec![pod("pod", "Running", json!({"running": {"startedAt": at(2).to_string()}}))];
    world
}

#[test]
fn its_word_counts_when_its_job_has_ended_and_it_can_write_no_more() {
    let whole = json!({"phase": "Succeeded", "duration": "1s", "progress": {"filesDone": 3, "totalFiles": 3}});
    let mut world = running();
    writes(&mut world, whole.clone());
    // It says so already, and may say something else yet.
    assert_eq!((world.ending(at(2)), effects(&world)), ("- - Running".into(), vec![]));
    world.finish("pod", "Complete", "x");
    world.pods = vec![pod("pod", "Succeeded", terminated(0, ""))];
    assert_eq!((world.ending(at(5)), effects(&world)), ("- - Running".into(), vec!["revoke u-job-pod".to_owned()]));
    world.revoked.insert("u-job-pod".into());
    assert_eq!(world.ending(at(5)), "Verified - Succeeded");
    let status = world.decide(at(5)).unwrap().status;
    let evidence = status.evidence.unwrap();
    assert_eq!(
        (evidence.source.as_str(), evidence.restored.files, evidence.read_back.files, evidence.restic_ids.len()),
        ("Reported", 3, 0, 0)
    );
    assert_eq!(status.message, "the Function reports the restore of 3 files; nothing was read back");

    for (state, condition, code, trusted, contract, expected) in [
        (json!({"phase": "Succeeded"}), "Complete", 0, false, false, "Inconclusive ReadBackIncomplete Failed"),
        (json!({"phase": "Succeeded"}), "Complete", 0, true, false, "Verified - Succeeded"),
        (whole.clone(), "Failed", 1, true, false, "Inconclusive ExecutorFailed Failed"),
        (json!({"phase": "Pending"}), "Complete", 0, true, false, "Inconclusive ExecutorFailed Failed"),
        (json!({"phase": "Failed", "error": "PackDamaged: x"}), "Failed", 1, false, false, "Inconclusive ExecutorFailed Failed"),
        (json!({"phase": "Failed", "error": "PackDamaged: x"}), "Failed", 1, false, true, "VerificationFailed PackDamaged Failed"),
    ] {
        let mut world = running();
        world.config.trust_reported_success = trusted;
        world.owner.run.verifier.foreign = Some(PinnedForeign { verdict_contract: contract });
        writes(&mut world, state.clone());
        world.finish("pod", condition, "x");
        world.pods = vec![pod("pod", "Succeeded", terminated(code, ""))];
        world.revoked.insert("u-job-pod".into());
        assert_eq!(world.ending(at(5)), expected, "{state} {condition}");
    }
}

#[test]
fn what_it_wrote_of_others_proves_nothing() {
    let mut world = running();
    writes(&mut world, json!({"phase": "Succeeded", "progress": {"percentDone": "100%"}}));
    world.restore.status.as_mut().unwrap().components.insert("other".into(), from(json!({"phase": "Running"})));
    world.finish("pod", "Complete", "x");
    world.pods = vec![pod("pod", "Succeeded", terminated(0, ""))];
    world.revoked.insert("u-job-pod".into());
    assert_eq!(world.ending(at(5)), "Inconclusive ExecutorFailed Failed");
}
