//! A damaged repository: the session fails, says what is damaged, and the Snapshot carries it.

use backproof_e2e::samples;

use crate::fixture::{Fixture, SNAPSHOTS, assert_ended, condition, text};

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
    let told = fixture.event_reasons("damaged-by-hand");
    for reason in ["RestoreStarted", "VerificationFailed"] {
        let times = told.iter().filter(|told| *told == reason).count();
        assert_eq!(times, 1, "{reason} is told once: {told:?}");
    }
}
