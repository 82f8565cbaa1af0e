//! Keeps our part of a status where the installed schema drops it: packed into one condition, as conditions are upstream's
//! and every schema has them. Written in the same write as the rest of the status, so both are always of one moment, and by
//! the same right: whoever may only edit metadata cannot touch it.
//!
//! An object whose schema keeps our fields never gets this condition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    condition::{self, Condition},
    kinds::{BackupVerificationSessionStatus, RestoreSessionStatus},
};

/// Type of the condition that carries our part of a status.
pub const KEPT: &str = "BackproofStatus";
/// Its reason.
const REASON: &str = "SchemaDropsTheseFields";

/// A status of which the installed schema may drop our part.
pub trait Kept: Serialize + DeserializeOwned + Clone {
    /// Our fields, as `upstream/ours.tsv` lists them.
    const OURS: &'static [&'static str];
    /// The conditions.
    fn conditions(&self) -> &[Condition];
    /// The conditions, to be changed.
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;
}

impl Kept for BackupVerificationSessionStatus {
    const OURS: &'static [&'static str] =
        &["verdict", "cause", "message", "evidence", "run", "observedGeneration", "startTime", "completionTime", "durationSeconds"];
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
    fn conditions_mut(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }
}

impl Kept for RestoreSessionStatus {
    const OURS: &'static [&'static str] =
        &["verdict", "cause", "message", "evidence", "jobs", "verification", "wipe", "observedGeneration", "startTime", "completionTime"];
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
    fn conditions_mut(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }
}

/// Whether another operator wrote this status: something stands there, but neither the facts of a run nor one of the
/// conditions that each of our writes leaves and no other operator writes.
pub fn is_foreign(status: &BackupVerificationSessionStatus) -> bool {
    let touched = status.phase.is_some() || !status.conditions.is_empty();
    let ours = [condition::READY, condition::RECONCILING, condition::STALLED, KEPT];
    touched && status.run.is_none() && !ours.iter().any(|kind| condition::is_present(&status.conditions, kind))
}

/// Whether the API server returned a status without something of ours that was sent.
pub fn is_pruned<T: Kept + PartialEq>(sent: &T, returned: Option<&T>) -> bool {
    if returned == Some(sent) {
        return false;
    }
    let (sent, returned) = (object(sent), returned.map(object).unwrap_or_default());
    T::OURS.iter().any(|field| sent.contains_key(*field) && !returned.contains_key(*field))
}

/// Whether our part of this status travels in the condition.
pub fn is_marked<T: Kept>(status: &T) -> bool {
    condition::is_present(status.conditions(), KEPT)
}

/// From now on, our part of this status travels in the condition.
pub fn mark<T: Kept>(status: &mut T, now: Time) {
    condition::set(status.conditions_mut(), Condition::new(KEPT, condition::TRUE, REASON), now);
}

/// The status as it is sent: with our part in the condition if it is marked.
pub fn packed<T: Kept>(status: &T) -> T {
    let mut sent = status.clone();
    if is_marked(status) {
        let mut whole = object(status);
        whole.retain(|field, _| T::OURS.contains(&field.as_str()));
        let text = Value::Object(whole).to_string();
        sent.conditions_mut().iter_mut().filter(|entry| entry.kind == KEPT).for_each(|entry| entry.message.clone_from(&text));
    }
    sent
}

/// The status as it was meant: what the schema dropped comes back from the condition, which stays as a mark without content.
/// A condition that cannot be read brings nothing back.
pub fn unpack<T: Kept>(status: &mut T) {
    let carried = condition::get(status.conditions(), KEPT).map(|entry| entry.message.clone()).unwrap_or_default();
    if carried.is_empty() {
        return;
    }
    if let Ok(Value::Object(carried)) = serde_json::from_str(&carried) {
        let mut whole = object(status);
        for (field, value) in carried.into_iter().filter(|(field, _)| T::OURS.contains(&field.as_str())) {
            whole.entry(field).or_insert(value);
        }
        if let Ok(meant) = serde_json::from_value(Value::Object(whole)) {
            *status = meant;
        }
    }
    status.conditions_mut().iter_mut().filter(|entry| entry.kind == KEPT).for_each(|entry| entry.message.clear());
}

