//! A database as target, and the Job that asks it: what the Jobs are, in which order they go, and what counts as an answer.

use backproof_api::run::{PinnedJob, PinnedObject};
use serde_json::{Value, json};

use super::{
    facts::{POD_ID, SESSION, World, at, from, pod, report, terminated},
    run::describe,
};
use crate::{
    database::{self, Body, Server},
    restore::decide::Effect,
};

/// A world whose target is a database, reached by an AppBinding.
fn world(kind: &str) -> World {
    let mut world = World::new();
    let task = json!({"name": "logical-backup-restore", "params": {"database": "shop"}});
    let query = json!({"postgres": [{"database": "shop", "table": "$(PATH)", "rowCount": 3}, {"database": "shop", "schema": "a"}]});
    let verifier = world.inputs.verifier.as_mut().unwrap();
    verifier.spec = from(json!({"type": kind, "function": "kubedbverifier", "query": if kind == "Query" { query } else { Value::Null },
        "runtimeSettings": {"pod": {"nodeSelector": {"disk": "fast"}}, "container": {"resources": {"limits": {"memory": "64Mi"}}}},
        "restoreOption": {"addonInfo": {"name": "postgres-addon", "tasks": [task]}}}));
    let binding =
        from(json!({"type": "postgres", "secret": {"name": "pg-auth"}, "clientConfig": {"service": {"name": "pg"}, "caBundle": "cGVt"}}));
    let object = PinnedObject { namespace: "demo".into(), name: "pg".into(), uid: "u-binding".into(), generation: 4 };
    let server = Server {
        object: object.clone(),
        body: Body::Binding(Box::new(binding)),
        service: Some(("demo".into(), "pg".into())),
        ..Server::default()
    };
    let target = &mut world.owner.run.verifier.target;
    (target.api_group, target.kind, target.object) = ("appcatalog.appscode.com".into(), "AppBinding".into(), object);
    target.database = Some(database::pinned(&server, &database::wanted(verifier).unwrap()).unwrap());
    world.owner.run.verifier.kind = kind.into();
    if kind == "Query" {
        world.owner.run.verifier.query = Some(from(
            json!({"function": {"name": "backproof-kubedbverifier", "uid": "u-asks", "generation": 1}, "engine": "postgres", "checks": 2}),
        ));
        world.inputs.verify_functions = vec![from(json!({
            "metadata": {"name": "backproof-kubedbverifier", "uid": "u-asks", "generation": 1, "labels": {"backproof.dev/implements": "kubedbverifier"}},
            "spec": {"image": "core", "command": ["/bin/backproof-executor"], "args": ["verify", "--engine=${engine}", "--connection=${connection}"]},
        }))];
    }
    world.inputs.server = Some(server);
    world.inputs.claim = None;
    world.inputs.functions[0].spec.args =
        vec!["restore-dump".into(), "--connection=${connection}".into(), "--snapshot=${resticSnapshot}".into()];
    world.restore.spec.target = Some(from(json!({"apiGroup": "appcatalog.appscode.com", "kind": "AppBinding", "name": "pg"})));
    world.pin();
    world
}

/// What a restore into the database reports.
fn restored(change: impl Fn(&mut Value)) -> String {
    let mut report = report("Verified", None);
    report["readBack"] = json!({});
    report["restored"] = json!({"files": 1, "directories": 0, "bytes": 2048});
    report["database"] =
        json!({"engine": "postgres", "server": "15.1", "database": "shop", "run": SESSION, "objects": 7, "client": {"exitStatus": 0}});
    change(&mut report);
    report.to_string()
}

