//! kubectl-validate: the API server's own validation, CEL included, of the CRDs as files.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::corpus::{broken, name, run, valid, write};

/// What it says of each object, in order: nothing when it is right, else each field with what is wrong.
fn said(objects: &[Value]) -> Vec<Vec<String>> {
    let directory = TempDir::new().unwrap();
    write(directory.path(), objects);
    let crds = xtask::root().join("charts/backproof/files/crds");
    let output = run("kubectl-validate", &["--local-crds", crds.to_str().unwrap(), "-o", "json", directory.path().to_str().unwrap()], "");
    let files: BTreeMap<String, Vec<Value>> =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(files.len(), objects.len());
    let said = |statuses: &Vec<Value>| {
        let failed = statuses.iter().filter(|status| status["status"] != "Success");
        failed
            .flat_map(|status| match status["details"]["causes"].as_array() {
                Some(causes) => {
                    let cause =
                        |cause: &Value| format!("{}: {}", cause["field"].as_str().unwrap_or_default(), cause["message"].as_str().unwrap());
                    causes.iter().map(cause).collect()
                }
                None => vec![status["message"].to_string()],
            })
            // It says so of whatever has CEL rules and another fault.
            .filter(|said| !said.contains("some validation rules were not checked"))
            .collect()
    };
    files.values().map(said).collect()
}

#[test]
#[ignore = "its program is built by `hack/tools.sh consumers`: hack/test.sh long consumers"]
fn what_is_right_passes() {
    let objects = valid();
    for (object, said) in objects.iter().zip(said(&objects)) {
        assert_eq!(said, Vec::<String>::new(), "{object}");
    }
}

#[test]
#[ignore = "its program is built by `hack/tools.sh consumers`: hack/test.sh long consumers"]
fn each_fault_is_named_where_it_is() {
    let broken = broken();
    let objects: Vec<Value> = broken.iter().map(|broken| broken.object.clone()).collect();
    for (broken, said) in broken.iter().zip(said(&objects)) {
        let named = said.iter().any(|said| said.starts_with(&broken.kubectl_validate));
        assert!(named, "{}\n{said:#?}\n{}", broken.kubectl_validate, broken.object);
    }
}

/// What it cannot do: numbers where a number or a text may stand. When it can, docs/consumers.md has a line too many.
#[test]
#[ignore = "its program is built by `hack/tools.sh consumers`: hack/test.sh long consumers"]
fn a_quantity_has_to_be_in_quotes() {
    let mut object = valid().into_iter().find(|object| name(object) == "queries").unwrap();
    let cpu = "/spec/scheduler/jobTemplate/template/spec/resources/limits/cpu";
    assert_eq!(said(std::slice::from_ref(&object)), [Vec::<String>::new()]);
    *object.pointer_mut(cpu).unwrap() = json!(1);
    let said = said(std::slice::from_ref(&object));
    assert!(said[0][0].contains("must be of type int-or-string"), "{said:?}");
}
