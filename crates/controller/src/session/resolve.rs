//! From what a session names to the facts its run is pinned to; the first thing that is missing is the session's cause.

use backproof_api::{
    BackupVerificationSession, BackupVerifier, Cause, Function, Task, VerificationType, duration, labels, names,
    query::Engine,
    run::{PinnedForeign, PinnedObject, PinnedQuery, PinnedRun, PinnedTarget, PinnedVerifier, spec_hash},
    shared::{TypedLocalObjectReference, Wire},
    validate::{self, Invoker, Lookup, RepositoryEntry},
};
use jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt as _};
use serde_json::json;

use super::{
    components, named,
    observed::{Claim, OwnedInvoker, References, Settings, Target},
    proof, safety,
    wire::Refusal,
};
use crate::{
    clock::whole_second,
    database::{self, Server},
    failure::Failure,
    restore::place,
};

/// Resolves everything a session names into `run`. What was resolved before a refusal stays in `run`, as retry and history
/// need it.
pub(super) fn resolve(
    session: &BackupVerificationSession,
    references: &References,
    settings: &Settings,
    run: &mut PinnedRun,
    now: Timestamp,
) -> Result<(), Refusal> {
    let own = session.namespace().unwrap_or_default();
    started(run, settings.default_timeout, now);
    let invoker = invoker(session, references)?;
    let entry = entry(session, invoker)?;
    let verifier = verifier(&entry, invoker, references)?;
    small_settings(run, verifier, settings, now)?;
    kind_of_check(verifier)?;
    let repository = named::repository(session, &own, references)?;
    run.repository = pinned(repository);
    checked(verifier, invoker, &entry)?;
    let snapshot = named::snapshot(session, &own, references)?;
    run.snapshot.name = snapshot.name_any();
    run.snapshot.uid = snapshot.uid().unwrap_or_default();
    safety::target_is_not_named_source(verifier, repository, snapshot, invoker, &entry)?;
    let storage = named::storage(repository, &own, references)?;
    run.place = place(repository, storage);
    let (addon, task) = named::addon(verifier, references)?;
    let function = named::function(&task.function, references.function.as_ref(), settings)?;
    let chosen = components::choose(snapshot, repository, &task.name)?;
    run.snapshot.components = chosen.selected;
    run.not_covered = chosen.rest;
    let target = named::target(verifier, references)?;
    let into = match target {
        Target::Claim(claim) => into_claim(verifier, claim, references)?,
        Target::Database(server) => into_database(verifier, server, run, references)?,
    };
    let query = match verifier.spec.kind {
        Some(Wire::Known(VerificationType::Query)) => Some(query(verifier, references, settings)?),
        Some(Wire::Known(VerificationType::RestoreOnly | VerificationType::Script) | Wire::Other(_)) | None => None,
    };
    let asks = query.as_ref().and(references.verify_function.as_ref());
    safety::namespaces(&own, &references.namespace_labels, target.namespace(), repository, storage, settings)?;
    safety::pod_settings(verifier, task, function, target.namespace(), settings)?;
    if let Some(asks) = asks {
        safety::pod_settings(verifier, task, asks, target.namespace(), settings)?;
    }
    run.verifier = PinnedVerifier {
        object: pinned(verifier),
        kind: verifier.spec.kind.as_ref().map(ToString::to_string).unwrap_or_default(),
        hash: verifier_hash(verifier, task, function, asks),
        target: into,
        addon: pinned(addon),
        function: pinned(function),
        task: task.name.clone(),
        query,
        foreign: foreign(function),
    };
    if run.verifier.target.database.is_some() && run.verifier.foreign.is_some() {
        let text = format!(
            "Function {} is not Backproof's, and only its own restore into a database: use postgres-addon of the catalog",
            function.name_any()
        );
        return Err(Refusal::new(Cause::ForeignFunctionNotAllowed, text));
    }
    let wanted_anyway = session.annotations().get(labels::REVERIFY).is_some_and(|value| value == "true");
    if !wanted_anyway {
        run.proven_by = proof::that_holds(snapshot, run, &verifier.spec.reverify_after, now)
            .map_err(|error| invalid(verifier, "spec.reverifyAfter", &error))?;
    }
    Ok(())
}

