//! A released version's schemas are kept: every way to take something back is seen, and what only adds is let through.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use backproof_api::crd::{self, Definition};
use serde_json::{Value, json};
use xtask::compatibility::{baseline, compare, taken_back};

#[test]
fn nothing_released_is_taken_back() {
    let taken = taken_back(&xtask::root(), crd::all()).unwrap();
    assert!(
        taken.is_empty(),
        "a released schema may only grow (docs/versioning.md); what is narrower or gone now:\n  {}",
        taken.join("\n  ")
    );
}

#[test]
fn the_running_version_has_a_baseline() {
    let path = xtask::root().join(xtask::compatibility::DIRECTORY).join(concat!(env!("CARGO_PKG_VERSION"), ".json"));
    assert!(path.is_file(), "run `cargo xtask baseline` when the version changes: {} is missing", path.display());
}

/// What is said when a definition is changed: against the one before.
fn said(kind: &str, change: impl Fn(&mut Value)) -> Vec<String> {
    let released: Value = serde_json::from_str(&baseline(crd::all()).unwrap()).unwrap();
    let mut changed: Vec<Definition> = crd::all().to_vec();
    let definition = changed.iter_mut().find(|definition| definition.kind == kind).unwrap();
    change(&mut definition.object);
    compare(&released, &changed).unwrap()
}

/// The schema of a field, by its path.
fn field<'a>(object: &'a mut Value, path: &str) -> &'a mut Value {
    let root = &mut object["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    path.split('.').fold(root, |node, name| match name.strip_suffix("[]") {
        Some(name) => &mut node["properties"][name]["items"],
        None => &mut node["properties"][name],
    })
}

fn properties<'a>(object: &'a mut Value, path: &str) -> &'a mut serde_json::Map<String, Value> {
    field(object, path)["properties"].as_object_mut().unwrap()
}

#[test]
fn unchanged_definitions_take_nothing_back() {
    assert_eq!(said("BackupVerifier", |_| ()), Vec::<String>::new());
}

#[test]
fn what_only_adds_is_let_through() {
    let taken = said("BackupVerifier", |object| {
        properties(object, "spec").insert("further".into(), json!({"type": "string"}));
        field(object, "spec.timeout")["description"] = json!("said better");
        let words = field(object, "spec.type")["enum"].as_array_mut().unwrap();
        words.push(json!("Another"));
    });
    assert_eq!(taken, Vec::<String>::new());
}

#[test]
fn every_way_to_narrow_is_seen() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 16] = [
        (|object| drop(properties(object, "spec").remove("timeout")), "BackupVerifier.spec.timeout: the field is gone"),
        // Within a type of Kubernetes, which stands in the baseline once.
        (
            |object| drop(properties(object, "spec.runtimeSettings.container.securityContext").remove("privileged")),
            "BackupVerifier.spec.runtimeSettings.container.securityContext.privileged: the field is gone",
        ),
        (|object| field(object, "spec.timeout")["type"] = json!("integer"), "spec.timeout: type was \"string\", is \"integer\""),
        (|object| field(object, "spec.timeout")["maxLength"] = json!(9), "spec.timeout: maxLength was not there, is 9"),
        (|object| field(object, "spec.timeout")["minLength"] = json!(1), "spec.timeout: minLength was not there, is 1"),
        (|object| field(object, "spec.timeout")["pattern"] = json!("^.$"), "spec.timeout: pattern was not there"),
        (|object| field(object, "spec.timeout")["format"] = json!("date"), "spec.timeout: format was not there"),
        (|object| field(object, "spec.timeout")["enum"] = json!(["6h"]), "spec.timeout: enum was not there"),
        (|object| drop(field(object, "spec.type")["enum"].as_array_mut().unwrap().remove(0)), "spec.type: enum was"),
        (|object| field(object, "spec.cleanup")["default"] = json!("Always"), "spec.cleanup: default was \"Never\", is \"Always\""),
        (|object| field(object, "spec")["required"] = json!(["script"]), "spec: \"script\" is required now"),
        (
            |object| field(object, "spec")["x-kubernetes-validations"] = json!([{"rule": "has(self.type)", "message": "m"}]),
            "there is a further rule",
        ),
        (
            |object| drop(field(object, "spec.query").as_object_mut().unwrap().remove("x-kubernetes-preserve-unknown-fields")),
            "unknown fields are kept no more",
        ),
        (|object| field(object, "spec.volumes")["x-kubernetes-list-type"] = json!("set"), "spec.volumes: x-kubernetes-list-type was"),
        (|object| field(object, "spec.volumes")["items"]["type"] = json!("string"), "spec.volumes[]: type was \"object\", is \"string\""),
        (|object| object["spec"]["names"]["plural"] = json!("backupverifiers"), "BackupVerifier: names was"),
    ];
    for (change, expected) in cases {
        let taken = said("BackupVerifier", change);
        assert!(taken.iter().any(|line| line.contains(expected)), "{expected}: {taken:?}");
    }
    let released: Value = serde_json::from_str(&baseline(crd::all()).unwrap()).unwrap();
    assert!(compare(&released, &crd::all()[1..]).unwrap().iter().any(|line| line.ends_with("the kind is gone")));
}

#[test]
fn a_limit_may_widen() {
    let mut narrow: Vec<Definition> = crd::all().to_vec();
    let at = narrow.iter().position(|definition| definition.kind == "BackupVerifier").unwrap();
    field(&mut narrow[at].object, "spec.timeout")["maxLength"] = json!(9);
    let released: Value = serde_json::from_str(&baseline(&narrow).unwrap()).unwrap();
    assert_eq!(compare(&released, crd::all()).unwrap(), Vec::<String>::new());
}
