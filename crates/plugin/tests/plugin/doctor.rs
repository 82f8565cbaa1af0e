//! `doctor`: silent about a sound cluster, and every planted fault is found.

use std::time::Duration;

use anyhow::{Context as _, Result};
use backproof_api::crd;
use backproof_testing::{ApiServer, chart, wait};
use serde_json::{Value, json};

use crate::world::{self, ask, request};

const CORE: &str = "/apis/core.kubestash.com/v1alpha1/namespaces/demo";
const STORAGE: &str = "/apis/storage.kubestash.com/v1alpha1/namespaces/demo";
const INSTALLED: &str = "/apis/apps/v1/namespaces/backproof-system/deployments";
const WEBHOOK: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/backproof-webhook";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/backproof-system/leases/backproof-controller";

/// A cluster in which everything is as it must be.
pub(crate) async fn sound() -> Result<ApiServer> {
    let server = world::cluster().await?;
    world::populate(&server, "demo").await?;
    server.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "backproof-system"}})]).await?;
    let mut installed = chart(&["controller.yaml", "webhook.yaml"])?;
    installed.retain(|object| matches!(object["kind"].as_str(), Some("Deployment" | "Service" | "ValidatingWebhookConfiguration")));
    for webhook in installed.iter_mut().filter_map(|object| object.get_mut("webhooks")?.as_array_mut()).flatten() {
        webhook["clientConfig"]["caBundle"] = json!(bundle(&server)?);
        // Nobody answers here, and nobody is to wait for it.
        webhook["objectSelector"] = json!({"matchLabels": {"asked": "never"}});
    }
    server.apply(&installed).await?;
    for name in ["backproof-controller", "backproof-webhook"] {
        world::status(&server, &format!("{INSTALLED}/{name}"), &json!({"status": {"replicas": 2, "readyReplicas": 2}})).await?;
    }
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "backproof-controller", "namespace": "backproof-system"},
        "spec": {"holderIdentity": "x", "leaseDurationSeconds": 15, "renewTime": "2126-01-01T00:00:00.000000Z"}});
    server.apply(&[lease]).await?;
    Ok(server)
}

/// The test's own CA, as base64.
fn bundle(server: &ApiServer) -> Result<String> {
    let certificate = std::fs::read(server.directory().join("ca.crt"))?;
    let value = serde_json::to_value(k8s_openapi::ByteString(certificate))?;
    Ok(value.as_str().context("no text")?.to_owned())
}

/// One fault: what is done, what is said of it, how bad it is, and whether what was there is put back by creating it anew.
struct Fault {
    path: String,
    patch: Option<Value>,
    said: &'static str,
    word: &'static str,
}

fn gone(path: impl Into<String>, said: &'static str, word: &'static str) -> Fault {
    Fault { path: path.into(), patch: None, said, word }
}

fn changed(path: impl Into<String>, patch: Value, said: &'static str, word: &'static str) -> Fault {
    Fault { path: path.into(), patch: Some(patch), said, word }
}

