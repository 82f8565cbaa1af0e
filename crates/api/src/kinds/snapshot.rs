//! Snapshot: one backup, with the record of its verification.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::CustomResource;

use super::repository::DeletionPolicy;
use crate::{
    condition::Condition,
    run::{VerificationAttempt, VerificationRecord},
    shared::{TypedObjectReference, Wire, wire, wire_enum},
};

wire! {
    /// Which backup this is.
    #[derive(CustomResource, Eq)]
    #[kube(
        group = "storage.kubestash.com",
        version = "v1alpha1",
        kind = "Snapshot",
        plural = "snapshots",
        singular = "snapshot",
        namespaced,
        status = "SnapshotStatus",
        doc = "One backup in a Repository. Its status says whether it was proven restorable, when, and by which session.",
        category = "kubestash",
        category = "appscode",
        label("app.kubernetes.io/name", "kubestash"),
        derive = "Default",
        derive = "PartialEq",
        attr = "cfg_attr(all(), serde(default))",
        printcolumn(name = "Repository", type_ = "string", json_path = ".spec.repository", description = "The Repository it lies in"),
        printcolumn(name = "Session", type_ = "string", json_path = ".spec.session", description = "The session that made it"),
        printcolumn(name = "Snapshot-Time", type_ = "string", json_path = ".status.snapshotTime", description = "When it was taken"),
        printcolumn(name = "Deletion-Policy", type_ = "string", json_path = ".spec.deletionPolicy", description = "Whether data stays when the Snapshot is deleted"),
        printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", description = "How far the backup is"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the Snapshot was created"),
        printcolumn(name = "Verified", type_ = "string", priority = 1, json_path = ".status.verificationStatus", description = "Whether it was proven restorable"),
        printcolumn(name = "Proof-Age", type_ = "date", priority = 1, json_path = ".status.verification.completed", description = "Time since the verification whose result this is")
    )]
    pub struct SnapshotSpec {
        /// ULID of the Snapshot.
        #[serde(rename = "snapshotID")]
        pub snapshot_id: String,
        /// FullBackup or IncrementalBackup.
        #[serde(rename = "type")]
        pub kind: String,
        /// Repository of the same namespace that holds it.
        pub repository: String,
        /// Session that made it.
        pub session: String,
        /// BackupSession that made it.
        pub backup_session: String,
        /// Layout of the data; v1.
        pub version: String,
        /// What was backed up.
        pub app_ref: Option<TypedObjectReference>,
        /// Whether the data stays (Delete) or is erased (WipeOut) when the Snapshot is deleted; Backproof never erases it.
        #[schemars(extend("x-default" = "Delete"))]
        pub deletion_policy: Option<Wire<DeletionPolicy>>,
        /// Whether nothing is done with it for now.
        pub paused: bool,
    }

    /// How far the backup is, what it holds, and whether it is proven.
    pub struct SnapshotStatus {
        /// How far the backup is.
        pub phase: Option<Wire<SnapshotPhase>>,
        /// Whether it was proven restorable: Verified, NotVerified or VerificationFailed.
        pub verification_status: Option<Wire<VerificationStatus>>,
        /// BackupVerificationSession that said so.
        pub verification_session: String,
        /// When the backup was taken.
        pub snapshot_time: Option<Time>,
        /// When this status last changed.
        pub last_update_time: Option<Time>,
        /// How much it holds, such as `1.241 KiB`.
        pub size: String,
        /// Whether all components were found sound; absent while nobody has looked.
        pub integrity: Option<bool>,
        /// How many components there will be.
        pub total_components: i32,
        /// The components, by name.
        #[schemars(extend("x-kubernetes-map-type" = "granular"))]
        pub components: BTreeMap<String, Component>,
        /// The steps of the backup, and whether they succeeded.
        pub conditions: Vec<Condition>,
        /// The proof: which session found what, when, and with which verifier. Backproof's.
        #[serde(deserialize_with = "crate::shared::lenient")]
        pub verification: Option<VerificationRecord>,
        /// The last attempt that could not find out. Backproof's.
        #[serde(deserialize_with = "crate::shared::lenient")]
        pub last_attempt: Option<VerificationAttempt>,
    }

    /// One component of a backup.
    pub struct Component {
        /// Place of its data below the Repository's path.
        pub path: String,
        /// How far it is.
        pub phase: Option<Wire<SnapshotPhase>>,
        /// How much it holds.
        pub size: String,
        /// How long the backup took, as Go duration text.
        pub duration: String,
        /// What went wrong.
        pub error: String,
        /// Whether it was found sound; absent while nobody has looked.
        pub integrity: Option<bool>,
        /// Tool that wrote the data.
        pub driver: Option<Wire<Driver>>,
        /// Figures of driver Restic, one entry per restic snapshot.
        pub restic_stats: Vec<ResticStats>,
        /// Figures of driver WalG.
        pub wal_g_stats: Option<WalGStats>,
        /// Figures of driver VolumeSnapshotter.
        pub volume_snapshotter_stats: Vec<VolumeSnapshotterStats>,
        /// Figures of driver Solr.
        pub solr_stats: Vec<SolrStats>,
        /// Figures of driver Medusa.
        pub medusa_stats: Option<MedusaStats>,
        /// Figures of driver ClickHouseBackup.
        pub click_house_stats: Vec<ClickHouseStats>,
        /// Figures of driver Neo4jAdmin.
        pub neo4j_stats: Vec<Neo4jStats>,
        /// Figures of log shipping.
        pub log_stats: Option<LogStats>,
    }

    /// Figures of one restic snapshot.
    #[derive(Eq)]
    pub struct ResticStats {
        /// Figures while the backup runs.
        pub progress: Option<BackupProgress>,
        /// Figures at its end.
        pub summary: Option<ResticSummary>,
    }

    /// Figures while a backup runs.
    #[derive(Eq)]
    pub struct BackupProgress {
        /// How much is done, such as `7.48%`.
        pub percent_done: String,
        /// How much there is.
        pub total: String,
        /// How much is backed up.
        pub backup_done: String,
        /// How much is backed up per second.
        pub speed: String,
        /// How many files there are.
        pub total_files: Option<i64>,
        /// How many files are backed up.
        pub files_done: Option<i64>,
        /// Seconds since the start.
        pub seconds_elapsed: Option<i64>,
    }

    /// Figures of a finished restic backup.
    #[derive(Eq)]
    pub struct ResticSummary {
        /// Id of the restic snapshot.
        pub id: String,
        /// Path that was backed up, or file name of what came over standard input.
        pub host_path: String,
        /// How much it holds.
        pub size: String,
        /// How much was new.
        pub uploaded: String,
        /// When it started.
        pub start_time: Option<Time>,
        /// When it ended.
        pub end_time: Option<Time>,
    }

    /// Figures of driver WalG.
    #[derive(Eq)]
    pub struct WalGStats {
        /// Id of the backup.
        pub id: String,
        /// Databases it holds.
        pub databases: Vec<String>,
        /// When it started.
        pub start_time: Option<Time>,
        /// When it ended.
        pub stop_time: Option<Time>,
    }

    /// Figures of driver VolumeSnapshotter.
    #[derive(Eq)]
    pub struct VolumeSnapshotterStats {
        /// Claim that was snapshotted.
        pub pvc_name: String,
        /// Path that was backed up.
        pub host_path: String,
        /// Name of the VolumeSnapshot.
        pub volume_snapshot_name: String,
        /// When it was taken.
        pub volume_snapshot_time: Option<Time>,
    }

    /// Figures of driver Solr.
    pub struct SolrStats {
        /// Id of the backup.
        #[schemars(schema_with = "integer")]
        pub backup_id: Option<i64>,
        /// Name of the backup.
        pub backup_name: String,
        /// Collection it holds.
        pub collection: String,
        /// Where it lies.
        pub location: String,
        /// When it started.
        pub start_time: String,
        /// Size of the index in MB.
        #[serde(rename = "indexSizeMB")]
        #[schemars(with = "f64")]
        pub index_size_mb: Option<f64>,
        /// How many files the index has.
        #[schemars(schema_with = "integer")]
        pub index_file_count: Option<i64>,
        /// How much of the index was new, in MB.
        #[serde(rename = "uploadedIndexFileMB")]
        #[schemars(with = "f64")]
        pub uploaded_index_file_mb: Option<f64>,
    }

    /// Figures of driver Medusa.
    #[derive(Eq)]
    pub struct MedusaStats {
        /// Name of the backup.
        pub backup_name: String,
        /// Nodes that took part.
        pub backup_nodes: Vec<String>,
        /// When it started.
        pub start_time: String,
        /// When it ended.
        pub finish_time: String,
        /// IN_PROGRESS, SUCCESS, FAILED or UNKNOWN.
        pub status: String,
    }

    /// Figures of driver ClickHouseBackup.
    #[derive(Eq)]
    pub struct ClickHouseStats {
        /// Id of the backup.
        pub id: String,
        /// Host that was backed up.
        pub host: String,
        /// IN_PROGRESS, SUCCESS, FAILED or UNKNOWN.
        pub status: String,
        /// When it started.
        pub start_time: Option<Time>,
        /// When it ended.
        pub finish_time: Option<Time>,
    }

    /// Figures of driver Neo4jAdmin.
    #[derive(Eq)]
    pub struct Neo4jStats {
        /// Database that was backed up.
        pub database: String,
        /// Id of the database.
        #[serde(rename = "databaseID")]
        pub database_id: String,
        /// File it lies in.
        pub file: String,
        /// When it was taken.
        pub time: String,
        /// Hash of the store's id.
        #[serde(rename = "storeIDHash")]
        pub store_id_hash: String,
        /// First transaction it holds.
        #[serde(rename = "lowestTX")]
        pub lowest_tx: Option<i64>,
        /// Last transaction it holds.
        #[serde(rename = "highestTX")]
        pub highest_tx: Option<i64>,
        /// Whether it is compressed.
        pub compressed: Option<bool>,
        /// Whether it is a full backup.
        pub full: Option<bool>,
        /// Whether it was recovered.
        pub recovered: Option<bool>,
    }

    /// Figures of log shipping.
    #[derive(Eq)]
    pub struct LogStats {
        /// Start of the shipped range.
        pub start: String,
        /// End of the shipped range.
        pub end: String,
        /// Last log sequence number, for PostgreSQL.
        pub lsn: String,
        /// How often shipping succeeded.
        pub total_succeeded_count: Option<i64>,
        /// How often shipping failed.
        pub total_failed_count: Option<i64>,
        /// The last good runs.
        pub last_succeeded_stats: Vec<LogRunStats>,
        /// The last failed runs.
        pub last_failed_stats: Vec<LogRunStats>,
        /// The last clean-ups.
        pub last_log_retention_stats: Vec<LogRetentionStats>,
    }

    /// One run of log shipping.
    #[derive(Eq)]
    pub struct LogRunStats {
        /// Start of the range.
        pub start: String,
        /// End of the range.
        pub end: String,
        /// What went wrong.
        pub error: String,
    }

    /// One clean-up of shipped logs.
    #[derive(Eq)]
    pub struct LogRetentionStats {
        /// How many logs were deleted.
        pub deleted_log_count: Option<i64>,
        /// What went wrong.
        pub error: String,
        /// When it ran.
        pub last_execution_time: String,
        /// Retention period that was applied.
        pub retention_period_applied: String,
    }
}

wire_enum! {
    /// How far a backup or one of its components is.
    pub enum SnapshotPhase {
        /// It has not started.
        Pending,
        /// It runs.
        Running,
        /// It ended well.
        Succeeded,
        /// It failed.
        Failed,
    }

    /// Whether a backup was proven restorable.
    pub enum VerificationStatus {
        /// It was proven.
        Verified,
        /// Nobody has proven it.
        NotVerified,
        /// Its data is bad.
        VerificationFailed,
    }

    /// Tool that wrote the data of a component.
    pub enum Driver {
        /// restic.
        Restic,
        /// WAL-G.
        WalG,
        /// Snapshots of volumes.
        VolumeSnapshotter,
        /// Solr's own backup.
        Solr,
        /// Medusa, for Cassandra.
        Medusa,
        /// clickhouse-backup.
        ClickHouseBackup,
        /// neo4j-admin.
        Neo4jAdmin,
    }
}

/// Schema of Go's `int`, which carries no format.
fn integer(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "integer" })
}
