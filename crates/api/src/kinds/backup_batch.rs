//! BackupBatch: several targets backed up together.

use kube::CustomResource;

use super::backup_configuration::{
    Backend, BackendStatus, BackupHooks, ConfigurationPhase, RepositoryInfo, RepositoryState, SessionStatus,
};
use crate::{
    condition::Condition,
    shared::{AddonInfo, ResourceFoundStatus, RetryConfig, SchedulerSpec, TypedObjectReference, Wire, wire},
};

wire! {
    /// Which targets are backed up together, where to and when.
    #[derive(CustomResource)]
    #[kube(
        group = "core.kubestash.com",
        version = "v1alpha1",
        kind = "BackupBatch",
        plural = "backupbatches",
        singular = "backupbatch",
        namespaced,
        status = "BackupBatchStatus",
        doc = "Says which targets are backed up together, where to and when, and which BackupVerifier proves the backups of each repository.",
        category = "kubestash",
        category = "appscode",
        category = "all",
        label("app.kubernetes.io/name", "kubestash"),
        derive = "Default",
        derive = "PartialEq",
        attr = "cfg_attr(all(), serde(default))",
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the batch was created")
    )]
    pub struct BackupBatchSpec {
        /// What is backed up.
        pub targets: Vec<BatchTarget>,
        /// Storages the backups go to; empty means the default BackupStorage.
        pub backends: Vec<Backend>,
        /// When and how to back up.
        pub sessions: Vec<BatchSession>,
        /// Whether backups and their verification are held back; running sessions finish.
        pub paused: bool,
    }

    /// One object that is backed up.
    #[derive(Eq)]
    pub struct BatchTarget {
        /// Name that sessions refer to; unique in the object.
        pub name: String,
        /// The object, in the same namespace.
        pub app_ref: Option<TypedObjectReference>,
    }

    /// One schedule of backups of several targets.
    pub struct BatchSession {
        /// Name of the session; unique in the object.
        pub name: String,
        /// When it runs, and the settings of the CronJob that triggers it.
        pub scheduler: Option<SchedulerSpec>,
        /// What is done for each target.
        pub targets: Vec<SessionTarget>,
        /// Hooks around the backup.
        pub hooks: Option<BackupHooks>,
        /// How often a failed backup is repeated, and after what wait.
        pub retry_config: Option<RetryConfig>,
        /// Longest time a backup may take, as Go duration text; no limit if absent.
        pub backup_timeout: String,
        /// How many finished backup sessions to keep.
        #[schemars(extend("x-default" = 1))]
        pub session_history_limit: Option<i32>,
    }

    /// What is done for one target of a session.
    pub struct SessionTarget {
        /// Name of an entry of `spec.targets`.
        pub name: String,
        /// Addon and its backup tasks.
        pub addon: Option<AddonInfo>,
        /// Repositories to make and use.
        pub repositories: Vec<RepositoryInfo>,
    }

    /// State of the set-up.
    pub struct BackupBatchStatus {
        /// Ready, NotReady or Invalid.
        pub phase: Option<Wire<ConfigurationPhase>>,
        /// The targets, and whether they exist.
        pub targets: Vec<ResourceFoundStatus>,
        /// Objects that are needed, and whether they exist.
        pub dependencies: Vec<ResourceFoundStatus>,
        /// State of each entry of `spec.backends`.
        pub backends: Vec<BackendStatus>,
        /// State of each repository.
        pub repositories: Vec<RepositoryState>,
        /// State of each session.
        pub sessions: Vec<SessionStatus>,
        /// What was found out about the object as a whole.
        pub conditions: Vec<Condition>,
    }
}
