//! What an entry of the target is, beside its content: kind, size, mode, time, link and other names, as the snapshot says.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::super::{
    metadata::{NotApplied, timespec},
    plan::{Entry, Kind},
    write::Writer,
};

/// Whether an entry is what was written. `place` is a file itself, or the directory that holds anything else.
pub(super) fn same_entry(
    writer: &Writer<'_>,
    entry: &Entry,
    number: u32,
    (place, stat): (&OwnedFd, &Stat),
    granularity: i128,
    differs: &dyn Fn(&str),
) -> Result<bool, Errno> {
    let mut equal = true;
    let mut expect = |holds: bool, what: &dyn Fn() -> String| {
        if !holds {
            differs(&what());
            equal = false;
        }
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    expect(kind == file_type(entry.kind), &|| format!("it is {kind:?} where {:?} was written", entry.kind));
    if entry.kind == Kind::File {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        expect(size == entry.size, &|| format!("it has {size} bytes where {} were written", entry.size));
    }
    if entry.kind == Kind::Symlink {
        let link = rustix::fs::readlinkat(place, &*entry.name, Vec::new())?;
        expect(entry.extra.as_ref().is_some_and(|extra| extra.link == link.to_bytes()), &|| "the link points elsewhere".to_owned());
    } else {
        // A directory we could not enter gets its mode after this.
        let wanted = if entry.kind == Kind::Directory { entry.mode | 0o700 } else { entry.mode };
        let mode = stat.st_mode & 0o777;
        expect(mode == u32::from(wanted & 0o777), &|| format!("its mode is {mode:03o} where {:03o} was set", wanted & 0o777));
    }
    if let Some(mtime) = entry.mtime {
        expect(same_time(mtime, stat, granularity), &|| {
            format!("its modification time is {}.{:09} where {mtime} was set", stat.st_mtime, stat.st_mtime_nsec)
        });
    }
    if let Some(leader) = entry.leader {
        let path = writer.plan.path(leader);
        let other = rustix::fs::statat(writer.target.parent(&path)?, &*writer.plan.entry(leader).name, AtFlags::SYMLINK_NOFOLLOW)?;
        expect(other.st_ino == stat.st_ino, &|| format!("it is no other name of {}", writer.plan.shown(leader)));
    }
    writer.metadata.compare(entry, stat, &|| writer.plan.shown(number));
    if matches!(entry.kind, Kind::CharacterDevice | Kind::BlockDevice)
        && Some(stat.st_rdev) != entry.extra.as_ref().map(|extra| extra.device)
    {
        writer.metadata.not_applied(NotApplied::Device, || writer.plan.shown(number));
    }
    Ok(equal)
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::CharacterDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

/// Whether a modification time is what was set, or that rounded down to the target's step of so many nanoseconds.
fn same_time(expected: jiff::Timestamp, stat: &Stat, granularity: i128) -> bool {
    let actual = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    let wanted = timespec(expected);
    let wanted = i128::from(wanted.tv_sec) * 1_000_000_000 + i128::from(wanted.tv_nsec);
    actual == wanted || actual == wanted.div_euclid(granularity) * granularity
}

/// The target's step of modification times, tried on its marker.
pub(crate) fn granularity(target: &crate::target::Target) -> i128 {
    let odd = rustix::fs::Timespec { tv_sec: 1_000_000_001, tv_nsec: 123_456_789 };
    let tried = (|| -> Result<Stat, Errno> {
        let marker = target.at(crate::target::MARKER.as_bytes(), OFlags::WRONLY, Mode::empty())?;
        rustix::fs::futimens(&marker, &rustix::fs::Timestamps { last_access: odd, last_modification: odd })?;
        rustix::fs::fstat(&marker)
    })();
    let Ok(stat) = tried else { return 1 };
    let actual = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    let exact = i128::from(odd.tv_sec) * 1_000_000_000 + i128::from(odd.tv_nsec);
    [1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000]
        .into_iter()
        .find(|step| exact.div_euclid(*step) * step == actual)
        .unwrap_or(1)
}
