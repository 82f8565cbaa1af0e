//! Sessions of type Query: what they are pinned to, what refuses them, and what their RestoreSession must show.

use backproof_api::{Cause, condition, run::PinnedObject};
use serde_json::{Value, json};

use super::{
    super::observed::Target,
    world::{UID, World, merged, yaml},
};
use crate::database::{Body, Server};

/// What a RestoreSession says that restored, and whose checks hold.
const GREEN: &str = "
phase: Succeeded
verdict: Verified
totalComponents: 1
components: {pod: {phase: Succeeded}}
verification: {phase: Succeeded}
conditions: [{type: MetricsPushed, status: 'True', lastTransitionTime: '2026-01-01T00:00:10Z'}]
evidence:
  source: Executor
  restored: {files: 1, bytes: 42}
  resticIds: [r1]
  database: {engine: postgres, database: shop, run: aaaa, objects: 7}
  checks: [{name: table, expected: rows Equal 3, actual: 3 rows, holds: true}]
  checksTotal: 1
";
/// The same with a count that is not as it must be.
const RED: &str = "
phase: Succeeded
verdict: VerificationFailed
cause: CountMismatch
message: 'spec.query.postgres[0]: 2 rows'
totalComponents: 1
components: {pod: {phase: Succeeded}}
verification: {phase: Failed}
conditions: [{type: MetricsPushed, status: 'True', lastTransitionTime: '2026-01-01T00:00:10Z'}]
evidence:
  source: Executor
  restored: {files: 1, bytes: 42}
  resticIds: [r1]
  database: {engine: postgres, database: shop, run: aaaa, objects: 7}
  checks: [{name: table, expected: rows Equal 3, actual: 2 rows, holds: false}]
  checksTotal: 1
";

fn server() -> Server {
    let binding = json!({"type": "kubedb.com/postgres", "secret": {"name": "pg-auth"}, "clientConfig": {"service": {"name": "pg"}}});
    let object = PinnedObject { namespace: "demo".into(), name: "pg".into(), uid: "bind".into(), generation: 1 };
    let body = Body::Binding(Box::new(serde_json::from_value(binding).unwrap()));
    Server { object, body, service: Some(("demo".into(), "pg".into())), ..Server::default() }
}

/// A world whose verifier asks a database that KubeDB runs.
fn world() -> World {
    let mut world = World::new().verifier(
        "spec: {type: Query, function: kubedbverifier, query: {postgres: [{database: shop, table: employee, rowCount: 3}]},
          restoreOption: {target: {apiGroup: kubedb.com, kind: Postgres, name: pg}}}",
    );
    world.references.target = Some(Target::Database(Box::new(server())));
    world.references.verify_function = Some(yaml(
        "{metadata: {name: backproof-kubedbverifier, uid: asks, generation: 2, labels: {backproof.dev/implements: kubedbverifier}}, spec: {image: x}}",
    ));
    world.answer = Some(GREEN);
    world
}

fn without(change: impl Fn(&mut World)) -> World {
    let mut world = world();
    change(&mut world);
    world
}

fn status_of(world: &World, kind: &str) -> String {
    condition::get(&world.status().conditions, kind).map(|condition| condition.status.clone()).unwrap_or_default()
}

fn outcome(world: &World) -> [String; 4] {
    let conditions = ["VerificationExecutorEnsured", "RestoreSucceeded", "BackupVerified"].map(|kind| status_of(world, kind));
    let [ensured, restored, verified] = conditions;
    [world.end(), ensured, restored, verified]
}

#[test]
fn a_green_and_a_red_run() {
    let green = world().run(None);
    assert_eq!(outcome(&green), ["Succeeded Verified -", "True", "True", "True"]);
    assert_eq!(
        green.status().message,
        "Snapshot snap restores: its dump of 42 bytes made 7 objects in database \"shop\" of AppBinding demo/pg, and 1 check holds"
    );
    assert_eq!(green.proof(), "Verified repo-nightly-1:Verified -");
    let red = World { answer: Some(RED), ..world() }.run(None);
    assert_eq!(outcome(&red), ["Failed VerificationFailed CountMismatch", "True", "True", "False"]);
    assert_eq!(red.status().evidence.unwrap().checks[0].actual, "2 rows");
    assert_eq!(red.proof(), "VerificationFailed repo-nightly-1:VerificationFailed -");
}

