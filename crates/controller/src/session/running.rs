//! A pinned session: lock, RestoreSession, and what becomes of it.

use std::time::Duration;

use backproof_api::{
    BackupVerificationSession, Cause, DataSource, RestoreSession, RestoreSessionSpec, condition, duration, labels, names,
    run::{PinnedObject, PinnedRun, spec_hash},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt as _, api::ObjectMeta};
use serde_json::{Value, json};

use super::{
    closing::{conclude, refuse},
    decide::{SLOW, deadline, wake_at},
    decision::{Decision, Effect, Wake, until},
    history,
    judge::{Judged, judge},
    observed::{Observed, OwnedInvoker, References, Seen, SiblingState, Target},
    resolve,
    wire::{self, Refusal},
};
use crate::{
    events::Note,
    hold::{Place, Standing},
    lease::{Held, Lock},
    restore,
    shared::Reading,
};

/// A restore that ended before the deadline counts, though it may be told a little later.
const GRACE: SignedDuration = SignedDuration::from_secs(30);
/// Most time between two tries for a lock; whoever gives it back wakes the waiters.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// What to do for a session that runs.
pub(super) fn decide(observed: &Observed, run: &PinnedRun, now: Timestamp) -> Decision {
    let session = &observed.session;
    let judged_for = session.status.as_ref().and_then(|status| status.observed_generation);
    if judged_for.is_some_and(|generation| session.metadata.generation.is_some_and(|now| now != generation)) {
        let message = "the spec changed after the session started: a session is one run; create another one instead";
        return refuse(observed, run, &Refusal::new(Cause::PinnedFactsChanged, message), now);
    }
    if !run.proven_by.is_empty() {
        return super::closing::skip(observed, run, now);
    }
    match &observed.restore {
        Seen::Present(restore) => with_restore(observed, run, restore, now),
        Seen::Absent => without_restore(observed, run, now),
        Seen::NotRead if now >= awaited_until(run) => {
            refuse(observed, run, &too_late(run, "what became of the restore could not be read"), now)
        }
        Seen::NotRead => Decision::wait(Duration::from_secs(1)),
    }
}

fn with_restore(observed: &Observed, run: &PinnedRun, restore: &RestoreSession, now: Timestamp) -> Decision {
    let name = crate::events::path(restore);
    match judge(restore, &observed.session.uid().unwrap_or_default(), run) {
        Judged::Closed(result) => conclude(observed, run, result, now),
        Judged::NotOurs => {
            let message =
                format!("a RestoreSession {name} exists that this session did not make: delete it, or create a session of another name");
            refuse(observed, run, &Refusal::new(Cause::NameTaken, message), now)
        }
        Judged::AnotherOne => refuse(observed, run, &restore_deleted(&name), now),
        Judged::Changed => {
            let message =
                format!("spec of RestoreSession {name} is not what this session wrote: it must not be edited; create another session");
            refuse(observed, run, &Refusal::new(Cause::PinnedFactsChanged, message), now)
        }
        Judged::Open if restore.metadata.deletion_timestamp.is_some() => refuse(observed, run, &restore_deleted(&name), now),
        Judged::Open => open(observed, run, restore, now),
    }
}

fn restore_deleted(name: &str) -> Refusal {
    Refusal::new(Cause::RestoreSessionDeleted, format!("RestoreSession {name} was deleted while it ran: create another session"))
}

fn open(observed: &Observed, run: &PinnedRun, restore: &RestoreSession, now: Timestamp) -> Decision {
    if run.restore_session.as_ref().is_none_or(|pinned| pinned.uid.is_empty()) {
        let mut run = run.clone();
        run.restore_session = Some(PinnedObject {
            namespace: String::new(),
            name: restore.name_any(),
            uid: restore.uid().unwrap_or_default(),
            generation: 0,
        });
        let message = format!("restoring Snapshot {} into {}", run.snapshot.name, resolve::target_text(&run));
        let status = status_with(observed, &run, "Restoring", &message, now);
        return Decision::write(status, vec![Effect::Tell(Note::normal("RestoreStarted", "Restore", message))]);
    }
    if let Some(refusal) = overtaken(observed, run) {
        return refuse(observed, run, &refusal, now);
    }
    if now >= awaited_until(run) {
        return refuse(observed, run, &too_late(run, "the restore did not end"), now);
    }
    Decision::rest().then(wake_at(awaited_until(run), now))
}

