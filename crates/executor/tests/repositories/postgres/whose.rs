//! Whose what is in a database is: nothing of anybody else is removed, and nothing of anybody else is called a defect.

use std::time::Duration;

use backproof_api::{Cause, Verdict, report::Report};

use super::{
    HOLDS,
    faults::{SLOW, wait_for, wait_for_sleep},
    server::PASSWORD,
    shop,
    world::{GREEN, World, expect, open, red},
};
use crate::support::run::Run;

/// The run that restored.
fn run_of(report: Report) -> String {
    report.database.expect("the database").run
}

#[test]
fn what_came_after_a_failed_run_is_not_ours() {
    let world = World::start(&[]);
    let good = world.backup(b"CREATE TABLE a AS SELECT 1 AS x;");
    let wrong = world.backup(b"CREATE TABEL a ();");
    world.server.create("shop");
    let place = world.place("shop");
    expect(&world.restore(&wrong, &place, &[]), red(Cause::DumpRejected));
    world.server.sql("shop", "CREATE TABLE precious AS SELECT 7 AS x");
    let report = expect(&world.restore(&good, &place, &[]), open(Cause::TargetNotEmpty));
    assert!(report.error.is_some_and(|error| error.contains("relation precious")));
    assert_eq!(world.server.sql("shop", "SELECT x FROM precious"), "7");
    world.server.sql("shop", "DROP TABLE precious");
    expect(&world.restore(&good, &place, &[]), GREEN);
    assert_eq!(world.tables("shop"), "a");
}

/// A query that what is there contradicts, in every way there is.
const CONTRADICTED: &str = "postgres:
- {database: shop, table: a, rowCount: 5}
- {database: shop, table: lost}
- {database: shop, schema: lost}
";

/// Nothing of it is known, and nothing is called a defect.
#[track_caller]
fn unknown(world: &World, query: &str, run: &str, cause: Cause) {
    let report = expect(&world.verify(query, &world.place("shop"), &["--run", run]), open(cause));
    assert!(report.checks.iter().all(|check| check.holds.is_none()), "{report:?}");
    assert!(report.findings.iter().all(|finding| finding.kind.verdict() == Verdict::Inconclusive), "{report:?}");
}

#[test]
fn what_is_not_of_the_asked_run_is_no_defect_of_its_backup() {
    let world = World::start(&[]);
    let snapshot = world.backup(b"CREATE TABLE a AS SELECT 1 AS x;");
    world.server.create("shop");
    let place = world.place("shop");
    let run = run_of(expect(&world.restore(&snapshot, &place, &[]), GREEN));
    expect(&world.verify(CONTRADICTED, &place, &["--run", &run]), red(Cause::ObjectMissing));
    // Another run, earlier or never heard of.
    unknown(&world, CONTRADICTED, "somebody", Cause::TargetInUse);
    let second = run_of(expect(&world.restore(&snapshot, &place, &[]), GREEN));
    unknown(&world, CONTRADICTED, &run, Cause::TargetInUse);
    // Somebody wrote to it.
    world.server.sql("shop", "CREATE TABLE mine ()");
    unknown(&world, CONTRADICTED, &second, Cause::TargetInUse);
    world.server.sql("shop", "DROP TABLE mine");
    expect(&world.verify(CONTRADICTED, &place, &["--run", &second]), red(Cause::ObjectMissing));
    // Somebody took the marker, or all of it, away.
    world.server.sql("postgres", "COMMENT ON DATABASE shop IS NULL");
    unknown(&world, CONTRADICTED, &second, Cause::TargetInUse);
    world.server.sql("postgres", "DROP DATABASE shop");
    unknown(&world, CONTRADICTED, &second, Cause::TargetNotFound);
    world.server.create("shop");
    unknown(&world, CONTRADICTED, &second, Cause::TargetInUse);
}

