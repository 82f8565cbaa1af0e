//! What is to be restored, as compact tables: entries in the order parents before children, the blobs they consist of, and
//! where each blob goes. Pure.

use std::collections::{BTreeSet, HashMap};

use backproof_api::report::Counts;
use jiff::Timestamp;

use crate::repo::{Copy, ExtendedAttribute, Id};

/// The number of the target's own directory in [`Plan::entries`].
pub(crate) const ROOT: u32 = 0;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
}

/// One entry of the snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Number of its directory.
    pub(crate) parent: u32,
    pub(crate) name: Box<[u8]>,
    pub(crate) kind: Kind,
    /// The twelve lower bits, as Linux has them.
    pub(crate) mode: u16,
    pub(crate) mtime: Option<Timestamp>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// Part of [`Plan::content`].
    pub(crate) content: std::ops::Range<u32>,
    /// The entry this one is another name of.
    pub(crate) leader: Option<u32>,
    pub(crate) extra: Option<Box<Extra>>,
}

/// What few entries have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    /// Where a symbolic link points.
    pub(crate) link: Vec<u8>,
    /// Number of a device.
    pub(crate) device: u64,
    pub(crate) attributes: Vec<ExtendedAttribute>,
}

/// A blob that is needed.
#[derive(Clone, Debug)]
pub(crate) struct Needed {
    pub(crate) id: Id,
    /// Where it is read from; `None` if it is nowhere.
    pub(crate) copy: Option<Copy>,
}

/// The tables.
pub(crate) struct Plan {
    pub(crate) entries: Vec<Entry>,
    /// Numbers of blobs.
    pub(crate) content: Vec<u32>,
    pub(crate) blobs: Vec<Needed>,
    numbers: HashMap<Id, u32>,
    hard_links: HashMap<(u64, u64), u32>,
}

impl Plan {
    pub(crate) fn new() -> Self {
        let root = Entry {
            parent: ROOT,
            name: Box::default(),
            kind: Kind::Directory,
            mode: 0o700,
            mtime: None,
            uid: 0,
            gid: 0,
            size: 0,
            content: 0..0,
            leader: None,
            extra: None,
        };
        Self { entries: vec![root], content: Vec::new(), blobs: Vec::new(), numbers: HashMap::new(), hard_links: HashMap::new() }
    }

    /// Takes over an entry with its content, and says its number.
    pub(crate) fn add(&mut self, mut entry: Entry, content: &[Id], identity: Option<(u64, u64)>) -> u32 {
        let from = length(&self.content);
        for id in content {
            let next = length(&self.blobs);
            let number = *self.numbers.entry(*id).or_insert(next);
            if number == next {
                self.blobs.push(Needed { id: *id, copy: None });
            }
            self.content.push(number);
        }
        entry.content = from..length(&self.content);
        let number = length(&self.entries);
        if let Some(identity) = identity {
            let leader = *self.hard_links.entry(identity).or_insert(number);
            if leader != number && self.same(leader, &entry) {
                entry.leader = Some(leader);
            }
        }
        self.entries.push(entry);
        number
    }

    /// Whether an entry can be another name of `leader`. One that was changed while it was backed up cannot: both are kept.
    fn same(&self, leader: u32, entry: &Entry) -> bool {
        let known = self.entry(leader);
        known.size == entry.size && known.mode == entry.mode && known.mtime == entry.mtime && self.blobs_of(known) == self.blobs_of(entry)
    }

    pub(crate) fn entry(&self, number: u32) -> &Entry {
        &self.entries[number as usize]
    }

    /// Numbers of the blobs an entry consists of.
    pub(crate) fn blobs_of(&self, entry: &Entry) -> &[u32] {
        &self.content[entry.content.start as usize..entry.content.end as usize]
    }

    /// Every entry with its number, without the root.
    pub(crate) fn numbered(&self) -> impl DoubleEndedIterator<Item = (u32, &Entry)> {
        self.entries.iter().enumerate().skip(1).map(|(number, entry)| (u32::try_from(number).unwrap_or(u32::MAX), entry))
    }

