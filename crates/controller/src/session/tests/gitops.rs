//! What GitOps tools read: conditions and times, by the rules of kstatus, for every write and for each way to end.

use backproof_api::{
    BackupVerificationSessionStatus, Verdict,
    condition::{self, READY, RECONCILING, STALLED},
};
use serde_json::{Value, json};

use super::world::{GREEN, RED, World, yaml};

/// What must be true of every status that is ever written.
pub(super) fn holds(status: &BackupVerificationSessionStatus) {
    let is = |kind: &str| condition::is_true(&status.conditions, kind);
    let done = status.phase.as_ref().and_then(backproof_api::shared::Wire::known).is_some_and(backproof_api::VerificationPhase::is_done);
    let good = status.verdict.as_ref().is_some_and(|verdict| *verdict == Verdict::Verified || *verdict == Verdict::Skipped);
    assert!(!(is(RECONCILING) && is(STALLED)), "both Reconciling and Stalled: {status:?}");
    assert_eq!(is(READY), done && good, "Ready only when verified or validly skipped: {status:?}");
    assert_eq!(is(STALLED), done && !good, "Stalled when it failed for good: {status:?}");
    assert_eq!(is(RECONCILING), !done, "Reconciling while it runs: {status:?}");
    assert!(status.observed_generation.is_some(), "observedGeneration also when failing: {status:?}");
    assert_eq!(status.completion_time.is_some(), done, "{status:?}");
    assert_eq!(status.duration_seconds.is_some(), done, "{status:?}");
}

/// The part of a status that tools read.
fn read(world: &World) -> Value {
    let status = serde_json::to_value(world.status()).unwrap();
    let mut conditions: Vec<_> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| [READY, RECONCILING, STALLED].contains(&entry["type"].as_str().unwrap()))
        .map(|entry| {
            format!("{}={} {}", entry["type"].as_str().unwrap(), entry["status"].as_str().unwrap(), entry["reason"].as_str().unwrap())
        })
        .collect();
    conditions.sort();
    json!({
        "phase": status["phase"], "observedGeneration": status["observedGeneration"], "conditions": conditions,
        "startTime": status["startTime"], "completionTime": status["completionTime"], "durationSeconds": status["durationSeconds"],
    })
}

#[test]
fn each_phase_reads_as_tools_want_it() {
    let running = World { answer: None, ..World::new() }.run(None);
    assert_eq!(
        read(&running),
        json!({
            "phase": "Running", "observedGeneration": 1, "conditions": ["Ready=Unknown Restoring", "Reconciling=True Restoring"],
            "startTime": "2026-01-01T00:00:00Z", "completionTime": null, "durationSeconds": null,
        })
    );
    let ended = |answer: &'static str| {
        let mut world = running.clone().after(90);
        world.restore.as_mut().unwrap().status = Some(yaml(answer));
        world.run(None)
    };
    let end = |phase: &str, conditions: &[&str]| {
        json!({
            "phase": phase, "observedGeneration": 1, "conditions": conditions,
            "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:01:30Z", "durationSeconds": 90,
        })
    };
    assert_eq!(read(&ended(GREEN)), end("Succeeded", &["Ready=True Verified"]));
    assert_eq!(read(&ended(RED)), end("Failed", &["Ready=False VerificationFailed", "Stalled=True VerificationFailed"]));
    let unclear = "{verdict: Inconclusive, cause: OutOfMemory, conditions: [{type: MetricsPushed, status: 'True'}]}";
    assert_eq!(read(&ended(unclear)), end("Failed", &["Ready=False Inconclusive", "Stalled=True Inconclusive"]));
    let skipped = ended(GREEN).again("second").run(None);
    assert_eq!(
        read(&skipped),
        json!({
            "phase": "Skipped", "observedGeneration": 1, "conditions": ["Ready=True Skipped"],
            "startTime": "2026-01-01T00:01:30Z", "completionTime": "2026-01-01T00:01:30Z", "durationSeconds": 0,
        })
    );
}
