//! A key file that is gone: what the executor tells, so that the controller can tell a lost key from a wrong password.

use std::{fs, path::Path, process::Command};

use backproof_api::{
    Cause, Verdict,
    report::{Report, RepositoryFacts},
};

use crate::support::{
    forge, open_up,
    restic::restic,
    sample::{self, PASSWORD, Sample},
};

/// One run in a Job's way, with what an earlier run knew.
fn run(sample: &Sample, target: &Path, password: &str, known: &str) -> Report {
    let output = Command::new(env!("CARGO_BIN_EXE_backproof-executor"))
        .arg("restore")
        .arg(format!("--repository=file://{}", sample.repository.display()))
        .arg(format!("--snapshot={}", sample.newest))
        .arg(format!("--target={}", target.display()))
        .env_clear()
        .env("RESTIC_PASSWORD", password)
        .env("BACKPROOF_REPOSITORY_ID", known)
        .output()
        .expect("starting the executor");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_lost_key_is_told_apart_from_a_wrong_password() {
    let scratch = tempfile::tempdir().expect("a directory");
    open_up(scratch.path());
    let sample = sample::make(scratch.path(), 2);
    let target = |name: &str| scratch.path().join(name);
    let before = run(&sample, &target("first"), PASSWORD, "");
    assert_eq!(before.outcome, Verdict::Verified, "{before:?}");
    let facts = before.repository.expect("the repository");
    assert_eq!((facts.keys.len(), facts.password_fingerprint.is_empty(), facts.id.len()), (1, false, 64), "{facts:?}");

    // Somebody gives the repository another password, and takes the old key away.
    let new = scratch.path().join("new-password");
    fs::write(&new, "another horse").expect("writing");
    restic(&sample.repository, PASSWORD, &["key", "add", "--new-password-file", &new.display().to_string()]);
    restic(&sample.repository, "another horse", &["key", "remove", &facts.keys[0]]);

    let told = |password: &str, known: &str| {
        let report = run(&sample, &target("second"), password, known);
        // What it is worth, the controller says: by itself the executor never calls it a defect.
        assert_eq!((report.outcome, report.cause), (Verdict::Inconclusive, Some(Cause::EncryptionKeyRejected)), "{report:?}");
        report.repository.unwrap_or_default()
    };
    let RepositoryFacts { keys, password_fingerprint, .. } = told(PASSWORD, &facts.id);
    assert_eq!(password_fingerprint, facts.password_fingerprint, "the same password is recognised");
    assert!(!keys.is_empty() && !keys.contains(&facts.keys[0]), "{keys:?}");
    // A Secret's file often ends with a line's end; the password in it is the same.
    let secret = target("secret");
    fs::create_dir(&secret).expect("the Secret's directory");
    fs::write(secret.join("RESTIC_PASSWORD"), format!("{PASSWORD}\n")).expect("writing");
    let output = Command::new(env!("CARGO_BIN_EXE_backproof-executor"))
        .args(["restore", "--snapshot=latest"])
        .arg(format!("--repository=file://{}", sample.repository.display()))
        .arg(format!("--target={}", target("fourth").display()))
        .env_clear()
        .env("BACKPROOF_ENCRYPTION_DIR", &secret)
        .env("BACKPROOF_REPOSITORY_ID", &facts.id)
        .env("BACKPROOF_KNOWN_FINGERPRINT", &facts.password_fingerprint)
        .output()
        .expect("starting the executor");
    let report: Report = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report.repository.unwrap_or_default().password_fingerprint, facts.password_fingerprint);
    assert_ne!(told("a wrong guess", &facts.id).password_fingerprint, facts.password_fingerprint);
    assert_eq!(told(PASSWORD, "").password_fingerprint, "", "by hand nothing is known of earlier runs");
    assert_eq!(run(&sample, &target("third"), "another horse", &facts.id).outcome, Verdict::Verified);
}

/// Somebody's newer tool may add a key of another kind: it keeps nobody out, and it is not mistaken for a wrong password.
#[test]
fn a_key_of_an_unknown_kind_does_not_stand_in_the_way_of_the_others() {
    let scratch = tempfile::tempdir().expect("a directory");
    open_up(scratch.path());
    let sample = sample::make(scratch.path(), 2);
    let keys = sample.repository.join("keys");
    let of_restic = fs::read_dir(&keys).expect("keys").next().expect("a key").expect("an entry").path();
    let mut key: serde_json::Value = serde_json::from_slice(&fs::read(&of_restic).expect("reading")).expect("a key file");
    key["kdf"] = "argon2id".into();
    // One that is listed before restic's own, and one that is listed after it.
    let mut made = [false; 2];
    for number in 0.. {
        key["username"] = format!("{number}").into();
        let content = key.to_string();
        let path = keys.join(forge::id_of(content.as_bytes()));
        if !std::mem::replace(&mut made[usize::from(path < of_restic)], true) {
            fs::write(path, content).expect("writing");
        }
        if made == [true; 2] {
            break;
        }
    }
    let report = run(&sample, &scratch.path().join("opened"), PASSWORD, "");
    assert_eq!(report.outcome, Verdict::Verified, "{report:?}");
    let report = run(&sample, &scratch.path().join("closed"), "a wrong guess", "");
    assert_eq!((report.outcome, report.cause), (Verdict::Inconclusive, Some(Cause::UnsupportedRepository)), "{report:?}");
}
