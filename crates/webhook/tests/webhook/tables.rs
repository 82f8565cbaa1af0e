//! The validator's tables of cases through the real webhook behind a real API server: the same objects, the same words.
//!
//! The kinds take anything here, so that every fault reaches the webhook and none is cut off by a schema before it; that
//! schemas, CEL and webhook agree is asked for afterwards, with the real ones.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use backproof_testing::{ApiServer, chart, client};
use futures::{StreamExt as _, stream};
use kube::{Client, client::Body};
use serde_json::{Value, json};

use crate::cases::{self, Case};

/// Whom the registration leaves out; here it may do everything, to make what a case starts from.
const EXEMPT: &str = "system:serviceaccount:backproof-system:backproof-controller";
const AT_ONCE: usize = 6;

/// Where objects of a kind are written to.
fn collection(object: &Value) -> Result<String> {
    let kind = object["kind"].as_str().context("no kind")?;
    let plural = match kind {
        "BackupVerificationSession" | "BackupVerifier" => kind.to_lowercase(),
        "BackupBatch" => "backupbatches".to_owned(),
        "Repository" => "repositories".to_owned(),
        other => format!("{}s", other.to_lowercase()),
    };
    let version = object["apiVersion"].as_str().context("no version")?;
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    Ok(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{plural}"),
    })
}

/// What the API server answered: its code, its body, and its warnings.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

pub(crate) async fn request(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
    let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = body.map(|body| Body::from(body.to_string().into_bytes())).unwrap_or_else(Body::empty);
    let request = axum::http::Request::builder().method(method).uri(path).header("content-type", content_type).body(body)?;
    let response = client.send(request).await?;
    let warning = |value: &axum::http::HeaderValue| {
        // 299 - "TEXT", with quotes and backslashes escaped.
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        text.strip_prefix("299 - \"").unwrap_or(&text).trim_end_matches('"').replace("\\\"", "\"").replace("\\\\", "\\")
    };
    let warnings = response.headers().get_all("warning").iter().map(warning).collect();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect_bytes().await?;
    Ok(Answer { code, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null), warnings })
}

async fn must(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let answer = request(client, method, path, body).await?;
    ensure!(answer.code < 300, "{method} {path}: {} {}", answer.code, answer.body["message"]);
    Ok(answer.body)
}

/// One case in namespaces of its own.
struct Place {
    number: usize,
}

impl Place {
    fn rename(&self, namespace: &str) -> Option<String> {
        matches!(namespace, "demo" | "infra").then(|| format!("{namespace}-{}", self.number))
    }

