//! Where the parts of a run land when there are several, so that in the end the target holds all of them. Pure.
//!
//! A run with one part lands at the target's root. Of several components each has a directory of its own name. The parts of one
//! component land below the full paths they were backed up from, where those keep them apart, and else each in a directory of its
//! own.

use std::collections::BTreeMap;

use backproof_api::{environment, labels, names, run::PinnedComponent};
use k8s_openapi::api::core::v1::EnvVar;

/// Where one part lands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Landing {
    /// Below the target's root; empty for that root.
    directory: String,
    below: Below,
}

/// What a directory gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Below {
    Content,
    FullPath,
}

/// What a part is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The Snapshot's component.
    pub(crate) component: String,
    /// What was backed up, as the Snapshot tells it.
    pub(crate) host_paths: Vec<String>,
}

/// Where each part lands, in their order; `None` for the only one.
pub(crate) fn landings(parts: &[PinnedComponent], origin: impl Fn(&PinnedComponent) -> Origin) -> Vec<Option<Landing>> {
    if parts.len() < 2 {
        return vec![None; parts.len()];
    }
    let origins: Vec<Origin> = parts.iter().map(origin).collect();
    let mut components: BTreeMap<&str, Vec<&[String]>> = BTreeMap::new();
    for origin in &origins {
        components.entry(&origin.component).or_default().push(&origin.host_paths);
    }
    let alone = components.len() == 1;
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut landings = Vec::new();
    for Origin { component, .. } in &origins {
        let base = if alone { String::new() } else { directory(component) };
        let paths = components.get(component.as_str()).map(Vec::as_slice).unwrap_or_default();
        let at = seen.entry(component).or_default();
        *at += 1;
        let of = paths.len();
        landings.push(Some(if of == 1 {
            Landing { directory: base, below: Below::Content }
        } else if are_apart(paths) {
            Landing { directory: base, below: Below::FullPath }
        } else {
            let own = format!("{at}of{of}");
            Landing { directory: if base.is_empty() { own } else { format!("{base}/{own}") }, below: Below::Content }
        }));
    }
    landings
}

/// The name of a component as that of a directory. One that could be none has a hash in its place.
fn directory(component: &str) -> String {
    let usual = component.len() <= 255 && component.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if usual && !component.is_empty() && !component.starts_with('.') && component != labels::TARGET_MARKER {
        return component.to_owned();
    }
    format!("component-{}", &names::hash(&[component])[..16])
}

/// Whether every part has one absolute path, and no path is another one or lies in it.
fn are_apart(parts: &[&[String]]) -> bool {
    let paths: Option<Vec<Vec<&str>>> = parts.iter().map(|paths| if let [path] = *paths { steps(path) } else { None }).collect();
    let Some(paths) = paths else { return false };
    let apart =
        |(at, path): (usize, &Vec<&str>)| paths.iter().enumerate().all(|(other_at, other)| at == other_at || !other.starts_with(path));
    paths.iter().enumerate().all(apart)
}

/// The names of a path that says where it is, and is not everything.
fn steps(path: &str) -> Option<Vec<&str>> {
    let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty() && *step != ".").collect();
    let plain = !steps.is_empty()
        && !steps.contains(&"..")
        && !steps.iter().any(|step| step.starts_with(labels::TARGET_MARKER) || *step == "lost+found");
    (plain && path.starts_with('/')).then_some(steps)
}

impl Landing {
    /// How the executor is told.
    pub(crate) fn env(&self) -> Vec<EnvVar> {
        let variable = |name: &str, value: &str| EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None };
        let directory = variable(environment::LANDING_DIRECTORY, &self.directory.replace("$(", "$$("));
        match self.below {
            Below::Content => vec![directory],
            Below::FullPath => vec![directory, variable(environment::LANDING_FULL_PATH, "true")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `component path` each; in the answer a slash at the end means that full paths follow.
    fn landing(parts: &[(&str, &str)]) -> String {
        let pinned: Vec<PinnedComponent> = parts
            .iter()
            .map(|(name, path)| PinnedComponent { name: (*name).into(), path: (*path).into(), restic_ids: Vec::new() })
            .collect();
        let origin = |part: &PinnedComponent| Origin {
            component: part.name.clone(),
            host_paths: part.path.split('|').filter(|path| !path.is_empty()).map(str::to_owned).collect(),
        };
        let shown = |landing: Option<Landing>| match landing {
            None => "alone".to_owned(),
            Some(Landing { directory, below: Below::Content }) => directory,
            Some(Landing { directory, below: Below::FullPath }) => format!("{directory}/..."),
        };
        landings(&pinned, origin).into_iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_part_has_a_place_that_no_other_has() {
        for (parts, expected) in [
            (vec![], ""),
            (vec![("pod", "/data")], "alone"),
            (vec![("pod-0", "/data"), ("pod-1", "/data")], "pod-0 pod-1"),
            (vec![("pod", "/data"), ("pod", "/etc")], "/... /..."),
            (vec![("pod", "/data"), ("pod", "/data")], "1of2 2of2"),
            (vec![("pod", "/data"), ("pod", "/data/below")], "1of2 2of2"),
            (vec![("pod", "/data"), ("pod", "/database")], "/... /..."),
            (vec![("pod", "/"), ("pod", "/etc")], "1of2 2of2"),
            (vec![("pod", ""), ("pod", "/etc")], "1of2 2of2"),
            (vec![("pod", "/a|/b"), ("pod", "/etc")], "1of2 2of2"),
            (vec![("pod", "dump.sql"), ("pod", "other.sql")], "1of2 2of2"),
            (vec![("pod", "/x/../data"), ("pod", "/data")], "1of2 2of2"),
            (vec![("pod", "/.backproof.json"), ("pod", "/data")], "1of2 2of2"),
            (vec![("dump", "/x"), ("pod", "/a"), ("pod", "/b")], "dump pod/... pod/..."),
            (vec![("dump", "/x"), ("pod", "/a"), ("pod", "/a")], "dump pod/1of2 pod/2of2"),
            (vec![("..", "/x"), ("pod", "/a")], "component-HASH pod"),
        ] {
            let found = landing(&parts);
            let expected = expected.replace("HASH", &names::hash(&[".."])[..16]);
            assert_eq!(found, expected, "{parts:?}");
        }
    }

    #[test]
    fn names_that_are_none_become_some() {
        for name in ["", ".", "..", "a/b", ".backproof.json", "a b", "ü"] {
            let made = directory(name);
            assert!(made.starts_with("component-") && made.len() == 26, "{name:?}: {made}");
        }
        assert_eq!(directory("dump-node.example"), "dump-node.example");
    }
}
