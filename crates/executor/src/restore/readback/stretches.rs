//! Stretches of files: what is read back at a time. A file is one stretch, or several if it is long; each is handed over as
//! soon as it is written, so that reading back goes on while other files are still being written.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{
    super::plan::{Kind, Plan},
    ReadBack,
};

/// Bytes of a stretch; with the rest of its last blob it may be longer.
const LENGTH: u64 = 16 << 20;
/// What a stretch weighs beside its bytes: many small files are as much work as a large one.
const TROUBLE: u64 = 16 << 10;

/// Part of a file, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) number: u32,
    /// Positions in the file's list of blobs.
    pub(super) blobs: Range<usize>,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// Whether nothing of the file is still to be written: then its metadata is looked at too.
    pub(super) finished: bool,
}

/// One of several stretches of a file.
struct Part {
    blobs: Range<usize>,
    offset: u64,
    bytes: u64,
    /// Blobs still to come.
    left: AtomicU32,
}

/// What is to be read back of the files of a plan, and how much of it is written.
pub(crate) struct Stretches {
    mode: ReadBack,
    /// The parts of files that have several.
    long: HashMap<u32, Vec<Part>>,
    /// What is written and not yet synced.
    written: Queue,
}

impl Stretches {
    /// `lengths` are the plain lengths of the blobs.
    pub(crate) fn new(plan: &Plan, lengths: &[Option<u64>], mode: ReadBack) -> Self {
        let mut long = HashMap::new();
        for (number, entry) in plan.numbered().filter(|(number, entry)| mode.covers(*number) && entry.size >= 2 * LENGTH) {
            // What even its owner may not read has its mode changed while it is read: no two threads at a time.
            if entry.kind == Kind::File && entry.leader.is_none() && entry.mode & 0o400 != 0 {
                long.insert(number, parts(plan.blobs_of(entry).iter().map(|blob| lengths[*blob as usize].unwrap_or(0))));
            }
        }
        Self { mode, long, written: Queue::default() }
    }

    /// Whether parts of a file are handed over before it is finished.
    pub(crate) fn is_early(&self, number: u32) -> bool {
        self.long.contains_key(&number)
    }

    /// A blob of a file was written at `offset`.
    pub(crate) fn written(&self, number: u32, offset: u64) {
        let Some(parts) = self.long.get(&number) else { return };
        let at = parts.partition_point(|part| part.offset <= offset).saturating_sub(1);
        let Some(part) = parts.get(at) else { return };
        if part.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let Part { blobs, offset, bytes, .. } = part;
            self.written.push([Stretch { number, blobs: blobs.clone(), offset: *offset, bytes: *bytes, finished: false }]);
        }
    }

    /// All of a file was written, its metadata too.
    pub(crate) fn finished(&self, plan: &Plan, number: u32) {
        if !self.mode.covers(number) {
            return;
        }
        let entry = plan.entry(number);
        let (blobs, bytes) = if self.long.contains_key(&number) { (0..0, 0) } else { (0..entry.content.len(), entry.size) };
        self.written.push([Stretch { number, blobs, offset: 0, bytes, finished: true }]);
    }

    /// Nothing more will be written.
    pub(crate) fn close(&self) {
        self.written.close();
    }

    /// Waits for stretches worth a sync, and takes them; `None` after the last.
    pub(super) fn take(&self, bytes: u64) -> Option<Vec<Stretch>> {
        self.written.take_all(bytes)
    }
}

/// Cuts a file into parts. A part ends behind a blob that is not empty, so that no two parts begin at one offset.
fn parts(lengths: impl Iterator<Item = u64>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut offset = 0_u64;
    for (at, length) in lengths.enumerate() {
        match parts.last_mut().filter(|part| part.bytes < LENGTH) {
            Some(part) => {
                part.blobs.end = at + 1;
                part.bytes += length;
                *part.left.get_mut() += 1;
            }
            None => parts.push(Part { blobs: at..at + 1, offset, bytes: length, left: AtomicU32::new(1) }),
        }
        offset = offset.saturating_add(length);
    }
    parts
}

/// Stretches on their way from one thread to another.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    stretches: VecDeque<Stretch>,
    weight: u64,
    closed: bool,
}

impl Queue {
    pub(super) fn push(&self, stretches: impl IntoIterator<Item = Stretch>) {
        let mut state = self.lock();
        for stretch in stretches {
            state.weight += stretch.bytes + TROUBLE;
            state.stretches.push_back(stretch);
        }
        drop(state);
        self.more.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
    }

    /// Waits for one; `None` when it is closed and empty.
    pub(super) fn take(&self) -> Option<Stretch> {
        let state = self.lock();
        let mut state =
            self.more.wait_while(state, |state| state.stretches.is_empty() && !state.closed).unwrap_or_else(PoisonError::into_inner);
        let stretch = state.stretches.pop_front()?;
        state.weight -= stretch.bytes + TROUBLE;
        Some(stretch)
    }

    /// Waits until there are `weight` bytes of them, or no more come; `None` when it is closed and empty.
    fn take_all(&self, weight: u64) -> Option<Vec<Stretch>> {
        let state = self.lock();
        let mut state = self.more.wait_while(state, |state| state.weight < weight && !state.closed).unwrap_or_else(PoisonError::into_inner);
        state.weight = 0;
        Some(std::mem::take(&mut state.stretches).into()).filter(|all: &Vec<_>| !all.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blob_of_a_long_file_belongs_to_the_part_its_offset_tells() {
        // Blobs without bytes do not come from backup tools, but may come from hostile ones.
        for lengths in [vec![LENGTH, 0, 0, 5, LENGTH - 5, 1], vec![0, LENGTH + 7, 0], vec![1; 3], vec![0, 0], vec![LENGTH - 1, 0, 1, 1]] {
            let parts = parts(lengths.iter().copied());
            let mut counted = vec![0; parts.len()];
            let mut offset = 0;
            for (at, length) in lengths.iter().enumerate() {
                let found = parts.partition_point(|part| part.offset <= offset) - 1;
                assert!(parts[found].blobs.contains(&at), "{lengths:?} {at}");
                counted[found] += 1;
                offset += length;
            }
            assert_eq!(counted, parts.iter().map(|part| part.left.load(Ordering::Relaxed)).collect::<Vec<_>>(), "{lengths:?}");
            assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), offset);
        }
    }

    #[test]
    fn a_queue_gives_everything_once_and_then_ends() {
        let queue = Queue::default();
        let stretch = |number| Stretch { number, blobs: 0..0, offset: 0, bytes: 10, finished: true };
        std::thread::scope(|scope| {
            let all =
                scope.spawn(|| std::iter::from_fn(|| queue.take_all(3 * TROUBLE)).flatten().map(|one| one.number).collect::<Vec<_>>());
            for number in 0..10 {
                queue.push([stretch(number)]);
            }
            queue.close();
            assert_eq!(all.join().unwrap(), (0..10).collect::<Vec<_>>());
        });
        assert_eq!(queue.take(), None);
    }
}
