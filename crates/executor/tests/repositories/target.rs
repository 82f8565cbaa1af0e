//! What the target may do to a verdict, and what the executor may never do to it or to the repository.

use std::{fs, os::unix::fs::chown, process::Command};

use backproof_api::{Cause, Verdict};

use crate::support::{
    listing, open_up,
    run::{Run, Told},
    sample::{self, PASSWORD, Sample},
};

const NOBODY: u32 = 65_534;

fn place() -> (tempfile::TempDir, Sample, std::path::PathBuf) {
    let scratch = tempfile::tempdir().expect("a directory");
    open_up(scratch.path());
    let sample = sample::make(scratch.path(), 2);
    let target = scratch.path().join("target");
    fs::create_dir(&target).expect("the target");
    (scratch, sample, target)
}

fn open(told: &Told, cause: Cause) {
    assert_eq!((told.outcome, told.cause), (Verdict::Inconclusive, Some(cause)), "{told:?}");
}

#[test]
fn a_target_with_strange_data_is_refused_and_left_alone() {
    let (_scratch, sample, target) = place();
    fs::write(target.join("precious"), "mine").expect("writing");
    let before = listing::full(&target);
    let told = Run::new(&sample.repository, &sample.newest, PASSWORD, target.clone()).finish().told().expect("a report");
    open(&told, Cause::TargetNotEmpty);
    assert_eq!(listing::difference(&before, &listing::full(&target)), Vec::<String>::new());
}

/// The promise of never writing to what is being proven holds by hand as well.
#[test]
fn the_repository_is_no_target() {
    let (_scratch, sample, _) = place();
    fs::create_dir(sample.repository.join("restored")).expect("a directory");
    let before = listing::full(&sample.repository);
    for target in [sample.repository.clone(), sample.repository.join("data"), sample.repository.join("restored")] {
        let outcome = Run::new(&sample.repository, &sample.newest, PASSWORD, target.clone()).finish();
        assert!(matches!(outcome.code, Some(2 | 64)), "{}: exit {:?} {}", target.display(), outcome.code, outcome.text);
        assert_eq!(listing::difference(&before, &listing::full(&sample.repository)), Vec::<String>::new(), "{}", target.display());
    }
}

/// A target above the repository would hold it: nothing may be wiped or written there.
#[test]
fn a_target_that_holds_the_repository_is_refused() {
    let (_scratch, sample, target) = place();
    crate::support::restic::copy(&sample.repository, &target.join("repository"));
    let before = listing::full(&target);
    let outcome = Run::new(&target.join("repository"), &sample.newest, PASSWORD, target.clone()).finish();
    assert!(matches!(outcome.code, Some(2 | 64)), "exit {:?} {}", outcome.code, outcome.text);
    assert_eq!(listing::difference(&before, &listing::full(&target)), Vec::<String>::new());
}

#[test]
fn a_target_we_may_not_write_to_is_inconclusive() {
    let (_scratch, sample, target) = place();
    give(&sample, NOBODY);
    let run = Run { user: Some(NOBODY), ..Run::new(&sample.repository, &sample.newest, PASSWORD, target) };
    open(&run.finish().told().expect("a report"), Cause::TargetPermissionDenied);
}

#[test]
fn a_full_target_is_inconclusive() {
    let (_scratch, sample, target) = place();
    let run = Run { small_target: Some("200k"), ..Run::new(&sample.repository, &sample.newest, PASSWORD, target) };
    open(&run.finish().told().expect("a report"), Cause::TargetFull);
}

/// Who is not root cannot give files away; that is said, and is no failure.
#[test]
fn ownership_that_cannot_be_applied_is_a_finding() {
    let (_scratch, sample, target) = place();
    give(&sample, NOBODY);
    chown(&target, Some(NOBODY), Some(NOBODY)).expect("giving the target away");
    let run = Run { user: Some(NOBODY), ..Run::new(&sample.repository, &sample.newest, PASSWORD, target.clone()) };
    let told = run.finish().told().expect("a report");
    assert_eq!((told.outcome, told.findings.as_slice()), (Verdict::Verified, [Cause::MetadataNotApplied].as_slice()), "{told:?}");
    assert_eq!(listing::difference(&sample.source, &listing::restored(&target)), Vec::<String>::new());
}

/// Makes the repository another user's.
fn give(sample: &Sample, user: u32) {
    let status = Command::new("chown").arg("-R").arg(format!("{user}:{user}")).arg(&sample.repository).status().expect("chown");
    assert!(status.success(), "run the tests as root");
}

#[test]
fn less_than_a_full_read_back_is_inconclusive() {
    let (scratch, sample, _) = place();
    for how in ["sample", "off"] {
        let target = scratch.path().join(how);
        fs::create_dir(&target).expect("the target");
        let argument = format!("--read-back={how}");
        let run = Run { arguments: &[&argument], ..Run::new(&sample.repository, &sample.newest, PASSWORD, target.clone()) };
        open(&run.finish().told().expect("a report"), Cause::ReadBackIncomplete);
        assert_eq!(listing::difference(&sample.source, &listing::restored(&target)), Vec::<String>::new(), "{how}");
    }
}

/// A second run into its own earlier target replaces what the first one restored.
#[test]
fn an_older_snapshot_can_be_restored() {
    let (_scratch, sample, target) = place();
    let outcome = Run::new(&sample.repository, &sample.other, PASSWORD, target.clone()).finish();
    assert_eq!(outcome.told().expect("a report").outcome, Verdict::Verified);
    let (restored, old) = (listing::restored(&target), &sample.other_source);
    // The directory's own time was taken after its last file was written, so only files are compared here.
    let files = |listing: &listing::Listing| {
        listing
            .iter()
            .filter(|(_, line)| line.starts_with("file"))
            .map(|(path, line)| (path.clone(), line.clone()))
            .collect::<listing::Listing>()
    };
    assert_eq!(listing::difference(&files(old), &files(&restored)), Vec::<String>::new());
}

#[test]
fn bad_usage_has_its_own_exit_code() {
    let executor = env!("CARGO_BIN_EXE_backproof-executor");
    for arguments in [
        &["restore"][..],
        &["restore", "--nonsense"],
        &["nonsense"],
        &[],
        &["restore", "--repository=ftp://x/y", "--snapshot=latest", "--target=/nonexistent"],
    ] {
        let output = Command::new(executor).args(arguments).env("RESTIC_PASSWORD", "x").output().expect("starting the executor");
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stderr.is_empty(), "{arguments:?}: no word about what is wrong");
    }
}
