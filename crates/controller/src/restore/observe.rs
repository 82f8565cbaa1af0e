//! Reads everything a decision rests on. Reads only: from caches where being late does no harm, else from the API server.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use backproof_api::{BackupVerificationSession, Guarded, RestoreSession, run::PinnedObject};
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams, core::NamespaceResourceScope, runtime::reflector::ObjectRef};
use serde::de::DeserializeOwned;

use super::{
    Owner, copies,
    decide::{Observed, is_suspended, serves},
    owner,
    plan::Inputs,
    status, target, wipe,
};
use crate::{
    Error,
    failure::Failure,
    pods::is_gone,
    shared::{Reading, Shared, answered},
};

/// Where a restore's facts are read from.
pub(crate) struct Sources {
    pub(crate) client: Client,
    pub(crate) shared: Arc<Shared>,
    /// Sessions that were read, by UID of their restore: what a run is pinned to does not change.
    owners: Mutex<HashMap<String, Owner>>,
}

/// What one reconcile has done so far, so that its next look does not depend on a cache that lags behind.
pub(crate) struct Recent {
    /// Jobs as the API server last returned them.
    pub(crate) jobs: Vec<Job>,
    /// UIDs of those it has made.
    pub(crate) made: BTreeSet<String>,
    /// UIDs of Jobs whose copied Secret it has made or found.
    pub(crate) copied: BTreeSet<String>,
    /// UIDs of foreign Functions' Jobs whose rights it has given, and of those it has taken back.
    pub(crate) granted: BTreeSet<String>,
    pub(crate) revoked: BTreeSet<String>,
    /// What the restore refers to, as it was when the Jobs were made.
    pub(crate) inputs: Option<Inputs>,
    /// How fresh that must be.
    pub(crate) reading: Reading,
    /// Why the API server will never take what this restore has to write.
    pub(crate) refused: Option<Failure>,
    /// Whether a write came to nothing because somebody else seemed to be first: then no event may ever tell of it.
    pub(crate) unsure: bool,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            jobs: Vec::new(),
            made: BTreeSet::new(),
            copied: BTreeSet::new(),
            granted: BTreeSet::new(),
            revoked: BTreeSet::new(),
            inputs: None,
            reading: Reading::Cached,
            refused: None,
            unsure: false,
        }
    }
}

impl Recent {
    /// Has what the restore refers to read once more, all of it live. Whether it was not already.
    pub(crate) fn ask_again(&mut self) -> bool {
        let from_caches = self.reading == Reading::Cached && self.inputs.take().is_some();
        self.reading = Reading::Live;
        from_caches
    }

    /// Remembers a Job as the API server returned it.
    pub(crate) fn seen(&mut self, job: Job) {
        self.jobs.retain(|known| known.uid() != job.uid());
        self.jobs.push(job);
    }
}

impl Sources {
    pub(crate) fn new(client: Client, shared: Arc<Shared>) -> Self {
        Self { client, shared, owners: Mutex::default() }
    }

    /// Forgets what is kept for a restore.
    pub(crate) fn forget(&self, restore: &RestoreSession) {
        self.owners().remove(&restore.uid().unwrap_or_default());
    }

    pub(super) fn owners(&self) -> std::sync::MutexGuard<'_, HashMap<String, Owner>> {
        // Each entry is whole at any time, so a panic elsewhere leaves nothing half done.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session that controls a restore. Where something is about to be made or started, the cached one will do if it carries
    /// the pins of this very restore: what ends a session first takes its Jobs away, and a Job is started only as it was seen.
    async fn owner(&self, restore: &RestoreSession, freshness: Freshness) -> Result<Option<Owner>, Error> {
        let uid = restore.uid().unwrap_or_default();
        let Some(name) = owner::named_by(restore) else { return Ok(None) };
        let namespace = restore.namespace().unwrap_or_default();
        let cached = || {
            let session = self.shared.sessions.get(&ObjectRef::new(name).within(&namespace))?.0.clone().ok()?;
            Owner::of(session).filter(|owner| serves(restore, owner))
        };
        let known = match freshness {
            Freshness::Remembered => {
                let remembered = self.owners().get(&uid).cloned();
                remembered.or_else(cached)
            }
            Freshness::Cached => cached(),
            Freshness::Asked => None,
        };
        if known.is_some() {
            return Ok(known);
        }
        let session = get::<BackupVerificationSession>(&self.client, &namespace, name).await?;
        let owner = session.and_then(Owner::of);
        if let Some(owner) = &owner {
            self.owners().insert(uid, owner.clone());
        }
        Ok(owner)
    }

