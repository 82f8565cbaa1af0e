//! yaml-language-server, which editors ask about YAML: the modelines of the samples lead it to their schemas.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::corpus::{run, samples};

/// What it says of each of these files, as `line: message`.
fn said(files: &[PathBuf]) -> BTreeMap<String, Vec<String>> {
    let files: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let output = run("yaml-diagnose", &files, "");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
#[ignore = "its program is built by `hack/tools.sh consumers`: hack/test.sh long consumers"]
fn it_says_nothing_of_the_samples() {
    let files: Vec<PathBuf> = samples().into_iter().map(|(path, _)| xtask::root().join(path)).collect();
    let said = said(&files);
    assert_eq!(said.len(), files.len());
    for (file, said) in said {
        assert_eq!(said, Vec::<String>::new(), "{file}");
    }
}

/// A sample as somebody edits it, with a fault in three objects: each is shown at its line.
#[test]
#[ignore = "its program is built by `hack/tools.sh consumers`: hack/test.sh long consumers"]
fn a_fault_is_shown_where_it_is() {
    let directory = TempDir::new().unwrap();
    let place = directory.path().join("docs/samples/demo");
    std::fs::create_dir_all(&place).unwrap();
    std::os::unix::fs::symlink(xtask::root().join("docs/reference"), directory.path().join("docs/reference")).unwrap();
    let sample = Path::new("docs/samples/demo/3-verify.yaml");
    let mut text = std::fs::read_to_string(xtask::root().join(sample)).unwrap();
    let mut expected = Vec::new();
    for (right, wrong, message) in [
        ("provider: local", "provider: 7", "Incorrect type. Expected \"string\"."),
        ("  path: \"\"", "  folder: \"\"", "Property folder is not allowed."),
        ("  timeout: 15m", "  timeout: 15", "Incorrect type. Expected \"string\"."),
    ] {
        assert_eq!(text.matches(right).count(), 1, "{right}");
        text = text.replace(right, wrong);
        let line = text.lines().position(|line| line.contains(wrong)).unwrap() + 1;
        expected.push(format!("{line}: {message}"));
    }
    let file = place.join("3-verify.yaml");
    std::fs::write(&file, text).unwrap();
    assert_eq!(said(std::slice::from_ref(&file)).into_values().next().unwrap(), expected);
}
