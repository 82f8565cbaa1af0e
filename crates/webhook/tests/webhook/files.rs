//! A certificate that somebody else keeps: here the test is cert-manager, which writes files and sets the caBundle.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use backproof_testing::{ApiServer, chart_with, free_port, wait};
use backproof_webhook::certificate::Material;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::{
    calls::{must, request},
    cases::world,
    service::{Replica, kinds_that_take_anything, namespace, registration},
    tls::Connection,
};

const SOON: Duration = Duration::from_secs(30);
const NAME: &str = "backproof-webhook.backproof-system.svc";
const REGISTERED: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/backproof-webhook";

fn material(before: Option<&Material>) -> Result<Material> {
    Ok(Material::new(&[NAME.to_owned(), "127.0.0.1".to_owned()], Timestamp::now(), before)?)
}

fn write(directory: &Path, material: &Material) -> Result<()> {
    std::fs::write(directory.join("tls.crt"), &material.certificate)?;
    std::fs::write(directory.join("tls.key"), &material.key)?;
    Ok(())
}

/// Sets the caBundle of every webhook.
async fn inject(server: &ApiServer, bundle: Option<&str>) -> Result<()> {
    let mut registered = must(&server.client, "GET", REGISTERED, None).await?;
    for webhook in registered["webhooks"].as_array_mut().context("no webhooks")? {
        webhook["clientConfig"]["caBundle"] = bundle.map_or(Value::Null, |bundle| json!(ByteString(bundle.as_bytes().to_vec())));
    }
    must(&server.client, "PUT", REGISTERED, Some(&registered)).await?;
    Ok(())
}

async fn says(replica: &Replica, expected: &str) -> Result<()> {
    wait(SOON, async || {
        let answer = replica.readiness()?;
        ensure!(answer.starts_with(expected), "{answer}");
        Ok(true)
    })
    .await
    .with_context(|| replica.process.output())
}

async fn reviewed(server: &ApiServer) -> Result<bool> {
    let path = "/apis/core.kubestash.com/v1alpha1/namespaces/demo/backupverifier?dryRun=All";
    let answer = request(&server.client, "POST", path, Some(&world()["verifier"])).await?;
    ensure!(answer.code == 201, "{}", answer.body["message"]);
    Ok(true)
}

async fn served(port: u16, trusted: &Material) -> Result<Vec<u8>> {
    let bundle = trusted.bundle.clone();
    tokio::task::spawn_blocking(move || Ok(Connection::open(port, &bundle)?.certificate())).await?
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_as_soon_as_they_change_and_nothing_is_written() -> Result<()> {
    let server = ApiServer::start().await?;
    server.apply(&kinds_that_take_anything()?).await?;
    server.apply(&["backproof-system", "demo"].map(namespace)).await?;
    server.apply(&chart_with(&["rbac.yaml"], &["webhook.certManager.enabled=true"])?).await?;
    let port = free_port()?;
    server.apply(&registration(port)?).await?;
    let directory = server.directory().join("tls");
    std::fs::create_dir(&directory)?;
    let replica = Replica::start(&server, port, &[format!("--certificate-dir={}", directory.display())])?;
    says(&replica, "not ready: the webhook configuration does not carry the CA yet; there is no certificate yet").await?;

    let first = material(None)?;
    write(&directory, &first)?;
    says(&replica, "not ready: the webhook configuration does not carry the CA yet").await?;
    inject(&server, Some(&first.bundle)).await?;
    says(&replica, "ok").await?;
    wait(SOON, async || reviewed(&server).await).await?;

    // A CA that the API server does not trust yet is not ready, whatever the files say.
    let second = material(Some(&first))?;
    write(&directory, &second)?;
    says(&replica, "not ready: a handshake with itself fails (invalid peer certificate: ").await?;
    inject(&server, Some(&second.bundle)).await?;
    says(&replica, "ok").await?;
    let own = served(port, &second).await?;
    wait(SOON, async || reviewed(&server).await).await?;

    // Half a pair changes nothing.
    std::fs::write(directory.join("tls.crt"), &first.certificate)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    ensure!(served(port, &second).await? == own, "half a pair is served");
    ensure!(replica.readiness()? == "ok\n", "{}", replica.readiness()?);
    std::fs::write(directory.join("tls.key"), &first.key)?;
    wait(SOON, async || Ok(served(port, &second).await? != own)).await?;

    inject(&server, None).await?;
    says(&replica, "not ready: the webhook configuration does not carry the CA yet").await?;
    let secrets = must(&server.client, "GET", "/api/v1/namespaces/backproof-system/secrets", None).await?;
    ensure!(secrets["items"] == json!([]), "{secrets}");
    let registered = must(&server.client, "GET", REGISTERED, None).await?;
    ensure!(registered["webhooks"][0]["clientConfig"]["caBundle"].is_null(), "the caBundle was set");
    Ok(())
}
