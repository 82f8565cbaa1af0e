//! From ids to pieces: which copy of each blob is read, and what follows from one that is nowhere.

use std::collections::{BTreeMap, BTreeSet};

use backproof_api::{Cause, report::Finding};
use jiff::Timestamp;

use super::{Findings, fetch::Piece};
use crate::{
    repo::{Again, BlobKind, Id, PackState, Repository},
    store::{File, Folder},
};

/// A blob that cannot be read from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) number: u32,
    pub(crate) id: Id,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// No index names it.
    NotIndexed,
    /// Its pack, by number, is not there.
    NoPack(u32),
    /// Its pack, by number, is too small.
    ShortPack(u32),
}

/// Where each of `wanted` is read from, and which are nowhere.
pub(crate) fn locate(repository: &Repository, kind: BlobKind, wanted: &[(u32, Id)]) -> (Vec<Piece>, Vec<Missing>) {
    let mut pieces = Vec::with_capacity(wanted.len());
    let mut missing = Vec::new();
    for (number, id) in wanted.iter().copied() {
        let mut why = Why::NotIndexed;
        let copies = repository.index.copies(kind, &id);
        let whole = copies.iter().find(|copy| match repository.pack_state(copy.pack) {
            PackState::Whole => true,
            PackState::Missing => {
                why = why.max(Why::NoPack(copy.pack));
                false
            }
            PackState::Truncated { .. } => {
                why = why.max(Why::ShortPack(copy.pack));
                false
            }
        });
        match whole {
            Some(copy) => pieces.push(Piece { number, id, kind, copy: *copy }),
            None => missing.push(Missing { number, id, why }),
        }
    }
    (pieces, missing)
}

/// How often what is listed may turn out to be gone before the storage is given up.
pub(crate) const ROUNDS: u32 = 3;

/// A pack that every listing has and no reading gets: nothing is known to be lost, and nothing can be proven.
pub(crate) fn give_up(repository: &Repository, gone: &[Missing], findings: &Findings) {
    for pack in gone.iter().filter_map(Missing::pack).collect::<BTreeSet<_>>() {
        let detail = format!("the storage lists it, and says {ROUNDS} times that it is not there: look at it with the storage's own tools");
        findings.add(Cause::StorageUnreachable, &pack_path(repository, pack), &detail);
    }
}

/// Looks again for what is missing. What turns up is returned; what does not is noted, with what it means.
pub(crate) fn settle(
    repository: &mut Repository,
    kind: BlobKind,
    mut missing: Vec<Missing>,
    snapshot: Id,
    findings: &Findings,
    affected: impl Fn(&BTreeSet<u32>) -> String,
) -> Result<(Vec<Piece>, Vec<Missing>), Finding> {
    let mut found = Vec::new();
    while !missing.is_empty() {
        let again = repository.look_again(snapshot, Timestamp::now())?;
        let wanted: Vec<_> = missing.iter().map(|missing| (missing.number, missing.id)).collect();
        let (pieces, still) = locate(repository, kind, &wanted);
        found.extend(pieces);
        missing = still;
        match again {
            Again::NewIndexes => {}
            Again::Changed(how) => {
                if !missing.is_empty() {
                    let affects = affected(&missing.iter().map(|missing| missing.number).collect());
                    let detail =
                        format!("{how}; meanwhile {} pieces of data are missing, of {affects}: run again when it is done", missing.len());
                    findings.add(Cause::RepositoryChangedDuringRun, "", &detail);
                }
                break;
            }
            Again::Same => {
                note(repository, &missing, findings, &affected);
                break;
            }
        }
    }
    Ok((found, missing))
}

/// Something is missing, and nobody is changing the repository: a defect.
fn note(repository: &mut Repository, missing: &[Missing], findings: &Findings, affected: &impl Fn(&BTreeSet<u32>) -> String) {
    let mut groups: BTreeMap<Why, BTreeSet<u32>> = BTreeMap::new();
    for missing in missing {
        groups.entry(missing.why).or_default().insert(missing.number);
    }
    for (why, numbers) in &groups {
        let (count, affects) = (numbers.len(), affected(numbers));
        match why {
            Why::NotIndexed => {
                for finding in repository.damaged_indexes.drain(..) {
                    let detail = format!("{}; {count} pieces of data the snapshot needs are in no other index", finding.detail);
                    findings.push(Finding { detail, ..finding });
                }
                let first = missing.iter().find(|missing| missing.why == *why).map(|missing| missing.id.to_string()).unwrap_or_default();
                findings.add(
                    Cause::BlobMissing,
                    &format!("blob {first}"),
                    &format!("{count} pieces of data are in no index, of {affects}"),
                );
            }
            Why::NoPack(pack) => {
                let path = pack_path(repository, *pack);
                findings.add(Cause::PackMissing, &path, &format!("the pack is missing; {count} pieces of data are lost, of {affects}"));
            }
            Why::ShortPack(pack) => {
                let PackState::Truncated { size, expected } = repository.pack_state(*pack) else { continue };
                let path = pack_path(repository, *pack);
                findings.add(
                    Cause::PackTruncated,
                    &path,
                    &format!("the pack has {size} bytes where the index says {expected}; it holds {count} pieces of data of {affects}"),
                );
            }
        }
    }
}

/// What the listing shows about packs, and what was found about index files, that the snapshot does not need.
pub(crate) fn note_unneeded(repository: &mut Repository, needed: &BTreeSet<u32>, findings: &Findings) {
    for finding in repository.damaged_indexes.drain(..) {
        let detail = format!("{}; everything the snapshot needs is in other index files", finding.detail);
        findings.push(Finding { kind: Cause::UnneededDamage, path: finding.path, detail });
    }
    for number in
        (0..repository.index.packs().len()).filter_map(|number| u32::try_from(number).ok()).filter(|number| !needed.contains(number))
    {
        match repository.pack_state(number) {
            PackState::Whole => {}
            PackState::Missing => findings.add(
                Cause::UnneededDamage,
                &pack_path(repository, number),
                "a pack of the index is missing; the snapshot does not need it",
            ),
            PackState::Truncated { size, expected } => {
                let detail = format!("the pack has {size} bytes where the index says {expected}; the snapshot does not need it");
                findings.add(Cause::UnneededDamage, &pack_path(repository, number), &detail);
            }
        }
    }
}

pub(crate) fn pack_path(repository: &Repository, number: u32) -> String {
    File::Named(Folder::Data, repository.index.pack(number).0).path()
}

impl Missing {
    /// A blob whose pack was listed and is not there any more.
    pub(crate) fn gone(piece: &Piece) -> Self {
        Self { number: piece.number, id: piece.id, why: Why::NoPack(piece.copy.pack) }
    }

    /// The pack it should be in.
    pub(crate) fn pack(&self) -> Option<u32> {
        match self.why {
            Why::NotIndexed => None,
            Why::NoPack(pack) | Why::ShortPack(pack) => Some(pack),
        }
    }
}