/// Until when the end of a restore is waited for.
pub(super) fn awaited_until(run: &PinnedRun) -> Timestamp {
    deadline(run).saturating_add(GRACE).unwrap_or(Timestamp::MAX)
}

fn too_late(run: &PinnedRun, what: &str) -> Refusal {
    Refusal::new(
        Cause::DeadlineExceeded,
        format!(
            "{what} before the deadline {}: look at the pods of the restore, or set spec.timeout of BackupVerifier {}/{} higher",
            run.deadline, run.verifier.object.namespace, run.verifier.object.name
        ),
    )
}

/// A newer session has taken this one's place, where the verifier says Replace.
fn overtaken(observed: &Observed, run: &PinnedRun) -> Option<Refusal> {
    let newer = history::replaced_by(&observed.session, &observed.siblings).filter(|_| run.replaceable)?;
    Some(Refusal::new(
        Cause::Replaced,
        format!("the newer session {} replaced this one, as spec.scheduler.concurrencyPolicy of the verifier says", newer.name),
    ))
}

/// Older unfinished sessions, which are to see that this one replaces them.
pub(super) fn older(observed: &Observed) -> Vec<String> {
    let own = history::order(&observed.session);
    observed
        .siblings
        .iter()
        .filter(|sibling| sibling.order < own && sibling.state == SiblingState::Running)
        .map(|sibling| sibling.name.clone())
        .collect()
}

fn without_restore(observed: &Observed, run: &PinnedRun, now: Timestamp) -> Decision {
    if run.restore_session.as_ref().is_some_and(|pinned| !pinned.uid.is_empty()) {
        return refuse(observed, run, &restore_deleted(&crate::events::path(observed.session.as_ref())), now);
    }
    if let Some(refusal) = overtaken(observed, run) {
        return refuse(observed, run, &refusal, now);
    }
    if now >= deadline(run) {
        return refuse(observed, run, &too_late(run, &waited_for(observed)), now);
    }
    if run.restore_spec_hash.is_empty()
        && observed.lock != Lock::Mine
        && let Some(decision) = held_off(observed, run, now)
    {
        return decision;
    }
    match &observed.lock {
        Lock::Full(running) => wait_for_slot(observed, run, running, now),
        Lock::NotRead | Lock::Free => Decision::act(vec![Effect::AcquireLock]),
        Lock::Held(held) if !held.alive && held.pods.is_empty() => {
            Decision::act(vec![Effect::EvictLock(held.clone()), Effect::AcquireLock])
        }
        Lock::Held(held) => wait(observed, run, held, now),
        Lock::Mine => restore(observed, run, now),
    }
}

/// What to do while the Repository is held off; nothing when it is not, or this session is the one that tries it.
fn held_off(observed: &Observed, run: &PinnedRun, now: Timestamp) -> Option<Decision> {
    let place = observed.place.as_ref()?;
    let uid = observed.session.uid().unwrap_or_default();
    match place.standing(&uid, run, now) {
        Standing::Free => None,
        Standing::MayProbe => Some(Decision::act(vec![Effect::WriteHold(place.probed_by(&uid, now).map(Box::new))])),
        Standing::Waits(until_then) => {
            let message = waits_for(&observed.session, place, until_then);
            let status = status_with(observed, run, "WaitingForRepository", &message, now);
            let effects = vec![Effect::AwaitRepository, Effect::TellOnce(Note::normal("WaitingForRepository", "Lock", message))];
            Some(Decision::write(status, effects).then(wake_at(until_then.min(deadline(run)), now)))
        }
    }
}

/// Until when a session waits for its Repository, and why.
pub(super) fn waits_for(session: &BackupVerificationSession, place: &Place, until: Timestamp) -> String {
    let hold = place.hold.clone().unwrap_or_default();
    format!(
        "waiting for Repository {}/{} until {until}: it could not be verified since {} ({}); mend that, or annotate it with {}=VALUE to try at once",
        session.namespace().unwrap_or_default(),
        session.spec.repository,
        hold.since,
        hold.cause.map_or("unknown", Cause::as_str),
        labels::PROBE
    )
}

/// As many sessions run as may. Who they were when the wait began stays in the message: to keep up with them would be a
/// write by everyone who waits whenever one of them ends.
fn wait_for_slot(observed: &Observed, run: &PinnedRun, running: &[String], now: Timestamp) -> Decision {
    const REASON: &str = "WaitingForSlot";
    let again = Wake::After(until(deadline(run), now, Duration::from_secs(1), SLOW));
    let conditions = observed.session.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    if condition::get(conditions, condition::RECONCILING).is_some_and(|entry| entry.reason == REASON) {
        return Decision::rest().then(again);
    }
    let message = format!("waiting for one of the {} sessions that run, which are as many as may: {}", running.len(), running.join(", "));
    let status = status_with(observed, run, REASON, &message, now);
    Decision::write(status, vec![Effect::TellOnce(Note::normal(REASON, "Lock", message))]).then(again)
}

