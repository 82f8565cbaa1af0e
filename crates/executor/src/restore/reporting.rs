//! The report, written exactly once: at the end, or when the process is told to stop, or when it panics. The last two are
//! Inconclusive, never success.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use backproof_api::{
    Cause, Verdict,
    report::{CheckFact, Counts, DatabaseFacts, Finding, Identity, Report, RepositoryFacts, SnapshotFacts, TERMINATION_MESSAGE_LIMIT},
};

use super::{Findings, findings::Judgement, progress::Progress};

/// Where the report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Standard output.
    Output,
    /// A file, whole.
    File(PathBuf),
    /// A termination message, which must be short.
    TerminationMessage(PathBuf),
}

impl From<&str> for Destination {
    fn from(text: &str) -> Self {
        if text == "-" {
            return Self::Output;
        }
        let path = PathBuf::from(text);
        let in_a_job = std::env::var_os("BACKPROOF_SESSION_UID").is_some_and(|uid| !uid.is_empty());
        if in_a_job || path.ends_with("termination-log") { Self::TerminationMessage(path) } else { Self::File(path) }
    }
}

/// What the report tells beside the findings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) snapshot: Option<SnapshotFacts>,
    pub(crate) repository: Option<RepositoryFacts>,
    pub(crate) restored: Counts,
    pub(crate) read_back: Counts,
    pub(crate) database: Option<DatabaseFacts>,
    pub(crate) checks: Vec<CheckFact>,
}

/// One run, as every thread of it sees it.
pub(crate) struct Run {
    pub(crate) findings: Findings,
    pub(crate) facts: Mutex<Facts>,
    pub(crate) progress: Arc<Progress>,
    destination: Destination,
    started: Instant,
    /// Whether the run came to its end, where everything was read back, or answered.
    proven: AtomicBool,
    reported: AtomicBool,
}

static CURRENT: OnceLock<Arc<Run>> = OnceLock::new();

impl Run {
    pub(crate) fn new(destination: Destination) -> Self {
        Self {
            findings: Findings::default(),
            facts: Mutex::default(),
            progress: Arc::default(),
            destination,
            started: Instant::now(),
            proven: AtomicBool::new(false),
            reported: AtomicBool::new(false),
        }
    }

    /// Changes the facts.
    pub(crate) fn facts(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes that everything was restored and read back, or every check answered. That nothing was found does not say so: a run
    /// may end before.
    pub(crate) fn has_proven(&self) {
        self.proven.store(true, Ordering::Release);
    }

    /// Judges what was found, writes the report, and says how to exit.
    pub(crate) fn finish(&self) -> ExitCode {
        if !self.proven.load(Ordering::Acquire) && self.findings.judge().verdict == Verdict::Verified {
            self.findings.add(Cause::Internal, "", "the run ended before everything was read back, and nothing says why");
        }
        ExitCode::from(self.end(self.findings.judge()))
    }

    /// Ends without having found out, whatever was found: exits the process.
    fn give_up(&self, cause: Cause, detail: &str) -> ! {
        let mut judged = self.findings.judge_if_free();
        judged.verdict = Verdict::Inconclusive;
        judged.findings.insert(0, Finding { kind: cause, path: String::new(), detail: detail.to_owned() });
        judged.total += 1;
        std::process::exit(i32::from(self.end(judged)))
    }

    fn end(&self, judged: Judgement) -> u8 {
        if self.reported.swap(true, Ordering::AcqRel) {
            // Another thread is about to end the process with its report.
            loop {
                std::thread::park();
            }
        }
        let verdict = judged.verdict;
        let report = self.report(judged);
        if let Some(error) = &report.error {
            // A closed stderr changes nothing.
            let _ = writeln!(io::stderr(), "{verdict}: {error}");
        }
        match self.write(&report) {
            Ok(()) => match verdict {
                Verdict::Verified => 0,
                Verdict::VerificationFailed => 1,
                Verdict::Inconclusive | Verdict::Skipped => 2,
            },
            Err(error) => {
                let _ = writeln!(io::stderr(), "the report cannot be written: {error}");
                2
            }
        }
    }

    fn report(&self, judged: Judgement) -> Report {
        // Not waited for: the one who holds it may be the one who panicked.
        let facts = self.facts.try_lock().map(|facts| facts.clone()).unwrap_or_default();
        let worst = judged.findings.first().filter(|_| judged.verdict != Verdict::Verified);
        let text = |finding: &Finding| {
            let place = if finding.path.is_empty() { String::new() } else { format!("{}: ", finding.path) };
            format!("{} {place}{}", finding.kind, finding.detail)
        };
        let value = |name: &str| std::env::var(name).unwrap_or_default();
        Report {
            identity: Identity {
                session_uid: value("BACKPROOF_SESSION_UID"),
                attempt: value("BACKPROOF_ATTEMPT").parse().unwrap_or(0),
                component: value("BACKPROOF_COMPONENT"),
            },
            outcome: judged.verdict,
            cause: worst.map(|finding| finding.kind),
            error: worst.map(text),
            snapshot: facts.snapshot,
            repository: facts.repository,
            restored: facts.restored,
            read_back: facts.read_back,
            database: facts.database,
            checks_total: facts.checks.len() as u64,
            checks: facts.checks,
            findings: judged.findings,
            findings_total: judged.total,
            executor: env!("CARGO_PKG_VERSION").to_owned(),
            seconds: self.started.elapsed().as_secs(),
        }
    }

    fn write(&self, report: &Report) -> io::Result<()> {
        match &self.destination {
            Destination::Output => {
                let text = serde_json::to_string_pretty(report).map_err(io::Error::other)?;
                writeln!(io::stdout().lock(), "{text}")
            }
            Destination::File(path) => std::fs::write(path, serde_json::to_string_pretty(report).map_err(io::Error::other)? + "\n"),
            Destination::TerminationMessage(path) => {
                let mut short = report.clone();
                short.findings.truncate(64);
                std::fs::write(path, short.to_json(TERMINATION_MESSAGE_LIMIT))
            }
        }
    }
}

/// From here on a signal to stop, or a panic in any thread, ends the process with a report.
pub(crate) fn watch(run: &Arc<Run>) -> io::Result<()> {
    if CURRENT.set(Arc::clone(run)).is_err() {
        return Err(io::Error::other("a run is being watched already"));
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no text");
        // Never from within another panic of this thread's report: the flag in `end` sees to that.
        if let Some(run) = CURRENT.get() {
            run.give_up(Cause::Internal, &format!("the executor failed at {place}: {text}"));
        }
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = Arc::clone(run);
    let mut signals = {
        let _entered = runtime.enter();
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = signals.0.recv() => {} _ = signals.1.recv() => {} }
        });
        run.give_up(Cause::Interrupted, "the executor was told to stop before it had finished");
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a run of which nothing bad is known reports.
    fn reported(proven: bool) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let run = Run::new(Destination::File(path.clone()));
        if proven {
            run.has_proven();
        }
        let _ = run.finish();
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn nothing_found_is_no_proof() {
        assert_eq!((reported(true).outcome, reported(true).cause), (Verdict::Verified, None));
        assert_eq!((reported(false).outcome, reported(false).cause), (Verdict::Inconclusive, Some(Cause::Internal)));
    }
}
