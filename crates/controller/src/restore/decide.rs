//! What to do next for one RestoreSession: a pure, total function of what was observed and the time.
//!
//! Order of a run: plan every Job; make them suspended; record their UIDs; start one after the other, as they share the
//! target; judge each; close. Each decision is applied as status first, effects after it, so that an effect may rest on
//! what the status records. A decision made again from an older view does nothing that was not decided before.

use std::collections::BTreeSet;

use backproof_api::{
    Cause, RestoreSession, RestoreSessionStatus, Verdict, labels, phase,
    run::{PinnedJob, PinnedObject},
    shared::{ResourceFoundStatus, Wire},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;

use super::{
    Owner,
    job::ATTEMPT,
    judge::{self, Expected, Judged},
    plan::{Inputs, Installation, Planned, plan},
    status::{self, Ran, Step},
    target,
};
use crate::{
    events::Note,
    failure::Failure,
    fate::{self, Ended},
};

/// Everything a decision rests on.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) restore: RestoreSession,
    /// The session it belongs to, if it is one of ours.
    pub(crate) owner: Option<Owner>,
    /// What the restore refers to; read while a Job is still to be made.
    pub(crate) inputs: Option<Inputs>,
    /// Jobs with this session's label, and whatever has the name of one.
    pub(crate) jobs: Vec<Job>,
    /// Pods with this session's label.
    pub(crate) pods: Vec<Pod>,
    /// Every pod of the target's namespace, fresh from the API server; read before a Job is made or started.
    pub(crate) neighbours: Option<Vec<Pod>>,
    /// UIDs of Jobs that this very pass has made.
    pub(crate) made: BTreeSet<String>,
    /// Why the API server will never take what this restore has to write.
    pub(crate) refused: Option<Failure>,
}

/// What to write, to do, and when to look again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Decision {
    pub(crate) status: RestoreSessionStatus,
    pub(crate) effects: Vec<Effect>,
    pub(crate) notes: Vec<Note>,
    pub(crate) wake: Option<SignedDuration>,
}

/// One change to a Job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Makes it, suspended.
    Create(Box<Job>),
    /// Removes it, if it still is the one.
    Delete(PinnedObject),
    /// Starts it, if nobody changed it.
    Start { job: PinnedObject, resource_version: String, seconds: i64 },
}

/// Whether a RestoreSession is ours to serve: its controller is a live session by UID, and its spec is the one that was pinned.
pub(crate) fn serves(restore: &RestoreSession, owner: &Owner) -> bool {
    let run = &owner.run;
    let uid = owner.session.uid().unwrap_or_default();
    let owned = restore.owner_references().iter().any(|reference| {
        reference.controller == Some(true)
            && reference.kind == "BackupVerificationSession"
            && reference.api_version.starts_with("core.kubestash.com/")
            && reference.uid == uid
            && reference.name == owner.session.name_any()
    });
    let pinned = run.restore_session.as_ref().map(|pinned| pinned.uid.as_str()).unwrap_or_default();
    owned
        && !uid.is_empty()
        && restore.namespace() == owner.session.namespace()
        && restore.name_any() == owner.session.name_any()
        && restore.labels().get(labels::SESSION_UID) == Some(&uid)
        && (pinned.is_empty() || restore.uid().as_deref() == Some(pinned))
        && !run.restore_spec_hash.is_empty()
        && backproof_api::run::spec_hash(&restore.spec) == run.restore_spec_hash
}

/// Decides; `None` means that the object is not ours or not to be touched any more.
pub(crate) fn decide(observed: &Observed, installation: Installation<'_>, now: Timestamp) -> Option<Decision> {
    let owner = observed.owner.as_ref().filter(|owner| serves(&observed.restore, owner))?;
    if observed.restore.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = observed.restore.status.clone().unwrap_or_default();
    if status::is_closed(&status) {
        let effects = leftovers(&status, observed);
        return Some(Decision { status, effects, ..Decision::default() });
    }
    Some(Run { observed, owner, installation, now, decision: Decision { status, ..Decision::default() } }.decide())
}

struct Run<'a> {
    observed: &'a Observed,
    owner: &'a Owner,
    installation: Installation<'a>,
    now: Timestamp,
    decision: Decision,
}

