//! `explain`: a session of each verdict, one that waits, and what is missing around it.

use std::time::Duration;

use anyhow::Result;
use backproof_testing::ApiServer;
use serde_json::{Value, json};

use crate::{
    stand::{self, Ending},
    world::{self, ask, calm},
};

const HEAD: &str = "ok  invoker      BackupConfiguration demo/backup, session nightly, spec.sessions[0].repositories[0]
ok  verifier     demo/verifier, RestoreOnly
ok  addon        backproof-pvc-addon, task logical-backup-restore
ok  function     backproof-pvc-restore, image backproof:0.1.0
ok  target       PersistentVolumeClaim demo/scratch, Bound
ok  repository   demo/repo, path \"/x\"
ok  storage      demo/storage, local
ok  snapshot     demo/snap, taken 2026-01-01T00:00:00Z
";

async fn explained(server: &ApiServer, name: &str) -> Result<String> {
    let said = ask(server, "demo", &["explain", name]).await?;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    Ok(calm(&said.out, ""))
}

async fn ended(server: &ApiServer, name: &str, ending: Ending) -> Result<Value> {
    let session = stand::by_hand(server, "demo", name).await?;
    stand::whole(server, &session, ending, Duration::ZERO).await?;
    Ok(session)
}

/// The image of the chart's Function, which may be another one with another release.
async fn head(server: &ApiServer) -> Result<String> {
    let function = world::request(server, "GET", "/apis/addons.kubestash.com/v1alpha1/functions/backproof-pvc-restore", None).await?;
    Ok(HEAD.replace("backproof:0.1.0", function["spec"]["image"].as_str().unwrap_or_default()))
}

/// Of sessions in namespace demo.
pub(crate) async fn each_line_says_what_is_fine_and_what_is_not(server: &ApiServer) -> Result<()> {
    let head = head(server).await?;

    ended(server, "green", Ending::Green).await?;
    assert_eq!(
        explained(server, "green").await?,
        format!(
            "ok  session      demo/green: Succeeded, Verified, created AGE ago
{head}ok  restore      RestoreSession demo/green, Succeeded
ok  job          demo/green-job of component pod is complete, AGE ago
ok  pod          demo/pod-green-job: Succeeded; container restore ended with exit code 0 (Completed)

verdict  Verified
message  Snapshot snap restores
remedy   none needed"
        )
    );

    let red = ended(server, "red", Ending::Red).await?;
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "red.1", "namespace": "demo"}, "type": "Warning", "reason": "VerificationFailed",
        "message": "pack 1234 is damaged", "lastTimestamp": "2026-11-26T12:00:10Z",
        "involvedObject": {"kind": "BackupVerificationSession", "namespace": "demo", "name": "red", "uid": red["metadata"]["uid"]},
    });
    world::request(server, "POST", "/api/v1/namespaces/demo/events", Some(&event)).await?;
    assert_eq!(
        explained(server, "red").await?,
        format!(
            "!!  session      demo/red: Failed, VerificationFailed, created AGE ago
{head}!!  restore      RestoreSession demo/red, Failed
!!  job          demo/red-job of component pod has failed:
!!  pod          demo/pod-red-job: Failed; container restore ended with exit code 1 (Error)
!!    event      VerificationFailed: pack 1234 is damaged, AGE ago

verdict  VerificationFailed
cause    PackDamaged: A pack file holds data that does not decrypt, does not decompress, or does not match its id.
message  pack 1234 is damaged
remedy   Take a new backup now, and look at the storage: `status.message` and `status.evidence.findings` name the damaged files."
        )
    );

    ended(server, "open", Ending::Open).await?;
    let text = explained(server, "open").await?;
    assert!(text.starts_with("!!  session      demo/open: Failed, Inconclusive, created AGE ago\n"), "{text}");
    assert!(
        text.ends_with(
            "verdict  Inconclusive
cause    StorageUnreachable: The storage did not answer, answered with an error, or cut the connection.
message  storage storage did not answer: see whether it runs
remedy   `status.message` names the object, the field and the remedy. The session is repeated while it has retries left."
        ),
        "{text}"
    );

    waiting(server, &head).await?;
    broken(server).await
}

/// A session that nobody took up, and one that waits and says for whom.
async fn waiting(server: &ApiServer, head: &str) -> Result<()> {
    let session = stand::by_hand(server, "demo", "waiting").await?;
    let newest = "..  snapshot     the newest one, which is chosen when the run starts\n";
    let early = head.replace("ok  snapshot     demo/snap, taken 2026-01-01T00:00:00Z\n", newest);
    assert_eq!(
        explained(server, "waiting").await?,
        format!(
            "..  session      demo/waiting: created AGE ago, and no controller has taken it up
{early}..  restore      not begun

verdict  none yet
remedy   see whether a controller runs: kubectl backproof doctor"
        )
    );
    stand::pin(server, &session, "WaitingForTarget", "waits for session other at the target").await?;
    assert_eq!(
        explained(server, "waiting").await?,
        format!(
            "..  session      demo/waiting: Running, created AGE ago
{head}..  restore      not begun: waits for session other at the target

verdict  none yet
message  waits for session other at the target
remedy   none needed yet: the session goes on by itself, and ends at its deadline at the latest"
        )
    );
    Ok(())
}

/// What is gone, changed or held is marked where it stands.
async fn broken(server: &ApiServer) -> Result<()> {
    let (core, storage) = ("/apis/core.kubestash.com/v1alpha1/namespaces/demo", "/apis/storage.kubestash.com/v1alpha1/namespaces/demo");
    world::request(server, "PATCH", &format!("{core}/backupverifier/verifier"), Some(&json!({"spec": {"timeout": "1h"}}))).await?;
    let held = json!({"metadata": {"annotations": {"backproof.dev/hold": "{\"tries\":1,\"next\":\"2126-01-01T00:00:00Z\"}"}}});
    world::request(server, "PATCH", &format!("{storage}/repositories/repo"), Some(&held)).await?;
    for gone in
        [format!("{storage}/backupstorages/storage"), format!("{storage}/snapshots/snap"), format!("{core}/restoresessions/waiting")]
    {
        // The last one was never there.
        let _ = world::request(server, "DELETE", &gone, None).await;
    }
    let text = explained(server, "waiting").await?;
    for line in [
        "!!  verifier     demo/verifier, RestoreOnly: it was changed since the run began",
        "!!  repository   demo/repo is held off until 2126-01-01T00:00:00Z, as storage, credentials or image failed; annotation backproof.dev/probe ends that",
        "!!  storage      BackupStorage demo/storage does not exist: create it, or correct spec.storageRef of the Repository",
        "!!  snapshot     Snapshot demo/snap does not exist (any more)",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    world::request(server, "DELETE", &format!("{core}/backupconfigurations/backup"), None).await?;
    let text = explained(server, "waiting").await?;
    assert!(text.contains("!!  invoker      BackupConfiguration demo/backup does not exist"), "{text}");
    let said = ask(server, "demo", &["explain", "nothing"]).await?;
    assert_eq!(said.code, 4, "{said:?}");
    Ok(())
}
