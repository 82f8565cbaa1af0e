//! Who may write a reference, asked of a real API server: people with the rights that Roles give them, and no others.

use std::time::Duration;

use anyhow::{Result, ensure};
use backproof_testing::{ApiServer, client, wait};
use kube::Client;
use serde_json::{Value, json};

use crate::{
    calls::{Answer, collection, must, place, request},
    cases::world,
    service::namespace,
};

const SOON: Duration = Duration::from_secs(30);

/// Gives ann these rights in a namespace.
async fn grant(server: &ApiServer, namespace: &str, name: &str, rules: Value) -> Result<()> {
    let meta = json!({"name": name, "namespace": namespace});
    let group = "rbac.authorization.k8s.io";
    server
        .apply(&[
            json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": meta, "rules": rules}),
            json!({
                "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": meta,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
                "subjects": [{"apiGroup": group, "kind": "User", "name": "ann"}],
            }),
        ])
        .await
}

/// Writes an object anew without leaving it there.
async fn create(ann: &Client, object: &Value) -> Result<Answer> {
    request(ann, "POST", &format!("{}?dryRun=All", collection(object)?), Some(object)).await
}

fn refused(answer: &Answer, kind: &str, said: &str) -> Result<()> {
    let expected = format!("admission webhook \"{}.backproof.dev\" denied the request: {kind} {said}", kind.to_lowercase());
    ensure!((answer.code, &answer.body["message"]) == (422, &json!(expected)), "{} {}", answer.code, answer.body["message"]);
    Ok(())
}

/// Everything about who may write what, where what a session names is there already.
pub(crate) async fn nobody_gets_by_a_reference_what_they_may_not_have(server: &ApiServer) -> Result<()> {
    server.apply(&["verify", "infra", "production"].map(namespace)).await?;
    let kinds = json!([{"apiGroups": ["core.kubestash.com"], "resources": ["*"], "verbs": ["*"]}]);
    grant(server, "demo", "writes-backups", kinds).await?;
    let ann = client(&server.kubeconfig_of("ann")?).await?;
    wait(SOON, async || {
        Ok(request(&ann, "GET", "/apis/core.kubestash.com/v1alpha1/namespaces/demo/backupverifier", None).await?.code == 200)
    })
    .await?;
    targets(server, &ann).await?;
    references(server, &ann).await?;
    earlier_ones(server, &ann).await?;
    // Sessions stand for no access: whoever may make one may verify what its invoker's writer may have.
    let mut session = world()["session"].clone();
    session["metadata"] = json!({"name": "by-ann", "namespace": "demo"});
    let answer = create(&ann, &session).await?;
    ensure!(answer.code == 201, "{}", answer.body["message"]);
    Ok(())
}

/// Into a namespace restores only who may run Jobs there.
async fn targets(server: &ApiServer, ann: &Client) -> Result<()> {
    let mut verifier = world()["verifier"].clone();
    verifier["metadata"]["name"] = json!("by-ann");
    let said = "demo/by-ann: spec.restoreOption.target: ann may not create jobs.batch in namespace verify; restore into a namespace where \
        you may, or have somebody write the verifier who may; see kubectl auth can-i";
    refused(&create(ann, &verifier).await?, "BackupVerifier", said)?;
    grant(server, "verify", "runs-jobs", json!([{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}])).await?;
    // A no is believed for a second only.
    wait(SOON, async || Ok(create(ann, &verifier).await?.code == 201)).await
}

/// What lies elsewhere names only who may get it; each is asked for by its name.
async fn references(server: &ApiServer, ann: &Client) -> Result<()> {
    let mut configuration = world()["configuration"].clone();
    configuration["metadata"] = json!({"name": "by-ann", "namespace": "demo"});
    configuration["spec"]["backends"][0]["storageRef"]["namespace"] = json!("infra");
    let repository = &mut configuration["spec"]["sessions"][0]["repositories"][0];
    repository["name"] = json!("of-ann");
    repository["encryptionSecret"] = json!({"name": "key", "namespace": "infra"});
    repository["backupVerifier"] = json!({"name": "shared", "namespace": "infra"});
    let remedy = "name one of this namespace, or have somebody write it who may; see kubectl auth can-i";
    let entry = "spec.sessions[0].repositories[0]";
    let said = format!(
        "demo/by-ann: 3 problems\n\
        * spec.backends[0].storageRef: ann may not get backupstorages.storage.kubestash.com gcs-storage in namespace infra; {remedy}\n\
        * {entry}.encryptionSecret: ann may not get secrets key in namespace infra; {remedy}\n\
        * {entry}.backupVerifier: ann may not get backupverifier.core.kubestash.com shared in namespace infra; {remedy}"
    );
    refused(&create(ann, &configuration).await?, "BackupConfiguration", &said)?;
    let get = |group: &str, resource: &str, name: &str| json!({"apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": ["get"]});
    let storage = get("storage.kubestash.com", "backupstorages", "gcs-storage");
    grant(server, "infra", "uses-key", json!([storage, get("", "secrets", "key"), get("core.kubestash.com", "backupverifier", "shared")]))
        .await?;
    wait(SOON, async || Ok(create(ann, &configuration).await?.code == 201)).await?;
    configuration["spec"]["sessions"][0]["repositories"][0]["encryptionSecret"]["name"] = json!("root");
    let said = format!("demo/by-ann: {entry}.encryptionSecret: ann may not get secrets root in namespace infra; {remedy}");
    refused(&create(ann, &configuration).await?, "BackupConfiguration", &said)
}

/// Who changes something else need not have what a reference stands for that was there before.
async fn earlier_ones(server: &ApiServer, ann: &Client) -> Result<()> {
    let mut verifier = world()["verifier"].clone();
    verifier["metadata"]["name"] = json!("by-admin");
    verifier["spec"]["restoreOption"]["target"]["namespace"] = json!("production");
    must(&server.client, "POST", &collection(&verifier)?, Some(&verifier)).await?;
    must(ann, "PATCH", &place(&verifier)?, Some(&json!({"spec": {"sessionHistoryLimit": 7}}))).await?;
    let elsewhere = json!({"spec": {"restoreOption": {"target": {"namespace": "infra"}}}});
    let said = "demo/by-admin: spec.restoreOption.target: ann may not create jobs.batch in namespace infra; restore into a namespace where \
        you may, or have somebody write the verifier who may; see kubectl auth can-i";
    refused(&request(ann, "PATCH", &place(&verifier)?, Some(&elsewhere)).await?, "BackupVerifier", said)
}
