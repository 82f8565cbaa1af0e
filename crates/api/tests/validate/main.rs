//! The validator, from YAML through the real parser: every rule with the whole of what is said, and no panic on anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a table that does not parse fails where it stands")]

mod cases;
mod consent;
mod deletion;

use std::collections::BTreeMap;

use backproof_api::validate::{self, Findings, Lookup};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use cases::{SessionWorld, World, merge, world};

fn parse<K: DeserializeOwned>(value: &Value) -> K {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn every_case_is_said_as_it_stands() {
    let cases = cases::all();
    assert!(cases.len() >= 160, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let findings = case.judge();
        let warned: Vec<_> = findings.warnings.iter().map(ToString::to_string).collect();
        if (findings.to_string(), &warned) != (case.refused.clone(), &case.warned) {
            wrong.push(format!(
                "{} ({})\n  is refused: {findings}\n  expected: {}\n  warned: {warned:#?}",
                case.case, case.subject, case.refused
            ));
        }
        assert_eq!(findings.unanswered, Vec::<String>::new(), "{}", case.case);
        assert_eq!(findings.passed(), findings.violations.is_empty(), "{}", case.case);
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let mut names: Vec<_> = cases::all().into_iter().map(|case| (case.subject, case.case)).collect();
    names.sort_unstable();
    assert_eq!(names.windows(2).find(|pair| pair[0] == pair[1]), None);
}

/// What each rule was seen to say, by the rule's name.
fn said() -> BTreeMap<&'static str, Vec<String>> {
    let mut said: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut findings: Vec<Findings> = cases::all().iter().map(cases::Case::judge).collect();
    findings.extend(consent::all());
    findings.extend(deletion::all());
    // A violation that was there before a change is seen as a warning there, and as itself in the case of its own.
    for one in findings.iter().flat_map(|findings| findings.violations.iter().chain(&findings.warnings)) {
        said.entry(one.rule).or_default().push(one.to_string());
    }
    said
}

#[test]
fn every_rule_has_a_case_and_its_example_is_what_is_said() {
    let said = said();
    let mut wrong = Vec::new();
    let mut ids = std::collections::BTreeSet::new();
    for rule in validate::rule::all() {
        assert!(ids.insert(rule.id), "{} is there twice", rule.id);
        assert!(!rule.demands.is_empty() && rule.demands.ends_with('.'), "{}", rule.id);
        match said.get(rule.id) {
            None => wrong.push(format!("{}: no case breaks it", rule.id)),
            Some(messages) if messages.iter().any(|message| message == rule.example) => {}
            Some(messages) => wrong.push(format!("EXAMPLE\t{}\t{}", rule.id, messages[0])),
        }
    }
    let unknown: Vec<_> = said.keys().filter(|id| !ids.contains(*id)).collect();
    assert!(unknown.is_empty(), "not in the register: {unknown:?}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Upstream's own samples, as their documentation has them, are accepted, and so is the session among them.
#[test]
fn upstreams_samples_are_accepted() {
    let samples: Vec<cases::Case> = cases::all().into_iter().filter(|case| case.case.starts_with("upstream: ")).collect();
    assert!(samples.len() >= 13, "{}", samples.len());
    for sample in samples {
        assert_eq!(sample.judge().to_string(), "", "{}", sample.case);
    }
}

#[test]
fn what_could_not_be_looked_up_is_neither_refused_nor_passed() {
    let world = SessionWorld::new(&World(world()));
    let mut facts = world.facts();
    facts.repository = Lookup::Unknown("no answer".into());
    facts.snapshot = Lookup::Unknown("no answer".into());
    let findings = validate::session(&world.session, &facts);
    assert_eq!(
        findings.unanswered,
        ["Repository demo/demo-storage: no answer", "Snapshot demo/demo-storage-sample-backup-freq-backup-1730194080: no answer"]
    );
    assert_eq!(findings.violations, []);
    assert!(!findings.passed());
}

#[test]
fn a_changed_spec_is_refused_field_by_field() {
    let old = SessionWorld::new(&World(world())).session;
    let mut new = old.clone();
    new.spec.repository = "other".into();
    new.spec.retry_left = 3;
    new.spec.invoker.as_mut().unwrap().name = "other-backup".into();
    assert_eq!(
        validate::session_update(&old, &new).to_string(),
        "3 problems\n\
        * spec.invoker.name: is immutable, it cannot change from \"sample-backup\" to \"other-backup\"; create another BackupVerificationSession instead\n\
        * spec.repository: is immutable, it cannot change from \"demo-storage\" to \"other\"; create another BackupVerificationSession instead\n\
        * spec.retryLeft: is immutable, it cannot change from nothing to 3; create another BackupVerificationSession instead"
    );
    assert!(validate::session_update(&old, &old).passed());
}

#[test]
fn an_absent_value_and_a_zero_are_the_same_spec() {
    let old = world()["session"].clone();
    let mut new = old.clone();
    merge(&mut new, &json!({"spec": {"retryLeft": 0}}));
    assert!(validate::session_update(&parse(&old), &parse(&new)).passed());
}

fn leaves(at: &str, value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| leaves(&format!("{at}/{}", key.replace('/', "~1")), value, into)),
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| leaves(&format!("{at}/{index}"), value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => into.push(at.to_owned()),
    }
}

/// What a field may hold instead: mostly text, now and then something of another shape.
fn replacement() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "latest",
        "BackupConfiguration",
        "BackupBatch",
        "Query",
        "Script",
        "demo",
        "demo-storage",
        "freq-backup",
        "0s",
        "-1h",
        "* * * * *",
    ];
    prop_oneof![
        8 => prop::sample::select(words.to_vec()).prop_map(Value::from),
        8 => "\\PC{0,70}".prop_map(Value::from),
        2 => any::<i32>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(json!([])),
        1 => Just(json!({"name": "x", "kind": "y"})),
    ]
}

