//! Phase rules: every row of the table is a case.

use backproof_api::{
    BackupConfiguration, BackupVerificationSession, RestoreSession, Snapshot,
    condition::{Condition, FALSE, TRUE, UNKNOWN},
    phase,
};
use serde_json::{Value, json};

use crate::table::{Line, read};

/// `Type=T Other=F Third=U` as conditions.
fn conditions(line: &Line) -> Vec<Condition> {
    let one = |text: &str| {
        let (kind, status) = text.split_once('=').unwrap_or_else(|| panic!("{}: {text}", line.place));
        let status = match status {
            "T" => TRUE,
            "F" => FALSE,
            "U" => UNKNOWN,
            other => panic!("{}: {other}", line.place),
        };
        Condition { kind: kind.into(), status: status.into(), ..Condition::default() }
    };
    line.get("conditions").split_whitespace().map(one).collect()
}

/// `2: Succeeded Failed` as total and components.
fn components(line: &Line) -> Value {
    let Some((total, phases)) = line.get("components").split_once(':') else { return json!({}) };
    let list = phases
        .split_whitespace()
        .enumerate()
        .map(|(index, phase)| (format!("c{index}"), json!({ "phase": phase })))
        .collect::<serde_json::Map<_, _>>();
    json!({ "totalComponents": total.parse::<i32>().unwrap(), "components": list })
}

fn with_status<K: serde::de::DeserializeOwned>(line: &Line, mut status: Value) -> K {
    status["conditions"] = conditions(line).iter().map(|one| json!({ "type": one.kind, "status": one.status })).collect();
    serde_json::from_value(json!({ "metadata": {}, "status": status })).unwrap_or_else(|error| panic!("{}: {error}", line.place))
}

/// `backends 1: yes; sessions 1: T; target yes` for BackupConfiguration; the numbers are those of the spec.
fn configuration(line: &Line) -> String {
    let mut spec = json!({});
    let mut status = json!({});
    for part in line.get("components").split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (head, states) = part.split_once(':').unwrap_or_else(|| panic!("{}: {part}", line.place));
        let (what, wanted) = head.split_once(' ').unwrap_or((head, "0"));
        let states: Vec<_> = states.split_whitespace().collect();
        let names = vec![json!({}); wanted.parse().unwrap()];
        match what {
            "target" => status["targetFound"] = json!(states == ["yes"]),
            "backends" => {
                spec["backends"] = json!(names);
                status["backends"] =
                    states.iter().map(|state| if *state == "unknown" { json!({}) } else { json!({ "ready": *state == "yes" }) }).collect();
            }
            "sessions" => {
                spec["sessions"] = json!(names);
                let condition = |state: &str| json!({ "type": "SchedulerEnsured", "status": if state == "T" { TRUE } else { FALSE } });
                status["sessions"] = states
                    .iter()
                    .map(|state| json!({ "conditions": if *state == "none" { json!([]) } else { json!([condition(state)]) } }))
                    .collect();
            }
            "repositories" => status["repositories"] = states.iter().map(|state| json!({ "phase": state })).collect(),
            other => panic!("{}: {other}", line.place),
        }
    }
    let mut object: BackupConfiguration = with_status(line, status);
    object.spec = serde_json::from_value(spec).unwrap();
    phase::backup_configuration(&object.spec, object.status.as_ref().unwrap()).to_string()
}

fn phase_of(line: &Line) -> String {
    match line.get("kind") {
        "BackupVerificationSession" => phase::verification(&conditions(line)).to_string(),
        "RestoreSession" => phase::restore(&with_status::<RestoreSession>(line, components(line)).status.unwrap()).to_string(),
        "Snapshot" => phase::snapshot(&with_status::<Snapshot>(line, components(line)).status.unwrap()).to_string(),
        "Repository" => phase::repository(&conditions(line)).to_string(),
        "BackupStorage" => phase::backup_storage(&conditions(line)).to_string(),
        "BackupConfiguration" => configuration(line),
        other => panic!("{}: no phase rule for {other}", line.place),
    }
}

#[test]
fn every_rule_as_upstream_has_it() {
    let lines = read("phases.tsv");
    let faults: Vec<_> = lines
        .iter()
        .filter(|line| phase_of(line) != line.get("phase"))
        .map(|line| format!("{}: rule {}: {} instead of {}", line.place, line.get("rule"), phase_of(line), line.get("phase")))
        .collect();
    crate::no_faults(&faults);
    for (kind, rules) in [
        ("BackupVerificationSession", 5),
        ("RestoreSession", 6),
        ("Snapshot", 4),
        ("Repository", 2),
        ("BackupStorage", 2),
        ("BackupConfiguration", 3),
    ] {
        for rule in 1..=rules {
            assert!(
                lines.iter().any(|line| line.get("kind") == kind && line.get("rule").starts_with(&rule.to_string())),
                "{kind}: rule {rule} has no case"
            );
        }
    }
}

#[test]
fn a_success_that_proves_nothing_is_seen() {
    for (conditions, unproven) in [
        ("VerificationSessionHistoryCleaned=T", true),
        ("RestoreSucceeded=T VerificationSessionHistoryCleaned=T", true),
        ("BackupVerified=T VerificationSessionHistoryCleaned=T", true),
        ("RestoreSucceeded=T BackupVerified=U VerificationSessionHistoryCleaned=T", true),
        ("VerificationExecutorEnsured=F RestoreSucceeded=T BackupVerified=T VerificationSessionHistoryCleaned=T", true),
        ("RestoreSucceeded=T BackupVerified=T VerificationSessionHistoryCleaned=T", false),
        ("VerificationExecutorEnsured=T RestoreSucceeded=T BackupVerified=T VerificationSessionHistoryCleaned=T", false),
        ("RestoreSucceeded=T BackupVerified=F VerificationSessionHistoryCleaned=T", false),
        ("BackupVerificationSkipped=T VerificationSessionHistoryCleaned=T", false),
        ("RestoreSucceeded=T", false),
    ] {
        let list: Vec<_> = conditions
            .split_whitespace()
            .map(|one| one.split_once('=').unwrap())
            .map(|(kind, status)| json!({ "type": kind, "status": match status { "T" => TRUE, "F" => FALSE, _ => UNKNOWN } }))
            .collect();
        let session: BackupVerificationSession =
            serde_json::from_value(json!({ "metadata": {}, "status": { "conditions": list } })).unwrap();
        assert_eq!(phase::unproven(&session.status.unwrap()), unproven, "{conditions}");
    }
}

#[test]
fn integrity_is_known_only_where_all_of_it_is() {
    let restic = json!([{ "summary": { "id": "a" } }]);
    for (components, integrity) in [
        (json!({}), None),
        (json!({ "a": { "integrity": true, "resticStats": restic }, "b": { "resticStats": restic } }), None),
        (json!({ "a": { "integrity": true, "resticStats": restic }, "b": {} }), Some(true)),
        (json!({ "a": { "integrity": true }, "b": { "integrity": false } }), Some(false)),
        (json!({ "a": {} }), None),
    ] {
        let snapshot: Snapshot = serde_json::from_value(json!({ "metadata": {}, "status": { "components": components } })).unwrap();
        assert_eq!(phase::snapshot_integrity(&snapshot.status.unwrap()), integrity, "{components}");
    }
}
