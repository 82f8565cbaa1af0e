//! `status`: what was proven when, in each form.

use anyhow::Result;
use backproof_testing::objects;
use serde_json::{Value, json};

use crate::{
    explain,
    world::{self, ask},
};

const SNAPSHOTS: &str = "/apis/storage.kubestash.com/v1alpha1/namespaces/demo/snapshots";
const SESSIONS: &str = "/apis/core.kubestash.com/v1alpha1/namespaces/demo/backupverificationsession";

fn record(session: &str, uid: &Value, verdict: &str, completed: &str) -> Value {
    json!({
        "session": session, "sessionUid": "u", "started": completed, "completed": completed, "verdict": verdict, "type": "RestoreOnly",
        "verifierHash": "h", "snapshotUid": uid, "resticIds": ["aaaa"],
    })
}

/// Blanks between columns as one, and ages (which grow) as AGE.
fn rows(text: &str) -> Vec<String> {
    let is_age = |word: &str| word.len() > 1 && word.ends_with(['s', 'm', 'h', 'd']) && word.starts_with(|c: char| c.is_ascii_digit());
    let word = |word: &str| if is_age(word) { "AGE".to_owned() } else { word.to_owned() };
    text.lines().map(|line| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_last_proof_and_explain_every_line() -> Result<()> {
    let server = world::cluster().await?;
    let said = ask(&server, "demo", &["status"]).await?;
    assert_eq!((said.code, said.out.as_str()), (0, "no Repositories in namespace demo\n"), "{said:?}");
    world::populate(&server, "demo").await?;
    let said = ask(&server, "demo", &["status"]).await?;
    assert_eq!(rows(&said.out), ["REPOSITORY VERDICT CAUSE LAST-PROOF SNAPSHOT", "repo None - never -"]);

    // A record that was copied from another Snapshot proves nothing.
    let forged = record("forged", &json!("another"), "Verified", "2026-01-03T00:00:00Z");
    world::status(&server, &format!("{SNAPSHOTS}/snap"), &json!({"status": {"verification": forged}})).await?;
    let said = ask(&server, "demo", &["status"]).await?;
    assert_eq!(rows(&said.out)[1], "repo None - never -");

    let uid = world::request(&server, "GET", &format!("{SNAPSHOTS}/snap"), None).await?["metadata"]["uid"].clone();
    let proof = record("proof", &uid, "Verified", "2026-01-02T00:00:00Z");
    world::status(&server, &format!("{SNAPSHOTS}/snap"), &json!({"status": {"verification": proof}})).await?;
    let said = ask(&server, "demo", &["status", "repo"]).await?;
    assert_eq!(rows(&said.out)[1], "repo Verified - AGE snap");

    // A later run that could not find out stands beside the proof, and does not hide it; one that is at work is shown.
    for name in ["later", "working"] {
        crate::stand::by_hand(&server, "demo", name).await?;
    }
    let ended = json!({"status": {
        "phase": "Failed", "verdict": "Inconclusive", "cause": "StorageUnreachable", "completionTime": "2026-01-04T00:00:00Z",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-04T00:00:00Z"}], "run": {"snapshot": {"name": "snap", "uid": uid}},
    }});
    world::status(&server, &format!("{SESSIONS}/later"), &ended).await?;
    let held = json!({"metadata": {"annotations": {"backproof.dev/hold": "{\"tries\":1,\"next\":\"2126-01-01T00:00:00Z\"}"}}});
    world::request(&server, "PATCH", "/apis/storage.kubestash.com/v1alpha1/namespaces/demo/repositories/repo", Some(&held)).await?;
    world::populate(&server, "other").await?;
    let said = ask(&server, "demo", &["status", "-A", "-o", "wide"]).await?;
    assert_eq!(
        rows(&said.out),
        [
            "NAMESPACE REPOSITORY VERDICT CAUSE LAST-PROOF SNAPSHOT RUN SESSION RUN-SNAPSHOT NEWEST-SNAPSHOT VERIFIERS RUNNING HELD-UNTIL",
            "demo repo Inconclusive StorageUnreachable AGE snap AGE later snap snap demo/verifier working 2126-01-01T00:00:00Z",
            "other repo None - never - - - - snap other/verifier - -",
        ]
    );

    let expected = json!([{
        "namespace": "demo", "repository": "repo",
        "newestRun": {"verdict": "Inconclusive", "cause": "StorageUnreachable", "snapshot": "snap", "session": "later", "completed": "2026-01-04T00:00:00Z"},
        "lastProof": {"verdict": "Verified", "snapshot": "snap", "session": "proof", "completed": "2026-01-02T00:00:00Z"},
        "proofAgeSeconds": 0, "newestSnapshot": "snap", "verifiers": ["demo/verifier"], "running": ["working"], "heldUntil": "2126-01-01T00:00:00Z",
    }]);
    let said = ask(&server, "demo", &["status", "-o", "json"]).await?;
    let mut found: Value = serde_json::from_str(&said.out)?;
    assert!(found[0]["proofAgeSeconds"].as_i64().is_some_and(|age| age > 20_000_000), "{found}");
    found[0]["proofAgeSeconds"] = json!(0);
    assert_eq!(found, expected);
    let said = ask(&server, "demo", &["status", "-o", "yaml"]).await?;
    let mut found = objects(&said.out)?.remove(0);
    found[0]["proofAgeSeconds"] = json!(0);
    assert_eq!(found, expected);

    let said = ask(&server, "demo", &["status", "nothing"]).await?;
    assert_eq!(said.code, 4, "{said:?}");

    // The same cluster, as it was, serves `explain`: to start another one takes longer than all of this.
    let (core, storage) = (SESSIONS, "/apis/storage.kubestash.com/v1alpha1/namespaces/demo/repositories/repo");
    for name in ["later", "working"] {
        world::request(&server, "DELETE", &format!("{core}/{name}"), None).await?;
    }
    let free = json!({"metadata": {"annotations": null}});
    world::request(&server, "PATCH", storage, Some(&free)).await?;
    explain::each_line_says_what_is_fine_and_what_is_not(&server).await
}
