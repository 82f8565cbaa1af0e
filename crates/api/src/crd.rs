//! CustomResourceDefinitions of all kinds, as the API server, kubectl and other readers of schemas want them.
//!
//! `kube` and `schemars` give the names and a first schema; what is done to it here: explicit defaults only (`x-default` in
//! the types), no `nullable`, no formats that Kubernetes does not know, both markers for int-or-string, one line per
//! description, no `anyOf` or `oneOf`. Generated, not written by hand, so that types and schema cannot drift apart.

pub mod cel;

use std::sync::LazyLock;

use kube::{CustomResourceExt, core::schema::StructuralSchemaRewriter};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::kinds::{
    Addon, BackupBatch, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Function, Repository,
    RestoreSession, Snapshot,
};

/// Every kind, made once: the schemas are large.
static ALL: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    vec![
        definition::<BackupVerificationSession>(),
        definition::<BackupVerifier>(),
        definition::<BackupConfiguration>(),
        definition::<BackupBatch>(),
        definition::<RestoreSession>(),
        definition::<Repository>(),
        definition::<Snapshot>(),
        definition::<BackupStorage>(),
        definition::<Addon>(),
        definition::<Function>(),
    ]
});

/// Kind, group and plural of every kind, with its CustomResourceDefinition.
pub fn all() -> &'static [Definition] {
    &ALL
}

/// A CustomResourceDefinition as JSON, and what files about it are named after.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Kind, such as `BackupVerifier`.
    pub kind: String,
    /// Group, such as `core.kubestash.com`.
    pub group: String,
    /// Plural, as in URLs.
    pub plural: String,
    /// The CustomResourceDefinition object.
    pub object: Value,
    /// The schema with the name of each of our types as `x-type`, for the reference page.
    pub named_schema: Value,
}

impl Definition {
    /// Schema of the one version.
    pub fn schema(&self) -> &Value {
        &self.object["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    }
}

/// Fields that are ours, by kind: those that upstream's schemas lack.
fn ours(kind: &str) -> impl Iterator<Item = &'static str> {
    let rows = include_str!("../upstream/ours.tsv").lines().filter(|line| !line.starts_with('#')).skip(1);
    let rows = rows.filter_map(|line| line.split_once('\t')).filter_map(|(owner, rest)| Some((owner, rest.split('\t').next()?)));
    rows.filter(move |(owner, _)| *owner == kind).map(|(_, path)| path)
}

impl Definition {
    /// The same kind without what is ours, as upstream defines it: with it, an API server drops our fields.
    pub fn without_ours(&self) -> Value {
        let mut object = self.object.clone();
        let version = &mut object["spec"]["versions"][0];
        for path in ours(&self.kind) {
            let (place, field) = path.rsplit_once('.').unwrap_or_default();
            let node = place.split('.').fold(&mut version["schema"]["openAPIV3Schema"], |node, part| &mut node["properties"][part]);
            if let Some(properties) = node["properties"].as_object_mut() {
                properties.remove(field);
            }
            if let Some(columns) = version["additionalPrinterColumns"].as_array_mut() {
                columns.retain(|column| !column["jsonPath"].as_str().is_some_and(|json_path| shows(json_path, path)));
            }
        }
        object
    }
}

/// Whether a printer column shows this field, or something in it.
fn shows(json_path: &str, path: &str) -> bool {
    json_path.strip_prefix('.').and_then(|shown| shown.strip_prefix(path)).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The CustomResourceDefinition of one kind.
pub fn definition<K: CustomResourceExt + JsonSchema>() -> Definition {
    let resource = K::api_resource();
    let mut object = json!(K::crd());
    let named_schema = schema::<K>();
    let mut schema = named_schema.clone();
    drop_names(&mut schema);
    add_rules(&resource.kind, &mut schema);
    object["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema;
    object["spec"]["names"]["listKind"] = json!(format!("{}List", resource.kind));
    drop_nulls(&mut object);
    Definition { kind: resource.kind, group: resource.group, plural: resource.plural, object, named_schema }
}

fn schema<K: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(StructuralSchemaRewriter);
    let mut schema = settings.into_generator().into_root_schema_for::<K>().to_value();
    tidy(&mut schema);
    if let Value::Object(root) = &mut schema {
        for key in ["components", "definitions", "required"] {
            root.remove(key);
        }
        if let Some(Value::Object(properties)) = root.get_mut("properties") {
            add_type_meta(properties);
        }
    }
    schema
}

/// The API server knows these by itself; readers of the bare schema do not.
fn add_type_meta(properties: &mut Map<String, Value>) {
    let own = std::mem::take(properties);
    properties
        .insert("apiVersion".into(), json!({ "type": "string", "description": "Group and version of the schema this object follows." }));
    properties.insert("kind".into(), json!({ "type": "string", "description": "Kind of this object." }));
    properties.insert("metadata".into(), json!({ "type": "object" }));
    properties.extend(own);
}

fn tidy(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    unwrap_optional(object);
    for key in ["default", "nullable", "title", "examples", "$schema"] {
        object.remove(key);
    }
    if let Some(default) = object.remove("x-default") {
        object.insert("default".into(), default);
    }
    if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        object.remove("format");
    }
    if object.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        object.insert("format".into(), json!("int-or-string"));
    }
    if let Some(Value::Array(words)) = object.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if let Some(Value::String(description)) = object.get_mut("description") {
        *description = one_line(description);
    }
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.sort_keys();
        properties.values_mut().for_each(tidy);
    }
    for key in ["items", "additionalProperties", "not"] {
        if let Some(inner) = object.get_mut(key) {
            tidy(inner);
        }
    }
}

