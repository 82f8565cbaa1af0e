//! A PostgreSQL server of a test's own: Debian's, in a directory, on a port and a socket of its own. It must be installed:
//! without it these tests fail.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use backproof_testing::{Process, free_port};

use crate::support::{is_root, open_up};

/// Where Debian puts the server's programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Who runs it where the tests are root's, which it refuses to be.
const NOBODY: u32 = 65534;
/// The superuser's password.
pub(crate) const PASSWORD: &str = "it's \"secret\" \\ grün";
/// Longest that starting may take.
const STARTING: Duration = Duration::from_secs(60);

/// A running server.
pub(crate) struct Server {
    process: Option<Process>,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) port: u16,
    settings: Vec<String>,
}

fn program(name: &str) -> Command {
    let path = Path::new(PROGRAMS).join(name);
    assert!(path.exists(), "{} is missing: make setup, or apt-get install postgresql-15", path.display());
    let mut command = Command::new(path);
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

impl Server {
    /// Makes and starts one.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("backproof-postgres-").tempdir().expect("a directory");
        open_up(directory.path());
        fs::write(directory.path().join("password"), PASSWORD).expect("writing");
        if is_root() {
            std::os::unix::fs::chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("chown");
        }
        let mut initdb = program("initdb");
        initdb.args(["--no-sync", "--no-instructions", "-E", "UTF8", "--auth=scram-sha-256", "-U", "postgres"]);
        initdb.arg("-D").arg(directory.path().join("data")).arg("--pwfile").arg(directory.path().join("password"));
        let output = initdb.output().expect("initdb");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { process: None, directory, port: free_port().expect("a port"), settings };
        server.run();
        server
    }

    /// Starts it again, where it was.
    pub(crate) fn run(&mut self) {
        self.run_without_waiting();
        let start = Instant::now();
        while !self.answers() {
            assert!(start.elapsed() < STARTING, "the server does not start: {}", self.process.as_ref().expect("it").output());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The same, and whoever wants something of it waits.
    pub(crate) fn run_without_waiting(&mut self) {
        let mut postgres = program("postgres");
        postgres.arg("-D").arg(self.directory.path().join("data")).arg("-k").arg(self.directory.path());
        postgres.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "shared_buffers=32MB"]);
        self.settings.iter().for_each(|setting| {
            postgres.args(["-c", setting]);
        });
        self.process = Some(Process::start(postgres, self.directory.path().join("log")).expect("starting postgres"));
    }

    fn answers(&self) -> bool {
        self.psql("postgres", &["-c", "SELECT 1"]).0
    }

    /// Ends it at once, as a crash does: nobody is told goodbye.
    pub(crate) fn crash(&mut self) {
        self.signal("QUIT");
    }

    /// Ends it without anything of it running any more, not even to clean up.
    pub(crate) fn kill(&mut self) {
        let process = self.process.as_ref().expect("a running server").id();
        let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
        let all: Vec<_> = std::iter::once(process.to_string()).chain(children.split_whitespace().map(str::to_owned)).collect();
        Command::new("kill").arg("-KILL").args(&all).status().expect("kill");
        self.ended();
    }

    fn signal(&mut self, name: &str) {
        if let Some(process) = &self.process {
            Command::new("kill").arg(format!("-{name}")).arg(process.id().to_string()).status().expect("kill");
            self.ended();
        }
    }

    fn ended(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let start = Instant::now();
        while process.ended().is_ok_and(|status| status.is_none()) && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn client(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(Path::new(PROGRAMS).join(program));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGUSER", "postgres");
        command.env("PGPASSWORD", PASSWORD).env("PGDATABASE", database).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command
    }

    fn psql(&self, database: &str, arguments: &[&str]) -> (bool, String) {
        let mut psql = self.client("psql", database);
        let output = psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]).args(arguments).output().expect("psql");
        let text = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// What statements answer; they must succeed.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let (succeeded, text) = self.psql(database, &["-c", sql]);
        assert!(succeeded, "{sql}: {text}");
        text
    }

    /// Somebody who is at work there.
    pub(crate) fn begin(&self, database: &str, sql: &str) -> Child {
        let mut psql = self.client("psql", database);
        psql.args(["-X", "-q"]).args(sql.split("; ").flat_map(|statement| ["-c", statement]));
        psql.stdout(Stdio::null()).spawn().expect("psql")
    }

    /// Makes an empty database.
    pub(crate) fn create(&self, database: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {}", quote(database)));
    }

    /// A dump of a database.
    pub(crate) fn dump(&self, database: &str, arguments: &[&str]) -> Vec<u8> {
        let output = self.client("pg_dump", database).args(arguments).output().expect("pg_dump");
        assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// A file of the server's own, such as its key.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It removes its shared memory then, which a killed one leaves behind.
        self.crash();
    }
}

/// A name in quotes.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
