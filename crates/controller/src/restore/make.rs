//! The part of a decision that makes the Jobs of a restore, records them, and starts one after the other. Pure.

use std::collections::BTreeSet;

use backproof_api::{
    Cause, RestoreSessionStatus, labels,
    run::{PinnedJob, PinnedObject, TargetWipe, VERIFIER_JOB},
    shared::ResourceFoundStatus,
};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

use super::{
    Owner, copies,
    decide::{Decision, Effect, Run, is_suspended, pinned},
    foreign,
    job::{ATTEMPT, our_jobs},
    owner,
    plan::{Inputs, plan},
    status::{self, Step},
    target, wipe,
};
use crate::{events::Note, failure::Failure, pods::is_gone, storage::SecretSource};

/// What a Job is for.
enum Purpose {
    /// To restore a component, or to ask what was restored.
    Part(String),
    /// To wipe the target in the end.
    Wipe,
}

impl Run<'_> {
    /// Whether a Job is not recorded yet.
    pub(super) fn is_missing_one(&self) -> bool {
        !self.unmade().is_empty() || self.wipe_is_missing()
    }

    fn wipe_is_missing(&self) -> bool {
        self.owner.run.wipe_target && self.decision.status.wipe.is_none()
    }

    /// Components whose Job is not recorded yet.
    fn unmade(&self) -> Vec<String> {
        let status = &self.decision.status;
        let recorded = |component: &str| status.jobs.iter().any(|job| job.component == component);
        owner::jobs(&self.owner.run).filter(|job| !recorded(job) && !status::is_done(status, job)).map(str::to_owned).collect()
    }

    /// Makes the Jobs that are missing, and records those that this pass has made.
    pub(super) fn make(mut self) -> Decision {
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
        let wipe = planned.first().filter(|_| self.wipe_is_missing()).map(|planned| {
            let job = wipe::job(&planned.job, self.owner, &self.installation.config.image);
            (job, Purpose::Wipe)
        });
        let restores = planned.into_iter().filter(|planned| unmade.contains(&planned.component));
        let restores = restores.map(|planned| (planned.job, Purpose::Part(planned.component)));
        for (job, purpose) in restores.chain(wipe) {
            if let Err(failure) = self.make_one(job, purpose) {
                return self.stop(Step::Executor, failure);
            }
        }
        if !self.is_missing_one() {
            status::ensured(&mut self.decision.status, self.now);
        }
        self.finish()
    }

    fn make_one(&mut self, job: Job, purpose: Purpose) -> Result<(), Failure> {
        let name = job.name_any();
        let Some(there) = self.observed.jobs.iter().find(|there| there.name_any() == name && there.namespace() == job.namespace()) else {
            self.decision.effects.push(Effect::Create(Box::new(job)));
            return Ok(());
        };
        let object = pinned(there);
        if there.metadata.deletion_timestamp.is_some() {
            // Its end is an event that wakes us.
            return Ok(());
        }
        if self.observed.made.contains(&object.uid) {
            self.record(purpose, &name, object);
            return Ok(());
        }
        let recorded = our_jobs(&self.decision.status).contains(object.uid.as_str());
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

    fn record(&mut self, purpose: Purpose, name: &str, object: PinnedObject) {
        match purpose {
            Purpose::Part(component) => {
                let text = match component.as_str() {
                    VERIFIER_JOB => format!("Job {name} will ask what was restored"),
                    component => format!("Job {name} will restore component {component}"),
                };
                self.note(Note::normal("RestoreJobCreated", "CreateJob", text));
                let awaits_report = self.owner.run.verifier.foreign.is_some();
                self.decision.status.jobs.push(PinnedJob { component, object, attempt: ATTEMPT, started: false, awaits_report });
            }
            Purpose::Wipe => self.decision.status.wipe = Some(TargetWipe { job: object, ..TargetWipe::default() }),
        }
    }

    /// Starts the next Job when nothing else writes to the target.
    pub(super) fn start_next(mut self) -> Decision {
        let written = self.observed.restore.status.clone().unwrap_or_default();
        if self.is_over() || self.decision.status.jobs != written.jobs || self.decision.status.wipe != written.wipe {
            // What is about to be started must be recorded first.
            return self.finish();
        }
        let status = &self.decision.status;
        let busy = status.jobs.iter().any(|job| job.started && !status::is_done(status, &job.component));
        let next = status.jobs.iter().find(|job| !job.started && !status::is_done(status, &job.component) && is_due(status, job)).cloned();
        let (Some(next), false) = (next, busy) else { return self.finish() };
        let Some(neighbours) = &self.observed.neighbours else { return self.finish() };
        if let Some(failure) = self.in_use() {
            return self.stop(Step::Executor, failure);
        }
        let jobs = self.our_jobs();
        if let Some(pod) = neighbours.iter().find(|pod| target::belongs(pod, &jobs) && !is_gone(pod)) {
            let why = format!("waiting for Pod {} of the component before to be gone", pod.name_any());
            self.waits(why);
            return self.finish();
        }
        if let Some(refused) = self.observed.refused.clone() {
            return self.stop(Step::Executor, refused);
        }
        if let Some(job) = self.job(&next).filter(|job| copies::needs_copy(job) && !self.observed.copied.contains(&next.object.uid)) {
            let job = pinned(job);
            return match self.secrets_to_copy() {
                Some(Ok(sources)) => {
                    self.decision.effects.push(Effect::CopySecrets { job, sources });
                    self.finish()
                }
                Some(Err(failure)) => self.stop(Step::Executor, failure),
                None => self.finish(),
            };
        }
        if let Some(job) = self.job(&next).filter(|job| foreign::needs_rights(job)).cloned() {
            if !foreign::is_untouched(self.decision.status.components.get(&next.component)) {
                let text =
                    format!("somebody wrote the state of component {} before its Job was started; start another session", next.component);
                return self.stop(Step::Executor, Failure::new(Cause::PinnedFactsChanged, text));
            }
            if !self.observed.granted.contains(&next.object.uid) {
                self.decision.effects.push(Effect::Grant(Box::new(job)));
                return self.finish();
            }
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

    /// The Secrets to copy, from what the restore refers to now; nothing while that was not read.
    fn secrets_to_copy(&self) -> Option<Result<Vec<SecretSource>, Failure>> {
        let inputs = self.observed.inputs.as_ref()?;
        let run = &self.owner.run;
        let repository = inputs.repository.as_ref().filter(|repository| repository.uid().as_ref() == Some(&run.repository.uid));
        let (Some(repository), Some(storage)) = (repository, &inputs.storage) else {
            let text = format!("Repository {} or its BackupStorage is gone; create another session", run.repository.name);
            return Some(Err(Failure::new(Cause::RepositoryObjectNotFound, text)));
        };
        Some(copies::needed(storage, repository, &run.verifier.target.object.namespace, self.installation.config))
    }

    fn our_jobs(&self) -> BTreeSet<&str> {
        self.observed.restore.status.as_ref().map(our_jobs).unwrap_or_default()
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
}

/// Whether a Job's turn may come: what was not restored as a whole is not asked.
fn is_due(status: &RestoreSessionStatus, job: &PinnedJob) -> bool {
    job.component != VERIFIER_JOB || status::is_restored(status)
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
