//! Names that would be something else if they were pasted: everywhere they are names.

use backproof_api::Cause;

use super::{
    server::quote,
    world::{GREEN, World, expect, open, red},
};

#[test]
fn hostile_names_are_names() {
    let world = World::start(&[]);
    let sixty_three = "n".repeat(63);
    let names = [
        r#"a"; DROP TABLE "keep"; --"#,
        "it's; `backticks` $$ $1 %s %I \\",
        "grün 雪 \u{202e}\u{1f980}",
        "SELECT",
        sixty_three.as_str(),
        "host=elsewhere dbname=postgres",
    ];
    world.server.sql("postgres", "CREATE TABLE keep AS SELECT 1 AS x");
    for name in names {
        let quoted = quote(name);
        world.server.create(name);
        world.server.sql(name, &format!("CREATE SCHEMA {quoted}"));
        world.server.sql(name, &format!("CREATE TABLE {quoted}.{quoted} AS SELECT generate_series(1, 2) AS {quoted}"));
        let query = |count: u32| {
            let check = serde_json::json!({"database": name, "schema": name, "table": name, "rowCount": count});
            serde_json::json!({"postgres": [check]}).to_string()
        };
        let place = world.place("postgres");
        expect(&world.verify(&query(2), &place, &[]), GREEN);
        expect(&world.verify(&query(3), &place, &[]), red(Cause::CountMismatch));
        // Through a dump into a database of the same name.
        let dump = world.server.dump(name, &[]);
        world.server.sql("postgres", &format!("DROP DATABASE {quoted}"));
        expect(&world.verify(&query(2), &place, &[]), red(Cause::ObjectMissing));
        world.server.create(name);
        let run = expect(&world.restore(&world.backup(&dump), &world.place(name), &[]), GREEN).database.expect("the database").run;
        expect(&world.verify(&query(2), &place, &["--run", &run]), GREEN);
        expect(&world.restore(&world.backup(&dump), &world.place(name), &[]), GREEN);
    }
    // The server would cut such a name, and mean another object by it.
    for name in ["n".repeat(64), format!("{}ü", "n".repeat(62)), "a\0b".to_owned()] {
        for check in [
            serde_json::json!({"database": name}),
            serde_json::json!({"database": sixty_three, "schema": name}),
            serde_json::json!({"database": sixty_three, "schema": sixty_three, "table": name, "rowCount": 2}),
        ] {
            let query = serde_json::json!({"postgres": [check]}).to_string();
            expect(&world.verify(&query, &world.place("postgres"), &[]), open(Cause::VerifierInvalid));
        }
    }
    assert_eq!(world.server.sql("postgres", "SELECT x FROM keep"), "1");
}
