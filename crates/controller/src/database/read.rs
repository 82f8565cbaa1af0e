//! Asks the API server for a database server: its object, and who answers behind its Service. Always live: a session is pinned
//! to what is found here.

use backproof_api::{run::PinnedObject, shared::TypedObjectReference};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client, ResourceExt as _,
    api::ListParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};

use super::{
    AppBinding, Body, Form, Server, form as form_of,
    form::{BINDING, CATALOG},
    host_of,
    same::{normal, services_of},
};
use crate::Error;

/// Most Services that are followed from name to name.
const MOST_NAMES: usize = 4;

/// The server that a reference means; nothing where it means none, or its object does not exist.
pub(crate) async fn read(client: &Client, reference: &TypedObjectReference, namespace: &str, role: &str) -> Result<Option<Server>, Error> {
    let name = &reference.name;
    let mut at_hand = None;
    let (object, body, service) = match form_of(&reference.api_group, &reference.kind) {
        None => return Ok(None),
        _ if name.is_empty() => return Ok(None),
        Some(Form::Binding) => {
            let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(CATALOG, "v1alpha1", BINDING), "appbindings");
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &kind);
            let found = api.get_opt(name).await.map_err(Error::api(format!("get {BINDING} {namespace}/{name}")))?;
            let Some(found) = found else { return Ok(None) };
            let spec = found.data.get("spec").cloned().unwrap_or_default();
            let binding: AppBinding = match serde_json::from_value(spec) {
                Ok(binding) => binding,
                Err(error) => {
                    tracing::warn!(namespace, name, error = error.to_string(), "an AppBinding cannot be read: it may be of any server");
                    let object = pinned(&found, namespace);
                    return Ok(Some(Server { object, role: role.to_owned(), unknown: true, ..Server::default() }));
                }
            };
            let service = binding.client_config.service.as_ref().map(|service| {
                let own = if service.namespace.is_empty() { namespace } else { service.namespace.as_str() };
                (own.to_owned(), service.name.clone())
            });
            (pinned(&found, namespace), Body::Binding(Box::new(binding)), service)
        }
        Some(Form::Service) => {
            let Some(found) = service_of(client, namespace, name).await? else { return Ok(None) };
            // Its generation is not kept by every API server; what is used of it is compared by itself.
            let object = PinnedObject { generation: 0, ..pinned(&found, namespace) };
            let body = Body::Service(Box::new(found.spec.clone().unwrap_or_default()));
            at_hand = Some(found);
            (object, body, Some((namespace.to_owned(), name.clone())))
        }
    };
    let mut server = Server { object, body, service, role: role.to_owned(), ..Server::default() };
    let mut ahead: Vec<(String, String)> = server.service.iter().cloned().collect();
    if let (Body::Binding(binding), None) = (&server.body, &server.service) {
        ahead.extend(binding.client_config.host().iter().flat_map(|host| services_of(host, namespace)));
    }
    // A Service may be only another name for a host, which may be a Service again.
    for _ in 0..MOST_NAMES {
        let Some((namespace, name)) = ahead.pop() else { break };
        let found = match at_hand.take() {
            Some(found) => Some(found),
            None => service_of(client, &namespace, &name).await?,
        };
        let Some(found) = found else { continue };
        server.service.get_or_insert((namespace.clone(), name.clone()));
        ahead.extend(through(&found, &namespace, &mut server));
        behind(client, &namespace, &name, &mut server).await?;
    }
    Ok(Some(server))
}

async fn service_of(client: &Client, namespace: &str, name: &str) -> Result<Option<Service>, Error> {
    let api = Api::<Service>::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(Error::api(format!("get Service {namespace}/{name}")))
}

/// Notes by what names and addresses a Service is reached, and whom it selects; the Services that its external name may mean.
fn through(service: &Service, namespace: &str, server: &mut Server) -> Vec<(String, String)> {
    server.addresses.push(host_of(namespace, &service.name_any()));
    let balancer =
        service.status.iter().filter_map(|status| status.load_balancer.as_ref()).flat_map(|balancer| balancer.ingress.iter().flatten());
    server.addresses.extend(balancer.flat_map(|ingress| ingress.ip.iter().chain(&ingress.hostname)).cloned());
    let Some(spec) = &service.spec else { return Vec::new() };
    let own = spec.cluster_ips.iter().flatten().chain(spec.external_ips.iter().flatten());
    server.addresses.extend(own.filter(|address| *address != "None").cloned());
    let selector = spec.selector.clone().unwrap_or_default();
    if !selector.is_empty() {
        server.selectors.push((namespace.to_owned(), selector));
    }
    let Some(host) = spec.external_name.as_ref().filter(|host| !host.is_empty()) else { return Vec::new() };
    server.addresses.push(host.clone());
    server.external.push(normal(host));
    services_of(host, namespace)
}

fn pinned<K: kube::Resource>(object: &K, namespace: &str) -> PinnedObject {
    PinnedObject {
        namespace: namespace.to_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        generation: object.meta().generation.unwrap_or_default(),
    }
}

/// Addresses and pods behind a Service.
async fn behind(client: &Client, namespace: &str, service: &str, server: &mut Server) -> Result<(), Error> {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), namespace)
        .list(&ListParams::default().labels(&format!("kubernetes.io/service-name={service}")))
        .await
        .map_err(Error::api(format!("list the EndpointSlices of Service {namespace}/{service}")))?;
    for endpoint in slices.items.into_iter().flat_map(|slice| slice.endpoints) {
        server.addresses.extend(endpoint.addresses);
        let pod = endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod")).and_then(|target| target.name);
        server.pods.extend(pod.map(|pod| (namespace.to_owned(), pod)));
    }
    Ok(())
}
