//! Rules for the kinds that verification meets and does not own: little more than upstream checks, and only what could not work.

use std::collections::{BTreeMap, BTreeSet};

use super::{Findings, Lookup, Zero, check_duration, rules::others as rules, usage_allows};
use crate::{Addon, BackupStorage, DeletionPolicy, Executor, Function, Repository, RestoreSession, Snapshot, Task, labels};

/// Whether a RestoreSession may be created or changed so.
pub fn restore_session(session: &RestoreSession) -> Findings {
    let mut findings = Findings::default();
    let at = "spec.dataSource";
    check_duration(&mut findings, rules::RESTORE_DURATION, "spec.restoreTimeout", &session.spec.restore_timeout, Zero::Allowed);
    let Some(source) = &session.spec.data_source else {
        findings.refuse(rules::RESTORE_SOURCE, at, "is missing", "say what is restored: repository and snapshot");
        return findings;
    };
    let nameless = source.repository.is_empty();
    let repository = format!("{at}.repository");
    if let Some(point) = &source.pitr {
        if point.target_time.is_none() {
            findings.refuse(
                rules::RESTORE_TIME,
                format!("{at}.pitr.targetTime"),
                "is missing",
                "write the time to restore, such as 2026-01-31T12:00:00Z",
            );
        }
        if nameless {
            findings.refuse(rules::RESTORE_REPOSITORY, repository, "is missing, and a point in time needs it", "name the Repository");
        }
    } else if source.snapshot.is_empty() {
        findings.refuse(rules::RESTORE_SNAPSHOT, format!("{at}.snapshot"), "is missing", "name a Snapshot, or write latest");
    } else if source.snapshot == super::LATEST && nameless {
        findings.refuse(rules::RESTORE_REPOSITORY, repository, "is missing, and latest needs it", "name the Repository");
    }
    findings
}

/// Whether an Addon may be created or changed so.
pub fn addon(addon: &Addon) -> Findings {
    let mut findings = Findings::default();
    check_tasks("spec.backupTasks", &addon.spec.backup_tasks, &mut findings);
    check_tasks("spec.restoreTasks", &addon.spec.restore_tasks, &mut findings);
    for (index, task) in addon.spec.restore_tasks.iter().enumerate() {
        if let Some(executor) = task.executor.as_ref().filter(|executor| **executor != Executor::Job) {
            findings.warn(
                rules::ADDON_EXECUTOR,
                format!("spec.restoreTasks[{index}].executor"),
                format!("Backproof does not run {executor}"),
                "verifiers that use this task end Inconclusive ExecutorNotSupported; write Job",
            );
        }
    }
    findings
}

fn check_tasks(at: &str, tasks: &[Task], findings: &mut Findings) {
    own_names(rules::ADDON_TASK, at, "task", tasks.iter().map(|task| task.name.as_str()), findings);
    for (index, task) in tasks.iter().enumerate() {
        let at = format!("{at}[{index}]");
        if task.function.is_empty() {
            findings.refuse(rules::ADDON_FUNCTION, format!("{at}.function"), "is missing", "name the Function that runs the task");
        }
        let parameters = task.parameters.iter().map(|parameter| parameter.name.as_str());
        own_names(rules::ADDON_PARAMETER, &format!("{at}.parameters"), "parameter", parameters, findings);
        let volumes = task.volume_template.iter().map(|template| template.name.as_str());
        own_names(rules::ADDON_VOLUME, &format!("{at}.volumeTemplate"), "volume", volumes, findings);
    }
}

fn own_names<'a>(rule: super::Rule, at: &str, what: &str, names: impl Iterator<Item = &'a str>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        let field = format!("{at}[{index}].name");
        if name.is_empty() {
            findings.refuse(rule, field, "is missing", format!("give the {what} a name"));
        } else if !seen.insert(name) {
            findings.refuse(rule, field, format!("{name} names another {what} already"), format!("give each {what} a name of its own"));
        }
    }
}

/// Whether a Function may be created or changed so.
pub fn function(function: &Function) -> Findings {
    let mut findings = Findings::default();
    if function.spec.image.is_empty() {
        findings.refuse(rules::FUNCTION_IMAGE, "spec.image", "is missing", "name the image whose program the Function runs");
    }
    findings
}

