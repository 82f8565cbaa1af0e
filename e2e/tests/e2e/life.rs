//! Sessions that are interfered with: nothing is stuck, nothing leaks, nothing foreign is touched.

use std::time::Duration;

use backproof_e2e::wait;

use crate::fixture::{Fixture, LIMIT, RESTORES, SESSIONS, assert_ended, text};

/// A session whose Job waits for a node that does not exist, so that it stays in the middle.
fn in_the_middle(fixture: &Fixture, name: &str) -> String {
    fixture.verify_by_hand_with(|manifest| {
        manifest.replace("jobTemplate: {spec: {securityContext", "jobTemplate: {spec: {nodeSelector: {no-such: node}, securityContext")
    });
    fixture.session(name, &fixture.discovered("sample"));
    let uid = text(&fixture.kubectl.get(SESSIONS, name).unwrap(), "/metadata/uid");
    let label = format!("backproof.dev/session-uid={uid}");
    wait::quietly("the restore Job's pod", LIMIT, || Ok(fixture.kubectl.list("pods", &["-l", &label])?.pop())).unwrap();
    uid
}

#[test]
fn a_session_deleted_in_the_middle_leaves_nothing() {
    let fixture = Fixture::new("deleted");
    let uid = in_the_middle(&fixture, "deleted");
    assert_eq!(fixture.leases_of(&uid).len(), 1, "the target is locked while the session runs");
    fixture.kubectl.run(&["delete", SESSIONS, "deleted", "--timeout=90s"]).unwrap();
    let label = format!("backproof.dev/session-uid={uid}");
    wait::quietly("its Jobs, pods, RestoreSession and Lease to go", Duration::from_secs(90), || {
        let left = [
            fixture.kubectl.list("jobs,pods", &["-l", &label])?.len(),
            fixture.kubectl.list(RESTORES, &[])?.len(),
            fixture.leases_of(&uid).len(),
        ];
        Ok((left == [0, 0, 0]).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_restore_session_deleted_in_the_middle_is_never_made_again() {
    let fixture = Fixture::new("restore-deleted");
    in_the_middle(&fixture, "interrupted");
    fixture.kubectl.run(&["delete", RESTORES, "--all", "--timeout=60s"]).unwrap();
    assert_ended(&fixture, &fixture.ended("interrupted"), "Failed", "Inconclusive", Some("RestoreSessionDeleted"));
    assert_eq!(fixture.kubectl.list(RESTORES, &[]).unwrap().len(), 0);
}

#[test]
fn a_deadline_ends_a_session_that_gets_nowhere() {
    let fixture = Fixture::new("deadline");
    fixture.verify_by_hand_with(|manifest| {
        manifest
            .replace("jobTemplate: {spec: {securityContext", "jobTemplate: {spec: {nodeSelector: {no-such: node}, securityContext")
            .replace("timeout: 15m", "timeout: 10s")
    });
    fixture.session("late", &fixture.discovered("sample"));
    assert_ended(&fixture, &fixture.ended("late"), "Failed", "Inconclusive", Some("DeadlineExceeded"));
}

#[test]
fn a_restore_session_of_somebody_else_is_left_untouched() {
    let fixture = Fixture::new("foreign-restore");
    fixture.verify_by_hand();
    let foreign = "apiVersion: core.kubestash.com/v1alpha1
kind: RestoreSession
metadata: {name: somebodys}
spec:
  target: {apiGroup: \"\", kind: PersistentVolumeClaim, name: target}
  dataSource: {repository: sample, snapshot: latest}
  addon: {name: pvc-addon, tasks: [{name: logical-backup-restore}]}
";
    fixture.apply(foreign);
    let before = fixture.kubectl.get(RESTORES, "somebodys").unwrap();
    // A session of ours in the same namespace proves that the controller was at work meanwhile.
    fixture.session("ours", &fixture.discovered("sample"));
    assert_ended(&fixture, &fixture.ended("ours"), "Succeeded", "Verified", None);
    assert_eq!(before, fixture.kubectl.get(RESTORES, "somebodys").unwrap());
}

#[test]
fn a_forged_restore_session_never_turns_a_session_green() {
    let fixture = Fixture::new("forged");
    fixture.verify_by_hand();
    let forged = "apiVersion: core.kubestash.com/v1alpha1
kind: RestoreSession
metadata: {name: forged}
spec:
  target: {apiGroup: \"\", kind: PersistentVolumeClaim, name: target}
  dataSource: {repository: sample, snapshot: latest}
  addon: {name: pvc-addon, tasks: [{name: logical-backup-restore}]}
";
    fixture.apply(forged);
    let green = r#"{"status":{"phase":"Succeeded","totalComponents":1,"components":{"pod":{"phase":"Succeeded"}},"conditions":[{"type":"MetricsPushed","status":"True","reason":"SuccessfullyPushedMetrics","lastTransitionTime":"2026-01-01T00:00:00Z"}],"verdict":"Verified"}}"#;
    fixture.kubectl.run(&["patch", RESTORES, "forged", "--subresource=status", "--type=merge", "-p", green]).unwrap();
    fixture.session("forged", &fixture.discovered("sample"));
    assert_ended(&fixture, &fixture.ended("forged"), "Failed", "Inconclusive", Some("NameTaken"));
}
