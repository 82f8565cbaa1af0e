//! A repository in a real server of each kind of object store: made there by restic, read by the executor, and never
//! written to. What a storage refuses, lacks, cuts or answers strangely is no defect of the backup.

mod network;
mod servers;

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use backproof_api::{Cause, Verdict, environment, report::Report};
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::json;

use self::{
    network::{Cut, cutting, cutting_at, gate, response},
    servers::{Kind, PASSWORD, PATIENCE, Server, Settings, service_account},
};
use crate::support::{
    forge::{Forge, Holds, file_node},
    listing, noise,
};

macro_rules! of_each_store {
    ($($store:ident $kind:expr),+ $(,)?) => {$(
        mod $store {
            use super::*;

            #[test]
            fn is_proven_by_reading_only_and_a_flipped_bit_is_a_defect() {
                super::is_proven_by_reading_only_and_a_flipped_bit_is_a_defect($kind);
            }

            #[test]
            #[ignore = "make test-long"]
            fn a_pack_cut_short_or_deleted_is_a_defect() {
                super::a_pack_cut_short_or_deleted_is_a_defect($kind);
            }

            #[test]
            #[ignore = "make test-long"]
            fn what_the_storage_refuses_or_lacks_is_no_defect() {
                super::what_the_storage_refuses_or_lacks_is_no_defect($kind);
            }

            #[test]
            #[ignore = "make test-long"]
            fn a_server_that_is_not_there_is_no_defect() {
                super::a_server_that_is_not_there_is_no_defect($kind);
            }

            #[test]
            #[ignore = "make test-long"]
            fn a_connection_cut_in_the_middle_is_no_defect() {
                super::a_connection_cut_in_the_middle_is_no_defect($kind);
            }
        }
    )+};
}

of_each_store! { s3 Kind::S3, gcs Kind::Gcs, azure Kind::Azure }

fn expect(case: &str, report: &Report, expected: (Verdict, Option<Cause>)) {
    assert_eq!((report.outcome, report.cause), expected, "{case}: {report:?}");
    let error = report.error.as_deref().unwrap_or_default();
    assert!(error.lines().count() <= 1 && error.len() < 900, "{case}: {error}");
}

fn inconclusive(case: &str, report: &Report, cause: Cause, remedy: &str) {
    expect(case, report, (Verdict::Inconclusive, Some(cause)));
    let error = report.error.as_deref().unwrap_or_default();
    assert!(error.contains(remedy), "{case}: {error:?} does not say {remedy:?}");
}

fn is_proven_by_reading_only_and_a_flipped_bit_is_a_defect(kind: Kind) {
    let server = Server::start(kind);
    let before = server.objects();
    let made = server.requests().len();
    assert!(server.requests().iter().any(|request| request.starts_with('P')), "the server's log does not tell restic's writing");

    let attempt = server.attempt("job", server.port);
    let report = attempt.run();
    expect("job", &report, (Verdict::Verified, None));
    assert_eq!(listing::difference(&server.source, &listing::restored(&attempt.target())), Vec::<String>::new());
    let by_hand = server.attempt("by hand", server.port);
    expect("by hand", &by_hand.by_hand(), (Verdict::Verified, None));
    assert_eq!(listing::difference(&server.source, &listing::restored(&by_hand.target())), Vec::<String>::new());

    let requests = server.requests().split_off(made);
    assert!(requests.len() > 10, "the server's log is not what was expected: {requests:?}");
    let writing: Vec<_> = requests.iter().filter(|request| !(request.starts_with("GET ") || request.starts_with("HEAD "))).collect();
    assert!(writing.is_empty(), "{writing:?}");
    assert!(requests.iter().any(|request| request.contains("prefix=")), "nothing was listed: {requests:?}");
    assert_eq!(server.objects(), before);

    server.damage(|pack| {
        let middle = pack.len() / 2;
        pack[middle] ^= 4;
    });
    let damaged = server.objects();
    expect("flipped bit", &server.attempt("flipped", server.port).run(), (Verdict::VerificationFailed, Some(Cause::PackDamaged)));
    assert_eq!(server.objects(), damaged);
}

