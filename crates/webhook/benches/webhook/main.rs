//! What our webhook adds to the creation of a session, beside what one adds that does nothing, with ten thousand Snapshots
//! in the caches. Interleaved, so that whatever else the machine does meets all three; printed, never judged. Run by
//! `hack/bench-webhook.sh`.

// Whole objects as JSON literals; and what cannot be set up shall end it where it stands.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../tests/webhook/calls.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod calls;
#[path = "../../../api/tests/validate/cases.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod cases;
#[path = "../../tests/webhook/recorder.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod recorder;
#[path = "../../tests/webhook/service.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod service;

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use backproof_testing::{ApiServer, Process, chart, free_port, wait};
use futures::{StreamExt as _, stream};
use kube::Client;
use serde_json::{Value, json};

use crate::{
    calls::request,
    cases::world,
    recorder::Recorder,
    service::{Replica, cpu_of, namespace, registration},
};

/// Where the webhook that does nothing writes how it is reached.
const NOOP: &str = "BACKPROOF_BENCH_NOOP";

const SNAPSHOTS: usize = 10_000;
const ROUNDS: usize = 10;
const REQUESTS: usize = 200;
const NAMES: [&str; 3] = ["none", "noop", "ours"];

/// The webhook that does nothing, as a process of its own like every other webhook: this program again.
async fn serve_noop(told: PathBuf) -> Result<()> {
    let noop = Recorder::start()?;
    let draft = told.with_extension("draft");
    std::fs::write(&draft, noop.client_config().to_string())?;
    std::fs::rename(draft, told)?;
    std::future::pending().await
}

/// Starts and registers a webhook that allows everything and looks at nothing.
async fn noop(server: &ApiServer, registered: &Value) -> Result<Process> {
    let told = server.directory().join("noop.json");
    let mut command = Command::new(std::env::current_exe()?);
    command.env(NOOP, &told);
    let process = Process::start(command, server.directory().join("noop.log"))?;
    wait(Duration::from_secs(30), async || Ok(told.exists())).await.context("the no-op webhook did not start")?;
    let mut webhook = registered.clone();
    webhook["name"] = json!("noop.backproof.dev");
    webhook["clientConfig"] = serde_json::from_slice(&std::fs::read(told)?)?;
    webhook["namespaceSelector"] = json!({"matchLabels": {"bench": "noop"}});
    let meta = json!({"name": "noop"});
    server.apply(&[json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": meta, "webhooks": [webhook]})]).await?;
    Ok(process)
}

/// The objects a session names, in a namespace.
async fn populate(server: &ApiServer, name: &str) -> Result<()> {
    let mut own = namespace(name);
    own["metadata"]["labels"] = json!({"bench": name});
    server.apply(&[own]).await?;
    let world = world();
    for key in ["verifier", "configuration", "repository", "snapshot"] {
        server.apply(&[moved(&world[key], name)]).await?;
    }
    let snapshot = world["snapshot"]["metadata"]["name"].as_str().context("no name")?;
    let path = format!("/apis/storage.kubestash.com/v1alpha1/namespaces/{name}/snapshots/{snapshot}/status");
    let answer = request(&server.client, "PATCH", &path, Some(&json!({"status": {"phase": "Succeeded"}}))).await?;
    ensure!(answer.code == 200, "{}", answer.body);
    Ok(())
}

/// The same object in another namespace, and what it names too.
fn moved(object: &Value, to: &str) -> Value {
    let mut object = object.clone();
    fn walk(value: &mut Value, to: &str) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    if key == "namespace" && *value == "demo" { *value = json!(to) } else { walk(value, to) }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| walk(item, to)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    walk(&mut object, to);
    object["metadata"].as_object_mut().map(|meta| meta.remove("uid"));
    object["metadata"].as_object_mut().map(|meta| meta.remove("ownerReferences"));
    object["metadata"].as_object_mut().map(|meta| meta.remove("finalizers"));
    object
}

async fn create(client: &Client, session: &Value, name: &str) -> Result<f64> {
    let path = format!("/apis/core.kubestash.com/v1alpha1/namespaces/{name}/backupverificationsession?dryRun=All");
    let start = Instant::now();
    let answer = request(client, "POST", &path, Some(session)).await?;
    ensure!(answer.code == 201, "{}", answer.body["message"]);
    Ok(start.elapsed().as_secs_f64() * 1000.0)
}

fn part(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * share) as usize]
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match std::env::var_os(NOOP) {
        Some(told) => runtime.block_on(serve_noop(told.into())),
        None => runtime.block_on(what_the_webhook_adds()),
    }
}

