//! What is taken from the webhook, and how long until all is well again: Secret, caBundle, time, a replica.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use backproof_testing::{ApiServer, client, free_port, wait};
use backproof_webhook::certificate::Material;
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Secret},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::json;
use x509_parser::prelude::ASN1Time;

use crate::{
    admission::{create, session, start},
    calls::request,
    cases::world,
    service::{ACCOUNT, Replica},
    turnover::{Balancer, cluster, replica},
};

/// Against hanging only: five times as long as healing may take.
const HEALED: Duration = Duration::from_secs(50);

async fn bundle(server: &ApiServer) -> Result<Vec<u8>> {
    let api = Api::<ValidatingWebhookConfiguration>::all(server.client.clone());
    let webhooks = api.get("backproof-webhook").await?.webhooks.unwrap_or_default();
    let mut bundles: Vec<_> = webhooks.into_iter().map(|webhook| webhook.client_config.ca_bundle.unwrap_or_default().0).collect();
    bundles.dedup();
    ensure!(bundles.len() == 1, "the webhooks of one registration trust different CAs");
    Ok(bundles.remove(0))
}

pub(crate) fn secrets(server: &ApiServer) -> Api<Secret> {
    Api::namespaced(server.client.clone(), "backproof-system")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_and_registration_heal_and_two_replicas_agree() -> Result<()> {
    let (server, first) = start().await?;
    let second = Replica::start(&server, free_port()?, &[])?;
    second.ready().await?;

    let configurations = Api::<ValidatingWebhookConfiguration>::all(server.client.clone());
    let trusted = bundle(&server).await?;
    let wiped: Vec<_> = (0..16).map(|at| json!({"op": "remove", "path": format!("/webhooks/{at}/clientConfig/caBundle")})).collect();
    let wiped = json!(wiped);
    let wiped: kube::core::params::Patch<()> = Patch::Json(serde_json::from_value(wiped)?);
    configurations.patch("backproof-webhook", &PatchParams::default(), &wiped).await?;
    wait(Duration::from_secs(10), async || Ok(bundle(&server).await? == trusted)).await.context("the caBundle was not set again")?;

    let before = secrets(&server).get("backproof-webhook-tls").await?;
    secrets(&server).delete("backproof-webhook-tls", &Default::default()).await?;
    let remade = async || Ok(secrets(&server).get_opt("backproof-webhook-tls").await?.is_some_and(|secret| secret.data != before.data));
    wait(Duration::from_secs(10), remade).await.context("the Secret was not made again")?;
    for replica in [&first, &second] {
        replica.ready().await?;
    }
    let after = secrets(&server).get("backproof-webhook-tls").await?;
    let trusted = after.data.clone().unwrap_or_default()["ca.crt"].0.clone();
    wait(Duration::from_secs(10), async || Ok(bundle(&server).await? == trusted)).await.context("the caBundle is not the Secret's")?;
    let (created, text) = create(&server, &session("right", &|_| ()))?;
    assert!(created, "{text}");
    // Nobody goes on writing once all is well.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(secrets(&server).get("backproof-webhook-tls").await?.metadata.resource_version, after.metadata.resource_version);
    only_its_own_secret(&server, server.kubeconfig_of(ACCOUNT)?).await
}

/// The rights are for one Secret by name; the program that just made it could not make or read any other.
async fn only_its_own_secret(server: &ApiServer, kubeconfig: PathBuf) -> Result<()> {
    secrets(server).create(&PostParams::default(), &serde_json::from_value(json!({"metadata": {"name": "other"}}))?).await?;
    let own = Api::<Secret>::namespaced(client(&kubeconfig).await?, "backproof-system");
    let forbidden = |error: kube::Error| matches!(error, kube::Error::Api(status) if status.code == 403);
    assert!(own.get("other").await.is_err_and(forbidden));
    assert!(own.list(&Default::default()).await.is_err_and(forbidden));
    let third = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "third"}});
    assert!(own.create(&PostParams::default(), &serde_json::from_value(third.clone())?).await.is_err_and(forbidden));
    assert!(own.patch("third", &PatchParams::apply("x"), &Patch::Apply(third)).await.is_err_and(forbidden));
    Ok(())
}

