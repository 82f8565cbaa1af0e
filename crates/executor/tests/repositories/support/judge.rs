//! Debian's restic as the second judge: what `restic restore --verify` says of the same damage.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{listing, restic};

/// restic tries again for a while before it gives a missing file up; beyond this it is stopped.
const PATIENCE: Duration = Duration::from_secs(150);

/// What restic says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opinion {
    /// Exit 0 and the restored tree is the source.
    Right,
    /// Exit 0, yet the restored tree differs from the source.
    Wrong,
    /// Another exit code.
    Refused(i32),
    /// Right in one run, refused in another.
    Either,
    /// No end within the time given.
    Silent,
}

impl Opinion {
    /// The words for the table.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Right => "exit 0".to_owned(),
            Self::Wrong => "exit 0, tree differs".to_owned(),
            Self::Refused(code) => format!("exit {code}"),
            Self::Either => "exit 0 or 1".to_owned(),
            Self::Silent => "no end".to_owned(),
        }
    }
}

/// Lets restic restore and verify from a copy, for it writes locks to what it reads.
pub(crate) fn opinion(repository: &Path, snapshot: &str, password: Option<&str>, scratch: &Path, source: &listing::Listing) -> Opinion {
    let (copy, target) = (scratch.join("copy"), scratch.join("by-restic"));
    if repository.exists() {
        restic::copy(repository, &copy);
    }
    let mut command = Command::new("restic");
    command.arg("-r").arg(&copy).args(["--no-cache", "--quiet", "restore", "--verify", "--target"]).arg(&target).arg(snapshot);
    command.env_remove("RESTIC_PASSWORD").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(password) = password {
        command.env("RESTIC_PASSWORD", password);
    }
    let mut child = command.spawn().expect("restic is not installed: apt-get install restic");
    let started = Instant::now();
    let status = loop {
        match child.try_wait().expect("waiting for restic") {
            Some(status) => break status,
            None if started.elapsed() > PATIENCE => {
                child.kill().expect("ending restic");
                child.wait().expect("waiting for restic");
                return Opinion::Silent;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    if !status.success() {
        return Opinion::Refused(status.code().unwrap_or(-1));
    }
    if listing::difference(source, &listing::restored(&target)).is_empty() { Opinion::Right } else { Opinion::Wrong }
}
