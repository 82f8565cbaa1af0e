//! Several restic snapshots into one target, one after the other, as the Jobs of one session do it: in the end the target holds
//! them all, and none was overwritten.

use std::{fs, path::Path, process::Command};

use backproof_api::{Cause, Verdict, environment, report::Report};

use crate::support::{
    listing,
    restic::{restic, restic_in},
    sample::{self, PASSWORD},
};

/// One part: what is restored, by which session, and where it lands.
struct Part<'a> {
    repository: &'a Path,
    snapshot: &'a str,
    session: &'a str,
    landing: &'a [(&'a str, &'a str)],
}

fn restore(part: &Part<'_>, target: &Path) -> Report {
    let output = Command::new(env!("CARGO_BIN_EXE_backproof-executor"))
        .arg("restore")
        .arg(format!("--repository=file://{}", part.repository.display()))
        .arg(format!("--snapshot={}", part.snapshot))
        .arg(format!("--target={}", target.display()))
        .env_clear()
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("BACKPROOF_CLAIM_UID", "claim")
        .env("BACKPROOF_SESSION_UID", part.session)
        .envs(part.landing.iter().copied())
        .output()
        .expect("starting the executor");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn outcome(part: &Part<'_>, target: &Path) -> (Verdict, Option<Cause>) {
    let report = restore(part, target);
    assert!(report.outcome != Verdict::Verified || (report.read_back == report.restored && report.restored.files > 0), "{report:?}");
    (report.outcome, report.cause)
}

const GREEN: (Verdict, Option<Cause>) = (Verdict::Verified, None);
const OVERLAP: (Verdict, Option<Cause>) = (Verdict::Inconclusive, Some(Cause::TargetNotEmpty));

#[test]
fn components_lie_beside_each_other_in_the_end() {
    let scratch = tempfile::tempdir().expect("a directory");
    let sample = sample::make(scratch.path(), 2);
    let target = scratch.path().join("target");
    fs::create_dir(&target).expect("the target");
    let run = |snapshot: &str, session: &str, directory: &str| {
        let landing = [(environment::LANDING_DIRECTORY, directory)];
        outcome(&Part { repository: &sample.repository, snapshot, session, landing: &landing }, &target)
    };
    let names = || sample::names(&target);
    // What an earlier session left goes, whatever it was.
    assert_eq!(run(&sample.other, "before", "gone"), GREEN);
    assert_eq!(run(&sample.newest, "one", "pod-0"), GREEN);
    assert_eq!(run(&sample.other, "one", "pod-1/1of2"), GREEN);
    assert_eq!(run(&sample.newest, "one", "pod-1/2of2"), GREEN);
    assert_eq!(names(), [".backproof.json", "pod-0", "pod-1"]);
    let all = || ["pod-0", "pod-1/1of2", "pod-1/2of2"].map(|path| listing::restored(&target.join(path)));
    let expected = [&sample.source, &sample.other_source, &sample.source];
    let same =
        |found: [listing::Listing; 3]| found.iter().zip(expected).all(|(found, source)| listing::difference(source, found).is_empty());
    assert!(same(all()), "{:?}", all());
    // A second one at the same place is refused before it writes, and what is there stays.
    assert_eq!(run(&sample.other, "one", "pod-0"), OVERLAP);
    assert_eq!(run(&sample.other, "one", "pod-1"), OVERLAP);
    assert!(same(all()));
    // A run that has the target for itself wipes all of it.
    let alone = Part { repository: &sample.repository, snapshot: &sample.newest, session: "two", landing: &[] };
    assert_eq!(outcome(&alone, &target), GREEN);
    assert!(listing::difference(&sample.source, &listing::restored(&target)).is_empty());
}

#[test]
fn paths_that_were_backed_up_apart_land_below_their_full_paths() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (repository, source, target) = (scratch.path().join("repo"), scratch.path().join("srv"), scratch.path().join("target"));
    fs::create_dir_all(source.join("data/deep")).expect("the source");
    fs::create_dir_all(source.join("etc")).expect("the source");
    for file in ["data/deep/a", "data/.backproof.json", "etc/b", "dump.sql"] {
        fs::write(source.join(file), file).expect("writing");
    }
    restic(&repository, PASSWORD, &["init"]);
    let known = || sample::names(&repository.join("snapshots"));
    let ids = ["data", "etc", "dump.sql", "data/deep"].map(|path| {
        let before = known();
        restic_in(&source, &repository, PASSWORD, &["backup", path]);
        known().into_iter().find(|id| !before.contains(id)).expect("a new snapshot")
    });
    let full = [(environment::LANDING_DIRECTORY, ""), (environment::LANDING_FULL_PATH, "true")];
    let run = |id: &str| outcome(&Part { repository: &repository, snapshot: id, session: "one", landing: &full }, &target);
    for id in &ids[..3] {
        assert_eq!(run(id), GREEN, "{id}");
    }
    let below = target.join(source.strip_prefix("/").expect("an absolute path"));
    for file in ["data/deep/a", "data/.backproof.json", "etc/b", "dump.sql"] {
        assert_eq!(fs::read_to_string(below.join(file)).expect(file), file);
    }
    // One that lies in another one's place, and one that is there already.
    assert_eq!(run(&ids[3]), OVERLAP);
    assert_eq!(run(&ids[2]), OVERLAP);
    assert_eq!(fs::read_to_string(below.join("dump.sql")).expect("the dump"), "dump.sql");
}
