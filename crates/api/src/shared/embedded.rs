//! Schemas of Kubernetes' own types where ours embed them.
//!
//! Their descriptions are dropped, as upstream drops them: with them a single CRD would outgrow what `kubectl apply` can
//! carry in its annotation. Their few differences from what a CRD generated from Go says are mended here, by what the type
//! says of itself, so that no manifest that upstream accepts is refused.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// Kubernetes marks by this sentence a name that is required in its own schema, but empty by default in a CRD's.
const MAY_BE_EMPTY: &str = "due to backwards compatibility is allowed to be empty";

/// Schema of a Kubernetes type, for `#[schemars(schema_with = "embedded::<T>")]`.
pub(crate) fn embedded<T: JsonSchema>(_: &mut SchemaGenerator) -> Schema {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    mend(&mut schema);
    if let Value::Object(object) = &mut schema {
        object.remove("title");
    }
    Schema::try_from(schema).unwrap_or_default()
}

/// Schema of a free-form object.
pub(crate) fn free_form(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

fn mend(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    let may_be_empty = names_that_may_be_empty(object);
    if !may_be_empty.is_empty() {
        if let Some(Value::Array(required)) = object.get_mut("required") {
            required.retain(|name| name.as_str().is_none_or(|name| !may_be_empty.iter().any(|empty| empty == name)));
        }
        if object.get("required").is_some_and(|required| required == &json!([])) {
            object.remove("required");
        }
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for (name, property) in properties.iter_mut() {
            mend(property);
            if let (true, Value::Object(property)) = (may_be_empty.contains(name), property) {
                property.insert("x-default".into(), json!(""));
            }
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            mend(inner);
        }
    }
    object.remove("description");
}

fn names_that_may_be_empty(object: &Map<String, Value>) -> Vec<String> {
    let Some(Value::Object(properties)) = object.get("properties") else { return Vec::new() };
    let described = |property: &Value| property.get("description").and_then(Value::as_str).is_some_and(|text| text.contains(MAY_BE_EMPTY));
    properties.iter().filter(|(_, property)| described(property)).map(|(name, _)| name.clone()).collect()
}