/// A claim as it is pinned.
fn into_claim(verifier: &BackupVerifier, claim: &Claim, references: &References) -> Result<PinnedTarget, Refusal> {
    if verifier.spec.kind.as_ref().and_then(Wire::known) == Some(VerificationType::Query) {
        return Err(Refusal::new(
            Cause::TargetNotSupported,
            format!(
                "BackupVerifier {}: spec.type Query asks a database, and spec.restoreOption.target is a PersistentVolumeClaim: name an AppBinding or a Service",
                crate::events::path(verifier)
            ),
        ));
    }
    safety::target_is_not_resolved_source(claim, &references.sources)?;
    Ok(PinnedTarget {
        kind: "PersistentVolumeClaim".into(),
        object: PinnedObject { namespace: claim.namespace.clone(), name: claim.name.clone(), uid: claim.uid.clone(), generation: 0 },
        volume_uid: claim.volume_uid.clone(),
        ..PinnedTarget::default()
    })
}

/// A database as it is pinned.
fn into_database(verifier: &BackupVerifier, server: &Server, run: &PinnedRun, references: &References) -> Result<PinnedTarget, Refusal> {
    let (group, kind) = server.body.kind();
    let what = format!("{kind} {}/{}", server.object.namespace, server.object.name);
    safety::database_is_not_source(&what, &references.database_sources)?;
    let refused =
        |failure: Failure| Refusal::new(failure.cause, format!("BackupVerifier {}: {}", crate::events::path(verifier), failure.text));
    let database = database::wanted(verifier).and_then(|wanted| database::pinned(server, &wanted)).map_err(refused)?;
    if run.wipe_target {
        let text = "cleanup Always does not reach into databases yet: take spec.cleanup out, and empty the database by other means";
        return Err(invalid(verifier, "spec.cleanup", &text));
    }
    let dumps: usize = run.snapshot.components.iter().map(|component| component.restic_ids.len()).sum();
    if dumps > 1 {
        let text = format!(
            "Snapshot {} consists of {dumps} dumps, and one database takes one: back each database up by itself",
            run.snapshot.name
        );
        return Err(Refusal::new(Cause::DumpNotSupported, text));
    }
    Ok(PinnedTarget {
        api_group: group.into(),
        kind: kind.into(),
        object: server.object.clone(),
        volume_uid: String::new(),
        database: Some(database),
    })
}

/// What is pinned of a query.
fn query(verifier: &BackupVerifier, references: &References, settings: &Settings) -> Result<PinnedQuery, Refusal> {
    let wanted = database::wanted(verifier).map_err(|failure| Refusal::new(failure.cause, failure.text))?;
    let function = named::verify_function(verifier, references, settings)?;
    // Nothing but PostgreSQL came this far.
    Ok(PinnedQuery { function: pinned(function), engine: Engine::Postgres.key().to_owned(), checks: wanted.checks.unwrap_or_default() })
}

/// Start and deadline; a verifier's own timeout replaces the deadline later.
fn started(run: &mut PinnedRun, timeout: SignedDuration, now: Timestamp) {
    run.started = second(now);
    run.deadline = second(now.saturating_add(timeout).unwrap_or(now));
}

/// A moment in whole seconds, RFC 3339.
pub(super) fn second(at: Timestamp) -> String {
    whole_second(at).to_string()
}

fn invoker<'a>(session: &BackupVerificationSession, references: &'a References) -> Result<Invoker<'a>, Refusal> {
    let TypedLocalObjectReference { api_group, kind, name } = session.spec.invoker.clone().unwrap_or_default();
    let missing = |message: String| Refusal::new(Cause::InvokerNotFound, message);
    if kind.is_empty() || name.is_empty() {
        return Err(missing("spec.invoker names no object: create the session with kind and name of the BackupConfiguration or BackupBatch whose backup is verified".into()));
    }
    if (kind != "BackupConfiguration" && kind != "BackupBatch") || !(api_group.is_empty() || api_group == Invoker::GROUP) {
        return Err(missing(format!(
            "spec.invoker: {kind} of group {api_group:?} is no kind that backups belong to: name a BackupConfiguration or BackupBatch of {}",
            Invoker::GROUP
        )));
    }
    let namespace = session.namespace().unwrap_or_default();
    references.invoker.as_ref().map(OwnedInvoker::as_invoker).ok_or_else(|| {
        missing(format!(
            "spec.invoker.name: {kind} {namespace}/{name} does not exist: create it, or create the session with the right name"
        ))
    })
}

