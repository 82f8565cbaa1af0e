//! Everything that keeps a session from finding out, produced for real: each ends Inconclusive with its own cause, and neither
//! Snapshot nor repository are touched.

use std::collections::BTreeMap;

use backproof_e2e::wait;
use serde_json::{Value, json};

use crate::{
    cases::{Case, runs, waits_for_a_node},
    fixture::{Fixture, LIMIT, PASSWORD, RESTORES, SNAPSHOTS, assert_ended, condition, text},
    host::{S3, Tmpfs, in_bucket, repository},
    schema::record_of,
};

const RESTIC: &str = "localhost/backproof/restic:dev";

/// A world in which sessions are made for cases.
fn world(test: &str) -> Fixture {
    let fixture = Fixture::new(test);
    fixture.verify_by_hand();
    fixture
}

/// Cases with the cause each must end with, run to their end; `meanwhile` interferes.
struct Matrix<'a> {
    fixture: &'a Fixture,
    cases: Vec<(Case, &'static str)>,
}

impl Matrix<'_> {
    fn run(&self, meanwhile: impl FnOnce()) -> BTreeMap<String, Value> {
        let before = self.fixture.listing("repository");
        let cases: Vec<Case> = self.cases.iter().map(|(case, _)| case.clone()).collect();
        self.fixture.start(&cases);
        meanwhile();
        let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        let ended = self.fixture.all_ended(&names);
        for ((_, cause), session) in self.cases.iter().zip(&ended) {
            self.inconclusive(session, cause);
        }
        assert_eq!(before, self.fixture.listing("repository"), "the repository was touched");
        for snapshot in self.fixture.kubectl.list(SNAPSHOTS, &[]).unwrap() {
            let status = &snapshot["status"];
            assert_eq!(status["verificationStatus"], "NotVerified", "{snapshot:#}");
            assert!(record_of(&snapshot).is_null(), "{snapshot:#}");
        }
        names.into_iter().map(str::to_owned).zip(ended).collect()
    }

    /// The verdict, where people look for it and where tools do, told once.
    fn inconclusive(&self, session: &Value, cause: &str) {
        assert_ended(self.fixture, session, "Failed", "Inconclusive", Some(cause));
        let name = text(session, "/metadata/name");
        assert_eq!(condition(session, "BackupVerified"), "False", "{name}: {session:#}");
        assert_ne!(condition(session, "Reconciling"), "True", "{name}: {session:#}");
        assert!(text(session, "/status/message").len() > 20, "{name} says nothing: {session:#}");
        let told = self.fixture.told_at_last("BackupVerificationSession", &name, "Inconclusive");
        assert_eq!(told.iter().filter(|reason| *reason == "Inconclusive").count(), 1, "{name}: {told:?}");
    }
}

fn delete(fixture: &Fixture, kind: &str, name: &str) {
    fixture.kubectl.run(&["delete", kind, name, "--wait=false"]).unwrap();
}

/// What `kubectl drain` does.
fn evict(fixture: &Fixture, pod: &str) {
    let namespace = fixture.kubectl.in_namespace();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}, "deleteOptions": {"gracePeriodSeconds": 1}});
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    let output = fixture.kubectl.output(&["create", "--raw", &path, "-f", "-"], Some(&eviction.to_string())).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What kubelet and the node's controllers write when a pod fails without its container having a say.
fn fail(fixture: &Fixture, pod: &str, reason: &str) {
    let patch = json!({"status": {"phase": "Failed", "reason": reason, "message": "The node was low on resource: memory."}}).to_string();
    fixture.kubectl.run(&["patch", "pod", pod, "--subresource=status", "--type=merge", "-p", &patch]).unwrap();
}

fn name(object: &Value) -> String {
    text(object, "/metadata/name")
}

#[test]
fn pods_that_are_taken_away() {
    let fixture = world("pods");
    let sleeper = fixture.addon("sleeper", RESTIC, &["/bin/sleep", "3600"]);
    let quick = json!({"terminationGracePeriodSeconds": 1});
    let sleeping = |name: &str| Case::new(name).addon(&sleeper).pod(quick.clone());
    let matrix = Matrix {
        fixture: &fixture,
        cases: vec![
            (sleeping("evicted"), "Evicted"),
            (sleeping("job-deleted"), "JobDeleted"),
            (sleeping("pod-deleted"), "PodLost"),
            (sleeping("restore-deleted"), "RestoreSessionDeleted"),
            (sleeping("too-late").verifier(json!({"timeout": "10s"})), "DeadlineExceeded"),
            (Case::new("kubelet").pending(), "Evicted"),
            (Case::new("node-lost").pending(), "PodLost"),
            (Case::new("no-node").pending().verifier(json!({"startTimeout": "20s"})), "Unschedulable"),
        ],
    };
    matrix.run(|| {
        fail(&fixture, &name(&fixture.pod_of("kubelet", waits_for_a_node)), "Evicted");
        fail(&fixture, &name(&fixture.pod_of("node-lost", waits_for_a_node)), "NodeLost");
        evict(&fixture, &name(&fixture.pod_of("evicted", runs)));
        delete(&fixture, "pod", &name(&fixture.pod_of("pod-deleted", runs)));
        let pod = fixture.pod_of("job-deleted", runs);
        delete(&fixture, "job", &text(&pod, "/metadata/ownerReferences/0/name"));
        fixture.pod_of("restore-deleted", runs);
        delete(&fixture, RESTORES, "restore-deleted");
    });
    nothing_runs_on(&fixture);
    assert!(fixture.kubectl.find(RESTORES, "restore-deleted").unwrap().is_none(), "what was deleted is never made again");
}

