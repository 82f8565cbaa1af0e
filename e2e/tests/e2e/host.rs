//! What lies outside the cluster or beneath it: directories of the node, file systems of limited size, and a real S3 server
//! on the host's end of the link. All of it needs the local cluster.

use std::{
    io::Read as _,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// A directory for one test on the host; removed with the value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(what: &str) -> Self {
        let cache = Path::new(&std::env::var("BACKPROOF_KUBECONFIG").expect("run this through make test-e2e")).parent().unwrap().to_owned();
        let unique = jiff::Timestamp::now().as_nanosecond() & 0xffff_ffff;
        let path = cache.join(format!("e2e-{what}-{unique:x}"));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

/// `hack/cluster.sh`, which knows how to reach into the cluster's namespaces.
pub(crate) fn cluster_script() -> PathBuf {
    assert_eq!(std::env::var("BACKPROOF_CLUSTER").as_deref(), Ok("local"), "this test reaches beneath the local cluster");
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("hack/cluster.sh")
}

/// Runs a program inside the cluster's namespaces and returns what it printed.
pub(crate) fn inside(command: &[&str]) -> String {
    let output = Command::new(cluster_script()).arg("exec").args(command).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The host's address as pods reach it.
pub(crate) fn host_address() -> String {
    let output = Command::new(cluster_script()).arg("status").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let address = said.lines().find_map(|line| line.strip_prefix("address")?.split("the host is ").nth(1).map(str::to_owned));
    address.unwrap_or_else(|| panic!("cluster.sh status names no address of the host: {said}"))
}

/// A file system in memory, mounted where pods of the node can be given it as a volume.
pub(crate) struct Tmpfs {
    scratch: Scratch,
}

impl Tmpfs {
    /// `options` as for mount, such as `size=512k`.
    pub(crate) fn new(what: &str, options: &str) -> Self {
        let scratch = Scratch::new(what);
        inside(&["mount", "-t", "tmpfs", "-o", options, "tmpfs", scratch.path().to_str().unwrap()]);
        Self { scratch }
    }

    /// A PersistentVolume on it for one claim.
    pub(crate) fn volume(&self, name: &str, namespace: &str, claim: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "by-hand",
                "claimRef": {"namespace": namespace, "name": claim},
                "local": {"path": self.scratch.path()},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["backproof-local"]}]},
                ]}},
            },
        })
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let path = self.scratch.path().to_str().unwrap_or_default().to_owned();
        // Lazily: a pod of a failed test may still have it open.
        let done = Command::new(cluster_script()).args(["exec", "umount", "--lazy", &path]).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("{path} stays mounted until the cluster goes down");
        }
    }
}

/// versitygw over a directory, on the host.
pub(crate) struct S3 {
    process: Child,
    address: String,
    pub(crate) endpoint: String,
    scratch: Scratch,
}

/// Keys of the server's owner.
pub(crate) const ACCESS: &str = "AKTEST";
pub(crate) const SECRET: &str = "a secret of the test";

impl S3 {
    /// A server with one bucket, `bucket`.
    pub(crate) fn start() -> Self {
        let scratch = Scratch::new("s3");
        std::fs::create_dir_all(scratch.path().join("objects/bucket")).unwrap();
        let host = host_address();
        let port = TcpListener::bind((host.as_str(), 0)).and_then(|listener| listener.local_addr()).unwrap().port();
        let address = format!("{host}:{port}");
        Self { process: serve(scratch.path(), &address), endpoint: format!("http://{address}"), address, scratch }
    }

    /// Takes the server away; what it holds stays.
    pub(crate) fn stop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again at the same address.
    pub(crate) fn resume(&mut self) {
        self.stop();
        self.process = serve(self.scratch.path(), &self.address);
    }

    /// Backs a directory of a few files up into `bucket/backup`.
    pub(crate) fn back_up(&self, password: &str) {
        let source = self.scratch.path().join("source");
        std::fs::create_dir_all(source.join("below")).unwrap();
        let mut noise = vec![0; 3_000_000];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
        std::fs::write(source.join("below/noise"), noise).unwrap();
        std::fs::write(source.join("small"), "small").unwrap();
        for arguments in [&["init"][..], &["backup", "--host", "sample", "--tag", "session=daily", "."]] {
            let output = Command::new("restic")
                .args(["-r", &format!("s3:{}/bucket/backup", self.endpoint), "--no-cache", "--quiet"])
                .args(arguments)
                .current_dir(&source)
                .env("RESTIC_PASSWORD", password)
                .env("AWS_ACCESS_KEY_ID", ACCESS)
                .env("AWS_SECRET_ACCESS_KEY", SECRET)
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(output.status.success(), "restic {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// How many operations the server has logged, and those after the first `after`.
    pub(crate) fn operations(&self, after: usize) -> Vec<String> {
        let log = std::fs::read_to_string(self.scratch.path().join("access.log")).unwrap();
        let words = log.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with("s3_")).map(str::to_owned));
        words.skip(after).collect()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts versitygw over `objects` of a directory and waits until it answers.
fn serve(directory: &Path, address: &str) -> Child {
    let program = PathBuf::from(std::env::var_os("BACKPROOF_BIN").expect("run this through make test-e2e")).join("versitygw");
    let process = Command::new(&program)
        .args(["--quiet", "--access", ACCESS, "--secret", SECRET, "--port", address, "--access-log"])
        .arg(directory.join("access.log"))
        .arg("posix")
        .arg(directory.join("objects"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < Duration::from_secs(30), "versitygw does not answer at {address}");
        std::thread::sleep(Duration::from_millis(50));
    }
    process
}

/// BackupStorage and Repository of one name in a bucket, with the Secret of its keys.
pub(crate) fn in_bucket(name: &str, endpoint: &str, secret: &str) -> Vec<Value> {
    let storage = json!({
        "apiVersion": "storage.kubestash.com/v1alpha1",
        "kind": "BackupStorage",
        "metadata": {"name": name},
        "spec": {"storage": {"provider": "s3", "s3": {
            "endpoint": endpoint, "bucket": "bucket", "region": "us-east-1", "secretName": format!("keys-{name}"),
        }}},
    });
    let keys = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("keys-{name}")},
        "stringData": {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": secret},
    });
    vec![keys, storage, repository(name, name, "backup")]
}

/// A Repository at a path of a storage, not discovered.
pub(crate) fn repository(name: &str, storage: &str, path: &str) -> Value {
    json!({
        "apiVersion": "storage.kubestash.com/v1alpha1",
        "kind": "Repository",
        "metadata": {"name": name},
        "spec": {
            "appRef": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "source"},
            "storageRef": {"name": storage},
            "path": path,
            "encryptionSecret": {"name": "encryption-secret"},
        },
    })
}
