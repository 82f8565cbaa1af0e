//! Types of conditions, as on the wire, and the table of all of them (`upstream/conditions.tsv`).

use super::reasons;

/// BackupVerificationSession: the Snapshot was already proven.
pub const BACKUP_VERIFICATION_SKIPPED: &str = "BackupVerificationSkipped";
/// BackupVerificationSession: the verifier's Job could be made.
pub const VERIFICATION_EXECUTOR_ENSURED: &str = "VerificationExecutorEnsured";
/// BackupVerificationSession: the backup was restored.
pub const RESTORE_SUCCEEDED: &str = "RestoreSucceeded";
/// BackupVerificationSession: every check holds.
pub const BACKUP_VERIFIED: &str = "BackupVerified";
/// BackupVerificationSession: older sessions were cleaned; the closing mark.
pub const VERIFICATION_SESSION_HISTORY_CLEANED: &str = "VerificationSessionHistoryCleaned";
/// RestoreSession: metrics were pushed; the closing mark.
pub const METRICS_PUSHED: &str = "MetricsPushed";
/// RestoreSession: the target exists.
pub const RESTORE_TARGET_FOUND: &str = "RestoreTargetFound";
/// RestoreSession: the hooks before it ran well.
pub const PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED: &str = "PreRestoreHooksExecutionSucceeded";
/// RestoreSession: the restore Jobs could be made.
pub const RESTORE_EXECUTOR_ENSURED: &str = "RestoreExecutorEnsured";
/// RestoreSession: the hooks after it ran well.
pub const POST_RESTORE_HOOKS_EXECUTION_SUCCEEDED: &str = "PostRestoreHooksExecutionSucceeded";
/// RestoreSession: a Job ended before it was done; True is bad.
pub const RESTORE_INCOMPLETE: &str = "RestoreIncomplete";
/// RestoreSession, BackupConfiguration: the object can work as written.
pub const VALIDATION_PASSED: &str = "ValidationPassed";
/// Session of a BackupConfiguration or BackupBatch: its CronJob exists.
pub const SCHEDULER_ENSURED: &str = "SchedulerEnsured";
/// Session of a BackupConfiguration or BackupBatch: its first backup was triggered.
pub const INITIAL_BACKUP_TRIGGERED: &str = "InitialBackupTriggered";
/// Snapshot: its metadata is in the backend.
pub const SNAPSHOT_METADATA_UPLOADED: &str = "SnapshotMetadataUploaded";
/// Snapshot: the Repository lists it.
pub const RECENT_SNAPSHOT_LIST_UPDATED: &str = "RecentSnapshotListUpdated";
/// Snapshot: a Job ended before it was done; True is bad.
pub const BACKUP_INCOMPLETE: &str = "BackupIncomplete";
/// Repository: it is initialized.
pub const REPOSITORY_INITIALIZED: &str = "RepositoryInitialized";
/// BackupStorage: it is initialized.
pub const BACKEND_INITIALIZED: &str = "BackendInitialized";
/// BackupStorage: its Secret exists.
pub const BACKEND_SECRET_FOUND: &str = "BackendSecretFound";

/// A type of condition, with the reasons that go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionType {
    /// Kind whose objects carry it.
    pub on: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// Reason when True; empty where there is none.
    pub when_true: &'static str,
    /// Reason when False; empty where there is none.
    pub when_false: &'static str,
    /// Whether True is the bad answer.
    pub true_is_bad: bool,
}

const fn good(on: &'static str, kind: &'static str, when_true: &'static str, when_false: &'static str) -> ConditionType {
    ConditionType { on, kind, when_true, when_false, true_is_bad: false }
}

const fn bad(on: &'static str, kind: &'static str, when_true: &'static str) -> ConditionType {
    ConditionType { on, kind, when_true, when_false: "", true_is_bad: true }
}

const VERIFICATION: &str = "BackupVerificationSession";
const RESTORE: &str = "RestoreSession";
const SNAPSHOT: &str = "Snapshot";
const STORAGE: &str = "BackupStorage";
const SCHEDULED: &str = "session of BackupConfiguration and BackupBatch";