/// What the verifier reports.
fn answered(outcome: &str, cause: Option<&str>, change: impl Fn(&mut Value)) -> String {
    let check = |number: u32| json!({"at": format!("spec.query.postgres[{number}]"), "object": format!("table {number}"), "expected": "it is there", "actual": "it is there", "holds": true});
    let mut report = json!({
        "identity": {"sessionUid": SESSION, "attempt": 1, "component": "verifier"}, "outcome": outcome, "cause": cause,
        "error": cause.map(|cause| format!("{cause} spec.query.postgres[0]: 2 rows")), "snapshot": {"id": POD_ID},
        "database": {"engine": "postgres", "server": "15.1", "run": SESSION}, "checks": [check(0), check(1)], "checksTotal": 2,
    });
    change(&mut report);
    report.to_string()
}

fn as_it_is(_: &mut Value) {}

#[test]
fn the_jobs_get_in_by_the_secret_and_the_verifiers_knows_nothing_of_the_repository() {
    let planned = world("Query").planned().unwrap();
    assert_eq!(planned.iter().map(|planned| planned.component.as_str()).collect::<Vec<_>>(), ["pod", "verifier"]);
    let [restore, asks] = [0, 1].map(|at: usize| serde_json::to_value(&planned[at].job).unwrap());
    let secret = json!({"name": "backproof-connection", "secret": {"secretName": "pg-auth", "optional": true, "items": [
        {"key": "username", "path": "username"}, {"key": "password", "path": "password"}, {"key": "ca.crt", "path": "ca.crt"}]}});
    let scratch = json!({"name": "kubestash-tmp-volume", "emptyDir": {}});
    let pod_of = |job: &Value| job["spec"]["template"]["spec"].clone();
    assert_eq!(pod_of(&restore)["volumes"].as_array().unwrap()[..2], [scratch.clone(), secret.clone()]);
    assert_eq!(
        pod_of(&restore)["containers"][0]["args"],
        json!(["restore-dump", "--connection=postgres://pg.demo.svc:5432/shop", format!("--snapshot={POD_ID}")])
    );
    let pod = pod_of(&asks);
    assert_eq!(pod["volumes"], json!([scratch, secret]));
    assert_eq!((&pod["nodeSelector"], &pod["automountServiceAccountToken"]), (&json!({"disk": "fast"}), &json!(false)));
    let container = &pod["containers"][0];
    assert_eq!(container["args"], json!(["verify", "--engine=postgres", "--connection=postgres://pg.demo.svc:5432/shop"]));
    assert_eq!(
        (&container["name"], &container["image"], &container["resources"]),
        (&json!("verify-0"), &json!("core"), &json!({"limits": {"memory": "64Mi"}}))
    );
    let env: Vec<(&str, &str)> = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| (variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap()))
        .collect();
    // kubelet would read $(PATH) as the variable, and the query would ask for another table.
    let query = r#"{"postgres":[{"database":"shop","rowCount":3,"table":"\u0024(PATH)"},{"database":"shop","schema":"a"}]}"#;
    let expected = [
        ("TMPDIR", "/kubestash-tmp"),
        ("BACKPROOF_SESSION_UID", SESSION),
        ("BACKPROOF_ATTEMPT", "1"),
        ("BACKPROOF_COMPONENT", "verifier"),
        ("BACKPROOF_CONNECTION_DIR", "/backproof/connection"),
        ("BACKPROOF_CONNECTION_CA", "pem"),
        ("BACKPROOF_QUERY", query),
        ("BACKPROOF_RESTIC_SNAPSHOT", POD_ID),
    ];
    assert_eq!(env.len(), expected.len(), "{env:?}");
    for variable in expected {
        let found = env.iter().find(|(name, _)| *name == variable.0).unwrap();
        let same = found.1 == variable.1
            || (variable.0 == "BACKPROOF_QUERY"
                && serde_json::from_str::<Value>(found.1).unwrap() == serde_json::from_str::<Value>(query).unwrap()
                && !found.1.contains('$'));
        assert!(same, "{found:?}");
    }
    assert_eq!(asks["metadata"]["labels"]["app.kubernetes.io/component"], "kubestash-backup-verifier");
    assert_eq!(asks["spec"]["suspend"], true);
    assert_eq!(world("RestoreOnly").planned().unwrap().len(), 1);
}