    /// Everything for one decision.
    pub(crate) async fn observe(&self, restore: RestoreSession, recent: &mut Recent) -> Result<Observed, Error> {
        let status = restore.status.clone().unwrap_or_default();
        let closed = status::is_closed(&status);
        // A closed restore is left alone, but for the wiping of its target.
        let wiping = closed && status.wipe.as_ref().is_some_and(|wipe| wipe.wiped.is_none()) && wipe::wrote(&status);
        let closed = closed && !wiping;
        let idle = closed || (!wiping && !status.jobs.is_empty() && status.jobs.iter().all(|job| job.started));
        let freshness = match (idle, wiping) {
            (true, _) => Freshness::Remembered,
            // Only its end lets the target be wiped, and nothing else would wake us when the cache knows of it.
            (false, true) => Freshness::Asked,
            (false, false) => Freshness::Cached,
        };
        let owner = self.owner(&restore, freshness).await?;
        let mut observed = Observed {
            restore,
            owner,
            inputs: None,
            jobs: Vec::new(),
            pods: Vec::new(),
            neighbours: None,
            made: recent.made.clone(),
            copied: recent.copied.clone(),
            granted: recent.granted.clone(),
            revoked: recent.revoked.clone(),
            refused: recent.refused.clone(),
        };
        let Some(owner) = observed.owner.clone() else { return Ok(observed) };
        if !super::decide::serves(&observed.restore, &owner) {
            return Ok(observed);
        }
        let restores = status.jobs.iter().filter(|_| !wiping).map(|job| &job.object);
        let recorded: Vec<_> = restores.chain(status.wipe.iter().map(|wipe| &wipe.job)).collect();
        observed.jobs = self.jobs_of(&owner, &recorded, recent, closed).await?;
        observed.pods = self.pods_of(&owner, &observed.jobs, closed).await?;
        if closed {
            return Ok(observed);
        }
        if wiping {
            let started = status.wipe.as_ref().is_some_and(|wipe| wipe.started);
            if !started && wipe::due(&owner.session).is_some() {
                observed.neighbours = Some(self.neighbours(&owner).await?);
            }
            return Ok(observed);
        }
        let unwiped = owner.run.wipe_target && status.wipe.is_none();
        let unmade = unwiped || owner::jobs(&owner.run).any(|needed| !status.jobs.iter().any(|job| job.component == needed));
        let starts = !unmade && waits_for_start(&status, &observed.jobs);
        if unmade || (starts && observed.jobs.iter().any(copies::needs_copy)) {
            if recent.inputs.is_none() {
                recent.inputs = Some(self.inputs(&observed.restore, &owner, recent.reading).await?);
            }
            observed.inputs.clone_from(&recent.inputs);
        }
        // What is made is made suspended: only who starts something must know who is there.
        if starts {
            observed.neighbours = Some(self.neighbours(&owner).await?);
        }
        Ok(observed)
    }

    /// Jobs with the session's label; one that is recorded and not in the cache is asked for before it counts as gone.
    async fn jobs_of(&self, owner: &Owner, recorded: &[&PinnedObject], recent: &Recent, closed: bool) -> Result<Vec<Job>, Error> {
        let uid = owner.session.uid().unwrap_or_default();
        let mut jobs: Vec<Job> = recent.jobs.clone();
        let known = |jobs: &[Job], uid: Option<String>| jobs.iter().any(|job| job.uid() == uid);
        for job in self.shared.jobs_of.of(&uid) {
            if !known(&jobs, job.uid()) {
                jobs.push((*job).clone());
            }
        }
        for pinned in recorded.iter().filter(|_| !closed) {
            if known(&jobs, Some(pinned.uid.clone())) {
                continue;
            }
            if let Some(job) =
                get::<Job>(&self.client, &pinned.namespace, &pinned.name).await?.filter(|job| job.uid().as_ref() == Some(&pinned.uid))
            {
                jobs.push(job);
            }
        }
        Ok(jobs)
    }

    /// Pods with the session's label; of a finished Job whose pod the cache does not show as ended, the API server is asked.
    async fn pods_of(&self, owner: &Owner, jobs: &[Job], closed: bool) -> Result<Vec<Pod>, Error> {
        let uid = owner.session.uid().unwrap_or_default();
        let mut pods: Vec<Pod> = self.shared.pods_of.of(&uid).iter().map(|pod| (**pod).clone()).collect();
        for job in jobs.iter().filter(|job| !closed && crate::fate::is_finished(job)) {
            let job_uid = job.uid().unwrap_or_default();
            let of_job = [job_uid.as_str()].into();
            if pods.iter().any(|pod| target::belongs(pod, &of_job) && is_gone(pod)) {
                continue;
            }
            let namespace = job.namespace().unwrap_or_default();
            let selector = format!("batch.kubernetes.io/job-name={}", job.name_any());
            let live = Api::<Pod>::namespaced(self.client.clone(), &namespace)
                .list(&ListParams::default().labels(&selector))
                .await
                .map_err(Error::api(format!("list the pods of Job {namespace}/{}", job.name_any())))?;
            pods.retain(|pod| !target::belongs(pod, &of_job));
            pods.extend(live.items);
        }
        Ok(pods)
    }

    async fn neighbours(&self, owner: &Owner) -> Result<Vec<Pod>, Error> {
        let namespace = &owner.run.verifier.target.object.namespace;
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace).list(&ListParams::default()).await;
        Ok(pods.map_err(Error::api(format!("list pods of namespace {namespace}")))?.items)
    }

    /// Reads a restore again, past every cache.
    pub(crate) async fn again(&self, restore: &RestoreSession) -> Result<Option<RestoreSession>, Error> {
        get::<RestoreSession>(&self.client, &restore.namespace().unwrap_or_default(), &restore.name_any()).await
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// What was read before will do.
    Remembered,
    /// What the cache has will do, if it is the one.
    Cached,
    /// The API server must be asked.
    Asked,
}

/// Whether the next Job may be started: one that is recorded still waits, and none of those before it works.
fn waits_for_start(status: &backproof_api::RestoreSessionStatus, jobs: &[Job]) -> bool {
    let busy = status.jobs.iter().any(|job| job.started && !status::is_done(status, &job.component));
    let waits = |recorded: &PinnedObject| jobs.iter().any(|job| job.uid().as_ref() == Some(&recorded.uid) && is_suspended(job));
    !busy && status.jobs.iter().any(|job| !job.started && !status::is_done(status, &job.component) && waits(&job.object))
}

/// One object as the API server has it.
pub(super) async fn get<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
{
    if name.is_empty() {
        return Ok(None);
    }
    Api::<Guarded<K>>::namespaced(client.clone(), namespace)
        .get_opt(name)
        .await
        .and_then(|found| found.map(|found| answered(Ok(found))).transpose())
        .map_err(Error::api(format!("get {} {namespace}/{name}", K::kind(&()))))
}