#[rustfmt::skip]
fn faults() -> Vec<Fault> {
    let entry = |verifier: Option<&str>, repository: &str| {
        let mut entry = json!({"name": repository, "backend": "store", "directory": "/x"});
        verifier.into_iter().for_each(|name| entry["backupVerifier"] = json!({"name": name}));
        json!({"spec": {"sessions": [{"name": "nightly", "repositories": [entry]}]}})
    };
    let twice = json!({"spec": {"sessions": [{"name": "nightly", "repositories": [
        {"name": "repo", "backend": "store", "directory": "/x", "backupVerifier": {"name": "verifier"}},
        {"name": "repo", "backend": "store", "directory": "/x", "backupVerifier": {"name": "verifier"}}]}]}});
    vec![
        gone(format!("{INSTALLED}/backproof-controller"), "Deployment backproof-system/backproof-controller does not exist, so nothing is verified", "problem"),
        changed(format!("{INSTALLED}/backproof-controller/status"), json!({"status": {"readyReplicas": 0}}), "backproof-controller: 0 of 1 replicas are ready, so nothing is verified", "problem"),
        changed(LEASE, json!({"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}), "Lease backproof-system/backproof-controller: no controller acts", "problem"),
        gone(WEBHOOK, "ValidatingWebhookConfiguration backproof-webhook does not exist", "warning"),
        gone(format!("{INSTALLED}/backproof-webhook"), "Deployment backproof-system/backproof-webhook does not exist, but ValidatingWebhookConfiguration", "problem"),
        changed(format!("{INSTALLED}/backproof-webhook/status"), json!({"status": {"readyReplicas": 0}}), "replicas are ready, so sessions and verifiers cannot be written", "problem"),
        gone("/api/v1/namespaces/backproof-system/services/backproof-webhook", "Service backproof-system/backproof-webhook of the webhook does not exist", "problem"),
        changed(format!("{CORE}/backupconfigurations/backup"), entry(None, "repo"), "BackupVerifier demo/verifier: nobody here names it", "warning"),
        changed(format!("{CORE}/backupconfigurations/backup"), entry(None, "repo"), "Repository demo/repo: no verifier is named for it", "warning"),
        changed(format!("{CORE}/backupconfigurations/backup"), entry(Some("none"), "repo"), "BackupVerifier demo/none does not exist, but spec.sessions[0].repositories[0] of BackupConfiguration demo/backup names it", "problem"),
        changed(format!("{CORE}/backupconfigurations/backup"), entry(Some("verifier"), "none"), "Repository demo/none does not exist, but spec.sessions[0]", "problem"),
        changed(format!("{CORE}/backupconfigurations/backup"), twice, "session nightly names Repository repo more than once", "problem"),
        changed(format!("{CORE}/backupconfigurations/backup"), json!({"spec": {"paused": true}}), "BackupConfiguration demo/backup is paused", "warning"),
        gone("/apis/addons.kubestash.com/v1alpha1/addons/backproof-pvc-addon", "Addon \"pvc-addon\" does not exist, but BackupVerifier demo/verifier names it", "problem"),
        gone("/apis/addons.kubestash.com/v1alpha1/functions/backproof-pvc-restore", "Function \"backproof-pvc-restore\" does not exist", "problem"),
        gone("/api/v1/namespaces/demo/secrets/password", "Secret demo/password does not exist, but Repository demo/repo names it", "problem"),
        gone(format!("{STORAGE}/backupstorages/storage"), "BackupStorage demo/storage does not exist, but Repository demo/repo names it", "problem"),
        gone(format!("{STORAGE}/snapshots/snap"), "Repository demo/repo has no Succeeded Snapshot", "warning"),
        changed(format!("{STORAGE}/repositories/repo"), json!({"metadata": {"annotations": {"backproof.dev/hold": "{\"tries\":1,\"next\":\"2126-01-01T00:00:00Z\"}"}}}), "Repository demo/repo is held off until 2126-01-01T00:00:00Z", "warning"),
        changed(format!("{STORAGE}/repositories/repo"), json!({"spec": {"encryptionSecret": null}}), "Repository demo/repo names no Secret with its password", "problem"),
        changed(format!("{STORAGE}/backupstorages/storage"), json!({"spec": {"storage": {"provider": "s3", "local": null, "s3": {"bucket": "b", "secretName": "keys"}}}}), "Secret demo/keys does not exist, but BackupStorage demo/storage names it", "problem"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_fault_is_found_and_a_sound_cluster_has_none() -> Result<()> {
    let server = sound().await?;
    is_sound(&server, "at first").await?;
    let kinds: Vec<Value> = crd::all().iter().map(|definition| definition.object.clone()).collect();
    for fault in faults() {
        let main = fault.path.strip_suffix("/status").unwrap_or(&fault.path).to_owned();
        let before = request(&server, "GET", &main, None).await.context("nothing is there to be broken")?;
        match &fault.patch {
            Some(patch) => request(&server, "PATCH", &fault.path, Some(patch)).await?,
            None => request(&server, "DELETE", &fault.path, None).await?,
        };
        found(&server, &fault).await?;
        put_back(&server, &main, before).await?;
    }
    claims(&server).await?;
    is_sound(&server, "when all is put back").await?;

    // A kind of another version, and one that is gone.
    let verifier = crd::all().iter().find(|definition| definition.kind == "BackupVerifier").context("no such kind")?;
    server.apply(&[verifier.without_ours()]).await?;
    let said = ask(&server, "demo", &["doctor"]).await?;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.contains("warning  CustomResourceDefinition backupverifier.core.kubestash.com is of another version: it lacks "),
        "{said:?}"
    );
    server.apply(&kinds).await?;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/backupbatches.core.kubestash.com";
    request(&server, "DELETE", path, None).await?;
    wait(Duration::from_secs(30), async || Ok(request(&server, "GET", path, None).await.is_err())).await?;
    let said = ask(&server, "demo", &["doctor"]).await?;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.contains("problem  CustomResourceDefinition backupbatches.core.kubestash.com does not exist"), "{said:?}");

    // Who may not look is told what was not looked at.
    let said = world::ask_as(&server.kubeconfig_of("nobody")?, "demo", &["doctor"]).await?;
    assert!(said.out.contains("unseen   cannot get CustomResourceDefinition snapshots.storage.kubestash.com"), "{said:?}");
    assert!(
        said.out.contains("you may not create backupverificationsession.core.kubestash.com in namespace demo: verify does not work"),
        "{said:?}"
    );
    assert_eq!(said.code, 0, "{said:?}");
    let said = world::ask_as(&server.kubeconfig_of("nobody")?, "demo", &["doctor", "--strict"]).await?;
    assert_eq!(said.code, 1, "{said:?}");
    Ok(())
}

async fn is_sound(server: &ApiServer, when: &str) -> Result<()> {
    for words in [&["doctor", "--strict"][..], &["doctor", "--strict", "-A"]] {
        let said = ask(server, "demo", words).await?;
        assert_eq!(said.code, 0, "{when}: {said:?}");
        assert!(said.out.starts_with("problems: 0, warnings: 0, unseen: 0; "), "{when}: {said:?}");
    }
    Ok(())
}

async fn found(server: &ApiServer, fault: &Fault) -> Result<()> {
    let said = ask(server, "demo", &["doctor"]).await?;
    let is_told = said.out.lines().any(|line| line.starts_with(fault.word) && line.contains(fault.said));
    assert!(is_told, "{}: {}\n{said:?}", fault.path, fault.said);
    let problems = said.out.lines().any(|line| line.starts_with("problem "));
    assert_eq!(said.code, i32::from(problems), "{said:?}");
    assert_eq!(problems, fault.word == "problem", "{}: {said:?}", fault.path);
    Ok(())
}

/// What was there, as it was.
async fn put_back(server: &ApiServer, path: &str, before: Value) -> Result<()> {
    let mut object = before;
    let meta = object["metadata"].as_object_mut().context("no metadata")?;
    for key in ["uid", "resourceVersion", "managedFields", "creationTimestamp", "generation"] {
        meta.remove(key);
    }
    if let Ok(found) = request(server, "GET", path, None).await {
        object["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
        request(server, "PUT", path, Some(&object)).await?;
    } else {
        let (collection, _) = path.rsplit_once('/').context("no collection")?;
        request(server, "POST", collection, Some(&object)).await?;
    }
    if object["status"].is_object() {
        world::status(server, path, &json!({"status": object["status"]})).await?;
    }
    Ok(())
}

/// Targets and volumes: a claim cannot simply be put back, as what protects it stays.
async fn claims(server: &ApiServer) -> Result<()> {
    let point =
        |name: &str| json!({"spec": {"restoreOption": {"target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": name}}}});
    let verifier = format!("{CORE}/backupverifier/verifier");
    let fault = changed(
        &verifier,
        point("none"),
        "PersistentVolumeClaim demo/none, the target of BackupVerifier demo/verifier, does not exist",
        "problem",
    );
    request(server, "PATCH", &verifier, fault.patch.as_ref()).await?;
    found(server, &fault).await?;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "classy", "namespace": "demo"},
        "spec": {"storageClassName": "none", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    server.apply(&[claim]).await?;
    let fault = changed(&verifier, point("classy"), "StorageClass none does not exist, but PersistentVolumeClaim demo/classy", "problem");
    request(server, "PATCH", &verifier, fault.patch.as_ref()).await?;
    found(server, &fault).await?;
    request(server, "PATCH", &verifier, Some(&point("scratch"))).await?;
    let without = json!({"webhooks": []});
    let before = request(server, "GET", WEBHOOK, None).await?;
    let mut bare = before.clone();
    for webhook in bare["webhooks"].as_array_mut().context("no webhooks")? {
        webhook["clientConfig"].as_object_mut().context("no configuration")?.remove("caBundle");
    }
    request(server, "PUT", WEBHOOK, Some(&bare)).await?;
    found(server, &changed(WEBHOOK, without, "webhooks have no CA bundle, such as ", "problem")).await?;
    put_back(server, WEBHOOK, before).await
}
