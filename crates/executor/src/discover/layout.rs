//! Where the restic repositories of a Repository lie: at its place itself, or, as KubeStash lays them out, one for each component
//! at `repository/VERSION/SESSION/COMPONENT` (formerly without VERSION). Pure but for the looks it is given.

use std::collections::BTreeSet;

use backproof_api::{Cause, report::Finding};

use super::plan::WHOLE;
use crate::store::{Entry, EntryKind};

/// The directory below which every component has a repository of its own.
const COMPONENTS: &str = "repository";

/// One restic repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Site {
    /// Where it lies below the Repository's place; `.` is that place itself.
    pub(super) path: String,
    /// The component it holds.
    pub(super) component: String,
    /// The session it belongs to, where its path tells.
    pub(super) session: Option<String>,
}

/// Every restic repository, and the directories that should be one and are not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sites {
    pub(super) all: Vec<Site>,
    pub(super) left_out: Vec<String>,
}

/// Finds them. `look` says what lies directly at a path.
pub(super) fn find(mut look: impl FnMut(&str) -> Result<Vec<Entry>, Finding>) -> Result<Sites, Finding> {
    let root = look("")?;
    // What is neither is told apart from a repository when it is opened.
    if is_repository(&root) || !directories(&root).any(|name| name == COMPONENTS) {
        let whole = Site { path: WHOLE.to_owned(), component: "pod".to_owned(), session: None };
        return Ok(Sites { all: vec![whole], left_out: Vec::new() });
    }
    let mut sites = Sites { all: Vec::new(), left_out: Vec::new() };
    for first in names(&look(COMPONENTS)?) {
        for second in names(&look(&format!("{COMPONENTS}/{first}"))?) {
            let place = format!("{COMPONENTS}/{first}/{second}");
            let entries = look(&place)?;
            if is_repository(&entries) {
                sites.all.push(Site { path: place, component: second, session: Some(first.clone()) });
                continue;
            }
            for third in names(&entries) {
                let path = format!("{place}/{third}");
                if is_repository(&look(&path)?) {
                    sites.all.push(Site { path, component: third, session: Some(second.clone()) });
                } else {
                    sites.left_out.push(path);
                }
            }
        }
    }
    if sites.all.is_empty() {
        let detail = format!(
            "there is a directory {COMPONENTS}, as KubeStash makes it, and no restic repository at {COMPONENTS}/v1/SESSION/COMPONENT: \
             check the Repository's path, and that the volume or bucket is the right one"
        );
        return Err(Finding { kind: Cause::RepositoryNotFound, path: COMPONENTS.to_owned(), detail });
    }
    sites.all.sort();
    Ok(sites)
}

/// Whether a directory is a restic repository, a damaged one included: one of the files or folders may be missing.
fn is_repository(entries: &[Entry]) -> bool {
    let config = entries.iter().any(|entry| entry.name == "config" && entry.kind == EntryKind::File);
    let folders = directories(entries).filter(|name| ["data", "index", "keys", "snapshots"].contains(name)).count();
    config || folders >= 2
}

fn directories(entries: &[Entry]) -> impl Iterator<Item = &str> {
    entries.iter().filter(|entry| entry.kind == EntryKind::Directory).map(|entry| entry.name.as_str())
}

fn names(entries: &[Entry]) -> BTreeSet<String> {
    directories(entries).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of a place, from the paths of all files.
    fn look(files: &[&str], place: &str) -> Vec<Entry> {
        let below = if place.is_empty() { String::new() } else { format!("{place}/") };
        let mut entries: Vec<Entry> = Vec::new();
        for rest in files.iter().filter_map(|file| file.strip_prefix(below.as_str())) {
            let (name, kind) = match rest.split_once('/') {
                Some((name, _)) => (name, EntryKind::Directory),
                None => (rest, EntryKind::File),
            };
            if !entries.iter().any(|entry| entry.name == name) {
                entries.push(Entry { name: name.to_owned(), kind });
            }
        }
        entries
    }

    fn found(files: &[&str]) -> String {
        match find(|place| Ok(look(files, place))) {
            Ok(sites) => {
                let of = |site: &Site| format!("{}={}/{}", site.path, site.session.as_deref().unwrap_or("?"), site.component);
                let left = sites.left_out.iter().map(|path| format!("-{path}"));
                sites.all.iter().map(of).chain(left).collect::<Vec<_>>().join(" ")
            }
            Err(finding) => finding.kind.to_string(),
        }
    }

    #[test]
    fn one_repository_at_the_place_or_one_for_each_component() {
        for (files, expected) in [
            // Nothing, and one at the place, even where a directory of its own has the name.
            (vec![], ".=?/pod"),
            (vec!["config", "keys/a"], ".=?/pod"),
            (vec!["config", "keys/a", "repository/v1/s/dump/config"], ".=?/pod"),
            (vec!["keys/a", "data/00/b"], ".=?/pod"),
            (vec!["repository.yaml", "snapshots/a.yaml"], ".=?/pod"),
            // KubeStash's, now and formerly, and both at once.
            (
                vec!["repository.yaml", "snapshots/a.yaml", "repository/v1/s/dump/config", "repository/v1/s/manifest/config"],
                "repository/v1/s/dump=s/dump repository/v1/s/manifest=s/manifest",
            ),
            (vec!["repository/s/dump/config"], "repository/s/dump=s/dump"),
            (
                vec!["repository/s/dump/config", "repository/v1/s/dump/config", "repository/v1/t/pod-0/config"],
                "repository/s/dump=s/dump repository/v1/s/dump=s/dump repository/v1/t/pod-0=t/pod-0",
            ),
            // Names that a repository has inside.
            (vec!["repository/v1/data/keys/config"], "repository/v1/data/keys=data/keys"),
            // One that lost its config is one; one of another tool is not, and is named.
            (
                vec!["repository/v1/s/dump/keys/a", "repository/v1/s/dump/data/00/b", "repository/v1/s/wal/base/x"],
                "repository/v1/s/dump=s/dump -repository/v1/s/wal",
            ),
            (vec!["repository/v1/s/wal/base/x"], "RepositoryNotFound"),
            (vec!["repository/v1"], "RepositoryNotFound"),
        ] {
            assert_eq!(found(&files), expected, "{files:?}");
        }
    }

    #[test]
    fn a_place_that_cannot_be_looked_at_is_not_left_out() {
        let files = ["repository/v1/s/dump/config", "repository/v1/s/manifest/config"];
        let refused = Finding { kind: Cause::RepositoryNotReadable, path: String::new(), detail: String::new() };
        let looked = find(|place| if place.ends_with("manifest") { Err(refused.clone()) } else { Ok(look(&files, place)) });
        assert_eq!(looked.unwrap_err().kind, Cause::RepositoryNotReadable);
    }
}
