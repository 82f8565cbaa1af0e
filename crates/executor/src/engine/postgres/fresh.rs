//! Proving a target fresh. Before a restore: it is empty, or holds just what an earlier run put there; then it is emptied and
//! this run's nonce is planted, both by one transaction. After it: the transaction that restored has itself written into the
//! marker what it made, and nothing else is there.
//!
//! That transaction commits only if the last bytes of the stream have arrived: they set a token that its last statement asks
//! for. However a run ends, killed, out of memory or cut off, half a dump is never committed.

use backproof_api::Cause;

use super::{
    Fault, Lock, Marker, Objects, Purpose, Server, Session,
    marker::{Marked, marker_of},
    objects::{FINGERPRINT, objects},
    session::cell,
};

/// A database to restore into, and the session that watches over it.
pub(crate) struct Target<'a> {
    server: &'a Server,
    session: Session,
    database: String,
    pub(crate) version: String,
    /// Number of the server's major version.
    pub(crate) major: u32,
}

/// What a restore demonstrably made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) objects: u64,
}

impl<'a> Target<'a> {
    /// Opens it and keeps other runs away. Nothing is written.
    pub(crate) async fn open(server: &'a Server, database: &str) -> Result<Self, Fault> {
        let session = server.open(database, Purpose::Writing).await.map_err(|fault| match fault.no_database {
            true => Fault { cause: Cause::TargetNotFound, detail: format!("{}: create it, empty", fault.detail), ..fault },
            false => fault,
        })?;
        let sql = "SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_setting('server_version_num')::int4";
        let row = session.row(sql, &[]).await?;
        if !session.lock(Lock::Alone).await? {
            return Err(Fault::new(
                Cause::TargetInUse,
                "another run of Backproof restores into this database, or asks it: run again when it is done".to_owned(),
            ));
        }
        let major = u32::try_from(cell::<i32>(&row, 1)? / 10_000).unwrap_or(0);
        Ok(Self { server, database: database.to_owned(), version: cell(&row, 0)?, major, session })
    }

    /// Refuses a database that holds what Backproof did not put there, or that somebody uses. Nothing is written.
    pub(crate) async fn admit(&self) -> Result<(), Fault> {
        if self.judge().await?.is_some() {
            // Whoever was here may just have gone.
            self.session.lingering(|| async { Ok(self.others().await?.is_none()) }).await?;
            self.unused().await?;
        }
        Ok(())
    }

    /// Refuses if anybody else is connected. Rows are in no fingerprint: who began to use the database shows by being there.
    async fn unused(&self) -> Result<(), Fault> {
        let Some(others) = self.others().await? else { return Ok(()) };
        let detail = format!(
            "it is not empty, and {others} is connected to it. Whoever uses it must have a database of his own, or remove the comment of this one, by which Backproof knows it for its own"
        );
        Err(Fault::new(Cause::TargetInUse, detail))
    }

    /// Who else is connected, if anybody is. Without rights only the name of the user is seen; the server's own workers have none.
    async fn others(&self) -> Result<Option<String>, Fault> {
        let sql = "SELECT (pg_catalog.array_agg(pg_catalog.concat_ws(' with ', usename::text, NULLIF(application_name, '')) ORDER BY backend_start))[1] \
                   FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() \
                   AND (backend_type = 'client backend' OR backend_type IS NULL AND usesysid IS NOT NULL)";
        // Within a transaction the server would say what it said before.
        self.session.run("SELECT pg_catalog.pg_stat_clear_snapshot()").await?;
        cell(&self.session.row(sql, &[]).await?, 0)
    }