/// Every type of condition on the kinds Backproof works with.
pub const ALL: &[ConditionType] = &[
    good(VERIFICATION, BACKUP_VERIFICATION_SKIPPED, reasons::SNAPSHOT_ALREADY_VERIFIED, ""),
    good(
        VERIFICATION,
        VERIFICATION_EXECUTOR_ENSURED,
        reasons::ENSURED_VERIFICATION_EXECUTOR,
        reasons::FAILED_TO_ENSURE_VERIFICATION_EXECUTOR,
    ),
    good(VERIFICATION, RESTORE_SUCCEEDED, reasons::RESTORED_BACKUP, reasons::FAILED_TO_RESTORE_BACKUP),
    good(VERIFICATION, BACKUP_VERIFIED, reasons::VERIFIED_BACKUP, reasons::FAILED_TO_VERIFY_BACKUP),
    good(VERIFICATION, VERIFICATION_SESSION_HISTORY_CLEANED, reasons::CLEANED_HISTORY, reasons::FAILED_TO_CLEAN_HISTORY),
    good(RESTORE, METRICS_PUSHED, reasons::PUSHED_METRICS, reasons::FAILED_TO_PUSH_METRICS),
    good(RESTORE, RESTORE_TARGET_FOUND, "", reasons::UNABLE_TO_CHECK_TARGET),
    good(RESTORE, PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED, reasons::EXECUTED_PRE_RESTORE_HOOKS, reasons::FAILED_TO_EXECUTE_PRE_RESTORE_HOOKS),
    good(RESTORE, RESTORE_EXECUTOR_ENSURED, reasons::ENSURED_RESTORE_EXECUTOR, reasons::FAILED_TO_ENSURE_RESTORE_EXECUTOR),
    good(
        RESTORE,
        POST_RESTORE_HOOKS_EXECUTION_SUCCEEDED,
        reasons::EXECUTED_POST_RESTORE_HOOKS,
        reasons::FAILED_TO_EXECUTE_POST_RESTORE_HOOKS,
    ),
    bad(RESTORE, RESTORE_INCOMPLETE, reasons::RESTORE_EXECUTOR_TERMINATED),
    good(RESTORE, VALIDATION_PASSED, reasons::VALIDATION_PASSED, reasons::VALIDATION_FAILED),
    good("BackupConfiguration", VALIDATION_PASSED, reasons::VALIDATION_PASSED, reasons::VALIDATION_FAILED),
    good(SCHEDULED, SCHEDULER_ENSURED, reasons::SCHEDULER_ENSURED, reasons::SCHEDULER_NOT_ENSURED),
    good(SCHEDULED, INITIAL_BACKUP_TRIGGERED, reasons::TRIGGERED_INITIAL_BACKUP, reasons::FAILED_TO_TRIGGER_INITIAL_BACKUP),
    good(SNAPSHOT, SNAPSHOT_METADATA_UPLOADED, reasons::UPLOADED_SNAPSHOT_METADATA, reasons::FAILED_TO_UPLOAD_SNAPSHOT_METADATA),
    good(SNAPSHOT, RECENT_SNAPSHOT_LIST_UPDATED, reasons::UPDATED_RECENT_SNAPSHOT_LIST, reasons::FAILED_TO_UPDATE_RECENT_SNAPSHOT_LIST),
    bad(SNAPSHOT, BACKUP_INCOMPLETE, reasons::BACKUP_EXECUTOR_TERMINATED),
    good("Repository", REPOSITORY_INITIALIZED, reasons::REPOSITORY_INITIALIZED, reasons::FAILED_TO_INITIALIZE_REPOSITORY),
    good(STORAGE, BACKEND_INITIALIZED, reasons::BACKEND_INITIALIZED, reasons::FAILED_TO_INITIALIZE_BACKEND),
    good(STORAGE, BACKEND_SECRET_FOUND, reasons::BACKEND_SECRET_AVAILABLE, reasons::BACKEND_SECRET_NOT_AVAILABLE),
];
