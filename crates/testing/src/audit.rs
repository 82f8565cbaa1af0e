//! What was asked of an API server, by its own record: the audit log, one line for each answer, written before it is sent.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

const LOG: &str = "audit.log";
/// Metadata is enough to count; what only begins is told again when it ends.
/// What begins with a brace is read as JSON.
const POLICY: &str =
    r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// The verb of Kubernetes: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Resource, with a sub-resource as `resource/sub`.
    pub resource: String,
    /// Namespace and name, as far as the request has them.
    pub object: String,
    /// Status of the answer.
    pub code: i64,
}

impl Request {
    /// Verb and resource, as rights are written.
    pub fn right(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }
}

pub(crate) fn flags(directory: &Path) -> Result<Vec<String>> {
    let policy = directory.join("audit-policy.yaml");
    std::fs::write(&policy, POLICY)?;
    let log = directory.join(LOG);
    Ok(vec![format!("--audit-policy-file={}", policy.display()), format!("--audit-log-path={}", log.display())])
}

pub(crate) fn read(directory: &Path, user: &str) -> Result<Vec<Request>> {
    let text = std::fs::read_to_string(directory.join(LOG)).context("this server records no requests")?;
    let lines = text.lines().filter(|line| line.contains(user));
    let mut all = Vec::new();
    for line in lines {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let word = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let verb = word("/verb");
        // A watch is counted when it begins, as it ends with the process or by its time.
        let stage = if verb == "watch" { "ResponseStarted" } else { "ResponseComplete" };
        if word("/user/username") != user || word("/stage") != stage {
            continue;
        }
        let sub = word("/objectRef/subresource");
        let resource = word("/objectRef/resource");
        all.push(Request {
            verb: verb.to_owned(),
            resource: if sub.is_empty() { resource.to_owned() } else { format!("{resource}/{sub}") },
            object: format!("{}/{}", word("/objectRef/namespace"), word("/objectRef/name")),
            code: event.pointer("/responseStatus/code").and_then(Value::as_i64).unwrap_or_default(),
        });
    }
    Ok(all)
}
