//! The objects that are shown to other programs.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use backproof_testing::tool;
use serde_json::Value;

/// Whether an object is of a kind this project has the CRD of.
pub(crate) fn is_ours(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|version| version.ends_with(".kubestash.com/v1alpha1"))
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// Every sample with its objects, by the path below the root.
pub(crate) fn samples() -> Vec<(PathBuf, Vec<Value>)> {
    let mut open = vec![PathBuf::from("docs/samples")];
    let mut samples = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(xtask::root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let path = directory.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(xtask::root().join(&path)).unwrap();
                samples.push((path, backproof_testing::objects(&text).unwrap()));
            }
        }
    }
    samples.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert!(samples.len() > 5, "where are the samples?");
    samples
}

/// Objects of our kinds that are right: those of the samples, of the chart's catalog, and of the controller's own tests.
pub(crate) fn valid() -> Vec<Value> {
    let mut objects: Vec<Value> = samples().into_iter().flat_map(|(_, objects)| objects).collect();
    objects.extend(backproof_testing::chart(&["catalog.yaml"]).unwrap());
    let world = xtask::root().join("crates/controller/tests/cluster/world.yaml");
    objects.extend(backproof_testing::objects(&std::fs::read_to_string(world).unwrap()).unwrap());
    objects.extend(backproof_testing::objects(include_str!("rare.yaml")).unwrap());
    objects.retain(is_ours);
    objects
}

/// An object with one fault, and what is said of it.
pub(crate) struct Broken {
    pub(crate) object: Value,
    /// By kubeconform; nothing where JSON schemas cannot see it.
    pub(crate) kubeconform: Option<String>,
    /// By kubectl-validate.
    pub(crate) kubectl_validate: String,
}

pub(crate) fn broken() -> Vec<Broken> {
    let text = include_str!("broken.yaml");
    text.split("\n---\n")
        .map(|document| {
            let said = |program: &str| {
                let mark = format!("# {program}: ");
                document.lines().find_map(|line| line.strip_prefix(&mark)).unwrap_or_else(|| panic!("{mark}?\n{document}")).to_owned()
            };
            Broken {
                object: serde_saphyr::from_str(document).unwrap(),
                kubeconform: Some(said("kubeconform")).filter(|said| said != "-"),
                kubectl_validate: said("kubectl-validate"),
            }
        })
        .collect()
}

/// Writes each object to a file of its own.
pub(crate) fn write(directory: &Path, objects: &[Value]) {
    for (at, object) in objects.iter().enumerate() {
        std::fs::write(directory.join(format!("{at:03}-{}.yaml", name(object))), object.to_string()).unwrap();
    }
}

/// Runs one of the tools with this standard input.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(tool(program).unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}