async fn what_the_webhook_adds() -> Result<()> {
    let server = ApiServer::start().await?;
    server.apply(&chart(&["crds.yaml"])?).await?;
    server.apply(&["backproof-system"].map(namespace)).await?;
    server.apply(&chart(&["rbac.yaml"])?).await?;
    for name in NAMES {
        populate(&server, name).await?;
    }
    let snapshot = moved(&world()["snapshot"], "ours");
    let made = stream::iter(0..SNAPSHOTS).map(|number| {
        let (client, mut snapshot) = (server.client.clone(), snapshot.clone());
        snapshot["metadata"]["name"] = json!(format!("snapshot-{number}"));
        async move { request(&client, "POST", "/apis/storage.kubestash.com/v1alpha1/namespaces/ours/snapshots", Some(&snapshot)).await }
    });
    let made: Vec<_> = made.buffer_unordered(32).collect().await;
    ensure!(made.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.code == 201)), "not every Snapshot was made");

    let port = free_port()?;
    let mut registered = registration(port)?;
    for webhook in registered[0]["webhooks"].as_array_mut().context("no webhooks")? {
        webhook["namespaceSelector"] = json!({"matchLabels": {"bench": "ours"}});
    }
    server.apply(&registered).await?;
    let noop = noop(&server, &registered[0]["webhooks"][0]).await?;
    let replica = Replica::start(&server, port, &[])?;
    replica.ready().await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;

    let cpu = || anyhow::Ok([cpu_of(&noop)?, cpu_of(&replica.process)?]);
    let before = cpu()?;
    println!("| connections | create | p50 ms | p99 ms | added p50 | added p99 |\n|---|---|---|---|---|---|");
    for connections in [1, 32] {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (name, times) in NAMES.iter().zip(&mut times) {
                let session = moved(&world()["session"], name);
                let run = stream::iter(0..REQUESTS).map(|_| create(&server.client, &session, name));
                for time in run.buffer_unordered(connections).collect::<Vec<_>>().await {
                    times.push(time?);
                }
            }
        }
        let figures = times.each_mut().map(|times| (part(times, 0.5), part(times, 0.99)));
        for (name, (p50, p99)) in NAMES.iter().zip(figures) {
            println!("| {connections} | {name} | {p50:.2} | {p99:.2} | {:.2} | {:.2} |", p50 - figures[0].0, p99 - figures[0].1);
        }
        let over = |pick: fn((f64, f64)) -> f64| (pick(figures[2]) - pick(figures[0])) / (pick(figures[1]) - pick(figures[0]));
        println!(
            "{connections} connections: ours adds {:.2} times what a no-op adds at p50, {:.2} at p99",
            over(|it| it.0),
            over(|it| it.1)
        );
    }
    let reviews = (2 * ROUNDS * REQUESTS) as f64;
    for ((name, after), before) in NAMES[1..].iter().zip(cpu()?).zip(before) {
        println!("CPU time of {name} per review: {:.0} us", (after - before).as_micros() as f64 / reviews);
    }
    println!("memory of the webhook with {SNAPSHOTS} Snapshots: {} MiB", replica.memory("VmRSS")?);
    Ok(())
}
