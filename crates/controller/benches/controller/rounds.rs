//! R1 to R4, R6 to R8 and R10: floor and controller in turn, three rounds, medians.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use backproof_testing::{ApiServer, Process};
use k8s_openapi::api::batch::v1::CronJob;
use kube::{Api, Client, api::ListParams};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    eyes::{Eyes, Sight},
    figures::{cpu, median, memory, millis, part},
    floor,
    replica::Replica,
    standin::StandIn,
    world::{self, clear, create, key, session},
};

const ROUNDS: usize = 3;
/// Sessions one after the other.
const PACED: usize = 60;
/// Sessions at once.
const BURST: usize = 300;
const LONG: Duration = Duration::from_secs(300);
/// Between two paced sessions.
const PAUSE: Duration = Duration::from_millis(20);

/// What one controller does with a burst.
#[derive(Clone, Copy, Debug)]
struct Burst {
    /// Children in a second.
    rate: f64,
    /// Milliseconds of CPU for each session until it has its child; until its Job runs, or its status is written, too.
    cpu: f64,
    cpu_to_the_end: f64,
    /// 99 of 100 POSTs of somebody else are answered in this time.
    others: f64,
}

/// What one round gave.
#[derive(Debug, Default)]
struct Round {
    post: f64,
    floor_hop: Vec<f64>,
    hop: Vec<f64>,
    second_hop: Vec<f64>,
    verdict: Vec<f64>,
    end: Vec<f64>,
    floor: Option<Burst>,
    ours: Option<Burst>,
    alone: f64,
    idle: f64,
    cold: f64,
}

pub(crate) async fn run() -> Result<()> {
    let server = ApiServer::start().await?;
    world::populate(&server, BURST).await?;
    // What it makes once, such as the CronJobs, is made before anything is measured.
    let mut first = Replica::start(&server, "bench")?;
    first.becomes("ok").await?;
    settled(&server, BURST).await?;
    stop(&mut first).await?;
    let mut rounds = Vec::new();
    for number in 0..ROUNDS {
        let round = one(&server, number).await.with_context(|| format!("round {number}"))?;
        eprintln!("round {number}: {}", brief(&round));
        rounds.push(round);
    }
    print(&rounds);
    Ok(())
}

