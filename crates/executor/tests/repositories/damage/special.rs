//! Cases that no shell script can make: they need the repository's key, another password, or another user.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use backproof_api::{Cause, Verdict};
use serde_json::json;

use super::{Ask, Case, Expected, sabotage};
use crate::support::{
    forge::{Exclusive, Forge, Taken},
    restic::restic,
    sample::{PASSWORD, Sample, names},
};

/// A user that owns nothing.
const NOBODY: u32 = 65_534;

const ONE_CODE: &str = "restic has one exit code for every failure";

/// The cases, each in both formats.
pub(super) fn cases() -> Vec<Case> {
    [1, 2].into_iter().flat_map(|format| [passwords(format), configs(format), locks(format), places(format)]).flatten().collect()
}

fn case(
    name: &str,
    format: u32,
    what: &str,
    damage: impl Fn(&Sample, &Path) + Send + Sync + 'static,
    expected: (Verdict, Option<Cause>, Option<Cause>),
    rule: &str,
    why: &str,
) -> Case {
    let (outcome, cause, finding) = expected;
    Case {
        name: name.to_owned(),
        format,
        what: what.to_owned(),
        damage: Box::new(damage),
        ask: Ask::default(),
        expected: Expected { outcome, cause, finding },
        rule: rule.to_owned(),
        why: why.to_owned(),
    }
}

fn green(finding: Option<Cause>) -> (Verdict, Option<Cause>, Option<Cause>) {
    (Verdict::Verified, None, finding)
}

fn red(cause: Cause) -> (Verdict, Option<Cause>, Option<Cause>) {
    (Verdict::VerificationFailed, Some(cause), None)
}

fn open(cause: Cause) -> (Verdict, Option<Cause>, Option<Cause>) {
    (Verdict::Inconclusive, Some(cause), None)
}

fn forge(sample: &Sample, repository: &Path) -> Forge {
    Forge::existing(repository, sample.master.clone())
}

fn passwords(format: u32) -> Vec<Case> {
    let same = |_: &Sample, _: &Path| {};
    let with = |password, case: Case| Case { ask: Ask { password, ..Ask::default() }, ..case };
    let not_opened = "a password that opens none of the intact keys says nothing about the data";
    vec![
        case("sound", format, "nothing", same, green(None), "everything came back and was read back", ""),
        case("sound-latest", format, "nothing; `latest` is asked for", same, green(None), "everything came back and was read back", "")
            .asking("latest"),
        case(
            "sound-own-key",
            format,
            "nothing, and the key file is restic's own (the others have one that opens faster)",
            |sample, repository| {
                let key = names(&repository.join("keys")).remove(0);
                restic(repository, PASSWORD, &["key", "passwd", "--new-password-file", &password_file(repository)]);
                assert!(!names(&repository.join("keys")).contains(&key), "restic replaced the key");
                drop(fs::remove_file(password_file(repository)));
                let _ = sample;
            },
            green(None),
            "everything came back and was read back",
            "",
        ),
        with(
            Some("wrong"),
            case(
                "password-wrong",
                format,
                "nothing; the password is another",
                same,
                open(Cause::EncryptionKeyRejected),
                not_opened,
                ONE_CODE,
            ),
        ),
        with(
            Some(""),
            case(
                "password-empty",
                format,
                "nothing; the password is empty",
                same,
                open(Cause::SecretMissing),
                "a missing secret says nothing about the data",
                ONE_CODE,
            ),
        ),
        with(
            None,
            case(
                "password-unset",
                format,
                "nothing; there is no password",
                same,
                open(Cause::SecretMissing),
                "a missing secret says nothing about the data",
                ONE_CODE,
            ),
        ),
        case(
            "password-of-the-damaged-key",
            format,
            "two keys with two passwords; the one that our password opens is damaged",
            |sample, repository| {
                let ours = names(&repository.join("keys")).remove(0);
                forge(sample, repository).key("somebody else's", 77);
                let path = repository.join("keys").join(ours);
                let bytes = fs::read(&path).expect("a key");
                crate::support::forge::put(&path, &bytes[..bytes.len() / 2]);
            },
            open(Cause::EncryptionKeyRejected),
            not_opened,
            ONE_CODE,
        ),
    ]
}

fn password_file(repository: &Path) -> String {
    let path = repository.with_file_name("new-password");
    fs::write(&path, PASSWORD).expect("a password file");
    path.display().to_string()
}

