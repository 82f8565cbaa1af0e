//! The schedule follows every edit: CronJobs appear, change and go.

use backproof_e2e::wait;
use serde_json::{Value, json};

use crate::{
    cases::{Case, merge},
    fixture::{Fixture, LIMIT, SESSIONS, SNAPSHOTS, assert_ended, text},
};

/// Invokers and verifiers whose repositories are never opened: only the schedule is looked at.
struct Diary {
    fixture: Fixture,
}

const VERIFIERS: &str = "backupverifier.core.kubestash.com";
const CONFIGURATIONS: &str = "backupconfigurations.core.kubestash.com";
const BATCHES: &str = "backupbatches.core.kubestash.com";

fn verifier(name: &str, schedule: &str) -> Value {
    let mut objects = Case::new(name).objects();
    let mut verifier = objects.swap_remove(1);
    merge(&mut verifier, json!({"spec": {"scheduler": {"schedule": schedule, "suspend": false}}}));
    verifier
}

fn entry(repository: &str, verifier: Option<Value>) -> Value {
    let mut entry = json!({"name": repository, "backend": "b", "directory": format!("/{repository}"), "encryptionSecret": {"name": "encryption-secret"}});
    if let Some(verifier) = verifier {
        entry["backupVerifier"] = verifier;
    }
    entry
}

fn configuration(name: &str, sessions: &[(&str, Vec<Value>)]) -> Value {
    let sessions: Vec<Value> = sessions
        .iter()
        .map(|(session, repositories)| {
            json!({"name": session, "scheduler": {"schedule": "0 3 * * *", "jobTemplate": {}},
                "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup"}]}, "repositories": repositories})
        })
        .collect();
    json!({
        "apiVersion": "core.kubestash.com/v1alpha1",
        "kind": "BackupConfiguration",
        "metadata": {"name": name},
        "spec": {
            "target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "source"},
            "backends": [{"name": "b", "storageRef": {"name": "local"}}],
            "sessions": sessions,
        },
    })
}

fn batch(name: &str, repository: &str, verifier: Value) -> Value {
    json!({
        "apiVersion": "core.kubestash.com/v1alpha1",
        "kind": "BackupBatch",
        "metadata": {"name": name},
        "spec": {
            "backends": [{"name": "b", "storageRef": {"name": "local"}}],
            "targets": [{"name": "files", "appRef": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "source"}}],
            "sessions": [{
                "name": "daily",
                "scheduler": {"schedule": "0 3 * * *", "jobTemplate": {}},
                "targets": [{
                    "name": "files",
                    "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup"}]},
                    "repositories": [entry(repository, Some(verifier))],
                }],
            }],
        },
    })
}

impl Diary {
    fn new(test: &str) -> Self {
        Self { fixture: Fixture::empty(test) }
    }

    /// What CronJobs of one invoker ask for: session, repository, schedule, and whether they are suspended.
    fn cronjobs(&self, invoker: &str) -> anyhow::Result<Vec<String>> {
        let found = self.fixture.kubectl.list("cronjobs", &["-l", &format!("kubestash.com/invoker-name={invoker}")])?;
        let mut lines: Vec<String> = found.iter().map(line).collect();
        lines.sort();
        Ok(lines)
    }

