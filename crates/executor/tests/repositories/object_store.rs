//! A repository in a real S3 server: made there by restic, read by the executor, and never written to.
//!
//! The server is versitygw over a directory, so that the objects can be looked at and damaged as files.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use backproof_api::{Cause, Verdict, report::Report};

use crate::support::{listing, noise, project};

const ACCESS: &str = "AKTEST";
const SECRET: &str = "a secret of the test";
const PASSWORD: &str = "proof";

/// One of the programs that `make tools` builds.
fn versitygw() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || {
        set("BACKPROOF_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("backproof")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/backproof")))
    };
    let path = set("BACKPROOF_BIN").or_else(|| cache().map(|cache| cache.join("bin"))).expect("a home directory").join("versitygw");
    assert!(path.exists(), "{} does not exist: run make tools in {}", path.display(), project().display());
    path
}

/// A server with one bucket that holds a repository below `backups/sample`.
struct Server {
    process: Child,
    port: u16,
    scratch: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

impl Server {
    fn start() -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(scratch.path().join("objects/bucket")).expect("the bucket");
        let port = free_port();
        let process = Command::new(versitygw())
            .args(["--quiet", "--access", ACCESS, "--secret", SECRET, "--port", &format!("127.0.0.1:{port}"), "--access-log"])
            .arg(scratch.path().join("access.log"))
            .arg("posix")
            .arg(scratch.path().join("objects"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starting versitygw");
        let server = Self { process, port, scratch };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "versitygw does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Backs a little data up and returns the listing of it.
    fn with_repository(self) -> (Self, listing::Listing) {
        let source = self.scratch.path().join("source");
        fs::create_dir_all(source.join("below")).expect("the source");
        fs::write(source.join("below/large"), noise(1, 9_000_000)).expect("writing");
        fs::write(source.join("small"), "small").expect("writing");
        std::os::unix::fs::symlink("small", source.join("link")).expect("a link");
        let url = format!("s3:http://127.0.0.1:{}/bucket/backups/sample", self.port);
        for arguments in [&["init"][..], &["backup", "."]] {
            let output = Command::new("restic")
                .args(["-r", &url, "--no-cache", "--quiet"])
                .args(arguments)
                .current_dir(&source)
                .env("RESTIC_PASSWORD", PASSWORD)
                .env("AWS_ACCESS_KEY_ID", ACCESS)
                .env("AWS_SECRET_ACCESS_KEY", SECRET)
                .stdin(Stdio::null())
                .output()
                .expect("restic is not installed: apt-get install restic");
            assert!(output.status.success(), "restic {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let listed = listing::restored(&source);
        (self, listed)
    }

    fn objects(&self) -> PathBuf {
        self.scratch.path().join("objects/bucket")
    }

    fn operations(&self) -> Vec<String> {
        let log = fs::read_to_string(self.scratch.path().join("access.log")).expect("the server's log");
        log.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with("s3_")).map(str::to_owned)).collect()
    }
}

/// Restores by hand from `url` at the server on `port`, into a new directory.
fn restore(port: u16, url: &str, secret: &str, target: &Path) -> Report {
    patient_restore(port, url, secret, target, 2).0
}

/// The same, where a storage that does not answer is waited for so many seconds. Tells the log as well.
fn patient_restore(port: u16, url: &str, secret: &str, target: &Path, seconds: u32) -> (Report, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_backproof-executor"))
        .args(["restore", "--repository", url, "--snapshot", "latest", "--report=-", "--target"])
        .arg(target)
        .env_clear()
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ALLOW_HTTP", "true")
        .env("AWS_ACCESS_KEY_ID", ACCESS)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("BACKPROOF_STORAGE_PATIENCE", seconds.to_string())
        .stdin(Stdio::null())
        .output()
        .expect("starting the executor");
    let (text, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{log}")), log.into_owned())
}

const URL: &str = "s3://bucket/backups/sample";

#[test]
fn a_repository_in_a_bucket_is_proven_by_reading_only() {
    let (server, source) = Server::start().with_repository();
    let before = listing::full(&server.objects());
    let made = server.operations().len();
    let target = server.scratch.path().join("target");
    let report = restore(server.port, URL, SECRET, &target);
    assert_eq!((report.outcome, report.cause), (Verdict::Verified, None), "{report:?}");
    assert_eq!(listing::difference(&source, &listing::restored(&target)), Vec::<String>::new());

    assert_eq!(listing::difference(&before, &listing::full(&server.objects())), Vec::<String>::new());
    let operations = server.operations().split_off(made);
    assert!(operations.len() > 5, "the server's log is not what was expected: {operations:?}");
    let writing: Vec<_> =
        operations.iter().filter(|name| !matches!(name.as_str(), "s3_GetObject" | "s3_HeadObject" | "s3_ListObjectsV2")).collect();
    assert!(writing.is_empty(), "{writing:?}");
}

#[test]
fn a_flipped_bit_in_an_object_is_a_defect() {
    let (server, _) = Server::start().with_repository();
    let damage = Command::new("sh")
        .arg(project().join("sabotage/damage.sh"))
        .arg("data-bitflip")
        .arg(server.objects().join("backups/sample"))
        .output()
        .expect("sh");
    assert!(damage.status.success(), "{}", String::from_utf8_lossy(&damage.stderr));
    let report = restore(server.port, URL, SECRET, &server.scratch.path().join("target"));
    assert_eq!((report.outcome, report.cause), (Verdict::VerificationFailed, Some(Cause::PackDamaged)), "{report:?}");
}

#[test]
fn what_the_storage_refuses_or_lacks_is_no_defect() {
    let (server, _) = Server::start().with_repository();
    let target = |name: &str| server.scratch.path().join(name);
    for (case, url, secret, cause) in [
        ("wrong secret", URL, "another secret", Cause::StorageCredentialsRefused),
        ("missing bucket", "s3://nothing/backups/sample", SECRET, Cause::StorageUnreachable),
        ("wrong prefix", "s3://bucket/backups/other", SECRET, Cause::RepositoryNotFound),
    ] {
        let report = restore(server.port, url, secret, &target(&case.replace(' ', "-")));
        assert_eq!((report.outcome, report.cause), (Verdict::Inconclusive, Some(cause)), "{case}: {report:?}");
        let error = report.error.unwrap_or_default();
        assert!(error.lines().count() == 1 && error.len() < 700, "{case}: {error}");
    }
}

#[test]
fn a_server_that_does_not_answer_is_waited_for_and_no_defect() {
    let nobody = free_port();
    let scratch = tempfile::tempdir().expect("a directory");
    let started = Instant::now();
    let (report, log) = patient_restore(nobody, URL, SECRET, &scratch.path().join("target"), 3);
    let took = started.elapsed();
    assert_eq!((report.outcome, report.cause), (Verdict::Inconclusive, Some(Cause::StorageUnreachable)), "{report:?}");
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(60), "it took {took:?}");
    let waiting = log.lines().filter(|line| line.contains(r#""step":"waiting""#)).count();
    assert!((1..=4).contains(&waiting), "{log}");
}

#[test]
fn a_server_that_comes_back_is_used() {
    let (server, source) = Server::start().with_repository();
    let (port, behind, target) = (free_port(), server.port, server.scratch.path().join("target"));
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        cutting_proxy_at(port, behind, Cut::EachConnectionAfter(usize::MAX));
    });
    let (report, log) = patient_restore(port, URL, SECRET, &target, 60);
    assert_eq!((report.outcome, report.cause), (Verdict::Verified, None), "{report:?}");
    assert_eq!(listing::difference(&source, &listing::restored(&target)), Vec::<String>::new());
    assert!(log.contains(r#""step":"waiting""#), "{log}");
}

/// A cut alone is mended by asking again for the rest; a storage that stays away is not.
#[test]
fn a_connection_cut_in_the_middle_is_no_defect() {
    let (server, _) = Server::start().with_repository();
    let mended =
        restore(cutting_proxy(server.port, Cut::EachConnectionAfter(1_000_000)), URL, SECRET, &server.scratch.path().join("mended"));
    assert_eq!((mended.outcome, mended.cause), (Verdict::Verified, None), "{mended:?}");
    let report = restore(cutting_proxy(server.port, Cut::AllAfter(3_000_000)), URL, SECRET, &server.scratch.path().join("target"));
    assert_eq!((report.outcome, report.cause), (Verdict::Inconclusive, Some(Cause::StorageUnreachable)), "{report:?}");
}

/// When the proxy cuts, by bytes of the server's answers.
#[derive(Clone, Copy)]
enum Cut {
    EachConnectionAfter(usize),
    AllAfter(usize),
}

/// Passes bytes on and cuts. Its threads end with the test's process.
fn cutting_proxy(server: u16, cut: Cut) -> u16 {
    cutting_proxy_at(0, server, cut)
}

fn cutting_proxy_at(port: u16, server: u16, cut: Cut) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let all = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { continue };
            let (Ok(from_client), Ok(to_server)) = (client.try_clone(), upstream.try_clone()) else { continue };
            let (passed, most) = match cut {
                Cut::EachConnectionAfter(most) => (Arc::default(), most),
                Cut::AllAfter(most) => (all.clone(), most),
            };
            std::thread::spawn(move || pass_on(from_client, to_server, &AtomicUsize::new(0), usize::MAX));
            std::thread::spawn(move || pass_on(upstream, client, &passed, most));
        }
    });
    port
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, passed: &AtomicUsize, most: usize) {
    let mut buffer = vec![0; 16_384];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || passed.fetch_add(read, Ordering::Relaxed) + read > most || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // An error means that the other side has closed it already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
