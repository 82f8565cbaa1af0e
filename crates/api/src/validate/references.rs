//! What a verifier refers to: the Addon and its task, and the Function that checks.

use super::{Findings, Lookup, SourceClaims, claim_of_storage, claim_of_workload, did_you_mean, rules::verifier as rules, session::named};
use crate::{
    Addon, BackupStorage, BackupVerifier, Executor, Function, Task,
    shared::{TaskReference, Wire},
};

/// What was looked up about the objects a verifier names. What it does not name counts as missing.
#[derive(Clone, Debug)]
pub struct VerifierFacts {
    /// The Addon: the one labelled to implement the name, else the one of that name.
    pub addon: Lookup<Addon>,
    /// The Function of `spec.function`, found in the same way.
    pub function: Lookup<Function>,
    /// Workloads that invokers which use it back up, each with the invoker that names it.
    pub workloads: Vec<(String, SourceClaims)>,
    /// Storages that such invokers keep in what it verifies, each with the invoker.
    pub storages: Vec<(String, BackupStorage)>,
}

/// Whether what a verifier names is there and fits. What may come later is a warning.
pub fn verifier_references(verifier: &BackupVerifier, facts: &VerifierFacts) -> Findings {
    let mut findings = Findings::default();
    let spec = &verifier.spec;
    let option = spec.restore_option.as_ref();
    if let Some(info) = option.and_then(|option| option.addon_info.as_ref()).filter(|info| !info.name.is_empty()) {
        match &facts.addon {
            Lookup::Found(addon) => {
                for (index, task) in info.tasks.iter().enumerate().filter(|(_, task)| !task.name.is_empty()) {
                    check_task(addon, task, &format!("spec.restoreOption.addonInfo.tasks[{index}]"), &mut findings);
                }
            }
            Lookup::Missing => findings.warn(
                rules::ADDON_EXISTS,
                "spec.restoreOption.addonInfo.name",
                format!("there is no Addon {}, nor one that implements it", info.name),
                "create it, or write one that kubectl get addons.addons.kubestash.com shows",
            ),
            Lookup::Unknown(why) => findings.unanswered.push(format!("Addon {}: {why}", info.name)),
        }
    }
    if !spec.function.is_empty()
        && spec.kind.as_ref().and_then(Wire::known).is_some_and(|kind| kind != crate::VerificationType::RestoreOnly)
    {
        match &facts.function {
            Lookup::Found(_) => {}
            Lookup::Missing => findings.warn(
                rules::FUNCTION_EXISTS,
                "spec.function",
                format!("there is no Function {}, nor one that implements it", spec.function),
                "create it, or write one that kubectl get functions.addons.kubestash.com shows",
            ),
            Lookup::Unknown(why) => findings.unanswered.push(format!("Function {}: {why}", spec.function)),
        }
    }
    let own = verifier.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(target) = option.and_then(|option| option.target.as_ref()) {
        let owner = facts.workloads.iter().find(|(_, workload)| claim_of_workload(target, own, workload));
        if let Some((invoker, workload)) = owner {
            findings.refuse(
                rules::TARGET_SOURCE_CLAIM,
                "spec.restoreOption.target",
                format!(
                    "{} is a volume of {} {}/{}, which {invoker} backs up and has proven by this verifier",
                    named(target, own),
                    workload.kind,
                    workload.namespace,
                    workload.name
                ),
                "restore into another claim",
            );
        }
        let holder = facts.storages.iter().find(|(_, storage)| claim_of_storage(target, own, storage));
        if let Some((invoker, storage)) = holder {
            findings.refuse(
                rules::TARGET_STORAGE,
                "spec.restoreOption.target",
                format!(
                    "{} is where BackupStorage {}/{} keeps its data, and with it what {invoker} has proven by this verifier",
                    named(target, own),
                    storage.metadata.namespace.as_deref().unwrap_or_default(),
                    storage.metadata.name.as_deref().unwrap_or_default()
                ),
                "restore into another claim",
            );
        }
    }
    findings
}

fn check_task(addon: &Addon, task: &TaskReference, at: &str, findings: &mut Findings) {
    let name = addon.metadata.name.as_deref().unwrap_or_default();
    let Some(found) = addon.spec.restore_tasks.iter().find(|known| known.name == task.name) else {
        let known: Vec<_> = addon.spec.restore_tasks.iter().map(|task| task.name.as_str()).collect();
        let backup = addon.spec.backup_tasks.iter().any(|known| known.name == task.name);
        let problem = if backup {
            format!("{} is a task of Addon {name} that backs up, not one that restores", task.name)
        } else {
            format!("Addon {name} has no restore task {}", task.name)
        };
        return findings.refuse(
            rules::TASK,
            format!("{at}.name"),
            problem,
            did_you_mean(&task.name, &known, "add a restore task to it first"),
        );
    };
    match found.executor.as_ref() {
        None | Some(Wire::Known(Executor::Job)) => {}
        Some(other) => findings.warn(
            rules::TASK_EXECUTOR,
            format!("{at}.name"),
            format!("restore task {} of Addon {name} runs as {other}, which this version does not", task.name),
            "choose a task whose executor is Job, or sessions end Inconclusive ExecutorNotSupported",
        ),
    }
    check_parameters(name, found, task, at, findings);
}

fn check_parameters(addon: &str, task: &Task, given: &TaskReference, at: &str, findings: &mut Findings) {
    let has = |name: &str| {
        given.params.as_ref().is_some_and(|params| params.get(name).is_some_and(|value| !value.is_null()))
            || given.variables.iter().any(|variable| variable.name == name)
    };
    for parameter in task.parameters.iter().filter(|parameter| parameter.required && parameter.default.is_empty()) {
        if !has(&parameter.name) {
            let usage = if parameter.usage.is_empty() { String::new() } else { format!(" ({})", parameter.usage) };
            findings.refuse(
                rules::PARAMETER,
                format!("{at}.params.{}", parameter.name),
                format!("is missing, and restore task {} of Addon {addon} requires it", task.name),
                format!("give it a value{usage}"),
            );
        }
    }
    let known: Vec<_> = task.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    for name in given.params.iter().flatten().map(|(name, _)| name.as_str()) {
        if !known.is_empty() && !known.contains(&name) {
            findings.warn(
                rules::PARAMETER_UNKNOWN,
                format!("{at}.params.{name}"),
                format!("restore task {} of Addon {addon} declares no such parameter", task.name),
                did_you_mean(name, &known, ""),
            );
        }
    }
}
