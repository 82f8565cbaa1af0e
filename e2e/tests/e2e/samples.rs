//! Every sample in the tree is taken by the API server as it stands, without a warning.

use std::path::{Path, PathBuf};

use backproof_e2e::Kubectl;

#[test]
fn every_sample_is_accepted_by_the_api_server() {
    let kubectl = Kubectl::from_env().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut seen = 0;
    for path in [root.join("docs/samples"), root.join("sabotage")].iter().flat_map(|below| manifests(below)) {
        // What admission must refuse has tests of its own; sessions need the objects they name.
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("refused-") || name.starts_with("session-") {
            continue;
        }
        let output = kubectl.output(&["apply", "--dry-run=server", "--validate=strict", "-f", path.to_str().unwrap()], None).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("Warning"), "{}: {said}", path.display());
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} samples were found");
}

fn manifests(below: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(below).unwrap_or_else(|error| panic!("{}: {error}", below.display()));
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { manifests(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect()
}