/// The entry of the session's repository in its invoker.
pub(super) fn entry<'a>(session: &BackupVerificationSession, invoker: Invoker<'a>) -> Result<RepositoryEntry<'a>, Refusal> {
    let spec = &session.spec;
    let mut matching: Vec<_> =
        invoker.entries().into_iter().filter(|entry| entry.session == spec.session && entry.repository.name == spec.repository).collect();
    match (matching.pop(), matching.is_empty()) {
        (Some(entry), true) => Ok(entry),
        (Some(_), false) => Err(Refusal::new(
            Cause::InvokerNotFound,
            format!(
                "{invoker} names repository {} more than once in session {}: give each of them a Repository of its own",
                spec.repository, spec.session
            ),
        )),
        (None, _) => Err(Refusal::new(
            Cause::InvokerNotFound,
            format!(
                "{invoker} has no session {:?} with a repository {:?}: add it there, or create the session with the right names",
                spec.session, spec.repository
            ),
        )),
    }
}

fn verifier<'a>(entry: &RepositoryEntry<'_>, invoker: Invoker<'_>, references: &'a References) -> Result<&'a BackupVerifier, Refusal> {
    let Some(reference) = entry.verifier() else {
        return Err(Refusal::new(
            Cause::VerifierNotFound,
            format!("{invoker} names no verifier for repository {}: set its {}.backupVerifier", entry.repository.name, entry.field),
        ));
    };
    references.verifier.as_ref().ok_or_else(|| {
        let namespace = reference.namespace_or(invoker.namespace());
        Refusal::new(
            Cause::VerifierNotFound,
            format!(
                "BackupVerifier {namespace}/{} does not exist: create it, or correct {}.backupVerifier of {invoker}",
                reference.name, entry.field
            ),
        )
    })
}

/// A verifier that cannot be used, with the field at fault.
pub(super) fn invalid(verifier: &BackupVerifier, field: &str, problem: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Cause::VerifierInvalid, format!("BackupVerifier {}: {field}: {problem}", crate::events::path(verifier)))
}

/// The settings that are needed later, by value.
fn small_settings(run: &mut PinnedRun, verifier: &BackupVerifier, settings: &Settings, now: Timestamp) -> Result<(), Refusal> {
    let spec = &verifier.spec;
    run.history_limit = spec.session_history_limit.unwrap_or(1).max(1);
    run.allow_empty = spec.allow_empty;
    run.wipe_target = spec.cleanup.as_ref().and_then(Wire::known) == Some(backproof_api::shared::Cleanup::Always);
    run.replaceable = spec.scheduler.as_ref().is_some_and(|scheduler| scheduler.concurrency_policy == "Replace");
    let read = |field: &str, text: &str, default: SignedDuration| match text {
        "" => Ok(default),
        text => duration::parse(text).map_err(|error| invalid(verifier, field, &error)).map(|duration| duration.max(SignedDuration::ZERO)),
    };
    let delay = spec.retry_config.as_ref().map(|retry| retry.delay.as_str()).unwrap_or_default();
    run.retry_delay_seconds = read("spec.retryConfig.delay", delay, SignedDuration::ZERO)?.as_secs();
    run.start_timeout_seconds = read("spec.startTimeout", &spec.start_timeout, settings.default_start_timeout)?.as_secs();
    started(run, read("spec.timeout", &spec.timeout, settings.default_timeout)?, now);
    Ok(())
}

