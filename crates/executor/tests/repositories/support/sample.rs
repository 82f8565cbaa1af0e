//! The repositories that get damaged: made by restic, once per format, and copied for every case.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    forge::{Exclusive, Forge, Master, Taken},
    listing::{self, Listing},
    noise,
    restic::{restic, restic_in},
};

/// The password of every sample.
pub(crate) const PASSWORD: &str = "correct horse";

/// A repository with three snapshots and what the newest must restore to.
pub(crate) struct Sample {
    /// Its directory.
    pub(crate) repository: PathBuf,
    /// A second one, made the same way with the same password: the donor of swapped files.
    pub(crate) donor: PathBuf,
    /// Its key.
    pub(crate) master: Master,
    /// A snapshot that shares nothing with the newest.
    pub(crate) other: String,
    /// The newest, which is verified: its content lies in the packs of two backups.
    pub(crate) newest: String,
    /// What the newest holds.
    pub(crate) source: Listing,
    /// What the other holds.
    pub(crate) other_source: Listing,
}

/// Makes repository and donor of one format below `directory`.
pub(crate) fn make(directory: &Path, format: u32) -> Sample {
    let first = make_one(directory, "repository", format, 10);
    let donor = make_one(directory, "donor", format, 20);
    Sample { donor: donor.repository, ..first }
}

fn make_one(directory: &Path, name: &str, format: u32, seed: u64) -> Sample {
    let (repository, source) = (directory.join(name), directory.join(format!("{name}-source")));
    fs::create_dir_all(&source).expect("making the source");
    restic(&repository, PASSWORD, &["init", "--repository-version", &format.to_string()]);
    let master = Master::of_restic(&repository, PASSWORD);
    // scrypt as restic tunes it costs half a second for every opening; the one control case per format keeps such a key.
    fs::remove_dir_all(repository.join("keys")).expect("removing the slow key");
    Forge::existing(&repository, master.clone()).key(PASSWORD, seed);

    write(&source.join("old/first.bin"), seed + 1, 40_000);
    write(&source.join("old/second.bin"), seed + 2, 30_000);
    let other = backup(&repository, &source);
    let other_source = listing::restored(&source);

    fs::remove_dir_all(source.join("old")).expect("removing the old part");
    write(&source.join("keep/one.bin"), seed + 3, 50_000);
    write(&source.join("keep/deep/er/two.bin"), seed + 4, 30_000);
    write(&source.join("keep/deep/small.txt"), seed + 5, 12);
    backup(&repository, &source);

    for (at, length) in [90_000, 80_000, 70_000].into_iter().enumerate() {
        write(&source.join(format!("new/{at}.bin")), seed + 6 + at as u64, length);
    }
    oddities(&source.join("new"), seed);
    settle(&source);
    let newest = backup(&repository, &source);
    let source = listing::restored(&source);
    Sample { donor: repository.clone(), repository, master, other, newest, source, other_source }
}

/// Entries that are easily lost: empty, sparse, oddly named, linked, with unusual modes.
fn oddities(directory: &Path, seed: u64) {
    fs::create_dir_all(directory.join("empty directory")).expect("making a directory");
    fs::write(directory.join("empty"), "").expect("writing");
    let sparse = fs::File::create(directory.join("sparse")).expect("a sparse file");
    sparse.set_len(300_000).expect("a sparse file");
    sparse.write_all_at(b"end", 299_000).expect("a sparse file");
    write(&directory.join("grün 雪 \" \\ \n.txt"), seed + 20, 10);
    write(&directory.join(std::ffi::OsStr::from_bytes(b"not\xffutf8")), seed + 21, 11);
    write(&directory.join("n".repeat(255)), seed + 22, 9);
    symlink("0.bin", directory.join("link")).expect("a link");
    symlink("/nowhere/at all", directory.join("dangling")).expect("a link");
    fs::hard_link(directory.join("1.bin"), directory.join("twin")).expect("a hard link");
    for (name, mode) in [("run.sh", 0o755), ("secret", 0o400), ("odd", 0o241)] {
        write(&directory.join(name), seed + mode as u64, 100);
        fs::set_permissions(directory.join(name), fs::Permissions::from_mode(mode)).expect("setting a mode");
    }
    fs::set_permissions(directory.join("empty directory"), fs::Permissions::from_mode(0o750)).expect("setting a mode");
}

fn write(path: &Path, seed: u64, length: usize) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("making a directory");
    fs::write(path, noise(seed, length)).expect("writing");
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000 + seed * 1_000, 123_456_789);
    fs::File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("setting a time");
}

/// Gives every directory an old time of its own: one that a restore must set, not one that it happens to have.
fn settle(directory: &Path) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a kind").is_dir() {
            settle(&entry.path());
        }
    }
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    fs::File::open(directory).and_then(|opened| opened.set_modified(time)).expect("setting a time");
}

fn backup(repository: &Path, source: &Path) -> String {
    let before: Vec<_> = snapshots(repository);
    restic_in(source, repository, PASSWORD, &["backup", "--host", "proof", "."]);
    snapshots(repository).into_iter().find(|name| !before.contains(name)).expect("a new snapshot")
}

fn snapshots(repository: &Path) -> Vec<String> {
    names(&repository.join("snapshots"))
}

/// Names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name"))
        .collect();
    names.sort();
    names
}

/// Puts two stale shared locks into a repository.
pub(crate) fn leave_locks(repository: &Path, master: &Master) {
    let forge = Forge::existing(repository, master.clone());
    forge.lock(Taken::Long, Exclusive::No);
    forge.lock(Taken::Longer, Exclusive::No);
}

/// Samples of both formats.
pub(crate) fn both(directory: &Path) -> BTreeMap<u32, Sample> {
    [1, 2].into_iter().map(|format| (format, make(&directory.join(format!("format{format}")), format))).collect()
}
