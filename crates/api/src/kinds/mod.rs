//! The kinds, one file each. Group `core.kubestash.com`: sessions, verifiers, configurations; `storage.kubestash.com`:
//! Repositories, Snapshots, storages; `addons.kubestash.com`: Addons and Functions. Fields marked "Backproof's" are additions.

mod addon;
mod backup_batch;
mod backup_configuration;
mod backup_storage;
mod backup_verification_session;
mod backup_verifier;
mod function;
mod manifest_options;
mod repository;
mod restore_session;
mod snapshot;

pub use addon::{Addon, AddonSpec, Executor, Task, VolumeTemplate};
pub use backup_batch::{BackupBatch, BackupBatchSpec, BackupBatchStatus, BatchSession, BatchTarget, SessionTarget};
pub use backup_configuration::{
    Backend, BackendStatus, BackupConfiguration, BackupConfigurationSpec, BackupConfigurationStatus, BackupHooks, ConfigurationPhase,
    RepositoryDeletionPolicy, RepositoryInfo, RepositoryState, RetentionPolicyState, Session, SessionStatus, StorageState,
};
pub use backup_storage::{
    AzureStorage, BackupStorage, BackupStorageSpec, BackupStorageStatus, GcsStorage, LocalStorage, S3Storage, Storage, StoredRepository,
};
pub use backup_verification_session::{
    BackupVerificationSession, BackupVerificationSessionSpec, BackupVerificationSessionStatus, VerificationPhase,
};
pub use backup_verifier::{BackupVerifier, BackupVerifierSpec, RestoreOption, Script, VerificationType};
pub use function::{Function, FunctionSpec};
pub use manifest_options::{
    DruidManifestOptions, KubeDbManifestOptions, ManifestOptions, MsSqlServerManifestOptions, RedisSentinelManifestOptions,
    WorkloadManifestOptions,
};
pub use repository::{DeletionPolicy, RecentSnapshot, Repository, RepositoryPhase, RepositorySpec, RepositoryStatus};
pub use restore_session::{
    ComponentRestoreStatus, DataSource, PointInTime, RestoreHooks, RestorePhase, RestoreProgress, RestoreSession, RestoreSessionSpec,
    RestoreSessionStatus,
};
pub use snapshot::{
    BackupProgress, ClickHouseStats, Component, Driver, LogRetentionStats, LogRunStats, LogStats, MedusaStats, Neo4jStats, ResticStats,
    ResticSummary, Snapshot, SnapshotPhase, SnapshotSpec, SnapshotStatus, SolrStats, VerificationStatus, VolumeSnapshotterStats, WalGStats,
};
