//! What a session pins at its start and records at its end. All of it is ours: upstream's schema would prune it, so nothing
//! here may be the only place of a fact that correctness rests on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Cause, Verdict, report::Counts};

/// The facts a session acts on, fixed when it starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PinnedRun {
    /// The Snapshot that is verified.
    pub snapshot: PinnedSnapshot,
    /// The verifier in force.
    pub verifier: PinnedVerifier,
    /// The Repository the Snapshot lies in.
    pub repository: PinnedObject,
    /// SHA-256 of where the Repository lay when the run started: its storage and its path there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// When the run started, RFC 3339.
    pub started: String,
    /// When the run ends as Inconclusive at the latest, RFC 3339.
    pub deadline: String,
    /// Wait before a retry, in seconds.
    pub retry_delay_seconds: i64,
    /// How many finished sessions to keep.
    pub history_limit: i32,
    /// Whether the target is wiped at the end.
    pub wipe_target: bool,
    /// Seconds a Job may take until its container runs.
    pub start_timeout_seconds: i64,
    /// Whether a backup without any entry may pass.
    pub allow_empty: bool,
    /// Whether a newer session of the same repository ends this one (concurrencyPolicy Replace).
    pub replaceable: bool,
    /// The session whose proof still holds, so that this one is skipped; empty when it runs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proven_by: String,
    /// Time left for the restore, as Go duration text; fixed before the RestoreSession is made.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub restore_timeout: String,
    /// SHA-256 of the RestoreSession's spec as this run creates it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub restore_spec_hash: String,
    /// The RestoreSession: without UID when it is about to be made, with it once it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_session: Option<PinnedObject>,
    /// Components of the Snapshot that the verifier does not select.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_covered: Vec<String>,
}

/// An object by name and UID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PinnedObject {
    /// Its namespace; empty for the session's own and for cluster-scoped kinds.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its generation when it was read; 0 where it does not matter.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: i64,
}

/// The Snapshot and the restic ids it stood for when the run started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PinnedSnapshot {
    /// Name of the Snapshot object.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The selected components, in order of their names.
    pub components: Vec<PinnedComponent>,
}

/// One component of a Snapshot, as selected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PinnedComponent {
    /// Its key in the Snapshot's `status.components`.
    pub name: String,
    /// Place of its restic repository below the Repository's path.
    pub path: String,
    /// The restic snapshots it consists of.
    pub restic_ids: Vec<String>,
}

/// The verifier as it was when the run started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PinnedVerifier {
    /// The BackupVerifier.
    pub object: PinnedObject,
    /// RestoreOnly, Query or Script.
    #[serde(rename = "type")]
    pub kind: String,
    /// SHA-256 over everything that decides what is checked and how.
    pub hash: String,
    /// What is restored into.
    pub target: PinnedTarget,
    /// The Addon used, and the Function of its restore task.
    pub addon: PinnedObject,
    /// The Function used.
    pub function: PinnedObject,
    /// The restore task.
    pub task: String,
    /// What is asked of the restored database, where the type is Query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<PinnedQuery>,
    /// That the Function is not Backproof's: it tells by itself what came of the restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign: Option<PinnedForeign>,
}

/// What is pinned of a verifier's query: who asks, whom, and how many answers a proof needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PinnedQuery {
    /// The Function that runs the checks.
    pub function: PinnedObject,
    /// Which engine is asked: a key of `spec.query`.
    pub engine: String,
    /// How many checks there are; each must be answered, and hold.
    pub checks: u64,
}

/// What is pinned of a Function that is not Backproof's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PinnedForeign {
    /// Whether its errors begin with a cause of Backproof's list, as annotation `backproof.dev/verdict-contract: "1"` promises.
    pub verdict_contract: bool,
}

/// What is restored into, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PinnedTarget {
    /// API group; empty for the core group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    /// Kind.
    pub kind: String,
    /// Name, namespace and UID.
    pub object: PinnedObject,
    /// UID of the PersistentVolume behind it, where it has one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub volume_uid: String,
    /// The database, where the target is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<PinnedDatabase>,
}

/// A database to restore into, as the target's object described it. The password is in the Secret, and nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PinnedDatabase {
    /// Which engine: a key of `spec.query`.
    pub engine: String,
    /// Where the server answers.
    pub host: String,
    /// At which port.
    pub port: u16,
    /// Which of its databases is restored into.
    pub name: String,
    /// Secret in the target's namespace with user and password.
    pub secret: String,
    /// Key of the user's name in it.
    pub user_key: String,
    /// Key of the password in it.
    pub password_key: String,
    /// SHA-256 of the authorities that the server's certificate must come from; empty where the object gives none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub authorities: String,
    /// SHA-256 of where its Services lead: selectors and external names. Whoever points one elsewhere has made it another server.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub leads_to: String,
}

