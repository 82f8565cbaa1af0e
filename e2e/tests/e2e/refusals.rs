//! What admission refuses, with the words a user reads.

use backproof_e2e::samples;

use crate::fixture::{Fixture, SESSIONS, session};

#[test]
fn sessions_that_cannot_run_are_refused_with_field_and_remedy() {
    let fixture = Fixture::new("refused");
    fixture.verify_by_hand();
    let good = session("good", "latest");
    for (manifest, field, names) in [
        (samples::refused_invoker(), "spec.invoker.name", "no-such-backup"),
        (samples::refused_snapshot(), "spec.snapshot", "no-such-snapshot"),
        (good.replace("session: daily", "session: hourly"), "spec.session", "hourly"),
        (good.replace("repository: sample", "repository: other"), "spec.repository", "other"),
        (good.replace("name: good", &format!("name: {}", "g".repeat(64))), "metadata.name", "63"),
    ] {
        let refusal = fixture.kubectl.refused(&manifest).unwrap();
        assert!(refusal.contains(field) && refusal.contains(names), "{refusal}");
    }
    fixture.kubectl.run(&["patch", "backupconfiguration", "sample-backup", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#]).unwrap();
    let refusal = fixture.kubectl.refused(&good).unwrap();
    assert!(refusal.contains("paused"), "{refusal}");
    assert_eq!(fixture.kubectl.list(SESSIONS, &[]).unwrap().len(), 0);
}

#[test]
fn the_spec_of_a_session_cannot_be_changed() {
    let fixture = Fixture::new("immutable");
    fixture.verify_by_hand();
    fixture.session("fixed", "latest");
    let patch = ["patch", SESSIONS, "fixed", "--type=merge", "-p", r#"{"spec":{"session":"hourly"}}"#];
    let output = fixture.kubectl.output(&patch, None).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("immutable"), "{said}");
}
