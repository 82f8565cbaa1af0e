//! Programs that tests start: where they are, which port they get, and that they end.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// One of the programs this project builds once and keeps outside of the tree.
pub fn tool(name: &str) -> Result<PathBuf> {
    let directory = match set("BACKPROOF_BIN") {
        Some(directory) => directory,
        None => cache()?.join("bin"),
    };
    let path = directory.join(name);
    ensure!(
        path.exists(),
        "{} does not exist: build the tools with `make setup tools`, or set BACKPROOF_BIN to where they are",
        path.display()
    );
    Ok(path)
}

fn cache() -> Result<PathBuf> {
    set("BACKPROOF_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("backproof")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/backproof")))
        .context("none of BACKPROOF_BIN, BACKPROOF_CACHE, XDG_CACHE_HOME and HOME is set")
}

fn set(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A port of the loopback address that nobody listens on at the moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A process that ends with this value; its output is kept in a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command whose output goes to this file.
    pub fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = std::fs::File::create(&log)?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, log })
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it accepts connections on this port of the loopback address.
    pub fn listening(&mut self, port: u16, longest: Duration) -> Result<()> {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = self.ended()? {
                bail!("it ended ({status}) before it listened on port {port}:\n{}", self.output());
            }
            ensure!(start.elapsed() < longest, "nobody listens on port {port} after {} s:\n{}", longest.as_secs(), self.output());
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.child.try_wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
