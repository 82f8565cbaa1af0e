//! Certificates and replicas change while reviews go on: none of them fails.

use std::{
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use backproof_testing::{ApiServer, free_port, wait};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{io::copy_bidirectional, net::TcpListener, net::TcpStream};

use crate::{
    calls::request,
    cases::world,
    service::{Replica, kinds_that_take_anything, namespace, registration},
};

/// Reviews that go on until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(client: &Client, at_once: usize) -> Self {
        let mut load = Self { stop: Arc::default(), done: Arc::default(), failed: Arc::default(), tasks: Vec::new() };
        let mut verifier = world()["verifier"].clone();
        verifier["metadata"] = json!({"name": "under-load", "namespace": "demo"});
        for _ in 0..at_once {
            let (client, verifier) = (client.clone(), verifier.clone());
            let (stop, done, failed) = (Arc::clone(&load.stop), Arc::clone(&load.done), Arc::clone(&load.failed));
            load.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let path = "/apis/core.kubestash.com/v1alpha1/namespaces/demo/backupverifier?dryRun=All";
                    match request(&client, "POST", path, Some(&verifier)).await {
                        Ok(answer) if answer.code == 201 => {}
                        Ok(answer) => failed.lock().unwrap_or_else(PoisonError::into_inner).push(answer.body["message"].to_string()),
                        Err(error) => failed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}")),
                    }
                    done.fetch_add(1, Ordering::AcqRel);
                }
            }));
        }
        load
    }

    async fn reaches(&self, most: usize) -> Result<()> {
        wait(Duration::from_secs(600), async || Ok(self.done.load(Ordering::Acquire) >= most)).await
    }

    /// How many there were; fails if one of them did.
    async fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Release);
        for task in self.tasks {
            task.await?;
        }
        let (failed, done) = (self.failed.lock().unwrap_or_else(PoisonError::into_inner), self.done.load(Ordering::Acquire));
        ensure!(failed.is_empty(), "{} of {done} requests failed: {:#?}", failed.len(), failed.iter().take(5).collect::<Vec<_>>());
        Ok(done)
    }
}

/// What a Service does: new connections go to the replicas that are ready.
pub(crate) struct Balancer {
    ready: Arc<Mutex<Vec<u16>>>,
    pub(crate) port: u16,
}

impl Balancer {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let balancer = Self { ready: Arc::default(), port: listener.local_addr()?.port() };
        let ready = Arc::clone(&balancer.ready);
        let next = AtomicUsize::new(0);
        tokio::spawn(async move {
            while let Ok((mut inward, _)) = listener.accept().await {
                let ports = ready.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let Some(port) = ports.get(next.fetch_add(1, Ordering::Relaxed) % ports.len().max(1)).copied() else { continue };
                tokio::spawn(async move {
                    if let Ok(mut outward) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = copy_bidirectional(&mut inward, &mut outward).await;
                    }
                });
            }
        });
        Ok(balancer)
    }

    pub(crate) fn send_to(&self, replicas: &[&Replica]) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = replicas.iter().map(|replica| replica.reviews).collect();
    }
}

pub(crate) async fn cluster(port: u16) -> Result<ApiServer> {
    let server = ApiServer::start().await?;
    server.apply(&kinds_that_take_anything()?).await?;
    server.apply(&["backproof-system", "demo"].map(namespace)).await?;
    server.apply(&backproof_testing::chart(&["rbac.yaml"])?).await?;
    server.apply(&registration(port)?).await?;
    Ok(server)
}

pub(crate) async fn replica(server: &ApiServer) -> Result<Replica> {
    let replica = Replica::start(server, free_port()?, &["--drain-seconds=2".to_owned()])?;
    replica.ready().await?;
    Ok(replica)
}

/// Asks a replica to stop, as kubelet does, and waits until it has.
async fn stop(balancer: &Balancer, mut old: Replica, left: &Replica) -> Result<()> {
    Command::new("kill").args(["-TERM", &old.process.id().to_string()]).status()?;
    wait(Duration::from_secs(10), async || Ok(old.readiness().is_ok_and(|answer| answer.contains("stopping")))).await?;
    // The endpoints follow readiness a moment later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    balancer.send_to(&[left]);
    let start = std::time::Instant::now();
    loop {
        if let Some(status) = old.process.ended()? {
            ensure!(status.success(), "it ended with {status}: {}", old.process.output());
            return Ok(());
        }
        ensure!(start.elapsed() < Duration::from_secs(30), "it does not end: {}", old.process.output());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Replaces both replicas so often, under load.
async fn rolling_updates(times: usize, requests: usize) -> Result<usize> {
    let balancer = Balancer::start().await?;
    let server = cluster(balancer.port).await?;
    let (mut first, mut second) = (replica(&server).await?, replica(&server).await?);
    balancer.send_to(&[&first, &second]);
    let load = Load::start(&server.client, 8);
    load.reaches(50).await?;
    for _ in 0..times {
        for _ in 0..2 {
            let new = replica(&server).await?;
            balancer.send_to(&[&first, &second, &new]);
            stop(&balancer, first, &second).await?;
            first = second;
            second = new;
            balancer.send_to(&[&first, &second]);
        }
    }
    load.reaches(requests).await?;
    load.stop().await
}

/// Renews certificates and CAs so often, under load, with two replicas.
async fn rotations(leaves: usize, authorities: usize) -> Result<usize> {
    let balancer = Balancer::start().await?;
    let server = cluster(balancer.port).await?;
    let (first, second) = (replica(&server).await?, replica(&server).await?);
    balancer.send_to(&[&first, &second]);
    let secrets: Api<Secret> = Api::namespaced(server.client.clone(), "backproof-system");
    let load = Load::start(&server.client, 8);
    load.reaches(50).await?;
    let keys = std::iter::repeat_n("tls.crt", leaves).chain(std::iter::repeat_n("ca.key", authorities));
    for key in keys {
        let before = secrets.get("backproof-webhook-tls").await?.data.unwrap_or_default();
        let broken: Value = json!({"data": {key: "bm9uZQ=="}});
        secrets.patch("backproof-webhook-tls", &PatchParams::default(), &Patch::Merge(broken)).await?;
        let renewed = async || {
            let now = secrets.get("backproof-webhook-tls").await?.data.unwrap_or_default();
            Ok(now["tls.crt"] != before["tls.crt"] && now["tls.crt"].0.len() > 10 && now["ca.key"].0.len() > 10)
        };
        wait(Duration::from_secs(20), renewed).await.with_context(|| format!("{key} was not renewed: {}", first.process.output()))?;
        if key == "ca.key" {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        for replica in [&first, &second] {
            assert_eq!(replica.readiness()?, "ok\n", "{key}");
        }
    }
    load.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_drops_no_request() -> Result<()> {
    let done = rolling_updates(1, 500).await?;
    println!("{done} requests, none failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 10,000 requests"]
async fn rolling_updates_drop_no_request_of_ten_thousand() -> Result<()> {
    let done = rolling_updates(5, 10_000).await?;
    println!("{done} requests, none failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_fails_no_request() -> Result<()> {
    let done = rotations(4, 1).await?;
    println!("{done} requests, none failed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 100 certificates and 10 CAs"]
async fn a_hundred_rotations_fail_no_request() -> Result<()> {
    let done = rotations(100, 10).await?;
    println!("{done} requests, none failed");
    Ok(())
}
