//! Rules for BackupVerifier: it says what it must, and never restores onto what it proves.

use super::{Findings, Invoker, Lookup, Zero, check_duration, check_schedule, session::named, target_is_source};
use crate::{BackupVerifier, BackupVerifierSpec, RestoreOption, VerificationType, shared::Wire};

/// Most retries a session or a verifier may ask for.
pub const MOST_RETRIES: i32 = 100;

const TYPES: &str = "write RestoreOnly, Query or Script";

/// Whether a verifier may be created or changed so, given the invokers that refer to it.
pub fn verifier(verifier: &BackupVerifier, users: &Lookup<Vec<Invoker<'_>>>) -> Findings {
    let mut findings = Findings::default();
    let spec = &verifier.spec;
    check_type(spec, &mut findings);
    check_restore(spec.restore_option.as_ref(), &mut findings);
    check_times(spec, &mut findings);
    match users {
        Lookup::Found(users) => check_users(verifier, users, &mut findings),
        Lookup::Missing => {}
        Lookup::Unknown(why) => findings.unanswered.push(format!("who refers to it: {why}")),
    }
    findings
}

fn check_type(spec: &BackupVerifierSpec, findings: &mut Findings) {
    let kind = match &spec.kind {
        None => return findings.refuse("spec.type", "is missing", TYPES),
        Some(Wire::Other(word)) => return findings.refuse("spec.type", format!("{word:?} is no type of verification"), TYPES),
        Some(Wire::Known(kind)) => *kind,
    };
    let has_query = spec.query.as_ref().is_some_and(|query| !query.is_empty());
    let (needs_query, needs_script) = match kind {
        VerificationType::RestoreOnly => (false, false),
        VerificationType::Query => (true, false),
        VerificationType::Script => (false, true),
    };
    if needs_query && !has_query {
        findings.refuse(
            "spec.query",
            "is missing, and type Query checks nothing without it",
            "list the checks of your engine, such as mySQL",
        );
    }
    match (&spec.script, needs_script) {
        (Some(script), true) if script.location.starts_with('/') => {}
        (Some(script), true) if !script.location.is_empty() => findings.refuse(
            "spec.script.location",
            format!("{:?} is not an absolute path", script.location),
            "write the path of the script in the verifier's container, beginning with /",
        ),
        (Some(_) | None, true) => findings.refuse(
            "spec.script.location",
            "is missing, and type Script runs nothing without it",
            "write the path of the script in the verifier's container",
        ),
        (Some(_) | None, false) => {}
    }
    if (needs_query || needs_script) && spec.function.is_empty() {
        findings.refuse("spec.function", format!("is missing, and type {kind} needs it"), "name the Function that runs the check");
    }
    // A check that is written down but never made would let a backup pass that its owner believes was checked.
    if has_query && !needs_query {
        findings.refuse("spec.query", format!("is never run by type {kind}"), "set spec.type to Query, or take the query out");
    }
    if spec.script.is_some() && !needs_script {
        findings.refuse("spec.script", format!("is never run by type {kind}"), "set spec.type to Script, or take the script out");
    }
}

fn check_restore(option: Option<&RestoreOption>, findings: &mut Findings) {
    let Some(option) = option else {
        return findings.refuse(
            "spec.restoreOption",
            "is missing",
            "say where backups are restored to for the check (target) and how (addonInfo)",
        );
    };
    let target = "spec.restoreOption.target";
    match &option.target {
        None => findings.refuse(target, "is missing", "name an object to restore into that is not the source of the backup"),
        Some(reference) => {
            if reference.name.is_empty() {
                findings.refuse(format!("{target}.name"), "is missing", "name the object to restore into");
            }
            if reference.kind.is_empty() {
                findings.refuse(format!("{target}.kind"), "is missing", "write the kind of the object, such as PersistentVolumeClaim");
            }
        }
    }
    let addon = "spec.restoreOption.addonInfo";
    let Some(info) = &option.addon_info else {
        return findings.refuse(addon, "is missing", "name the Addon and its restore tasks");
    };
    if info.name.is_empty() {
        findings.refuse(format!("{addon}.name"), "is missing", "name the Addon that restores");
    }
    if info.tasks.is_empty() {
        findings.refuse(format!("{addon}.tasks"), "is empty", "name the restore tasks of the Addon, such as logical-backup-restore");
    }
    for (at, task) in info.tasks.iter().enumerate() {
        if task.name.is_empty() {
            findings.refuse(format!("{addon}.tasks[{at}].name"), "is missing", "name a restore task of the Addon");
        }
    }
}

fn check_times(spec: &BackupVerifierSpec, findings: &mut Findings) {
    match &spec.scheduler {
        None => findings.warn(
            "spec.scheduler",
            "is missing",
            "nothing is verified on a schedule, only when somebody creates a BackupVerificationSession",
        ),
        Some(scheduler) => {
            if let Err(why) = check_schedule(&scheduler.schedule) {
                findings.refuse(
                    "spec.scheduler.schedule",
                    format!("{:?} is no schedule: {why}", scheduler.schedule),
                    "write it like \"0 3 * * *\" (every night at three)",
                );
            }
            let policy = scheduler.concurrency_policy.as_str();
            if !["", "Allow", "Forbid", "Replace"].contains(&policy) {
                findings.refuse("spec.scheduler.concurrencyPolicy", format!("{policy:?} is no policy"), "write Allow, Forbid or Replace");
            }
        }
    }
    check_duration(findings, "spec.timeout", &spec.timeout, Zero::Refused);
    check_duration(findings, "spec.startTimeout", &spec.start_timeout, Zero::Refused);
    check_duration(findings, "spec.reverifyAfter", &spec.reverify_after, Zero::Allowed);
    if let Some(retry) = &spec.retry_config {
        check_duration(findings, "spec.retryConfig.delay", &retry.delay, Zero::Allowed);
        if let Some(retries) = retry.max_retry.filter(|retries| !(0..=MOST_RETRIES).contains(retries)) {
            let remedy = format!("choose a number up to {MOST_RETRIES}");
            findings.refuse("spec.retryConfig.maxRetry", format!("is {retries}"), remedy);
        }
    }
    if let Some(limit) = spec.session_history_limit.filter(|limit| *limit < 0) {
        findings.refuse("spec.sessionHistoryLimit", format!("is {limit}"), "write how many finished sessions to keep, at least 1");
    }
}

fn check_users(verifier: &BackupVerifier, users: &[Invoker<'_>], findings: &mut Findings) {
    let meta = &verifier.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let Some(target) = verifier.spec.restore_option.as_ref().and_then(|option| option.target.as_ref()) else { return };
    for invoker in users {
        let overwrites = invoker.entries().into_iter().find(|entry| {
            let uses = entry
                .verifier()
                .is_some_and(|reference| reference.name == name && reference.namespace_or(invoker.namespace()) == namespace);
            uses && entry.source.is_some_and(|source| target_is_source(target, namespace, source, invoker.namespace()))
        });
        if let Some(entry) = overwrites {
            findings.refuse(
                "spec.restoreOption.target",
                format!("{} is what {invoker} backs up and has proven by this verifier", named(target, namespace)),
                format!("restore into another object, or take {}.backupVerifier out of {invoker}", entry.field),
            );
        }
    }
}
