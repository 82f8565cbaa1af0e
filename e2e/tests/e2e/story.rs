//! What people read: the events on a session, its invoker and its Repository tell each step once, in order, and
//! `kubectl describe` shows what was found out and what to do, without a word of the controller's log.

use backproof_e2e::wait;
use serde_json::json;

use crate::{
    cases::Case,
    fixture::{Fixture, LIMIT, SESSIONS, SNAPSHOTS, assert_ended},
    host::repository,
};

const SESSION: &str = "BackupVerificationSession";
const INVOKER: &str = "BackupConfiguration";

impl Fixture {
    /// Waits until an object's story is this; what is told comes shortly after what it tells of.
    fn tells(&self, kind: &str, name: &str, story: &[&str]) {
        let mut told = Vec::new();
        wait::quietly(&format!("the story of {kind} {name}"), LIMIT, || {
            told = self.told_of(kind, name)?;
            Ok((told == story).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}: {story:?}, it is {told:?}\n{}", self.kubectl.run(&["get", "events"]).unwrap_or_default()));
    }

    fn described(&self, session: &str) -> String {
        self.kubectl.run(&["describe", SESSIONS, session]).unwrap()
    }
}

#[test]
fn describe_tells_each_step_once() {
    let fixture = Fixture::new("story");
    fixture.verify_by_hand();
    let snapshot = fixture.discovered("sample");
    fixture.apply_all(&[repository("hollow", "local", ""), repository("lost", "local", "no-such-directory")]);
    let (hollow, lost) = (fixture.snapshot_of("hollow"), fixture.snapshot_of("lost"));
    let patch = json!({"status": {"components": null, "totalComponents": 0}}).to_string();
    fixture.kubectl.run(&["patch", SNAPSHOTS, &hollow, "--subresource=status", "--type=merge", "-p", &patch]).unwrap();
    let again = json!({"retryConfig": {"maxRetry": 1, "delay": "1s"}});
    let cases = [
        (Case::new("green"), snapshot.clone()),
        (Case::new("red").on("hollow", "local"), hollow),
        (Case::new("lost").on("lost", "local"), lost),
        (Case::new("again").addon("no-such-addon").verifier(again).retries(1), snapshot),
    ];
    fixture.apply_all(&cases.iter().flat_map(|(case, _)| case.objects()).collect::<Vec<_>>());
    let sessions = cases.iter().map(|(case, snapshot)| {
        let mut session = case.session();
        session["spec"]["snapshot"] = json!(snapshot);
        session
    });
    fixture.apply_all(&sessions.collect::<Vec<_>>());
    let ended = fixture.all_ended(&["green", "red", "lost", "again"]);
    assert_ended(&fixture, &ended[0], "Succeeded", "Verified", None);
    assert_ended(&fixture, &ended[1], "Failed", "VerificationFailed", Some("NoComponents"));
    assert_ended(&fixture, &ended[2], "Failed", "Inconclusive", Some("RepositoryNotFound"));
    assert_ended(&fixture, &ended[3], "Failed", "Inconclusive", Some("AddonNotFound"));

    fixture.tells(SESSION, "green", &["RestoreStarted", "Verified"]);
    fixture.tells(INVOKER, "green", &["Verified"]);
    fixture.tells(SESSION, "red", &["VerificationFailed"]);
    fixture.tells(INVOKER, "red", &["VerificationFailed"]);
    fixture.tells(SESSION, "lost", &["RestoreStarted", "Inconclusive"]);
    fixture.tells(INVOKER, "lost", &["Inconclusive"]);
    fixture.tells("Repository", "lost", &["HeldOff"]);
    fixture.tells(SESSION, "again", &["Inconclusive", "Retried"]);
    fixture.tells(INVOKER, "again", &["Inconclusive", "Inconclusive"]);

    let green = fixture.described("green");
    for part in ["restores: ", " came back and were read back"] {
        assert!(green.contains(part), "{part:?} in:\n{green}");
    }
    let lost = fixture.described("lost");
    for part in ["RepositoryNotFound: ", "check the Repository's path", "Repository:   lost"] {
        assert!(lost.contains(part), "{part:?} in:\n{lost}");
    }
}
