//! How far a session is, told from the session object alone: it decides what must be read, and which rules apply.

use backproof_api::{
    BackupVerificationSession, BackupVerificationSessionStatus, Cause, Verdict, condition, kept, labels, phase::conditions as of,
    run::PinnedRun, shared::Wire,
};
use kube::ResourceExt as _;

/// How far a session is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stage {
    /// Not ours: somebody else wrote its status.
    Foreign,
    /// Being deleted, and our finalizer is gone already.
    Gone,
    /// Being deleted.
    Deleting(Option<Box<PinnedRun>>),
    /// Nothing is decided yet.
    Unpinned,
    /// Status and annotation contradict each other.
    Contradicted(Box<PinnedRun>),
    /// It runs.
    Running(Box<PinnedRun>),
    /// The verdict stands in the conditions; the last steps are to be done.
    Judged(Box<PinnedRun>, Judgement),
    /// It is finished.
    Done(Box<PinnedRun>),
}

/// What the conditions say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) cause: Option<Cause>,
    /// When it was found out.
    pub(super) at: jiff::Timestamp,
}

/// How far this session is.
pub(super) fn stage(session: &BackupVerificationSession) -> Stage {
    let recorded = session.status.as_ref().and_then(|status| Some((status, status.run.as_ref()?)));
    let Some((status, run)) = recorded else { return without_run(session, annotated(session)) };
    if session.metadata.deletion_timestamp.is_some() {
        return deleting(session, Some(run.clone()));
    }
    if status.phase.is_none() && status.conditions.is_empty() {
        return Stage::Unpinned;
    }
    let run = Box::new(run.clone());
    match judgement(status) {
        _ if is_done(status) => Stage::Done(run),
        Some(judgement) => Stage::Judged(run, judgement),
        // Only while something can still go wrong does it matter what the annotation says, and it is long.
        None if annotated(session).is_some_and(|hint| core(hint) == core((*run).clone())) => Stage::Running(run),
        None => Stage::Contradicted(run),
    }
}

/// Whether this session is another operator's.
pub(super) fn is_foreign(session: &BackupVerificationSession) -> bool {
    session.status.as_ref().is_none_or(|status| status.run.is_none()) && stage(session) == Stage::Foreign
}

/// A status that holds no facts: nobody's yet, another operator's, or ours from a process that died before it knew that the
/// schema drops them. Then the annotation alone has them, which anybody may write: what is not decided yet is pinned anew.
fn without_run(session: &BackupVerificationSession, hint: Option<PinnedRun>) -> Stage {
    let status = session.status.clone().unwrap_or_default();
    let ours = !kept::is_foreign(&status);
    if session.metadata.deletion_timestamp.is_some() {
        // Its finalizer is ours if our trigger made it or we once pinned it, whoever wrote its status since.
        let made = [labels::TICK, labels::RUN].iter().any(|key| session.annotations().contains_key(*key));
        return if ours || made { deleting(session, hint.filter(|_| ours)) } else { Stage::Foreign };
    }
    match judgement(&status) {
        _ if !ours => Stage::Foreign,
        _ if is_done(&status) => Stage::Done(Box::new(hint.unwrap_or_default())),
        Some(judgement) => Stage::Judged(Box::new(hint.unwrap_or_default()), judgement),
        None => Stage::Unpinned,
    }
}

fn is_done(status: &BackupVerificationSessionStatus) -> bool {
    status.phase.as_ref().and_then(Wire::known).is_some_and(backproof_api::VerificationPhase::is_done)
}

fn deleting(session: &BackupVerificationSession, run: Option<PinnedRun>) -> Stage {
    if session.finalizers().iter().any(|finalizer| finalizer == labels::FINALIZER) {
        Stage::Deleting(run.map(Box::new))
    } else {
        Stage::Gone
    }
}

/// The pinned facts in the annotation; one that does not parse counts as none.
pub(super) fn annotated(session: &BackupVerificationSession) -> Option<PinnedRun> {
    session.annotations().get(labels::RUN).and_then(|text| serde_json::from_str(text).ok())
}

/// What both places must agree on: everything fixed at the start. What is added on the way stands in the status alone.
pub(super) fn core(run: PinnedRun) -> PinnedRun {
    PinnedRun { restore_timeout: String::new(), restore_spec_hash: String::new(), restore_session: None, ..run }
}

/// What the conditions say about the verdict, if they do. They are never believed without the evidence written with them:
/// anybody who writes a session's status could set two of them to True.
fn judgement(status: &BackupVerificationSessionStatus) -> Option<Judgement> {
    let conditions = &status.conditions;
    let verified = condition::get(conditions, of::BACKUP_VERIFIED)?;
    let at = verified.last_transition_time.as_ref().map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0);
    // The cause is read from upstream's field, so that it survives where ours is pruned.
    let cause = verified.message.split_once("Reason: \"").and_then(|(_, rest)| rest.split(':').next()).and_then(|word| word.parse().ok());
    let proven = verified.status == condition::TRUE && condition::is_true(conditions, of::RESTORE_SUCCEEDED) && status.evidence.is_some();
    Some(match (proven, cause) {
        (true, _) => Judgement { verdict: Verdict::Verified, cause: None, at },
        (false, Some(cause)) => Judgement { verdict: unproven(cause), cause: Some(cause), at },
        (false, None) => Judgement { verdict: Verdict::Inconclusive, cause: Some(Cause::Internal), at },
    })
}

/// The verdict of a cause; a mere finding explains nothing, so it cannot be the cause of a failure.
pub(super) fn unproven(cause: Cause) -> Verdict {
    match cause.verdict() {
        Verdict::VerificationFailed => Verdict::VerificationFailed,
        Verdict::Verified | Verdict::Inconclusive | Verdict::Skipped => Verdict::Inconclusive,
    }
}