fn a_pack_cut_short_or_deleted_is_a_defect(kind: Kind) {
    let server = Server::start(kind);
    server.damage(|pack| pack.truncate(pack.len() - 1));
    expect("cut short", &server.attempt("short", server.port).run(), (Verdict::VerificationFailed, Some(Cause::PackTruncated)));
    server.damage(Vec::clear);
    expect("deleted", &server.attempt("deleted", server.port).run(), (Verdict::VerificationFailed, Some(Cause::PackMissing)));
}

fn what_the_storage_refuses_or_lacks_is_no_defect(kind: Kind) {
    let server = Server::start(kind);
    // Its emulator takes any credentials, and knows no missing bucket; Google does neither.
    let google = (kind == Kind::Gcs).then(|| like_google(&server));
    let attempt = |case: &str| {
        let mut attempt = server.attempt(case, server.port);
        if let Some(gate) = google {
            attempt.settings = Settings::from([
                (PATIENCE, "2".to_owned()),
                ("GOOGLE_BASE_URL", "http://storage.googleapis.com".to_owned()),
                ("GOOGLE_ALLOW_HTTP", "true".to_owned()),
                ("HTTP_PROXY", format!("http://127.0.0.1:{gate}")),
            ]);
        }
        attempt
    };
    expect("all is right", &attempt("right").run(), (Verdict::Verified, None));

    let (name, wrong, unusable) = match kind {
        Kind::S3 => ("AWS_SECRET_ACCESS_KEY", "another secret".to_owned(), None),
        Kind::Gcs => (environment::GCS_KEY, service_account(&server.scratch.path().join("other.key")), Some("{}")),
        Kind::Azure => (environment::AZURE_KEY, BASE64_STANDARD.encode(noise(4, 64)), Some("not base64 at all")),
    };
    let mut refused = attempt("refused");
    refused.secrets.insert(name, wrong);
    inconclusive("refused", &refused.run(), Cause::StorageCredentialsRefused, name);
    inconclusive("refused by hand", &refused.by_hand(), Cause::StorageCredentialsRefused, name);
    if let Some(unusable) = unusable {
        let mut attempt = attempt("unusable");
        attempt.secrets.insert(name, unusable.to_owned());
        inconclusive("no key at all", &attempt.run(), Cause::StorageCredentialsRefused, name);
    }
    let mut absent = attempt("absent");
    absent.secrets.remove(name);
    inconclusive("no such key in the Secret", &absent.run(), Cause::SecretMissing, name);

    let mut nowhere = attempt("nowhere");
    nowhere.url = nowhere.url.replace("bucket", "nothing");
    let remedy =
        if kind == Kind::Azure { "there is no container nothing: check its name" } else { "there is no bucket nothing: check its name" };
    inconclusive("no such bucket", &nowhere.run(), Cause::StorageUnreachable, remedy);
    let mut elsewhere = attempt("elsewhere");
    elsewhere.url.push_str(&"/other".repeat(80));
    inconclusive("another prefix", &elsewhere.run(), Cause::RepositoryNotFound, "check the Repository's path");
    elsewhere.secrets = refused.secrets.clone();
    inconclusive("a long address, refused", &elsewhere.run(), Cause::StorageCredentialsRefused, name);
}

/// Answers as Google does where its emulator does not: who presents no token signed by the account's key is refused, and
/// a bucket that does not exist is said to be missing.
fn like_google(server: &Server) -> u16 {
    let directory = server.scratch.path().to_owned();
    let key = directory.join("account.key");
    let made = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(key).arg("-out").arg(directory.join("account.pub")).status();
    assert!(made.is_ok_and(|status| status.success()), "openssl pkey");
    gate(server.plain_port, move |head| {
        let error = |status: &str, code: &str| Some(response(status, "application/xml", &format!("<Error><Code>{code}</Code></Error>")));
        if !is_signed(head, &directory) {
            error("401 Unauthorized", "AuthenticationRequired")
        } else if head.contains("/nothing") {
            error("404 Not Found", "NoSuchBucket")
        } else {
            None
        }
    })
}

