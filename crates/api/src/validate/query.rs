//! The query of a verifier, field by field. The schema takes anything there, as upstream's does; a typo must not become "no check".

use serde_json::{Map, Value};

use super::{Findings, did_you_mean, rules::verifier as rules};
use crate::{
    query::{Engine, Operator, Shape},
    shared::FreeForm,
};

/// Everything in a query that would not be a check, for who is about to run it.
pub(crate) fn query_refusals(query: &FreeForm) -> Vec<String> {
    let mut findings = Findings::default();
    check_query(query, &mut findings);
    findings.violations.iter().map(ToString::to_string).collect()
}

/// Refuses everything in a query that would not be a check.
pub(super) fn check_query(query: &FreeForm, findings: &mut Findings) {
    let keys = Engine::ALL.map(Engine::key);
    for (key, checks) in query {
        let at = format!("spec.query.{key}");
        let Ok(engine) = key.parse::<Engine>() else {
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

fn check_one(engine: Engine, at: &str, check: &Value, findings: &mut Findings) {
    let Value::Object(check) = check else {
        let names: Vec<_> = engine.fields().iter().map(|(name, _)| *name).collect();
        return findings.refuse(rules::QUERY_LIST, at, "is no check", format!("write an object with {}", names.join(", ")));
    };
    let names: Vec<&str> = engine.fields().iter().map(|(name, _)| *name).collect();
    for key in check.keys().filter(|key| !names.contains(&key.as_str())) {
        let field = format!("{at}.{key}");
        findings.refuse(rules::QUERY_FIELD, field, format!("is no field of a {engine} check"), did_you_mean(key, &names, ""));
    }
    let counts = engine.fields().iter().any(|(name, shape)| *shape == Shape::Count && check.contains_key(*name));
    for (name, shape) in engine.fields() {
        check_field(engine, (name, *shape), at, check, counts, findings);
    }
}

fn check_field(engine: Engine, (name, shape): (&str, Shape), at: &str, check: &Map<String, Value>, counts: bool, findings: &mut Findings) {
    let field = format!("{at}.{name}");
    if !matches!(shape, Shape::Name(_)) && check.get(name).is_some_and(Value::is_null) {
        // A key with nothing behind it is a check that lost its indentation, not one that was left out.
        return findings.refuse(rules::QUERY_EMPTY, field, "is there and holds nothing", "give it a value, or take it out");
    }
    let value = check.get(name).filter(|value| !value.is_null());
    match (shape, value) {
        (Shape::Name(_), None) => findings.refuse(rules::QUERY_NAMES, field, "is missing", format!("name the {name} to look for")),
        (Shape::Counted(_), None) if counts => {
            findings.refuse(rules::QUERY_NAMES, field, "is missing, so it is not known what to count in", format!("name the {name}"));
        }
        (Shape::Name(_) | Shape::Optional(_) | Shape::Counted(_), Some(Value::String(text))) => {
            if text.trim().is_empty() {
                findings.refuse(rules::QUERY_NAMES, field, "is empty", format!("name the {name}"));
            }
        }
        (Shape::Name(_) | Shape::Optional(_) | Shape::Counted(_), Some(other)) => {
            findings.refuse(rules::QUERY_TEXT, field, format!("{other} is no text"), format!("write the {name}'s name in quotes"));
        }
        (Shape::Number(_), Some(value)) => {
            if !value.as_i64().is_some_and(|index| (0..=i64::from(i32::MAX)).contains(&index)) {
                let remedy = "write a whole number from 0 on";
                findings.refuse(rules::QUERY_INDEX, field, format!("{value} is no number of a {engine} database"), remedy);
            }
        }
        (Shape::Count, Some(value)) => check_count(&field, value, findings),
        (Shape::Optional(_) | Shape::Counted(_) | Shape::Number(_) | Shape::Count, None) => {}
    }
}

fn check_count(at: &str, count: &Value, findings: &mut Findings) {
    let (operator, value) = match count {
        // As upstream's own sample for Redis has it: a number alone is an equality.
        Value::Number(_) => (Operator::Equal, Some(count)),
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

fn check_operator(at: &str, operator: Option<&Value>, findings: &mut Findings) -> Option<Operator> {
    let words = Operator::ALL.map(Operator::as_str);
    let field = format!("{at}.operator");
    match operator.filter(|operator| !operator.is_null()) {
        Some(Value::String(word)) => {
            if let Some(operator) = Operator::named(word) {
                return Some(operator);
            }
            findings.refuse(rules::QUERY_OPERATOR, field, format!("{word:?} is no operator"), did_you_mean(word, &words, ""));
        }
        Some(other) => {
            findings.refuse(rules::QUERY_OPERATOR, field, format!("{other} is no operator"), format!("write one of: {}", words.join(", ")));
        }
        None => findings.refuse(rules::QUERY_OPERATOR, field, "is missing", format!("write one of: {}", words.join(", "))),
    }
    None
}

/// A count is never below zero, so some comparisons never hold and some always do.
fn check_sense(at: &str, operator: Operator, value: i64, findings: &mut Findings) {
    if operator.never_holds(value) {
        findings.refuse(rules::QUERY_NEVER, at, format!("no count is {operator} {value}"), "choose a value that a count can have");
    }
    if operator.always_holds(value) {
        findings.warn(
            rules::QUERY_ALWAYS,
            at,
            format!("every count is {operator} {value}, so nothing is checked"),
            "choose a higher value",
        );
    }
}
