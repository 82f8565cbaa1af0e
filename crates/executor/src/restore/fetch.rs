//! Reading blobs: by pack and offset, several readers at a time, within a bound of memory. Every blob that leaves here is
//! proven; one that is not is read once more, then its other copies are tried, and only then it is a fault.

use std::sync::{
    Condvar, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use backproof_api::Cause;

use super::{Findings, locate::pack_path, plan::coalesce};
use crate::{
    repo::{BlobFault, BlobKind, Copy, Decoder, Id, PackState, Repository},
    store::{File, Folder, StoreError},
};

/// A blob to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// The caller's number for it.
    pub(crate) number: u32,
    pub(crate) id: Id,
    pub(crate) kind: BlobKind,
    pub(crate) copy: Copy,
}

/// How reading a blob ended.
pub(crate) enum Got<'a> {
    /// Its proven bytes.
    Plain(&'a [u8]),
    /// No copy is sound.
    Damaged(Copy, BlobFault),
    /// Its pack was listed and is not there.
    Gone(Copy),
    /// The storage failed.
    Failed(StoreError),
}

/// How much at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Readers at a time.
    pub(crate) readers: usize,
    /// Bytes in memory at a time.
    pub(crate) memory: u64,
}

impl Effort {
    /// Bytes of one read: small enough that every reader fits into the memory twice (sealed and plain).
    fn read_limit(self) -> u32 {
        let share = self.memory / (self.readers.max(1) as u64 * 3);
        u32::try_from(share).unwrap_or(u32::MAX).clamp(64 << 10, 4 << 20)
    }
}

/// Says to every thread that going on is of no use.
#[derive(Default)]
pub(crate) struct Stop(AtomicBool);

impl Stop {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that may be in memory.
struct Budget {
    total: u64,
    left: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    /// Waits for `bytes`, or for all there is if that is less; says how many were taken.
    fn take(&self, bytes: u64) -> u64 {
        let bytes = bytes.min(self.total);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = self.freed.wait_while(left, |left| *left < bytes).unwrap_or_else(PoisonError::into_inner);
        *left -= bytes;
        bytes
    }

    fn give(&self, bytes: u64) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        self.freed.notify_all();
    }
}

/// Reads `pieces` and hands every one to `each`, with a state of the reader's own.
pub(crate) fn fetch<S>(
    repository: &Repository,
    mut pieces: Vec<Piece>,
    effort: Effort,
    (findings, stop): (&Findings, &Stop),
    state: impl Fn() -> S + Sync,
    each: impl Fn(&mut S, &Piece, Got<'_>) + Sync,
) {
    pieces.sort_unstable_by_key(|piece| (piece.copy.pack, piece.copy.offset));
    let places: Vec<_> = pieces.iter().map(|piece| (piece.copy.pack, piece.copy.offset, piece.copy.length)).collect();
    let reads = coalesce(&places, repository.store.worthwhile_gap(), effort.read_limit());
    drop(places);
    let next = AtomicUsize::new(0);
    let budget = Budget { total: effort.memory, left: Mutex::new(effort.memory), freed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 0..effort.readers.min(reads.len()) {
            scope.spawn(|| {
                let mut reader = Reader { repository, findings, stop, decoder: Decoder::new(), buffer: Vec::new() };
                let mut state = state();
                while let Some(read) = reads.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if stop.is_set() {
                        return;
                    }
                    let group = &pieces[read.clone()];
                    let taken = budget.take(cost(group));
                    reader.read(group, |piece, got| each(&mut state, piece, got));
                    budget.give(taken);
                }
            });
        }
    });
}

fn span(group: &[Piece]) -> (u64, u64) {
    let from = group.first().map_or(0, |piece| u64::from(piece.copy.offset));
    let end = group.iter().map(|piece| u64::from(piece.copy.offset) + u64::from(piece.copy.length)).max().unwrap_or(from);
    (from, end)
}

fn cost(group: &[Piece]) -> u64 {
    let (from, end) = span(group);
    end - from + group.iter().filter_map(|piece| piece.copy.raw()).map(u64::from).max().unwrap_or(0)
}

