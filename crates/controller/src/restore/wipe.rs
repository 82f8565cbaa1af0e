//! The wiping of a target at the end of its run, where the verifier says `cleanup: Always`. Pure.
//!
//! The Job is made suspended together with the restore's and recorded with them, so that it runs as the same user on the same
//! terms. It is started only when the session is over: then its verdict stands, and nothing here can change it. The session
//! keeps the target's lock until the wipe is done, was given up, or is [`due`].

use backproof_api::{
    BackupVerificationSession, RestoreSession, RestoreSessionStatus, VerificationPhase, condition, labels, names,
    phase::conditions as of,
    report::WipeReport,
    run::{PinnedRun, TargetWipe},
    shared::Wire,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, EnvVar},
};
use kube::ResourceExt as _;

use super::{
    Owner,
    decide::{Decision, Effect, Observed, is_suspended, pinned},
    foreign,
    job::{ATTEMPT, our_jobs},
    target,
    variables::TARGET_DIR,
    volumes::TARGET_VOLUME,
};
use crate::{
    events::Note,
    failure::Failure,
    fate::{Fate, Message, fate, is_finished, silence},
    pods::is_gone,
};

/// Longest that a wipe may take after the end of its session.
const LIMIT: SignedDuration = SignedDuration::from_hours(1);

/// Until when the target of a finished session is wiped; nothing while the session is unfinished.
pub(crate) fn due(session: &BackupVerificationSession) -> Option<Timestamp> {
    let status = session.status.as_ref()?;
    let done = status.phase.as_ref().and_then(Wire::known).is_some_and(VerificationPhase::is_done);
    let closed = condition::get(&status.conditions, of::VERIFICATION_SESSION_HISTORY_CLEANED).filter(|_| done)?;
    closed.last_transition_time.as_ref()?.0.checked_add(LIMIT).ok()
}

/// Whether this run's target has yet to be wiped: asked for, written to, and not settled.
pub(crate) fn pending(run: &PinnedRun, restore: &RestoreSession) -> bool {
    let Some(status) = restore.status.as_ref().filter(|_| run.wipe_target) else { return false };
    wrote(status) && status.wipe.as_ref().is_none_or(|wipe| wipe.wiped.is_none())
}

/// Whether a Job that may have written to the target was started.
pub(super) fn wrote(status: &RestoreSessionStatus) -> bool {
    status.jobs.iter().any(|job| job.started)
}

/// The Job that wipes what `restore` restores: the same pod without the repository, and our own command in it.
pub(super) fn job(restore: &Job, owner: &Owner, image: &str) -> Job {
    let mut job = restore.clone();
    let uid = owner.session.uid().unwrap_or_default();
    job.metadata.name = Some(names::child(&["wipe", &owner.session.name_any()], &uid));
    job.labels_mut().remove(labels::SNAPSHOT_COMPONENT);
    let Some(template) = job.spec.as_mut().map(|spec| &mut spec.template) else { return job };
    if let Some(labels) = template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.remove(labels::SNAPSHOT_COMPONENT);
    }
    let Some(pod) = template.spec.as_mut() else { return job };
    if foreign::needs_rights(restore) {
        // That account goes with the Job it belongs to.
        (pod.service_account_name, pod.automount_service_account_token) = (None, Some(false));
    }
    let variable = |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    let before = pod.containers.pop().unwrap_or_default();
    let at_target = before.volume_mounts.into_iter().flatten().filter(|mount| mount.name == TARGET_VOLUME).collect();
    pod.init_containers = None;
    pod.containers = vec![Container {
        name: "wipe".into(),
        image: Some(image.to_owned()),
        command: Some(vec!["/bin/backproof-executor".into()]),
        args: Some(vec!["wipe".into(), format!("--target={TARGET_DIR}"), "--report=/dev/termination-log".into()]),
        env: Some(vec![
            variable("BACKPROOF_SESSION_UID", uid),
            variable("BACKPROOF_ATTEMPT", ATTEMPT.to_string()),
            variable("BACKPROOF_CLAIM_UID", owner.run.verifier.target.object.uid.clone()),
        ]),
        volume_mounts: Some(at_target),
        resources: before.resources,
        security_context: before.security_context,
        termination_message_path: before.termination_message_path,
        termination_message_policy: before.termination_message_policy,
        ..Container::default()
    }];
    if let Some(volumes) = &mut pod.volumes {
        volumes.retain(|volume| volume.name == TARGET_VOLUME);
    }
    job
}

