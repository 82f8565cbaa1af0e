//! A session never changes.

use serde_json::Value;

use crate::{
    BackupVerificationSession,
    validate::{Findings, rules::session as rules},
};

/// Whether a session may be changed so: its spec never changes.
pub fn session_update(old: &BackupVerificationSession, new: &BackupVerificationSession) -> Findings {
    let mut findings = Findings::default();
    let as_json = |session: &BackupVerificationSession| serde_json::to_value(&session.spec).unwrap_or(Value::Null);
    changes("spec", &as_json(old), &as_json(new), &mut findings);
    findings
}

/// Names every field in which two objects differ.
fn changes(path: &str, old: &Value, new: &Value, findings: &mut Findings) {
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            let added = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(added) {
                let at = |object: &'_ serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or(Value::Null);
                changes(&format!("{path}.{key}"), &at(before), &at(after), findings);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            let shown = |value: &Value| if value.is_null() { "nothing".to_owned() } else { value.to_string() };
            findings.refuse(
                rules::IMMUTABLE,
                path,
                format!("is immutable, it cannot change from {} to {}", shown(before), shown(after)),
                "create another BackupVerificationSession instead",
            );
        }
    }
}
