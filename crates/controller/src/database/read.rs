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
};
use crate::Error;

/// The server that a reference means; nothing where it means none, or its object does not exist or cannot be read.
pub(crate) async fn read(client: &Client, reference: &TypedObjectReference, namespace: &str, role: &str) -> Result<Option<Server>, Error> {
    let name = &reference.name;
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
                    tracing::warn!(namespace, name, error = error.to_string(), "an AppBinding cannot be read and counts as missing");
                    return Ok(None);
                }
            };
            let service = binding.client_config.service.as_ref().map(|service| {
                let own = if service.namespace.is_empty() { namespace } else { service.namespace.as_str() };
                (own.to_owned(), service.name.clone())
            });
            (pinned(&found, namespace), Body::Binding(Box::new(binding)), service)
        }
        Some(Form::Service) => {
            let api = Api::<Service>::namespaced(client.clone(), namespace);
            let found = api.get_opt(name).await.map_err(Error::api(format!("get Service {namespace}/{name}")))?;
            let Some(found) = found else { return Ok(None) };
            // Its generation is not kept by every API server; what is used of it is compared by itself.
            let object = PinnedObject { generation: 0, ..pinned(&found, namespace) };
            (object, Body::Service(Box::new(found.spec.unwrap_or_default())), Some((namespace.to_owned(), name.clone())))
        }
    };
    let mut server = Server { object, body, service, role: role.to_owned(), ..Server::default() };
    let Some((namespace, name)) = server.service.clone() else { return Ok(Some(server)) };
    let elsewhere = match &server.body {
        Body::Service(service) => service.external_name.clone(),
        Body::Binding(_) => {
            let api = Api::<Service>::namespaced(client.clone(), &namespace);
            let found = api.get_opt(&name).await.map_err(Error::api(format!("get Service {namespace}/{name}")))?;
            found.and_then(|service| service.spec).and_then(|spec| spec.external_name)
        }
    };
    // A Service that is only another name for a host.
    server.addresses.extend(elsewhere.filter(|host| !host.is_empty()));
    behind(client, &namespace, &name, &mut server).await?;
    Ok(Some(server))
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
        server.pods.extend(endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod")).and_then(|target| target.name));
    }
    Ok(())
}
