//! A real `restic forget --prune` while a restore is under way. The restore is slowed from outside, by stopping the
//! process as soon as the first content has reached the target, so that no hook in the executor is needed.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use backproof_api::{Cause, Verdict};

use crate::support::{
    forge::{Forge, Master},
    listing, noise,
    restic::{restic, restic_in},
    run::{Outcome, Run},
    sample::{PASSWORD, names},
};

const FILES: usize = 480;
const FILE: usize = 400_000;

/// A repository of many packs: the first snapshot holds every file, the second every other one.
struct Shared {
    scratch: tempfile::TempDir,
    repository: PathBuf,
    all: String,
    half: String,
    half_source: listing::Listing,
}

fn make() -> Shared {
    let scratch = tempfile::tempdir().expect("a directory");
    let (repository, source) = (scratch.path().join("repository"), scratch.path().join("source"));
    fs::create_dir(&source).expect("the source");
    for at in 0..FILES {
        fs::write(source.join(format!("{at:04}")), noise(at as u64 + 1, FILE)).expect("writing");
    }
    restic(&repository, PASSWORD, &["init"]);
    let master = Master::of_restic(&repository, PASSWORD);
    fs::remove_dir_all(repository.join("keys")).expect("removing the slow key");
    Forge::existing(&repository, master).key(PASSWORD, 5);
    restic_in(&source, &repository, PASSWORD, &["backup", "--host", "proof", "--pack-size", "4", "."]);
    let all = names(&repository.join("snapshots")).remove(0);
    for at in (0..FILES).step_by(2) {
        fs::remove_file(source.join(format!("{at:04}"))).expect("removing");
    }
    restic_in(&source, &repository, PASSWORD, &["backup", "--host", "proof", "."]);
    let half = names(&repository.join("snapshots")).into_iter().find(|name| *name != all).expect("a second snapshot");
    Shared { half_source: listing::restored(&source), scratch, repository, all, half }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().expect("kill");
    assert!(status.success(), "kill -{name}");
}

/// Bytes on disk below the target.
fn arrived(target: &Path) -> u64 {
    let entries = fs::read_dir(target).map(|entries| entries.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let sizes = entries.iter().filter(|entry| entry.file_name() != ".backproof.json").filter_map(|entry| entry.metadata().ok());
    sizes.map(|metadata| if metadata.is_file() { metadata.blocks() * 512 } else { 0 }).sum()
}

/// Restores `snapshot`, stops in the middle, lets `meanwhile` happen, and goes on.
fn interrupted(shared: &Shared, snapshot: &str, meanwhile: impl FnOnce()) -> (Outcome, PathBuf) {
    let target = shared.scratch.path().join("target");
    fs::create_dir(&target).expect("the target");
    let run = Run::new(&shared.repository, snapshot, PASSWORD, target.clone());
    let running = run.start();
    let started = Instant::now();
    loop {
        signal(&running.child, "STOP");
        if arrived(&target) > 0 {
            break;
        }
        signal(&running.child, "CONT");
        assert!(started.elapsed() < Duration::from_secs(30), "nothing arrived at the target");
        std::thread::sleep(Duration::from_millis(1));
    }
    let so_far = arrived(&target);
    assert!(so_far < (FILES * FILE) as u64 / 3, "too late: {so_far} bytes had arrived");
    meanwhile();
    let before = listing::full(&shared.repository);
    signal(&running.child, "CONT");
    let outcome = Run::watch(running);
    assert_eq!(listing::difference(&before, &listing::full(&shared.repository)), Vec::<String>::new(), "the repository was changed");
    (outcome, target)
}

/// The snapshot itself is forgotten and its packs are removed: that is no defect of the backup.
#[test]
fn a_snapshot_pruned_away_during_its_restore_is_inconclusive() {
    let shared = make();
    let (outcome, _) = interrupted(&shared, &shared.all, || {
        restic(&shared.repository, PASSWORD, &["forget", "--prune", &shared.all]);
    });
    let told = outcome.told().expect("a report");
    assert_eq!((told.outcome, told.cause), (Verdict::Inconclusive, Some(Cause::RepositoryChangedDuringRun)), "{told:?}");
}

/// Another snapshot is forgotten; prune moves the data of ours to new packs and removes the old ones.
#[test]
fn packs_rewritten_during_a_restore_are_never_called_a_defect() {
    let shared = make();
    let old = names(&shared.repository.join("index"));
    let (outcome, target) = interrupted(&shared, &shared.half, || {
        restic(&shared.repository, PASSWORD, &["forget", "--prune", "--max-unused", "0", &shared.all]);
        assert!(names(&shared.repository.join("index")).iter().all(|name| !old.contains(name)), "prune did not replace the index");
    });
    let told = outcome.told().expect("a report");
    match told.outcome {
        Verdict::Verified => assert_eq!(listing::difference(&shared.half_source, &listing::restored(&target)), Vec::<String>::new()),
        Verdict::Inconclusive => assert_eq!(told.cause, Some(Cause::RepositoryChangedDuringRun), "{told:?}"),
        Verdict::VerificationFailed | Verdict::Skipped => panic!("{told:?}"),
    }
}

/// The same loss without anybody pruning is a defect: the test above does not pass because everything is excused.
#[test]
fn packs_lost_during_a_restore_without_a_prune_are_a_defect() {
    let shared = make();
    let (outcome, _) = interrupted(&shared, &shared.all, || {
        fs::remove_dir_all(shared.repository.join("data")).expect("removing the packs");
    });
    let told = outcome.told().expect("a report");
    assert_eq!((told.outcome, told.cause), (Verdict::VerificationFailed, Some(Cause::PackMissing)), "{told:?}");
}

/// A storage that goes away in the middle shows as packs that are missing, too, however much of it can still be listed.
#[test]
fn a_storage_taken_away_during_a_restore_is_no_defect() {
    let shared = make();
    let (outcome, _) = interrupted(&shared, &shared.all, || {
        fs::remove_file(shared.repository.join("config")).expect("removing the config");
        fs::remove_dir_all(shared.repository.join("data")).expect("removing the packs");
    });
    let told = outcome.told().expect("a report");
    assert_eq!((told.outcome, told.cause), (Verdict::Inconclusive, Some(Cause::RepositoryChangedDuringRun)), "{told:?}");
}