#[test]
fn what_changed_since_the_pinning_ends_it() {
    type Change = fn(&mut World);
    let binding = |world: &mut World, change: fn(&mut database::AppBinding)| match &mut world.inputs.server.as_mut().unwrap().body {
        Body::Binding(binding) => change(binding),
        Body::Service(_) => unreachable!(),
    };
    let mut moved = world("Query");
    binding(&mut moved, |binding| binding.client_config.service.as_mut().unwrap().port = Some(1));
    let mut trusted = world("Query");
    binding(&mut trusted, |binding| binding.client_config.ca_bundle.0 = b"other".to_vec());
    for world in [moved, trusted] {
        let error = world.planned().unwrap_err();
        assert!(error.starts_with("VerifierChanged: AppBinding demo/pg was changed"), "{error}");
    }
    let cases: [(Change, &str); 5] = [
        (|world| world.inputs.server = None, "TargetNotFound: AppBinding demo/pg does not exist"),
        (|world| world.inputs.server.as_mut().unwrap().object.uid = "other".into(), "TargetNotFound: AppBinding demo/pg does not exist"),
        (|world| world.inputs.verify_functions.clear(), "FunctionNotFound"),
        (|world| world.inputs.verify_functions[0].metadata.generation = Some(2), "VerifierChanged: Function backproof-kubedbverifier"),
        (|world| world.inputs.functions[0].spec.args.push("--target=${targetPath}".into()), "TemplateInvalid"),
    ];
    for (change, expected) in cases {
        let mut world = world("Query");
        change(&mut world);
        let error = world.planned().unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

/// Makes, records and starts what is decided, as the API server would, until nothing more comes.
fn go(world: &mut World, minutes: i64) -> Vec<String> {
    let mut done = Vec::new();
    for _ in 0..8 {
        let decision = world.decide(at(minutes)).unwrap();
        let quiet = decision.effects.is_empty() && world.restore.status.as_ref() == Some(&decision.status);
        world.restore.status = Some(decision.status);
        for effect in decision.effects {
            done.push(describe(&effect));
            match effect {
                Effect::Create(job) => {
                    let mut job = *job;
                    let uid = format!("u-job-{}", job.metadata.labels.as_ref().unwrap()["backproof.dev/component"]);
                    job.metadata.uid = Some(uid.clone());
                    job.metadata.resource_version = Some("7".into());
                    world.made.insert(uid);
                    world.jobs.push(job);
                }
                Effect::Start { job, seconds, .. } => {
                    let job = world.jobs.iter_mut().find(|known| known.metadata.uid.as_ref() == Some(&job.uid)).unwrap();
                    let spec = job.spec.as_mut().unwrap();
                    (spec.suspend, spec.active_deadline_seconds) = (Some(false), Some(seconds));
                    job.status = Some(from(json!({"startTime": at(minutes).to_string()})));
                }
                Effect::Delete(job) => world.jobs.retain(|known| known.metadata.uid.as_ref() != Some(&job.uid)),
                Effect::CopySecrets { .. } | Effect::Remember { .. } | Effect::Grant(_) | Effect::Revoke(_) => {}
            }
        }
        if quiet {
            break;
        }
    }
    done.retain(|line| !line.starts_with("remember"));
    done
}

fn ends(world: &mut World, component: &str, code: i32, message: &str) {
    let (condition, phase) = if code == 0 { ("Complete", "Succeeded") } else { ("Failed", "Failed") };
    world.finish(component, condition, "x");
    let mut pod = pod(component, phase, terminated(code, message));
    if component == "verifier" {
        pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].name = "verify-0".into();
        pod.spec = None;
    }
    world.pods.push(pod);
}

#[test]
fn first_it_is_restored_then_asked_once() {
    let mut world = world("Query");
    assert_eq!(
        go(&mut world, 1),
        ["create store-daily-1767225600-pod-5e551011", "create store-daily-1767225600-verifier-5e551011", "start u-job-pod"]
    );
    world.made.clear();
    assert_eq!(go(&mut world, 2), [""; 0], "the verifier waits for the restore");
    ends(&mut world, "pod", 0, &restored(as_it_is));
    assert_eq!(go(&mut world, 3), ["start u-job-verifier"]);
    ends(&mut world, "verifier", 0, &answered("Verified", None, as_it_is));
    assert_eq!(go(&mut world, 4), [""; 0]);
    let status = serde_json::to_value(world.restore.status.as_ref().unwrap()).unwrap();
    assert_eq!(
        (&status["verdict"], &status["phase"], &status["verification"]["phase"]),
        (&json!("Verified"), &json!("Succeeded"), &json!("Succeeded"))
    );
    assert_eq!(status["message"], "restored a dump of 2.000 KiB into database \"shop\", where it made 7 objects; 2 checks hold");
    assert_eq!((&status["totalComponents"], status["components"].as_object().unwrap().len()), (&json!(1), 1));
    let check = |number: u32| json!({"name": format!("table {number}"), "expected": "it is there", "actual": "it is there", "holds": true});
    assert_eq!((&status["evidence"]["checks"], &status["evidence"]["checksTotal"]), (&json!([check(0), check(1)]), &json!(2)));
    assert_eq!(
        status["evidence"]["database"],
        json!({"engine": "postgres", "server": "15.1", "database": "shop", "run": SESSION, "objects": 7})
    );
}

#[test]
fn what_was_not_restored_is_not_asked() {
    let mut world = world("Query");
    go(&mut world, 1);
    ends(
        &mut world,
        "pod",
        2,
        &restored(|report| {
            (report["outcome"], report["cause"], report["error"]) = ("Inconclusive".into(), "EngineCredentialsRefused".into(), "no".into())
        }),
    );
    assert_eq!(go(&mut world, 3), ["delete u-job-verifier"]);
    let status = world.restore.status.unwrap();
    assert_eq!(status.cause.unwrap().to_string(), "EngineCredentialsRefused");
    assert_eq!(status.phase.unwrap().to_string(), "Failed");
}

/// A report of a restore counts only if it is of this session's database.
#[test]
fn a_restore_that_proves_nothing_of_this_run_is_not_green() {
    for (name, change) in [
        ("no database", (|report| report["database"] = Value::Null) as fn(&mut Value)),
        ("another run's", |report| report["database"]["run"] = "other".into()),
        ("no run", |report| report["database"]["run"] = "".into()),
        ("another database", |report| report["database"]["database"] = "other".into()),
        ("another engine", |report| report["database"]["engine"] = "mySQL".into()),
        ("no object", |report| report["database"]["objects"] = 0.into()),
        ("nothing restored", |report| report["restored"] = json!({})),
    ] {
        let mut world = world("RestoreOnly");
        go(&mut world, 1);
        ends(&mut world, "pod", 0, &restored(change));
        assert_eq!(world.ending(at(3)), "Inconclusive ReadBackIncomplete Failed", "{name}");
    }
    let mut world = world("RestoreOnly");
    go(&mut world, 1);
    ends(&mut world, "pod", 0, &restored(as_it_is));
    assert_eq!(world.ending(at(3)), "Verified - Succeeded");
}

#[test]
fn each_answer_has_its_verdict() {
    type Change = fn(&mut Value);
    let open: Change = |report| report["checks"][1]["holds"] = Value::Null;
    type Case = (&'static str, i32, &'static str, Option<&'static str>, Change, &'static str);
    let cases: [Case; 15] = [
        ("green", 0, "Verified", None, as_it_is, "Verified - Succeeded"),
        ("red", 1, "VerificationFailed", Some("CountMismatch"), as_it_is, "VerificationFailed CountMismatch Succeeded"),
        ("stale", 1, "VerificationFailed", Some("TargetStale"), as_it_is, "VerificationFailed TargetStale Succeeded"),
        ("no answer", 2, "Inconclusive", Some("EngineUnavailable"), as_it_is, "Inconclusive EngineUnavailable Succeeded"),
        (
            "another session's",
            0,
            "Verified",
            None,
            |report| report["identity"]["sessionUid"] = "x".into(),
            "Inconclusive ExecutorFailed Succeeded",
        ),
        (
            "a component's",
            0,
            "Verified",
            None,
            |report| report["identity"]["component"] = "pod".into(),
            "Inconclusive ExecutorFailed Succeeded",
        ),
        (
            "of another snapshot",
            0,
            "Verified",
            None,
            |report| report["snapshot"]["id"] = "e".repeat(64).into(),
            "Inconclusive ExecutorFailed Succeeded",
        ),
        ("of no snapshot", 0, "Verified", None, |report| report["snapshot"] = Value::Null, "Inconclusive ExecutorFailed Succeeded"),
        (
            "of another run",
            0,
            "Verified",
            None,
            |report| report["database"]["run"] = "other".into(),
            "Inconclusive ExecutorFailed Succeeded",
        ),
        (
            "of another engine",
            0,
            "Verified",
            None,
            |report| report["database"]["engine"] = "redis".into(),
            "Inconclusive ExecutorFailed Succeeded",
        ),
        (
            "too few checks",
            0,
            "Verified",
            None,
            |report| (report["checks"], report["checksTotal"]) = (json!([]), 1.into()),
            "Inconclusive ExecutorFailed Succeeded",
        ),
        (
            "no checks",
            0,
            "Verified",
            None,
            |report| (report["checks"], report["checksTotal"]) = (json!([]), 0.into()),
            "Inconclusive ExecutorFailed Succeeded",
        ),
        ("too many checks", 0, "Verified", None, |report| report["checksTotal"] = 3.into(), "Inconclusive ExecutorFailed Succeeded"),
        ("one that is open", 0, "Verified", None, open, "Inconclusive ExecutorFailed Succeeded"),
        ("a list that was shortened", 0, "Verified", None, |report| report["checks"] = json!([]), "Verified - Succeeded"),
    ];
    for (name, code, outcome, cause, change, expected) in cases {
        let mut world = world("Query");
        go(&mut world, 1);
        ends(&mut world, "pod", 0, &restored(as_it_is));
        go(&mut world, 2);
        ends(&mut world, "verifier", code, &answered(outcome, cause, change));
        assert_eq!(world.ending(at(4)), expected, "{name}");
    }
    let mut silent = world("Query");
    go(&mut silent, 1);
    ends(&mut silent, "pod", 0, &restored(as_it_is));
    go(&mut silent, 2);
    ends(&mut silent, "verifier", 0, "");
    assert_eq!(silent.ending(at(4)), "Inconclusive ExecutorFailed Succeeded");
}

/// However often it is decided, a Job that somebody started or that is not the recorded one never counts.
#[test]
fn only_the_recorded_job_is_believed() {
    let mut world = world("Query");
    go(&mut world, 1);
    ends(&mut world, "pod", 0, &restored(as_it_is));
    go(&mut world, 2);
    let recorded = |world: &World| world.restore.status.as_ref().unwrap().jobs.iter().filter(|job| job.component == "verifier").count();
    assert_eq!(recorded(&world), 1);
    world.jobs.retain(|job| job.metadata.uid.as_deref() != Some("u-job-verifier"));
    assert_eq!(world.ending(at(3)), "Inconclusive JobDeleted Succeeded");
    // One that was never made cannot have answered.
    let mut world = self::world("Query");
    go(&mut world, 1);
    let status = world.restore.status.as_mut().unwrap();
    status.jobs.retain(|job: &PinnedJob| job.component == "pod");
    ends(&mut world, "pod", 0, &restored(as_it_is));
    assert_ne!(world.ending(at(3)).split(' ').next(), Some("Verified"));
}
