//! Where paths land: one backed-up path lands with that path's content at the target's root; several land below their full
//! paths; a selected path lands like a single one. Where a run consists of several restic snapshots, each has a place of its
//! own below the root, so that in the end the target holds them all ([`Share`]).

use backproof_api::{Cause, environment, report::Finding};

use crate::repo::{Id, Node, parse_name};

/// What comes to lie at the target's root.
pub(crate) enum Landing {
    /// The entries of this tree.
    Directory(Id),
    /// This one entry, which is no directory.
    Entry(Box<Node>),
    /// A directory on the way is damaged, which was noted.
    Lost,
}

/// That others restore to the same target, and what part of it this run has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    directory: String,
    below: Below,
}

/// What a run's directory gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    /// The content of what was backed up.
    Content,
    /// The same below its full path.
    FullPath,
}

/// A place in the target: a directory, and the one entry in it that counts where it is not the directory's whole content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its names from the target's root on.
    pub(crate) directory: Vec<Vec<u8>>,
    pub(crate) entry: Option<Vec<u8>>,
}

impl Share {
    /// As the controller gives it; by hand there is none.
    pub(crate) fn from_env() -> Option<Self> {
        let directory = std::env::var(environment::LANDING_DIRECTORY).ok()?;
        let full = std::env::var(environment::LANDING_FULL_PATH).is_ok_and(|value| value == "true");
        Some(Self { directory, below: if full { Below::FullPath } else { Below::Content } })
    }

    /// The place of what lands here; `paths` are the snapshot's own.
    pub(crate) fn place(&self, paths: &[String], landing: &Landing) -> Place {
        let mut directory = steps(&self.directory);
        // Several paths come with their directories, so that they are below their full paths already.
        if let (Below::FullPath, [path]) = (self.below, paths) {
            directory.extend(steps(path));
            if let Landing::Entry(_) = landing {
                directory.pop();
            }
        }
        let entry = match landing {
            Landing::Entry(node) => parse_name(&node.name).ok(),
            Landing::Directory(_) | Landing::Lost => None,
        };
        Place { directory, entry }
    }
}

/// The names of a path, without those that lead elsewhere.
fn steps(path: &str) -> Vec<Vec<u8>> {
    path.split('/').filter(|step| !matches!(*step, "" | "." | "..") && !step.contains('\0')).map(|step| step.as_bytes().to_vec()).collect()
}

/// Finds it. `tree` gives the entries of a tree, or `None` if it is damaged.
pub(crate) fn land(
    paths: &[String],
    selected: Option<&str>,
    root: Id,
    mut tree: impl FnMut(Id) -> Result<Option<Vec<Node>>, Finding>,
) -> Result<Landing, Finding> {
    if let Some(selected) = selected {
        return select(selected, root, tree);
    }
    let [path] = paths else { return Ok(Landing::Directory(root)) };
    let steps: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').filter(|step| !step.is_empty()).collect();
    // The trees of a single path are a chain of single entries. A relative path is recorded in full, but its chain begins
    // somewhere in the middle; `.` has none at all. Where the chain does not fit, everything lands: nothing is left out.
    for from in 0..steps.len() {
        match chain(&steps[from..], root, &mut tree)? {
            Some(landing) => return Ok(landing),
            None => continue,
        }
    }
    Ok(Landing::Directory(root))
}

fn chain(steps: &[&[u8]], root: Id, tree: &mut impl FnMut(Id) -> Result<Option<Vec<Node>>, Finding>) -> Result<Option<Landing>, Finding> {
    let mut at = root;
    for (number, step) in steps.iter().enumerate() {
        let Some(mut nodes) = tree(at)? else { return Ok(Some(Landing::Lost)) };
        let (Some(node), true) = (nodes.pop(), nodes.is_empty()) else { return Ok(None) };
        if parse_name(&node.name).ok().as_deref() != Some(step) {
            return Ok(None);
        }
        match node.subtree {
            Some(subtree) if node.kind == "dir" => at = subtree,
            Some(_) | None => return Ok((number + 1 == steps.len()).then(|| Landing::Entry(Box::new(node)))),
        }
    }
    Ok(Some(Landing::Directory(at)))
}

