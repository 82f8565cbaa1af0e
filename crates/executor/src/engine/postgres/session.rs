//! A session with a server: opened with patience, limited in time, and read-only where nothing is to be written.

use std::time::{Duration, Instant};

use backproof_api::Cause;
use tokio_postgres::{Client, Config, NoTls, Row, config::SslMode, types::ToSql};

use super::{Fault, plain::Plain, tls::Tls};
use crate::engine::Access;

/// Longest time to connect once, and what a statement may take beyond its limit until the server is given up.
const GRACE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a lock is waited for: whoever had it may just have ended, and the server has not noticed yet.
const LINGER: Duration = Duration::from_secs(3);
/// The lock of a database; advisory, so that only runs of Backproof heed it: "back", "prof".
const LOCK: &str = "1650553707, 1886547814";

/// How a run uses a database, until its session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Nobody else does anything there.
    Alone,
    /// Nobody restores into it.
    Shared,
}

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing can be written in it.
    Reading,
    /// Emptying and marking the target.
    Writing,
}

/// A server, and how long it is waited for.
pub(crate) struct Server {
    access: Access,
    tls: Tls,
    until: Instant,
    /// Longest time of a statement.
    limit: Duration,
}

/// An open session.
pub(crate) struct Session {
    client: Client,
    limit: Duration,
}

impl Server {
    /// Nothing is asked of it yet. Waiting begins now.
    pub(crate) fn new(access: Access, limit: Duration) -> Result<Self, Fault> {
        let until = Instant::now() + access.wait;
        Ok(Self { tls: Tls::new(access.ca.as_deref())?, access, until, limit })
    }

    /// A session in `database`.
    pub(crate) async fn open(&self, database: &str, purpose: Purpose) -> Result<Session, Fault> {
        loop {
            let fault = match tokio::time::timeout(GRACE, self.try_open(database, purpose)).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(fault)) => fault,
                Err(_) => Fault { passing: true, ..Fault::new(Cause::EngineUnavailable, format!("no answer for {} s", GRACE.as_secs())) },
            };
            if !fault.passing || Instant::now() + PAUSE >= self.until {
                let place = &self.access.place;
                let detail = format!("PostgreSQL at {}:{}, as {:?}: {}", place.host, place.port, place.user, fault.detail);
                return Err(Fault { detail, ..fault });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_open(&self, database: &str, purpose: Purpose) -> Result<Session, Fault> {
        let place = &self.access.place;
        let mut config = Config::new();
        config.host(&place.host).port(place.port).user(&place.user).dbname(database).application_name("backproof");
        config.connect_timeout(GRACE).keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(Duration::from_secs(60));
        if let Some(password) = &self.access.password {
            config.password(password);
        }
        config.ssl_mode(if self.access.ca.is_some() { SslMode::Require } else { SslMode::Disable });
        let limit = self.limit.as_millis();
        config.options(match purpose {
            // Policies must not hide rows from a count: the server then refuses instead.
            Purpose::Reading => format!("-c default_transaction_read_only=on -c statement_timeout={limit} -c row_security=off"),
            Purpose::Writing => format!("-c default_transaction_read_only=off -c statement_timeout={limit} -c lock_timeout=30000"),
        });
        let client = if self.access.ca.is_some() {
            let (client, connection) = config.connect(self.tls.clone()).await.map_err(|error| Fault::of(&error))?;
            tokio::spawn(async move {
                // Whoever uses the client is told the same.
                let _ = connection.await;
            });
            client
        } else {
            let stream = Plain::connect(&place.host, place.port).await.map_err(|error| Fault::of_stream(&error))?;
            let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|error| Fault::of(&error))?;
            tokio::spawn(async move {
                // As above.
                let _ = connection.await;
            });
            client
        };
        let session = Session { client, limit: self.limit };
        let read_only: String = cell(&session.row("SELECT pg_catalog.current_setting('transaction_read_only')", &[]).await?, 0)?;
        match purpose {
            Purpose::Reading if read_only != "on" => {
                Err(Fault::new(Cause::Internal, "the server did not make the session read-only".to_owned()))
            }
            Purpose::Writing if read_only != "off" => {
                let detail = "the server takes no writes (a standby, or default_transaction_read_only); give the primary's address";
                Err(Fault::new(Cause::TargetNotPrepared, detail.to_owned()))
            }
            Purpose::Reading | Purpose::Writing => Ok(session),
        }
    }
}

impl Session {
    /// The rows of a query.
    pub(crate) async fn rows(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Fault> {
        self.within(self.client.query(sql, values)).await
    }

    /// The only row of a query.
    pub(crate) async fn row(&self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Row, Fault> {
        self.within(self.client.query_one(sql, values)).await
    }

    /// Runs statements of our own.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), Fault> {
        self.within(self.client.batch_execute(sql)).await
    }

    /// Takes the lock of its database; says whether it could be had.
    pub(crate) async fn lock(&self, lock: Lock) -> Result<bool, Fault> {
        let function = match lock {
            Lock::Alone => "pg_try_advisory_lock",
            Lock::Shared => "pg_try_advisory_lock_shared",
        };
        self.lingering(|| async { cell::<bool>(&self.row(&format!("SELECT pg_catalog.{function}({LOCK})"), &[]).await?, 0) }).await
    }

    /// Asks until the answer is yes, but not for long.
    pub(super) async fn lingering<F: Future<Output = Result<bool, Fault>>>(&self, ask: impl Fn() -> F) -> Result<bool, Fault> {
        let until = Instant::now() + LINGER;
        loop {
            if ask().await? {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Fault> {
        match tokio::time::timeout(self.limit + GRACE, answer).await {
            Ok(answer) => answer.map_err(|error| Fault::of(&error)),
            Err(_) => Err(Fault::new(Cause::EngineUnavailable, format!("no answer for {} s", (self.limit + GRACE).as_secs()))),
        }
    }
}

/// A column of a row.
pub(crate) fn cell<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Fault> {
    row.try_get(column).map_err(|error| Fault::of(&error))
}