    /// The number of the transaction that made what is there, if anything is there and may be removed.
    async fn judge(&self) -> Result<Option<u64>, Fault> {
        let found = Objects::of(&self.session, None).await?;
        if found.count == 0 {
            return Ok(None);
        }
        let first = found.first.unwrap_or_default();
        let refuse = |why: String| {
            let detail = format!("it holds {first} ({} objects in all), and {why}. Give an empty database, or empty this one", found.count);
            Err(Fault::new(Cause::TargetNotEmpty, detail))
        };
        match self.marked().await?.marker {
            None => refuse("it has no marker of Backproof, so Backproof did not put it there".to_owned()),
            // It was empty then, and a failed run commits nothing. What is there is somebody's, or was committed by the dump
            // itself; nobody can tell which.
            Some(Marker { run, loaded: None, .. }) => refuse(format!(
                "run {run} of Backproof emptied it and did not succeed, so that nobody knows whose that is. If nobody needs it, drop the database and create it again"
            )),
            Some(Marker { run, loaded: Some(loaded), .. }) if loaded.fingerprint != found.fingerprint => {
                refuse(format!("that is not what run {run} of Backproof put there"))
            }
            Some(Marker { loaded: Some(loaded), .. }) => Ok(Some(loaded.xid)),
        }
    }

    /// Empties it and plants the nonce; tells which runs were there before.
    pub(crate) async fn empty(&self, run: &str) -> Result<Vec<String>, Fault> {
        self.session.run("BEGIN").await?;
        let emptied = self.empty_within(run).await;
        match emptied {
            Ok(earlier) => self.session.run("COMMIT").await.map(|()| earlier),
            Err(fault) => {
                // If even that fails the connection is gone, and the transaction with it.
                let _ = self.session.run("ROLLBACK").await;
                Err(fault)
            }
        }
    }

    async fn empty_within(&self, run: &str) -> Result<Vec<String>, Fault> {
        // Again: since it was asked the repository may have been slow.
        if let Some(xid) = self.judge().await? {
            self.unused().await?;
            self.drop_all(xid).await?;
            // Nor has anybody come meanwhile.
            self.unused().await?;
        }
        let left = Objects::of(&self.session, None).await?;
        if let Some(first) = left.first {
            let detail = format!("{first} cannot be removed ({} objects are left): give another empty database", left.count);
            return Err(Fault::new(Cause::TargetNotWipeable, detail));
        }
        let before = self.marked().await?;
        let (system, database) = before.identity;
        let earlier = before.marker.map(Marker::history).unwrap_or_default();
        let marker = Marker { backproof: 1, system, database, run: run.to_owned(), earlier: earlier.clone(), loaded: None };
        self.session.run(&marker.plant(&self.database)?).await.map_err(|fault| Fault {
            detail: format!("the marker cannot be planted; make the user the database's owner: {}", fault.detail),
            ..fault
        })?;
        Ok(earlier)
    }

    /// Drops what the transaction of this number made, which is all there is.
    async fn drop_all(&self, xid: u64) -> Result<(), Fault> {
        let stay = |extension: &str, why: &str| {
            let detail = format!("the extension {extension} is not Backproof's and {why}: install it into another schema, such as public");
            Err(Fault::new(Cause::TargetNotWipeable, detail))
        };
        let before = self.extensions_of_others(xid).await?;
        if let Some((extension, Some(space))) = before.iter().find(|(_, space)| space.is_some()) {
            return stay(extension, &format!("lies in schema {space}, which an earlier run made and this one has to remove"));
        }
        for statements in drop_sql(xid) {
            for row in self.session.rows(&statements, &[]).await? {
                let statement: String = cell(&row, 0)?;
                self.session.run(&statement).await.map_err(|fault| {
                    let kept = fault.passing || fault.cause == Cause::TargetInUse;
                    let cause = if kept { fault.cause } else { Cause::TargetNotWipeable };
                    Fault { cause, detail: format!("what an earlier run left cannot be removed ({statement}): {}", fault.detail), ..fault }
                })?;
            }
        }
        let after = self.extensions_of_others(xid).await?;
        match before.iter().find(|extension| !after.contains(extension)) {
            Some((extension, _)) => stay(extension, "would go with what an earlier run left, on which it depends"),
            None => Ok(()),
        }
    }