/// Replaces "this or null" by "this": in a CRD an absent field needs no null, and null is never written.
fn unwrap_optional(object: &mut Map<String, Value>) {
    for key in ["anyOf", "oneOf"] {
        let Some(Value::Array(choices)) = object.get(key) else { continue };
        let real: Vec<Value> = choices.iter().filter(|choice| !is_null(choice)).cloned().collect();
        if let [Value::Object(only)] = real.as_slice() {
            object.remove(key);
            for (key, value) in only {
                object.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

fn is_null(choice: &Value) -> bool {
    choice.get("type") == Some(&json!("null")) || choice.get("enum") == Some(&json!([null])) || choice.get("const") == Some(&Value::Null)
}

/// Paragraphs stay apart; the line breaks of a comment's source do not matter.
fn one_line(text: &str) -> String {
    text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n\n")
}

/// The rules that the API server holds by itself.
fn add_rules(kind: &str, schema: &mut Value) {
    for (at, at_root) in [("", true), ("/properties/spec", false)] {
        let rules = cel::validations(kind, at_root);
        if let (false, Some(Value::Object(node))) = (rules.is_empty(), schema.pointer_mut(at)) {
            node.insert("x-kubernetes-validations".into(), Value::Array(rules));
        }
    }
}

fn drop_names(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    object.remove("x-type");
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(drop_names);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            drop_names(inner);
        }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_ours_nothing_of_ours_is_left() {
        for definition in all() {
            let upstream = definition.without_ours();
            let text = upstream.to_string();
            let count = ours(&definition.kind).count();
            assert_eq!(count == 0, upstream == definition.object, "{}", definition.kind);
            for column in upstream["spec"]["versions"][0]["additionalPrinterColumns"].as_array().into_iter().flatten() {
                assert!(!ours(&definition.kind).any(|path| shows(column["jsonPath"].as_str().unwrap(), path)), "{column}");
            }
            assert!(!text.contains("Backproof's."), "{}", definition.kind);
        }
        let sessions = all().iter().find(|definition| definition.kind == "BackupVerificationSession").unwrap().without_ours();
        let status = sessions["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"].clone();
        let mut left: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["conditions", "duration", "phase", "retried"]);
    }
}
