//! Figures by their names and labels, and when they appear and go.

use std::collections::BTreeSet;

use backproof_api::{BackupConfiguration, Guarded, Snapshot, validate::Invoker};
use kube::runtime::watcher::Event;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, encoding::text::encode};
use serde_json::json;

use super::{
    snapshots::{Answer, Facts, facts},
    standing::{Row, encode as encode_standing, rows, unfinished},
    *,
};

fn key(name: &str) -> (String, String) {
    ("demo".to_owned(), name.to_owned())
}

fn fact(repository: &str, taken: i64, answer: Option<(Answer, i64)>) -> (String, Facts) {
    let facts = Facts { repository: repository.into(), session: "daily".into(), usable: true, taken: Some(taken), answer };
    ("demo".to_owned(), facts)
}

/// A collector with a Repository that has every figure.
#[derive(Debug)]
struct Everything;

impl Collector for Everything {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let row =
            Row { proof: Some(1), failure: Some(2), inconclusive: Some(3), skip: Some(4), verifiers: Some(5), without_snapshot: Some(6) };
        encode_standing(encoder, [("waiting", 7), ("running", 8)], &[(key("sample"), row)].into())
    }
}

/// What /metrics shows when everything has happened once.
fn full() -> String {
    let mut registry = Registry::with_prefix("backproof");
    let metrics = Metrics::register(&mut registry);
    registry.register_collector(Box::new(Everything));
    metrics.reconciled("Repository", "ok");
    metrics.took("Repository", Instant::now());
    metrics.queue("Repository").set(1);
    metrics.malformed.get_or_create(&Reconciled { kind: "Repository", outcome: "malformed" }).inc();
    metrics.verified(&session("RestoreOnly"), "Verified", "", 12);
    metrics.restored(&restore());
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

fn session(kind: &str) -> BackupVerificationSession {
    let run = json!({"verifier": {"type": kind}});
    serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "demo"}, "spec": {}, "status": {"run": run}})).unwrap()
}

fn restore() -> RestoreSession {
    serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": {
        "verdict": "Verified", "evidence": {"restored": {"files": 1, "directories": 1, "bytes": 4096}},
        "startTime": "2026-11-22T10:00:00Z", "completionTime": "2026-11-22T10:01:30Z",
    }}))
    .unwrap()
}

#[test]
fn figures_appear_under_their_names() {
    let text = full();
    for line in [
        "backproof_leading 0",
        r#"backproof_reconciles_total{kind="Repository",outcome="ok"} 1"#,
        r#"backproof_queue_depth{kind="Repository"} 1"#,
        r#"backproof_malformed_objects_total{kind="Repository",outcome="malformed"} 1"#,
        r#"backproof_reconcile_seconds_count{kind="Repository"} 1"#,
        r#"backproof_verifications_total{type="RestoreOnly",verdict="Verified",cause=""} 1"#,
        "backproof_verification_duration_seconds_sum 12.0",
        r#"backproof_restores_total{verdict="Verified"} 1"#,
        "backproof_restored_bytes_total 4096",
        "backproof_restore_duration_seconds_sum 90.0",
        r#"backproof_sessions_unfinished{state="waiting"} 7"#,
        r#"backproof_sessions_unfinished{state="running"} 8"#,
        r#"backproof_repository_last_proof_timestamp_seconds{repository_namespace="demo",repository="sample"} 1"#,
        r#"backproof_repository_failed_verification_timestamp_seconds{repository_namespace="demo",repository="sample"} 2"#,
        r#"backproof_repository_last_inconclusive_timestamp_seconds{repository_namespace="demo",repository="sample"} 3"#,
        r#"backproof_repository_last_skip_timestamp_seconds{repository_namespace="demo",repository="sample"} 4"#,
        r#"backproof_repository_verifiers{repository_namespace="demo",repository="sample"} 5"#,
        r#"backproof_repository_verifiers_without_snapshot{repository_namespace="demo",repository="sample"} 6"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

/// The names of series in a text: words that begin with `backproof_`.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with("backproof_") && !word.starts_with("backproof_webhook_")).collect()
}

/// The names of labels in a text: what stands before `="`.
fn labels(text: &str) -> BTreeSet<&str> {
    let before = text.split("=\"").filter_map(|part| part.rsplit(['{', ',']).next());
    before.filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')).collect()
}

#[test]
fn rules_dashboard_and_reference_name_what_is_exported() {
    let text = full();
    let exported: BTreeSet<_> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    for (name, file) in [
        ("rules", include_str!("../../../../charts/backproof/files/monitoring/rules.yaml")),
        ("dashboard", include_str!("../../../../charts/backproof/files/monitoring/dashboard.json")),
    ] {
        let used = names(file);
        assert!(used.len() > 4, "{name}: {used:?}");
        assert!(used.is_subset(&exported), "{name} names what is not exported: {:?}", used.difference(&exported).collect::<Vec<_>>());
    }
    // The cases of the alerts are made of such series, with such labels and those that a scrape adds.
    let labels: BTreeSet<_> = ["namespace", "pod", "alertname", "alertstate"].into_iter().chain(labels(&text)).collect();
    let mut files = 0;
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../xtask/tests/alerts")).unwrap() {
        let case = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(names(&case).is_subset(&exported), "{case}");
        assert!(self::labels(&case).iter().all(|label| labels.contains(label)), "{case}");
        files += 1;
    }
    assert!(files > 4, "{files}");
    // The page lists families: every series belongs to one, and every one listed is there.
    let page = names(include_str!("../../../../docs/metrics.md"));
    let families: BTreeSet<_> =
        exported.iter().map(|name| ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)).collect();
    assert_eq!(page, families);
}