/// Waits until the schedule has made its CronJobs.
pub(crate) async fn settled(server: &ApiServer, applications: usize) -> Result<()> {
    let api = Api::<CronJob>::all(server.client.clone());
    backproof_testing::wait(LONG, async || Ok(api.list_metadata(&ListParams::default()).await?.items.len() == applications)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

/// Ends a controller so that the next one need not wait for its lease.
pub(crate) async fn stop(replica: &mut Replica) -> Result<()> {
    replica.signal("TERM")?;
    replica.over().await.map(drop)
}

async fn one(server: &ApiServer, number: usize) -> Result<Round> {
    let client = &server.client;
    let mut round = Round { post: bare_post(client, number).await?, ..Round::default() };

    let eyes = Eyes::open(client);
    round.alone = others(client, async { world::burst(client, &format!("alone{number}"), BURST).await }).await?.1;
    drop(eyes);
    clear(client).await?;

    {
        let eyes = Eyes::open(client);
        let floor = floor::start(server)?;
        backproof_testing::wait(LONG, async || Ok(floor.output().contains("watching"))).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        round.floor_hop = paced(client, &eyes, &format!("floor{number}"), async |_| Ok(())).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        round.floor = Some(burst(client, &eyes, &floor, &format!("floors{number}"), Sight::Status).await?);
        drop(floor);
        clear(client).await?;
    }
    with_ours(server, number, &mut round).await?;
    clear(client).await?;
    Ok(round)
}

async fn with_ours(server: &ApiServer, number: usize, round: &mut Round) -> Result<()> {
    let client = &server.client;
    let eyes = Eyes::open(client);
    create(client, &session(&format!("waits{number}"), 0)).await?;
    let start = Instant::now();
    let mut replica = Replica::start(server, "bench")?;
    let first = eyes.wait(Sight::Child, &key(&format!("waits{number}"), 0), LONG).await;
    round.cold = millis(first.with_context(|| replica.process.output())?.duration_since(start));
    replica.becomes("ok").await?;
    let standin = StandIn::start(client);
    let tag = format!("paced{number}");
    eyes.wait(Sight::Ended, &key(&format!("waits{number}"), 0), LONG).await.with_context(|| replica.process.output())?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    round.idle = memory(replica.process.id())?.0;
    round.hop = paced(client, &eyes, &tag, async |key| eyes.wait(Sight::Ended, &key, LONG).await.map(drop)).await?;
    for number in 0..PACED {
        let key = key(&tag, number);
        let at = |sight| eyes.at(sight, &key).with_context(|| format!("{sight:?} of {key} was not seen"));
        let ended = standin.ended(&key).context("its Job did not end")?;
        round.second_hop.push(millis(at(Sight::Started)?.duration_since(at(Sight::Child)?)));
        round.verdict.push(millis(at(Sight::Verdict)?.saturating_duration_since(ended)));
        round.end.push(millis(at(Sight::Ended)?.saturating_duration_since(ended)));
    }
    drop(standin);
    tokio::time::sleep(Duration::from_secs(2)).await;
    round.ours = Some(burst(client, &eyes, &replica.process, &format!("burst{number}"), Sight::Started).await?);
    stop(&mut replica).await
}

/// The median of a Job's POST, in milliseconds.
async fn bare_post(client: &Client, round: usize) -> Result<f64> {
    let mut times = Vec::new();
    for number in 0..100 {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": format!("bare{round}-{number}"), "namespace": "bench-0"},
            "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}},
        });
        let start = Instant::now();
        create(client, &job).await?;
        times.push(millis(start.elapsed()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(median(&times))
}

/// Sessions one after the other: the time from the answer to their creation until their child was seen.
async fn paced(client: &Client, eyes: &Eyes, tag: &str, after: impl AsyncFn(String) -> Result<()>) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for number in 0..PACED {
        create(client, &session(tag, number)).await?;
        let made = Instant::now();
        let seen = eyes.wait(Sight::Child, &key(tag, number), LONG).await?;
        times.push(millis(seen.saturating_duration_since(made)));
        after(key(tag, number)).await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}

/// A burst, and what it costs the controller and everybody else. `last` is what the controller does last for a session now.
async fn burst(client: &Client, eyes: &Eyes, process: &Process, tag: &str, last: Sight) -> Result<Burst> {
    let before = cpu(process.id())?;
    let start = Instant::now();
    let work = async {
        let (made, seen) = tokio::join!(world::burst(client, tag, BURST), eyes.wait_for(Sight::Child, tag, BURST, LONG));
        made.and(seen).with_context(|| process.output())?;
        let children = cpu(process.id())?;
        eyes.wait_for(last, tag, BURST, LONG).await.with_context(|| process.output())?;
        anyhow::Ok(children)
    };
    let (children, others) = others(client, work).await?;
    let took = eyes.last(Sight::Child, tag).context("no child was seen")?.duration_since(start);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = |used: f64| (used - before) / BURST as f64;
    Ok(Burst { rate: BURST as f64 / took.as_secs_f64(), cpu: each(children), cpu_to_the_end: each(cpu(process.id())?), others })
}

/// Does something while somebody else creates ConfigMaps one by one; the 99th percentile of how long these take.
async fn others<T>(client: &Client, work: impl Future<Output = Result<T>>) -> Result<(T, f64)> {
    let (over, mut is_over) = oneshot::channel::<()>();
    let posts = async {
        let mut times = Vec::new();
        // Enough of them for a percentile, however soon the work is over.
        while times.len() < 200 || matches!(is_over.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "other-", "namespace": "default"}, "data": {"a": "b"}});
            let start = Instant::now();
            let _: Value = create(client, &map).await?;
            times.push(millis(start.elapsed()));
        }
        anyhow::Ok(times)
    };
    let work = async {
        let outcome = work.await;
        // Nobody listens only when the posts have failed, which is told below.
        let _ = over.send(());
        outcome
    };
    let (outcome, times) = tokio::join!(work, posts);
    Ok((outcome?, part(&times?, 0.99)))
}

