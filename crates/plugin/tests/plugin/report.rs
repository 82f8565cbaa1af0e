//! `report`: the bundle holds what is needed, and none of the secrets that were planted wherever one may stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use backproof_testing::ApiServer;
use serde_json::{Value, json};

use crate::{
    doctor, kubelet,
    stand::{self, Ending},
    world::{self, ask, request},
};

/// Every planted secret holds this word and a number.
const PLANT: &str = "hunter2-";
/// How many are planted.
const PLANTS: usize = 36;

const LOG: &str = "{\"level\":\"info\",\"message\":\"ready\"}\npassword=hunter2-30 refused\nGET https://u:hunter2-31@host/x?sig=hunter2-32\n{\"token\":\"hunter2-33\"}\nAuthorization: Bearer hunter2-34\n";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_secret_leaves_the_cluster() -> Result<()> {
    let server = doctor::sound().await?;
    kubelet::start(&server, [("backproof-", LOG)].into()).await?;
    plant(&server).await?;
    let planted = everything(&server).await?;
    let there: BTreeSet<usize> = (0..PLANTS).filter(|n| planted.contains(&format!("{PLANT}{n}."))).collect();
    // Those of the log are not in an object.
    let logged: BTreeSet<usize> = (30..35).collect();
    assert_eq!(&there | &logged, (0..PLANTS).collect(), "a secret was not planted");

    let path = server.directory().join("bundle.tar.gz");
    let file = path.display().to_string();
    let said = ask(&server, "demo", &["report", "-A", "-o", &file]).await?;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.out.contains("missing"), "{said:?}");
    let files = unpacked(&path)?;
    for (name, content) in &files {
        assert!(!content.contains("hunter2"), "{name}:\n{content}");
        assert!(!content.contains("kind: Secret"), "{name}");
    }
    let root = "backproof-report";
    for wanted in [
        "versions.yaml",
        "objects/demo/BackupStorage/storage.yaml",
        "objects/demo/Repository/repo.yaml",
        "objects/demo/BackupVerifier/verifier.yaml",
        "objects/demo/BackupConfiguration/backup.yaml",
        "objects/demo/BackupVerificationSession/by-hand.yaml",
        "objects/demo/RestoreSession/by-hand.yaml",
        "objects/demo/Snapshot/snap.yaml",
        "objects/demo/Job/by-hand-job.yaml",
        "objects/demo/Pod/pod-by-hand-job.yaml",
        "objects/demo/Event/planted.yaml",
        "objects/cluster/Addon/backproof-pvc-addon.yaml",
        "objects/cluster/Function/planted.yaml",
        "installation/backproof-system/Deployment/backproof-controller.yaml",
        "installation/backproof-system/Pod/backproof-controller-0.yaml",
        "logs/backproof-system/backproof-controller-0/controller.log",
    ] {
        assert!(files.contains_key(&format!("{root}/{wanted}")), "{wanted}: {:?}", files.keys());
    }
    // What is not secret stays: a bundle without it helps nobody.
    let all: String = files.values().cloned().collect();
    for kept in [
        "https://REDACTED@minio:9000",
        "\"message\":\"ready\"",
        "RESTIC_PASSWORD",
        "secretName: keys",
        "PackDamaged",
        "RUST_LOG",
        "--repository=",
    ] {
        assert!(all.contains(kept), "{kept}");
    }
    assert!(!all.contains("managedFields") && !all.contains("last-applied"));
    let other = files.keys().find(|name| name.contains("/Pod/foreign") || name.contains("/Event/foreign"));
    assert_eq!(other, None, "what is not ours is none of ours");

    let said = ask(&server, "demo", &["report", "-o", &file]).await?;
    assert_eq!(said.code, 8, "a file is not overwritten: {said:?}");
    Ok(())
}

/// A planted secret. The dot tells 1 from 10.
fn p(n: usize) -> String {
    format!("{PLANT}{n}.")
}

