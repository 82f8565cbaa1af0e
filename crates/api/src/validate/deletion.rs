//! What is said when something is deleted that is in use. Deletions are never refused: clean-up must not wait for us.

use super::{Findings, choices, rules::deletion as rules};

/// Who uses an object that is being deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletionFacts {
    /// Objects that name it, as kind, namespace and name.
    pub users: Vec<String>,
    /// Unfinished sessions that need it, as namespace and name.
    pub sessions: Vec<String>,
}

/// What to say about the deletion of this object.
pub fn deletion(kind: &str, facts: &DeletionFacts) -> Findings {
    let mut findings = Findings::default();
    let used = (!facts.users.is_empty()).then(|| choices(facts.users.iter().map(String::as_str)));
    let running = (!facts.sessions.is_empty()).then(|| choices(facts.sessions.iter().map(String::as_str)));
    let mut warn = |rule, problem: String, remedy: &str| findings.warn(rule, "metadata.name", problem, remedy);
    match kind {
        "BackupVerifier" => {
            if let Some(used) = used {
                warn(
                    rules::VERIFIER_USED,
                    format!("is still named by {used}"),
                    "their backups are verified no more until one of this name exists again",
                );
            }
        }
        "Snapshot" => {
            if let Some(running) = running {
                warn(rules::SNAPSHOT_USED, format!("is being verified by session {running}"), "without it that ends without a verdict");
            }
        }
        "Repository" => {
            if let Some(running) = running {
                warn(rules::REPOSITORY_USED, format!("holds what session {running} verifies"), "without it that ends without a verdict");
            }
        }
        "BackupStorage" => {
            if let Some(used) = used {
                warn(rules::STORAGE_USED, format!("still holds {used}"), "their Snapshots can neither be verified nor restored without it");
            }
        }
        _ => {
            if let Some(running) = running {
                warn(rules::INVOKER_USED, format!("session {running} is still running for it"), "it is deleted with it");
            }
        }
    }
    findings
}
