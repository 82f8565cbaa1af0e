//! The real program, registered and allowed by what the chart installs, behind a real API server.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use backproof_testing::{ApiServer, Process, chart, free_port, wait};
use serde_json::{Value, json};

/// The webhook's own account.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:backproof-system:backproof-webhook";
const SOON: Duration = Duration::from_secs(60);

/// A replica of the webhook, outside of the cluster.
pub(crate) struct Replica {
    pub(crate) process: Process,
    pub(crate) reviews: u16,
    pub(crate) health: u16,
}

impl Replica {
    /// Starts one at this port, with further arguments.
    pub(crate) fn start(server: &ApiServer, reviews: u16, arguments: &[String]) -> Result<Self> {
        let health = free_port()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_backproof-webhook"));
        command
            .env("KUBECONFIG", server.kubeconfig_of(ACCOUNT)?)
            .env_remove("RUST_LOG")
            .arg("--also-known-as=127.0.0.1")
            .args((!arguments.iter().any(|one| one.starts_with("--drain-seconds"))).then_some("--drain-seconds=0"))
            .args(arguments)
            .args([format!("--listen=127.0.0.1:{reviews}"), format!("--health-listen=127.0.0.1:{health}")]);
        let log = server.directory().join(format!("webhook-{reviews}-{health}.log"));
        Ok(Self { process: Process::start(command, log)?, reviews, health })
    }

    /// MiB of memory: resident now (`VmRSS`), or at most so far (`VmHWM`).
    pub(crate) fn memory(&self, which: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|line| line.starts_with(which)).with_context(|| format!("no {which}"))?;
        Ok(line.split_whitespace().nth(1).context("no figure")?.parse::<u64>()? / 1024)
    }

    pub(crate) fn readiness(&self) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.health))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
    }

    pub(crate) async fn ready(&self) -> Result<()> {
        let ready = wait(SOON, async || {
            let answer = self.readiness()?;
            ensure!(answer == "ok\n", "{answer}");
            Ok(true)
        });
        ready.await.with_context(|| format!("the webhook is not ready; its log:\n{}", self.process.output()))
    }
}

/// CPU time of a process so far.
#[allow(dead_code, reason = "the benchmark needs it")]
pub(crate) fn cpu_of(process: &Process) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
    // The name may hold blanks; the fields after it are counted from the third. A tick is a hundredth of a second.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at - 3).and_then(|field| field.parse::<u64>().ok()).context("no time");
    Ok(Duration::from_millis(10 * (ticks(14)? + ticks(15)?)))
}

/// The chart's registration as it is.
pub(crate) fn chart_registration() -> Result<Value> {
    let objects = chart(&["webhook.yaml"])?;
    objects.into_iter().find(|object| object["kind"] == "ValidatingWebhookConfiguration").context("no registration")
}

/// The chart's registration, with the service replaced by the address the program has in this test.
pub(crate) fn registration(reviews: u16) -> Result<Vec<Value>> {
    let mut registered = chart_registration()?;
    for webhook in registered["webhooks"].as_array_mut().context("no webhooks")? {
        let path = webhook["clientConfig"]["service"]["path"].as_str().context("no path")?.to_owned();
        webhook["clientConfig"] = json!({"url": format!("https://127.0.0.1:{reviews}{path}")});
    }
    Ok(vec![registered])
}

/// Every kind of the chart; but anything goes, and nothing is filled in.
pub(crate) fn kinds_that_take_anything() -> Result<Vec<Value>> {
    let mut kinds = chart(&["crds.yaml"])?;
    for kind in &mut kinds {
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let version = &mut kind["spec"]["versions"][0];
        version["schema"]["openAPIV3Schema"] = anything;
        version["additionalPrinterColumns"] = json!([]);
    }
    Ok(kinds)
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// An API server with these kinds and the chart's rights and registration, and one replica that is ready.
pub(crate) async fn start(kinds: &[Value], arguments: &[String]) -> Result<(ApiServer, Replica)> {
    let server = ApiServer::start().await?;
    server.apply(kinds).await?;
    server.apply(&[namespace("backproof-system")]).await?;
    server.apply(&chart(&["rbac.yaml"])?).await?;
    let reviews = free_port()?;
    server.apply(&registration(reviews)?).await?;
    let replica = Replica::start(&server, reviews, arguments)?;
    replica.ready().await?;
    Ok((server, replica))
}
