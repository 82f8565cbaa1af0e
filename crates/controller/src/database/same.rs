//! Whether two database servers may be one. Pure. Restoring onto what is proven cannot be undone, so in doubt they are.

use std::collections::BTreeMap;

use backproof_api::shared::TypedObjectReference;

use super::{Body, Server, host_of};

/// Whether two servers may be the same: by object, by Service, or by any name or address.
pub(crate) fn same_server(one: &Server, other: &Server) -> bool {
    let same_object = one.body.kind() == other.body.kind()
        && one.object.namespace == other.object.namespace
        && one.object.name == other.object.name
        && !one.object.name.is_empty();
    // A port more or less is no other server: behind one address there is one database, however it is reached.
    let others = names(other);
    // One that cannot be read may be any. And where no pod is there yet, what a Service selects tells who will be.
    one.unknown || other.unknown || same_object || names(one).iter().any(|name| others.contains(name)) || select_alike(one, other)
}

/// Whether all that one of them selects the other selects too.
fn select_alike(one: &Server, other: &Server) -> bool {
    one.selectors.iter().any(|(namespace, selector)| {
        other.selectors.iter().any(|(elsewhere, others)| {
            let within = |few: &BTreeMap<String, String>, many: &BTreeMap<String, String>| {
                !few.is_empty() && few.iter().all(|(key, value)| many.get(key) == Some(value))
            };
            namespace == elsewhere && (within(selector, others) || within(others, selector))
        })
    })
}

/// Everything a server may be called: the name of its Service, addresses, the host of a URL.
fn names(server: &Server) -> Vec<String> {
    let of_service = server.service.iter().map(|(namespace, name)| host_of(namespace, name));
    let of_url = match &server.body {
        Body::Binding(binding) => binding.client_config.host(),
        Body::Service(_) => None,
    };
    of_service.chain(server.addresses.iter().chain(&of_url).map(|host| normal(host))).collect()
}

/// A host as it is compared.
pub(crate) fn normal(host: &str) -> String {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    // `cluster.local` is what the domain is called unless somebody chose another name.
    host.strip_suffix(".cluster.local").map(str::to_owned).unwrap_or(host)
}

/// What operators append to a database's name for its Services.
const SERVICES: [&str; 14] =
    ["", "-rw", "-ro", "-r", "-any", "-primary", "-replica", "-replicas", "-repl", "-ha", "-pods", "-standby", "-pgbouncer", "-headless"];

/// Whether something that is backed up runs the pods behind a server, by the names that its pods have. A kind that nobody knows here is
/// taken for a database of some operator, whose pods are numbered and whose Services are called by a few well-known names.
pub(crate) fn served_by(server: &Server, workload: &TypedObjectReference, namespace: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let random = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let hash = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let pods = |own: &dyn Fn(&str) -> bool| {
        let here = server.pods.iter().filter(|(own_namespace, _)| own_namespace == namespace);
        here.filter_map(|(_, pod)| pod.strip_prefix(workload.name.as_str())?.strip_prefix('-')).any(own)
    };
    match workload.kind.as_str() {
        "StatefulSet" => pods(&digits),
        "Deployment" => pods(&|rest| rest.split_once('-').is_some_and(|(set, pod)| hash(set) && random(pod))),
        "DaemonSet" => pods(&random),
        // Who mounts a claim is looked up, and a Service or an AppBinding is compared as a server.
        "PersistentVolumeClaim" | "Service" | "AppBinding" => false,
        _ => {
            let named = |service: &str| service.strip_prefix(workload.name.as_str()).is_some_and(|rest| SERVICES.contains(&rest));
            pods(&digits) || server.service.iter().any(|(own_namespace, name)| own_namespace == namespace && named(name))
        }
    }
}

/// The Services that a host may mean within the cluster, as namespace and name, for a pod of this namespace.
pub(super) fn services_of(host: &str, own: &str) -> Vec<(String, String)> {
    let host = normal(host);
    if host.is_empty() || host.parse::<std::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    let labels: Vec<&str> = host.strip_suffix(".svc").unwrap_or(&host).split('.').collect();
    match labels.as_slice() {
        [service] => vec![(own.to_owned(), (*service).to_owned())],
        // With a third label in front it is a pod's own name behind that Service.
        [service, namespace] | [_, service, namespace] => vec![((*namespace).to_owned(), (*service).to_owned())],
        _ => Vec::new(),
    }
}
