//! An intact repository: the schedule makes the session, it ends Verified, and nothing of the repository changed.

use std::time::Duration;

use backproof_e2e::{listing, samples, wait};

use crate::{
    fixture::{Fixture, LIMIT, SESSIONS, SNAPSHOTS, assert_ended, condition, text},
    schema::record_of,
};

#[test]
fn the_schedule_verifies_an_intact_repository() {
    let fixture = Fixture::new("green");
    let before = fixture.listing("repository");
    fixture.apply(&samples::verify());
    let snapshot = fixture.discovered("sample");
    let name = wait::quietly("the CronJob's first session", LIMIT, || {
        let sessions = fixture.kubectl.list(SESSIONS, &[])?;
        Ok(sessions.first().map(|session| text(session, "/metadata/name")))
    })
    .unwrap();
    assert!(name.starts_with("sample-daily-"), "{name}");

    let session = fixture.ended(&name);
    assert_ended(&fixture, &session, "Succeeded", "Verified", None);
    for kind in ["RestoreSucceeded", "BackupVerified", "VerificationSessionHistoryCleaned", "Ready"] {
        assert_eq!(condition(&session, kind), "True", "{kind}: {session:#}");
    }
    assert_ne!(condition(&session, "Reconciling"), "True");
    let evidence = &session["status"]["evidence"];
    assert_eq!(evidence["restored"], evidence["readBack"], "{evidence}");
    assert!(evidence["restored"]["files"].as_u64() > Some(200), "{evidence}");
    assert_eq!(session["metadata"]["labels"]["kubestash.com/invoker-name"], "sample-backup");
    assert_eq!(session["metadata"]["ownerReferences"][0]["kind"], "BackupConfiguration");

    let snapshot = fixture.kubectl.get(SNAPSHOTS, &snapshot).unwrap();
    assert_eq!(text(&snapshot, "/status/verificationStatus"), "Verified");
    assert_eq!(text(&snapshot, "/status/verificationSession"), name);
    assert_eq!(text(&record_of(&snapshot), "/sessionUid"), text(&session, "/metadata/uid"));
    assert_eq!(before, fixture.listing("repository"), "the repository was touched");
    same_trees(&fixture);

    a_proven_snapshot_is_skipped_unless_asked_for(&fixture);
}

/// The restored volume equals the source, by the listing users are shown in the demo.
fn same_trees(fixture: &Fixture) {
    fixture.apply(&samples::compare());
    fixture.job_succeeds("compare");
    // The comparison can fail: it does on a volume with one byte more.
    let source = listing::of(&fixture.host_path("source")).unwrap().len();
    let target = listing::of(&fixture.host_path("target")).unwrap().len();
    assert_eq!(target, source + 1, "the target holds the source's entries and the marker");
}

fn a_proven_snapshot_is_skipped_unless_asked_for(fixture: &Fixture) {
    fixture.session("again", "latest");
    let session = fixture.ended("again");
    assert_ended(fixture, &session, "Skipped", "Skipped", None);
    assert_eq!(condition(&session, "BackupVerificationSkipped"), "True");
    fixture.session_anyway("anyway");
    assert_ended(fixture, &fixture.ended("anyway"), "Succeeded", "Verified", None);
}

#[test]
fn history_is_kept_to_its_limit_and_finished_sessions_are_left_alone() {
    let fixture = Fixture::new("history");
    fixture.verify_by_hand_with(|manifest| manifest.replace("sessionHistoryLimit: 3", "sessionHistoryLimit: 1"));
    fixture.session_anyway("first");
    assert_ended(&fixture, &fixture.ended("first"), "Succeeded", "Verified", None);
    fixture.session_anyway("second");
    let second = fixture.ended("second");
    assert_ended(&fixture, &second, "Succeeded", "Verified", None);
    wait::quietly("the first session to be cleaned", Duration::from_secs(60), || {
        Ok(fixture.kubectl.find(SESSIONS, "first")?.is_none().then_some(()))
    })
    .unwrap();
    std::thread::sleep(Duration::from_secs(5));
    let later = fixture.kubectl.get(SESSIONS, "second").unwrap();
    assert_eq!(later["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"], "written to after its end: {later:#}");
}
