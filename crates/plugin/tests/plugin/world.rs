//! A cluster with our kinds and catalog, what is to be verified in it, and the program that is asked about it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result};
use backproof_api::crd;
use backproof_testing::{ApiServer, chart};
use serde_json::{Value, json};
use tokio::process::Command;

/// Our kinds and the catalog.
pub(crate) async fn cluster() -> Result<ApiServer> {
    let server = ApiServer::start().await?;
    let kinds: Vec<Value> = crd::all().iter().map(|definition| definition.object.clone()).collect();
    server.apply(&kinds).await?;
    server.apply(&chart(&["catalog.yaml"])?).await?;
    Ok(server)
}

/// Everything one verification refers to, in a namespace of its own.
pub(crate) async fn populate(server: &ApiServer, namespace: &str) -> Result<()> {
    server.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})]).await?;
    server.apply(&objects(namespace)).await?;
    let status = json!({"status": {
        "phase": "Succeeded", "snapshotTime": "2026-01-01T00:00:00Z", "totalComponents": 1,
        "components": {"pod": {"driver": "Restic", "phase": "Succeeded", "path": "."}},
    }});
    self::status(server, &format!("/apis/storage.kubestash.com/v1alpha1/namespaces/{namespace}/snapshots/snap"), &status).await?;
    for claim in ["data", "scratch", "backups"] {
        let path = format!("/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}");
        self::status(server, &path, &json!({"status": {"phase": "Bound"}})).await?;
    }
    Ok(())
}

/// What stands in a namespace.
pub(crate) fn objects(namespace: &str) -> Vec<Value> {
    let object = |version: &str, kind: &str, name: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}});
    let with = |mut object: Value, spec: Value| {
        object["spec"] = spec;
        object
    };
    let (core, storage) = ("core.kubestash.com/v1alpha1", "storage.kubestash.com/v1alpha1");
    let claim = |name: &str| {
        with(
            object("v1", "PersistentVolumeClaim", name),
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}),
        )
    };
    let reference = |name: &str| json!({"apiGroup": "", "kind": "PersistentVolumeClaim", "name": name});
    let mut secret = object("v1", "Secret", "password");
    secret["stringData"] = json!({"RESTIC_PASSWORD": "x"});
    vec![
        claim("data"),
        claim("scratch"),
        claim("backups"),
        secret,
        with(
            object(storage, "BackupStorage", "storage"),
            json!({"storage": {"provider": "local", "local": {"mountPath": "/repository", "persistentVolumeClaim": {"claimName": "backups"}}}}),
        ),
        with(
            object(storage, "Repository", "repo"),
            json!({"appRef": reference("data"), "storageRef": {"name": "storage"}, "encryptionSecret": {"name": "password"}, "path": "/x"}),
        ),
        with(
            object(storage, "Snapshot", "snap"),
            json!({"repository": "repo", "session": "nightly", "snapshotID": "01", "appRef": reference("data")}),
        ),
        with(
            object(core, "BackupVerifier", "verifier"),
            json!({
                "type": "RestoreOnly", "scheduler": {"schedule": "0 3 1 1 *", "jobTemplate": {}},
                "restoreOption": {"target": reference("scratch"), "addonInfo": {"name": "pvc-addon", "tasks": [{"name": "logical-backup-restore"}]}},
            }),
        ),
        configuration(namespace, "backup", "nightly"),
    ]
}

/// A BackupConfiguration that names the Repository and its verifier.
pub(crate) fn configuration(namespace: &str, name: &str, session: &str) -> Value {
    json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "data"},
            "backends": [{"name": "store", "storageRef": {"name": "storage"}}],
            "sessions": [{"name": session, "repositories": [
                {"name": "repo", "backend": "store", "directory": "/x", "backupVerifier": {"name": "verifier"}}]}],
        },
    })
}

/// Asks the API server for something.
pub(crate) async fn request(server: &ApiServer, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
    let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = axum::http::Request::builder().method(method).uri(path).header("content-type", content);
    let request = request.body(body.map(Value::to_string).unwrap_or_default().into_bytes())?;
    server.client.request(request).await.with_context(|| format!("{method} {path}"))
}

/// Writes a status.
pub(crate) async fn status(server: &ApiServer, path: &str, status: &Value) -> Result<()> {
    request(server, "PATCH", &format!("{path}/status"), Some(status)).await.map(drop)
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The administrator asks, in a namespace.
pub(crate) async fn ask(server: &ApiServer, namespace: &str, words: &[&str]) -> Result<Said> {
    ask_as(&server.kubeconfig(), namespace, words).await
}

/// Whoever this kubeconfig is of asks.
pub(crate) async fn ask_as(kubeconfig: &Path, namespace: &str, words: &[&str]) -> Result<Said> {
    let file = kubeconfig.display().to_string();
    let mut all = vec!["--kubeconfig", &file, "--namespace", namespace];
    all.extend(words);
    program(&all).await
}

/// Runs the program.
pub(crate) async fn program(words: &[&str]) -> Result<Said> {
    let mut command = Command::new(PathBuf::from(env!("CARGO_BIN_EXE_kubectl-backproof")));
    let output = command.args(words).env_remove("KUBECONFIG").stdin(Stdio::null()).kill_on_drop(true).output().await?;
    Ok(Said {
        code: output.status.code().context("ended by a signal")?,
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

/// The text without what differs from run to run: ages, and the name of a session that was made.
pub(crate) fn calm(text: &str, session: &str) -> String {
    let text = if session.is_empty() { text.to_owned() } else { text.replace(session, "SESSION") };
    let line = |line: &str| {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for n in 1..words.len() {
            if words[n].trim_end_matches(',') == "ago" {
                words[n - 1] = "AGE".into();
            }
        }
        words.join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
