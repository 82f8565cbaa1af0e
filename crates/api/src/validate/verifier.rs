//! Rules for BackupVerifier: it says what it must, and never restores onto what it proves.

use super::{
    Findings, Invoker, Lookup, Zero, check_duration, check_scheduler, closest,
    query::check_query,
    rules::verifier as rules,
    session::named,
    target::{holds_data, is_supported},
    target_is_source,
    volumes::{check_job_volumes, check_volumes},
};
use crate::{BackupVerifier, BackupVerifierSpec, RestoreOption, VerificationType, names::is_object_name, shared::Wire};

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
    check_volumes(spec, &mut findings);
    match users {
        Lookup::Found(users) => check_users(verifier, users, &mut findings),
        Lookup::Missing => {}
        Lookup::Unknown(why) => findings.unanswered.push(format!("who refers to it: {why}")),
    }
    findings
}

fn check_type(spec: &BackupVerifierSpec, findings: &mut Findings) {
    let kind = match &spec.kind {
        None => return findings.refuse(rules::TYPE, "spec.type", "is missing", TYPES),
        Some(Wire::Other(word)) => {
            return findings.refuse(rules::TYPE, "spec.type", format!("{word:?} is no type of verification"), TYPES);
        }
        Some(Wire::Known(kind)) => *kind,
    };
    let query = spec.query.as_ref().filter(|query| !query.is_empty());
    let (needs_query, needs_script) = match kind {
        VerificationType::RestoreOnly => (false, false),
        VerificationType::Query => (true, false),
        VerificationType::Script => (false, true),
    };
    match query {
        Some(query) if needs_query => check_query(query, findings),
        None if needs_query => findings.refuse(
            rules::QUERY,
            "spec.query",
            "is missing, and type Query checks nothing without it",
            "list the checks of your engine, such as mySQL",
        ),
        Some(_) | None => {}
    }
    if needs_script {
        check_script(spec.script.as_ref().map(|script| script.location.as_str()).unwrap_or_default(), findings);
    }
    if (needs_query || needs_script) && spec.function.is_empty() {
        findings.refuse(
            rules::FUNCTION,
            "spec.function",
            format!("is missing, and type {kind} needs it"),
            "name the Function that runs the check",
        );
    }
    // A check that is written down but never made would let a backup pass that its owner believes was checked.
    if query.is_some() && !needs_query {
        findings.refuse(
            rules::QUERY_UNUSED,
            "spec.query",
            format!("is never run by type {kind}"),
            "set spec.type to Query, or take the query out",
        );
    }
    if spec.script.is_some() && !needs_script {
        findings.refuse(
            rules::SCRIPT_UNUSED,
            "spec.script",
            format!("is never run by type {kind}"),
            "set spec.type to Script, or take the script out",
        );
    }
    if !spec.function.is_empty() && !needs_query && !needs_script {
        findings.warn(
            rules::FUNCTION_UNUSED,
            "spec.function",
            format!("{} is never run by type {kind}", spec.function),
            "take it out; the restore's Function is the Addon's",
        );
    }
}

fn check_script(location: &str, findings: &mut Findings) {
    if location.is_empty() {
        findings.refuse(
            rules::SCRIPT,
            "spec.script.location",
            "is missing, and type Script runs nothing without it",
            "write the path of the script in the verifier's container",
        );
    } else if !location.starts_with('/') {
        findings.refuse(
            rules::SCRIPT_PATH,
            "spec.script.location",
            format!("{location:?} is not an absolute path"),
            "write the path of the script in the verifier's container, beginning with /",
        );
    }
}

fn check_restore(option: Option<&RestoreOption>, findings: &mut Findings) {
    let Some(option) = option else {
        return findings.refuse(
            rules::RESTORE,
            "spec.restoreOption",
            "is missing",
            "say where backups are restored to for the check (target) and how (addonInfo)",
        );
    };
    check_target(option, findings);
    let addon = "spec.restoreOption.addonInfo";
    let Some(info) = &option.addon_info else {
        return findings.refuse(rules::ADDON, addon, "is missing", "name the Addon and its restore tasks");
    };
    if info.name.is_empty() {
        findings.refuse(rules::ADDON, format!("{addon}.name"), "is missing", "name the Addon that restores");
    }
    if info.tasks.is_empty() {
        findings.refuse(
            rules::ADDON,
            format!("{addon}.tasks"),
            "is empty",
            "name the restore tasks of the Addon, such as logical-backup-restore",
        );
    }
    for (at, task) in info.tasks.iter().enumerate() {
        if task.name.is_empty() {
            findings.refuse(rules::ADDON, format!("{addon}.tasks[{at}].name"), "is missing", "name a restore task of the Addon");
        }
    }
    check_job_volumes(info, findings);
    if info.tasks.len() > 1 {
        findings.warn(
            rules::TASKS,
            format!("{addon}.tasks"),
            format!("names {} tasks, and this version restores by one", info.tasks.len()),
            "keep one of them, or sessions end Inconclusive VerifierInvalid",
        );
    }
}

