//! Where a database server is, from the command line and the environment. A password is never part of a command line,
//! which everybody on the machine can read.

use std::{path::PathBuf, time::Duration};

use backproof_api::{Cause, environment, query::Engine, report::Finding};
use percent_encoding::percent_decode_str;
use url::Url;

/// Arguments of everything that speaks to a database server.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConnectionArgs {
    /// Kind of the database server: a key of spec.query of a BackupVerifier, such as postgres.
    #[arg(long, value_parser = str::parse::<Engine>)]
    pub(crate) engine: Engine,
    /// Where it is: postgres://USER@HOST:PORT/DATABASE, other characters than letters, digits, - . _ ~ percent-encoded. The
    /// password comes from PGPASSWORD, or from the file `password` in BACKPROOF_CONNECTION_DIR; a USER that is left out, from
    /// the file `username` there.
    #[arg(long, value_parser = str::parse::<Address>)]
    connection: Address,
    /// Authorities (PEM) that the server's certificate must come from. With it TLS is demanded, and name and certificate are
    /// checked; without it there is no TLS. By default the file `ca.crt` in BACKPROOF_CONNECTION_DIR, if there is one, or what
    /// BACKPROOF_CONNECTION_CA holds.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Seconds to wait for a server that does not answer, or is still starting.
    #[arg(long, default_value_t = 60)]
    wait: u64,
}

/// What a command line says of a database on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    host: String,
    port: u16,
    user: Option<String>,
    database: String,
}

/// A database on a server, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) database: String,
}

/// A place, and what is needed to get in.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) place: Place,
    pub(crate) password: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) wait: Duration,
}

impl ConnectionArgs {
    /// The access that arguments and environment describe.
    pub(crate) fn access(&self) -> Result<Access, Finding> {
        let given = &self.connection;
        let user = match &given.user {
            Some(user) => user.clone(),
            None => mounted("username")?
                .ok_or_else(|| missing("username", "no user is named: give postgres://USER@HOST:PORT/DATABASE".to_owned()))?,
        };
        let place = Place { host: given.host.clone(), port: given.port, user, database: given.database.clone() };
        Ok(Access { place, password: password()?, ca: self.authorities()?, wait: Duration::from_secs(self.wait) })
    }

    /// The file with the authorities. What comes in the environment is written to one, as the server's client reads files only.
    fn authorities(&self) -> Result<Option<PathBuf>, Finding> {
        if self.ca.is_some() {
            return Ok(self.ca.clone());
        }
        if let Some(file) = folder().map(|folder| folder.join("ca.crt")).filter(|file| file.exists()) {
            return Ok(Some(file));
        }
        let Some(pem) = std::env::var_os(environment::CONNECTION_CA).filter(|pem| !pem.is_empty()) else { return Ok(None) };
        let file = std::env::temp_dir().join("backproof-connection-ca.crt");
        std::fs::write(&file, pem.as_encoded_bytes()).map_err(|error| Finding {
            kind: Cause::Internal,
            path: file.display().to_string(),
            detail: format!("the authorities of the database server cannot be written there: {error}"),
        })?;
        Ok(Some(file))
    }
}

fn missing(what: &str, detail: String) -> Finding {
    Finding { kind: Cause::SecretMissing, path: what.to_owned(), detail }
}

/// A server may ask for none, so that none is no fault yet.
fn password() -> Result<Option<String>, Finding> {
    if let Some(password) = std::env::var_os("PGPASSWORD").filter(|password| !password.is_empty()) {
        return password.into_string().map(Some).map_err(|_| missing("password", "PGPASSWORD is no UTF-8".to_owned()));
    }
    mounted("password")
}

/// Where the server's Secret is mounted.
fn folder() -> Option<PathBuf> {
    std::env::var_os(environment::CONNECTION_DIR).filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// A key of the server's Secret; nothing where none is mounted. One that is mounted must have it.
fn mounted(key: &str) -> Result<Option<String>, Finding> {
    let Some(folder) = folder() else { return Ok(None) };
    let file = folder.join(key);
    let text = std::fs::read_to_string(&file).map_err(|error| {
        let detail =
            format!("{} cannot be read ({error}): does the Secret of the database server exist, with the key {key}?", file.display());
        missing(key, detail)
    })?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        return Err(missing(key, format!("{} is empty", file.display())));
    }
    Ok(Some(value.to_owned()))
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "give postgres://USER@HOST:PORT/DATABASE";
        // The text itself is not repeated: it may hold a password.
        let url = Url::parse(text).map_err(|error| format!("it is no URL ({error}); {form}"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(format!("{}:// is not supported; {form}", url.scheme()));
        }
        if url.password().is_some() {
            return Err("a password on the command line can be read by everybody; put it into PGPASSWORD".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("options after ? or # are not supported; {form}, and --ca for TLS"));
        }
        let decode = |part: &str, what: &str| {
            let name = percent_decode_str(part).decode_utf8().map_err(|_| format!("the {what} is no UTF-8"))?;
            if name.is_empty() || name.contains('\0') { Err(format!("the {what} is missing; {form}")) } else { Ok(name.into_owned()) }
        };
        let path = url.path().strip_prefix('/').unwrap_or(url.path());
        Ok(Self {
            host: decode(url.host_str().unwrap_or_default().trim_matches(['[', ']']), "host")?,
            port: url.port().unwrap_or(5432),
            user: if url.username().is_empty() { None } else { Some(decode(url.username(), "user")?) },
            database: decode(path, "database")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn urls_become_addresses() {
        let place = |host: &str, port, user: &str, database: &str| Address {
            host: host.to_owned(),
            port,
            user: Some(user.to_owned()).filter(|user| !user.is_empty()),
            database: database.to_owned(),
        };
        for (text, expected) in [
            ("postgres://db.verify.svc:5433/shop", place("db.verify.svc", 5433, "", "shop")),
            ("postgres://app@db.verify.svc/shop", place("db.verify.svc", 5432, "app", "shop")),
            ("postgresql://app@127.0.0.1:5433/shop", place("127.0.0.1", 5433, "app", "shop")),
            ("postgres://app@[::1]:1/shop", place("::1", 1, "app", "shop")),
            ("postgres://a%40b@db/sh%2Fop%3F%22%3B", place("db", 5432, "a@b", "sh/op?\";")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_without_repeating_it() {
        for wrong in [
            "",
            "db:5432",
            "mysql://app@db/shop",
            "postgres://app@db",
            "postgres://app@db/",
            "postgres://app@/shop",
            "postgres://app@db/shop?sslmode=disable",
            "postgres://app@db/a%00b",
        ] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
        let error = "postgres://app:hunter2@db/shop".parse::<Address>().unwrap_err();
        assert!(!error.contains("hunter2") && error.contains("PGPASSWORD"), "{error}");
    }
}