/// What the session was at when its time ran out; who had the target stands in its message.
fn waited_for(observed: &Observed) -> String {
    let message = observed.session.status.as_ref().map(|status| status.message.as_str()).unwrap_or_default();
    if message.starts_with("waiting for ") {
        format!("the session was still {message}, and nothing was restored")
    } else {
        "the restore did not start".to_owned()
    }
}

fn wait(observed: &Observed, run: &PinnedRun, held: &Held, now: Timestamp) -> Decision {
    let who = format!("session {}/{}", held.holder.namespace, held.holder.name);
    let message = match (held.alive, held.pods.as_slice()) {
        (true, _) => format!("waiting for {who}, which is using {}", resolve::target_text(run)),
        (false, pods) => format!("waiting for pods of {who}, which still use {}: {}", resolve::target_text(run), pods.join(", ")),
    };
    let status = status_with(observed, run, "WaitingForTarget", &message, now);
    let again = Wake::After(until(deadline(run), now, Duration::from_secs(1), LOCK_WAIT));
    Decision::write(status, vec![Effect::TellOnce(Note::normal("WaitingForTarget", "Lock", message))]).then(again)
}

fn status_with(
    observed: &Observed,
    run: &PinnedRun,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> backproof_api::BackupVerificationSessionStatus {
    let mut status = observed.session.status.clone().unwrap_or_default();
    status.run = Some(run.clone());
    wire::progress(&mut status, reason, message, now);
    status
}

/// The lock is ours: the intent first, then the RestoreSession.
fn restore(observed: &Observed, run: &PinnedRun, now: Timestamp) -> Decision {
    let Some(references) = &observed.references else { return Decision::wait(Duration::from_secs(1)) };
    if let Some(refusal) = no_longer(run, references) {
        return unless_stale(references, || refuse(observed, run, &refusal, now));
    }
    let pinned = !run.restore_spec_hash.is_empty();
    let mut run = run.clone();
    if !pinned {
        let left = deadline(&run).duration_since(now).max(SignedDuration::from_secs(1));
        run.restore_timeout = duration::format(SignedDuration::from_secs(left.as_secs()));
    }
    let restore = restore_session(&observed.session, &run, references);
    let hash = spec_hash(&restore.spec);
    if pinned && hash != run.restore_spec_hash {
        let changed = "the verifier changed after the session started: create another session";
        return unless_stale(references, || refuse(observed, &run, &Refusal::new(Cause::VerifierChanged, changed), now));
    }
    let create = Effect::CreateRestore(Box::new(restore));
    if pinned {
        return Decision::act(vec![create]);
    }
    run.restore_spec_hash = hash;
    run.restore_session = Some(PinnedObject { name: observed.session.name_any(), ..PinnedObject::default() });
    let message = format!("restoring Snapshot {} into {}", run.snapshot.name, resolve::target_text(&run));
    Decision::write(status_with(observed, &run, "Restoring", &message, now), vec![create])
}

/// What ends a session, if it was read live; else that is done first.
fn unless_stale(references: &References, end: impl FnOnce() -> Decision) -> Decision {
    match references.reading {
        Reading::Cached => Decision::act(vec![Effect::AskAgain]),
        Reading::Live => end(),
    }
}

/// Whether verifier, Addon, Function or target are no longer what the run was pinned to.
fn no_longer(run: &PinnedRun, references: &References) -> Option<Refusal> {
    if let Some(what) = resolve::changed(run, references) {
        return Some(Refusal::new(Cause::VerifierChanged, format!("{what}: create another session")));
    }
    let target = &run.verifier.target.object;
    match &references.target {
        Some(there) if there.is(&run.verifier.target) => None,
        Some(Target::Database(server)) if server.object.uid == target.uid => Some(Refusal::new(
            Cause::VerifierChanged,
            format!("{} was changed after the session started: create another session", resolve::target_text(run)),
        )),
        Some(_) | None => Some(Refusal::new(
            Cause::TargetNotFound,
            format!("{} was deleted after the session started: create it, then another session", resolve::target_text(run)),
        )),
    }
}

/// The RestoreSession of a run. It holds pinned facts alone, so that it is the same whenever it is made.
fn restore_session(session: &BackupVerificationSession, run: &PinnedRun, references: &References) -> RestoreSession {
    let addon = references
        .verifier
        .as_ref()
        .and_then(|verifier| verifier.spec.restore_option.as_ref())
        .and_then(|option| option.addon_info.clone());
    let spec = RestoreSessionSpec {
        target: Some(restore::target::reference(&run.verifier.target)),
        data_source: Some(DataSource {
            repository: session.spec.repository.clone(),
            snapshot: run.snapshot.name.clone(),
            components: run.snapshot.components.iter().map(|component| component.name.clone()).collect(),
            ..DataSource::default()
        }),
        addon,
        restore_timeout: run.restore_timeout.clone(),
        ..RestoreSessionSpec::default()
    };
    RestoreSession { metadata: child_meta(session, &session.name_any()), spec, status: None }
}

/// Metadata of what a session makes in its own namespace: upstream's labels and ours, owned by the session.
fn child_meta(session: &BackupVerificationSession, name: &str) -> ObjectMeta {
    let mut labels = session.labels().clone();
    let namespace = session.namespace().unwrap_or_default();
    for (key, value) in [
        (labels::MANAGED_BY, labels::MANAGED_BY_VALUE.to_owned()),
        (labels::COMPONENT, labels::COMPONENT_RESTORE.to_owned()),
        (labels::INVOKER_NAME, names::label_value(&session.name_any())),
        (labels::INVOKER_NAMESPACE, names::label_value(&namespace)),
        (labels::SESSION_NAME, names::label_value(&session.spec.session)),
        (labels::REPO_NAME, names::label_value(&session.spec.repository)),
        (labels::SESSION_UID, session.uid().unwrap_or_default()),
    ] {
        labels.insert(key.to_owned(), value);
    }
    let full_name = names::label_value(&session.name_any()) != session.name_any();
    let annotations = full_name.then(|| [(labels::FULL_NAME.to_owned(), session.name_any())].into());
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace),
        labels: Some(labels),
        annotations,
        owner_references: session.controller_owner_ref(&()).map(|owner| vec![OwnerReference { block_owner_deletion: Some(true), ..owner }]),
        ..ObjectMeta::default()
    }
}

