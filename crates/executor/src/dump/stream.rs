//! One file of a snapshot, read in order and a few MiB at a time. The end is said in so many words: a stream that stops
//! without it was cut off, whatever the reason.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use backproof_api::{Cause, report::Finding};

use crate::{
    repo::{BlobFault, BlobKind, Id, Repository},
    restore::{Effort, Findings, Got, Missing, Piece, Plan, ROUNDS, Stop, describe, fetch, give_up, pack_path, settle},
};

/// Plain bytes of one part, unless one blob alone is longer. At most three parts are in memory.
const PART: u64 = 8 << 20;
/// Backup tools cut files at 8 MiB; a blob beyond this is after our memory.
const LONGEST: u64 = 64 << 20;

/// What comes out of a stream.
#[derive(Debug)]
pub(super) enum Part {
    /// The next bytes.
    Data(Vec<u8>),
    /// That was all.
    End,
    /// What comes next cannot be had; findings say why.
    Fault,
}

/// The reading end.
pub(super) struct Parts(Receiver<Part>);

impl Parts {
    /// The next part. A writer that is gone is a fault.
    pub(super) fn next(&self) -> Part {
        self.0.recv().unwrap_or(Part::Fault)
    }
}

/// What is to be read.
pub(super) struct Stream<'a> {
    pub(super) repository: &'a mut Repository,
    pub(super) plan: &'a Plan,
    /// Where each blob of the plan is.
    pub(super) pieces: HashMap<u32, Piece>,
    /// The blobs of the file, in order.
    pub(super) content: &'a [u32],
    pub(super) snapshot: Id,
    pub(super) effort: Effort,
    pub(super) findings: &'a Findings,
    pub(super) stop: &'a Stop,
    /// Counts bytes that were read.
    pub(super) progress: &'a (dyn Fn(u64) + Sync),
}

pub(super) fn channel() -> (SyncSender<Part>, Parts) {
    let (sender, receiver) = sync_channel(1);
    (sender, Parts(receiver))
}

impl Stream<'_> {
    /// Reads everything. After a fault the rest is read all the same, so that every damage is told.
    pub(super) fn read(mut self, parts: &SyncSender<Part>) {
        let mut sound = true;
        let mut from = 0;
        while from < self.content.len() && !self.stop.is_set() {
            let (to, length) = self.part(from);
            let blobs = &self.content[from..to];
            match self.blobs(blobs) {
                Ok(read) if sound => {
                    let mut data = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
                    sound = blobs.iter().all(|blob| read.get(blob).map(|bytes| data.extend_from_slice(bytes)).is_some());
                    (self.progress)(data.len() as u64);
                    // The reader may have had enough.
                    if parts.send(if sound { Part::Data(data) } else { Part::Fault }).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(finding) => {
                    self.findings.push(finding);
                    self.stop.set();
                }
            }
            from = to;
        }
        let last = if sound && from == self.content.len() && !self.stop.is_set() { Part::End } else { Part::Fault };
        // The reader may have had enough.
        let _ = parts.send(last);
    }

    /// Where the part that begins at `from` ends, and its length.
    fn part(&self, from: usize) -> (usize, u64) {
        let mut length = 0;
        for (at, blob) in self.content.iter().enumerate().skip(from) {
            let plain = self.pieces.get(blob).map_or(0, |piece| piece.copy.plain());
            if at > from && length + plain > PART {
                return (at, length);
            }
            length += plain;
        }
        (self.content.len(), length)
    }

    /// The bytes of these blobs; what is absent was noted.
    fn blobs(&mut self, blobs: &[u32]) -> Result<HashMap<u32, Vec<u8>>, Finding> {
        let unique: HashSet<u32> = blobs.iter().copied().collect();
        let mut pieces: Vec<Piece> = unique.iter().filter_map(|blob| self.pieces.get(blob).copied()).collect();
        if let Some(piece) = pieces.iter().find(|piece| piece.copy.plain() > LONGEST) {
            let detail = format!("blob {} has {} bytes, more than any backup tool writes", piece.id.short(), piece.copy.plain());
            return Err(Finding { kind: Cause::UnsupportedRepository, path: pack_path(self.repository, piece.copy.pack), detail });
        }
        let read = Mutex::new(HashMap::with_capacity(pieces.len()));
        for round in 1.. {
            let gone = self.read_pieces(std::mem::take(&mut pieces), &read);
            if gone.is_empty() {
                break;
            }
            if round == ROUNDS {
                give_up(self.repository, &gone, self.findings);
                break;
            }
            gone.iter().filter_map(Missing::pack).for_each(|pack| self.repository.forget_pack(pack));
            let affected = |numbers: &_| self.plan.affected(numbers);
            (pieces, _) = settle(self.repository, BlobKind::Data, gone, self.snapshot, self.findings, affected)?;
            self.pieces.extend(pieces.iter().map(|piece| (piece.number, *piece)));
        }
        Ok(read.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn read_pieces(&self, pieces: Vec<Piece>, read: &Mutex<HashMap<u32, Vec<u8>>>) -> Vec<Missing> {
        let gone = Mutex::new(Vec::new());
        let each = |(): &mut (), piece: &Piece, got: Got<'_>| match got {
            Got::Plain(plain) => {
                read.lock().unwrap_or_else(PoisonError::into_inner).insert(piece.number, plain.to_vec());
            }
            Got::Damaged(copy, fault) => {
                let kind = if matches!(fault, BlobFault::Monstrous(_)) { Cause::UnsupportedRepository } else { Cause::PackDamaged };
                let detail = format!("{}; needed by the dump", describe(&piece.id, &copy, &fault));
                self.findings.add(kind, &pack_path(self.repository, copy.pack), &detail);
            }
            Got::Gone(copy) => gone.lock().unwrap_or_else(PoisonError::into_inner).push(Missing::gone(&Piece { copy, ..*piece })),
            Got::Failed(error) => self.findings.push(error.finding()),
        };
        fetch(self.repository, pieces, self.effort, (self.findings, self.stop), || (), each);
        gone.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
