//! What decides the result of a discovery: settings, sessions, and who asked for it. Pure.

use backproof_api::{Repository, labels, names, report::DiscoveryRecord, validate::Invoker};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::decide::Observed;

/// Session that snapshots without a session's tag belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// One session of the namespace's invokers uses the repository.
    Only(String),
    /// None does, or several do: only tags and the filter can tell.
    Unclear,
}

impl Session {
    /// The session, if exactly one name uses the repository.
    pub(super) fn of<'a>(repository: &str, invokers: impl Iterator<Item = Invoker<'a>>) -> Self {
        let mut names =
            invokers.flat_map(Invoker::entries).filter(|entry| entry.repository.name == repository).map(|entry| entry.session.to_owned());
        match names.next() {
            Some(first) if !first.is_empty() && names.all(|other| other == first) => Self::Only(first),
            Some(_) | None => Self::Unclear,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Only(name) => name,
            Self::Unclear => "",
        }
    }
}

/// Whether a Repository's restic snapshots are turned into Snapshots.
pub(crate) fn is_discovered(repository: &Repository) -> bool {
    repository.annotations().get(labels::DISCOVER).is_some_and(|value| value == "true")
}

/// What discovery last came to; one that does not parse counts as none.
pub(crate) fn record(repository: &Repository) -> DiscoveryRecord {
    repository.annotations().get(labels::DISCOVERY).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Since when somebody waits for a discovery.
pub(super) fn request(repository: &Repository) -> Option<Timestamp> {
    repository.annotations().get(labels::DISCOVER_REQUEST)?.parse().ok()
}

/// Hash of what decides the result.
pub(super) fn hash(observed: &Observed<'_>) -> String {
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let repository = observed.repository;
    let filter = repository.annotations().get(labels::DISCOVER_FILTER).map_or("", String::as_str);
    let storage = observed.storage.as_deref().map(|storage| (&storage.spec, storage.uid()));
    let parts = [
        json(serde_json::to_string(&repository.spec)),
        json(serde_json::to_string(&storage)),
        filter.to_owned(),
        observed.session.name().to_owned(),
        observed.config.image.clone(),
    ];
    names::hash(&parts.each_ref().map(String::as_str))[..16].to_owned()
}
