//! Tests of the target on a real file system.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use rustix::fs::{Mode, OFlags};

use super::*;
use crate::restore::Place;

fn claim(uid: &str) -> Claim {
    Claim { claim: uid.to_owned(), session: "session".to_owned() }
}

fn tenure(dir: &Path, uid: &str) -> Tenure {
    marker::tenure(&Target::open(dir).unwrap(), &claim(uid)).unwrap()
}

#[test]
fn only_what_the_same_claim_left_is_ours() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    assert_eq!(tenure(path, "a"), Tenure::Free);
    fs::create_dir(path.join("lost+found")).unwrap();
    assert_eq!(tenure(path, "a"), Tenure::Free);
    marker::write(&Target::open(path).unwrap(), &claim("a")).unwrap();
    assert_eq!(tenure(path, "b"), Tenure::Free, "a marker alone protects nothing");
    fs::write(path.join("data"), "x").unwrap();
    assert_eq!(tenure(path, "a"), Tenure::Ours);
    assert!(matches!(tenure(path, "b"), Tenure::Foreign(_)));
    assert!(matches!(tenure(path, ""), Tenure::Foreign(_)));
    fs::write(path.join(MARKER), "").unwrap();
    assert!(matches!(tenure(path, "a"), Tenure::Foreign(_)), "a marker that says nothing");
    fs::remove_file(path.join(MARKER)).unwrap();
    assert!(matches!(tenure(path, "a"), Tenure::Foreign(_)));
}

#[test]
fn by_hand_nothing_is_removed_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::open(dir.path()).unwrap();
    marker::write(&target, &claim("")).unwrap();
    fs::write(dir.path().join("data"), "x").unwrap();
    assert_eq!(target.admit(&claim(""), false).unwrap_err().kind, Cause::TargetNotEmpty);
    let tenure = target.admit(&claim(""), true).unwrap();
    target.prepare(&claim(""), &tenure, Others::None, &|| ()).unwrap();
    assert!(!dir.path().join("data").exists() && dir.path().join(MARKER).exists());
}

#[test]
fn wiping_follows_no_link_and_gets_through_what_was_restored() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    let inside = dir.path().join("inside");
    fs::create_dir_all(inside.join("a/b")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    symlink(&outside, inside.join("link")).unwrap();
    symlink("../../outside/precious", inside.join("a/file")).unwrap();
    let mut deep = inside.join("a/b");
    for _ in 0..600 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
    }
    fs::set_permissions(inside.join("a/b"), fs::Permissions::from_mode(0o0)).unwrap();
    // A backup of a whole file system brings one with what is in it.
    fs::create_dir_all(inside.join("lost+found/lost+found")).unwrap();
    fs::write(inside.join("lost+found/#12"), "x").unwrap();
    let target = Target::open(&inside).unwrap();
    marker::write(&target, &claim("a")).unwrap();
    wipe::wipe(&target, &|| ()).unwrap();
    assert_eq!(fs::read_dir(inside.join("lost+found")).unwrap().count(), 0);
    let mut left: Vec<_> = fs::read_dir(&inside).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [MARKER, "lost+found"]);
    assert!(outside.join("precious").exists());
}

#[test]
fn nothing_is_opened_outside() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("inside");
    fs::create_dir_all(inside.join("sub")).unwrap();
    fs::write(dir.path().join("precious"), "x").unwrap();
    symlink("..", inside.join("up")).unwrap();
    symlink("/", inside.join("root")).unwrap();
    symlink("../precious", inside.join("file")).unwrap();
    for target in [Target::open(&inside).unwrap(), Target::open(&inside).unwrap().without_openat2()] {
        for path in ["../precious", "up/precious", "root/etc/passwd", "file", "sub/../../precious", "/etc/passwd"] {
            assert!(target.at(path.as_bytes(), OFlags::RDONLY, Mode::empty()).is_err(), "{path}");
            assert!(target.at(path.as_bytes(), OFlags::WRONLY | OFlags::CREATE, Mode::RUSR).is_err(), "{path}");
        }
        assert!(target.at(b"sub", OFlags::RDONLY, Mode::empty()).is_ok());
        assert!(target.at(b"sub/new", OFlags::WRONLY | OFlags::CREATE, Mode::RUSR).is_ok());
        assert!(target.parent(b"sub/new").is_ok() && target.parent(b"sub").is_ok());
    }
}

