//! The server's own client, psql: what it is given, and what its end means. It runs the whole dump as one transaction and
//! stops at the first error.
//!
//! It is killed before its input is closed, always: only [`Client::finish`] closes it, after the stream's last bytes.
//!
//! A dump is SQL, and nothing else: before it comes, the client is put into a mode, by `\restrict` and a key that nobody knows, in
//! which it runs none of its own commands, wherever in a line or however quoted they stand.

use std::{
    io::{Read, Write as _},
    process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio},
    thread::JoinHandle,
};

use backproof_api::{
    Cause,
    report::{ClientFacts, Finding},
};

use crate::engine::{
    Access,
    postgres::{meaning, plant_after, plant_before},
};

/// How much of its errors is kept.
const TAIL: usize = 4096;

/// A running client.
pub(super) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    errors: Option<JoinHandle<Said>>,
    last: String,
}

/// What it wrote to standard error. Only errors themselves are kept: details, excerpts and notices may hold rows of the backup,
/// and a report is read by people who may not read those.
#[derive(Debug, Default)]
struct Said {
    /// The last errors.
    tail: String,
    line: Vec<u8>,
    /// SQLSTATE of the last error: it is what ended the client. A server may warn in its own language before.
    state: Option<String>,
    /// The line with it.
    words: String,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    status: Option<ExitStatus>,
    said: Said,
}

/// Names of a run in the database.
pub(super) struct Names<'a> {
    /// In the marker.
    pub(super) run: &'a str,
    /// Runs before it.
    pub(super) earlier: &'a [String],
    /// Sent at the end of the stream.
    pub(super) token: &'a str,
    /// By which the client would run commands again. It is told nobody.
    pub(super) key: &'a str,
    /// Of the client's session.
    pub(super) application: &'a str,
}

/// Oldest minor version of each major one that knows `\restrict`. The ones before 13 never came to know it, and those after 17
/// always did.
const KNOW_RESTRICT: [(u32, u32); 5] = [(13, 22), (14, 19), (15, 14), (16, 10), (17, 6)];

/// Refuses a client that could not be kept from running what a dump commands.
pub(super) fn able(program: &std::path::Path) -> Result<(), Finding> {
    let finding = |detail: String| Finding { kind: Cause::EngineClientFailed, path: program.display().to_string(), detail };
    let mut command = Command::new(program);
    command.arg("--version").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = command.stdin(Stdio::null()).output().map_err(|error| finding(not_started(&error)))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.trim();
    match version(said) {
        Some(version) if knows_restrict(version) => Ok(()),
        Some(_) => Err(finding(format!(
            "{said} does not know \\restrict, without which a dump could command it to run programs: use its newest minor version, or 18 and later"
        ))),
        None => Err(finding(format!("it does not tell its version by --version: {said:?}"))),
    }
}

fn not_started(error: &std::io::Error) -> String {
    format!("the client cannot be started ({error}): use an image that has PostgreSQL's psql, or name it with --client")
}

/// Major and minor version in a line like `psql (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn version(line: &str) -> Option<(u32, u32)> {
    let number = line.strip_prefix("psql (PostgreSQL) ")?.split(' ').next()?;
    // 19beta1, 18rc2.
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((digits(major)?, digits(minor)?))
}

fn knows_restrict((major, minor): (u32, u32)) -> bool {
    major >= 18 || KNOW_RESTRICT.iter().any(|(known, least)| major == *known && minor >= *least)
}

