//! What an error of PostgreSQL means. Only an answer of the server about the data itself can be a defect; that is told by its
//! SQLSTATE, as its words may be in any language.

use backproof_api::{Cause, report::Finding};

use super::plain::CLEAR;

/// Something that went wrong with a server, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) cause: Cause,
    pub(crate) detail: String,
    /// Whether the database asked for does not exist.
    pub(crate) no_database: bool,
    /// Whether asking again may help.
    pub(crate) passing: bool,
}

impl Fault {
    pub(crate) fn new(cause: Cause, detail: String) -> Self {
        Self { cause, detail, no_database: false, passing: false }
    }

    pub(crate) fn finding(self, path: &str) -> Finding {
        Finding { kind: self.cause, path: path.to_owned(), detail: self.detail }
    }

    /// An error of a session, which is never a defect: nothing was asked that the data could refuse.
    pub(crate) fn of(error: &tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else { return Self::of_connection(error) };
        let code = said.code().code();
        let more = [said.detail(), said.hint()].into_iter().flatten().map(|text| format!("; {text}")).collect::<String>();
        let meant = meaning(code);
        let of_a_dump = matches!(meant, Cause::DumpRejected | Cause::DumpTruncated | Cause::DumpNotSupported);
        let cause = if of_a_dump { Cause::EngineUnavailable } else { meant };
        Self {
            cause,
            detail: format!("the server says {code}: {}{more}", said.message()),
            no_database: code == "3D000",
            // Starting, stopping, crashed, full.
            passing: matches!(code, "57P01" | "57P02" | "57P03" | "53300"),
        }
    }

    /// Nobody is there, or there is no way.
    pub(super) fn of_stream(error: &std::io::Error) -> Self {
        Self { passing: true, ..Self::new(Cause::EngineUnavailable, format!("no answer: {error}")) }
    }

    fn of_connection(error: &tokio_postgres::Error) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            let more = error.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            source = error.source();
        }
        // The library has words only for these.
        if text.contains("password missing") {
            let detail =
                "the server asks for a password, and none is given: put it into PGPASSWORD, or into the key `password` of the Secret";
            return Self::new(Cause::SecretMissing, detail.to_owned());
        }
        if text.contains(CLEAR) {
            return Self::new(Cause::EngineCredentialsRefused, CLEAR.to_owned());
        }
        let passing = !text.contains("TLS handshake");
        Self { cause: Cause::EngineUnavailable, detail: format!("no answer: {text}"), no_database: false, passing }
    }
}

/// What a SQLSTATE means for a dump that is being restored.
pub(crate) fn meaning(code: &str) -> Cause {
    match code {
        // Those of ours, see `fresh.rs`.
        "BP001" => return Cause::DumpTruncated,
        "BP002" => return Cause::DumpNotSupported,
        // A right that is lacking.
        "42501" => return Cause::EngineCredentialsRefused,
        // A role, tablespace, parameter that the dump takes for granted; an extension whose files are not there; a database
        // of another encoding; values that another version knows.
        "42704" | "22021" | "22023" | "22P05" | "55000" | "58P01" | "25006" => return Cause::TargetNotPrepared,
        // A schema, function or other object that even an empty database has: `public`, or what belongs to its extensions.
        "42P06" | "42710" | "42723" => return Cause::TargetNotPrepared,
        // What a transaction cannot hold, such as CREATE DATABASE.
        "25001" => return Cause::DumpNotSupported,
        // Locks that others hold.
        "55006" | "55P03" => return Cause::TargetInUse,
        "53100" => return Cause::TargetFull,
        _ => {}
    }
    match code.get(..2).unwrap_or_default() {
        "28" => Cause::EngineCredentialsRefused,
        "0A" | "54" => Cause::TargetNotPrepared,
        "40" => Cause::TargetInUse,
        "08" | "53" | "57" => Cause::EngineUnavailable,
        "58" | "F0" | "XX" => Cause::TargetFault,
        // Syntax, names, values, constraints: the dump itself.
        "22" | "23" | "42" | "3D" | "3F" | "2B" | "21" | "25" | "2F" | "38" | "39" | "44" | "P0" => Cause::DumpRejected,
        _ => Cause::EngineClientFailed,
    }
}

#[cfg(test)]
mod tests {
    use backproof_api::{Cause, cause::CauseClass};

    use super::meaning;

    #[test]
    fn only_answers_about_the_data_are_defects() {
        for code in ["42601", "42P01", "42703", "22P02", "22P04", "23505", "3F000", "42P07"] {
            assert_eq!(meaning(code), Cause::DumpRejected, "{code}");
        }
        assert_eq!(meaning("BP001"), Cause::DumpTruncated);
        for code in [
            "57P01", "57P02", "57P03", "57014", "53300", "53200", "53100", "28P01", "28000", "42501", "42704", "0A000", "58P01", "58030",
            "XX000", "XX001", "40P01", "55P03", "22021", "22P05", "25006", "42P06", "42710", "42723", "08006", "BP002", "", "zz",
            "ünknown", "99999",
        ] {
            assert_eq!(meaning(code).class(), CauseClass::Unknown, "{code}");
        }
    }
}
