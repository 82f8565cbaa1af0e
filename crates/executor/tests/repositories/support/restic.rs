//! Debian's restic as maker of repositories. It must be installed: without it these tests fail.

use std::{
    path::Path,
    process::{Command, Stdio},
};

/// What a program answered.
pub(crate) struct Answer {
    /// Its standard output.
    pub(crate) stdout: String,
}

/// Runs restic on a repository, without its cache, and insists on success.
pub(crate) fn restic(repository: &Path, password: &str, arguments: &[&str]) -> Answer {
    restic_in(Path::new("/"), repository, password, arguments)
}

/// The same in a directory.
pub(crate) fn restic_in(directory: &Path, repository: &Path, password: &str, arguments: &[&str]) -> Answer {
    let output = Command::new("restic")
        .arg("-r")
        .arg(repository)
        .args(["--no-cache", "--quiet"])
        .args(arguments)
        .current_dir(directory)
        .env("RESTIC_PASSWORD", password)
        .stdin(Stdio::null())
        .output()
        .expect("restic is not installed: apt-get install restic");
    assert!(output.status.success(), "restic {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Answer { stdout: String::from_utf8_lossy(&output.stdout).into_owned() }
}

/// The version line of the restic that these tests use.
pub(crate) fn version() -> String {
    let output = Command::new("restic").arg("version").output().expect("restic is not installed: apt-get install restic");
    String::from_utf8_lossy(&output.stdout).split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Copies a tree with owners, modes and times.
pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg("--").arg(from).arg(to).status().expect("cp");
    assert!(status.success(), "cp -a {} {}", from.display(), to.display());
}
