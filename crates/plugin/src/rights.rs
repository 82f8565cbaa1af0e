//! The rights each verb needs, one row per step, as the controller's are in `backproof_api::rbac`. `docs/plugin.md` shows this table,
//! and tests run each verb with an account that holds these rows and no others, and again without each of them.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Where a right must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In the namespace that is worked in; everywhere with `-A`, and where references lead elsewhere.
    Namespace,
    /// In the namespace Backproof is installed in.
    Installation,
    /// For kinds without a namespace.
    Cluster,
}

/// What becomes of the verb without the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// It ends with exit code 5.
    Fails,
    /// It works, and this is missing.
    Lacks(&'static str),
}

/// One right.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// Verb of the plugin.
    pub verb: &'static str,
    /// Where.
    pub reach: Reach,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resources, with sub-resources as `resource/sub`.
    pub resources: &'static [&'static str],
    /// Verbs of the API.
    pub verbs: &'static [&'static str],
    /// What for.
    pub step: &'static str,
    /// What happens otherwise.
    pub without: Without,
}

const CORE: &str = "core.kubestash.com";
const STORAGE: &str = "storage.kubestash.com";
const ADDONS: &str = "addons.kubestash.com";
const SESSIONS: &[&str] = &["backupverificationsession"];
const INVOKERS: &[&str] = &["backupconfigurations", "backupbatches"];
const GET: &[&str] = &["get"];
const LIST: &[&str] = &["list"];

use Reach::{Cluster, Installation, Namespace};
use Without::{Fails, Lacks};

const fn right(
    verb: &'static str,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    step: &'static str,
    without: Without,
) -> Right {
    Right { verb, reach: Namespace, group, resources, verbs, step, without }
}

const fn at(reach: Reach, right: Right) -> Right {
    Right { reach, ..right }
}

const LINE: Without = Lacks("its line says that it was not looked at");
const CHECK: Without = Lacks("it says what was not looked at, which --strict counts");
const NOTED: Without = Lacks("missing.txt in the bundle names it");

