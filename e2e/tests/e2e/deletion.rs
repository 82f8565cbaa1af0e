//! A session deleted at any step: afterwards nothing of it is left, neither in its namespace nor among the locks.

use backproof_e2e::wait;
use serde_json::{Value, json};

use crate::{
    cases::{Case, runs, waits_for_a_node},
    fixture::{Fixture, LIMIT, RESTORES, SESSIONS, assert_ended, text},
};

const RESTIC: &str = "localhost/backproof/restic:dev";
/// Kinds of everything a session makes where it runs.
const MADE: &str = "restoresessions.core.kubestash.com,jobs,pods,secrets,configmaps,rolebindings,serviceaccounts";

impl Fixture {
    /// Whether a finalizer of the session is ours, and gone.
    fn nothing_left_of(&self, session: &str, uid: &str) {
        let left = || -> anyhow::Result<Vec<String>> {
            let mut left: Vec<String> =
                self.kubectl.find(SESSIONS, session)?.iter().map(|session| text(session, "/metadata/name")).collect();
            for object in self.kubectl.list(MADE, &[])? {
                let owned = object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.iter().any(|o| o["uid"] == uid));
                if owned || object["metadata"]["labels"]["backproof.dev/session-uid"] == uid {
                    left.push(format!("{} {}", text(&object, "/kind"), text(&object, "/metadata/name")));
                }
            }
            left.extend(self.leases_of(uid));
            Ok(left)
        };
        wait::quietly(&format!("everything of {session} to go"), LIMIT, || Ok(left()?.is_empty().then_some(())))
            .unwrap_or_else(|error| panic!("{error}: {:?}\n{}", left(), self.describe(session)));
    }

    fn uid_of(&self, session: &str) -> String {
        text(&self.kubectl.get(SESSIONS, session).unwrap(), "/metadata/uid")
    }

    fn delete_sessions(&self, names: &[&str]) {
        self.kubectl.run(&[&["delete", SESSIONS, "--wait=false"], names].concat()).unwrap();
    }
}

#[test]
fn sessions_deleted_at_each_stage_leave_nothing() {
    let fixture = Fixture::new("stages");
    fixture.verify_by_hand();
    let sleeper = fixture.addon("sleeper", RESTIC, &["/bin/sleep", "3600"]);
    let stubborn = json!({"terminationGracePeriodSeconds": 3});
    let ended = Case::new("ended");
    let repeated = Case::new("repeated").retries(3).addon("no-such-addon").verifier(json!({"retryConfig": {"maxRetry": 3, "delay": "1h"}}));
    let running = Case::new("running").addon(&sleeper).pod(stubborn);
    let pending = Case::new("pending").pending();
    let waiting = Case::new("waiting").into_target_of("running");
    fixture.start(&[ended, repeated, running, pending]);
    fixture.pod_of("running", runs);
    fixture.start(&[waiting]);
    fixture.pod_of("pending", waits_for_a_node);
    wait::quietly("waiting to wait", LIMIT, || {
        Ok(text(&fixture.session_now("waiting")?, "/status/message").starts_with("waiting for ").then_some(()))
    })
    .unwrap();
    let verdicts = fixture.all_ended(&["ended", "repeated"]);
    assert_ended(&fixture, &verdicts[0], "Succeeded", "Verified", None);
    assert_ended(&fixture, &verdicts[1], "Failed", "Inconclusive", Some("AddonNotFound"));

    // Each step of a run, from the first moment on: the sessions are deleted at once, after 0.2 s, 0.4 s, ...
    let moments: Vec<Case> = (0..8).map(|at| Case::new(&format!("moment-{at}"))).collect();
    fixture.apply_all(&moments.iter().flat_map(Case::objects).collect::<Vec<_>>());
    let mut uids: Vec<(String, String)> =
        ["waiting", "pending", "running", "ended", "repeated"].map(|name| (name.to_owned(), fixture.uid_of(name))).into();
    for (at, case) in moments.iter().enumerate() {
        fixture.apply_all(&[case.session()]);
        uids.push((case.name.clone(), fixture.uid_of(&case.name)));
        std::thread::sleep(std::time::Duration::from_millis(200 * at as u64));
        fixture.delete_sessions(&[&case.name]);
    }
    fixture.delete_sessions(&["waiting", "pending", "running", "ended", "repeated"]);
    for (name, uid) in &uids {
        fixture.nothing_left_of(name, uid);
    }
    assert_eq!(fixture.kubectl.list(RESTORES, &[]).unwrap(), Vec::<Value>::new());
    assert_eq!(fixture.locked(), Vec::<String>::new());

    // What was deleted is not repeated, and its target is free.
    let again = Case::new("again").into_target_of("running");
    fixture.start(std::slice::from_ref(&again));
    assert_ended(&fixture, &fixture.ended("again"), "Succeeded", "Verified", None);
    assert_eq!(fixture.kubectl.list(SESSIONS, &[]).unwrap().len(), 1, "a deleted session was repeated");
}

#[test]
#[ignore = "long: one more of what sessions deleted at each stage have in every run"]
fn a_namespace_goes_with_sessions_in_it() {
    let fixture = Fixture::new("namespace");
    fixture.verify_by_hand();
    let sleeper = fixture.addon("sleeper", RESTIC, &["/bin/sleep", "3600"]);
    fixture.start(&[Case::new("running").addon(&sleeper).pod(json!({"terminationGracePeriodSeconds": 1})), Case::new("pending").pending()]);
    fixture.pod_of("running", runs);
    fixture.pod_of("pending", waits_for_a_node);
    let namespace = fixture.kubectl.in_namespace();
    fixture.cluster.run(&["delete", "namespace", namespace, "--timeout=180s"]).unwrap();
    wait::quietly("the locks of a namespace that is gone", LIMIT, || Ok(fixture.locked().is_empty().then_some(()))).unwrap();
}
