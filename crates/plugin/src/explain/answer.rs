//! What the session found, and what to do about it.

use std::fmt::Write as _;

use backproof_api::{BackupVerificationSession, Cause, Verdict, VerificationPhase, cause::CauseClass, shared::Wire};

use crate::output::plain;

/// Whether the backup is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// By this session, or by an earlier one that this one names.
    Proven,
    /// It is not known yet.
    Open,
    /// The session is over, and it is not.
    Not,
}

pub(super) fn of(session: &BackupVerificationSession) -> Answer {
    let Some(status) = &session.status else { return Answer::Open };
    match (status.phase.as_ref().and_then(Wire::known), status.verdict.as_ref().and_then(Wire::known)) {
        (Some(VerificationPhase::Succeeded), Some(Verdict::Verified)) | (Some(VerificationPhase::Skipped), Some(Verdict::Skipped)) => {
            Answer::Proven
        }
        (Some(VerificationPhase::Running) | None, _) => Answer::Open,
        (Some(VerificationPhase::Succeeded | VerificationPhase::Failed | VerificationPhase::Skipped), verdict) => {
            // Phase and verdict are set by the last write; before it the session is being closed.
            if verdict.is_some() || status.verdict.is_some() { Answer::Not } else { Answer::Open }
        }
    }
}

/// What is to be done where the data is bad; the words of docs/reference/causes.md, as a test makes sure.
pub(super) const DEFECT: &str =
    "Take a new backup now, and look at the storage: `status.message` and `status.evidence.findings` name the damaged files.";
/// What is to be done where it could not be found out.
pub(super) const UNKNOWN: &str =
    "`status.message` names the object, the field and the remedy. The session is repeated while it has retries left.";

/// The last lines.
pub(super) fn text(session: &BackupVerificationSession) -> String {
    let status = session.status.clone().unwrap_or_default();
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        if !value.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{what:<8} {}", plain(value));
        }
    };
    let answer = of(session);
    let verdict = match answer {
        Answer::Open => "none yet".to_owned(),
        Answer::Proven | Answer::Not => status.verdict.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    line("verdict", &verdict);
    let cause = status.cause.as_ref();
    if let Some(cause) = cause {
        let meaning = cause.known().map(|cause: Cause| format!(": {}", cause.description())).unwrap_or_default();
        line("cause", &format!("{cause}{meaning}"));
    }
    line("message", &status.message);
    let remedy = match (answer, cause.and_then(Wire::known).map(Cause::class)) {
        (Answer::Proven, _) => "none needed",
        (Answer::Open, _) if status.conditions.is_empty() => "see whether a controller runs: kubectl backproof doctor",
        (Answer::Open, _) => "none needed yet: the session goes on by itself, and ends at its deadline at the latest",
        (Answer::Not, Some(CauseClass::Defect)) => DEFECT,
        (Answer::Not, Some(CauseClass::Unknown)) => UNKNOWN,
        (Answer::Not, Some(CauseClass::Finding) | None) => "see what is marked !! above",
    };
    line("remedy", remedy);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedies_are_those_of_the_page_of_causes() {
        let page = include_str!("../../../../docs/reference/causes.md");
        for text in [DEFECT, UNKNOWN] {
            assert!(page.contains(text), "{text}");
        }
        for cause in Cause::ALL {
            assert!(page.contains(&format!("| `{cause}` | {} |", cause.description())), "{cause}");
        }
    }

    #[test]
    fn a_verdict_that_contradicts_its_phase_proves_nothing() {
        let session = |phase: &str, verdict: Option<&str>| {
            let status = serde_json::json!({"phase": phase, "verdict": verdict, "conditions": [{"type": "Ready", "status": "True"}]});
            serde_json::from_value::<BackupVerificationSession>(serde_json::json!({"metadata": {}, "spec": {}, "status": status})).unwrap()
        };
        assert_eq!(of(&session("Succeeded", Some("Verified"))), Answer::Proven);
        assert_eq!(of(&session("Failed", Some("Verified"))), Answer::Not);
        assert_eq!(of(&session("Succeeded", Some("Splendid"))), Answer::Not);
        assert_eq!(of(&session("Succeeded", None)), Answer::Open);
        assert_eq!(of(&session("Running", None)), Answer::Open);
    }
}