impl Client {
    /// Starts it.
    pub(super) fn start(program: &std::path::Path, access: &Access, names: &Names<'_>) -> Result<Self, Finding> {
        let place = &access.place;
        let (last, after) = plant_after(names.token, names.run, names.earlier);
        let mut command = Command::new(program);
        command.args(["-X", "-q", "-w", "-1", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]);
        command.arg("-c").arg(plant_before()).arg("-c").arg(format!("\\restrict {}", names.key)).args(["-f", "-"]).arg("-c").arg(after);
        // Nothing of ours is for it: neither the repository's password nor the storage's credentials.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("LC_ALL", "C").env("HOME", "/nonexistent").env("PGGSSENCMODE", "disable").env("PGCONNECT_TIMEOUT", "10");
        command.env("PGHOST", &place.host).env("PGPORT", place.port.to_string()).env("PGUSER", &place.user);
        command.env("PGDATABASE", &place.database).env("PGAPPNAME", names.application);
        if let Some(password) = &access.password {
            command.env("PGPASSWORD", password);
        }
        match &access.ca {
            Some(ca) => command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", ca),
            // Whoever asks for the password as it is gets none; libpq knows that since version 16.
            None => command.env("PGSSLMODE", "disable").env("PGREQUIREAUTH", "!password"),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let failed = |error: std::io::Error| Finding {
            kind: Cause::EngineClientFailed,
            path: program.display().to_string(),
            detail: not_started(&error),
        };
        let mut child = command.spawn().map_err(failed)?;
        let input = child.stdin.take();
        let errors = child.stderr.take();
        let mut client = Self { child, input, errors: None, last };
        if let Some(errors) = errors {
            let listener = std::thread::Builder::new().name("client".to_owned()).spawn(move || listen(errors));
            client.errors = Some(listener.map_err(failed)?);
        }
        Ok(client)
    }

    /// Gives it the next bytes; says whether it took them.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        self.input.as_mut().is_some_and(|input| input.write_all(bytes).is_ok())
    }

    /// Says that this was all after `rest`, and waits until it has ended.
    pub(super) fn finish(mut self, rest: &[u8]) -> Ended {
        let last = std::mem::take(&mut self.last);
        let complete = self.feed(rest) && self.feed(last.as_bytes());
        if complete { self.wait() } else { self.abandon() }
    }

    /// Waits for one that takes nothing any more: it is about to end, and without the last bytes it commits nothing.
    pub(super) fn abandon(mut self) -> Ended {
        self.wait()
    }

    /// Ends it before it has all.
    pub(super) fn kill(mut self) -> Ended {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        self.wait()
    }

