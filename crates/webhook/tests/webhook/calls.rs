//! Requests to the API server as they stand on the wire: code, body and warnings, by whoever it shall be.

use anyhow::{Context as _, Result, ensure};
use kube::{Client, client::Body};
use serde_json::Value;

/// Where objects of a kind are written to.
pub(crate) fn collection(object: &Value) -> Result<String> {
    let kind = object["kind"].as_str().context("no kind")?;
    let plural = match kind {
        "BackupVerificationSession" | "BackupVerifier" => kind.to_lowercase(),
        "BackupBatch" => "backupbatches".to_owned(),
        "Repository" | "RetentionPolicy" => format!("{}ies", kind.trim_end_matches('y').to_lowercase()),
        other => format!("{}s", other.to_lowercase()),
    };
    let version = object["apiVersion"].as_str().context("no version")?;
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    Ok(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{plural}"),
    })
}

/// Where an object is.
pub(crate) fn place(object: &Value) -> Result<String> {
    Ok(format!("{}/{}", collection(object)?, object["metadata"]["name"].as_str().context("no name")?))
}

/// What the API server answered: its code, its body, and its warnings.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

pub(crate) async fn request(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
    request_as(client, None, method, path, body).await
}

/// As a user of this name who may do everything.
pub(crate) async fn request_as(client: &Client, user: Option<&str>, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
    let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = body.map(|body| Body::from(body.to_string().into_bytes())).unwrap_or_else(Body::empty);
    let mut request = axum::http::Request::builder().method(method).uri(path).header("content-type", content_type);
    if let Some(user) = user {
        request = request.header("impersonate-user", user).header("impersonate-group", "system:masters");
    }
    let response = client.send(request.body(body)?).await?;
    let warning = |value: &axum::http::HeaderValue| {
        // 299 - "TEXT", with quotes and backslashes escaped.
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let quoted = text.strip_prefix("299 - \"").and_then(|text| text.strip_suffix('"'));
        quoted.unwrap_or(&text).replace("\\\"", "\"").replace("\\\\", "\\")
    };
    let warnings = response.headers().get_all("warning").iter().map(warning).collect();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect_bytes().await?;
    Ok(Answer { code, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null), warnings })
}

pub(crate) async fn must(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let answer = request(client, method, path, body).await?;
    ensure!(answer.code < 300, "{method} {path}: {} {}", answer.code, answer.body["message"]);
    Ok(answer.body)
}
