//! cdk8s: classes in TypeScript are generated from the CRDs; an app that uses them type-checks, and what it makes is right.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use backproof_testing::tool;
use tempfile::TempDir;

use crate::schemas::kubeconform;

const APP: &str = include_str!("../app.ts");

/// Where npm put what cdk8s needs, the compiler among it.
fn modules() -> PathBuf {
    let program = std::fs::canonicalize(tool("cdk8s").unwrap()).unwrap();
    program.ancestors().find(|path| path.ends_with("node_modules")).unwrap().to_owned()
}

/// Compiles an app beside the generated classes.
fn compiled(directory: &Path, app: &str) -> Output {
    std::fs::write(directory.join("app.ts"), app).unwrap();
    Command::new(modules().join(".bin/tsc"))
        .args(["--strict", "--target", "es2022", "--module", "commonjs", "--moduleResolution", "node"])
        .args(["--skipLibCheck", "--types", "node", "--outDir", "out", "app.ts"])
        .current_dir(directory)
        .output()
        .unwrap()
}

#[test]
#[ignore = "its program is built by `hack/tools.sh consumers`: hack/test.sh long consumers"]
fn an_app_of_generated_classes_makes_what_is_right() {
    let directory = TempDir::new().unwrap();
    let here = directory.path();
    std::os::unix::fs::symlink(modules(), here.join("node_modules")).unwrap();
    let crds: Vec<String> = backproof_api::crd::all().iter().map(|definition| definition.object.to_string()).collect();
    std::fs::write(here.join("crds.yaml"), crds.join("\n---\n")).unwrap();
    let output = Command::new(tool("cdk8s").unwrap())
        .args(["import", "crds.yaml", "--language", "typescript", "--output", "."])
        .env("CI", "true")
        .current_dir(here)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let wrong = compiled(here, &APP.replace("BackupVerifierSpecCleanup.ALWAYS", "'Sometimes'"));
    let said = String::from_utf8_lossy(&wrong.stdout);
    assert!(said.contains("app.ts") && said.contains("BackupVerifierSpecCleanup"), "a word outside of the list: {said}");

    let right = compiled(here, APP);
    assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stdout));
    let output = Command::new("node").arg("out/app.js").current_dir(here).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects = backproof_testing::objects(&String::from_utf8(output.stdout).unwrap()).unwrap();
    let said = kubeconform(&objects);
    assert_eq!(said.len(), 3);
    for (object, (status, errors)) in said {
        assert_eq!(status, "statusValid", "{object}: {errors:?}");
    }
}
