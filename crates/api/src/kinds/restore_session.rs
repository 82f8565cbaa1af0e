//! RestoreSession: one restore. Backproof serves only those that belong to a BackupVerificationSession.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;

use super::manifest_options::ManifestOptions;
use crate::{
    Cause, Verdict,
    condition::Condition,
    run::{Evidence, PinnedJob, TargetWipe},
    shared::{AddonInfo, HookInfo, HookStatus, ObjectReference, ResourceFoundStatus, TypedObjectReference, Wire, wire, wire_enum},
};

wire! {
    /// What is restored, where to and how.
    #[derive(CustomResource)]
    #[kube(
        group = "core.kubestash.com",
        version = "v1alpha1",
        kind = "RestoreSession",
        plural = "restoresessions",
        singular = "restoresession",
        shortname = "restore",
        namespaced,
        status = "RestoreSessionStatus",
        doc = "One restore of a Snapshot into a target. Backproof serves only those it made for a BackupVerificationSession and leaves all others untouched.",
        category = "kubestash",
        category = "appscode",
        category = "all",
        label("app.kubernetes.io/name", "kubestash"),
        derive = "Default",
        derive = "PartialEq",
        attr = "cfg_attr(all(), serde(default))",
        printcolumn(name = "Repository", type_ = "string", json_path = ".spec.dataSource.repository", description = "The Repository that is restored from"),
        printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "How far the restore is"),
        printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration", description = "How long the restore took"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the restore was created")
    )]
    pub struct RestoreSessionSpec {
        /// Object to restore into; may be absent for restores of manifests.
        pub target: Option<TypedObjectReference>,
        /// What to restore.
        pub data_source: Option<DataSource>,
        /// Addon and its restore tasks.
        pub addon: Option<AddonInfo>,
        /// Hooks around the restore.
        pub hooks: Option<RestoreHooks>,
        /// Longest time the restore may take, as Go duration text.
        pub restore_timeout: String,
        /// Choices of the task manifest-restore, by engine.
        pub manifest_options: Option<ManifestOptions>,
    }

    /// What to restore.
    #[derive(Eq)]
    pub struct DataSource {
        /// Namespace of Repository and Snapshot; empty means the own one.
        pub namespace: String,
        /// Repository to restore from.
        pub repository: String,
        /// Snapshot to restore, or `latest`.
        pub snapshot: String,
        /// Choice of a Snapshot by time, instead of by name.
        pub pitr: Option<PointInTime>,
        /// Components of the Snapshot to restore; empty means all.
        pub components: Vec<String>,
        /// Secret with the key RESTIC_PASSWORD; empty namespace means the own one.
        pub encryption_secret: Option<ObjectReference>,
    }

    /// Choice of a Snapshot by time.
    #[derive(Eq)]
    pub struct PointInTime {
        /// The newest Snapshot not after this time is restored.
        pub target_time: Option<Time>,
        /// Whether a Snapshot of exactly that time is left out.
        pub exclusive: bool,
    }

    /// Hooks around a restore.
    pub struct RestoreHooks {
        /// Hooks that run before.
        pub pre_restore: Vec<HookInfo>,
        /// Hooks that run after.
        pub post_restore: Vec<HookInfo>,
    }

    /// How far the restore is, and what came of it.
    pub struct RestoreSessionStatus {
        /// How far the restore is.
        pub phase: Option<Wire<RestorePhase>>,
        /// Whether the target exists.
        pub target_found: Option<bool>,
        /// How long the restore took, as Go duration text.
        pub duration: String,
        /// After this time the restore counts as failed.
        pub restore_deadline: Option<Time>,
        /// How many components are restored.
        pub total_components: i32,
        /// State of each component, by name.
        #[schemars(extend("x-kubernetes-map-type" = "granular"))]
        pub components: BTreeMap<String, ComponentRestoreStatus>,
        /// Results of the hooks.
        pub hooks: Option<HookStatus>,
        /// Objects that are needed, and whether they exist.
        pub dependencies: Vec<ResourceFoundStatus>,
        /// Backups held back while the restore runs.
        pub paused_backups: Vec<TypedObjectReference>,
        /// The steps of the restore, and whether they succeeded.
        pub conditions: Vec<Condition>,
        /// What was found out about the backup by restoring it. Backproof's.
        pub verdict: Option<Wire<Verdict>>,
        /// Why the verdict is not Verified; one word of a closed list. Backproof's.
        pub cause: Option<Wire<Cause>>,
        /// What happened and what to do next, in one line. Backproof's.
        pub message: String,
        /// What was restored and read back. Backproof's.
        pub evidence: Option<Evidence>,
        /// The Jobs of this restore, recorded before they are started. Backproof's.
        pub jobs: Vec<PinnedJob>,
        /// What came of asking the restored database, where the verifier's type is Query. Backproof's.
        pub verification: Option<ComponentRestoreStatus>,
        /// The wiping of the target, where the verifier sets `cleanup: Always`. Backproof's.
        pub wipe: Option<TargetWipe>,
        /// Generation of the restore this status is about. Backproof's.
        pub observed_generation: Option<i64>,
        /// When the restore started. Backproof's.
        pub start_time: Option<Time>,
        /// When the restore ended. Backproof's.
        pub completion_time: Option<Time>,
    }

    /// State of one component.
    pub struct ComponentRestoreStatus {
        /// How far the component is.
        pub phase: Option<Wire<RestorePhase>>,
        /// How long it took, as Go duration text.
        pub duration: String,
        /// What went wrong.
        pub error: String,
        /// Figures while it runs.
        pub progress: Option<RestoreProgress>,
    }

    /// Figures while a component is restored.
    #[derive(Eq)]
    pub struct RestoreProgress {
        /// How much is done, such as `7.48%`.
        pub percent_done: String,
        /// How much there is, such as `393.9MB`.
        pub total: String,
        /// How much is restored.
        pub restore_done: String,
        /// How much is restored per second.
        pub speed: String,
        /// How many files there are.
        pub total_files: Option<i64>,
        /// How many files are restored.
        pub files_done: Option<i64>,
        /// Seconds since the start.
        pub seconds_elapsed: Option<i64>,
    }
}

wire_enum! {
    /// How far a restore or one of its components is.
    pub enum RestorePhase {
        /// It has not started.
        Pending,
        /// It runs.
        Running,
        /// It failed.
        Failed,
        /// It ended well.
        Succeeded,
        /// It can never work as written.
        Invalid,
        /// Nobody knows.
        Unknown,
    }
}

impl RestorePhase {
    /// Whether nothing more will happen.
    pub fn is_done(self) -> bool {
        match self {
            Self::Failed | Self::Succeeded => true,
            Self::Pending | Self::Running | Self::Invalid | Self::Unknown => false,
        }
    }
}
