//! Every sample in the tree is taken by the API server as it stands, in the order a reader would apply it, without a warning.

use std::path::{Path, PathBuf};

use crate::fixture::Fixture;

#[test]
fn every_sample_is_accepted_by_the_api_server() {
    let fixture = Fixture::empty("samples");
    let namespace = fixture.kubectl.in_namespace();
    fixture.cluster.run(&["label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted"]).unwrap();
    // What is applied is looked at, not run: this namespace takes no pods.
    fixture.kubectl.run(&["create", "quota", "no-pods", "--hard=pods=0"]).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // What admission must refuse has tests of its own; sessions need a Snapshot, and the demo applies them.
    let samples: Vec<PathBuf> = ["docs/samples", "sabotage"]
        .iter()
        .flat_map(|below| manifests(&root.join(below)))
        .filter(|path| !["refused-", "session-"].iter().any(|other| name(path).starts_with(other)))
        .collect();
    assert!(samples.len() >= 5, "only {} samples were found", samples.len());
    for path in &samples {
        let said = apply(&fixture, path);
        assert!(!said.is_empty(), "{}: holds no object", path.display());
    }
    // GitOps tools apply them again and again: nothing of theirs may change by that, or have been changed meanwhile. (kubectl
    // says "configured" wherever the API server adds defaults inside lists, so its word does not count.)
    for path in &samples {
        let before = generations(&fixture, path);
        apply(&fixture, path);
        assert_eq!(before, generations(&fixture, path), "{}: applied again", path.display());
    }
}

/// Applies a file, which must neither fail nor be warned about, and returns what kubectl said.
fn apply(fixture: &Fixture, path: &Path) -> String {
    let output = fixture.kubectl.output(&["apply", "--validate=strict", "-f", path.to_str().unwrap()], None).unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", path.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The objects of a file, and how often what they ask for was changed.
fn generations(fixture: &Fixture, path: &Path) -> Vec<String> {
    let columns = "custom-columns=KIND:.kind,NAME:.metadata.name,GENERATION:.metadata.generation";
    let said = fixture.kubectl.run(&["get", "-f", path.to_str().unwrap(), "--no-headers", "-o", columns]).unwrap();
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{}: nothing of it is there", path.display());
    lines
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The manifests below a directory, in the order of their names.
fn manifests(below: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(below).unwrap_or_else(|error| panic!("{}: {error}", below.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let found = paths.into_iter().flat_map(|path| if path.is_dir() { manifests(&path) } else { vec![path] });
    found.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}