/// The first write as a merge patch of the metadata, or nothing when it is done.
pub(super) fn claim(session: &BackupVerificationSession, references: &References, run: &PinnedRun) -> Option<Value> {
    let mut patch = serde_json::Map::new();
    if !session.finalizers().iter().any(|finalizer| finalizer == labels::FINALIZER) {
        let finalizers: Vec<_> = session.finalizers().iter().map(String::as_str).chain([labels::FINALIZER]).collect();
        patch.insert("finalizers".into(), json!(finalizers));
    }
    if let Some(owner) = references.invoker.as_ref().and_then(|invoker| owner(session, invoker)) {
        let owners: Vec<_> = session.owner_references().iter().cloned().chain([owner]).collect();
        patch.insert("ownerReferences".into(), json!(owners));
    }
    let invoker = session.spec.invoker.as_ref().map(|invoker| invoker.name.clone()).unwrap_or_default();
    let label = names::label_value(&invoker);
    if !invoker.is_empty() && session.labels().get(labels::INVOKER_NAME) != Some(&label) {
        patch.insert("labels".into(), json!({ (labels::INVOKER_NAME): label }));
    }
    let hint = serde_json::to_string(run).unwrap_or_default();
    if session.annotations().get(labels::RUN) != Some(&hint) {
        let mut annotations = json!({ (labels::RUN): hint });
        if label != invoker {
            annotations[labels::FULL_NAME] = json!(invoker);
        }
        patch.insert("annotations".into(), annotations);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The invoker as owner, unless it is one already. Only one owner may be the controller.
fn owner(session: &BackupVerificationSession, invoker: &OwnedInvoker) -> Option<OwnerReference> {
    let owner = match invoker {
        OwnedInvoker::Configuration(configuration) => configuration.controller_owner_ref(&()),
        OwnedInvoker::Batch(batch) => batch.controller_owner_ref(&()),
    }?;
    let owners = session.owner_references();
    if owners.iter().any(|existing| existing.uid == owner.uid) {
        return None;
    }
    let alone = !owners.iter().any(|existing| existing.controller == Some(true));
    Some(OwnerReference { controller: Some(alone), block_owner_deletion: Some(true), ..owner })
}
