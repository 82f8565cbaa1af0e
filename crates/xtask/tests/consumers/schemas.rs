//! kubeconform with the JSON schemas of docs/reference/schemas: what is right passes, and each fault is named where it is.

use std::collections::BTreeMap;

use serde_json::Value;
use tempfile::TempDir;

use crate::corpus::{Broken, broken, name, run, valid, write};

/// What kubeconform says of each of these objects, by name: its status, and path and message of each error.
pub(crate) fn kubeconform(objects: &[Value]) -> BTreeMap<String, (String, Vec<String>)> {
    let directory = TempDir::new().unwrap();
    write(directory.path(), objects);
    let schemas = xtask::root().join("docs/reference/schemas/{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json");
    let arguments = ["-strict", "-verbose", "-output", "json", "-schema-location", schemas.to_str().unwrap()];
    let output = run("kubeconform", &[&arguments[..], &[directory.path().to_str().unwrap()]].concat(), "");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let resources = said["resources"].as_array().unwrap();
    assert_eq!(resources.len(), objects.len(), "{said:#}");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    resources
        .iter()
        .map(|resource| {
            let errors = resource["validationErrors"].as_array().map(Vec::as_slice).unwrap_or_default();
            let errors = errors.iter().map(|error| format!("{}: {}", word(&error["path"]), word(&error["msg"]))).collect();
            (format!("{} {}", word(&resource["kind"]), word(&resource["name"])), (word(&resource["status"]), errors))
        })
        .collect()
}

fn key(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap(), name(object))
}

#[test]
fn what_is_right_passes() {
    let mut objects = valid();
    // One of each: two samples may have an object of the same kind and name.
    let mut seen = std::collections::BTreeSet::new();
    objects.retain(|object| seen.insert(key(object)));
    let kinds: std::collections::BTreeSet<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), backproof_api::crd::all().len(), "an object of each kind: {kinds:?}");
    for (object, said) in kubeconform(&objects) {
        assert_eq!(said, ("statusValid".to_owned(), vec![]), "{object}");
    }
}

/// The path, and how the message ends or, of a list of words, how it begins.
fn is_named(said: &str, wanted: &str) -> bool {
    let (path, message) = wanted.split_once(": ").unwrap();
    said.strip_prefix(path).and_then(|rest| rest.strip_prefix(": ")).is_some_and(|rest| rest.contains(message))
}

#[test]
fn each_fault_is_named_where_it_is() {
    let broken = broken();
    assert!(broken.iter().filter(|broken| broken.kubeconform.is_some()).count() >= 20);
    let objects: Vec<Value> = broken.iter().map(|broken| broken.object.clone()).collect();
    let said = kubeconform(&objects);
    assert_eq!(said.len(), objects.len(), "each has a name of its own");
    for Broken { object, kubeconform, .. } in &broken {
        let (status, errors) = &said[&key(object)];
        match kubeconform {
            Some(wanted) => {
                assert_eq!(status, "statusInvalid", "{object}");
                assert!(matches!(errors.as_slice(), [one] if is_named(one, wanted)), "{wanted}\n{errors:?}\n{object}");
            }
            None => assert_eq!(status, "statusValid", "JSON schemas see it by now: {object}"),
        }
    }
}

/// A word that nobody knows, far inside, is all it takes.
#[test]
fn an_unknown_field_is_what_the_schemas_are_closed_for() {
    let mut object = valid().into_iter().find(|object| object["kind"] == "BackupVerifier").unwrap();
    let status = |object: &Value| kubeconform(std::slice::from_ref(object)).into_values().next().unwrap().0;
    assert_eq!(status(&object), "statusValid");
    object["spec"]["restoreOption"]["addonInfo"]["surprise"] = true.into();
    assert_eq!(status(&object), "statusInvalid");
}
