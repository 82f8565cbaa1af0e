//! What the manifests we write have in common: how what is not asked for is left out, nobody's user, and proxies.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::EnvVar;

/// The user and group of a pod of ours where nobody names another.
pub(crate) const NOBODY: i64 = 65_534;
/// Variables a proxy is set by; what is set on the controller is handed on to executors.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"];

/// The proxy settings of this process.
pub(crate) fn proxies() -> Vec<EnvVar> {
    let set = |name: &str| Some(EnvVar { name: name.to_owned(), value: Some(std::env::var(name).ok()?), value_from: None });
    PROXIES.into_iter().filter_map(set).collect()
}

/// A text, unless it is empty.
pub(crate) fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// A list, unless it is empty.
pub(crate) fn list<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

/// A map, unless it is empty.
pub(crate) fn map(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}
