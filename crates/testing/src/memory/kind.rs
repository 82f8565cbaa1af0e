//! The kinds the API in memory serves.

/// One kind.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Group and version.
    pub api_version: &'static str,
    /// As it stands in paths.
    pub plural: &'static str,
    /// Whether it lives in namespaces.
    pub namespaced: bool,
    /// Whether its status is a subresource, written by itself.
    pub status: bool,
}

/// Every kind there is.
pub const KINDS: &[Kind] = &[
    namespaced("Pod", "v1", "pods", true),
    namespaced("PersistentVolumeClaim", "v1", "persistentvolumeclaims", true),
    namespaced("Service", "v1", "services", true),
    namespaced("EndpointSlice", "discovery.k8s.io/v1", "endpointslices", false),
    namespaced("AppBinding", "appcatalog.appscode.com/v1alpha1", "appbindings", false),
    namespaced("ServiceAccount", "v1", "serviceaccounts", false),
    cluster("PersistentVolume", "v1", "persistentvolumes"),
    cluster("Namespace", "v1", "namespaces"),
    namespaced("Job", "batch/v1", "jobs", true),
    namespaced("CronJob", "batch/v1", "cronjobs", true),
    namespaced("Deployment", "apps/v1", "deployments", true),
    namespaced("StatefulSet", "apps/v1", "statefulsets", true),
    namespaced("DaemonSet", "apps/v1", "daemonsets", true),
    namespaced("Lease", "coordination.k8s.io/v1", "leases", false),
    namespaced("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings", false),
    namespaced("BackupVerificationSession", "core.kubestash.com/v1alpha1", "backupverificationsession", true),
    namespaced("RestoreSession", "core.kubestash.com/v1alpha1", "restoresessions", true),
    namespaced("BackupVerifier", "core.kubestash.com/v1alpha1", "backupverifier", true),
    namespaced("BackupConfiguration", "core.kubestash.com/v1alpha1", "backupconfigurations", true),
    namespaced("BackupBatch", "core.kubestash.com/v1alpha1", "backupbatches", true),
    namespaced("Snapshot", "storage.kubestash.com/v1alpha1", "snapshots", true),
    namespaced("Repository", "storage.kubestash.com/v1alpha1", "repositories", true),
    namespaced("BackupStorage", "storage.kubestash.com/v1alpha1", "backupstorages", true),
    cluster("Addon", "addons.kubestash.com/v1alpha1", "addons"),
    cluster("Function", "addons.kubestash.com/v1alpha1", "functions"),
];

const fn namespaced(name: &'static str, api_version: &'static str, plural: &'static str, status: bool) -> Kind {
    Kind { name, api_version, plural, namespaced: true, status }
}

const fn cluster(name: &'static str, api_version: &'static str, plural: &'static str) -> Kind {
    Kind { name, api_version, plural, namespaced: false, status: false }
}

/// The kind of this name.
///
/// # Panics
/// When there is none: a test names it wrongly.
pub fn named(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap_or_else(|| unreachable!("kind {name} is not in memory::kind::KINDS"))
}

/// The kind of a path.
pub(super) fn of_path(api_version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == plural && kind.api_version == api_version)
}
