//! What a Job tells the controller: one JSON document, in the container's termination message or printed by hand.
//!
//! A report states facts and the executor's own outcome. The controller believes it only if it comes from a pod of the
//! Job it started and repeats the identity it was started with ([`Identity`]).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cause, Verdict, text::cut};

/// Most bytes kubelet keeps of a termination message.
pub const TERMINATION_MESSAGE_LIMIT: usize = 4096;

/// Whom a report is about; repeated from the environment the controller gave. Empty when run by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Identity {
    /// UID of the BackupVerificationSession.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session_uid: String,
    /// Which attempt at this component.
    pub attempt: u32,
    /// Component of the Snapshot.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub component: String,
}

/// The result of one restore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whom it is about.
    #[serde(default)]
    pub identity: Identity,
    /// Verified, VerificationFailed or Inconclusive.
    pub outcome: Verdict,
    /// Why, unless Verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The same in a sentence that names file and place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was restored from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotFacts>,
    /// The repository it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryFacts>,
    /// What was written to the target.
    #[serde(default)]
    pub restored: Counts,
    /// What was read again from the target and found equal.
    #[serde(default)]
    pub read_back: Counts,
    /// The database that was restored to or asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseFacts>,
    /// Each check of the query with what was expected and what there is; shortened to fit a termination message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckFact>,
    /// How many checks there were before the list was shortened.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub checks_total: u64,
    /// What was found, worst first; shortened to fit a termination message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// How many findings there were before the list was shortened.
    #[serde(default)]
    pub findings_total: u64,
    /// Version of the executor.
    #[serde(default)]
    pub executor: String,
    /// Whole seconds from start to end.
    #[serde(default)]
    pub seconds: u64,
}

/// The restic snapshot that was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotFacts {
    /// Full id, 64 hex digits.
    pub id: String,
    /// When it was taken, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Host it was taken on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The backed-up paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// What identifies a repository and the way it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RepositoryFacts {
    /// Id in its config.
    pub id: String,
    /// Format version.
    pub version: u32,
    /// Shortened ids of the key files, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// scrypt fingerprint of the password, salted with the repository id: equal passwords are recognised, none is revealed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password_fingerprint: String,
}

/// Figures of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Regular files, links and special files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes of regular files.
    pub bytes: u64,
}

impl Counts {
    /// Whether there is nothing that could be proven: a file without bytes is something.
    pub fn is_empty(self) -> bool {
        self.files == 0 && self.directories == 0
    }

    /// Component-wise sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            files: self.files.saturating_add(other.files),
            directories: self.directories.saturating_add(other.directories),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// A database server, and what was done with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatabaseFacts {
    /// Which engine: a key of `spec.query`.
    pub engine: String,
    /// Version of the server, as it says itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// The database that was restored to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub database: String,
    /// The nonce of the run that restored it, as it stands in the database's marker.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run: String,
    /// How many objects (tables, routines, types, ...) the restore made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// The program that took the dump.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientFacts>,
}

/// How a database server's own client ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientFacts {
    /// Its exit status; absent if it was ended by a signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// The last of what it wrote to standard error.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error_output: String,
}

/// One check of a query, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckFact {
    /// Where it is written, such as `spec.query.postgres[0]`.
    pub at: String,
    /// What it is about.
    pub object: String,
    /// What must be.
    pub expected: String,
    /// What is.
    pub actual: String,
    /// Whether that is as it must be; absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What kind of thing.
    pub kind: Cause,
    /// Path in the snapshot, or file in the repository, it concerns.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What exactly.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The result of wiping a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WipeReport {
    /// Whom it is about; without a component.
    #[serde(default)]
    pub identity: Identity,
    /// Whether nothing of what was restored is left.
    pub wiped: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The same in a sentence that names what remains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many entries were removed.
    #[serde(default)]
    pub removed: u64,
}