fn kind_of_check(verifier: &BackupVerifier) -> Result<(), Refusal> {
    match verifier.spec.kind.as_ref() {
        Some(Wire::Known(VerificationType::RestoreOnly | VerificationType::Query)) => Ok(()),
        Some(Wire::Known(kind @ VerificationType::Script)) => Err(Refusal::new(
            Cause::TypeNotSupported,
            format!(
                "BackupVerifier {}: spec.type {kind} is not built yet: RestoreOnly and Query work, set spec.type to one of them",
                crate::events::path(verifier)
            ),
        )),
        Some(Wire::Other(word)) => Err(invalid(verifier, "spec.type", &format!("{word:?} is unknown: set it to RestoreOnly or Query"))),
        None => Err(invalid(verifier, "spec.type", &"is missing: set it to RestoreOnly or Query")),
    }
}

/// The rules that admission has for verifiers, for those that came in past it. Whether the target is the source is told apart
/// below, with a cause of its own.
fn checked(verifier: &BackupVerifier, invoker: Invoker<'_>, entry: &RepositoryEntry<'_>) -> Result<(), Refusal> {
    safety::target_is_not_invokers(verifier, invoker, entry)?;
    let findings = validate::verifier(verifier, &Lookup::Found(Vec::new()));
    if findings.violations.is_empty() {
        Ok(())
    } else {
        Err(Refusal::new(Cause::VerifierInvalid, format!("BackupVerifier {}: {findings}", crate::events::path(verifier))))
    }
}

/// Hash over everything that decides what is checked and how: the same hash means an earlier proof speaks for this verifier.
fn verifier_hash(verifier: &BackupVerifier, task: &Task, function: &Function, asks: Option<&Function>) -> String {
    let spec = &verifier.spec;
    let mut all = json!({
        "type": spec.kind, "restoreOption": spec.restore_option, "function": spec.function, "query": spec.query, "script": spec.script,
        "volumes": spec.volumes, "volumeMounts": spec.volume_mounts, "runtimeSettings": spec.runtime_settings, "allowEmpty": spec.allow_empty,
        "task": task, "functionSpec": function.spec,
    });
    if let Some(asks) = asks {
        all["verifyFunctionSpec"] = json!(asks.spec);
    }
    spec_hash(&all)
}

/// What is pinned of a Function that is not ours.
fn foreign(function: &Function) -> Option<PinnedForeign> {
    let contract = || function.annotations().get(labels::VERDICT_CONTRACT).is_some_and(|value| value == "1");
    (!function.labels().contains_key(labels::IMPLEMENTS)).then(|| PinnedForeign { verdict_contract: contract() })
}

fn pinned<K: Resource>(object: &K) -> PinnedObject {
    let meta = object.meta();
    PinnedObject {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
    }
}

/// Which of the objects a run was pinned to is another one now, or has changed.
pub(super) fn changed(run: &PinnedRun, references: &References) -> Option<String> {
    let differs = |kind: &str, before: &PinnedObject, now: Option<PinnedObject>| match now {
        Some(now) if now == *before => None,
        Some(_) => Some(format!("{kind} {} changed after the session started", before.name)),
        None => Some(format!("{kind} {} was deleted after the session started", before.name)),
    };
    differs("BackupVerifier", &run.verifier.object, references.verifier.as_ref().map(pinned))
        .or_else(|| differs("Addon", &run.verifier.addon, references.addon.as_ref().map(pinned)))
        .or_else(|| differs("Function", &run.verifier.function, references.function.as_ref().map(pinned)))
        .or_else(|| {
            let asks = run.verifier.query.as_ref()?;
            differs("Function", &asks.function, references.verify_function.as_ref().map(pinned))
        })
}

/// The name of the lock's and messages' target.
pub(super) fn target_text(run: &PinnedRun) -> String {
    let target = &run.verifier.target;
    format!("{} {}/{}", target.kind, target.object.namespace, target.object.name)
}

/// Seconds of a name that retries are made under.
pub(super) fn retry_name(session: &BackupVerificationSession, at: Timestamp, step: i64) -> String {
    names::session(&session.spec.repository, &session.spec.session, at.as_second().saturating_add(step))
}