#[test]
fn a_type_nobody_knows_is_no_label_of_its_own() {
    assert_eq!(["Query", "Script", "RestoreOnly", "", "anything"].map(type_of), ["Query", "Script", "RestoreOnly", "Unknown", "Unknown"]);
}

#[test]
fn without_a_verdict_no_restore_is_counted() {
    let metrics = Metrics::register(&mut Registry::default());
    let mut restore = restore();
    restore.status.as_mut().unwrap().verdict = None;
    metrics.restored(&restore);
    assert_eq!(metrics.restored_bytes.get(), 0);
}

#[test]
fn figures_of_a_repository() {
    let (proven, bad) = (Answer::Proven, Answer::Bad);
    let asked = [("demo".to_owned(), ("a".to_owned(), "daily".to_owned()))];
    let one = |snapshots: &[(String, Facts)]| rows([key("a")], [], Some(snapshots), &asked).remove(&key("a")).unwrap();
    let base = Row { verifiers: Some(1), without_snapshot: Some(0), ..Row::default() };

    assert_eq!(one(&[]), Row { without_snapshot: Some(1), ..base });
    assert_eq!(one(&[fact("a", 100, None)]), base);
    assert_eq!(one(&[fact("other", 100, Some((proven, 110)))]), Row { without_snapshot: Some(1), ..base });
    assert_eq!(one(&[fact("a", 100, Some((proven, 110)))]), Row { proof: Some(110), ..base });
    // The newest proof counts, whichever Snapshot it is of.
    assert_eq!(one(&[fact("a", 100, Some((proven, 310))), fact("a", 200, Some((proven, 210)))]), Row { proof: Some(310), ..base });
    assert_eq!(one(&[fact("a", 100, Some((bad, 110)))]), Row { failure: Some(110), ..base });
    // A younger Snapshot that is proven outdoes an older one that is bad; an older one that is proven later does not.
    assert_eq!(one(&[fact("a", 100, Some((bad, 310))), fact("a", 200, Some((proven, 210)))]), Row { proof: Some(210), ..base });
    let still_bad = Row { proof: Some(310), failure: Some(210), ..base };
    assert_eq!(one(&[fact("a", 100, Some((proven, 310))), fact("a", 200, Some((bad, 210)))]), still_bad);
    // When it was taken is not known: nothing says that it is outdone.
    let mut undated = fact("a", 0, Some((bad, 210)));
    undated.1.taken = None;
    assert_eq!(one(&[undated, fact("a", 100, Some((proven, 310)))]), still_bad);
    let mut unusable = fact("a", 100, None);
    unusable.1.usable = false;
    assert_eq!(one(&[unusable]), Row { without_snapshot: Some(1), ..base });
}

#[test]
fn what_is_not_known_has_no_figure() {
    let asked = [("demo".to_owned(), ("a".to_owned(), "daily".to_owned()))];
    let unknown = rows([key("a")], [], None, &asked);
    assert_eq!(unknown, [(key("a"), Row { verifiers: Some(1), ..Row::default() })].into());
    // A Repository that is gone has none, whatever else is left of it.
    let gone = rows([], [(key("a"), Verdict::Inconclusive, 5)], Some(&[fact("a", 1, Some((Answer::Bad, 2)))]), &asked);
    assert!(gone.is_empty());
}

#[test]
fn sessions_without_an_answer_and_skipped_ones() {
    let ended = [
        (key("a"), Verdict::Inconclusive, 5),
        (key("a"), Verdict::Inconclusive, 9),
        (key("a"), Verdict::Inconclusive, 7),
        (key("a"), Verdict::Skipped, 6),
        (key("a"), Verdict::Verified, 10),
        (key("b"), Verdict::Skipped, 1),
    ];
    let rows = rows([key("a")], ended, Some(&[]), &[]);
    assert_eq!(rows, [(key("a"), Row { inconclusive: Some(9), skip: Some(6), ..Row::default() })].into());
}

