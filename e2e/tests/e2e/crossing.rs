//! Restores into another namespace: nothing crosses without the chart's consent; with it, a Job gets a copy of the keys it needs
//! for as long as it is there, and the consent ends with the value.

use std::{path::Path, process::Command};

use backproof_e2e::wait;
use serde_json::{Value, json};

use crate::{
    cases::{Case, merge, waits_for_a_node},
    fixture::{Fixture, LIMIT, PASSWORD, SESSIONS, SNAPSHOTS, assert_ended, text},
    host::{S3, SECRET, in_bucket},
};

const REPOSITORIES: &str = "repositories.storage.kubestash.com";

/// A repository in an object store, whose sessions restore into another namespace.
struct Pair {
    from: Fixture,
    into: Fixture,
    snapshot: String,
    _server: S3,
}

impl Pair {
    fn new(test: &str) -> Self {
        let (from, into) = (Fixture::empty(test), Fixture::empty(&format!("{test}-into")));
        let server = S3::start();
        server.back_up(PASSWORD);
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "encryption-secret"},
            "stringData": {"RESTIC_PASSWORD": PASSWORD, "nobodys-business": "of another program"},
        });
        let mut objects = in_bucket("store", &server.endpoint, SECRET);
        let last = objects.len() - 1;
        objects[last]["metadata"]["annotations"] = json!({"backproof.dev/discover": "true"});
        from.apply_all(&[secret]);
        from.apply_all(&objects);
        let snapshot = from.discovered("store");
        Self { from, into, snapshot, _server: server }
    }

    /// A case whose target lies in the other namespace.
    fn case(&self, name: &str) -> Case {
        let target = json!({"restoreOption": {"target": {"namespace": self.into.kubectl.in_namespace()}}});
        Case::new(name).on("store", "store").verifier(target)
    }

    /// Everything in its namespace, and the session.
    fn start(&self, case: &Case) {
        let mut objects = case.objects();
        self.into.apply_all(&[objects.remove(0)]);
        self.from.apply_all(&objects);
        self.session(case, &case.name);
    }

    fn session(&self, case: &Case, name: &str) {
        let mut session = case.session_named(name);
        session["spec"]["snapshot"] = json!(self.snapshot);
        self.from.apply_all(&[session]);
    }

    /// Nothing of ours in the target's namespace.
    fn nothing_crossed(&self) {
        for kind in ["jobs", "pods", "secrets", SESSIONS, "restoresessions.core.kubestash.com"] {
            assert_eq!(self.into.kubectl.list(kind, &[]).unwrap(), Vec::<Value>::new(), "{kind} of the target's namespace");
        }
    }

    /// What the controller may do with Secrets of a namespace.
    fn rights(&self, namespace: &str) -> Vec<&'static str> {
        let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
        let may = |verb: &&str| {
            let who = "--as=system:serviceaccount:backproof-system:backproof-controller";
            let answer = self.from.cluster.namespace(namespace).output(&["auth", "can-i", verb, "secrets", who], None).unwrap();
            String::from_utf8_lossy(&answer.stdout).trim() == "yes"
        };
        verbs.into_iter().filter(may).collect()
    }
}

#[test]
fn without_consent_nothing_crosses() {
    let pair = Pair::new("no-consent");
    let (from, into) = (pair.from.kubectl.in_namespace(), pair.into.kubectl.in_namespace());
    assert_eq!((pair.rights(from), pair.rights(into)), (vec![], vec![]));
    pair.start(&pair.case("across"));
    // The other way round: the target lies here, and the key elsewhere.
    let mut away = pair.from.kubectl.get(REPOSITORIES, "store").unwrap();
    away["metadata"] = json!({"name": "away"});
    merge(&mut away, json!({"status": null, "spec": {"encryptionSecret": {"namespace": into}}}));
    pair.from.apply_all(&[away]);
    let here = Case::new("key-elsewhere").on("away", "store");
    pair.from.apply_all(&here.objects());
    let mut session = here.session();
    session["spec"]["snapshot"] = json!(pair.from.copy_of(&pair.snapshot, "away"));
    pair.from.apply_all(&[session]);

    let ended = pair.from.all_ended(&["across", "key-elsewhere"]);
    assert_ended(&pair.from, &ended[0], "Failed", "Inconclusive", Some("CrossNamespaceNotAllowed"));
    assert_ended(&pair.from, &ended[1], "Failed", "Inconclusive", Some("SecretNotReachable"));
    for (session, value) in ended.iter().zip([format!("{{{into}: [{from}]}}"), format!("{{{from}: [{into}]}}")]) {
        let message = text(session, "/status/message");
        assert!(message.contains(&format!("crossNamespace to {value}")), "it names what to set: {message}");
    }
    pair.nothing_crossed();
    assert!(pair.into.unbound("target-across"), "a target was mounted");
    let snapshot = pair.from.kubectl.get(SNAPSHOTS, &pair.snapshot).unwrap();
    assert_eq!(text(&snapshot, "/status/verificationStatus"), "NotVerified");
}

