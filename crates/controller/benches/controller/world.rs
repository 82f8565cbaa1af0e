//! Applications with a backup each, spread over namespaces, so that as many sessions can run at once: what a session refers to,
//! and the sessions themselves.

use anyhow::{Context as _, Result, ensure};
use backproof_api::crd;
use backproof_testing::{ApiServer, chart, objects};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

const PARALLEL: usize = 32;
/// How many namespaces the applications are spread over.
pub(crate) const NAMESPACES: usize = 20;
/// One application, with NUMBER and PLACE to be filled in.
const APPLICATION: &str = include_str!("application.yaml");
/// What the applications of one namespace share.
const SHARED: &str = include_str!("shared.yaml");

pub(crate) fn namespace(number: usize) -> String {
    format!("bench-{}", number % NAMESPACES)
}

/// Kinds, rights, catalog, and so many applications.
pub(crate) async fn populate(server: &ApiServer, applications: usize) -> Result<()> {
    let kinds: Vec<Value> = crd::all().iter().map(|definition| definition.object.clone()).collect();
    server.apply(&kinds).await?;
    let named = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    server.apply(&[named("backproof-system")]).await?;
    server.apply(&chart(&["rbac.yaml"])?).await?;
    server.apply(&chart(&["catalog.yaml"])?).await?;
    for number in 0..NAMESPACES {
        let place = namespace(number);
        server.apply(&[named(&place)]).await?;
        server.apply(&objects(&SHARED.replace("PLACE", &place))?).await?;
    }
    let made = stream::iter(0..applications).map(|number| async move {
        for object in objects(&APPLICATION.replace("NUMBER", &number.to_string()).replace("PLACE", &namespace(number)))? {
            let made = create(&server.client, &object).await?;
            if object["kind"] == "Snapshot" {
                let status = json!({"status": object["status"]});
                send(&server.client, "PATCH", &format!("{}/status", path(&object)?), &status).await?;
            }
            if object["kind"] == "PersistentVolumeClaim" {
                bind(&server.client, &made).await?;
            }
        }
        anyhow::Ok(())
    });
    made.buffer_unordered(PARALLEL).try_collect::<()>().await
}

/// Notes on the volume of a claim that it is bound to it, as the controller of volumes does.
async fn bind(client: &Client, claim: &Value) -> Result<()> {
    let meta = &claim["metadata"];
    let reference = json!({"spec": {"claimRef": {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}}});
    let volume = claim["spec"]["volumeName"].as_str().context("the claim names no volume")?;
    send(client, "PATCH", &format!("/api/v1/persistentvolumes/{volume}"), &reference).await.map(drop)
}

/// A session of an application, by a tag that no other has.
pub(crate) fn session(tag: &str, number: usize) -> Value {
    json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerificationSession",
        "metadata": {"name": format!("{tag}-{number}"), "namespace": namespace(number), "annotations": {"backproof.dev/reverify": "true"}},
        "spec": {
            "invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": format!("backup-{number}")},
            "session": "nightly", "repository": format!("repo-{number}"), "snapshot": format!("snap-{number}"),
        },
    })
}

/// Namespace and name of a session.
pub(crate) fn key(tag: &str, number: usize) -> String {
    format!("{}/{tag}-{number}", namespace(number))
}

/// Creates sessions of the applications up to this number, many at a time.
pub(crate) async fn burst(client: &Client, tag: &str, many: usize) -> Result<()> {
    let made = stream::iter(0..many).map(|number| async move { create(client, &session(tag, number)).await.map(drop) });
    made.buffer_unordered(PARALLEL).try_collect::<()>().await
}

/// Where objects like this one are created.
fn collection(object: &Value) -> Result<String> {
    let (version, kind) = (object["apiVersion"].as_str().context("no version")?, object["kind"].as_str().context("no kind")?);
    let base = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let plural = match kind {
        "BackupVerificationSession" | "BackupVerifier" => kind.to_lowercase(),
        "BackupConfiguration"
        | "RestoreSession"
        | "Snapshot"
        | "BackupStorage"
        | "ConfigMap"
        | "Job"
        | "PersistentVolume"
        | "PersistentVolumeClaim" => format!("{}s", kind.to_lowercase()),
        "Repository" => "repositories".to_owned(),
        other => anyhow::bail!("{other} is not made here"),
    };
    Ok(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{base}/namespaces/{namespace}/{plural}"),
        None => format!("{base}/{plural}"),
    })
}

pub(crate) fn path(object: &Value) -> Result<String> {
    Ok(format!("{}/{}", collection(object)?, object["metadata"]["name"].as_str().context("no name")?))
}

/// Creates an object; what it is then.
pub(crate) async fn create(client: &Client, object: &Value) -> Result<Value> {
    send(client, "POST", &collection(object)?, object).await
}

/// One request, which must succeed.
pub(crate) async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Result<Value> {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
    let request = http::Request::builder().method(method).uri(path).header("content-type", kind).body(body)?;
    client.request(request).await.with_context(|| format!("{method} {path}"))
}

/// Removes every session and what was made for it; nobody collects garbage here.
pub(crate) async fn clear(client: &Client) -> Result<()> {
    for (group, version, kind, plural) in [
        ("core.kubestash.com", "v1alpha1", "BackupVerificationSession", "backupverificationsession"),
        ("core.kubestash.com", "v1alpha1", "RestoreSession", "restoresessions"),
        ("batch", "v1", "Job", "jobs"),
        ("", "v1", "Pod", "pods"),
        ("coordination.k8s.io", "v1", "Lease", "leases"),
    ] {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        let all = Api::<DynamicObject>::all_with(client.clone(), &resource).list_metadata(&ListParams::default()).await?;
        let ours = all.items.into_iter().filter(|object| {
            let namespace = object.namespace().unwrap_or_default();
            namespace.starts_with("bench-")
                || (kind == "Lease" && namespace == "backproof-system" && object.name_any().starts_with("target-"))
        });
        let removed = stream::iter(ours).map(|object| {
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), &object.namespace().unwrap_or_default(), &resource);
            async move {
                if !object.finalizers().is_empty() {
                    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
                    // It may have gone meanwhile.
                    let _ = api.patch_metadata(&object.name_any(), &PatchParams::default(), &free).await;
                }
                let gone = api.delete(&object.name_any(), &DeleteParams::background().grace_period(0)).await;
                match gone {
                    Err(error) if !matches!(&error, kube::Error::Api(status) if status.code == 404) => Err(error),
                    Ok(_) | Err(_) => Ok(()),
                }
            }
        });
        removed.buffer_unordered(PARALLEL).try_collect::<()>().await?;
        let left = Api::<DynamicObject>::all_with(client.clone(), &resource).list_metadata(&ListParams::default()).await?;
        let ours = left.items.iter().filter(|object| object.namespace().unwrap_or_default().starts_with("bench-")).count();
        ensure!(ours == 0, "{ours} {plural} are left");
    }
    Ok(())
}
