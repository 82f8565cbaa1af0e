//! What the chart registers: our kinds and no others, so that nothing else in a cluster can ever wait for us.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use backproof_testing::chart_with;
use backproof_webhook::admit::Judged;
use serde_json::{Value, json};

use crate::service::chart_registration;

/// The kinds, as `group/resource`, that may ever be refused because nobody answered.
const CAN_BE_HELD_UP: [&str; 2] = ["core.kubestash.com/backupverificationsession", "core.kubestash.com/backupverifier"];

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn nothing_but_our_kinds_can_wait_for_us() -> Result<()> {
    let registered = chart_registration()?;
    let webhooks = registered["webhooks"].as_array().context("no webhooks")?;
    let (mut held_up, mut names) = (BTreeSet::new(), BTreeSet::new());
    let mut asked: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for webhook in webhooks {
        let name = webhook["name"].as_str().context("no name")?;
        ensure!(names.insert(name), "{name} is there twice");
        ensure!(webhook["rules"].as_array().is_some_and(|rules| rules.len() == 1), "{name}: rules");
        let rule = &webhook["rules"][0];
        let (groups, resources, operations) = (words(&rule["apiGroups"]), words(&rule["resources"]), words(&rule["operations"]));
        ensure!(groups.len() == 1 && resources.len() == 1 && words(&rule["apiVersions"]) == ["v1alpha1"], "{name}: {rule}");
        let resource = format!("{}/{}", groups[0], resources[0]);
        // No wildcard and no sub-resource: status and finalizers are nobody's to judge.
        ensure!(resource.matches('/').count() == 1 && !resource.contains('*'), "{name}: {resource}");
        ensure!(["core.kubestash.com", "storage.kubestash.com", "addons.kubestash.com"].contains(&groups[0]), "{name}: {resource}");
        ensure!(operations.iter().all(|one| ["CREATE", "UPDATE", "DELETE"].contains(one)), "{name}: {operations:?}");
        ensure!(webhook["sideEffects"] == "None" && words(&webhook["admissionReviewVersions"]) == ["v1"], "{name}");
        match webhook["failurePolicy"].as_str() {
            Some("Fail") => {
                ensure!(operations == ["CREATE", "UPDATE"], "{name}: a deletion never waits for us");
                held_up.insert(resource.clone());
            }
            Some("Ignore") => ensure!(webhook["timeoutSeconds"].as_u64().is_some_and(|longest| longest <= 3), "{name} waits long"),
            other => anyhow::bail!("{name}: {other:?}"),
        }
        let path = webhook["clientConfig"]["service"]["path"].as_str().context("no path")?.to_owned();
        asked.entry(path).or_default().extend(operations);
    }
    ensure!(held_up == BTreeSet::from(CAN_BE_HELD_UP.map(str::to_owned)), "{held_up:?}");
    let served: BTreeSet<String> = Judged::ALL.iter().map(|judged| judged.path()).collect();
    ensure!(asked.keys().cloned().collect::<BTreeSet<_>>() == served, "asked: {asked:?}\nserved: {served:?}");
    ensure!(asked.values().all(|operations| operations.contains("CREATE") && operations.contains("UPDATE")), "{asked:?}");
    Ok(())
}

/// Kind and name of everything the webhook consists of.
fn webhook_with(values: &[&str]) -> Result<BTreeMap<String, Value>> {
    let objects = chart_with(&["webhook.yaml", "rbac.yaml"], values)?;
    let key = |object: &Value| {
        format!("{} {}", object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"].as_str().unwrap_or_default())
    };
    Ok(objects.into_iter().map(|object| (key(&object), object)).collect())
}

const OWN_ISSUER: [&str; 3] = ["Issuer backproof-webhook-self-signed", "Certificate backproof-webhook-ca", "Issuer backproof-webhook"];

#[test]
fn by_itself_it_needs_no_cert_manager() -> Result<()> {
    let objects = webhook_with(&[])?;
    ensure!(!objects.values().any(|object| object["apiVersion"].as_str().is_some_and(|version| version.starts_with("cert-manager"))));
    ensure!(objects.contains_key("Role backproof-webhook"), "no right to its Secret");
    let pod = &objects["Deployment backproof-webhook"]["spec"]["template"]["spec"];
    ensure!(pod["volumes"].is_null() && !words(&pod["containers"][0]["args"]).iter().any(|one| one.contains("certificate-dir")), "{pod}");
    ensure!(objects["ValidatingWebhookConfiguration backproof-webhook"]["metadata"]["annotations"].is_null());
    Ok(())
}

#[test]
fn cert_manager_keeps_the_certificate_where_it_is_asked_to() -> Result<()> {
    let objects = webhook_with(&["webhook.certManager.enabled=true"])?;
    for name in OWN_ISSUER {
        ensure!(objects.contains_key(name), "{name} is missing");
    }
    let leaf = &objects["Certificate backproof-webhook"]["spec"];
    ensure!(leaf["issuerRef"] == json!({"group": "cert-manager.io", "kind": "Issuer", "name": "backproof-webhook"}), "{leaf}");
    ensure!(words(&leaf["dnsNames"])[0] == "backproof-webhook.backproof-system.svc", "{leaf}");
    ensure!(
        objects["Issuer backproof-webhook"]["spec"]["ca"]["secretName"]
            == objects["Certificate backproof-webhook-ca"]["spec"]["secretName"]
    );
    // The pod mounts what the Certificate makes, the registration is injected from that Certificate, and no right to Secrets is left.
    let pod = &objects["Deployment backproof-webhook"]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    ensure!(pod["volumes"] == json!([{"name": "tls", "secret": {"secretName": leaf["secretName"]}}]), "{pod}");
    ensure!(container["volumeMounts"] == json!([{"name": "tls", "mountPath": "/etc/backproof/tls", "readOnly": true}]), "{pod}");
    ensure!(words(&container["args"]).contains(&"--certificate-dir=/etc/backproof/tls"), "{pod}");
    let annotations = &objects["ValidatingWebhookConfiguration backproof-webhook"]["metadata"]["annotations"];
    ensure!(*annotations == json!({"cert-manager.io/inject-ca-from": "backproof-system/backproof-webhook"}), "{annotations}");
    ensure!(!objects.contains_key("Role backproof-webhook") && !objects.contains_key("RoleBinding backproof-webhook"));
    ensure!(objects.contains_key("Role backproof-controller"), "the controller lost its rights");

    let given = webhook_with(&["webhook.certManager.enabled=true", "webhook.certManager.issuerRef.name=company"])?;
    ensure!(!OWN_ISSUER.iter().any(|name| given.contains_key(*name)), "an issuer of its own beside the one given");
    let issuer = &given["Certificate backproof-webhook"]["spec"]["issuerRef"];
    ensure!(*issuer == json!({"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "company"}), "{issuer}");
    Ok(())
}
