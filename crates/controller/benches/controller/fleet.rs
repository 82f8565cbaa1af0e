//! A fleet: 1,000 sessions at once beside 10,000 finished ones, the cold start there, and what it costs to do nothing.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use backproof_api::{crd, labels};
use backproof_testing::{ApiServer, audit::Request, wait};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::batch::v1::Job;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use crate::{
    eyes::{Eyes, Sight},
    figures::{cpu, memory, millis},
    replica::{ACCOUNT, Replica},
    rounds::{settled, stop},
    standin::StandIn,
    world::{self, create, key, namespace, path, send, session},
};

const APPLICATIONS: usize = 1000;
/// Finished sessions of each.
const FINISHED: usize = 10;
const LONG: Duration = Duration::from_secs(1200);
const QUIET: Duration = Duration::from_secs(60);

pub(crate) async fn run() -> Result<()> {
    let server = ApiServer::start_audited().await?;
    world::populate(&server, APPLICATIONS).await?;
    let mut replica = Replica::start(&server, "bench")?;
    replica.becomes("ok").await?;
    settled(&server, APPLICATIONS).await?;
    let bare = memory(replica.process.id())?.0;
    let (done, restore) = one_that_ran(&server, &replica).await?;
    stop(&mut replica).await?;
    multiply(&server, &done, &restore).await?;
    eprintln!("{} finished sessions are there", APPLICATIONS * FINISHED);

    // One that already waits, as the controller starts.
    let eyes = Eyes::open(&server.client);
    create(&server.client, &session("waits", 1)).await?;
    let start = Instant::now();
    let mut replica = Replica::start(&server, "bench")?;
    let cold =
        millis(eyes.wait(Sight::Child, &key("waits", 1), LONG).await.with_context(|| replica.process.output())?.duration_since(start));
    replica.becomes("ok").await?;
    let ready = millis(start.elapsed());
    let standin = StandIn::start(&server.client);
    eyes.wait(Sight::Ended, &key("waits", 1), LONG).await.with_context(|| replica.process.output())?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("\n| fleet of {APPLICATIONS} applications, {} finished sessions | bar | figure |\n|---|---|---|", APPLICATIONS * FINISHED);
    println!("| cold start: first child of a session that waits, ready | - | {cold:.0} ms, {ready:.0} ms |");
    idle(&server, &replica, bare).await?;
    busy(&server, &replica, &eyes).await?;
    drop(standin);
    stop(&mut replica).await
}

/// Runs one session to its end: what is left of it.
async fn one_that_ran(server: &ApiServer, replica: &Replica) -> Result<(Value, Value)> {
    let (eyes, standin) = (Eyes::open(&server.client), StandIn::start(&server.client));
    create(&server.client, &session("model", 0)).await?;
    eyes.wait(Sight::Ended, &key("model", 0), LONG).await.with_context(|| replica.process.output())?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(standin);
    let read = async |kind: &str| -> Result<Value> {
        let place = path(
            &json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": kind, "metadata": {"name": "model-0", "namespace": namespace(0)}}),
        )?;
        send(&server.client, "GET", &place, &Value::Null).await
    };
    Ok((read("BackupVerificationSession").await?, read("RestoreSession").await?))
}

/// Makes finished sessions after the model, with their RestoreSessions; their Jobs and pods went by their time to live.
/// While the kinds have no sub-resource for the status, it is made together with the object.
async fn multiply(server: &ApiServer, done: &Value, restore: &Value) -> Result<()> {
    let ours = ["BackupVerificationSession", "RestoreSession"];
    let definitions: Vec<Value> = crd::all()
        .iter()
        .map(|definition| definition.object.clone())
        .filter(|object| ours.contains(&object["spec"]["names"]["kind"].as_str().unwrap_or_default()))
        .collect();
    let mut open = definitions.clone();
    for definition in &mut open {
        for version in definition["spec"]["versions"].as_array_mut().context("no versions")? {
            version.as_object_mut().context("no version")?.remove("subresources");
        }
    }
    server.apply(&open).await?;
    let number = std::sync::atomic::AtomicUsize::new(0);
    wait(LONG, async || {
        let mut probe = clone_of(restore, &format!("probe-{}", number.fetch_add(1, std::sync::atomic::Ordering::Relaxed)), 0);
        probe["metadata"]["ownerReferences"] = json!([]);
        let kept = create(&server.client, &probe).await?["status"]["phase"] == restore["status"]["phase"];
        send(&server.client, "DELETE", &path(&probe)?, &Value::Null).await?;
        let mut probe = clone_of(done, &format!("probe-{}", number.fetch_add(1, std::sync::atomic::Ordering::Relaxed)), 0);
        probe["metadata"]["finalizers"] = json!([]);
        let too = create(&server.client, &probe).await?["status"]["phase"] == done["status"]["phase"];
        send(&server.client, "DELETE", &path(&probe)?, &Value::Null).await?;
        Ok(kept && too)
    })
    .await
    .context("a status is still not made with its object")?;
    let all = (0..APPLICATIONS).flat_map(|number| (0..FINISHED).map(move |run| (number, run)));
    let made = stream::iter(all).map(|(number, run)| async move {
        let name = format!("done-{number}-{run}");
        let session = create(&server.client, &clone_of(done, &name, number)).await?;
        let uid = &session["metadata"]["uid"];
        let mut child = clone_of(restore, &name, number);
        child["metadata"]["ownerReferences"][0]["uid"] = uid.clone();
        child["metadata"]["ownerReferences"][0]["name"] = json!(name);
        child["metadata"]["labels"][labels::SESSION_UID] = uid.clone();
        create(&server.client, &child).await?;
        anyhow::Ok(())
    });
    made.buffer_unordered(32).try_collect::<()>().await?;
    server.apply(&definitions).await
}