/// The result of listing a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryReport {
    /// Why the listing failed; absent when it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The sessions whose components could not be listed, where those of others could; none where it concerns all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<String>,
    /// Id in the repository's config, or words that say that there is one repository for each component.
    #[serde(default)]
    pub repository_id: String,
    /// Whether every snapshot file was read.
    #[serde(default)]
    pub complete: bool,
    /// Snapshots that pass the filter.
    #[serde(default)]
    pub found: u32,
    /// Snapshot objects made by this run.
    #[serde(default)]
    pub created: u32,
    /// Name of the newest Snapshot object, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// First 16 hex digits of every restic id that passes the filter, newest first, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// First 16 hex digits of the restic ids of this Repository's Snapshot objects that the repository does not hold any
    /// more, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// What was left out and why, at most 3 of it; discovery succeeded all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What discovery of a Repository last came to; kept in its annotation `backproof.dev/discovery`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DiscoveryRecord {
    /// When that discovery was started, RFC 3339: what lay in the repository then is known. A session that started later
    /// must wait for another one.
    pub at: String,
    /// Whether every snapshot file was read. Without it nothing is known about what is the newest, and `cause` says why.
    pub complete: bool,
    /// Snapshots that pass the filter.
    pub found: u32,
    /// Name of the newest Snapshot object, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// What went wrong, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The only sessions that it concerns; none where it concerns all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<String>,
    /// Id in the repository's config when it was first opened; under another one no Snapshot is given up.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repository_id: String,
    /// First 16 hex digits of the restic ids of Snapshot objects that the last complete listing did not show. An object goes
    /// only when two complete listings in a row miss it: one alone may have met the repository while it was being taken away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// How many discoveries failed since the last that did not.
    pub failures: u32,
    /// Number of that discovery; part of its Job's name.
    pub run: u64,
    /// Since when the next discovery waits for pods that may write to the repository, RFC 3339; absent when none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<String>,
    /// Those pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// UID of the Job that was made and waits for its copy of Secrets from another namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Hash of what decides its result: a change starts another one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub inputs: String,
}

impl Report {
    /// The report as JSON of at most `limit` bytes: checks that hold are dropped first, then findings and other checks from the
    /// end, then texts are cut ever shorter; what remains is always a whole document that keeps outcome, cause and what makes it
    /// believable. `checksTotal` and `findingsTotal` tell that lists were shortened.
    pub fn to_json(&self, limit: usize) -> String {
        let mut short = self.clone();
        let mut most = 512;
        loop {
            let text = serde_json::to_string(&short).unwrap_or_default();
            if text.len() <= limit || most == 0 {
                return text;
            }
            if !short.drop_one() {
                short.cut(most);
                most /= 2;
            }
        }
    }

    /// Drops the least telling entry of the lists.
    fn drop_one(&mut self) -> bool {
        if let Some(at) = self.checks.iter().rposition(|check| check.holds == Some(true)) {
            self.checks.remove(at);
            return true;
        }
        if self.findings.len() >= self.checks.len() { self.findings.pop().is_some() } else { self.checks.pop().is_some() }
    }

    /// Cuts every text that comes from a repository, as whoever wrote that may have made it as long as they liked; and what
    /// JSON has to escape may grow to six times its length.
    fn cut(&mut self, most: usize) {
        if let Some(error) = &mut self.error {
            cut(error, most);
        }
        if let Some(SnapshotFacts { id: _, time, host, paths }) = &mut self.snapshot {
            paths.truncate(1);
            for text in paths.iter_mut().chain(time).chain([host]) {
                cut(text, most / 2);
            }
        }
        if let Some(RepositoryFacts { id, version: _, keys, password_fingerprint: _ }) = &mut self.repository {
            cut(id, most.max(ID));
            keys.truncate(most / 8);
        }
        if let Some(DatabaseFacts { engine: _, server, database, run: _, objects: _, client }) = &mut self.database {
            for text in [server, database].into_iter().chain(client.as_mut().map(|client| &mut client.error_output)) {
                cut(text, most);
            }
        }
    }
}

/// Bytes of the ids that restic gives.
const ID: usize = 64;