    fn has(&self, invoker: &str, expected: &[&str]) {
        let mut seen = Vec::new();
        wait::quietly(&format!("the CronJobs of {invoker}"), LIMIT, || {
            seen = self.cronjobs(invoker)?;
            Ok((seen == expected).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}: {expected:?}, there are {seen:?}"));
    }

    fn patch(&self, kind: &str, name: &str, patch: &Value) {
        self.fixture.kubectl.run(&["patch", kind, name, "--type=merge", "-p", &patch.to_string()]).unwrap();
    }

    fn delete(&self, kind: &str, name: &str) {
        self.fixture.kubectl.run(&["delete", kind, name, "--timeout=60s"]).unwrap();
    }
}

fn line(cronjob: &Value) -> String {
    let label = |name: &str| text(&cronjob["metadata"]["labels"], &format!("/kubestash.com~1{name}"));
    let suspended = if cronjob["spec"]["suspend"] == true { " suspended" } else { "" };
    format!("{}/{} {}{suspended}", label("session-name"), label("repo-name"), text(cronjob, "/spec/schedule"))
}

#[test]
fn cronjobs_follow_every_edit() {
    let diary = Diary::new("edits");
    let named = |name: &str| Some(json!({"name": name}));
    let everything = [
        ("daily", vec![entry("one", named("night")), entry("two", named("noon"))]),
        ("weekly", vec![entry("one", named("night")), entry("three", None)]),
    ];
    diary.fixture.apply_all(&[verifier("night", "0 4 * * *"), verifier("noon", "0 12 * * *"), configuration("backup", &everything)]);
    diary.has("backup", &["daily/one 0 4 * * *", "daily/two 0 12 * * *", "weekly/one 0 4 * * *"]);

    diary.patch(VERIFIERS, "night", &json!({"spec": {"scheduler": {"schedule": "30 5 * * *"}}}));
    diary.has("backup", &["daily/one 30 5 * * *", "daily/two 0 12 * * *", "weekly/one 30 5 * * *"]);
    diary.patch(VERIFIERS, "noon", &json!({"spec": {"scheduler": {"suspend": true}}}));
    diary.has("backup", &["daily/one 30 5 * * *", "daily/two 0 12 * * * suspended", "weekly/one 30 5 * * *"]);
    diary.patch(VERIFIERS, "noon", &json!({"spec": {"scheduler": {"suspend": false}}}));
    diary.patch(CONFIGURATIONS, "backup", &json!({"spec": {"paused": true}}));
    diary.has("backup", &["daily/one 30 5 * * * suspended", "daily/two 0 12 * * * suspended", "weekly/one 30 5 * * * suspended"]);
    diary.patch(CONFIGURATIONS, "backup", &json!({"spec": {"paused": false}}));

    // A reference is dropped, another renamed: to a verifier that comes later.
    let fewer = [("daily", vec![entry("one", None), entry("two", named("late"))]), ("weekly", vec![entry("one", named("night"))])];
    diary.fixture.apply_all(&[configuration("backup", &fewer)]);
    diary.has("backup", &["weekly/one 30 5 * * *"]);
    diary.fixture.apply_all(&[verifier("late", "0 23 * * *")]);
    diary.has("backup", &["daily/two 0 23 * * *", "weekly/one 30 5 * * *"]);

    diary.delete(VERIFIERS, "night");
    diary.has("backup", &["daily/two 0 23 * * *"]);
    // Somebody takes one away, and somebody edits one: they come back as they should be.
    diary.fixture.kubectl.run(&["delete", "cronjobs", "--all"]).unwrap();
    diary.has("backup", &["daily/two 0 23 * * *"]);
    let name = diary.fixture.kubectl.run(&["get", "cronjobs", "-o", "name"]).unwrap();
    diary.patch("cronjob", name.trim().trim_start_matches("cronjob.batch/"), &json!({"spec": {"schedule": "0 0 * * *"}}));
    diary.has("backup", &["daily/two 0 23 * * *"]);
    diary.delete(CONFIGURATIONS, "backup");
    diary.has("backup", &[]);
}

#[test]
#[ignore = "long: one more of what follows every edit"]
fn verifiers_of_other_namespaces_and_batches_are_scheduled() {
    let diary = Diary::new("places");
    let elsewhere = Fixture::empty("verifiers");
    elsewhere.apply_all(&[verifier("shared", "15 2 * * *")]);
    let reference = json!({"name": "shared", "namespace": elsewhere.kubectl.in_namespace()});
    diary.fixture.apply_all(&[
        batch("several", "files", reference.clone()),
        configuration("one", &[("daily", vec![entry("files", Some(reference))])]),
    ]);
    diary.has("several", &["daily/files 15 2 * * *"]);
    diary.has("one", &["daily/files 15 2 * * *"]);
    elsewhere.kubectl.run(&["delete", VERIFIERS, "shared"]).unwrap();
    diary.has("several", &[]);
    diary.has("one", &[]);
    elsewhere.apply_all(&[verifier("shared", "45 2 * * *")]);
    diary.has("several", &["daily/files 45 2 * * *"]);
    diary.delete(BATCHES, "several");
    diary.has("several", &[]);
    diary.has("one", &["daily/files 45 2 * * *"]);
}

#[test]
#[ignore = "long: another invoker with the course of what is green in every run"]
fn a_batch_is_proven_like_a_configuration() {
    let fixture = Fixture::new("batch");
    fixture.verify_by_hand();
    let case = Case::new("by-batch");
    let mut objects = case.objects();
    let last = objects.len() - 1;
    objects[last] = batch("by-batch", "sample", json!({"name": "by-batch"}));
    fixture.apply_all(&objects);
    let mut session = case.session();
    session["spec"]["invoker"]["kind"] = json!("BackupBatch");
    fixture.apply_all(&[session]);
    let session = fixture.ended("by-batch");
    assert_ended(&fixture, &session, "Succeeded", "Verified", None);
    assert_eq!(session["metadata"]["ownerReferences"][0]["kind"], "BackupBatch");
    let told = fixture.kubectl.list("events", &["--field-selector", "involvedObject.kind=BackupBatch,reason=Verified"]).unwrap();
    assert_eq!(told.len(), 1, "the invoker's owner hears of the verdict once: {told:?}");
}

#[test]
#[ignore = "long: waits for retries; one retry is in every run"]
fn a_failed_session_is_repeated_until_its_invoker_is_paused() {
    let fixture = Fixture::new("retries");
    fixture.verify_by_hand();
    let again = json!({"retryConfig": {"maxRetry": 3, "delay": "1s"}});
    let late = json!({"retryConfig": {"maxRetry": 3, "delay": "8s"}});
    fixture.start(&[
        Case::new("repeated").addon("no-such-addon").verifier(again).retries(2),
        Case::new("paused").addon("no-such-addon").verifier(late).retries(2),
    ]);
    fixture.all_ended(&["repeated", "paused"]);
    fixture.kubectl.run(&["patch", CONFIGURATIONS, "paused", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#]).unwrap();
    let of = |invoker: &str| -> Vec<Value> {
        let all = fixture.kubectl.list(SESSIONS, &[]).unwrap();
        all.into_iter().filter(|session| session["spec"]["invoker"]["name"] == invoker).collect()
    };
    wait::quietly("both retries to fail", LIMIT, || {
        let done = of("repeated").iter().filter(|session| session["status"]["phase"] == "Failed").count();
        Ok((done == 3).then_some(()))
    })
    .unwrap();
    wait::quietly("the paused one not to be repeated", LIMIT, || {
        Ok((fixture.kubectl.get(SESSIONS, "paused")?["status"]["retried"] == false).then_some(()))
    })
    .unwrap();
    let mut left: Vec<i64> = of("repeated").iter().map(|session| session["spec"]["retryLeft"].as_i64().unwrap_or(0)).collect();
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2], "each retry has one less to go");
    assert_eq!(of("paused").len(), 1);
    let snapshot = fixture.discovered("sample");
    assert_eq!(text(&fixture.kubectl.get(SNAPSHOTS, &snapshot).unwrap(), "/status/verificationStatus"), "NotVerified");
}
