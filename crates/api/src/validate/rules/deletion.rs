//! What is said when something is deleted. A deletion is never refused.

use crate::validate::rule::rules;

rules! {
    /// What is said when something is deleted.
    RULES of ["BackupVerifier", "Snapshot", "Repository", "BackupStorage", "BackupConfiguration", "BackupBatch"] {
        VERIFIER_USED: "delete-verifier", "metadata.name", Warned, "A BackupVerifier that is deleted is named by nobody.", "metadata.name: is still named by BackupConfiguration demo/sample-backup; their backups are verified no more until one of this name exists again";
        SNAPSHOT_USED: "delete-snapshot", "metadata.name", Warned, "A Snapshot that is deleted is not being verified.", "metadata.name: is being verified by session demo/nightly-1730194200; without it that ends without a verdict";
        REPOSITORY_USED: "delete-repository", "metadata.name", Warned, "A Repository that is deleted has no running verification.", "metadata.name: holds what session demo/nightly-1730194200 verifies; without it that ends without a verdict";
        STORAGE_USED: "delete-storage", "metadata.name", Warned, "A BackupStorage that is deleted holds no Repository.", "metadata.name: still holds BackupConfiguration demo/sample-backup; their Snapshots can neither be verified nor restored without it";
        INVOKER_USED: "delete-invoker", "metadata.name", Warned, "A BackupConfiguration or BackupBatch that is deleted has no running verification: its sessions go with it.", "metadata.name: session demo/nightly-1730194200 is still running for it; it is deleted with it";
    }
}
