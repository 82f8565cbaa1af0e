//! The webhook at zero replicas: nothing unjudged gets in of what is ours, and nobody else waits for us.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use backproof_testing::{ApiServer, tool, wait};
use serde_json::{Value, json};

use crate::{
    admission::{create, kubectl, probe, session},
    calls::{must, request, request_as},
    cases::world,
    healing::secrets,
    service::{Replica, namespace},
};

/// With the webhook gone nothing new is let in, and nothing that exists is held up.
pub(crate) async fn outage(server: &ApiServer, replica: Replica) -> Result<()> {
    let reviews = replica.reviews;
    drop(replica);
    let (created, text) = create(server, &session("during-outage", &|_| ()))?;
    assert!(!created && text.contains("failed calling webhook"), "{text}");
    // Refused, but not for what it had to be refused for.
    let (works, text) = probe(server).await?;
    assert!(!works && text.matches("WRONG").count() == 2, "{text}");
    let patch = ["patch", "backupverificationsession", "right", "-n", "demo", "--type=merge", "-p"];
    let metadata = r#"{"metadata":{"finalizers":["kubestash.com/cleanup"],"labels":{"a":"b"}}}"#;
    let (changed, text) = kubectl(server, &[&patch[..], &[metadata]].concat(), "")?;
    assert!(changed, "{text}");
    let (changed, text) = kubectl(server, &[&patch[..], &[r#"{"status":{"phase":"Running"}}"#, "--subresource=status"]].concat(), "")?;
    assert!(changed, "{text}");
    let (deleted, text) = kubectl(server, &["delete", "backupverificationsession", "right", "-n", "demo", "--wait=false"], "")?;
    assert!(deleted, "{text}");
    let (changed, text) = kubectl(server, &[&patch[..], &[r#"{"metadata":{"finalizers":null}}"#]].concat(), "")?;
    assert!(changed, "{text}");
    // Nobody's backups stop: what they make and clean up needs nothing of ours.
    for key in ["repository", "snapshot", "configuration", "storage", "restore", "addon", "function"] {
        let mut object = world()[key].clone();
        object["metadata"]["name"] = json!(format!("outage-{key}"));
        let (created, text) = create(server, &object)?;
        assert!(created, "{text}");
    }
    let finalized = r#"{"metadata":{"finalizers":["kubestash.com/cleanup"]}}"#;
    for kind in ["repositories.storage.kubestash.com/outage-repository", "snapshots.storage.kubestash.com/outage-snapshot"] {
        for arguments in [
            &["patch", kind, "-n", "demo", "--type=merge", "-p", finalized][..],
            &["delete", kind, "-n", "demo", "--wait=false"],
            &["patch", kind, "-n", "demo", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#],
        ] {
            let (worked, text) = kubectl(server, arguments, "")?;
            assert!(worked, "{text}");
        }
    }
    let (deleted, text) = kubectl(server, &["delete", "backupverifier", "mysql-verifier", "-n", "demo"], "")?;
    assert!(deleted, "{text}");
    server.apply(&[world()["verifier"].clone()]).await.expect_err("a verifier must not come in unjudged");
    namespace_ends(server, "foreign").await?;
    // Back again, with the certificate that is in the Secret.
    let secret = secrets(server).get("backproof-webhook-tls").await?;
    let replica = Replica::start(server, reviews, &[])?;
    replica.ready().await?;
    assert_eq!(secrets(server).get("backproof-webhook-tls").await?.data, secret.data);
    server.apply(&[world()["verifier"].clone()]).await?;
    let (created, text) = create(server, &session("after-outage", &|_| ()))?;
    assert!(created, "{text}");
    Ok(())
}

/// What the namespace controller does, as there is none here: everything in the namespace is deleted, then the namespace.
async fn namespace_ends(server: &ApiServer, name: &str) -> Result<()> {
    const CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";
    let snapshots = format!("/apis/storage.kubestash.com/v1alpha1/namespaces/{name}/snapshots");
    ensure!(
        must(&server.client, "GET", &snapshots, None).await?["items"].as_array().is_some_and(|items| !items.is_empty()),
        "nothing there"
    );
    let (deleted, text) = kubectl(server, &["delete", "namespace", name, "--wait=false"], "")?;
    assert!(deleted, "{text}");
    for (group, plural) in [
        ("core", "backupverificationsession"),
        ("core", "backupverifier"),
        ("core", "backupconfigurations"),
        ("core", "backupbatches"),
        ("core", "restoresessions"),
        ("storage", "repositories"),
        ("storage", "snapshots"),
        ("storage", "backupstorages"),
    ] {
        let path = format!("/apis/{group}.kubestash.com/v1alpha1/namespaces/{name}/{plural}");
        let answer = request_as(&server.client, Some(CONTROLLER), "DELETE", &path, None).await?;
        ensure!(answer.code == 200, "{plural}: {}", answer.body["message"]);
    }
    let path = format!("/api/v1/namespaces/{name}");
    let mut ending = must(&server.client, "GET", &path, None).await?;
    ending["spec"]["finalizers"] = json!([]);
    must(&server.client, "PUT", &format!("{path}/finalize"), Some(&ending)).await?;
    wait(Duration::from_secs(30), async || Ok(request(&server.client, "GET", &path, None).await?.code == 404)).await
}

fn helm(server: &ApiServer, arguments: &[&str]) -> Result<String> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/backproof");
    let arguments = arguments.iter().map(|argument| if *argument == "CHART" { chart } else { *argument });
    let output = Command::new(tool("helm")?)
        .arg("--kubeconfig")
        .arg(server.kubeconfig())
        .args(["--namespace", "backproof-system"])
        .args(arguments)
        .env("HOME", server.directory())
        .output()?;
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    ensure!(output.status.success(), "{text}");
    Ok(text)
}

/// Installed, changed and taken away by Helm where no pod ever starts: the registration is there all the time, and asks nobody.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_installation_needs_no_webhook() -> Result<()> {
    let server = ApiServer::start().await?;
    let quickly = "webhook.timeoutSeconds=1";
    helm(&server, &["install", "backproof", "CHART", "--create-namespace", "--set", quickly])?;
    let registered = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/backproof-webhook";
    ensure!(
        must(&server.client, "GET", registered, None).await?["webhooks"].as_array().is_some_and(|all| all.len() > 10),
        "not registered"
    );
    let functions = async || -> Result<Vec<Value>> {
        let list = must(&server.client, "GET", "/apis/addons.kubestash.com/v1alpha1/functions", None).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    };
    let catalog = functions().await?;
    ensure!(!catalog.is_empty(), "no catalog");
    // The Functions name the image, so every one of them is changed, and the catalog comes back after it was away.
    helm(&server, &["upgrade", "backproof", "CHART", "--set", quickly, "--set", "image.tag=other"])?;
    helm(&server, &["upgrade", "backproof", "CHART", "--set", quickly, "--set", "catalog.enabled=false"])?;
    ensure!(functions().await?.is_empty(), "the catalog is still there");
    helm(&server, &["upgrade", "backproof", "CHART", "--set", quickly])?;
    ensure!(functions().await?.len() == catalog.len(), "the catalog did not come back");
    // Others go on, by the registration that leads nowhere; ours wait.
    server.apply(&[namespace("demo")]).await?;
    for (key, gets_in) in [("snapshot", true), ("repository", true), ("verifier", false)] {
        let object = &world()[key];
        let (created, text) = create(&server, object)?;
        ensure!(created == gets_in, "{key}: {text}");
    }
    // The way out that the documentation has.
    let (deleted, text) = kubectl(&server, &["delete", "validatingwebhookconfiguration", "backproof-webhook"], "")?;
    ensure!(deleted, "{text}");
    wait(Duration::from_secs(30), async || Ok(create(&server, &world()["verifier"])?.0)).await?;
    helm(&server, &["upgrade", "backproof", "CHART", "--set", quickly])?;
    must(&server.client, "GET", registered, None).await?;
    helm(&server, &["uninstall", "backproof"])?;
    ensure!(request(&server.client, "GET", registered, None).await?.code == 404, "the registration is left behind");
    // What was kept can be written again.
    let mut verifier = world()["verifier"].clone();
    verifier["metadata"]["name"] = json!("afterwards");
    wait(Duration::from_secs(30), async || Ok(create(&server, &verifier)?.0)).await
}
