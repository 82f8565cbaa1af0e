//! Writing to the target: directories first, then contents as they come, then other names, special files, links, and the
//! directories' own metadata last, deepest first. Nothing here opens anything but through [`Target::at`].

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering},
    },
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use super::{
    Findings,
    fetch::Stop,
    metadata::{Metadata, NotApplied},
    plan::{Destinations, Entry, Kind, Plan, ROOT, UNKNOWN},
    progress::Progress,
    readback::Stretches,
};
use crate::target::{Target, cause_of, is_lasting};

/// Runs of zeros of this length become holes.
const HOLE: usize = 16 << 10;

/// Part of the content is missing or zero, so that the length must be set.
const HOLES: u8 = 1;
/// Content was lost; nothing is compared.
pub(crate) const BROKEN: u8 = 2;
/// It could not be written, which was noted.
pub(crate) const FAILED: u8 = 4;
/// It was left out, which was counted.
pub(crate) const LEFT_OUT: u8 = 8;
/// A file that is opened several times is there.
const MADE: u8 = 16;

/// Writes a plan.
pub(crate) struct Writer<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) destinations: &'a Destinations,
    pub(crate) target: &'a Target,
    pub(crate) findings: &'a Findings,
    pub(crate) stop: &'a Stop,
    pub(crate) progress: &'a Progress,
    pub(crate) metadata: &'a Metadata,
    /// Where what is written is handed over to be read back.
    pub(crate) stretches: &'a Stretches,
    /// For each entry, how many of its blobs are still to come.
    left: Vec<AtomicU32>,
    /// For each entry, what became of it.
    states: Vec<AtomicU8>,
    /// Held while a file is made that is opened several times.
    making: Mutex<()>,
}

/// What a writing thread keeps between two blobs.
#[derive(Default)]
pub(crate) struct Hand(Option<(u32, OwnedFd)>);