    /// Path below the target, without a leading slash; empty for the root.
    pub(crate) fn path(&self, mut number: u32) -> Vec<u8> {
        let mut names = Vec::new();
        while number != ROOT {
            let entry = self.entry(number);
            names.push(&*entry.name);
            number = entry.parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The path for people.
    pub(crate) fn shown(&self, number: u32) -> String {
        format!("/{}", String::from_utf8_lossy(&self.path(number)))
    }

    /// What this amounts to. Another name of a file counts as a file, and its bytes once.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (_, entry) in self.numbered() {
            counts = counts.plus(count_of(entry));
        }
        counts
    }

    /// The first entries that hold one of `blobs`, for people.
    pub(crate) fn affected(&self, blobs: &BTreeSet<u32>) -> String {
        let mut shown = Vec::new();
        let mut more = 0;
        for (number, entry) in self.numbered() {
            if self.blobs_of(entry).iter().any(|blob| blobs.contains(blob)) {
                if shown.len() < 3 { shown.push(self.shown(number)) } else { more += 1 }
            }
        }
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{rest}", shown.join(", "))
    }
}

/// What one entry adds to the counts.
pub(crate) fn count_of(entry: &Entry) -> Counts {
    if entry.kind == Kind::Directory {
        return Counts { directories: 1, ..Counts::default() };
    }
    let bytes = if entry.kind == Kind::File && entry.leader.is_none() { entry.size } else { 0 };
    Counts { files: 1, bytes, ..Counts::default() }
}

fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// Where every blob goes: for each, the files and offsets.
pub(crate) struct Destinations {
    starts: Vec<u32>,
    places: Vec<(u32, u64)>,
}

impl Destinations {
    /// `lengths` are the plain lengths of the blobs; `None` where unknown: nothing after it has a place.
    pub(crate) fn new(plan: &Plan, lengths: &[Option<u64>]) -> Self {
        let mut starts = vec![0_u32; plan.blobs.len() + 1];
        let leaders = || plan.numbered().filter(|(_, entry)| entry.kind == Kind::File && entry.leader.is_none());
        for (_, entry) in leaders() {
            for blob in plan.blobs_of(entry) {
                starts[*blob as usize + 1] += 1;
            }
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut places = vec![(0, 0); starts.last().map_or(0, |total| *total as usize)];
        for (number, entry) in leaders() {
            let mut offset = Some(0_u64);
            for blob in plan.blobs_of(entry) {
                let slot = &mut next[*blob as usize];
                places[*slot as usize] = (number, offset.unwrap_or(UNKNOWN));
                *slot += 1;
                offset = offset.zip(lengths[*blob as usize]).and_then(|(offset, length)| offset.checked_add(length));
            }
        }
        Self { starts, places }
    }

    /// File and offset, for every place of a blob. [`UNKNOWN`] as offset: it cannot be written.
    pub(crate) fn of(&self, blob: u32) -> &[(u32, u64)] {
        &self.places[self.starts[blob as usize] as usize..self.starts[blob as usize + 1] as usize]
    }
}

/// The offset of what comes after something missing.
pub(crate) const UNKNOWN: u64 = u64::MAX;

/// Groups pieces, sorted by pack and offset, into reads: neighbours with at most `gap` unneeded bytes between them, and at
/// most `most` bytes in all unless one piece alone is longer.
pub(crate) fn coalesce(pieces: &[(u32, u32, u32)], gap: u32, most: u32) -> Vec<std::ops::Range<usize>> {
    let mut reads = Vec::new();
    let mut from = 0;
    let mut end = 0_u64;
    for (at, (pack, offset, length)) in pieces.iter().enumerate() {
        let (first_pack, first_offset, _) = pieces[from];
        let piece_end = u64::from(*offset) + u64::from(*length);
        let whole = end.max(piece_end) - u64::from(first_offset);
        let fits = *pack == first_pack && u64::from(*offset) <= end + u64::from(gap) && whole <= u64::from(most);
        if at > from && !fits {
            reads.push(from..at);
            from = at;
            end = 0;
        }
        end = end.max(piece_end);
    }
    if from < pieces.len() {
        reads.push(from..pieces.len());
    }
    reads
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
