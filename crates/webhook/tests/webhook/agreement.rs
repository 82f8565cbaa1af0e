//! Generated verifiers and sessions: schemas with their CEL rules, webhook, validator and the controller's own use of it say the
//! same of each, down to the words.

use anyhow::{Context as _, Result, ensure};
use backproof_api::{BackupVerifier, validate};
use backproof_testing::{ApiServer, chart};
use futures::{StreamExt as _, stream};
use kube::Client;
use serde_json::Value;

use crate::{
    calls::{collection, request},
    cases::{World, world},
    generate::{self, Dice},
    service::{namespace, start},
    stage::make,
};

const AT_ONCE: usize = 8;

/// What was seen, so that a comparison in which nearly all is alike is noticed.
#[derive(Default)]
struct Seen {
    let_in: usize,
    by_webhook: usize,
    by_schema: usize,
    wrong: Vec<String>,
}

async fn stage() -> Result<(ApiServer, crate::service::Replica)> {
    let arguments = ["--allow-cross-namespace=verify=demo".to_owned(), "--unsafe-namespaces=trusted".to_owned()];
    let (server, replica) = start(&chart(&["crds.yaml"])?, &arguments).await?;
    server.apply(&["demo", "verify", "trusted"].map(namespace)).await?;
    let mut world = world();
    world["configuration"]["metadata"].as_object_mut().map(|meta| meta.remove("uid"));
    for key in ["addon", "function", "storage", "repository", "snapshot", "verifier", "configuration", "batch"] {
        make(&server.client, &world[key]).await.context(key)?;
    }
    // What the webhook has not seen yet it asks for; that costs time, and nothing else.
    Ok((server, replica))
}

/// What is said of one object, beside what it should be.
async fn judged(client: &Client, key: &str, object: &Value) -> Result<Verdict> {
    let mut objects = world();
    objects["configuration"]["metadata"].as_object_mut().map(|meta| meta.remove("uid"));
    // The API server hands maps on in the order of their keys.
    objects[key] = sorted(object);
    let pure = World(objects).judge(key, None);
    let answer = request(client, "POST", &format!("{}?dryRun=All", collection(object)?), Some(object)).await?;
    let message = answer.body["message"].as_str().unwrap_or_default().to_owned();
    if key == "verifier" {
        // As the controller judges what came in past admission: without anybody who refers to it.
        let verifier: BackupVerifier = serde_json::from_value(object.clone())?;
        let own = validate::verifier(&verifier, &validate::Lookup::Found(Vec::new()));
        ensure!(own.violations.iter().all(|violation| pure.violations.contains(violation)), "the controller says more: {own}");
    }
    let warned: Vec<String> = pure.warnings.iter().map(ToString::to_string).collect();
    let kind = object["kind"].as_str().unwrap_or_default();
    let meta = &object["metadata"];
    let told = format!(
        "admission webhook \"{}.backproof.dev\" denied the request: {kind} {}/{}: {pure}",
        kind.to_lowercase(),
        meta["namespace"].as_str().unwrap_or_default(),
        meta["name"].as_str().unwrap_or_default()
    );
    Ok(match (answer.code, pure.violations.is_empty()) {
        (201, true) if answer.warnings == warned => Verdict::LetIn,
        (422, false) if message == told && answer.warnings == warned => Verdict::ByWebhook,
        (422, false) if !message.starts_with("admission webhook") => Verdict::BySchema,
        _ => Verdict::Wrong(format!(
            "{object}\n  the API server: {} {message} {:?}\n  the validator:  {pure} {warned:?}",
            answer.code, answer.warnings
        )),
    })
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

enum Verdict {
    LetIn,
    ByWebhook,
    BySchema,
    Wrong(String),
}

async fn agree(count: usize, seed: u64) -> Result<()> {
    let (server, _replica) = stage().await?;
    let mut dice = Dice(seed);
    let mut seen = Seen::default();
    let objects = (0..count).map(|at| match at % 3 {
        0 => ("session", generate::session(&mut dice, &format!("generated-{at}"))),
        _ => ("verifier", generate::verifier(&mut dice, &format!("generated-{at}"))),
    });
    let client = &server.client;
    let verdicts = stream::iter(objects)
        .map(|(key, object)| async move {
            judged(client, key, &object).await.unwrap_or_else(|error| Verdict::Wrong(format!("{object}: {error:#}")))
        })
        .buffer_unordered(AT_ONCE);
    let mut verdicts = std::pin::pin!(verdicts);
    while let Some(verdict) = verdicts.next().await {
        match verdict {
            Verdict::LetIn => seen.let_in += 1,
            Verdict::ByWebhook => seen.by_webhook += 1,
            Verdict::BySchema => seen.by_schema += 1,
            Verdict::Wrong(what) => seen.wrong.push(what),
        }
    }
    let Seen { let_in, by_webhook, by_schema, wrong } = seen;
    println!("{count} objects (seed {seed}): {let_in} let in, {by_webhook} refused by the webhook, {by_schema} by schema and CEL");
    ensure!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n"));
    ensure!([let_in, by_webhook, by_schema].iter().all(|part| part * 12 > count), "one of the answers is rare");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_generated_objects_all_say_the_same() -> Result<()> {
    agree(600, 2026).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a hundred thousand objects"]
async fn of_a_hundred_thousand_objects_all_say_the_same() -> Result<()> {
    let seed = std::env::var("BACKPROOF_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    agree(100_000, seed).await
}
