//! Reads the snapshot files of a repository, and nothing else of it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use backproof_api::{
    Cause,
    report::{Finding, RepositoryFacts},
};
use jiff::Timestamp;

use super::{filter::Filter, plan::Found};
use crate::{
    repo::{Id, Repository, Snapshot},
    restore::{Findings, passwords},
    store::{Folder, Location, storage_secrets},
};

/// Most notes that are reported.
const NOTES: usize = 3;

/// What a repository holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Id in the repository's config; empty when it could not be opened.
    pub(super) repository_id: String,
    /// Ids of all restic snapshots.
    pub(super) all: Vec<String>,
    /// Those that pass the filter.
    pub(super) found: Vec<Found>,
    /// Why it is not complete.
    pub(super) fault: Option<Finding>,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
}

/// Lists the repository at a place. What was read before a fault is part of the answer.
pub(super) fn list(location: &Location, filter: &Filter, only_session: &str) -> Listing {
    let mut listing = Listing::default();
    if let Err(fault) = read(location, filter, only_session, &mut listing) {
        listing.fault = Some(fault);
    }
    listing
}

fn read(location: &Location, filter: &Filter, only_session: &str, listing: &mut Listing) -> Result<(), Finding> {
    let passwords = passwords()?;
    let store = location.open(storage_secrets().as_ref())?;
    let mut facts = RepositoryFacts::default();
    let repository = Repository::open(store, &passwords, &mut facts, &Findings::default())?;
    listing.repository_id = facts.id;
    let ids: Vec<Id> = repository.store.list(Folder::Snapshots).map_err(|error| error.finding())?.iter().map(|listed| listed.id).collect();
    listing.all = ids.iter().map(Id::to_string).collect();
    let mut without_session = 0_usize;
    for (id, result) in read_all(&repository, &ids) {
        match result {
            Ok(Some(snapshot)) if !filter.passes(&snapshot.hostname, &snapshot.paths, &snapshot.tags) => {}
            Ok(Some(snapshot)) => match (time(&snapshot), filter.session(&snapshot.tags, only_session)) {
                (None, _) => {
                    note(listing, format!("restic snapshot {} is left out: its time {:?} cannot be read", id.short(), snapshot.time))
                }
                (Some(_), None) => without_session += 1,
                (Some(time), Some(session)) => {
                    listing.found.push(Found { id: id.to_string(), time, paths: snapshot.paths.clone(), session: session.to_owned() });
                }
            },
            // Forgotten since it was listed.
            Ok(None) => listing.all.retain(|known| *known != id.to_string()),
            // One that cannot be read may be the newest, so the listing is not complete; the others are good all the same.
            Err(fault) => listing.fault = Some(listing.fault.take().unwrap_or(fault)),
        }
    }
    // Last of all: a listing of what is being taken away shows snapshots as gone that are not.
    if listing.fault.is_none()
        && let Some(how) = repository.went_away()?
    {
        listing.fault = Some(Finding { kind: Cause::RepositoryChangedDuringRun, path: String::new(), detail: how });
    }
    if without_session > 0 {
        let text = "name their session by restic tag session=NAME or in annotation backproof.dev/discover-filter, or let exactly one session of a BackupConfiguration use this Repository";
        note(listing, format!("{without_session} restic snapshots are left out, as it is not clear to which session they belong; {text}"));
    }
    Ok(())
}

fn note(listing: &mut Listing, text: String) {
    if listing.notes.len() < NOTES {
        listing.notes.push(text);
    }
}

/// To the second, as the API carries it: what is newest here must be newest there.
fn time(snapshot: &Snapshot) -> Option<Timestamp> {
    let time: Timestamp = snapshot.time.parse().ok()?;
    Timestamp::from_second(time.as_second()).ok()
}

type Read = (Id, Result<Option<Snapshot>, Finding>);

/// Reads every file, several at a time: on a far storage each takes a while.
fn read_all(repository: &Repository, ids: &[Id]) -> Vec<Read> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..repository.store.readers().min(ids.len()) {
            scope.spawn(|| {
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = repository.read_snapshot(*id);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((*id, result));
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}
