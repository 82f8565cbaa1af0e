//! How phases follow from conditions and components: upstream's rules, word for word, as pure functions.
//!
//! The first rule that fits wins. The quirks are kept, since readers of the wire count on them: history cleaning closes a
//! session, so a failed restore reads Running until then, and a session nothing was found out about would read Succeeded.
//! Safe handling therefore lies with whoever sets the conditions: it writes BackupVerified False whenever the executor
//! could not be ensured, and a BackupVerified whatever the verifier's type. [`unproven`] says where that was forgotten.
//! The rules stand in `upstream/phases.tsv`; every row there is a test.

pub mod conditions;
pub mod reasons;

use conditions as of;

use crate::{
    condition::{Condition, is_false, is_present, is_true},
    kinds::{
        BackupConfigurationSpec, BackupConfigurationStatus, BackupVerificationSessionStatus, ConfigurationPhase, RepositoryPhase,
        RestorePhase, RestoreSessionStatus, SnapshotPhase, SnapshotStatus, VerificationPhase,
    },
    shared::Wire,
};

/// Phase of a BackupVerificationSession.
pub fn verification(conditions: &[Condition]) -> VerificationPhase {
    let cleaned = of::VERIFICATION_SESSION_HISTORY_CLEANED;
    if is_false(conditions, cleaned) {
        VerificationPhase::Failed
    } else if is_true(conditions, of::BACKUP_VERIFICATION_SKIPPED) {
        VerificationPhase::Skipped
    } else if !is_true(conditions, cleaned) {
        VerificationPhase::Running
    } else if is_false(conditions, of::RESTORE_SUCCEEDED) || is_false(conditions, of::BACKUP_VERIFIED) {
        VerificationPhase::Failed
    } else {
        VerificationPhase::Succeeded
    }
}

/// Whether upstream's rule calls this session Succeeded although its conditions do not say that anything was verified.
/// A writer of conditions must never let this become true; a reader must not trust the phase where it is.
pub fn unproven(status: &BackupVerificationSessionStatus) -> bool {
    let conditions = &status.conditions;
    match verification(conditions) {
        VerificationPhase::Succeeded => {
            !is_true(conditions, of::RESTORE_SUCCEEDED)
                || !is_true(conditions, of::BACKUP_VERIFIED)
                || is_false(conditions, of::VERIFICATION_EXECUTOR_ENSURED)
        }
        VerificationPhase::Running | VerificationPhase::Failed | VerificationPhase::Skipped => false,
    }
}

/// Phase of a RestoreSession.
pub fn restore(status: &RestoreSessionStatus) -> RestorePhase {
    let conditions = &status.conditions;
    let failed = is_false(conditions, of::PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED)
        || is_false(conditions, of::POST_RESTORE_HOOKS_EXECUTION_SUCCEEDED)
        || is_false(conditions, of::RESTORE_EXECUTOR_ENSURED)
        || is_true(conditions, of::RESTORE_INCOMPLETE);
    if is_false(conditions, of::METRICS_PUSHED) {
        return RestorePhase::Failed;
    }
    if is_false(conditions, of::VALIDATION_PASSED) {
        return RestorePhase::Invalid;
    }
    if is_true(conditions, of::METRICS_PUSHED) && failed {
        return RestorePhase::Failed;
    }
    let closed = is_present(conditions, of::METRICS_PUSHED);
    let components = restore_components(status);
    match components {
        RestorePhase::Pending | RestorePhase::Unknown => components,
        RestorePhase::Running | RestorePhase::Failed | RestorePhase::Succeeded | RestorePhase::Invalid => {
            if closed {
                components
            } else {
                RestorePhase::Running
            }
        }
    }
}

/// What the components of a RestoreSession come to. With `totalComponents` 0 and none succeeded this is Succeeded, as
/// upstream has it: whoever lists components must have set their number before.
pub fn restore_components(status: &RestoreSessionStatus) -> RestorePhase {
    if status.components.is_empty() {
        return RestorePhase::Pending;
    }
    let total = i64::from(status.total_components);
    let succeeded = status.components.values().filter(|component| restored(component.phase.as_ref(), RestorePhase::Succeeded)).count();
    let failed = status.components.values().filter(|component| restored(component.phase.as_ref(), RestorePhase::Failed)).count();
    let unknown = status.components.values().filter(|component| restored(component.phase.as_ref(), RestorePhase::Unknown)).count();
    let equals_total = |count: usize| i64::try_from(count).is_ok_and(|count| count == total);
    if equals_total(succeeded) {
        RestorePhase::Succeeded
    } else if equals_total(succeeded + failed + unknown) {
        if failed > 0 { RestorePhase::Failed } else { RestorePhase::Unknown }
    } else if failed > 0 {
        RestorePhase::Failed
    } else {
        RestorePhase::Running
    }
}

