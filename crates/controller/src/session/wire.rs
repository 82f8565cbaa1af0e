//! The session's status on the wire: upstream's conditions and messages, and the conditions that GitOps tools read.

use backproof_api::{
    BackupVerificationSessionStatus, Cause,
    condition::{self, Condition, READY, RECONCILING, STALLED},
    phase::{self, conditions as of, reasons},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::clock::whole_second;

/// Why a session is not proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) cause: Cause,
    /// What happened and what to do, naming object, field and remedy.
    pub(super) message: String,
    /// Whether the backup was restored all the same: then it is what was restored that is not as it must be, or was not asked.
    pub(super) restored: bool,
}

impl Refusal {
    pub(super) fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self { cause, message: message.into(), restored: false }
    }

    /// The same of a backup that was restored.
    pub(super) fn after_restore(self) -> Self {
        Self { restored: true, ..self }
    }
}

/// A moment as Kubernetes keeps it: whole seconds.
pub(super) fn time(at: Timestamp) -> Time {
    Time(whole_second(at))
}

/// Says what is going on; the session is under way.
pub(super) fn progress(status: &mut BackupVerificationSessionStatus, reason: &str, message: &str, now: Timestamp) {
    message.clone_into(&mut status.message);
    set(status, Condition::new(RECONCILING, condition::TRUE, reason).with_message(message), now);
    set(status, Condition::new(READY, condition::UNKNOWN, reason).with_message(message), now);
    status.phase = Some(phase::verification(&status.conditions).into());
}

/// Writes that everything was restored and read back.
pub(super) fn verified(status: &mut BackupVerificationSessionStatus, now: Timestamp) {
    set(status, Condition::new(of::RESTORE_SUCCEEDED, condition::TRUE, reasons::RESTORED_BACKUP), now);
    set(status, Condition::new(of::BACKUP_VERIFIED, condition::TRUE, reasons::VERIFIED_BACKUP), now);
    status.cause = None;
    status.phase = Some(phase::verification(&status.conditions).into());
}

/// Writes that the Job of a verifier was made and has answered.
pub(super) fn asked(status: &mut BackupVerificationSessionStatus, now: Timestamp) {
    set(status, Condition::new(of::VERIFICATION_EXECUTOR_ENSURED, condition::TRUE, reasons::ENSURED_VERIFICATION_EXECUTOR), now);
}

/// Writes that nothing was proven, and why. BackupVerified is False whatever it was, so that upstream's rule can never call it
/// Succeeded; the restore is, unless it came to its end.
pub(super) fn failed(status: &mut BackupVerificationSessionStatus, refusal: &Refusal, now: Timestamp) {
    let error = quoted(&format!("{}: {}", refusal.cause, refusal.message));
    let entry = |kind, reason, lead: &str| Condition::new(kind, condition::FALSE, reason).with_message(format!("{lead}. Reason: {error}"));
    let restore = if refusal.restored {
        Condition::new(of::RESTORE_SUCCEEDED, condition::TRUE, reasons::RESTORED_BACKUP)
    } else {
        entry(of::RESTORE_SUCCEEDED, reasons::FAILED_TO_RESTORE_BACKUP, "Failed to restore backup")
    };
    set(status, restore, now);
    set(status, entry(of::BACKUP_VERIFIED, reasons::FAILED_TO_VERIFY_BACKUP, "Failed to verify backup"), now);
    status.cause = Some(refusal.cause.into());
    refusal.message.clone_into(&mut status.message);
    status.phase = Some(phase::verification(&status.conditions).into());
}

/// How a session ends, for those who watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Good,
    Bad,
}

/// The conditions of a finished session: never both Reconciling and Stalled.
pub(super) fn finished(status: &mut BackupVerificationSessionStatus, ending: Ending, reason: &str, message: &str, now: Timestamp) {
    status.conditions.retain(|entry| entry.kind != RECONCILING);
    match ending {
        Ending::Good => set(status, Condition::new(READY, condition::TRUE, reason).with_message(message), now),
        Ending::Bad => {
            set(status, Condition::new(STALLED, condition::TRUE, reason).with_message(message), now);
            set(status, Condition::new(READY, condition::FALSE, reason).with_message(message), now);
        }
    }
}

/// Sets one condition.
pub(super) fn set(status: &mut BackupVerificationSessionStatus, new: Condition, now: Timestamp) {
    condition::set(&mut status.conditions, new, time(now));
}

/// A text as Go's `%q` writes it, which is how upstream's messages carry errors.
pub(super) fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            // Writing to a String cannot fail.
            c if c < ' ' || c == '\u{7f}' => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        for (text, expected) in [
            ("plain", r#""plain""#),
            ("a \"b\" \\ c", r#""a \"b\" \\ c""#),
            ("line\nnext\ttab\r", r#""line\nnext\ttab\r""#),
            ("\u{0}\u{1b}\u{7f}", r#""\x00\x1b\x7f""#),
            ("schöne Grüße ✓", "\"schöne Grüße ✓\""),
            ("\u{85}\u{a0}\u{2028}", r#""\u0085\u00a0\u2028""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn a_failure_has_upstreams_form_and_a_finished_one_is_stalled() {
        let mut status = BackupVerificationSessionStatus::default();
        progress(&mut status, "Pinned", "x", Timestamp::UNIX_EPOCH);
        failed(&mut status, &Refusal::new(Cause::PackDamaged, "pack \"12\" is damaged"), Timestamp::UNIX_EPOCH);
        let verified = condition::get(&status.conditions, of::BACKUP_VERIFIED).unwrap();
        assert_eq!(verified.message, r#"Failed to verify backup. Reason: "PackDamaged: pack \"12\" is damaged""#);
        assert_eq!(verified.reason, "FailedToVerifyBackup");
        finished(&mut status, Ending::Bad, "VerificationFailed", "x", Timestamp::UNIX_EPOCH);
        let kinds: Vec<_> = status.conditions.iter().map(|entry| (entry.kind.as_str(), entry.status.as_str())).collect();
        assert_eq!(kinds, [("Ready", "False"), ("RestoreSucceeded", "False"), ("BackupVerified", "False"), ("Stalled", "True")]);
    }
}