impl DiscoveryReport {
    /// The report as JSON of at most `limit` bytes: what can be spared goes first.
    pub fn to_json(&self, limit: usize) -> String {
        let mut short = self.clone();
        let mut most = 512;
        loop {
            let text = serde_json::to_string(&short).unwrap_or_default();
            if text.len() <= limit || most == 0 {
                return text;
            }
            if short.error.as_mut().is_some_and(|error| cut(error, most)) {
                continue;
            }
            if short.notes.pop().is_none() && short.gone.pop().is_none() && short.ids.pop().is_none() {
                // Never a part of them: the others would count as listed.
                short.sessions.clear();
                most /= 2;
                cut(&mut short.repository_id, most.max(ID));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            identity: Identity { session_uid: "u".into(), attempt: 1, component: "pod".into() },
            outcome: Verdict::VerificationFailed,
            cause: Some(Cause::PackDamaged),
            error: Some("pack 12ab".into()),
            snapshot: Some(SnapshotFacts { id: "f".repeat(64), ..SnapshotFacts::default() }),
            repository: None,
            restored: Counts { files: 1, directories: 2, bytes: 3 },
            read_back: Counts::default(),
            database: None,
            checks: Vec::new(),
            checks_total: 0,
            findings: Vec::new(),
            findings_total: 0,
            executor: "0".into(),
            seconds: 1,
        }
    }

    #[test]
    fn a_long_report_is_shortened_and_says_so() {
        let mut long = report();
        long.error = Some("é".repeat(5000));
        long.findings =
            (0..500).map(|at| Finding { kind: Cause::PackDamaged, path: format!("/data/{at}"), detail: "x".repeat(100) }).collect();
        long.findings_total = 500;
        let text = long.to_json(TERMINATION_MESSAGE_LIMIT);
        assert!(text.len() <= TERMINATION_MESSAGE_LIMIT);
        let read: Report = serde_json::from_str(&text).unwrap();
        assert_eq!((read.findings_total, read.outcome, read.cause), (500, long.outcome, long.cause));
    }

    /// Whoever makes a backup chooses names and paths, and JSON writes a control character in six bytes.
    #[test]
    fn a_report_fits_whatever_the_repository_holds() {
        for text in ["\u{1}", "\"", "é", "😀", "x"] {
            let long = text.repeat(5000);
            let hostile = Report {
                error: Some(long.clone()),
                snapshot: Some(SnapshotFacts {
                    id: "f".repeat(64),
                    time: Some(long.clone()),
                    host: long.clone(),
                    paths: vec![long.clone(); 3],
                }),
                repository: Some(RepositoryFacts {
                    id: long.clone(),
                    version: 2,
                    keys: vec!["k".repeat(8); 2000],
                    password_fingerprint: "p".repeat(16),
                }),
                findings: vec![Finding { kind: Cause::PackDamaged, path: long.clone(), detail: long.clone() }; 70],
                findings_total: 70,
                ..report()
            };
            let json = hostile.to_json(TERMINATION_MESSAGE_LIMIT);
            assert!(json.len() <= TERMINATION_MESSAGE_LIMIT, "{text:?}: {}", json.len());
            let read: Report = serde_json::from_str(&json).unwrap();
            assert_eq!((&read.identity, read.outcome, read.cause), (&hostile.identity, hostile.outcome, hostile.cause), "{text:?}");
            assert_eq!(read.snapshot.map(|snapshot| snapshot.id), Some("f".repeat(64)), "{text:?}");
            let listing = DiscoveryReport {
                cause: Some(Cause::SnapshotDamaged),
                error: Some(long.clone()),
                sessions: vec![long.clone(); 3],
                repository_id: long.clone(),
                complete: false,
                found: 50,
                created: 0,
                newest: None,
                ids: vec!["0".repeat(16); 50],
                gone: vec!["1".repeat(16); 50],
                notes: vec![long.clone(); 3],
            };
            let json = listing.to_json(TERMINATION_MESSAGE_LIMIT);
            assert!(json.len() <= TERMINATION_MESSAGE_LIMIT, "{text:?}: {}", json.len());
            assert_eq!(serde_json::from_str::<DiscoveryReport>(&json).unwrap().cause, listing.cause, "{text:?}");
        }
    }

    #[test]
    fn checks_that_fail_are_told_longer_than_those_that_hold() {
        let mut long = report();
        let check = |at: usize| CheckFact {
            at: format!("spec.query.postgres[{at}]"),
            object: "x".repeat(100),
            holds: Some(!at.is_multiple_of(50)),
            ..CheckFact::default()
        };
        long.checks = (0..500).map(check).collect();
        long.checks_total = 500;
        long.database = Some(DatabaseFacts {
            client: Some(ClientFacts { exit_status: Some(3), error_output: "e".repeat(3000) }),
            ..DatabaseFacts::default()
        });
        let text = long.to_json(TERMINATION_MESSAGE_LIMIT);
        assert!(text.len() <= TERMINATION_MESSAGE_LIMIT);
        let read: Report = serde_json::from_str(&text).unwrap();
        assert!(!read.checks.is_empty() && read.checks.iter().all(|check| check.holds == Some(false)), "{:?}", read.checks);
        assert_eq!(read.checks_total, 500);
    }

    #[test]
    fn a_short_report_stays_whole() {
        let read: Report = serde_json::from_str(&report().to_json(TERMINATION_MESSAGE_LIMIT)).unwrap();
        assert_eq!(read, report());
    }

    #[test]
    fn something_else_is_no_report() {
        for text in ["", "{}", "null", "ok", r#"{"outcome":"Fine"}"#] {
            assert!(serde_json::from_str::<Report>(text).is_err(), "{text}");
        }
    }
}