/// The chart's value is set as long as this lives.
struct Consent;

impl Consent {
    fn new(value: &Value) -> Self {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("charts/backproof");
        let set = format!("crossNamespace={value}");
        helm(&["upgrade", "backproof", chart.to_str().unwrap(), "--reuse-values", "--set-json", &set, "--wait", "--timeout=2m"]);
        Self
    }
}

impl Drop for Consent {
    fn drop(&mut self) {
        helm(&["rollback", "backproof", "--wait", "--timeout=2m"]);
    }
}

fn helm(arguments: &[&str]) {
    let variable = |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run this through make test-long"));
    let output = Command::new(Path::new(&variable("BACKPROOF_BIN")).join("helm"))
        .env("KUBECONFIG", variable("BACKPROOF_KUBECONFIG"))
        .args(["--namespace", "backproof-system"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "long: upgrades the release, and needs the cluster to itself"]
fn with_consent_a_job_gets_the_keys_it_needs_and_no_more() {
    let pair = Pair::new("consent");
    let (from, into) = (pair.from.kubectl.in_namespace(), pair.into.kubectl.in_namespace());
    let consent = Consent::new(&json!({ into: [from] }));
    assert_eq!((pair.rights(from), pair.rights("default")), (vec!["get"], vec![]));

    let case = pair.case("across");
    pair.start(&case);
    let session = pair.from.ended("across");
    assert_ended(&pair.from, &session, "Succeeded", "Verified", None);
    assert_eq!(session["status"]["evidence"]["readBack"]["files"], 2, "{session:#}");
    let restored = pair.into.listing("target-across");
    assert!(restored.iter().any(|line| line.contains("below/noise")), "{restored:#?}");
    let snapshot = pair.from.kubectl.get(SNAPSHOTS, &pair.snapshot).unwrap();
    assert_eq!(text(&snapshot, "/status/verificationStatus"), "Verified");
    pair.from.kubectl.run(&["delete", SESSIONS, "across", "--timeout=90s"]).unwrap();
    no_secrets(&pair.into);

    // One whose pod waits, so that there is time to look at what it was given.
    let pending = pair.case("pending").pending();
    pair.start(&pending);
    let uid = text(&pair.from.kubectl.get(SESSIONS, "pending").unwrap(), "/metadata/uid");
    let label = format!("backproof.dev/session-uid={uid}");
    let of_session = |kind: &str| pair.into.kubectl.list(kind, &["-l", &label]);
    wait::quietly("the pod in the other namespace", LIMIT, || Ok(of_session("pods")?.into_iter().find(waits_for_a_node))).unwrap();
    let copies = of_session("secrets").unwrap();
    let [copy] = copies.as_slice() else { panic!("one copy: {copies:#?}") };
    let keys: Vec<&str> = copy["data"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RESTIC_PASSWORD"], "the keys it needs");
    assert_eq!(copy["immutable"], true);
    assert_eq!(copy["metadata"]["ownerReferences"][0]["uid"], of_session("jobs").unwrap()[0]["metadata"]["uid"]);
    pair.from.kubectl.run(&["delete", SESSIONS, "pending", "--timeout=90s"]).unwrap();
    wait::quietly("its Job and pod to go", LIMIT, || Ok((of_session("jobs")?.is_empty() && of_session("pods")?.is_empty()).then_some(())))
        .unwrap();
    no_secrets(&pair.into);

    drop(consent);
    assert!(
        pair.from.cluster.find("addons.addons.kubestash.com", "backproof-pvc-addon").unwrap().is_some(),
        "the rollback took the catalog"
    );
    assert_eq!((pair.rights(from), pair.rights(into)), (vec![], vec![]));
    pair.session(&case, "too-late");
    assert_ended(&pair.from, &pair.from.ended("too-late"), "Failed", "Inconclusive", Some("CrossNamespaceNotAllowed"));
}

/// A copy goes with its Job, and that with its session.
fn no_secrets(fixture: &Fixture) {
    wait::quietly("the copied Secrets to go", LIMIT, || Ok(fixture.kubectl.list("secrets", &[])?.is_empty().then_some(()))).unwrap();
}