    fn wait(&mut self) -> Ended {
        drop(self.input.take());
        let status = self.child.wait().ok();
        let said = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Ended { status, said }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(mut errors: ChildStderr) -> Said {
    let mut said = Said::default();
    let mut buffer = [0; 4096];
    loop {
        match errors.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => said.hear(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    said.end_line();
    said
}

impl Said {
    fn hear(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line();
            } else if self.line.len() < 1024 {
                self.line.push(*byte);
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let state = state_of(&line);
        // The client's own words.
        if state.is_none() && !(line.starts_with("psql:") && line.contains("error: ")) {
            return;
        }
        let line = state.map_or_else(|| line.clone(), |state| without_values(&line, state));
        if let Some(state) = state {
            self.state = Some(state.to_owned());
            self.words.clone_from(&line);
        }
        self.tail.push_str(&line);
        self.tail.push('\n');
        while self.tail.len() > TAIL {
            let first = self.tail.find('\n').map_or(self.tail.len(), |end| end + 1);
            self.tail.drain(..first);
        }
    }
}

/// What libpq writes before the parts of a message that follow the first.
const PARTS: [&str; 12] = [
    "DETAIL",
    "HINT",
    "QUERY",
    "CONTEXT",
    "LOCATION",
    "STATEMENT",
    "SCHEMA NAME",
    "TABLE NAME",
    "COLUMN NAME",
    "DATATYPE NAME",
    "CONSTRAINT NAME",
    "LINE",
];

/// A line without the values that errors about data quote.
fn without_values(line: &str, state: &str) -> String {
    let quotes = line.find('"').filter(|_| matches!(&state[..2], "22" | "23"));
    let Some(first) = quotes else { return line.to_owned() };
    // A value may hold quotes, and the end of the line.
    let rest = line.rfind('"').filter(|last| *last > first).map_or("", |last| &line[last + 1..]);
    format!("{}\"...\"{rest}", &line[..first])
}

/// The SQLSTATE in a line like `psql:<stdin>:7: ERROR:  42601: syntax error`; none for notices and warnings, some of which have
/// the SQLSTATE of an error.
fn state_of(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once(":  ")?;
    if PARTS.contains(&before) || before.ends_with("WARNING") {
        return None;
    }
    let state = rest.get(..5).filter(|_| rest.get(5..7) == Some(": "))?;
    let is_state = state.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    (is_state && !matches!(&state[..2], "00" | "01" | "02")).then_some(state)
}

impl Ended {
    /// For the report.
    pub(super) fn facts(&self) -> ClientFacts {
        ClientFacts { exit_status: self.status.and_then(|status| status.code()), error_output: self.said.tail.trim().to_owned() }
    }

    /// What is wrong, if anything. Only an error that the server itself told can be a defect.
    pub(super) fn problem(&self) -> Option<(Cause, String)> {
        let code = self.status.and_then(|status| status.code());
        if code == Some(0) {
            return None;
        }
        let said = &self.said.tail;
        let last = said.trim().lines().last().unwrap_or("nothing").to_owned();
        Some(match (code, &self.said.state) {
            // 1 where what was run after the dump fails, 3 where the dump does.
            (Some(1 | 3), Some(state)) => {
                let who = if state.starts_with("BP") { "psql was stopped" } else { "the server refuses the dump" };
                (meaning(state), format!("{who}: {}", self.said.words))
            }
            // It was not run.
            (Some(3), None) if said.contains("commands are restricted;") || said.contains("\\unrestrict: ") => (
                Cause::DumpNotSupported,
                format!(
                    "it holds a command of psql, which is not run: a dump of one database is needed, as pg_dump writes it without --create ({last})"
                ),
            ),
            // Told of an old client, never of the data.
            (Some(3), None) if said.contains("invalid command \\") => {
                (Cause::DumpNotSupported, format!("the client does not know a command of the dump, use a newer one: {last}"))
            }
            (Some(2), Some(state)) if meaning(state) == Cause::EngineCredentialsRefused => {
                (Cause::EngineCredentialsRefused, format!("the server refuses the client: {}", self.said.words))
            }
            (Some(2 | 3), _) => (Cause::EngineUnavailable, format!("the client lost the server: {last}")),
            (Some(code), _) => (Cause::EngineClientFailed, format!("the client ended with status {code}: {last}")),
            (None, _) => (Cause::EngineClientFailed, "the client was killed".to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn ended(status: i32, text: &str) -> Option<Cause> {
        let mut said = Said::default();
        // However it comes.
        text.as_bytes().chunks(7).for_each(|chunk| said.hear(chunk));
        said.end_line();
        Ended { status: Some(ExitStatus::from_raw(status)), said }.problem().map(|(cause, _)| cause)
    }

    #[test]
    fn an_end_means_what_the_server_said() {
        let exit = |code: i32| code << 8;
        for (status, text, expected) in [
            (exit(0), "psql:<stdin>:1: NOTICE:  00000: fine\n", None),
            (exit(3), "psql:<stdin>:7: ERROR:  42601: syntax error at or near \"x\"\n", Some(Cause::DumpRejected)),
            (exit(3), "psql:<stdin>:1: NOTICE:  00000: well\npsql:<stdin>:7: FEHLER:  22P02: falsch", Some(Cause::DumpRejected)),
            (
                exit(3),
                "psql:<stdin>:7: WARNING:  22P06: nonstandard use\npsql:<stdin>:9: ERROR:  42704: role\n",
                Some(Cause::TargetNotPrepared),
            ),
            (
                exit(3),
                "psql:<stdin>:7: WARNUNG:  22P06: nonstandard use\npsql:<stdin>:9: ERROR:  42704: role\n",
                Some(Cause::TargetNotPrepared),
            ),
            (exit(1), "ERROR:  BP001: the dump stops\n", Some(Cause::DumpTruncated)),
            (exit(1), "ERROR:  BP002: itself\n", Some(Cause::DumpNotSupported)),
            (exit(3), "psql:<stdin>:9: ERROR:  42704: role \"x\" does not exist\n", Some(Cause::TargetNotPrepared)),
            (exit(3), "psql:<stdin>:9: ERROR:  53100: could not extend file\n", Some(Cause::TargetFull)),
            (exit(3), "psql:<stdin>:5: error: invalid command \\restrict\n", Some(Cause::DumpNotSupported)),
            (
                exit(3),
                "psql:<stdin>:5: error: backslash commands are restricted; only \\unrestrict is allowed\n",
                Some(Cause::DumpNotSupported),
            ),
            (exit(3), "psql:<stdin>:5: error: \\unrestrict: wrong key\n", Some(Cause::DumpNotSupported)),
            (exit(3), "psql:<stdin>:9: FATAL:  57P01: terminating connection\n", Some(Cause::EngineUnavailable)),
            (exit(3), "something\n", Some(Cause::EngineUnavailable)),
            // Whatever it said before it lost the server.
            (exit(2), "ERROR:  42601: x\npsql:<stdin>:9: error: connection to server was lost\n", Some(Cause::EngineUnavailable)),
            (exit(2), "psql: error: connection refused\n", Some(Cause::EngineUnavailable)),
            (exit(1), "psql: error: out of memory\n", Some(Cause::EngineClientFailed)),
            (exit(127), "", Some(Cause::EngineClientFailed)),
            (9, "ERROR:  42601: x\n", Some(Cause::EngineClientFailed)),
        ] {
            assert_eq!(ended(status, text), expected, "{text}");
        }
    }

    #[test]
    fn a_client_must_know_how_to_be_restricted() {
        for (line, knows) in [
            ("psql (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", true),
            ("psql (PostgreSQL) 15.14", true),
            ("psql (PostgreSQL) 15.13", false),
            ("psql (PostgreSQL) 12.22", false),
            ("psql (PostgreSQL) 9.6.24", false),
            ("psql (PostgreSQL) 17.5", false),
            ("psql (PostgreSQL) 18.0", true),
            ("psql (PostgreSQL) 19beta1", true),
            ("psql (PostgreSQL) x", false),
            ("something", false),
            ("", false),
        ] {
            assert_eq!(version(line).is_some_and(knows_restrict), knows, "{line}");
        }
    }

    #[test]
    fn little_of_a_long_output_is_kept() {
        let mut said = Said::default();
        for number in 0..10_000 {
            said.hear(format!("psql: error: {number}\n").as_bytes());
        }
        said.hear(&vec![b'x'; 1 << 20]);
        assert!(said.tail.len() <= TAIL && said.tail.len() > TAIL / 2 && said.line.len() < TAIL);
        assert!(said.tail.ends_with(": 9999\n"));
    }

    #[test]
    fn errors_are_kept_and_rows_are_not() {
        let mut said = Said::default();
        said.hear(
            b"psql:<stdin>:3: NOTICE:  00000: row secret\n\
            psql:<stdin>:4: ERROR:  22P02: invalid input syntax for type integer: \"a \"secret\"\"\n\
            CONTEXT:  COPY a, line 1, column x: \"secret\"\n\
            DETAIL:  42601: secret\n\
            LINE 1: SELECT 'secret'\n\
            psql:<stdin>:5: ERROR:  23505: duplicate key value violates unique constraint \"a_pkey\" here\n\
            psql:<stdin>:5: ERROR:  22007: invalid \"secret\n\
            secret\n\
            psql:<stdin>:6: ERROR:  42P01: relation \"b\" does not exist\n\
            psql:<stdin>:7: error: connection to server was lost\n",
        );
        assert_eq!(
            said.tail,
            "psql:<stdin>:4: ERROR:  22P02: invalid input syntax for type integer: \"...\"\n\
            psql:<stdin>:5: ERROR:  23505: duplicate key value violates unique constraint \"...\" here\n\
            psql:<stdin>:5: ERROR:  22007: invalid \"...\"\n\
            psql:<stdin>:6: ERROR:  42P01: relation \"b\" does not exist\n\
            psql:<stdin>:7: error: connection to server was lost\n"
        );
        assert_eq!(said.words, said.tail.lines().nth(3).unwrap());
    }
}
