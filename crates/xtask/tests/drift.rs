//! What is generated is what is committed, and the check sees every way in which it may not be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{fs, path::Path};

/// A copy of the generated files in a directory of its own.
fn copy(name: &str) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&root);
    xtask::write(&root).unwrap();
    root
}

#[test]
fn the_tree_is_up_to_date() {
    xtask::check(&xtask::root()).unwrap();
}

#[test]
fn writing_twice_changes_nothing() {
    let root = copy("twice");
    let lines = xtask::write(&root).unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].ends_with("unchanged"), "{lines:?}");
}

#[test]
fn every_kind_of_drift_is_named_with_the_command() {
    let root = copy("drift");
    let crds = root.join("charts/backproof/files/crds");
    let changed = crds.join("snapshots.storage.kubestash.com.yaml");
    fs::write(&changed, fs::read_to_string(&changed).unwrap().replace("Snapshot", "Snapshoot")).unwrap();
    fs::remove_file(root.join("charts/backproof/files/rbac/trigger.yaml")).unwrap();
    fs::write(crds.join("left-behind.yaml"), "").unwrap();

    let message = xtask::check(&root).unwrap_err().to_string();
    assert!(message.contains("run `cargo xtask generate`"), "{message}");
    for line in ["snapshots.storage.kubestash.com.yaml differs", "rbac/trigger.yaml is missing", "left-behind.yaml is no longer generated"]
    {
        assert!(message.contains(line), "{line}\n{message}");
    }

    xtask::write(&root).unwrap();
    xtask::check(&root).unwrap();
}

#[test]
fn written_yaml_reads_back_as_it_was() {
    let files = xtask::files().unwrap();
    for (path, text) in &files {
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let value: serde_json::Value = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(value.is_object() || value.is_array(), "{}", path.display());
        }
    }
    for definition in backproof_api::crd::all() {
        let path = format!("charts/backproof/files/crds/{}.{}.yaml", definition.plural, definition.group);
        let text = &files[Path::new(&path)];
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(text).unwrap(), definition.object, "{path}");
    }
}
