//! What the cases of the tables start from, made in a real API server in namespaces of their own.

use anyhow::{Context as _, Result};
use kube::Client;
use serde_json::{Value, json};

use crate::{
    calls::{Answer, collection, must, place, request},
    cases::{self, Case},
};

/// Everything that may stand around the object that is judged, in the order it is made.
pub(crate) const AROUND: [&str; 10] =
    ["storage", "other-storage", "repository", "snapshot", "addon", "function", "verifier", "configuration", "batch", "workload"];

/// Namespaces of their own for the cases that start from the same objects.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    number: usize,
}

impl Place {
    fn rename(&self, namespace: &str) -> Option<String> {
        matches!(namespace, "demo" | "infra").then(|| format!("{namespace}-{}", self.number))
    }

    /// The namespaces in a text: `demo/`, `namespace demo`, `-n demo`, `[demo]`.
    pub(crate) fn text(&self, text: &str) -> String {
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
pub(crate) async fn make(client: &Client, object: &Value) -> Result<Value> {
    let mut object = object.clone();
    let path = collection(&object)?;
    let meta = object["metadata"].as_object_mut().context("no metadata")?;
    meta.remove("uid");
    let ending = meta.remove("deletionTimestamp").is_some();
    if ending {
        meta.insert("finalizers".to_owned(), json!(["kubestash.com/cleanup"]));
    }
    let name = place(&object)?;
    let made = must(client, "POST", &path, Some(&object)).await?;
    if let Some(status) = object.get("status") {
        must(client, "PATCH", &format!("{name}/status"), Some(&json!({"status": status}))).await?;
    }
    if ending {
        must(client, "DELETE", &name, None).await?;
    }
    Ok(made)
}

/// What a case starts from.
pub(crate) struct Stage {
    pub(crate) place: Place,
    /// What the API server called the configuration.
    configuration: Value,
    /// Objects of the whole cluster, which nobody else must meet.
    pub(crate) shared: Vec<String>,
    /// Whether something there is being deleted, which the webhook's watches must see first.
    pub(crate) ending: bool,
}

impl Stage {
    /// Makes everything around the object that is judged.
    pub(crate) async fn set(exempt: &Client, number: usize, case: &Case) -> Result<Self> {
        let place = Place { number };
        let mut objects = case.objects();
        place.objects(&mut objects);
        for (namespace, labels) in [("demo", objects.get("labels").cloned().unwrap_or(json!({}))), ("infra", json!({}))] {
            let name = place.rename(namespace);
            must(exempt, "POST", "/api/v1/namespaces", Some(&json!({"metadata": {"name": name, "labels": labels}}))).await?;
        }
        let base = cases::world();
        let mut stage = Self { place, configuration: Value::Null, shared: Vec::new(), ending: false };
        for key in AROUND {
            let Some(object) = objects.get(key).filter(|_| key != case.subject) else { continue };
            let object = if key == "workload" { workload(object) } else { object.clone() };
            let of_cluster = object["metadata"]["namespace"].is_null();
            if of_cluster && base[key] == object {
                continue;
            }
            let made = make(exempt, &object).await.with_context(|| format!("{}: {key}", case.case))?;
            stage.ending |= object["metadata"]["deletionTimestamp"].is_string();
            if of_cluster {
                stage.shared.push(self::place(&object)?);
            }
            if key == "configuration" {
                stage.configuration = made["metadata"]["uid"].clone();
            }
        }
        Ok(stage)
    }

    /// The object that is judged, as it is here.
    pub(crate) fn subject(&self, case: &Case) -> Result<Value> {
        let mut objects = case.objects();
        self.place.objects(&mut objects);
        if objects["session"]["metadata"]["ownerReferences"][0]["uid"] == objects["configuration"]["metadata"]["uid"] {
            objects["session"]["metadata"]["ownerReferences"][0]["uid"] = self.configuration.clone();
        }
        let mut subject = objects[&case.subject].take();
        if matches!(case.subject.as_str(), "addon" | "function") {
            subject["metadata"]["name"] = json!(format!("{}-{}", case.subject, self.place.number));
        }
        subject["metadata"].as_object_mut().context("no metadata")?.remove("uid");
        Ok(subject)
    }

    /// Creates it, or changes what it was, without leaving anything.
    pub(crate) async fn judge(&self, exempt: &Client, author: &Client, case: &Case, subject: &Value) -> Result<Answer> {
        let path = collection(subject)?;
        let Some(mut old) = case.old_objects().map(|mut old| old[&case.subject].take()) else {
            return request(author, "POST", &format!("{path}?dryRun=All"), Some(subject)).await;
        };
        self.place.objects(&mut old);
        let made = make(exempt, &old).await?;
        let mut new = subject.clone();
        new["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
        request(author, "PUT", &format!("{}?dryRun=All", place(&new)?), Some(&new)).await
    }
}
