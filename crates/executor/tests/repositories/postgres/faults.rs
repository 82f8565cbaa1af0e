//! Faults between the executor and the server, on either side: nothing is called bad, and nothing is left half done.

use std::{
    fs,
    time::{Duration, Instant},
};

use backproof_api::Cause;
use backproof_testing::Authority;

use super::{
    HOLDS,
    server::{self, Server},
    shop,
    world::{GREEN, USER, World, expect, open, red},
};
use crate::support::{
    noise,
    run::{Run, Running},
};

/// Waits for something at the server.
pub(super) fn wait_for(server: &Server, sql: &str, expected: &str) {
    let start = Instant::now();
    while server.sql("postgres", sql) != expected {
        assert!(start.elapsed() < Duration::from_secs(30), "{sql} is not {expected}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the client is at a statement that takes long.
pub(super) fn wait_for_sleep(server: &Server) {
    wait_for(server, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "t");
}

/// A dump that takes a minute.
pub(super) const SLOW: &str = "CREATE TABLE slow (x int);\nINSERT INTO slow VALUES (1);\nSELECT pg_sleep(60);\n";

#[test]
fn a_server_that_does_not_answer_is_inconclusive() {
    let mut world = World::start(&[]);
    let snapshot = world.backup(&shop(&world));
    world.server.create("shop");
    let place = world.place("shop");
    expect(&world.restore(&snapshot, &place, &[]), GREEN);
    let slow = world.backup(SLOW.as_bytes());

    // Wrong password, wrong user.
    let wrong = |world: &World| Run::watch(world.begin_verify(HOLDS, &place, &[], "guess"));
    expect(&wrong(&world), open(Cause::EngineCredentialsRefused));
    expect(&world.verify(HOLDS, &world.place_as("nobody", "shop"), &[]), open(Cause::EngineCredentialsRefused));
    expect(&world.restore(&snapshot, &world.place_as("nobody", "shop"), &[]), open(Cause::EngineCredentialsRefused));
    // A right that is lacking is not absence, and rows that a policy hides are not missing.
    world.server.sql("shop", "CREATE ROLE reader LOGIN PASSWORD 'it''s \"secret\" \\ grün'");
    expect(&world.verify(HOLDS, &world.place_as("reader", "shop"), &[]), open(Cause::EngineCredentialsRefused));
    world.server.sql("shop", "GRANT ALL ON \"order\" TO reader; ALTER TABLE \"order\" ENABLE ROW LEVEL SECURITY");
    let order = "postgres: [{database: shop, table: order, rowCount: 3}]";
    expect(&world.verify(order, &world.place_as("reader", "shop"), &[]), open(Cause::EngineCredentialsRefused));
    expect(&world.restore(&snapshot, &world.place_as("reader", "shop"), &[]), open(Cause::TargetNotWipeable));
    // No such host, nobody there.
    let nowhere = "postgres://postgres@nowhere.invalid/shop";
    expect(&world.verify(HOLDS, nowhere, &["--wait=1"]), open(Cause::EngineUnavailable));
    expect(&world.restore(&snapshot, nowhere, &["--wait=0"]), open(Cause::EngineUnavailable));
    // A statement that takes too long.
    world.server.sql("postgres", "CREATE VIEW slow AS SELECT 1 AS x FROM pg_sleep(60)");
    let waits = "postgres: [{database: postgres, table: slow, rowCount: 1}, {database: shop}]";
    let report = expect(&world.verify(waits, &place, &["--statement-timeout=1"]), open(Cause::EngineUnavailable));
    assert_eq!(report.checks.iter().map(|check| check.holds).collect::<Vec<_>>(), [None, Some(true)]);

    // Killed while it counts, and while it takes a dump.
    let running = world.begin_verify(waits, &place, &["--wait=1"], server::PASSWORD);
    wait_for_sleep(&world.server);
    world.server.kill();
    expect(&Run::watch(running), open(Cause::EngineUnavailable));
    expect(&world.verify(HOLDS, &place, &["--wait=0"]), open(Cause::EngineUnavailable));
    expect(&world.restore(&snapshot, &place, &["--wait=0"]), open(Cause::EngineUnavailable));
    // One that is still starting is waited for.
    let running = world.begin_verify(HOLDS, &place, &["--wait=60"], server::PASSWORD);
    std::thread::sleep(Duration::from_millis(500));
    world.server.run_without_waiting();
    expect(&Run::watch(running), GREEN);
    let running = world.begin_restore(&slow, &place, &[]);
    wait_for_sleep(&world.server);
    world.server.crash();
    expect(&Run::watch(running), open(Cause::EngineUnavailable));
    world.server.run();
    assert_eq!(world.tables("shop"), "", "it was emptied, and nothing was committed");
    expect(&world.restore(&snapshot, &place, &[]), GREEN);
}

fn signal(running: &Running, name: &str) {
    let status = std::process::Command::new("kill").arg(format!("-{name}")).arg(running.child.id().to_string()).status().expect("kill");
    assert!(status.success());
}

/// Whoever ends the executor ends the input of its client as well, and that is no end of the dump.
#[test]
fn an_executor_that_is_ended_commits_nothing() {
    let world = World::start(&[]);
    world.server.create("shop");
    let place = world.place("shop");
    let short = SLOW.replace("60", "10");
    // More than a pipe holds: a dump that was handed over whole may be committed whoever ends then.
    let long = world.backup(format!("{short}{}", "-- nothing\n".repeat(100_000)).as_bytes());
    let short = world.backup(short.as_bytes());
    for name in ["KILL", "TERM"] {
        let running = world.begin_restore(&long, &place, &[]);
        wait_for_sleep(&world.server);
        signal(&running, name);
        let outcome = Run::watch(running);
        if name == "TERM" {
            expect(&outcome, open(Cause::Interrupted));
        }
        wait_for(&world.server, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'backproof%'", "0");
        assert_eq!(world.tables("shop"), "", "SIG{name}");
    }
    // Two at once: the second leaves the first alone.
    let first = world.begin_restore(&short, &place, &[]);
    wait_for_sleep(&world.server);
    expect(&world.restore(&short, &place, &[]), open(Cause::TargetInUse));
    expect(&Run::watch(first), GREEN);
    assert_eq!(world.server.sql("shop", "SELECT x FROM slow"), "1");
}

/// A table of rows that do not compress, so that a dump spans several packs: 1 MiB each time, and how often they repeat.
fn many_rows(mebibytes: u64, times: usize) -> [Vec<u8>; 3] {
    let mut rows = Vec::new();
    for at in 0..mebibytes * 16 {
        rows.extend(crate::support::hex(&noise(at + 1, 32_768)).into_bytes());
        rows.push(b'\n');
    }
    let count = mebibytes as usize * 16 * times;
    let end = format!("\\.\nCREATE TABLE counted AS SELECT count(*) AS n FROM noise WHERE length(x) = 65536 HAVING count(*) = {count};\n");
    [b"CREATE TABLE noise (x text);\nCOPY noise FROM stdin;\n".to_vec(), rows, end.into_bytes()]
}

#[test]
fn damage_in_the_middle_of_a_dump_is_red_and_nothing_is_committed() {
    let world = World::start(&[]);
    world.server.create("shop");
    let place = world.place("shop");
    let snapshot = world.backup(&many_rows(24, 1).concat());
    let report = expect(&world.restore(&snapshot, &place, &[]), GREEN);
    assert_eq!(report.database.and_then(|database| database.objects), Some(2));
    assert_eq!(world.server.sql("shop", "SELECT count(*) FROM noise"), (24 * 16).to_string());
    let mut packs: Vec<_> = crate::support::sample::names(&world.repository.join("data"))
        .into_iter()
        .flat_map(|folder| {
            let folder = world.repository.join("data").join(folder);
            crate::support::sample::names(&folder).into_iter().map(move |name| folder.join(name))
        })
        .collect();
    // The last that was filled: what comes before it has been given to the client by then.
    packs.retain(|pack| fs::metadata(pack).expect("a pack").len() > 1 << 20);
    packs.sort_by_key(|pack| fs::metadata(pack).and_then(|pack| pack.modified()).expect("a pack"));
    let pack = packs.pop().expect("a pack");
    let mut bytes = fs::read(&pack).expect("a pack");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    crate::support::forge::put(&pack, &bytes);
    let report = expect(&world.restore(&snapshot, &place, &[]), red(Cause::PackDamaged));
    assert_eq!(report.restored.bytes, 0);
    assert_eq!(world.tables("shop"), "", "the part before the damage was committed");
    // What is known beforehand is not begun: the target keeps what it has.
    let other = world.backup(b"CREATE TABLE other ();");
    expect(&world.restore(&other, &place, &[]), GREEN);
    fs::remove_file(&pack).expect("removing a pack");
    expect(&world.restore(&snapshot, &place, &[]), red(Cause::PackMissing));
    assert_eq!(world.tables("shop"), "other");
}

#[test]
#[ignore = "long: TLS needs a server of its own"]
fn tls_is_demanded_and_checked_when_an_authority_is_given() {
    let keys = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(keys.path()).expect("an authority");
    authority.server(keys.path(), "server", &["127.0.0.1"]).expect("a certificate");
    authority.server(keys.path(), "other", &["db.example"]).expect("a certificate");
    let mut world = World::start(&[]);
    world.server.create("shop");
    let snapshot = world.backup(b"CREATE TABLE a AS SELECT 1 AS x;");
    let place = world.place("shop");
    let query = "postgres: [{database: shop, table: a, rowCount: 1}]";
    let ca = format!("--ca={}", keys.path().join("ca.crt").display());
    // A server without TLS is not spoken to without it.
    expect(&world.verify(query, &place, &[&ca]), open(Cause::EngineUnavailable));
    expect(&world.restore(&snapshot, &place, &[&ca]), open(Cause::EngineUnavailable));
    let with = |world: &mut World, name: &str| {
        world.server.crash();
        for (from, to) in [("crt", "server.crt"), ("key", "server.key")] {
            let to = world.server.file(&format!("data/{to}"));
            fs::copy(keys.path().join(format!("{name}.{from}")), &to).expect("copying");
            use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("setting the mode");
            let owner = fs::metadata(world.server.file("data")).expect("the data").uid();
            std::os::unix::fs::chown(&to, Some(owner), Some(owner)).expect("chown");
        }
        fs::write(
            world.server.file("data/pg_hba.conf"),
            "hostssl all all all scram-sha-256\nlocal all all trust\nhost all postgres 127.0.0.1/32 reject\n",
        )
        .expect("writing");
        fs::write(world.server.file("data/postgresql.auto.conf"), "ssl = on\n").expect("writing");
        world.server.run();
    };
    with(&mut world, "server");
    expect(&world.restore(&snapshot, &place, &[&ca]), GREEN);
    expect(&world.verify(query, &place, &[&ca]), GREEN);
    expect(&world.verify(query, &place, &["--wait=1"]), open(Cause::EngineCredentialsRefused));
    let stranger = tempfile::tempdir().expect("a directory");
    Authority::new(stranger.path()).expect("an authority");
    let other = format!("--ca={}", stranger.path().join("ca.crt").display());
    expect(&world.verify(query, &place, &[&other]), open(Cause::EngineUnavailable));
    expect(&world.restore(&snapshot, &place, &[&other]), open(Cause::EngineUnavailable));
    with(&mut world, "other");
    expect(&world.verify(query, &place, &[&ca]), open(Cause::EngineUnavailable));
}

/// A password is for the server alone: without TLS it is not sent as it is.
#[test]
fn a_password_is_not_sent_in_clear() {
    let world = World::start(&[]);
    world.server.create("shop");
    let snapshot = world.backup(b"CREATE TABLE a AS SELECT 1 AS x;");
    let place = world.place("shop");
    let query = "postgres: [{database: shop}]";
    expect(&world.verify(query, &place, &[]), GREEN);
    fs::write(world.server.file("data/pg_hba.conf"), "host all all all password\n").expect("writing");
    world.server.sql("postgres", "SELECT pg_reload_conf()");
    wait_for(&world.server, "SELECT auth_method FROM pg_hba_file_rules", "password");
    expect(&world.verify(query, &place, &[]), open(Cause::EngineCredentialsRefused));
    expect(&world.restore(&snapshot, &place, &[]), open(Cause::EngineCredentialsRefused));
    for method in ["md5", "scram-sha-256", "trust"] {
        fs::write(world.server.file("data/pg_hba.conf"), format!("host all all all {method}\n")).expect("writing");
        world.server.sql("postgres", "SELECT pg_reload_conf()");
        std::thread::sleep(Duration::from_millis(500));
        expect(&world.verify(query, &place, &[]), GREEN);
    }
    expect(&world.restore(&snapshot, &place, &[]), GREEN);
}

/// A dump of many GiB takes no more memory than a small one. Blobs that repeat keep the repository small.
#[test]
#[ignore = "long: streams 5 GiB"]
fn a_large_dump_takes_little_memory() {
    let world = World::start(&["max_wal_size=4GB", "wal_level=minimal", "max_wal_senders=0"]);
    world.server.create("shop");
    let [begin, rows, end] = many_rows(64, 80);
    let parts = std::iter::once(&begin).chain(std::iter::repeat_n(&rows, 80)).chain(std::iter::once(&end));
    let snapshot = world.backup_parts(parts.map(Vec::as_slice));
    let outcome = Run::watch_for(world.begin_restore(&snapshot, &world.place("shop"), &[]), Duration::from_secs(1800));
    let report = expect(&outcome, GREEN);
    assert!(report.restored.bytes > 5 << 30, "{} bytes", report.restored.bytes);
    println!("{} bytes in {:.1} s, {} KiB", report.restored.bytes, outcome.took.as_secs_f32(), outcome.peak);
    assert!(outcome.peak < 256 << 10, "{} KiB", outcome.peak);
}

/// Somebody who owns the database and is nobody else: nothing needs a superuser.
#[test]
#[ignore = "long: one more server"]
fn an_owner_without_further_rights_is_enough() {
    let world = World::start(&[]);
    world.server.sql("postgres", "CREATE ROLE app LOGIN PASSWORD 'it''s \"secret\" \\ grün'");
    world.server.sql("postgres", "CREATE DATABASE shop OWNER app");
    world.server.create("source");
    world.server.sql("source", "CREATE TABLE a AS SELECT 1 AS x; CREATE SCHEMA s; CREATE TABLE s.b (y int)");
    let snapshot = world.backup(&world.server.dump("source", &["--no-owner"]));
    for _ in 0..2 {
        let run = expect(&world.restore(&snapshot, &world.place_as("app", "shop"), &[]), GREEN).database.expect("the database").run;
        let query = "postgres: [{database: shop, table: a, rowCount: 1}, {database: shop, schema: s, table: b, rowCount: 0}]";
        expect(&world.verify(query, &world.place_as("app", "shop"), &["--run", &run]), GREEN);
    }
    assert_ne!(USER, "app");
}
