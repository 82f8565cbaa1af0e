//! A real etcd and kube-apiserver for tests, each with its own directory, ports and certificates, and what starting any
//! other server needs.
//!
//! Invariant: a missing tool is a failure that says what to do, never a reason to pass. Everything started here ends with
//! the value that started it.

pub mod audit;
mod certificates;
pub mod memory;
mod process;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{GroupVersionKind, TypeMeta},
    discovery::{self, Scope},
};
use serde_json::Value;
use tempfile::TempDir;

pub use certificates::Authority;
pub use process::{Process, free_port, tool};

/// Longest time until the API server answers; it takes a few seconds on an idle machine.
const STARTING: Duration = Duration::from_secs(180);

/// A running API server with its etcd; nothing else of a cluster is there, so nobody runs Jobs or collects garbage.
pub struct ApiServer {
    /// An administrator's client.
    pub client: Client,
    // Fields are dropped in order: the server first, then its store, then the directory both write to.
    apiserver: Process,
    _etcd: Process,
    authority: Authority,
    url: String,
    directory: TempDir,
}

impl ApiServer {
    /// Starts both and waits until the API server is ready.
    pub async fn start() -> Result<Self> {
        Self::start_with(|_| Ok(Vec::new())).await
    }

    /// The same, with a record of every request that was answered: see [`ApiServer::requests_of`].
    pub async fn start_audited() -> Result<Self> {
        Self::start_with(audit::flags).await
    }

    /// What this user has asked of the server so far, in the order of the answers. Only of a server that records it.
    pub fn requests_of(&self, user: &str) -> Result<Vec<audit::Request>> {
        audit::read(self.directory(), user)
    }

    async fn start_with(flags: impl Fn(&Path) -> Result<Vec<String>>) -> Result<Self> {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = TempDir::with_prefix("backproof-apiserver-")?;
        let authority = Authority::new(directory.path())?;
        authority.server(directory.path(), "server", &["127.0.0.1", "localhost", "kubernetes.default.svc"])?;
        certificates::accounts(directory.path())?;
        let (etcd, store) = start_etcd(directory.path())?;
        let port = free_port()?;
        let apiserver = start_apiserver(directory.path(), port, &store, &flags(directory.path())?)?;
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig = write_kubeconfig(directory.path(), &authority, &url, "admin", &["system:masters"])?;
        let client = client(&kubeconfig).await?;
        let mut server = Self { client, apiserver, _etcd: etcd, authority, url, directory };
        server.ready().await?;
        Ok(server)
    }