#[test]
fn what_is_pinned() {
    let run = world().run(None).status().run.unwrap();
    assert_eq!(
        serde_json::to_value(&run.verifier.target).unwrap(),
        json!({"apiGroup": "appcatalog.appscode.com", "kind": "AppBinding",
            "object": {"namespace": "demo", "name": "pg", "uid": "bind", "generation": 1},
            "database": {"engine": "postgres", "host": "pg.demo.svc", "port": 5432, "name": "shop", "secret": "pg-auth", "userKey": "username", "passwordKey": "password"}})
    );
    assert_eq!(
        serde_json::to_value(&run.verifier.query).unwrap(),
        json!({"function": {"name": "backproof-kubedbverifier", "uid": "asks", "generation": 2}, "engine": "postgres", "checks": 1})
    );
    let other = without(|world| {
        world.references.verify_function =
            world.references.verify_function.as_ref().map(|function| merged(function, "spec: {image: other}"))
    });
    assert_ne!(run.verifier.hash, other.run(None).status().run.unwrap().verifier.hash, "another program asks");
}

/// A crash before any effect leads to the same end.
#[test]
fn a_crash_anywhere_leads_to_the_same_end() {
    for world in [world(), World { answer: Some(RED), ..world() }] {
        let straight = world.clone().run(None);
        for crash in 0..straight.done.len() + straight.events.len() {
            let crashed = world.clone().run(Some(crash));
            assert_eq!(
                (&crashed.session.status, crashed.restores_made),
                (&straight.session.status, straight.restores_made),
                "crash before effect {crash}"
            );
        }
    }
}

#[test]
fn what_cannot_be_asked_is_refused_before_anything_is_made() {
    let target = |patch: &str| world().verifier(&format!("spec: {{restoreOption: {{target: {patch}}}}}"));
    let foreign = |change: fn(&mut World)| {
        let mut world = world();
        world.settings.foreign_functions = true;
        change(&mut world);
        world
    };
    for (name, world, cause, says) in [
        ("no such AppBinding", without(|world| world.references.target = None), Cause::TargetNotFound, "AppBinding demo/pg does not exist"),
        (
            "a claim",
            without(|world| world.references.target = World::new().references.target)
                .verifier("spec: {restoreOption: {target: {apiGroup: '', kind: PersistentVolumeClaim, name: scratch}}}"),
            Cause::TargetNotSupported,
            "asks a database",
        ),
        (
            "no Function",
            without(|world| world.references.verify_function = None),
            Cause::FunctionNotFound,
            "Function kubedbverifier does not exist",
        ),
        (
            "a foreign verifier",
            foreign(|world| world.references.verify_function.as_mut().unwrap().metadata.labels = None),
            Cause::ForeignFunctionNotAllowed,
            "name kubedbverifier",
        ),
        (
            "a foreign restore",
            foreign(|world| world.references.function.as_mut().unwrap().metadata.labels = None),
            Cause::ForeignFunctionNotAllowed,
            "use postgres-addon",
        ),
        (
            "another engine",
            world().verifier("spec: {query: {postgres: null, mySQL: [{database: shop}]}}"),
            Cause::EngineNotSupported,
            "is not built yet",
        ),
        (
            "two databases",
            world().verifier("spec: {query: {postgres: [{database: a}, {database: b}]}}"),
            Cause::VerifierInvalid,
            "make a verifier for each",
        ),
        ("a typo", world().verifier("spec: {query: {postgres: [{database: shop, tabel: x}]}}"), Cause::VerifierInvalid, "tabel"),
        ("wiping", world().verifier("spec: {cleanup: Always}"), Cause::VerifierInvalid, "does not reach into databases"),
        (
            "the source by name",
            target("{name: live}").snapshot("spec: {appRef: {apiGroup: kubedb.com, kind: Postgres, name: live}}"),
            Cause::TargetIsSource,
            "what Snapshot demo/snap holds",
        ),
        (
            "the source by its AppBinding",
            target("{name: live}").snapshot("spec: {appRef: {apiGroup: appcatalog.appscode.com, kind: AppBinding, name: live}}"),
            Cause::TargetIsSource,
            "what Snapshot demo/snap holds",
        ),
        (
            "the source's server",
            without(|world| world.references.database_sources = vec!["what the invoker backs up".into()]),
            Cause::TargetIsSource,
            "the server of AppBinding demo/pg is what the invoker backs up",
        ),
        (
            "two dumps",
            world()
                .snapshot("status: {components: {dump: {driver: Restic, phase: Succeeded, path: x, resticStats: [{summary: {id: r2}}]}}}"),
            Cause::DumpNotSupported,
            "consists of 2 dumps",
        ),
    ] {
        let world = world.run(None);
        assert_eq!(world.end(), format!("Failed {} {cause}", cause.verdict()), "{name}: {}", world.status().message);
        assert!(world.status().message.contains(says), "{name}: {}", world.status().message);
        assert_eq!((world.restores_made, world.mine), (0, false), "{name}");
    }
}

