//! The query of a verifier, field by field. The schema takes anything there, as upstream's does; a typo must not become "no check".

use serde_json::{Map, Value};

use super::{Findings, did_you_mean, rules::verifier as rules};
use crate::shared::FreeForm;

/// What a field of a check holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A name that must be there.
    Name,
    /// A name that may be there.
    Optional,
    /// A name that must be there if something is counted.
    Counted,
    /// The number of a Redis database.
    Index,
    /// Operator and value.
    Count,
}

/// One engine: its key, and the fields of a check.
struct Engine {
    key: &'static str,
    fields: &'static [(&'static str, Shape)],
}

const ROWS: &[(&str, Shape)] = &[("database", Shape::Name), ("table", Shape::Counted), ("rowCount", Shape::Count)];
const SCHEMA_ROWS: &[(&str, Shape)] =
    &[("database", Shape::Name), ("schema", Shape::Optional), ("table", Shape::Counted), ("rowCount", Shape::Count)];

const ENGINES: [Engine; 8] = [
    Engine { key: "mySQL", fields: ROWS },
    Engine { key: "mariaDB", fields: ROWS },
    Engine { key: "postgres", fields: SCHEMA_ROWS },
    Engine { key: "mongoDB", fields: &[("database", Shape::Name), ("collection", Shape::Counted), ("documentCount", Shape::Count)] },
    Engine { key: "elasticsearch", fields: &[("index", Shape::Name)] },
    Engine { key: "redis", fields: &[("index", Shape::Index), ("dbSize", Shape::Count)] },
    Engine { key: "singlestore", fields: ROWS },
    Engine { key: "mssqlServer", fields: SCHEMA_ROWS },
];

const OPERATORS: [&str; 6] = ["Equal", "NotEqual", "LessThan", "LessThanOrEqual", "GreaterThan", "GreaterThanOrEqual"];

/// Refuses everything in a query that would not be a check.
pub(super) fn check_query(query: &FreeForm, findings: &mut Findings) {
    let keys = ENGINES.map(|engine| engine.key);
    for (key, checks) in query {
        let at = format!("spec.query.{key}");
        let Some(engine) = ENGINES.iter().find(|engine| engine.key == key) else {
            findings.refuse(rules::QUERY_ENGINE, at, "is no engine that queries exist for", did_you_mean(key, &keys, ""));
            continue;
        };
        match checks {
            Value::Array(checks) if !checks.is_empty() => {
                checks.iter().enumerate().for_each(|(index, check)| check_one(engine, &format!("{at}[{index}]"), check, findings));
            }
            Value::Array(_) => findings.refuse(rules::QUERY_LIST, at, "is an empty list, so nothing is checked", "list at least one check"),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                findings.refuse(rules::QUERY_LIST, at, "is no list", "write a list, even for one check");
            }
        }
    }
    if query.len() > 1 {
        let names: Vec<_> = query.keys().map(String::as_str).collect();
        findings.warn(
            rules::QUERY_ENGINES,
            "spec.query",
            format!("names {} engines ({})", query.len(), names.join(", ")),
            "one restored target is one engine: make a verifier for each",
        );
    }
}

fn check_one(engine: &Engine, at: &str, check: &Value, findings: &mut Findings) {
    let Value::Object(check) = check else {
        let names: Vec<_> = engine.fields.iter().map(|(name, _)| *name).collect();
        return findings.refuse(rules::QUERY_LIST, at, "is no check", format!("write an object with {}", names.join(", ")));
    };
    let names: Vec<&str> = engine.fields.iter().map(|(name, _)| *name).collect();
    for key in check.keys().filter(|key| !names.contains(&key.as_str())) {
        let field = format!("{at}.{key}");
        findings.refuse(rules::QUERY_FIELD, field, format!("is no field of a {} check", engine.key), did_you_mean(key, &names, ""));
    }
    let counts = engine.fields.iter().any(|(name, shape)| *shape == Shape::Count && check.contains_key(*name));
    for (name, shape) in engine.fields {
        check_field(engine, (name, *shape), at, check, counts, findings);
    }
}

