//! The marker of a database: whose it is. It is the database's comment, because a dump of one database does not bring its
//! comment along, so that nothing but this server's own restore can have set it; it names server and database by number, so
//! that one that came with a dump of a whole server is told apart.

use backproof_api::Cause;
use serde::{Deserialize, Serialize};

use super::{Fault, Session, session::cell};

/// What stands in a marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    /// Version of this form.
    pub(crate) backproof: u32,
    /// The server's own number.
    pub(crate) system: String,
    /// The database's.
    pub(crate) database: u32,
    /// The run that emptied it last.
    pub(crate) run: String,
    /// Runs before that one, newest first: who finds himself here came first, and was replaced.
    #[serde(default)]
    pub(crate) earlier: Vec<String>,
    /// What that run put there; absent until it has.
    #[serde(default)]
    pub(crate) loaded: Option<Loaded>,
}

/// What a restore made; written by the very transaction that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// That transaction.
    pub(crate) xid: u64,
    pub(crate) objects: u64,
    pub(crate) fingerprint: String,
}

/// What a database's comment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    /// Number of the server and of the database.
    pub(crate) identity: (String, u32),
    /// Its marker, if it has one that is its own.
    pub(crate) marker: Option<Marker>,
}

/// The marker of a database of the session's server; `None` if there is no such database.
pub(crate) async fn marker_of(session: &Session, database: &str) -> Result<Option<Marked>, Fault> {
    let sql = "SELECT d.oid, pg_catalog.shobj_description(d.oid, 'pg_database'), \
               (SELECT system_identifier::text FROM pg_catalog.pg_control_system()) FROM pg_catalog.pg_database d WHERE d.datname::text = $1::text";
    let rows = session.rows(sql, &[&database]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let identity = (cell::<String>(row, 2)?, cell::<u32>(row, 0)?);
    let comment: Option<String> = cell(row, 1)?;
    let marker = comment
        .and_then(|comment| serde_json::from_str::<Marker>(&comment).ok())
        .filter(|marker| marker.backproof == 1 && (&marker.system, marker.database) == (&identity.0, identity.1));
    Ok(Some(Marked { identity, marker }))
}

/// How many runs a marker remembers.
const REMEMBERED: usize = 8;

impl Marker {
    /// The runs that come before the next one. Anybody may write a comment, and these become part of statements.
    pub(super) fn history(self) -> Vec<String> {
        let is_name =
            |run: &String| !run.is_empty() && run.len() <= 64 && run.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        std::iter::once(self.run).chain(self.earlier).filter(is_name).take(REMEMBERED).collect()
    }

    /// The statement that plants it.
    pub(super) fn plant(&self, database: &str) -> Result<String, Fault> {
        let internal = |detail: String| Fault::new(Cause::Internal, detail);
        let text = serde_json::to_string(self).map_err(|error| internal(error.to_string()))?;
        // Hex digits and numbers: nothing in it would have to be quoted.
        if text.contains(['\'', '\\']) {
            return Err(internal(format!("the marker {text} cannot be a literal")));
        }
        Ok(format!("COMMENT ON DATABASE {} IS '{text}'", super::quoted(database).map_err(internal)?))
    }
}

#[cfg(test)]
mod tests {
    use super::Marker;

    #[test]
    fn a_marker_remembers_a_few_runs_and_nothing_that_is_no_name() {
        let marker = |run: &str, earlier: &[&str]| -> Marker {
            let json = serde_json::json!({"backproof": 1, "system": "1", "database": 1, "run": run, "earlier": earlier});
            serde_json::from_value(json).unwrap()
        };
        assert_eq!(marker("b", &["a"]).history(), ["b", "a"]);
        assert_eq!(marker("1-2", &["', DROP TABLE x; --", "%s", "", "c"]).history(), ["1-2", "c"]);
        assert_eq!(marker("i", &["h", "g", "f", "e", "d", "c", "b", "a"]).history().len(), 8);
        assert!(serde_json::from_str::<Marker>(r#"{"backproof":1,"system":"1","database":1,"run":"x"}"#).unwrap().earlier.is_empty());
    }
}