/// The same object of another application.
fn clone_of(object: &Value, name: &str, number: usize) -> Value {
    let mut copy = object.clone();
    if let Some(meta) = copy["metadata"].as_object_mut() {
        ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"].iter().for_each(|field| drop(meta.remove(*field)));
    }
    copy["metadata"]["name"] = json!(name);
    copy["metadata"]["namespace"] = json!(namespace(number));
    if copy["kind"] == "BackupVerificationSession" {
        copy["spec"] = session("x", number)["spec"].clone();
    }
    copy
}

/// What the controller asked, but for the lease that says who leads.
fn asked(server: &ApiServer) -> Result<Vec<Request>> {
    let mut all = server.requests_of(ACCOUNT)?;
    all.retain(|request| !(request.resource == "leases" && request.object.ends_with("/backproof-controller")));
    Ok(all)
}

async fn idle(server: &ApiServer, replica: &Replica, bare: f64) -> Result<()> {
    let process = replica.process.id();
    let (before, used) = (asked(server)?.len(), cpu(process)?);
    tokio::time::sleep(QUIET).await;
    let share = (cpu(process)? - used) / millis(QUIET) * 100.0;
    let requests = asked(server)?.split_off(before);
    let count = |verbs: &[&str]| requests.iter().filter(|request| verbs.contains(&request.verb.as_str())).count();
    let (writes, lists) = (count(&["create", "update", "patch", "delete"]), count(&["list"]));
    let resident = memory(process)?.0;
    println!(
        "| idle for {} s: writes, lists, others (watches that begin again) | 0, 0 | {writes}, {lists}, {} |",
        QUIET.as_secs(),
        requests.len() - writes - lists
    );
    println!("| idle: share of a core | < 0.5 % | {share:.2} % |");
    println!("| idle: resident; without any session | - | {:.1} MiB; {:.1} MiB |", resident / 1024.0, bare / 1024.0);
    println!("| R7 memory for each finished session | <= 40 KiB | {:.1} KiB |", (resident - bare) / (APPLICATIONS * FINISHED) as f64);
    Ok(())
}

async fn busy(server: &ApiServer, replica: &Replica, eyes: &Eyes) -> Result<()> {
    let process = replica.process.id();
    let (before, used, resident) = (asked(server)?.len(), cpu(process)?, memory(process)?.0);
    let start = Instant::now();
    world::burst(&server.client, "fleet", APPLICATIONS).await?;
    let all = async {
        let begin = Instant::now();
        loop {
            let ended = eyes.count(Sight::Ended, "fleet");
            if ended == APPLICATIONS {
                return Ok(());
            }
            ensure!(begin.elapsed() < LONG, "only {ended} sessions ended; the controller's log:\n{}", replica.process.output());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    all.await?;
    let took = start.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let requests = asked(server)?.split_off(before);
    let (now, peak) = memory(process)?;
    let jobs = Api::<Job>::all(server.client.clone()).list_metadata(&ListParams::default().labels(labels::SESSION_UID)).await?;
    let mut of_session: HashMap<String, usize> = HashMap::new();
    for job in jobs.items.iter().filter(|job| job.annotations().get(labels::FULL_NAME).is_some_and(|name| name.starts_with("fleet-"))) {
        *of_session.entry(job.labels().get(labels::SESSION_UID).cloned().unwrap_or_default()).or_default() += 1;
    }
    let doubled = of_session.values().filter(|count| **count > 1).count();
    let lost = APPLICATIONS - of_session.len();
    let locks = Api::<k8s_openapi::api::coordination::v1::Lease>::namespaced(server.client.clone(), "backproof-system");
    let locks =
        locks.list_metadata(&ListParams::default()).await?.items.iter().filter(|lease| lease.name_any().starts_with("target-")).count();
    let finished = unproven(server).await?;
    println!(
        "| {APPLICATIONS} sessions at once: not green, without a Job, with two Jobs, locks left | 0 | {finished}, {lost}, {doubled}, {locks} |"
    );
    println!("| the same: time, sessions in a second | - | {took:.0} s, {:.1} |", APPLICATIONS as f64 / took);
    println!(
        "| the same: resident before, at most, after | < 64 MiB | {:.1}, {:.1}, {:.1} MiB |",
        resident / 1024.0,
        peak / 1024.0,
        now / 1024.0
    );
    println!("| R7 memory for each session that runs | <= 40 KiB | {:.1} KiB |", (peak - resident) / APPLICATIONS as f64);
    println!(
        "| the same: CPU, requests of a session | - | {:.2} ms, {:.1} |",
        (cpu(process)? - used) / APPLICATIONS as f64,
        requests.len() as f64 / APPLICATIONS as f64
    );
    let mut rights: HashMap<String, usize> = HashMap::new();
    requests.iter().for_each(|request| *rights.entry(request.right()).or_default() += 1);
    let mut rights: Vec<_> = rights.into_iter().collect();
    rights.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    eprintln!("requests: {rights:?}");
    Ok(())
}

/// How many of the sessions at once are not green.
async fn unproven(server: &ApiServer) -> Result<usize> {
    let api = Api::<backproof_api::BackupVerificationSession>::all(server.client.clone());
    let all = api.list(&ListParams::default()).await?.items;
    let green = all.iter().filter(|session| {
        let phase = session.status.as_ref().and_then(|status| status.phase.as_ref()?.known());
        session.name_any().starts_with("fleet-") && phase == Some(backproof_api::VerificationPhase::Succeeded)
    });
    Ok(APPLICATIONS - green.count())
}
