//! What a session costs the API server, counted by the server's own record: how many requests it takes from its creation to its end,
//! and that it takes none while nothing changes. Only the lease that says who leads is left out, and the watches, which all
//! sessions share.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use backproof_api::{BackupVerificationSession, VerificationPhase, crd};
use backproof_testing::{ApiServer, audit::Request, wait};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{PersistentVolume, PersistentVolumeClaim},
};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    jobs, populate,
    replica::{ACCOUNT, Replica, SOON},
    session,
};

/// Requests by right, such as `create jobs`.
type Counts = BTreeMap<String, usize>;

/// What a RestoreOnly session of one component must do: objects it makes, statuses it writes, Jobs it starts. Each status write of a
/// session is an intent that must stand before the next step, or its outcome: pinned; restoring, with the hash of the RestoreSession;
/// its UID; the verdict; the end. Those of a RestoreSession: the Job's UID; that it was started; how it ended.
const MUST: &[(&str, usize)] = &[
    ("create leases", 1),
    ("create restoresessions", 1),
    ("create jobs", 1),
    ("create events", 6),
    ("patch backupverificationsession/status", 5),
    ("update restoresessions/status", 3),
    ("patch snapshots/status", 1),
    ("patch jobs", 1),
];
/// What it does beside that. Metadata first; the Snapshot; whoever backs something up beside the target, or keeps a repository there, at the
/// moment of pinning; the pods beside the target before the Job is started, and the session's own before the lock goes back.
const BESIDE: &[(&str, usize)] = &[
    ("patch backupverificationsession", 1),
    ("get snapshots", 1),
    ("list backupconfigurations", 1),
    ("list backupbatches", 1),
    ("list repositories", 1),
    ("list backupstorages", 1),
    ("list pods", 2),
    ("delete leases", 1),
];
/// How a repository was opened is written down when it differs from what stands there: by the first session.
const ONCE: &str = "patch repositories";
/// Requests over what must be done.
const BAR: f64 = 1.5;
/// How long a session is watched in which nothing happens.
const STILL: Duration = Duration::from_secs(60);

/// Everything the controller has asked for, but for the lease that says who leads, and watches.
fn asked(server: &ApiServer) -> Result<Vec<Request>> {
    let mut all = server.requests_of(ACCOUNT)?;
    all.retain(|request| request.verb != "watch" && request.object != "backproof-system/backproof-controller");
    Ok(all)
}

fn counts(requests: &[Request]) -> Counts {
    let mut counts = Counts::new();
    requests.iter().for_each(|request| *counts.entry(request.right()).or_default() += 1);
    counts
}

fn expected(of: &[&[(&str, usize)]]) -> Counts {
    of.iter().flat_map(|part| part.iter()).map(|(right, times)| ((*right).to_owned(), *times)).collect()
}

/// Waits until nothing was asked for three seconds; how much was by then.
async fn settled(server: &ApiServer) -> Result<usize> {
    let mut before = asked(server)?.len();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let now = asked(server)?.len();
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    anyhow::bail!("it goes on asking: {:?}", counts(&asked(server)?))
}

/// Notes on each volume to which claim it is bound, as the controller of volumes does.
async fn bind(server: &ApiServer) -> Result<()> {
    let claims = Api::<PersistentVolumeClaim>::namespaced(server.client.clone(), "demo").list(&ListParams::default()).await?;
    for claim in claims.items {
        let reference = json!({"spec": {"claimRef": {"namespace": "demo", "name": claim.name_any(), "uid": claim.uid()}}});
        let volumes = Api::<PersistentVolume>::all(server.client.clone());
        volumes.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(reference)).await?;
    }
    Ok(())
}

/// The Job of this session, once it was started.
async fn started(server: &ApiServer, name: &str) -> Result<Job> {
    let jobs = Api::<Job>::namespaced(server.client.clone(), "demo");
    let of_it = async || -> Result<Option<Job>> {
        let all = jobs.list(&ListParams::default()).await?;
        Ok(all.items.into_iter().find(|job| job.name_any().starts_with(&format!("{name}-")) && jobs::is_started(job)))
    };
    wait(SOON, async || Ok(of_it().await?.is_some())).await.with_context(|| format!("the Job of session {name} does not start"))?;
    of_it().await?.context("it is gone again")
}

/// Runs one session to its end, at the pace of a real cluster; what was asked for it.
async fn requests_of_one(server: &ApiServer, name: &str) -> Result<Vec<Request>> {
    let pause = async || tokio::time::sleep(Duration::from_millis(700)).await;
    let before = settled(server).await?;
    session(server, name).await?;
    let job = started(server, name).await?;
    pause().await;
    jobs::run(&server.client, &job).await?;
    pause().await;
    jobs::report_of(&server.client, &job, jobs::Report::Green).await?;
    pause().await;
    jobs::end(&server.client, &job).await?;
    let api = Api::<BackupVerificationSession>::namespaced(server.client.clone(), "demo");
    wait(SOON, async || {
        let status = api.get(name).await?.status.unwrap_or_default();
        ensure!(status.phase == Some(VerificationPhase::Succeeded.into()), "{}", json!(status));
        Ok(true)
    })
    .await?;
    settled(server).await?;
    Ok(asked(server)?.split_off(before))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_asks_for_what_it_must_and_for_nothing_while_it_waits() -> Result<()> {
    let server = ApiServer::start_audited().await?;
    let kinds: Vec<Value> = crd::all().iter().map(|definition| definition.object.clone()).collect();
    populate(&server, &kinds).await?;
    bind(&server).await?;
    let replica = Replica::start(&server, "only")?;
    replica.becomes("ok").await?;
    // What the Job says it opened, as a session before has found it.
    let (must, beside) = (expected(&[MUST]), expected(&[MUST, BESIDE]));
    let least: usize = must.values().sum();
    for (name, first) in [("first", true), ("second", false), ("third", false)] {
        let requests = requests_of_one(&server, name).await.with_context(|| replica.process.output())?;
        let counted = counts(&requests);
        let ratio = requests.len() as f64 / least as f64;
        println!("session {name}: {} requests, of which it must make {least}: {ratio:.3}\n{counted:#?}", requests.len());
        let mut expected = beside.clone();
        if first {
            expected.insert(ONCE.to_owned(), 1);
        }
        assert_eq!(counted, expected, "session {name}; in order:\n{requests:#?}\n{}", replica.process.output());
        assert!(first || ratio <= BAR, "{} requests where {least} are needed: {ratio:.3}, at most {BAR}", requests.len());
    }
    nothing_while_it_waits(&server, &replica).await
}

/// A Job runs, and nobody has anything to say.
async fn nothing_while_it_waits(server: &ApiServer, replica: &Replica) -> Result<()> {
    session(server, "waits").await?;
    let job = started(server, "waits").await?;
    jobs::run(&server.client, &job).await?;
    let before = settled(server).await?;
    let watches = || -> Result<usize> { Ok(server.requests_of(ACCOUNT)?.iter().filter(|request| request.verb == "watch").count()) };
    let renewed = watches()?;
    tokio::time::sleep(STILL).await;
    let since = asked(server)?.split_off(before);
    println!("{} s of a running session: {} requests; {} watches renewed", STILL.as_secs(), since.len(), watches()? - renewed);
    assert!(since.is_empty(), "nothing changed, and it asked for {since:#?}\n{}", replica.process.output());
    Ok(())
}