fn brief(round: &Round) -> String {
    format!(
        "bare POST {:.1} ms; hop {:.1} ms, floor {:.1} ms; Job {:.1} ms after its RestoreSession; verdict p50 {:.1} p99 {:.1} ms; ours {:?}; floor {:?}; others alone {:.1} ms; idle {:.1} MiB; cold {:.0} ms",
        round.post,
        median(&round.hop),
        median(&round.floor_hop),
        median(&round.second_hop),
        median(&round.verdict),
        part(&round.verdict, 0.99),
        round.ours,
        round.floor,
        round.alone,
        round.idle / 1024.0,
        round.cold
    )
}

fn print(rounds: &[Round]) {
    let over = |figure: &dyn Fn(&Round) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
    let ours = |pick: &dyn Fn(&Burst) -> f64| over(&|round| round.ours.as_ref().map_or(f64::NAN, pick));
    let floor = |pick: &dyn Fn(&Burst) -> f64| over(&|round| round.floor.as_ref().map_or(f64::NAN, pick));
    let both = |pick: &dyn Fn(&Burst) -> f64| {
        over(&|round| match (&round.ours, &round.floor) {
            (Some(ours), Some(floor)) => pick(ours) / pick(floor),
            _ => f64::NAN,
        })
    };
    println!("\n| what | bar | ratio | ours | floor, or what it is compared with |\n|---|---|---|---|---|");
    let row = |what: &str, bar: &str, ratio: f64, ours: String, other: String| {
        println!("| {what} | {bar} | {ratio:.2} | {ours} | {other} |");
    };
    row(
        "R1 session -> RestoreSession, p50",
        "<= 1.5",
        over(&|round| median(&round.hop) / median(&round.floor_hop)),
        format!("{:.1} ms", over(&|round| median(&round.hop))),
        format!("{:.1} ms", over(&|round| median(&round.floor_hop))),
    );
    row(
        "R1 RestoreSession -> Job started, p50",
        "<= 1.5",
        over(&|round| median(&round.second_hop) / median(&round.floor_hop)),
        format!("{:.1} ms", over(&|round| median(&round.second_hop))),
        format!("{:.1} ms", over(&|round| median(&round.floor_hop))),
    );
    row(
        "R2 rate of a burst of 300",
        ">= 0.6",
        both(&|burst| burst.rate),
        format!("{:.0}/s", ours(&|burst| burst.rate)),
        format!("{:.0}/s", floor(&|burst| burst.rate)),
    );
    row(
        "R3 Job terminal -> verdict, p99 over p50 of a bare Job POST",
        "<= 15",
        over(&|round| part(&round.verdict, 0.99) / round.post),
        format!(
            "{:.1} ms (p50 {:.1}; to the end of the session p99 {:.1})",
            over(&|round| part(&round.verdict, 0.99)),
            over(&|round| median(&round.verdict)),
            over(&|round| part(&round.end, 0.99))
        ),
        format!("{:.1} ms", over(&|round| round.post)),
    );
    row(
        "R6 others' POST p99 during the burst",
        "<= 1.5",
        over(&|round| round.ours.as_ref().map_or(f64::NAN, |burst| burst.others) / round.alone),
        format!("{:.1} ms (floor {:.1})", ours(&|burst| burst.others), floor(&|burst| burst.others)),
        format!("{:.1} ms", over(&|round| round.alone)),
    );
    let idle = over(&|round| round.idle) / 1024.0;
    row("R7 idle memory, MiB", "<= 30", idle / 30.0, format!("{idle:.1} MiB"), "30 MiB".to_owned());
    row(
        "R8 CPU of a session in the burst, to its RestoreSession",
        "<= 3",
        both(&|burst| burst.cpu),
        format!("{:.2} ms", ours(&|burst| burst.cpu)),
        format!("{:.2} ms", floor(&|burst| burst.cpu)),
    );
    row(
        "R8 the same, to its started Job",
        "<= 3",
        both(&|burst| burst.cpu_to_the_end),
        format!("{:.2} ms", ours(&|burst| burst.cpu_to_the_end)),
        format!("{:.2} ms", floor(&|burst| burst.cpu_to_the_end)),
    );
    row(
        "R10 start -> first child",
        "<= 250 ms",
        over(&|round| round.cold) / 250.0,
        format!("{:.0} ms", over(&|round| round.cold)),
        "250 ms".to_owned(),
    );
}
