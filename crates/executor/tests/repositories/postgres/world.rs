//! A server, a repository of dumps beside it, and the executor between them.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use backproof_api::{Cause, Verdict, report::Report};

use super::server::{self, Server};
use crate::support::{
    forge::{Forge, Master},
    listing,
    restic::{restic, restic_in},
    run::{Outcome, Run, Running},
    sample::PASSWORD,
};

/// Both, and a directory for queries.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) scratch: tempfile::TempDir,
    pub(crate) repository: PathBuf,
}

/// Whom the executor says it is.
pub(crate) const USER: &str = "postgres";

impl World {
    /// A server without databases of ours, and an empty repository.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        let repository = scratch.path().join("repository");
        restic(&repository, PASSWORD, &["init"]);
        let master = Master::of_restic(&repository, PASSWORD);
        fs::remove_dir_all(repository.join("keys")).expect("removing the slow key");
        Forge::existing(&repository, master).key(PASSWORD, 7);
        Self { server: Server::start(settings), scratch, repository }
    }

    /// Backs a dump up as upstream does, from standard input, and returns the snapshot's id.
    pub(crate) fn backup(&self, dump: &[u8]) -> String {
        self.backup_parts(std::iter::once(dump))
    }

    /// The same from a file, as restic takes no empty standard input. It is the newest snapshot.
    pub(crate) fn backup_file(&self, dump: &[u8]) -> String {
        fs::write(self.scratch.path().join("dumpfile.sql"), dump).expect("writing");
        restic_in(self.scratch.path(), &self.repository, PASSWORD, &["backup", "--host", "proof", "dumpfile.sql"]);
        "latest".to_owned()
    }

    /// The same for one that is not in memory as a whole.
    pub(crate) fn backup_parts<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> String {
        let mut command = Command::new("restic");
        command.arg("-r").arg(&self.repository).args(["--no-cache", "--json", "backup", "--host", "proof", "--pack-size", "4"]);
        command.args(["--stdin", "--stdin-filename", "dumpfile.sql"]).env("RESTIC_PASSWORD", PASSWORD);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("restic");
        let mut input = child.stdin.take().expect("its input");
        parts.for_each(|part| input.write_all(part).expect("writing"));
        drop(input);
        let output = child.wait_with_output().expect("restic");
        assert!(output.status.success(), "restic backup");
        let text = String::from_utf8_lossy(&output.stdout);
        let summary = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).next_back().expect("a summary");
        summary["snapshot_id"].as_str().expect("a snapshot").to_owned()
    }

    /// Where a database is.
    pub(crate) fn place(&self, database: &str) -> String {
        self.place_as(USER, database)
    }

    /// The same for somebody.
    pub(crate) fn place_as(&self, user: &str, database: &str) -> String {
        let coded: String = database.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("postgres://{user}@127.0.0.1:{}/{coded}", self.server.port)
    }

    /// Starts a restore.
    pub(crate) fn begin_restore(&self, snapshot: &str, place: &str, more: &[&str]) -> Running {
        let mut arguments = ["restore-dump", "--engine=postgres"].map(str::to_owned).to_vec();
        arguments.push(format!("--repository=file://{}", self.repository.display()));
        arguments.push(format!("--snapshot={snapshot}"));
        arguments.push(format!("--connection={place}"));
        self.begin(arguments, more, server::PASSWORD)
    }

    fn begin(&self, mut arguments: Vec<String>, more: &[&str], password: &str) -> Running {
        if !more.iter().any(|argument| argument.starts_with("--wait")) {
            arguments.push("--wait=5".to_owned());
        }
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        Running::of(&arguments, &[("RESTIC_PASSWORD", PASSWORD), ("PGPASSWORD", password)])
    }

    /// Restores a dump, and sees to it that the repository is as before.
    pub(crate) fn restore(&self, snapshot: &str, place: &str, more: &[&str]) -> Outcome {
        let before = listing::full(&self.repository);
        let outcome = Run::watch(self.begin_restore(snapshot, place, more));
        assert_eq!(listing::difference(&before, &listing::full(&self.repository)), Vec::<String>::new(), "the repository was changed");
        outcome
    }

    /// Starts asking.
    pub(crate) fn begin_verify(&self, query: &str, place: &str, more: &[&str], password: &str) -> Running {
        let file = self.scratch.path().join("query.yaml");
        fs::write(&file, query).expect("writing");
        let arguments =
            ["verify".to_owned(), "--engine=postgres".to_owned(), format!("--query={}", file.display()), format!("--connection={place}")];
        self.begin(arguments.to_vec(), more, password)
    }

    /// Asks what a query asks.
    pub(crate) fn verify(&self, query: &str, place: &str, more: &[&str]) -> Outcome {
        Run::watch(self.begin_verify(query, place, more, server::PASSWORD))
    }

    /// The names of the tables in a database.
    pub(crate) fn tables(&self, database: &str) -> String {
        let sql = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relkind = 'r' AND oid >= 16384";
        self.server.sql(database, sql)
    }
}

/// The report of a run that ended like this; that exit code, verdict and cause fit together was looked at.
#[track_caller]
pub(crate) fn expect(outcome: &Outcome, expected: (Verdict, Option<Cause>)) -> Report {
    let told = outcome.told().unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!((told.outcome, told.cause), expected, "{}\n{}", outcome.text, outcome.log);
    outcome.report.clone().expect("a report")
}

/// What it takes to be proven.
pub(crate) const GREEN: (Verdict, Option<Cause>) = (Verdict::Verified, None);

/// A named defect.
pub(crate) fn red(cause: Cause) -> (Verdict, Option<Cause>) {
    (Verdict::VerificationFailed, Some(cause))
}

/// Not found out.
pub(crate) fn open(cause: Cause) -> (Verdict, Option<Cause>) {
    (Verdict::Inconclusive, Some(cause))
}
