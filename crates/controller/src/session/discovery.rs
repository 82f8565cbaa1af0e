//! Whether a session must wait for discovery: the newest Snapshot is known only after the repository was listed.

use backproof_api::{BackupVerificationSession, Repository};

/// Why the session waits, or nothing.
pub(super) fn pending(_session: &BackupVerificationSession, _repository: &Repository) -> Option<String> {
    None
}
