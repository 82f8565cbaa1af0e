//! Reading the target again: every file's bytes against the ids of its blobs, and every entry's kind, size, mode, time and
//! link against the snapshot. What differs is a fault of the target, as the blobs were proven before they were written.

use std::{
    os::fd::OwnedFd,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use backproof_api::{Cause, report::Counts};
use rustix::{
    fs::{Advice, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    metadata::{NotApplied, timespec},
    plan::{Entry, Kind, count_of},
    write::{BROKEN, FAILED, LEFT_OUT, Writer},
};
use crate::repo::Id;

/// Bytes of a file that one thread compares at a time.
const UNIT: u64 = 16 << 20;

/// How much is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReadBack {
    /// Everything.
    Full,
    /// Every tenth file.
    Sample,
    /// Nothing.
    Off,
}

/// Part of a file.
struct Unit {
    number: u32,
    /// Positions in the file's list of blobs.
    blobs: std::ops::Range<usize>,
    offset: u64,
    /// Whether it is the one that also looks at the metadata.
    first: bool,
    last: bool,
}

/// The coarsest step of modification times, in nanoseconds, that file systems are known for and that `actual` shows.
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

/// Reads back what `writer` wrote, and says how much was equal.
pub(crate) fn read_back(writer: &Writer<'_>, mode: ReadBack, granularity: i128, threads: usize) -> Counts {
    let every = match mode {
        ReadBack::Full => 1,
        ReadBack::Sample => 10,
        ReadBack::Off => return Counts::default(),
    };
    let checked = Checked::default();
    let units = units(writer, every);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if writer.stop.is_set() {
                        return;
                    }
                    compare(writer, unit, granularity, &mut buffer, &checked);
                }
            });
        }
    });
    Counts {
        files: checked.files.load(Ordering::Relaxed),
        directories: checked.directories.load(Ordering::Relaxed),
        bytes: checked.bytes.load(Ordering::Relaxed),
    }
}

#[derive(Default)]
struct Checked {
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
}

fn units(writer: &Writer<'_>, every: usize) -> Vec<Unit> {
    let plan = writer.plan;
    let mut units = Vec::new();
    for (number, entry) in plan.numbered().step_by(every) {
        let blobs = plan.blobs_of(entry);
        // A file that is not whole has no offsets to trust, and is red already. Another name shares its content.
        let skip = writer.state(number) & (FAILED | LEFT_OUT | BROKEN) != 0;
        if skip {
            continue;
        }
        let (mut from, mut offset, mut bytes) = (0, 0, 0);
        let mut first = true;
        if entry.leader.is_none() {
            for (at, blob) in blobs.iter().enumerate() {
                let length = plan.blobs[*blob as usize].copy.map_or(0, |copy| copy.plain());
                bytes += length;
                if bytes >= UNIT && at + 1 < blobs.len() {
                    units.push(Unit { number, blobs: from..at + 1, offset, first, last: false });
                    (from, offset, bytes, first) = (at + 1, offset + bytes, 0, false);
                }
            }
        }
        let end = if entry.leader.is_none() { blobs.len() } else { 0 };
        units.push(Unit { number, blobs: from..end, offset, first, last: true });
    }
    units
}

fn compare(writer: &Writer<'_>, unit: &Unit, granularity: i128, buffer: &mut Vec<u8>, checked: &Checked) {
    let entry = writer.plan.entry(unit.number);
    let differs = |what: &str| writer.findings.add(Cause::TargetFault, &writer.plan.shown(unit.number), what);
    let result = (|| -> Result<bool, Errno> {
        let path = writer.plan.path(unit.number);
        if entry.kind != Kind::File || entry.leader.is_some() {
            let parent = writer.target.parent(&path)?;
            let stat = rustix::fs::statat(&parent, &*entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
            return same_entry(writer, entry, unit.number, (&parent, &stat), granularity, &differs);
        }
        let (file, closed) = open(writer, &path, entry)?;
        let stat = match closed {
            Some(stat) => stat,
            None => rustix::fs::fstat(&file)?,
        };
        let equal = !unit.first || same_entry(writer, entry, unit.number, (&file, &stat), granularity, &differs)?;
        let content = same_content(writer, entry, unit, &file, buffer, checked);
        if closed.is_some() {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(u32::from(entry.mode)))?;
        }
        if let Some(at) = content? {
            differs(&format!("what was read back differs at offset {at} from what was written"));
            return Ok(false);
        }
        Ok(equal)
    })();
    match result {
        Ok(true) => {
            if unit.last {
                let counts = count_of(entry);
                checked.files.fetch_add(counts.files, Ordering::Relaxed);
                checked.directories.fetch_add(counts.directories, Ordering::Relaxed);
                writer.progress.count(1, 0);
            }
        }
        Ok(false) => {}
        // The same errors mean something else here: it was written a moment ago.
        Err(errno) => differs(&format!("it cannot be read back: {errno}")),
    }
}

/// Opens a file for reading, whatever its mode says. If the mode had to be changed for that, tells what was there before.
fn open(writer: &Writer<'_>, path: &[u8], entry: &Entry) -> Result<(OwnedFd, Option<Stat>), Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let file = match writer.target.at(path, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let parent = writer.target.parent(path)?;
            let stat = rustix::fs::statat(&parent, &*entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
            let readable = Mode::from_raw_mode(u32::from(entry.mode) | 0o400);
            rustix::fs::chmodat(&parent, &*entry.name, readable, AtFlags::empty())?;
            return Ok((writer.target.at(path, flags, Mode::empty())?, Some(stat)));
        }
        other => other?,
    };
    // So that it comes from the disk, where the kernel heeds this.
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    Ok((file, None))
}

/// Where the content differs, if it does.
fn same_content(
    writer: &Writer<'_>,
    entry: &Entry,
    unit: &Unit,
    file: &OwnedFd,
    buffer: &mut Vec<u8>,
    checked: &Checked,
) -> Result<Option<u64>, Errno> {
    let mut offset = unit.offset;
    for blob in &writer.plan.blobs_of(entry)[unit.blobs.clone()] {
        let needed = &writer.plan.blobs[*blob as usize];
        let length = needed.copy.map_or(0, |copy| copy.plain());
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        let bytes = &mut buffer[..size];
        let mut got = 0;
        while got < size {
            match rustix::io::pread(file, &mut bytes[got..], offset + got as u64) {
                Ok(0) => return Ok(Some(offset + got as u64)),
                Ok(more) => got += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        if Id::of(bytes) != needed.id {
            return Ok(Some(offset));
        }
        offset += length;
        checked.bytes.fetch_add(length, Ordering::Relaxed);
        writer.progress.count(0, length);
    }
    Ok(None)
}

/// Whether an entry is what was written. `place` is a file itself, or the directory that holds anything else.
fn same_entry(
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
