//! Finding the snapshot, and looking at what costs little of the others.

use backproof_api::{Cause, report::Finding};

use super::{Id, Repository, format::Snapshot};
use crate::{
    restore::Findings,
    store::{File, Folder, StoreError},
};

/// Up to how many other snapshot files are looked at: they are small, but there may be very many, and far away.
const OTHERS_LIMIT: usize = 500;
const REMOTE_OTHERS_LIMIT: usize = 50;

impl Repository {
    /// The snapshot `wanted`: an id, its beginning, or `latest`.
    pub(crate) fn snapshot(&self, wanted: &str) -> Result<(Id, Snapshot), Finding> {
        let listed = self.store.list(Folder::Snapshots).map_err(|error| error.finding())?;
        if wanted == "latest" {
            return self.latest(listed.iter().map(|listed| listed.id));
        }
        let missing = |detail: String| Finding { kind: Cause::SnapshotNotFound, path: format!("snapshots/{wanted}"), detail };
        let mut matching = listed.iter().map(|listed| listed.id).filter(|id| id.to_string().starts_with(wanted));
        let Some(id) = matching.next().filter(|_| !wanted.is_empty()) else {
            return Err(missing(format!(
                "the repository holds {} snapshots, and not this one: it was forgotten, or lies in another repository",
                listed.len()
            )));
        };
        if matching.next().is_some() {
            return Err(missing("more than one snapshot begins like this: give more of the id".to_owned()));
        }
        let snapshot = self.read_snapshot(id)?;
        snapshot.map(|snapshot| (id, snapshot)).ok_or_else(|| missing("it was removed while the repository was read".to_owned()))
    }

    fn latest(&self, ids: impl Iterator<Item = Id>) -> Result<(Id, Snapshot), Finding> {
        let mut latest: Option<(jiff::Timestamp, Id, Snapshot)> = None;
        for id in ids {
            // One that cannot be read may be the latest: then an older one would be proven in its place.
            let Some(snapshot) = self.read_snapshot(id)? else { continue };
            let time = snapshot.time.parse().unwrap_or(jiff::Timestamp::MIN);
            if latest.as_ref().is_none_or(|(newest, newest_id, _)| (time, id) > (*newest, *newest_id)) {
                latest = Some((time, id, snapshot));
            }
        }
        let none = || Finding {
            kind: Cause::SnapshotNotFound,
            path: "snapshots".to_owned(),
            detail: "the repository holds no snapshot".to_owned(),
        };
        latest.map(|(_, id, snapshot)| (id, snapshot)).ok_or_else(none)
    }

    /// A snapshot file; `None` if it is not there any more.
    pub(crate) fn read_snapshot(&self, id: Id) -> Result<Option<Snapshot>, Finding> {
        let file = File::Named(Folder::Snapshots, id);
        let Some(plain) = self.named(file, id, Cause::SnapshotDamaged)? else { return Ok(None) };
        let damaged = |error| Finding { kind: Cause::SnapshotDamaged, path: file.path(), detail: format!("it cannot be parsed: {error}") };
        serde_json::from_slice(&plain).map(Some).map_err(damaged)
    }

    /// Damage of other snapshots' own files. An error of the storage here is not worth ending the run: it would come again
    /// where it matters.
    pub(crate) fn look_at_other_snapshots(&self, pinned: Id, findings: &Findings) {
        let limit = if self.store.is_remote() { REMOTE_OTHERS_LIMIT } else { OTHERS_LIMIT };
        for listed in self.store.list(Folder::Snapshots).unwrap_or_default().iter().filter(|listed| listed.id != pinned).take(limit) {
            let file = File::Named(Folder::Snapshots, listed.id);
            match self.store.get(file) {
                Ok(bytes) if Id::of(&bytes) == listed.id => {}
                Ok(bytes) => findings.add(
                    Cause::UnneededDamage,
                    &file.path(),
                    &format!("another snapshot: its SHA-256 is not its name ({} bytes)", bytes.len()),
                ),
                Err(StoreError::NotFound { .. }) => {}
                Err(_) if self.store.is_remote() => return,
                Err(error) => {
                    findings.add(Cause::UnneededDamage, &file.path(), &format!("another snapshot: {error}"));
                    return;
                }
            }
        }
    }
}
