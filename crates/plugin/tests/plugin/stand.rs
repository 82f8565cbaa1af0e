//! A stand-in for the controller, the Job controller and the kubelet: it writes what they would for one session.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use backproof_testing::{ApiServer, wait};
use serde_json::{Value, json};

use crate::{
    kubelet::NODE,
    world::{request, status},
};

const SOON: Duration = Duration::from_secs(60);

fn sessions(namespace: &str) -> String {
    format!("/apis/core.kubestash.com/v1alpha1/namespaces/{namespace}/backupverificationsession")
}

/// A session that somebody makes by hand.
pub(crate) async fn by_hand(server: &ApiServer, namespace: &str, name: &str) -> Result<Value> {
    let session = json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerificationSession", "metadata": {"name": name},
        "spec": {
            "invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "backup"},
            "session": "nightly", "repository": "repo", "snapshot": "latest",
        },
    });
    request(server, "POST", &sessions(namespace), Some(&session)).await
}

/// The session of a namespace that has no status yet, once it is there.
pub(crate) async fn new_session(server: &ApiServer, namespace: &str) -> Result<Value> {
    let found = std::sync::Mutex::new(Value::Null);
    wait(SOON, async || {
        let list = request(server, "GET", &sessions(namespace), None).await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let new = items.into_iter().find(|session| session["status"].is_null() || session["status"] == json!({}));
        let is_there = new.is_some();
        *found.lock().unwrap() = new.unwrap_or_default();
        Ok(is_there)
    })
    .await
    .context("no session was created")?;
    Ok(found.into_inner()?)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn write(server: &ApiServer, session: &Value, new: &Value) -> Result<()> {
    let meta = &session["metadata"];
    status(server, &format!("{}/{}", sessions(text(&meta["namespace"])), text(&meta["name"])), &json!({"status": new})).await
}

async fn uid(server: &ApiServer, path: &str) -> Result<Value> {
    Ok(request(server, "GET", path, None).await?["metadata"]["uid"].clone())
}

/// Pins the session and says what is going on.
pub(crate) async fn pin(server: &ApiServer, session: &Value, reason: &str, message: &str) -> Result<()> {
    let namespace = text(&session["metadata"]["namespace"]);
    let snapshot = uid(server, &format!("/apis/storage.kubestash.com/v1alpha1/namespaces/{namespace}/snapshots/snap")).await?;
    let verifier = uid(server, &format!("/apis/core.kubestash.com/v1alpha1/namespaces/{namespace}/backupverifier/verifier")).await?;
    let now = "2026-11-26T12:00:00Z";
    let condition =
        |kind: &str, word: &str| json!({"type": kind, "status": word, "reason": reason, "message": message, "lastTransitionTime": now});
    let status = json!({
        "phase": "Running", "message": message,
        "conditions": [condition("Reconciling", "True"), condition("Ready", "Unknown")],
        "run": {
            "snapshot": {"name": "snap", "uid": snapshot}, "started": now, "deadline": "2126-11-26T12:00:00Z",
            "verifier": {"object": {"namespace": namespace, "name": "verifier", "uid": verifier, "generation": 1}, "type": "RestoreOnly"},
            "repository": {"name": "repo", "uid": "r"},
        },
    });
    write(server, session, &status).await
}

/// Makes RestoreSession, Job and pod; the container runs.
pub(crate) async fn restore(server: &ApiServer, session: &Value) -> Result<()> {
    let (namespace, name) = (text(&session["metadata"]["namespace"]), text(&session["metadata"]["name"]));
    let restores = format!("/apis/core.kubestash.com/v1alpha1/namespaces/{namespace}/restoresessions");
    let restore = json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "RestoreSession", "metadata": {"name": name},
        "spec": {"target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "scratch"}, "dataSource": {"repository": "repo", "snapshot": "snap"}},
    });
    let restore = request(server, "POST", &restores, Some(&restore)).await?;
    let pod = json!({"restartPolicy": "Never", "nodeName": NODE, "containers": [
        {"name": "restore", "image": "backproof", "command": ["/bin/backproof-executor"], "args": ["restore"]}]});
    let labels = json!({"backproof.dev/session-uid": session["metadata"]["uid"], "app.kubernetes.io/component": "kubestash-restore"});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": format!("{name}-job"), "labels": labels},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}},
    });
    let job = request(server, "POST", &format!("/apis/batch/v1/namespaces/{namespace}/jobs"), Some(&job)).await?;
    let job_name = text(&job["metadata"]["name"]);
    let template = &job["spec"]["template"];
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("pod-{job_name}"), "labels": template["metadata"]["labels"], "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": job_name, "uid": job["metadata"]["uid"], "controller": true}]},
        "spec": template["spec"],
    });
    request(server, "POST", &format!("/api/v1/namespaces/{namespace}/pods"), Some(&pod)).await?;
    let running = json!({"status": {"phase": "Running", "message": "1 Job is at work", "jobs": [{
        "component": "pod", "attempt": 1, "started": true,
        "object": {"namespace": namespace, "name": job_name, "uid": job["metadata"]["uid"]},
    }]}});
    status(server, &format!("{restores}/{name}"), &running).await?;
    container(server, namespace, job_name, "Running", &json!({"running": {"startedAt": "2026-11-26T12:00:00Z"}})).await?;
    status(
        server,
        &format!("/apis/batch/v1/namespaces/{namespace}/jobs/{job_name}"),
        &json!({"status": {"active": 1, "startTime": "2026-11-26T12:00:00Z"}}),
    )
    .await?;
    let pinned = json!({"run": {"restoreSession": {"name": name, "uid": restore["metadata"]["uid"]}}});
    write(server, session, &pinned).await
}