    /// Extensions that another transaction made, and the schema of each that lies in one of users.
    async fn extensions_of_others(&self, xid: u64) -> Result<Vec<(String, Option<String>)>, Fault> {
        let sql = format!(
            "SELECT e.extname::text, CASE WHEN n.nspname <> 'public' AND {SPACES} THEN n.nspname::text END FROM pg_catalog.pg_extension e \
             JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.oid >= 16384 AND NOT {} AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
             WHERE d.classid = n.tableoid AND d.objid = n.oid AND d.deptype = 'e') ORDER BY e.extname",
            made_by("e", xid)
        );
        self.session.rows(&sql, &[]).await?.iter().map(|row| Ok((cell(row, 0)?, cell(row, 1)?))).collect()
    }

    /// Proves, after the client has ended well, that what is there was put there by this run.
    pub(crate) async fn prove(&self, run: &str) -> Result<Proof, Fault> {
        // The watching session may have been cut off in hours of waiting.
        let again;
        let session = if self.session.is_closed() {
            again = self.server.open(&self.database, Purpose::Writing).await?;
            &again
        } else {
            &self.session
        };
        let marker = marker_of(session, &self.database).await?.and_then(|marked| marked.marker);
        let Some(Marker { loaded: Some(loaded), .. }) = marker.as_ref().filter(|marker| marker.run == run) else {
            return Err(match marker {
                Some(marker) if marker.run == run => Fault::new(
                    Cause::EngineClientFailed,
                    "the client ended well, and the restore's transaction was not committed".to_owned(),
                ),
                Some(marker) => Fault::new(Cause::TargetInUse, format!("meanwhile run {} has taken the database over", marker.run)),
                None => Fault::new(Cause::TargetInUse, "meanwhile somebody has removed the marker from the database".to_owned()),
            });
        };
        let found = Objects::of(session, Some(loaded.xid)).await?;
        if found.count > 0 && found.older == found.count {
            let detail =
                format!("all {} objects in it, {} among them, were there before this run", found.count, found.first.unwrap_or_default());
            return Err(Fault::new(Cause::TargetStale, detail));
        }
        if found.fingerprint != loaded.fingerprint || found.older > 0 {
            let detail = format!(
                "this run made {} objects, {} are there, {} of them older: somebody else writes to it",
                loaded.objects, found.count, found.older
            );
            return Err(Fault::new(Cause::TargetInUse, detail));
        }
        Ok(Proof { objects: found.count })
    }

    /// Ends what the client's session may still be doing after the client was ended.
    pub(crate) async fn end_client(&self, application: &str) {
        let sql = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE application_name = $1::text";
        // It ends by itself as well, as soon as the server notices that nobody is there.
        let _ = self.session.rows(sql, &[&application]).await;
    }

    async fn marked(&self) -> Result<Marked, Fault> {
        let gone = || Fault::new(Cause::TargetNotFound, format!("database {:?} does not exist any more", self.database));
        marker_of(&self.session, &self.database).await?.ok_or_else(gone)
    }
}

/// What the client runs before the dump, in the same transaction: that transaction's number, which is lost if it ends early.
pub(crate) fn plant_before() -> String {
    "SELECT pg_catalog.set_config('backproof.xid', pg_catalog.txid_current()::pg_catalog.text, true)".to_owned()
}

/// The last bytes of the stream, and what the client runs after it: the token must have arrived, the transaction must still be
/// the one that was begun; then the marker says what was made.
pub(crate) fn plant_after(token: &str, run: &str, earlier: &[String]) -> (String, String) {
    // Names of letters, digits and dashes: nothing in them would have to be quoted.
    let earlier: Vec<String> = earlier.iter().map(|run| format!("\"{run}\"")).collect();
    let earlier = earlier.join(",");
    let last = format!("\n;\nSELECT pg_catalog.set_config('backproof.token', '{token}', true);\n");
    let after = format!(
        r#"RESET SESSION AUTHORIZATION; RESET ROLE; SET LOCAL search_path = pg_catalog; DO $backproof$
DECLARE
  made bigint;
  print text;
BEGIN
  IF current_setting('backproof.xid', true) IS DISTINCT FROM txid_current()::text THEN
    RAISE EXCEPTION 'the dump ends its transaction by itself (pg_dump does so for large objects), so it cannot be restored as a whole or not at all' USING ERRCODE = 'BP002';
  END IF;
  IF current_setting('backproof.token', true) IS DISTINCT FROM '{token}' THEN
    RAISE EXCEPTION 'the dump stops within a statement or the rows of a table' USING ERRCODE = 'BP001';
  END IF;
  SELECT count(*), {FINGERPRINT} INTO made, print FROM {objects} o;
  EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), format(
    '{{"backproof":1,"system":"%s","database":%s,"run":"{run}","earlier":[{earlier}],"loaded":{{"xid":%s,"objects":%s,"fingerprint":"%s"}}}}',
    (SELECT system_identifier FROM pg_control_system()), (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()),
    txid_current(), made, print));
