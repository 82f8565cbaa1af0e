//! One real server per kind of object store, with a repository that restic itself wrote there, and the executor told of
//! it as a Job is told: settings in the environment, credentials as files.
//!
//! Google and Azure are reached under their public names, by TLS through a tunnel, so that nothing but the address behind
//! the name differs from the real ones. No expectation about a verdict lives here.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use backproof_api::{environment, report::Report};
use backproof_testing::{Authority, Process, free_port, tool};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use futures::TryStreamExt as _;
use object_store::{
    Certificate, ClientOptions, ObjectStore, ObjectStoreExt as _, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, path::Path as Key,
};

use super::network::tunnel;
use crate::support::{forge::id_of, hex, listing, noise};

pub(super) const PASSWORD: &str = "proof";
/// Seconds for which a storage that does not answer is waited for.
pub(super) const PATIENCE: &str = "BACKPROOF_STORAGE_PATIENCE";
const ACCOUNT: &str = "proofs";

/// Files of a Secret, or variables of an environment.
pub(super) type Settings = BTreeMap<&'static str, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// versitygw over a directory.
    S3,
    /// fake-gcs-server over a directory. It accepts any credentials.
    Gcs,
    /// azurite.
    Azure,
}

/// A server with one bucket that holds a repository below `backups/sample`.
pub(super) struct Server {
    pub(super) kind: Kind,
    /// What the Secret of the storage holds.
    pub(super) secrets: Settings,
    /// Where it listens: with TLS, but for S3.
    pub(super) port: u16,
    /// Where it listens without TLS.
    pub(super) plain_port: u16,
    /// What was backed up.
    pub(super) source: listing::Listing,
    process: Process,
    // The last, as the process writes to it.
    pub(super) scratch: tempfile::TempDir,
}

impl Server {
    /// Starts it and backs a little data up to it.
    pub(super) fn start(kind: Kind) -> Self {
        // An error means that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let scratch = tempfile::tempdir().expect("a directory");
        let hosts = ["storage.googleapis.com", "proofs.blob.core.windows.net"];
        Authority::new(scratch.path()).and_then(|ca| ca.server(scratch.path(), "server", &hosts)).expect("certificates");
        let secrets = credentials(kind, scratch.path());
        let (port, plain_port) = (free_port().expect("a port"), free_port().expect("a port"));
        let command = command(kind, scratch.path(), &secrets, port, plain_port);
        let mut process = Process::start(command, scratch.path().join("server.log")).expect("starting the server");
        process.listening(port, Duration::from_secs(240)).expect("the server");
        let plain_port = if kind == Kind::S3 { port } else { plain_port };
        let mut server = Self { kind, secrets, port, plain_port, source: listing::Listing::new(), process, scratch };
        server.back_up();
        server
    }

