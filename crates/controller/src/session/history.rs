//! Sessions beside this one: which replace it, which are history, and whether a retry of this one is owed.

use backproof_api::{BackupVerificationSession, Cause, VerificationPhase, shared::Wire};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::{
    observed::{Sibling, SiblingState},
    stage::is_foreign,
};
use crate::shared::Session;

/// How another session looks from this one, or nothing when they share no history.
pub(super) fn sibling(own: &BackupVerificationSession, other: &BackupVerificationSession) -> Option<Sibling> {
    // What another operator has written to is neither history nor competition of ours.
    (own.metadata.uid != other.metadata.uid && share_history(own, other) && !is_foreign(other)).then(|| Sibling {
        name: other.name_any(),
        uid: other.uid().unwrap_or_default(),
        order: order(other),
        state: state(other),
    })
}

/// A word that sessions have in common which share a history; there are tens of thousands, so they are found by it.
pub(crate) fn history_of(session: &Session) -> Option<String> {
    session.0.as_ref().ok().map(word)
}

pub(super) fn word(session: &BackupVerificationSession) -> String {
    let (kind, name) = invoker(session);
    [session.metadata.namespace.as_deref().unwrap_or_default(), &session.spec.repository, &session.spec.session, kind, name].join("/")
}

/// Whether two sessions are of the same invoker, session and repository.
fn share_history(one: &BackupVerificationSession, other: &BackupVerificationSession) -> bool {
    one.spec.repository == other.spec.repository
        && one.spec.session == other.spec.session
        && one.metadata.namespace == other.metadata.namespace
        && invoker(one) == invoker(other)
}

/// Kind and name of a session's invoker.
fn invoker(session: &BackupVerificationSession) -> (&str, &str) {
    session.spec.invoker.as_ref().map_or(("", ""), |invoker| (&invoker.kind, &invoker.name))
}

/// The order of sessions: by creation, then by name.
pub(super) fn order(session: &BackupVerificationSession) -> (Timestamp, String) {
    (session.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0), session.name_any())
}

fn state(session: &BackupVerificationSession) -> SiblingState {
    match phase(session) {
        Some(VerificationPhase::Skipped) => SiblingState::Skipped,
        Some(VerificationPhase::Succeeded) => SiblingState::Finished,
        Some(VerificationPhase::Failed) if !owes_retry(session) => SiblingState::Finished,
        Some(VerificationPhase::Failed | VerificationPhase::Running) | None => SiblingState::Running,
    }
}

fn phase(session: &BackupVerificationSession) -> Option<VerificationPhase> {
    session.status.as_ref().and_then(|status| status.phase.as_ref()).and_then(Wire::known)
}

/// Whether a new session is to be made because this one failed.
pub(super) fn owes_retry(session: &BackupVerificationSession) -> bool {
    let Some(status) = &session.status else { return false };
    phase(session) == Some(VerificationPhase::Failed)
        && session.spec.retry_left > 0
        && status.retried.is_none()
        && session.metadata.deletion_timestamp.is_none()
        && status.cause.as_ref().and_then(Wire::known) != Some(Cause::Replaced)
}

/// When a retry is due: a while after the end, as the verifier says.
pub(super) fn retry_due(completed: Timestamp, delay_seconds: i64) -> Timestamp {
    completed.saturating_add(SignedDuration::from_secs(delay_seconds.max(0))).unwrap_or(completed)
}

/// The newer session that takes this one's place.
pub(super) fn replaced_by<'a>(session: &BackupVerificationSession, siblings: &'a [Sibling]) -> Option<&'a Sibling> {
    let own = order(session);
    siblings.iter().filter(|sibling| sibling.order > own).max_by(|a, b| a.order.cmp(&b.order))
}

/// Sessions beyond the limit, oldest first. The one that cleans counts as the newest that ran, and stays whatever the limit;
/// of the skipped ones, the newest stays.
pub(super) fn surplus(siblings: &[Sibling], limit: i32, own: SiblingState) -> Vec<&Sibling> {
    let sorted = |state: SiblingState| {
        let mut of_state: Vec<_> = siblings.iter().filter(|sibling| sibling.state == state).collect();
        of_state.sort_by(|a, b| b.order.cmp(&a.order));
        of_state
    };
    let limit = usize::try_from(limit.max(1)).unwrap_or(1);
    let (keep_finished, keep_skipped) = match own {
        SiblingState::Skipped => (limit, 0),
        SiblingState::Finished | SiblingState::Running => (limit - 1, 1),
    };
    let mut surplus: Vec<_> = sorted(SiblingState::Finished)
        .into_iter()
        .skip(keep_finished)
        .chain(sorted(SiblingState::Skipped).into_iter().skip(keep_skipped))
        .collect();
    surplus.sort_by(|a, b| a.order.cmp(&b.order));
    surplus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn siblings(states: &str) -> Vec<Sibling> {
        states
            .chars()
            .enumerate()
            .map(|(at, state)| Sibling {
                name: format!("{state}{at}"),
                uid: at.to_string(),
                order: (Timestamp::from_second(i64::try_from(at).unwrap()).unwrap(), String::new()),
                state: match state {
                    'f' => SiblingState::Finished,
                    's' => SiblingState::Skipped,
                    _ => SiblingState::Running,
                },
            })
            .collect()
    }

    #[test]
    fn the_oldest_go_running_ones_never_skipped_apart() {
        for (states, limit, own, gone) in [
            ("ffff", 2, SiblingState::Finished, "f0 f1 f2"),
            ("ffff", 0, SiblingState::Finished, "f0 f1 f2 f3"),
            ("frff", 2, SiblingState::Finished, "f0 f2"),
            ("fsfs", 2, SiblingState::Finished, "f0 s1"),
            ("fsfs", 2, SiblingState::Skipped, "s1 s3"),
            ("rrr", 1, SiblingState::Finished, ""),
            ("", 1, SiblingState::Skipped, ""),
            ("ff", -3, SiblingState::Skipped, "f0"),
        ] {
            let siblings = siblings(states);
            let names: Vec<_> = surplus(&siblings, limit, own).into_iter().map(|sibling| sibling.name.clone()).collect();
            assert_eq!(names.join(" "), gone, "{states} {limit} {own:?}");
        }
    }
}