fn configs(format: u32) -> Vec<Case> {
    let config = |version: u32| {
        move |sample: &Sample, repository: &Path| {
            forge(sample, repository).config(&json!({"version": version, "id": "cd".repeat(32), "chunker_polynomial": "25b468838dcb75"}))
        }
    };
    vec![
        case(
            "config-version-3",
            format,
            "`config` says version 3",
            config(3),
            open(Cause::UnsupportedRepository),
            "a format that we do not know cannot be judged",
            ONE_CODE,
        ),
        case(
            "config-version-0",
            format,
            "`config` says version 0",
            config(0),
            open(Cause::UnsupportedRepository),
            "a format that we do not know cannot be judged",
            ONE_CODE,
        ),
        case(
            "config-not-json",
            format,
            "`config` decrypts to something that is no config",
            |sample, repository| crate::support::forge::put(&repository.join("config"), &sample.master.seal(b"hello")),
            red(Cause::RepositoryConfigDamaged),
            "a damaged config is a defect",
            "",
        ),
        case(
            "snapshot-not-json",
            format,
            "the newest snapshot's file is sealed and named rightly, but holds no snapshot",
            |sample, repository| {
                fs::remove_file(repository.join("snapshots").join(&sample.newest)).expect("removing the snapshot");
                forge(sample, repository).raw_file("snapshots", b"[]");
            },
            open(Cause::SnapshotNotFound),
            "the snapshot asked for is gone; the file beside it is another one",
            ONE_CODE,
        ),
        case(
            "latest-damaged",
            format,
            "file of the newest snapshot: one bit flipped; `latest` is asked for",
            |sample, repository| sabotage("snapshot-bitflip", repository, &sample.donor, Some(&sample.newest)),
            red(Cause::SnapshotDamaged),
            "which snapshot is the newest cannot be told while one is damaged, and an older one must not pass for it",
            "",
        )
        .asking("latest"),
        case(
            "unknown-snapshot",
            format,
            "nothing; a snapshot that never was is asked for",
            |_, _| {},
            open(Cause::SnapshotNotFound),
            "a snapshot that is not there may have been forgotten on purpose",
            ONE_CODE,
        )
        .asking("00000000000000000000000000000000000000000000000000000000000000aa"),
    ]
}

fn locks(format: u32) -> Vec<Case> {
    let lost = |taken, exclusive| {
        move |sample: &Sample, repository: &Path| {
            sabotage("data-delete", repository, &sample.donor, None);
            forge(sample, repository).lock(taken, exclusive);
        }
    };
    vec![
        case(
            "lock-exclusive-now",
            format,
            "a fresh exclusive lock",
            |sample, repository| drop(forge(sample, repository).lock(Taken::Now, Exclusive::Yes)),
            green(None),
            "a lock keeps nobody from reading what is all there",
            "restic refuses to work beside an exclusive lock, whatever the data",
        ),
        case(
            "lock-exclusive-stale",
            format,
            "an exclusive lock of months ago",
            |sample, repository| drop(forge(sample, repository).lock(Taken::Long, Exclusive::Yes)),
            green(Some(Cause::StaleLock)),
            "a stale lock is a finding",
            "restic refuses to work beside an exclusive lock until `restic unlock`, whatever the data",
        ),
        case(
            "lock-shared-now",
            format,
            "a fresh shared lock",
            |sample, repository| drop(forge(sample, repository).lock(Taken::Now, Exclusive::No)),
            green(None),
            "a lock keeps nobody from reading what is all there",
            "",
        ),
        case(
            "data-delete-exclusive-now",
            format,
            "largest pack deleted, beside a fresh exclusive lock",
            lost(Taken::Now, Exclusive::Yes),
            open(Cause::RepositoryChangedDuringRun),
            "what is missing while somebody prunes proves nothing",
            ONE_CODE,
        ),
        case(
            "data-delete-exclusive-stale",
            format,
            "largest pack deleted, beside an exclusive lock of months ago",
            lost(Taken::Long, Exclusive::Yes),
            (Verdict::VerificationFailed, Some(Cause::PackMissing), Some(Cause::StaleLock)),
            "a stale lock excuses nothing",
            "",
        ),
        case(
            "data-delete-shared-now",
            format,
            "largest pack deleted, beside a fresh shared lock",
            lost(Taken::Now, Exclusive::No),
            red(Cause::PackMissing),
            "only an exclusive lock lets anybody remove packs",
            "",
        ),
    ]
}

fn places(format: u32) -> Vec<Case> {
    let mut cases = vec![
        case(
            "no-directory",
            format,
            "the place does not exist",
            |_, repository| fs::remove_dir_all(repository).expect("removing"),
            open(Cause::RepositoryNotFound),
            "an empty place is the wrong place or a missing volume, not a broken backup",
            ONE_CODE,
        ),
        case(
            "empty-directory",
            format,
            "the place is empty",
            |_, repository| {
                fs::remove_dir_all(repository).expect("removing");
                fs::create_dir(repository).expect("an empty directory");
            },
            open(Cause::RepositoryNotFound),
            "an empty place is the wrong place or a missing volume, not a broken backup",
            ONE_CODE,
        ),
    ];
    let unreadable = case(
        "not-readable",
        format,
        "nothing; the files belong to another user, whom we are not",
        |_, repository| fs::set_permissions(repository.join("data"), fs::Permissions::from_mode(0o700)).expect("closing"),
        open(Cause::RepositoryNotReadable),
        "what we may not read we cannot judge",
        "restic was run as the owner of the files",
    );
    cases.push(Case { ask: Ask { user: Some(NOBODY), ..Ask::default() }, ..unreadable });
    cases
}

impl Case {
    fn asking(mut self, snapshot: &'static str) -> Self {
        self.ask.snapshot = Some(snapshot);
        self
    }
}