/// Everything that was told to stop has stopped, and no target stays locked.
fn nothing_runs_on(fixture: &Fixture) {
    wait::quietly("the last pods of sessions that ended", LIMIT, || {
        let pods = fixture.kubectl.list("pods", &["-l", "backproof.dev/session-uid"])?;
        let left = pods.iter().filter(|pod| !matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")));
        Ok((left.count() == 0).then_some(()))
    })
    .unwrap();
    wait::quietly("the locks of sessions that ended", LIMIT, || Ok(fixture.locked().is_empty().then_some(()))).unwrap();
}

#[test]
#[ignore = "long: an image that cannot be had takes a minute to be given up"]
fn jobs_that_cannot_do_their_work() {
    let fixture = world("jobs");
    let missing = fixture.addon("no-image", "localhost/backproof/no-such-image:dev", &["/bin/true"]);
    // A Repository of its own: one whose image cannot be had is held back, and the others would wait with it.
    fixture.apply_all(&[repository("aside", "local", "")]);
    fixture.snapshot_of("aside");
    let silent = fixture.addon("silent", RESTIC, &["/bin/true"]);
    let forger = fixture.addon("forger", RESTIC, &["/bin/sh", "-c", FORGED_REPORT]);
    let stranger = json!({"securityContext": {"runAsUser": 20_002, "runAsGroup": 20_002, "fsGroup": 20_002}});
    let disk = Tmpfs::new("full", "size=512k");
    let volume = format!("{}-full", fixture.kubectl.in_namespace());
    let full = Case::new("full").target(json!({"storageClassName": "by-hand", "volumeName": volume})).with(disk.volume(
        &volume,
        fixture.kubectl.in_namespace(),
        "target-full",
    ));
    fixture.beside("pv", &volume);
    let hungry = Case::new("hungry").pod(json!({"resources": {"limits": {"memory": "20Mi"}}}));
    Matrix {
        fixture: &fixture,
        cases: vec![
            (Case::new("no-image").on("aside", "local").addon(&missing).verifier(json!({"startTimeout": "60s"})), "ImagePullFailed"),
            (Case::new("silent").addon(&silent), "ExecutorFailed"),
            (Case::new("forger").addon(&forger), "ExecutorFailed"),
            (Case::new("stranger").pod(stranger), "RepositoryNotReadable"),
            (hungry, "OutOfMemory"),
            (full, "TargetFull"),
        ],
    }
    .run(|| {});
    assert!(fixture.never_written("target-stranger"), "a target was written to before the repository could be read");
}

/// A green report that says nothing of this session.
const FORGED_REPORT: &str = r#"echo '{"outcome":"Verified","snapshot":{"id":"0"},"restored":{"files":1,"directories":1,"bytes":1},"readBack":{"files":1,"directories":1,"bytes":1},"findings":[]}' > /dev/termination-log"#;

#[test]
#[ignore = "long: a storage is asked for a minute before it is given up"]
fn storages_that_do_not_answer() {
    let fixture = world("storage");
    let server = S3::start();
    server.back_up(PASSWORD);
    let made = server.operations(0).len();
    let nobody = "http://127.0.0.1:9";
    for object in in_bucket("nobody", nobody, crate::host::SECRET) {
        fixture.apply_all(&[object]);
    }
    fixture.apply_all(&in_bucket("refused", &server.endpoint, "not the secret"));
    let nfs = json!({
        "apiVersion": "storage.kubestash.com/v1alpha1",
        "kind": "BackupStorage",
        "metadata": {"name": "nfs"},
        "spec": {"storage": {"provider": "local", "local": {"mountPath": "/r", "nfs": {"server": "127.0.0.1", "path": "/nothing"}}}},
    });
    fixture.apply_all(&[nfs, repository("nfs", "nfs", "")]);
    for name in ["nobody", "refused", "nfs"] {
        fixture.snapshot_of(name);
    }
    Matrix {
        fixture: &fixture,
        cases: vec![
            (Case::new("nobody").on("nobody", "nobody"), "StorageUnreachable"),
            (Case::new("refused").on("refused", "refused"), "StorageCredentialsRefused"),
            (Case::new("nfs").on("nfs", "nfs").verifier(json!({"startTimeout": "5s"})), "PodNotStarted"),
        ],
    }
    .run(|| {});
    let writes: Vec<String> = server.operations(made).into_iter().filter(|operation| !reads(operation)).collect();
    assert_eq!(writes, Vec::<String>::new(), "the server was asked for more than reading");
}

/// Whether an operation of the server's log only reads.
fn reads(operation: &str) -> bool {
    ["s3_GetObject", "s3_HeadObject", "s3_ListObjects", "s3_HeadBucket"].iter().any(|read| operation.starts_with(read))
}
