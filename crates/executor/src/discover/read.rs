//! Reads the snapshot files of a Repository's restic repositories, and nothing else of them.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use backproof_api::{
    Cause,
    cause::CauseClass,
    report::{Finding, RepositoryFacts},
};
use jiff::Timestamp;

use super::{
    filter::Filter,
    layout::{self, Site},
    plan::{Found, Held, WHOLE},
};
use crate::{
    repo::{Id, Repository, Snapshot},
    restore::{Findings, passwords},
    store::{Folder, Location, Store, storage_secrets},
};

/// Most notes that are reported.
const NOTES: usize = 3;

/// What a Repository holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Id in the restic repository's config, or [`COMPONENTS`]; empty when nothing could be opened.
    pub(super) repository_id: String,
    /// Every restic repository that was listed.
    pub(super) held: Vec<Held>,
    /// The restic snapshots that pass the filter.
    pub(super) found: Vec<Found>,
    /// Why it is not complete.
    pub(super) fault: Option<Finding>,
    /// The sessions that this concerns; none where it concerns all.
    pub(super) sessions: Vec<String>,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
}

/// What stands for the id where every component has a repository of its own: those come and go.
const COMPONENTS: &str = "one repository for each component";

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) filter: &'a Filter,
    /// The session of what neither its place, nor a tag, nor the filter assigns.
    pub(super) only_session: &'a str,
}

/// Lists what lies at a place. What was read before a fault is part of the answer.
pub(super) fn list(location: &Location, wanted: Wanted<'_>) -> Listing {
    let mut listing = Listing::default();
    if let Err(fault) = read(location, wanted, &mut listing) {
        (listing.fault, listing.sessions) = (Some(fault), Vec::new());
    }
    listing
}

fn read(location: &Location, wanted: Wanted<'_>, listing: &mut Listing) -> Result<(), Finding> {
    let passwords = passwords()?;
    let secrets = storage_secrets();
    let store = location.open(secrets.as_ref())?;
    let sites = layout::find(|place| store.entries(place).map_err(|error| error.finding()))?;
    let mut faults: Vec<(Option<String>, Finding)> = Vec::new();
    let mut without_session = 0_usize;
    for site in &sites.all {
        let store = if site.path == WHOLE { location.clone() } else { location.below(&site.path) }.open(secrets.as_ref())?;
        if let Err(fault) = read_one(store, &passwords, site, wanted, listing, &mut without_session) {
            let path = if site.path == WHOLE { fault.path } else { format!("{}/{}", site.path, fault.path) };
            faults.push((site.session.clone(), Finding { path, ..fault }));
        }
    }
    // What could not be found out comes first: with it, nobody can say that a defect is all there is.
    faults.sort_by_key(|(_, fault)| fault.kind.class() == CauseClass::Defect);
    let sessions: BTreeSet<_> = faults.iter().filter_map(|(session, _)| session.clone()).collect();
    // Without one of its components a Snapshot would stand for less than there is.
    listing.found.retain(|found| found.place == WHOLE || !sessions.contains(&found.session));
    listing.sessions = sessions.into_iter().collect();
    listing.fault = faults.into_iter().next().map(|(_, fault)| fault);
    for path in sites.left_out {
        note(listing, format!("{path} is no restic repository and is left out: only what restic wrote can be verified"));
    }
    if without_session > 0 {
        let text = "name their session by restic tag session=NAME or in annotation backproof.dev/discover-filter, or let exactly one session of a BackupConfiguration use this Repository";
        note(listing, format!("{without_session} restic snapshots are left out, as it is not clear to which session they belong; {text}"));
    }
    Ok(())
}

/// Lists one restic repository.
fn read_one(
    store: Store,
    passwords: &[Vec<u8>],
    site: &Site,
    wanted: Wanted<'_>,
    listing: &mut Listing,
    without_session: &mut usize,
) -> Result<(), Finding> {
    let mut facts = RepositoryFacts::default();
    let repository = Repository::open(store, passwords, &mut facts, &Findings::default())?;
    listing.repository_id = if site.path == WHOLE { facts.id } else { COMPONENTS.to_owned() };
    let ids: Vec<Id> = repository.store.list(Folder::Snapshots).map_err(|error| error.finding())?.iter().map(|listed| listed.id).collect();
    let mut held = Held { place: site.path.clone(), ids: ids.iter().map(Id::to_string).collect() };
    let mut fault = None;
    for (id, result) in read_all(&repository, &ids) {
        let snapshot = match result {
            Ok(Some(snapshot)) => snapshot,
            // Forgotten since it was listed.
            Ok(None) => {
                held.ids.retain(|known| *known != id.to_string());
                continue;
            }
            // One that cannot be read may be the newest, so the listing is not complete; the others are good all the same.
            Err(found) => {
                fault.get_or_insert(found);
                continue;
            }
        };
        if !wanted.filter.passes(&snapshot.hostname, &snapshot.paths, &snapshot.tags) {
            continue;
        }
        let session = site.session.as_deref().or_else(|| wanted.filter.session(&snapshot.tags, wanted.only_session));
        match (time(&snapshot), session) {
            (None, _) => note(listing, format!("restic snapshot {} is left out: its time {:?} cannot be read", id.short(), snapshot.time)),
            (Some(_), None) => *without_session += 1,
            (Some(time), Some(session)) => listing.found.push(Found {
                id: id.to_string(),
                time,
                paths: snapshot.paths.clone(),
                session: session.to_owned(),
                component: site.component.clone(),
                place: site.path.clone(),
            }),
        }
    }
    listing.held.push(held);
    // Last of all: a listing of what is being taken away shows snapshots as gone that are not.
    if fault.is_none()
        && let Some(how) = repository.went_away()?
    {
        fault = Some(Finding { kind: Cause::RepositoryChangedDuringRun, path: String::new(), detail: how });
    }
    fault.map_or(Ok(()), Err)
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
