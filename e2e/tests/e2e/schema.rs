//! CRDs that drop Backproof's own fields: the same tests run under them (`hack/upstream-crds.sh`), and read those fields where
//! they are kept then.

use backproof_e2e::kubectl;
use serde_json::Value;

use crate::fixture::text;

/// Condition that carries our part of a status.
const KEPT: &str = "BackproofStatus";

/// A session or RestoreSession with the fields that the schema dropped, as they were meant.
pub(crate) fn meant(mut object: Value) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let kept = conditions.iter().find(|condition| condition["type"] == KEPT).map(|condition| text(condition, "/message"));
    if let Some(Value::Object(kept)) = kept.and_then(|kept| serde_json::from_str(&kept).ok()) {
        for (field, value) in kept {
            assert!(object["status"][&field].is_null(), "{field} is kept twice: {object:#}");
            object["status"][&field] = value;
        }
    }
    object
}

/// Fails if the schema is not the one this run is about: under upstream's, every ended session has the condition; under ours, none.
pub(crate) fn assert_schema(session: &Value) {
    let conditions = session["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let kept = conditions.iter().any(|condition| condition["type"] == KEPT);
    assert_eq!(kept, kubectl::drops_our_fields(), "whether condition {KEPT} is there: {session:#}");
}

/// The record of the proof on a Snapshot.
pub(crate) fn record_of(snapshot: &Value) -> Value {
    if kubectl::drops_our_fields() {
        let text = text(&snapshot["metadata"]["annotations"], "/backproof.dev~1verification");
        return serde_json::from_str(&text).unwrap_or(Value::Null);
    }
    snapshot["status"]["verification"].clone()
}
