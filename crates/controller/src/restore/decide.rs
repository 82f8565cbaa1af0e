//! What to do next for one RestoreSession: a pure, total function of what was observed and the time.
//!
//! Order of a run: plan every Job; make them suspended; record their UIDs; start one after the other, as they share the
//! target; judge each; close. Each decision is applied as status first, effects after it, so that an effect may rest on
//! what the status records. A decision made again from an older view does nothing that was not decided before.

use std::collections::BTreeSet;

use backproof_api::{
    Cause, RestoreSession, RestoreSessionStatus, Verdict, kept, labels, phase,
    report::{Report, RepositoryFacts},
    run::{PinnedComponent, PinnedForeign, PinnedJob, PinnedObject, VERIFIER_JOB},
    shared::Wire,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;

use super::{
    Owner,
    foreign::{self, Reported, Terms},
    job::ATTEMPT,
    judge::{self, Expected, Judged},
    known,
    plan::{Inputs, Installation},
    status::{self, Ran, Step},
    wipe,
};
use crate::{
    events::Note,
    failure::Failure,
    fate::{self, Ended},
    storage::SecretSource,
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
    /// UIDs of Jobs whose copied Secret this very pass has seen.
    pub(crate) copied: BTreeSet<String>,
    /// UIDs of foreign Functions' Jobs whose rights this very pass has given, and of those it has taken back.
    pub(crate) granted: BTreeSet<String>,
    pub(crate) revoked: BTreeSet<String>,
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
    /// Gives it a copy of the Secrets it needs from elsewhere.
    CopySecrets { job: PinnedObject, sources: Vec<SecretSource> },
    /// Keeps with the Repository how it was opened.
    Remember { path: String, place: String, facts: Box<RepositoryFacts> },
    /// Gives a foreign Function's Job the right to report.
    Grant(Box<Job>),
    /// Takes it back.
    Revoke(PinnedObject),
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
        let mut decision = if wipe::pending(&owner.run, &observed.restore) {
            wipe::decide(observed, owner, now)
        } else {
            Decision { status, ..Decision::default() }
        };
        // After a crash between the closing and them.
        let left = leftovers(&decision.status, observed);
        decision.effects.extend(left);
        return Some(decision);
    }
    Some(Run { observed, owner, installation, now, decision: Decision { status, ..Decision::default() } }.decide())
}

/// One decision in the making.
pub(super) struct Run<'a> {
    pub(super) observed: &'a Observed,
    pub(super) owner: &'a Owner,
    pub(super) installation: Installation<'a>,
    pub(super) now: Timestamp,
    pub(super) decision: Decision,
}