    /// The namespaces in a text: `demo/`, `namespace demo`, `-n demo`, `[demo]`.
    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for old in ["demo", "infra"] {
            let new = format!("{old}-{}", self.number);
            for (before, after) in [(" ", "/"), ("namespace ", ""), ("-n ", " "), ("[", "]"), ("holds Repository ", "/")] {
                for end in if after.is_empty() { vec![";", ",", " ", ""] } else { vec![after] } {
                    if end.is_empty() {
                        if let Some(start) = text.strip_suffix(&format!("{before}{old}")) {
                            text = format!("{start}{before}{new}");
                        }
                    } else {
                        text = text.replace(&format!("{before}{old}{end}"), &format!("{before}{new}{end}"));
                    }
                }
            }
        }
        text
    }

    fn objects(&self, value: &mut Value) {
        match value {
            Value::Object(object) => {
                for (key, value) in object.iter_mut() {
                    match value.as_str() {
                        Some(text) if key == "namespace" => {
                            if let Some(new) = self.rename(text) {
                                *value = json!(new);
                            }
                        }
                        Some("kubestash") if key == "bucket" => *value = json!(format!("kubestash-{}", self.number)),
                        _ => self.objects(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.objects(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn workload(workload: &Value) -> Value {
    let kind = &workload["kind"];
    let labels = json!({"app": workload["name"]});
    let list = |key: &str| workload[key].as_array().cloned().unwrap_or_default();
    let volumes: Vec<_> =
        list("claims").iter().map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}})).collect();
    let pod = json!({"containers": [{"name": "c", "image": "i"}], "volumes": volumes});
    let mut spec = json!({"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}});
    if kind == "StatefulSet" {
        let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        let templates: Vec<_> = list("templates").iter().map(|name| json!({"metadata": {"name": name}, "spec": claim})).collect();
        spec["serviceName"] = json!("web");
        spec["volumeClaimTemplates"] = json!(templates);
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": workload["name"], "namespace": workload["namespace"]}, "spec": spec})
}

/// Makes an object as it is, with its status, and as being deleted if it says so.
async fn make(client: &Client, object: &Value) -> Result<Value> {
    let mut object = object.clone();
    let path = collection(&object)?;
    let meta = object["metadata"].as_object_mut().context("no metadata")?;
    meta.remove("uid");
    let ending = meta.remove("deletionTimestamp").is_some();
    if ending {
        meta.insert("finalizers".to_owned(), json!(["kubestash.com/cleanup"]));
    }
    let name = format!("{path}/{}", object["metadata"]["name"].as_str().context("no name")?);
    let made = must(client, "POST", &path, Some(&object)).await?;
    if let Some(status) = object.get("status") {
        must(client, "PATCH", &format!("{name}/status"), Some(&json!({"status": status}))).await?;
    }
    if ending {
        must(client, "DELETE", &name, None).await?;
    }
    Ok(made)
}

/// What a case starts from, and the object that is judged in it.
struct Stage {
    place: Place,
    subject: Value,
    old: Option<Value>,
    shared: Vec<String>,
}

impl Stage {
    /// Makes everything around the object that is judged.
    async fn set(exempt: &Client, number: usize, case: &Case) -> Result<Self> {
        let place = Place { number };
        let mut objects = case.objects();
        let mut old = case.old_objects().map(|mut old| old[&case.subject].take());
        place.objects(&mut objects);
        if let Some(old) = &mut old {
            place.objects(old);
        }
        for (namespace, labels) in [("demo", objects.get("labels").cloned().unwrap_or(json!({}))), ("infra", json!({}))] {
            let name = place.rename(namespace);
            must(exempt, "POST", "/api/v1/namespaces", Some(&json!({"metadata": {"name": name, "labels": labels}}))).await?;
        }
        let (base, mut shared) = (cases::world(), Vec::new());
        for key in
            ["storage", "other-storage", "repository", "snapshot", "addon", "function", "verifier", "configuration", "batch", "workload"]
        {
            let Some(object) = objects.get(key).filter(|_| key != case.subject) else { continue };
            let object = if key == "workload" { workload(object) } else { object.clone() };
            let of_cluster = object["metadata"]["namespace"].is_null();
            if of_cluster && base[key] == object {
                continue;
            }
            let made = make(exempt, &object).await.with_context(|| format!("{}: {key}", case.case))?;
            if of_cluster {
                shared.push(format!("{}/{}", collection(&object)?, object["metadata"]["name"].as_str().unwrap_or_default()));
            }
            let same_owner = objects["session"]["metadata"]["ownerReferences"][0]["uid"] == objects["configuration"]["metadata"]["uid"];
            if key == "configuration" && same_owner {
                objects["session"]["metadata"]["ownerReferences"][0]["uid"] = made["metadata"]["uid"].clone();
            }
        }
        let mut subject = objects[&case.subject].take();
        if matches!(case.subject.as_str(), "addon" | "function") {
            subject["metadata"]["name"] = json!(format!("{}-{number}", case.subject));
        }
        subject["metadata"].as_object_mut().context("no metadata")?.remove("uid");
        Ok(Self { place, subject, old, shared })
    }

    /// Creates it, or changes what it was, without leaving anything.
    async fn judge(&self, exempt: &Client, author: &Client) -> Result<Answer> {
        let path = collection(&self.subject)?;
        let Some(old) = &self.old else {
            return request(author, "POST", &format!("{path}?dryRun=All"), Some(&self.subject)).await;
        };
        let made = make(exempt, old).await?;
        let mut new = self.subject.clone();
        new["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
        let name = new["metadata"]["name"].as_str().context("no name")?;
        request(author, "PUT", &format!("{path}/{name}?dryRun=All"), Some(&new)).await
    }
}

fn expected(place: &Place, case: &Case, subject: &Value) -> (u16, String, Vec<String>) {
    let kind = subject["kind"].as_str().unwrap_or_default();
    let meta = &subject["metadata"];
    let (namespace, name) = (meta["namespace"].as_str().unwrap_or_default(), meta["name"].as_str().unwrap_or_default());
    let warned = case.warned.iter().map(|warning| place.text(warning)).collect();
    match case.refused.as_str() {
        "" if case.old.is_some() => (200, String::new(), warned),
        "" => (201, String::new(), warned),
        refused => {
            let webhook = kind.to_lowercase();
            let refused = place.text(refused);
            (422, format!("admission webhook \"{webhook}.backproof.dev\" denied the request: {kind} {namespace}/{name}: {refused}"), warned)
        }
    }
}

/// Every kind of the chart; but anything goes, and nothing is filled in.
pub(crate) fn kinds_that_take_anything() -> Result<Vec<Value>> {
    let mut kinds = chart(&["crds.yaml"])?;
    for kind in &mut kinds {
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let version = &mut kind["spec"]["versions"][0];
        version["schema"]["openAPIV3Schema"] = anything;
        version["additionalPrinterColumns"] = json!([]);
    }
    Ok(kinds)
}

async fn exempt(server: &ApiServer) -> Result<Client> {
    let subject = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": EXEMPT});
    let role = json!({"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": "cluster-admin"});
    let meta = json!({"name": "test-exempt"});
    server
        .apply(&[json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": meta, "roleRef": role, "subjects": [subject]})])
        .await?;
    client(&server.kubeconfig_of(EXEMPT)?).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: every case in namespaces of its own, twice"]
async fn every_case_is_said_by_the_webhook_as_by_the_validator() -> Result<()> {
    let cases = cases::all();
    let own: Vec<String> = (0..2 * cases.len()).map(|number| format!("demo-{number}")).collect();
    let arguments = [format!("--allow-cross-namespace=verify={}", own.join(",")), "--unsafe-namespaces=trusted".to_owned()];
    let (server, _replica) = crate::service::start(&kinds_that_take_anything()?, &arguments).await?;
    server.apply(&["verify", "production", "trusted"].map(crate::service::namespace)).await?;
    let exempt = exempt(&server).await?;
    let world = cases::world();
    for key in ["addon", "function"] {
        make(&exempt, &world[key]).await?;
    }
    let alone = |case: &Case| case.change.get("addon").is_some() || case.change.get("function").is_some();
    let (alone, together): (Vec<_>, Vec<_>) = cases.iter().enumerate().partition(|(_, case)| alone(case));
    let run = |(number, case): (usize, &Case)| {
        let (exempt, author, case) = (exempt.clone(), server.client.clone(), case.clone());
        async move { said(&exempt, &author, number, &case).await.unwrap_or_else(|error| Some(format!("{}: {error:#}", case.case))) }
    };
    let wrong: Vec<Option<String>> = stream::iter(together).map(run).buffer_unordered(AT_ONCE).collect().await;
    let mut wrong: Vec<String> = wrong.into_iter().flatten().collect();
    for one in alone {
        wrong.extend(run(one).await);
    }
    wrong.extend(agreement(&server, &exempt, &cases).await?);
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}

/// What is said otherwise than expected, if anything.
async fn said(exempt: &Client, author: &Client, number: usize, case: &Case) -> Result<Option<String>> {
    let stage = Stage::set(exempt, number, case).await?;
    let answer = stage.judge(exempt, author).await.with_context(|| case.case.clone())?;
    for path in &stage.shared {
        must(exempt, "DELETE", path, None).await?;
    }
    let message = if answer.code < 300 { "" } else { answer.body["message"].as_str().unwrap_or_default() };
    let found = (answer.code, message.to_owned(), answer.warnings);
    let expected = expected(&stage.place, case, &stage.subject);
    Ok((found != expected).then(|| format!("{} ({})\n  found:    {found:?}\n  expected: {expected:?}", case.case, case.subject)))
}

/// With the real schemas and their CEL rules before the webhook the same objects get in, and no others.
async fn agreement(server: &ApiServer, exempt: &Client, cases: &[Case]) -> Result<Vec<String>> {
    for kind in chart(&["crds.yaml"])? {
        let path =
            format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}", kind["metadata"]["name"].as_str().unwrap_or_default());
        let mut kind = kind;
        kind["metadata"]["resourceVersion"] = must(exempt, "GET", &path, None).await?["metadata"]["resourceVersion"].clone();
        let answer = request(exempt, "PUT", &path, Some(&kind)).await?;
        ensure!(answer.code == 200, "{path}: {}", answer.body["message"]);
        assert_eq!(answer.warnings, Vec::<String>::new(), "{path}");
    }
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let mut by_rule: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (number, case) in
        cases.iter().enumerate().filter(|(_, case)| case.old.is_none() && matches!(case.subject.as_str(), "session" | "verifier"))
    {
        // What surrounds the object may be what no schema takes; the API server then says so, and there is nothing to ask.
        let Ok(stage) = Stage::set(exempt, cases.len() + number, case).await else { continue };
        let answer = match stage.judge(exempt, &server.client).await {
            Ok(answer) => answer,
            Err(error) => {
                wrong.push(format!("{}: {error:#}", case.case));
                continue;
            }
        };
        for path in &stage.shared {
            must(exempt, "DELETE", path, None).await?;
        }
        if (answer.code < 300) != case.refused.is_empty() {
            wrong.push(format!("{} with the real schemas: {} {}", case.case, answer.code, answer.body["message"]));
        }
        for cause in answer.body["details"]["causes"].as_array().into_iter().flatten() {
            *by_rule.entry(cause["message"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    let fired = |message: &str| by_rule.keys().any(|said| said.contains(message));
    let silent: Vec<_> = backproof_api::crd::cel::ALL.iter().filter(|cel| !fired(cel.message)).map(|cel| cel.id).collect();
    if !silent.is_empty() {
        wrong.push(format!("CEL rules that no case breaks: {silent:?}\n{by_rule:#?}"));
    }
    Ok(wrong)
}