    fn back_up(&mut self) {
        let source = self.scratch.path().join("source");
        fs::create_dir_all(source.join("below")).expect("the source");
        fs::write(source.join("below/large"), noise(1, 9_000_000)).expect("writing");
        fs::write(source.join("small"), "small").expect("writing");
        std::os::unix::fs::symlink("small", source.join("link")).expect("a link");
        let proxy = format!("http://127.0.0.1:{}", tunnel(self.port));
        let (url, variables) = match self.kind {
            Kind::S3 => (format!("s3:http://127.0.0.1:{}/bucket/backups/sample", self.port), vec![]),
            Kind::Gcs => (
                "gs:bucket:/backups/sample".to_owned(),
                vec![("GOOGLE_PROJECT_ID", "proof"), ("GOOGLE_ACCESS_TOKEN", "any"), ("HTTPS_PROXY", &proxy)],
            ),
            Kind::Azure => ("azure:bucket:/backups/sample".to_owned(), vec![("AZURE_ACCOUNT_NAME", ACCOUNT), ("HTTPS_PROXY", &proxy)]),
        };
        for arguments in [&["init"][..], &["backup", "."]] {
            let output = Command::new("restic")
                .args(["-r", &url, "--no-cache", "--quiet", "--cacert"])
                .arg(self.scratch.path().join("ca.crt"))
                .args(arguments)
                .current_dir(&source)
                .env("RESTIC_PASSWORD", PASSWORD)
                .envs(&self.secrets)
                .envs(variables.iter().copied())
                .stdin(Stdio::null())
                .output()
                .expect("restic is not installed: apt-get install restic");
            assert!(output.status.success(), "restic {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        self.source = listing::restored(&source);
    }

    /// Method and address of every request so far, from the server's own access log.
    pub(super) fn requests(&self) -> Vec<String> {
        match self.kind {
            Kind::S3 => {
                let log = fs::read_to_string(self.scratch.path().join("access.log")).expect("the server's log");
                log.lines().filter_map(operation).collect()
            }
            Kind::Gcs | Kind::Azure => self.process.output().lines().filter_map(quoted_request).collect(),
        }
    }

    /// Everything in the bucket: size, time, entity tag and content.
    pub(super) fn objects(&self) -> BTreeMap<String, String> {
        self.asking(async |bucket| {
            let mut objects = BTreeMap::new();
            for listed in bucket.list(None).try_collect::<Vec<_>>().await? {
                let content = id_of(&bucket.get(&listed.location).await?.bytes().await?);
                objects
                    .insert(listed.location.to_string(), format!("{} {} {:?} {content}", listed.size, listed.last_modified, listed.e_tag));
            }
            Ok(objects)
        })
    }

    /// Key of the largest pack, which holds data and no directories.
    pub(super) fn data_pack(&self) -> String {
        self.asking(async |bucket| {
            let packs = bucket.list(Some(&Key::from("backups/sample/data"))).try_collect::<Vec<_>>().await?;
            Ok(packs.into_iter().max_by_key(|pack| pack.size).expect("a pack").location.to_string())
        })
    }

    /// Changes that pack; what becomes empty is deleted.
    pub(super) fn damage(&self, change: impl Fn(&mut Vec<u8>)) {
        let pack = Key::from(self.data_pack());
        self.asking(async |bucket| {
            let mut bytes = bucket.get(&pack).await?.bytes().await?.to_vec();
            change(&mut bytes);
            match self.kind {
                _ if bytes.is_empty() => bucket.delete(&pack).await?,
                Kind::S3 | Kind::Azure => drop(bucket.put(&pack, bytes.into()).await?),
                // Its emulator does not know the kind of upload that the library makes.
                Kind::Gcs => upload_to_google(self.plain_port, pack.as_ref(), &bytes).expect("an upload"),
            }
            Ok(())
        });
    }

    fn asking<T>(&self, question: impl AsyncFn(Arc<dyn ObjectStore>) -> object_store::Result<T>) -> T {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async { question(self.bucket()).await }).expect("the server's answer")
    }

    fn bucket(&self) -> Arc<dyn ObjectStore> {
        let ca = Certificate::from_pem(&fs::read(self.scratch.path().join("ca.crt")).expect("the CA")).expect("a certificate");
        let tunneled = ClientOptions::new().with_root_certificate(ca).with_proxy_url(format!("http://127.0.0.1:{}", tunnel(self.port)));
        let secret = |name: &str| self.secrets.get(name).cloned().unwrap_or_default();
        match self.kind {
            Kind::S3 => Arc::new(
                AmazonS3Builder::new()
                    .with_endpoint(format!("http://127.0.0.1:{}", self.port))
                    .with_allow_http(true)
                    .with_region("us-east-1")
                    .with_access_key_id(secret("AWS_ACCESS_KEY_ID"))
                    .with_secret_access_key(secret("AWS_SECRET_ACCESS_KEY"))
                    .with_bucket_name("bucket")
                    .build()
                    .expect("a bucket"),
            ),
            Kind::Gcs => {
                let builder = GoogleCloudStorageBuilder::new().with_client_options(tunneled).with_bucket_name("bucket");
                Arc::new(builder.with_service_account_key(secret(environment::GCS_KEY)).build().expect("a bucket"))
            }
            Kind::Azure => {
                let builder = MicrosoftAzureBuilder::new().with_client_options(tunneled).with_container_name("bucket");
                Arc::new(builder.with_account(ACCOUNT).with_access_key(secret(environment::AZURE_KEY)).build().expect("a bucket"))
            }
        }
    }

    /// A restore by way of this port, which leads to the server somehow.
    pub(super) fn attempt(&self, case: &str, port: u16) -> Attempt {
        let scheme = match self.kind {
            Kind::S3 => "s3",
            Kind::Gcs => "gs",
            Kind::Azure => "az",
        };
        let mut settings = Settings::from([(PATIENCE, "2".to_owned())]);
        if self.kind == Kind::S3 {
            settings.insert(environment::S3_REGION, "us-east-1".to_owned());
            settings.insert(environment::S3_ENDPOINT, format!("http://127.0.0.1:{port}"));
            settings.insert(environment::S3_ALLOW_HTTP, "true".to_owned());
        } else {
            settings.insert("HTTPS_PROXY", format!("http://127.0.0.1:{}", tunnel(port)));
            settings.insert(environment::CA_CERT_DATA, fs::read_to_string(self.scratch.path().join("ca.crt")).expect("the CA"));
        }
        if self.kind == Kind::Azure {
            settings.insert(environment::AZURE_ACCOUNT, ACCOUNT.to_owned());
        }
        let place = self.scratch.path().join(case.replace(' ', "-"));
        Attempt { url: format!("{scheme}://bucket/backups/sample"), settings, secrets: self.secrets.clone(), place }
    }
}

/// One run of the executor, as the fields say.
pub(super) struct Attempt {
    pub(super) url: String,
    pub(super) settings: Settings,
    pub(super) secrets: Settings,
    place: PathBuf,
}

impl Attempt {
    pub(super) fn target(&self) -> PathBuf {
        self.place.join("target")
    }

