//! Reading the target again: every file's bytes against the ids of its blobs, and every entry's kind, size, mode, time and
//! link against the snapshot. What differs is a fault of the target, as the blobs were proven before they were written.
//!
//! Nothing is read before it was synced, and what is read comes from the disk. Files are read while others are still
//! written; what lies between them (directories, links) comes at the end.

mod content;
mod entry;
mod stretches;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread::Scope,
};

use backproof_api::{Cause, report::Counts};
use rustix::{
    fs::{AtFlags, Mode, OFlags, Stat},
    io::Errno,
};

use self::{
    content::{Buffer, Stream},
    entry::same_entry,
    stretches::{Queue, Stretch},
};
pub(crate) use self::{entry::granularity, stretches::Stretches};
use super::{
    plan::{Entry, Kind, count_of},
    write::{BROKEN, FAILED, LEFT_OUT, Writer},
};
use crate::repo::Hasher;

/// Bytes worth a sync: each makes the file system write its journal.
const BATCH: u64 = 32 << 20;
/// Up to how many files are synced by themselves. For more, one sync of the whole file system is less work.
const FEW: usize = 8;

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

impl ReadBack {
    /// Whether the entry of this number is read back.
    fn covers(self, number: u32) -> bool {
        match self {
            Self::Full => true,
            Self::Sample => number % 10 == 1,
            Self::Off => false,
        }
    }
}

