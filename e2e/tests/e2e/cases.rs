//! Several verifications beside each other in one namespace: each case has an invoker, a verifier and a target of its own, so
//! that a dozen of them run at once and share one backup.

use backproof_e2e::wait;
use serde_json::{Value, json};

use crate::{
    fixture::{Fixture, LIMIT, OWNER, SESSIONS, SNAPSHOTS, text},
    schema::meant,
};

/// Session, verifier, invoker and target of one name.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    repository: String,
    storage: String,
    verifier: Value,
    target: Value,
    more: Vec<Value>,
    retry_left: u32,
}

impl Case {
    /// A case on the sample's repository, as the samples have it.
    pub(crate) fn new(name: &str) -> Self {
        let verifier = json!({
            "apiVersion": "core.kubestash.com/v1alpha1",
            "kind": "BackupVerifier",
            "metadata": {"name": name},
            "spec": {
                "type": "RestoreOnly",
                "scheduler": {"schedule": "0 4 * * *", "suspend": true, "jobTemplate": {}},
                "sessionHistoryLimit": 3,
                "timeout": "15m",
                "restoreOption": {
                    "target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": format!("target-{name}")},
                    "addonInfo": {
                        "name": "pvc-addon",
                        "tasks": [{"name": "logical-backup-restore"}],
                        "jobTemplate": {"spec": {"securityContext": {"runAsUser": OWNER, "runAsGroup": OWNER, "fsGroup": OWNER}}},
                    },
                },
            },
        });
        let target = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": format!("target-{name}")},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        });
        Self { name: name.into(), repository: "sample".into(), storage: "local".into(), verifier, target, more: Vec::new(), retry_left: 0 }
    }

    /// Proves another repository, which lies in this storage.
    pub(crate) fn on(mut self, repository: &str, storage: &str) -> Self {
        (self.repository, self.storage) = (repository.into(), storage.into());
        self
    }

    /// A merge patch on the verifier's spec.
    pub(crate) fn verifier(mut self, patch: Value) -> Self {
        merge(&mut self.verifier["spec"], patch);
        self
    }

    /// A merge patch on the settings of the restore Job's pod.
    pub(crate) fn pod(self, patch: Value) -> Self {
        self.verifier(json!({"restoreOption": {"addonInfo": {"jobTemplate": {"spec": patch}}}}))
    }

    /// Another Addon than the catalog's.
    pub(crate) fn addon(self, name: &str) -> Self {
        self.verifier(json!({"restoreOption": {"addonInfo": {"name": name}}}))
    }

    /// A Job that stays Pending.
    pub(crate) fn pending(self) -> Self {
        self.pod(json!({"nodeSelector": {"no-such": "node"}}))
    }

    /// A merge patch on the target's spec.
    pub(crate) fn target(mut self, patch: Value) -> Self {
        merge(&mut self.target["spec"], patch);
        self
    }

    /// Restores into the target of another case.
    pub(crate) fn into_target_of(self, other: &str) -> Self {
        self.verifier(json!({"restoreOption": {"target": {"name": format!("target-{other}")}}}))
    }

    /// Objects that this case needs beside.
    pub(crate) fn with(mut self, object: Value) -> Self {
        self.more.push(object);
        self
    }

    /// How often the session is to be repeated when it fails.
    pub(crate) fn retries(mut self, left: u32) -> Self {
        self.retry_left = left;
        self
    }

    /// Name of the repository it proves.
    pub(crate) fn repository(&self) -> &str {
        &self.repository
    }

    /// Everything but the session.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let invoker = json!({
            "apiVersion": "core.kubestash.com/v1alpha1",
            "kind": "BackupConfiguration",
            "metadata": {"name": self.name},
            "spec": {
                "target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "source"},
                "backends": [{"name": "b", "storageRef": {"name": self.storage}}],
                "sessions": [{
                    "name": "daily",
                    "scheduler": {"schedule": "0 3 * * *", "jobTemplate": {}},
                    "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup"}]},
                    "repositories": [{
                        "name": self.repository,
                        "backend": "b",
                        "directory": "/",
                        "encryptionSecret": {"name": "encryption-secret"},
                        "backupVerifier": {"name": self.name},
                    }],
                }],
            },
        });
        self.more.iter().chain([&self.target, &self.verifier, &invoker]).cloned().collect()
    }

    /// The session.
    pub(crate) fn session(&self) -> Value {
        self.session_named(&self.name)
    }

    /// Another session of the same case.
    pub(crate) fn session_named(&self, name: &str) -> Value {
        json!({
            "apiVersion": "core.kubestash.com/v1alpha1",
            "kind": "BackupVerificationSession",
            // Several cases prove one Snapshot; none may be skipped for another's sake.
            "metadata": {"name": name, "annotations": {"backproof.dev/reverify": "true"}},
            "spec": {
                "invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": self.name},
                "session": "daily",
                "repository": self.repository,
                "snapshot": "latest",
                "retryLeft": self.retry_left,
            },
        })
    }
}