async fn container(server: &ApiServer, namespace: &str, job: &str, phase: &str, state: &Value) -> Result<()> {
    let new = json!({"status": {"phase": phase, "containerStatuses": [{
        "name": "restore", "image": "backproof", "imageID": "x", "ready": false, "restartCount": 0, "started": false, "state": state,
    }]}});
    status(server, &format!("/api/v1/namespaces/{namespace}/pods/pod-{job}"), &new).await
}

/// Ends container, Job and RestoreSession.
pub(crate) async fn end_restore(server: &ApiServer, session: &Value, exit: i32, message: &str) -> Result<()> {
    let (namespace, name) = (text(&session["metadata"]["namespace"]), text(&session["metadata"]["name"]));
    let job = format!("{name}-job");
    let now = "2026-11-26T12:00:09Z";
    let (phase, reason, ends) = if exit == 0 {
        ("Succeeded", "Completed", ["SuccessCriteriaMet", "Complete"])
    } else {
        ("Failed", "Error", ["FailureTarget", "Failed"])
    };
    let ended = json!({"terminated": {"exitCode": exit, "reason": reason, "startedAt": now, "finishedAt": now}});
    container(server, namespace, &job, phase, &ended).await?;
    let conditions: Vec<Value> = ends
        .iter()
        .map(|kind| json!({"type": kind, "status": "True", "message": "", "reason": "", "lastTransitionTime": now, "lastProbeTime": now}))
        .collect();
    let mut new = json!({"active": null, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}, "conditions": conditions});
    if exit == 0 {
        new["succeeded"] = json!(1);
        new["completionTime"] = json!(now);
    } else {
        new["failed"] = json!(1);
    }
    status(server, &format!("/apis/batch/v1/namespaces/{namespace}/jobs/{job}"), &json!({"status": new})).await?;
    let restored = json!({"status": {"phase": phase, "message": message}});
    status(server, &format!("/apis/core.kubestash.com/v1alpha1/namespaces/{namespace}/restoresessions/{name}"), &restored).await
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Green,
    Red,
    Open,
    Skipped,
    /// As green, under a schema that drops our fields.
    Kept,
    /// Another operator's success.
    Foreign,
}

/// The closing write.
pub(crate) async fn close(server: &ApiServer, session: &Value, ending: Ending) -> Result<()> {
    let now = "2026-11-26T12:00:10Z";
    let condition =
        |kind: &str, word: &str| json!({"type": kind, "status": word, "reason": "Ended", "message": "", "lastTransitionTime": now});
    let counts = json!({"files": 3, "directories": 1, "bytes": 42});
    let green = json!({"restored": counts, "readBack": counts, "resticIds": ["aaaa"], "executor": "0.1.0"});
    let red = json!({"restored": counts, "findings": [{"kind": "PackDamaged", "path": "data/12/1234", "detail": "blob 5 does not match its id"}]});
    let (phase, verdict, cause, message, evidence) = match ending {
        Ending::Green | Ending::Kept => ("Succeeded", json!("Verified"), Value::Null, "Snapshot snap restores", green),
        Ending::Red => ("Failed", json!("VerificationFailed"), json!("PackDamaged"), "pack 1234 is damaged", red),
        Ending::Open => (
            "Failed",
            json!("Inconclusive"),
            json!("StorageUnreachable"),
            "storage storage did not answer: see whether it runs",
            Value::Null,
        ),
        Ending::Skipped => ("Skipped", json!("Skipped"), Value::Null, "Snapshot snap was proven by session earlier", Value::Null),
        Ending::Foreign => ("Succeeded", Value::Null, Value::Null, "", Value::Null),
    };
    let mut ours = json!({"verdict": verdict, "cause": cause, "message": message, "evidence": evidence, "completionTime": now});
    ours.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let new = match ending {
        Ending::Foreign => json!({"phase": phase, "conditions": [condition("BackupVerified", "True")]}),
        Ending::Kept => {
            let mut kept = condition("BackproofStatus", "True");
            kept["message"] = json!(ours.to_string());
            json!({"phase": phase, "message": "", "run": null, "conditions": [condition("Ready", "True"), kept]})
        }
        Ending::Green | Ending::Red | Ending::Open | Ending::Skipped => {
            let ready = if matches!(ending, Ending::Red | Ending::Open) { "False" } else { "True" };
            ours["phase"] = json!(phase);
            ours["duration"] = json!("10s");
            ours["conditions"] = json!([condition("Ready", ready)]);
            ours
        }
    };
    write(server, session, &new).await
}

/// A whole run: pinned, restored, closed. `seen`: how long the restore takes, so that somebody may look at it.
pub(crate) async fn run(server: &ApiServer, namespace: &str, ending: Ending, seen: Duration) -> Result<Value> {
    let session = new_session(server, namespace).await?;
    whole(server, &session, ending, seen).await?;
    Ok(session)
}

/// The same of a session that is known.
pub(crate) async fn whole(server: &ApiServer, session: &Value, ending: Ending, seen: Duration) -> Result<()> {
    if !matches!(ending, Ending::Foreign | Ending::Skipped) {
        pin(server, session, "Restoring", "restoring Snapshot snap").await?;
        restore(server, session).await?;
        tokio::time::sleep(seen).await;
        let exit = if matches!(ending, Ending::Green | Ending::Kept) { 0 } else { 1 };
        end_restore(server, session, exit, "").await?;
    }
    ensure!(session["metadata"]["uid"].is_string());
    close(server, session, ending).await
}