/// [`PinnedJob::component`] of the verifier's Job. No component is called so: tasks choose those that begin with dump, pod,
/// physical or manifest.
pub const VERIFIER_JOB: &str = "verifier";

/// A Job that touches a target, recorded before it is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PinnedJob {
    /// Component it restores; `verifier` for the one that asks what was restored.
    pub component: String,
    /// Its namespace, name and UID.
    pub object: PinnedObject,
    /// Which attempt at this component.
    pub attempt: u32,
    /// Whether it was unsuspended.
    pub started: bool,
    /// Whether its Function writes the component's state by itself, and what it wrote was not judged yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub awaits_report: bool,
}

/// The wiping of a target at the end of its run. The verdict never depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetWipe {
    /// The Job that wipes: made suspended together with the restore's, and started when the session is over.
    pub job: PinnedObject,
    /// Whether it was unsuspended.
    pub started: bool,
    /// Whether nothing of what was restored is left; absent until it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wiped: Option<bool>,
    /// What was removed, or what remains and why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What a session proved, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Evidence {
    /// Where the facts come from: `Executor`, or `Reported` by a Function that is not Backproof's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// What was restored, over all components.
    pub restored: Counts,
    /// What was read again from the target and found equal.
    pub read_back: Counts,
    /// What the Snapshot holds that the verifier does not select.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_covered: Vec<String>,
    /// The checks, with what was expected and what came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// How many checks there were; the list above may be shorter, and lacks then such as hold.
    #[serde(skip_serializing_if = "is_none_of_them")]
    pub checks_total: u64,
    /// The database that was restored into and asked, and the run whose data it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<crate::report::DatabaseFacts>,
    /// What was found beside the verdict, shortened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<crate::report::Finding>,
    /// The restic ids that were restored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restic_ids: Vec<String>,
    /// Version of the executor.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub executor: String,
    /// Images of the Jobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// The repository as it was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<crate::report::RepositoryFacts>,
}

/// One check and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub actual: String,
    /// Whether it holds.
    pub holds: bool,
}

/// The proof kept with a Snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationRecord {
    /// Name of the BackupVerificationSession.
    pub session: String,
    /// Its UID.
    pub session_uid: String,
    /// When that session started, RFC 3339; a result never replaces the record of a session that started later.
    pub started: String,
    /// When it ended, RFC 3339.
    pub completed: String,
    /// Verified or VerificationFailed; Inconclusive is never recorded here.
    pub verdict: Verdict,
    /// Why, when not Verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// RestoreOnly, Query or Script.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Hash of the verifier that was in force.
    pub verifier_hash: String,
    /// UID of the Snapshot this is about: a copy of the record on another Snapshot proves nothing.
    pub snapshot_uid: String,
    /// The restic ids that were restored.
    #[serde(default)]
    pub restic_ids: Vec<String>,
    /// SHA-256 of where the Repository lay: what was proven of one copy says nothing of another.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// What was restored.
    #[serde(default)]
    pub restored: Counts,
    /// What was read back.
    #[serde(default)]
    pub read_back: Counts,
    /// Names of the checks that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_checks: Vec<String>,
    /// The repository as it was opened, to tell a lost key from a wrong password later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<crate::report::RepositoryFacts>,
}

/// The newest attempt that found nothing out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationAttempt {
    /// Name of the BackupVerificationSession.
    pub session: String,
    /// When it ended, RFC 3339.
    pub completed: String,
    /// Why nothing was found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

/// Hash of a spec: the SHA-256 over its JSON with keys in order, as the API server may reorder free-form maps.
///
/// A spec that cannot be written as JSON has the hash of nothing, which no written spec has.
pub fn spec_hash<T: Serialize>(spec: &T) -> String {
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(object) => {
                let mut entries: Vec<_> = object.into_iter().collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                Value::Object(entries.into_iter().map(|(key, inner)| (key, sorted(inner))).collect())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
        }
    }
    let text = serde_json::to_value(spec).map(|value| sorted(value).to_string()).unwrap_or_default();
    crate::names::hash(&[&text])
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_none_of_them(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::spec_hash;

    #[test]
    fn order_of_keys_does_not_matter_order_of_items_does() {
        assert_eq!(spec_hash(&json!({"a": {"x": 1, "y": [1, 2]}, "b": 2})), spec_hash(&json!({"b": 2, "a": {"y": [1, 2], "x": 1}})));
        assert_ne!(spec_hash(&json!([1, 2])), spec_hash(&json!([2, 1])));
    }
}
