//! The worlds an exploration starts from.

use backproof_api::{BackupStorage, Cause, Repository, labels};
use backproof_testing::memory::{By, Object, Store};
use serde_json::{Value, json};

use super::{NAMESPACE, cluster::key, outside::know, truth::Truth, world::World};
use crate::hold::{Hold, Place};

/// The Snapshot that is verified.
pub(super) const SNAPSHOT: &str = "snap";
/// When everything begins: 2026-01-01T00:00:00Z.
pub(super) const START: i64 = 1_767_225_600;

/// One world to start from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    /// The sessions that are there.
    sessions: &'static [&'static str],
    /// Components of the Snapshot.
    components: &'static [&'static str],
    /// Concurrency policy of the verifier.
    policy: &'static str,
    /// What the verifier wants to become of the target at the end of a run.
    cleanup: &'static str,
    /// How many retries the sessions have.
    retries: i64,
    /// What is known of the Repository.
    repository: Known,
    /// Whether the caches of what sessions refer to are still empty.
    behind: bool,
    /// What is restored into.
    target: Target,
}

/// What is restored into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// A claim.
    Claim,
    /// A database, which is asked afterwards.
    Database,
}

/// What is known of a Repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing.
    Nothing,
    /// It could not be reached a moment ago, and is held off.
    HeldOff,
}

const PLAIN: Scenario = Scenario {
    name: "one",
    sessions: &["one"],
    components: &["pod"],
    policy: "Forbid",
    cleanup: "Never",
    retries: 0,
    repository: Known::Nothing,
    behind: false,
    target: Target::Claim,
};

/// Every world to start from.
pub(super) const ALL: [Scenario; 9] = [
    Scenario { retries: 1, ..PLAIN },
    Scenario { name: "two", sessions: &["one", "two"], ..PLAIN },
    Scenario { name: "parts", components: &["dump", "pod"], ..PLAIN },
    Scenario { name: "replace", sessions: &["one", "two"], policy: "Replace", ..PLAIN },
    Scenario { name: "wipe", sessions: &["one", "two"], cleanup: "Always", ..PLAIN },
    Scenario { name: "held", sessions: &["one", "two"], repository: Known::HeldOff, ..PLAIN },
    Scenario { name: "retries", retries: 3, cleanup: "Always", ..PLAIN },
    Scenario { name: "query", sessions: &["one", "two"], components: &["dump"], target: Target::Database, ..PLAIN },
    Scenario { name: "behind", components: &["dump", "pod"], behind: true, ..PLAIN },
];

