//! Locks, and looking again: what is missing proves nothing while somebody else changes the repository.

use backproof_api::{Cause, report::Finding};
use jiff::{SignedDuration, Timestamp};

use super::{Id, Repository, format::Lock};
use crate::{
    restore::Findings,
    store::{File, Folder, StoreError},
};

/// After this time without renewal restic takes a lock for stale.
const STALE: SignedDuration = SignedDuration::from_mins(30);

/// A lock file, or what is wrong with it.
type ReadLock = (Id, Result<Lock, String>);

/// What a second look found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Somebody changes, or changed, the repository: how that shows.
    Changed(String),
    /// New index files were read: what was missing may be there.
    NewIndexes,
    /// All as before.
    Same,
}

impl Repository {
    /// Notes stale locks and damaged ones.
    pub(crate) fn look_at_locks(&self, now: Timestamp, findings: &Findings) {
        let locks = match self.locks() {
            Ok(locks) => locks,
            // Locks are not needed to restore. A storage that fails would fail again where it matters.
            Err(finding) => {
                findings.add(Cause::UnneededDamage, &finding.path, &format!("locks cannot be read: {}", finding.detail));
                return;
            }
        };
        for (id, lock) in locks {
            let path = File::Named(Folder::Locks, id).path();
            match lock {
                Ok(lock) if is_fresh(&lock, now) => {}
                Ok(lock) => findings.add(
                    Cause::StaleLock,
                    &path,
                    &format!("left behind by process {} on {} at {}", lock.pid, lock.hostname, lock.time),
                ),
                Err(fault) => findings.add(Cause::UnneededDamage, &path, &format!("a lock: {fault}")),
            }
        }
    }

    fn locks(&self) -> Result<Vec<ReadLock>, Finding> {
        let mut locks = Vec::new();
        for listed in self.store.list(Folder::Locks).map_err(|error| error.finding())? {
            let plain = match self.named(File::Named(Folder::Locks, listed.id), listed.id, Cause::UnneededDamage) {
                Ok(None) => continue,
                Ok(Some(plain)) => plain,
                Err(finding) if finding.kind == Cause::UnneededDamage => {
                    locks.push((listed.id, Err(finding.detail)));
                    continue;
                }
                Err(finding) => return Err(finding),
            };
            locks.push((listed.id, serde_json::from_slice(&plain).map_err(|error| error.to_string())));
        }
        Ok(locks)
    }

    /// How it shows that the open repository is not at its place any more, if it does: a listing of it then proves nothing.
    pub(crate) fn went_away(&self) -> Result<Option<String>, Finding> {
        match self.store.get(File::Config) {
            Ok(_) => Ok(None),
            Err(StoreError::NotFound { .. }) => Ok(Some("the repository's config went away while it was read".to_owned())),
            Err(error) => Err(error.finding()),
        }
    }

    /// Looks again after something was missing. New index files are read, and the packs listed anew; whether that means
    /// anything is asked afterwards, as a prune or an outage may have begun before the last listing.
    pub(crate) fn look_again(&mut self, snapshot: Id, now: Timestamp) -> Result<Again, Finding> {
        let indexes = self.store.list(Folder::Index).map_err(|error| error.finding())?;
        let new = self.add_index_files(&indexes)?;
        self.list_packs()?;
        if let Some(how) = self.changed(snapshot, now)? {
            return Ok(Again::Changed(how));
        }
        Ok(if new > 0 { Again::NewIndexes } else { Again::Same })
    }

    /// How it shows that somebody changes the repository, if it does.
    fn changed(&self, snapshot: Id, now: Timestamp) -> Result<Option<String>, Finding> {
        let exclusive = |lock: &Lock| lock.exclusive && is_fresh(lock, now);
        if let Some(lock) = self.locks()?.into_iter().filter_map(|(_, lock)| lock.ok()).find(exclusive) {
            return Ok(Some(format!("process {} on {} holds an exclusive lock since {}", lock.pid, lock.hostname, lock.time)));
        }
        let snapshots = self.store.list(Folder::Snapshots).map_err(|error| error.finding())?;
        if !snapshots.iter().any(|listed| listed.id == snapshot) {
            return Ok(Some(format!("snapshot {} was removed while it was read", snapshot.short())));
        }
        let indexes = self.store.list(Folder::Index).map_err(|error| error.finding())?;
        if let Some(gone) = self.index_files.iter().find(|id| !indexes.iter().any(|listed| listed.id == **id)) {
            return Ok(Some(format!("index file {} was removed while the repository was read", gone.short())));
        }
        self.went_away()
    }
}

/// A clock may be ahead as well as behind.
fn is_fresh(lock: &Lock, now: Timestamp) -> bool {
    now.duration_since(lock.time).abs() < STALE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_hour_decides() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        for (time, fresh) in [
            ("11:59:00Z", true),
            ("11:30:01Z", true),
            ("11:30:00Z", false),
            ("12:29:00Z", true),
            ("12:31:00Z", false),
            ("13:45:00+02:00", true),
        ] {
            let lock: Lock =
                serde_json::from_value(serde_json::json!({ "time": format!("2026-01-01T{time}"), "exclusive": true })).unwrap();
            assert_eq!(is_fresh(&lock, now), fresh, "{time}");
        }
    }
}
