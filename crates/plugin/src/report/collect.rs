//! What goes into a bundle: objects of our kinds, Jobs, pods and events that belong to us, controller and webhook with their logs,
//! versions. What may not be read is named in `missing.txt`.

use std::collections::{BTreeMap, BTreeSet};

use backproof_api::labels;
use k8s_openapi::{api::core::v1::Pod, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition};
use kube::{
    Api, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, LogParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Place},
    error::{Error, tried},
    kinds, output, redact,
};

/// Lines of a log, the newest.
const LOG_LINES: i64 = 10_000;

/// The files, and what could not be read.
#[derive(Default)]
pub(super) struct Bundle {
    pub(super) files: BTreeMap<String, String>,
    pub(super) missing: Vec<String>,
    /// UIDs of the objects in it.
    uids: BTreeSet<String>,
}

impl Bundle {
    /// What was read, or nothing: a bundle is made of what can be had.
    fn read<T>(&mut self, read: Result<T, Error>) -> Option<T> {
        read.map_err(|error| self.missing.push(error.to_string())).ok()
    }

    /// Adds an object without what may be secret.
    fn add(&mut self, directory: &str, object: &DynamicObject) -> Result<(), Error> {
        let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
        let mut value = serde_json::to_value(object).map_err(|error| Error::local("cannot write JSON", error))?;
        redact::object(&mut value);
        self.uids.extend(object.uid());
        let namespace = object.namespace().unwrap_or_else(|| "cluster".to_owned());
        self.files.insert(format!("{directory}/{namespace}/{kind}/{}.yaml", object.name_any()), output::yaml(&value)?);
        Ok(())
    }
}

pub(super) async fn bundle(cluster: &Cluster, place: &Place, installed_in: &str) -> Result<Bundle, Error> {
    let mut bundle = Bundle::default();
    let kinds = kinds::all();
    for kind in &kinds {
        all(cluster, &mut bundle, "objects", &kind.resource, if kind.namespaced { place } else { &Place::Everywhere }, |_| true).await?;
    }
    for (group, kind, plural) in [("batch", "Job", "jobs"), ("batch", "CronJob", "cronjobs"), ("", "Pod", "pods")] {
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural);
        all(cluster, &mut bundle, "objects", &kind, place, is_ours).await?;
    }
    let installation = Place::Namespace(installed_in.to_owned());
    for (group, kind, plural) in [("apps", "Deployment", "deployments"), ("", "Pod", "pods")] {
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, "v1", kind), plural);
        all(cluster, &mut bundle, "installation", &kind, &installation, is_installed).await?;
    }
    let uids = bundle.uids.clone();
    let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "Event"), "events");
    let groups: BTreeSet<&str> = kinds.iter().map(|kind| kind.resource.group.as_str()).collect();
    all(cluster, &mut bundle, "objects", &kind, place, |event| {
        let about = &event.data["involvedObject"];
        let version = about["apiVersion"].as_str().unwrap_or_default();
        about["uid"].as_str().is_some_and(|uid| uids.contains(uid)) || groups.iter().any(|group| version.starts_with(group))
    })
    .await?;
    logs(cluster, &mut bundle, installed_in).await;
    versions(cluster, &mut bundle).await?;
    if !bundle.missing.is_empty() {
        let text = bundle.missing.iter().map(|line| format!("{}\n", output::plain(line))).collect();
        bundle.files.insert("missing.txt".to_owned(), text);
    }
    Ok(bundle)
}

/// Adds the objects of a kind that pass.
async fn all(
    cluster: &Cluster,
    bundle: &mut Bundle,
    directory: &str,
    kind: &ApiResource,
    place: &Place,
    passes: impl Fn(&DynamicObject) -> bool,
) -> Result<(), Error> {
    let api: Api<DynamicObject> = match place {
        Place::Namespace(name) => Api::namespaced_with(cluster.client.clone(), name, kind),
        Place::Everywhere => Api::all_with(cluster.client.clone(), kind),
    };
    let read = api.list(&ListParams::default()).await.map_err(tried(format!("cannot list {} {}", kind.plural, place.words())));
    for mut object in bundle.read(read).map(|list| list.items).unwrap_or_default() {
        // The items of a list do not name their kind.
        object.types = Some(kube::core::TypeMeta { api_version: kind.api_version.clone(), kind: kind.kind.clone() });
        if passes(&object) {
            bundle.add(directory, &object)?;
        }
    }
    Ok(())
}

fn is_ours(object: &DynamicObject) -> bool {
    let component = object.labels().get(labels::COMPONENT).map(String::as_str);
    let known = [labels::COMPONENT_RESTORE, labels::COMPONENT_VERIFIER, labels::COMPONENT_DISCOVERY];
    component.is_some_and(|component| known.contains(&component))
        || [labels::SESSION_UID, labels::REPOSITORY_UID, labels::INVOKER_UID].iter().any(|label| object.labels().contains_key(*label))
}

fn is_installed(object: &DynamicObject) -> bool {
    object.labels().get("app.kubernetes.io/name").is_some_and(|name| name == "backproof")
}

async fn logs(cluster: &Cluster, bundle: &mut Bundle, namespace: &str) {
    let api: Api<Pod> = cluster.within(namespace);
    let own = ListParams::default().labels("app.kubernetes.io/name=backproof");
    let read = api.list(&own).await.map_err(tried(format!("cannot list pods in namespace {namespace}")));
    // That they may not be listed was said of their objects already.
    for pod in read.map(|list| list.items).unwrap_or_default() {
        let name = pod.name_any();
        let restarted =
            pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()).any(|status| status.restart_count > 0);
        for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
            for previous in [false, true].into_iter().take(1 + usize::from(restarted)) {
                let wanted =
                    LogParams { container: Some(container.name.clone()), tail_lines: Some(LOG_LINES), previous, ..LogParams::default() };
                let read = api.logs(&name, &wanted).await.map_err(tried(format!("cannot read the log of pod {namespace}/{name}")));
                let Some(log) = bundle.read(read) else { continue };
                let suffix = if previous { "-previous" } else { "" };
                bundle.files.insert(format!("logs/{namespace}/{name}/{}{suffix}.log", container.name), redact::text(&log));
            }
        }
    }
}

async fn versions(cluster: &Cluster, bundle: &mut Bundle) -> Result<(), Error> {
    let server = cluster.client.apiserver_version().await.map_err(tried("cannot ask for the API server's version"));
    let server = bundle.read(server).map(|info| json!({"version": info.git_version, "platform": info.platform}));
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &ApiResource::erase::<CustomResourceDefinition>(&()));
    let mut definitions = serde_json::Map::new();
    for kind in kinds::all() {
        let name = kind.definition();
        let read = api.get_opt(&name).await.map_err(tried(format!("cannot get CustomResourceDefinition {name}")));
        let Some(found) = bundle.read(read) else { continue };
        let value = found.map_or(Value::Null, |found| {
            let versions = found.data["spec"]["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
            let served: Vec<&Value> = versions.iter().filter(|version| version["served"] == true).map(|version| &version["name"]).collect();
            json!({"generation": found.metadata.generation, "served": served})
        });
        definitions.insert(name, value);
    }
    let address = redact::text(&cluster.server);
    let versions =
        json!({"plugin": env!("CARGO_PKG_VERSION"), "server": server, "address": address, "customResourceDefinitions": definitions});
    bundle.files.insert("versions.yaml".to_owned(), output::yaml(&versions)?);
    Ok(())
}