END
$backproof$"#,
        objects = objects()
    );
    (last, after)
}

/// A query for statements: those that drop each of a catalog's objects, unless they belong to an extension.
fn each(what: &str, name: &str, catalog: &str, condition: &str) -> String {
    format!(
        "SELECT pg_catalog.format('DROP {what} IF EXISTS %I CASCADE', o.{name}) FROM pg_catalog.{catalog} o WHERE o.oid >= 16384 AND {condition} \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.tableoid AND d.objid = o.oid AND d.deptype = 'e')"
    )
}

/// Whether a row was written by the transaction of this number. A row does not keep the upper half of it.
fn made_by(row: &str, xid: u64) -> String {
    format!("{row}.xmin = '{}'::xid", xid & 0xffff_ffff)
}

/// Schemas that hold what somebody made.
const SPACES: &str = "(n.nspname = 'public' OR n.oid >= 16384 AND n.nspname !~ '^pg_')";

/// Statements that drop everything that is ours, one object after the other: an extension that somebody installed stays, and a
/// schema is dropped only when nothing is in it any more. Event triggers first: they would watch the rest. `xid` is the number
/// of the transaction that made it all; an extension that is as old was made by the dump.
fn drop_sql(xid: u64) -> [String; 10] {
    [
        each("EVENT TRIGGER", "evtname", "pg_event_trigger", "true"),
        each("PUBLICATION", "pubname", "pg_publication", "true"),
        each("EXTENSION", "extname", "pg_extension", &made_by("o", xid)),
        members_sql(),
        format!(
            "SELECT pg_catalog.format('DROP SCHEMA %I', n.nspname) FROM pg_catalog.pg_namespace n WHERE n.nspname <> 'public' AND {SPACES} \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = n.tableoid AND d.objid = n.oid AND d.deptype = 'e')"
        ),
        each("SERVER", "srvname", "pg_foreign_server", "true"),
        each("FOREIGN DATA WRAPPER", "fdwname", "pg_foreign_data_wrapper", "true"),
        each("LANGUAGE", "lanname", "pg_language", "true"),
        each("ACCESS METHOD", "amname", "pg_am", "true"),
        large_objects_sql(),
    ]
}

/// Statements that drop what lies in a schema by itself, that is neither of an extension nor a part of something else. (A partitioned
/// table depends on the columns of its key as on a whole.)
fn members_sql() -> String {
    let kinds = [
        "table",
        "view",
        "materialized view",
        "foreign table",
        "sequence",
        "type",
        "function",
        "procedure",
        "aggregate",
        "operator",
        "operator class",
        "operator family",
        "collation",
        "conversion",
        "text search configuration",
        "text search dictionary",
        "text search parser",
        "text search template",
        "statistics object",
    ];
    let kinds = kinds.map(|kind| format!("'{kind}'")).join(", ");
    format!(
        "SELECT 'DROP ' || CASE i.type WHEN 'statistics object' THEN 'STATISTICS' ELSE pg_catalog.upper(i.type) END || ' IF EXISTS ' || i.identity || ' CASCADE' \
         FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_depend m ON m.refclassid = n.tableoid AND m.refobjid = n.oid AND m.objsubid = 0, \
         LATERAL pg_catalog.pg_identify_object(m.classid, m.objid, 0) i \
         WHERE {SPACES} AND m.objid >= 16384 AND i.type IN ({kinds}) AND i.identity IS NOT NULL \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = m.classid AND d.objid = m.objid AND d.deptype IN ('e', 'i') \
         AND (d.refclassid, d.refobjid) <> (m.classid, m.objid)) \
         ORDER BY m.classid <> 'pg_catalog.pg_class'::regclass, m.objid"
    )
}

fn large_objects_sql() -> String {
    "SELECT 'SELECT count(pg_catalog.lo_unlink(oid)) FROM pg_catalog.pg_largeobject_metadata' \
     WHERE EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)"
        .to_owned()
}