#[test]
fn what_stands_on_a_snapshot() {
    let snapshot = |word: &str, verdict: &str, about: &str| -> Snapshot {
        let record = json!({"verdict": verdict, "snapshotUid": about, "completed": "1970-01-01T00:02:00Z", "session": "s",
            "sessionUid": "u", "started": "1970-01-01T00:01:00Z", "type": "RestoreOnly", "verifierHash": "h"});
        serde_json::from_value(json!({
            "metadata": {"name": "s", "namespace": "demo", "uid": "own"},
            "spec": {"repository": "a", "session": "daily", "snapshotID": "x", "type": "FullBackup"},
            "status": {"phase": "Succeeded", "snapshotTime": "1970-01-01T00:00:30Z", "verificationStatus": word, "verification": record},
        }))
        .unwrap()
    };
    for (word, verdict, about, expected) in [
        ("Verified", "Verified", "own", Some((Answer::Proven, 120))),
        // Green needs both, and about this very Snapshot.
        ("Verified", "Verified", "another", None),
        ("Verified", "VerificationFailed", "own", None),
        ("NotVerified", "Verified", "own", None),
        ("VerificationFailed", "VerificationFailed", "own", Some((Answer::Bad, 120))),
        // Somebody else's word for red is enough; it is as old as the Snapshot at least.
        ("VerificationFailed", "Verified", "own", Some((Answer::Bad, 30))),
    ] {
        assert_eq!(facts(&snapshot(word, verdict, about)).answer, expected, "{word} {verdict} {about}");
    }
}

#[test]
fn a_listing_replaces_what_was_known() {
    let snapshots = Snapshots::default();
    let guard = |name: &str| -> Guarded<Snapshot> {
        serde_json::from_value(json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot",
            "metadata": {"name": name, "namespace": "demo"}, "spec": {"repository": name, "session": "daily"}}))
        .unwrap()
    };
    let known = || {
        let mut names: Vec<_> = snapshots.all()?.into_iter().map(|(_, facts)| facts.repository).collect();
        names.sort();
        Some(names.join(" "))
    };
    snapshots.heard(Event::Init);
    snapshots.heard(Event::InitApply(guard("a")));
    assert_eq!(known(), None, "a listing that is not complete says nothing");
    snapshots.heard(Event::InitApply(guard("b")));
    snapshots.heard(Event::InitDone);
    assert_eq!(known().as_deref(), Some("a b"));
    snapshots.heard(Event::Apply(guard("c")));
    snapshots.heard(Event::Delete(guard("a")));
    assert_eq!(known().as_deref(), Some("b c"));
    snapshots.heard(Event::Init);
    snapshots.heard(Event::InitApply(guard("c")));
    snapshots.heard(Event::InitDone);
    assert_eq!(known().as_deref(), Some("c"));
}

#[test]
fn references_of_an_invoker() {
    let asked = asked::Asked::default();
    let mut configuration: BackupConfiguration = serde_json::from_value(json!({
        "metadata": {"name": "backup", "namespace": "demo"},
        "spec": {"sessions": [{"name": "daily", "repositories": [
            {"name": "a", "backupVerifier": {"name": "v"}}, {"name": "b"},
        ]}]},
    }))
    .unwrap();
    asked.note(Invoker::Configuration(&configuration));
    assert_eq!(asked.all(), [("demo".to_owned(), ("a".to_owned(), "daily".to_owned()))]);
    configuration.spec.paused = true;
    asked.note(Invoker::Configuration(&configuration));
    assert_eq!(asked.all(), []);
    configuration.spec.paused = false;
    asked.note(Invoker::Configuration(&configuration));
    asked.forget("BackupConfiguration", "demo", "backup");
    assert_eq!(asked.all(), []);
}

#[test]
fn unfinished_sessions_wait_or_run() {
    let with = |status: serde_json::Value| -> BackupVerificationSession {
        serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "demo"}, "spec": {}, "status": status})).unwrap()
    };
    let sessions = [
        with(json!({})),
        with(json!({"phase": "Running", "run": {}})),
        with(json!({"phase": "Running", "run": {"restoreSession": {"name": "r", "uid": "u"}}})),
        with(json!({"phase": "Succeeded", "run": {"restoreSession": {"name": "r", "uid": "u"}}})),
    ];
    assert_eq!(unfinished(&sessions), [("waiting", 2), ("running", 1)]);
}
