//! The rights each identity holds, one row per step that needs them; the chart's roles are written from this table.
//!
//! A row says for which step it is there: whoever adds a call to the API server adds or widens a row here in the same commit,
//! and whoever removes one removes it. Invariants, tested below: no wildcard, nobody may read Secrets at large, nobody may
//! write to Repositories' or Snapshots' specs beyond what discovery needs, and only the trigger's and discovery's roles are handed on.

use serde_json::{Value, json};

use crate::labels::{DISCOVERER, FOREIGN, TRIGGER};

/// The Secret with the webhook's certificate authority and certificate, in the namespace of the release.
pub const WEBHOOK_TLS_SECRET: &str = "backproof-webhook-tls";
/// The webhook's ValidatingWebhookConfiguration, Deployment, Service and ServiceAccount.
pub const WEBHOOK: &str = "backproof-webhook";

/// Who holds a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// The controller.
    Controller,
    /// The admission webhook.
    Webhook,
    /// Jobs of verifier CronJobs.
    Trigger,
    /// Jobs of discovery.
    Discover,
    /// Jobs of Functions that are not Backproof's, under the chart's value foreignFunctions.enabled.
    Foreign,
}

/// Where a right holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everywhere (for trigger and discover: in the namespaces where their ClusterRole is bound).
    Cluster,
    /// In the namespace of the release.
    Release,
    /// In the target namespaces of the chart's value crossNamespace.
    CrossTarget,
    /// In the namespaces that value names as sources.
    CrossSource,
    /// Everywhere, under the chart's value foreignFunctions.enabled.
    ForeignFunctions,
}

/// One right, and the step that needs it.
#[derive(Clone, Copy, Debug)]
pub struct Right {
    /// Who.
    pub identity: Identity,
    /// Where.
    pub reach: Reach,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resources, with sub-resources as `resource/sub`.
    pub resources: &'static [&'static str],
    /// Names it is limited to; empty for all.
    pub names: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// What for.
    pub step: &'static str,
}

const CORE: &str = "core.kubestash.com";
const STORAGE: &str = "storage.kubestash.com";
const ADDONS: &str = "addons.kubestash.com";
const WATCH: &[&str] = &["get", "list", "watch"];

/// A right everywhere, to all names.
const fn right(
    identity: Identity,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    step: &'static str,
) -> Right {
    Right { identity, reach: Reach::Cluster, group, resources, names: &[], verbs, step }
}

use Identity::{Controller, Discover, Foreign, Trigger, Webhook};

