//! Editors: each object of a sample names its schema for yaml-language-server, which knows no other way to these kinds.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::corpus::{is_ours, samples};

const MARK: &str = "# yaml-language-server: $schema=";

/// What is wrong with the modelines of one file.
fn faults(path: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for document in text.split("\n---\n") {
        let object: Value = serde_saphyr::from_str(document).unwrap();
        let schemas: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix(MARK)).collect();
        let what = format!("{}, {} {}", path.display(), object["kind"], object["metadata"]["name"]);
        if !is_ours(&object) {
            faults.extend((!schemas.is_empty()).then(|| format!("{what}: there is no schema of ours for it")));
            continue;
        }
        let [schema] = schemas.as_slice() else {
            faults.push(format!("{what}: {} modelines", schemas.len()));
            continue;
        };
        let wanted = format!(
            "docs/reference/schemas/{}/{}_v1alpha1.json",
            object["apiVersion"].as_str().unwrap().split('/').next().unwrap(),
            object["kind"].as_str().unwrap().to_lowercase()
        );
        let named = below(path.parent().unwrap(), schema);
        if named != Path::new(&wanted) {
            faults.push(format!("{what}: its schema is {wanted}, not {}", named.display()));
        } else if !xtask::root().join(&wanted).is_file() {
            faults.push(format!("{what}: there is no {wanted}"));
        }
    }
    faults
}

/// A path of a modeline, from the root: it is relative to the file that has it.
fn below(directory: &Path, relative: &str) -> PathBuf {
    let mut path = directory.to_owned();
    for part in Path::new(relative).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => path.push(part),
        }
    }
    path
}

#[test]
fn every_sample_names_its_schemas() {
    let mut ours = 0;
    for (path, objects) in samples() {
        ours += objects.iter().filter(|object| is_ours(object)).count();
        let text = std::fs::read_to_string(xtask::root().join(&path)).unwrap();
        assert_eq!(faults(&path, &text), Vec::<String>::new());
    }
    assert!(ours >= 10, "{ours} objects of ours");
}

#[test]
fn a_modeline_that_is_missing_or_wrong_is_seen() {
    let path = Path::new("docs/samples/demo/x.yaml");
    let object = "apiVersion: storage.kubestash.com/v1alpha1\nkind: Repository\nmetadata: {name: r}\n";
    assert_eq!(faults(path, object), ["docs/samples/demo/x.yaml, \"Repository\" \"r\": 0 modelines"]);
    for (schema, fault) in [
        ("../../reference/schemas/storage.kubestash.com/repository_v1alpha1.json", None),
        ("../../reference/schemas/storage.kubestash.com/snapshot_v1alpha1.json", Some("its schema is")),
        ("../reference/schemas/storage.kubestash.com/repository_v1alpha1.json", Some("its schema is")),
    ] {
        let faults = faults(path, &format!("{MARK}{schema}\n{object}"));
        assert_eq!(faults.is_empty(), fault.is_none(), "{faults:?}");
        assert!(fault.is_none_or(|fault| faults[0].contains(fault)), "{faults:?}");
    }
}