impl Run<'_> {
    fn decide(mut self) -> Decision {
        status::begin(&mut self.decision.status, &self.owner.run, self.observed.restore.metadata.generation, self.now);
        let deadline = self.deadline();
        self.judge_all();
        if self.all_done() {
            return self.close(None);
        }
        if self.now >= deadline {
            let failure = Failure::new(
                Cause::DeadlineExceeded,
                format!("the restore did not end before the session's deadline {deadline}; raise the verifier's timeout"),
            );
            return self.stop(Step::Execution, failure);
        }
        self.wake_at(deadline);
        if self.unmade().is_empty() { self.start_next() } else { self.make() }
    }

    fn deadline(&self) -> Timestamp {
        // A run without a readable deadline was not pinned by us; it ends at once rather than never.
        self.owner.run.deadline.parse().unwrap_or(Timestamp::MIN)
    }

    /// Components whose Job is not recorded yet.
    fn unmade(&self) -> Vec<String> {
        let status = &self.decision.status;
        let recorded = |component: &str| status.jobs.iter().any(|job| job.component == component);
        let components = self.owner.run.snapshot.components.iter().map(|component| component.name.clone());
        components.filter(|component| !recorded(component) && !status::is_done(status, component)).collect()
    }

    fn all_done(&self) -> bool {
        let components = &self.owner.run.snapshot.components;
        !components.is_empty() && components.iter().all(|component| status::is_done(&self.decision.status, &component.name))
    }

    fn job(&self, pinned: &PinnedJob) -> Option<&Job> {
        self.observed.jobs.iter().find(|job| job.uid().as_ref() == Some(&pinned.object.uid))
    }

    /// Judges every Job that is recorded and not judged yet.
    fn judge_all(&mut self) {
        for at in 0..self.decision.status.jobs.len() {
            let pinned = self.decision.status.jobs[at].clone();
            if status::is_done(&self.decision.status, &pinned.component) {
                continue;
            }
            let Some(job) = self.job(&pinned).cloned() else {
                let text =
                    format!("Job {}/{} was deleted by somebody while this restore needed it", pinned.object.namespace, pinned.object.name);
                self.lost(&pinned.component, &Failure::new(Cause::JobDeleted, text), Ended::Early);
                continue;
            };
            if is_suspended(&job) {
                continue;
            }
            if job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds).is_none() {
                let text = format!(
                    "Job {}/{} was started by somebody else; only this controller may start it",
                    pinned.object.namespace, pinned.object.name
                );
                self.lost(&pinned.component, &Failure::new(Cause::PinnedFactsChanged, text), Ended::Early);
                continue;
            }
            if !pinned.started {
                self.decision.status.jobs[at].started = true;
                status::running(&mut self.decision.status, &pinned.component);
                self.note(Note::normal(
                    "RestoreStarted",
                    "StartJob",
                    format!("Job {} restores component {}", pinned.object.name, pinned.component),
                ));
            }
            self.judge_one(&pinned.component, &job);
        }
    }

    fn judge_one(&mut self, component: &str, job: &Job) {
        let restic_id =
            self.owner.run.snapshot.components.iter().find(|pinned| pinned.name == component).and_then(|pinned| pinned.restic_ids.first());
        let session_uid = self.owner.session.uid().unwrap_or_default();
        let expected = Expected {
            session_uid: &session_uid,
            attempt: ATTEMPT,
            component,
            restic_id: restic_id.map(String::as_str).unwrap_or_default(),
            deadline: self.deadline(),
            start_timeout: SignedDuration::from_secs(self.owner.run.start_timeout_seconds),
        };
        match judge::judge(job, &self.observed.pods, expected, self.now) {
            Judged::Waiting { why, until } => {
                if let Some(until) = until {
                    self.wake_at(until);
                }
                self.waits(why.unwrap_or_default());
            }
            Judged::Running => self.waits(String::new()),
            Judged::Reported { report, duration } => {
                let ran = Ran { image: image(job), took: duration };
                status::reported(&mut self.decision.status, &self.owner.run, component, &report, ran);
            }
            Judged::Lost { failure, ended } => self.lost(component, &failure, ended),
        }
    }

    /// Notes why nothing happens, once for each reason.
    fn waits(&mut self, why: String) {
        if !why.is_empty() && self.decision.status.message != why {
            self.note(Note::warning("RestoreWaiting", "StartJob", why.clone()));
        }
        self.decision.status.message = why;
    }

    fn lost(&mut self, component: &str, failure: &Failure, ended: Ended) {
        status::lost(&mut self.decision.status, component, failure);
        let step = match ended {
            Ended::BeforeStart => Step::Executor,
            Ended::Early => Step::Execution,
        };
        status::step(&mut self.decision.status, step, failure, self.now);
    }

    /// Makes the Jobs that are missing, and records those that this pass has made.
    fn make(mut self) -> Decision {
        if self.is_over() {
            return self.finish();
        }
        let Some(inputs) = &self.observed.inputs else { return self.finish() };
        let planned = match plan(self.owner, &self.observed.restore, inputs, self.installation) {
            Ok(planned) => planned,
            Err(failure) => return self.stop(Step::Validation, failure),
        };
        self.decision.status.target_found = Some(true);
        self.decision.status.dependencies = dependencies(self.owner, inputs);
        status::validated(&mut self.decision.status, self.now);
        if let Some(failure) = self.in_use() {
            return self.stop(Step::Executor, failure);
        }
        if let Some(refused) = self.observed.refused.clone() {
            return self.stop(Step::Executor, refused);
        }
        let unmade = self.unmade();
        for planned in planned.into_iter().filter(|planned| unmade.contains(&planned.component)) {
            if let Err(failure) = self.make_one(planned) {
                return self.stop(Step::Executor, failure);
            }
        }
        if self.unmade().is_empty() {
            status::ensured(&mut self.decision.status, self.now);
        }
        self.finish()
    }

    fn make_one(&mut self, planned: Planned) -> Result<(), Failure> {
        let name = planned.job.name_any();
        let Some(there) = self.observed.jobs.iter().find(|job| job.name_any() == name && job.namespace() == planned.job.namespace()) else {
            if self.observed.neighbours.is_some() {
                self.decision.effects.push(Effect::Create(Box::new(planned.job)));
            }
            return Ok(());
        };
        let object = pinned(there);
        if there.metadata.deletion_timestamp.is_some() {
            // Its end is an event that wakes us.
            return Ok(());
        }
        if self.observed.made.contains(&object.uid) {
            self.note(Note::normal("RestoreJobCreated", "CreateJob", format!("Job {name} will restore component {}", planned.component)));
            self.decision.status.jobs.push(PinnedJob { component: planned.component, object, attempt: ATTEMPT, started: false });
            return Ok(());
        }
        let recorded = self.decision.status.jobs.iter().any(|job| job.object.uid == object.uid);
        let ours = there.labels().get(labels::SESSION_UID) == self.owner.session.uid().as_ref();
        let started = !is_suspended(there) || there.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if recorded || !ours || started {
            let text =
                format!("Job {}/{name} exists and is not one this restore has made; delete it and start another session", object.namespace);
            return Err(Failure::new(Cause::NameTaken, text));
        }
        // Made before a crash and never recorded: whether it is still as we made it, nobody knows.
        self.decision.effects.push(Effect::Delete(object));
        Ok(())
    }

    /// Starts the next Job when nothing else writes to the target.
    fn start_next(mut self) -> Decision {
        if self.is_over() || self.decision.status.jobs != self.observed.restore.status.clone().unwrap_or_default().jobs {
            // What is about to be started must be recorded first.
            return self.finish();
        }
        let status = &self.decision.status;
        let busy = status.jobs.iter().any(|job| job.started && !status::is_done(status, &job.component));
        let next = status.jobs.iter().find(|job| !job.started && !status::is_done(status, &job.component)).cloned();
        let (Some(next), false) = (next, busy) else { return self.finish() };
        let Some(neighbours) = &self.observed.neighbours else { return self.finish() };
        if let Some(failure) = self.in_use() {
            return self.stop(Step::Executor, failure);
        }
        let jobs = self.our_jobs();
        if let Some(pod) = neighbours.iter().find(|pod| target::belongs(pod, &jobs) && !target::is_gone(pod)) {
            let why = format!("waiting for Pod {} of the component before to be gone", pod.name_any());
            self.waits(why);
            return self.finish();
        }
        if let Some(job) = self.job(&next) {
            let left = self.deadline().duration_since(self.now).as_secs().max(1);
            self.decision.effects.push(Effect::Start {
                job: pinned(job),
                resource_version: job.resource_version().unwrap_or_default(),
                seconds: left,
            });
        }
        self.finish()
    }

    fn our_jobs(&self) -> BTreeSet<&str> {
        self.observed.restore.status.iter().flat_map(|status| &status.jobs).map(|job| job.object.uid.as_str()).collect()
    }

    fn in_use(&self) -> Option<Failure> {
        let claim = &self.owner.run.verifier.target;
        let pod = target::user(claim, self.observed.neighbours.as_ref()?, &self.our_jobs())?;
        let text = format!(
            "PersistentVolumeClaim {}/{} is mounted by Pod {}; restore into a claim that nobody uses, or scale its user to 0",
            claim.object.namespace,
            claim.object.name,
            pod.name_any()
        );
        Some(Failure::new(Cause::TargetInUse, text))
    }

    /// Whether the session has ended or is being deleted: then nothing new is made or started.
    fn is_over(&self) -> bool {
        let session = &self.owner.session;
        let done =
            session.status.as_ref().and_then(|status| status.phase.as_ref()).and_then(Wire::known).is_some_and(|phase| phase.is_done());
        done || session.metadata.deletion_timestamp.is_some()
    }

    /// Ends the whole restore for one reason.
    fn stop(mut self, step: Step, failure: Failure) -> Decision {
        if failure.cause == Cause::TargetNotFound {
            self.decision.status.target_found = Some(false);
        }
        self.decision.effects.clear();
        status::step(&mut self.decision.status, step, &failure, self.now);
        self.close(Some(&failure))
    }

    fn close(mut self, failure: Option<&Failure>) -> Decision {
        status::close(&mut self.decision.status, failure, self.now);
        let (status, took) = (&self.decision.status, self.decision.status.duration.clone());
        let note = match (&status.verdict, &status.cause) {
            (Some(Wire::Known(Verdict::Verified)), _) => {
                Note::normal("RestoreVerified", "Restore", format!("{} in {took}", status.message))
            }
            (Some(Wire::Known(Verdict::VerificationFailed)), Some(cause)) => {
                Note::warning("RestoreFailed", "Restore", format!("{cause}: {}", status.message))
            }
            (_, Some(cause)) => Note::warning("RestoreInconclusive", "Restore", format!("{cause}: {}", status.message)),
            (_, None) => Note::warning("RestoreInconclusive", "Restore", status.message.clone()),
        };
        self.note(note);
        self.decision.effects.extend(leftovers(&self.decision.status, self.observed));
        self.decision.wake = None;
        self.decision
    }

    fn finish(mut self) -> Decision {
        self.decision.status.phase = Some(phase::restore(&self.decision.status).into());
        self.decision
    }

    fn note(&mut self, note: Note) {
        self.decision.notes.push(note);
    }

    fn wake_at(&mut self, at: Timestamp) {
        let left = at.duration_since(self.now).max(SignedDuration::from_secs(1));
        self.decision.wake = Some(self.decision.wake.map_or(left, |earlier| earlier.min(left)));
    }
}

