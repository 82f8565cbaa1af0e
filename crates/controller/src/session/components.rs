//! Which components of a Snapshot a restore task covers, and the restic snapshots they consist of.

use backproof_api::{Cause, Component, Driver, Snapshot, SnapshotPhase, run::PinnedComponent};

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
pub(super) fn choose(snapshot: &Snapshot, task: &str) -> Result<Chosen, Refusal> {
    let what = format!("Snapshot {}", crate::events::path(snapshot));
    let components = snapshot.status.as_ref().map(|status| &status.components).filter(|components| !components.is_empty());
    let components = components.ok_or_else(|| {
        Refusal::new(Cause::NoComponents, format!("{what} names no component: there is nothing in it that could be restored"))
    })?;
    let bases = bases(task);
    let covered = |name: &str| bases.iter().any(|base| name == *base || name.strip_prefix(base).is_some_and(|rest| rest.starts_with('-')));
    let (mut selected, mut rest) = (Vec::new(), Vec::new());
    for (name, component) in components {
        if covered(name) { selected.push(pin(&what, name, component)?) } else { rest.push(name.clone()) }
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

/// The components of a Snapshot as they are pinned, whatever the task; to see whether a pinned one is still the same.
pub(super) fn restic_ids(run: &backproof_api::run::PinnedRun) -> Vec<String> {
    let mut ids: Vec<_> = run.snapshot.components.iter().flat_map(|component| component.restic_ids.iter().cloned()).collect();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(components: &str) -> Snapshot {
        serde_saphyr::from_str(&format!("{{metadata: {{name: s, namespace: demo}}, status: {{components: {components}}}}}")).unwrap()
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
            let chosen = choose(&snapshot, task).unwrap();
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
            assert_eq!(choose(&snapshot(components), task).unwrap_err().cause, cause, "{components}");
        }
    }
}
