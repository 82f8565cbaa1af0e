//! What a session needs vanishes under it, and comes back.

use backproof_e2e::wait;
use serde_json::json;

use super::controller::Away;
use crate::{
    cases::{Case, runs},
    fixture::{Fixture, LIMIT, SNAPSHOTS, assert_ended, text},
};

const RESTIC: &str = "localhost/backproof/restic:dev";

#[test]
#[ignore = "long: takes the controller away"]
fn a_job_reaped_while_nobody_looked() {
    let fixture = Fixture::new("reaped");
    fixture.verify_by_hand();
    let napper = fixture.addon("napper", RESTIC, &["/bin/sleep", "8"]);
    fixture.start(&[Case::new("reaped").addon(&napper)]);
    let pod = fixture.pod_of("reaped", runs);
    let job = text(&pod, "/metadata/ownerReferences/0/name");
    let away = Away::new();
    fixture.kubectl.run(&["patch", "job", &job, "--type=merge", "-p", r#"{"spec":{"ttlSecondsAfterFinished":0}}"#]).unwrap();
    wait::quietly("the Job to be reaped", LIMIT, || Ok(fixture.kubectl.find("job", &job)?.is_none().then_some(()))).unwrap();
    drop(away);
    assert_ended(&fixture, &fixture.ended("reaped"), "Failed", "Inconclusive", Some("JobDeleted"));
}

#[test]
#[ignore = "long: one more of what the default run has"]
fn a_secret_deleted_and_put_back() {
    let fixture = Fixture::new("secret");
    fixture.verify_by_hand();
    let snapshot = fixture.discovered("sample");
    let mut secret = fixture.kubectl.get("secret", "encryption-secret").unwrap();
    secret["metadata"] = json!({"name": "encryption-secret"});
    fixture.kubectl.run(&["delete", "secret", "encryption-secret"]).unwrap();
    let case = Case::new("forgetful").verifier(json!({"retryConfig": {"maxRetry": 5, "delay": "5s"}})).retries(5);
    fixture.start(std::slice::from_ref(&case));
    assert_ended(&fixture, &fixture.ended("forgetful"), "Failed", "Inconclusive", Some("SecretMissing"));
    assert_eq!(text(&fixture.kubectl.get(SNAPSHOTS, &snapshot).unwrap(), "/status/verificationStatus"), "NotVerified");
    fixture.apply_all(&[secret]);
    // A retry finds it again; nobody has to do anything else.
    wait::quietly("the Snapshot to be proven by a retry, when its Repository is asked again", 2 * LIMIT, || {
        let status = text(&fixture.kubectl.get(SNAPSHOTS, &snapshot)?, "/status/verificationStatus");
        Ok((status == "Verified").then_some(()))
    })
    .unwrap();
}