/// What to do for a closed restore whose target is to be wiped. Its status changes in `wipe` only.
pub(super) fn decide(observed: &Observed, owner: &Owner, now: Timestamp) -> Decision {
    let status = observed.restore.status.clone().unwrap_or_default();
    let rest = |status| Decision { status, ..Decision::default() };
    // Until the session is over, whoever checks what was restored needs it; the session's end wakes us.
    let Some(due) = due(&owner.session).filter(|_| owner.session.metadata.deletion_timestamp.is_none()) else { return rest(status) };
    let wake = Some(due.duration_since(now).max(SignedDuration::from_secs(1)));
    let Some(wipe) = status.wipe.clone() else {
        return end(observed, status, TargetWipe::default(), Err("no Job was made for it".into()));
    };
    let Some(job) = observed.jobs.iter().find(|job| job.uid().as_ref() == Some(&wipe.job.uid)) else {
        return end(observed, status, wipe, Err("somebody deleted the Job that should have done it".into()));
    };
    if is_suspended(job) {
        if now >= due {
            return end(observed, status, wipe, Err("its time ran out before it could start".into()));
        }
        return match ready(observed, owner, &status) {
            Ready::Yes => {
                let start = Effect::Start {
                    job: pinned(job),
                    resource_version: job.resource_version().unwrap_or_default(),
                    seconds: due.duration_since(now).as_secs().max(1),
                };
                Decision { status, effects: vec![start], wake, ..Decision::default() }
            }
            Ready::NotYet => Decision { wake: wake.map(|wake| wake.min(SignedDuration::from_secs(15))), ..rest(status) },
            Ready::Never(why) => end(observed, status, wipe, Err(why)),
        };
    }
    if job.spec.as_ref().is_none_or(|spec| spec.active_deadline_seconds.is_none()) {
        return end(observed, status, wipe, Err("somebody else started its Job; only this controller may".into()));
    }
    let since = job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    let patience = SignedDuration::from_secs(owner.run.start_timeout_seconds);
    match fate(job, &observed.pods, since, patience, now) {
        Fate::Waiting { .. } | Fate::Running if now >= due => end(observed, status, wipe, Err("it did not end in time".into())),
        Fate::Waiting { .. } | Fate::Running => {
            let mut status = status;
            status.wipe = Some(TargetWipe { started: true, ..wipe });
            Decision { wake, ..rest(status) }
        }
        Fate::Lost { failure, .. } => end(observed, status, wipe, Err(failure.line())),
        Fate::Ended(message) => {
            let outcome = read(&message, owner).map_err(|failure| failure.line());
            end(observed, status, wipe, outcome)
        }
    }
}

/// Whether the Job may be started now.
enum Ready {
    Yes,
    NotYet,
    Never(String),
}

/// Nothing of ours may still work at the target, and nobody else may use it.
fn ready(observed: &Observed, owner: &Owner, status: &RestoreSessionStatus) -> Ready {
    let Some(neighbours) = &observed.neighbours else { return Ready::NotYet };
    let claim = &owner.run.verifier.target;
    let ours = our_jobs(status);
    let uid = owner.session.uid();
    let mine = |pod: &&k8s_openapi::api::core::v1::Pod| {
        target::belongs(pod, &ours) || (pod.labels().get(labels::SESSION_UID) == uid.as_ref() && target::mounts(pod, &claim.object.name))
    };
    if neighbours.iter().filter(mine).any(|pod| !is_gone(pod)) {
        return Ready::NotYet;
    }
    match target::user(claim, neighbours, &ours) {
        Some(pod) => Ready::Never(format!("Pod {} uses it", pod.name_any())),
        None => Ready::Yes,
    }
}

/// What the Job says it did, if it can be believed.
fn read(message: &Message<'_>, owner: &Owner) -> Result<u64, Failure> {
    let text = message.state.message.as_deref().unwrap_or_default();
    let silent = |problem: &str| silence(message, problem);
    let report: WipeReport = serde_json::from_str(text).map_err(|_| silent("the Job left no readable report"))?;
    let identity = &report.identity;
    if Some(&identity.session_uid) != owner.session.uid().as_ref() || identity.attempt != ATTEMPT || !identity.component.is_empty() {
        return Err(silent("the Job reports on something else"));
    }
    match (report.wiped, report.cause) {
        (true, None) if message.complete && message.state.exit_code == 0 => Ok(report.removed),
        (false, Some(cause)) if !message.complete => Err(Failure::new(cause, report.error.unwrap_or_else(|| cause.description().into()))),
        (true | false, _) => Err(silent("the Job's end contradicts its report")),
    }
}

/// Settles the wipe. A Job that could still do something is a leftover then, and is taken away as such.
fn end(observed: &Observed, mut status: RestoreSessionStatus, wipe: TargetWipe, outcome: Result<u64, String>) -> Decision {
    let what = target_of(observed);
    let (wiped, message, note) = match outcome {
        Ok(removed) => {
            let message = format!("{what} is wiped: {removed} entries were removed");
            (true, message.clone(), Note::normal("TargetWiped", "Wipe", message))
        }
        Err(why) => {
            let message =
                format!("{what} still holds what was restored, although the verifier says cleanup: Always: {why}; the next run wipes it");
            (false, message.clone(), Note::warning("TargetNotWiped", "Wipe", message))
        }
    };
    status.wipe = Some(TargetWipe { wiped: Some(wiped), message, ..wipe });
    Decision { status, notes: vec![note], ..Decision::default() }
}

fn target_of(observed: &Observed) -> String {
    let target = observed.restore.spec.target.clone().unwrap_or_default();
    format!("{} {}/{}", target.kind, target.namespace, target.name)
}

/// The Job of a wipe that is settled, or never will be needed, while it could still do something.
pub(super) fn leftover(status: &RestoreSessionStatus, observed: &Observed) -> Vec<Effect> {
    let Some(wipe) = &status.wipe else { return Vec::new() };
    let settled = wipe.wiped.is_some() || !wrote(status);
    let open = |job: &&Job| job.uid().as_ref() == Some(&wipe.job.uid) && !is_finished(job) && job.metadata.deletion_timestamp.is_none();
    observed.jobs.iter().filter(open).filter(|_| settled).map(|job| Effect::Delete(pinned(job))).collect()
}
