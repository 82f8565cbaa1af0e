//! The validator, from YAML through the real parser: every rule with the whole of what is said, and no panic on anything.

// A table that does not parse shall fail where it stands; the lint knows only functions marked as tests.
#![allow(clippy::unwrap_used)]

use backproof_api::{
    BackupBatch, BackupConfiguration, BackupVerificationSession, BackupVerifier, Repository, Snapshot, SnapshotPhase,
    validate::{self, Findings, Invoker, Lookup, SessionFacts},
};
use proptest::prelude::*;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Case {
    case: String,
    change: Value,
    refused: String,
    #[serde(default)]
    warned: Vec<String>,
    #[serde(default)]
    users: bool,
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn parse<K: DeserializeOwned>(value: &Value) -> K {
    serde_json::from_value(value.clone()).unwrap()
}

/// The objects of a test, looked up by kind, namespace and name as a cluster would.
struct World {
    session: BackupVerificationSession,
    configuration: Option<BackupConfiguration>,
    batch: Option<BackupBatch>,
    verifier: Option<BackupVerifier>,
    repository: Option<Repository>,
    snapshot: Option<Snapshot>,
}

fn lookup<'a, K: kube::Resource>(object: Option<&'a K>, namespace: &str, name: &str) -> Lookup<&'a K> {
    let fits = |object: &&K| object.meta().name.as_deref() == Some(name) && object.meta().namespace.as_deref() == Some(namespace);
    object.filter(fits).map_or(Lookup::Missing, Lookup::Found)
}

impl World {
    fn new(objects: &Value) -> Self {
        let one = |key: &str| objects.get(key).cloned();
        Self {
            session: parse(&objects["session"]),
            configuration: one("configuration").map(|value| parse(&value)),
            batch: one("batch").map(|value| parse(&value)),
            verifier: one("verifier").map(|value| parse(&value)),
            repository: one("repository").map(|value| parse(&value)),
            snapshot: one("snapshot").map(|value| parse(&value)),
        }
    }

    fn facts(&self) -> SessionFacts<'_> {
        let spec = &self.session.spec;
        let namespace = self.session.metadata.namespace.as_deref().unwrap_or_default();
        let named = spec.invoker.clone().unwrap_or_default();
        let invoker = match named.kind.as_str() {
            "BackupConfiguration" => lookup(self.configuration.as_ref(), namespace, &named.name).map(Invoker::Configuration),
            "BackupBatch" => lookup(self.batch.as_ref(), namespace, &named.name).map(Invoker::Batch),
            _ => Lookup::Missing,
        };
        let entries = invoker.clone().found().map(Invoker::entries).unwrap_or_default();
        let verifier = entries
            .iter()
            .find(|entry| entry.session == spec.session && entry.repository.name == spec.repository)
            .and_then(|entry| entry.verifier())
            .map_or(Lookup::Missing, |verifier| lookup(self.verifier.as_ref(), verifier.namespace_or(namespace), &verifier.name));
        let newest = |snapshot: &&Snapshot| {
            snapshot.spec.repository == spec.repository
                && snapshot.spec.session == spec.session
                && snapshot.status.as_ref().is_some_and(|status| status.phase == Some(SnapshotPhase::Succeeded.into()))
        };
        let snapshot = match self.snapshot.as_ref() {
            found if !validate::wants_newest(&self.session) => lookup(found, namespace, &spec.snapshot),
            found => found.filter(newest).map_or(Lookup::Missing, Lookup::Found),
        };
        let repository = lookup(self.repository.as_ref(), namespace, &spec.repository);
        SessionFacts { invoker, repository, verifier, snapshot }
    }
}

fn assert_says(case: &Case, findings: &Findings) {
    assert_eq!(findings.to_string(), case.refused, "{}", case.case);
    let warned: Vec<_> = findings.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warned, case.warned, "{}", case.case);
    assert_eq!(findings.unanswered, Vec::<String>::new(), "{}", case.case);
    assert_eq!(findings.passed(), case.refused.is_empty(), "{}", case.case);
}

fn world() -> Value {
    serde_saphyr::from_str(include_str!("validate/world.yaml")).unwrap()
}

#[test]
fn sessions() {
    let cases: Vec<Case> = serde_saphyr::from_str(include_str!("validate/session.yaml")).unwrap();
    assert!(cases.len() > 40);
    for case in &cases {
        let mut objects = world();
        merge(&mut objects, &case.change);
        let world = World::new(&objects);
        assert_says(case, &validate::session(&world.session, &world.facts()));
    }
}

#[test]
fn verifiers() {
    let cases: Vec<Case> = serde_saphyr::from_str(include_str!("validate/verifier.yaml")).unwrap();
    assert!(cases.len() > 25);
    let world = world();
    let configuration: BackupConfiguration = parse(&world["configuration"]);
    for case in &cases {
        let mut verifier = world["verifier"].clone();
        merge(&mut verifier["spec"], &case.change);
        let users = if case.users { vec![Invoker::Configuration(&configuration)] } else { Vec::new() };
        assert_says(case, &validate::verifier(&parse(&verifier), &Lookup::Found(users)));
    }
}

#[test]
fn what_could_not_be_looked_up_is_neither_refused_nor_passed() {
    let world = World::new(&world());
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
    let old = World::new(&world()).session;
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

/// The world with some leaves replaced; `None` if an object of it does not parse any more.
fn damaged(changes: &[(prop::sample::Index, Value)]) -> Option<World> {
    let mut objects = world();
    let mut paths = Vec::new();
    leaves("", &objects, &mut paths);
    for (at, value) in changes {
        let path: &String = at.get(&paths);
        *objects.pointer_mut(path).unwrap() = value.clone();
    }
    let parses = |key: &str| match key {
        "session" => serde_json::from_value::<BackupVerificationSession>(objects[key].clone()).is_ok(),
        "configuration" => serde_json::from_value::<BackupConfiguration>(objects[key].clone()).is_ok(),
        "batch" => serde_json::from_value::<BackupBatch>(objects[key].clone()).is_ok(),
        "verifier" => serde_json::from_value::<BackupVerifier>(objects[key].clone()).is_ok(),
        "repository" => serde_json::from_value::<Repository>(objects[key].clone()).is_ok(),
        _ => serde_json::from_value::<Snapshot>(objects[key].clone()).is_ok(),
    };
    let all = ["session", "configuration", "batch", "verifier", "repository", "snapshot"].into_iter().all(parses);
    all.then(|| World::new(&objects))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_object_makes_it_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), replacement()), 1..6)) {
        let Some(world) = damaged(&changes) else { return Ok(()) };
        let findings = validate::session(&world.session, &world.facts());
        for violation in &findings.violations {
            prop_assert!(!violation.field.is_empty() && !violation.problem.is_empty() && !violation.remedy.is_empty());
            prop_assert!(findings.to_string().contains(&violation.to_string()));
        }
        let invokers = [world.configuration.as_ref().map(Invoker::Configuration), world.batch.as_ref().map(Invoker::Batch)];
        let users = Lookup::Found(invokers.into_iter().flatten().collect());
        if let Some(verifier) = &world.verifier {
            let _ = validate::verifier(verifier, &users).to_string();
        }
    }

    /// Whatever is damaged: a session that names another object than the one that exists is never let through.
    #[test]
    fn no_other_name_passes(name in "[a-z]{1,20}", field in 0usize..4) {
        let mut world = World::new(&world());
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
