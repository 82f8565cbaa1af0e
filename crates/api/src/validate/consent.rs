//! Who may write a reference: nobody gets by way of us what they may not do themselves.
//!
//! Here stands which access a reference stands for; whether somebody has it, only the API server knows. With the webhook off
//! the controller's own rule holds: across namespaces only the pairs that the chart's values list.

use std::collections::BTreeSet;

use super::{Findings, Invoker, rules::consent as rules};
use crate::{BackupVerifier, shared::ObjectReference};

/// An access that the writer of a reference must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access {
    /// The verb, such as `get`.
    pub verb: &'static str,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// The resource's plural.
    pub resource: &'static str,
    /// The namespace.
    pub namespace: String,
    /// The object; empty for any.
    pub name: String,
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verb, group, resource, namespace, name } = self;
        let of = if group.is_empty() { String::new() } else { format!(".{group}") };
        match name.as_str() {
            "" => write!(f, "{verb} {resource}{of} in namespace {namespace}"),
            name => write!(f, "{verb} {resource}{of} {name} in namespace {namespace}"),
        }
    }
}

/// What a BackupVerifier's writer must be allowed: what a run does in the target's namespace.
pub fn accesses_of_verifier(verifier: &BackupVerifier) -> Vec<(String, Access)> {
    let own = verifier.metadata.namespace.as_deref().unwrap_or_default();
    let target = verifier.spec.restore_option.as_ref().and_then(|option| option.target.as_ref());
    let jobs =
        |namespace: &str| Access { verb: "create", group: "batch", resource: "jobs", namespace: namespace.to_owned(), name: String::new() };
    target.map(|target| ("spec.restoreOption.target".to_owned(), jobs(target.namespace_or(own)))).into_iter().collect()
}

/// What the writer of a BackupConfiguration or BackupBatch must be allowed: to get what it names in other namespaces.
pub fn accesses_of_invoker(invoker: Invoker<'_>) -> Vec<(String, Access)> {
    let own = invoker.namespace();
    let mut seen = BTreeSet::new();
    let mut accesses = Vec::new();
    let mut ask = |field: String, group, resource, reference: Option<&ObjectReference>| {
        let Some(reference) = reference.filter(|reference| !reference.name.is_empty() && reference.namespace_or(own) != own) else {
            return;
        };
        let access =
            Access { verb: "get", group, resource, namespace: reference.namespace_or(own).to_owned(), name: reference.name.clone() };
        if seen.insert(access.clone()) {
            accesses.push((field, access));
        }
    };
    for (index, backend) in invoker.backends().iter().enumerate() {
        ask(format!("spec.backends[{index}].storageRef"), "storage.kubestash.com", "backupstorages", backend.storage_ref.as_ref());
    }
    for entry in invoker.entries() {
        ask(format!("{}.encryptionSecret", entry.field), "", "secrets", entry.repository.encryption_secret.as_ref());
        ask(format!("{}.backupVerifier", entry.field), Invoker::GROUP, "backupverifier", entry.repository.backup_verifier.as_ref());
    }
    accesses
}

/// Refuses a reference whose writer lacks the access it stands for.
pub fn refuse_access(findings: &mut Findings, kind: &str, field: &str, access: &Access, user: &str) {
    let (rule, remedy) = match kind {
        "BackupVerifier" => (
            rules::CREATE_JOBS,
            "restore into a namespace where you may, or have somebody write the verifier who may; see kubectl auth can-i",
        ),
        _ => (rules::USE_ELSEWHERE, "name one of this namespace, or have somebody write it who may; see kubectl auth can-i"),
    };
    findings.refuse(rule, field, format!("{user} may not {access}"), remedy);
}
