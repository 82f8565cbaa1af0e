//! Processes of the local cluster's control plane: killed, frozen, and started again with the same command line.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use backproof_e2e::Kubectl;

use crate::host::inside;

/// One component, which runs again when the value goes.
pub(super) struct Component {
    name: &'static str,
    command: Vec<String>,
}

impl Component {
    pub(super) fn new(name: &'static str) -> Self {
        let pid = host_pid(name).unwrap_or_else(|| panic!("{name} of the local cluster does not run"));
        Self { name, command: command_of(pid) }
    }

    /// Ends it at once and starts it again after a while.
    pub(super) fn kill_for(&self, away: Duration) {
        self.signal("KILL");
        std::thread::sleep(away);
        self.start();
    }

    /// Stops it from running for a while; connections stay open and nobody answers.
    pub(super) fn freeze_for(&self, away: Duration) {
        self.signal("STOP");
        std::thread::sleep(away);
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let Some(pid) = host_pid(self.name) else { return };
        let done = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
        assert!(done.success(), "cannot send SIG{signal} to {}", self.name);
        let ended = Instant::now();
        while signal == "KILL" && Path::new(&format!("/proc/{pid}/exe")).exists() && ended.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn start(&self) {
        if host_pid(self.name).is_some() {
            return;
        }
        let log = cluster_dir().join("logs").join(format!("{}.log", self.name));
        let script = format!("setsid \"$@\" >>{} 2>&1 </dev/null & echo $!", log.display());
        let words: Vec<&str> = ["sh", "-c", &script, "sh"].into_iter().chain(self.command.iter().map(String::as_str)).collect();
        let pid = inside(&words);
        std::fs::write(cluster_dir().join("pids").join(self.name), pid.trim()).unwrap();
        self.forget_its_death();
    }

    /// The cluster's own watchman notes who has ended; this one is back.
    fn forget_its_death(&self) {
        let _ = std::fs::remove_file(cluster_dir().join(format!("died-{}", self.name)));
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.signal("CONT");
        self.start();
        // The watchman looks every two seconds, and may just have looked.
        std::thread::sleep(Duration::from_secs(3));
        if let Some(pid) = host_pid(self.name) {
            let _ = std::fs::write(cluster_dir().join("pids").join(self.name), inner_pid(pid));
        }
        self.forget_its_death();
        await_api(Duration::from_secs(300));
    }
}

/// Waits until the API server answers that it is ready.
pub(super) fn await_api(limit: Duration) {
    let kubectl = Kubectl::from_env().unwrap();
    let start = Instant::now();
    while kubectl.run(&["get", "--raw", "/readyz", "--request-timeout=10s"]).is_err() {
        assert!(start.elapsed() < limit, "the API server is not back after {} s", limit.as_secs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn cluster_dir() -> PathBuf {
    Path::new(&std::env::var("BACKPROOF_KUBECONFIG").unwrap()).parent().unwrap().to_owned()
}

/// The host's id of a component of exactly this cluster: its command line names the cluster's directory.
fn host_pid(name: &str) -> Option<u32> {
    let directory = format!("{}/", cluster_dir().display());
    let ids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.into_iter().find(|pid| {
        let command = command_of(*pid);
        command.first().is_some_and(|program| program == name) && command.iter().any(|word| word.contains(&directory))
    })
}

fn command_of(pid: u32) -> Vec<String> {
    let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    text.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The id a process has inside the cluster.
fn inner_pid(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("NSpid:")).unwrap_or_default();
    line.split_whitespace().last().unwrap_or_default().to_owned()
}
