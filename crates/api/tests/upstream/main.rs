//! The generated CRDs against the wire facts: every row is found, and nothing is there that no row explains.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod conditions;
mod phases;
mod table;
mod walk;

use backproof_api::crd;
use serde_json::{Value, json};

fn no_faults(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_field_is_upstreams_or_listed_as_ours() {
    let mut walk = walk::Walk::new();
    for definition in crd::all() {
        walk.kind(&definition.kind, definition.schema());
    }
    no_faults(&walk.finish());
}

#[test]
fn every_kind_has_upstreams_identity() {
    let definitions = crd::all();
    let lines = table::read("kinds.tsv");
    assert_eq!(lines.len(), definitions.len());
    let mut faults = Vec::new();
    for line in &lines {
        let Some(definition) = definitions.iter().find(|definition| definition.kind == line.get("kind")) else {
            faults.push(format!("{}: no such kind", line.place));
            continue;
        };
        let object = &definition.object;
        let (names, version) = (&object["spec"]["names"], &object["spec"]["versions"][0]);
        let short = line.list("short");
        for (what, found, expected) in [
            ("group", &object["spec"]["group"], json!(line.get("group"))),
            ("plural", &names["plural"], json!(line.get("plural"))),
            ("singular", &names["singular"], json!(line.get("singular"))),
            ("list kind", &names["listKind"], json!(format!("{}List", line.get("kind")))),
            ("short names", &names["shortNames"], if short.is_empty() { Value::Null } else { json!(short) }),
            ("categories", &names["categories"], json!(line.list("categories"))),
            ("scope", &object["spec"]["scope"], json!(line.get("scope"))),
            ("status", &version["subresources"]["status"], if line.yes("status") { json!({}) } else { Value::Null }),
            ("version", &version["name"], json!("v1alpha1")),
            ("served", &version["served"], json!(true)),
            ("storage", &version["storage"], json!(true)),
            ("versions", &json!(object["spec"]["versions"].as_array().map(Vec::len)), json!(1)),
            ("name", &object["metadata"]["name"], json!(format!("{}.{}", line.get("plural"), line.get("group")))),
            ("labels", &object["metadata"]["labels"], json!({ "app.kubernetes.io/name": "kubestash" })),
        ] {
            if *found != expected {
                faults.push(format!("{}: {} {what} is {found}, not {expected}", line.place, definition.kind));
            }
        }
    }
    no_faults(&faults);
}

#[test]
fn upstreams_columns_come_first() {
    let lines = table::read("columns.tsv");
    let mut used = 0;
    for definition in crd::all() {
        let columns = definition.object["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap();
        let expected: Vec<_> = lines.iter().filter(|line| line.get("kind") == definition.kind).collect();
        used += expected.len();
        assert!(!expected.is_empty() && columns.len() >= expected.len(), "{}", definition.kind);
        for (column, line) in columns.iter().zip(&expected) {
            let found = [&column["name"], &column["type"], &column["jsonPath"], &column["format"]];
            let format = line.get("format");
            let expected = [
                json!(line.get("name")),
                json!(line.get("type")),
                json!(line.get("path")),
                if format.is_empty() { Value::Null } else { json!(format) },
            ];
            assert_eq!(found, expected.each_ref(), "{}", line.place);
        }
        let further: Vec<_> = columns[expected.len()..].iter().map(|column| column["name"].as_str().unwrap()).collect();
        let ours: &[&str] = match definition.kind.as_str() {
            "BackupVerificationSession" => &["Verdict", "Snapshot", "Repository", "Cause", "Completed"],
            "Snapshot" => &["Verified", "Proof-Age"],
            _ => &[],
        };
        assert_eq!(further, ours, "{}", definition.kind);
    }
    assert_eq!(used, lines.len(), "a row of columns.tsv belongs to no kind");
}