fn object<T: Serialize>(status: &T) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(object)) => object,
        // A status is always an object; one that could not be written has no fields.
        Ok(_) | Err(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an API server with upstream's schema makes of a status.
    fn pruned<T: Kept>(status: &T) -> T {
        let mut left = object(status);
        left.retain(|field, _| !T::OURS.contains(&field.as_str()));
        serde_json::from_value(Value::Object(left)).unwrap()
    }

    fn status() -> BackupVerificationSessionStatus {
        serde_saphyr::from_str(
            "{phase: Failed, verdict: Inconclusive, cause: OutOfMemory, message: m, durationSeconds: 5, observedGeneration: 2,
              startTime: '2026-01-01T00:00:00Z', completionTime: '2026-01-01T00:00:05Z', duration: 5s,
              run: {snapshot: {name: s, uid: u}, deadline: '2026-01-01T06:00:00Z', restoreSpecHash: h},
              evidence: {source: Executor, restored: {files: 1, directories: 2, bytes: 3}},
              conditions: [{type: BackupVerified, status: 'False', lastTransitionTime: '2026-01-01T00:00:05Z'}]}",
        )
        .unwrap()
    }

    #[test]
    fn what_is_dropped_comes_back() {
        let mut meant = status();
        assert!(is_pruned(&meant, Some(&pruned(&meant))) && !is_pruned(&meant, Some(&meant)) && is_pruned(&meant, None));
        mark(&mut meant, Time("2026-01-01T00:00:00Z".parse().unwrap()));
        let mut back = pruned(&packed(&meant));
        assert_eq!(back.run, None);
        unpack(&mut back);
        assert_eq!(back, meant);
        // And again: the mark stays, the content is of the last write.
        back.message = "later".into();
        let mut again = pruned(&packed(&back));
        unpack(&mut again);
        assert_eq!(again.message, "later");
    }

    #[test]
    fn where_nothing_is_dropped_nothing_is_added() {
        assert_eq!(packed(&status()), status());
        let mut same = status();
        unpack(&mut same);
        assert_eq!(same, status());
    }

    #[test]
    fn what_the_schema_keeps_wins_and_nonsense_brings_nothing() {
        let mut meant = status();
        mark(&mut meant, Time("2026-01-01T00:00:00Z".parse().unwrap()));
        let mut sent = packed(&meant);
        sent.message = "kept by the schema".into();
        unpack(&mut sent);
        assert_eq!(sent.message, "kept by the schema");
        for nonsense in ["{", "[]", r#"{"run": 7}"#, r#"{"phase": "Succeeded"}"#] {
            let mut bad = pruned(&meant);
            bad.conditions.iter_mut().filter(|entry| entry.kind == KEPT).for_each(|entry| nonsense.clone_into(&mut entry.message));
            unpack(&mut bad);
            assert_eq!((bad.run, bad.phase), (None, meant.phase.clone()), "{nonsense}");
        }
    }

    /// The list of fields is the one that the walk over upstream's schema allows.
    #[test]
    fn our_fields_are_the_listed_ones() {
        let listed = |kind: &str| -> Vec<String> {
            let lines = include_str!("../upstream/ours.tsv").lines().map(|line| line.split('\t').collect::<Vec<_>>());
            let mut fields: Vec<_> =
                lines.filter(|row| row[0] == kind).filter_map(|row| row[1].strip_prefix("status.").map(str::to_owned)).collect();
            fields.sort();
            fields
        };
        let sorted = |fields: &[&str]| {
            let mut fields: Vec<_> = fields.iter().map(|field| (*field).to_owned()).collect();
            fields.sort();
            fields
        };
        assert_eq!(sorted(BackupVerificationSessionStatus::OURS), listed("BackupVerificationSession"));
        assert_eq!(sorted(RestoreSessionStatus::OURS), listed("RestoreSession"));
    }
}