#[test]
fn target_and_repository_do_not_overlap() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("repo/sub")).unwrap();
    fs::create_dir_all(path("other")).unwrap();
    symlink(path("repo"), path("alias")).unwrap();
    for (target, refused) in [
        ("repo", true),
        ("repo/sub", true),
        ("repo/new", true),
        (".", true),
        ("alias", true),
        ("alias/new/er", true),
        ("other", false),
        ("repo2", false),
    ] {
        assert_eq!(refuse_overlap(&path("repo"), &path(target)).is_err(), refused, "{target}");
    }
}

#[test]
fn at_the_end_only_what_the_own_session_restored_is_wiped() {
    for (owner, session, wiped) in [("a", "session", true), ("a", "later", false), ("b", "session", false), ("a", "", true)] {
        let dir = tempfile::tempdir().unwrap();
        let target = Target::open(dir.path()).unwrap();
        marker::write(&target, &claim(owner)).unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::write(dir.path().join("data/file"), "x").unwrap();
        let removed = Cell::new(0);
        let asked = Claim { claim: "a".to_owned(), session: session.to_owned() };
        let outcome = wipe_own(&target, &asked, &|| removed.set(removed.get() + 1));
        assert_eq!((outcome.is_ok(), removed.get()), (wiped, if wiped { 2 } else { 0 }), "{owner} {session}");
        assert_eq!(dir.path().join("data/file").exists(), !wiped, "{owner} {session}");
    }
    // Data without a marker is nobody's to remove; a target without data is wiped already.
    let dir = tempfile::tempdir().unwrap();
    let target = Target::open(dir.path()).unwrap();
    assert!(wipe_own(&target, &claim("a"), &|| ()).is_ok());
    fs::write(dir.path().join("precious"), "x").unwrap();
    assert!(wipe_own(&target, &claim("a"), &|| ()).is_err());
    assert!(dir.path().join("precious").exists());
}

#[test]
fn parts_of_one_session_keep_what_the_others_restored_and_nobody_elses() {
    let place = |path: &str, entry: Option<&str>| Place {
        directory: path.split('/').filter(|step| !step.is_empty()).map(|step| step.as_bytes().to_vec()).collect(),
        entry: entry.map(|entry| entry.as_bytes().to_vec()),
    };
    let dir = tempfile::tempdir().unwrap();
    let part = |session: &str, path: &str, entry: Option<&str>| -> Result<(), Cause> {
        let claim = Claim { claim: "a".to_owned(), session: session.to_owned() };
        let target = Target::open(dir.path()).unwrap();
        let tenure = target.admit(&claim, false).map_err(|finding| finding.kind)?;
        target.prepare(&claim, &tenure, Others::Share, &|| ()).map_err(|finding| finding.kind)?;
        let within = target.place(&place(path, entry)).map_err(|finding| finding.kind)?;
        let file = within.at(entry.unwrap_or("file").as_bytes(), OFlags::WRONLY | OFlags::CREATE, Mode::RUSR).unwrap();
        drop(file);
        Ok(())
    };
    let there = || {
        let mut found: Vec<String> = walk(dir.path(), "");
        found.sort();
        found.join(" ")
    };
    assert_eq!(part("one", "pod-0", None), Ok(()));
    assert_eq!(part("one", "pod-1/2of2", None), Ok(()));
    assert_eq!(part("one", "data", Some("a.sql")), Ok(()));
    assert_eq!(part("one", "data", Some("b.sql")), Ok(()));
    assert_eq!(there(), ".backproof.json data/a.sql data/b.sql pod-0/file pod-1/2of2/file");
    // Where something lies already, nothing is put.
    for (path, entry) in
        [("pod-0", None), ("pod-1", None), ("", None), ("data", Some("a.sql")), ("pod-0/file", None), ("pod-0/file/x", None)]
    {
        assert_eq!(part("one", path, entry), Err(Cause::TargetNotEmpty), "{path} {entry:?}");
    }
    assert_eq!(part("one", ".backproof.json", None), Err(Cause::TargetNotEmpty));
    assert_eq!(there(), ".backproof.json data/a.sql data/b.sql pod-0/file pod-1/2of2/file");
    // The next session begins anew.
    assert_eq!(part("two", "pod-0", None), Ok(()));
    assert_eq!(there(), ".backproof.json pod-0/file");
    // A link in the way leads nowhere.
    symlink("/", dir.path().join("pod-9")).unwrap();
    assert_eq!(part("two", "pod-9/x", None), Err(Cause::TargetNotEmpty));
}

/// Paths of all files below a directory.
fn walk(dir: &Path, shown: &str) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let below = entries.flat_map(|entry| {
        let name = format!("{shown}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() { walk(&entry.path(), &format!("{name}/")) } else { vec![name] }
    });
    below.collect()
}
