//! What a run must never do: restore onto what is proven, cross namespaces unasked, or run with more rights than allowed.

use std::collections::BTreeMap;

use backproof_api::{
    BackupStorage, BackupVerifier, Cause, Function, Repository, Snapshot, Task,
    shared::TypedObjectReference,
    validate::{Invoker, RepositoryEntry, target_is_source, unsafe_container, unsafe_settings, usage_allows},
};

use super::{
    observed::{Claim, Settings},
    wire::Refusal,
};
use crate::{events::path, place::overlap};

/// Refuses a target that the invoker itself names as what it backs up.
pub(super) fn target_is_not_invokers(verifier: &BackupVerifier, invoker: Invoker<'_>, entry: &RepositoryEntry<'_>) -> Result<(), Refusal> {
    let source = entry.source.map(|source| (source, format!("what {invoker} backs up")));
    refuse_named(verifier, source.into_iter().map(|(source, role)| (source, invoker.namespace(), role)))
}

/// Refuses a target that Snapshot, Repository or invoker name as what was backed up.
pub(super) fn target_is_not_named_source(
    verifier: &BackupVerifier,
    repository: &Repository,
    snapshot: &Snapshot,
    invoker: Invoker<'_>,
    entry: &RepositoryEntry<'_>,
) -> Result<(), Refusal> {
    let namespace = |meta: &kube::api::ObjectMeta| meta.namespace.clone().unwrap_or_default();
    let (of_snapshot, of_repository) = (namespace(&snapshot.metadata), namespace(&repository.metadata));
    target_is_not_invokers(verifier, invoker, entry)?;
    let snapshot_source =
        snapshot.spec.app_ref.as_ref().map(|source| (source, of_snapshot.as_str(), format!("what Snapshot {} holds", path(snapshot))));
    let repository_source = repository
        .spec
        .app_ref
        .as_ref()
        .map(|source| (source, of_repository.as_str(), format!("what Repository {} holds", path(repository))));
    refuse_named(verifier, snapshot_source.into_iter().chain(repository_source))
}

fn refuse_named<'a>(
    verifier: &BackupVerifier,
    sources: impl Iterator<Item = (&'a TypedObjectReference, &'a str, String)>,
) -> Result<(), Refusal> {
    let Some(target) = verifier.spec.restore_option.as_ref().and_then(|option| option.target.as_ref()) else { return Ok(()) };
    let own = verifier.metadata.namespace.as_deref().unwrap_or_default();
    for (source, namespace, role) in sources {
        if target_is_source(target, own, source, namespace) {
            return Err(is_source(&format!("{} {}/{}", target.kind, target.namespace_or(own), target.name), &role));
        }
    }
    Ok(())
}

fn is_source(target: &str, role: &str) -> Refusal {
    Refusal::new(
        Cause::TargetIsSource,
        format!("{target} is {role}: restoring would overwrite it; set spec.restoreOption.target of the verifier to another object"),
    )
}

/// Refuses a target whose claim, volume or place is one of a source.
pub(super) fn target_is_not_resolved_source(target: &Claim, sources: &[Claim]) -> Result<(), Refusal> {
    let equal = |a: &str, b: &str| !a.is_empty() && a == b;
    for source in sources {
        let same_name = target.namespace == source.namespace && target.name == source.name && !target.name.is_empty();
        if same_name
            || equal(&target.uid, &source.uid)
            || equal(&target.volume_uid, &source.volume_uid)
            || overlap(&target.place, &source.place)
        {
            return Err(is_source(&format!("PersistentVolumeClaim {}/{}", target.namespace, target.name), &source.role));
        }
    }
    Ok(())
}

/// Refuses a database whose server is, or may be, one that is backed up.
pub(super) fn database_is_not_source(target: &str, sources: &[String]) -> Result<(), Refusal> {
    sources.first().map_or(Ok(()), |role| Err(is_source(&format!("the server of {target}"), role)))
}

