//! The verification session a restore belongs to, and the facts its run is pinned to.

use backproof_api::{
    BackupVerificationSession, RestoreSession, kept, labels,
    run::{PinnedComponent, PinnedRun},
};
use kube::ResourceExt as _;

/// A session and its pinned run.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) session: BackupVerificationSession,
    /// Each of its components is one restic snapshot ([`parts`]).
    pub(crate) run: PinnedRun,
}

/// The components of a run as they are restored: one restic snapshot each, by a Job of its own. A component that consists of
/// several (hosts or paths that were backed up apart) becomes as many, and is proven when all of them are.
pub(crate) fn parts(components: &[PinnedComponent]) -> Vec<PinnedComponent> {
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

impl Owner {
    /// The session with its run: from the status, or from the annotation where the status is pruned.
    pub(crate) fn of(session: BackupVerificationSession) -> Option<Self> {
        let mut session = session;
        session.status.iter_mut().for_each(kept::unpack);
        let pinned = session.status.as_ref().and_then(|status| status.run.clone()).filter(|run| !run.restore_spec_hash.is_empty());
        // The annotation is anybody's to write: it stands in only for a status that shows a run has begun, and was pruned.
        let begun = session.status.as_ref().is_some_and(|status| status.phase.is_some() || !status.conditions.is_empty());
        let hint = || serde_json::from_str(session.annotations().get(labels::RUN).filter(|_| begun)?).ok();
        let mut run = pinned.or_else(hint).filter(|run: &PinnedRun| !run.verifier.object.uid.is_empty() && !run.snapshot.uid.is_empty())?;
        run.snapshot.components = parts(&run.snapshot.components);
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
