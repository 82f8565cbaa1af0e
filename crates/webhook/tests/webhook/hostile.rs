//! Whatever is sent as a review: there is an answer, and the service goes on.

use std::{sync::OnceLock, time::Duration};

use axum::http::StatusCode;
use backproof_testing::ApiServer;
use backproof_webhook::admit::Judged;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::{
    calls::{collection, request},
    memory::{Memory, review, world},
    review::{key, send, service},
    service::Replica,
};

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
}

/// Sends it, and holds the answer against what every answer must be.
fn answered(judged: Judged, body: Vec<u8>) -> Result<(), TestCaseError> {
    let shown = String::from_utf8_lossy(&body[..body.len().min(2000)]).into_owned();
    let answer = async {
        let memory = Memory::knowing(world());
        tokio::time::timeout(Duration::from_secs(20), send(service(&memory, &memory), &judged.path(), "application/json", body)).await
    };
    let (status, text) = runtime().block_on(answer).map_err(|_| TestCaseError::fail(format!("no answer: {shown}")))?;
    prop_assert!(!text.is_empty(), "{}", shown);
    if status == StatusCode::BAD_REQUEST {
        return Ok(());
    }
    prop_assert_eq!(status, StatusCode::OK, "{}: {}", text, shown);
    let response: Value = serde_json::from_str(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
    let response = &response["response"];
    if response["allowed"] != true {
        let message = response["status"]["message"].as_str().unwrap_or_default();
        prop_assert!(!message.is_empty() && response["status"]["code"].as_u64().is_some_and(|code| code >= 400), "{}", response);
    }
    Ok(())
}

/// Bytes, or a real review with some of its bytes replaced or cut off.
fn bytes() -> impl Strategy<Value = (usize, Vec<u8>, usize, bool)> {
    (0..Judged::ALL.len(), prop::collection::vec(any::<u8>(), 0..400), any::<usize>(), any::<bool>())
}

fn any_bytes((kind, body, at, cut): (usize, Vec<u8>, usize, bool)) -> Result<(), TestCaseError> {
    let judged = Judged::ALL[kind];
    let mut real = review("CREATE", &world()[key(judged)], None).to_string().into_bytes();
    let at = at % real.len();
    if cut {
        real.truncate(at);
    } else {
        real.splice(at..at + 1, body.clone());
    }
    answered(judged, body)?;
    answered(judged, real)
}

/// Values that some field somewhere does not expect.
fn strange() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "latest",
        "DELETE",
        "UPDATE",
        "CONNECT",
        "status",
        "../..",
        "\u{0}",
        "\u{202e}",
        "2026-01-01T00:00:00Z",
        "9e999",
        "{}",
        "Query",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        (0usize..30_000).prop_map(|length| Value::from("x".repeat(length))),
        (1usize..100).prop_map(|depth| (0..depth).fold(json!(1), |inner, at| if at % 2 == 0 {
            json!([inner])
        } else {
            json!({"spec": inner})
        })),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let keys = prop::sample::select(vec!["name", "namespace", "kind", "spec", "metadata", "a/b", ""]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(keys.prop_map(str::to_owned), inner, 0..3).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// What is done to one place of a review.
type Change = (prop::sample::Index, u8, Value);

fn changes() -> impl Strategy<Value = (usize, bool, Vec<Change>)> {
    (0..Judged::ALL.len(), any::<bool>(), prop::collection::vec((any::<prop::sample::Index>(), 0u8..4, strange()), 1..5))
}

fn places(at: &str, value: &Value, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, value)| places(&format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), value, into));
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| places(&format!("{at}/{index}"), value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn changed(review: &mut Value, (at, how, value): &Change) {
    let mut all = Vec::new();
    places("", review, &mut all);
    let path = at.get(&all).clone();
    let Some(place) = review.pointer_mut(&path) else { return };
    match (how, &mut *place) {
        // A list where one thing was, one thing where a list was, one more of all there is.
        (0, one) => *one = json!([one.take()]),
        (1, Value::Array(items)) => *place = items.first().cloned().unwrap_or(Value::Null),
        (2, Value::Object(object)) => {
            object.insert("extra".to_owned(), value.clone());
        }
        (2, Value::Array(items)) => items.push(value.clone()),
        (3, Value::Object(object)) => *object = Map::new(),
        (_, one) => *one = value.clone(),
    }
}

fn any_review((kind, update, changes): (usize, bool, Vec<Change>)) -> Result<(), TestCaseError> {
    let judged = Judged::ALL[kind];
    let object = &world()[key(judged)];
    let mut review = review(if update { "UPDATE" } else { "CREATE" }, object, update.then_some(object));
    changes.iter().for_each(|change| changed(&mut review, change));
    answered(judged, review.to_string().into_bytes())
}

fn run(cases: u32) {
    let mut runner = TestRunner::new(ProptestConfig { cases, max_shrink_iters: 2000, ..ProptestConfig::default() });
    runner.run(&bytes(), any_bytes).unwrap();
    runner.run(&changes(), any_review).unwrap();
}

#[test]
fn any_review_gets_an_answer() {
    run(3000);
}

#[test]
#[ignore = "long: half a million reviews"]
fn half_a_million_reviews_get_an_answer() {
    run(250_000);
}

/// Two bytes of a body are a value, which takes many times as much: a few such objects must not cost the webhook its life.
pub(crate) async fn objects_of_a_million_values_cost_little(server: &ApiServer, replica: &Replica) -> anyhow::Result<()> {
    /// The limit that the chart gives a replica, in MiB.
    const LIMIT: u64 = 256;
    let mut verifier = world()["verifier"].clone();
    verifier["metadata"]["name"] = json!("wide");
    verifier["spec"]["type"] = json!("Query");
    verifier["spec"]["function"] = json!("kubedbverifier");
    let path = format!("{}?dryRun=All", collection(&verifier)?);
    for (count, code, said) in [(1_000_000, 500, "failed calling webhook"), (100_000, 422, "100000 problems")] {
        verifier["spec"]["query"] = json!({"mySQL": vec![1; count]});
        let all = (0..8).map(|_| request(&server.client, "POST", &path, Some(&verifier)));
        for answer in futures::future::join_all(all).await {
            let answer = answer?;
            let message = answer.body["message"].as_str().unwrap_or_default();
            assert!(answer.code == code && message.contains(said), "{count}: {} {message:.500}", answer.code);
        }
        let most = replica.memory("VmHWM")?;
        assert!(most < LIMIT, "{most} MiB after objects of {count} values");
    }
    verifier["spec"]["query"] = json!({"mySQL": [{"database": "shop"}]});
    assert_eq!(request(&server.client, "POST", &path, Some(&verifier)).await?.code, 201);
    replica.ready().await
}
