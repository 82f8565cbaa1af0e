//! The verification session a restore belongs to, and the facts its run is pinned to.

use backproof_api::{
    BackupVerificationSession, RestoreSession, kept,
    run::{PinnedComponent, PinnedRun, VERIFIER_JOB},
};
use kube::ResourceExt as _;

/// A session and its pinned run.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) session: BackupVerificationSession,
    /// Each of its components is what one Job restores ([`parts`]).
    pub(crate) run: PinnedRun,
}

/// The components of a run as they are restored: one restic snapshot each, by a Job of its own. A component that consists of
/// several (hosts or paths that were backed up apart) becomes as many, and is proven when all of them are. A foreign Function
/// knows whole components only.
pub(crate) fn parts(run: &PinnedRun) -> Vec<PinnedComponent> {
    let components = &run.snapshot.components;
    if run.verifier.foreign.is_some() {
        return components.clone();
    }
    let split = |component: &PinnedComponent| -> Vec<PinnedComponent> {
        let of = component.restic_ids.len();
        if of < 2 {
            return vec![component.clone()];
        }
        let part = |(at, id): (usize, &String)| PinnedComponent {
            name: format!("{}-{}of{of}", component.name, at + 1),
            path: component.path.clone(),
            restic_ids: vec![id.clone()],
        };
        component.restic_ids.iter().enumerate().map(part).collect()
    };
    components.iter().flat_map(split).collect()
}

/// Names of the Jobs a run needs, but for the wipe: one for each part, and the verifier's.
pub(crate) fn jobs(run: &PinnedRun) -> impl Iterator<Item = &str> {
    let verifier = run.verifier.query.as_ref().map(|_| VERIFIER_JOB);
    run.snapshot.components.iter().map(|component| component.name.as_str()).chain(verifier)
}

impl Owner {
    /// The session with its run, as its status has it. The annotation that shows the same is anybody's to write, so nothing is
    /// ever done on its word.
    pub(crate) fn of(session: BackupVerificationSession) -> Option<Self> {
        let mut session = session;
        session.status.iter_mut().for_each(kept::unpack);
        let pinned = session.status.as_ref().and_then(|status| status.run.clone());
        let is_whole =
            |run: &PinnedRun| ![&run.restore_spec_hash, &run.verifier.object.uid, &run.snapshot.uid].into_iter().any(String::is_empty);
        let mut run = pinned.filter(is_whole)?;
        run.snapshot.components = parts(&run);
        Some(Self { session, run })
    }
}

/// Name of the session that controls a restore, by kind and group; whether it is the one is judged later.
pub(crate) fn named_by(restore: &RestoreSession) -> Option<&str> {
    let ours = restore.owner_references().iter().find(|owner| {
        owner.controller == Some(true) && owner.kind == "BackupVerificationSession" && owner.api_version.starts_with("core.kubestash.com/")
    });
    ours.map(|owner| owner.name.as_str())
}

#[cfg(test)]
mod tests {
    use backproof_api::labels;
    use serde_json::json;

    use super::*;

    /// Whoever may annotate a session and make a RestoreSession could else have Jobs of their own choice run.
    #[test]
    fn an_annotation_alone_starts_nothing() {
        let run = json!({"verifier": {"object": {"uid": "v"}}, "snapshot": {"uid": "s"}, "restoreSpecHash": "h"});
        let mut waiting = run.clone();
        waiting["restoreSpecHash"] = "".into();
        let session = |run: serde_json::Value, annotation: &serde_json::Value| -> BackupVerificationSession {
            serde_json::from_value(json!({
                "metadata": {"name": "s", "annotations": {(labels::RUN): annotation.to_string()}}, "spec": {},
                "status": {"phase": "Running", "conditions": [], "run": run},
            }))
            .unwrap()
        };
        assert!(Owner::of(session(run.clone(), &waiting)).is_some());
        assert!(Owner::of(session(waiting, &run)).is_none(), "it waits for its turn, and the annotation says that it restores");
        assert!(Owner::of(session(json!(null), &run)).is_none());
    }
}
