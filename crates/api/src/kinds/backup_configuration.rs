//! BackupConfiguration: what is backed up, where to and when, and which verifier proves it.

use kube::CustomResource;

use crate::{
    condition::Condition,
    kinds::RepositoryPhase,
    shared::{
        AddonInfo, HookInfo, ObjectReference, ResourceFoundStatus, RetryConfig, SchedulerSpec, TypedObjectReference, Wire, wire, wire_enum,
    },
};

wire! {
    /// What is backed up, where to and when.
    #[derive(CustomResource)]
    #[kube(
        group = "core.kubestash.com",
        version = "v1alpha1",
        kind = "BackupConfiguration",
        plural = "backupconfigurations",
        singular = "backupconfiguration",
        shortname = "bc",
        namespaced,
        status = "BackupConfigurationStatus",
        doc = "Says what is backed up, where to and when, and which BackupVerifier proves the backups of each repository.",
        category = "kubestash",
        category = "appscode",
        category = "all",
        label("app.kubernetes.io/name", "kubestash"),
        derive = "Default",
        derive = "PartialEq",
        attr = "cfg_attr(all(), serde(default))",
        printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "State of the set-up: Ready, NotReady or Invalid"),
        printcolumn(name = "Paused", type_ = "boolean", json_path = ".spec.paused", description = "Whether schedules are held back"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the configuration was created")
    )]
    pub struct BackupConfigurationSpec {
        /// What is backed up; absent for backups that belong to no object.
        pub target: Option<TypedObjectReference>,
        /// Storages the backups go to; empty means the default BackupStorage.
        pub backends: Vec<Backend>,
        /// When and how to back up.
        pub sessions: Vec<Session>,
        /// Whether backups and their verification are held back; running sessions finish.
        pub paused: bool,
    }

    /// A storage that backups go to.
    #[derive(Eq)]
    pub struct Backend {
        /// Name that repositories refer to; unique in the object.
        pub name: String,
        /// BackupStorage behind it.
        pub storage_ref: Option<ObjectReference>,
        /// RetentionPolicy for what is stored there; empty means the default one.
        pub retention_policy: Option<ObjectReference>,
    }

    /// One schedule of backups.
    pub struct Session {
        /// Name of the session; unique in the object.
        pub name: String,
        /// When it runs, and the settings of the CronJob that triggers it.
        pub scheduler: Option<SchedulerSpec>,
        /// Addon and its backup tasks.
        pub addon: Option<AddonInfo>,
        /// Repositories to make and use.
        pub repositories: Vec<RepositoryInfo>,
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

    /// A Repository to make and use.
    #[derive(Eq)]
    pub struct RepositoryInfo {
        /// Name of the Repository.
        pub name: String,
        /// Name of an entry of `spec.backends`; empty means the default one.
        pub backend: String,
        /// Path inside the backend; becomes the Repository's path.
        pub directory: String,
        /// Secret with the key RESTIC_PASSWORD.
        pub encryption_secret: Option<ObjectReference>,
        /// BackupVerifier that proves what is stored here.
        pub backup_verifier: Option<ObjectReference>,
        /// What happens to the data when the Repository is deleted.
        pub deletion_policy: Option<Wire<RepositoryDeletionPolicy>>,
    }

    /// Hooks around a backup.
    pub struct BackupHooks {
        /// Hooks that run before.
        pub pre_backup: Vec<HookInfo>,
        /// Hooks that run after.
        pub post_backup: Vec<HookInfo>,
    }

    /// State of the set-up.
    pub struct BackupConfigurationStatus {
        /// Ready, NotReady or Invalid.
        pub phase: Option<Wire<ConfigurationPhase>>,
        /// Whether the target exists.
        pub target_found: Option<bool>,
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

    /// State of a backend.
    #[derive(Eq)]
    pub struct BackendStatus {
        /// Name of the backend.
        pub name: String,
        /// Whether the storage is usable; absent while nobody has looked.
        pub ready: Option<bool>,
        /// State of its BackupStorage.
        pub storage: Option<StorageState>,
        /// State of its RetentionPolicy.
        pub retention_policy: Option<RetentionPolicyState>,
    }

    /// State of a BackupStorage, as seen from here.
    #[derive(Eq)]
    pub struct StorageState {
        /// Which one.
        #[serde(rename = "ref")]
        pub reference: Option<ObjectReference>,
        /// Ready or NotReady.
        pub phase: String,
        /// Why it is not ready.
        pub reason: String,
    }

    /// State of a RetentionPolicy, as seen from here.
    #[derive(Eq)]
    pub struct RetentionPolicyState {
        /// Which one.
        #[serde(rename = "ref")]
        pub reference: Option<ObjectReference>,
        /// Whether it exists.
        pub found: Option<bool>,
        /// Why it is not found.
        pub reason: String,
    }

    /// State of a Repository, as seen from here.
    #[derive(Eq)]
    pub struct RepositoryState {
        /// Name of the Repository.
        pub name: String,
        /// Ready or NotReady.
        pub phase: Option<Wire<RepositoryPhase>>,
        /// Why it is not ready.
        pub reason: String,
        /// Whether a verifier is set up for it.
        pub verification_configured: bool,
    }

    /// State of a session.
    pub struct SessionStatus {
        /// Name of the session.
        pub name: String,
        /// When it runs next.
        pub next_schedule: String,
        /// Whether its CronJob exists, and whether the first backup was triggered.
        pub conditions: Vec<Condition>,
    }
}

wire_enum! {
    /// State of a BackupConfiguration or BackupBatch.
    pub enum ConfigurationPhase {
        /// Something is missing still.
        NotReady,
        /// Everything is there.
        Ready,
        /// It can never work as written.
        Invalid,
    }

    /// What happens to backed up data when its Repository is deleted.
    pub enum RepositoryDeletionPolicy {
        /// The data stays.
        Delete,
        /// The data is erased.
        WipeOut,
        /// The Repository stays when its configuration is deleted.
        Retain,
    }
}
