//! What a finished session says, in words and as exit code.

use std::fmt::Write as _;

use backproof_api::{BackupVerificationSession, Cause, Verdict, VerificationPhase, duration, kept, report::Counts, shared::Wire};
use kube::ResourceExt as _;

use crate::{error::Error, output::plain};

/// Exit code of no answer in time.
pub(crate) const LATE: u8 = 3;

/// An answer that is no contradiction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged(Verdict);

impl Judged {
    /// The exit code.
    pub(super) fn code(self) -> u8 {
        match self.0 {
            // A session is skipped only where a proof of this very Snapshot by the same verifier holds.
            Verdict::Verified | Verdict::Skipped => 0,
            Verdict::VerificationFailed => 1,
            Verdict::Inconclusive => 2,
        }
    }
}

/// Whether the session has said its last word, or another operator has.
pub(super) fn is_finished(session: &BackupVerificationSession) -> bool {
    let Some(status) = &session.status else { return false };
    let done = status.phase.as_ref().and_then(Wire::known).is_some_and(VerificationPhase::is_done);
    // Phase and verdict are set by one write, the last one.
    done && (status.verdict.is_some() || kept::is_foreign(status))
}

/// What a finished session found, unless phase and verdict contradict each other.
pub(super) fn judge(session: &BackupVerificationSession) -> Result<Judged, Error> {
    let name = session.name_any();
    let status = session.status.clone().unwrap_or_default();
    if kept::is_foreign(&status) {
        return Err(Error::Session(format!(
            "session {name}: another operator wrote its status, so it is no answer of Backproof's: `kubectl backproof doctor` looks for ours"
        )));
    }
    let (verdict, phase) = (status.verdict.as_ref(), status.phase.as_ref().and_then(Wire::known));
    match (verdict.and_then(Wire::known), phase) {
        (Some(verdict @ Verdict::Verified), Some(VerificationPhase::Succeeded))
        | (Some(verdict @ Verdict::Skipped), Some(VerificationPhase::Skipped))
        | (Some(verdict @ (Verdict::VerificationFailed | Verdict::Inconclusive)), Some(VerificationPhase::Failed)) => Ok(Judged(verdict)),
        _ => Err(Error::Session(format!(
            "session {name}: phase {} and verdict {} contradict each other or are words of another version, so they prove nothing",
            status.phase.map_or_else(|| "-".to_owned(), |phase| phase.to_string()),
            verdict.map_or_else(|| "-".to_owned(), ToString::to_string),
        ))),
    }
}

/// Verdict, cause, message and evidence, a line each.
pub(super) fn text(session: &BackupVerificationSession) -> String {
    let status = session.status.clone().unwrap_or_default();
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{what:<12} {}", plain(value));
        }
    };
    line("session", &format!("{}/{}", session.namespace().unwrap_or_default(), session.name_any()));
    line("verdict", &status.verdict.map(|verdict| verdict.to_string()).unwrap_or_default());
    if let Some(cause) = &status.cause {
        let meaning = cause.known().map(|cause: Cause| format!(": {}", cause.description())).unwrap_or_default();
        line("cause", &format!("{cause}{meaning}"));
    }
    line("message", &status.message);
    if let Some(run) = &status.run {
        line("snapshot", &run.snapshot.name);
        line("verifier", &format!("{}/{}", run.verifier.object.namespace, run.verifier.object.name));
        line("proven by", &run.proven_by);
    }
    if let Some(evidence) = &status.evidence {
        line("restored", &counts(evidence.restored));
        line("read back", &counts(evidence.read_back));
        line("source", &evidence.source);
        line("not covered", &evidence.not_covered.join(", "));
        for check in &evidence.checks {
            let holds = if check.holds { "holds" } else { "does not hold" };
            line("check", &format!("{} {holds}: expected {}, found {}", check.name, check.expected, check.actual));
        }
        for finding in &evidence.findings {
            let words = [finding.kind.as_str(), &finding.path, &finding.detail];
            line("finding", &words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(": "));
        }
        line("restic ids", &evidence.restic_ids.join(", "));
        line("executor", &evidence.executor);
    }
    line("duration", &status.duration);
    text
}

/// Figures in words; what was not measured is no figure.
fn counts(counts: Counts) -> String {
    if counts == Counts::default() {
        return String::new();
    }
    format!("{} files, {} directories, {}", counts.files, counts.directories, duration::size(counts.bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn session(status: serde_json::Value) -> BackupVerificationSession {
        serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "demo"}, "spec": {}, "status": status})).unwrap()
    }

    fn code(phase: &str, verdict: &str) -> u8 {
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        let session = session(json!({"phase": phase, "verdict": verdict, "conditions": conditions}));
        assert!(is_finished(&session) || phase == "Running");
        judge(&session).map_or_else(|error| error.code(), Judged::code)
    }

    #[test]
    fn the_exit_code_is_the_verdict_and_a_contradiction_is_none() {
        assert_eq!(code("Succeeded", "Verified"), 0);
        assert_eq!(code("Skipped", "Skipped"), 0);
        assert_eq!(code("Failed", "VerificationFailed"), 1);
        assert_eq!(code("Failed", "Inconclusive"), 2);
        for (phase, verdict) in [
            ("Failed", "Verified"),
            ("Succeeded", "Inconclusive"),
            ("Succeeded", "Splendid"),
            ("Running", "Verified"),
            ("Failed", "Skipped"),
        ] {
            assert_eq!(code(phase, verdict), 6, "{phase} {verdict}");
        }
    }

    #[test]
    fn a_phase_without_verdict_is_no_end_and_another_operators_no_answer() {
        let ours = session(json!({"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "Unknown"}]}));
        assert!(!is_finished(&ours));
        let foreign = session(json!({"phase": "Succeeded", "conditions": [{"type": "BackupVerified", "status": "True"}]}));
        assert!(is_finished(&foreign));
        assert_eq!(judge(&foreign).unwrap_err().code(), 6);
    }
}
