//! The controller as a process of its own, with the rights the chart gives it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use backproof_testing::{ApiServer, Process, free_port, wait};

/// Whom the API server sees.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:backproof-system:backproof-controller";
/// Longest wait for anything.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A controller outside of the cluster.
pub(crate) struct Replica {
    pub(crate) process: Process,
    http: u16,
}

impl Replica {
    pub(crate) fn start(server: &ApiServer, name: &str) -> Result<Self> {
        let http = free_port()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_backproof-controller"));
        command
            .env("KUBECONFIG", server.kubeconfig_of(ACCOUNT)?)
            .env("POD_NAME", name)
            .env_remove("RUST_LOG")
            .arg(format!("--listen=127.0.0.1:{http}"));
        Ok(Self { process: Process::start(command, server.directory().join(format!("{name}.log")))?, http })
    }

    pub(crate) fn readiness(&self) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.http))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
    }

    pub(crate) async fn becomes(&self, wanted: &str) -> Result<()> {
        let becomes = wait(SOON, async || {
            let answer = self.readiness()?;
            ensure!(answer.starts_with(wanted), "{answer}");
            Ok(true)
        });
        becomes.await.with_context(|| format!("the controller does not become {wanted:?}; its log:\n{}", self.process.output()))
    }

    /// How it ended.
    pub(crate) async fn over(&mut self) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.ended()? {
                return Ok(status);
            }
            ensure!(start.elapsed() < SOON, "it goes on:\n{}", self.process.output());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status()?;
        ensure!(status.success(), "kill -{name} failed");
        Ok(())
    }
}