impl Run<'_> {
    fn decide(mut self) -> Decision {
        status::begin(&mut self.decision.status, &self.owner.run, self.observed.restore.metadata.generation, self.now);
        // What the schema drops of the session it drops of this too: known before the first write, nothing is ever lost.
        if self.owner.session.status.as_ref().is_some_and(kept::is_marked) {
            kept::mark(&mut self.decision.status, status::time(self.now));
        }
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
        if self.is_missing_one() { self.make() } else { self.start_next() }
    }

    pub(super) fn deadline(&self) -> Timestamp {
        // A run without a readable deadline was not pinned by us; it ends at once rather than never.
        self.owner.run.deadline.parse().unwrap_or(Timestamp::MIN)
    }

    fn all_done(&self) -> bool {
        let (components, status) = (&self.owner.run.snapshot.components, &self.decision.status);
        let asked = self.owner.run.verifier.query.is_none() || status::is_done(status, VERIFIER_JOB) || !status::is_restored(status);
        !components.is_empty() && components.iter().all(|component| status::is_done(status, &component.name)) && asked
    }

    pub(super) fn job(&self, pinned: &PinnedJob) -> Option<&Job> {
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
                if !pinned.awaits_report {
                    status::running(&mut self.decision.status, &pinned.component);
                }
                let (reason, text) = match pinned.component.as_str() {
                    VERIFIER_JOB => ("VerificationStarted", format!("Job {} asks what was restored", pinned.object.name)),
                    component => ("RestoreStarted", format!("Job {} restores component {component}", pinned.object.name)),
                };
                self.note(Note::normal(reason, "StartJob", text));
            }
            self.judge_one(&pinned.component, &job);
        }
    }

    /// Judges what a foreign Function says of a component.
    fn judge_foreign(&mut self, component: &str, job: &Job, pinned: &PinnedForeign) {
        let terms = Terms {
            pinned,
            trusted: self.installation.config.trust_reported_success,
            revoked: job.uid().is_some_and(|uid| self.observed.revoked.contains(&uid)),
            deadline: self.deadline(),
            start_timeout: SignedDuration::from_secs(self.owner.run.start_timeout_seconds),
        };
        let told = self.decision.status.components.get(component).cloned().unwrap_or_default();
        match foreign::judge(job, &self.observed.pods, &told, terms, self.now) {
            Reported::Waiting { why, until } => {
                if let Some(until) = until {
                    self.wake_at(until);
                }
                self.waits(why.unwrap_or_default());
            }
            Reported::Running => self.waits(String::new()),
            Reported::MayStillWrite => self.decision.effects.push(Effect::Revoke(self::pinned(job))),
            Reported::Succeeded { files, took } => {
                let ran = Ran { image: image(job), took };
                status::vouched(&mut self.decision.status, &self.owner.run, component, files, ran);
            }
            Reported::Failed { failure, ended } => self.lost(component, &failure, ended),
        }
    }

    fn judge_one(&mut self, component: &str, job: &Job) {
        let foreign = self.owner.run.verifier.foreign.clone();
        if let Some(pinned) = &foreign {
            return self.judge_foreign(component, job, pinned);
        }
        // What is asked is what all of them restored, which a database takes one of.
        let restored = |pinned: &&PinnedComponent| pinned.name == component || component == VERIFIER_JOB;
        let restic_id = self.owner.run.snapshot.components.iter().find(restored).and_then(|pinned| pinned.restic_ids.first());
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
                if component == VERIFIER_JOB {
                    return status::asked(&mut self.decision.status, &self.owner.run, &session_uid, &report, ran);
                }
                self.remember(component, &report, job);
                status::reported(&mut self.decision.status, &self.owner.run, (&session_uid, component), &report, ran);
            }
            Judged::Lost { failure, ended } => self.lost(component, &failure, ended),
        }
    }

    /// Keeps how the repository was opened, for later runs.
    fn remember(&mut self, component: &str, report: &Report, job: &Job) {
        let path = self.owner.run.snapshot.components.iter().find(|pinned| pinned.name == component).map(|pinned| pinned.path.clone());
        let facts = report.repository.clone().filter(|facts| !facts.password_fingerprint.is_empty());
        if let (Verdict::Verified, Some(path), Some(facts)) = (report.outcome, path, facts) {
            let place = known::place_of(job).to_owned();
            self.decision.effects.push(Effect::Remember { path, place, facts: Box::new(facts) });
        }
    }

    /// Notes why nothing happens, once for each reason.
    pub(super) fn waits(&mut self, why: String) {
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
        self.step(step, failure);
    }

    /// Writes the step that failed. Once everything is restored, that stands, whatever becomes of asking what is there.
    fn step(&mut self, step: Step, failure: &Failure) {
        if !status::is_restored(&self.decision.status) {
            status::step(&mut self.decision.status, step, failure, self.now);
        }
    }

    /// Whether the session has ended or is being deleted: then nothing new is made or started.
    pub(super) fn is_over(&self) -> bool {
        let session = &self.owner.session;
        let done =
            session.status.as_ref().and_then(|status| status.phase.as_ref()).and_then(Wire::known).is_some_and(|phase| phase.is_done());
        done || session.metadata.deletion_timestamp.is_some()
    }

    /// Ends the whole restore for one reason.
    pub(super) fn stop(mut self, step: Step, failure: Failure) -> Decision {
        if failure.cause == Cause::TargetNotFound {
            self.decision.status.target_found = Some(false);
        }
        self.decision.effects.clear();
        self.step(step, &failure);
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

    pub(super) fn finish(mut self) -> Decision {
        self.decision.status.phase = Some(phase::restore(&self.decision.status).into());
        self.decision
    }

    pub(super) fn note(&mut self, note: Note) {
        self.decision.notes.push(note);
    }

    fn wake_at(&mut self, at: Timestamp) {
        let left = at.duration_since(self.now).max(SignedDuration::from_secs(1));
        self.decision.wake = Some(self.decision.wake.map_or(left, |earlier| earlier.min(left)));
    }
}

/// Jobs of a closed restore that must not stay: recorded ones that are not finished, as they would still write to the target,
/// and ours that wait for ever, as they were made before a crash and never came to be recorded.
fn leftovers(status: &RestoreSessionStatus, observed: &Observed) -> Vec<Effect> {
    let recorded = |job: &&Job| status.jobs.iter().any(|pinned| job.uid().as_ref() == Some(&pinned.object.uid));
    let session = observed.owner.as_ref().and_then(|owner| owner.session.uid());
    let wipes = |job: &Job| status.wipe.as_ref().is_some_and(|wipe| job.uid().as_ref() == Some(&wipe.job.uid));
    let ours = |job: &Job| session.is_some() && job.labels().get(labels::SESSION_UID) == session.as_ref();
    let began = |job: &Job| job.status.as_ref().is_some_and(|status| status.start_time.is_some());
    let forgotten = |job: &&Job| is_suspended(job) && !began(job) && ours(job) && !wipes(job);
    let open = |job: &&Job| !fate::is_finished(job) && job.metadata.deletion_timestamp.is_none();
    let mut left: Vec<Effect> =
        observed.jobs.iter().filter(|job| recorded(job) || forgotten(job)).filter(open).map(|job| Effect::Delete(pinned(job))).collect();
    left.extend(wipe::leftover(status, observed));
    left
}

pub(super) fn is_suspended(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true)
}

pub(super) fn pinned(job: &Job) -> PinnedObject {
    PinnedObject { namespace: job.namespace().unwrap_or_default(), name: job.name_any(), uid: job.uid().unwrap_or_default(), generation: 0 }
}

fn image(job: &Job) -> &str {
    let containers =
        job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).map(|spec| spec.containers.as_slice()).unwrap_or_default();
    containers.first().and_then(|container| container.image.as_deref()).unwrap_or_default()
}
