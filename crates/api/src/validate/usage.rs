//! Whether an object lets a namespace use it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::shared::{FromNamespaces, UsagePolicy, Wire};

/// Whether an object of `owner` may be used from `user`, whose labels are `labels`; `None` if that depends on labels which are
/// not known. Without a policy only the own namespace may.
pub fn usage_allows(policy: Option<&UsagePolicy>, owner: &str, user: &str, labels: Option<&BTreeMap<String, String>>) -> Option<bool> {
    if owner == user {
        return Some(true);
    }
    let allowed = policy.and_then(|policy| policy.allowed_namespaces.as_ref());
    match allowed.and_then(|allowed| allowed.from.as_ref()) {
        Some(Wire::Known(FromNamespaces::All)) => Some(true),
        Some(Wire::Known(FromNamespaces::Same) | Wire::Other(_)) | None => Some(false),
        Some(Wire::Known(FromNamespaces::Selector)) => {
            let Some(selector) = allowed.and_then(|allowed| allowed.selector.as_ref()) else { return Some(false) };
            labels.map(|labels| selects(selector, labels))
        }
    }
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let expressions = selector.match_expressions.iter().flatten().all(|expression| {
        let value = labels.get(&expression.key);
        let listed = value.is_some_and(|value| expression.values.iter().flatten().any(|one| one == value));
        match expression.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    equal && expressions
}
