//! What may be restored into: nothing that was backed up, and only what holds data.

use crate::{BackupStorage, shared::TypedObjectReference};

/// Whether a restore target is the source of the backup, as far as the references themselves tell. Each reference comes with
/// the namespace of the object it stands in.
///
/// In doubt they are the same: a group that one side leaves out matches any, versions in a group are ignored, and kinds are
/// compared without case, in the singular and by their long name. Two references of different kinds may still mean the same data (a workload and its claim); that
/// takes look-ups, see [`workload_of`] and [`claim_of_workload`]. A database that KubeDB runs and the AppBinding of its name are one.
pub fn target_is_source(
    target: &TypedObjectReference,
    target_namespace: &str,
    source: &TypedObjectReference,
    source_namespace: &str,
) -> bool {
    let (ours, theirs) = (group_of(target), group_of(source));
    let same_kind = (ours == theirs || ours.is_empty() || theirs.is_empty()) && kind_of(target) == kind_of(source);
    (same_kind || (is_database(target) && is_database(source)))
        && target.name == source.name
        && target.namespace_or(target_namespace) == source.namespace_or(source_namespace)
}

/// Whether a reference means a database by its AppBinding: itself, or the object that KubeDB makes one of the same name for.
fn is_database(reference: &TypedObjectReference) -> bool {
    match group_of(reference).as_str() {
        "kubedb.com" => true,
        "appcatalog.appscode.com" => kind_of(reference) == "appbinding",
        _ => false,
    }
}

/// Whether this version restores into such an object.
pub(super) fn is_supported(target: &TypedObjectReference) -> bool {
    let (group, kind) = (group_of(target), target.kind.as_str());
    matches!(
        (group.as_str(), kind),
        ("", "PersistentVolumeClaim" | "Service") | ("appcatalog.appscode.com", "AppBinding") | ("kubedb.com", "Postgres")
    )
}

/// The group alone; the core group is empty, however it is written.
fn group_of(reference: &TypedObjectReference) -> String {
    match reference.api_group.split('/').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "core" | "v1" => String::new(),
        group => group.to_owned(),
    }
}

/// The kind as one word for all its spellings. Who backs up may be less strict than we are about targets.
fn kind_of(reference: &TypedObjectReference) -> String {
    let lower = reference.kind.to_ascii_lowercase();
    match lower.strip_suffix('s').unwrap_or(&lower) {
        "pvc" => "persistentvolumeclaim".to_owned(),
        kind => kind.to_owned(),
    }
}

/// Kinds of the core group that hold no data of their own. Claims do, and a Service may lead to a database.
const CORE: [&str; 15] = [
    "Binding",
    "ConfigMap",
    "Endpoints",
    "Event",
    "LimitRange",
    "Namespace",
    "Node",
    "PersistentVolume",
    "Pod",
    "PodTemplate",
    "ReplicationController",
    "ResourceQuota",
    "Secret",
    "ServiceAccount",
    "ComponentStatus",
];

/// Whether an object of this kind may hold restored data, and if not, why.
pub(super) fn holds_data(target: &TypedObjectReference) -> Result<(), String> {
    let kind = target.kind.as_str();
    let group = target.api_group.as_str();
    let of_core = group.is_empty() || group == "core" || group == "v1";
    let claim = "PersistentVolumeClaim";
    if kind == claim && !of_core {
        return Err(format!("no {claim} is of the group {group:?}, the core group is written \"\""));
    }
    let misspelled = kind != claim
        && (kind.eq_ignore_ascii_case(claim) || kind.eq_ignore_ascii_case("PersistentVolumeClaims") || kind.eq_ignore_ascii_case("pvc"));
    if misspelled {
        return Err(format!("{kind:?} is no kind"));
    }
    if of_core && CORE.contains(&kind) {
        return Err(format!("a {kind} holds no data that could be restored"));
    }
    if group.ends_with("kubestash.com") {
        return Err(format!("a {kind} of {group} holds no data that could be restored"));
    }
    Ok(())
}

/// A workload whose claims are what a backup of it reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceClaims {
    /// Kind of the workload.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Claims its pods name.
    pub claims: Vec<String>,
    /// Names of its claim templates; the claims of a StatefulSet are TEMPLATE-NAME-ORDINAL.
    pub templates: Vec<String>,
}

/// Kind, namespace and name of the workload that a source reference means, if it means one whose claims can be looked up.
pub fn workload_of<'a>(source: &'a TypedObjectReference, own: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
    let of_apps = matches!(group_of(source).as_str(), "" | "apps");
    let kind = kind_of(source);
    let known = ["StatefulSet", "Deployment", "DaemonSet"].into_iter().find(|known| known.eq_ignore_ascii_case(&kind));
    known.filter(|_| of_apps && !source.name.is_empty()).map(|kind| (kind, source.namespace_or(own), source.name.as_str()))
}

/// Whether a target is the claim that a storage keeps its data on.
pub fn claim_of_storage(target: &TypedObjectReference, own: &str, storage: &BackupStorage) -> bool {
    let local = storage.spec.storage.as_ref().and_then(|storage| storage.local.as_ref());
    let claim = local.and_then(|local| local.source.persistent_volume_claim.as_ref());
    kind_of(target) == "persistentvolumeclaim"
        && claim.is_some_and(|claim| claim.claim_name == target.name)
        && storage.metadata.namespace.as_deref() == Some(target.namespace_or(own))
}

/// Whether a target is a claim of this workload.
pub fn claim_of_workload(target: &TypedObjectReference, own: &str, workload: &SourceClaims) -> bool {
    if !target.kind.eq_ignore_ascii_case("PersistentVolumeClaim") || target.namespace_or(own) != workload.namespace {
        return false;
    }
    let is_ordinal = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let from_template = |template: &String| {
        let rest = target.name.strip_prefix(template.as_str()).and_then(|rest| rest.strip_prefix('-'));
        let rest = rest.and_then(|rest| rest.strip_prefix(workload.name.as_str())).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(is_ordinal)
    };
    workload.claims.contains(&target.name) || workload.templates.iter().any(from_template)
}
