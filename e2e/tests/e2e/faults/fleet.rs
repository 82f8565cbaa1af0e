//! Sessions of every verdict beside each other, and what must be true of them after any fault.

use std::collections::{BTreeMap, BTreeSet};

use backproof_e2e::samples;
use serde_json::json;

use crate::{
    cases::Case,
    fixture::{Fixture, RESTORES, SNAPSHOTS, text},
};

/// Phase, verdict and cause.
type Ending = (&'static str, &'static str, Option<&'static str>);

const GREEN: Ending = ("Succeeded", "Verified", None);
const RED: Ending = ("Failed", "VerificationFailed", Some("PackDamaged"));
const UNKNOWN: Ending = ("Failed", "Inconclusive", Some("RepositoryNotFound"));

/// Cases of every verdict, each with a target of its own; sessions are made of them in rounds.
pub(super) struct Fleet {
    pub(super) fixture: Fixture,
    cases: Vec<(Case, Ending)>,
    /// By repository.
    snapshots: BTreeMap<&'static str, String>,
}

impl Fleet {
    /// Two red, one inconclusive, the rest green.
    pub(super) fn new(test: &str, size: usize) -> Self {
        let fixture = Fixture::new(test);
        fixture.verify_by_hand();
        fixture.apply(&samples::copies());
        let snapshots = ["sample", "damaged", "gone"].map(|repository| (repository, fixture.discovered(repository))).into();
        fixture.sabotage(&samples::bit_flip(), "bit-flip");
        fixture.sabotage(&samples::outage(), "outage");
        let of = |at: usize| match at {
            0 | 1 => (Case::new(&format!("red-{at}")).on("damaged", "damaged"), RED),
            2 => (Case::new(&format!("gone-{at}")).on("gone", "gone"), UNKNOWN),
            _ => (Case::new(&format!("green-{at}")), GREEN),
        };
        let cases: Vec<_> = (0..size).map(of).collect();
        fixture.apply_all(&cases.iter().flat_map(|(case, _)| case.objects()).collect::<Vec<_>>());
        Self { fixture, cases, snapshots }
    }

    /// Creates one session of each case, and returns their names.
    pub(super) fn round(&self, round: &str) -> Vec<String> {
        let names: Vec<String> = self.cases.iter().map(|(case, _)| format!("{}-{round}", case.name)).collect();
        let sessions = self.cases.iter().zip(&names).map(|((case, _), name)| {
            let mut session = case.session_named(name);
            // By its name: the newest would be looked for first, and this is not about that.
            session["spec"]["snapshot"] = json!(self.snapshots[case.repository()]);
            session
        });
        self.fixture.apply_all(&sessions.collect::<Vec<_>>());
        // What an earlier round could not find out holds the next one off, for longer each time.
        let probe = format!("backproof.dev/probe={round}");
        self.fixture.kubectl.run(&["annotate", "--overwrite", "repositories.storage.kubestash.com", "gone", &probe]).unwrap();
        names
    }

    /// Waits for a round and checks everything that must be true of it.
    pub(super) fn must_end_rightly(&self, names: &[String]) {
        let fixture = &self.fixture;
        let sessions = fixture.all_ended(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let restores = fixture.kubectl.list(RESTORES, &[]).unwrap();
        let pods = pods_made(fixture);
        let mut wrong = Vec::new();
        for (session, (_, expected)) in sessions.iter().zip(self.cases.iter().cycle()) {
            let status = &session["status"];
            let came = (status["phase"].as_str(), status["verdict"].as_str(), status["cause"].as_str());
            let name = text(session, "/metadata/name");
            if came != (Some(expected.0), Some(expected.1), expected.2) {
                wrong.push(format!("{name}: {came:?} {}", status["message"]));
            }
            let uid = &session["metadata"]["uid"];
            let own = restores.iter().filter(|restore| restore["metadata"]["labels"]["backproof.dev/session-uid"] == *uid).count();
            if own != 1 {
                wrong.push(format!("{name}: {own} RestoreSessions"));
            }
            let made = pods.get(&name).copied().unwrap_or_default();
            if made != 1 {
                wrong.push(format!("{name}: {made} pods were made for it"));
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), names.len(), wrong.join("\n"));
        self.snapshots_say_so();
    }

    fn snapshots_say_so(&self) {
        for (repository, expected) in [("sample", "Verified"), ("damaged", "VerificationFailed"), ("gone", "NotVerified")] {
            let snapshot = self.fixture.kubectl.get(SNAPSHOTS, &self.snapshots[repository]).unwrap();
            assert_eq!(snapshot["status"]["verificationStatus"], expected, "{snapshot:#}");
        }
        backproof_e2e::wait::quietly("the last locks", crate::fixture::LIMIT, || Ok(self.fixture.locked().is_empty().then_some(())))
            .unwrap();
    }
}

/// How many pods were made for each session: those that are there, and those the Job controller has told of, as an event may be
/// lost with the API server and a pod deleted. A Job that was made again without having started has none.
pub(crate) fn pods_made(fixture: &Fixture) -> BTreeMap<String, u64> {
    let told = fixture.kubectl.list("events", &["--field-selector", "involvedObject.kind=Job,reason=SuccessfulCreate"]).unwrap();
    let told = told
        .iter()
        .filter_map(|event| Some((text(event, "/involvedObject/name"), text(event, "/message").strip_prefix("Created pod: ")?.to_owned())));
    let there = fixture.kubectl.list("pods", &["-l", "backproof.dev/session-uid"]).unwrap();
    let there = there.iter().map(|pod| (text(pod, "/metadata/ownerReferences/0/name"), text(pod, "/metadata/name")));
    let mut made: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (job, pod) in told.chain(there) {
        // NAME-pod-UID
        if let Some((session, _)) = job.rsplit_once("-pod-") {
            made.entry(session.to_owned()).or_default().insert(pod);
        }
    }
    made.into_iter().map(|(session, pods)| (session, pods.len() as u64)).collect()
}

/// How often each session tells each reason.
pub(crate) fn told(fixture: &Fixture) -> BTreeMap<(String, String), u64> {
    let events = fixture.kubectl.list("events", &["--field-selector", "involvedObject.kind=BackupVerificationSession"]).unwrap();
    let mut told = BTreeMap::new();
    for event in &events {
        let times = event["count"].as_u64().or_else(|| event["series"]["count"].as_u64()).unwrap_or(1);
        *told.entry((text(event, "/involvedObject/name"), text(event, "/reason"))).or_default() += times;
    }
    told
}