    /// A kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("admin.kubeconfig")
    }

    /// A kubeconfig of a user who holds only what RBAC grants that name. A ServiceAccount is `system:serviceaccount:NAMESPACE:NAME`.
    pub fn kubeconfig_of(&self, user: &str) -> Result<PathBuf> {
        write_kubeconfig(self.directory.path(), &self.authority, &self.url, user, &[])
    }

    /// A directory for the test's own files; it vanishes with this value.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the API server has printed so far.
    pub fn log(&self) -> String {
        self.apiserver.output()
    }

    /// Creates or replaces these objects; kinds they define are served when this returns.
    pub async fn apply(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            let object: DynamicObject = serde_json::from_value(object.clone())?;
            let types = object.types.clone().unwrap_or_default();
            let name = object.name_any();
            let what = format!("cannot apply {} {name}", types.kind);
            let api = self.api_of(&types, object.metadata.namespace.as_deref()).await.with_context(|| what.clone())?;
            api.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await.context(what)?;
            if types.kind == "CustomResourceDefinition" {
                let established = wait(STARTING, async || Ok(is_established(&api.get(&name).await?)));
                established.await.with_context(|| format!("{name} is not served"))?;
            }
        }
        Ok(())
    }

    async fn api_of(&self, types: &TypeMeta, namespace: Option<&str>) -> Result<Api<DynamicObject>> {
        let kind = GroupVersionKind::try_from(types)?;
        let (resource, capabilities) = discovery::pinned_kind(&self.client, &kind).await?;
        Ok(match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(self.client.clone(), namespace.unwrap_or("default"), &resource),
        })
    }

    async fn ready(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.apiserver.ended()? {
                bail!("kube-apiserver ended ({status}):\n{}", self.log());
            }
            // The API server makes its first namespaces a moment after it has become ready.
            if Api::<Namespace>::all(self.client.clone()).get("default").await.is_ok() {
                return Ok(());
            }
            ensure!(start.elapsed() < STARTING, "kube-apiserver is not ready after {} s:\n{}", STARTING.as_secs(), self.log());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The objects of a YAML text.
pub fn objects(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// What Helm makes of these templates of the chart.
pub fn chart(templates: &[&str]) -> Result<Vec<Value>> {
    chart_with(templates, &[])
}

/// The same with other values, each as `NAME=VALUE`.
pub fn chart_with(templates: &[&str], values: &[&str]) -> Result<Vec<Value>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/backproof");
    let mut command = Command::new(tool("helm")?);
    command.arg("template").arg("backproof").arg(directory).args(["--namespace", "backproof-system"]);
    templates.iter().for_each(|template| {
        command.args(["--show-only", &format!("templates/{template}")]);
    });
    values.iter().for_each(|value| {
        command.args(["--set", value]);
    });
    let output = command.output()?;
    ensure!(output.status.success(), "helm template failed: {}", String::from_utf8_lossy(&output.stderr));
    objects(&String::from_utf8(output.stdout)?)
}

/// Asks again until the answer is yes.
pub async fn wait(longest: Duration, question: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    loop {
        let answer = question().await;
        if matches!(answer, Ok(true)) {
            return Ok(());
        }
        if start.elapsed() > longest {
            let why = answer.err().map(|error| format!(": {error:#}")).unwrap_or_default();
            bail!("not after {} s{why}", longest.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The client of a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn is_established(definition: &DynamicObject) -> bool {
    let conditions = definition.data["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

fn start_etcd(directory: &Path) -> Result<(Process, String)> {
    let (clients, peers) = (format!("http://127.0.0.1:{}", free_port()?), format!("http://127.0.0.1:{}", free_port()?));
    let mut command = Command::new(tool("etcd")?);
    command
        .arg("--data-dir")
        .arg(directory.join("etcd"))
        .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}"), "--unsafe-no-fsync", "--log-level=warn"]);
    Ok((Process::start(command, directory.join("etcd.log"))?, clients))
}

fn start_apiserver(directory: &Path, port: u16, store: &str, flags: &[String]) -> Result<Process> {
    let mut command = Command::new(tool("kube-apiserver")?);
    command.args(flags);
    let file = |name: &str| directory.join(name).display().to_string();
    for (flag, value) in [
        ("etcd-servers", store.to_owned()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("secure-port", port.to_string()),
        ("endpoint-reconciler-type", "none".to_owned()),
        ("cert-dir", file("apiserver")),
        ("tls-cert-file", file("server.crt")),
        ("tls-private-key-file", file("server.key")),
        ("client-ca-file", file("ca.crt")),
        ("service-account-key-file", file("accounts.pub")),
        ("service-account-signing-key-file", file("accounts.key")),
        ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        ("authorization-mode", "RBAC".to_owned()),
        // Without a controller manager nobody makes the ServiceAccounts this plug-in demands of every pod.
        ("disable-admission-plugins", "ServiceAccount".to_owned()),
    ] {
        command.arg(format!("--{flag}={value}"));
    }
    Process::start(command, directory.join("apiserver.log"))
}

fn write_kubeconfig(directory: &Path, authority: &Authority, url: &str, user: &str, groups: &[&str]) -> Result<PathBuf> {
    let file = user.rsplit(':').next().unwrap_or(user);
    authority.client(directory, file, user, groups)?;
    let at = |extension: &str| directory.join(format!("{file}.{extension}")).display().to_string();
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": directory.join("ca.crt")}}],
        "users": [{"name": "test", "user": {"client-certificate": at("crt"), "client-key": at("key")}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    });
    let path = directory.join(format!("{file}.kubeconfig"));
    std::fs::write(&path, serde_json::to_vec_pretty(&config)?)?;
    Ok(path)
}