fn restored(phase: Option<&Wire<RestorePhase>>, wanted: RestorePhase) -> bool {
    phase.is_some_and(|phase| *phase == wanted)
}

/// Phase of a Snapshot. Its verification plays no part.
pub fn snapshot(status: &SnapshotStatus) -> SnapshotPhase {
    let conditions = &status.conditions;
    if is_false(conditions, of::SNAPSHOT_METADATA_UPLOADED)
        || is_false(conditions, of::RECENT_SNAPSHOT_LIST_UPDATED)
        || is_true(conditions, of::BACKUP_INCOMPLETE)
    {
        return SnapshotPhase::Failed;
    }
    let uploaded = is_present(conditions, of::SNAPSHOT_METADATA_UPLOADED);
    match snapshot_components(status) {
        SnapshotPhase::Pending => SnapshotPhase::Pending,
        component @ (SnapshotPhase::Running | SnapshotPhase::Succeeded | SnapshotPhase::Failed) => {
            if uploaded {
                component
            } else {
                SnapshotPhase::Running
            }
        }
    }
}

/// What the components of a Snapshot come to; with `totalComponents` 0 and none succeeded this is Succeeded, as upstream has it.
pub fn snapshot_components(status: &SnapshotStatus) -> SnapshotPhase {
    if status.components.is_empty() {
        return SnapshotPhase::Pending;
    }
    let total = i64::from(status.total_components);
    let count = |wanted: SnapshotPhase| {
        let is = |phase: &Option<Wire<SnapshotPhase>>| phase.as_ref().is_some_and(|phase| *phase == wanted);
        i64::try_from(status.components.values().filter(|component| is(&component.phase)).count()).unwrap_or(i64::MAX)
    };
    let (succeeded, failed) = (count(SnapshotPhase::Succeeded), count(SnapshotPhase::Failed));
    if succeeded == total {
        SnapshotPhase::Succeeded
    } else if succeeded + failed == total || failed > 0 {
        SnapshotPhase::Failed
    } else {
        SnapshotPhase::Running
    }
}

/// Integrity of a Snapshot: unknown while a component with restic figures lacks it; else whether all known ones are sound;
/// unknown if none is known.
pub fn snapshot_integrity(status: &SnapshotStatus) -> Option<bool> {
    let lacking = |component: &crate::kinds::Component| !component.restic_stats.is_empty() && component.integrity.is_none();
    if status.components.values().any(lacking) {
        return None;
    }
    status.components.values().filter_map(|component| component.integrity).reduce(|all, one| all && one)
}

/// Phase of a Repository.
pub fn repository(conditions: &[Condition]) -> RepositoryPhase {
    if is_true(conditions, of::REPOSITORY_INITIALIZED) { RepositoryPhase::Ready } else { RepositoryPhase::NotReady }
}

/// Phase of a BackupStorage; the words are those of a Repository.
pub fn backup_storage(conditions: &[Condition]) -> RepositoryPhase {
    let secret = !is_present(conditions, of::BACKEND_SECRET_FOUND) || is_true(conditions, of::BACKEND_SECRET_FOUND);
    if is_true(conditions, of::BACKEND_INITIALIZED) && secret { RepositoryPhase::Ready } else { RepositoryPhase::NotReady }
}

/// Phase of a BackupConfiguration. Its repositories play no part. An absent `ready` counts as not ready.
pub fn backup_configuration(spec: &BackupConfigurationSpec, status: &BackupConfigurationStatus) -> ConfigurationPhase {
    if is_false(&status.conditions, of::VALIDATION_PASSED) {
        return ConfigurationPhase::Invalid;
    }
    let backends = status.backends.len() == spec.backends.len() && status.backends.iter().all(|backend| backend.ready == Some(true));
    let sessions = status.sessions.len() == spec.sessions.len()
        && status.sessions.iter().all(|session| is_true(&session.conditions, of::SCHEDULER_ENSURED));
    if status.target_found == Some(true) && backends && sessions { ConfigurationPhase::Ready } else { ConfigurationPhase::NotReady }
}
