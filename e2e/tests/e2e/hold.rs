//! A storage that is gone for long: few Jobs, few words, and it heals by itself.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use backproof_e2e::wait;
use serde_json::{Value, json};

use crate::{
    cases::Case,
    faults::fleet::pods_made,
    fixture::{Fixture, LIMIT, PASSWORD, SESSIONS, assert_ended, text},
    host::{S3, SECRET, in_bucket},
};

const REPOSITORIES: &str = "repositories.storage.kubestash.com";

/// A repository in a server of its own, with several invoker-verifier pairs, so that all could run at once.
struct Store {
    name: &'static str,
    server: S3,
    snapshot: String,
    cases: Vec<Case>,
}

impl Store {
    fn new(fixture: &Fixture, name: &'static str) -> Self {
        let server = S3::start();
        server.back_up(PASSWORD);
        let mut objects = in_bucket(name, &server.endpoint, SECRET);
        let last = objects.len() - 1;
        objects[last]["metadata"]["annotations"] = json!({"backproof.dev/discover": "true"});
        fixture.apply_all(&objects);
        let snapshot = fixture.discovered(name);
        // From now on sessions alone look at it.
        fixture.kubectl.run(&["annotate", REPOSITORIES, name, "backproof.dev/discover-"]).unwrap();
        let case = |at: usize| Case::new(&format!("{name}-{at}")).on(name, name).verifier(json!({"timeout": "1h"}));
        let cases: Vec<Case> = (0..4).map(case).collect();
        fixture.apply_all(&cases.iter().flat_map(Case::objects).collect::<Vec<_>>());
        Self { name, server, snapshot, cases }
    }

    fn start(&self, fixture: &Fixture, cases: &[Case]) {
        let sessions = cases.iter().map(|case| {
            let mut session = case.session();
            session["spec"]["snapshot"] = json!(self.snapshot);
            session
        });
        fixture.apply_all(&sessions.collect::<Vec<_>>());
    }

    /// Sessions of this store, by phase and cause.
    fn sessions(&self, fixture: &Fixture) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut counts = BTreeMap::new();
        for session in fixture.kubectl.list(SESSIONS, &[])? {
            if session["spec"]["repository"] == self.name {
                let cause = session["status"]["cause"].as_str().map(|cause| format!(" {cause}")).unwrap_or_default();
                *counts.entry(format!("{}{cause}", text(&session, "/status/phase"))).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// Waits until there are exactly these.
    fn becomes(&self, fixture: &Fixture, limit: Duration, expected: &[(&str, usize)]) {
        let expected: BTreeMap<String, usize> = expected.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect();
        let mut seen = BTreeMap::new();
        wait::quietly(&format!("sessions of {}", self.name), limit, || {
            seen = self.sessions(fixture)?;
            Ok((seen == expected).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}: {expected:?}, there are {seen:?}\n{}", fixture.describe(&self.cases[0].name)));
    }

    /// Jobs that came to have a pod.
    fn jobs(&self, fixture: &Fixture) -> u64 {
        pods_made(fixture).iter().filter(|(session, _)| session.starts_with(self.name)).map(|(_, made)| made).sum()
    }

    fn hold(&self, fixture: &Fixture) -> Value {
        let repository = fixture.kubectl.get(REPOSITORIES, self.name).unwrap();
        serde_json::from_str(&text(&repository["metadata"]["annotations"], "/backproof.dev~1hold")).unwrap_or(Value::Null)
    }
}

#[test]
#[ignore = "long: a hold lasts for five minutes before somebody tries again"]
fn a_storage_gone_for_long_costs_few_jobs_and_heals_alone() {
    let fixture = Fixture::new("hold");
    let (mut soon, mut late) = (Store::new(&fixture, "soon"), Store::new(&fixture, "late"));
    soon.server.stop();
    late.server.stop();
    for store in [&soon, &late] {
        store.start(&fixture, &store.cases[..1]);
    }
    for session in fixture.all_ended(&["soon-0", "late-0"]) {
        assert_ended(&fixture, &session, "Failed", "Inconclusive", Some("StorageUnreachable"));
    }
    let held = Instant::now();
    for store in [&soon, &late] {
        wait::quietly("the hold", LIMIT, || Ok((store.hold(&fixture)["tries"] == 1).then_some(()))).unwrap();
        store.start(&fixture, &store.cases[1..]);
    }
    // They say until when they wait, and no Job is made for them.
    for case in soon.cases[1..].iter().chain(&late.cases[1..]) {
        wait::quietly(&format!("{} to wait", case.name), LIMIT, || {
            let message = text(&fixture.session_now(&case.name)?, "/status/message");
            Ok((message.starts_with("waiting for Repository ") && message.contains("StorageUnreachable")).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", fixture.describe(&case.name)));
    }
    soon.server.resume();
    println!("held, and the first store is back after {} s", held.elapsed().as_secs());
    assert_eq!((soon.jobs(&fixture), late.jobs(&fixture)), (1, 1), "one Job each failed");

    // Five minutes later one of each tries. Where the storage is back, that frees the others; nobody had to do anything.
    let failed = ("Failed StorageUnreachable", 1);
    soon.becomes(&fixture, Duration::from_secs(600), &[failed, ("Succeeded", 3)]);
    println!("healed alone after {} s", held.elapsed().as_secs());
    assert_eq!(soon.hold(&fixture), Value::Null, "the hold is lifted");
    late.becomes(&fixture, Duration::from_secs(600), &[("Failed StorageUnreachable", 2), ("Running", 2)]);
    wait::quietly("the longer hold", LIMIT, || Ok((late.hold(&fixture)["tries"] == 2).then_some(()))).unwrap();
    assert_eq!(late.jobs(&fixture), 2, "only one has tried");
    assert!(held.elapsed() >= Duration::from_secs(290), "it was tried after {} s already", held.elapsed().as_secs());

    // The next one would come ten minutes later; who knows that the storage is back need not wait.
    late.server.resume();
    fixture.kubectl.run(&["annotate", REPOSITORIES, "late", "backproof.dev/probe=back"]).unwrap();
    late.becomes(&fixture, 2 * LIMIT, &[("Failed StorageUnreachable", 2), ("Succeeded", 2)]);
    assert_eq!((soon.jobs(&fixture), late.jobs(&fixture)), (4, 4), "each session made one Job");
    few_words(&fixture);
}

/// No object of ours has more than three lines.
fn few_words(fixture: &Fixture) {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in fixture.kubectl.list("events", &[]).unwrap() {
        let kind = text(&event, "/involvedObject/kind");
        if text(&event, "/involvedObject/apiVersion").contains("kubestash.com") {
            let times = event["count"].as_u64().or_else(|| event["series"]["count"].as_u64()).unwrap_or(1);
            let lines = told.entry(format!("{kind} {}", text(&event, "/involvedObject/name"))).or_default();
            lines.extend((0..times).map(|_| text(&event, "/reason")));
        }
    }
    assert!(told.len() >= 10, "events of {} objects only", told.len());
    let many: Vec<_> = told.iter().filter(|(_, lines)| lines.len() > 3).collect();
    assert!(many.is_empty(), "more than three lines: {many:#?}");
}
