//! What is said when something is deleted that is in use; nothing is ever refused.

use backproof_api::validate::{DeletionFacts, Findings, deletion};

fn used() -> DeletionFacts {
    DeletionFacts { users: vec!["BackupConfiguration demo/sample-backup".to_owned()], sessions: vec!["demo/nightly-1730194200".to_owned()] }
}

const TABLE: [(&str, &str); 6] = [
    (
        "BackupVerifier",
        "metadata.name: is still named by BackupConfiguration demo/sample-backup; their backups are verified no more until one of this name exists again",
    ),
    ("Snapshot", "metadata.name: is being verified by session demo/nightly-1730194200; without it that ends without a verdict"),
    ("Repository", "metadata.name: holds what session demo/nightly-1730194200 verifies; without it that ends without a verdict"),
    (
        "BackupStorage",
        "metadata.name: still holds BackupConfiguration demo/sample-backup; their Snapshots can neither be verified nor restored without it",
    ),
    ("BackupConfiguration", "metadata.name: session demo/nightly-1730194200 is still running for it; it is deleted with it"),
    ("BackupBatch", "metadata.name: session demo/nightly-1730194200 is still running for it; it is deleted with it"),
];

pub(crate) fn all() -> Vec<Findings> {
    TABLE.iter().map(|(kind, _)| deletion(kind, &used())).collect()
}

#[test]
fn what_is_in_use_is_warned_about_and_never_refused() {
    for (kind, warning) in TABLE {
        let findings = deletion(kind, &used());
        assert!(findings.passed());
        assert_eq!(findings.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), [warning], "{kind}");
        assert_eq!(deletion(kind, &DeletionFacts::default()), Findings::default(), "{kind}");
    }
}