fn check_target(option: &RestoreOption, findings: &mut Findings) {
    let target = "spec.restoreOption.target";
    let Some(reference) = &option.target else {
        return findings.refuse(rules::TARGET, target, "is missing", "name an object to restore into that is not the source of the backup");
    };
    if reference.name.is_empty() {
        findings.refuse(rules::TARGET, format!("{target}.name"), "is missing", "name the object to restore into");
    } else if !is_object_name(&reference.name) {
        let problem = format!("{:?} is no name that an object can have", reference.name);
        findings.refuse(rules::TARGET, format!("{target}.name"), problem, "write the name as kubectl get shows it");
    }
    if !reference.namespace.is_empty() && (reference.namespace.contains('.') || !is_object_name(&reference.namespace)) {
        let problem = format!("{:?} is no name that a namespace can have", reference.namespace);
        findings.refuse(rules::TARGET, format!("{target}.namespace"), problem, "write the name as kubectl get namespaces shows it");
    }
    let at = format!("{target}.kind");
    if reference.kind.is_empty() {
        return findings.refuse(rules::TARGET, at, "is missing", "write the kind of the object, such as PersistentVolumeClaim");
    }
    if let Err(why) = holds_data(reference) {
        let meant = closest(&reference.kind, ["PersistentVolumeClaim"])
            .or((reference.kind.eq_ignore_ascii_case("pvc")).then_some("PersistentVolumeClaim"));
        let remedy = match meant {
            Some(meant) => format!("did you mean {meant}?"),
            None => "name a PersistentVolumeClaim, a workload or a database".to_owned(),
        };
        findings.refuse(rules::TARGET_KIND, at, why, remedy);
    } else if !is_supported(reference) {
        findings.warn(
            rules::TARGET_SUPPORTED,
            at,
            format!("{} is not restored into by this version", reference.kind),
            "name a PersistentVolumeClaim, or a PostgreSQL database by its AppBinding or Service, or sessions end Inconclusive TargetNotSupported",
        );
    }
}

fn check_times(spec: &BackupVerifierSpec, findings: &mut Findings) {
    match &spec.scheduler {
        None => findings.warn(
            rules::SCHEDULER,
            "spec.scheduler",
            "is missing",
            "nothing is verified on a schedule, only when somebody creates a BackupVerificationSession",
        ),
        Some(scheduler) => check_scheduler(findings, (rules::SCHEDULE, rules::CONCURRENCY), "spec.scheduler", scheduler),
    }
    check_duration(findings, rules::DURATION, "spec.timeout", &spec.timeout, Zero::Refused);
    check_duration(findings, rules::DURATION, "spec.startTimeout", &spec.start_timeout, Zero::Refused);
    check_duration(findings, rules::DURATION, "spec.reverifyAfter", &spec.reverify_after, Zero::Allowed);
    if let Some(retry) = &spec.retry_config {
        check_duration(findings, rules::DURATION, "spec.retryConfig.delay", &retry.delay, Zero::Allowed);
        if let Some(retries) = retry.max_retry.filter(|retries| !(0..=MOST_RETRIES).contains(retries)) {
            let remedy = format!("choose a number up to {MOST_RETRIES}");
            findings.refuse(rules::RETRIES, "spec.retryConfig.maxRetry", format!("is {retries}"), remedy);
        }
    }
    let limit = "spec.sessionHistoryLimit";
    match spec.session_history_limit {
        Some(below @ ..0) => {
            findings.refuse(rules::HISTORY, limit, format!("is {below}"), "write how many finished sessions to keep, at least 1");
        }
        Some(0) => findings.warn(rules::HISTORY_ZERO, limit, "is 0, which acts as 1", "write 1"),
        Some(1..) | None => {}
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
                rules::TARGET_SOURCE,
                "spec.restoreOption.target",
                format!("{} is what {invoker} backs up and has proven by this verifier", named(target, namespace)),
                format!("restore into another object, or take {}.backupVerifier out of {invoker}", entry.field),
            );
        }
    }
}
