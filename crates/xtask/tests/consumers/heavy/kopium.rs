//! kopium: types in Rust are generated from the CRDs, compile, and lose nothing of an object.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::corpus::{run, valid};

/// Writes a file unless it is so already: cargo goes by the time.
fn put(path: &Path, content: &[u8]) {
    if std::fs::read(path).is_ok_and(|found| found == content) {
        return;
    }
    std::fs::write(path, content).unwrap();
}

/// A crate of the generated types, with the very dependencies of this workspace. It stays for the next run.
fn generated() -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kopium");
    std::fs::create_dir_all(home.join("src")).unwrap();
    let root = xtask::root();
    std::fs::copy(root.join("Cargo.lock"), home.join("Cargo.lock")).unwrap();
    let workspace = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let dependency = |name: &str| {
        let mut lines = workspace.lines().filter(|line| line.starts_with(&format!("{name} = ")));
        lines.next().unwrap_or_else(|| panic!("{name} is no dependency")).to_owned()
    };
    let manifest = format!(
        "[package]\nname = \"generated\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{}\n\n[workspace]\n\n[profile.dev]\ndebug = false\nincremental = false\n",
        ["kube", "k8s-openapi", "serde", "serde_json"].map(dependency).join("\n")
    );
    put(&home.join("Cargo.toml"), manifest.as_bytes());

    let (mut modules, mut arms) = (String::new(), String::new());
    for definition in backproof_api::crd::all() {
        let crd = root.join(format!("charts/backproof/files/crds/{}.{}.yaml", definition.plural, definition.group));
        let output = run("kopium", &["--filename", crd.to_str().unwrap(), "--docs"], "");
        assert!(output.status.success(), "{}: {}", definition.kind, String::from_utf8_lossy(&output.stderr));
        let module = definition.kind.to_lowercase();
        put(&home.join(format!("src/{module}.rs")), &output.stdout);
        writeln!(modules, "#[allow(dead_code)]\nmod {module};").unwrap();
        writeln!(arms, "        \"{0}\" => again::<{module}::{0}>(object),", definition.kind).unwrap();
    }
    let main = format!(
        "//! Reads a list of objects into the generated types, and writes what is in them.\n{modules}\n\
         fn again<K: serde::de::DeserializeOwned + serde::Serialize>(object: &serde_json::Value) -> serde_json::Value {{\n    \
             let typed: K = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!(\"{{error}}: {{object}}\"));\n    \
             serde_json::to_value(typed).unwrap()\n}}\n\n\
         fn main() {{\n    \
             let objects: Vec<serde_json::Value> = serde_json::from_reader(std::io::stdin()).unwrap();\n    \
             let again = objects.iter().map(|object| match object[\"kind\"].as_str().unwrap() {{\n{arms}        \
             other => panic!(\"{{other}}\"),\n    }});\n    \
             println!(\"{{}}\", serde_json::Value::Array(again.collect()));\n}}\n"
    );
    put(&home.join("src/main.rs"), main.as_bytes());
    home
}

#[test]
#[ignore = "its program is built by `hack/tools.sh consumers`: hack/test.sh long consumers"]
fn generated_types_compile_and_lose_nothing() {
    let home = generated();
    let objects = valid();
    std::fs::write(home.join("objects.json"), Value::Array(objects.clone()).to_string()).unwrap();
    let output = Command::new(std::env::var("CARGO").unwrap())
        .args(["run", "--quiet", "--offline"])
        .current_dir(&home)
        .env("CARGO_TARGET_DIR", home.join("target"))
        .stdin(std::fs::File::open(home.join("objects.json")).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let again: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(again.len(), objects.len());
    for (before, after) in objects.iter().zip(&again) {
        for part in ["apiVersion", "kind", "spec", "status"] {
            assert_eq!(before.get(part), after.get(part).filter(|part| !part.is_null()), "{part} of {before}");
        }
        assert_eq!(before["metadata"]["name"], after["metadata"]["name"]);
        assert_eq!(before["metadata"].get("annotations"), after["metadata"].get("annotations"));
    }
}