impl Fixture {
    /// Applies objects in their order.
    pub(crate) fn apply_all(&self, items: &[Value]) {
        self.kubectl.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).unwrap();
    }

    /// Applies the cases and starts their sessions, all at once.
    pub(crate) fn start(&self, cases: &[Case]) {
        self.apply_all(&cases.iter().flat_map(Case::objects).collect::<Vec<_>>());
        self.apply_all(&cases.iter().map(Case::session).collect::<Vec<_>>());
    }

    /// Waits for the end of several sessions with one list for all, and returns them in this order.
    pub(crate) fn all_ended(&self, names: &[&str]) -> Vec<Value> {
        let mut open = Vec::new();
        wait::quietly("the end of several sessions", 2 * LIMIT, || {
            let sessions = self.kubectl.list(SESSIONS, &[])?;
            let of = |name: &&str| sessions.iter().find(|session| session["metadata"]["name"] == **name).cloned().map(meant);
            let ended = |session: &Value| matches!(session["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Skipped"));
            open = names.iter().filter(|name| !of(name).is_some_and(|session| ended(&session))).map(ToString::to_string).collect();
            Ok(if open.is_empty() { names.iter().map(of).collect() } else { None })
        })
        .unwrap_or_else(|error| {
            panic!("{error}: {}\n{}", open.join(", "), open.first().map(|name| self.describe(name)).unwrap_or_default())
        })
    }

    /// Makes a Snapshot of another repository that stands for the same restic snapshot as the sample's.
    pub(crate) fn snapshot_of(&self, repository: &str) -> String {
        self.copy_of(&self.discovered("sample"), repository)
    }

    /// The same for any Snapshot.
    pub(crate) fn copy_of(&self, snapshot: &str, repository: &str) -> String {
        let found = self.kubectl.get(SNAPSHOTS, snapshot).unwrap();
        let name = format!("{repository}-copied");
        let object = json!({
            "apiVersion": found["apiVersion"],
            "kind": "Snapshot",
            "metadata": {"name": name, "labels": {"kubestash.com/repo-name": repository}},
            "spec": merged(found["spec"].clone(), json!({"repository": repository})),
        });
        self.apply_all(&[object]);
        let status =
            merged(found["status"].clone(), json!({"verificationStatus": "NotVerified", "verification": null, "lastAttempt": null}));
        let patch = json!({ "status": status }).to_string();
        self.kubectl.run(&["patch", SNAPSHOTS, &name, "--subresource=status", "--type=merge", "-p", &patch]).unwrap();
        name
    }

    /// The one pod of a session's restore, once `ready` holds for it.
    pub(crate) fn pod_of(&self, session: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let uid = text(&self.kubectl.get(SESSIONS, session).unwrap(), "/metadata/uid");
        let label = format!("backproof.dev/session-uid={uid}");
        wait::quietly(&format!("the pod of {session}"), LIMIT, || {
            Ok(self.kubectl.list("pods", &["-l", &label])?.into_iter().find(|pod| ready(pod)))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.describe(session)))
    }
}

/// Whether a pod's container runs.
pub(crate) fn runs(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && !pod["status"]["containerStatuses"][0]["state"]["running"].is_null()
}

/// Whether a pod was not placed on any node.
pub(crate) fn waits_for_a_node(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")
}

/// RFC 7386, as `kubectl patch --type=merge` does it.
pub(crate) fn merge(into: &mut Value, patch: Value) {
    match patch {
        Value::Object(patch) => {
            if !into.is_object() {
                *into = json!({});
            }
            for (key, value) in patch {
                match (value, into.as_object_mut()) {
                    (Value::Null, Some(object)) => drop(object.shift_remove(&key)),
                    (value, Some(object)) => merge(object.entry(key).or_insert(Value::Null), value),
                    (_, None) => {}
                }
            }
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => *into = other,
    }
}

/// The same by value.
pub(crate) fn merged(mut base: Value, patch: Value) -> Value {
    merge(&mut base, patch);
    base
}
