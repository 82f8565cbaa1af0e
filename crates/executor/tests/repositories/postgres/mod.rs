//! Dumps of a real PostgreSQL, out of real repositories, into a real PostgreSQL, and what is asked of it then.

mod dumps;
mod faults;
mod names;
mod server;
mod whose;
mod world;

use backproof_api::Cause;
use world::{GREEN, World, expect, open, red};

/// A small shop with something of everything that pg_dump writes.
const SHOP: &str = "
    CREATE SCHEMA \"primary\";
    CREATE TYPE mood AS ENUM ('good', 'bad');
    CREATE TABLE \"primary\".employee (id bigserial PRIMARY KEY, name text NOT NULL, mood mood DEFAULT 'good');
    INSERT INTO \"primary\".employee (name) SELECT 'employee ' || n || E'\\n\\\\c x' FROM generate_series(1, 100) n;
    CREATE TABLE \"order\" (id int PRIMARY KEY, employee bigint REFERENCES \"primary\".employee, note text);
    INSERT INTO \"order\" VALUES (1, 1, 'a'), (2, 2, NULL), (3, 3, E'tab\\tand \\\\. dot');
    CREATE INDEX ON \"order\" (note);
    CREATE VIEW busy AS SELECT employee FROM \"order\";
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM \"order\";
    CREATE FUNCTION two() RETURNS int LANGUAGE sql AS 'SELECT 2';
    CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE empty ();
    COMMENT ON DATABASE source IS 'what is dumped';";

/// A database with the shop in it, dumped.
fn shop(world: &World) -> Vec<u8> {
    world.server.create("source");
    world.server.sql("source", SHOP);
    world.server.dump("source", &[])
}

const HOLDS: &str = "postgres:
- {database: shop, schema: primary, table: employee, rowCount: {operator: GreaterThanOrEqual, value: 100}}
- {database: shop, table: order, rowCount: 3}
- {database: shop, table: empty, rowCount: {operator: Equal, value: 0}}
- {database: shop, table: busy, rowCount: {operator: LessThan, value: 4}}
- {database: shop, table: counted}
- {database: shop, schema: primary}
- {database: shop}
";

/// From nothing to a verdict; everything that makes it red; and that yesterday's proof is none today.
#[test]
fn a_dump_is_restored_and_asked() {
    let world = World::start(&[]);
    let dump = shop(&world);
    let snapshot = world.backup(&dump);
    world.server.create("shop");
    let place = world.place("shop");

    let first = expect(&world.restore(&snapshot, &place, &[]), GREEN);
    let database = first.database.expect("the database");
    assert_eq!(first.restored.bytes, dump.len() as u64);
    assert!(database.objects.is_some_and(|objects| objects >= 11), "{database:?}");
    assert_eq!(database.client.and_then(|client| client.exit_status), Some(0));
    let report = expect(&world.verify(HOLDS, &place, &["--run", &database.run]), GREEN);
    assert_eq!(report.checks.iter().filter(|check| check.holds == Some(true)).count(), 7, "{report:?}");
    assert!(report.database.is_some_and(|database| database.server.starts_with("15.")));

    // All checks are asked, and everything that does not hold is told, absence apart from a wrong count.
    let query = "postgres:
- {database: shop, schema: primary, table: employee, rowCount: {operator: GreaterThan, value: 100}}
- {database: shop, table: order, rowCount: 3}
- {database: shop, table: employee, rowCount: {operator: LessThan, value: 5}}
- {database: shop, schema: secondary, table: employee}
- {database: shops, table: order, rowCount: {operator: Equal, value: 0}}
- {database: Shop}
";
    let report = expect(&world.verify(query, &place, &[]), red(Cause::ObjectMissing));
    let actual: Vec<_> = report.checks.iter().map(|check| (check.holds, check.actual.as_str())).collect();
    assert_eq!(
        actual,
        [
            (Some(false), "100 rows"),
            (Some(true), "3 rows"),
            (Some(false), r#"there is no table "employee" in database "shop", schema "public""#),
            (Some(false), r#"there is no schema "secondary" in database "shop""#),
            (Some(false), r#"there is no database "shops""#),
            (Some(false), r#"there is no database "Shop""#),
        ]
    );
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [Cause::ObjectMissing, Cause::ObjectMissing, Cause::ObjectMissing, Cause::ObjectMissing, Cause::CountMismatch]);
    expect(&world.verify("postgres: [{database: shop, table: order, rowCount: 4}]", &place, &[]), red(Cause::CountMismatch));
    // The given database need not exist for it to be told that it does not.
    expect(&world.verify("postgres: [{database: lost}]", &world.place("lost"), &[]), red(Cause::ObjectMissing));

    // The next run empties what the first one left, and is told apart from it.
    let second = expect(&world.restore(&snapshot, &place, &[]), GREEN).database.expect("the database");
    assert_ne!(second.run, database.run);
    assert_eq!(second.objects, database.objects);
    expect(&world.verify(HOLDS, &place, &["--run", &second.run]), GREEN);
    // What the first one restored was replaced since, which is no fault of its backup.
    let replaced = expect(&world.verify(HOLDS, &place, &["--run", &database.run]), open(Cause::TargetInUse));
    assert!(replaced.checks.len() == 7 && replaced.checks.iter().all(|check| check.holds.is_none()), "{replaced:?}");
    // Whoever adds something to it takes it from us.
    world.server.sql("shop", "CREATE TABLE mine AS SELECT 1 AS x");
    expect(&world.verify(HOLDS, &place, &["--run", &second.run]), open(Cause::TargetInUse));
    expect(&world.restore(&snapshot, &place, &[]), open(Cause::TargetNotEmpty));
    assert_eq!(world.server.sql("shop", "SELECT count(*) FROM mine, \"primary\".employee"), "100");
}
