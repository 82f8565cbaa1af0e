//! Which blob lies where: all index files in one sorted table. A blob may have several copies; all are kept.

use std::collections::HashMap;

use super::{
    Id,
    blob::plain_length,
    format::{BlobKind, IndexFile, IndexPack},
};

/// One copy of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Copy {
    kind: BlobKind,
    id: Id,
    /// Number of its pack.
    pub(crate) pack: u32,
    /// First byte in the pack.
    pub(crate) offset: u32,
    /// Sealed bytes.
    pub(crate) length: u32,
    /// Plain bytes, if compressed.
    pub(crate) raw: Option<std::num::NonZeroU32>,
}

impl Copy {
    /// Plain bytes, if compressed.
    pub(crate) fn raw(&self) -> Option<u32> {
        self.raw.map(Into::into)
    }

    /// One of a blob of so many plain bytes.
    #[cfg(test)]
    pub(crate) fn of_length(plain: usize) -> Self {
        let raw = u32::try_from(plain).ok().and_then(std::num::NonZeroU32::new);
        Self { kind: BlobKind::Data, id: Id::default(), pack: 0, offset: 0, length: 0, raw }
    }

    /// Plain bytes.
    pub(crate) fn plain(&self) -> u64 {
        plain_length(self.length, self.raw())
    }
}

/// The table.
#[derive(Default)]
pub(crate) struct Index {
    packs: Vec<(Id, u64)>,
    numbers: HashMap<Id, u32>,
    copies: Vec<Copy>,
    sorted: bool,
}

impl Index {
    /// Takes over what an index file says. [`Index::sort`] before asking.
    pub(crate) fn add(&mut self, file: IndexFile) {
        self.sorted = false;
        for pack in file.packs {
            let size = pack_size(&pack);
            let number = self.number(pack.id, size);
            self.copies.extend(pack.blobs.into_iter().map(|blob| Copy {
                kind: blob.kind,
                id: blob.id,
                pack: number,
                offset: blob.offset,
                length: blob.length,
                raw: blob.uncompressed_length.and_then(std::num::NonZeroU32::new),
            }));
        }
    }

    fn number(&mut self, id: Id, size: u64) -> u32 {
        let next = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(id).or_insert(next);
        if number == next {
            self.packs.push((id, size));
        } else if let Some((_, known)) = self.packs.get_mut(number as usize) {
            *known = size.max(*known);
        }
        number
    }

    /// Makes the table ready to be asked.
    pub(crate) fn sort(&mut self) {
        if !self.sorted {
            self.copies.sort_unstable();
            self.copies.dedup();
            self.copies.shrink_to_fit();
            self.sorted = true;
        }
    }

    /// Every copy of a blob.
    pub(crate) fn copies(&self, kind: BlobKind, id: &Id) -> &[Copy] {
        let from = self.copies.partition_point(|copy| (copy.kind, copy.id) < (kind, *id));
        let rest = &self.copies[from..];
        &rest[..rest.iter().take_while(|copy| copy.kind == kind && copy.id == *id).count()]
    }

    /// Name of a pack, and the least size it must have.
    pub(crate) fn pack(&self, number: u32) -> (Id, u64) {
        self.packs.get(number as usize).copied().unwrap_or_default()
    }

    /// Every pack, by number.
    pub(crate) fn packs(&self) -> &[(Id, u64)] {
        &self.packs
    }
}

/// The size of a pack: its blobs and the header that ends it.
fn pack_size(pack: &IndexPack) -> u64 {
    let end = pack.blobs.iter().map(|blob| u64::from(blob.offset) + u64::from(blob.length)).max().unwrap_or(0);
    let mut offsets: Vec<_> = pack.blobs.iter().map(|blob| (blob.offset, blob.uncompressed_length.is_some())).collect();
    offsets.sort_unstable();
    offsets.dedup_by_key(|(offset, _)| *offset);
    let header: u64 = offsets.iter().map(|(_, compressed)| if *compressed { 41 } else { 37 }).sum();
    end + header + 32 + 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::format::IndexBlob;

    fn blob(name: &[u8], kind: BlobKind, offset: u32, raw: Option<u32>) -> IndexBlob {
        IndexBlob { id: Id::of(name), kind, offset, length: 100, uncompressed_length: raw }
    }

    #[test]
    fn finds_every_copy_of_the_right_kind() {
        let mut index = Index::default();
        let packs = |name: &[u8], blobs| IndexFile { packs: vec![IndexPack { id: Id::of(name), blobs }] };
        index.add(packs(b"1", vec![blob(b"a", BlobKind::Data, 0, None), blob(b"b", BlobKind::Data, 100, Some(7))]));
        index.add(packs(b"2", vec![blob(b"a", BlobKind::Data, 0, None), blob(b"a", BlobKind::Tree, 100, None)]));
        index.add(packs(b"1", vec![blob(b"a", BlobKind::Data, 0, None)]));
        index.sort();
        let packs = |kind, name: &[u8]| index.copies(kind, &Id::of(name)).iter().map(|copy| copy.pack).collect::<Vec<_>>();
        assert_eq!(packs(BlobKind::Data, b"a"), [0, 1]);
        assert_eq!(packs(BlobKind::Tree, b"a"), [1]);
        assert_eq!(packs(BlobKind::Data, b"b"), [0]);
        assert_eq!(packs(BlobKind::Tree, b"b"), Vec::<u32>::new());
        assert_eq!(index.copies(BlobKind::Data, &Id::of(b"b"))[0].plain(), 7);
        assert_eq!(index.copies(BlobKind::Data, &Id::of(b"a"))[0].plain(), 68);
        // Two blobs, one of them compressed, and the sealed header with its length.
        assert_eq!(index.pack(0), (Id::of(b"1"), 200 + 37 + 41 + 36));
    }
}
