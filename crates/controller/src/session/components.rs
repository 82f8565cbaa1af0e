//! Which components of a Snapshot a restore task covers, and the restic snapshots they consist of.

use backproof_api::{
    Cause, Component, Driver, Repository, Snapshot, SnapshotPhase,
    run::{PinnedComponent, PinnedRun},
};

use super::wire::Refusal;

/// The choice made for one run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// What is restored, in order of names.
    pub(super) selected: Vec<PinnedComponent>,
    /// What is left out, by name.
    pub(super) rest: Vec<String>,
}

/// Chooses by the task: its components are the base names it covers, alone or followed by a dash and more.
pub(super) fn choose(snapshot: &Snapshot, repository: &Repository, task: &str) -> Result<Chosen, Refusal> {
    let what = format!("Snapshot {}", crate::events::path(snapshot));
    let components = snapshot.status.as_ref().map(|status| &status.components).filter(|components| !components.is_empty());
    let components = components.ok_or_else(|| {
        Refusal::new(Cause::NoComponents, format!("{what} names no component: there is nothing in it that could be restored"))
    })?;
    let bases = bases(task);
    let covered = |name: &str| bases.iter().any(|base| name == *base || name.strip_prefix(base).is_some_and(|rest| rest.starts_with('-')));
    let (mut selected, mut rest) = (Vec::new(), Vec::new());
    for (name, component) in components {
        if covered(name) {
            let path = place(snapshot, repository, name, component);
            selected.push(PinnedComponent { path, ..pin(&what, name, component)? });
        } else {
            rest.push(name.clone());
        }
    }
    if selected.is_empty() {
        return Err(Refusal::new(
            Cause::NoComponentSelected,
            format!(
                "{what} has the components {}, of which task {task} restores none (it restores {}): choose another task",
                rest.join(", "),
                bases.join(", ")
            ),
        ));
    }
    Ok(Chosen { selected, rest })
}

/// Where the restic repository of a component lies below the Repository's path. One that the Snapshot gives no path for lies where
/// the Repository's own list has it; KubeStash used to put it there without the layout's version.
fn place(snapshot: &Snapshot, repository: &Repository, name: &str, component: &Component) -> String {
    if !component.path.is_empty() {
        return component.path.clone();
    }
    let session = &snapshot.spec.session;
    let with_version = format!("repository/{}/{session}/{name}", snapshot.spec.version);
    let listed = repository.status.as_ref().map(|status| status.component_paths.as_slice()).unwrap_or_default();
    [with_version, format!("repository/{session}/{name}")].into_iter().find(|path| listed.contains(path)).unwrap_or_default()
}

fn bases(task: &str) -> &'static [&'static str] {
    match task {
        "logical-backup-restore" => &["dump", "pod", "physical"],
        "physical-backup-restore" => &["physical"],
        "manifest-restore" => &["manifest"],
        _ => &["pod"],
    }
}

fn pin(what: &str, name: &str, component: &Component) -> Result<PinnedComponent, Refusal> {
    if component.phase.as_ref().is_some_and(|phase| *phase != SnapshotPhase::Succeeded) {
        let phase = component.phase.as_ref().map(ToString::to_string).unwrap_or_default();
        return Err(Refusal::new(
            Cause::NoSnapshotToVerify,
            format!("{what}: phase of component {name} is {phase}: verify a Snapshot whose components have all succeeded"),
        ));
    }
    if let Some(driver) = component.driver.as_ref().filter(|driver| **driver != Driver::Restic) {
        return Err(Refusal::new(
            Cause::DriverNotSupported,
            format!("{what}: component {name} was written by {driver}: only Restic can be verified"),
        ));
    }
    let ids: Vec<_> = component
        .restic_stats
        .iter()
        .filter_map(|stats| stats.summary.as_ref())
        .map(|summary| summary.id.clone())
        .filter(|id| !id.is_empty())
        .collect();
    if ids.is_empty() || ids.len() != component.restic_stats.len() {
        return Err(Refusal::new(
            Cause::DriverNotSupported,
            format!(
                "{what}: status.components.{name}.resticStats does not name its restic snapshots: what cannot be told apart cannot be verified"
            ),
        ));
    }
    Ok(PinnedComponent { name: name.to_owned(), path: component.path.clone(), restic_ids: ids })
}

/// The restic snapshots of a run, in order.
pub(super) fn restic_ids(run: &PinnedRun) -> Vec<String> {
    let mut ids: Vec<_> = run.snapshot.components.iter().flat_map(|component| component.restic_ids.iter().cloned()).collect();
    ids.sort_unstable();
    ids
}