#[test]
fn a_database_is_not_asked_while_it_is_restored_nor_restored_while_it_is_asked() {
    let world = World::start(&[]);
    world.server.create("shop");
    let place = world.place("shop");
    let slow = world.backup(SLOW.replace("60", "12").as_bytes());
    let first = world.begin_restore(&slow, &place, &[]);
    wait_for_sleep(&world.server);
    let asked = "postgres: [{database: shop, table: slow, rowCount: 1}]";
    expect(&world.verify(asked, &place, &[]), open(Cause::TargetInUse));
    let run = run_of(expect(&Run::watch(first), GREEN));
    expect(&world.verify(asked, &place, &["--run", &run]), GREEN);

    world.server.sql("postgres", "CREATE VIEW waits AS SELECT 1 AS x FROM pg_sleep(12)");
    let waits = "postgres: [{database: shop, table: slow, rowCount: 1}, {database: postgres, table: waits, rowCount: 1}]";
    let asking = world.begin_verify(waits, &place, &[], PASSWORD);
    wait_for_sleep(&world.server);
    let other = world.backup(b"CREATE TABLE other ();");
    expect(&world.restore(&other, &place, &[]), open(Cause::TargetInUse));
    expect(&Run::watch(asking), GREEN);
    // It was this run's when asking began, and is not any more.
    let waits = world.backup(b"CREATE VIEW waits AS SELECT 1 AS x FROM pg_sleep(3);");
    let run = run_of(expect(&world.restore(&waits, &place, &[]), GREEN));
    let asking = world.begin_verify("postgres: [{database: shop, table: waits, rowCount: 1}]", &place, &["--run", &run], PASSWORD);
    wait_for_sleep(&world.server);
    world.server.sql("postgres", "COMMENT ON DATABASE shop IS NULL");
    expect(&Run::watch(asking), open(Cause::TargetInUse));
}

/// Rows are in no fingerprint, so that whoever has begun to use the database shows only by being there.
#[test]
fn a_database_that_somebody_uses_is_not_emptied() {
    let world = World::start(&[]);
    let snapshot = world.backup(&shop(&world));
    world.server.create("shop");
    let place = world.place("shop");
    expect(&world.restore(&snapshot, &place, &[]), GREEN);
    world.server.sql("shop", "CREATE ROLE app LOGIN PASSWORD 'x'; ALTER DATABASE shop OWNER TO app; GRANT ALL ON \"order\" TO app");
    let mut application = world.server.begin("shop", "INSERT INTO \"order\" VALUES (4, 4, 'new'); SELECT pg_sleep(60)");
    wait_for_sleep(&world.server);
    let report = expect(&world.restore(&snapshot, &place, &[]), open(Cause::TargetInUse));
    assert!(report.error.is_some_and(|error| error.contains("postgres")));
    assert_eq!(world.server.sql("shop", "SELECT count(*) FROM \"order\""), "4");
    application.kill().expect("ending it");
    application.wait().expect("waiting for it");
    world.server.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shop'");
    wait_for(&world.server, "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop'", "0");
    std::thread::sleep(Duration::from_millis(200));
    expect(&world.restore(&snapshot, &place, &[]), GREEN);
    expect(&world.verify(HOLDS, &place, &[]), GREEN);
}

#[test]
fn extensions_of_the_administrator_stay() {
    let world = World::start(&[]);
    let dump = shop(&world);
    world.server.sql("source", "CREATE SCHEMA tools; CREATE EXTENSION citext SCHEMA tools; CREATE TABLE named (name tools.citext)");
    world.server.sql(
        "source",
        "CREATE PROCEDURE nothing() LANGUAGE sql AS ''; CREATE TYPE pair AS (a int, b mood); CREATE TYPE span AS RANGE (SUBTYPE = int);
         CREATE TABLE parts (id int GENERATED ALWAYS AS IDENTITY, p pair, s span) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parts FOR VALUES FROM (1) TO (9);
         CREATE STATISTICS correlated ON id, p FROM part; CREATE FUNCTION plus(pair, pair) RETURNS pair LANGUAGE sql AS 'SELECT $1';
         CREATE OPERATOR + (LEFTARG = pair, RIGHTARG = pair, FUNCTION = plus); CREATE COLLATION mine FROM \"C\";
         CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = simple); CREATE TEXT SEARCH CONFIGURATION search (PARSER = \"default\");
         CREATE OPERATOR FAMILY family USING btree; CREATE PUBLICATION news FOR TABLE \"order\"; ",
    );
    let snapshot = world.backup(&world.server.dump("source", &[]));
    world.server.create("shop");
    world.server.sql("shop", "CREATE EXTENSION hstore");
    let place = world.place("shop");
    let extensions = || world.server.sql("shop", "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension WHERE oid >= 16384");
    for _ in 0..2 {
        expect(&world.restore(&snapshot, &place, &[]), GREEN);
        assert_eq!(extensions(), "citext hstore");
    }
    // What the dump itself brought goes with the rest.
    let plain = world.backup(&dump);
    expect(&world.restore(&plain, &place, &[]), GREEN);
    assert_eq!(extensions(), "hstore");
    // One that lies in a schema of ours cannot stay without it.
    world.server.sql("shop", "CREATE EXTENSION pgcrypto SCHEMA \"primary\"");
    let report = expect(&world.restore(&plain, &place, &[]), open(Cause::TargetNotWipeable));
    assert!(report.error.is_some_and(|error| error.contains("pgcrypto")));
    assert_eq!(extensions(), "hstore pgcrypto");
    assert_eq!(world.server.sql("shop", "SELECT count(*) FROM \"primary\".employee"), "100");
}
