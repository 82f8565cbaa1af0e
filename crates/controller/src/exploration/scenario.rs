//! The worlds an exploration starts from.

use backproof_testing::memory::{By, Object, Store};
use serde_json::{Value, json};

use super::{NAMESPACE, outside::know, truth::Truth, world::World};

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
    /// Of the verifier: whether a newer session ends older ones.
    replace: bool,
    /// How many retries the sessions have.
    retries: i64,
}

/// Every world to start from.
pub(super) const ALL: [Scenario; 4] = [
    Scenario { name: "one", sessions: &["one"], components: &["pod"], replace: false, retries: 1 },
    Scenario { name: "two", sessions: &["one", "two"], components: &["pod"], replace: false, retries: 0 },
    Scenario { name: "parts", sessions: &["one"], components: &["dump", "pod"], replace: false, retries: 0 },
    Scenario { name: "replace", sessions: &["one", "two"], components: &["pod"], replace: true, retries: 0 },
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
            make(claim(name));
        }
        make(json!({"apiVersion": addons, "kind": "Addon", "metadata": ours("backproof-pvc-addon", "pvc-addon"),
            "spec": {"restoreTasks": [{"name": "logical-backup-restore", "function": "backproof-pvc-restore", "driver": "Restic", "executor": "Job"}]}}));
        make(json!({"apiVersion": addons, "kind": "Function", "metadata": ours("backproof-pvc-restore", "pvc-restore"),
            "spec": {"image": "backproof", "command": ["/bin/backproof-executor"], "args": ["restore", "--repository=${repositoryURL}",
                "--snapshot=${resticSnapshot}", "--target=${targetPath}", "--report=/dev/termination-log"]}}));
        make(json!({"apiVersion": storage, "kind": "BackupStorage", "metadata": meta("storage"),
            "spec": {"storage": {"provider": "local", "local": {"mountPath": "/m", "persistentVolumeClaim": {"claimName": "repository"}}}}}));
        make(json!({"apiVersion": storage, "kind": "Repository", "metadata": meta("repo"),
            "spec": {"storageRef": {"name": "storage"}, "encryptionSecret": {"name": "password"}, "path": "/x"}}));
        let policy = if self.replace { "Replace" } else { "Forbid" };
        make(json!({"apiVersion": core, "kind": "BackupVerifier", "metadata": meta("verifier"),
            "spec": {"type": "RestoreOnly", "timeout": "1h", "retryConfig": {"maxRetry": 1, "delay": "1m"}, "sessionHistoryLimit": 3,
                "scheduler": {"schedule": "* * * * *", "concurrencyPolicy": policy, "jobTemplate": {}},
                "restoreOption": {"target": {"kind": "PersistentVolumeClaim", "name": "scratch"},
                    "addonInfo": {"name": "pvc-addon", "tasks": [{"name": "logical-backup-restore"}]}}}}));
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
        let mut truth = Truth::default();
        for (key, session) in store.all("BackupVerificationSession") {
            truth.sessions.insert(session.uid().to_owned(), (key.name.clone(), self.retries));
        }
        let mut world = World::new(store, truth);
        know(&mut world, &made);
        world
    }
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

/// A claim.
pub(super) fn claim(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {}}, "status": {"phase": "Bound"}})
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
