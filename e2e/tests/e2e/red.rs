//! A damaged repository: the session fails, says what is damaged, and the Snapshot carries it.

use backproof_e2e::samples;

use crate::fixture::{Fixture, OWNER, PASSWORD, SNAPSHOTS, assert_ended, condition, session, text};

#[test]
fn a_flipped_byte_in_a_data_pack_is_named() {
    let fixture = Fixture::new("red");
    fixture.apply(&samples::copies());
    let snapshot = fixture.discovered("damaged");
    fixture.sabotage(&samples::bit_flip(), "bit-flip");
    let before = fixture.listing("repository-damaged");

    fixture.apply(&samples::session_damaged());
    let session = fixture.ended("damaged-by-hand");
    assert_ended(&fixture, &session, "Failed", "VerificationFailed", Some("PackDamaged"));
    assert_eq!(condition(&session, "BackupVerified"), "False");
    assert_eq!(condition(&session, "Stalled"), "True");
    let message = text(&session, "/status/message");
    assert!(message.contains("data/"), "the message names the pack: {message}");
    let snapshot = fixture.kubectl.get(SNAPSHOTS, &snapshot).unwrap();
    assert_eq!(text(&snapshot, "/status/verificationStatus"), "VerificationFailed");
    assert_eq!(before, fixture.listing("repository-damaged"), "the repository was touched");
    let told = fixture.told_at_last("BackupVerificationSession", "damaged-by-hand", "VerificationFailed");
    for reason in ["RestoreStarted", "VerificationFailed"] {
        let times = told.iter().filter(|told| *told == reason).count();
        assert_eq!(times, 1, "{reason} is told once: {told:?}");
    }
}

#[test]
#[ignore = "long: one more defect; a damaged pack is in every run"]
fn a_key_lost_since_an_earlier_run_is_a_defect() {
    let fixture = Fixture::new("key-lost");
    fixture.verify_by_hand();
    let snapshot = fixture.discovered("sample");
    fixture.session("before", &snapshot);
    assert_ended(&fixture, &fixture.ended("before"), "Succeeded", "Verified", None);
    // Somebody gives the repository another password, and the Secret keeps the old one.
    let repository = fixture.host_path("repository");
    let password = repository.with_extension("password");
    std::fs::write(&password, "another password").unwrap();
    let output = std::process::Command::new("restic")
        .args(["--no-cache", "--quiet", "key", "passwd", "--new-password-file"])
        .arg(&password)
        .arg("--repo")
        .arg(&repository)
        .env("RESTIC_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    std::fs::remove_file(&password).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for key in std::fs::read_dir(repository.join("keys")).unwrap() {
        std::os::unix::fs::chown(key.unwrap().path(), Some(OWNER), Some(OWNER)).unwrap();
    }
    let before = fixture.listing("repository");

    let anyway = session("after", &snapshot).replace("{name: after}", "{name: after, annotations: {backproof.dev/reverify: \"true\"}}");
    fixture.kubectl.apply(&anyway).unwrap();
    assert_ended(&fixture, &fixture.ended("after"), "Failed", "VerificationFailed", Some("EncryptionKeyLost"));
    let snapshot = fixture.kubectl.get(SNAPSHOTS, &snapshot).unwrap();
    assert_eq!(text(&snapshot, "/status/verificationStatus"), "VerificationFailed");
    assert_eq!(before, fixture.listing("repository"), "the repository was touched");
}
