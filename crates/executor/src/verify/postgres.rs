//! Asking PostgreSQL: existence by the catalogs, which every user may read whole, so that a lacking right never looks like
//! absence; then the count itself.

use std::{collections::BTreeMap, time::Duration};

use backproof_api::{
    Cause,
    query::{Answer, Check, Level, Plan},
    report::Finding,
};

use super::Asked;
use crate::engine::{
    Access,
    postgres::{Fault, Lock, Marker, Objects, Purpose, Server, Session, marker_of, quoted},
};

/// Databases that a server has from the start; asked for others' existence if the given one does not exist.
const ALWAYS_THERE: [&str; 2] = ["postgres", "template1"];

/// Asks everything in the plan.
pub(super) fn ask(access: Access, plan: &Plan, run: Option<&str>, limit: Duration) -> Result<Asked, Finding> {
    let internal = |detail: String| Finding { kind: Cause::Internal, path: String::new(), detail };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| internal(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        let home = access.place.database.clone();
        let server = Server::new(access, limit).map_err(|fault| fault.finding(""))?;
        let session = hall(&server, &home).await.map_err(|fault| fault.finding(""))?;
        let version = session.row("SELECT pg_catalog.current_setting('server_version')", &[]).await;
        let version = version.and_then(|row| row.try_get(0).map_err(|error| Fault::of(&error))).map_err(|fault| fault.finding(""))?;
        let mut asker = Asker { server: &server, home, hall: session, rooms: BTreeMap::new() };
        if let Some(run) = run
            && let Err(another) = asker.whose(plan, run).await
        {
            return Ok(nothing_of(plan, version, another));
        }
        let mut answers = Vec::with_capacity(plan.checks.len());
        for check in &plan.checks {
            answers.push(asker.answer(check).await.unwrap_or_else(|fault| Answer::Unknown { cause: fault.cause, detail: fault.detail }));
        }
        // No lock keeps out who is not of Backproof, and a session that was lost has lost its lock.
        if let Some(run) = run
            && let Err(another) = asker.whose(plan, run).await
        {
            return Ok(nothing_of(plan, version, another));
        }
        Ok(Asked { server: version, answers, findings: Vec::new() })
    })
}

/// What is there is not known to be of the run that is to be proven: whatever it says, it says nothing of that run's backup.
fn nothing_of(plan: &Plan, server: String, findings: Vec<Finding>) -> Asked {
    let unknown = |finding: &Finding| Answer::Unknown { cause: finding.kind, detail: format!("{}: {}", finding.path, finding.detail) };
    let answers = findings.first().map_or_else(Vec::new, |finding| plan.checks.iter().map(|_| unknown(finding)).collect());
    Asked { server, answers, findings }
}

/// A session from which the list of databases is seen.
async fn hall(server: &Server, home: &str) -> Result<Session, Fault> {
    let mut fault = match server.open(home, Purpose::Reading).await {
        Err(fault) if fault.no_database => fault,
        opened => return opened,
    };
    for database in ALWAYS_THERE {
        match server.open(database, Purpose::Reading).await {
            Err(other) if other.no_database => fault = other,
            opened => return opened,
        }
    }
    Err(fault)
}

struct Asker<'a> {
    server: &'a Server,
    home: String,
    hall: Session,
    /// A session in each database that was asked; each keeps restores away from its database for as long as anything is asked.
    rooms: BTreeMap<String, Session>,
}

