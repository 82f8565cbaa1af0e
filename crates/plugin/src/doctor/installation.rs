//! Whether our kinds are there, and whether controller and webhook work.

use std::collections::BTreeSet;

use backproof_api::rbac::WEBHOOK;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{admissionregistration::v1::ValidatingWebhookConfiguration, apps::v1::Deployment, coordination::v1::Lease, core::v1::Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
};
use serde_json::Value;

use super::{Findings, Level};
use crate::{
    cluster::Cluster,
    error::{Error, tried},
    kinds::{self, Kind, VERSION},
    output,
};

/// Deployment of the controller, and the Lease by which one of several acts.
const CONTROLLER: &str = "backproof-controller";
/// A controller renews its Lease every few seconds; one that has not for this long does not act.
const RENEWED: SignedDuration = SignedDuration::from_secs(60);

pub(super) async fn look(cluster: &Cluster, findings: &mut Findings, namespace: &str) -> Result<(), Error> {
    // Read as it is: the typed schemas of all kinds are large.
    let definitions = ApiResource::erase::<CustomResourceDefinition>(&());
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &definitions);
    for wanted in kinds::all() {
        let name = wanted.definition();
        let read = api.get_opt(&name).await.map_err(tried(format!("cannot get CustomResourceDefinition {name}")));
        if let Some(found) = findings.read(read)? {
            kind(findings, &wanted, found.map(|found| found.data));
        }
    }
    controller(cluster, findings, namespace).await?;
    webhook(cluster, findings, namespace).await
}

/// Whether a kind is served, with all fields that are Backproof's.
fn kind(findings: &mut Findings, wanted: &Kind, found: Option<Value>) {
    let described = format!("CustomResourceDefinition {}", wanted.definition());
    findings
        .check(found.is_some(), Level::Problem, || format!("{described} does not exist: install the chart's CRDs (value crds.enabled)"));
    let Some(found) = found else { return };
    let versions = found["spec"]["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let served = versions.iter().find(|version| version["name"] == VERSION && version["served"] == true);
    findings.check(served.is_some(), Level::Problem, || {
        format!("{described} does not serve version {VERSION}: install the CRDs of this version")
    });
    let Some(served) = served else { return };
    let established = found["status"]["conditions"]
        .as_array()
        .is_some_and(|conditions| conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True"));
    findings.check(established, Level::Problem, || format!("{described} is not established: `kubectl describe` it"));
    let missing: Vec<&str> = wanted.ours().filter(|path| !kinds::has(&served["schema"]["openAPIV3Schema"], path)).collect();
    findings.check(missing.is_empty(), Level::Warning, || {
        let first = missing.iter().take(3).copied().collect::<Vec<_>>().join(", ");
        format!(
            "{described} is of another version: it lacks {} fields of this one, such as {first}; install the CRDs of this version",
            missing.len()
        )
    });
}

async fn controller(cluster: &Cluster, findings: &mut Findings, namespace: &str) -> Result<(), Error> {
    let Some(found) = findings.read(cluster.get::<Deployment>(namespace, CONTROLLER).await)? else { return Ok(()) };
    findings.check(found.is_some(), Level::Problem, || {
        format!(
            "Deployment {namespace}/{CONTROLLER} does not exist, so nothing is verified: install the chart, or say where it is installed by \
             --installed-in; beside KubeStash's own operator it is left out, unless the chart's value coexistence says takeOver"
        )
    });
    let Some(deployment) = found else { return Ok(()) };
    ready(findings, &deployment, namespace, CONTROLLER, "nothing is verified");
    let Some(lease) = findings.read(cluster.get::<Lease>(namespace, CONTROLLER).await)? else { return Ok(()) };
    let now = Timestamp::now();
    let renewed = lease.and_then(|lease| lease.spec).and_then(|spec| spec.renew_time).map(|time| time.0);
    findings.check(renewed.is_some_and(|at| now.duration_since(at) < RENEWED), Level::Problem, || {
        let since = renewed.map_or_else(|| "none has ever had it".to_owned(), |at| format!("it was renewed {} ago", output::age(at, now)));
        format!("Lease {namespace}/{CONTROLLER}: no controller acts, {since}; look at the log of Deployment {namespace}/{CONTROLLER}")
    });
    Ok(())
}

fn ready(findings: &mut Findings, deployment: &Deployment, namespace: &str, name: &str, otherwise: &str) {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    let described = format!("Deployment {namespace}/{name}: {ready} of {wanted} replicas are ready");
    findings.check(ready > 0, Level::Problem, || format!("{described}, so {otherwise}; `kubectl describe` it and its pods"));
    findings.check(ready == 0 || ready >= wanted, Level::Warning, || format!("{described}; `kubectl describe` it and its pods"));
}

async fn webhook(cluster: &Cluster, findings: &mut Findings, namespace: &str) -> Result<(), Error> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let read = api.get_opt(WEBHOOK).await.map_err(tried(format!("cannot get ValidatingWebhookConfiguration {WEBHOOK}")));
    let Some(registered) = findings.read(read)? else { return Ok(()) };
    findings.check(registered.is_some(), Level::Warning, || {
        format!("ValidatingWebhookConfiguration {WEBHOOK} does not exist: what cannot work is told when it runs, not when it is written")
    });
    let Some(registered) = registered else { return Ok(()) };
    let webhooks = registered.webhooks.unwrap_or_default();
    let without: Vec<&str> = webhooks
        .iter()
        .filter(|one| !one.client_config.ca_bundle.as_ref().is_some_and(|bundle| bundle.0.starts_with(b"-----BEGIN CERTIFICATE-----")))
        .map(|one| one.name.as_str())
        .collect();
    findings.check(without.is_empty(), Level::Problem, || {
        let named = without.first().copied().unwrap_or_default();
        format!(
            "ValidatingWebhookConfiguration {WEBHOOK}: {} of {} webhooks have no CA bundle, such as {named}: sessions and verifiers cannot be \
             written; the webhook sets it when it is ready, or cert-manager does",
            without.len(),
            webhooks.len()
        )
    });
    let services: BTreeSet<(String, String)> = webhooks
        .iter()
        .filter_map(|one| one.client_config.service.as_ref())
        .map(|service| (service.namespace.clone(), service.name.clone()))
        .collect();
    for (at, name) in services {
        let Some(found) = findings.read(cluster.get::<Service>(&at, &name).await)? else { continue };
        findings.check(found.is_some(), Level::Problem, || {
            format!(
                "Service {at}/{name} of the webhook does not exist: sessions and verifiers cannot be written; upgrade the chart's release"
            )
        });
    }
    let Some(found) = findings.read(cluster.get::<Deployment>(namespace, WEBHOOK).await)? else { return Ok(()) };
    findings.check(found.is_some(), Level::Problem, || {
        format!(
            "Deployment {namespace}/{WEBHOOK} does not exist, but ValidatingWebhookConfiguration {WEBHOOK} does: sessions and verifiers cannot be \
             written; upgrade the chart's release, or say where it is installed by --installed-in"
        )
    });
    if let Some(deployment) = found {
        ready(findings, &deployment, namespace, WEBHOOK, "sessions and verifiers cannot be written");
    }
    Ok(())
}