/// Whether the request's token was signed by the key whose public part lies in the directory.
fn is_signed(head: &str, directory: &std::path::Path) -> bool {
    let header = head.lines().find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("authorization")));
    let Some((message, signature)) = header.and_then(|(_, value)| value.strip_prefix("Bearer ")).and_then(|token| token.rsplit_once('.'))
    else {
        return false;
    };
    let files = tempfile::tempdir().expect("a directory");
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = files.path().join(name);
        fs::write(&path, bytes).expect("writing");
        path
    };
    let signature = file("signature", &BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap_or_default());
    let output = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(directory.join("account.pub"))
        .arg("-signature")
        .arg(signature)
        .arg(file("message", message.as_bytes()))
        .output();
    output.expect("openssl").status.success()
}

fn a_server_that_is_not_there_is_no_defect(kind: Kind) {
    let server = Server::start(kind);
    let nobody = backproof_testing::free_port().expect("a port");
    let started = Instant::now();
    let (report, log) = server.attempt("nobody", nobody).run_and_tell();
    inconclusive("nobody listens", &report, Cause::StorageUnreachable, "the storage did not give it");
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(150), "it took {took:?}");
    let waiting = log.lines().filter(|line| line.contains(r#""step":"waiting""#)).count();
    assert!((1..=4).contains(&waiting), "{log}");

    let (late, behind) = (backproof_testing::free_port().expect("a port"), server.port);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        cutting_at(late, behind, Cut::EachConnectionAfter(usize::MAX));
    });
    let mut patient = server.attempt("comes back", late);
    patient.settings.insert(PATIENCE, "60".to_owned());
    let (report, log) = patient.run_and_tell();
    expect("comes back", &report, (Verdict::Verified, None));
    assert!(log.contains(r#""step":"waiting""#), "{log}");
    assert_eq!(listing::difference(&server.source, &listing::restored(&patient.target())), Vec::<String>::new());
    if kind != Kind::S3 {
        let mut stranger = server.attempt("stranger", server.port);
        stranger.settings.remove(environment::CA_CERT_DATA);
        inconclusive("nobody vouches for it", &stranger.run(), Cause::StorageUnreachable, "give that one's as CA_CERT_DATA");
    }
}

/// A cut alone is mended by asking again for the rest; a storage that stays away is not.
fn a_connection_cut_in_the_middle_is_no_defect(kind: Kind) {
    let server = Server::start(kind);
    let mut mended = server.attempt("mended", cutting(server.port, Cut::EachConnectionAfter(1_000_000)));
    mended.settings.insert(PATIENCE, "60".to_owned());
    expect("mended", &mended.run(), (Verdict::Verified, None));
    assert_eq!(listing::difference(&server.source, &listing::restored(&mended.target())), Vec::<String>::new());
    // The first cuts while keys and index are read, the last when almost all is there.
    for bytes in [1_000, 6_000, 20_000, 3_000_000, 8_900_000] {
        let report = server.attempt(&format!("after {bytes}"), cutting(server.port, Cut::AllAfter(bytes))).run();
        inconclusive(&format!("cut after {bytes} bytes"), &report, Cause::StorageUnreachable, "the storage did not give it");
    }
}

/// Answers no storage should give, each in place of the right one. What is listed and never there is neither lost nor had.
#[test]
fn strange_answers_are_no_defect() {
    let server = Server::start(Kind::S3);
    let data = server.data_pack();
    let error = |status: &str, code: &str| response(status, "application/xml", &format!("<Error><Code>{code}</Code></Error>"));
    let (page, absent) = (response("200 OK", "text/html", "<html><body>Please log in</body></html>"), error("404 Not Found", "NoSuchKey"));
    let cut_listing = response("200 OK", "application/xml", "<ListBucketResult><Name>bucket</Name>");
    for (case, place, answer, cause) in [
        ("a page for everything", "GET /", page.clone(), Cause::StorageUnreachable),
        ("a page for every pack", "/data/", page, Cause::StorageUnreachable),
        ("an error as a listing", "prefix=", error("200 OK", "InternalError"), Cause::StorageUnreachable),
        ("half a listing", "prefix=", cut_listing, Cause::StorageUnreachable),
        ("not found for everything", "GET /", response("404 Not Found", "text/html", "<html>"), Cause::StorageUnreachable),
        ("no file is there", "/sample/", absent.clone(), Cause::StorageUnreachable),
        ("no key is there", "/keys/", absent.clone(), Cause::StorageUnreachable),
        ("no index is there", "/index/", absent.clone(), Cause::StorageUnreachable),
        ("no pack is there", "/data/", absent.clone(), Cause::StorageUnreachable),
        ("one pack is not there", &data, absent, Cause::StorageUnreachable),
        ("the bucket vanished", "/data/", error("404 Not Found", "NoSuchBucket"), Cause::StorageUnreachable),
        ("archived", "/data/", error("403 Forbidden", "InvalidObjectState"), Cause::StorageUnreachable),
        ("may list and not read", "/data/", error("403 Forbidden", "AccessDenied"), Cause::StorageCredentialsRefused),
        ("overloaded", "/data/", error("503 Slow Down", "SlowDown"), Cause::StorageUnreachable),
        ("broken", "/data/", error("500 Internal Server Error", "InternalError"), Cause::StorageUnreachable),
        ("another region", "GET /", response("301 Moved Permanently", "application/xml", ""), Cause::StorageUnreachable),
    ] {
        let place = place.to_owned();
        let port = gate(server.port, move |head| head.lines().next().is_some_and(|line| line.contains(&place)).then(|| answer.clone()));
        let started = Instant::now();
        inconclusive(case, &server.attempt(case, port).run(), cause, "the storage");
        eprintln!("{case}: {:?}", started.elapsed());
    }
}

/// The first of two copies of a directory is refused. Whether the run ends there or reads the other copy: it does not end
/// green before anything was restored.
#[test]
fn a_refused_copy_of_a_directory_is_not_passed_over() {
    let server = Server::start(Kind::S3);
    let directory = server.scratch.path().join("objects/bucket/backups/twice");
    let mut forge = Forge::new(&directory, 2, PASSWORD);
    let content = forge.pack(Holds::Data, &[b"all that there is".to_vec()]);
    let tree = format!("{}\n", json!({ "nodes": [file_node("file", 17, &content)] })).into_bytes();
    let id = forge.pack(Holds::Tree, std::slice::from_ref(&tree)).remove(0);
    let first = forge.last_pack();
    forge.pack(Holds::Tree, &[tree, b"{}".to_vec()]);
    forge.snapshot(&id);
    let attempt = |case: &str, port| {
        let mut attempt = server.attempt(case, port);
        attempt.url = attempt.url.replace("sample", "twice");
        attempt
    };
    expect("both copies", &attempt("both copies", server.port).run(), (Verdict::Verified, None));
    for (case, status, code, cause) in [
        ("first copy archived", "403 Forbidden", "InvalidObjectState", Cause::StorageUnreachable),
        ("first copy forbidden", "403 Forbidden", "AccessDenied", Cause::StorageCredentialsRefused),
        ("first copy broken", "500 Internal Server Error", "InternalError", Cause::StorageUnreachable),
    ] {
        let (place, answer) = (first.clone(), response(status, "application/xml", &format!("<Error><Code>{code}</Code></Error>")));
        let port = gate(server.port, move |head| head.lines().next().is_some_and(|line| line.contains(&place)).then(|| answer.clone()));
        inconclusive(case, &attempt(case, port).run(), cause, "the storage");
    }
}