impl Asker<'_> {
    /// Whether the markers of the plan's databases say that this run restored them, and nothing has changed since. What they say
    /// otherwise is never a defect: the run has told that it succeeded, so that its backup is not what is seen here.
    async fn whose(&mut self, plan: &Plan, run: &str) -> Result<(), Vec<Finding>> {
        let mut databases: Vec<&str> = plan.checks.iter().filter_map(|check| name(check, Level::Database)).collect();
        databases.sort_unstable();
        databases.dedup();
        let mut findings = Vec::new();
        for database in databases {
            if let Err(fault) = self.restored_by(database, run).await {
                findings.push(fault.finding(&format!("database {database:?}")));
            }
        }
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }

    async fn restored_by(&mut self, database: &str, run: &str) -> Result<(), Fault> {
        self.reopen_hall().await?;
        let absent =
            || Fault::new(Cause::TargetNotFound, format!("it does not exist, and run {run} restored into it: somebody has dropped it"));
        marker_of(&self.hall, database).await?.ok_or_else(absent)?;
        // Behind the lock: what it says now holds until everything is asked.
        let marked = marker_of(self.room(database).await?, database).await?.ok_or_else(absent)?;
        let taken = |detail: String| Err(Fault::new(Cause::TargetInUse, detail));
        match marked.marker {
            None => taken(format!("it has no marker of Backproof, so that what is there is not what run {run} restored")),
            // It was there, and somebody else has restored since: what came of it nobody knows any more.
            Some(marker) if marker.run != run && marker.earlier.iter().any(|earlier| earlier == run) => taken(format!(
                "run {run} restored into it, and meanwhile run {} has replaced that: give each verifier a database of its own",
                marker.run
            )),
            Some(marker) if marker.run != run => taken(format!(
                "it holds what run {} restored, and run {run} is to be proven: is it the database that was restored into?",
                marker.run
            )),
            Some(Marker { loaded: None, .. }) => {
                Err(Fault::new(Cause::EngineClientFailed, format!("run {run} emptied it, and has not restored anything")))
            }
            Some(Marker { loaded: Some(loaded), .. }) => {
                let found = Objects::of(self.room(database).await?, None).await?;
                if found.fingerprint == loaded.fingerprint {
                    return Ok(());
                }
                taken(format!("run {run} made {} objects, {} are there: somebody else writes to it", loaded.objects, found.count))
            }
        }
    }

    async fn answer(&mut self, check: &Check) -> Result<Answer, Fault> {
        let mut sql = Vec::new();
        for object in &check.path {
            let what = object.level.as_str();
            sql.push(quoted(&object.name).map_err(|why| Fault::new(Cause::VerifierInvalid, format!("{what} {:?}: {why}", object.name)))?);
        }
        self.reopen_hall().await?;
        let Some(database) = name(check, Level::Database) else {
            return Err(Fault::new(Cause::VerifierInvalid, "the check names no database".to_owned()));
        };
        let there = "SELECT FROM pg_catalog.pg_database WHERE datname::text = $1::text";
        if self.hall.rows(there, &[&database]).await?.is_empty() {
            return Ok(Answer::Absent(0));
        }
        let (schema, table) = (name(check, Level::Schema), name(check, Level::Table));
        let room = self.room(database).await?;
        let Some(schema) = schema else { return Ok(Answer::Found(None)) };
        let there = "SELECT FROM pg_catalog.pg_namespace WHERE nspname::text = $1::text";
        if room.rows(there, &[&schema]).await?.is_empty() {
            return Ok(Answer::Absent(1));
        }
        let Some(table) = table else { return Ok(Answer::Found(None)) };
        let there = "SELECT c.relkind::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                     WHERE n.nspname::text = $1::text AND c.relname::text = $2::text AND c.relkind IN ('r', 'p', 'v', 'm', 'f')";
        let rows = room.rows(there, &[&schema, &table]).await?;
        let Some(row) = rows.first() else { return Ok(Answer::Absent(2)) };
        if row.try_get::<_, &str>(0).map_err(|error| Fault::of(&error))? == "f" {
            let detail = format!("{table:?} is a foreign table: its rows are in another server, and not restored");
            return Err(Fault::new(Cause::VerifierInvalid, detail));
        }
        if check.count.is_none() {
            return Ok(Answer::Found(None));
        }
        let row = room.row(&format!("SELECT pg_catalog.count(*) FROM {}.{}", sql[1], sql[2]), &[]).await?;
        let count: i64 = row.try_get(0).map_err(|error| Fault::of(&error))?;
        let count = u64::try_from(count).map_err(|_| Fault::new(Cause::Internal, format!("the server counts {count} rows")))?;
        Ok(Answer::Found(Some(count)))
    }

    /// A server that was lost may be back.
    async fn reopen_hall(&mut self) -> Result<(), Fault> {
        if self.hall.is_closed() {
            self.hall = hall(self.server, &self.home).await?;
        }
        Ok(())
    }

    async fn room(&mut self, database: &str) -> Result<&Session, Fault> {
        if self.rooms.get(database).is_none_or(Session::is_closed) {
            let session = self.server.open(database, Purpose::Reading).await?;
            if !session.lock(Lock::Shared).await? {
                return Err(Fault::new(
                    Cause::TargetInUse,
                    "a run of Backproof is restoring into this database: ask when it is done".to_owned(),
                ));
            }
            self.rooms.insert(database.to_owned(), session);
        }
        self.rooms.get(database).ok_or_else(|| Fault::new(Cause::Internal, "no session".to_owned()))
    }
}

fn name(check: &Check, level: Level) -> Option<&str> {
    check.path.iter().find(|object| object.level == level).map(|object| object.name.as_str())
}