/// The world with some leaves replaced.
fn damaged(changes: &[(prop::sample::Index, Value)]) -> Value {
    let mut objects = world();
    let mut paths = Vec::new();
    leaves("", &objects, &mut paths);
    for (at, value) in changes {
        let path: &String = at.get(&paths);
        *objects.pointer_mut(path).unwrap() = value.clone();
    }
    objects
}

const SUBJECTS: [&str; 10] =
    ["session", "verifier", "configuration", "batch", "restore", "addon", "function", "repository", "snapshot", "storage"];

/// Every subject of a damaged world is judged without a panic, and everything that is said names field, fault and remedy.
fn judged(objects: &Value) {
    let read = |key: &str| objects.get(key).is_none_or(|object| cases::parses(key, object));
    if !objects.as_object().unwrap().keys().all(|key| read(key)) {
        return;
    }
    for subject in SUBJECTS {
        let findings = World(objects.clone()).judge(subject, None);
        for violation in findings.violations.iter().chain(&findings.warnings) {
            assert!(!violation.field.is_empty() && !violation.problem.is_empty() && !violation.remedy.is_empty(), "{violation:?}");
        }
        for violation in &findings.violations {
            assert!(findings.to_string().contains(&violation.to_string()));
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec!["database", "table", "rowCount", "operator", "value", "index", "dbSize", "x"]);
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(keys.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The same, for as long as it takes.
#[test]
#[ignore = "long: a million damaged worlds"]
fn no_object_makes_it_panic_for_long() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig { cases: 200_000, ..ProptestConfig::default() });
    let changes = prop::collection::vec((any::<prop::sample::Index>(), replacement()), 1..8);
    runner
        .run(&changes, |changes| {
            judged(&damaged(&changes));
            Ok(())
        })
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_object_makes_it_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), replacement()), 1..6)) {
        judged(&damaged(&changes));
    }

    #[test]
    fn no_query_makes_it_panic(query in any_json()) {
        let mut objects = world();
        merge(&mut objects, &json!({"verifier": {"spec": {"type": "Query", "function": "kubedbverifier"}}}));
        objects["verifier"]["spec"]["query"] = json!({"mySQL": query, "redis": [query]});
        judged(&objects);
    }

    /// Whatever is damaged: a session that names another object than the one that exists is never let through.
    #[test]
    fn no_other_name_passes(name in "[a-z]{1,20}", field in 0usize..4) {
        let mut world = SessionWorld::new(&World(world()));
        let spec = &mut world.session.spec;
        match field {
            0 => spec.session = name,
            1 => spec.repository = name,
            2 if name != validate::LATEST => spec.snapshot = name,
            _ => spec.invoker.as_mut().unwrap().name = name,
        }
        prop_assert!(!validate::session(&world.session, &world.facts()).violations.is_empty());
    }

    #[test]
    fn no_schedule_makes_it_panic(text in "\\PC{0,40}", cron in "[-*/,?0-9a-zA-Z@ ]{0,30}") {
        let _ = validate::check_schedule(&text);
        let _ = validate::check_schedule(&cron);
    }
}