/// Every right.
pub const RIGHTS: &[Right] = &[
    right(Controller, CORE, &["backupverificationsession"], WATCH, "session: watch"),
    right(Controller, CORE, &["backupverificationsession"], &["create"], "session: a retry of a failed one"),
    right(Controller, CORE, &["backupverificationsession"], &["patch", "update"], "session: finalizer, labels, pinned facts"),
    right(Controller, CORE, &["backupverificationsession"], &["delete"], "session: history"),
    right(Controller, CORE, &["backupverificationsession/status"], &["get", "patch", "update"], "session: conditions, verdict, evidence"),
    right(Controller, CORE, &["backupverifier", "backupconfigurations", "backupbatches"], WATCH, "schedule and session: who asks for what"),
    right(
        Controller,
        CORE,
        &["restoresessions"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "session: the restore, its end, that its target may be wiped",
    ),
    right(Controller, CORE, &["restoresessions/status"], &["get", "patch", "update"], "restore: components, conditions, Jobs"),
    right(
        Controller,
        CORE,
        &[
            "backupverificationsession/finalizers",
            "restoresessions/finalizers",
            "backupconfigurations/finalizers",
            "backupbatches/finalizers",
        ],
        &["update"],
        "owner references that block deletion, where the cluster enforces the right to set them",
    ),
    right(Controller, STORAGE, &["repositories"], &["get", "list", "watch", "patch"], "repository: hold-off and discovery, as annotations"),
    right(Controller, STORAGE, &["repositories/finalizers"], &["update"], "repository: owner reference of the discovery Job"),
    right(
        Controller,
        STORAGE,
        &["snapshots"],
        &["get", "list", "watch", "patch"],
        "session: newest Snapshot; the record, where status is pruned",
    ),
    right(Controller, STORAGE, &["snapshots"], &["delete"], "repository: discovered Snapshots whose restic snapshot is gone"),
    right(Controller, STORAGE, &["snapshots/status"], &["get", "patch", "update"], "session: the result on the Snapshot"),
    right(Controller, STORAGE, &["backupstorages"], WATCH, "restore and repository: where the data lies"),
    right(Controller, ADDONS, &["addons", "functions"], WATCH, "restore: task and container"),
    right(
        Controller,
        "batch",
        &["jobs"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "restore and repository: suspended, started, ended",
    ),
    right(
        Controller,
        "batch",
        &["cronjobs"],
        &["get", "list", "watch", "create", "patch", "update", "delete"],
        "schedule: one per verifier reference",
    ),
    right(Controller, "", &["pods"], WATCH, "restore: reports, what is gone, who mounts a claim"),
    right(Controller, "", &["persistentvolumeclaims"], WATCH, "restore: target and source claims, their volumes"),
    right(Controller, "", &["persistentvolumes"], WATCH, "session: the volume behind a claim"),
    right(Controller, "", &["namespaces"], &["get"], "session: a namespace that is ending; usage policies"),
    right(Controller, "appcatalog.appscode.com", &["appbindings"], &["get"], "session and restore: the database that is restored into"),
    right(Controller, "", &["services"], &["get"], "session and restore: the Service of a database"),
    right(Controller, "discovery.k8s.io", &["endpointslices"], &["list"], "session: which servers two Services lead to"),
    right(Controller, "apps", &["statefulsets", "deployments", "daemonsets"], &["get"], "restore: claims of the source workload"),
    right(
        Controller,
        "",
        &["events"],
        &["get", "list", "watch", "create", "patch"],
        "all: events; the last one of a Job that does not start",
    ),
    right(Controller, "events.k8s.io", &["events"], &["get", "list", "watch", "create", "patch"], "all: events"),
    right(
        Controller,
        "",
        &["serviceaccounts"],
        &["get", "list", "watch", "create", "patch"],
        "schedule and repository: identity of trigger and discovery",
    ),
    right(
        Controller,
        "rbac.authorization.k8s.io",
        &["rolebindings"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "schedule and repository: rights of trigger and discovery",
    ),
    Right {
        names: &[TRIGGER, DISCOVERER],
        ..right(
            Controller,
            "rbac.authorization.k8s.io",
            &["clusterroles"],
            &["bind"],
            "schedule and repository: hand on these two roles only",
        )
    },
    Right {
        reach: Reach::Release,
        ..right(
            Controller,
            "coordination.k8s.io",
            &["leases"],
            &["get", "list", "watch", "create", "update", "patch", "delete"],
            "session: target locks; which of several controllers acts",
        )
    },
    Right {
        reach: Reach::CrossTarget,
        // Never list or watch: each Secret is asked for by its name.
        ..right(Controller, "", &["secrets"], &["get", "create", "delete"], "restore: a Job's copy of the keys it needs from elsewhere")
    },
    Right {
        reach: Reach::CrossSource,
        ..right(Controller, "", &["secrets"], &["get"], "restore: the keys that a Job in the target's namespace needs")
    },
    Right {
        reach: Reach::ForeignFunctions,
        // What such a role may hold, the controller holds itself: the API server refuses any other.
        ..right(
            Controller,
            "rbac.authorization.k8s.io",
            &["roles"],
            &["get", "create"],
            "restore: a foreign Function's right to write the status of its own RestoreSession",
        )
    },
    Right {
        reach: Reach::ForeignFunctions,
        names: &[FOREIGN],
        ..right(Controller, "rbac.authorization.k8s.io", &["clusterroles"], &["bind"], "restore: what a foreign Function may read")
    },
    right(
        Webhook,
        CORE,
        &["backupverificationsession", "backupverifier", "backupconfigurations", "backupbatches"],
        WATCH,
        "what a session refers to",
    ),
    right(Webhook, STORAGE, &["repositories", "snapshots", "backupstorages"], WATCH, "what a session refers to"),
    right(Webhook, ADDONS, &["addons", "functions"], WATCH, "what a verifier refers to"),
    right(Webhook, "", &["persistentvolumeclaims"], &["get"], "whether a target is the source"),
    right(Webhook, "", &["namespaces"], &["get"], "usage policies by label"),
    right(Webhook, "apps", &["statefulsets", "deployments", "daemonsets"], &["get"], "claims of the source workload"),
    right(
        Webhook,
        "authorization.k8s.io",
        &["subjectaccessreviews"],
        &["create"],
        "whether the writer of a reference may do what it leads to",
    ),
    Right {
        names: &[WEBHOOK],
        ..right(
            Webhook,
            "admissionregistration.k8s.io",
            &["validatingwebhookconfigurations"],
            &["get", "list", "watch", "patch"],
            "the CA bundle",
        )
    },
    Right {
        reach: Reach::Release,
        names: &[WEBHOOK_TLS_SECRET],
        // Server-side apply asks for create by name, a POST without one: so this cannot make any other Secret.
        ..right(
            Webhook,
            "",
            &["secrets"],
            &["get", "list", "watch", "create", "patch"],
            "certificate authority and certificate, by server-side apply",
        )
    },
    right(Trigger, STORAGE, &["snapshots"], &["list"], "the newest Snapshot"),
    right(Trigger, CORE, &["backupverificationsession"], &["list", "create"], "one session per tick, none while one is unfinished"),
    right(
        Trigger,
        CORE,
        &["backupconfigurations/finalizers", "backupbatches/finalizers"],
        &["update"],
        "owner reference that blocks deletion, where the cluster enforces the right to set it",
    ),
    right(Trigger, "", &["events"], &["create"], "a tick without a Snapshot"),
    right(Trigger, "events.k8s.io", &["events"], &["create"], "a tick without a Snapshot"),
    right(Discover, STORAGE, &["repositories"], &["get"], "the Repository that owns what is found"),
    right(Discover, STORAGE, &["repositories/finalizers"], &["update"], "owner reference, where the cluster enforces the right to set it"),
    right(Discover, STORAGE, &["snapshots"], &["get", "list", "create", "patch"], "one Snapshot per restic snapshot"),
    right(Discover, STORAGE, &["snapshots/status"], &["patch"], "what the restic snapshot holds"),
    right(Foreign, CORE, &["restoresessions"], &["get"], "what it is to restore"),
    right(Foreign, STORAGE, &["repositories", "snapshots", "backupstorages"], &["get"], "where that lies"),
    // Who may create pods in a namespace may mount its Secrets anyway, and it never runs in another one than its session.
    right(Foreign, "", &["secrets"], &["get"], "credentials and password, which it looks up by itself"),
    right(Foreign, "appcatalog.appscode.com", &["appbindings"], &["get"], "how a restored database is reached"),
];

/// The rows of one role, in the order of the table.
pub fn rights(identity: Identity, reach: Reach) -> impl Iterator<Item = &'static Right> {
    RIGHTS.iter().filter(move |right| right.identity == identity && right.reach == reach)
}

impl Right {
    /// The rule of a Role or ClusterRole.
    pub fn rule(&self) -> Value {
        let mut rule = json!({ "apiGroups": [self.group], "resources": self.resources, "verbs": self.verbs });
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wildcards() {
        for right in RIGHTS {
            for word in right.resources.iter().chain(right.verbs).chain(right.names).chain([&right.group]) {
                assert!(!word.contains('*'), "{right:?}");
            }
            assert!(!right.verbs.is_empty() && !right.resources.is_empty() && !right.step.is_empty(), "{right:?}");
        }
    }

    #[test]
    fn nobody_reads_secrets_but_where_the_installation_says_so() {
        let secrets: Vec<_> =
            RIGHTS.iter().filter(|right| right.resources.iter().any(|resource| resource.starts_with("secrets"))).collect();
        let of = |reach: Reach| secrets.iter().filter(|right| right.reach == reach).collect::<Vec<_>>();
        let (webhook, target, source) = (of(Reach::Release), of(Reach::CrossTarget), of(Reach::CrossSource));
        let foreign: Vec<_> = secrets.iter().filter(|right| right.identity == Foreign).collect();
        assert_eq!((webhook.len(), target.len(), source.len(), foreign.len(), secrets.len()), (1, 1, 1, 1, 4), "{secrets:?}");
        assert_eq!(foreign[0].verbs, ["get"]);
        assert_eq!((webhook[0].identity, webhook[0].names), (Webhook, &[WEBHOOK_TLS_SECRET][..]));
        assert_eq!((target[0].identity, target[0].verbs), (Controller, &["get", "create", "delete"][..]));
        assert_eq!((source[0].identity, source[0].verbs), (Controller, &["get"][..]));
    }

    #[test]
    fn only_two_roles_are_handed_on_and_a_third_where_the_installation_says_so() {
        let roles: Vec<_> =
            RIGHTS.iter().filter(|right| right.resources.iter().any(|resource| matches!(*resource, "roles" | "clusterroles"))).collect();
        let rows: Vec<_> = roles.iter().map(|right| (right.reach, right.resources[0], right.verbs, right.names)).collect();
        assert_eq!(
            rows,
            [
                (Reach::Cluster, "clusterroles", &["bind"][..], &[TRIGGER, DISCOVERER][..]),
                (Reach::ForeignFunctions, "roles", &["get", "create"][..], &[][..]),
                (Reach::ForeignFunctions, "clusterroles", &["bind"][..], &[FOREIGN][..]),
            ]
        );
    }

    #[test]
    fn a_foreign_function_can_write_nothing_by_its_cluster_role() {
        for right in RIGHTS.iter().filter(|right| right.identity == Foreign) {
            assert_eq!(right.verbs, ["get"], "{right:?}");
        }
    }

    #[test]
    fn trigger_and_discovery_never_delete_nor_watch() {
        for right in RIGHTS.iter().filter(|right| matches!(right.identity, Trigger | Discover)) {
            assert!(!right.verbs.iter().any(|verb| matches!(*verb, "delete" | "watch")), "{right:?}");
            assert_eq!(right.reach, Reach::Cluster, "{right:?}");
        }
    }

    /// Whoever may create pods in a namespace may run as these accounts: what they can do there, that person can.
    #[test]
    fn who_runs_as_discovery_can_change_no_verdict_of_a_session() {
        for right in RIGHTS.iter().filter(|right| matches!(right.identity, Trigger | Discover)) {
            assert!(!right.resources.iter().any(|resource| resource.starts_with("backupverificationsession/")), "{right:?}");
            assert!(
                !right.verbs.contains(&"update") || right.resources.iter().all(|resource| resource.ends_with("/finalizers")),
                "{right:?}"
            );
        }
    }

    #[test]
    fn live_data_is_out_of_reach() {
        for right in RIGHTS.iter().filter(|right| right.resources.iter().any(|resource| resource.starts_with("persistentvolume"))) {
            assert!(right.verbs.iter().all(|verb| WATCH.contains(verb)), "{right:?}");
        }
        assert!(!RIGHTS.iter().any(|right| right.resources.iter().any(|resource| resource.starts_with("pods/"))));
    }

    #[test]
    fn irregular_plurals_are_used() {
        for right in RIGHTS {
            for resource in right.resources {
                assert!(!resource.starts_with("backupverificationsessions") && !resource.starts_with("backupverifiers"), "{right:?}");
            }
        }
    }
}