/// Jobs of a closed restore that would still write to the target: recorded, there, and not finished.
fn leftovers(status: &RestoreSessionStatus, observed: &Observed) -> Vec<Effect> {
    let recorded = |job: &&Job| status.jobs.iter().any(|pinned| job.uid().as_ref() == Some(&pinned.object.uid));
    let open = |job: &&Job| !fate::is_finished(job) && job.metadata.deletion_timestamp.is_none();
    observed.jobs.iter().filter(recorded).filter(open).map(|job| Effect::Delete(pinned(job))).collect()
}

fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true)
}

fn pinned(job: &Job) -> PinnedObject {
    PinnedObject { namespace: job.namespace().unwrap_or_default(), name: job.name_any(), uid: job.uid().unwrap_or_default(), generation: 0 }
}

fn image(job: &Job) -> &str {
    let containers =
        job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).map(|spec| spec.containers.as_slice()).unwrap_or_default();
    containers.first().and_then(|container| container.image.as_deref()).unwrap_or_default()
}

/// What the restore needs, as upstream lists it.
fn dependencies(owner: &Owner, inputs: &Inputs) -> Vec<ResourceFoundStatus> {
    let entry = |kind: &str, namespace: String, name: &str, found: bool| ResourceFoundStatus {
        kind: kind.into(),
        namespace,
        name: name.into(),
        found: Some(found),
        ..ResourceFoundStatus::default()
    };
    let run = &owner.run;
    vec![
        entry("Snapshot", owner.session.namespace().unwrap_or_default(), &run.snapshot.name, inputs.snapshot.is_some()),
        entry("Addon", String::new(), &run.verifier.addon.name, !inputs.addons.is_empty()),
    ]
}
