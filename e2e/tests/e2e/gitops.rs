//! What GitOps tools make of live sessions: kstatus and Argo CD's health script, computed by the libraries they use.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    cases::{Case, waits_for_a_node},
    fixture::{Fixture, SESSIONS, SNAPSHOTS},
    host::repository,
};

/// kstatus and Argo CD's health of each session there is.
fn health(fixture: &Fixture) -> BTreeMap<String, (String, String)> {
    let program = PathBuf::from(std::env::var_os("BACKPROOF_BIN").expect("run this through make test-e2e")).join("health");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/gitops/health.lua");
    let mut child = Command::new(&program)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run make tools", program.display()));
    let sessions = Value::Array(fixture.kubectl.list(SESSIONS, &[]).unwrap());
    child.stdin.take().unwrap().write_all(sessions.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "health of {sessions:#}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let words: Vec<&str> = line.split('\t').collect();
            (words[0].to_owned(), (words[1].to_owned(), words[2].to_owned()))
        })
        .collect()
}

#[test]
fn kstatus_and_argo_cd_tell_each_phase() {
    let fixture = Fixture::new("gitops");
    fixture.verify_by_hand();
    // A Snapshot without components is a defect that needs no Job to be seen.
    fixture.apply_all(&[repository("hollow", "local", "")]);
    let hollow = fixture.snapshot_of("hollow");
    let patch = json!({"status": {"components": null, "totalComponents": 0}}).to_string();
    fixture.kubectl.run(&["patch", SNAPSHOTS, &hollow, "--subresource=status", "--type=merge", "-p", &patch]).unwrap();
    let owing = json!({"retryConfig": {"maxRetry": 2, "delay": "1h"}});
    let cases = [
        Case::new("green"),
        Case::new("red").on("hollow", "local"),
        Case::new("unknown").addon("no-such-addon"),
        Case::new("owing").addon("no-such-addon").verifier(owing).retries(1),
        Case::new("running").pending(),
    ];
    fixture.start(&cases);
    let ended = fixture.all_ended(&["green", "red", "unknown", "owing"]);
    let verdicts: Vec<_> = ended.iter().map(|session| session["status"]["verdict"].as_str().unwrap_or_default()).collect();
    assert_eq!(verdicts, ["Verified", "VerificationFailed", "Inconclusive", "Inconclusive"]);
    let mut again = Case::new("green").session_named("skipped");
    again["metadata"]["annotations"] = json!({});
    fixture.apply_all(&[again]);
    fixture.ended("skipped");
    fixture.pod_of("running", waits_for_a_node);

    let expected = [
        ("green", "Current", "Healthy"),
        ("owing", "Failed", "Progressing"),
        ("red", "Failed", "Degraded"),
        ("running", "InProgress", "Progressing"),
        ("skipped", "Current", "Healthy"),
        ("unknown", "Failed", "Degraded"),
    ];
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(name, kstatus, argo)| (name.to_owned(), (kstatus.to_owned(), argo.to_owned()))).collect();
    assert_eq!(health(&fixture), expected, "{}", fixture.describe("running"));
    // What people script with.
    for (name, done) in [("green", true), ("skipped", true), ("red", false), ("running", false)] {
        let wait = fixture.kubectl.output(&["wait", "--for=condition=Ready", &format!("{SESSIONS}/{name}"), "--timeout=2s"], None).unwrap();
        assert_eq!(wait.status.success(), done, "kubectl wait for {name}: {}", String::from_utf8_lossy(&wait.stderr));
    }
}
