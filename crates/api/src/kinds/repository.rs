//! Repository: one place in a storage, with all backups of one target.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;

use super::snapshot::SnapshotPhase;
use crate::{
    condition::Condition,
    shared::{ObjectReference, TypedObjectReference, Wire, wire, wire_enum},
};

wire! {
    /// Where the backups of one target lie.
    #[derive(CustomResource, Eq)]
    #[kube(
        group = "storage.kubestash.com",
        version = "v1alpha1",
        kind = "Repository",
        plural = "repositories",
        singular = "repository",
        shortname = "repo",
        namespaced,
        status = "RepositoryStatus",
        doc = "A place in a BackupStorage that holds the backups of one target. Backproof only reads it and never locks it.",
        category = "kubestash",
        category = "appscode",
        category = "all",
        label("app.kubernetes.io/name", "kubestash"),
        derive = "Default",
        derive = "PartialEq",
        attr = "cfg_attr(all(), serde(default))",
        printcolumn(name = "Integrity", type_ = "boolean", json_path = ".status.integrity", description = "Whether all data was found sound"),
        printcolumn(name = "Snapshot-Count", type_ = "integer", json_path = ".status.snapshotCount", description = "How many Snapshots it holds"),
        printcolumn(name = "Size", type_ = "string", json_path = ".status.size", description = "How much is stored"),
        printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "Ready or NotReady"),
        printcolumn(name = "Last-Successful-Backup", type_ = "date", format = "date-time", json_path = ".status.lastBackupTime", description = "Time since the last good backup"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the Repository was created")
    )]
    pub struct RepositorySpec {
        /// What is backed up here.
        pub app_ref: Option<TypedObjectReference>,
        /// BackupStorage that holds it.
        pub storage_ref: Option<ObjectReference>,
        /// Directory below the storage's prefix. Immutable.
        pub path: String,
        /// Whether the data stays (Delete) or is erased (WipeOut) when the Repository is deleted; Backproof never erases it.
        #[schemars(extend("x-default" = "Delete"))]
        pub deletion_policy: Option<Wire<DeletionPolicy>>,
        /// Secret with the key RESTIC_PASSWORD.
        pub encryption_secret: Option<ObjectReference>,
        /// Whether nothing is done with it for now.
        pub paused: bool,
    }

    /// State of the Repository.
    pub struct RepositoryStatus {
        /// Ready or NotReady.
        pub phase: Option<Wire<RepositoryPhase>>,
        /// When the last good backup was taken.
        pub last_backup_time: Option<Time>,
        /// Whether all data was found sound; absent while nobody has looked.
        pub integrity: Option<bool>,
        /// How many Snapshots it holds.
        pub snapshot_count: Option<i32>,
        /// How much is stored, such as `1.241 KiB`.
        pub size: String,
        /// The newest Snapshots.
        pub recent_snapshots: Vec<RecentSnapshot>,
        /// Paths of the restic repositories below the Repository's path.
        pub component_paths: Vec<String>,
        /// Whether the Repository is initialized.
        pub conditions: Vec<Condition>,
    }

    /// One of the newest Snapshots.
    #[derive(Eq)]
    pub struct RecentSnapshot {
        /// Name of the Snapshot.
        pub name: String,
        /// Session that made it.
        pub session: String,
        /// How much it holds.
        pub size: String,
        /// How far it is.
        pub phase: Option<Wire<SnapshotPhase>>,
        /// When it was taken.
        pub snapshot_time: Option<Time>,
    }
}

wire_enum! {
    /// State of a Repository.
    pub enum RepositoryPhase {
        /// It cannot be used yet.
        NotReady,
        /// It can be used.
        Ready,
    }

    /// What happens to stored data when its object is deleted.
    pub enum DeletionPolicy {
        /// The data stays.
        Delete,
        /// The data is erased.
        WipeOut,
    }
}