fn env(n: usize) -> Value {
    json!([{"name": "HARMLESS_LOOKING", "value": p(n)}, {"name": "RESTIC_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "password", "key": "k"}}}])
}

async fn plant(server: &ApiServer) -> Result<()> {
    let (core, storage) = ("/apis/core.kubestash.com/v1alpha1/namespaces/demo", "/apis/storage.kubestash.com/v1alpha1/namespaces/demo");
    let patch = |path: String, patch: Value| async move { request(server, "PATCH", &path, Some(&patch)).await.map(drop) };
    patch(
        "/api/v1/namespaces/demo/secrets/password".into(),
        json!({"stringData": {"RESTIC_PASSWORD": p(0)}, "metadata": {"annotations": {"x": p(0)}}}),
    )
    .await?;
    patch(format!("{storage}/backupstorages/storage"), json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": p(1), "example.com/note": p(2)}},
        "spec": {
            "storage": {"provider": "s3", "local": null, "s3": {"bucket": "b", "secretName": "keys", "endpoint": format!("https://user:{}@minio:9000", p(3))}},
            "runtimeSettings": {"pod": {"podAnnotations": {"example.com/token": p(4)}}, "container": {"env": env(5)}},
        },
    })).await?;
    patch(format!("{core}/backupverifier/verifier"), json!({"spec": {
        "type": "Script", "function": "kubedbverifier",
        "script": {"location": "/x", "args": [p(6)]},
        "volumes": [{"name": "v", "csi": {"driver": "d", "volumeAttributes": {"key": p(7)}}}],
        "restoreOption": {"addonInfo": {
            "name": "pvc-addon",
            "tasks": [{"name": "logical-backup-restore", "variables": env(8), "params": {"args": p(9)}}],
            "containerRuntimeSettings": {"env": env(10), "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", p(11)]}}},
                "livenessProbe": {"httpGet": {"port": 1, "path": format!("/x?token={}", p(12)), "httpHeaders": [{"name": "X-Key", "value": p(13)}]}}},
            "jobTemplate": {"spec": {"env": env(14), "args": [p(15)]}},
        }},
    }})).await?;
    patch(
        format!("{core}/backupconfigurations/backup"),
        json!({"spec": {"sessions": [{
            "name": "nightly", "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup", "params": {"password": p(16)}}]},
            "hooks": {"preBackup": [{"name": "h", "hookTemplate": {"name": "t"}, "params": {"url": p(17)}}]},
            "repositories": [{"name": "repo", "backend": "store", "directory": "/x", "backupVerifier": {"name": "verifier"}}],
        }]}}),
    )
    .await?;
    patch(
        format!("{storage}/repositories/repo"),
        json!({"metadata": {"annotations": {
        "backproof.dev/opened": format!("[{{\"passwordFingerprint\":\"{}\"}}]", p(18))}}}),
    )
    .await?;
    let function = json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Function", "metadata": {"name": "planted"}, "spec": {
        "image": "x", "command": ["sh"], "args": ["-c", p(19)], "runtimeSettings": {"env": env(20)}}});
    let addon = json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Addon", "metadata": {"name": "planted"}, "spec": {
        "restoreTasks": [{"name": "t", "function": "planted", "parameters": [{"name": "P", "usage": "u", "default": p(21)}]}]}});
    server.apply(&[function, addon]).await?;

    let session = stand::by_hand(server, "demo", "by-hand").await?;
    stand::whole(server, &session, Ending::Red, Duration::ZERO).await?;
    let status = json!({"status": {
        "message": format!("https://u:{}@host did not answer", p(22)),
        "conditions": [{"type": "BackproofStatus", "status": "True", "lastTransitionTime": "2026-11-26T12:00:00Z", "reason": "X", "message": format!("{{\"passwordFingerprint\":\"{}\"}}", p(23))}],
        "evidence": {"repository": {"id": "r", "version": 2, "keys": ["k"], "passwordFingerprint": p(24)}},
    }});
    world::status(server, &format!("{core}/backupverificationsession/by-hand"), &status).await?;
    let job = json!({"metadata": {"annotations": {"example.com/note": p(25)}}});
    patch("/apis/batch/v1/namespaces/demo/jobs/by-hand-job".into(), job).await?;
    let labels = json!({"app.kubernetes.io/component": "kubestash-restore"});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "planted", "namespace": "demo", "labels": labels}, "spec": {"containers": [{
        "name": "c", "image": "x", "command": ["/bin/backproof-executor"], "args": ["restore", format!("--repository=s3://u:{}@b/x", p(26))], "env": env(27)}]}});
    let event = |name: &str, kind: &str, message: String| {
        json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "demo"}, "message": message, "reason": "X", "type": "Warning",
        "involvedObject": {"apiVersion": if kind == "Repository" { "storage.kubestash.com/v1alpha1" } else { "v1" }, "kind": kind, "namespace": "demo", "name": "x"}})
    };
    let foreign = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "foreign", "namespace": "demo"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    server
        .apply(&[pod, foreign, event("planted", "Repository", format!("password: {}", p(28))), event("foreign", "Pod", "x".into())])
        .await?;
    let ended = json!({"status": {"containerStatuses": [{"name": "c", "image": "x", "imageID": "x", "ready": false, "restartCount": 0, "state": {
        "terminated": {"exitCode": 1, "message": format!("{{\"passwordFingerprint\":\"{}\"}}", p(29))}}}]}});
    world::status(server, "/api/v1/namespaces/demo/pods/planted", &ended).await?;
    let mut deployment = request(server, "GET", "/apis/apps/v1/namespaces/backproof-system/deployments/backproof-controller", None).await?;
    let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
    container["args"].as_array_mut().context("no arguments")?.push(json!(format!("--api-token={}", p(35))));
    request(server, "PUT", "/apis/apps/v1/namespaces/backproof-system/deployments/backproof-controller", Some(&deployment)).await?;
    let template = &deployment["spec"]["template"];
    let mut spec = template["spec"].clone();
    spec["nodeName"] = json!(kubelet::NODE);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": "backproof-controller-0", "namespace": "backproof-system", "labels": template["metadata"]["labels"]}, "spec": spec});
    request(server, "POST", "/api/v1/namespaces/backproof-system/pods", Some(&pod)).await?;
    Ok(())
}

/// All that was planted into, as the API server has it; Secrets decoded.
async fn everything(server: &ApiServer) -> Result<String> {
    let mut text = String::new();
    for path in [
        "/api/v1/secrets",
        "/api/v1/pods",
        "/api/v1/events",
        "/apis/batch/v1/jobs",
        "/apis/apps/v1/deployments",
        "/apis/storage.kubestash.com/v1alpha1/backupstorages",
        "/apis/storage.kubestash.com/v1alpha1/repositories",
        "/apis/core.kubestash.com/v1alpha1/backupverifier",
        "/apis/core.kubestash.com/v1alpha1/backupconfigurations",
        "/apis/core.kubestash.com/v1alpha1/backupverificationsession",
        "/apis/addons.kubestash.com/v1alpha1/functions",
        "/apis/addons.kubestash.com/v1alpha1/addons",
    ] {
        text.push_str(&request(server, "GET", path, None).await?.to_string());
    }
    Ok(text)
}

pub(crate) fn unpacked(path: &Path) -> Result<BTreeMap<String, String>> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(path)?));
    let mut files = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let mut content = String::new();
        entry.read_to_string(&mut content)?;
        files.insert(name, content);
    }
    Ok(files)
}