/// Every right.
pub const RIGHTS: &[Right] = &[
    right("verify", STORAGE, &["repositories", "snapshots"], GET, "what was named", Fails),
    right("verify", CORE, INVOKERS, LIST, "on whose behalf it is verified", Fails),
    right("verify", CORE, SESSIONS, &["create"], "the session", Fails),
    right("verify", CORE, SESSIONS, GET, "its verdict; not with --no-wait", Fails),
    right("verify", CORE, &["restoresessions"], GET, "which Job is at work", Lacks("no progress is shown")),
    right("verify", "", &["pods"], LIST, "the Job's pod, in the target's namespace", Lacks("no progress is shown")),
    right("verify", "", &["pods/log"], GET, "its log, in the target's namespace", Lacks("no progress is shown")),
    right("status", STORAGE, &["repositories"], &["list", "get"], "all of them, or one that is named", Fails),
    right("status", STORAGE, &["snapshots"], LIST, "records of proofs", Fails),
    right("status", CORE, SESSIONS, LIST, "what runs found", Fails),
    right("status", CORE, INVOKERS, LIST, "which verifiers are named", Fails),
    right("explain", CORE, SESSIONS, GET, "the session", Fails),
    right("explain", CORE, INVOKERS, GET, "on whose behalf it runs", LINE),
    right("explain", CORE, &["backupverifier"], GET, "how it is verified", LINE),
    right("explain", STORAGE, &["repositories"], GET, "what is verified", LINE),
    right("explain", STORAGE, &["backupstorages"], GET, "where it lies", LINE),
    right("explain", STORAGE, &["snapshots"], GET, "which backup", LINE),
    at(Cluster, right("explain", ADDONS, &["addons"], LIST, "which task restores it", LINE)),
    at(Cluster, right("explain", ADDONS, &["functions"], LIST, "which container runs that task", LINE)),
    right("explain", "", &["persistentvolumeclaims"], GET, "the target", LINE),
    right("explain", CORE, &["restoresessions"], GET, "the restore", LINE),
    right("explain", "batch", &["jobs"], GET, "its Jobs, in the target's namespace", LINE),
    right("explain", "", &["pods"], LIST, "their pods", LINE),
    right("explain", "", &["events"], LIST, "what the cluster says of each", LINE),
    at(
        Cluster,
        right(
            "doctor",
            "apiextensions.k8s.io",
            &["customresourcedefinitions"],
            GET,
            "whether our kinds are there, and of this version",
            CHECK,
        ),
    ),
    at(Installation, right("doctor", "apps", &["deployments"], GET, "whether controller and webhook are ready", CHECK)),
    at(Installation, right("doctor", "coordination.k8s.io", &["leases"], GET, "whether a controller acts", CHECK)),
    at(
        Cluster,
        right(
            "doctor",
            "admissionregistration.k8s.io",
            &["validatingwebhookconfigurations"],
            GET,
            "whether the webhook can be asked",
            CHECK,
        ),
    ),
    at(Installation, right("doctor", "", &["services"], GET, "whether the webhook has an address", CHECK)),
    right("doctor", CORE, INVOKERS, LIST, "what is to be verified", CHECK),
    right("doctor", CORE, &["backupverifier"], &["list", "get"], "verifiers nobody uses, and those that are missing", CHECK),
    right("doctor", STORAGE, &["repositories"], LIST, "Repositories without a verifier, and held ones", CHECK),
    right("doctor", STORAGE, &["snapshots"], LIST, "Repositories without a backup", CHECK),
    right("doctor", STORAGE, &["backupstorages"], GET, "storages that are missing", CHECK),
    right("doctor", "", &["secrets"], GET, "whether Secrets exist; only their metadata is asked for", CHECK),
    right("doctor", "", &["persistentvolumeclaims"], GET, "targets and claims with repositories", CHECK),
    at(Cluster, right("doctor", "storage.k8s.io", &["storageclasses"], LIST, "classes of targets that are not bound", CHECK)),
    at(Cluster, right("doctor", ADDONS, &["addons"], LIST, "which tasks there are", CHECK)),
    at(Cluster, right("doctor", ADDONS, &["functions"], LIST, "which containers run them", CHECK)),
    at(Cluster, right("report", "apiextensions.k8s.io", &["customresourcedefinitions"], GET, "versions of our kinds", NOTED)),
    at(Installation, right("report", "apps", &["deployments"], LIST, "controller and webhook", NOTED)),
    at(Installation, right("report", "", &["pods"], LIST, "pods of controller and webhook", NOTED)),
    at(Installation, right("report", "", &["pods/log"], GET, "their logs", NOTED)),
    right(
        "report",
        CORE,
        &["backupverificationsession", "backupverifier", "backupconfigurations", "backupbatches", "restoresessions"],
        LIST,
        "objects of our kinds",
        NOTED,
    ),
    right("report", STORAGE, &["repositories", "snapshots", "backupstorages"], LIST, "objects of our kinds", NOTED),
    at(Cluster, right("report", ADDONS, &["addons", "functions"], LIST, "objects of our kinds", NOTED)),
    right("report", "batch", &["jobs"], LIST, "restore and discovery Jobs", NOTED),
    right("report", "batch", &["cronjobs"], LIST, "schedules of verifiers", NOTED),
    right("report", "", &["pods"], LIST, "pods of those Jobs", NOTED),
    right("report", "", &["events"], LIST, "what the cluster says of our objects", NOTED),
];

/// The rows of a verb.
pub fn rights(verb: &str) -> impl Iterator<Item = &'static Right> {
    RIGHTS.iter().filter(move |right| right.verb == verb)
}

impl Right {
    /// The rule of a Role or ClusterRole.
    pub fn rule(&self) -> Value {
        json!({ "apiGroups": [self.group], "resources": self.resources, "verbs": self.verbs })
    }
}

/// The table of `docs/plugin.md`.
pub fn table() -> String {
    let mut text = String::from("| verb | where | API group | resources | may | what for | without it |\n|---|---|---|---|---|---|---|\n");
    for right in RIGHTS {
        let place = match right.reach {
            Namespace => "namespace",
            Installation => "installation",
            Cluster => "cluster",
        };
        let without = match right.without {
            Fails => "exit code 5",
            Lacks(what) => what,
        };
        let group = if right.group.is_empty() { "core" } else { right.group };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {place} | `{group}` | {} | {} | {} | {without} |",
            right.verb,
            right.resources.join(", "),
            right.verbs.join(", "),
            right.step
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_session_is_ever_written() {
        for right in RIGHTS {
            let reads = right.verbs.iter().all(|verb| matches!(*verb, "get" | "list"));
            assert!(reads || (right.verb, right.resources, right.verbs) == ("verify", SESSIONS, &["create"][..]), "{right:?}");
            assert!(!right.resources.contains(&"secrets") || right.verbs == GET, "{right:?}");
        }
    }
}