    /// Runs as in a Job: the credentials are files.
    pub(super) fn run(&self) -> Report {
        self.run_and_tell().0
    }

    /// The same, with the log.
    pub(super) fn run_and_tell(&self) -> (Report, String) {
        let (storage, encryption) = (self.place.join("storage"), self.place.join("encryption"));
        for (directory, files) in [(&storage, &self.secrets), (&encryption, &Settings::from([("RESTIC_PASSWORD", PASSWORD.to_owned())]))] {
            fs::create_dir_all(directory).expect("the Secret");
            files.iter().for_each(|(name, text)| fs::write(directory.join(name), text).expect("the Secret"));
        }
        self.finish(self.command().env(environment::STORAGE_DIR, storage).env(environment::ENCRYPTION_DIR, encryption))
    }

    /// Runs as by hand: everything is in the environment.
    pub(super) fn by_hand(&self) -> Report {
        fs::create_dir_all(&self.place).expect("a directory");
        self.finish(self.command().envs(&self.secrets).env("RESTIC_PASSWORD", PASSWORD)).0
    }

    fn command(&self) -> Command {
        // A run that hangs is a failure like another.
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", "180", env!("CARGO_BIN_EXE_backproof-executor"), "restore", "--snapshot=latest", "--report=-"]);
        command.arg(format!("--repository={}", self.url)).arg("--target").arg(self.target()).env_clear().envs(&self.settings);
        command
    }

    fn finish(&self, command: &mut Command) -> (Report, String) {
        let Output { stdout, stderr, status } = command.stdin(Stdio::null()).output().expect("starting the executor");
        let text = String::from_utf8_lossy(&stdout);
        let said = String::from_utf8_lossy(&stderr);
        let report: Report = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status}, {error}: {text}\n{said}"));
        for secret in self.secrets.values().filter(|secret| secret.len() > 8) {
            assert!(!text.contains(secret) && !said.contains(secret), "a credential was printed:\n{text}\n{said}");
        }
        (report, said.into_owned())
    }
}

