//! The schema of the values: it knows every key, and nothing else.

use serde_json::{Map, Value};

use crate::render::{chart, text};

fn read(file: &str) -> Value {
    let text = std::fs::read_to_string(chart().join(file)).unwrap();
    if file.ends_with(".json") { serde_json::from_str(&text).unwrap() } else { serde_saphyr::from_str(&text).unwrap() }
}

/// A part of the schema, with its reference followed.
fn resolved<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference} leads nowhere")),
        None => schema,
    }
}

fn walk(path: &str, value: &Value, schema: &Value, root: &Value, wrong: &mut Vec<String>) {
    let schema = resolved(schema, root);
    if schema.as_object().is_none_or(Map::is_empty) {
        wrong.push(format!("{path}: anything goes"));
    }
    let (Some(values), Some(properties)) = (value.as_object(), schema.get("properties").and_then(Value::as_object)) else {
        // A map whose keys are the user's own.
        if value.is_object() && schema.get("properties").is_some() {
            wrong.push(format!("{path}: is no map by the schema"));
        }
        return;
    };
    if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
        wrong.push(format!("{path}: unknown keys are let in"));
    }
    let known: Vec<_> = properties.keys().filter(|key| !(path.is_empty() && *key == "global") && *key != "claims").collect();
    wrong.extend(values.keys().filter(|key| !properties.contains_key(*key)).map(|key| format!("{path}.{key}: not in the schema")));
    wrong.extend(known.iter().filter(|key| !values.contains_key(**key)).map(|key| format!("{path}.{key}: not in values.yaml")));
    for (key, value) in values {
        if let Some(schema) = properties.get(key) {
            walk(&format!("{path}.{key}"), value, schema, root, wrong);
        }
    }
}

#[test]
fn schema_and_values_have_the_same_keys() {
    let (values, schema) = (read("values.yaml"), read("values.schema.json"));
    let mut wrong = Vec::new();
    walk("", &values, &schema, &schema, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The walk sees what it is there for.
    let mut other = values.clone();
    other["image"]["flavour"] = Value::from("x");
    other["webhook"].as_object_mut().unwrap().remove("log");
    walk("", &other, &schema, &schema, &mut wrong);
    assert_eq!(wrong, [".image.flavour: not in the schema", ".webhook.log: not in values.yaml"]);
}

#[test]
fn what_is_wrong_is_refused() {
    for (values, named) in [
        ("imag: {}", "imag"),
        ("image: {digest: \"sha256:12\"}", "digest"),
        ("image: {pullPolicy: Sometimes}", "pullPolicy"),
        ("controller: {replicas: many}", "replicas"),
        ("controller: {defaultTimeout: 6 hours}", "defaultTimeout"),
        ("controller: {resources: {limits: {memory: lots}}}", "memory"),
        ("controller: {extraArgs: [workers]}", "extraArgs"),
        ("crossNamespace: {verify: []}", "verify"),
        ("crossNamespace: {Verify: [demo]}", "Verify"),
        ("networkPolicy: {apiServerPorts: []}", "apiServerPorts"),
        ("monitoring: {rules: {disabled: [BackproofWebhookUp]}}", "disabled"),
        ("monitoring: {rules: {certificateDays: 30}}", "certificateDays"),
    ] {
        let said = text(values).expect_err(values);
        assert!(said.contains("values don't meet the specifications of the schema") && said.contains(named), "{values}\n{said}");
    }
}