/// Reads back what a writer writes.
pub(crate) struct Reading<'a> {
    writer: &'a Writer<'a>,
    stretches: &'a Stretches,
    mode: ReadBack,
    granularity: i128,
    synced: Queue,
    files: AtomicU64,
    directories: AtomicU64,
    bytes: AtomicU64,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(writer: &'a Writer<'a>, stretches: &'a Stretches, mode: ReadBack, granularity: i128) -> Self {
        let zero = AtomicU64::default;
        Self { writer, stretches, mode, granularity, synced: Queue::default(), files: zero(), directories: zero(), bytes: zero() }
    }

    /// Syncs and compares in threads of its own, until `stretches` is closed and everything in it was compared.
    pub(crate) fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, threads: usize) {
        if self.mode == ReadBack::Off {
            return;
        }
        scope.spawn(|| {
            while let Some(batch) = self.stretches.take(BATCH) {
                if self.writer.stop.is_set() {
                    break;
                }
                match self.sync(&batch) {
                    Ok(()) => self.synced.push(batch),
                    Err(errno) => {
                        self.writer.findings.push(self.writer.target.lost(errno));
                        self.writer.stop.set();
                    }
                }
            }
            self.synced.close();
        });
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = Buffer::new();
                while let Some(stretch) = self.synced.take() {
                    if !self.writer.stop.is_set() {
                        self.judge(stretch.number, |entry| self.file(entry, &stretch, &mut buffer));
                    }
                }
            });
        }
    }

    /// Compares what has no content of its own, in a target that was synced, and says how much of everything was equal.
    pub(crate) fn rest(&self, threads: usize) -> Counts {
        let others: Vec<u32> = self
            .writer
            .plan
            .numbered()
            .filter(|(number, entry)| self.mode.covers(*number) && (entry.kind != Kind::File || entry.leader.is_some()))
            .map(|(number, _)| number)
            .collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads.min(others.len() / 64 + 1) {
                scope.spawn(|| {
                    while let Some(number) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.writer.stop.is_set() {
                            return;
                        }
                        self.judge(*number, |entry| self.other(entry, *number));
                    }
                });
            }
        });
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts { files: counted(&self.files), directories: counted(&self.directories), bytes: counted(&self.bytes) }
    }

    /// Returns when the batch is on the disk.
    fn sync(&self, batch: &[Stretch]) -> Result<(), Errno> {
        let target = self.writer.target;
        let files: BTreeSet<u32> = batch.iter().map(|stretch| stretch.number).collect();
        if files.len() > FEW {
            return rustix::fs::syncfs(target.root());
        }
        for number in files {
            match target.at(&self.writer.plan.path(number), OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()) {
                Ok(file) => rustix::fs::fsync(&file)?,
                // Its mode forbids. Anything else that is wrong with it shows when it is read.
                Err(_) => rustix::fs::syncfs(target.root())?,
            }
        }
        Ok(())
    }

    /// Compares an entry, or a part of it, and counts it. `compare` says whether the entry is done with.
    fn judge(&self, number: u32, compare: impl FnOnce(&Entry) -> Result<bool, Errno>) {
        // What is not whole has no offsets to trust, and was noted already.
        if self.writer.state(number) & (FAILED | LEFT_OUT | BROKEN) != 0 {
            return;
        }
        let entry = self.writer.plan.entry(number);
        match compare(entry) {
            Ok(true) => {
                let counts = count_of(entry);
                self.files.fetch_add(counts.files, Ordering::Relaxed);
                self.directories.fetch_add(counts.directories, Ordering::Relaxed);
                self.writer.progress.read(1, 0);
            }
            Ok(false) => {}
            // The same errors mean something else here: it was written a moment ago.
            Err(errno) => self.differs(number, &format!("it cannot be read back: {errno}")),
        }
    }

    fn differs(&self, number: u32, what: &str) {
        self.writer.findings.add(Cause::TargetFault, &self.writer.plan.shown(number), what);
    }

    fn other(&self, entry: &Entry, number: u32) -> Result<bool, Errno> {
        let parent = self.writer.target.parent(&self.writer.plan.path(number))?;
        let stat = rustix::fs::statat(&parent, &*entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
        same_entry(self.writer, entry, number, (&parent, &stat), self.granularity, &|what| self.differs(number, what))
    }

    fn file(&self, entry: &Entry, stretch: &Stretch, buffer: &mut Buffer) -> Result<bool, Errno> {
        let number = stretch.number;
        let (file, closed) = self.open(&self.writer.plan.path(number), entry)?;
        let mut equal = true;
        if stretch.finished {
            let stat = match closed {
                Some(stat) => stat,
                None => rustix::fs::fstat(&file)?,
            };
            equal = same_entry(self.writer, entry, number, (&file, &stat), self.granularity, &|what| self.differs(number, what))?;
        }
        let content = self.content(entry, stretch, &file, buffer);
        if closed.is_some() {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(u32::from(entry.mode)))?;
        }
        if let Some(at) = content? {
            self.differs(number, &format!("what was read back differs at offset {at} from what was written"));
            return Ok(false);
        }
        Ok(equal && stretch.finished)
    }

    /// Opens a file for reading, whatever its mode says. If the mode had to be changed for that, tells what was there before.
    fn open(&self, path: &[u8], entry: &Entry) -> Result<(OwnedFd, Option<Stat>), Errno> {
        let target = self.writer.target;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        // A new access time would be one more thing to write. Only a file's owner may ask for that.
        let opened = match target.at(path, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => target.at(path, flags, Mode::empty()),
            other => other,
        };
        match opened {
            Err(Errno::ACCESS) => {}
            other => return Ok((other?, None)),
        }
        let parent = target.parent(path)?;
        let stat = rustix::fs::statat(&parent, &*entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
        let readable = Mode::from_raw_mode(u32::from(entry.mode) | 0o400);
        rustix::fs::chmodat(&parent, &*entry.name, readable, AtFlags::empty())?;
        Ok((target.at(path, flags, Mode::empty())?, Some(stat)))
    }

    /// Where the content of a stretch differs, if it does.
    fn content(&self, entry: &Entry, stretch: &Stretch, file: &OwnedFd, buffer: &mut Buffer) -> Result<Option<u64>, Errno> {
        if stretch.blobs.is_empty() {
            return Ok(None);
        }
        let plan = self.writer.plan;
        let mut stream = Stream::new(file, buffer, stretch.offset, stretch.bytes);
        let mut offset = stretch.offset;
        for blob in &plan.blobs_of(entry)[stretch.blobs.clone()] {
            let needed = &plan.blobs[*blob as usize];
            let length = needed.copy.map_or(0, |copy| copy.plain());
            let mut hasher = Hasher::default();
            let mut left = length;
            while left > 0 {
                let bytes = stream.next(left)?;
                if bytes.is_empty() {
                    return Ok(Some(offset + length - left));
                }
                hasher.update(bytes);
                left -= bytes.len() as u64;
            }
            if hasher.id() != needed.id {
                return Ok(Some(offset));
            }
            offset += length;
            self.bytes.fetch_add(length, Ordering::Relaxed);
            self.writer.progress.read(0, length);
        }
        Ok(None)
    }
}
