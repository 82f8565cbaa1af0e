//! Tests of reading back: whatever is changed on the target after it was written is found.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
    time::{Duration, SystemTime},
};

use super::{
    super::{
        Findings,
        fetch::Stop,
        metadata::Metadata,
        plan::{Destinations, Plan, ROOT},
        progress::Progress,
        write::Hand,
    },
    *,
};
use crate::{
    repo::{Copy, Id},
    target::Target,
};

/// Lengths of the blobs of a file that is read back in several stretches.
const LONG: [usize; 7] = [7 << 20, 6 << 20, 5 << 20, 1, 8 << 20, 8 << 20, 4095];

fn blob(file: &str, at: usize, length: usize) -> Vec<u8> {
    let seed = file.len() * 31 + at;
    (0..length).map(|place| u8::try_from((place / 7 + place * seed) % 251).unwrap()).collect()
}

/// A file's name and its blobs.
type Content = (&'static str, Vec<Vec<u8>>);

/// Writes files and a directory, lets `change` at them, reads them back, and says what was found and what was equal.
fn read_back(change: impl FnOnce(&Path)) -> (Vec<String>, Counts) {
    let files = [("long", &LONG[..]), ("small", &[5000, 70]), ("empty", &[])];
    let blobs = |name, lengths: &[usize]| lengths.iter().enumerate().map(|(at, length)| blob(name, at, *length)).collect();
    read_back_of(&files.map(|(name, lengths)| (name, blobs(name, lengths))), usize::MAX, |_| (), change)
}

/// The same of these files, of which so many blobs are written before it is read back, to a target that `before` prepares.
fn read_back_of(files: &[Content], written: usize, before: impl FnOnce(&Path), change: impl FnOnce(&Path)) -> (Vec<String>, Counts) {
    let folder = tempfile::tempdir().unwrap();
    before(folder.path());
    let target = Target::open(folder.path()).unwrap();
    let mut plan = Plan::new();
    let entry = |name: &str, kind, mode, size: usize| Entry {
        parent: ROOT,
        name: name.as_bytes().into(),
        kind,
        mode,
        mtime: Some("2020-02-02T02:02:02.123456789Z".parse().unwrap()),
        uid: 0,
        gid: 0,
        size: size as u64,
        content: 0..0,
        leader: None,
        extra: None,
    };
    let mut contents = Vec::new();
    for (name, blobs) in files {
        let ids: Vec<_> = blobs.iter().map(|blob| Id::of(blob)).collect();
        plan.add(entry(name, Kind::File, 0o640, blobs.iter().map(Vec::len).sum()), &ids, None);
        contents.extend(blobs);
    }
    plan.add(entry("folder", Kind::Directory, 0o750, 0), &[], None);
    for (needed, content) in plan.blobs.iter_mut().zip(&contents) {
        needed.copy = Some(Copy::of_length(content.len()));
    }
    let lengths: Vec<_> = contents.iter().map(|content| Some(content.len() as u64)).collect();
    let (findings, stop, progress, metadata) = (Findings::default(), Stop::default(), Progress::default(), Metadata::new());
    let destinations = Destinations::new(&plan, &lengths);
    let stretches = Stretches::new(&plan, &lengths, ReadBack::Full);
    let writer = Writer::new(&plan, &destinations, &target, (&findings, &stop), &progress, &metadata, &stretches);
    let reading = Reading::new(&writer, &stretches, ReadBack::Full, 1);
    writer.directories();
    writer.empty_files(1);
    for (number, content) in (0..).zip(&contents).take(written) {
        writer.put(&mut Hand::default(), number, content);
    }
    writer.directory_metadata();
    change(folder.path());
    std::thread::scope(|scope| {
        reading.start(scope, 2);
        stretches.close();
    });
    let equal = reading.rest(2);
    let found = findings.judge().findings;
    assert!(found.iter().all(|finding| finding.kind == Cause::TargetFault), "{found:?}");
    (found.into_iter().map(|finding| format!("{}: {}", finding.path, finding.detail)).collect(), equal)
}

fn total() -> Counts {
    Counts { files: 3, directories: 1, bytes: LONG.iter().sum::<usize>() as u64 + 5070 }
}

#[test]
fn what_was_left_alone_is_equal() {
    assert_eq!(read_back(|_| ()), (Vec::new(), total()));
}

/// A hole has no length of its own: until the file is finished, its end may lie before what was handed over.
#[test]
fn holes_are_read_back_before_the_file_is_finished() {
    let zeros: Vec<_> = [8 << 20, (8 << 20) + 1, 16 << 20, 5].into_iter().map(|length| vec![0; length]).collect();
    for written in [2, 3, 4] {
        let (found, equal) = read_back_of(&[("sparse", zeros.clone())], written, |_| (), |_| ());
        let bytes = zeros.iter().take(if written == 2 { 2 } else { 3 }).map(Vec::len).sum::<usize>();
        assert_eq!((found, equal.bytes >= bytes as u64), (Vec::new(), true), "{written} blobs written");
    }
}

/// A target that does not tell upper from lower case has one file for two names, which reads back right for both.
#[test]
fn no_name_is_written_to_that_is_there() {
    let content = |pieces: &[&str]| pieces.iter().map(|piece| piece.as_bytes().to_vec()).collect::<Vec<_>>();
    for (name, blobs) in [("empty", content(&[])), ("one", content(&["content"])), ("two", content(&["con", "tent"]))] {
        let there = |folder: &Path| fs::write(folder.join(name), blobs.concat()).unwrap();
        let (found, equal) = read_back_of(&[(name, blobs.clone())], usize::MAX, there, |_| ());
        assert!(found.iter().any(|line| line.contains("it may take this name and another one for the same")), "{name}: {found:?}");
        assert_eq!(equal.files, 0, "{name}");
    }
}

/// Changes a byte and nothing else that could be seen.
fn flip(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn any_flipped_bit_is_found() {
    let long = LONG.iter().sum::<usize>() as u64;
    for (name, at, blob) in [
        ("small", 0, 0),
        ("small", 4999, 0),
        ("small", 5069, 5000),
        ("long", 0, 0),
        ("long", (18 << 20) - 1, 13 << 20),
        ("long", 18 << 20, 18 << 20),
        ("long", (18 << 20) + 1, (18 << 20) + 1),
        ("long", long - 1, long - 4095),
    ] {
        let (found, equal) = read_back(|folder| flip(&folder.join(name), at));
        assert_eq!(found, [format!("/{name}: what was read back differs at offset {blob} from what was written")], "{name} {at}");
        assert_ne!(equal, total());
    }
}

#[test]
fn any_other_change_is_found() {
    type Change = (&'static str, fn(&Path));
    let changes: [Change; 9] = [
        ("gone", |folder| fs::remove_file(folder.join("small")).unwrap()),
        ("emptied", |folder| fs::File::create(folder.join("long")).map(drop).unwrap()),
        ("longer", |folder| fs::write(folder.join("empty"), "x").unwrap()),
        ("shorter", |folder| fs::File::options().write(true).open(folder.join("small")).unwrap().set_len(5069).unwrap()),
        ("mode", |folder| fs::set_permissions(folder.join("long"), fs::Permissions::from_mode(0o600)).unwrap()),
        ("mode of a directory", |folder| fs::set_permissions(folder.join("folder"), fs::Permissions::from_mode(0o700)).unwrap()),
        ("time", |folder| {
            let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            fs::File::options().write(true).open(folder.join("small")).unwrap().set_modified(later).unwrap();
        }),
        ("a link", |folder| {
            fs::rename(folder.join("small"), folder.join("other")).unwrap();
            std::os::unix::fs::symlink("other", folder.join("small")).unwrap();
        }),
        ("a directory", |folder| {
            fs::remove_file(folder.join("empty")).unwrap();
            fs::create_dir(folder.join("empty")).unwrap();
        }),
    ];
    for (what, change) in changes {
        let (found, equal) = read_back(change);
        assert!(!found.is_empty(), "{what}");
        assert_ne!(equal, total(), "{what}");
    }
}