fn select(selected: &str, root: Id, mut tree: impl FnMut(Id) -> Result<Option<Vec<Node>>, Finding>) -> Result<Landing, Finding> {
    let missing = || Finding {
        kind: Cause::SnapshotNotFound,
        path: selected.to_owned(),
        detail: "the snapshot holds no such path; give one as restic shows it".to_owned(),
    };
    let steps: Vec<&[u8]> = selected.as_bytes().split(|byte| *byte == b'/').filter(|step| !step.is_empty()).collect();
    let mut at = root;
    for (number, step) in steps.iter().enumerate() {
        let Some(nodes) = tree(at)? else { return Ok(Landing::Lost) };
        let node = nodes.into_iter().find(|node| parse_name(&node.name).ok().as_deref() == Some(step)).ok_or_else(missing)?;
        match node.subtree {
            Some(subtree) if node.kind == "dir" => at = subtree,
            Some(_) | None if number + 1 == steps.len() => return Ok(Landing::Entry(Box::new(node))),
            Some(_) | None => return Err(missing()),
        }
    }
    Ok(Landing::Directory(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trees by name: a name ending in `/` is a directory whose tree has the path as its name.
    fn landing(paths: &[&str], selected: Option<&str>, trees: &[(&str, &[&str])]) -> String {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let id = |name: &str| Id::of(name.as_bytes());
        let names = |wanted: Id| trees.iter().find(|(name, _)| id(name) == wanted);
        let read = |wanted: Id| {
            let (place, entries) = names(wanted).unwrap();
            let node = |entry: &&str| {
                let directory = entry.strip_suffix('/');
                let subtree = directory.map(|name| id(&format!("{place}/{name}")).to_string());
                let kind = if directory.is_some() { "dir" } else { "file" };
                serde_json::from_value(serde_json::json!({ "name": directory.unwrap_or(entry), "type": kind, "subtree": subtree })).unwrap()
            };
            Ok(Some(entries.iter().map(node).collect()))
        };
        match land(&paths, selected, id(""), read) {
            Ok(Landing::Directory(tree)) => format!("{}/", names(tree).unwrap().0),
            Ok(Landing::Entry(node)) => node.name,
            Ok(Landing::Lost) => "lost".to_owned(),
            Err(finding) => finding.kind.to_string(),
        }
    }

    #[test]
    fn one_path_lands_with_its_content() {
        let deep: &[(&str, &[&str])] = &[("", &["data/"]), ("/data", &["x/"]), ("/data/x", &["a", "b/"]), ("/data/x/b", &[])];
        assert_eq!(landing(&["/data/x"], None, deep), "/data/x/");
        assert_eq!(landing(&["/data/x/"], None, deep), "/data/x/");
        // A relative path: `restic backup data/x` in /home/me.
        assert_eq!(landing(&["/home/me/data/x"], None, deep), "/data/x/");
        assert_eq!(landing(&["/data/x", "/etc"], None, deep), "/");
        assert_eq!(landing(&[], None, deep), "/");
        assert_eq!(landing(&["/data/x"], Some("/data/x/b"), deep), "/data/x/b/");
        assert_eq!(landing(&["/data/x"], Some("data/x/a"), deep), "a");
        assert_eq!(landing(&["/data/x"], Some("/"), deep), "/");
        for missing in ["/data/y", "/data/x/a/c"] {
            assert_eq!(landing(&["/data/x"], Some(missing), deep), "SnapshotNotFound");
        }
    }

    #[test]
    fn each_part_of_a_run_has_a_place_of_its_own() {
        let file = Landing::Entry(Box::new(serde_json::from_value(serde_json::json!({"name": "dump.sql", "type": "file"})).unwrap()));
        let tree = Landing::Directory(Id::of(b""));
        let share = |directory: &str, below| Share { directory: directory.to_owned(), below };
        for (share, paths, landing, directory, entry) in [
            (share("pod-0", Below::Content), vec!["/data/x"], &tree, "pod-0", None),
            (share("pod/2of3", Below::Content), vec!["/data/x"], &tree, "pod/2of3", None),
            (share("", Below::FullPath), vec!["/data/x"], &tree, "data/x", None),
            (share("pod", Below::FullPath), vec!["/data/x"], &tree, "pod/data/x", None),
            (share("pod", Below::FullPath), vec!["/a", "/b"], &tree, "pod", None),
            (share("pod", Below::FullPath), vec!["/../x/./y"], &tree, "pod/x/y", None),
            (share("", Below::FullPath), vec!["/dump.sql"], &file, "", Some("dump.sql")),
            (share("dump", Below::FullPath), vec!["/srv/dump.sql"], &file, "dump/srv", Some("dump.sql")),
            (share("dump", Below::Content), vec!["/srv/dump.sql"], &file, "dump", Some("dump.sql")),
        ] {
            let paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
            let place = Place { directory: steps(directory), entry: entry.map(|name| name.as_bytes().to_vec()) };
            assert_eq!(share.place(&paths, landing), place, "{share:?} {paths:?}");
        }
    }

    #[test]
    fn nothing_is_left_out_where_the_chain_does_not_fit() {
        // `restic backup .` in /data/x, which holds an entry named x beside others.
        assert_eq!(landing(&["/data/x"], None, &[("", &["x/", "y"]), ("/x", &[])]), "/");
        assert_eq!(landing(&["/data/x"], None, &[("", &[])]), "/");
        assert_eq!(landing(&["/srv/dump.sql"], None, &[("", &["srv/"]), ("/srv", &["dump.sql"])]), "dump.sql");
        assert_eq!(landing(&["/dump.sql"], None, &[("", &["dump.sql"])]), "dump.sql");
        assert_eq!(landing(&["/srv/x"], None, &[("", &["srv/"]), ("/srv", &["x/", "y"]), ("/srv/x", &[])]), "/");
    }
}
