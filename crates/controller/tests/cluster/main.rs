//! The real program before a real API server, with the rights the chart gives it. Nobody runs Jobs there, so a stand-in ends
//! them with a report: whole runs under our schemas and under upstream's, and two controllers of which one acts.

mod budget;
mod consumers;
mod jobs;
mod replica;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use backproof_api::{BackupVerificationSession, RestoreSession, Snapshot, VerificationPhase, crd, kept};
use backproof_testing::{ApiServer, chart, objects, wait};
use k8s_openapi::api::{batch::v1::Job, coordination::v1::Lease};
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use replica::{Replica, SOON};

const WORLD: &str = include_str!("world.yaml");

/// A cluster with the chart's rights and these kinds, and everything a session refers to.
async fn cluster(kinds: &[Value]) -> Result<ApiServer> {
    let server = ApiServer::start().await?;
    populate(&server, kinds).await?;
    Ok(server)
}

async fn populate(server: &ApiServer, kinds: &[Value]) -> Result<()> {
    server.apply(kinds).await?;
    server
        .apply(&["backproof-system", "demo"].map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})))
        .await?;
    server.apply(&chart(&["rbac.yaml"])?).await?;
    server.apply(&chart(&["catalog.yaml"])?).await?;
    let world = objects(WORLD)?;
    server.apply(&world).await?;
    for snapshot in world.iter().filter(|object| object["kind"] == "Snapshot") {
        let api = Api::<Snapshot>::namespaced(server.client.clone(), "demo");
        let status = json!({"status": snapshot["status"]});
        api.patch_status(snapshot["metadata"]["name"].as_str().context("no name")?, &PatchParams::default(), &Patch::Merge(status)).await?;
    }
    Ok(())
}

async fn session(server: &ApiServer, name: &str) -> Result<()> {
    let spec = json!({
        "invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "backup"},
        "session": "nightly", "repository": "repo", "snapshot": "snap",
    });
    let session = json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerificationSession",
        "metadata": {"name": name, "namespace": "demo", "annotations": {"backproof.dev/reverify": "true"}}, "spec": spec,
    });
    server.apply(&[session]).await
}

async fn ended(server: &ApiServer, name: &str) -> Result<BackupVerificationSession> {
    let api = Api::<BackupVerificationSession>::namespaced(server.client.clone(), "demo");
    let phase = |session: &BackupVerificationSession| session.status.as_ref().and_then(|status| status.phase.as_ref()?.known());
    wait(SOON, async || {
        jobs::end_all(&server.client, jobs::Report::Green).await?;
        let session = api.get(name).await?;
        ensure!(phase(&session).is_some_and(VerificationPhase::is_done), "{}", serde_json::to_string(&session.status)?);
        Ok(true)
    })
    .await?;
    let session = api.get(name).await?;
    let restore = Api::<RestoreSession>::namespaced(server.client.clone(), "demo").get_opt(name).await?;
    ensure!(phase(&session) == Some(VerificationPhase::Succeeded), "{}\n{}", json!(session.status), json!(restore));
    Ok(session)
}

/// Under upstream's schemas, which drop every field of ours, a run ends as it does under ours: proven, with evidence.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_under_upstreams_schemas_is_proven_all_the_same() -> Result<()> {
    let kinds: Vec<Value> = crd::all().iter().map(crd::Definition::without_ours).collect();
    let server = cluster(&kinds).await?;
    let replica = Replica::start(&server, "only")?;
    replica.becomes("ok").await?;
    session(&server, "pruned").await?;
    let done = ended(&server, "pruned").await.with_context(|| replica.process.output())?;
    let mut status = done.status.clone().unwrap_or_default();
    assert_eq!((status.verdict.as_ref(), status.run.as_ref()), (None, None), "the schema drops what is ours");
    assert_eq!(status.phase, Some(VerificationPhase::Succeeded.into()), "{}\n{}", json!(status), replica.process.output());
    kept::unpack(&mut status);
    assert_eq!(status.evidence.unwrap_or_default().restored.files, 3);
    let snapshot = Api::<Snapshot>::namespaced(server.client.clone(), "demo").get("snap").await?;
    assert_eq!(snapshot.status.clone().unwrap_or_default().verification_session, "pruned");
    let record: Value = serde_json::from_str(snapshot.annotations().get("backproof.dev/verification").context("no record")?)?;
    assert_eq!((record["verdict"].as_str(), record["session"].as_str()), (Some("Verified"), Some("pruned")));
    let restores = Api::<RestoreSession>::namespaced(server.client.clone(), "demo").list(&ListParams::default()).await?;
    let jobs = Api::<Job>::namespaced(server.client.clone(), "demo").list(&ListParams::default()).await?;
    assert_eq!((restores.items.len(), jobs.items.len()), (1, 1));
    Ok(())
}

/// Who acts, by the Lease.
async fn leader(server: &ApiServer) -> Result<String> {
    let lease = Api::<Lease>::namespaced(server.client.clone(), "backproof-system").get("backproof-controller").await?;
    Ok(lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default())
}

async fn leads(server: &ApiServer, name: &str, longest: Duration) -> Result<()> {
    wait(longest, async || {
        let now = leader(server).await?;
        ensure!(now == name, "{now} leads, not {name}");
        Ok(true)
    })
    .await
}

/// One acts, the other stands by: it takes over when the first is gone, at once when that one says so.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_controllers_one_acts() -> Result<()> {
    let kinds: Vec<Value> = crd::all().iter().map(|definition| definition.object.clone()).collect();
    let server = cluster(&kinds).await?;
    let mut first = Replica::start(&server, "first")?;
    first.becomes("ok").await?;
    let second = Replica::start(&server, "second")?;
    second.becomes("standing by").await?;
    session(&server, "one").await?;
    ended(&server, "one").await.with_context(|| first.process.output())?;

    // Told to end: the next one acts at once.
    let told = Instant::now();
    first.signal("TERM")?;
    leads(&server, "second", SOON).await?;
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}\n{}", told.elapsed(), first.process.output());
    second.becomes("ok").await?;
    assert!(first.over().await?.success(), "{}", first.process.output());

    // Killed in the middle of a session: the next one takes it over within the lease, and nothing is done twice.
    let mut third = Replica::start(&server, "third")?;
    third.becomes("standing by").await?;
    session(&server, "two").await?;
    wait(SOON, async || Ok(jobs::started(&server.client).await? == 2)).await.context("the Job of the second session does not start")?;
    let killed = Instant::now();
    second.signal("KILL")?;
    leads(&server, "third", SOON).await?;
    assert!(killed.elapsed() < Duration::from_secs(17), "{:?}", killed.elapsed());
    let done = ended(&server, "two").await.with_context(|| third.process.output())?;
    assert_eq!(done.status.unwrap_or_default().phase, Some(VerificationPhase::Succeeded.into()));
    let jobs = Api::<Job>::namespaced(server.client.clone(), "demo").list(&ListParams::default()).await?;
    let uids: BTreeSet<_> = jobs.items.iter().filter_map(|job| job.labels().get("backproof.dev/session-uid")).collect();
    assert_eq!((jobs.items.len(), uids.len()), (2, 2), "one Job per session");

    // Asleep for longer than the lease: it ends instead of acting beside the one that took over.
    let fourth = Replica::start(&server, "fourth")?;
    fourth.becomes("standing by").await?;
    third.signal("STOP")?;
    leads(&server, "fourth", SOON).await?;
    third.signal("CONT")?;
    assert!(!third.over().await?.success(), "{}", third.process.output());
    Ok(())
}
