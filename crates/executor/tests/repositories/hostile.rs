//! Repositories that no backup tool writes, made by whoever holds the key and wants more than a restore.
//!
//! Whatever such a repository says: nothing outside the target changes, the executor neither panics nor hangs nor takes
//! the node's memory, and nothing is `Verified` that did not come back as the snapshot says.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use backproof_api::{Cause, Verdict};

use crate::support::{
    forge::Forge,
    listing::{self, Listing},
    open_up,
    restic::restic,
    run::Run,
};

mod content;
mod format;
mod names;

const PASSWORD: &str = "trust me";

/// Most memory that these may take, KiB.
const MEMORY: u64 = 400 * 1024;

/// Where a blob says openly that it is a gibibyte, which a directory of millions of entries may be: that and no more.
const GIBIBYTE: u64 = 1200 * 1024;

/// One repository.
pub(crate) struct Trap {
    /// What is hostile about it.
    name: &'static str,
    /// Writes it and returns the snapshot's id.
    set: fn(&mut Forge, &Place) -> String,
    /// What may come.
    expected: Expected,
    /// Size of the target, where filling it is the attack.
    small_target: Option<&'static str>,
    /// Further arguments.
    arguments: &'static [&'static str],
    /// Most memory it may take, KiB.
    memory: u64,
}

/// What may come of a trap.
pub(crate) enum Expected {
    /// VerificationFailed with one of these causes.
    Red(&'static [Cause]),
    /// Inconclusive with one of these causes.
    Open(&'static [Cause]),
    /// VerificationFailed or Inconclusive with one of these causes: which one depends on what the file system takes.
    NotGreen(&'static [Cause]),
    /// Verified, and these paths hold these bytes (a directory or link: none).
    Green(&'static [(&'static [u8], Option<&'static [u8]>)]),
}

/// Where a trap may want to reach.
pub(crate) struct Place {
    /// A directory beside the target.
    pub(crate) canary: PathBuf,
}

const fn trap(name: &'static str, set: fn(&mut Forge, &Place) -> String, expected: Expected) -> Trap {
    Trap { name, set, expected, small_target: None, arguments: &[], memory: MEMORY }
}

#[test]
fn nothing_outside_the_target_changes() {
    let scratch = tempfile::tempdir().expect("a directory");
    open_up(scratch.path());
    let traps: Vec<_> = [names::traps(), content::traps(), format::traps()].into_iter().flatten().collect();
    assert!(traps.len() >= 15, "{} traps", traps.len());
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(trap) = traps.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let directory = tempfile::tempdir_in(scratch.path()).expect("a directory");
                    open_up(directory.path());
                    if let Err(problem) = spring(trap, directory.path()) {
                        wrong.lock().expect("wrong").push(format!("{}: {problem}", trap.name));
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("wrong");
    wrong.sort();
    assert!(wrong.is_empty(), "{} of {} traps:\n{}", wrong.len(), traps.len(), wrong.join("\n"));
}

/// What restic cannot read would be red for the wrong reason: the forge must write its format.
#[test]
fn restic_reads_what_the_forge_writes() {
    for version in [1, 2] {
        let scratch = tempfile::tempdir().expect("a directory");
        let (repository, target) = (scratch.path().join("repository"), scratch.path().join("target"));
        let mut forge = Forge::new(&repository, version, PASSWORD);
        let snapshot = format::honest(&mut forge);
        restic(&repository, PASSWORD, &["restore", "--verify", "--target", &target.display().to_string(), &snapshot]);
        assert_eq!(fs::read(target.join("x")).expect("the restored file"), b"evil");
        restic(&repository, PASSWORD, &["check", "--read-data"]);
    }
}

fn spring(trap: &Trap, directory: &Path) -> Result<(), String> {
    let place = Place { canary: directory.join("jail/canary") };
    let (repository, target) = (directory.join("repository"), directory.join("jail/target"));
    fs::create_dir_all(&target).expect("the target");
    fs::create_dir_all(place.canary.join("below")).expect("the canary");
    fs::write(place.canary.join("file"), "alive").expect("the canary");
    fs::write(place.canary.join("below/file"), "alive").expect("the canary");
    let mut forge = Forge::new(&repository, 2, PASSWORD);
    let snapshot = (trap.set)(&mut forge, &place);
    let before = (listing::full(&repository), outside(directory, &target));

    let outcome =
        Run { small_target: trap.small_target, arguments: trap.arguments, ..Run::new(&repository, &snapshot, PASSWORD, target.clone()) }
            .finish();

    let after = (listing::full(&repository), outside(directory, &target));
    let mut changed = listing::difference(&before.0, &after.0);
    changed.extend(listing::difference(&before.1, &after.1));
    if !changed.is_empty() {
        return Err(format!("changed outside the target: {}", changed.join("; ")));
    }
    let told = outcome.told()?;
    if outcome.peak > trap.memory {
        return Err(format!("{} MiB of memory", outcome.peak / 1024));
    }
    let fits = match &trap.expected {
        Expected::Red(causes) => told.outcome == Verdict::VerificationFailed && told.cause.is_some_and(|cause| causes.contains(&cause)),
        Expected::Open(causes) => told.outcome == Verdict::Inconclusive && told.cause.is_some_and(|cause| causes.contains(&cause)),
        Expected::NotGreen(causes) => told.cause.is_some_and(|cause| causes.contains(&cause)),
        Expected::Green(_) => told.outcome == Verdict::Verified,
    };
    if !fits {
        return Err(format!("got {told:?} after {:.1} s", outcome.took.as_secs_f32()));
    }
    match &trap.expected {
        Expected::Green(paths) => paths.iter().try_for_each(|(path, content)| holds(&target, path, *content)),
        Expected::Red(_) | Expected::Open(_) | Expected::NotGreen(_) => Ok(()),
    }
}

/// Everything beside the target, and everything above it that belongs to this trap.
fn outside(directory: &Path, target: &Path) -> Listing {
    let mut listing = listing::full_but(&directory.join("jail"), Some(target));
    let mut names: Vec<_> = fs::read_dir(directory).expect("the place").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    listing.insert(PathBuf::from("/"), format!("{names:?}"));
    listing
}

fn holds(target: &Path, path: &[u8], content: Option<&[u8]>) -> Result<(), String> {
    use std::os::unix::ffi::OsStrExt;
    let path = target.join(std::ffi::OsStr::from_bytes(path));
    let metadata = fs::symlink_metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    match content {
        Some(content) if metadata.is_file() && fs::read(&path).is_ok_and(|bytes| bytes == content) => Ok(()),
        None if !metadata.is_file() => Ok(()),
        Some(_) | None => Err(format!("{} is not what the snapshot says", path.display())),
    }
}