/// Whether a Repository may be created or changed so, given its storage and the labels of its namespace.
pub fn repository(repository: &Repository, storage: &Lookup<BackupStorage>, labels: Option<&BTreeMap<String, String>>) -> Findings {
    let mut findings = Findings::default();
    let own = repository.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(reference) = repository.spec.storage_ref.as_ref().filter(|reference| !reference.name.is_empty()) {
        let namespace = reference.namespace_or(own);
        let what = format!("BackupStorage {namespace}/{}", reference.name);
        match storage {
            Lookup::Found(storage) => {
                if usage_allows(storage.spec.usage_policy.as_ref(), namespace, own, labels) == Some(false) {
                    findings.refuse(
                        rules::REPOSITORY_USAGE,
                        "spec.storageRef",
                        format!("{what} does not allow its use from namespace {own}"),
                        "set its spec.usagePolicy.allowedNamespaces, or name a BackupStorage of this namespace",
                    );
                }
            }
            Lookup::Missing => {
                let remedy = "create it, or correct the reference; until then nothing there can be read";
                findings.warn(rules::REPOSITORY_STORAGE, "spec.storageRef", format!("{what} does not exist"), remedy);
            }
            Lookup::Unknown(why) => findings.unanswered.push(format!("{what}: {why}")),
        }
    }
    discovery(repository, &mut findings);
    findings
}

fn discovery(repository: &Repository, findings: &mut Findings) {
    let annotation = |name: &str| repository.metadata.annotations.as_ref().and_then(|all| all.get(name)).map(String::as_str);
    let at = |name: &str| format!("metadata.annotations[{name}]");
    let mark = annotation(labels::DISCOVER);
    if let Some(other) = mark.filter(|mark| *mark != "true" && *mark != "false") {
        findings.warn(rules::REPOSITORY_DISCOVER, at(labels::DISCOVER), format!("{other:?} turns nothing on"), "write \"true\"");
    }
    let filter = annotation(labels::DISCOVER_FILTER).filter(|filter| !filter.is_empty());
    if let Some(filter) = filter
        && !serde_json::from_str::<serde_json::Value>(filter).is_ok_and(|filter| filter.is_object())
    {
        let remedy = "write it like {\"session\": \"nightly\", \"tags\": [\"db\"]}, or nothing is discovered";
        findings.warn(rules::REPOSITORY_FILTER, at(labels::DISCOVER_FILTER), "is no JSON object", remedy);
    }
    if mark == Some("true") && repository.spec.deletion_policy.as_ref().is_some_and(|policy| *policy == DeletionPolicy::WipeOut) {
        findings.warn(
            rules::REPOSITORY_WIPE,
            "spec.deletionPolicy",
            "WipeOut is never carried out by Backproof",
            "delete the data by the tool that wrote it",
        );
    }
}

/// Whether a Repository may be changed so: its path never changes.
pub fn repository_update(old: &Repository, new: &Repository) -> Findings {
    let mut findings = Findings::default();
    if old.spec.path != new.spec.path {
        findings.refuse(
            rules::REPOSITORY_PATH,
            "spec.path",
            format!("is immutable, it cannot change from {:?} to {:?}", old.spec.path, new.spec.path),
            "make another Repository for the other path",
        );
    }
    findings
}

/// Whether a Snapshot may be created or changed so.
pub fn snapshot(snapshot: &Snapshot) -> Findings {
    let mut findings = Findings::default();
    let spec = &snapshot.spec;
    if spec.repository.is_empty() {
        findings.refuse(rules::SNAPSHOT_REPOSITORY, "spec.repository", "is missing", "name the Repository the Snapshot lies in");
    }
    if spec.session.is_empty() {
        let remedy = "name the session of the BackupConfiguration, or no verification ever finds the Snapshot";
        findings.warn(rules::SNAPSHOT_SESSION, "spec.session", "is missing", remedy);
    }
    let kind = spec.kind.as_str();
    if !["", "FullBackup", "IncrementalBackup"].contains(&kind) {
        findings.warn(
            rules::SNAPSHOT_TYPE,
            "spec.type",
            format!("{kind:?} is no type of Snapshot"),
            "write FullBackup or IncrementalBackup",
        );
    }
    findings
}