/// Refuses what would have to cross namespaces and may not.
pub(super) fn namespaces(
    own: &str,
    labels: &BTreeMap<String, String>,
    target: &str,
    repository: &Repository,
    storage: &BackupStorage,
    settings: &Settings,
) -> Result<(), Refusal> {
    let storage_namespace = storage.metadata.namespace.clone().unwrap_or_default();
    let what = format!("BackupStorage {}", path(storage));
    usage(own, storage, labels)?;
    let inner = storage.spec.storage.clone().unwrap_or_default();
    let on_claim = inner.local.as_ref().is_some_and(|local| local.source.persistent_volume_claim.is_some());
    if on_claim && storage_namespace != target {
        return Err(Refusal::new(
            Cause::CrossNamespaceNotAllowed,
            format!(
                "{what} lies on a PersistentVolumeClaim, which cannot be mounted in namespace {}: use a target in namespace {storage_namespace}",
                target
            ),
        ));
    }
    let may = |from: &str| {
        target == from || settings.crossing.iter().any(|pair| pair.target == target && pair.from.iter().any(|listed| listed == from))
    };
    let value = |from: &str| format!("set the chart's value crossNamespace to {{{}: [{from}]}}", target);
    if !may(own) {
        let message =
            format!("the target lies in namespace {}, the session in {own}: {}, or use a target in namespace {own}", target, value(own));
        return Err(Refusal::new(Cause::CrossNamespaceNotAllowed, message));
    }
    match crate::storage::secrets(storage, repository).into_iter().find(|secret| !may(&secret.namespace)) {
        Some(secret) => Err(Refusal::new(
            Cause::SecretNotReachable,
            format!(
                "{} names Secret {}/{}, which Jobs in namespace {} may not have: {}, or put a copy into namespace {} and name that",
                secret.named_by,
                secret.namespace,
                secret.name,
                target,
                value(&secret.namespace),
                target
            ),
        )),
        None => Ok(()),
    }
}

fn usage(own: &str, storage: &BackupStorage, labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let namespace = storage.metadata.namespace.as_deref().unwrap_or_default();
    if usage_allows(storage.spec.usage_policy.as_ref(), namespace, own, Some(labels)) == Some(true) {
        return Ok(());
    }
    Err(Refusal::new(
        Cause::CrossNamespaceNotAllowed,
        format!(
            "BackupStorage {} does not allow its use from namespace {own}: let its spec.usagePolicy.allowedNamespaces allow it, or use a BackupStorage in namespace {own}",
            path(storage)
        ),
    ))
}

/// Refuses settings that ask for more than the restricted Pod Security profile, unless the namespace is allowed it.
pub(super) fn pod_settings(
    verifier: &BackupVerifier,
    task: &Task,
    function: &Function,
    namespace: &str,
    settings: &Settings,
) -> Result<(), Refusal> {
    if settings.unsafe_namespaces.iter().any(|allowed| allowed == namespace) {
        return Ok(());
    }
    refuse_unsafe(&format!("BackupVerifier {}", path(verifier)), namespace, &unsafe_settings(verifier))?;
    let from_templates =
        task.volume_template.iter().filter(|template| template.source.as_ref().is_some_and(|source| source.source.host_path.is_some()));
    let unsafe_templates: Vec<_> = from_templates.map(|template| format!("volumeTemplate {} (hostPath)", template.name)).collect();
    refuse_unsafe(&format!("restore task {}", task.name), namespace, &unsafe_templates)?;
    let mut of_function = Vec::new();
    let context = function.spec.runtime_settings.as_ref().and_then(|settings| settings.security_context.as_ref());
    unsafe_container("spec.runtimeSettings.securityContext", context, &mut of_function);
    refuse_unsafe(&format!("Function {}", path(function)), namespace, &of_function)
}

fn refuse_unsafe(what: &str, namespace: &str, settings: &[String]) -> Result<(), Refusal> {
    if settings.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(
        Cause::UnsafeSettings,
        format!(
            "{what} asks for more than the restricted Pod Security profile allows: {}; remove it, or add namespace {namespace} to the chart's value unsafeNamespaces",
            settings.join(", ")
        ),
    ))
}
