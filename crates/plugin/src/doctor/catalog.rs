//! Addons and Functions by the names that verifiers use.

use std::fmt::Debug;

use backproof_api::labels;
use k8s_openapi::ClusterResourceScope;
use kube::{Api, Resource, ResourceExt as _, api::ListParams};
use serde::de::DeserializeOwned;

use crate::{
    cluster::Cluster,
    error::{Error, tried},
};

/// All objects of a kind without namespaces.
pub(crate) async fn all<K>(cluster: &Cluster) -> Result<Vec<K>, Error>
where
    K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::all(cluster.client.clone());
    Ok(api.list(&ListParams::default()).await.map_err(tried(format!("cannot list {}", K::plural(&()))))?.items)
}

/// As the controller resolves a name: whatever is labelled as its implementation first, then what has the name itself.
pub(crate) fn resolve<'a, K: Resource>(found: &'a [K], name: &str) -> Option<&'a K> {
    let implements = |object: &&K| object.labels().get(labels::IMPLEMENTS).is_some_and(|value| value == name);
    found.iter().find(implements).or_else(|| found.iter().find(|object| object.name_any() == name))
}
