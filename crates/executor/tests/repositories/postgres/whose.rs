//! Whose what is in a database is: nothing of anybody else is removed, and nothing of anybody else is called a defect.

use backproof_api::Cause;

use super::world::{GREEN, World, expect, open, red};

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
