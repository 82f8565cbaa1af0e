//! Dumps that are not whole, not right, or not for this: nothing of them is ever committed.

use backproof_api::Cause;

use super::{
    shop,
    world::{GREEN, World, expect, open, red},
};

fn position(text: &[u8], what: &str) -> usize {
    text.windows(what.len()).position(|window| window == what.as_bytes()).unwrap_or_else(|| panic!("the dump has no {what:?}"))
}

#[test]
fn half_a_dump_and_a_wrong_one_are_red_and_leave_nothing() {
    let world = World::start(&[]);
    let dump = shop(&world);
    world.server.create("shop");
    let place = world.place("shop");
    // Yesterday's rows, which nothing may pass off as today's.
    expect(&world.restore(&world.backup(&dump), &place, &[]), GREEN);

    let rows = position(&dump, "COPY \"primary\".employee");
    let end_of_rows = rows + position(&dump[rows..], "\n\\.\n") + 4;
    let last = position(&dump, "-- PostgreSQL database dump complete");
    let with = |text: &str| [&dump[..last], text.as_bytes(), &dump[last..]].concat();
    let cases: Vec<(&str, Vec<u8>, Cause)> = vec![
        ("cut within the rows of a table", dump[..rows + 500].to_vec(), Cause::DumpTruncated),
        ("cut between two statements", dump[..end_of_rows].to_vec(), Cause::DumpTruncated),
        ("without its last line", dump[..last].to_vec(), Cause::DumpTruncated),
        ("by hand, cut within rows", b"CREATE TABLE a (x text);\nCOPY a FROM stdin;\nfoo\nba".to_vec(), Cause::DumpTruncated),
        ("by hand, cut within a text", b"CREATE TABLE a (x text);\nINSERT INTO a VALUES ('foo".to_vec(), Cause::DumpRejected),
        ("with a syntax error at its end", with("CREATE TABEL x ();\n"), Cause::DumpRejected),
        ("with a row twice", with("INSERT INTO public.\"order\" VALUES (1);\n"), Cause::DumpRejected),
        ("without a table that it needs", b"CREATE TABLE a (x int);\nINSERT INTO b VALUES (1);\n".to_vec(), Cause::DumpRejected),
        ("of nothing", Vec::new(), Cause::DumpEmpty),
        ("of a comment", b"-- nothing to see\n".to_vec(), Cause::DumpEmpty),
    ];
    for (what, text, cause) in cases {
        let snapshot = if text.is_empty() { world.backup_file(&text) } else { world.backup(&text) };
        let outcome = world.restore(&snapshot, &place, &[]);
        assert_eq!(outcome.told().expect(what).cause, Some(cause), "a dump {what}: {}\n{}", outcome.text, outcome.log);
        expect(&outcome, red(cause));
        assert_eq!(world.tables("shop"), "", "a dump {what} left something");
    }
    expect(&world.restore(&world.backup(b"-- nothing to see\n"), &place, &["--allow-empty"]), GREEN);
    // And afterwards all is well again.
    expect(&world.restore(&world.backup(&dump), &place, &[]), GREEN);
    assert_eq!(world.tables("shop"), "employee empty order");
}

/// What a dump committed by itself nobody can prove to be ours: a person must drop it.
fn renew(world: &World, snapshot: &str) {
    if world.tables("shop").is_empty() {
        return;
    }
    let report = expect(&world.restore(snapshot, &world.place("shop"), &[]), open(Cause::TargetNotEmpty));
    assert!(report.error.is_some_and(|error| error.contains("drop the database and create it again")));
    world.server.sql("postgres", "DROP DATABASE shop");
    world.server.create("shop");
}

/// psql would run these, wherever in a line they stand.
#[test]
fn no_command_of_a_dump_is_run() {
    let world = World::start(&[]);
    world.server.create("shop");
    let place = world.place("shop");
    let proof = world.scratch.path().join("it-ran");
    let touch = format!("touch {}", proof.display());
    for text in [
        format!("\\! {touch}\n"),
        format!("  \\! {touch}\n"),
        format!("SELECT 1; \\! {touch}\n"),
        format!("SELECT 1 \\g |{touch}\n"),
        format!("SELECT 1\\;SELECT 2 \\g |{touch}\n"),
        format!("\\set x `{touch}`\n"),
        format!("/* */ \\echo `{touch}`\n"),
        format!("COPY (SELECT 1) TO stdout \\g |{touch}\n"),
        format!("SET standard_conforming_strings = off;\nSELECT 'a\\'' ; \\! {touch}\n"),
        format!("\\unrestrict x\n\\! {touch}\n"),
        format!("\\restrict x\n\\unrestrict x\n SELECT 1; \\! {touch}\n"),
        format!("SELECT 1; \\restrict x\n\\unrestrict x\n SELECT 1; \\! {touch}\n"),
    ] {
        let outcome = world.restore(&world.backup(text.as_bytes()), &place, &[]);
        assert!(!proof.exists(), "{text}");
        assert_eq!(outcome.told().expect(&text).cause, Some(Cause::DumpNotSupported), "{text}: {}\n{}", outcome.text, outcome.log);
        assert_eq!(world.tables("shop"), "");
    }
    // Rows may look like them.
    world.server.create("source");
    world.server.sql(
        "source",
        "CREATE TABLE rows AS SELECT x FROM unnest(ARRAY[E'\\restrict a', E'\\\\restrict a', E'a\\n\\\\! b', E'\\\\', '\\.', E'\\r']) x",
    );
    for arguments in [&[][..], &["--inserts"]] {
        expect(&world.restore(&world.backup(&world.server.dump("source", arguments)), &place, &[]), GREEN);
        let rows = "SELECT md5(string_agg(x, ',' ORDER BY x)) FROM rows";
        assert_eq!(world.server.sql("shop", rows), world.server.sql("source", rows));
    }
}

