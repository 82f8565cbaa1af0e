//! Whether two database servers may be one. Pure. Restoring onto what is proven cannot be undone, so in doubt they are.

use backproof_api::shared::TypedObjectReference;

use super::{Body, Server};

/// Whether two servers may be the same: by object, by Service, or by any name or address.
pub(crate) fn same_server(one: &Server, other: &Server) -> bool {
    let same_object = one.body.kind() == other.body.kind()
        && one.object.namespace == other.object.namespace
        && one.object.name == other.object.name
        && !one.object.name.is_empty();
    // A port more or less is no other server: behind one address there is one database, however it is reached.
    let others = names(other);
    same_object || names(one).iter().any(|name| others.contains(name))
}

/// Everything a server may be called: the name of its Service, addresses, the host of a URL.
fn names(server: &Server) -> Vec<String> {
    let of_service = server.service.iter().map(|(namespace, name)| format!("{name}.{namespace}.svc"));
    let mut names: Vec<String> = of_service.chain(server.addresses.iter().map(|address| normal(address))).collect();
    if let Body::Binding(binding) = &server.body
        && let Some(url) = binding.client_config.url.as_deref().and_then(|url| url::Url::parse(url).ok())
    {
        names.extend(url.host_str().map(normal));
    }
    names
}

/// A host as it is compared.
fn normal(host: &str) -> String {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    // `cluster.local` is what the domain is called unless somebody chose another name.
    host.strip_suffix(".cluster.local").map(str::to_owned).unwrap_or(host)
}

/// Whether a workload that is backed up runs the pods behind a server, by the names that its pods have.
pub(crate) fn served_by(server: &Server, workload: &TypedObjectReference, namespace: &str) -> bool {
    if server.service.as_ref().is_none_or(|(own, _)| own != namespace) {
        return false;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let random = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let hash = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let own = |pod: &String| {
        let Some(rest) = pod.strip_prefix(workload.name.as_str()).and_then(|rest| rest.strip_prefix('-')) else { return false };
        match workload.kind.as_str() {
            "StatefulSet" => digits(rest),
            "Deployment" => rest.split_once('-').is_some_and(|(set, pod)| hash(set) && random(pod)),
            "DaemonSet" => random(rest),
            _ => false,
        }
    };
    server.pods.iter().any(own)
}
