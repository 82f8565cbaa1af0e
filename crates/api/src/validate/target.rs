//! Whether a restore would go onto what was backed up.

use crate::shared::TypedObjectReference;

/// Whether a restore target is the source of the backup, as far as the references themselves tell. Each reference comes with
/// the namespace of the object it stands in.
///
/// In doubt they are the same: a group that one side leaves out matches any, versions in a group are ignored, and kinds are
/// compared without case. Two references of different kinds may still mean the same data (a workload and its claim); that
/// takes look-ups, and the controller makes them.
pub fn target_is_source(
    target: &TypedObjectReference,
    target_namespace: &str,
    source: &TypedObjectReference,
    source_namespace: &str,
) -> bool {
    let group = |reference: &TypedObjectReference| reference.api_group.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let (ours, theirs) = (group(target), group(source));
    (ours == theirs || ours.is_empty() || theirs.is_empty())
        && target.kind.eq_ignore_ascii_case(&source.kind)
        && target.name == source.name
        && target.namespace_or(target_namespace) == source.namespace_or(source_namespace)
}