impl<'a> Writer<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        destinations: &'a Destinations,
        target: &'a Target,
        (findings, stop): (&'a Findings, &'a Stop),
        progress: &'a Progress,
        metadata: &'a Metadata,
        stretches: &'a Stretches,
    ) -> Self {
        let left = plan.entries.iter().map(|entry| AtomicU32::new(entry.content.end - entry.content.start)).collect();
        let states = plan.entries.iter().map(|_| AtomicU8::new(0)).collect();
        Self { plan, destinations, target, findings, stop, progress, metadata, stretches, left, states, making: Mutex::default() }
    }

    pub(crate) fn state(&self, number: u32) -> u8 {
        self.states[number as usize].load(Ordering::Acquire)
    }

    /// Whether nothing of the entry is still to come.
    pub(crate) fn is_done(&self, number: u32) -> bool {
        let entry = self.plan.entry(number);
        let by_content = entry.kind == Kind::File && entry.leader.is_none() && !entry.content.is_empty();
        if by_content { self.left[number as usize].load(Ordering::Acquire) == 0 } else { !self.stop.is_set() }
    }

    pub(crate) fn mark(&self, number: u32, state: u8) {
        self.states[number as usize].fetch_or(state, Ordering::AcqRel);
    }

    pub(crate) fn failed(&self, number: u32, errno: Errno, what: &str) {
        self.mark(number, FAILED);
        let taken = if errno == Errno::EXIST { "; it may take this name and another one for the same" } else { "" };
        self.findings.add(cause_of(errno), &self.plan.shown(number), &format!("{what}: {errno}{taken}"));
        if is_lasting(errno) {
            self.stop.set();
        }
    }

    /// Opens a file to write to it. The first time it is made, and must not be there yet: where a target takes two names for
    /// one (upper and lower case, or two spellings of a letter), one file would else be written and read back for both.
    fn open(&self, number: u32) -> Result<OwnedFd, Errno> {
        const NEW: OFlags = OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL);
        let (entry, path) = (self.plan.entry(number), self.plan.path(number));
        if entry.content.len() <= 1 {
            // What is opened only once can have its mode from the beginning.
            return self.target.at(&path, NEW, Mode::from_raw_mode(u32::from(entry.mode & 0o777)));
        }
        if self.state(number) & MADE == 0 {
            let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            if self.state(number) & MADE == 0 {
                let made = self.target.at(&path, NEW, Mode::RUSR | Mode::WUSR)?;
                self.mark(number, MADE);
                return Ok(made);
            }
        }
        self.target.at(&path, OFlags::WRONLY, Mode::empty())
    }

    /// Makes every directory, parents first.
    pub(crate) fn directories(&self) {
        let mut parent: Option<(u32, OwnedFd)> = None;
        for (number, entry) in self.plan.numbered().filter(|(_, entry)| entry.kind == Kind::Directory) {
            if self.stop.is_set() {
                return;
            }
            if self.state(entry.parent) & FAILED != 0 {
                self.mark(number, FAILED);
                continue;
            }
            let result = (|| {
                let folder = match parent.take().filter(|(known, _)| *known == entry.parent) {
                    Some((_, folder)) => folder,
                    None => self.target.at(&self.plan.path(entry.parent), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?,
                };
                let made = rustix::fs::mkdirat(&folder, &*entry.name, Mode::RWXU);
                parent = Some((entry.parent, folder));
                match made {
                    Err(Errno::EXIST) if is_lost_and_found(entry) => Ok(()),
                    other => other,
                }
            })();
            if let Err(errno) = result {
                self.failed(number, errno, "the target cannot hold this directory");
            }
        }
    }

    /// Takes a blob's proven bytes to all their places.
    pub(crate) fn put(&self, hand: &mut Hand, blob: u32, plain: &[u8]) {
        for (number, offset) in self.destinations.of(blob) {
            if *offset == UNKNOWN {
                self.mark(*number, BROKEN);
            } else if self.state(*number) & FAILED == 0
                && let Err(errno) = self.put_at(hand, *number, *offset, plain)
            {
                self.failed(*number, errno, "the target cannot hold this file");
            }
            self.count_down(hand, *number);
        }
    }

    fn put_at(&self, hand: &mut Hand, number: u32, offset: u64, plain: &[u8]) -> Result<(), Errno> {
        let file = match hand.0.take().filter(|(known, _)| *known == number) {
            Some((_, file)) => file,
            None => self.open(number)?,
        };
        let mut at = 0;
        let mut holes = false;
        while at < plain.len() {
            let zeros = hole(&plain[at..]);
            if zeros > 0 {
                holes = true;
                at += zeros;
                continue;
            }
            let end = (at + HOLE..plain.len()).step_by(HOLE).find(|next| hole(&plain[*next..]) > 0).unwrap_or(plain.len());
            while at < end {
                match rustix::io::pwrite(&file, &plain[at..end], offset + at as u64) {
                    Ok(0) => return Err(Errno::IO),
                    Ok(written) => at += written,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        if holes {
            self.mark(number, HOLES);
            if self.stretches.is_early(number) {
                // It is read back before it is finished, and must not end before its holes then.
                rustix::fs::ftruncate(&file, self.plan.entry(number).size)?;
            }
        }
        self.stretches.written(number, offset);
        hand.0 = Some((number, file));
        self.progress.count(0, plain.len() as u64);
        Ok(())
    }

    /// A blob cannot be had: the files that hold it are not whole.
    pub(crate) fn lose(&self, hand: &mut Hand, blob: u32) {
        for (number, _) in self.destinations.of(blob) {
            self.mark(*number, BROKEN | HOLES);
            self.count_down(hand, *number);
        }
    }

    fn count_down(&self, hand: &mut Hand, number: u32) {
        if self.left[number as usize].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(hand, number);
        }
    }

    /// Everything of a file was written: its length and metadata.
    fn finish(&self, hand: &mut Hand, number: u32) {
        let state = self.state(number);
        let entry = self.plan.entry(number);
        if state & FAILED == 0 {
            let result = (|| {
                let file = match hand.0.take().filter(|(known, _)| *known == number) {
                    Some((_, file)) => file,
                    None => self.open(number)?,
                };
                if state & HOLES != 0 {
                    rustix::fs::ftruncate(&file, entry.size)?;
                }
                self.metadata.apply(file.as_fd(), entry, entry.mode, &|| self.plan.shown(number))
            })();
            match result {
                Ok(()) => self.stretches.finished(self.plan, number),
                Err(errno) => self.failed(number, errno, "the target cannot hold this file's length, mode or time"),
            }
        }
        self.progress.count(1, 0);
    }

    /// Files without content.
    pub(crate) fn empty_files(&self, readers: usize) {
        let empty: Vec<u32> = self
            .plan
            .numbered()
            .filter(|(_, entry)| entry.kind == Kind::File && entry.leader.is_none() && entry.content.is_empty())
            .map(|(number, _)| number)
            .collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..readers.min(empty.len() / 64 + 1) {
                scope.spawn(|| {
                    while let Some(number) = empty.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if self.stop.is_set() {
                            return;
                        }
                        self.finish(&mut Hand::default(), *number);
                    }
                });
            }
        });
    }

    /// Other names of files, then special files, then symbolic links: from here on the target holds something to follow.
    pub(crate) fn names_and_links(&self) {
        let kinds: [fn(&Entry) -> bool; 3] = [
            |entry| entry.leader.is_some(),
            |entry| !matches!(entry.kind, Kind::Directory | Kind::File | Kind::Symlink),
            |entry| entry.kind == Kind::Symlink,
        ];
        for wanted in kinds {
            for (number, entry) in self.plan.numbered().filter(|(_, entry)| wanted(entry)) {
                if self.stop.is_set() {
                    return;
                }
                if let Err(errno) = self.make(number, entry) {
                    self.failed(number, errno, "the target cannot hold this link or special file");
                }
                self.progress.count(1, 0);
            }
        }
    }

    fn make(&self, number: u32, entry: &Entry) -> Result<(), Errno> {
        if self.state(entry.parent) & FAILED != 0 {
            self.mark(number, FAILED);
            return Ok(());
        }
        if let Some(leader) = entry.leader {
            return self.link(number, leader);
        }
        let path = self.plan.path(number);
        let parent = self.target.parent(&path)?;
        let name = &*entry.name;
        let shown = || self.plan.shown(number);
        let extra = entry.extra.as_deref();
        let device = extra.map_or(0, |extra| extra.device);
        let node = |kind, device| rustix::fs::mknodat(&parent, name, kind, Mode::RUSR | Mode::WUSR, device);
        match entry.kind {
            Kind::Symlink => rustix::fs::symlinkat(extra.map_or(&[][..], |extra| &extra.link), &parent, name)?,
            Kind::Fifo => node(FileType::Fifo, 0)?,
            Kind::Socket => node(FileType::Socket, 0)?,
            Kind::CharacterDevice | Kind::BlockDevice => {
                let kind = if entry.kind == Kind::BlockDevice { FileType::BlockDevice } else { FileType::CharacterDevice };
                if node(kind, device).is_err() {
                    self.metadata.not_applied(NotApplied::Device, shown);
                    self.mark(number, LEFT_OUT);
                    return Ok(());
                }
            }
            Kind::Directory | Kind::File => return Ok(()),
        }
        self.metadata.apply_at(parent.as_fd(), name, entry, &shown)
    }

    fn link(&self, number: u32, leader: u32) -> Result<(), Errno> {
        let state = self.state(leader) & (FAILED | BROKEN);
        self.mark(number, state);
        if state & FAILED != 0 {
            return Ok(());
        }
        let (from, to) = (self.target.parent(&self.plan.path(leader))?, self.target.parent(&self.plan.path(number))?);
        rustix::fs::linkat(&from, &*self.plan.entry(leader).name, &to, &*self.plan.entry(number).name, AtFlags::empty())
    }

    /// The directories' own metadata, deepest first. What would lock us out comes after the reading back.
    pub(crate) fn directory_metadata(&self) {
        for (number, entry) in self.plan.numbered().rev().filter(|(_, entry)| entry.kind == Kind::Directory) {
            if self.state(number) & FAILED != 0 {
                continue;
            }
            let shown = || self.plan.shown(number);
            let result = self
                .target
                .at(&self.plan.path(number), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
                .and_then(|folder| self.metadata.apply(folder.as_fd(), entry, entry.mode | 0o700, &shown));
            match result {
                Err(Errno::PERM | Errno::ACCESS) if is_lost_and_found(entry) => {
                    self.metadata.not_applied(NotApplied::LostAndFound, shown);
                    self.mark(number, LEFT_OUT);
                }
                Err(errno) => self.failed(number, errno, "the target cannot hold this directory's mode or time"),
                Ok(()) => {}
            }
        }
    }

    /// Gives directories the modes under which even we cannot enter them; says whether there were any.
    pub(crate) fn closed_directories(&self) -> bool {
        let mut any = false;
        for (number, entry) in self.plan.numbered().rev().filter(|(_, entry)| entry.kind == Kind::Directory && entry.mode & 0o700 != 0o700)
        {
            if self.state(number) & (FAILED | LEFT_OUT) != 0 {
                continue;
            }
            any = true;
            let result = self.target.at(&self.plan.path(number), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).and_then(|folder| {
                rustix::fs::fchmod(&folder, Mode::from_raw_mode(u32::from(entry.mode)))?;
                let mode = rustix::fs::fstat(&folder)?.st_mode;
                Ok(mode & 0o777 == u32::from(entry.mode & 0o777))
            });
            match result {
                Ok(true) => {}
                Ok(false) => self.failed(number, Errno::INVAL, "the target does not keep this directory's mode"),
                Err(errno) => self.failed(number, errno, "the target cannot hold this directory's mode"),
            }
        }
        any
    }
}

fn is_lost_and_found(entry: &Entry) -> bool {
    entry.parent == ROOT && &*entry.name == b"lost+found"
}

/// How many bytes at the beginning are a hole: the whole rest, or whole stretches of it.
fn hole(bytes: &[u8]) -> usize {
    let stretch = &bytes[..bytes.len().min(HOLE)];
    if stretch.iter().all(|byte| *byte == 0) { stretch.len() } else { 0 }
}