/// The files of the storage's Secret.
fn credentials(kind: Kind, scratch: &Path) -> Settings {
    match kind {
        Kind::S3 => {
            Settings::from([("AWS_ACCESS_KEY_ID", "AKTEST".to_owned()), ("AWS_SECRET_ACCESS_KEY", "a secret of the test".to_owned())])
        }
        Kind::Gcs => Settings::from([(environment::GCS_KEY, service_account(&scratch.join("account.key")))]),
        Kind::Azure => Settings::from([(environment::AZURE_KEY, BASE64_STANDARD.encode(noise(3, 64)))]),
    }
}

/// What Google gives for a service account, with a new key that is kept in this file.
pub(super) fn service_account(key: &Path) -> String {
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]).arg(key).output();
    let made = made.expect("openssl is not installed: apt-get install openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let private_key = fs::read_to_string(key).expect("a key");
    let id = hex(&noise(private_key.len() as u64, 20));
    serde_json::json!({
        "type": "service_account", "project_id": "proof", "private_key_id": id, "private_key": private_key,
        "client_email": "restic@proof.iam.gserviceaccount.com", "client_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
    })
    .to_string()
}

/// Such as `GET /bucket/x?y`, from a line that holds a request in quotation marks, escaped or not.
fn quoted_request(line: &str) -> Option<String> {
    let is_request = |quoted: &&str| {
        let (method, address) = quoted.split_once(' ').unwrap_or_default();
        let is_method = method.len() > 2 && method.bytes().all(|byte| byte.is_ascii_uppercase());
        is_method && (address.starts_with('/') || address.starts_with("http"))
    };
    line.split('"').find(is_request).map(str::to_owned)
}

/// The same from a line that names the operation of S3; one that does not read keeps its own name.
fn operation(line: &str) -> Option<String> {
    let name = line.split(' ').find_map(|word| word.strip_prefix("s3_"))?;
    let address = line.split(' ').find(|word| word.starts_with('/'))?;
    let method = match name {
        "GetObject" | "ListObjectsV2" => "GET",
        "HeadObject" => "HEAD",
        other => other,
    };
    Some(format!("{method} {address}"))
}

fn upload_to_google(port: u16, key: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port))?;
    write!(connection, "POST /upload/storage/v1/b/bucket/o?uploadType=media&name={key} HTTP/1.1\r\nHost: storage.googleapis.com\r\n")?;
    write!(connection, "Content-Length: {}\r\nConnection: close\r\n\r\n", bytes.len())?;
    connection.write_all(bytes)?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Ok(())
}

fn command(kind: Kind, scratch: &Path, secrets: &Settings, port: u16, plain_port: u16) -> Command {
    let objects = scratch.join("objects");
    let program = match kind {
        Kind::S3 => "versitygw",
        Kind::Gcs => "fake-gcs-server",
        Kind::Azure => "azurite",
    };
    let mut command = Command::new(tool(program).expect("the server's program"));
    let secret = |name: &str| secrets.get(name).cloned().unwrap_or_default();
    match kind {
        Kind::S3 => {
            fs::create_dir_all(objects.join("bucket")).expect("the bucket");
            command.args(["--quiet", "--access", &secret("AWS_ACCESS_KEY_ID"), "--secret", &secret("AWS_SECRET_ACCESS_KEY")]);
            command.args(["--port", &format!("127.0.0.1:{port}"), "--access-log"]).arg(scratch.join("access.log"));
            command.arg("posix").arg(objects);
        }
        Kind::Gcs => {
            fs::create_dir_all(objects.join("bucket")).expect("the bucket");
            command.args(["-scheme", "both", "-host", "127.0.0.1", "-port", &port.to_string(), "-port-http", &plain_port.to_string()]);
            command.arg("-cert-location").arg(scratch.join("server.crt")).arg("-private-key-location").arg(scratch.join("server.key"));
            command.args(["-public-host", "storage.googleapis.com", "-backend", "filesystem", "-filesystem-root"]).arg(objects);
        }
        Kind::Azure => {
            command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", secret(environment::AZURE_KEY)));
            command.args(["--disableTelemetry", "--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
            command.arg("--cert").arg(scratch.join("server.crt")).arg("--key").arg(scratch.join("server.key"));
            command.arg("--location").arg(objects);
        }
    }
    command
}
