//! RestoreSessions of somebody else: left untouched, and never believed.

use crate::fixture::{Fixture, RESTORES, assert_ended};

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
