//! What every reader of the CRDs counts on: structural, small, described, and made of keywords and formats Kubernetes knows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use backproof_api::crd;
use serde_json::{Map, Value, json};

/// `kubectl apply` keeps the object in an annotation of at most 262,144 bytes.
const SIZE_LIMIT: usize = 250_000;

/// Visits every schema node with its path.
fn visit(path: &str, node: &Value, seen: &mut dyn FnMut(&str, &Map<String, Value>)) {
    let Some(object) = node.as_object() else { return };
    seen(path, object);
    if let Some(properties) = object.get("properties").and_then(Value::as_object) {
        properties.iter().for_each(|(name, child)| visit(&format!("{path}.{name}"), child, seen));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = object.get(key) {
            visit(&format!("{path}[]"), child, seen);
        }
    }
}

fn faults(mut judge: impl FnMut(&str, &Map<String, Value>) -> Option<String>) {
    let mut faults = Vec::new();
    for definition in crd::all() {
        visit(&definition.kind, definition.schema(), &mut |path, node| {
            faults.extend(judge(path, node).map(|fault| format!("{path}: {fault}")))
        });
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn each_fits_into_an_annotation() {
    for definition in crd::all() {
        let size = serde_json::to_string(&definition.object).unwrap().len();
        assert!(size < SIZE_LIMIT, "{}: {size} bytes", definition.kind);
    }
}

#[test]
fn schemas_are_structural_and_use_known_keywords() {
    const KNOWN: [&str; 15] = [
        "additionalProperties",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "maximum",
        "minimum",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
    ];
    faults(|path, node| {
        // Rules of our own stand at two kinds only; `upstream/ours-rules.tsv` lists them.
        let may_have_rules = ["BackupVerificationSession", "BackupVerificationSession.spec", "BackupVerifier.spec"].contains(&path);
        if node.contains_key("x-kubernetes-validations") != may_have_rules {
            return Some(format!("has CEL rules: {}", !may_have_rules));
        }
        let unknown: Vec<_> = node
            .keys()
            .filter(|key| {
                !KNOWN.contains(&key.as_str()) && *key != "x-kubernetes-preserve-unknown-fields" && *key != "x-kubernetes-validations"
            })
            .collect();
        if !unknown.is_empty() {
            return Some(format!("keywords {unknown:?}"));
        }
        let typed = node.get("type").is_some_and(Value::is_string);
        let either = node.get("x-kubernetes-int-or-string").is_some();
        if typed == either {
            return Some("needs either a type or the mark for integers and strings".into());
        }
        if node.contains_key("properties") && node.contains_key("additionalProperties") {
            return Some("is both an object and a map".into());
        }
        (node.get("type") == Some(&json!("array")) && !node.contains_key("items")).then(|| "a list of what?".into())
    });
}

#[test]
fn every_cel_rule_repeats_a_rule_of_the_validator() {
    let known: Vec<_> = backproof_api::validate::rule::all().collect();
    for cel in crd::cel::ALL {
        assert!(known.iter().any(|rule| rule.id == cel.id && rule.kinds == [cel.kind]), "{}", cel.id);
    }
    assert!(known.iter().any(|rule| rule.id == crd::cel::IMMUTABLE_ID));
}

#[test]
fn formats_are_known_to_kubernetes() {
    let mut either = 0;
    faults(|_, node| {
        if node.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
            either += 1;
            return (node.get("format") != Some(&json!("int-or-string"))).then(|| "lacks the second mark".into());
        }
        match (node["type"].as_str().unwrap_or_default(), node.get("format").and_then(Value::as_str)) {
            (_, None) | ("integer", Some("int32" | "int64")) | ("number", Some("double")) | ("string", Some("date-time" | "byte")) => None,
            (kind, format) => Some(format!("{kind} with format {format:?}")),
        }
    });
    assert!(either > 20, "quantities and ports must be among the {either} seen");
}

#[test]
fn defaults_are_valid_and_few() {
    let mut count = 0;
    faults(|_, node| {
        let default = node.get("default")?;
        count += 1;
        let fits = match node["type"].as_str().unwrap_or_default() {
            "string" => default.is_string() && node.get("enum").is_none_or(|words| words.as_array().unwrap().contains(default)),
            "integer" => default.is_i64(),
            "boolean" => default.is_boolean(),
            _ => false,
        };
        (!fits).then(|| format!("default {default}"))
    });
    assert!(count > 10, "{count}");
    for definition in crd::all() {
        assert_eq!(definition.schema()["properties"]["status"].get("default"), None, "{}", definition.kind);
    }
}

#[test]
fn unknown_fields_are_kept_only_where_upstream_keeps_them() {
    faults(|path, node| {
        let last = path.rsplit('.').next().unwrap_or_default();
        (node.contains_key("x-kubernetes-preserve-unknown-fields") && !matches!(last, "query" | "params"))
            .then(|| "keeps unknown fields".into())
    });
}

#[test]
fn conditions_stay_an_atomic_list() {
    let mut count = 0;
    faults(|path, node| {
        if path.ends_with(".conditions") {
            count += 1;
            return (node.contains_key("x-kubernetes-list-type") || node.contains_key("x-kubernetes-list-map-keys"))
                .then(|| "merges by key".into());
        }
        None
    });
    assert!(count >= 7, "{count}");
}

#[test]
fn required_fields_exist() {
    faults(|_, node| {
        let properties = node.get("properties").and_then(Value::as_object);
        let missing: Vec<_> = node
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|name| properties.is_none_or(|properties| !properties.contains_key(name.as_str().unwrap())))
            .collect();
        (!missing.is_empty()).then(|| format!("requires {missing:?}, which is not there"))
    });
}

#[test]
fn neither_spec_nor_status_is_required() {
    for definition in crd::all() {
        assert_eq!(definition.schema().get("required"), None, "{}", definition.kind);
        assert!(definition.schema()["properties"].get("spec").is_some(), "{}", definition.kind);
    }
}

/// Fields of ours and of upstream's kinds are described; below a Kubernetes type nothing is.
#[test]
fn every_field_of_the_kinds_is_described() {
    fn described(path: &str, node: &Value, faults: &mut Vec<String>) {
        let Some(properties) = node.get("properties").and_then(Value::as_object) else {
            for key in ["items", "additionalProperties"] {
                if let Some(child) = node.get(key) {
                    described(&format!("{path}[]"), child, faults);
                }
            }
            return;
        };
        // A Kubernetes type carries no descriptions at all; one of ours that lost them all would be the only other case.
        if properties.values().all(|property| property.get("description").is_none()) {
            return;
        }
        for (name, property) in properties.iter().filter(|(name, _)| path.contains('.') || *name != "metadata") {
            let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
            if text.is_empty() || text.contains("Auto-generated") || text.contains("  ") {
                faults.push(format!("{path}.{name}: {text:?}"));
            }
            described(&format!("{path}.{name}"), property, faults);
        }
    }
    let mut faults = Vec::new();
    for definition in crd::all() {
        let root = definition.schema()["description"].as_str().unwrap_or_default();
        assert!(!root.is_empty() && !root.contains("Auto-generated"), "{}: {root}", definition.kind);
        for part in ["spec", "status"] {
            if let Some(schema) = definition.schema()["properties"].get(part) {
                assert!(
                    schema["properties"].as_object().unwrap().values().all(|property| property.get("description").is_some()),
                    "{}",
                    definition.kind
                );
            }
        }
        described(&definition.kind, definition.schema(), &mut faults);
        let columns = definition.object["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap();
        assert!(columns.iter().all(|column| column["description"].as_str().is_some_and(|text| !text.is_empty())), "{}", definition.kind);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
