//! The controller as a process of the host in place of the one in the cluster: the same program with the same arguments, but
//! killed and started in no time, and reaching the API server by way of whatever the test puts between.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use backproof_e2e::{Kubectl, wait};
use serde_json::{Value, json};

use crate::{fixture::LIMIT, host::Scratch};

const NAME: &str = "backproof-controller";

/// The Deployment is scaled to nothing as long as this lives.
pub(super) struct Stage {
    system: Kubectl,
    arguments: Vec<String>,
    scratch: Scratch,
}

impl Stage {
    pub(super) fn new() -> Self {
        let system = Kubectl::from_env().unwrap().namespace("backproof-system");
        let deployment = system.get("deployment", NAME).unwrap();
        let given = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().cloned().unwrap_or_default();
        let arguments = given.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let stage = Self { system, arguments, scratch: Scratch::new("controller") };
        scale(&stage.system, 0);
        stage
    }

    /// Starts the program against the API server at `url`, which asks for no credentials.
    pub(super) fn start(&self, url: &str) -> Controller {
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        let path = self.scratch.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let process = Command::new(program())
            .args(&self.arguments)
            .arg("--listen=127.0.0.1:0")
            .env("KUBECONFIG", &path)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Controller { process }
    }

    /// Takes away the lease of one that is known to be dead: that the next one waits for it is tried elsewhere, and would cost
    /// each life 15 s here.
    pub(super) fn bury(&self) {
        self.system.run(&["delete", "lease", NAME, "--ignore-not-found"]).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("controller.log")
    }

    /// What the program said last, for the message of a failed test.
    pub(super) fn said(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the controller said last:\n{}", self.said());
        }
        scale(&self.system, 1);
    }
}

/// The controller of the cluster is away as long as this lives, however the test ends.
pub(super) struct Away(Kubectl);

impl Away {
    pub(super) fn new() -> Self {
        let away = Self(Kubectl::from_env().unwrap().namespace("backproof-system"));
        scale(&away.0, 0);
        away
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        scale(&self.0, 1);
    }
}

/// Scales the controller's Deployment and waits until that is so.
fn scale(system: &Kubectl, replicas: u32) {
    system.run(&["scale", "deployment", NAME, &format!("--replicas={replicas}")]).unwrap();
    wait::quietly(&format!("{replicas} controllers"), LIMIT, || {
        let pods = system.list("pods", &["-l", "app.kubernetes.io/component=controller"])?;
        let ready = system.get("deployment", NAME)?["status"]["readyReplicas"].as_u64().unwrap_or(0);
        Ok((pods.len() == replicas as usize && ready == u64::from(replicas)).then_some(()))
    })
    .unwrap();
}

/// One life of the program.
pub(super) struct Controller {
    process: Child,
}

impl Controller {
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has ended.
    pub(super) fn is_dead(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Ends it as the kernel does when memory runs out.
    pub(super) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What `make install` built beside these tests.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(|deps| deps.parent()).unwrap().join(NAME);
    assert!(path.exists(), "{} does not exist: run make install first", path.display());
    path
}

/// kubectl's own proxy: the API server without certificates, on the host only.
pub(super) struct Plain {
    process: Child,
    pub(super) address: String,
}

impl Plain {
    pub(super) fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port();
        let variable = |name: &str| std::env::var_os(name).unwrap();
        let process = Command::new(variable("BACKPROOF_KUBECTL"))
            .arg("--kubeconfig")
            .arg(variable("BACKPROOF_KUBECONFIG"))
            .args(["proxy", &format!("--port={port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let plain = Self { process, address: format!("127.0.0.1:{port}") };
        wait::quietly("kubectl proxy", Duration::from_secs(30), || Ok(std::net::TcpStream::connect(&plain.address).ok())).unwrap();
        plain
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