/// The scenario of this name.
pub(super) fn named(name: &str) -> Option<Scenario> {
    ALL.into_iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// Its world.
    pub(super) fn world(&self) -> World {
        let mut store = Store::default();
        store.now = START;
        let mut make = |value: Value| store.create(By::Stranger, value).unwrap();
        let core = "core.kubestash.com/v1alpha1";
        let storage = "storage.kubestash.com/v1alpha1";
        let addons = "addons.kubestash.com/v1alpha1";
        let meta = |name: &str| json!({"name": name, "namespace": NAMESPACE});
        let ours = |name: &str, implements: &str| json!({"name": name, "labels": {"backproof.dev/implements": implements}});
        for name in ["data", "scratch", "repository"] {
            let made = make(claim(name));
            make(json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": format!("of-{name}")},
                "spec": {"csi": {"driver": "d", "volumeHandle": name}, "claimRef": {"namespace": NAMESPACE, "name": name, "uid": made.uid()}}}));
        }
        make(json!({"apiVersion": addons, "kind": "Addon", "metadata": ours("backproof-pvc-addon", "pvc-addon"),
            "spec": {"restoreTasks": [{"name": "logical-backup-restore", "function": "backproof-pvc-restore", "driver": "Restic", "executor": "Job"}]}}));
        make(json!({"apiVersion": addons, "kind": "Function", "metadata": ours("backproof-pvc-restore", "pvc-restore"),
            "spec": {"image": "backproof", "command": ["/bin/backproof-executor"], "args": ["restore", "--repository=${repositoryURL}",
                "--snapshot=${resticSnapshot}", "--target=${targetPath}", "--report=/dev/termination-log"]}}));
        make(json!({"apiVersion": addons, "kind": "Addon", "metadata": ours("backproof-postgres-addon", "postgres-addon"),
            "spec": {"restoreTasks": [{"name": "logical-backup-restore", "function": "backproof-postgres-restore", "driver": "Restic", "executor": "Job"}]}}));
        make(json!({"apiVersion": addons, "kind": "Function", "metadata": ours("backproof-postgres-restore", "postgres-restore"),
            "spec": {"image": "postgres", "command": ["/bin/backproof-executor"], "args": ["restore-dump", "--repository=${repositoryURL}",
                "--snapshot=${resticSnapshot}", "--connection=${connection}", "--report=/dev/termination-log"]}}));
        make(json!({"apiVersion": addons, "kind": "Function", "metadata": ours("backproof-kubedbverifier", "kubedbverifier"),
            "spec": {"image": "backproof", "command": ["/bin/backproof-executor"], "args": ["verify", "--connection=${connection}"]}}));
        make(json!({"apiVersion": "appcatalog.appscode.com/v1alpha1", "kind": "AppBinding", "metadata": meta("shop"),
            "spec": {"type": "postgres", "secret": {"name": "auth"}, "clientConfig": {"service": {"name": "shop", "port": 5432}}}}));
        let place = make(json!({"apiVersion": storage, "kind": "BackupStorage", "metadata": meta("storage"),
            "spec": {"storage": {"provider": "local", "local": {"mountPath": "/m", "persistentVolumeClaim": {"claimName": "repository"}}}}}));
        let repository = make(json!({"apiVersion": storage, "kind": "Repository", "metadata": meta("repo"),
            "spec": {"storageRef": {"name": "storage"}, "encryptionSecret": {"name": "password"}, "path": "/x"}}));
        let (kind, function, query, addon, target) = match self.target {
            Target::Claim => ("RestoreOnly", "", Value::Null, "pvc-addon", json!({"kind": "PersistentVolumeClaim", "name": "scratch"})),
            Target::Database => (
                "Query",
                "kubedbverifier",
                json!({"postgres": [{"database": "shop", "table": "employee", "rowCount": 3}]}),
                "postgres-addon",
                json!({"apiGroup": "appcatalog.appscode.com", "kind": "AppBinding", "name": "shop"}),
            ),
        };
        make(json!({"apiVersion": core, "kind": "BackupVerifier", "metadata": meta("verifier"),
            "spec": {"type": kind, "function": function, "query": query, "timeout": "1h", "retryConfig": {"maxRetry": self.retries, "delay": "1m"}, "sessionHistoryLimit": 3,
                "cleanup": self.cleanup,
                "scheduler": {"schedule": "* * * * *", "concurrencyPolicy": self.policy, "jobTemplate": {}},
                "restoreOption": {"target": target,
                    "addonInfo": {"name": addon, "tasks": [{"name": "logical-backup-restore"}]}}}}));
        make(json!({"apiVersion": core, "kind": "BackupConfiguration", "metadata": meta("backup"),
            "spec": {"target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "data"},
                "sessions": [{"name": "nightly", "repositories": [{"name": "repo", "backupVerifier": {"name": "verifier"}}]}]}}));
        let mut content = snapshot("a");
        let part = content["status"]["components"]["pod"].clone();
        content["status"]["components"] = self.components.iter().map(|name| ((*name).to_owned(), part.clone())).collect();
        // Each component has a restic snapshot of its own.
        if let Some(dump) = content["status"]["components"].get_mut("dump") {
            dump["resticStats"][0]["summary"]["id"] = id("f").into();
        }
        let made = make(content);
        for session in self.sessions {
            make(self::session(session, self.retries));
        }
        if self.repository == Known::HeldOff {
            let hold = held(repository.read(), place.read());
            let annotate = |value: &mut Value| value["metadata"]["annotations"] = json!({ (labels::HOLD): hold });
            store.update(By::Stranger, &key("Repository", "repo"), annotate).unwrap();
        }
        let mut truth = Truth::default();
        for (key, session) in store.all("BackupVerificationSession") {
            truth.sessions.insert(session.uid().to_owned(), (key.name.clone(), self.retries));
        }
        let mut world = World::new(store, truth);
        know(&mut world, &made);
        if self.behind {
            world.fall_behind();
        }
        world
    }
}

/// A failure a minute ago, as its session left it: the next try comes in four.
fn held(repository: &Repository, storage: &BackupStorage) -> String {
    let time = |seconds: i64| jiff::Timestamp::from_second(START + seconds).unwrap().to_string();
    let hold = Hold {
        since: time(-60),
        tries: 1,
        next: time(240),
        cause: Some(Cause::StorageUnreachable),
        last: "another".into(),
        inputs: Place::of(repository, Some(storage)).inputs,
        ..Hold::default()
    };
    serde_json::to_string(&hold).unwrap()
}

/// A restic id of one digit.
pub(super) fn id(digit: &str) -> String {
    digit.repeat(64)
}

/// A session.
pub(super) fn session(name: &str, retries: i64) -> Value {
    json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerificationSession",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "backup"},
            "session": "nightly", "repository": "repo", "snapshot": SNAPSHOT, "retryLeft": retries}})
}

/// A claim, bound to the volume that was made for it.
pub(super) fn claim(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {}, "volumeName": format!("of-{name}")}, "status": {"phase": "Bound"}})
}

/// The Snapshot with this content.
pub(super) fn snapshot(digit: &str) -> Value {
    json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot", "metadata": {"name": SNAPSHOT, "namespace": NAMESPACE},
        "spec": {"repository": "repo", "session": "nightly", "snapshotID": "x", "appRef": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "data"}},
        "status": {"phase": "Succeeded", "snapshotTime": "2025-12-31T00:00:00Z", "verificationStatus": "NotVerified", "totalComponents": 1,
            "components": {"pod": {"driver": "Restic", "phase": "Succeeded", "path": "repository/v1/nightly/pod",
                "resticStats": [{"summary": {"id": id(digit)}}]}}}})
}

/// The restic ids a Snapshot consists of, in order.
pub(super) fn ids_of(snapshot: &Object) -> Vec<String> {
    let components = snapshot.at("/status/components").as_object().into_iter().flatten().map(|(_, component)| component);
    let mut ids: Vec<String> =
        components.filter_map(|component| component["resticStats"][0]["summary"]["id"].as_str()).map(str::to_owned).collect();
    ids.sort_unstable();
    ids
}
