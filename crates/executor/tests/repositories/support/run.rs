//! Runs the built executor as a user does by hand, with a time limit, and watches its memory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use backproof_api::{
    Cause, Verdict,
    report::{Finding, Report},
};

/// Longest that any run of these tests may take; a run that reaches it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How to run.
pub(crate) struct Run<'a> {
    /// Directory of the repository.
    pub(crate) repository: &'a Path,
    /// Snapshot to restore: id or `latest`.
    pub(crate) snapshot: &'a str,
    /// `None` leaves RESTIC_PASSWORD unset.
    pub(crate) password: Option<&'a str>,
    /// Where to restore to.
    pub(crate) target: PathBuf,
    /// User and group to run as, where the tests themselves run as root.
    pub(crate) user: Option<u32>,
    /// Further arguments.
    pub(crate) arguments: &'a [&'a str],
    /// Size of a memory file system to mount at the target, seen by the executor alone.
    pub(crate) small_target: Option<&'a str>,
}

impl<'a> Run<'a> {
    /// Restores `snapshot` to a directory beside the repository's.
    pub(crate) fn new(repository: &'a Path, snapshot: &'a str, password: &'a str, target: PathBuf) -> Self {
        Self { repository, snapshot, password: Some(password), target, user: None, arguments: &[], small_target: None }
    }

    /// Starts the executor.
    pub(crate) fn start(&self) -> Running {
        use std::os::unix::process::CommandExt;
        let notes = tempfile::tempdir().expect("a directory for the report");
        let file = |name: &str| fs::File::create(notes.path().join(name)).expect("a file for the report");
        let mut executor = PathBuf::from(env!("CARGO_BIN_EXE_backproof-executor"));
        if self.user.is_some() {
            // Who builds under a closed home directory has a binary that others cannot reach.
            super::open_up(notes.path());
            fs::copy(&executor, notes.path().join("executor")).expect("copying the executor");
            executor = notes.path().join("executor");
        }
        let mut command = if let Some(size) = self.small_target {
            let mut command = Command::new("unshare");
            command
                .args(["--mount", "sh", "-c", "mount -t tmpfs -o size=\"$1\" none \"$2\" && shift 2 && exec \"$@\"", "sh", size])
                .arg(&self.target)
                .arg(executor);
            command
        } else {
            Command::new(executor)
        };
        command
            .arg("restore")
            .arg(format!("--repository=file://{}", self.repository.display()))
            .arg(format!("--snapshot={}", self.snapshot))
            .arg(format!("--target={}", self.target.display()))
            .arg("--report=-")
            .args(self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(file("report"))
            .stderr(file("log"));
        if let Some(password) = self.password {
            command.env("RESTIC_PASSWORD", password);
        }
        if let Some(user) = self.user {
            assert!(super::is_root(), "this case runs the executor as another user: run the tests as root");
            command.uid(user).gid(user);
        }
        Running { child: command.spawn().expect("starting the executor"), notes }
    }

    /// Runs to the end.
    pub(crate) fn finish(&self) -> Outcome {
        Self::watch(self.start())
    }

    /// Waits for one that was started, at most [`PATIENCE`], and reads what it said.
    pub(crate) fn watch(running: Running) -> Outcome {
        Self::watch_for(running, PATIENCE)
    }

    /// The same with another limit.
    pub(crate) fn watch_for(running: Running, patience: Duration) -> Outcome {
        let Running { mut child, notes } = running;
        let started = Instant::now();
        let mut peak = 0;
        let code = loop {
            peak = peak.max(peak_memory(child.id()));
            match child.try_wait().expect("waiting for the executor") {
                Some(status) => break status.code(),
                None if started.elapsed() > patience => {
                    child.kill().expect("ending a hanging executor");
                    child.wait().expect("waiting for the executor");
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(3)),
            }
        };
        let [text, log] = ["report", "log"].map(|name| fs::read_to_string(notes.path().join(name)).unwrap_or_default());
        Outcome { code, report: serde_json::from_str(&text).ok(), text, log, peak, took: started.elapsed() }
    }
}

/// One that was started.
pub(crate) struct Running {
    /// The process.
    pub(crate) child: Child,
    notes: tempfile::TempDir,
}

impl Running {
    /// Starts any command of the executor, in an empty environment.
    pub(crate) fn of(arguments: &[String], environment: &[(&str, &str)]) -> Self {
        let notes = tempfile::tempdir().expect("a directory for the report");
        let file = |name: &str| fs::File::create(notes.path().join(name)).expect("a file for the report");
        let mut command = Command::new(env!("CARGO_BIN_EXE_backproof-executor"));
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(environment.iter().copied()).stdin(Stdio::null()).stdout(file("report")).stderr(file("log"));
        Self { child: command.spawn().expect("starting the executor"), notes }
    }
}

/// Most memory a process has held so far, in KiB.
fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// What a run came to.
pub(crate) struct Outcome {
    /// Exit code; none if it was killed, by us or by a signal.
    pub(crate) code: Option<i32>,
    /// The report, if it could be read.
    pub(crate) report: Option<Report>,
    /// What was printed instead of or as the report.
    pub(crate) text: String,
    /// Standard error.
    pub(crate) log: String,
    /// Peak memory, KiB.
    pub(crate) peak: u64,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Outcome {
    /// The verdict, the cause and the findings, after checking that exit code, outcome and cause say the same thing.
    pub(crate) fn told(&self) -> Result<Told, String> {
        let about = || {
            format!(
                "exit {:?} after {:.1} s; printed {:?}; log ends {:?}",
                self.code,
                self.took.as_secs_f32(),
                tail(&self.text),
                tail(&self.log)
            )
        };
        let report = self.report.as_ref().ok_or_else(|| format!("no report: {}", about()))?;
        let expected = match report.outcome {
            Verdict::Verified => 0,
            Verdict::VerificationFailed => 1,
            Verdict::Inconclusive => 2,
            Verdict::Skipped => return Err("an executor never skips".to_owned()),
        };
        if self.code != Some(expected) {
            return Err(format!("{} with the wrong exit code: {}", report.outcome.as_str(), about()));
        }
        match (report.outcome, report.cause) {
            (Verdict::Verified, None) => {}
            (outcome, Some(cause)) if outcome != Verdict::Verified && cause.verdict() == outcome => {}
            (outcome, cause) => return Err(format!("{} with cause {cause:?}: {}", outcome.as_str(), about())),
        }
        if report.outcome != Verdict::Verified && report.error.as_deref().is_none_or(str::is_empty) {
            return Err(format!("{} without a sentence: {}", report.outcome.as_str(), about()));
        }
        let mut findings: Vec<_> = report.findings.iter().map(|Finding { kind, .. }| *kind).collect();
        findings.sort();
        findings.dedup();
        Ok(Told { outcome: report.outcome, cause: report.cause, findings, error: report.error.clone().unwrap_or_default() })
    }
}

/// The part of a report that a table compares.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// The verdict.
    pub(crate) outcome: Verdict,
    /// Why, unless Verified.
    pub(crate) cause: Option<Cause>,
    /// Kinds of the findings, sorted, each once.
    pub(crate) findings: Vec<Cause>,
    /// The sentence.
    pub(crate) error: String,
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(4)..].join("\n")
}

/// Now, as a lock says it.
pub(crate) fn rfc3339_now() -> String {
    jiff::Timestamp::now().to_string()
}