struct Reader<'a> {
    repository: &'a Repository,
    findings: &'a Findings,
    stop: &'a Stop,
    decoder: Decoder,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    fn read(&mut self, group: &[Piece], mut each: impl FnMut(&Piece, Got<'_>)) {
        let Some(first) = group.first() else { return };
        let (from, end) = span(group);
        let file = self.file(&first.copy);
        let mut buffer = std::mem::take(&mut self.buffer);
        let length = usize::try_from(end - from).unwrap_or(usize::MAX);
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        let error = self.repository.store.get_range(file, from, &mut buffer[..length]).err();
        for piece in group {
            let at = usize::try_from(u64::from(piece.copy.offset) - from).unwrap_or(usize::MAX);
            if error.is_none()
                && let Some(sealed) = buffer.get_mut(at..at + piece.copy.length as usize)
                && let Ok(plain) = self.decoder.decode(&self.repository.key, sealed, piece.copy.raw(), &piece.id)
            {
                each(piece, Got::Plain(plain));
                continue;
            }
            self.read_again(piece, &mut each);
        }
        if buffer.len() <= 16 << 20 {
            self.buffer = buffer;
        }
    }

    fn file(&self, copy: &Copy) -> File {
        File::Named(Folder::Data, self.repository.index.pack(copy.pack).0)
    }

    /// One blob by itself: its copy once more, then the others. Whoever asked hears of it in any case, or nobody would say why
    /// the whole run stops.
    fn read_again(&mut self, piece: &Piece, each: &mut impl FnMut(&Piece, Got<'_>)) {
        if self.stop.is_set() {
            return;
        }
        let (repository, findings) = (self.repository, self.findings);
        let copies = repository.index.copies(piece.kind, &piece.id);
        let others = copies.iter().filter(|copy| **copy != piece.copy && repository.pack_state(copy.pack) == PackState::Whole);
        let mut faults = Vec::new();
        for copy in std::iter::once(&piece.copy).chain(others) {
            let mut sealed = vec![0; copy.length as usize];
            match repository.store.get_range(self.file(copy), u64::from(copy.offset), &mut sealed) {
                Err(StoreError::NotFound { .. }) => faults.push(Got::Gone(*copy)),
                Err(error) if repository.store.is_remote() || matches!(error, StoreError::NotReadable { .. }) => {
                    // The same would come with every other piece.
                    self.stop.set();
                    return each(piece, Got::Failed(error));
                }
                Err(error) => faults.push(Got::Failed(error)),
                Ok(()) => match self.decoder.decode(&repository.key, &mut sealed, copy.raw(), &piece.id) {
                    Ok(plain) => {
                        if let Some((pack, fault)) = faults.iter().find_map(|fault| spared(repository, piece, fault)) {
                            findings.add(Cause::UnneededDamage, &pack, &format!("{fault}; another copy of it is sound"));
                        }
                        return each(piece, Got::Plain(plain));
                    }
                    Err(fault) => faults.push(Got::Damaged(*copy, fault)),
                },
            }
        }
        // One copy that may yet be sound leaves it open whether the others' damage matters.
        if let Some(fault) = faults.into_iter().min_by_key(Got::tells) {
            each(piece, fault);
        }
    }
}

impl Got<'_> {
    /// How much a fault tells about the blob; the least first.
    fn tells(&self) -> u8 {
        match self {
            Self::Failed(_) => 0,
            Self::Gone(_) => 1,
            Self::Damaged(..) => 2,
            Self::Plain(_) => 3,
        }
    }
}

/// File and words for a copy that was not needed in the end. One that went away is nothing to tell of: prunes do that.
fn spared(repository: &Repository, piece: &Piece, fault: &Got<'_>) -> Option<(String, String)> {
    match fault {
        Got::Damaged(copy, fault) => Some((pack_path(repository, copy.pack), describe(&piece.id, copy, fault))),
        Got::Failed(error) => Some((error.finding().path, format!("blob {}: {error}", piece.id.short()))),
        Got::Gone(_) | Got::Plain(_) => None,
    }
}

/// A damaged blob, for people.
pub(crate) fn describe(id: &Id, copy: &Copy, fault: &BlobFault) -> String {
    format!("blob {} at offset {} ({} bytes): {fault}", id.short(), copy.offset, copy.length)
}
