//! The verification session a restore belongs to, and the facts its run is pinned to.

use backproof_api::{BackupVerificationSession, RestoreSession, labels, run::PinnedRun};
use kube::ResourceExt as _;

/// A session and its pinned run.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) session: BackupVerificationSession,
    pub(crate) run: PinnedRun,
}

impl Owner {
    /// The session with its run: from the status, or from the annotation where the status is pruned.
    pub(crate) fn of(session: BackupVerificationSession) -> Option<Self> {
        let pinned = session.status.as_ref().and_then(|status| status.run.clone()).filter(|run| !run.restore_spec_hash.is_empty());
        // The annotation is anybody's to write: it stands in only for a status that shows a run has begun, and was pruned.
        let begun = session.status.as_ref().is_some_and(|status| status.phase.is_some() || !status.conditions.is_empty());
        let hint = || serde_json::from_str(session.annotations().get(labels::RUN).filter(|_| begun)?).ok();
        let run = pinned.or_else(hint).filter(|run: &PinnedRun| !run.verifier.object.uid.is_empty() && !run.snapshot.uid.is_empty())?;
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
