//! Whether an object of the API server still says what was applied: defaults it added do not count.

use serde_json::Value;

/// Whether everything in `wanted` stands in `found` too. Lists must agree in length and order.
pub(crate) fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| found.get(key).map_or_else(|| is_nothing(wanted), |found| covers(found, wanted)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| covers(found, wanted))
        }
        (found, wanted) => found == wanted,
    }
}

/// What the API server leaves out when it writes an object.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_do_not_count_and_edits_do() {
        for (found, wanted, same) in [
            (json!({"a": 1, "b": 2}), json!({"a": 1}), true),
            (json!({"a": 1}), json!({"a": 1, "b": 2}), false),
            (json!({"a": [{"x": 1, "y": 2}]}), json!({"a": [{"x": 1}]}), true),
            (json!({"a": [1, 2]}), json!({"a": [1]}), false),
            (json!({"a": [2, 1]}), json!({"a": [1, 2]}), false),
            (json!({}), json!({"a": {}, "b": [], "c": null}), true),
            (json!({}), json!({"a": false}), false),
            (json!({"a": true}), json!({"a": false}), false),
        ] {
            assert_eq!(covers(&found, &wanted), same, "{found} {wanted}");
        }
    }
}
