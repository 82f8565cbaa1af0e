//! The engines that queries exist for, and the fields of their checks (`upstream/fields.tsv` has them as types).

use super::Level;

/// A kind of database server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// MySQL.
    MySql,
    /// MariaDB.
    MariaDb,
    /// PostgreSQL.
    Postgres,
    /// MongoDB.
    MongoDb,
    /// Elasticsearch, and OpenSearch.
    Elasticsearch,
    /// Redis, and Valkey.
    Redis,
    /// SingleStore.
    SingleStore,
    /// Microsoft SQL Server.
    SqlServer,
}

/// What a field of a check holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A name that must be there.
    Name(Level),
    /// A name that may be there.
    Optional(Level),
    /// A name that must be there if something is counted.
    Counted(Level),
    /// The number of a Redis database.
    Number(Level),
    /// Operator and value.
    Count,
}

const DATABASE: (&str, Shape) = ("database", Shape::Name(Level::Database));
const TABLE: (&str, Shape) = ("table", Shape::Counted(Level::Table));
const ROW_COUNT: (&str, Shape) = ("rowCount", Shape::Count);

const ROWS: &[(&str, Shape)] = &[DATABASE, TABLE, ROW_COUNT];
const SCHEMA_ROWS: &[(&str, Shape)] = &[DATABASE, ("schema", Shape::Optional(Level::Schema)), TABLE, ROW_COUNT];
const DOCUMENTS: &[(&str, Shape)] = &[DATABASE, ("collection", Shape::Counted(Level::Collection)), ("documentCount", Shape::Count)];
const INDEX: &[(&str, Shape)] = &[("index", Shape::Name(Level::Index))];
const KEYS: &[(&str, Shape)] = &[("index", Shape::Number(Level::Database)), ("dbSize", Shape::Count)];

impl Engine {
    /// Every engine.
    pub const ALL: [Self; 8] =
        [Self::MySql, Self::MariaDb, Self::Postgres, Self::MongoDb, Self::Elasticsearch, Self::Redis, Self::SingleStore, Self::SqlServer];

    /// Its key below `spec.query`.
    pub fn key(self) -> &'static str {
        match self {
            Self::MySql => "mySQL",
            Self::MariaDb => "mariaDB",
            Self::Postgres => "postgres",
            Self::MongoDb => "mongoDB",
            Self::Elasticsearch => "elasticsearch",
            Self::Redis => "redis",
            Self::SingleStore => "singlestore",
            Self::SqlServer => "mssqlServer",
        }
    }

    /// The fields of one check, in the order in which existence is looked at.
    pub(crate) fn fields(self) -> &'static [(&'static str, Shape)] {
        match self {
            Self::MySql | Self::MariaDb | Self::SingleStore => ROWS,
            Self::Postgres | Self::SqlServer => SCHEMA_ROWS,
            Self::MongoDb => DOCUMENTS,
            Self::Elasticsearch => INDEX,
            Self::Redis => KEYS,
        }
    }

    /// The schema of a table for which the query names none.
    pub(crate) fn default_schema(self) -> Option<&'static str> {
        match self {
            Self::Postgres => Some("public"),
            Self::SqlServer => Some("dbo"),
            Self::MySql | Self::MariaDb | Self::MongoDb | Self::Elasticsearch | Self::Redis | Self::SingleStore => None,
        }
    }

    /// What a count of it counts.
    pub(crate) fn counted(self) -> &'static str {
        match self {
            Self::MySql | Self::MariaDb | Self::Postgres | Self::SingleStore | Self::SqlServer => "rows",
            Self::MongoDb | Self::Elasticsearch => "documents",
            Self::Redis => "keys",
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.key())
    }
}

impl std::str::FromStr for Engine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|engine| engine.key() == text).ok_or_else(|| {
            let keys = Self::ALL.map(Self::key).join(", ");
            format!("{text:?} is no engine; give one of {keys}")
        })
    }
}