/// What the server says of the data is for those who may read the database.
#[test]
fn rows_are_not_told() {
    let world = World::start(&[]);
    world.server.create("shop");
    let place = world.place("shop");
    for text in [
        "CREATE TABLE a (x int);\nCOPY a FROM stdin;\nhunter2\n\\.\n",
        "CREATE TABLE a (x int, y text CHECK (x > 1));\nINSERT INTO a VALUES (1, 'hunter2');\n",
        "CREATE TABLE a (x text PRIMARY KEY);\nINSERT INTO a VALUES ('hunter2'), ('hunter2');\n",
        "SELECT 'a \"quoted\" hunter2'::int;\n",
        "SELECT 'two\nlines of hunter2'::int;\n",
    ] {
        let outcome = world.restore(&world.backup(text.as_bytes()), &place, &[]);
        expect(&outcome, red(Cause::DumpRejected));
        assert!(!outcome.text.contains("hunter2") && !outcome.log.contains("hunter2"), "{}\n{}", outcome.text, outcome.log);
    }
}

#[test]
fn what_cannot_be_proven_this_way_is_inconclusive_and_begun_only_if_it_may_be() {
    let world = World::start(&[]);
    let dump = shop(&world);
    let snapshot = world.backup(&dump);
    world.server.create("shop");
    let place = world.place("shop");
    let last = position(&dump, "-- PostgreSQL database dump complete");
    let with = |text: &str| [&dump[..last], text.as_bytes(), &dump[last..]].concat();
    let newer =
        String::from_utf8(dump.clone()).expect("text").replace("-- Dumped from database version 15", "-- Dumped from database version 99");
    for (what, text, cause) in [
        ("for a role that is not there", with("ALTER TABLE public.empty OWNER TO nobody_here;\n"), Cause::TargetNotPrepared),
        ("of a newer server", newer.into_bytes(), Cause::TargetNotPrepared),
        ("that goes elsewhere", with("\\connect postgres\nCREATE TABLE public.astray ();\n"), Cause::DumpNotSupported),
        ("that runs programs", with("\\! touch /nonexistent/x\n"), Cause::DumpNotSupported),
        ("that commits by itself", with("COMMIT;\nCREATE TABLE public.late ();\n"), Cause::DumpNotSupported),
        ("in another encoding", b"CREATE TABLE a AS SELECT 'gr\xfcn' AS x;\n".to_vec(), Cause::TargetNotPrepared),
        ("of --clean", world.server.dump("source", &["--clean"]), Cause::DumpNotSupported),
        ("of one schema that is there already", world.server.dump("source", &["--schema=public"]), Cause::TargetNotPrepared),
        ("of a whole server", b"--\n-- PostgreSQL database cluster dump\n--\n".to_vec(), Cause::DumpNotSupported),
        ("in another form", world.server.dump("source", &["-Fc"]), Cause::DumpNotSupported),
    ] {
        let outcome = world.restore(&world.backup(&text), &place, &[]);
        assert_eq!(outcome.told().expect(what).cause, Some(cause), "a dump {what}: {}\n{}", outcome.text, outcome.log);
        expect(&outcome, open(cause));
        renew(&world, &snapshot);
    }
    expect(&world.restore(&world.backup(&world.server.dump("source", &["--clean", "--if-exists"])), &place, &[]), GREEN);
    // pg_dump ends the transaction around large objects.
    world.server.sql("source", "SELECT lo_from_bytea(0, 'large')");
    expect(&world.restore(&world.backup(&world.server.dump("source", &[])), &place, &[]), open(Cause::DumpNotSupported));
    assert_eq!(world.tables("postgres"), "");
    assert_ne!(world.tables("shop"), "");
    renew(&world, &snapshot);
    expect(&world.restore(&snapshot, &place, &[]), GREEN);

    // Live data is refused before anything is written, with or without a comment of its owner.
    world.server.create("live");
    world.server.sql("live", "CREATE TABLE precious AS SELECT 7 AS x");
    for comment in ["NULL", "'{\"backproof\":1,\"system\":\"1\",\"database\":1,\"run\":\"x\"}'"] {
        world.server.sql("live", &format!("COMMENT ON DATABASE live IS {comment}"));
        let report = expect(&world.restore(&snapshot, &world.place("live"), &[]), open(Cause::TargetNotEmpty));
        assert!(report.error.is_some_and(|error| error.contains("relation precious")));
        assert_eq!(world.server.sql("live", "SELECT x FROM precious"), "7");
    }
    // A copy of what we restored is not ours: its marker names another database.
    world.server.sql("postgres", "CREATE DATABASE copied TEMPLATE shop");
    let marker = world.server.sql("shop", "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'shop'");
    world.server.sql("copied", &format!("COMMENT ON DATABASE copied IS '{marker}'"));
    expect(&world.restore(&snapshot, &world.place("copied"), &[]), open(Cause::TargetNotEmpty));
    assert_eq!(world.tables("copied"), "employee empty order");
    expect(&world.restore(&snapshot, &world.place("absent"), &[]), open(Cause::TargetNotFound));
}