/// Whether a Snapshot still stands for what a run was pinned to.
pub(super) fn still_stands_for(snapshot: &Snapshot, run: &PinnedRun) -> bool {
    let now = choose(snapshot, &Repository::default(), &run.verifier.task).map(|chosen| chosen.selected).unwrap_or_default();
    let pinned = &run.snapshot.components;
    // Where a path was found for one without, it is not in the Snapshot.
    let same = |(now, pinned): (&PinnedComponent, &PinnedComponent)| {
        now.name == pinned.name && now.restic_ids == pinned.restic_ids && (now.path == pinned.path || now.path.is_empty())
    };
    now.len() == pinned.len() && now.iter().zip(pinned).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(components: &str) -> Snapshot {
        serde_saphyr::from_str(&format!("{{metadata: {{name: s, namespace: demo}}, status: {{components: {components}}}}}")).unwrap()
    }

    fn repository() -> Repository {
        serde_saphyr::from_str(
            "{metadata: {name: r}, status: {componentPaths: [repository/v1/s/dump, repository/s/dump, repository/s/pod]}}",
        )
        .unwrap()
    }

    /// A Snapshot that says where its components lie is believed; one that does not, only as far as the Repository lists them.
    #[test]
    fn a_component_is_looked_for_where_it_was_put() {
        let given = |component: &str, path: &str| {
            let path = if path.is_empty() { String::new() } else { format!("path: {path}, ") };
            let yaml = format!(
                "{{metadata: {{name: n, namespace: demo}}, spec: {{session: s, version: v1}},
                  status: {{components: {{{component}: {{{path}resticStats: [{{summary: {{id: aa}}}}]}}}}}}}}"
            );
            serde_saphyr::from_str::<Snapshot>(&yaml).unwrap()
        };
        for (component, path, expected) in [
            ("dump", "repository/v9/s/dump", "repository/v9/s/dump"),
            ("dump", ".", "."),
            ("dump", "", "repository/v1/s/dump"),
            ("pod", "", "repository/s/pod"),
            ("dump-pod-0", "", ""),
        ] {
            let snapshot = given(component, path);
            let chosen = choose(&snapshot, &repository(), "logical-backup-restore").unwrap();
            assert_eq!(chosen.selected[0].path, expected, "{component} {path}");
            let mut run = PinnedRun::default();
            run.verifier.task = "logical-backup-restore".into();
            run.snapshot.components = chosen.selected;
            assert!(still_stands_for(&snapshot, &run), "{component} {path}");
            assert!(!still_stands_for(&given(component, "elsewhere"), &run), "{component} {path}");
            run.snapshot.components[0].restic_ids = vec!["bb".into()];
            assert!(!still_stands_for(&snapshot, &run), "{component} {path}");
        }
    }

    const ID: &str = "driver: Restic, phase: Succeeded, path: repository/v1/s/x, resticStats: [{summary: {id: aa}}]";

    #[test]
    fn tasks_choose_by_base_name() {
        let snapshot = snapshot(&format!(
            "{{dump: {{{ID}}}, dump-pod-0: {{{ID}}}, pod-0: {{{ID}}}, podium: {{{ID}}}, manifest: {{}}, wal: {{driver: WalG}}}}"
        ));
        for (task, selected, rest) in [
            ("logical-backup-restore", vec!["dump", "dump-pod-0", "pod-0"], vec!["manifest", "podium", "wal"]),
            ("volume-restore", vec!["pod-0"], vec!["dump", "dump-pod-0", "manifest", "podium", "wal"]),
        ] {
            let chosen = choose(&snapshot, &repository(), task).unwrap();
            assert_eq!(chosen.selected.iter().map(|component| component.name.as_str()).collect::<Vec<_>>(), selected, "{task}");
            assert_eq!(chosen.rest, rest, "{task}");
        }
    }

    #[test]
    fn what_cannot_be_verified_is_refused_with_its_cause() {
        for (components, task, cause) in [
            ("{}", "logical-backup-restore", Cause::NoComponents),
            ("{manifest: {}}", "logical-backup-restore", Cause::NoComponentSelected),
            ("{pod: {driver: WalG}}", "logical-backup-restore", Cause::DriverNotSupported),
            ("{pod: {driver: Restic}}", "logical-backup-restore", Cause::DriverNotSupported),
            ("{pod: {driver: Restic, resticStats: [{summary: {id: a}}, {}]}}", "logical-backup-restore", Cause::DriverNotSupported),
            ("{pod: {phase: Failed, resticStats: [{summary: {id: a}}]}}", "logical-backup-restore", Cause::NoSnapshotToVerify),
            ("{pod: {phase: Sleeping, resticStats: [{summary: {id: a}}]}}", "logical-backup-restore", Cause::NoSnapshotToVerify),
        ] {
            assert_eq!(choose(&snapshot(components), &repository(), task).unwrap_err().cause, cause, "{components}");
        }
    }
}
