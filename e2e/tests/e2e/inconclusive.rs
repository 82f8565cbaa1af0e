//! What cannot be found out is never green and never red, and the Snapshot keeps its earlier status.

use backproof_e2e::samples;

use crate::fixture::{Fixture, SNAPSHOTS, assert_ended, text};

#[test]
fn storage_gone() {
    let fixture = Fixture::new("gone");
    fixture.apply(&samples::copies());
    let snapshot = fixture.discovered("gone");
    fixture.sabotage(&samples::outage(), "outage");
    fixture.apply(&samples::session_gone().replace("snapshot: latest", &format!("snapshot: {snapshot}")));
    assert_ended(&fixture, &fixture.ended("gone-by-hand"), "Failed", "Inconclusive", Some("RepositoryNotFound"));
    still_unproven(&fixture, &snapshot);
}

#[test]
fn what_a_job_needs_is_missing_or_wrong() {
    let fixture = Fixture::new("needs");
    fixture.verify_by_hand();
    let snapshot = fixture.discovered("sample");
    let before = fixture.listing("repository");

    let wrong = "apiVersion: v1\nkind: Secret\nmetadata: {name: encryption-secret}\nstringData: {RESTIC_PASSWORD: wrong}\n";
    fixture.apply(wrong);
    fixture.session("wrong-password", &snapshot);
    assert_ended(&fixture, &fixture.ended("wrong-password"), "Failed", "Inconclusive", Some("EncryptionKeyRejected"));

    // The Repository is held off now; whoever knows that something has changed says so.
    fixture.kubectl.run(&["delete", "secret", "encryption-secret"]).unwrap();
    fixture.kubectl.run(&["annotate", "repositories.storage.kubestash.com", "sample", "backproof.dev/probe=deleted"]).unwrap();
    fixture.session("no-secret", &snapshot);
    assert_ended(&fixture, &fixture.ended("no-secret"), "Failed", "Inconclusive", Some("SecretMissing"));

    still_unproven(&fixture, &snapshot);
    assert_eq!(before, fixture.listing("repository"), "the repository was touched");
}

#[test]
fn a_target_with_somebodys_data_is_not_written_to() {
    let fixture = Fixture::new("foreign");
    // The source itself as target of another name: a claim with live data that is not the Snapshot's source by name.
    fixture.apply(&holder("filler", "target", "echo precious > /volume/precious.txt"));
    fixture.job_succeeds("filler");
    fixture.verify_by_hand();
    let snapshot = fixture.discovered("sample");
    let before = fixture.listing("target");
    fixture.session("not-empty", &snapshot);
    assert_ended(&fixture, &fixture.ended("not-empty"), "Failed", "Inconclusive", Some("TargetNotEmpty"));
    assert_eq!(before, fixture.listing("target"), "somebody's data was touched");
    still_unproven(&fixture, &snapshot);
}

#[test]
fn a_target_mounted_by_somebody_else_is_left_alone() {
    let fixture = Fixture::new("in-use");
    fixture.verify_by_hand();
    let snapshot = fixture.discovered("sample");
    fixture.apply(&holder("holder", "target", "sleep 600"));
    backproof_e2e::wait::quietly("the holder to run", crate::fixture::LIMIT, || {
        let pods = fixture.kubectl.list("pods", &["-l", "job-name=holder"])?;
        Ok(pods.iter().any(|pod| pod["status"]["phase"] == "Running").then_some(()))
    })
    .unwrap();
    fixture.session("in-use", &snapshot);
    assert_ended(&fixture, &fixture.ended("in-use"), "Failed", "Inconclusive", Some("TargetInUse"));
    still_unproven(&fixture, &snapshot);
}

fn still_unproven(fixture: &Fixture, snapshot: &str) {
    let snapshot = fixture.kubectl.get(SNAPSHOTS, snapshot).unwrap();
    assert_eq!(text(&snapshot, "/status/verificationStatus"), "NotVerified", "{snapshot:#}");
}

/// A Job that mounts a claim and runs a command.
fn holder(name: &str, claim: &str, command: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      securityContext: {{runAsNonRoot: true, runAsUser: 10001, runAsGroup: 10001, fsGroup: 10001, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
        - name: holder
          image: localhost/backproof/restic:dev
          command: [/bin/sh, -c, \"{command}\"]
          securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
          volumeMounts: [{{name: volume, mountPath: /volume}}]
      volumes: [{{name: volume, persistentVolumeClaim: {{claimName: {claim}}}}}]
"
    )
}
