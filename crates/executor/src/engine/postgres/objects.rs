//! What somebody made in a database: everything beside what every database has from the start and what belongs to an
//! extension. By it a database is empty or not, and by it what a run made is known again.

use super::{Fault, Session, session::cell};

/// Objects that servers make for themselves have numbers below this one.
const FIRST_OF_USERS: &str = "16384";

/// Kind, name, namespace, catalog, number and age of each object; a query to be put into another one's FROM.
pub(super) fn objects() -> String {
    let row = |kind: &str, name: &str, space: &str, catalog: &str, condition: &str| {
        format!(
            "SELECT '{kind}'::text AS kind, {name}::text AS name, {space}::oid AS space, tableoid AS catalog, oid, pg_catalog.age(xmin) AS age \
             FROM pg_catalog.{catalog} WHERE {condition}"
        )
    };
    let all = [
        row("relation", "relname", "relnamespace", "pg_class", "relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')"),
        row("routine", "proname", "pronamespace", "pg_proc", "true"),
        row("type", "typname", "typnamespace", "pg_type", "typrelid = 0 AND typcategory <> 'A'"),
        row("schema", "nspname", "0", "pg_namespace", "nspname <> 'public' AND nspname !~ '^pg_'"),
        row("operator", "oprname", "oprnamespace", "pg_operator", "true"),
        row("operator family", "opfname", "opfnamespace", "pg_opfamily", "true"),
        row("collation", "collname", "collnamespace", "pg_collation", "true"),
        row("conversion", "conname", "connamespace", "pg_conversion", "true"),
        row("text search configuration", "cfgname", "cfgnamespace", "pg_ts_config", "true"),
        row("text search dictionary", "dictname", "dictnamespace", "pg_ts_dict", "true"),
        row("language", "lanname", "0", "pg_language", "true"),
        row("foreign data wrapper", "fdwname", "0", "pg_foreign_data_wrapper", "true"),
        row("foreign server", "srvname", "0", "pg_foreign_server", "true"),
        row("event trigger", "evtname", "0", "pg_event_trigger", "true"),
        row("publication", "pubname", "0", "pg_publication", "true"),
        row("access method", "amname", "0", "pg_am", "true"),
        row("cast", "oid", "0", "pg_cast", "true"),
        row("large object", "oid", "0", "pg_largeobject_metadata", "true"),
    ];
    format!(
        "(SELECT o.* FROM ({}) o LEFT JOIN pg_catalog.pg_namespace n ON n.oid = o.space \
         WHERE o.oid >= {FIRST_OF_USERS} AND (n.nspname IS NULL OR n.nspname !~ '^pg_(toast|temp)') \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.catalog AND d.objid = o.oid AND d.deptype = 'e'))",
        all.join(" UNION ALL ")
    )
}

/// One text that is the same as long as the same objects are there.
pub(super) const FINGERPRINT: &str =
    "pg_catalog.md5(COALESCE(pg_catalog.string_agg(o.catalog::text || ':' || o.oid::text, ',' ORDER BY o.catalog, o.oid), ''))";

/// The objects of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Objects {
    pub(crate) count: u64,
    pub(crate) fingerprint: String,
    /// The first of them, for people.
    pub(crate) first: Option<String>,
    /// How many were there before the transaction that was asked about.
    pub(crate) older: u64,
}

impl Objects {
    /// Those of the session's database; older ones are told apart by the number of a transaction.
    pub(crate) async fn of(session: &Session, transaction: Option<u64>) -> Result<Self, Fault> {
        let older = transaction.map_or_else(|| "false".to_owned(), |xid| format!("o.age > pg_catalog.age('{}'::xid)", xid & 0xffff_ffff));
        let sql = format!(
            "SELECT count(*), {FINGERPRINT}, (pg_catalog.array_agg(o.kind || ' ' || pg_catalog.quote_ident(o.name) ORDER BY o.catalog, o.oid))[1], \
             count(*) FILTER (WHERE {older}) FROM {} o",
            objects()
        );
        let row = session.row(&sql, &[]).await?;
        let number = |column| cell::<i64>(&row, column).map(|number| u64::try_from(number).unwrap_or(0));
        Ok(Self { count: number(0)?, fingerprint: cell(&row, 1)?, first: cell(&row, 2)?, older: number(3)? })
    }
}