fn check_field(engine: &Engine, (name, shape): (&str, Shape), at: &str, check: &Map<String, Value>, counts: bool, findings: &mut Findings) {
    let field = format!("{at}.{name}");
    if shape != Shape::Name && check.get(name).is_some_and(Value::is_null) {
        // A key with nothing behind it is a check that lost its indentation, not one that was left out.
        return findings.refuse(rules::QUERY_EMPTY, field, "is there and holds nothing", "give it a value, or take it out");
    }
    let value = check.get(name).filter(|value| !value.is_null());
    match (shape, value) {
        (Shape::Name, None) => findings.refuse(rules::QUERY_NAMES, field, "is missing", format!("name the {name} to look for")),
        (Shape::Counted, None) if counts => {
            findings.refuse(rules::QUERY_NAMES, field, "is missing, so it is not known what to count in", format!("name the {name}"));
        }
        (Shape::Name | Shape::Optional | Shape::Counted, Some(Value::String(text))) => {
            if text.trim().is_empty() {
                findings.refuse(rules::QUERY_NAMES, field, "is empty", format!("name the {name}"));
            }
        }
        (Shape::Name | Shape::Optional | Shape::Counted, Some(other)) => {
            findings.refuse(rules::QUERY_TEXT, field, format!("{other} is no text"), format!("write the {name}'s name in quotes"));
        }
        (Shape::Index, Some(value)) => {
            if !value.as_i64().is_some_and(|index| (0..=i64::from(i32::MAX)).contains(&index)) {
                let remedy = "write a whole number from 0 on";
                findings.refuse(rules::QUERY_INDEX, field, format!("{value} is no number of a {} database", engine.key), remedy);
            }
        }
        (Shape::Count, Some(value)) => check_count(&field, value, findings),
        (Shape::Optional | Shape::Counted | Shape::Index | Shape::Count, None) => {}
    }
}

fn check_count(at: &str, count: &Value, findings: &mut Findings) {
    let (operator, value) = match count {
        // As upstream's own sample for Redis has it: a number alone is an equality.
        Value::Number(_) => ("Equal", Some(count)),
        Value::Object(count) => {
            let known = ["operator", "value"];
            for key in count.keys().filter(|key| !known.contains(&key.as_str())) {
                let remedy = did_you_mean(key, &known, "");
                findings.refuse(rules::QUERY_FIELD, format!("{at}.{key}"), "is no field of a count", remedy);
            }
            let Some(operator) = check_operator(at, count.get("operator"), findings) else { return };
            (operator, count.get("value"))
        }
        other @ (Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_)) => {
            let remedy = "write {operator: GreaterThanOrEqual, value: 1}, or a number alone for Equal";
            return findings.refuse(rules::QUERY_COUNT, at, format!("{other} is no count"), remedy);
        }
    };
    let field = if count.is_object() { format!("{at}.value") } else { at.to_owned() };
    match value.filter(|value| !value.is_null()) {
        None => findings.refuse(rules::QUERY_VALUE, field, "is missing", "write the number to compare with"),
        Some(value) => match value.as_i64() {
            Some(value) => check_sense(at, operator, value, findings),
            None => findings.refuse(rules::QUERY_VALUE, field, format!("{value} is no whole number"), "write a number such as 100"),
        },
    }
}

fn check_operator<'a>(at: &str, operator: Option<&'a Value>, findings: &mut Findings) -> Option<&'a str> {
    let field = format!("{at}.operator");
    match operator.filter(|operator| !operator.is_null()) {
        Some(Value::String(word)) if OPERATORS.contains(&word.as_str()) => return Some(word),
        Some(Value::String(word)) => {
            findings.refuse(rules::QUERY_OPERATOR, field, format!("{word:?} is no operator"), did_you_mean(word, &OPERATORS, ""));
        }
        Some(other) => {
            findings.refuse(
                rules::QUERY_OPERATOR,
                field,
                format!("{other} is no operator"),
                format!("write one of: {}", OPERATORS.join(", ")),
            );
        }
        None => findings.refuse(rules::QUERY_OPERATOR, field, "is missing", format!("write one of: {}", OPERATORS.join(", "))),
    }
    None
}

/// A count is never below zero, so some comparisons never hold and some always do.
fn check_sense(at: &str, operator: &str, value: i64, findings: &mut Findings) {
    let never = match operator {
        "Equal" | "LessThanOrEqual" => value < 0,
        "LessThan" => value <= 0,
        "GreaterThan" => value == i64::MAX,
        _ => false,
    };
    let always = match operator {
        "NotEqual" | "GreaterThan" => value < 0,
        "GreaterThanOrEqual" => value <= 0,
        "LessThanOrEqual" => value == i64::MAX,
        _ => false,
    };
    if never {
        findings.refuse(rules::QUERY_NEVER, at, format!("no count is {operator} {value}"), "choose a value that a count can have");
    }
    if always {
        findings.warn(
            rules::QUERY_ALWAYS,
            at,
            format!("every count is {operator} {value}, so nothing is checked"),
            "choose a higher value",
        );
    }
}
