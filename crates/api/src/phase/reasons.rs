//! Reasons of conditions: what goes with True and with False. Upstream's documentation once used other spellings; those are
//! read as any unknown reason is, and never written.

/// BackupVerificationSkipped True.
pub const SNAPSHOT_ALREADY_VERIFIED: &str = "SnapshotAlreadyVerified";
/// VerificationExecutorEnsured True.
pub const ENSURED_VERIFICATION_EXECUTOR: &str = "SuccessfullyEnsuredVerificationExecutor";
/// VerificationExecutorEnsured False.
pub const FAILED_TO_ENSURE_VERIFICATION_EXECUTOR: &str = "FailedToEnsureVerificationExecutor";
/// RestoreSucceeded True.
pub const RESTORED_BACKUP: &str = "SuccessfullyRestoredBackup";
/// RestoreSucceeded False.
pub const FAILED_TO_RESTORE_BACKUP: &str = "FailedToRestoreBackup";
/// BackupVerified True.
pub const VERIFIED_BACKUP: &str = "SuccessfullyVerifiedBackup";
/// BackupVerified False.
pub const FAILED_TO_VERIFY_BACKUP: &str = "FailedToVerifyBackup";
/// VerificationSessionHistoryCleaned True.
pub const CLEANED_HISTORY: &str = "SuccessfullyCleanedVerificationSessionHistory";
/// VerificationSessionHistoryCleaned False; read, never written by Backproof.
pub const FAILED_TO_CLEAN_HISTORY: &str = "FailedToCleanVerificationSessionHistory";
/// MetricsPushed True.
pub const PUSHED_METRICS: &str = "SuccessfullyPushedMetrics";
/// MetricsPushed False.
pub const FAILED_TO_PUSH_METRICS: &str = "FailedToPushMetrics";
/// RestoreTargetFound False.
pub const UNABLE_TO_CHECK_TARGET: &str = "UnableToCheckTargetAvailability";
/// PreRestoreHooksExecutionSucceeded True.
pub const EXECUTED_PRE_RESTORE_HOOKS: &str = "SuccessfullyExecutedPreRestoreHooks";
/// PreRestoreHooksExecutionSucceeded False.
pub const FAILED_TO_EXECUTE_PRE_RESTORE_HOOKS: &str = "FailedToExecutePreRestoreHooks";
/// RestoreExecutorEnsured True.
pub const ENSURED_RESTORE_EXECUTOR: &str = "SuccessfullyEnsuredRestoreExecutor";
/// RestoreExecutorEnsured False.
pub const FAILED_TO_ENSURE_RESTORE_EXECUTOR: &str = "FailedToEnsureRestoreExecutor";
/// PostRestoreHooksExecutionSucceeded True.
pub const EXECUTED_POST_RESTORE_HOOKS: &str = "SuccessfullyExecutedPostRestoreHooks";
/// PostRestoreHooksExecutionSucceeded False.
pub const FAILED_TO_EXECUTE_POST_RESTORE_HOOKS: &str = "FailedToExecutePostRestoreHooks";
/// RestoreIncomplete True.
pub const RESTORE_EXECUTOR_TERMINATED: &str = "RestoreExecutorTerminatedBeforeCompletion";
/// ValidationPassed True.
pub const VALIDATION_PASSED: &str = "ResourceValidationPassed";
/// ValidationPassed False.
pub const VALIDATION_FAILED: &str = "ResourceValidationFailed";
/// SchedulerEnsured True.
pub const SCHEDULER_ENSURED: &str = "SchedulerEnsured";
/// SchedulerEnsured False.
pub const SCHEDULER_NOT_ENSURED: &str = "SchedulerNotEnsured";
/// InitialBackupTriggered True.
pub const TRIGGERED_INITIAL_BACKUP: &str = "SuccessfullyTriggeredInitialBackup";
/// InitialBackupTriggered False.
pub const FAILED_TO_TRIGGER_INITIAL_BACKUP: &str = "FailedToTriggerInitialBackup";
/// SnapshotMetadataUploaded True.
pub const UPLOADED_SNAPSHOT_METADATA: &str = "SuccessfullyUploadedSnapshotMetadata";
/// SnapshotMetadataUploaded False.
pub const FAILED_TO_UPLOAD_SNAPSHOT_METADATA: &str = "FailedToUploadSnapshotMetadata";
/// RecentSnapshotListUpdated True.
pub const UPDATED_RECENT_SNAPSHOT_LIST: &str = "SuccessfullyUpdatedRecentSnapshotList";
/// RecentSnapshotListUpdated False.
pub const FAILED_TO_UPDATE_RECENT_SNAPSHOT_LIST: &str = "FailedToUpdateRecentSnapshotList";
/// BackupIncomplete True.
pub const BACKUP_EXECUTOR_TERMINATED: &str = "BackupExecutorTerminatedBeforeCompletion";
/// RepositoryInitialized True.
pub const REPOSITORY_INITIALIZED: &str = "RepositoryInitializationSucceeded";
/// RepositoryInitialized False.
pub const FAILED_TO_INITIALIZE_REPOSITORY: &str = "RepositoryInitializationFailed";
/// BackendInitialized True.
pub const BACKEND_INITIALIZED: &str = "BackendInitializationSucceeded";
/// BackendInitialized False.
pub const FAILED_TO_INITIALIZE_BACKEND: &str = "BackendInitializationFailed";
/// BackendSecretFound True.
pub const BACKEND_SECRET_AVAILABLE: &str = "BackendSecretAvailable";
/// BackendSecretFound False.
pub const BACKEND_SECRET_NOT_AVAILABLE: &str = "BackendSecretNotAvailable";
