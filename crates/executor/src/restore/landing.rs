//! Where paths land: one backed-up path lands with that path's content at the target's root; several land below their full
//! paths; a selected path lands like a single one.

use backproof_api::{Cause, report::Finding};

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
    fn nothing_is_left_out_where_the_chain_does_not_fit() {
        // `restic backup .` in /data/x, which holds an entry named x beside others.
        assert_eq!(landing(&["/data/x"], None, &[("", &["x/", "y"]), ("/x", &[])]), "/");
        assert_eq!(landing(&["/data/x"], None, &[("", &[])]), "/");
        assert_eq!(landing(&["/srv/dump.sql"], None, &[("", &["srv/"]), ("/srv", &["dump.sql"])]), "dump.sql");
        assert_eq!(landing(&["/dump.sql"], None, &[("", &["dump.sql"])]), "dump.sql");
        assert_eq!(landing(&["/srv/x"], None, &[("", &["srv/"]), ("/srv", &["x/", "y"]), ("/srv/x", &[])]), "/");
    }
}
