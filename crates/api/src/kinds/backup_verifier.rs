//! BackupVerifier: how backups are verified, and where they are restored to for it.

use k8s_openapi::api::core::v1::VolumeMount;
use kube::CustomResource;

use crate::shared::{
    AddonInfo, Cleanup, FreeForm, RetryConfig, RuntimeSettings, SchedulerSpec, TypedObjectReference, Volume, Wire, wire, wire_enum,
};

wire! {
    /// How a backup is verified.
    #[derive(CustomResource)]
    #[kube(
        group = "core.kubestash.com",
        version = "v1alpha1",
        kind = "BackupVerifier",
        plural = "backupverifier",
        singular = "backupverifier",
        namespaced,
        doc = "Says how backups are verified, how often, and where they are restored to for it. A repository of a BackupConfiguration or BackupBatch refers to it.",
        category = "kubestash",
        category = "appscode",
        category = "all",
        label("app.kubernetes.io/name", "kubestash"),
        derive = "Default",
        derive = "PartialEq",
        attr = "cfg_attr(all(), serde(default))",
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the verifier was created")
    )]
    pub struct BackupVerifierSpec {
        /// Where and how the backup is restored for the check.
        pub restore_option: Option<RestoreOption>,
        /// When verification runs, and the settings of the CronJob that triggers it.
        pub scheduler: Option<SchedulerSpec>,
        /// Function that runs the check; needed for types Query and Script.
        pub function: String,
        /// Further volumes of the verifier's Job; resolved in the target's namespace.
        pub volumes: Vec<Volume>,
        /// Where the verifier's container mounts them.
        #[schemars(schema_with = "crate::shared::embedded::<Vec<VolumeMount>>")]
        pub volume_mounts: Vec<VolumeMount>,
        /// RestoreOnly: everything must come back and read back. Query: rows and documents are counted too. Script: a script decides too.
        #[serde(rename = "type")]
        pub kind: Option<Wire<VerificationType>>,
        /// Checks for type Query, by engine; each key holds a list of checks.
        #[schemars(schema_with = "crate::shared::free_form")]
        pub query: Option<FreeForm>,
        /// Script for type Script.
        pub script: Option<Script>,
        /// How often a failed verification is repeated, and after what wait.
        pub retry_config: Option<RetryConfig>,
        /// How many finished sessions to keep, with all that belongs to them.
        #[schemars(extend("x-default" = 1))]
        pub session_history_limit: Option<i32>,
        /// Settings of the verifier's Job.
        pub runtime_settings: Option<RuntimeSettings>,
        /// Longest time a run may take, as Go duration text; after it the run ends Inconclusive. 6 hours if absent, unless the controller is configured otherwise. Backproof's.
        pub timeout: String,
        /// Longest time until a Job's container runs, as Go duration text; after it the run ends Inconclusive. 10 minutes if absent. Backproof's.
        pub start_timeout: String,
        /// Age after which a proof is repeated although the Snapshot has not changed, as Go duration text; a proof never expires if absent. Backproof's.
        pub reverify_after: String,
        /// Whether a backup without any entry may pass; otherwise it is VerificationFailed. Backproof's.
        pub allow_empty: bool,
        /// Whether restored data stays until the next run (Never) or is wiped at the end of every run (Always). Backproof's.
        #[schemars(extend("x-default" = "Never"))]
        pub cleanup: Option<Wire<Cleanup>>,
    }

    /// Where and how the backup is restored for the check.
    pub struct RestoreOption {
        /// Object to restore into, such as a PersistentVolumeClaim. Never the source of the backup.
        pub target: Option<TypedObjectReference>,
        /// Addon and its restore tasks.
        pub addon_info: Option<AddonInfo>,
    }

    /// A script that decides whether the restored data is good.
    #[derive(Eq)]
    pub struct Script {
        /// Absolute path of the script in the verifier's container.
        pub location: String,
        /// Arguments of the script.
        pub args: Vec<String>,
    }
}

wire_enum! {
    /// What a verification consists of.
    pub enum VerificationType {
        /// Restore and read back.
        RestoreOnly,
        /// Restore, read back, and count rows or documents.
        Query,
        /// Restore, read back, and run a script.
        Script,
    }
}
