//! Names of our kinds, and the fields that are Backproof's. The whole schemas take seconds to make, and this is all that is needed of them.

use backproof_api::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository,
    RestoreSession, Snapshot,
};
use kube::{Resource, api::ApiResource};
use serde_json::Value;

/// The version all of them are served in.
pub(crate) const VERSION: &str = "v1alpha1";

/// One of our kinds.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
}

impl Kind {
    /// Name of its CustomResourceDefinition.
    pub(crate) fn definition(&self) -> String {
        format!("{}.{}", self.resource.plural, self.resource.group)
    }

    /// Paths of the fields that KubeStash's own schema lacks.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &'static str> {
        let rows = include_str!("../../api/upstream/ours.tsv").lines().filter(|line| !line.starts_with('#')).skip(1);
        let rows = rows.filter_map(|line| line.split_once('\t')).filter_map(|(kind, rest)| Some((kind, rest.split('\t').next()?)));
        rows.filter(|(kind, _)| *kind == self.resource.kind).map(|(_, path)| path)
    }
}

fn kind<K: Resource<DynamicType = ()>>(namespaced: bool) -> Kind {
    Kind { resource: ApiResource::erase::<K>(&()), namespaced }
}

/// Every kind.
pub(crate) fn all() -> [Kind; 10] {
    [
        kind::<BackupVerificationSession>(true),
        kind::<BackupVerifier>(true),
        kind::<BackupConfiguration>(true),
        kind::<BackupBatch>(true),
        kind::<RestoreSession>(true),
        kind::<Repository>(true),
        kind::<Snapshot>(true),
        kind::<BackupStorage>(true),
        kind::<Addon>(false),
        kind::<Function>(false),
    ]
}

/// Whether a schema has the field at this path.
pub(crate) fn has(schema: &Value, path: &str) -> bool {
    path.split('.').fold(schema, |node, part| &node["properties"][part]).is_object()
}

#[cfg(test)]
mod tests {
    use backproof_api::crd;

    use super::*;

    #[test]
    fn these_are_all_kinds_and_their_schemas_have_the_fields() {
        let names: Vec<_> =
            crd::all().iter().map(|definition| (definition.group.as_str(), definition.kind.as_str(), definition.plural.as_str())).collect();
        let kinds = all();
        let own: Vec<_> =
            kinds.iter().map(|kind| (kind.resource.group.as_str(), kind.resource.kind.as_str(), kind.resource.plural.as_str())).collect();
        assert_eq!(own, names);
        let mut fields = 0;
        for (kind, definition) in kinds.iter().zip(crd::all()) {
            assert_eq!(kind.namespaced, definition.object["spec"]["scope"] == "Namespaced", "{}", definition.kind);
            assert_eq!(kind.resource.version, VERSION);
            let bare = definition.without_ours();
            for path in kind.ours() {
                assert!(has(definition.schema(), path), "{}: {path}", definition.kind);
                assert!(!has(&bare["spec"]["versions"][0]["schema"]["openAPIV3Schema"], path), "{}: {path}", definition.kind);
                fields += 1;
            }
        }
        assert!(fields > 20, "{fields}");
    }
}