/// A certificate like the one in the Secret, but for this long.
fn short_lived(material: &Material, life: Duration) -> Result<(String, String)> {
    let issuer = Issuer::from_ca_cert_pem(&material.signer(), KeyPair::from_pem(&material.ca_key)?)?;
    let names = ["backproof-webhook.backproof-system.svc", "backproof-webhook.backproof-system.svc.cluster.local"];
    let names = [&names[..], &["backproof-webhook.backproof-system", "backproof-webhook", "127.0.0.1"]].concat();
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
    let at = |seconds: i64| anyhow::Ok(ASN1Time::from_timestamp(Timestamp::now().as_second() + seconds)?.to_datetime());
    // An hour in the past, as the webhook's own.
    (params.not_before, params.not_after) = (at(-3600)?, at(life.as_secs().try_into()?)?);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}

fn signal(replica: &Replica, name: &str) -> Result<()> {
    ensure!(Command::new("kill").args([name, &replica.process.id().to_string()]).status()?.success(), "kill {name}");
    Ok(())
}

/// Whether a review is answered.
async fn answered(server: &ApiServer) -> Result<bool> {
    let mut verifier = world()["verifier"].clone();
    verifier["metadata"]["name"] = json!("probe");
    let path = "/apis/core.kubestash.com/v1alpha1/namespaces/demo/backupverifier?dryRun=All&timeout=5s";
    let answer = request(&server.client, "POST", path, Some(&verifier)).await?;
    ensure!(answer.code == 201, "{}", answer.body["message"]);
    Ok(true)
}

/// As on a machine that was suspended: nobody looked at the clock when the certificate was due.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expired_while_the_process_slept_is_replaced_when_it_wakes() -> Result<()> {
    const LIFE: Duration = Duration::from_secs(12);
    let (server, sleeper) = start().await?;
    let stored = secrets(&server).get("backproof-webhook-tls").await?.data.unwrap_or_default();
    let (certificate, key) = short_lived(&Material::from_secret(&stored), LIFE)?;
    let data = json!({"data": {"tls.crt": ByteString(certificate.clone().into_bytes()), "tls.key": ByteString(key.into_bytes())}});
    secrets(&server).patch("backproof-webhook-tls", &PatchParams::default(), &Patch::Merge(data)).await?;
    let expires = Instant::now() + LIFE;
    let taken = async || Ok(sleeper.process.output().matches("serving a certificate").count() == 2 && sleeper.readiness()? == "ok\n");
    wait(LIFE / 2, taken).await.with_context(|| sleeper.process.output())?;
    signal(&sleeper, "-STOP")?;
    let held = || async { anyhow::Ok(secrets(&server).get("backproof-webhook-tls").await?.data.unwrap_or_default()["tls.crt"].0.clone()) };
    assert_eq!(String::from_utf8(held().await?)?, certificate, "it was renewed before it slept");
    tokio::time::sleep(expires.saturating_duration_since(Instant::now()) + Duration::from_secs(1)).await;
    assert_eq!(String::from_utf8(held().await?)?, certificate, "somebody else renewed it");
    signal(&sleeper, "-CONT")?;
    let awake = Instant::now();
    wait(HEALED, async || answered(&server).await).await.with_context(|| sleeper.process.output())?;
    println!("answered {:.1} s after it woke", awake.elapsed().as_secs_f64());
    // A connection from before may have carried the answer; who connects anew is shown another certificate soon after.
    let renewed = async || Ok(String::from_utf8(held().await?)? != certificate);
    wait(HEALED, renewed).await.with_context(|| sleeper.process.output())?;
    sleeper.ready().await
}

/// The one that is left answers for both as soon as nobody sends to the other any more.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_replicas_is_killed() -> Result<()> {
    let balancer = Balancer::start().await?;
    let server = cluster(balancer.port).await?;
    let (killed, left) = (replica(&server).await?, replica(&server).await?);
    balancer.send_to(&[&killed, &left]);
    wait(HEALED, async || answered(&server).await).await?;
    signal(&killed, "-KILL")?;
    let died = Instant::now();
    // The kubelet asks every two seconds, and takes a replica out after three times without an answer.
    let mut unanswered = 0;
    while unanswered < 3 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        unanswered = if killed.readiness().is_ok_and(|answer| answer == "ok\n") { 0 } else { unanswered + 1 };
    }
    balancer.send_to(&[&left]);
    wait(HEALED, async || answered(&server).await).await?;
    println!("answered {:.1} s after the kill", died.elapsed().as_secs_f64());
    for _ in 0..200 {
        answered(&server).await?;
    }
    Ok(())
}