/// Green needs the restore's evidence, of this very session, and every planned check.
#[test]
fn never_green_without_all_the_evidence() {
    let answers = |change: &dyn Fn(&mut Value)| {
        let mut answer: Value = yaml(GREEN);
        change(&mut answer);
        Box::leak(serde_json::to_string(&answer).unwrap().into_boxed_str()) as &'static str
    };
    for (name, change) in [
        ("no evidence", (&|answer: &mut Value| answer["evidence"] = Value::Null) as &dyn Fn(&mut Value)),
        ("no checks", &|answer: &mut Value| (answer["evidence"]["checks"], answer["evidence"]["checksTotal"]) = (json!([]), 0.into())),
        ("fewer checks", &|answer: &mut Value| answer["evidence"]["checksTotal"] = 0.into()),
        ("more checks", &|answer: &mut Value| answer["evidence"]["checksTotal"] = 2.into()),
        ("one that does not hold", &|answer: &mut Value| answer["evidence"]["checks"][0]["holds"] = false.into()),
        ("no database", &|answer: &mut Value| answer["evidence"]["database"] = Value::Null),
        ("another session's data", &|answer: &mut Value| answer["evidence"]["database"]["run"] = "other".into()),
        ("another database", &|answer: &mut Value| answer["evidence"]["database"]["database"] = "other".into()),
        ("another snapshot", &|answer: &mut Value| answer["evidence"]["resticIds"] = json!(["r9"])),
        ("nothing restored", &|answer: &mut Value| answer["evidence"]["restored"] = json!({})),
        ("a failed restore", &|answer: &mut Value| answer["components"]["pod"]["phase"] = "Failed".into()),
    ] {
        let world = World { answer: Some(answers(change)), ..world() }.run(None);
        assert_eq!(world.end(), "Failed Inconclusive ReadBackIncomplete", "{name}: {}", world.status().message);
        assert_eq!(status_of(&world, "BackupVerified"), "False", "{name}");
        assert_eq!(world.proof().split(' ').next(), Some("NotVerified"), "{name}");
    }
    assert_eq!(UID, "aaaa", "the session's own, as in the evidence above");
}

/// A Secret of the database that is missing says nothing about the Repository, which others wait for.
#[test]
fn a_missing_secret_of_the_target_holds_no_repository() {
    let missing = |repository: &str| {
        let answer = format!(
            "{{phase: Failed, verdict: Inconclusive, cause: SecretMissing, message: m, totalComponents: 1, components: {{pod: {{phase: Failed}}}},
              conditions: [{{type: MetricsPushed, status: 'True'}}], evidence: {{source: Executor, {repository}}}}}"
        );
        World { answer: Some(Box::leak(answer.into_boxed_str())), ..world() }.run(None)
    };
    assert!(missing("repository: {id: r}").hold.is_none(), "it was opened");
    assert!(missing("resticIds: []").hold.is_some());
}
